//! Archives that lie, climb out, or never end: each gets a sentence and leaves nothing.

use crate::bed::*;
use driver::Images as _;
use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};
use tar::EntryType;

/// The sentence an archive is refused with; nothing may be left of it.
fn refused(bytes: &[u8]) -> String {
    let bed = bed();
    let before = bed.files();
    let error = bed.import(bytes).expect_err("must be refused");
    assert_eq!(bed.files(), before, "something was left: {error}");
    assert_eq!(bed.store.list().unwrap(), []);
    error
}

#[test]
fn names_that_climb_out() {
    let error = refused(&Tar::new().file("ok", b"").file("../../../evil", b"x").done());
    assert!(error.contains("climbs out of the archive with '..'") && error.contains("../../../evil"), "{error}");
    assert!(refused(&Tar::new().file("a/../../b", b"").done()).contains("climbs out"));
    assert!(refused(&Tar::new().pax("path", b"x\0y").file("x", b"").done()).contains("zero byte"));
    assert!(refused(&Tar::new().file("etc/.wh...", b"").done()).contains("hides nothing"));
}

#[test]
fn links_that_climb_out_when_followed() {
    let out = tempfile::tempdir().unwrap();
    let target = out.path().to_str().unwrap();
    for link in [target, "/", "../..", "x/../../.."] {
        let error = refused(&Tar::new().dir("x/").symlink("out", link).file("out/evil", b"x").done());
        assert!(error.contains("climbs out through a symbolic link") && error.contains("out"), "{link}: {error}");
    }
    assert!(!out.path().join("evil").exists());
    let error = refused(&Tar::new().symlink("out", target).hard("grab", "out/passwd").done());
    assert!(error.contains("climbs out"), "{error}");
    let error = refused(&Tar::new().hard("grab", "/etc/passwd").done());
    assert!(error.contains("no file of the archive"), "{error}");
    let error = refused(&Tar::new().hard("grab", "../../etc/passwd").done());
    assert!(error.contains("climbs out"), "{error}");
    assert!(refused(&Tar::new().symlink("a", "b").symlink("b", "a").file("a/x", b"").done()).contains("circle"));
    assert!(refused(&Tar::new().file("a", b"").file("a/x", b"").done()).contains("no directory"));
    // A link is replaced, never written through.
    let bed = bed();
    fs::write(out.path().join("kept"), "kept").unwrap();
    let image = bed.import(&Tar::new().symlink("f", &format!("{target}/kept")).file("f", b"new").done()).unwrap();
    assert_eq!(fs::read(top(&image, "f")).unwrap(), b"new");
    assert_eq!(fs::read(out.path().join("kept")).unwrap(), b"kept");
}

#[test]
fn device_nodes() {
    let error = refused(&Tar::new().device(EntryType::Block, "disk", 8, 0).done());
    assert!(error.contains("device node disk (8, 0)"), "{error}");
    assert!(refused(&Tar::new().device(EntryType::Char, "dev/mem", 1, 1).done()).contains("dev/mem"));
    assert!(refused(&Tar::new().device(EntryType::Char, "dev/null", 1, 1).done()).contains("dev/null"));
    // Those every container has are passed over, not made.
    let bed = bed();
    let image = bed.import(&Tar::new().dir("dev/").device(EntryType::Char, "dev/null", 1, 3).file("x", b"").done()).unwrap();
    assert!(!top(&image, "dev/null").exists());
}

#[test]
fn owners_that_are_none() {
    assert!(refused(&Tar::new().pax("uid", b"4294967295").file("x", b"").done()).contains("no user or group"));
}

#[test]
fn truncated_at_any_place() {
    let tar = Tar::new().dir("etc/").file("etc/a", &[7; 3000]).file("etc/b", &[8; 100]).done();
    for cut in [700, 1024, 1600, 4096, tar.len() - 1024] {
        for bytes in [tar[..cut].to_vec(), gzip(&tar[..cut])] {
            let error = refused(&bytes);
            assert!(error.contains("archive is truncated"), "{cut}: {error}");
        }
    }
    let zipped = gzip(&tar);
    assert!(refused(&zipped[..zipped.len() - 9]).contains("truncated"));
    let mut blobs = Blobs::default();
    let digest = blobs.image(&[small_root()]);
    let layout = blobs.layout(&digest);
    assert!(refused(&layout[..layout.len() / 2]).contains("truncated"));
    assert_eq!(refused(b""), "the archive is empty");
    assert!(refused(b"just some text").contains("truncated") || refused(b"just some text").contains("no tar archive"));
    assert!(refused(&[b'x'; 2000]).contains("is no tar archive"));
}

