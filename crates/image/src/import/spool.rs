//! Files of an archive in the staging directory, for forms that must be read in another order than they come.

use crate::{
    error::{Error, Result, on},
    layer::{read_full, tell},
    name,
    store::Work,
    tarball::{Kind, Walker},
};
use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write as _},
    path::{Path, PathBuf},
};

/// Most files of a layout or docker archive: some for each of 500 layers.
const MAX_FILES: usize = 4096;
const PIECE: usize = 256 << 10;
const PROGRESS_STEP: u64 = 16 << 20;
/// Longest chain of links between files followed.
const MAX_LINKS: usize = 8;

/// Files by their names in the archive.
pub struct Files {
    files: BTreeMap<String, PathBuf>,
    /// Links to other files: old docker archives have one for each layer that occurs again.
    links: BTreeMap<String, String>,
}

impl Files {
    /// The file of that name, where it is now.
    pub fn get(&self, name: &str) -> Option<&Path> {
        let mut name = clean(name.as_bytes()).ok()?;
        for _ in 0..MAX_LINKS {
            match self.links.get(&name) {
                Some(target) => name = target.clone(),
                None => break,
            }
        }
        self.files.get(&name).map(PathBuf::as_path)
    }

    /// The content of a small file.
    pub fn read(path: &Path, most: u64, what: &str) -> Result<Vec<u8>> {
        let size = fs::metadata(path).map_err(on("read", path))?.len();
        if size > most {
            return Err(Error::content(format!("{what} has {size} bytes, at most {most} are taken")));
        }
        fs::read(path).map_err(on("read", path))
    }
}

fn clean(path: &[u8]) -> Result<String> {
    let clean = name::clean(path).map_err(Error::content)?;
    String::from_utf8(clean).map_err(|_| Error::content(format!("the name {} is not UTF-8", path.escape_ascii())))
}

/// Writes out every file of the archive. Their names are only remembered: no path is made from them.
pub fn spool(work: &Work<'_>, archive: impl Read, what: &str) -> Result<Files> {
    let (mut left, by_disk) = work.room()?;
    let mut walker = Walker::new(archive);
    let mut files = Files { files: BTreeMap::new(), links: BTreeMap::new() };
    let (mut done, mut told) = (0, 0);
    while let Some(entry) = walker.advance().map_err(|e| Error::content(format!("{what}: {e}")))? {
        if files.files.len() + files.links.len() >= MAX_FILES {
            return Err(Error::content(format!("{what} has more than {MAX_FILES} files")));
        }
        match entry.kind {
            Kind::Directory => {}
            Kind::Symlink | Kind::Hardlink => {
                let target = target(&entry.path, &entry.link, entry.kind)?;
                files.links.insert(clean(&entry.path)?, target);
            }
            Kind::File if entry.pieces.is_empty() => {
                let too_much =
                    || if by_disk { work.no_space() } else { Error::content(format!("{what} holds more than is allowed")) };
                left = left.checked_sub(entry.size).ok_or_else(too_much)?;
                files.files.insert(clean(&entry.path)?, write(work, &mut walker, what)?);
                done += entry.size;
                if done >= told + PROGRESS_STEP {
                    told = done;
                    tell(work.progress, what, done, 0);
                }
            }
            _ => return Err(Error::content(format!("{what} holds {}, which is no plain file", entry.path.escape_ascii()))),
        }
    }
    match walker.marked_end() {
        true => Ok(files),
        false => Err(Error::content(format!("{what}: archive is truncated: its end marker is missing"))),
    }
}

/// Where a link leads, as a name in the archive.
fn target(path: &[u8], link: &[u8], kind: Kind) -> Result<String> {
    let outside = || Error::content(format!("the link {} leads out of the archive", path.escape_ascii()));
    let path = clean(path)?;
    let link = std::str::from_utf8(link).map_err(|_| outside())?;
    if kind == Kind::Hardlink {
        return clean(link.as_bytes());
    }
    if link.starts_with('/') {
        return Err(outside());
    }
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop().ok_or_else(outside)?),
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

fn write(work: &Work<'_>, data: &mut impl Read, what: &str) -> Result<PathBuf> {
    let (path, mut file) = work.staging.create()?;
    let mut piece = vec![0; PIECE];
    loop {
        let read = read_full(data, &mut piece);
        let n = read.map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => Error::content(format!("{what}: archive is truncated")),
            _ => Error::content(format!("{what}: cannot read the archive: {e}")),
        })?;
        if n == 0 {
            return Ok(path);
        }
        file.write_all(piece.get(..n).unwrap_or_default()).map_err(on("write to", &work.staging.dir))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_names_inside() {
        let link = |path: &str, to: &str| target(path.as_bytes(), to.as_bytes(), Kind::Symlink);
        assert_eq!(link("aa/layer.tar", "../bb/layer.tar").unwrap(), "bb/layer.tar");
        assert_eq!(link("aa.tar", "./bb.tar").unwrap(), "bb.tar");
        assert!(link("aa/layer.tar", "../../etc/passwd").is_err());
        assert!(link("aa/layer.tar", "/etc/passwd").is_err());
    }
}
