//! A directory whose files strangers wrote: every path is resolved by the kernel as if the directory were `/` (openat2(2),
//! `RESOLVE_IN_ROOT`), so that no link leads out of it, absolute or climbing, also while links change.

use nix::{
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2},
    sys::stat::Mode,
};
use std::{
    os::fd::{AsFd, OwnedFd},
    path::{Component, Path, PathBuf},
};

/// How often a look is repeated when something was renamed meanwhile (openat2(2), EAGAIN).
const TRIES: u32 = 8;

/// A directory that is `/` to every path.
pub struct Root(OwnedFd);

impl Root {
    /// Opens it; the path to it is the caller's own, and resolved as any other.
    pub fn open(path: &Path) -> nix::Result<Self> {
        open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).map(Self)
    }

    /// Opens something in it; links are followed, within it.
    pub fn open_in(&self, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
        open_in(&self.0, path, flags)
    }
}

/// Opens something in a directory that is open, as if that were `/`.
pub fn open_in(root: impl AsFd, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let how =
        OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let mut result = openat2(&root, path, how);
    for _ in 0..TRIES {
        if result.as_ref().err() != Some(&Errno::EAGAIN) {
            break;
        }
        result = openat2(&root, path, how);
    }
    result
}

/// A path below a root as somebody wrote it, without `.`, `..` and slashes at its ends; empty for the root.
pub fn relative(path: &str) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(part) => clean.push(part),
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    #[test]
    fn links_lead_nowhere_else() {
        let top = tempfile::tempdir().unwrap();
        fs::write(top.path().join("secret"), "x").unwrap();
        let inside = top.path().join("root");
        fs::create_dir_all(inside.join("etc")).unwrap();
        symlink("/secret", inside.join("absolute")).unwrap();
        symlink("../../../secret", inside.join("etc/climbing")).unwrap();
        symlink("/etc", inside.join("conf")).unwrap();
        fs::write(inside.join("etc/hosts"), "h").unwrap();
        let root = Root::open(&inside).unwrap();
        let finds = |path: &str| root.open_in(Path::new(path), OFlag::O_PATH).map(drop);
        assert_eq!(finds("absolute"), Err(Errno::ENOENT));
        assert_eq!(finds("etc/climbing"), Err(Errno::ENOENT));
        assert_eq!(finds("conf/hosts"), Ok(()));
        assert_eq!(finds(""), Ok(()));
    }

    #[test]
    fn paths_as_written() {
        for (text, clean) in [("/a//b/", "a/b"), ("../x", "x"), ("a/../../b", "b"), ("/", ""), (".", "")] {
            assert_eq!(relative(text), Path::new(clean), "{text}");
        }
    }
}
