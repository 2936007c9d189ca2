//! The registry inside: the OCI distribution specification, version 1.1, over the cluster's images.
//!
//! Names, tags and manifests are records in the cluster's store; content is in the manager's own content store, and requests
//! about blobs go on to its agent as they are. It is served on a port of its own, since its clients know neither our paths nor
//! our certificates: with TLS of the cluster's authority at the server's address, in the clear on loopback only.

mod blobs;
mod lists;
mod manifests;
mod uploads;

use super::{
    Answer,
    write::{Decision, Trying, change},
};
use crate::{Control, registry_tokens};
use api::{
    key, path,
    registry::{
        Access, Code, Refusal, RegistrySettings, RegistryView,
        asked::{self, Asked},
    },
    view::Changed,
};
use axum::{
    Json, Router,
    body::Body,
    extract::{Query, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use schemars::JsonSchema;
use serde::Deserialize;
use std::net::{Ipv4Addr, SocketAddr};
use wire::{
    identity::Identity,
    server::{Body as Given, RegistryError},
};

/// Says which specification is spoken (distribution project; clients look for it).
const VERSION: (HeaderName, HeaderValue) =
    (HeaderName::from_static("docker-distribution-api-version"), HeaderValue::from_static("registry/2.0"));
/// What clients are asked for (RFC 7617).
const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"roost\", charset=\"UTF-8\"");
/// Names a digest in answers.
const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

type Reply = Result<Response, RegistryError>;

/// Of the API: what is set, and where the registry is.
pub fn routes() -> Router<Control> {
    Router::new().route(path::REGISTRY, get(show).patch(set))
}

/// Listens at the server's address and on loopback. Another program at a port is no reason for the cluster not to run.
pub async fn serve(control: &Control, identity: Identity) {
    let router = Router::new().fallback(answer).with_state(control.clone());
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, path::REGISTRY_PORT));
    match wire::server::bind(loopback).await {
        Ok(listener) => {
            let plain = wire::server::serve_plain_on(router.clone(), listener, control.scope.clone());
            control.scope.component("registry on loopback", async move { plain.await.map_err(|error| error.to_string()) });
        }
        Err(error) => tracing::error!(%error, "the registry is not served on loopback"),
    }
    let Ok(address) = address(control) else { return };
    match wire::server::bind(address).await {
        Ok(listener) => {
            let tls = wire::server::serve_tls_on(router, listener, identity, control.scope.clone());
            control.scope.component("registry over TLS", async move { tls.await.map_err(|error| error.to_string()) });
        }
        Err(error) => tracing::error!(%error, "the registry is not served to others"),
    }
}

fn address(control: &Control) -> api::Result<SocketAddr> {
    super::advertised(control).map(|api| SocketAddr::new(api.ip(), path::REGISTRY_PORT))
}

async fn show(State(control): State<Control>) -> Answer<RegistryView> {
    let world = control.world.now();
    Ok(Json(RegistryView {
        address: address(&control)?.to_string(),
        loopback: SocketAddr::from((Ipv4Addr::LOCALHOST, path::REGISTRY_PORT)).to_string(),
        authority: control.authority.certificate_pem().to_owned(),
        settings: world.registry,
        repositories: lists::repositories(&world).len(),
    }))
}

/// What is to be set.
#[derive(Deserialize, JsonSchema)]
pub struct RegistryChange {
    /// Whether pulls need no token.
    anonymous_pull: Option<bool>,
}

async fn set(
    State(control): State<Control>,
    Query(trying): Query<Trying>,
    Given(asked): Given<RegistryChange>,
) -> Answer<Changed> {
    let changed = change(&control, trying.dry_run, |world| {
        let anonymous_pull = asked.anonymous_pull.unwrap_or(world.registry.anonymous_pull);
        let fresh = RegistrySettings { anonymous_pull };
        if fresh == world.registry {
            return Ok(Decision::unchanged("the registry needs no change"));
        }
        Decision::saying("change the registry").put(world, key::REGISTRY_SETTINGS.to_owned(), &fresh)
    });
    Ok(Json(changed.await?))
}

/// Everything that the port is asked for.
async fn answer(State(control): State<Control>, request: Request) -> Response {
    let challenged = |refusal| ([(header::WWW_AUTHENTICATE, CHALLENGE)], RegistryError(refusal)).into_response();
    let mut response = match admit(&control, request.uri().path(), request.method(), request.headers()) {
        Err(refusal) if refusal.code == Code::Unauthorized => challenged(refusal),
        Err(refusal) => RegistryError(refusal).into_response(),
        Ok((asked, access)) => serve_one(&control, (asked, access), request).await.unwrap_or_else(RegistryError::into_response),
    };
    response.headers_mut().insert(VERSION.0, VERSION.1);
    response
}

