//! The folder of a build as an archive, without what `.dockerignore` lists.

use api::build::CONTEXT;
use recipe::Ignore;
use std::{
    collections::HashMap,
    fs::{self, File, Metadata},
    io::{self, BufWriter, Write},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};
use tar::{Builder, EntryType, Header, HeaderMode};

/// Bytes handed on at once.
const PIECE: usize = 1 << 16;

/// Writes a folder.
pub fn pack(folder: &Path, ignore: &Ignore, to: File) -> io::Result<()> {
    let mut pack = Pack { tar: archive(to), folder, ignore, links: HashMap::new() };
    pack.directory(Path::new(""))?;
    finish(pack.tar)
}

/// Writes files that are at hand, by their paths.
#[allow(dead_code, reason = "the app store's `get` calls it")]
pub fn pack_files(files: &[(String, Vec<u8>)], to: File) -> io::Result<()> {
    let mut tar = archive(to);
    for (path, content) in files {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        tar.append_data(&mut header, format!("{CONTEXT}{path}"), content.as_slice())?;
    }
    finish(tar)
}

type Archive = Builder<BufWriter<File>>;

fn archive(to: File) -> Archive {
    let mut tar = Builder::new(BufWriter::with_capacity(PIECE, to));
    tar.follow_symlinks(false);
    tar.mode(HeaderMode::Complete);
    tar
}

fn finish(tar: Archive) -> io::Result<()> {
    tar.into_inner()?.flush()
}

struct Pack<'a> {
    tar: Archive,
    folder: &'a Path,
    ignore: &'a Ignore,
    /// First name of each file that has several.
    links: HashMap<(u64, u64), PathBuf>,
}

impl Pack<'_> {
    fn directory(&mut self, inside: &Path) -> io::Result<()> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.folder.join(inside))? {
            names.push(entry?.file_name());
        }
        names.sort_unstable();
        for name in names {
            self.entry(&inside.join(name))?;
        }
        Ok(())
    }

    fn entry(&mut self, inside: &Path) -> io::Result<()> {
        let (path, text) = (self.folder.join(inside), inside.to_string_lossy());
        let meta = match fs::symlink_metadata(&path) {
            // Gone since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let (ignored, to) = (self.ignore.ignores(&text), Path::new(CONTEXT).join(inside));
        if meta.is_dir() {
            if !ignored {
                self.attributes(&path)?;
                self.tar.append_dir(&to, &path)?;
            }
            return if ignored && self.ignore.prunes(&text) { Ok(()) } else { self.directory(inside) };
        }
        let kind = meta.file_type();
        // Programs that run have sockets, and images may not bring devices.
        if ignored || kind.is_socket() || kind.is_block_device() || kind.is_char_device() || self.linked(&meta, &to)? {
            return Ok(());
        }
        if meta.is_file() {
            self.attributes(&path)?;
        }
        self.tar.append_path_with_name(&path, &to)
    }

    /// A further name of a file that has been written.
    fn linked(&mut self, meta: &Metadata, to: &Path) -> io::Result<bool> {
        if meta.nlink() < 2 || !meta.is_file() {
            return Ok(false);
        }
        if let Some(first) = self.links.get(&(meta.dev(), meta.ino())) {
            let mut header = Header::new_gnu();
            header.set_metadata(meta);
            header.set_entry_type(EntryType::Link);
            header.set_size(0);
            self.tar.append_link(&mut header, to, first)?;
            return Ok(true);
        }
        self.links.insert((meta.dev(), meta.ino()), to.to_owned());
        Ok(false)
    }

    /// Extended attributes that belong to a file wherever it is, and the fraction of its time.
    fn attributes(&mut self, path: &Path) -> io::Result<()> {
        let all = attributes(path)?;
        let records: Vec<(String, &[u8])> =
            all.iter().map(|(name, value)| (format!("SCHILY.xattr.{name}"), value.as_slice())).collect();
        if records.is_empty() {
            return Ok(());
        }
        self.tar.append_pax_extensions(records.iter().map(|(name, value)| (name.as_str(), *value)))
    }
}

/// Names and values of the attributes of a file that is no link. A file system without any has none.
fn attributes(path: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    let Ok(names) = xattr::list(path) else { return Ok(found) };
    for name in names {
        let Some(text) = name.to_str() else { continue };
        if !text.starts_with("user.") && text != "security.capability" {
            continue;
        }
        if let Some(value) = xattr::get(path, &name)? {
            found.push((text.to_owned(), value));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Seek as _, os::unix::fs::symlink};

    #[test]
    fn a_folder_is_sent_without_what_is_ignored() {
        let top = tempfile::tempdir().unwrap();
        let at = |path: &str| top.path().join(path);
        fs::create_dir_all(at("src/deep")).unwrap();
        fs::create_dir_all(at("target/keep")).unwrap();
        for file in ["a.txt", "a.log", "src/main.c", "src/deep/x.log", "target/big", "target/keep/small"] {
            fs::write(at(file), file).unwrap();
        }
        fs::hard_link(at("a.txt"), at("same.txt")).unwrap();
        symlink("/etc/passwd", at("link")).unwrap();
        let ignore = Ignore::parse("**/*.log\ntarget\n!target/keep").unwrap();
        let mut file = tempfile::tempfile().unwrap();
        pack(top.path(), &ignore, file.try_clone().unwrap()).unwrap();
        file.rewind().unwrap();
        let mut archive = tar::Archive::new(file);
        let sent: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let kind = entry.header().entry_type();
                let link = entry.link_name().unwrap().map(|link| format!(">{}", link.display())).unwrap_or_default();
                let sort = if kind.is_dir() { "/" } else { "" };
                format!("{}{sort}{link}", entry.path().unwrap().display().to_string().trim_end_matches('/'))
            })
            .collect();
        let wanted = "context/a.txt context/link>/etc/passwd context/same.txt>context/a.txt context/src/ context/src/deep/ \
             context/src/main.c context/target/keep/ context/target/keep/small";
        assert_eq!(sent.join(" "), wanted);
    }
}
