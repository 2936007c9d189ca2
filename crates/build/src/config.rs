//! Configurations of images (OCI image specification, image configuration): read of bases, written for what was built.

use crate::error::{Error, Result};
use api::{Timestamp, image::LocalImage, spec::ContainerKind};
use driver::Images;
use recipe::{Config, StageState};
use serde_json::{Value, json};
use std::io::Read as _;

/// Most bytes of a manifest or configuration.
const MOST: u64 = 8 << 20;
/// Label of images that hold a whole system.
const KIND: &str = recipe::flockport::label::KIND;
const SYSTEM: &str = "system";

/// What a base image says.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// How it is run.
    pub config: Config,
    /// Lines about how it was made.
    pub history: Vec<Value>,
    /// When.
    pub created: Option<String>,
    /// For which machines.
    pub architecture: String,
}

fn blob(images: &dyn Images, digest: &str) -> Result<Value> {
    let mut bytes = Vec::new();
    let file = images.blob(digest)?;
    file.take(MOST).read_to_end(&mut bytes).map_err(Error::io(format!("read {digest}")))?;
    serde_json::from_slice(&bytes).map_err(|error| Error::Wrong(format!("{digest} is malformed: {error}")))
}

/// The configuration of an image that is here.
fn configuration(images: &dyn Images, image: &LocalImage) -> Result<Value> {
    let manifest = blob(images, &image.digest)?;
    let digest = manifest["config"]["digest"].as_str();
    blob(images, digest.ok_or_else(|| Error::Wrong(format!("{} has no configuration", image.digest)))?)
}

/// What an image that is here says.
pub fn known(images: &dyn Images, image: &LocalImage) -> Result<Known> {
    let mut whole = configuration(images, image)?;
    let config = match whole["config"].take() {
        Value::Null => Config::default(),
        config => serde_json::from_value(config).map_err(|error| Error::Wrong(format!("{}: {error}", image.digest)))?,
    };
    let history = match whole["history"].take() {
        Value::Array(lines) => lines,
        _ => Vec::new(),
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Ok(Known {
        config,
        history: counted(history, image_layers(&whole)),
        created: text(&whole["created"]),
        architecture: text(&whole["architecture"]).unwrap_or_default(),
    })
}

fn image_layers(whole: &Value) -> usize {
    whole["rootfs"]["diff_ids"].as_array().map_or(0, Vec::len)
}

/// Readers count lines that are not empty against the layers: one that has too few gets some.
fn counted(mut history: Vec<Value>, layers: usize) -> Vec<Value> {
    let told = history.iter().filter(|line| line["empty_layer"] != json!(true)).count();
    for _ in told..layers {
        history.insert(0, json!({"comment": "before"}));
    }
    history
}

/// A line about a step.
pub fn line(text: &str, created: Option<Timestamp>, empty: bool) -> Value {
    let mut line = json!({ "created_by": text });
    if let Some(created) = created {
        line["created"] = json!(created.to_string());
    }
    if empty {
        line["empty_layer"] = json!(true);
    }
    line
}

/// What the finished image says beside its layers.
pub struct Finished<'a> {
    /// As the last step left it.
    pub state: &'a StageState,
    /// Lines about all steps.
    pub history: Vec<Value>,
    /// When the last layer was made; the base's when there is none.
    pub created: Option<String>,
    /// An app or a system.
    pub kind: ContainerKind,
    /// For which machines.
    pub architecture: &'a str,
}

/// The configuration of a finished image with the layers of one that is here.
pub fn finished(images: &dyn Images, layers: &LocalImage, finished: Finished<'_>) -> Result<Vec<u8>> {
    let mut config = finished.state.config().clone();
    match finished.kind {
        ContainerKind::System => drop(config.labels.insert(KIND.to_owned(), SYSTEM.to_owned())),
        // A program that runs on a system's files is an app.
        ContainerKind::App => config.labels.retain(|key, value| key != KIND || value != SYSTEM),
    }
    let rootfs = configuration(images, layers)?["rootfs"].take();
    let mut whole = json!({
        "architecture": finished.architecture,
        "os": "linux",
        "config": config,
        "rootfs": rootfs,
        "history": finished.history,
    });
    if let Some(created) = finished.created {
        whole["created"] = json!(created);
    }
    if let Some(author) = finished.state.author() {
        whole["author"] = json!(author);
    }
    serde_json::to_vec(&whole).map_err(|error| Error::Wrong(format!("the configuration cannot be written: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_many_as_layers() {
        let empty = json!({"created_by": "ENV a=b", "empty_layer": true});
        let made = counted(vec![json!({"created_by": "x"}), empty.clone()], 2);
        assert_eq!(made, [json!({"comment": "before"}), json!({"created_by": "x"}), empty]);
        assert_eq!(counted(Vec::new(), 0), Vec::<Value>::new());
    }

    #[test]
    fn a_line_says_whether_it_made_a_layer() {
        assert_eq!(line("RUN x", None, false), json!({"created_by": "RUN x"}));
        let told = line("ENV a=b", Some(Timestamp(0)), true);
        assert_eq!(told["empty_layer"], json!(true));
        assert!(told["created"].as_str().unwrap().starts_with("1970-01-01T00:00:00"));
    }
}
