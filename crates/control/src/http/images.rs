//! Images: content goes to an agent's store, the name goes into the cluster's.

pub mod leave;
pub mod prune;

use super::{
    Answer,
    write::{Decision, Trying, change},
};
use crate::{Control, admit, agents::explain, proxy};
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
use futures_util::{StreamExt, TryStreamExt, stream};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;
use tokio::sync::OwnedRwLockReadGuard;
use tokio_util::io::StreamReader;
use wire::{
    client::Lines,
    server::{ApiError, Body},
};

type Streamed = Result<Response, ApiError>;

pub fn routes() -> Router<Control> {
    Router::new()
        .route(path::IMAGES, get(list))
        .route(&format!("{}/import", path::IMAGES), post(import).layer(DefaultBodyLimit::disable()))
        .route(&format!("{}/pull", path::IMAGES), post(pull))
        .route(&format!("{}/bootstrap", path::IMAGES), post(bootstrap))
        .route(&format!("{}/push", path::IMAGES), post(leave::push))
        .route(&format!("{}/prune", path::IMAGES), post(prune::prune))
        .route(&format!("{}/{{name}}/export", path::IMAGES), get(leave::export))
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
    Ok(record((control, coming), name, lines))
}

async fn pull(State(control): State<Control>, Body(request): Body<PullRequest>) -> Result<Response, ApiError> {
    let name = normalise(&request.image)?;
    let coming = coming(&control).await;
    let snapshot = control.world.now().snapshot;
    let server = proxy::pick(&control, &snapshot, request.server.as_ref())?.clone();
    Ok(record((control.clone(), coming), name, ask(&control, (&snapshot, &server), "pull", &request).await?))
}

async fn bootstrap(State(control): State<Control>, Body(request): Body<BootstrapRequest>) -> Result<Response, ApiError> {
    let name = request.name.clone().unwrap_or_else(|| format!("{}/{}", request.distribution, request.release));
    let name = normalise(&name)?;
    let coming = coming(&control).await;
    let snapshot = control.world.now().snapshot;
    let server = proxy::pick(&control, &snapshot, request.server.as_ref())?.clone();
    Ok(record((control.clone(), coming), name, ask(&control, (&snapshot, &server), "bootstrap", &request).await?))
}

/// While it is held nothing is pruned: content may be here that no name leads to yet.
type Coming = OwnedRwLockReadGuard<()>;

async fn coming(control: &Control) -> Coming {
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

async fn ask_at<B: serde::Serialize>(
    control: &Control,
    (snapshot, server): (&Snapshot, &Name),
    verb: &str,
    request: &B,
) -> Result<Lines<ImageProgress>> {
    let agent = proxy::agent(control, snapshot, server)?;
    let body = crate::tokens::encode(request)?;
    let path = format!("{}/{verb}", path::IMAGES);
    let headers = [("content-type", "application/json".to_owned())];
    agent.lines(Method::POST, &path, Some(body), &headers).await.map_err(|error| explain(server, error))
}

/// Passes progress on; the content's arrival becomes a name in the cluster's store before the caller is told.
fn record((control, coming): (Control, Coming), name: String, lines: Lines<ImageProgress>) -> Response {
    let progress =
        stream::unfold((control, name, (lines, coming), false), |(control, name, (mut lines, coming), ended)| async move {
            if ended {
                return None;
            }
            let line = match lines.next().await {
                Some(Ok(ImageProgress::Done { image })) => write(&control, ImageRecord { name: name.clone(), ..*image }).await,
                Some(Ok(line)) => line,
                Some(Err(error)) => ImageProgress::Failed { error },
                None => {
                    ImageProgress::Failed { error: Error::new(Kind::Unreachable, "the server that fetched the image went away") }
                }
            };
            let ended = matches!(line, ImageProgress::Done { .. } | ImageProgress::Failed { .. });
            Some((line, (control, name, (lines, coming), ended)))
        });
    wire::server::ndjson(progress.boxed())
}

async fn write(control: &Control, image: ImageRecord) -> ImageProgress {
    let written = change(control, false, |world| {
        let key = format!("{}{}", key::IMAGES, image.name);
        Decision::saying(format!("image {}", image.name)).put(world, key, &image)
    });
    match written.await {
        Ok(_) => ImageProgress::Done { image: Box::new(image) },
        Err(error) => ImageProgress::Failed { error },
    }
}

async fn remove(State(control): State<Control>, Path(name): Path<String>, Query(trying): Query<Trying>) -> Answer<Changed> {
    let snapshot = control.world.now().snapshot;
    let record = admit::image::find(&snapshot, &name)?.clone();
    let changed = change(&control, trying.dry_run, |world| {
        admit::image::find(&world.snapshot, &name)?;
        if let Some(user) = user(&world.snapshot, &record) {
            return Err(Error::conflict(format!("image {} is used by {user}", record.name)));
        }
        Ok(Decision::saying(format!("delete image {}", record.name)).delete(world, format!("{}{}", key::IMAGES, record.name)))
    });
    let changed = changed.await?;
    if !trying.dry_run {
        for digest in record.index.iter().chain([&record.digest]) {
            forget(&control, digest).await;
        }
    }
    Ok(Json(changed))
}

/// A container or job that needs the image's content and has no other name for it.
pub fn user(snapshot: &Snapshot, record: &ImageRecord) -> Option<String> {
    if snapshot.images.values().any(|other| other.digest == record.digest && other.name != record.name) {
        return None;
    }
    let uses =
        |template: &api::spec::PodTemplate| template.containers.iter().any(|c| c.image.digest.as_ref() == Some(&record.digest));
    let lone = snapshot.containers.values().find(|spec| uses(&spec.template)).map(|spec| format!("container {}", spec.name));
    lone.or_else(|| {
        let job = snapshot.jobs.values().find(|job| uses(&job.template) || job.history.iter().any(|old| uses(&old.template)));
        job.map(|job| format!("job {}", job.name))
    })
}

/// Tells every server that holds content no name leads to any more. One that does not answer keeps it until the next time.
pub async fn forget(control: &Control, digest: &str) {
    let world = control.world.now();
    if prune::keep(&world).contains(digest) {
        return;
    }
    let snapshot = world.snapshot;
    for (server, report) in &snapshot.reports {
        // Manifests that are no images of a server stand in no report; they are on this one.
        if *server != control.server && !report.images.iter().any(|held| held == digest) {
            continue;
        }
        let Ok(agent) = proxy::agent(control, &snapshot, server) else { continue };
        let path = format!("{}/{digest}", path::IMAGES);
        if let Err(error) = agent.send::<(), ()>(Method::DELETE, &path, &()).await {
            tracing::warn!(%server, %error, "content not removed");
        }
    }
}
