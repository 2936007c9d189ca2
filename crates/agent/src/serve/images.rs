//! Images that people bring to this server, and that go from it.

use super::{Asked, Shared, files};
use crate::engine::Inner;
use api::{
    error::{Error, Result},
    image::{ImageProgress, ImageRecord, LocalImage, normalise},
    quantity::Timestamp,
    view::{ArchiveFormat, BootstrapRequest, PullRequest, PushRequest},
};
use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    response::Response,
};
use base::supervise::Scope;
use driver::{
    Images,
    build::GivenUp,
    image::{Progress, Swept},
};
use serde::Deserialize;
use std::{sync::Arc, time::Duration};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, OwnedSemaphorePermit, Semaphore, mpsc};
use wire::server::{self, ApiError, ndjson, ndjson_results, received};

/// Lines of progress on their way; more are left out, never the last.
const LINES: usize = 64;
/// Copies that are given up end no later than this.
const COPIES_END: Duration = Duration::from_secs(5);

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

/// `POST /v1/images/push`; the image by its digest
pub async fn push(State(inner): Shared, server::Body(asked): server::Body<PushRequest>) -> Result<Response, ApiError> {
    let content = Arc::clone(&inner.drivers.content);
    let pushed = move |progress: Progress<'_>| {
        let digest = content.push(&asked, progress).map_err(|error| Error::failed(error.message))?;
        Ok(ImageProgress::Pushed { digest })
    };
    follow(&inner, pushed)
}

/// `POST /v1/images/{digest}/fetch`: a copy, for safety, from a server that has it
pub async fn fetch(State(inner): Shared, Path(digest): Path<String>) -> Result<Response, ApiError> {
    let told = inner.lock().told.clone();
    let told = told.ok_or_else(|| Error::conflict("this server has not been told yet which others there are"))?;
    let source = inner.copies.source((inner.sources)(&told));
    let fetched = making(&inner, digest.clone(), move |images, progress| images.ensure(&digest, &source, progress));
    // Nobody asked for it, so it takes the place of nothing that somebody asks for.
    listened((&inner, &inner.copy_works), |progress, _| fetched(progress))
}

/// How an image leaves.
#[derive(Deserialize)]
pub struct Export {
    name: String,
    #[serde(default)]
    format: ArchiveFormat,
}

/// `GET /v1/images/{digest}/export?name=&format=`
pub async fn export(State(inner): Shared, Path(digest): Path<String>, Asked(asked): Asked<Export>) -> Result<Response, ApiError> {
    let content = Arc::clone(&inner.drivers.content);
    if content.size(&digest).is_none() {
        return Err(ApiError(Error::not_found(format!("{digest} is not in the image store of server {}", inner.server))));
    }
    Ok(files::archive(&inner.scope, move |to| {
        content.export(&digest, &asked.name, asked.format, to).map_err(std::io::Error::other)
    }))
}

