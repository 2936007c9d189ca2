//! Images that people bring to this server, and that go from it.

use super::{Asked, Shared, files};
use crate::engine::Inner;
use api::{
    error::{Error, Result},
    image::{ImageProgress, ImageRecord, LocalImage, normalise},
    quantity::Timestamp,
    view::{BootstrapRequest, PullRequest},
};
use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    response::Response,
};
use base::supervise::Scope;
use driver::{Images, image::Progress};
use serde::Deserialize;
use std::sync::Arc;
use tokio::sync::{OwnedRwLockReadGuard, OwnedSemaphorePermit, mpsc};
use wire::server::{self, ApiError, ndjson};

/// Lines of progress on their way; more are left out, never the last.
const LINES: usize = 64;

/// Name of an archive that comes.
#[derive(Deserialize)]
pub struct Import {
    name: String,
}

/// `POST /v1/images/import?name=`
pub async fn import(State(inner): Shared, Asked(asked): Asked<Import>, body: Body) -> Result<Response, ApiError> {
    let name = normalise(&asked.name)?;
    let mut archive = files::reader(&inner.scope, body);
    work(inner, name, move |images, progress| images.import(&mut archive, &asked.name, progress))
}

/// `POST /v1/images/pull`
pub async fn pull(State(inner): Shared, server::Body(asked): server::Body<PullRequest>) -> Result<Response, ApiError> {
    let name = normalise(&asked.image)?;
    work(inner, name, move |images, progress| images.pull(&asked, progress))
}

/// `POST /v1/images/bootstrap`
pub async fn bootstrap(State(inner): Shared, server::Body(asked): server::Body<BootstrapRequest>) -> Result<Response, ApiError> {
    let name = asked.name.clone().unwrap_or_else(|| format!("{}/{}", asked.distribution, asked.release));
    let name = normalise(&name)?;
    work(inner, name, move |images, progress| images.bootstrap(&asked, progress))
}

/// Does it on a thread, with progress; the last line is the record or the error.
pub fn work<F>(inner: Arc<Inner>, name: String, make: F) -> Result<Response, ApiError>
where
    F: FnOnce(&dyn Images, Progress<'_>) -> driver::Result<LocalImage> + Send + 'static,
{
    let busy = || Error::conflict("this server is busy with other images: try again when they are done");
    let turn = Arc::clone(&inner.image_works).try_acquire_owned().map_err(|_| busy())?;
    let content = Arc::clone(&inner.content).try_read_owned().map_err(|_| busy())?;
    let (sender, receiver) = mpsc::channel(LINES);
    let scope = inner.scope.clone();
    scope.job(async move {
        let last = sender.clone();
        let made = Scope::blocking(move || hold((turn, content), || make_one(&inner, name, make, &sender))).await;
        let line = match made.unwrap_or_else(|crashed| Err(Error::failed(crashed))) {
            Ok(record) => ImageProgress::Done { image: Box::new(record) },
            Err(error) => ImageProgress::Failed { error },
        };
        let _ = last.send(line).await;
    });
    Ok(ndjson(futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|line| (line, receiver))
    })))
}

fn hold<T>(_held: (OwnedSemaphorePermit, OwnedRwLockReadGuard<()>), work: impl FnOnce() -> T) -> T {
    work()
}

fn make_one<F>(inner: &Arc<Inner>, name: String, make: F, to: &mpsc::Sender<ImageProgress>) -> Result<ImageRecord>
where
    F: FnOnce(&dyn Images, Progress<'_>) -> driver::Result<LocalImage>,
{
    let progress = |line: ImageProgress| {
        let _ = to.try_send(line);
    };
    let image = make(inner.drivers.images.as_ref(), &progress).map_err(|error| Error::failed(error.message))?;
    let record = ImageRecord {
        name,
        digest: image.digest.clone(),
        size: image.size,
        config: image.config.clone(),
        created: Timestamp(base::env::now_millis()),
    };
    inner.lock().images.insert(image.digest.clone(), Arc::new(image));
    inner.dirty.wake();
    inner.kick_all();
    Ok(record)
}

/// `DELETE /v1/images/{digest}`: refused while an instance here needs it.
pub async fn delete(State(inner): Shared, Path(digest): Path<String>) -> Result<Json<()>, ApiError> {
    let busy = || Error::conflict("images are on their way to this server: try again when they are here");
    let alone = Arc::clone(&inner.content).try_write_owned().map_err(|_| busy())?;
    unused(&inner, &digest)?;
    let (shared, gone) = (Arc::clone(&inner), digest.clone());
    let freed = Scope::blocking(move || {
        let _alone = alone;
        let kept: Vec<String> =
            shared.drivers.images.list()?.into_iter().map(|image| image.digest).filter(|kept| *kept != gone).collect();
        let freed = shared.drivers.images.prune(&kept)?;
        shared.lock().images.remove(&gone);
        Ok::<_, driver::DriverError>(freed)
    });
    let freed = freed.await.map_err(Error::failed)?.map_err(|error| Error::failed(error.message))?;
    inner.dirty.wake();
    tracing::info!(digest, freed, "image removed");
    Ok(Json(()))
}

fn unused(inner: &Inner, digest: &str) -> Result<()> {
    let state = inner.lock();
    let Some(told) = state.told.as_ref() else { return Ok(()) };
    let needs = |template: &api::spec::PodTemplate| template.containers.iter().any(|c| c.image.digest.as_deref() == Some(digest));
    let user = told.pods.values().find(|pod| told.templates.get(&pod.template).is_some_and(|template| needs(template)));
    user.map_or(Ok(()), |pod| Err(Error::conflict(format!("{digest} is needed by {} on this server", pod.display))))
}
