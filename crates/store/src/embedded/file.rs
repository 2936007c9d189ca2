//! The file: how it is made, what is in it, how it is read.

use super::FILE_FORMAT;
use crate::{Entry, Result, Revision, StoreError};
use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Keys, each with the revision of its last change and its value.
pub(super) const ENTRIES: TableDefinition<&str, (u64, &[u8])> = TableDefinition::new("entries");
/// Numbers about the whole: [`FORMAT`], [`HISTORY`], [`REVISION`].
pub(super) const NUMBERS: TableDefinition<&str, u64> = TableDefinition::new("numbers");
/// Which layout the file has.
const FORMAT: &str = "format";
/// Random, given when the file was made.
const HISTORY: &str = "history";
/// The newest commit's revision.
pub(super) const REVISION: &str = "revision";

/// Memory for pages. Small, for manager and agent must idle under 40 MB together; the kernel caches the file anyway.
const CACHE_BYTES: usize = 4 << 20;

/// A file that is open and of a known format.
pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) revision: Revision,
    pub(super) history: u64,
}

/// Opens the file, or makes it.
pub(super) fn open(path: &Path) -> Result<Opened> {
    let failed = |cause: String| StoreError::Io { path: path.display().to_string(), cause };
    if !path.exists() {
        make(path).map_err(&failed)?;
    }
    let database = open_database(path, false).map_err(&failed)?;
    let [format, history, revision] = numbers(&database).map_err(|e| failed(format!("is not a store of ours: {e}")))?;
    if format > FILE_FORMAT {
        return Err(StoreError::Format { path: path.display().to_string(), found: format, known: FILE_FORMAT });
    }
    Ok(Opened { database, revision, history })
}

fn open_database(path: &Path, create: bool) -> Result<Database, String> {
    let mut options = OpenOptions::new();
    // Owner only: there are keys and tokens in it.
    let file = options.read(true).write(true).create_new(create).mode(0o600).open(path).map_err(|e| e.to_string())?;
    let opened = Database::builder().set_cache_size(CACHE_BYTES).create_file(file);
    opened.map_err(|e| match e {
        redb::DatabaseError::DatabaseAlreadyOpen => "is in use by another process".to_owned(),
        other => other.to_string(),
    })
}

/// Makes an empty store beside the path and moves it there when it is whole: a process killed on the way leaves nothing
/// that looks like a store. The lock on the directory keeps two processes from doing so at once.
fn make(path: &Path) -> Result<(), String> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let lock = File::open(directory).map_err(|e| format!("directory {}: {e}", directory.display()))?;
    lock.lock().map_err(|e| format!("cannot lock directory {}: {e}", directory.display()))?;
    if path.exists() {
        return Ok(());
    }
    let beside = beside(path);
    match std::fs::remove_file(&beside) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(format!("cannot remove {}: {e}", beside.display())),
        _ => {}
    }
    initialise(&open_database(&beside, true)?).map_err(|e| e.to_string())?;
    std::fs::rename(&beside, path).and_then(|()| lock.sync_all()).map_err(|e| format!("cannot make it: {e}"))
}

fn beside(path: &Path) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

fn initialise(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        transaction.open_table(ENTRIES)?;
        let mut numbers = transaction.open_table(NUMBERS)?;
        numbers.insert(FORMAT, FILE_FORMAT)?;
        numbers.insert(HISTORY, base::env::seed())?;
        numbers.insert(REVISION, 0)?;
    }
    Ok(transaction.commit()?)
}

/// [`FORMAT`], [`HISTORY`], [`REVISION`].
fn numbers(database: &Database) -> Result<[u64; 3], redb::Error> {
    let table = database.begin_read()?.open_table(NUMBERS)?;
    Ok([number(&table, FORMAT)?, number(&table, HISTORY)?, number(&table, REVISION)?])
}

/// A number that every store has.
pub(super) fn number(table: &impl ReadableTable<&'static str, u64>, name: &str) -> Result<u64, redb::Error> {
    let found = table.get(name)?.ok_or_else(|| redb::Error::Corrupted(format!("the number `{name}` is missing")))?;
    Ok(found.value())
}

/// The newest commit's revision.
pub(super) fn revision(database: &Database) -> Result<Revision, redb::Error> {
    number(&database.begin_read()?.open_table(NUMBERS)?, REVISION)
}

/// One key.
pub(super) fn get(database: &Database, key: String) -> Result<Option<Entry>, redb::Error> {
    let table = database.begin_read()?.open_table(ENTRIES)?;
    let found = table.get(key.as_str())?;
    Ok(found.map(|guard| entry(key, guard.value())))
}

/// Everything below a prefix, and the revision it is from.
pub(super) fn below(database: &Database, prefix: &str) -> Result<(Revision, Vec<Entry>), redb::Error> {
    let transaction = database.begin_read()?;
    let revision = number(&transaction.open_table(NUMBERS)?, REVISION)?;
    let table = transaction.open_table(ENTRIES)?;
    let mut entries = Vec::new();
    for row in ReadableTable::range(&table, prefix..)? {
        let (key, value) = row?;
        if !key.value().starts_with(prefix) {
            break;
        }
        entries.push(entry(key.value().to_owned(), value.value()));
    }
    Ok((revision, entries))
}

fn entry(key: String, (revision, value): (u64, &[u8])) -> Entry {
    Entry { key, value: Bytes::copy_from_slice(value), revision }
}
