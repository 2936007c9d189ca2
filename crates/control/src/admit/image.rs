//! Finding the image a template names, and filling in what it says.

use api::{
    Error, Result, Snapshot,
    image::{ImageRecord, normalise},
    spec::PodTemplate,
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
        container.kind = record.config.kind;
        let has_program = !record.config.entrypoint.is_empty() || !record.config.command.is_empty();
        let asks_program = container.entrypoint.is_some() || container.command.as_ref().is_some_and(|c| !c.is_empty());
        if container.kind == api::spec::ContainerKind::App && !has_program && !asks_program {
            let image = &container.image.name;
            return Err(Error::usage(format!("image {image} names no program to run: give a command behind it")));
        }
    }
    Ok(())
}