/// Does it on a thread, with progress; the last line is the record or the error.
pub fn work<F>(inner: Arc<Inner>, name: String, make: F) -> Result<Response, ApiError>
where
    F: FnOnce(&dyn Images, Progress<'_>) -> driver::Result<LocalImage> + Send + 'static,
{
    follow(&inner, making(&inner, name, make))
}

fn making<F>(inner: &Arc<Inner>, name: String, make: F) -> impl FnOnce(Progress<'_>) -> Result<ImageProgress> + Send + use<F>
where
    F: FnOnce(&dyn Images, Progress<'_>) -> driver::Result<LocalImage> + Send + 'static,
{
    let inner = Arc::clone(inner);
    move |progress| {
        let image = make(inner.drivers.images.as_ref(), progress).map_err(|error| Error::failed(error.message))?;
        Ok(ImageProgress::Done { image: Box::new(arrived(&inner, name, image)) })
    }
}

/// Does something with images on a thread, with progress; the last line is its end.
fn follow<F>(inner: &Arc<Inner>, work: F) -> Result<Response, ApiError>
where
    F: FnOnce(Progress<'_>) -> Result<ImageProgress> + Send + 'static,
{
    listened((inner, &inner.image_works), |progress, _| work(progress))
}

/// The same, in one of these places, for work that may ask whether anybody still listens. Steps and what they say are not left out:
/// who reads slowly makes the work wait.
pub fn listened<F>((inner, places): (&Arc<Inner>, &Arc<Semaphore>), work: F) -> Result<Response, ApiError>
where
    F: FnOnce(Progress<'_>, GivenUp<'_>) -> Result<ImageProgress> + Send + 'static,
{
    let busy = || Error::conflict("this server is busy with other images: try again when they are done");
    let turn = Arc::clone(places).try_acquire_owned().map_err(|_| busy())?;
    let content = Arc::clone(&inner.content).try_read_owned().map_err(|_| busy())?;
    let (sender, receiver) = mpsc::channel(LINES);
    let scope = inner.scope.clone();
    scope.job(async move {
        let (last, listener) = (sender.clone(), sender.clone());
        let progress = move |line: ImageProgress| {
            let _ = match line {
                ImageProgress::Step { .. } | ImageProgress::Output { .. } => sender.blocking_send(line).is_ok(),
                line => sender.try_send(line).is_ok(),
            };
        };
        let gone = move || listener.is_closed();
        let done = Scope::blocking(move || hold((turn, content), || work(&progress, &gone))).await;
        let line = done.unwrap_or_else(|crashed| Err(Error::failed(crashed)));
        let _ = last.send(line.unwrap_or_else(|error| ImageProgress::Failed { error })).await;
    });
    Ok(ndjson(received(receiver)))
}

fn hold<T>(_held: (OwnedSemaphorePermit, OwnedRwLockReadGuard<()>), work: impl FnOnce() -> T) -> T {
    work()
}

/// An image is here: it is reported from now on, and whoever waits for it goes on.
pub fn arrived(inner: &Arc<Inner>, name: String, image: LocalImage) -> ImageRecord {
    let record = ImageRecord {
        name,
        digest: image.digest.clone(),
        size: image.size,
        config: image.config.clone(),
        created: Timestamp(base::env::now_millis()),
        index: image.index.clone(),
        unusable: None,
    };
    inner.lock().images.insert(image.digest.clone(), Arc::new(image));
    inner.dirty.wake();
    inner.kick_all();
    record
}

/// `DELETE /v1/images/{digest}`: refused while an instance here needs it.
pub async fn delete(State(inner): Shared, Path(digest): Path<String>) -> Result<Json<()>, ApiError> {
    let alone = alone(&inner).await?;
    unused(&inner, &digest)?;
    let drivers = inner.drivers.clone();
    let gone = digest.clone();
    let kept = Scope::blocking(move || {
        let here = drivers.images.list()?.into_iter().map(|image| image.digest);
        Ok::<_, driver::DriverError>(here.chain(drivers.content.held()).filter(|kept| *kept != gone).collect::<Vec<_>>())
    });
    let kept = kept.await.map_err(Error::failed)?.map_err(|error| Error::failed(error.message))?;
    let swept = sweep(&inner, kept, alone).await?;
    let freed = off_the_disk(move || swept.discard()).await?;
    tracing::info!(digest, freed, "image removed");
    Ok(Json(()))
}

/// `POST /v1/images/prune`: of all images, only these stay, and those that instances here need. The answer begins when the others
/// are out of sight; its one line, the bytes that went, comes when they are off the disk.
pub async fn prune(State(inner): Shared, server::Body(mut keep): server::Body<Vec<String>>) -> Result<Response, ApiError> {
    let alone = alone(&inner).await?;
    if let Some(told) = inner.lock().told.as_ref() {
        keep.extend(told.templates.values().flat_map(|template| crate::resolve::digests(template)));
    }
    let swept = sweep(&inner, keep, alone).await?;
    let builder = Arc::clone(&inner.drivers.builder);
    let (sender, receiver) = mpsc::channel(1);
    inner.scope.job(async move {
        let freed = off_the_disk(move || Ok(swept.discard()? + builder.prune()?)).await;
        let _ = sender.send(freed).await;
    });
    Ok(ndjson_results(received(receiver)))
}

async fn off_the_disk(work: impl FnOnce() -> driver::Result<u64> + Send + 'static) -> Result<u64> {
    Scope::blocking(work).await.map_err(Error::failed)?.map_err(|error| Error::failed(error.message))
}

/// The right to remove content: nothing is on its way. Copies that nobody asked for are given up.
async fn alone(inner: &Inner) -> Result<OwnedRwLockWriteGuard<()>> {
    let busy = || Error::conflict("images are on their way to this server: try again when they are here");
    let content = Arc::clone(&inner.content);
    if inner.copies.end() {
        return tokio::time::timeout(COPIES_END, content.write_owned()).await.map_err(|_| busy());
    }
    content.try_write_owned().map_err(|_| busy())
}

/// Takes all but these out of sight. Images may come again when this is done.
async fn sweep(inner: &Arc<Inner>, kept: Vec<String>, alone: OwnedRwLockWriteGuard<()>) -> Result<Swept> {
    let shared = Arc::clone(inner);
    let swept = Scope::blocking(move || {
        let _alone = alone;
        let swept = shared.drivers.images.prune(&kept)?;
        let left = shared.drivers.images.list()?;
        shared.lock().images.retain(|digest, _| left.iter().any(|image| image.digest == *digest));
        Ok::<_, driver::DriverError>(swept)
    });
    let swept = swept.await.map_err(Error::failed)?.map_err(|error| Error::failed(error.message))?;
    inner.dirty.wake();
    Ok(swept)
}

fn unused(inner: &Inner, digest: &str) -> Result<()> {
    let state = inner.lock();
    let Some(told) = state.told.as_ref() else { return Ok(()) };
    let needs = |template: &api::spec::PodTemplate| template.containers.iter().any(|c| c.image.digest.as_deref() == Some(digest));
    let user = told.pods.values().find(|pod| told.templates.get(&pod.template).is_some_and(|template| needs(template)));
    user.map_or(Ok(()), |pod| Err(Error::conflict(format!("{digest} is needed by {} on this server", pod.display))))
}
