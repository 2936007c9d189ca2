//! Every form of archive, and what of its content is kept.

use crate::bed::*;
use api::spec::ContainerKind;
use driver::Images as _;
use std::{
    fs,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::Path,
};
use tar::EntryType;

#[test]
fn a_root_file_system_becomes_one_layer_plain_or_compressed() {
    let bed = bed();
    let plain = bed.import(&small_root()).unwrap();
    assert_eq!(fs::read(top(&plain, "etc/motd")).unwrap(), b"hello");
    assert_eq!((plain.config.kind, &plain.config.command[..]), (ContainerKind::App, &["/bin/sh".to_owned()][..]));
    assert!(plain.config.env[0].starts_with("PATH="), "{:?}", plain.config.env);
    assert_eq!(bed.import(&small_root()).unwrap(), plain, "same input, same digest");
    let zipped = bed.import(&gzip(&small_root())).unwrap();
    let zstd = bed.import(&zstd::encode_all(&small_root()[..], 3).unwrap()).unwrap();
    assert_eq!((&zipped.layers, &zstd.layers), (&plain.layers, &plain.layers), "one content, one directory");
    assert_eq!(bed.store.list().unwrap().len(), 3 - usize::from(zstd.digest == plain.digest));
    assert_eq!(crate::bed::bed().import(&small_root()).unwrap().digest, plain.digest, "on another server too");
}

#[test]
fn a_root_with_an_init_is_a_system() {
    for init in ["sbin/init", "lib/systemd/systemd", "bin/init"] {
        let bed = bed();
        let image = bed.import(&Tar::new().file("etc/x", b"").symlink(&format!("./{init}"), "/lib/x").done()).unwrap();
        assert_eq!((image.config.kind, image.config.command.len()), (ContainerKind::System, 0), "{init}");
        let other = crate::bed::bed();
        let there = other.store.ensure(&image.digest, &Peer(&bed.store), &quiet).unwrap();
        assert_eq!(there.config.kind, ContainerKind::System, "and stays one on another server");
    }
}

#[test]
fn owners_modes_times_links_and_capabilities_are_kept() {
    // Version 2, cap_net_raw permitted and effective (capability.h, struct vfs_cap_data).
    let caps = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let tar = Tar::new()
        .dir("usr/")
        .entry(EntryType::Regular, "usr/su", "", b"root", 0o4755)
        .hard("usr/su2", "usr/su")
        .symlink("usr/link", "/etc/absolute")
        .entry(EntryType::Fifo, "usr/pipe", "", b"", 0o600)
        .pax("SCHILY.xattr.security.capability", &caps)
        .file("usr/ping", b"ping")
        .pax("SCHILY.xattr.user.own", b"kept")
        .pax("SCHILY.xattr.trusted.other", b"dropped")
        .file("usr/plain", b"plain")
        .pax("mtime", b"1500000000.25")
        .file("usr/late", b"")
        .done();
    let bed = bed();
    let image = bed.import(&tar).unwrap();
    let meta = |name: &str| fs::symlink_metadata(top(&image, name)).unwrap();
    let su = meta("usr/su");
    assert_eq!((su.mode() & 0o7777, su.uid(), su.gid(), su.mtime()), (0o4755, 1234, 5678, 1_600_000_000));
    assert_eq!((su.ino(), su.nlink()), (meta("usr/su2").ino(), 2));
    assert_eq!(fs::read_link(top(&image, "usr/link")).unwrap(), Path::new("/etc/absolute"));
    assert_eq!((meta("usr/link").uid(), meta("usr").mtime()), (1234, 1_600_000_000));
    assert!(meta("usr/pipe").file_type().is_fifo());
    assert_eq!(xattr(&top(&image, "usr/ping"), "security.capability").unwrap(), caps);
    assert_eq!(xattr(&top(&image, "usr/plain"), "user.own").as_deref(), Some(&b"kept"[..]));
    assert_eq!(xattr(&top(&image, "usr/plain"), "trusted.other"), None);
    assert_eq!((meta("usr/late").mtime(), meta("usr/late").mtime_nsec()), (1_500_000_000, 250_000_000));
}

