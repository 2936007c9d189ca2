//! A docker archive (`docker save`): manifest.json names a configuration and layers, uncompressed as a rule.

use super::spool::Files;
use crate::{
    compression::Compression,
    error::{Error, Result, on},
    fetch,
    layer::{self, Keep, Layer, Wanted, read_full},
    manifest::{self, Configuration, MAX_CONFIG, MAX_LAYERS, MAX_MANIFEST},
    store::{Part, Work, describe},
};
use api::image::LocalImage;
use serde::Deserialize;
use std::{fs::File, path::Path};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    layers: Vec<String>,
}

/// The one image of this archive.
pub fn image(work: &Work<'_>, files: &Files, manifest: &Path, what: &str) -> Result<LocalImage> {
    let named = format!("manifest.json of {what}");
    let saved: Vec<Saved> = manifest::parse(&Files::read(manifest, MAX_MANIFEST, &named)?, &named)?;
    let [saved] = &saved[..] else {
        return Err(Error::content(format!("{what} holds {} images: give an archive of one", saved.len())));
    };
    if saved.layers.is_empty() || saved.layers.len() > MAX_LAYERS {
        return Err(Error::content(format!("{what} has {} layers: 1 to {MAX_LAYERS} are supported", saved.layers.len())));
    }
    let find = |name: &str| files.get(name).ok_or_else(|| Error::content(format!("{what} is incomplete: it lacks {name}")));
    let config = Files::read(find(&saved.config)?, MAX_CONFIG, &format!("the configuration in {what}"))?;
    let configuration = Configuration::parse(&config, saved.layers.len())?;
    configuration.fits(what)?;
    let diff_ids = configuration.rootfs.diff_ids;
    let paths = saved.layers.iter().map(|name| find(name)).collect::<Result<Vec<_>>>()?;
    let jobs: Vec<_> = paths.into_iter().zip(&saved.layers).zip(&diff_ids).collect();
    let layers = fetch::each(&jobs, work, |((path, name), diff_id)| {
        let named = format!("layer {name} of {what}");
        take_in(work, path, &Wanted { what: &named, diff_id: Some(*diff_id), ..Wanted::default() })
    })?;
    let described = layers.iter().map(|l| describe(l.compression, &l.digest, l.size)).collect();
    work.compose(&config, described, layers.into_iter().map(|l| Part::New(Box::new(l))).collect())
}

fn take_in(work: &Work<'_>, path: &Path, wanted: &Wanted<'_>) -> Result<Layer> {
    let mut head = [0; 8];
    let read = File::open(path).and_then(|mut file| read_full(&mut file, &mut head)).map_err(on("read", path))?;
    let file = File::open(path).map_err(on("open", path))?;
    let keep = match Compression::sniff(head.get(..read).unwrap_or_default())? {
        Compression::Plain => Keep::Compressed,
        // Copied rather than moved: a layer may occur twice.
        _ => Keep::AsItCame,
    };
    layer::take_in(work, file, wanted, keep)
}
