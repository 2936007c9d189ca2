//! Contexts: what lies in the repository, with modes and times that do not depend on how it was checked out, and beside it what
//! cannot lie there.
//!
//! Everything goes through an archive in memory: it holds all that a file can have, and is unpacked with all of it.

use flate2::{Compression, write::GzEncoder};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fs::{self, File, FileTimes},
    io::{Cursor, Read, Seek as _, SeekFrom, Write},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};
use tar::{Builder, EntryType, Header};

/// When everything was changed last that says nothing else: a second long ago.
const LONG_AGO: u64 = 1_000_000_000;

/// A file of a context, or of an archive in one. What it is says the first of these that is there: `link`, `hard`, `folder`,
/// `pipe`, `archive`, `copy`, `noise`, `sparse`, `text`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Made {
    /// Its path in the context.
    path: String,
    /// Content.
    text: String,
    /// Target of a symbolic link.
    link: Option<String>,
    /// Another name of this file.
    hard: Option<String>,
    /// A folder.
    folder: bool,
    /// A named pipe.
    pipe: bool,
    /// An archive of these files; how it is compressed, its name says.
    archive: Option<Vec<Made>>,
    /// The content of this file of the machine.
    copy: Option<String>,
    /// So many bytes with no pattern, always the same.
    noise: Option<usize>,
    /// So many bytes, of which only `text`, at the beginning and at the end, is stored.
    sparse: Option<u64>,
    /// Permissions in octal digits; 644 when absent, of folders 755.
    mode: Option<String>,
    /// Numbers of owner and group.
    owner: (u64, u64),
    /// Seconds since 1970; long ago when absent.
    mtime: Option<u64>,
    /// Extended attributes: text, or `hex:` and digits.
    xattrs: BTreeMap<String, String>,
}

/// Bytes of a generator that always begins in the same way (xorshift), four at a time.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(size).collect()
}

impl Made {
    /// A file of the repository: whether it can be run is all that counts of its mode.
    fn of_repository(path: String, file: &Path) -> (Self, Vec<u8>) {
        let data = fs::read(file).unwrap();
        let run = fs::metadata(file).unwrap().permissions().mode() & 0o100 != 0;
        (Self { path, mode: run.then(|| "755".to_owned()), ..Self::default() }, data)
    }

    fn kind(&self) -> EntryType {
        match self {
            Self { link: Some(_), .. } => EntryType::Symlink,
            Self { hard: Some(_), .. } => EntryType::Link,
            Self { folder: true, .. } => EntryType::Directory,
            Self { pipe: true, .. } => EntryType::Fifo,
            _ => EntryType::Regular,
        }
    }

    fn content(&self) -> Vec<u8> {
        match self {
            Self { archive: Some(inner), .. } => compressed(&self.path, archive(inner)),
            Self { copy: Some(file), .. } => fs::read(file).unwrap_or_else(|error| panic!("{file}: {error}")),
            Self { noise: Some(size), .. } => noise(*size),
            _ => self.text.clone().into_bytes(),
        }
    }

    /// Puts it into an archive.
    fn append(&self, tar: &mut Builder<Vec<u8>>, data: &[u8]) {
        let kind = self.kind();
        let records: Vec<(String, Vec<u8>)> =
            self.xattrs.iter().map(|(name, value)| (format!("SCHILY.xattr.{name}"), value_of(value))).collect();
        if !records.is_empty() {
            tar.append_pax_extensions(records.iter().map(|(key, value)| (key.as_str(), value.as_slice()))).unwrap();
        }
        let usual = if kind == EntryType::Directory { "755" } else { "644" };
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(u32::from_str_radix(self.mode.as_deref().unwrap_or(usual), 8).unwrap());
        header.set_uid(self.owner.0);
        header.set_gid(self.owner.1);
        header.set_mtime(self.mtime.unwrap_or(LONG_AGO));
        header.set_size(0);
        match self.link.as_ref().or(self.hard.as_ref()) {
            Some(to) => tar.append_link(&mut header, &self.path, to).unwrap(),
            None => {
                header.set_size(data.len() as u64);
                append_data(tar, &mut header, (&self.path, data));
            }
        }
    }
}

