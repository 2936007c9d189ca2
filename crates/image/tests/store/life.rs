//! Copies between servers, work shared, crashes, full disks, and what is removed.

use crate::bed::*;
use driver::{Images as _, image::BlobSource};
use image::ContentStore;
use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

#[test]
fn a_copy_from_another_server_is_the_same_and_is_found_again() {
    let (first, second) = (bed(), bed());
    let image = first.import(&small_root()).unwrap();
    let copy = second.store.ensure(&image.digest, &Peer(&first.store), &quiet).unwrap();
    assert_eq!((&copy.digest, &copy.config, copy.size), (&image.digest, &image.config, image.size));
    assert_eq!(fs::read(top(&copy, "etc/motd")).unwrap(), b"hello");
    assert_eq!(second.store.find(&image.digest).unwrap(), Some(copy.clone()));
    let (dir, root) = (second.dir, second.store);
    drop(root);
    let again = ContentStore::open(options(&dir.path().join("images"))).unwrap();
    assert_eq!(again.list().unwrap(), [copy]);
    assert_eq!(again.find(&sha(b"another")).unwrap(), None);
    assert!(again.find("nonsense").is_err());
    assert!(again.blob(&sha(b"another")).unwrap_err().message.contains("is not in this server's image store"));
}

struct Counting<'a> {
    blobs: &'a Blobs,
    opened: AtomicUsize,
}

impl BlobSource for Counting<'_> {
    fn open(&self, digest: &str) -> driver::Result<Box<dyn Read + Send>> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(std::time::Duration::from_millis(20));
        self.blobs.open(digest)
    }
}

#[test]
fn ten_calls_at_once_fetch_once() {
    let mut blobs = Blobs::default();
    let digest = blobs.image(&[small_root(), Tar::new().file("a", b"a").done(), Tar::new().file("b", b"b").done()]);
    let source = Counting { blobs: &blobs, opened: AtomicUsize::new(0) };
    let bed = bed();
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| assert_eq!(bed.store.ensure(&digest, &source, &quiet).unwrap().layers.len(), 3));
        }
    });
    assert_eq!(source.opened.load(Ordering::Relaxed), 5, "a manifest, a configuration, three layers");
}

#[test]
fn images_that_come_at_once_bring_a_layer_that_they_share_once() {
    let mut blobs = Blobs::default();
    let (upper, lower) = (|name: &str| Tar::new().file(name, b"x").done(), small_root);
    let images: Vec<String> = (0..6).map(|n| blobs.image(&[lower(), upper(&format!("own{n}"))])).collect();
    let turned = blobs.image(&[upper("own0"), lower()]);
    let source = Counting { blobs: &blobs, opened: AtomicUsize::new(0) };
    let bed = bed();
    std::thread::scope(|scope| {
        for digest in images.iter().chain([&turned]) {
            scope.spawn(|| assert_eq!(bed.store.ensure(digest, &source, &quiet).unwrap().layers.len(), 2));
        }
    });
    assert_eq!(source.opened.load(Ordering::Relaxed), 7 * 2 + 7, "manifests and configurations, one shared and six own layers");
}

#[test]
fn only_what_is_missing_is_fetched() {
    let mut blobs = Blobs::default();
    let base = blobs.image(&[small_root()]);
    let more = blobs.image(&[small_root(), Tar::new().file("a", b"a").done()]);
    let source = Counting { blobs: &blobs, opened: AtomicUsize::new(0) };
    let bed = bed();
    bed.store.ensure(&base, &source, &quiet).unwrap();
    let before = source.opened.load(Ordering::Relaxed);
    bed.store.ensure(&more, &source, &quiet).unwrap();
    assert_eq!(source.opened.load(Ordering::Relaxed) - before, 3, "manifest, configuration, the new layer");
}

/// Breaks off after some bytes, a few times.
struct Flaky<'a> {
    blobs: &'a Blobs,
    breaks: AtomicUsize,
}

struct Cut<R>(R, usize);