#[test]
fn whiteouts_become_what_overlay_understands() {
    let lower = Tar::new().dir("etc/").file("etc/old", b"old").file("etc/keep", b"keep").dir("srv/").file("srv/a", b"a").done();
    let upper = Tar::new()
        .dir("etc/")
        .file("etc/.wh.old", b"")
        .dir("srv/")
        .file("srv/.wh..wh..opq", b"")
        .file("srv/b", b"b")
        .file(".wh..wh.plnk", b"")
        .done();
    let mut blobs = Blobs::default();
    let digest = blobs.image(&[lower, upper]);
    let bed = bed();
    let image = bed.store.ensure(&digest, &blobs, &quiet).unwrap();
    let old = fs::symlink_metadata(top(&image, "etc/old")).unwrap();
    assert!(old.file_type().is_char_device() && old.rdev() == 0);
    assert_eq!(xattr(&top(&image, "srv"), "trusted.overlay.opaque").unwrap(), b"y");
    assert_eq!(xattr(&top(&image, "etc"), "trusted.overlay.opaque"), None);
    assert!(!top(&image, ".wh..wh.plnk").exists());
    // The kernel has the last word.
    let overlay = Overlay::mount(&image.layers, bed.dir.path());
    let names = |dir: &str| {
        let mut names: Vec<_> =
            fs::read_dir(overlay.0.join(dir)).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!((names("etc"), names("srv")), (vec!["keep".to_owned()], vec!["b".to_owned()]));
}

struct Overlay(std::path::PathBuf);

impl Overlay {
    fn mount(layers: &[std::path::PathBuf], dir: &Path) -> Self {
        let at = dir.join("merged");
        fs::create_dir(&at).unwrap();
        let lower: Vec<_> = layers.iter().rev().map(|l| l.to_str().unwrap()).collect();
        tool("mount", &["-t", "overlay", "overlay", "-o", &format!("ro,lowerdir={}", lower.join(":")), at.to_str().unwrap()]);
        Self(at)
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        let _gone = std::process::Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_whiteout_hides_lower_layers_only() {
    let tar = Tar::new()
        .file("a", b"new")
        .file(".wh.a", b"")
        .file(".wh.b", b"")
        .file("b", b"new")
        .file(".wh.c", b"")
        .dir("c/")
        .file("c/x", b"x")
        .dir("d/")
        .file(".wh.d", b"")
        .done();
    let image = bed().import_kept(&tar);
    for name in ["a", "b"] {
        assert_eq!(fs::read(top(&image.1, name)).unwrap(), b"new", "{name}");
    }
    for name in ["c", "d"] {
        assert_eq!(xattr(&top(&image.1, name), "trusted.overlay.opaque").unwrap(), b"y", "{name}");
    }
}

impl Bed {
    fn import_kept(self, tar: &[u8]) -> (Self, api::image::LocalImage) {
        let image = self.import(tar).unwrap();
        (self, image)
    }
}

#[test]
fn parents_an_archive_left_out_get_sensible_modes() {
    let (_bed, image) = bed().import_kept(&Tar::new().file("tmp/x", b"").file("root/.profile", b"").file("opt/a/b", b"").done());
    let mode = |name: &str| fs::metadata(top(&image, name)).unwrap().mode() & 0o7777;
    assert_eq!((mode("tmp"), mode("root"), mode("opt/a")), (0o1777, 0o700, 0o755));
    assert_eq!(mode("."), 0o755);
}

#[test]
fn links_that_stay_inside_may_be_walked_through() {
    let tar = Tar::new().dir("usr/").dir("usr/lib/").symlink("lib", "usr/lib").file("lib/libc.so", b"elf").done();
    let (_bed, image) = bed().import_kept(&tar);
    assert_eq!(fs::read(top(&image, "usr/lib/libc.so")).unwrap(), b"elf");
}

#[test]
fn an_oci_layout_nested_indexes_included() {
    let mut blobs = Blobs::default();
    let digest = blobs.image(&[small_root(), Tar::new().file("etc/more", b"more").done()]);
    let other = blobs.image(&[Tar::new().file("other", b"").done()]);
    let bed = bed();
    let image = bed.import(&blobs.layout(&digest)).unwrap();
    assert_eq!((image.digest.as_str(), image.layers.len()), (digest.as_str(), 2));
    assert_eq!(
        (&image.config.command[..], &image.config.workdir[..], &image.config.exposed[..]),
        (&["/bin/run".to_owned()][..], "/srv", &["80/tcp".to_owned()][..])
    );
    let platform =
        |d: &str, arch: &str| serde_json::json!({"digest": d, "size": 1, "platform": {"architecture": arch, "os": "linux"}});
    let here = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [platform(&other, "s390x"), platform(&digest, here)]});
    let nested = blobs.add(&serde_json::to_vec(&index).unwrap());
    assert_eq!(crate::bed::bed().import(&gzip(&blobs.layout(&nested))).unwrap().digest, digest);
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [platform(&other, "s390x")]});
    let foreign = blobs.add(&serde_json::to_vec(&index).unwrap());
    let error = crate::bed::bed().import(&blobs.layout(&foreign)).unwrap_err();
    assert!(error.contains("only for s390x"), "{error}");
}

