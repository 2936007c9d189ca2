//! From template, image and place to a complete [`PodRun`]: nothing left to choose. Pure.
//!
//! How template and image are merged follows what users know from docker (its `merge` of the image's and the user's
//! configuration, and `createEnv`): see [`argv`] and [`environment`].

use crate::{dataplane, signals};
use api::{
    assignment::{NetworkAssignment, PodAssignment},
    image::{ImageConfig, LocalImage},
    name::InstanceId,
    spec::{ContainerKind, ContainerTemplate, Limits, Mount, PodTemplate},
};
use driver::runtime::{ContainerRun, MountRun, PodRun};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Search path of a container whose image says none (docker's, for Unix).
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What a system container runs when nobody says otherwise.
const INIT: &str = "/sbin/init";

/// Images on this server by digest of their manifests.
pub type LocalImages = BTreeMap<String, Arc<LocalImage>>;

/// Where a pod is to run.
pub struct Place<'a> {
    /// Whose.
    pub id: InstanceId,
    /// What the control plane says of it.
    pub pod: &'a PodAssignment,
    /// The server's network.
    pub network: &'a NetworkAssignment,
    /// Its namespace.
    pub netns: PathBuf,
    /// Directory below which named volumes are.
    pub volumes: &'a Path,
    /// It has never run.
    pub first: bool,
}

/// The pod, complete. An error is a sentence, and trying again does not help.
pub fn pod_run(template: &PodTemplate, images: &LocalImages, place: &Place<'_>) -> Result<PodRun, String> {
    let containers = template.containers.iter().map(|container| container_run(container, images, place));
    Ok(PodRun {
        id: place.id,
        hostname: place.pod.hostname.clone(),
        netns: place.netns.clone(),
        address: place.pod.address,
        resolv_conf: resolv_conf(place.network),
        containers: containers.collect::<Result<_, _>>()?,
    })
}

/// Digests of the images a template needs, without repetition.
pub fn digests(template: &PodTemplate) -> Vec<String> {
    let mut digests: Vec<String> = template.containers.iter().filter_map(|c| c.image.digest.clone()).collect();
    digests.sort();
    digests.dedup();
    digests
}

/// What each container may use, in the pod's order.
pub fn limits(template: &PodTemplate) -> Vec<Limits> {
    template.containers.iter().map(|container| container.limits.clone()).collect()
}

/// One line each, as in resolv.conf(5): our DNS server, names of the cluster without their domain, and short patience,
/// since the server is on the same machine.
fn resolv_conf(network: &NetworkAssignment) -> String {
    let gateway = dataplane::gateway(network.subnet);
    format!("nameserver {gateway}\nsearch {}\noptions ndots:1 timeout:2 attempts:3\n", network.domain)
}

fn container_run(template: &ContainerTemplate, images: &LocalImages, place: &Place<'_>) -> Result<ContainerRun, String> {
    let image = image_of(template, images)?;
    let config = &image.config;
    Ok(ContainerRun {
        name: template.name.clone(),
        kind: template.kind,
        layers: image.layers.clone(),
        argv: argv(template, config)?,
        env: environment(template, config, &place.pod.hostname),
        user: template.user.clone().unwrap_or_else(|| config.user.clone()),
        workdir: workdir(template, config),
        mounts: template.mounts.iter().map(|mount| mount_run(mount, place.volumes)).collect(),
        limits: template.limits.clone(),
        stop_signal: signals::stop_signal(&config.stop_signal, template.kind)?,
        // A whole system holds programs of many hands: root of it is root outside only when that is asked for.
        user_namespace: template.user_namespace || (template.kind == ContainerKind::System && !template.system.privileged),
        read_only: template.read_only,
        terminal: template.terminal,
        size: template.foreground.and_then(|foreground| foreground.size),
        stdin: template.stdin,
        awaited: template.foreground.is_some() && place.first,
        system: template.system.clone(),
    })
}

fn image_of<'a>(template: &ContainerTemplate, images: &'a LocalImages) -> Result<&'a LocalImage, String> {
    let name = &template.image.name;
    let digest = template.image.digest.as_ref();
    let digest =
        digest.ok_or_else(|| format!("image {name} of container {} has no digest: admission gives it one", template.name))?;
    images.get(digest).map(Arc::as_ref).ok_or_else(|| format!("image {name} ({digest}) is not on this server"))
}

/// Entrypoint and command. An entrypoint that is given also silences the image's command, which was meant for the
/// image's own entrypoint; an empty one (no words, or one empty word) clears the image's.
fn argv(template: &ContainerTemplate, config: &ImageConfig) -> Result<Vec<String>, String> {
    let (entrypoint, fallback) = match template.entrypoint.as_deref() {
        Some([only]) if only.is_empty() => (&[][..], &[][..]),
        Some(own) => (own, &[][..]),
        None => (config.entrypoint.as_slice(), config.command.as_slice()),
    };
    let command = template.command.as_deref().unwrap_or(fallback);
    let argv: Vec<String> = entrypoint.iter().chain(command).cloned().collect();
    match (argv.is_empty(), template.kind) {
        (false, _) => Ok(argv),
        (true, ContainerKind::System) => Ok(vec![INIT.to_owned()]),
        (true, ContainerKind::App) => Err(format!(
            "image {} has neither entrypoint nor command: give container {} a command",
            template.image.name, template.name
        )),
    }
}

/// Defaults, then the image's entries in order, then the template's: a later value replaces an earlier one of the same
/// key where that stands.
fn environment(template: &ContainerTemplate, config: &ImageConfig, hostname: &str) -> Vec<String> {
    let mut entries: Vec<(String, String)> = Vec::with_capacity(config.env.len() + template.env.len() + 3);
    set(&mut entries, "PATH", DEFAULT_PATH);
    set(&mut entries, "HOSTNAME", hostname);
    if template.terminal {
        set(&mut entries, "TERM", "xterm");
    }
    for (key, value) in config.env.iter().filter_map(|entry| entry.split_once('=')) {
        set(&mut entries, key, value);
    }
    for (key, value) in &template.env {
        set(&mut entries, key, value);
    }
    entries.into_iter().map(|(key, value)| format!("{key}={value}")).collect()
}

fn set(entries: &mut Vec<(String, String)>, key: &str, value: &str) {
    match entries.iter_mut().find(|(known, _)| known == key) {
        Some((_, old)) => value.clone_into(old),
        None => entries.push((key.to_owned(), value.to_owned())),
    }
}

fn workdir(template: &ContainerTemplate, config: &ImageConfig) -> String {
    let wanted = template.workdir.as_deref().unwrap_or(&config.workdir);
    if wanted.starts_with('/') { wanted.to_owned() } else { format!("/{wanted}") }
}

/// A source that is no path is the name of a volume, which is a directory of ours.
fn mount_run(mount: &Mount, volumes: &Path) -> MountRun {
    let source = if mount.source.starts_with('/') { PathBuf::from(&mount.source) } else { volumes.join(&mount.source) };
    MountRun { source, target: mount.target.clone(), read_only: mount.read_only }
}

#[cfg(test)]
mod tests;
