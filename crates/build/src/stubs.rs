//! What a command's mounts leave behind in its layer: empty files and directories that were made only to be mounted on.

use crate::{
    error::{Error, Result, about},
    root::{Root, is_directory, kind, look_at, relative},
    view,
    work::Work,
};
use nix::{
    errno::Errno,
    sys::stat::{FileStat, SFlag},
    unistd::{UnlinkatFlags, unlinkat},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

/// What every container has mounted (`runtime`): its own files of `/etc`, and the kernel's file systems.
const ALWAYS: [&str; 6] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/proc", "/sys", "/dev"];

/// What was not there before the command.
pub struct Stubs {
    /// Places that were not there.
    missing: BTreeSet<PathBuf>,
    /// Directories above them that were, as they were.
    parents: BTreeMap<PathBuf, (u32, u32, u32)>,
}

fn facts(stat: &FileStat) -> (u32, u32, u32) {
    (stat.st_mode, stat.st_uid, stat.st_gid)
}

impl Stubs {
    /// Looks where these targets, and those every container has, lead to in the layers.
    pub fn of(layers: &[PathBuf], targets: &[String], work: &Work) -> Result<Self> {
        let (scratch, mounted) = (work.directory()?, work.directory()?);
        view::apart(|| {
            view::overlay(layers, None, (&mounted, &scratch))?;
            let root = Root::open(&mounted)?;
            let mut found = Self { missing: BTreeSet::new(), parents: BTreeMap::new() };
            for target in ALWAYS.iter().copied().chain(targets.iter().map(String::as_str)) {
                found.add(&root, &root.resolve(&relative(target))?)?;
            }
            Ok(found)
        })
    }

    fn add(&mut self, root: &Root, target: &Path) -> Result<()> {
        for path in target.ancestors().filter(|path| !path.as_os_str().is_empty()) {
            match root.look(path)? {
                None => drop(self.missing.insert(path.to_owned())),
                Some(_) if path == target => return Ok(()),
                Some(stat) => drop(self.parents.insert(path.to_owned(), facts(&stat))),
            }
        }
        Ok(())
    }

    /// Removes from what the command changed what it did not change.
    pub fn clear(&self, upper: &Path) -> Result<()> {
        let root = Root::open(upper)?;
        // The deepest come last in this order.
        for path in self.missing.iter().rev() {
            remove(&root, path, |stat| is_directory(stat) || kind(stat) == SFlag::S_IFREG && stat.st_size == 0)?;
        }
        for (path, before) in self.parents.iter().rev() {
            remove(&root, path, |stat| is_directory(stat) && facts(stat) == *before)?;
        }
        Ok(())
    }
}

/// Removes a name if it is what it should be, and a directory only if it is empty.
fn remove(root: &Root, path: &Path, fits: impl Fn(&FileStat) -> bool) -> Result<()> {
    if root.look(path.parent().unwrap_or(Path::new("")))?.is_none() {
        return Ok(());
    }
    let (parent, name) = root.parent(path)?;
    let Some(stat) = look_at(parent.as_fd(), name).map_err(Error::errno(about("look at", path)))? else { return Ok(()) };
    if !fits(&stat) {
        return Ok(());
    }
    let how = if is_directory(&stat) { UnlinkatFlags::RemoveDir } else { UnlinkatFlags::NoRemoveDir };
    match unlinkat(&parent, name, how) {
        Ok(()) | Err(Errno::ENOTEMPTY | Errno::EEXIST) => Ok(()),
        Err(error) => Err(Error::errno(about("remove", path))(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::MetadataExt as _};

    #[test]
    fn only_what_was_made_for_mounts_goes() {
        let upper = tempfile::tempdir().unwrap();
        let at = |path: &str| upper.path().join(path);
        for directory in ["etc", "proc", "run/secrets", "run/own", "dev", "srv"] {
            fs::create_dir_all(at(directory)).unwrap();
        }
        for (file, content) in [("etc/hosts", ""), ("etc/hostname", "mine"), ("run/secrets/key", ""), ("srv/file", "")] {
            fs::write(at(file), content).unwrap();
        }
        let before = |path: &str| {
            let meta = fs::metadata(at(path)).unwrap();
            (PathBuf::from(path), (meta.mode(), meta.uid(), meta.gid()))
        };
        let missing = ["etc/hosts", "etc/hostname", "proc", "run/secrets", "run/secrets/key", "dev", "none/there"];
        let mut parents = BTreeMap::from([before("etc"), before("srv"), before("run")]);
        parents.insert("run/own".into(), (0, 0, 0));
        let stubs = Stubs { missing: missing.iter().map(PathBuf::from).collect(), parents };
        stubs.clear(upper.path()).unwrap();
        for gone in ["etc/hosts", "proc", "dev", "run/secrets"] {
            assert!(!at(gone).exists(), "{gone}");
        }
        for stays in ["etc/hostname", "srv/file", "run/own"] {
            assert!(at(stays).exists(), "{stays}");
        }
    }
}
