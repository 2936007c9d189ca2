//! Images made of what a container changed, through a real overlay where it matters.

use crate::bed::*;
use api::{
    image::{ConfigChange, ImageConfig, LocalImage},
    spec::ContainerKind,
};
use driver::{
    Commit as _, Images as _,
    image::{IdRange, Upper},
};
use nix::{
    mount::{MsFlags, mount, umount},
    sys::stat::{Mode, SFlag, makedev, mknod},
};
use std::{
    collections::BTreeMap,
    ffi::CString,
    fs::{self, File, Permissions},
    io::{Seek as _, SeekFrom, Write as _},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    process::Command,
};

fn same() -> ConfigChange {
    ConfigChange::default()
}

/// A writable layer with this in it.
fn upper(bed: &Bed, name: &str, fill: impl FnOnce(&Path)) -> Upper {
    let path = bed.dir.path().join(name);
    fs::create_dir(&path).unwrap();
    fill(&path);
    Upper { path, ids: None }
}

fn commit(bed: &Bed, base: &LocalImage, upper: &Upper) -> LocalImage {
    bed.store.commit(&base.digest, Some(upper), &same(), &quiet).unwrap()
}

fn set(path: &Path, name: &str, value: &[u8]) {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let name = CString::new(name).unwrap();
    let done = unsafe { libc::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

/// An overlay of an image, mounted.
struct Mounted {
    root: PathBuf,
    upper: Upper,
}

impl Mounted {
    fn of(bed: &Bed, image: &LocalImage, name: &str) -> Self {
        let dir = bed.dir.path().join(name);
        let [root, upper, work] = ["root", "upper", "work"].map(|part| dir.join(part));
        [&root, &upper, &work].iter().for_each(|part| fs::create_dir_all(part).unwrap());
        let lower: Vec<_> = image.layers.iter().rev().map(|layer| layer.display().to_string()).collect();
        let options = format!("lowerdir={},upperdir={},workdir={}", lower.join(":"), upper.display(), work.display());
        mount(Some("overlay"), &root, Some("overlay"), MsFlags::empty(), Some(options.as_str())).unwrap();
        Self { root, upper: Upper { path: upper, ids: None } }
    }

    /// Everything that is seen, as text.
    fn seen(&self) -> BTreeMap<PathBuf, String> {
        let mut seen = BTreeMap::new();
        look(&self.root, Path::new(""), &mut seen);
        seen
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        umount(&self.root).unwrap();
    }
}

fn look(root: &Path, at: &Path, seen: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(root.join(at)).unwrap() {
        let path = at.join(entry.unwrap().file_name());
        let full = root.join(&path);
        let meta = full.symlink_metadata().unwrap();
        let content = match (meta.is_file(), meta.is_symlink()) {
            (true, _) => sha(&fs::read(&full).unwrap()),
            (_, true) => fs::read_link(&full).unwrap().display().to_string(),
            _ => String::new(),
        };
        let links = if meta.is_file() { meta.nlink() } else { 0 };
        let (mode, uid, gid) = (meta.mode(), meta.uid(), meta.gid());
        let time = (meta.mtime(), meta.mtime_nsec());
        seen.insert(path.clone(), format!("{mode:o} {uid}:{gid} {time:?} {links} {content} {:?}", xattr(&full, "user.note")));
        if meta.is_dir() {
            look(root, &path, seen);
        }
    }
}

fn base(bed: &Bed) -> LocalImage {
    let archive = Tar::new()
        .dir("etc/")
        .file("etc/motd", b"hello")
        .file("etc/passwd", b"root")
        .dir("old/")
        .file("old/a", b"a")
        .dir("old/sub/")
        .file("old/sub/b", b"b")
        .dir("gone/")
        .file("gone/x", b"x")
        .file("was-file", b"f")
        .done();
    bed.import(&archive).unwrap()
}

/// What a container may do to its files.
fn change(root: &Path) {
    fs::write(root.join("etc/motd"), "changed").unwrap();
    fs::remove_file(root.join("etc/passwd")).unwrap();
    fs::remove_dir_all(root.join("gone")).unwrap();
    fs::remove_dir_all(root.join("old")).unwrap();
    fs::create_dir(root.join("old")).unwrap();
    fs::write(root.join("old/new"), "new").unwrap();
    fs::remove_file(root.join("was-file")).unwrap();
    fs::create_dir(root.join("was-file")).unwrap();
    fs::write(root.join("was-file/inside"), "inside").unwrap();
    fs::write(root.join("first"), "linked").unwrap();
    fs::hard_link(root.join("first"), root.join("second")).unwrap();
    symlink("first", root.join("link")).unwrap();
    fs::write(root.join("program"), "#!run").unwrap();
    fs::set_permissions(root.join("program"), Permissions::from_mode(0o4755)).unwrap();
    chown(root.join("first"), Some(1000), Some(1000)).unwrap();
    set(&root.join("program"), "user.note", b"mine");
    let long = "n".repeat(120);
    fs::create_dir_all(root.join(&long).join(&long)).unwrap();
    fs::write(root.join(&long).join(&long).join("deep"), "deep").unwrap();
    let old = File::open(root.join("first")).unwrap();
    old.set_modified(std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 123_456_789)).unwrap();
}

#[test]
fn the_store_passes_the_suite() {
    let bed = bed();
    let image = base(&bed);
    let upper = upper(&bed, "upper", |dir| fs::write(dir.join("file"), "content").unwrap());
    driver::suite::commit(&bed.store, &image.digest, &upper).unwrap();
}

#[test]
fn whoever_unpacks_it_sees_what_the_container_saw() {
    let (bed, other) = (bed(), crate::bed::bed());
    let image = base(&bed);
    let container = Mounted::of(&bed, &image, "container");
    change(&container.root);
    let wanted = container.seen();
    let made = commit(&bed, &image, &container.upper);
    assert_eq!(made.layers.len(), 2);
    assert_eq!(Mounted::of(&bed, &made, "again").seen(), wanted);
    let copy = other.store.ensure(&made.digest, &Peer(&bed.store), &quiet).unwrap();
    assert_eq!(Mounted::of(&other, &copy, "copy").seen(), wanted);
    assert_eq!(fs::read(top(&image, "etc/motd")).unwrap(), b"hello", "the base is as it was");
    assert!(!Mounted::of(&other, &copy, "twice").root.join("etc/passwd").exists());
}

#[test]
fn a_second_commit_on_a_first_adds_up() {
    let bed = bed();
    let image = base(&bed);
    let one = Mounted::of(&bed, &image, "one");
    change(&one.root);
    let first = commit(&bed, &image, &one.upper);
    let two = Mounted::of(&bed, &first, "two");
    fs::remove_dir_all(two.root.join("old")).unwrap();
    fs::write(two.root.join("etc/motd"), "twice").unwrap();
    let second = commit(&bed, &first, &two.upper);
    assert_eq!(second.layers.len(), 3);
    assert_eq!(Mounted::of(&bed, &second, "three").seen(), two.seen());
}

#[test]
fn the_archive_holds_whiteouts_as_others_know_them() {
    let bed = bed();
    let image = base(&bed);
    let upper = upper(&bed, "upper", |dir| {
        mknod(&dir.join("was-file"), SFlag::S_IFCHR, Mode::empty(), makedev(0, 0)).unwrap();
        fs::create_dir(dir.join("old")).unwrap();
        set(&dir.join("old"), "trusted.overlay.opaque", b"y");
        fs::create_dir(dir.join("etc")).unwrap();
        mknod(&dir.join("etc/passwd"), SFlag::S_IFCHR, Mode::empty(), makedev(0, 0)).unwrap();
    });
    let made = commit(&bed, &image, &upper);
    assert_eq!(listed(&bed, &made), ["etc/", "etc/.wh.passwd", "old/", "old/.wh..wh..opq", ".wh.was-file"]);
    let root = top(&made, "");
    assert_eq!(root.join("was-file").symlink_metadata().unwrap().rdev(), 0);
    assert_eq!(xattr(&root.join("old"), "trusted.overlay.opaque").as_deref(), Some(&b"y"[..]));
}

/// Names in the uppermost layer's archive, read by the machine's own tools.
fn listed(bed: &Bed, image: &LocalImage) -> Vec<String> {
    let manifest: serde_json::Value = serde_json::from_reader(bed.store.blob(&image.digest).unwrap()).unwrap();
    let layer = manifest["layers"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(layer["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
    let blob = bed.root().join("blobs/sha256").join(&layer["digest"].as_str().unwrap()[7..]);
    let archive = bed.dir.path().join("layer.tar");
    zstd::stream::copy_decode(File::open(blob).unwrap(), File::create(&archive).unwrap()).unwrap();
    tool("tar", &["-tf", archive.to_str().unwrap()]).lines().map(str::to_owned).collect()
}

#[test]
fn user_namespace_marks_count_as_well() {
    let bed = bed();
    let image = base(&bed);
    let upper = upper(&bed, "upper", |dir| {
        fs::create_dir(dir.join("old")).unwrap();
        set(&dir.join("old"), "user.overlay.opaque", b"y");
        fs::write(dir.join("was-file"), "").unwrap();
        set(&dir.join("was-file"), "user.overlay.whiteout", b"");
    });
    let made = commit(&bed, &image, &upper);
    assert_eq!(listed(&bed, &made), ["old/", "old/.wh..wh..opq", ".wh.was-file"]);
    assert_eq!(xattr(&top(&made, "old"), "user.overlay.opaque"), None);
}

#[test]
fn part_of_a_file_is_refused() {
    let bed = bed();
    let image = base(&bed);
    let upper = upper(&bed, "upper", |dir| {
        fs::create_dir(dir.join("renamed")).unwrap();
        set(&dir.join("renamed"), "trusted.overlay.redirect", b"old");
    });
    let error = bed.store.commit(&image.digest, Some(&upper), &same(), &quiet).unwrap_err();
    assert!(error.message.contains("renamed") && error.message.contains("redirect"), "{error}");
    assert!(!error.retryable);
}

#[test]
fn what_cannot_be_part_of_an_image_is_left_out_and_told() {
    let bed = bed();
    let image = base(&bed);
    let upper = upper(&bed, "upper", |dir| {
        let _socket = UnixListener::bind(dir.join("socket")).unwrap();
        mknod(&dir.join("disk"), SFlag::S_IFBLK, Mode::empty(), makedev(8, 0)).unwrap();
        mknod(&dir.join("null"), SFlag::S_IFCHR, Mode::empty(), makedev(1, 3)).unwrap();
        nix::unistd::mkfifo(&dir.join("pipe"), Mode::from_bits_truncate(0o600)).unwrap();
        fs::write(dir.join(".wh.trick"), "hides nothing").unwrap();
        fs::write(dir.join("kept"), "").unwrap();
    });
    let told = std::sync::Mutex::new(String::new());
    let progress = |line: api::image::ImageProgress| *told.lock().unwrap() += &format!("{line:?}\n");
    let made = bed.store.commit(&image.digest, Some(&upper), &same(), &progress).unwrap();
    assert_eq!(listed(&bed, &made), ["kept", "pipe"]);
    assert!(told.lock().unwrap().contains("4 sockets, device nodes and reserved names"), "{told:?}");
}

#[test]
fn users_are_as_inside() {
    let bed = bed();
    let image = base(&bed);
    let fill = |dir: &Path| {
        for (file, owner) in [("root", 100_000), ("user", 101_000), ("nobody", 5)] {
            fs::write(dir.join(file), file).unwrap();
            chown(dir.join(file), Some(owner), Some(owner)).unwrap();
        }
        // Capabilities as root in the namespace gives them: revision 3, with that root.
        let capability = [0x0300_0001u32, 0x400, 0, 0, 0, 100_000];
        let bytes: Vec<u8> = capability.iter().flat_map(|n| n.to_le_bytes()).collect();
        set(&dir.join("root"), "security.capability", &bytes);
    };
    let upper = Upper { ids: Some(IdRange { first: 100_000, count: 65_536 }), ..upper(&bed, "upper", fill) };
    let made = commit(&bed, &image, &upper);
    let owner = |file| fs::metadata(top(&made, file)).unwrap().uid();
    assert_eq!((owner("root"), owner("user"), owner("nobody")), (0, 1000, 65_534));
    let capability = xattr(&top(&made, "root"), "security.capability").unwrap();
    assert_eq!(capability, [0x0200_0001u32, 0x400, 0, 0, 0].iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<_>>());
}

#[test]
fn access_lists_are_kept_and_children_do_not_inherit_them_twice() {
    let bed = bed();
    let image = base(&bed);
    let entry = |tag: u16, permissions: u8, id: u32| [&tag.to_le_bytes()[..], &[permissions, 0], &id.to_le_bytes()].concat();
    let list = [
        vec![2, 0, 0, 0],
        entry(1, 7, u32::MAX),
        entry(2, 5, 1000),
        entry(4, 5, u32::MAX),
        entry(0x10, 5, u32::MAX),
        entry(0x20, 5, u32::MAX),
    ]
    .concat();
    let upper = upper(&bed, "upper", |dir| {
        fs::create_dir(dir.join("journal")).unwrap();
        fs::write(dir.join("journal/plain"), "").unwrap();
        set(&dir.join("journal"), "system.posix_acl_default", &list);
        set(&dir.join("journal"), "system.posix_acl_access", &list);
    });
    let made = commit(&bed, &image, &upper);
    for name in ["system.posix_acl_default", "system.posix_acl_access"] {
        assert_eq!(xattr(&top(&made, "journal"), name).as_deref(), Some(&list[..]), "{name}");
    }
    assert_eq!(xattr(&top(&made, "journal/plain"), "system.posix_acl_access"), None);
}

#[test]
fn holes_stay_holes() {
    let bed = bed();
    let image = base(&bed);
    let size = 3 << 30;
    let upper = upper(&bed, "upper", |dir| {
        let mut file = File::create(dir.join("disk")).unwrap();
        file.write_all(b"begin").unwrap();
        file.seek(SeekFrom::Start(1 << 30)).unwrap();
        file.write_all(b"middle").unwrap();
        file.set_len(size).unwrap();
        File::create(dir.join("nothing")).unwrap().set_len(1 << 30).unwrap();
    });
    let made = commit(&bed, &image, &upper);
    let disk = fs::metadata(top(&made, "disk")).unwrap();
    assert_eq!(disk.len(), size);
    assert!(disk.blocks() * 512 < 1 << 20, "{} blocks", disk.blocks());
    let nothing = fs::metadata(top(&made, "nothing")).unwrap();
    assert_eq!((nothing.len(), nothing.blocks()), (1 << 30, 0));
    let mut file = File::open(top(&made, "disk")).unwrap();
    file.seek(SeekFrom::Start(1 << 30)).unwrap();
    let mut middle = [0; 6];
    std::io::Read::read_exact(&mut file, &mut middle).unwrap();
    assert_eq!(&middle, b"middle");
    assert!(made.size.0 < 100_000, "{}", made.size);
}

#[test]
fn the_same_files_give_the_same_digest_in_whatever_order_they_came() {
    let (one, two) = (bed(), bed());
    let write = |dir: &Path, names: &[&str]| {
        for name in names {
            fs::write(dir.join(name), name).unwrap();
            let file = File::open(dir.join(name)).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000)).unwrap();
        }
    };
    let a = upper(&one, "upper", |dir| write(dir, &["b", "a", "ä", "c-long"]));
    let b = upper(&two, "upper", |dir| write(dir, &["c-long", "ä", "a", "b"]));
    let (base_one, base_two) = (base(&one), base(&two));
    assert_eq!(
        commit(&one, &base_one, &a),
        LocalImage { layers: commit(&one, &base_one, &a).layers, ..commit(&two, &base_two, &b) }
    );
}

#[test]
fn nothing_changed_is_the_same_image_under_another_configuration() {
    let bed = bed();
    let image = base(&bed);
    let empty = upper(&bed, "empty", |_| ());
    assert_eq!(commit(&bed, &image, &empty), image);
    let absent = Upper { path: bed.dir.path().join("never"), ids: None };
    assert_eq!(commit(&bed, &image, &absent), image);
    let execution = ImageConfig { kind: ContainerKind::System, entrypoint: vec!["/sbin/init".into()], ..ImageConfig::default() };
    let change = ConfigChange { execution: Some(execution), ..same() };
    let made = bed.store.commit(&image.digest, Some(&empty), &change, &quiet).unwrap();
    assert_eq!(made.layers, image.layers);
    assert_eq!((made.config.kind, made.config.entrypoint), (ContainerKind::System, vec!["/sbin/init".to_owned()]));
    assert!(made.config.command.is_empty());
}

#[test]
fn layers_of_the_base_stay_as_long_as_a_commit_needs_them() {
    let bed = bed();
    let image = base(&bed);
    let upper = upper(&bed, "upper", |dir| fs::write(dir.join("file"), "content").unwrap());
    let made = commit(&bed, &image, &upper);
    bed.store.prune(std::slice::from_ref(&made.digest)).unwrap().discard().unwrap();
    assert_eq!(bed.store.find(&image.digest).unwrap(), None);
    assert_eq!(fs::read(made.layers[0].join("etc/motd")).unwrap(), b"hello");
    let error = bed.store.commit(&image.digest, Some(&upper), &same(), &quiet).unwrap_err();
    assert!(error.message.ends_with("is not in this server's image store"), "{error}");
    bed.store.prune(&[]).unwrap().discard().unwrap();
    assert!(fs::read_dir(bed.root().join("layers")).unwrap().next().is_none());
}

#[test]
fn other_tools_read_the_layer() {
    let bed = bed();
    let image = base(&bed);
    let upper = upper(&bed, "upper", |dir| {
        fs::write(dir.join("first"), "linked").unwrap();
        fs::hard_link(dir.join("first"), dir.join("second")).unwrap();
        let mut file = File::create(dir.join("sparse")).unwrap();
        file.seek(SeekFrom::Start(1 << 20)).unwrap();
        file.write_all(b"end").unwrap();
        fs::write(dir.join("x".repeat(200)), "long").unwrap();
    });
    let made = commit(&bed, &image, &upper);
    assert_eq!(listed(&bed, &made), ["first", "second", "sparse", &"x".repeat(200)]);
    let out = bed.dir.path().join("out");
    fs::create_dir(&out).unwrap();
    let archive = bed.dir.path().join("layer.tar");
    tool("tar", &["-xf", archive.to_str().unwrap(), "-C", out.to_str().unwrap()]);
    assert_eq!(fs::metadata(out.join("first")).unwrap().nlink(), 2);
    assert_eq!(fs::read(out.join("sparse")).unwrap(), fs::read(upper.path.join("sparse")).unwrap());
    let script = "import sys,tarfile; print(sorted(m.name[:9] for m in tarfile.open(sys.argv[1])))";
    let python = Command::new("python3").args(["-c", script]).arg(&archive).output();
    if let Ok(python) = python {
        assert_eq!(String::from_utf8_lossy(&python.stdout).trim(), "['first', 'second', 'sparse', 'xxxxxxxxx']");
    }
}