#[test]
fn content_that_is_not_what_its_digest_says() {
    let mut blobs = Blobs::default();
    let digest = blobs.image(&[small_root()]);
    let keys: Vec<_> = blobs.0.keys().cloned().collect();
    for key in keys {
        let bed = bed();
        let before = bed.files();
        let mut bad = blobs.clone();
        let bytes = bad.0.get_mut(&key).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        let error = bed.store.ensure(&digest, &bad, &quiet).unwrap_err();
        assert!(error.message.contains("is damaged") && error.message.contains(&key), "{error}");
        assert!(!error.retryable);
        assert_eq!(bed.files(), before);
        let shorter = bed.import(&bad.layout(&digest)).unwrap_err();
        assert!(shorter.contains("damaged"), "{shorter}");
    }
}

#[test]
fn a_layer_that_is_not_what_the_configuration_says() {
    let mut blobs = Blobs::default();
    let digest = blobs.image_of(&[gzip(&small_root())], &[sha(b"something else")]);
    let bed = bed();
    let error = bed.store.ensure(&digest, &blobs, &quiet).unwrap_err();
    assert!(error.message.contains("not what the image's configuration says"), "{error}");
    let error = refused(&blobs.layout(&digest));
    assert!(error.contains("not what the image's configuration says"), "{error}");
    let none = blobs.image_of(&[gzip(&small_root())], &[]);
    assert!(refused(&blobs.layout(&none)).contains("names 0 layers, its manifest 1"));
}

#[test]
fn what_unpacks_to_too_much() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(&dir.path().join("images"));
    options.max_unpacked = api::Bytes(1 << 20);
    let store = image::ContentStore::open(options).unwrap();
    let import = |bytes: &[u8]| store.import(&mut &bytes[..], "big", &quiet).unwrap_err().message;
    let error = import(&gzip(&Tar::new().file("zeros", &vec![0; 2 << 20]).done()));
    assert!(error.contains("more than is allowed: zeros is too much"), "{error}");
    // A file that claims a petabyte and brings nothing.
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(EntryType::GNUSparse);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    let gnu = header.as_gnu_mut().unwrap();
    gnu.name[..4].copy_from_slice(b"hole");
    gnu.set_real_size(1 << 50);
    header.set_cksum();
    let mut archive = header.as_bytes().to_vec();
    archive.extend([0; 1024]);
    assert!(import(&archive).contains("hole is too much"));
    assert_eq!(store.list().unwrap(), []);
}

#[test]
fn a_decompression_bomb() {
    // Two gigabytes of zeros in a few hundred kilobytes.
    let bomb = {
        let mut header = tar::Header::new_gnu();
        header.set_size(2 << 30);
        header.set_path("zeros").unwrap();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        std::io::copy(
            &mut std::io::Read::chain(&header.as_bytes()[..], std::io::Read::take(std::io::repeat(0), 2 << 30)),
            &mut encoder,
        )
        .unwrap();
        encoder.finish().unwrap()
    };
    assert!(bomb.len() < 1 << 20);
    let error = refused(&bomb);
    assert!(error.contains("decompression bomb"), "{error}");
}

#[test]
fn the_helper_has_given_up_what_it_does_not_need() {
    let dir = tempfile::tempdir().unwrap();
    let mut helper = Command::new(env!("CARGO_BIN_EXE_image-unpack"))
        .arg(dir.path())
        .arg("1000000")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let tar = Tar::new().dir("seen/").done();
    let mut input = helper.stdin.take().unwrap();
    input.write_all(&tar[..512]).unwrap();
    let begun = (0..200).any(|_| {
        dir.path().join("seen").exists() || {
            std::thread::sleep(Duration::from_millis(20));
            false
        }
    });
    assert!(begun, "it waits for more with its first entry made");
    let proc = format!("/proc/{}", helper.id());
    let status = fs::read_to_string(format!("{proc}/status")).unwrap();
    // CHOWN, DAC_OVERRIDE, FOWNER, FSETID, SETFCAP: bits 0, 1, 3, 4, 31.
    for line in ["CapEff:\t000000008000001b", "CapPrm:\t000000008000001b", "CapBnd:\t000000008000001b", "NoNewPrivs:\t1"] {
        assert!(status.contains(line), "{line} in {status}");
    }
    for namespace in ["mnt", "net", "ipc", "uts"] {
        let of = |proc: &str| fs::read_link(format!("{proc}/ns/{namespace}")).unwrap();
        assert_ne!(of(&proc), of("/proc/self"), "{namespace}");
    }
    let root: Vec<_> = fs::read_dir(format!("{proc}/root")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(root, ["seen"], "all it can name");
    assert_eq!(fs::read_to_string(format!("{proc}/mounts")).unwrap().lines().count(), 1);
    input.write_all(&tar[512..]).unwrap();
    drop(input);
    let output = helper.wait_with_output().unwrap();
    assert!(output.status.success() && output.stdout.starts_with(b"{\"done\""), "{output:?}");
}