/// What is asked for, if who asks may.
fn admit(control: &Control, path: &str, method: &Method, headers: &HeaderMap) -> Result<(Asked, Option<Access>), Refusal> {
    let asked = Asked::parse(path)?;
    let world = control.world.now();
    let access = match credentials(headers)? {
        Some(text) => Some(registry_tokens::access(&world, &text).ok_or_else(|| {
            Refusal::new(
                Code::Unauthorized,
                "the token is not known here, was revoked, or is expired: roost token create --registry",
            )
        })?),
        None => None,
    };
    let reads = matches!(*method, Method::GET | Method::HEAD) && !matches!(asked, Asked::Upload { .. });
    // Clients find out here whether they are asked who they are, so this is never open.
    let open = world.registry.anonymous_pull && reads && asked != Asked::Base;
    match (access, reads) {
        (Some(Access::Push), _) | (Some(Access::Pull), true) => Ok((asked, access)),
        (None, true) if open => Ok((asked, None)),
        (Some(Access::Pull), false) => {
            Err(Refusal::new(Code::Denied, "this token lets nobody push: roost token create --registry --push"))
        }
        (None, _) => {
            Err(Refusal::new(Code::Unauthorized, "a token is needed, as password of user token: roost token create --registry"))
        }
    }
}

/// The token, which comes as a password (RFC 7617) or as itself (RFC 6750).
fn credentials(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let bad = || Refusal::new(Code::Unauthorized, "the Authorization header is neither Basic nor Bearer");
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let (scheme, rest) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(bad)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Some(rest.trim().to_owned()));
    }
    let decoded = STANDARD.decode(rest.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(bad)?;
    let (_, password) = decoded.split_once(':').filter(|_| scheme.eq_ignore_ascii_case("basic")).ok_or_else(bad)?;
    Ok(Some(password.to_owned()))
}

async fn serve_one(control: &Control, (asked, access): (Asked, Option<Access>), request: Request) -> Reply {
    let method = request.method().clone();
    match (asked, method.as_str()) {
        (Asked::Base, "GET" | "HEAD") => Ok(Json(serde_json::json!({})).into_response()),
        (Asked::Catalog, "GET") => lists::catalog(control, request.uri()),
        (Asked::Tags { name }, "GET") => lists::tags(control, &name, request.uri()),
        (Asked::Referrers { name, digest }, "GET") => lists::referrers(control, (&name, &digest), request.uri()),
        (Asked::Manifest { name, reference }, "GET" | "HEAD") => manifests::get(control, &name, &reference, &method).await,
        (Asked::Manifest { name, reference }, "PUT") => manifests::put(control, (&name, &reference), request).await,
        (Asked::Manifest { name, reference }, "DELETE") => manifests::delete(control, &name, &reference).await,
        (Asked::Blob { digest, .. }, "GET" | "HEAD") => blobs::get(control, (&digest, access), request).await,
        (Asked::Blob { digest, .. }, "DELETE") => blobs::delete(control, &digest, request).await,
        (Asked::Uploads { name }, "POST") => uploads::begin(control, &name, request).await,
        (Asked::Upload { name, upload }, "GET" | "PATCH" | "PUT" | "DELETE") => {
            uploads::go_on(control, (&name, &upload), request).await
        }
        _ => Err(unsupported(&method, request.uri().path()).into()),
    }
}

fn unsupported(method: &Method, path: &str) -> Refusal {
    Refusal::new(Code::Unsupported, format!("there is no {method} {path} in the registry"))
}

/// The agent of this very server, whose content store is the registry's.
fn own_agent(control: &Control) -> Result<wire::client::Client, Refusal> {
    crate::proxy::agent(control, &control.world.now().snapshot, &control.server).map_err(failed)
}

/// Passes a request on to an agent at another path.
async fn forward(agent: &wire::client::Client, request: Request, path: &str) -> Result<Response, Refusal> {
    let (mut parts, body) = request.into_parts();
    parts.uri = path.parse().map_err(|_| Refusal::new(Code::NameInvalid, format!("{path:?} is no path")))?;
    // Tokens are for us only.
    parts.headers.remove(header::AUTHORIZATION);
    agent.forward(Request::from_parts(parts, body)).await.map_err(failed)
}

/// A request of our own.
fn request(method: Method, path: &str) -> Result<Request, Refusal> {
    let built = Request::builder().method(method).uri(path).body(Body::empty());
    built.map_err(|error| Refusal::new(Code::Unknown, error.to_string()))
}

/// An error of the house as the registry's.
fn failed(error: api::Error) -> Refusal {
    let code = match error.kind {
        api::Kind::Conflict | api::Kind::NotAllowed => Code::Denied,
        _ => Code::Unknown,
    };
    Refusal::new(code, error.message)
}

/// An answer without body that says where something is.
fn located(status: StatusCode, location: &str, digest: Option<&str>) -> Response {
    let length = [(header::CONTENT_LENGTH, "0".to_owned())];
    let mut response = (status, [(header::LOCATION, location.to_owned())], length).into_response();
    if let Some(value) = digest.and_then(|digest| HeaderValue::try_from(digest).ok()) {
        response.headers_mut().insert(DIGEST, value);
    }
    response
}
