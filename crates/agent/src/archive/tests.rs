//! Out and in again, and what must not get out.

use super::*;
use std::{
    fs,
    io::Cursor,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::PathBuf,
};
use tar::{Builder, EntryType, Header};

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let own = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(own.path("root/etc")).unwrap();
        fs::write(own.path("secret"), "host").unwrap();
        own
    }
    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }
    fn root(&self) -> Root {
        Root::open(&self.path("root")).unwrap()
    }
    fn pack(&self, path: &str) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        pack(&Source::find(&self.root(), path)?, &mut out).map_err(|error| Error::failed(error.to_string()))?;
        Ok(out)
    }
    fn unpack(&self, path: &str, archive: &[u8]) -> Result<()> {
        unpack(&self.root(), path, Cursor::new(archive))
    }
}

/// An archive of one entry. The name is written raw: the library would refuse to climb.
fn one(name: &str, kind: EntryType, content: &str) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o640);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_000);
    if matches!(kind, EntryType::Symlink | EntryType::Link) {
        header.as_mut_bytes()[157..157 + content.len()].copy_from_slice(content.as_bytes());
        header.set_size(0);
    } else {
        header.set_size(content.len() as u64);
    }
    header.set_cksum();
    let mut builder = Builder::new(Vec::new());
    builder.append(&header, if header.size().unwrap() == 0 { &b""[..] } else { content.as_bytes() }).unwrap();
    builder.into_inner().unwrap()
}

fn names(archive: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(archive);
    archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect()
}

#[test]
fn a_tree_goes_out_and_in_with_modes_links_and_times() {
    let here = Place::new();
    fs::create_dir_all(here.path("root/srv/web/deep")).unwrap();
    fs::write(here.path("root/srv/web/index.html"), "hello").unwrap();
    fs::set_permissions(here.path("root/srv/web/index.html"), fs::Permissions::from_mode(0o4751)).unwrap();
    symlink("/etc/passwd", here.path("root/srv/web/link")).unwrap();
    let packed = here.pack("/srv/web").unwrap();
    assert_eq!(names(&packed), ["web/", "web/deep/", "web/index.html", "web/link"]);
    here.unpack("/etc", &packed).unwrap();
    let copy = fs::metadata(here.path("root/etc/web/index.html")).unwrap();
    assert_eq!(fs::read_to_string(here.path("root/etc/web/index.html")).unwrap(), "hello");
    assert_eq!(copy.mode() & 0o7777, 0o4751);
    assert_eq!(copy.mtime(), fs::metadata(here.path("root/srv/web/index.html")).unwrap().mtime());
    assert_eq!(fs::read_link(here.path("root/etc/web/link")).unwrap(), Path::new("/etc/passwd"));
}

#[test]
fn a_single_file_and_the_whole_root() {
    let here = Place::new();
    fs::write(here.path("root/etc/hosts"), "x").unwrap();
    assert_eq!(names(&here.pack("etc/../etc/./hosts").unwrap()), ["hosts"]);
    assert_eq!(names(&here.pack("/").unwrap()), ["./", "etc/", "etc/hosts"]);
}

#[test]
fn a_slash_behind_a_link_means_what_it_leads_to() {
    let here = Place::new();
    fs::write(here.path("root/etc/hosts"), "x").unwrap();
    symlink("/etc", here.path("root/link")).unwrap();
    assert_eq!(names(&here.pack("/link").unwrap()), ["link"]);
    assert_eq!(names(&here.pack("/link/").unwrap()), ["link/", "link/hosts"]);
    assert_eq!(names(&here.pack("/link/.").unwrap()), ["link/", "link/hosts"]);
    assert_eq!(here.pack("/etc/hosts/").unwrap_err().kind, api::Kind::Usage);
}

