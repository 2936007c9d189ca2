//! Images layer by layer, for builds.

use super::{described, kept, read};
use crate::{
    digest::Digest,
    error::{Error, Result},
    manifest::{self, Configuration, Execution, MAX_LAYERS, RootFs},
    store::{ContentStore, Part, describe},
};
use api::image::LocalImage;
use driver::image::{Progress, Upper};
/// One more layer.
pub fn stack(store: &ContentStore, below: Option<&Digest>, upper: &Upper, progress: Progress<'_>) -> Result<LocalImage> {
    let work = store.work(progress)?;
    let (mut parts, mut layers, mut diff_ids) = (Vec::new(), Vec::new(), Vec::new());
    if let Some(below) = below {
        let marker = known(store, below)?;
        parts = kept(&work, &marker)?;
        layers = described(store, below)?;
        diff_ids.extend(marker.layers.iter().map(|layer| layer.diff_id.clone()));
    }
    if layers.len() >= MAX_LAYERS {
        return Err(Error::request(format!("an image has {MAX_LAYERS} layers at most, and this would be one more")));
    }
    let layer = read(&work, upper)?;
    diff_ids.push(layer.diff_id.clone());
    layers.push(describe(layer.compression, &layer.digest, layer.size));
    parts.push(Part::New(Box::new(layer)));
    let configuration = Configuration {
        architecture: manifest::architecture().to_owned(),
        os: "linux".to_owned(),
        config: Execution::default(),
        rootfs: RootFs { kind: "layers".to_owned(), diff_ids },
    };
    work.compose(&manifest::write(&configuration)?, layers, parts)
}

/// The same layers, another configuration.
pub fn configure(store: &ContentStore, image: &Digest, configuration: &[u8], progress: Progress<'_>) -> Result<LocalImage> {
    let work = store.work(progress)?;
    let marker = known(store, image)?;
    let parts = kept(&work, &marker)?;
    let named = Configuration::parse(configuration, parts.len())?.rootfs.diff_ids;
    if !named.iter().eq(marker.layers.iter().map(|layer| &layer.diff_id)) {
        return Err(Error::content(format!("the configuration names other layers than {image} has")));
    }
    work.compose(configuration, described(store, image)?, parts)
}

fn known(store: &ContentStore, image: &Digest) -> Result<crate::layout::Marker> {
    store.marker(image).ok_or_else(|| Error::request(format!("{image} is not in this server's image store")))
}
