//! Directories of real layers, copied out. Mounts overlays, so it needs root.

use super::*;
use crate::work::Area;
use nix::sys::stat::{SFlag, makedev, mknod};
use std::os::unix::fs::{MetadataExt as _, chown, symlink};

struct Bed {
    top: tempfile::TempDir,
    area: Area,
}

impl Bed {
    /// Two layers: the upper one changes a file, takes one away, and replaces a directory.
    fn new() -> Self {
        let top = tempfile::tempdir().unwrap();
        let area = Area::open(&top.path().join("state")).unwrap();
        let bed = Self { top, area };
        for (path, text) in
            [("low/data/kept", "low"), ("low/data/changed", "low"), ("low/data/gone", "low"), ("low/data/sub/old", "low")]
        {
            bed.file(path, text);
        }
        for (path, text) in [("high/data/changed", "high"), ("high/data/sub/new", "high"), ("high/etc/hosts", "high")] {
            bed.file(path, text);
        }
        mknod(&bed.at("high/data/gone"), SFlag::S_IFCHR, nix::sys::stat::Mode::empty(), makedev(0, 0)).unwrap();
        let opaque = Path::new("trusted.overlay.opaque");
        let place = std::ffi::CString::new(bed.at("high/data/sub").into_os_string().into_encoded_bytes()).unwrap();
        let name = std::ffi::CString::new(opaque.as_os_str().as_encoded_bytes()).unwrap();
        // SAFETY: both names end in zero and outlive the call, as does the one byte of the value.
        assert_eq!(unsafe { libc::lsetxattr(place.as_ptr(), name.as_ptr(), b"y".as_ptr().cast(), 1, 0) }, 0);
        symlink("/data", bed.at("high/link")).unwrap();
        symlink("../../../etc", bed.at("high/climbing")).unwrap();
        bed
    }

    fn at(&self, path: &str) -> PathBuf {
        self.top.path().join(path)
    }

    fn file(&self, path: &str, text: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), text).unwrap();
    }

    /// What is copied out of a path: names and content, in order.
    fn out(&self, path: &str) -> (PathBuf, Vec<String>) {
        let work = self.area.begin().unwrap();
        let into = self.at(&format!("out-{}", path.replace('/', "-")));
        fs::create_dir(&into).unwrap();
        out((&[self.at("low"), self.at("high")], path), &into, &work).unwrap();
        let mut found = Vec::new();
        for folder in [into.clone(), into.join("sub")] {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten().filter(|entry| entry.path().is_file()) {
                let name = entry.path().strip_prefix(&into).unwrap().display().to_string();
                found.push(format!("{name}: {}", fs::read_to_string(entry.path()).unwrap()));
            }
        }
        found.sort();
        (into, found)
    }
}

#[test]
fn a_directory_is_copied_as_its_layers_show_it() {
    let bed = Bed::new();
    chown(bed.at("high/data"), Some(472), Some(33)).unwrap();
    fs::set_permissions(bed.at("high/data"), fs::Permissions::from_mode(0o2750)).unwrap();
    let expected = ["changed: high", "kept: low", "sub/new: high"];
    let (into, found) = bed.out("/data");
    assert_eq!(found, expected);
    let (made, like) = (fs::metadata(into).unwrap(), fs::metadata(bed.at("high/data")).unwrap());
    assert_eq!((made.uid(), made.gid(), made.mode() & 0o7777), (472, 33, 0o2750));
    assert_eq!(made.mtime(), like.mtime());
    assert_eq!(bed.out("/link").1, expected, "a link leads within the image");
    assert_eq!(bed.out("/climbing").1, ["hosts: high"], "so does one that would leave it");
    for path in ["/none", "/data/kept", "/none/at/all"] {
        assert_eq!(bed.out(path).1, [""; 0], "{path}");
    }
}
