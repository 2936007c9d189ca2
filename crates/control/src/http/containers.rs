//! Lone containers, and instances of jobs in the same list.

use super::{
    Answer,
    watch::{Watching, watch},
    write::{Decision, Removal, Trying, change, planned},
};
use crate::{Control, admit, proxy, view, world::World};
use api::{
    Error, Name, Snapshot, Target, Timestamp, key, path,
    report::Phase,
    spec::{ContainerSpec, Power},
    view::{Changed, ContainerRequest, ContainerView, LimitsRequest},
};
use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::Method,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;
use wire::server::{ApiError, Body};

pub fn routes() -> Router<Control> {
    let one = format!("{}/{{target}}", path::CONTAINERS);
    let verb = |verb: &str| format!("{one}/{verb}");
    Router::new()
        .route(path::CONTAINERS, get(list).post(create))
        .route(&one, get(show).delete(remove))
        .route(&verb("start"), post(|s, p, q| power(s, p, (q, Power::On))))
        .route(&verb("stop"), post(|s, p, q| power(s, p, (q, Power::Off))))
        .route(&verb("freeze"), post(|s, p, q| hold(s, p, (q, Power::Frozen))))
        .route(&verb("unfreeze"), post(|s, p, q| hold(s, p, (q, Power::On))))
        .route(&verb("restart"), post(restart))
        .route(&verb("rename"), post(rename))
        .route(&verb("publish"), post(publish))
        .route(&verb("limits"), post(limits))
}

async fn list(State(control): State<Control>, Query(query): Query<Watching>) -> Response {
    if query.watch {
        return watch(&control, |world| Some(view::containers(&world.snapshot)));
    }
    Json(view::containers(&control.world.now().snapshot)).into_response()
}

async fn show(
    State(control): State<Control>,
    Path(target): Path<String>,
    Query(query): Query<Watching>,
) -> Result<Response, ApiError> {
    let target: Target = target.parse()?;
    if query.watch {
        return Ok(watch(&control, move |world| find_view(&world.snapshot, &target).ok()));
    }
    Ok(Json(find_view(&control.world.now().snapshot, &target)?).into_response())
}

fn find_view(snapshot: &Snapshot, target: &Target) -> api::Result<ContainerView> {
    if let (Some(spec), None) = (snapshot.containers.get(&target.name), target.slot) {
        let view = view::container(snapshot, spec);
        if target.server.is_none() || target.server == view.server {
            return Ok(view);
        }
    }
    let (_, placement) = proxy::resolve(snapshot, target)?;
    let id = placement.id;
    let found = view::containers(snapshot).into_iter().find(|view| view.id == Some(id));
    found.ok_or_else(|| Error::not_found(format!("no container {target}")))
}

async fn create(State(control): State<Control>, Body(request): Body<ContainerRequest>) -> Answer<Changed> {
    let changed = change(&control, request.dry_run, |world| {
        let spec = admit::container::create(&world.snapshot, request.spec.clone(), Timestamp(base::env::now_millis()))?;
        Decision::saying(format!("make container {}", spec.name)).put(world, key::of(key::CONTAINERS, &spec.name), &spec)
    });
    let changed = changed.await?;
    if !request.dry_run {
        planned(&control, &request.spec.name).await;
    }
    Ok(Json(changed))
}

/// The container a target means, which must be a lone one to be changed by itself.
pub fn lone(world: &World, target: &Target) -> api::Result<Arc<ContainerSpec>> {
    let snapshot = &world.snapshot;
    let Some(spec) = snapshot.containers.get(&target.name).filter(|_| target.slot.is_none()) else {
        if snapshot.jobs.contains_key(&target.name) {
            let name = &target.name;
            let error = Error::usage(format!("{target} belongs to job {name}, which would only replace it"));
            return Err(error.hint(format!("change the job: roost job scale {name} <count>, or roost job delete {name}")));
        }
        return Err(proxy::no_container(snapshot, target));
    };
    if let Some(server) = &target.server {
        let plan = snapshot.container_plans.get(&target.name);
        let at = plan.and_then(|plan| plan.placement.as_ref()).map(|placement| &placement.server).or(spec.server.as_ref());
        if at != Some(server) {
            admit::container::present(snapshot, server)
                .or_else(|error| if error.kind == api::Kind::NotFound { Err(error) } else { Ok(()) })?;
            return Err(proxy::no_container(snapshot, target));
        }
    }
    Ok(Arc::clone(spec))
}