impl<R: Read> Read for Cut<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.1 == 0 {
            return Err(std::io::ErrorKind::ConnectionReset.into());
        }
        let most = self.1.min(into.len());
        let n = self.0.read(&mut into[..most])?;
        self.1 -= n;
        Ok(n)
    }
}

impl BlobSource for Flaky<'_> {
    fn open(&self, digest: &str) -> driver::Result<Box<dyn Read + Send>> {
        let reader = self.blobs.open(digest)?;
        let size = self.blobs.0[digest].len();
        if size > 10_000 && self.breaks.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
            return Ok(Box::new(Cut(reader, size / 2)));
        }
        Ok(reader)
    }
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1u64;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    })
    .take(bytes)
    .collect()
}

#[test]
fn a_transfer_that_breaks_off_is_taken_up_again_but_not_for_ever() {
    let mut blobs = Blobs::default();
    let digest = blobs.image(&[Tar::new().file("noise", &noise(100_000)).done()]);
    let bed = bed();
    let source = Flaky { blobs: &blobs, breaks: AtomicUsize::new(2) };
    let image = bed.store.ensure(&digest, &source, &quiet).unwrap();
    assert_eq!(fs::read(top(&image, "noise")).unwrap(), noise(100_000));
    let other = crate::bed::bed();
    let source = Flaky { blobs: &blobs, breaks: AtomicUsize::new(usize::MAX) };
    let error = other.store.ensure(&digest, &source, &quiet).unwrap_err();
    assert!(error.retryable && error.message.contains("connection reset"), "{error}");
    assert_eq!(other.store.list().unwrap(), []);
}

