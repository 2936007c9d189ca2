//! Finding the image a template names, and filling in what it says.

use api::{
    Error, Result, Snapshot,
    image::{ImageRecord, normalise},
    spec::{ContainerKind, PodTemplate},
};

/// The record a typed name means: a name with tag, or a digest of one that is known.
pub fn find<'a>(snapshot: &'a Snapshot, text: &str) -> Result<&'a ImageRecord> {
    let name = normalise(text)?;
    if let Some(record) = snapshot.images.get(&name) {
        return Ok(record);
    }
    if let Some((_, digest)) = text.split_once('@')
        && let Some(record) = snapshot.images.values().find(|record| record.digest == digest)
    {
        return Ok(record);
    }
    let near = nearest(snapshot, &name);
    let error = Error::not_found(format!("no image {text} in this cluster"));
    Err(match near {
        Some(near) => error.hint(format!("did you mean {near}?")),
        None => error.hint("see: roost image list"),
    })
}

fn nearest(snapshot: &Snapshot, name: &str) -> Option<String> {
    let bare = name.trim_end_matches(":latest");
    let close = |known: &&String| known.contains(bare) || bare.contains(known.split(':').next().unwrap_or(known));
    snapshot.images.keys().find(close).cloned()
}

/// A container, or a job in its present or an earlier revision, that needs the image's content and has no other name for it.
pub fn user(snapshot: &Snapshot, record: &ImageRecord) -> Option<String> {
    if snapshot.images.values().any(|other| other.digest == record.digest && other.name != record.name) {
        return None;
    }
    needed_by(snapshot, &record.digest)
}

/// A container or job that needs content, whatever name leads to it.
pub fn needed_by(snapshot: &Snapshot, digest: &str) -> Option<String> {
    let uses = |template: &PodTemplate| template.containers.iter().any(|c| c.image.digest.as_deref() == Some(digest));
    let lone = snapshot.containers.values().find(|spec| uses(&spec.template)).map(|spec| format!("container {}", spec.name));
    lone.or_else(|| {
        let job = snapshot.jobs.values().find(|job| uses(&job.template) || job.history.iter().any(|old| uses(&old.template)));
        job.map(|job| format!("job {}", job.name))
    })
}

/// What a container is: a system when that was asked for, or when its image holds one and nothing else is to be run of it.
const fn kind(asked: ContainerKind, image: ContainerKind, program: bool) -> ContainerKind {
    match (asked, image) {
        (ContainerKind::System, _) => ContainerKind::System,
        (ContainerKind::App, ContainerKind::System) if !program => ContainerKind::System,
        (ContainerKind::App, _) => ContainerKind::App,
    }
}

/// Resolves every image of a template to its digest and kind.
pub fn resolve(snapshot: &Snapshot, template: &mut PodTemplate) -> Result<()> {
    for container in &mut template.containers {
        let record = match &container.image.digest {
            Some(digest) => snapshot.images.values().find(|record| record.digest == *digest).map(AsRef::as_ref),
            None => None,
        };
        let record = match record {
            Some(record) => record,
            None => find(snapshot, &container.image.name)?,
        };
        if let Some(why) = &record.unusable {
            return Err(Error::usage(format!("image {} cannot be run: {why}", record.name)));
        }
        container.image.digest = Some(record.digest.clone());
        let has_program = !record.config.entrypoint.is_empty() || !record.config.command.is_empty();
        let asks_program = container.entrypoint.is_some() || container.command.as_ref().is_some_and(|c| !c.is_empty());
        container.kind = kind(container.kind, record.config.kind, asks_program);
        api::validate::check(container.system.complaints(container.kind))?;
        if container.kind == ContainerKind::App && !has_program && !asks_program {
            let image = &container.image.name;
            return Err(Error::usage(format!("image {image} names no program to run: give a command behind it")));
        }
    }
    Ok(())
}
