//! `cp`: files to and from containers, as tar underneath.

use api::{Error, Kind, Result, path};
use base::supervise::Scope;
use clap::Args;
use std::{
    fs::File,
    io::{IsTerminal as _, Read},
    os::fd::OwnedFd,
    path::{Component, Path, PathBuf},
};
use tokio::io::AsyncWriteExt as _;
use tokio_util::io::SyncIoBridge;
use wire::client::Client;

/// Copy files into a container, or out of it
///
/// In place of a path here, - is a tar archive: on standard output, or on standard input, to be unpacked in a folder of the container.
///
/// Example: roost cp ./site s2:c1:/srv, roost cp web/1:/etc/hostname .
///
/// Example: roost cp c1:/etc - | roost cp - c2:/srv
#[derive(Args)]
pub struct CpArgs {
    /// A path here, or [server:]container:/path
    pub from: String,
    /// A path here, or [server:]container:/path
    pub to: String,
    #[command(flatten)]
    pub change: crate::args::TryArgs,
}

/// What stands for standard input or output, as in tar(1).
const STREAM: &str = "-";

/// One end of a copy.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Here(PathBuf),
    There { target: String, path: String },
}

/// `s2:c1:/etc` and `c1:/etc` are in a container; `./a`, `/a` and `a` are here. The last `:/` divides.
fn end(text: &str) -> End {
    match text.rfind(":/") {
        Some(at) if at > 0 && !text.starts_with(['/', '.']) => {
            End::There { target: text[..at].to_owned(), path: text[at + 1..].to_owned() }
        }
        _ => End::Here(PathBuf::from(text)),
    }
}

fn archive(target: &str, inside: &str) -> String {
    format!("{}/{}/archive?path={}", path::CONTAINERS, path::segment(target), path::segment(inside))
}

/// `roost cp`.
pub async fn cp(client: &Client, args: CpArgs) -> Result<u8> {
    match (end(&args.from), end(&args.to)) {
        (End::Here(_), End::There { target, .. }) | (End::There { target, .. }, End::Here(_)) if args.change.dry_run => {
            client.get::<api::view::ContainerView>(&format!("{}/{}", path::CONTAINERS, path::segment(&target))).await?;
            super::would(&format!("copy {} to {}", args.from, args.to))
        }
        (End::Here(from), End::There { target, path }) if from.as_os_str() == STREAM => {
            client.put_stream(&archive(&target, &path), tokio::io::stdin()).await.map(|()| 0)
        }
        (End::There { target, path }, End::Here(to)) if to.as_os_str() == STREAM => {
            stream(client, (&target, &path)).await.map(|()| 0)
        }
        (End::Here(from), End::There { target, path }) => put(client, from, (&target, &path)).await.map(|()| 0),
        (End::There { target, path }, End::Here(to)) => get(client, (&target, &path), to).await.map(|()| 0),
        (End::Here(_), End::Here(_)) => {
            Err(Error::usage("neither side is in a container: write container:/path for one of them"))
        }
        (End::There { .. }, End::There { .. }) => Err(Error::usage("both sides are in containers: copy out first, then in")),
    }
}

/// The archive as it comes.
async fn stream(client: &Client, (target, inside): (&str, &str)) -> Result<()> {
    if std::io::stdout().is_terminal() {
        return Err(Error::usage("a tar archive is nothing for a terminal: lead standard output into a file or a program"));
    }
    let broken = |error: std::io::Error| Error::failed(format!("{inside} of {target} cannot be written out: {error}"));
    let (mut body, mut out) = (Box::pin(client.download(&archive(target, inside)).await?), tokio::io::stdout());
    tokio::io::copy(&mut body, &mut out).await.map_err(broken)?;
    out.flush().await.map_err(broken)
}

fn name_of(path: &Path, whole: &str) -> Result<PathBuf> {
    let name = path.file_name().map(PathBuf::from);
    name.ok_or_else(|| Error::usage(format!("{whole:?} names no file or folder: end it with a name")))
}

/// Is there a folder at this place in the container? None when there is nothing.
async fn is_folder(client: &Client, target: &str, inside: &str) -> Result<Option<bool>> {
    let body = match client.download(&archive(target, inside)).await {
        Ok(body) => body,
        Err(error) if error.kind == Kind::NotFound && error.message.contains(inside) => return Ok(None),
        Err(error) => return Err(error),
    };
    let bridge = SyncIoBridge::new(body);
    let first = move || {
        let mut tar = tar::Archive::new(bridge);
        let mut entries = tar.entries()?;
        Ok::<_, std::io::Error>(entries.next().transpose()?.is_some_and(|entry| entry.header().entry_type().is_dir()))
    };
    blocking(first).await?.map(Some).map_err(|error| Error::failed(format!("{inside} in {target} cannot be read: {error}")))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    Scope::blocking(work).await.map_err(Error::failed)
}

