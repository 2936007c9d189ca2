//! Who a program runs as: `""`, `1000`, `www-data`, `1000:1000`, looked up in the container's own files.

use crate::{Error, Result, sys};
use nix::fcntl::OFlag;
use std::{fs::File, io::Read as _, os::fd::BorrowedFd, path::Path};

/// Largest `/etc/passwd` or `/etc/group` that is read: an image is a stranger.
const DATABASE_MAX: u64 = 1 << 20;

/// Numbers a program runs under, as counted inside the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: String,
}

/// Reads the container's user and group files through `root` and resolves `text` in them.
pub fn lookup(root: BorrowedFd<'_>, text: &str) -> Result<User> {
    resolve(text, &database(root, "/etc/passwd"), &database(root, "/etc/group"))
}

/// A file of the container; empty when absent, as in images that hold one program only.
fn database(root: BorrowedFd<'_>, path: &str) -> String {
    let mut text = Vec::new();
    if let Ok(fd) = sys::open_in_root(root, Path::new(path), OFlag::O_RDONLY | OFlag::O_NONBLOCK) {
        let file = File::from(fd);
        if file.metadata().is_ok_and(|m| m.is_file()) {
            let _ = file.take(DATABASE_MAX).read_to_end(&mut text);
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Resolves `user[:group]` in the text of `/etc/passwd` and `/etc/group`. Nothing given means root.
pub fn resolve(text: &str, passwd: &str, group: &str) -> Result<User> {
    let (user, wanted_group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let number = user.parse::<u32>().ok();
    let entry = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.len() >= 6 && (fields[0] == user || (number.is_some() && fields[2].parse().ok() == number)));
    let (uid, default_gid, home, name) = match (&entry, number) {
        (Some(fields), _) => {
            let bad = |_| Error::text(format!("the container's /etc/passwd has a malformed line for user {user:?}"));
            (fields[2].parse().map_err(bad)?, fields[3].parse().map_err(bad)?, fields[5].to_owned(), fields[0])
        }
        (None, Some(uid)) => (uid, 0, "/".to_owned(), ""),
        (None, None) => return Err(Error::text(format!("there is no user {user:?} in the container's /etc/passwd"))),
    };
    let gid = match wanted_group.filter(|g| !g.is_empty()) {
        Some(wanted) => group_number(wanted, group)?,
        None => default_gid,
    };
    // As in docker: an explicit group means that group and no other.
    let groups = if wanted_group.is_some() { Vec::new() } else { member_groups(name, gid, group) };
    Ok(User { uid, gid, groups, home: if home.is_empty() { "/".to_owned() } else { home } })
}

fn group_number(wanted: &str, group: &str) -> Result<u32> {
    if let Ok(number) = wanted.parse() {
        return Ok(number);
    }
    group
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.len() >= 3 && fields[0] == wanted)
        .and_then(|fields| fields[2].parse().ok())
        .ok_or_else(|| Error::text(format!("there is no group {wanted:?} in the container's /etc/group")))
}

/// Groups that list the user as a member, besides its own.
fn member_groups(name: &str, own: u32, group: &str) -> Vec<u32> {
    let mut numbers: Vec<u32> = group
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .filter(|fields| fields.len() >= 4 && !name.is_empty() && fields[3].split(',').any(|member| member == name))
        .filter_map(|fields| fields[2].parse().ok())
        .filter(|gid| *gid != own)
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/false\nbroken\n";
    const GROUP: &str = "root:x:0:\nwww-data:x:33:\nadm:x:4:www-data,root\nssl:x:90:www-data\n";

    fn user(uid: u32, gid: u32, groups: &[u32], home: &str) -> User {
        User { uid, gid, groups: groups.to_vec(), home: home.to_owned() }
    }

    #[test]
    fn every_form_is_understood() {
        for (text, wanted) in [
            ("", user(0, 0, &[4], "/root")),
            ("33", user(33, 33, &[4, 90], "/var/www")),
            ("www-data", user(33, 33, &[4, 90], "/var/www")),
            ("www-data:adm", user(33, 4, &[], "/var/www")),
            ("1000", user(1000, 0, &[], "/")),
            ("1000:1001", user(1000, 1001, &[], "/")),
        ] {
            assert_eq!(resolve(text, PASSWD, GROUP).unwrap(), wanted, "{text:?}");
        }
    }

    #[test]
    fn an_image_without_databases_knows_numbers_only() {
        assert_eq!(resolve("", "", "").unwrap(), user(0, 0, &[], "/"));
        let error = resolve("web", "", "").unwrap_err().to_string();
        assert_eq!(error, "there is no user \"web\" in the container's /etc/passwd");
        let error = resolve("0:web", "", "").unwrap_err().to_string();
        assert_eq!(error, "there is no group \"web\" in the container's /etc/group");
    }

    #[test]
    fn a_link_cannot_lead_out_of_the_container() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.path().join("etc/group")).unwrap();
        std::os::unix::fs::symlink("/../../../../etc/hostname", root.path().join("etc/passwd")).unwrap();
        let directory = sys::open_directory(root.path()).unwrap();
        use std::os::fd::AsFd as _;
        assert_eq!(database(directory.as_fd(), "/etc/passwd"), "");
        assert!(lookup(directory.as_fd(), "root").is_err());
    }
}
