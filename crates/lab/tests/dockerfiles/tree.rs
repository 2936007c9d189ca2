//! What an image's layers make together: a tree of files, as a value.

use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    io::{self, Read},
};
use tar::EntryType;

/// What a name begins with that removes the rest of the name from the layers below (OCI image specification, layer).
const WHITEOUT: &str = ".wh.";
/// The name that hides everything the layers below have in its folder.
const OPAQUE: &str = ".wh..wh..opq";
/// What a pax record that holds an extended attribute begins with.
const XATTR: &str = "SCHILY.xattr.";

/// A file of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Permission bits, with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u64, u64),
    /// Seconds since 1970; None for a folder that no layer speaks of.
    pub mtime: Option<i64>,
    /// Extended attributes.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Content: its size, and its SHA-256.
    File(u64, String),
    /// A folder.
    Folder,
    /// A symbolic link, with its target.
    Link(String),
    /// A device: `c` or `b`, major, minor.
    Device(char, u32, u32),
    /// A named pipe.
    Pipe,
}

/// What a layer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// There is this.
    Made(String, Node),
    /// The first is another name of the second.
    Hard(String, String),
    /// What the layers below have here is gone.
    Whiteout(String),
    /// What the layers below have in this folder is gone.
    Opaque(String),
}

/// Files by path, without a slash in front; the root is the empty path. Names of one file have one number.
#[derive(Debug, Default)]
pub struct Tree {
    names: BTreeMap<String, usize>,
    nodes: Vec<Node>,
}

/// The folder a path is in; None for the root.
fn parent(path: &str) -> Option<&str> {
    match path.rsplit_once('/') {
        Some((folder, _)) => Some(folder),
        None => (!path.is_empty()).then_some(""),
    }
}

fn below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| folder.is_empty() && !rest.is_empty() || rest.starts_with('/'))
}

