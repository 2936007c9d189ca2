//! Images: content goes to an agent's store, the name goes into the cluster's.

pub mod build;
pub mod leave;
pub mod prune;
pub mod tag;

use super::{
    Answer,
    write::{Decision, Trying, change},
};
use crate::{Control, admit, agents::explain, commits::Progress, proxy, world::World};
use api::{
    Error, Kind, Name, Result, Snapshot,
    image::{ImageProgress, ImageRecord, normalise},
    key, path,
    server::ServerSpec,
    view::{BootstrapRequest, Changed, PullRequest},
};
use axum::{
    Json, Router,
    body::Body as HttpBody,
    extract::{DefaultBodyLimit, Path, Query, State},
    http::Method,
    response::Response,
    routing::{get, post},
};
use futures_util::{TryStreamExt, future::join_all};
use schemars::JsonSchema;
use serde::{Deserialize, de::DeserializeOwned};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedRwLockReadGuard, mpsc},
    time::timeout,
};
use tokio_util::io::StreamReader;
use wire::{
    client::Lines,
    server::{ApiError, Body, received},
};

/// Lines of progress on their way to a caller; more are left out, never the last.
const LINES: usize = 64;
/// The copies of a base system are waited for so long.
const COPIED: Duration = Duration::from_secs(15);

type Streamed = Result<Response, ApiError>;

pub fn routes() -> Router<Control> {
    Router::new()
        .route(path::IMAGES, get(list))
        .route(&format!("{}/import", path::IMAGES), post(import).layer(DefaultBodyLimit::disable()))
        .route(&format!("{}/build", path::IMAGES), post(build::build).layer(DefaultBodyLimit::disable()))
        .route(&format!("{}/pull", path::IMAGES), post(pull))
        .route(&format!("{}/bootstrap", path::IMAGES), post(bootstrap))
        .route(&format!("{}/push", path::IMAGES), post(leave::push))
        .route(&format!("{}/prune", path::IMAGES), post(prune::prune))
        .route(&format!("{}/{{name}}/export", path::IMAGES), get(leave::export))
        .route(&format!("{}/{{name}}/tag", path::IMAGES), post(tag::tag))
        .route(&format!("{}/{{name}}", path::IMAGES), get(show).delete(remove))
}

async fn list(State(control): State<Control>) -> Json<Vec<ImageRecord>> {
    Json(control.world.now().snapshot.images.values().map(|record| record.as_ref().clone()).collect())
}

async fn show(State(control): State<Control>, Path(name): Path<String>) -> Answer<ImageRecord> {
    let snapshot = control.world.now().snapshot;
    Ok(Json(admit::image::find(&snapshot, &name)?.clone()))
}

/// Query of an import.
#[derive(Deserialize, JsonSchema)]
pub struct Import {
    /// Name of the image.
    name: String,
    /// To which server; the manager's own when absent.
    #[serde(default)]
    server: Option<Name>,
}

async fn import(State(control): State<Control>, Query(query): Query<Import>, body: HttpBody) -> Result<Response, ApiError> {
    let name = normalise(&query.name)?;
    let coming = coming(&control).await;
    let snapshot = control.world.now().snapshot;
    let server = proxy::pick(&control, &snapshot, query.server.as_ref())?.clone();
    let agent = proxy::agent(&control, &snapshot, &server.name)?;
    let reader = StreamReader::new(body.into_data_stream().map_err(std::io::Error::other));
    let path = format!("{}/import?name={}", path::IMAGES, path::segment(&name));
    let lines = agent.upload(Method::POST, &path, reader).await.map_err(|error| explain(&server.name, error))?;
    Ok(record(&control, coming, name, lines))
}

async fn pull(State(control): State<Control>, Body(request): Body<PullRequest>) -> Result<Response, ApiError> {
    let name = normalise(&request.image)?;
    let coming = coming(&control).await;
    let snapshot = control.world.now().snapshot;
    let server = proxy::pick(&control, &snapshot, request.server.as_ref())?.clone();
    let lines = ask(&control, (&snapshot, &server), "pull", &request).await?;
    Ok(record(&control, coming, name, lines))
}

async fn bootstrap(State(control): State<Control>, Body(request): Body<BootstrapRequest>) -> Result<Response, ApiError> {
    let name = request.name.clone().unwrap_or_else(|| format!("{}/{}", request.distribution, request.release));
    let name = normalise(&name)?;
    let coming = coming(&control).await;
    let snapshot = control.world.now().snapshot;
    let server = proxy::pick(&control, &snapshot, request.server.as_ref())?.clone();
    let made = ask(&control, (&snapshot, &server), "bootstrap", &request).await?;
    Ok(lines(&control.clone(), |progress| async move {
        let image = arrived(&control, name, made, &progress).await?;
        drop(coming);
        copies(&control, &image, &progress).await;
        Ok(image)
    }))
}

/// Waits until other servers have it as well: containers of a base system are soon everywhere, and would each wait for it. No error
/// when it takes too long, for the image is there.
async fn copies(control: &Control, image: &ImageRecord, progress: &Progress) {
    let copied = |world: &World| plan::copied(&world.snapshot, image) || !world.snapshot.images.contains_key(&image.name);
    let mut listen = control.world.listen();
    if copied(&listen.borrow_and_update()) {
        return;
    }
    drop(progress.try_send(ImageProgress::Working { message: "copying it to other servers".to_owned() }));
    if timeout(COPIED, listen.wait_for(copied)).await.is_err() {
        tracing::info!(image = image.name, "copies take longer than is waited for them");
    }
}