async fn update(
    control: &Control,
    target: &str,
    (what, trying): (&str, Trying),
    edit: impl Fn(&mut ContainerSpec) -> api::Result<()>,
) -> Answer<Changed> {
    let target: Target = target.parse()?;
    let changed = change(control, trying.dry_run, |world| {
        let spec = lone(world, &target)?;
        let mut fresh = spec.as_ref().clone();
        edit(&mut fresh)?;
        if fresh == *spec {
            return Ok(Decision::unchanged(format!("container {target} needs no change")));
        }
        Decision::saying(format!("{what} container {target}")).put(world, key::of(key::CONTAINERS, &spec.name), &fresh)
    });
    Ok(Json(changed.await?))
}

async fn power(
    State(control): State<Control>,
    Path(target): Path<String>,
    (Query(trying), power): (Query<Trying>, Power),
) -> Answer<Changed> {
    // A container whose program ended by itself is wanted on already; starting it again is a restart.
    let world = control.world.now();
    let parsed: Target = target.parse()?;
    let ended = find_view(&world.snapshot, &parsed)
        .is_ok_and(|view| matches!(view.phase, Some(Phase::Exited | Phase::Failed | Phase::BackOff)));
    let what = match power {
        Power::On => "start",
        Power::Off => "stop",
        Power::Frozen => "freeze",
    };
    update(&control, &target, (what, trying), |spec| {
        if power == Power::On && spec.power == Power::On && ended {
            spec.restarts += 1;
        }
        spec.power = power;
        Ok(())
    })
    .await
}

/// Holding still and letting go on is for what is up: neither starts anything, as in docker.
async fn hold(
    State(control): State<Control>,
    Path(target): Path<String>,
    (query, to): (Query<Trying>, Power),
) -> Answer<Changed> {
    let parsed: Target = target.parse()?;
    let snapshot = control.world.now().snapshot;
    let down = |view: &ContainerView| view.state == "stopped" || matches!(view.phase, Some(Phase::Exited | Phase::Failed));
    if find_view(&snapshot, &parsed).is_ok_and(|view| down(&view)) {
        let error = Error::conflict(format!("container {target} does not run"));
        return Err(error.hint(format!("start it: roost start {target}")).into());
    }
    power(State(control), Path(target), (query, to)).await
}

async fn restart(State(control): State<Control>, Path(target): Path<String>, Query(trying): Query<Trying>) -> Answer<Changed> {
    update(&control, &target, ("restart", trying), |spec| {
        spec.power = Power::On;
        spec.restarts += 1;
        Ok(())
    })
    .await
}

/// Changes what a container may use. Its server makes it so while it runs.
async fn limits(
    State(control): State<Control>,
    Path(target): Path<String>,
    Query(trying): Query<Trying>,
    Body(request): Body<LimitsRequest>,
) -> Answer<Changed> {
    let target: Target = target.parse()?;
    let changed = change(&control, trying.dry_run, |world| {
        let spec = lone(world, &target)?;
        let now = Timestamp(base::env::now_millis());
        let fresh = admit::container::limits(&world.snapshot, &spec, &request, now)?;
        if fresh == *spec {
            return Ok(Decision::unchanged(format!("container {target} has these limits already")));
        }
        Decision::saying(format!("change the limits of container {target}")).put(
            world,
            key::of(key::CONTAINERS, &spec.name),
            &fresh,
        )
    });
    Ok(Json(changed.await?))
}

/// Give a container another name.
#[derive(Deserialize, JsonSchema)]
pub struct Renaming {
    /// The new name.
    to: Name,
}

