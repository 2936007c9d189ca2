//! The Unix socket of root: mode 0600, callers checked, never taken from a process that lives.

use super::{cannot_listen, is_root};
use api::{Error, Result};
use std::{
    fs, io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};
use tokio::net::{UnixListener, UnixStream};

/// A listening socket whose file goes when it is dropped.
pub struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of our file: should another process have replaced it, it is not ours to remove.
    file: (u64, u64),
}

impl UnixSocket {
    /// The next caller that is root; others are turned away. Cancel safe.
    pub(crate) async fn accept(&self) -> io::Result<UnixStream> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            if is_root(&stream)? {
                return Ok(stream);
            }
            tracing::debug!(path = %self.path.display(), "somebody who is not root was turned away");
        }
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|file| file == self.file) {
            fs::remove_file(&self.path).ok();
        }
    }
}

/// Listens for root at this path, whose directory is made if need be.
pub async fn bind_unix(path: &Path) -> Result<UnixSocket> {
    refuse_live(path).await?;
    let cannot = |e: io::Error| cannot_listen(&path.display().to_string(), &e);
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(cannot)?;
    }
    // Made under another name: when the file appears it has its mode already, and it replaces a stale one in one step.
    let new = path.with_extension(format!("{}.new", std::process::id()));
    fs::remove_file(&new).ok();
    let bound = UnixListener::bind(&new).and_then(|listener| {
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
        let file = inode(&new)?;
        fs::rename(&new, path)?;
        Ok(UnixSocket { listener, path: path.to_owned(), file })
    });
    bound.map_err(|e| {
        fs::remove_file(&new).ok();
        cannot(e)
    })
}

async fn refuse_live(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(Error::conflict(format!("cannot listen at {}: it is there and is no socket", path.display())));
        }
        _ => {}
    }
    match UnixStream::connect(path).await {
        Err(e) if matches!(e.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => Ok(()),
        // Any other failure, such as a full queue, comes from somebody who listens.
        _ => Err(Error::conflict(format!("another roost is running here: it listens at {}", path.display()))
            .hint("stop it: roost down")),
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}