#[test]
fn leftovers_of_a_crash_are_gone_when_the_store_is_opened() {
    let bed = bed();
    let image = bed.import(&small_root()).unwrap();
    let (dir, root) = (bed.root(), bed.root());
    drop(bed.store);
    let hex = &image.digest[7..];
    fs::create_dir_all(dir.join("staging/9-9/fs/deep")).unwrap();
    fs::write(dir.join("staging/9-9/fs/deep/file"), "half").unwrap();
    fs::create_dir_all(dir.join("layers").join("e".repeat(64)).join("fs")).unwrap();
    fs::write(dir.join("blobs/sha256").join("e".repeat(64)), "stray").unwrap();
    fs::write(dir.join("images").join(format!("{}.json", "e".repeat(64))), "{\"half\":").unwrap();
    let store = ContentStore::open(options(&root)).unwrap();
    assert_eq!(store.list().unwrap(), std::slice::from_ref(&image));
    let names = |part: &str| fs::read_dir(dir.join(part)).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!((names("layers").len(), names("images").len()), (1, 1), "out of sight at once");
    // A marker that is being made to last has a place there for a moment; what is out of sight leaves as the disk allows.
    for _ in (0..500).take_while(|_| !names("staging").is_empty() || !names("old").is_empty()) {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!((names("staging").len(), names("old").len()), (0, 0));
    assert_eq!(names("blobs/sha256").len(), 3);
    drop(store);
    // An image that lost its content is forgotten, and can come again.
    fs::remove_dir_all(image.layers[0].parent().unwrap()).unwrap();
    let store = ContentStore::open(options(&root)).unwrap();
    assert_eq!(store.list().unwrap(), []);
    assert!(!dir.join("images").join(format!("{hex}.json")).exists());
}

#[test]
fn two_processes_cannot_have_one_store() {
    let bed = bed();
    let error = ContentStore::open(options(&bed.root())).err().unwrap();
    assert!(error.message.contains("is in use by another process"), "{error}");
}

#[test]
fn prune_removes_what_nothing_needs() {
    let mut blobs = Blobs::default();
    let both = blobs.image(&[small_root(), Tar::new().file("a", &noise(50_000)).done()]);
    let base = blobs.image(&[small_root()]);
    let bed = bed();
    let image = bed.store.ensure(&both, &blobs, &quiet).unwrap();
    bed.store.ensure(&base, &blobs, &quiet).unwrap();
    assert_eq!(bed.store.prune(&[both.clone(), base.clone()]).unwrap().discard().unwrap(), 0);
    let swept = bed.store.prune(std::slice::from_ref(&base)).unwrap();
    assert!(!image.layers[1].exists() && bed.store.find(&both).unwrap().is_none(), "out of sight at once");
    bed.store.ensure(&both, &blobs, &quiet).unwrap();
    let freed = swept.discard().unwrap();
    assert!((100_000..200_000).contains(&freed), "a layer, unpacked and not: {freed}");
    assert!(image.layers[1].exists(), "what came meanwhile stays");
    bed.store.prune(std::slice::from_ref(&base)).unwrap().discard().unwrap();
    assert!(!image.layers[1].exists() && image.layers[0].exists());
    assert_eq!(bed.store.list().unwrap().iter().map(|i| &i.digest).collect::<Vec<_>>(), [&base]);
    bed.store.prune(&[]).unwrap().discard().unwrap();
    let files: Vec<PathBuf> = bed.files().into_iter().filter(|p| p.is_file()).collect();
    assert_eq!(files, [bed.root().join("lock")]);
}

struct Tiny(PathBuf);

impl Tiny {
    fn mount(at: &Path, size: &str) -> Self {
        fs::create_dir_all(at).unwrap();
        tool("mount", &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs", at.to_str().unwrap()]);
        Self(at.to_owned())
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_gets_a_sentence_and_keeps_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Tiny::mount(&dir.path().join("disk"), "3m");
    let root = disk.0.join("images");
    let store = ContentStore::open(options(&root)).unwrap();
    let used = || nix::sys::statvfs::statvfs(&disk.0).map(|s| s.blocks() - s.blocks_free()).unwrap();
    let before = used();
    let small: Vec<(String, Vec<u8>)> = (0..200).map(|n| (format!("f{n}"), noise(20_000))).collect();
    let many = small.iter().fold(Tar::new(), |tar, (name, data)| tar.file(name, data)).done();
    let big = Tar::new().file("big", &noise(4 << 20)).done();
    let mut blobs = Blobs::default();
    let digest = blobs.image(std::slice::from_ref(&big));
    let layout = blobs.layout(&digest);
    for (what, bytes) in [("many", many), ("big", big), ("layout", layout)] {
        let error = store.import(&mut &bytes[..], what, &quiet).unwrap_err();
        assert_eq!(error.message, format!("no space left on the file system of {}", root.display()), "{what}");
        assert!(error.retryable);
        assert_eq!(used(), before, "{what}");
    }
    let error = store.ensure(&digest, &blobs, &quiet).unwrap_err();
    assert!(error.message.starts_with("no space left"), "{error}");
    assert_eq!(used(), before);
    assert_eq!(store.import(&mut &small_root()[..], "small", &quiet).unwrap().layers.len(), 1, "it still works");
}

/// So many bytes of an archive with one file, made while they are read.
struct Endless {
    head: Vec<u8>,
    left: usize,
}

impl Read for Endless {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if !self.head.is_empty() {
            let n = self.head.len().min(into.len());
            into[..n].copy_from_slice(&self.head[..n]);
            self.head.drain(..n);
            return Ok(n);
        }
        let n = self.left.min(into.len());
        // The end marker is zeros; before it every eighth byte differs from piece to piece.
        let fill = if self.left > 1024 { u8::try_from(self.left / 512 % 251).unwrap() } else { 0 };
        let n = if self.left > 1024 { n.min(self.left - 1024).min(512) } else { n };
        into[..n].fill(fill);
        self.left -= n;
        Ok(n)
    }
}

fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn memory_does_not_grow_with_the_archive() {
    let size = 160 << 20;
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_path("big").unwrap();
    header.set_mode(0o644);
    header.set_cksum();
    let size = usize::try_from(size).unwrap();
    let mut archive = Endless { head: header.as_bytes().to_vec(), left: size + 1024 };
    let bed = bed();
    let before = peak_kib();
    let image = bed.store.import(&mut archive, "big", &quiet).unwrap();
    assert_eq!(fs::metadata(top(&image, "big")).unwrap().len(), size as u64);
    let grown = peak_kib().saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB for an archive of 160 MiB");
}
