//! What goes through to the agent that has the container: exec, attach, logs, files, signals; and use of resources.

use crate::{Control, agents::explain, proxy, view};
use api::{
    Error, InstanceId, Name, Snapshot, Target, Timestamp, path, report::InstanceStats, server::Liveness, spec::Power,
    view::StatsView,
};
use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, Request, State},
    http::{Response, Uri},
    routing::{get, post},
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use wire::server::ApiError;

pub fn routes() -> Router<Control> {
    let one = format!("{}/{{target}}", path::CONTAINERS);
    Router::new()
        .route(&format!("{one}/exec"), post(|s, p, r| converse(s, p, (r, "exec"))))
        .route(&format!("{one}/attach"), post(|s, p, r| converse(s, p, (r, "attach"))))
        .route(&format!("{one}/logs"), get(|s, p, r| forward(s, p, (r, "logs"))))
        .route(
            &format!("{one}/archive"),
            get(|s, p, r| forward(s, p, (r, "archive"))).put(|s, p, r| forward(s, p, (r, "archive"))),
        )
        .route(&format!("{one}/kill"), post(kill))
        .route(path::STATS, get(stats))
}

fn home(snapshot: &Snapshot, target: &str) -> api::Result<(Name, InstanceId)> {
    let target: Target = target.parse()?;
    let (_, placement) = proxy::resolve(snapshot, &target)?;
    if snapshot.liveness(&placement.server) == Liveness::Lost {
        return Err(Error::unreachable(format!("server {} does not answer, and {target} is on it", placement.server)));
    }
    Ok((placement.server.clone(), placement.id))
}

/// Commands run in, and output is followed of, what is switched on and goes on.
fn is_on(snapshot: &Snapshot, target: &str) -> api::Result<()> {
    let target: Target = target.parse()?;
    let spec = snapshot.containers.get(&target.name).filter(|_| target.slot.is_none());
    match spec.map(|spec| spec.power) {
        Some(Power::Off) => {
            Err(Error::conflict(format!("container {target} is stopped")).hint(format!("start it: roost start {target}")))
        }
        Some(Power::Frozen) => {
            Err(Error::conflict(format!("container {target} is frozen")).hint(format!("let it go on: roost unfreeze {target}")))
        }
        _ => Ok(()),
    }
}

/// Like [`forward`], for what only a running container can do.
async fn converse(
    State(control): State<Control>,
    Path(target): Path<String>,
    (request, verb): (Request, &'static str),
) -> Result<Response<Body>, ApiError> {
    is_on(&control.world.now().snapshot, &target)?;
    forward(State(control), Path(target), (request, verb)).await
}

async fn forward(
    State(control): State<Control>,
    Path(target): Path<String>,
    (request, verb): (Request, &'static str),
) -> Result<Response<Body>, ApiError> {
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    pass(&control, &target, (request, format!("{verb}{query}"))).await
}

async fn pass(control: &Control, target: &str, (mut request, rest): (Request, String)) -> Result<Response<Body>, ApiError> {
    let snapshot = control.world.now().snapshot;
    let (server, id) = home(&snapshot, target)?;
    let uri = format!("{}/{id}/{rest}", path::INSTANCES);
    *request.uri_mut() = uri.parse::<Uri>().map_err(|_| Error::usage(format!("{uri:?} is not a path")))?;
    let agent = proxy::agent(control, &snapshot, &server)?;
    agent.forward(request).await.map_err(|error| explain(&server, error).into())
}

/// Query of a kill.
#[derive(Deserialize, JsonSchema)]
pub struct Kill {
    /// Number of the signal, 1 to 64; 9 when absent.
    #[serde(default)]
    signal: Option<i32>,
}

/// Signal 9 when nothing is said, as `docker kill` does.
pub const SIGKILL: i32 = 9;

async fn kill(
    State(control): State<Control>,
    Path(target): Path<String>,
    Query(query): Query<Kill>,
    request: Request,
) -> Result<Response<Body>, ApiError> {
    let signal = query.signal.unwrap_or(SIGKILL);
    if !(1..=64).contains(&signal) {
        return Err(Error::usage(format!("{signal} is not a signal: use 1 to 64")).into());
    }
    pass(&control, &target, (request, format!("signal/{signal}"))).await
}

async fn stats(State(control): State<Control>) -> Json<Vec<StatsView>> {
    let snapshot = control.world.now().snapshot;
    let mut out = Vec::new();
    let alive = snapshot.servers.keys().filter(|name| snapshot.liveness(name) == Liveness::Alive);
    let asked = alive.map(|server| {
        let agent = proxy::agent(&control, &snapshot, server);
        async move { (server.clone(), agent.ok()?.get::<BTreeMap<InstanceId, InstanceStats>>(path::STATS).await.ok()?).into() }
    });
    let answers: Vec<Option<(Name, BTreeMap<InstanceId, InstanceStats>)>> = futures_util::future::join_all(asked).await;
    let at = Timestamp(base::env::now_millis());
    let answers: BTreeMap<_, _> = answers.into_iter().flatten().collect();
    for (owner, placement) in snapshot.placements() {
        let Some(stats) = answers.get(&placement.server).and_then(|all| all.get(&placement.id)) else { continue };
        let name = if placement.slot == 0 { owner.to_string() } else { format!("{owner}/{}", placement.slot) };
        let memory_limit = view::template(&snapshot, owner, placement).map(|template| template.memory()).filter(|m| m.0 > 0);
        out.push(StatsView { name, server: placement.server.clone(), stats: *stats, memory_limit, at });
    }
    Json(out)
}
