//! A root file system as an image of one layer.

use crate::{
    error::{Error, Result},
    layer::{self, Keep, Layer, Wanted},
    manifest::{self, Configuration},
    store::{Part, Work, describe},
};
use api::{image::LocalImage, spec::ContainerKind};
use std::io::Read;

/// What an image without an init and without a command runs.
const DEFAULT_COMMAND: &str = "/bin/sh";

/// Takes in the file system.
pub fn layer(work: &Work<'_>, input: impl Read, name: &str, keep: Keep) -> Result<Layer> {
    let layer = layer::take_in(work, input, &Wanted { what: name, ..Wanted::default() }, keep)?;
    // Nothing else says how long it should be: cut between two entries it would look whole.
    if !layer.summary.marked_end {
        return Err(Error::content(format!("{name}: archive is truncated: its end marker is missing")));
    }
    Ok(layer)
}

/// Makes the image. Without `command` it is a system when it holds an init, else it runs a shell.
pub fn finish(work: &Work<'_>, layer: Layer, command: &[String]) -> Result<LocalImage> {
    let shell = [DEFAULT_COMMAND.to_owned()];
    let (kind, command) = match (command, layer.summary.init) {
        ([], true) => (ContainerKind::System, command),
        ([], false) => (ContainerKind::App, &shell[..]),
        _ => (ContainerKind::App, command),
    };
    let config = Configuration::of_root(kind, command, layer.diff_id.clone());
    let described = vec![describe(layer.compression, &layer.digest, layer.size)];
    work.compose(&manifest::write(&config)?, described, vec![Part::New(Box::new(layer))])
}
