//! Copies and digests of real files.

use super::*;
use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
};

struct Bed {
    top: tempfile::TempDir,
}

impl Bed {
    fn new() -> Self {
        let bed = Self { top: tempfile::tempdir().unwrap() };
        fs::create_dir_all(bed.from("dir/deep")).unwrap();
        fs::create_dir_all(bed.to("")).unwrap();
        bed
    }

    fn from(&self, path: &str) -> PathBuf {
        self.top.path().join("from").join(path)
    }

    fn to(&self, path: &str) -> PathBuf {
        self.top.path().join("to").join(path)
    }

    fn file(&self, path: &str, content: &str, mode: u32) {
        fs::write(self.from(path), content).unwrap();
        fs::set_permissions(self.from(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Copies everything to a path of the target.
    fn copy(&self, to: &str, ignore: &Ignore, mode: Option<&recipe::Mode>) -> Result<()> {
        let (from, root) = (Root::open(&self.from("")).unwrap(), Root::open(&self.to("")).unwrap());
        let directory = from.directory(Path::new("")).unwrap();
        Copier::new(&root, Copying { ignore, owner: None, mode }).content(directory.as_fd(), Path::new(to))
    }

    fn digest(&self, path: &str) -> String {
        let (ignore, root) = (Ignore::default(), Root::open(&self.from("")).unwrap());
        let mut hash = Hashing::new(&ignore, false);
        hash.add(&root, Path::new(path)).unwrap();
        hash.finish()
    }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn all_that_belongs_to_files_is_copied() {
    let bed = Bed::new();
    bed.file("dir/a", "content", 0o4751);
    fs::hard_link(bed.from("dir/a"), bed.from("dir/deep/same")).unwrap();
    symlink("/etc/passwd", bed.from("link")).unwrap();
    let sparse = File::create(bed.from("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    std::os::unix::fs::FileExt::write_at(&sparse, b"end", (64 << 20) - 3).unwrap();
    let then = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 123_456_789);
    File::options().write(true).open(bed.from("dir/a")).unwrap().set_modified(then).unwrap();
    fs::set_permissions(bed.from("dir/deep"), fs::Permissions::from_mode(0o1710)).unwrap();
    File::open(bed.from("dir")).unwrap().set_modified(then).unwrap();
    bed.copy("x", &Ignore::default(), None).unwrap();
    let a = fs::metadata(bed.to("x/dir/a")).unwrap();
    assert_eq!((a.mode() & 0o7777, a.modified().unwrap()), (0o4751, then));
    assert_eq!(a.ino(), fs::metadata(bed.to("x/dir/deep/same")).unwrap().ino(), "one file with two names");
    assert_eq!(fs::read_link(bed.to("x/link")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!((mode(&bed.to("x/dir/deep")), fs::metadata(bed.to("x/dir")).unwrap().modified().unwrap()), (0o1710, then));
    let copied = fs::metadata(bed.to("x/sparse")).unwrap();
    assert_eq!(copied.len(), 64 << 20);
    assert!(copied.blocks() * 512 < 1 << 20, "holes stay holes");
    assert!(fs::read(bed.to("x/sparse")).unwrap().ends_with(b"\0end"));
}

#[test]
fn what_is_there_is_replaced_and_kinds_must_fit() {
    let bed = Bed::new();
    bed.file("dir/a", "new", 0o600);
    fs::create_dir_all(bed.to("dir")).unwrap();
    symlink("/elsewhere", bed.to("dir/a")).unwrap();
    bed.copy("", &Ignore::default(), Some(&recipe::Mode::parse("u=rwX,go=rX").unwrap())).unwrap();
    assert_eq!((fs::read_to_string(bed.to("dir/a")).unwrap().as_str(), mode(&bed.to("dir/a"))), ("new", 0o644));
    fs::remove_file(bed.to("dir/a")).unwrap();
    fs::create_dir(bed.to("dir/a")).unwrap();
    let error = bed.copy("", &Ignore::default(), None).unwrap_err().to_string();
    assert_eq!(error, "/dir/a is a directory, and a file is to be copied there");
    fs::remove_dir_all(bed.to("dir")).unwrap();
    fs::write(bed.to("dir"), "").unwrap();
    let error = bed.copy("", &Ignore::default(), None).unwrap_err().to_string();
    assert_eq!(error, "/dir is a file, and a directory is to be copied there");
}

#[test]
fn links_of_the_target_lead_nowhere_else() {
    let bed = Bed::new();
    bed.file("dir/a", "x", 0o644);
    fs::create_dir_all(bed.to("real")).unwrap();
    symlink("/real", bed.to("dir")).unwrap();
    bed.copy("", &Ignore::default(), None).unwrap();
    assert!(bed.to("real/a").is_file() && bed.to("dir").is_symlink(), "a link to a directory is followed within the root");
}

#[test]
fn what_is_excluded_stays_away() {
    let bed = Bed::new();
    fs::create_dir_all(bed.from("dir/deep/er")).unwrap();
    fs::create_dir_all(bed.from("off/empty")).unwrap();
    for file in ["a.md", "keep.md", "dir/b.md", "dir/deep/c", "dir/deep/er/kept"] {
        bed.file(file, "", 0o644);
    }
    let ignore = Ignore::of(&["**/*.md", "!keep.md", "dir/deep", "off", "!dir/deep/er/kept"].map(str::to_owned)).unwrap();
    bed.copy("", &ignore, None).unwrap();
    let there = ["a.md", "keep.md", "dir/b.md", "dir/deep/c", "off", "dir/deep/er/kept"].map(|path| bed.to(path).exists());
    assert_eq!(there, [false, true, false, false, false, true]);
}

#[test]
fn digests_are_of_content_and_not_of_times() {
    let bed = Bed::new();
    bed.file("dir/a", "one", 0o644);
    let first = bed.digest("dir");
    File::options().write(true).open(bed.from("dir/a")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(bed.digest("dir"), first);
    bed.file("dir/a", "two", 0o644);
    let second = bed.digest("dir");
    bed.file("dir/a", "two", 0o755);
    let third = bed.digest("dir");
    fs::rename(bed.from("dir/a"), bed.from("dir/b")).unwrap();
    let all = [first, second, third, bed.digest("dir")];
    assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
}
