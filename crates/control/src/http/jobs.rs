//! Jobs.

use super::{
    Answer,
    watch::{Watching, watch},
    write::{Decision, Trying, change},
};
use crate::{Control, admit, view};
use api::{
    Error, Name, Timestamp, key, path,
    spec::JobSpec,
    view::{Changed, JobRequest, JobView, ScaleRequest, UpgradeRequest},
};
use axum::{
    Json, Router,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use std::sync::Arc;
use wire::server::{ApiError, Body};

pub fn routes() -> Router<Control> {
    let one = format!("{}/{{name}}", path::JOBS);
    Router::new()
        .route(path::JOBS, get(list).post(create))
        .route(&one, get(show).delete(delete))
        .route(&format!("{one}/scale"), post(scale))
        .route(&format!("{one}/upgrade"), post(upgrade))
}

fn now() -> Timestamp {
    Timestamp(base::env::now_millis())
}

async fn list(State(control): State<Control>, Query(query): Query<Watching>) -> Response {
    let all = |world: &crate::world::World| -> Vec<JobView> {
        world.snapshot.jobs.keys().filter_map(|name| view::job(&world.snapshot, name)).collect()
    };
    if query.watch {
        return watch(&control, move |world| Some(all(world)));
    }
    Json(all(&control.world.now())).into_response()
}

async fn show(State(control): State<Control>, Path(name): Path<Name>, Query(query): Query<Watching>) -> Response {
    if query.watch {
        return watch(&control, move |world| view::job(&world.snapshot, &name));
    }
    let snapshot = control.world.now().snapshot;
    match view::job(&snapshot, &name) {
        Some(job) => Json(job).into_response(),
        None => ApiError(no_job(&snapshot, &name)).into_response(),
    }
}

/// The error for a job that is not there, with the ones that are.
pub fn no_job(snapshot: &api::Snapshot, name: &Name) -> Error {
    let known: Vec<_> = snapshot.jobs.keys().take(10).map(Name::as_str).collect();
    let error = Error::not_found(format!("no job {name}"));
    if known.is_empty() { error } else { error.hint(format!("did you mean {}?", known.join(", "))) }
}

fn find<'a>(snapshot: &'a api::Snapshot, name: &Name) -> api::Result<&'a Arc<JobSpec>> {
    snapshot.jobs.get(name).ok_or_else(|| no_job(snapshot, name))
}

async fn create(State(control): State<Control>, Body(request): Body<JobRequest>) -> Answer<Changed> {
    let dry_run = request.dry_run;
    let changed = change(&control, dry_run, |world| {
        let spec = admit::job::create(&world.snapshot, request.clone(), now())?;
        Decision::saying(format!("make job {} of {} instances", spec.name, spec.count)).put(
            world,
            key::of(key::JOBS, &spec.name),
            &spec,
        )
    });
    Ok(Json(changed.await?))
}

async fn scale(State(control): State<Control>, Path(name): Path<Name>, Body(request): Body<ScaleRequest>) -> Answer<Changed> {
    let changed = change(&control, request.dry_run, |world| {
        let spec = find(&world.snapshot, &name)?;
        let fresh = admit::job::scale(&world.snapshot, spec, &request, now())?;
        if fresh == **spec {
            return Ok(Decision::unchanged(format!("job {name} has {} instances", spec.count)));
        }
        Decision::saying(format!("scale job {name} from {} to {}", spec.count, fresh.count)).put(
            world,
            key::of(key::JOBS, &name),
            &fresh,
        )
    });
    Ok(Json(changed.await?))
}

async fn upgrade(State(control): State<Control>, Path(name): Path<Name>, Body(request): Body<UpgradeRequest>) -> Answer<Changed> {
    let changed = change(&control, request.dry_run, |world| {
        let spec = find(&world.snapshot, &name)?;
        let fresh = admit::job::upgrade(&world.snapshot, spec, &request, now())?;
        Decision::saying(format!("upgrade job {name} to revision {}", fresh.revision)).put(
            world,
            key::of(key::JOBS, &name),
            &fresh,
        )
    });
    Ok(Json(changed.await?))
}

async fn delete(State(control): State<Control>, Path(name): Path<Name>, Query(trying): Query<Trying>) -> Answer<Changed> {
    let changed = change(&control, trying.dry_run, |world| {
        find(&world.snapshot, &name)?;
        Ok(Decision::saying(format!("delete job {name}")).delete(world, key::of(key::JOBS, &name)))
    });
    Ok(Json(changed.await?))
}
