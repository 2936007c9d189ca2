//! Base systems from packages: with a program in mmdebstrap's place for what goes wrong, and once with mmdebstrap itself.

use crate::bed::*;
use api::{image::ImageProgress, spec::ContainerKind, view::BootstrapRequest};
use driver::Images as _;
use image::ContentStore;
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Stdio},
    sync::Mutex,
};
use tempfile::TempDir;

fn request(release: &str, include: &[&str], command: &[&str]) -> BootstrapRequest {
    let strings = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
    BootstrapRequest {
        distribution: "debian".to_owned(),
        release: release.to_owned(),
        include: strings(include),
        name: None,
        command: strings(command),
        server: None,
    }
}

/// A store whose mmdebstrap is this script, on a machine with a source for bookworm only.
fn with_script(script: &str) -> (ContentStore, TempDir) {
    with_script_in(script, None)
}

/// The same, with a network namespace to make base systems in.
fn with_script_in(script: &str, network: Option<PathBuf>) -> (ContentStore, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(
        at("root.tar"),
        Tar::new().dir("bin/").file("bin/sh", b"x").file("etc/hostname", b"secret").file("sbin/init", b"x").done(),
    )
    .unwrap();
    fs::write(at("make"), format!("#!/bin/sh\ncd {}\n{script}\n", dir.path().display())).unwrap();
    fs::set_permissions(at("make"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(at("apt")).unwrap();
    fs::write(at("apt/sources.list"), "deb http://mirror.test/debian bookworm main\n").unwrap();
    let mut options = options(&at("images"));
    options.mmdebstrap = at("make").into();
    options.apt_sources = Some(at("apt"));
    options.network = network;
    (ContentStore::open(options).unwrap(), dir)
}

#[test]
fn a_base_system_is_made_in_the_network_that_is_given() {
    // A process that has a network of its own until its input ends.
    let mut other = Command::new("unshare").args(["--net", "cat"]).stdin(Stdio::piped()).spawn().unwrap();
    let network = PathBuf::from(format!("/proc/{}/ns/net", other.id()));
    let ours = fs::read_link("/proc/self/ns/net").unwrap();
    while fs::read_link(&network).unwrap() == ours {
        std::thread::yield_now();
    }
    let theirs = fs::read_link(&network).unwrap();
    let (store, dir) = with_script_in("readlink /proc/self/ns/net > where; cat root.tar", Some(network));
    let made = store.bootstrap(&request("bookworm", &[], &[]), &quiet);
    drop(other.stdin.take());
    other.wait().unwrap();
    made.unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("where")).unwrap().trim(), theirs.display().to_string());
}

fn leftovers(dir: &TempDir) -> Vec<PathBuf> {
    let staging = dir.path().join("images/staging");
    let list = || -> Vec<PathBuf> { fs::read_dir(&staging).unwrap().map(|e| e.unwrap().path()).collect() };
    // A marker that is being made to last has a place there for a moment.
    let pause = || std::thread::sleep(std::time::Duration::from_millis(10));
    (0..500)
        .find_map(|_| {
            list().is_empty().then(Vec::new).or_else(|| {
                pause();
                None
            })
        })
        .unwrap_or_else(list)
}