#[test]
fn a_docker_archive_old_links_included() {
    let (base, more) = (small_root(), Tar::new().file("etc/more", b"more").done());
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/more"]},
        "rootfs": {"type": "layers", "diff_ids": [sha(&base), sha(&more), sha(&base)]},
    });
    let config = serde_json::to_vec(&config).unwrap();
    let (id, a, b) = ("c".repeat(64), "a".repeat(64), "b".repeat(64));
    let layers = [format!("{a}/layer.tar"), "more.tar".to_owned(), format!("{b}/layer.tar")];
    let manifest = serde_json::json!([{"Config": format!("{id}.json"), "RepoTags": ["x:1"], "Layers": layers}]);
    let tar = Tar::new()
        .dir(&format!("{a}/"))
        .file(&format!("{a}/layer.tar"), &base)
        .file("more.tar", &more)
        .symlink(&format!("{b}/layer.tar"), &format!("../{a}/layer.tar"))
        .file(&format!("{id}.json"), &config)
        .file("manifest.json", &serde_json::to_vec(&manifest).unwrap())
        .done();
    let bed = bed();
    let image = bed.import(&tar).unwrap();
    assert_eq!(image.config.command, ["/bin/more"]);
    assert_eq!(image.layers.len(), 2, "a layer that occurs twice is overlaid once, where it occurs last");
    assert_eq!(fs::read(image.layers[0].join("etc/more")).unwrap(), b"more");
    assert_eq!(crate::bed::bed().import(&tar).unwrap().digest, image.digest);
}

#[test]
fn what_other_tools_write() {
    let bed = bed();
    let at = |name: &str| bed.dir.path().join(name).to_str().unwrap().to_owned();
    let root = at("root");
    fs::create_dir_all(format!("{root}/etc")).unwrap();
    fs::write(format!("{root}/etc/motd"), "made by another tool").unwrap();
    tool("umoci", &["init", "--layout", &at("layout")]);
    tool("umoci", &["new", "--image", &format!("{}:1", at("layout"))]);
    tool("umoci", &["insert", "--image", &format!("{}:1", at("layout")), &format!("{root}/etc"), "/etc"]);
    tool("umoci", &["config", "--image", &format!("{}:1", at("layout")), "--config.cmd", "/bin/x", "--no-history"]);
    let copy = |to: &str| tool("skopeo", &["--insecure-policy", "copy", "--quiet", &format!("oci:{}:1", at("layout")), to]);
    copy(&format!("oci-archive:{}:1", at("oci.tar")));
    copy(&format!("docker-archive:{}:web:1", at("docker.tar")));
    let oci = bed.import(&fs::read(at("oci.tar")).unwrap()).unwrap();
    let docker = bed.import(&fs::read(at("docker.tar")).unwrap()).unwrap();
    assert_eq!((&oci.layers, &oci.config.command), (&docker.layers, &docker.config.command));
    assert_eq!(fs::read_to_string(top(&oci, "etc/motd")).unwrap(), "made by another tool");
    let told = tool("skopeo", &["inspect", "--format", "{{.Digest}}", &format!("oci-archive:{}", at("oci.tar"))]);
    assert_eq!(told.trim(), oci.digest);
}