/// Also under a name that climbs out, which the library does not write.
fn append_data(tar: &mut Builder<Vec<u8>>, header: &mut Header, (path, data): (&str, &[u8])) {
    if !path.split('/').any(|part| part == "..") {
        return tar.append_data(header, path, data).unwrap();
    }
    header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_cksum();
    tar.append(header, data).unwrap();
}

fn value_of(text: &str) -> Vec<u8> {
    match text.strip_prefix("hex:") {
        Some(digits) => hex::decode(digits).unwrap(),
        None => text.as_bytes().to_vec(),
    }
}

fn archive(files: &[Made]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    files.iter().for_each(|file| file.append(&mut tar, &file.content()));
    tar.into_inner().unwrap()
}

/// The bytes as the file's name says.
fn compressed(path: &str, bytes: Vec<u8>) -> Vec<u8> {
    match path.rsplit('.').next() {
        Some("gz" | "tgz") => {
            let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
            gzip.write_all(&bytes).unwrap();
            gzip.finish().unwrap()
        }
        Some("zst") => zstd::encode_all(&bytes[..], 1).unwrap(),
        Some("xz") => filter("xz", bytes),
        Some("bz2") => filter("bzip2", bytes),
        _ => bytes,
    }
}

/// What a program makes of standard input.
fn filter(program: &str, bytes: Vec<u8>) -> Vec<u8> {
    let mut command = Command::new(program);
    let spawned = command.arg("--stdout").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = spawned.unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes));
    let mut out = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut out).unwrap();
    assert!(child.wait().unwrap().success() && writer.join().unwrap().is_ok(), "{program} failed");
    out
}

/// Makes files below a folder, or makes them anew.
pub fn make(folder: &Path, files: &[Made]) {
    let mut tar = Builder::new(Vec::new());
    let (sparse, whole): (Vec<&Made>, Vec<&Made>) = files.iter().partition(|file| file.sparse.is_some());
    whole.iter().for_each(|file| file.append(&mut tar, &file.content()));
    unpack(tar.into_inner().unwrap(), folder);
    sparse.iter().for_each(|file| make_sparse(folder, file));
}

fn unpack(archive: Vec<u8>, folder: &Path) {
    let mut archive = tar::Archive::new(Cursor::new(archive));
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(true);
    archive.set_preserve_mtime(true);
    archive.set_unpack_xattrs(true);
    archive.unpack(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
}

fn make_sparse(folder: &Path, made: &Made) {
    let mut file = File::create(folder.join(&made.path)).unwrap();
    let size = made.sparse.unwrap_or_default();
    file.set_len(size).unwrap();
    file.write_all(made.text.as_bytes()).unwrap();
    file.seek(SeekFrom::Start(size - made.text.len() as u64)).unwrap();
    file.write_all(made.text.as_bytes()).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(made.mtime.unwrap_or(LONG_AGO));
    file.set_times(FileTimes::new().set_modified(time)).unwrap();
}

/// Lays out a case's own folder as a context.
pub fn lay_out(case: &Path, context: &Path) {
    let mut tar = Builder::new(Vec::new());
    add(&mut tar, case, "");
    unpack(tar.into_inner().unwrap(), context);
}

fn add(tar: &mut Builder<Vec<u8>>, folder: &Path, below: &str) {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    for name in names.iter().filter(|name| !(below.is_empty() && *name == "case.toml")) {
        let (file, path) = (folder.join(name), format!("{below}{name}"));
        if file.is_dir() {
            Made { path: path.clone(), folder: true, ..Made::default() }.append(tar, &[]);
            add(tar, &file, &format!("{path}/"));
        } else {
            let (made, data) = Made::of_repository(path, &file);
            made.append(tar, &data);
        }
    }
}
