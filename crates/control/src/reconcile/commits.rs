//! Images made for clones and jobs go a while after the last that needed them.

use crate::{
    Control, admit,
    http::{forget, write},
};
use api::{Snapshot, image::COMMITS, key};
use base::{reconcile::Outcome, supervise::Signal};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Looked at so often.
const PERIOD: Duration = Duration::from_secs(15);
/// So long nobody must have needed one: instances that are being removed still use its files.
const UNUSED: Duration = Duration::from_secs(60);

/// Since when each image has been needed by nobody, as far as this process has seen.
type Idle = Mutex<BTreeMap<String, tokio::time::Instant>>;

/// Starts the reconciler.
pub fn start(control: &Control) {
    let (control_task, signal) = (control.clone(), Signal::new());
    let idle = Idle::default();
    control.scope.component("commits", async move { base::reconcile::run(&signal, PERIOD, || look(&control_task, &idle)).await });
}

async fn look(control: &Control, idle: &Idle) -> Outcome {
    let snapshot = control.world.now().snapshot;
    let due = due(&unneeded(&snapshot), &mut idle.lock().unwrap_or_else(PoisonError::into_inner), base::env::timer());
    let mut outcome = Outcome::Settled;
    for name in due {
        if let Err(error) = remove(control, &name).await {
            tracing::warn!(%name, %error, "image that nobody needs not removed");
            outcome = Outcome::Failed;
        }
    }
    outcome
}

/// Names of images of ours that neither a container nor a job needs, in any revision it may go back to.
fn unneeded(snapshot: &Snapshot) -> Vec<String> {
    let ours = snapshot.images.values().filter(|record| record.is_ours() && record.name.starts_with(COMMITS));
    ours.filter(|record| admit::image::needed_by(snapshot, &record.digest).is_none()).map(|record| record.name.clone()).collect()
}

/// Those that have been so for long enough.
fn due(unneeded: &[String], idle: &mut BTreeMap<String, tokio::time::Instant>, now: tokio::time::Instant) -> Vec<String> {
    idle.retain(|name, _| unneeded.contains(name));
    let since = unneeded.iter().map(|name| (name, *idle.entry(name.clone()).or_insert(now)));
    since.filter(|(_, since)| now.saturating_duration_since(*since) >= UNUSED).map(|(name, _)| name.clone()).collect()
}

async fn remove(control: &Control, name: &str) -> api::Result<()> {
    let key = format!("{}{name}", key::IMAGES);
    let digest = control.world.now().snapshot.images.get(name).map(|record| record.digest.clone());
    write::change(control, false, |world| {
        if unneeded(&world.snapshot).iter().any(|other| other == name) {
            Ok(write::Decision::saying(format!("delete image {name}")).delete(world, key.clone()))
        } else {
            Ok(write::Decision::unchanged(format!("image {name} is needed")))
        }
    })
    .await?;
    if let Some(digest) = digest {
        forget(control, &digest).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_image_goes_only_after_a_while_without_use() {
        let now = base::env::timer();
        let (mut idle, image) = (BTreeMap::new(), vec!["commit/c1:aa".to_owned()]);
        assert_eq!(due(&image, &mut idle, now), [""; 0]);
        assert_eq!(due(&image, &mut idle, now + UNUSED / 2), [""; 0]);
        assert_eq!(due(&[], &mut idle, now + UNUSED), [""; 0], "needed again");
        assert_eq!(due(&image, &mut idle, now + UNUSED * 2), [""; 0]);
        assert_eq!(due(&image, &mut idle, now + UNUSED * 3), image);
    }
}
