//! An image, read from what `buildah push` and `roost image export` write: its configuration, and the tree its layers make.

use crate::tree::{Tree, entries};
use flate2::read::MultiGzDecoder;
use serde_json::Value;
use std::{
    fs::{self, File},
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

/// An image as it is compared.
#[derive(Debug)]
pub struct Image {
    /// The whole configuration, as JSON.
    pub config: Value,
    /// Its files.
    pub tree: Tree,
}

fn json(file: &Path) -> Value {
    let bytes = fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn digest(descriptor: &Value) -> &str {
    let digest = descriptor["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:"));
    digest.unwrap_or_else(|| panic!("no digest in {descriptor}"))
}

/// A layer's archive, whichever way it is compressed.
fn plain(file: &Path) -> Box<dyn Read> {
    let open = || BufReader::new(File::open(file).unwrap_or_else(|error| panic!("{}: {error}", file.display())));
    let mut head = [0; 4];
    let got = open().read(&mut head).unwrap();
    match &head[..got] {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(open())),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::Decoder::new(open()).unwrap()),
        _ => Box::new(open()),
    }
}

impl Image {
    fn read(manifest: &Value, blob: impl Fn(&str) -> PathBuf) -> Self {
        let config = json(&blob(digest(&manifest["config"])));
        let mut tree = Tree::default();
        for layer in manifest["layers"].as_array().unwrap() {
            let file = blob(digest(layer));
            let layer = entries(plain(&file)).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            tree.apply(&layer).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        }
        Self { config, tree }
    }

    /// From a folder as `buildah push … dir:` writes it.
    pub fn of_folder(folder: &Path) -> Self {
        Self::read(&json(&folder.join("manifest.json")), |hex| folder.join(hex))
    }

    /// From an archive of an OCI image layout, which is unpacked into a new folder.
    pub fn of_archive(archive: &Path, folder: &Path) -> Self {
        let file = File::open(archive).unwrap_or_else(|error| panic!("{}: {error}", archive.display()));
        tar::Archive::new(file).unpack(folder).unwrap_or_else(|error| panic!("{}: {error}", archive.display()));
        let blob = |hex: &str| folder.join("blobs/sha256").join(hex);
        let index = json(&folder.join("index.json"));
        Self::read(&json(&blob(digest(&index["manifests"][0]))), blob)
    }
}
