//! The agent's own API (table in [`api::path`]): what people do to instances of this server, and content for its peers.
//!
//! Any server of the cluster may ask, since root on any server may administer the cluster; users speak with the manager.

mod build;
mod commit;
mod console;
mod content;
mod files;
mod images;
mod read;
mod streams;
mod volumes;

use crate::{
    engine::{Engine, Inner},
    exec,
};
use api::{
    error::Error,
    name::{InstanceId, Name},
    path::{BLOBS, INSTANCES, MANIFESTS, STATS, UPLOADS, VOLUMES},
};
use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRequestParts, Path, Query, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use http::request::Parts;
use serde::de::DeserializeOwned;
use std::{sync::Arc, time::Duration};
use wire::{identity::Who, server::ApiError};

/// How long an instance that nobody told us of is waited for: who saw its placement may be here before the assignment is.
const TOLD: Duration = Duration::from_secs(2);

/// Pieces of a streamed body on their way between a thread and the connection.
const PIECES: usize = 8;

/// All of it.
pub fn router(engine: &Engine) -> Router {
    let one = |verb: &str| format!("{INSTANCES}/{{id}}/{verb}");
    Router::new()
        .route(&one("exec"), post(streams::exec))
        .route(&one("attach"), post(console::attach))
        .route(&one("logs"), get(read::logs))
        .route(&one("signal/{signal}"), post(read::signal))
        .route(&one("archive"), get(files::get).put(files::put))
        .route(&one("commit"), post(commit::commit))
        .route(STATS, get(read::stats))
        .route(&format!("{BLOBS}/{{digest}}"), get(content::blob).delete(content::discard))
        .route(UPLOADS, post(content::begin))
        .route(
            &format!("{UPLOADS}/{{upload}}"),
            get(content::received).patch(content::append).put(content::finish).delete(content::cancel),
        )
        .route(MANIFESTS, post(content::hold))
        .route(&format!("{VOLUMES}/{{volume}}"), delete(volumes::delete))
        .route("/v1/images/import", post(images::import))
        .route("/v1/images/pull", post(images::pull))
        .route("/v1/images/bootstrap", post(images::bootstrap))
        .route("/v1/images/build", post(build::build))
        .route("/v1/images/push", post(images::push))
        .route("/v1/images/prune", post(images::prune))
        .route("/v1/images/{digest}/export", get(images::export))
        .route("/v1/images/{digest}/fetch", post(images::fetch))
        .route("/v1/images/{digest}", delete(images::delete))
        .fallback(|request: Request| async move {
            ApiError(Error::not_found(format!("agents have no {} {}", request.method(), request.uri().path())))
        })
        // Bodies are archives and images here; those that are JSON have their limit in `wire::server::Body`.
        .layer(DefaultBodyLimit::disable())
        .layer(axum::middleware::from_fn(servers_only))
        .with_state(Arc::clone(&engine.0))
}

async fn servers_only(who: Who, request: Request, next: Next) -> Response {
    match who {
        Who::Root | Who::Server { .. } => next.run(request).await,
        other => ApiError(Error::not_allowed(format!("{other} may not speak with agents: ask the manager"))).into_response(),
    }
}

/// The state every handler gets.
type Shared = State<Arc<Inner>>;

/// The instance in the path, which is on this server.
struct Instance(InstanceId);

impl FromRequestParts<Arc<Inner>> for Instance {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, inner: &Arc<Inner>) -> Result<Self, ApiError> {
        let path = Path::<std::collections::BTreeMap<String, String>>::from_request_parts(parts, inner).await;
        let text = path.ok().and_then(|Path(mut path)| path.remove("id")).unwrap_or_default();
        let id = text.parse().map_err(ApiError)?;
        if inner.knows(id, TOLD).await { Ok(Self(id)) } else { Err(ApiError(exec::absent(id))) }
    }
}

/// The query, refused with a sentence.
struct Asked<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query
            .map(|Query(asked)| Self(asked))
            .map_err(|error| ApiError(Error::usage(format!("the query does not fit: {}", error.body_text()))))
    }
}

/// The named container of a pod, which must be one of its template; the first when none is named.
fn container(inner: &Inner, id: InstanceId, named: Option<Name>) -> Result<Name, Error> {
    let state = inner.lock();
    let all: Vec<Name> =
        state.told(id).map(|told| told.template.containers.iter().map(|c| c.name.clone()).collect()).unwrap_or_default();
    match named {
        Some(name) if all.is_empty() || all.contains(&name) => Ok(name),
        Some(name) => Err(Error::not_found(format!("instance {id} has no container {name}"))),
        None => all.into_iter().next().map_or_else(|| Name::parse("container", "main"), Ok),
    }
}

#[cfg(test)]
mod tests;
