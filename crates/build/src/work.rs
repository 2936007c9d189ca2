//! Directories of builds: each has one, and it goes with the build, whatever is mounted in it.

use crate::error::{Error, Result, about};
use nix::mount::{MntFlags, umount2};
use std::{
    fs::{self, DirBuilder},
    io::ErrorKind,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// Directories that are to go begin so.
const GONE: &str = "gone-";

/// Where builds under way lie.
pub struct Area {
    directory: PathBuf,
    next: AtomicU64,
}

impl Area {
    /// Puts what is left of former builds out of the way at once, and removes it when there is time.
    pub fn open(state: &Path) -> Result<Self> {
        make(state)?;
        let directory = state.join("work");
        unmount(&directory)?;
        if directory.exists() {
            let gone = state.join(format!("{GONE}{}", base::env::seed()));
            fs::rename(&directory, &gone).map_err(Error::io(about("put aside", &directory)))?;
        }
        make(&directory)?;
        let entries = fs::read_dir(state).map_err(Error::io(about("list", state)))?.flatten();
        let gone: Vec<PathBuf> =
            entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(GONE)).map(|entry| entry.path()).collect();
        let remove = move || gone.iter().for_each(|path| warned(clear(path)));
        std::thread::Builder::new().name("builds".to_owned()).spawn(remove).map_err(Error::io("start a thread"))?;
        Ok(Self { directory, next: AtomicU64::new(0) })
    }

    /// A directory for a build.
    pub fn begin(&self) -> Result<Work> {
        Work::make(self.directory.join(self.next.fetch_add(1, Ordering::Relaxed).to_string()))
    }
}

/// A directory that goes when this is dropped, with what is mounted in it.
pub struct Work {
    directory: PathBuf,
    next: AtomicU64,
}

impl Work {
    fn make(directory: PathBuf) -> Result<Self> {
        make(&directory)?;
        Ok(Self { directory, next: AtomicU64::new(0) })
    }

    /// Another of the kind in it.
    pub fn inner(&self) -> Result<Self> {
        Self::make(self.path())
    }

    /// A path in it that is not in use.
    pub fn path(&self) -> PathBuf {
        self.directory.join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// A new directory in it.
    pub fn directory(&self) -> Result<PathBuf> {
        let path = self.path();
        make(&path)?;
        Ok(path)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        warned(clear(&self.directory));
    }
}

fn warned(cleared: Result<()>) {
    if let Err(error) = cleared {
        tracing::warn!(%error, "a build's directory stays until the agent starts again");
    }
}

/// Makes a directory that only root may enter.
pub fn make(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::io(about("make", path)))
}

/// Removes a directory and takes off what is mounted in it.
pub fn clear(directory: &Path) -> Result<()> {
    unmount(directory)?;
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(about("remove", directory))(error)),
        _ => Ok(()),
    }
}

fn unmount(directory: &Path) -> Result<()> {
    let mut points = mounts_below(directory).into_iter();
    points.try_for_each(|point| umount2(&point, MntFlags::MNT_DETACH).map_err(Error::errno(about("unmount", &point))))
}

/// Mount points in our namespace at or below a directory, the last mounted first.
fn mounts_below(directory: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
    let points = text.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    let mut below: Vec<PathBuf> = points.filter(|point| point.starts_with(directory)).collect();
    below.reverse();
    below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_leaves_nothing() {
        let state = tempfile::tempdir().unwrap();
        let area = Area::open(state.path()).unwrap();
        let work = area.begin().unwrap();
        let inner = work.inner().unwrap();
        let directory = inner.directory().unwrap();
        fs::write(directory.join("file"), "x").unwrap();
        drop((inner, work));
        assert_eq!(fs::read_dir(state.path().join("work")).unwrap().count(), 0);
        fs::create_dir_all(state.path().join("work/7/left")).unwrap();
        Area::open(state.path()).unwrap();
        assert_eq!(fs::read_dir(state.path().join("work")).unwrap().count(), 0, "what a killed process left is removed");
    }
}