async fn put(client: &Client, from: PathBuf, (target, inside): (&str, &str)) -> Result<()> {
    let whole = from.display().to_string();
    if let Err(error) = std::fs::symlink_metadata(&from) {
        return Err(super::unreadable(&whole, &error));
    }
    let (folder, name) = if is_folder(client, target, inside).await? == Some(true) {
        (inside.to_owned(), name_of(&from.canonicalize().unwrap_or_else(|_| from.clone()), &whole)?)
    } else {
        let there = Path::new(inside);
        let parent = there.parent().map_or_else(|| "/".to_owned(), |parent| parent.display().to_string());
        (parent, name_of(there, inside)?)
    };
    let (reader, writer) = pipe()?;
    let packing = blocking(move || pack(&from, &name, writer));
    let sending = async { client.put_stream(&archive(target, &folder), tokio::fs::File::from_std(reader)).await };
    let (packed, sent) = tokio::join!(packing, sending);
    sent?;
    packed?.map_err(|error| Error::failed(format!("cannot read {whole}: {error}")))
}

/// A pipe as two files.
fn pipe() -> Result<(File, File)> {
    let (reader, writer): (OwnedFd, OwnedFd) =
        nix::unistd::pipe().map_err(|error| Error::failed(format!("cannot make a pipe: {error}")))?;
    Ok((reader.into(), writer.into()))
}

fn pack(from: &Path, name: &Path, to: File) -> std::io::Result<()> {
    let mut tar = tar::Builder::new(std::io::BufWriter::with_capacity(1 << 16, to));
    tar.follow_symlinks(false);
    if from.is_dir() {
        tar.append_dir_all(name, from)?
    } else {
        tar.append_path_with_name(from, name)?
    }
    tar.into_inner()?.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all().or(Ok(()))
}

async fn get(client: &Client, (target, inside): (&str, &str), to: PathBuf) -> Result<()> {
    let body = client.download(&archive(target, inside)).await?;
    let bridge = SyncIoBridge::new(body);
    let whole = to.display().to_string();
    let (folder, rename) = if to.is_dir() {
        (to, None)
    } else {
        let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        (parent.to_path_buf(), Some(name_of(&to, &whole)?))
    };
    let unpacked = blocking(move || unpack(bridge, &folder, rename.as_deref())).await?;
    unpacked.map_err(|error| Error::failed(format!("cannot write {whole}: {error}")))
}

/// Unpacks below `folder`, the first component of each path replaced. Nothing is written outside it.
fn unpack(from: impl Read, folder: &Path, rename: Option<&Path>) -> std::io::Result<()> {
    let mut tar = tar::Archive::new(from);
    for entry in tar.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let plain: PathBuf =
            path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir)).collect();
        let target = match rename {
            Some(name) => name.join(plain.iter().skip(1).collect::<PathBuf>()),
            None => plain,
        };
        if target.components().any(|part| !matches!(part, Component::Normal(_))) {
            return Err(std::io::Error::other(format!("the archive names {} outside", path.display())));
        }
        // A join with nothing leaves a slash behind, which would turn a file into a folder.
        entry.unpack(folder.join(target.components().collect::<PathBuf>()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_as_typed() {
        let there = |target: &str, path: &str| End::There { target: target.to_owned(), path: path.to_owned() };
        assert_eq!(end("s2:c1:/etc/x"), there("s2:c1", "/etc/x"));
        assert_eq!(end("web/1:/x"), there("web/1", "/x"));
        assert_eq!(end("./a:/b"), End::Here("./a:/b".into()));
        assert_eq!(end("/a"), End::Here("/a".into()));
        assert_eq!(end("a"), End::Here("a".into()));
    }

    #[test]
    fn packing_and_unpacking_renames_the_top() {
        let dir = std::env::temp_dir().join(format!("roost-cp-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("in/sub")).unwrap();
        std::fs::write(dir.join("in/sub/f"), "x").unwrap();
        let tar = dir.join("t.tar");
        pack(&dir.join("in"), Path::new("top"), File::create(&tar).unwrap()).unwrap();
        unpack(File::open(&tar).unwrap(), &dir, Some(Path::new("out"))).unwrap();
        assert_eq!(std::fs::read_to_string(dir.join("out/sub/f")).unwrap(), "x");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
