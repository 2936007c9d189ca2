//! Requests, sources and the stream of a base system.

use super::*;
use tar::{Builder, Header};

fn request(distribution: &str, release: &str, include: &[&str]) -> BootstrapRequest {
    BootstrapRequest {
        distribution: distribution.to_owned(),
        release: release.to_owned(),
        include: include.iter().map(|p| (*p).to_owned()).collect(),
        name: None,
        command: Vec::new(),
        server: None,
    }
}

fn tables() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("debian.csv"), "version,codename,series\n12,Bookworm,bookworm,2021-08-14\n").unwrap();
    fs::write(dir.path().join("ubuntu.csv"), "version,codename,series\n22.04 LTS,Jammy Jellyfish,jammy,2021-10-14\n").unwrap();
    dir
}

#[test]
fn requests_are_checked() {
    let tables = tables();
    let check = |d: &str, r: &str, i: &[&str]| validate(&request(d, r, i), tables.path()).map_err(|e| e.to_string());
    assert_eq!(check("debian", "bookworm", &["nginx-light"]), Ok(()));
    assert_eq!(check("debian", "newer", &[]), Ok(()), "a release the tables do not know yet");
    assert_eq!(check("debian", "jammy", &[]).unwrap_err(), "jammy is a release of ubuntu, not of debian");
    assert!(check("gentoo", "x", &[]).unwrap_err().contains("debian and ubuntu"));
    assert!(check("debian", "--help", &[]).is_err());
    assert!(check("debian", "bookworm", &["x;reboot"]).unwrap_err().contains("x;reboot"));
}

#[test]
fn arguments_are_a_vector() {
    let args = arguments(&request("debian", "bookworm", &["nginx-light", "curl"]), &[PathBuf::from("/s/1")]);
    let tail: Vec<_> = args.iter().rev().take(4).rev().map(|a| a.to_str().unwrap()).collect();
    // Nothing is to be run: it is a system.
    let packages = "--include=nginx-light,curl,systemd-sysv,dbus,iproute2,iputils-ping,netbase,procps";
    assert_eq!(tail, [packages, "bookworm", "-", "/s/1"]);
}

#[test]
fn what_describes_this_machine_is_left_out() {
    let mut builder = Builder::new(Vec::new());
    let content = vec![9u8; 1000];
    for name in ["./etc/hostname", "./etc/hosts", "./dev/null", "./var/lib/apt/lists/x", "./usr/bin/true", "./tmp/x"] {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, &content[..]).unwrap();
    }
    let mut filtered = Vec::new();
    Filter::new(&builder.into_inner().unwrap()[..]).read_to_end(&mut filtered).unwrap();
    let mut archive = tar::Archive::new(&filtered[..]);
    let mut names = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut data = Vec::new();
        entry.read_to_end(&mut data).unwrap();
        assert_eq!(data, content);
        names.push(entry.path().unwrap().to_str().unwrap().to_owned());
    }
    assert_eq!(names, ["etc/hosts", "usr/bin/true"]);
    assert!(filtered.ends_with(&[0; 1024]));
}
