//! The HTTP API: one file for each noun. Handlers find out who asks, admit, commit, and answer; they decide nothing.

mod agent;
mod apps;
mod commits;
mod containers;
mod events;
mod images;
mod jobs;
mod openapi;
pub mod registry;
mod servers;
mod streams;
mod watch;
pub mod write;

pub use images::forget;

use crate::Control;
use api::{
    Error, path,
    view::{Settled, Version},
};
use axum::{
    Json, Router,
    extract::{Request, State},
    http::{
        StatusCode,
        header::{ALLOW, CONTENT_TYPE},
    },
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use std::{net::SocketAddr, path::PathBuf};
use tokio::net::TcpListener;
use wire::{
    identity::{Identity, Who},
    server::ApiError,
};

type Answer<T> = Result<Json<T>, ApiError>;

/// Serves root's socket and the mTLS port for as long as the scope lives.
pub fn serve(control: &Control, listener: TcpListener, identity: Identity, socket: PathBuf) {
    let router = router(control.clone());
    let (tls_router, tls_scope) = (router.clone(), control.scope.clone());
    control.scope.component("API over mTLS", async move {
        wire::server::serve_tls_on(tls_router, listener, identity, tls_scope).await.map_err(|error| error.to_string())
    });
    let unix_scope = control.scope.clone();
    control.scope.component("API on the socket", async move {
        wire::server::serve_unix(router, &socket, unix_scope).await.map_err(|error| error.to_string())
    });
}

fn router(control: Control) -> Router {
    Router::new()
        .route(path::VERSION, get(version))
        .route("/v1/openapi.json", get(openapi::document))
        .route(path::METRICS, get(crate::metrics::text))
        .route(path::SETTLED, get(settled))
        .merge(servers::routes())
        .merge(containers::routes())
        .merge(commits::routes())
        .merge(jobs::routes())
        .merge(images::routes())
        .merge(apps::routes())
        .merge(registry::routes())
        .merge(events::routes())
        .merge(streams::routes())
        .merge(agent::routes())
        .fallback(unknown)
        .layer(middleware::from_fn(worded))
        .layer(middleware::from_fn(authorise))
        .with_state(control)
}

async fn version(State(control): State<Control>) -> Answer<Version> {
    let world = control.world.now();
    let cluster = world.snapshot.cluster.as_ref().ok_or_else(|| ApiError(Error::failed("there is no cluster in this store")))?;
    Ok(Json(Version {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        format: api::FORMAT_VERSION,
        cluster: cluster.name.clone(),
        domain: cluster.domain.clone(),
    }))
}

async fn settled(State(control): State<Control>) -> Json<Settled> {
    Json(Settled { behind: crate::settled::settled(&control).await })
}

async fn unknown(request: Request) -> ApiError {
    ApiError(Error::not_found(format!("there is no {} {} in this API", request.method(), request.uri().path())))
}

/// Longest refusal of axum's that is read.
const REFUSAL_MAX: usize = 4096;

/// Refusals in axum's words (a query or a name that does not fit, a method that a path has not) become errors like all others.
async fn worded(request: Request, next: Next) -> Response {
    let asked = format!("{} {}", request.method(), request.uri().path());
    let (parts, body) = next.run(request).await.into_parts();
    let json = parts.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if json || !parts.status.is_client_error() {
        return Response::from_parts(parts, body);
    }
    let text = axum::body::to_bytes(body, REFUSAL_MAX).await.unwrap_or_default();
    let error = match parts.status {
        StatusCode::METHOD_NOT_ALLOWED => Error::usage(format!("{asked} cannot be done: the path has other methods")),
        _ => Error::usage(format!("the request does not fit: {}", String::from_utf8_lossy(&text))),
    };
    let allow = parts.headers.get(ALLOW).map(|methods| [(ALLOW, methods.clone())]);
    (parts.status, allow, Json(error)).into_response()
}

/// Who may do what. Root on a manager's socket, servers of the cluster (root on each of them, through the tunnel) and users may
/// administer. Without a certificate the only thing to do is to join with a token.
async fn authorise(request: Request, next: Next) -> Response {
    let who = request.extensions().get::<Who>();
    let joins = request.uri().path() == path::JOIN;
    match who {
        Some(Who::Root | Who::Server { .. } | Who::User(_)) => next.run(request).await,
        Some(Who::Nobody) if joins => next.run(request).await,
        _ => ApiError(
            Error::not_allowed("a certificate of this cluster is needed").hint("join first, or use root's socket on a server"),
        )
        .into_response(),
    }
}

/// The address agents and joining servers find this manager at.
fn advertised(control: &Control) -> api::Result<SocketAddr> {
    let world = control.world.now();
    let me = world.snapshot.servers.get(&control.server);
    me.map(|server| SocketAddr::new(server.address, control.port))
        .ok_or_else(|| Error::failed("this manager is not a server of its own cluster"))
}
