//! Users and groups by the names that a root file system itself gives them.

use crate::{
    error::{Error, Result},
    root::{Ids, Root},
};
use nix::fcntl::OFlag;
use std::{fs::File, io::Read as _, path::Path};

/// Largest `etc/passwd` or `etc/group` that is read: an image is a stranger.
const DATABASE_MAX: u64 = 1 << 20;

/// `user`, `user:group`, by name or number; a group that is missing has the user's number, or by its name the user's group.
pub fn ids(root: &Root, text: &str) -> Result<Ids> {
    let read = |path: &str| {
        let mut content = Vec::new();
        let opened = root.open_in(Path::new(path), OFlag::O_RDONLY | OFlag::O_NONBLOCK);
        if let Some(file) = opened.ok().map(File::from).filter(|file| file.metadata().is_ok_and(|meta| meta.is_file())) {
            // What cannot be read has no names in it.
            let _ = file.take(DATABASE_MAX).read_to_end(&mut content);
        }
        String::from_utf8_lossy(&content).into_owned()
    };
    resolve(text, &read("etc/passwd"), &read("etc/group"))
}

fn resolve(text: &str, passwd: &str, group: &str) -> Result<Ids> {
    let (user, wanted) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let user = if user.is_empty() { "0" } else { user };
    let (uid, own) = match user.parse() {
        Ok(uid) => (uid, uid),
        Err(_) => {
            let fields = entry(passwd, user, 4).ok_or_else(|| no("user", user, "passwd"))?;
            let number = |index: usize| fields[index].parse::<u32>().map_err(|_| no("user", user, "passwd"));
            (number(2)?, number(3)?)
        }
    };
    let gid = match wanted.filter(|group| !group.is_empty()) {
        None => own,
        Some(name) => match name.parse() {
            Ok(gid) => gid,
            Err(_) => {
                let fields = entry(group, name, 3).ok_or_else(|| no("group", name, "group"))?;
                fields[2].parse().map_err(|_| no("group", name, "group"))?
            }
        },
    };
    Ok(Ids { uid, gid })
}

fn entry<'a>(database: &'a str, name: &str, least: usize) -> Option<Vec<&'a str>> {
    database.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields.len() >= least && fields[0] == name)
}

fn no(what: &str, name: &str, file: &str) -> Error {
    Error::Wrong(format!("there is no {what} {name} in the stage's /etc/{file}: add it before, or write its number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/var/www:/bin/false\nbroken\n";
    const GROUP: &str = "root:x:0:\nadm:x:4:web\n";

    #[test]
    fn every_form_is_understood() {
        for (text, uid, gid) in [
            ("web", 33, 34),
            ("web:adm", 33, 4),
            ("1000", 1000, 1000),
            ("1000:5", 1000, 5),
            ("5:adm", 5, 4),
            (":4", 0, 4),
            ("web:", 33, 34),
        ] {
            assert_eq!(resolve(text, PASSWD, GROUP).unwrap(), Ids { uid, gid }, "{text}");
        }
    }

    #[test]
    fn who_is_not_there_is_said() {
        let says = |text: &str| resolve(text, PASSWD, GROUP).unwrap_err().to_string();
        assert_eq!(says("me"), "there is no user me in the stage's /etc/passwd: add it before, or write its number");
        assert_eq!(says("web:us"), "there is no group us in the stage's /etc/group: add it before, or write its number");
        assert_eq!(says("broken"), "there is no user broken in the stage's /etc/passwd: add it before, or write its number");
    }
}
