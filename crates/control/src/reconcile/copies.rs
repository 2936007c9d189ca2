//! Images are on several servers, so that losing one loses no image: one copy at a time, in the background.

use crate::{Control, http::forget, proxy, world::World};
use api::{Name, Result, Snapshot, event::Noun, image::ImageProgress, path};
use axum::http::Method;
use base::reconcile::Outcome;
use plan::ImageCopy;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, timeout};

/// Looked at so often, whatever happens.
const PERIOD: Duration = Duration::from_secs(10);
/// What happens wakes no sooner than this after the last look, for much does.
const REST: Duration = Duration::from_millis(200);
/// A copy that did not work is not tried again for so long.
const AGAIN: Duration = Duration::from_secs(30);
/// The server that fetches has to say something so often.
const SILENCE: Duration = Duration::from_secs(60);
/// Its report is waited for so long: as long as it does not say that it has the image, it would be asked again.
const REPORT: Duration = Duration::from_secs(10);

/// Copies that did not work, by digest and server, and when.
type Failed = Mutex<BTreeMap<(String, Name), Instant>>;

/// Starts the reconciler.
pub fn start(control: &Control) {
    let (control_task, signal) = (control.clone(), control.look.clone());
    let failed = Failed::default();
    control.scope.component("copies", async move {
        base::reconcile::run(&signal, PERIOD, || async {
            tokio::time::sleep(REST).await;
            look(&control_task, &failed).await
        })
        .await
    });
}

async fn look(control: &Control, failed: &Failed) -> Outcome {
    loop {
        let snapshot = control.world.now().snapshot;
        let Some(copy) = plan::next_copy(&snapshot, &resting(failed, base::env::timer())) else { return Outcome::Settled };
        match make(control, &snapshot, &copy).await {
            Ok(()) => control.events.note(Noun::Image, &copy.image, format!("copied to {}", copy.server)),
            Err(error) => {
                tracing::warn!(image = copy.image, server = %copy.server, %error, "image not copied");
                let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                failed.insert((copy.digest, copy.server), base::env::timer());
            }
        }
    }
}

/// Those that are not to be tried yet; forgets the others.
fn resting(failed: &Failed, now: Instant) -> BTreeSet<(String, Name)> {
    let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
    failed.retain(|_, since| now.saturating_duration_since(*since) < AGAIN);
    failed.keys().cloned().collect()
}

async fn make(control: &Control, snapshot: &Snapshot, copy: &ImageCopy) -> Result<()> {
    let silent = |_| api::Error::unreachable(format!("server {} says nothing any more", copy.server));
    let agent = proxy::agent(control, snapshot, &copy.server)?;
    let path = format!("{}/{}/fetch", path::IMAGES, path::segment(&copy.digest));
    let mut lines = timeout(SILENCE, agent.lines(Method::POST, &path, None, &[])).await.map_err(silent)??;
    while let Some(line) = timeout(SILENCE, lines.next()).await.map_err(silent)? {
        match line? {
            ImageProgress::Done { .. } => return reported(control, copy).await,
            ImageProgress::Failed { error } => return Err(error),
            _ => {}
        }
    }
    Err(api::Error::unreachable(format!("server {} went away", copy.server)))
}

/// Waits until the server says that it has it.
async fn reported(control: &Control, copy: &ImageCopy) -> Result<()> {
    let here = |world: &World| world.snapshot.reports.get(&copy.server).is_some_and(|r| r.images.contains(&copy.digest));
    let mut listen = control.world.listen();
    let late = |_| api::Error::unreachable(format!("server {} does not report {}", copy.server, copy.digest));
    let _ = timeout(REPORT, listen.wait_for(here)).await.map_err(late)?;
    // Whoever deleted the image meanwhile did not know of this copy.
    forget(control, &copy.digest).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_failed_rests_for_a_while() {
        let now = base::env::timer();
        let key = ("sha256:aa".to_owned(), Name::parse("server", "s2").unwrap());
        let failed = Failed::new(BTreeMap::from([(key.clone(), now)]));
        assert_eq!(resting(&failed, now + AGAIN / 2), BTreeSet::from([key]));
        assert_eq!(resting(&failed, now + AGAIN), BTreeSet::new());
        assert!(failed.into_inner().unwrap().is_empty());
    }
}
