//! Named volumes: made when they are first mounted, with the owner and mode that the image has at that place, so that a program which
//! is not root can write to its own.

use driver::{DriverError, runtime::PodRun};
use std::{
    ffi::OsString,
    fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::{Component, Path, PathBuf},
};

/// Makes the volumes below this directory that a pod mounts, and that are not there yet.
pub fn make(run: &PodRun, volumes: &Path) -> Result<(), DriverError> {
    for container in &run.containers {
        for mount in container.mounts.iter().filter(|mount| mount.source.starts_with(volumes)) {
            make_one(&mount.source, (&container.layers, &mount.target))
                .map_err(|error| DriverError::retryable(format!("volume {}: {error}", mount.source.display())))?;
        }
    }
    Ok(())
}

fn make_one(volume: &Path, (layers, target): (&[PathBuf], &str)) -> io::Result<()> {
    if volume.exists() {
        return Ok(());
    }
    // It gets its name when it is as it shall be. No volume's own name begins with a dot.
    let mut hidden = OsString::from(".new-");
    hidden.push(volume.file_name().unwrap_or_default());
    let new = volume.with_file_name(hidden);
    fs::create_dir_all(&new)?;
    if let Some(like) = in_image(layers, target) {
        chown(&new, Some(like.uid()), Some(like.gid()))?;
        fs::set_permissions(&new, fs::Permissions::from_mode(like.mode() & 0o7777))?;
    }
    fs::rename(&new, volume)
}

/// The directory of this path in an image: that of the uppermost layer which has it. Links are not followed: they could lead out of
/// the image.
fn in_image(layers: &[PathBuf], target: &str) -> Option<fs::Metadata> {
    layers.iter().rev().find_map(|layer| {
        let mut place = layer.clone();
        let mut found = None;
        for part in Path::new(target).components() {
            match part {
                Component::RootDir => {}
                Component::Normal(name) => {
                    place.push(name);
                    found = Some(fs::symlink_metadata(&place).ok().filter(fs::Metadata::is_dir)?);
                }
                Component::Prefix(_) | Component::CurDir | Component::ParentDir => return None,
            }
        }
        found
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_volume_is_as_the_image_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        let layers = [at("low"), at("high")];
        for (path, mode) in [("low/data", 0o700), ("low/only", 0o711), ("high/data", 0o750), ("low/real", 0o700)] {
            fs::create_dir_all(at(path)).unwrap();
            fs::set_permissions(at(path), fs::Permissions::from_mode(mode)).unwrap();
        }
        std::os::unix::fs::symlink(at("low/real"), at("high/link")).unwrap();
        let mode = |target: &str| {
            let volume = at(&format!("volumes{target}"));
            make_one(&volume, (layers.as_slice(), target)).unwrap();
            fs::metadata(&volume).unwrap().mode() & 0o7777
        };
        let plain = {
            fs::create_dir(at("plain")).unwrap();
            fs::metadata(at("plain")).unwrap().mode() & 0o7777
        };
        assert_eq!((mode("/data"), mode("/only"), mode("/none"), mode("/link")), (0o750, 0o711, plain, plain));
        fs::set_permissions(at("volumes/data"), fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(mode("/data"), 0o777, "one that is there stays as it is");
        assert_eq!(fs::read_dir(at("volumes")).unwrap().count(), 4, "nothing else is left");
    }
}