/// While it is held nothing is pruned: content may be here that no name leads to yet.
pub type Coming = OwnedRwLockReadGuard<()>;

pub async fn coming(control: &Control) -> Coming {
    Arc::clone(&control.coming).read_owned().await
}

async fn ask<B: serde::Serialize>(
    control: &Control,
    (snapshot, server): (&Snapshot, &ServerSpec),
    verb: &str,
    request: &B,
) -> Result<Lines<ImageProgress>> {
    ask_at(control, (snapshot, &server.name), verb, request).await
}

async fn ask_at<B: serde::Serialize, T: DeserializeOwned>(
    control: &Control,
    (snapshot, server): (&Snapshot, &Name),
    verb: &str,
    request: &B,
) -> Result<Lines<T>> {
    let agent = proxy::agent(control, snapshot, server)?;
    let body = crate::tokens::encode(request)?;
    let path = format!("{}/{verb}", path::IMAGES);
    let headers = [("content-type", "application/json".to_owned())];
    agent.lines(Method::POST, &path, Some(body), &headers).await.map_err(|error| explain(server, error))
}

/// What the caller is shown of content on its way, to the moment when it has a name.
fn record(control: &Control, coming: Coming, name: String, from: Lines<ImageProgress>) -> Response {
    let own = control.clone();
    lines(control, |progress| async move {
        let _coming = coming;
        arrived(&own, name, from, &progress).await
    })
}

/// Passes progress on; the content's arrival becomes a name in the cluster's store before the caller is told.
async fn arrived(control: &Control, name: String, mut from: Lines<ImageProgress>, progress: &Progress) -> Result<ImageRecord> {
    while let Some(line) = from.next().await {
        match line? {
            ImageProgress::Done { image } => return write(control, ImageRecord { name, ..*image }).await,
            ImageProgress::Failed { error } => return Err(error),
            line => drop(progress.try_send(line)),
        }
    }
    Err(Error::new(Kind::Unreachable, "the server that fetched the image went away"))
}

/// Does it as a task of its own, so that what was begun is finished though nobody listens any more. Its progress, and the end
/// of it, are the answer.
pub fn lines<F, Fut>(control: &Control, work: F) -> Response
where
    F: FnOnce(Progress) -> Fut,
    Fut: Future<Output = Result<ImageRecord>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(LINES);
    let working = work(sender.clone());
    control.scope.job(async move {
        let line = match working.await {
            Ok(image) => ImageProgress::Done { image: Box::new(image) },
            Err(error) => ImageProgress::Failed { error },
        };
        let _ = sender.send(line).await;
    });
    wire::server::ndjson(received(receiver))
}

/// For work whose progress nobody is shown.
pub fn no_progress() -> Progress {
    mpsc::channel(1).0
}

/// Gives content a name.
pub async fn write(control: &Control, image: ImageRecord) -> Result<ImageRecord> {
    let written = change(control, false, |world| {
        let key = format!("{}{}", key::IMAGES, image.name);
        Decision::saying(format!("image {}", image.name)).put(world, key, &image)
    });
    written.await.map(|_| image.clone())
}

async fn remove(State(control): State<Control>, Path(name): Path<String>, Query(trying): Query<Trying>) -> Answer<Changed> {
    let record = admit::image::find(&control.world.now().snapshot, &name)?.clone();
    delete(&control, &record, trying).await
}

/// Deletes an image by its record, unless somebody needs it.
pub async fn delete(control: &Control, record: &ImageRecord, trying: Trying) -> Answer<Changed> {
    let changed = change(control, trying.dry_run, |world| {
        admit::image::find(&world.snapshot, &record.name)?;
        if let Some(user) = admit::image::user(&world.snapshot, record) {
            return Err(Error::conflict(format!("image {} is used by {user}", record.name)));
        }
        Ok(Decision::saying(format!("delete image {}", record.name)).delete(world, format!("{}{}", key::IMAGES, record.name)))
    });
    let changed = changed.await?;
    if !trying.dry_run {
        for digest in record.index.iter().chain([&record.digest]) {
            forget(control, digest).await;
        }
    }
    Ok(Json(changed))
}

/// Tells every server that holds content no name leads to any more. One that does not answer keeps it until the next time.
pub async fn forget(control: &Control, digest: &str) {
    let world = control.world.now();
    if prune::keep(&world).contains(digest) {
        return;
    }
    let (snapshot, path) = (&world.snapshot, &format!("{}/{digest}", path::IMAGES));
    // Manifests that are no images of a server stand in no report; they are on this one.
    let holders = snapshot
        .reports
        .iter()
        .filter(|(server, report)| **server == control.server || report.images.iter().any(|held| held == digest));
    let telling = holders.filter_map(|(server, _)| Some((server, proxy::agent(control, snapshot, server).ok()?)));
    let telling = telling.map(|(server, agent)| async move {
        if let Err(error) = agent.send::<(), ()>(Method::DELETE, path, &()).await {
            tracing::warn!(%server, %error, "content not removed");
        }
    });
    join_all(telling.collect::<Vec<_>>()).await;
}