#[test]
fn the_archive_is_taken_in_as_it_is_written_and_progress_told() {
    let (store, dir) =
        with_script("printf '%s\\n' \"$@\" > args; echo 'I: running apt-get' >&2; mkdir $TMPDIR/work; cat root.tar");
    let told = Mutex::new(Vec::new());
    let tell = |p: ImageProgress| {
        if let ImageProgress::Working { message } = p {
            told.lock().unwrap().push(message);
        }
    };
    let image = store.bootstrap(&request("bookworm", &["nginx-light"], &[]), &tell).unwrap();
    assert_eq!(image.config.kind, ContainerKind::System, "an init is there");
    assert!(top(&image, "bin/sh").exists() && !top(&image, "etc/hostname").exists());
    assert!(told.lock().unwrap().contains(&"running apt-get".to_owned()));
    let args = fs::read_to_string(dir.path().join("args")).unwrap();
    let system = "systemd-sysv,dbus,iproute2,iputils-ping,netbase,procps";
    assert!(args.contains(&format!("--include=nginx-light,{system}\nbookworm\n-\n/")), "a system without a command: {args}");
    assert_eq!(leftovers(&dir), Vec::<PathBuf>::new());
    let app = store.bootstrap(&request("bookworm", &[], &["nginx", "-g", "daemon off;"]), &quiet).unwrap();
    assert_eq!(
        (app.config.kind, &app.config.command[..]),
        (ContainerKind::App, &["nginx".to_owned(), "-g".to_owned(), "daemon off;".to_owned()][..])
    );
    assert_eq!(app.layers, image.layers, "one content, one layer");
    let args = fs::read_to_string(dir.path().join("args")).unwrap();
    assert!(!args.contains("--include"), "nothing but the program is asked for: {args}");
    store.bootstrap(&request("bookworm", &["sysvinit-core"], &[]), &quiet).unwrap();
    let args = fs::read_to_string(dir.path().join("args")).unwrap();
    assert!(args.contains("--include=sysvinit-core,iproute2,iputils-ping,netbase,procps\n"), "one init is enough: {args}");
}

#[test]
fn failures_are_told_in_the_programs_own_words() {
    let (store, dir) = with_script("echo 'E: Unable to locate package nginx-lite' >&2; head -c 1000 root.tar; exit 2");
    let error = store.bootstrap(&request("bookworm", &[], &[]), &quiet).unwrap_err().message;
    assert!(error.contains("could not make debian/bookworm") && error.contains("Unable to locate package nginx-lite"), "{error}");
    assert_eq!((store.list().unwrap().len(), leftovers(&dir).len()), (0, 0));
    let error = store.bootstrap(&request("trixie", &[], &[]), &quiet).unwrap_err();
    assert!(error.message.contains("no package source for debian trixie") && error.message.contains("bookworm"), "{error}");
    assert!(!error.retryable);
    assert!(store.bootstrap(&request("bookworm", &["a;b"], &[]), &quiet).is_err());
}

#[test]
fn an_archive_that_is_not_taken_ends_the_program_too() {
    let (store, dir) =
        with_script("cat root.tar | head -c 2048; head -c 2000000 /dev/zero | tr '\\0' x; echo $$ > pid; exec sleep 300");
    let begun = base::env::instant();
    let error = store.bootstrap(&request("bookworm", &[], &[]), &quiet).unwrap_err();
    assert!(begun.elapsed().as_secs() < 60, "it must not wait for the program: {error}");
    // What the kernel was told to kill is gone in a moment.
    let inside = || {
        fs::read_dir("/proc").unwrap().filter_map(|e| fs::read_link(e.ok()?.path().join("cwd")).ok()).any(|cwd| cwd == dir.path())
    };
    let gone = (0..100).any(|_| {
        !inside() || {
            std::thread::sleep(std::time::Duration::from_millis(50));
            false
        }
    });
    assert!(gone, "the program still runs");
    assert_eq!(leftovers(&dir), Vec::<PathBuf>::new());
}

#[test]
fn a_real_base_system() {
    let dir = tempfile::tempdir().unwrap();
    let store = ContentStore::open(options(&dir.path().join("images"))).unwrap();
    let image = store.bootstrap(&request("bookworm", &["nginx-light"], &["/usr/sbin/nginx"]), &|p| eprintln!("{p:?}")).unwrap();
    assert!(top(&image, "usr/sbin/nginx").is_file());
    for absent in ["etc/hostname", "etc/resolv.conf", "dev/null", "usr/share/man/man1", "etc/apt/apt.conf.d/99mmdebstrap"] {
        assert!(!top(&image, absent).exists(), "{absent}");
    }
    let layer = top(&image, "");
    assert_eq!(tool("chroot", &[layer.to_str().unwrap(), "/usr/sbin/nginx", "-V"]), "");
}
