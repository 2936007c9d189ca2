//! Named volumes: made when they are first mounted, as users of docker know it. A new volume begins with what the image has at that
//! place, owners and permissions included, so that a program which is not root can write to its own.

use driver::{Builder, DriverError, runtime::PodRun};
use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, RenameFlags, renameat2},
};
use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

/// What is not complete yet begins so. No volume's own name begins with a dot.
const HIDDEN: &str = ".new-";

/// Makes the volumes below this directory that a pod mounts, and that are not there yet.
pub fn make(run: &PodRun, volumes: &Path, builder: &dyn Builder) -> Result<(), DriverError> {
    for container in &run.containers {
        for mount in container.mounts.iter().filter(|mount| mount.source.starts_with(volumes)) {
            if !mount.source.exists() {
                make_one(&mount.source, |new| builder.copy_out(&container.layers, &mount.target, new))
                    .map_err(|error| DriverError::retryable(format!("volume {}: {error}", mount.source.display())))?;
            }
        }
    }
    Ok(())
}

/// Removes what was cut off in the middle.
pub fn clear(volumes: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(volumes) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(HIDDEN) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// A volume gets its name when it is complete, and on the disk for good: what is missing in it is never put there later. Of two who
/// make it at once, one does.
fn make_one(volume: &Path, fill: impl FnOnce(&Path) -> Result<(), DriverError>) -> Result<(), DriverError> {
    let new = hidden(volume);
    let made = (|| {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(&new).map_err(retryable)?;
        fill(&new)?;
        if fs::read_dir(&new).map_err(retryable)?.next().is_some() {
            let whole = File::open(&new).map_err(retryable)?;
            nix::unistd::syncfs(whole).map_err(retryable)?;
        }
        match renameat2(AT_FDCWD, &new, AT_FDCWD, volume, RenameFlags::RENAME_NOREPLACE) {
            Ok(()) => Ok(true),
            Err(Errno::EEXIST) => Ok(false),
            Err(error) => Err(retryable(error)),
        }
    })();
    if !matches!(made, Ok(true)) {
        fs::remove_dir_all(&new).map_err(retryable)?;
    }
    made.map(drop)
}

fn hidden(volume: &Path) -> PathBuf {
    let mut name = OsString::from(HIDDEN);
    name.push(base::env::seed().to_string());
    volume.with_file_name(name)
}

fn retryable(error: impl Into<io::Error>) -> DriverError {
    DriverError::retryable(error.into().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn names(folder: &Path) -> Vec<OsString> {
        let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_volume_is_there_when_it_is_complete_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let volumes = folder.path().join("volumes");
        let volume = volumes.join("data");
        let fill = |text: &'static str| {
            move |new: &Path| {
                fs::set_permissions(new, fs::Permissions::from_mode(0o710)).unwrap();
                fs::write(new.join("file"), text).map_err(retryable)
            }
        };
        make_one(&volume, |new| {
            assert!(!volume.exists(), "it is filled first");
            fill("early")(new).unwrap();
            Err(DriverError::retryable("no space left"))
        })
        .unwrap_err();
        assert!(names(&volumes).is_empty(), "nothing half done");
        make_one(&volume, |new| {
            // Somebody else is quicker.
            make_one(&volume, fill("first")).unwrap();
            fill("second")(new)
        })
        .unwrap();
        assert_eq!(names(&volumes), ["data"]);
        assert_eq!(fs::read_to_string(volume.join("file")).unwrap(), "first");
        assert_eq!(fs::metadata(&volume).unwrap().permissions().mode() & 0o7777, 0o710);
    }

    #[test]
    fn what_was_cut_off_is_removed_and_volumes_stay() {
        let folder = tempfile::tempdir().unwrap();
        clear(&folder.path().join("none")).unwrap();
        fs::create_dir_all(hidden(&folder.path().join("data")).join("half")).unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        clear(folder.path()).unwrap();
        assert_eq!(names(folder.path()), ["data"]);
    }
}