impl Tree {
    /// What is at a path.
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.names.get(path).and_then(|number| self.nodes.get(*number))
    }

    /// Paths, in order.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// Other names of the file at a path, in order.
    pub fn others(&self, path: &str) -> Vec<&str> {
        let number = self.names.get(path);
        let same = self.names.iter().filter(|(other, n)| Some(*n) == number && other.as_str() != path);
        same.map(|(other, _)| other.as_str()).collect()
    }

    /// Lays a layer on top. What it takes away is taken from the layers below only, wherever in the layer that stands.
    ///
    /// # Errors
    /// When it says what no tree can be: another name of what is not there, something in what is no folder.
    pub fn apply(&mut self, layer: &[Entry]) -> Result<(), String> {
        for entry in layer {
            match entry {
                Entry::Whiteout(path) => self.names.retain(|name, _| name != path && !below(name, path)),
                Entry::Opaque(path) => self.names.retain(|name, _| !below(name, path)),
                Entry::Made(..) | Entry::Hard(..) => {}
            }
        }
        for entry in layer {
            match entry {
                Entry::Made(path, node) => {
                    self.nodes.push(node.clone());
                    self.put(path, self.nodes.len() - 1, node.kind == Kind::Folder)?;
                }
                Entry::Hard(path, to) => {
                    let number =
                        *self.names.get(to).ok_or_else(|| format!("/{path} is another name of /{to}, which is not there"))?;
                    self.put(path, number, false)?;
                }
                Entry::Whiteout(_) | Entry::Opaque(_) => {}
            }
        }
        Ok(())
    }

    fn put(&mut self, path: &str, number: usize, folder: bool) -> Result<(), String> {
        if let Some(parent) = parent(path) {
            self.folder(parent)?;
        }
        if !folder {
            self.names.retain(|name, _| !below(name, path));
        }
        self.names.insert(path.to_owned(), number);
        Ok(())
    }

    /// Makes sure of a folder that an entry is in, although no entry may speak of it.
    fn folder(&mut self, path: &str) -> Result<(), String> {
        match self.get(path) {
            Some(Node { kind: Kind::Folder, .. }) => Ok(()),
            Some(_) => Err(format!("/{path} is no folder, and a layer puts something into it")),
            None => {
                let node = Node { kind: Kind::Folder, mode: 0o755, owner: (0, 0), mtime: None, xattrs: BTreeMap::new() };
                self.nodes.push(node);
                self.put(path, self.nodes.len() - 1, true)
            }
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap_or_else(|_| bytes.escape_ascii().to_string())
}

/// A path of an archive without what means nothing: a leading `./`, slashes at its ends.
fn clean(bytes: &[u8]) -> String {
    let path = text(bytes);
    let path = path.trim_start_matches("./").trim_matches('/');
    if path == "." { String::new() } else { path.to_owned() }
}

/// Reads a layer, which is a tar archive.
///
/// # Errors
/// When it is none, or has what this does not know.
pub fn entries(layer: impl Read) -> io::Result<Vec<Entry>> {
    let mut archive = tar::Archive::new(layer);
    archive.entries()?.map(|entry| one(&mut entry?)).collect()
}

fn one(entry: &mut tar::Entry<'_, impl Read>) -> io::Result<Entry> {
    let path = clean(&entry.path_bytes());
    let name = path.rsplit('/').next().unwrap_or_default();
    let folder = parent(&path).unwrap_or_default().to_owned();
    if name == OPAQUE {
        return Ok(Entry::Opaque(folder));
    }
    if let Some(gone) = name.strip_prefix(WHITEOUT) {
        return Ok(Entry::Whiteout(if folder.is_empty() { gone.to_owned() } else { format!("{folder}/{gone}") }));
    }
    let link = entry.link_name_bytes().map(|bytes| bytes.to_vec()).unwrap_or_default();
    let xattrs = attributes(entry)?;
    let kind = match entry.header().entry_type() {
        EntryType::Link => return Ok(Entry::Hard(path, clean(&link))),
        EntryType::Directory => Kind::Folder,
        EntryType::Symlink => Kind::Link(text(&link)),
        EntryType::Fifo => Kind::Pipe,
        EntryType::Char => device('c', entry.header())?,
        EntryType::Block => device('b', entry.header())?,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => content(entry)?,
        other => return Err(io::Error::other(format!("/{path} is an entry of the kind {other:?}"))),
    };
    let header = entry.header();
    let (mode, owner) = (header.mode()? & 0o7777, (header.uid()?, header.gid()?));
    let mtime = i64::try_from(header.mtime()?).map_err(io::Error::other)?;
    Ok(Entry::Made(path, Node { kind, mode, owner, mtime: Some(mtime), xattrs }))
}

fn device(kind: char, header: &tar::Header) -> io::Result<Kind> {
    let (major, minor) = (header.device_major()?, header.device_minor()?);
    Ok(Kind::Device(kind, major.unwrap_or_default(), minor.unwrap_or_default()))
}

fn attributes(entry: &mut tar::Entry<'_, impl Read>) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for record in entry.pax_extensions()?.into_iter().flatten() {
        let record = record?;
        if let Some(name) = record.key().ok().and_then(|key| key.strip_prefix(XATTR)) {
            found.insert(name.to_owned(), record.value_bytes().to_vec());
        }
    }
    Ok(found)
}

