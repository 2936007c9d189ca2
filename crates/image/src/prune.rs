//! Removes content no image needs: first out of sight in one rename each, then from the disk.

use crate::{
    digest::Digest,
    error::{Result, on},
    layout::{Layout, Marker, Staging},
};
use std::{collections::BTreeSet, fs, os::unix::fs::MetadataExt as _, path::Path};

/// Moves what neither `images` nor `pinned` needs out of sight. Call with the store's state held.
pub fn sweep(layout: &Layout, images: &mut dyn Iterator<Item = &Marker>, pinned: &BTreeSet<Digest>) -> Result<Staging> {
    let mut needed: BTreeSet<String> = pinned.iter().map(|d| d.hex().to_owned()).collect();
    for marker in images {
        needed.extend(marker.blobs().chain(marker.layers.iter().map(|l| &l.diff_id)).map(|d| d.hex().to_owned()));
    }
    let trash = layout.staging()?;
    for part in ["blobs/sha256", "layers"] {
        let dir = layout.dir.join(part);
        for entry in fs::read_dir(&dir).map_err(on("list", &dir))? {
            let entry = entry.map_err(on("list", &dir))?;
            if !needed.contains(&*entry.file_name().to_string_lossy()) {
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