async fn rename(
    State(control): State<Control>,
    Path(target): Path<String>,
    Query(trying): Query<Trying>,
    Body(request): Body<Renaming>,
) -> Answer<Changed> {
    let target: Target = target.parse()?;
    let changed = change(&control, trying.dry_run, |world| {
        let spec = lone(world, &target)?;
        admit::container::free(&world.snapshot, &request.to)?;
        let fresh = ContainerSpec { name: request.to.clone(), ..spec.as_ref().clone() };
        let decision = Decision::saying(format!("rename container {} to {}", spec.name, fresh.name))
            .delete(world, key::of(key::CONTAINERS, &spec.name))
            .put(world, key::of(key::CONTAINERS, &fresh.name), &fresh)?;
        match world.snapshot.container_plans.get(&spec.name) {
            Some(plan) => decision.delete(world, key::of(key::CONTAINER_PLANS, &spec.name)).put(
                world,
                key::of(key::CONTAINER_PLANS, &fresh.name),
                plan.as_ref(),
            ),
            None => Ok(decision),
        }
    });
    Ok(Json(changed.await?))
}

/// Publish a port of a container, or publish it no longer.
#[derive(Deserialize, JsonSchema)]
pub struct Publishing {
    /// The port.
    port: api::spec::PublishedPort,
    /// Publish it no longer.
    #[serde(default)]
    remove: bool,
}

async fn publish(
    State(control): State<Control>,
    Path(target): Path<String>,
    Query(trying): Query<Trying>,
    Body(request): Body<Publishing>,
) -> Answer<Changed> {
    let snapshot = control.world.now().snapshot;
    let (port, remove) = (request.port, request.remove);
    let what = if remove { "unpublish a port of" } else { "publish a port of" };
    update(&control, &target, (what, trying), |spec| {
        let mut template = spec.template.as_ref().clone();
        if remove {
            let before = template.publish.len();
            template.publish.retain(|p| p.host != port.host || p.protocol != port.protocol);
            if template.publish.len() == before {
                return Err(Error::not_found(format!("port {} does not lead to {}", port.host, spec.name)));
            }
        } else if !template.publish.contains(&port) {
            template.publish.push(port);
            api::validate::check(api::validate::pod(&template))?;
            let at = snapshot.container_plans.get(&spec.name).and_then(|plan| plan.placement.as_ref()).map(|p| &p.server);
            if let Some(first) = plan::port_conflicts(&snapshot, &template, &spec.name, plan::Reach::On(at)).into_iter().next() {
                return Err(Error::conflict(first));
            }
        }
        spec.template = Arc::new(template);
        Ok(())
    })
    .await
}

/// How long a forced removal waits for the server's word that the signal was sent.
const KILL: std::time::Duration = std::time::Duration::from_secs(2);

async fn remove(State(control): State<Control>, Path(target): Path<String>, Query(query): Query<Removal>) -> Answer<Changed> {
    let target: Target = target.parse()?;
    let before = find_view(&control.world.now().snapshot, &target).ok();
    let changed = change(&control, query.dry_run, |world| {
        let spec = lone(world, &target)?;
        let running = find_view(&world.snapshot, &target).is_ok_and(|view| view.phase == Some(api::report::Phase::Running));
        if running && !query.force {
            return Err(Error::conflict(format!("container {target} is running"))
                .hint(format!("stop it first, or: roost rm -f {target}")));
        }
        Ok(Decision::saying(format!("remove container {target}")).delete(world, key::of(key::CONTAINERS, &spec.name)))
    });
    let changed = changed.await?;
    if let Some(view) = before.filter(|_| query.force && !query.dry_run) {
        kill(&control, &view).await;
    }
    Ok(Json(changed))
}

/// Who forces a removal does not wait for a program that is deaf to the request to stop. One that cannot be reached now gets that
/// request from its agent, with its grace, as soon as that hears of the removal.
async fn kill(control: &Control, view: &ContainerView) {
    let (Some(id), Some(server)) = (view.id, view.server.as_ref()) else { return };
    let snapshot = control.world.now().snapshot;
    let Some(client) = snapshot.servers.get(server).and_then(|server| control.agents.client(server).ok()) else { return };
    let signal = format!("{}/{id}/signal/{}", path::INSTANCES, super::streams::SIGKILL);
    if let Err(error) = client.within(KILL).send::<(), serde::de::IgnoredAny>(Method::POST, &signal, &()).await {
        tracing::debug!(%server, %id, %error, "kill");
    }
}
