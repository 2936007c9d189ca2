//! Manifests, indexes and configurations as written by OCI and Docker tools: the parts we use, read leniently (`null` for an
//! empty list is common), written strictly.

use crate::{
    digest::Digest,
    error::{Error, Result},
};
use api::{image::ImageConfig, spec::ContainerKind};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;

/// Largest manifest or index taken: the limit registries use.
pub const MAX_MANIFEST: u64 = 4 << 20;
/// Largest configuration taken.
pub const MAX_CONFIG: u64 = 8 << 20;
/// Most layers: overlay takes 500 lower directories (fs/overlayfs/params.h, OVL_MAX_STACK).
pub const MAX_LAYERS: usize = 500;

/// Label of an image's configuration that says which kind of container it is for: `system`, else an application.
pub const KIND_LABEL: &str = "roost.kind";
const SYSTEM: &str = "system";

/// Media types of this crate's own manifests (OCI image specification).
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// Of configurations.
pub const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
/// Of configurations of images, by whomever.
pub const CONFIG_TYPES: [&str; 2] = [CONFIG_TYPE, "application/vnd.docker.container.image.v1+json"];
/// Of indexes.
pub const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";

/// Content somewhere else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    #[serde(default)]
    pub media_type: String,
    /// Which.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// For which machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Whatever its makers wrote.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// Of content with nothing more to say about it.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self { media_type: media_type.to_owned(), digest, size, platform: None, annotations: BTreeMap::new() }
    }
}

/// A kind of machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `amd64`, `arm64`.
    #[serde(default)]
    pub architecture: String,
    /// `linux`.
    #[serde(default)]
    pub os: String,
}

/// Either a manifest of one image or an index of several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// 2.
    pub schema_version: u32,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The configuration, of a manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Descriptor>,
    /// Layers, of a manifest, lowest first.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<Descriptor>,
    /// Manifests, of an index.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub manifests: Vec<Descriptor>,
    /// What it describes, when that is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The manifest it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Whatever its makers wrote.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A manifest: a configuration and layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The configuration.
    pub config: Descriptor,
    /// Lowest first.
    pub layers: Vec<Descriptor>,
}

impl Document {
    /// Reads one. `what` is for the message.
    pub fn parse(bytes: &[u8], what: &str) -> Result<Self> {
        let document: Self = parse(bytes, what)?;
        match document.schema_version {
            2 => Ok(document),
            other => Err(Error::content(format!("{what} has schema version {other}, only 2 is supported"))),
        }
    }

    /// As the manifest of one image.
    pub fn manifest(self, what: &str) -> Result<Manifest> {
        let Some(config) = self.config else {
            return Err(Error::content(format!("{what} is no image manifest: it has no configuration")));
        };
        if self.layers.is_empty() || self.layers.len() > MAX_LAYERS {
            return Err(Error::content(format!("{what} has {} layers: 1 to {MAX_LAYERS} are supported", self.layers.len())));
        }
        Ok(Manifest { config, layers: self.layers })
    }

    /// Bytes of a manifest of these parts.
    pub fn write(config: Descriptor, layers: Vec<Descriptor>) -> Result<Vec<u8>> {
        write(&Self { config: Some(config), layers, ..Self::new(MANIFEST_TYPE) })
    }

    /// One that names nothing yet.
    pub fn new(media_type: &str) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media_type.to_owned()),
            config: None,
            layers: Vec::new(),
            manifests: Vec::new(),
            artifact_type: None,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// Everything it names that it consists of.
    pub fn descriptors(&self) -> impl Iterator<Item = &Descriptor> {
        self.config.iter().chain(&self.layers).chain(&self.manifests)
    }
}

/// The entry of an index for this machine: the same architecture, else the only one when it names none.
pub fn choose<'a>(manifests: &'a [Descriptor], what: &str) -> Result<&'a Descriptor> {
    let here = architecture();
    let fits =
        |d: &&Descriptor| d.platform.as_ref().is_some_and(|p| p.architecture == here && matches!(p.os.as_str(), "linux" | ""));
    if let Some(found) = manifests.iter().find(fits) {
        return Ok(found);
    }
    if let [only] = manifests
        && only.platform.is_none()
    {
        return Ok(only);
    }
    if manifests.iter().all(|d| d.platform.is_none()) {
        return Err(Error::content(format!("{what} holds {} images: give an archive of one", manifests.len())));
    }
    let mut there: Vec<&str> = manifests.iter().filter_map(|d| d.platform.as_ref()).map(|p| p.architecture.as_str()).collect();
    there.dedup();
    Err(Error::content(format!("{what} has no image for linux on {here}, only for {}", there.join(", "))))
}