#[test]
fn links_out_of_the_root_lead_into_it() {
    let here = Place::new();
    symlink(here.path("secret"), here.path("root/leak")).unwrap();
    symlink("../../..", here.path("root/etc/up")).unwrap();
    // The link itself is packed, never what the host has at its end.
    let packed = here.pack("/leak").unwrap();
    assert!(!String::from_utf8_lossy(&packed).contains("host\0"));
    let error = here.pack(&format!("/etc/up{}", here.path("secret").display())).unwrap_err();
    assert_eq!(error.kind, api::Kind::NotFound);
    // And what is written through it lands inside.
    here.unpack("/etc/up", &one("planted", EntryType::Regular, "x")).unwrap();
    assert!(here.path("root/planted").exists() && !here.path("planted").exists());
}

#[test]
fn a_climbing_entry_is_refused_and_an_absolute_one_stays_below() {
    let here = Place::new();
    let error = here.unpack("/etc", &one("../../secret", EntryType::Regular, "owned")).unwrap_err();
    assert_eq!((error.kind, error.message.contains("leads out")), (api::Kind::Usage, true));
    here.unpack("/etc", &one("/abs", EntryType::Regular, "x")).unwrap();
    assert!(here.path("root/etc/abs").exists());
    assert_eq!(fs::read_to_string(here.path("secret")).unwrap(), "host");
}

#[test]
fn an_entry_through_a_link_of_the_same_archive_stays_inside() {
    let here = Place::new();
    here.unpack("/", &one("out", EntryType::Symlink, here.0.path().to_str().unwrap())).unwrap();
    let _ = here.unpack("/", &one("out/secret", EntryType::Regular, "owned"));
    assert_eq!(fs::read_to_string(here.path("secret")).unwrap(), "host");
    let error = here.unpack("/", &one("hard", EntryType::Link, "../secret")).unwrap_err();
    assert!(error.message.contains("leads out"), "{error}");
}

#[test]
fn an_existing_file_or_link_is_replaced_not_written_through() {
    let here = Place::new();
    symlink(here.path("secret"), here.path("root/etc/conf")).unwrap();
    here.unpack("/etc", &one("conf", EntryType::Regular, "mine")).unwrap();
    assert!(fs::symlink_metadata(here.path("root/etc/conf")).unwrap().is_file());
    assert_eq!(fs::read_to_string(here.path("secret")).unwrap(), "host");
}

#[test]
fn missing_places_wrong_places_and_broken_archives_are_sentences() {
    let here = Place::new();
    fs::write(here.path("root/etc/file"), "x").unwrap();
    insta::assert_snapshot!(here.pack("/nowhere").unwrap_err(), @"/nowhere does not exist in the container");
    insta::assert_snapshot!(here.unpack("/nowhere", b"").unwrap_err(), @"/nowhere does not exist in the container");
    insta::assert_snapshot!(here.unpack("/etc/file", b"").unwrap_err(), @"/etc/file is not a directory in the container");
    let whole = one("big", EntryType::Regular, &"x".repeat(2000));
    assert!(here.unpack("/etc", &whole[..1000]).is_err());
    assert!(here.unpack("/etc", &[b'j'; 700]).unwrap_err().message.contains("cannot be read"));
    let device = one("sda", EntryType::Block, "");
    assert!(here.unpack("/etc", &device).unwrap_err().message.contains("device"));
}

#[test]
fn owners_are_those_inside_where_root_inside_is_somebody_else() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("not tried: only root may give files away");
    }
    let place = Place::new();
    let mapped = || place.root().mapped(100_000);
    unpack(&mapped(), "/new/etc", Cursor::new(one("file", EntryType::Regular, "x"))).unwrap_err();
    unpack(&mapped(), "/etc", Cursor::new(one("new/file", EntryType::Regular, "x"))).unwrap();
    let owner = |path: &str| fs::metadata(place.path(path)).unwrap().uid();
    assert_eq!((owner("root/etc/new"), owner("root/etc/new/file")), (100_000, 100_000));
    let mut out = Vec::new();
    pack(&Source::find(&mapped(), "/etc/new").unwrap(), &mut out).unwrap();
    let mut archive = tar::Archive::new(&out[..]);
    assert!(archive.entries().unwrap().all(|entry| entry.unwrap().header().uid().unwrap() == 0));
    // What belongs to nobody inside is nobody's.
    assert_eq!((inside_of(100_000, 0), inside_of(0, 7), mapped().outside(70_000)), (NOBODY, 7, 100_000 + NOBODY));
}
