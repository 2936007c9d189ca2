//! Takes in an archive: which of the three forms it has is seen from its first entry.

mod docker;
mod oci;
pub mod root;
mod spool;

use crate::{
    compression::{Compression, Decoder},
    digest::Digest,
    error::{Error, Result},
    layer::{Keep, read_full},
    name,
    store::ContentStore,
    tarball::{TarError, Walker},
};
use api::image::{ImageProgress, LocalImage};
use driver::image::Progress;
use std::io::{BufReader, Cursor, Read};

/// Bytes looked at to tell forms apart: enough for the first entry of any archive, however compressed.
const PEEK: usize = 256 << 10;

/// Takes in an archive.
pub fn import(store: &ContentStore, archive: &mut dyn Read, name: &str, progress: Progress<'_>) -> Result<LocalImage> {
    let mut head = vec![0; PEEK];
    let read = read_full(archive, &mut head).map_err(|e| Error::Elsewhere(format!("cannot read {name}: {e}")))?;
    head.truncate(read);
    if head.is_empty() {
        return Err(Error::content(format!("{name} is empty")));
    }
    let compression = Compression::sniff(&head)?;
    let is_layout = looks_like_layout(&head, compression, name)?;
    let input = Cursor::new(head).chain(archive);
    let work = store.work(progress)?;
    if !is_layout {
        progress(ImageProgress::Working { message: format!("unpacking {name}") });
        let keep = if compression == Compression::Plain { Keep::Compressed } else { Keep::AsItCame };
        let layer = root::layer(&work, input, name, keep)?;
        return root::finish(&work, layer, &[]);
    }
    let input = BufReader::with_capacity(PEEK, input);
    let decoder = Decoder::new(input, compression).map_err(|e| Error::content(format!("{name}: {e}")))?;
    let files = spool::spool(&work, decoder, name)?;
    match (files.get("index.json"), files.get("manifest.json")) {
        (Some(index), _) => oci::image(&work, &files, index, name),
        (None, Some(manifest)) => docker::image(&work, &files, manifest, name),
        (None, None) => {
            Err(Error::content(format!("{name} has neither index.json (OCI layout) nor manifest.json (docker archive)")))
        }
    }
}

/// Whether the first entry that is not the root is one of an OCI layout or docker archive.
fn looks_like_layout(head: &[u8], compression: Compression, name: &str) -> Result<bool> {
    let decoder = Decoder::new(head, compression).map_err(|e| Error::content(format!("{name}: {e}")))?;
    let mut walker = Walker::new(decoder);
    loop {
        match walker.advance() {
            Ok(Some(entry)) => {
                let path = name::clean(&entry.path).map_err(|e| Error::content(format!("{name}: {e}")))?;
                if !path.is_empty() {
                    return Ok(of_layout(&path));
                }
            }
            Ok(None) => return Err(Error::content(format!("{name} is an archive without files"))),
            Err(TarError::Damaged { at: 512, .. }) => {
                return Err(Error::content(format!("{name} is no tar archive (nor one compressed by gzip or zstd)")));
            }
            Err(e) => return Err(Error::content(format!("{name}: {e}"))),
        }
    }
}

/// Names that layouts and docker archives begin with and root file systems do not.
fn of_layout(path: &[u8]) -> bool {
    let text = String::from_utf8_lossy(path);
    let first = text.split('/').next().unwrap_or_default();
    let stem = first.split('.').next().unwrap_or_default();
    matches!(first, "oci-layout" | "index.json" | "manifest.json" | "repositories" | "blobs")
        || format!("sha256:{stem}").parse::<Digest>().is_ok()
        || stem.parse::<Digest>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_names_tell_forms_apart() {
        let hex = "0123456789abcdef".repeat(4);
        for layout in
            ["oci-layout", "blobs", "blobs/sha256", "index.json", &hex, &format!("{hex}.json"), &format!("{hex}/layer.tar")]
        {
            assert!(of_layout(layout.as_bytes()), "{layout}");
        }
        for root in ["bin", "etc/passwd", "usr", "0123", "sbin/init", "blobs.txt"] {
            assert!(!of_layout(root.as_bytes()), "{root}");
        }
    }

    #[test]
    fn what_is_no_archive_gets_a_sentence() {
        let text = b"hello, world\n".repeat(100);
        let error = looks_like_layout(&text, Compression::Plain, "notes.txt").unwrap_err().to_string();
        assert_eq!(error, "notes.txt is no tar archive (nor one compressed by gzip or zstd)");
    }
}