/// This machine's architecture as images name it (Go's GOARCH).
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// An image's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Configuration {
    /// `amd64`.
    #[serde(default)]
    pub architecture: String,
    /// `linux`.
    #[serde(default)]
    pub os: String,
    /// How to run it.
    #[serde(default, deserialize_with = "nullable")]
    pub config: Execution,
    /// What it consists of.
    pub rootfs: RootFs,
}

/// Layers by the digests of their uncompressed archives.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RootFs {
    /// `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Lowest first.
    #[serde(default, deserialize_with = "nullable")]
    pub diff_ids: Vec<Digest>,
}

type Set = BTreeMap<String, serde_json::Value>;

/// How to run an image.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Execution {
    #[serde(deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    user: String,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Set::is_empty")]
    exposed_ports: Set,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    env: Vec<String>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    entrypoint: Vec<String>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    cmd: Vec<String>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Set::is_empty")]
    volumes: Set,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    working_dir: String,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    stop_signal: String,
}

/// Where programs are looked for in an image that does not say (Debian's default for root).
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Configuration {
    /// Reads one and checks it against the number of layers.
    pub fn parse(bytes: &[u8], layers: usize) -> Result<Self> {
        let config: Self = parse(bytes, "the image's configuration")?;
        if config.rootfs.diff_ids.len() != layers {
            let named = config.rootfs.diff_ids.len();
            return Err(Error::content(format!("the image's configuration names {named} layers, its manifest {layers}")));
        }
        Ok(config)
    }

    /// Refuses an image for other machines. `what` is for the message.
    pub fn fits(&self, what: &str) -> Result<()> {
        let (os, machine, here) = (self.os.as_str(), self.architecture.as_str(), architecture());
        if matches!(os, "linux" | "") && (machine == here || machine.is_empty()) {
            return Ok(());
        }
        let os = if os.is_empty() { "linux" } else { os };
        Err(Error::content(format!("{what} is for {os} on {machine}, and this server is linux on {here}")))
    }

    /// Of a root file system with one layer: a system that runs its own init, or a program.
    pub fn of_root(kind: ContainerKind, command: &[String], diff_id: Digest) -> Self {
        let labels = match kind {
            ContainerKind::System => BTreeMap::from([(KIND_LABEL.to_owned(), SYSTEM.to_owned())]),
            ContainerKind::App => BTreeMap::new(),
        };
        Self {
            architecture: architecture().to_owned(),
            os: "linux".to_owned(),
            config: Execution { env: vec![DEFAULT_PATH.to_owned()], cmd: command.to_vec(), labels, ..Execution::default() },
            rootfs: RootFs { kind: "layers".to_owned(), diff_ids: vec![diff_id] },
        }
    }

    /// As the cluster knows it.
    pub fn summary(&self) -> ImageConfig {
        let e = &self.config;
        let kind = match e.labels.get(KIND_LABEL).map(String::as_str) {
            Some(SYSTEM) => ContainerKind::System,
            _ => ContainerKind::App,
        };
        ImageConfig {
            kind,
            entrypoint: e.entrypoint.clone(),
            command: e.cmd.clone(),
            env: e.env.clone(),
            user: e.user.clone(),
            workdir: e.working_dir.clone(),
            exposed: e.exposed_ports.keys().cloned().collect(),
            volumes: e.volumes.keys().cloned().collect(),
            stop_signal: e.stop_signal.clone(),
            labels: e.labels.clone(),
            architecture: self.architecture.clone(),
        }
    }
}

/// Reads JSON. `what` is for the message.
pub fn parse<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| Error::content(format!("{what} is malformed: {e}")))
}

/// Writes JSON, always the same for the same value.
pub fn write<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| Error::content(format!("cannot write as JSON: {e}")))
}

fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_of_an_index_cannot_act_on_a_terminal() {
        let mut other = Descriptor::new(MANIFEST_TYPE, Digest::of(b"x"), 1);
        other.platform = Some(Platform { architecture: "a\rm64\u{1b}[2J".to_owned(), os: "linux".to_owned() });
        let says = choose(&[other], "the index").unwrap_err().to_string();
        assert!(says.contains(r"a\rm64\u{1b}[2J"), "{says}");
    }
}