fn content(entry: &mut impl Read) -> io::Result<Kind> {
    let (mut hash, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 18]);
    loop {
        let got = entry.read(&mut buffer)?;
        if got == 0 {
            return Ok(Kind::File(size, hex::encode(hash.finalize())));
        }
        hash.update(&buffer[..got]);
        size += got as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &str) -> Node {
        let kind = content_of(content);
        Node { kind, mode: 0o644, owner: (0, 0), mtime: Some(0), xattrs: BTreeMap::new() }
    }

    fn content_of(text: &str) -> Kind {
        content(&mut text.as_bytes()).unwrap()
    }

    fn folder() -> Node {
        Node { kind: Kind::Folder, ..file("") }
    }

    fn made(path: &str, node: Node) -> Entry {
        Entry::Made(path.to_owned(), node)
    }

    fn tree(layers: &[&[Entry]]) -> Tree {
        let mut tree = Tree::default();
        for layer in layers {
            tree.apply(layer).unwrap();
        }
        tree
    }

    fn paths(tree: &Tree) -> Vec<&str> {
        tree.paths().collect()
    }

    #[test]
    fn whiteouts_take_from_below_only() {
        let below = [made("a/x", file("1")), made("a/y", file("2")), made("ab", file("3"))];
        let gone = tree(&[&below, &[Entry::Whiteout("a".to_owned())]]);
        assert_eq!(paths(&gone), ["", "ab"]);
        let again = tree(&[&below, &[made("a/x", file("4")), Entry::Whiteout("a".to_owned())]]);
        assert_eq!(paths(&again), ["", "a", "a/x", "ab"]);
        assert_eq!(again.get("a/x"), Some(&file("4")));
    }

    #[test]
    fn opaque_folders_keep_only_what_is_new() {
        let below = [made("a/x", file("1")), made("a/b/y", file("2")), made("z", file("3"))];
        let tree = tree(&[&below, &[made("a", folder()), made("a/n", file("4")), Entry::Opaque("a".to_owned())]]);
        assert_eq!(paths(&tree), ["", "a", "a/n", "z"]);
    }

    #[test]
    fn a_file_replaces_a_folder_and_a_folder_keeps_its_files() {
        let below = [made("a", folder()), made("a/x", file("1")), made("b", folder()), made("b/x", file("1"))];
        let private = Node { mode: 0o700, ..folder() };
        let tree = tree(&[&below, &[made("a", file("2")), made("b", private.clone())]]);
        assert_eq!(paths(&tree), ["", "a", "b", "b/x"]);
        assert_eq!(tree.get("b"), Some(&private));
    }

    #[test]
    fn names_of_one_file() {
        let below = [made("a", file("1")), Entry::Hard("b".to_owned(), "a".to_owned())];
        let both = tree(&[&below]);
        assert_eq!((both.others("a"), both.others("b")), (vec!["b"], vec!["a"]));
        // A new file under one name does not change the other.
        let one = tree(&[&below, &[made("a", file("2")), Entry::Hard("c".to_owned(), "a".to_owned())]]);
        assert_eq!((one.others("a"), one.others("b"), one.get("b")), (vec!["c"], vec![], Some(&file("1"))));
        let lost = Tree::default().apply(&[Entry::Hard("b".to_owned(), "a".to_owned())]);
        assert_eq!(lost.unwrap_err(), "/b is another name of /a, which is not there");
    }

    #[test]
    fn nothing_goes_through_a_link() {
        let link = Node { kind: Kind::Link("/etc".to_owned()), ..file("") };
        let wrong = Tree::default().apply(&[made("a", link), made("a/x", file("1"))]);
        assert_eq!(wrong.unwrap_err(), "/a is no folder, and a layer puts something into it");
    }

    #[test]
    fn archives_are_read() {
        let mut tar = tar::Builder::new(Vec::new());
        let attribute: (&str, &[u8]) = ("SCHILY.xattr.user.x", b"1");
        tar.append_pax_extensions([attribute]).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_size(2);
        header.set_mode(0o4755);
        header.set_uid(1);
        header.set_gid(2);
        header.set_mtime(3);
        tar.append_data(&mut header, "./d/a", &b"hi"[..]).unwrap();
        for name in ["d/.wh.b", "d/.wh..wh..opq", ".wh.c"] {
            header.set_size(0);
            tar.append_data(&mut header, name, &b""[..]).unwrap();
        }
        let xattrs = BTreeMap::from([("user.x".to_owned(), b"1".to_vec())]);
        let node = Node { kind: content_of("hi"), mode: 0o4755, owner: (1, 2), mtime: Some(3), xattrs };
        let gone = |path: &str| Entry::Whiteout(path.to_owned());
        let expected = [made("d/a", node), gone("d/b"), Entry::Opaque("d".to_owned()), gone("c")];
        assert_eq!(entries(&tar.into_inner().unwrap()[..]).unwrap(), expected);
    }
}
