//! What agents ask: what they must be; and what they say: what they are.

use super::write::Decision;
use crate::{Control, events::Events, session};
use api::{
    Error, Name, Snapshot,
    event::Noun,
    key, path,
    report::{Health, InstanceReport, Phase, Report},
    server::{ServerFacts, ServerSpec},
    view::Changed,
};
use axum::{
    Extension, Json, Router,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use std::sync::Arc;
use wire::{
    heartbeat,
    identity::Who,
    server::{ApiError, Body},
};

pub fn routes() -> Router<Control> {
    Router::new()
        .route(path::AGENT_HELLO, post(hello))
        .route(path::AGENT_ASSIGNMENT, get(assignment))
        .route(path::AGENT_REPORT, post(report))
}

/// The server that asks, known by name and by the key it joined with.
fn server(control: &Control, who: &Who) -> api::Result<Arc<ServerSpec>> {
    let Who::Server { name, fingerprint } = who else {
        return Err(Error::not_allowed("only an agent may ask this"));
    };
    let snapshot = control.world.now().snapshot;
    match snapshot.servers.get(name) {
        Some(spec) if spec.key_fingerprint == *fingerprint => Ok(Arc::clone(spec)),
        Some(_) => Err(Error::not_allowed(format!("another server joined as {name} since"))),
        None => Err(Error::not_allowed(format!("server {name} is not in this cluster any more"))),
    }
}

async fn hello(
    State(control): State<Control>,
    Extension(who): Extension<Who>,
    Body(facts): Body<ServerFacts>,
) -> Result<Json<Changed>, ApiError> {
    let spec = server(&control, &who)?;
    if spec.facts == facts {
        return Ok(Json(Changed { revision: 0, unchanged: true, summary: Vec::new() }));
    }
    let fresh = ServerSpec { facts, ..spec.as_ref().clone() };
    let writes = Decision::default().put(&control.world.now(), key::of(key::SERVERS, &fresh.name), &fresh)?;
    let commit = store::Commit { guards: writes.guards, writes: writes.writes };
    let revision = control.store.commit(commit).await.map_err(crate::tokens::failed)?;
    Ok(Json(Changed { revision, unchanged: false, summary: Vec::new() }))
}

async fn assignment(
    State(control): State<Control>,
    Extension(who): Extension<Who>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let spec = server(&control, &who)?;
    if let Some(text) = headers.get(heartbeat::HEADER).and_then(|value| value.to_str().ok()) {
        control.beats.key(&spec.name, heartbeat::Key::from_hex(text)?);
    }
    control.beats.sign(&spec.name);
    Ok(wire::server::ndjson(session::assignments(control, spec.name.clone())).into_response())
}

async fn report(
    State(control): State<Control>,
    Extension(who): Extension<Who>,
    Body(report): Body<Report>,
) -> Result<Json<()>, ApiError> {
    let spec = server(&control, &who)?;
    if report.server != spec.name {
        return Err(Error::not_allowed(format!("server {} may not report for {}", spec.name, report.server)).into());
    }
    control.beats.sign(&spec.name);
    let name = spec.name.clone();
    if let Some(former) = control.world.report(report) {
        let snapshot = control.world.now().snapshot;
        tell(&control.events, &snapshot, (&name, former.as_deref()));
        control.look.wake();
    }
    Ok(Json(()))
}

/// Events for what changed between two reports of a server.
fn tell(events: &Events, snapshot: &Snapshot, (server, former): (&Name, Option<&Report>)) {
    let Some(report) = snapshot.reports.get(server) else { return };
    for (owner, placement) in snapshot.placements().filter(|(_, placement)| placement.server == *server) {
        let Some(now) = report.instances.get(&placement.id) else { continue };
        let before = former.and_then(|former| former.instances.get(&placement.id));
        if let Some(message) = transition(before, now) {
            let name = if placement.slot == 0 { owner.to_string() } else { format!("{owner}/{}", placement.slot) };
            let message =
                if now.phase == Phase::Running { format!("{message} on {server} at {}", placement.address) } else { message };
            events.note(Noun::Container, name, message);
        }
    }
}

/// What is worth telling about an instance's new state.
fn transition(before: Option<&InstanceReport>, now: &InstanceReport) -> Option<String> {
    let (phase, health) = before.map_or((None, None), |before| (Some(before.phase), Some(before.health)));
    let because = now.message.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
    if phase != Some(now.phase) {
        return match now.phase {
            Phase::Running => Some("running".to_owned()),
            Phase::Failed => Some(format!("failed{because}")),
            Phase::BackOff => Some(format!("ended, will be started again{because}")),
            Phase::Exited => {
                Some(now.exit_code.map_or_else(|| "stopped".to_owned(), |code| format!("ended with exit code {code}")))
            }
            Phase::Frozen => Some("frozen".to_owned()),
            Phase::Pending | Phase::Pulling | Phase::Starting | Phase::Stopping => None,
        };
    }
    let changed = health != Some(now.health);
    match now.health {
        Health::Unhealthy if changed => Some(format!("unhealthy{because}")),
        Health::Healthy if changed && health == Some(Health::Unhealthy) => Some("healthy again".to_owned()),
        _ => None,
    }
}
