//! Removes content no image needs: first out of sight in one rename each, then from the disk.

use crate::{
    error::{Result, on},
    layout::{Layout, Staging},
};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// So long a blob that was pushed waits for its manifest, and an upload for its next piece.
pub const AN_HOUR: Duration = Duration::from_secs(3600);

/// The house's clock, as files are stamped.
pub fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(base::env::now_millis())
}

/// How long ago a file was written, if it is there.
pub fn age(path: &Path) -> Option<Duration> {
    let written = fs::metadata(path).and_then(|meta| meta.modified()).ok()?;
    Some(now().duration_since(written).unwrap_or_default())
}

/// Whether a blob still waits for its manifest. A note that is older than that goes.
fn awaited(layout: &Layout, hex: &str) -> bool {
    let note = layout.arrived(hex);
    match age(&note) {
        Some(age) if age <= AN_HOUR => true,
        Some(_) => {
            let _ = fs::remove_file(&note);
            false
        }
        None => false,
    }
}

/// Moves blobs and layers that are not needed out of sight, by hexadecimal digits. Call with the store's state held.
pub fn sweep(layout: &Layout, needed: &BTreeSet<String>) -> Result<Staging> {
    let trash = layout.staging()?;
    for part in ["blobs/sha256", "layers"] {
        let dir = layout.dir.join(part);
        for entry in fs::read_dir(&dir).map_err(on("list", &dir))? {
            let entry = entry.map_err(on("list", &dir))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !needed.contains(&name) && !awaited(layout, &name) {
                fs::rename(entry.path(), trash.path()).map_err(on("remove", &entry.path()))?;
            }
        }
    }
    Ok(trash)
}

/// Removes what was swept. Says how many bytes that frees.
pub fn discard(layout: &Layout, trash: Staging) -> Result<u64> {
    let freed = usage(&trash.dir).map_err(on("measure", &layout.dir))?;
    drop(trash);
    Ok(freed)
}

/// Bytes on disk of a tree. A file with several names counts by its share for each.
fn usage(path: &Path) -> std::io::Result<u64> {
    // What stat counts blocks in (stat(2), st_blocks).
    const UNIT: u64 = 512;
    let mut sum = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        sum += if meta.is_dir() { usage(&entry.path())? } else { meta.blocks() * UNIT / meta.nlink().max(1) };
    }
    Ok(sum)
}
