//! Jobs.

use super::{
    Answer, commits, images,
    watch::{Watching, watch},
    write::{Decision, Trying, change, settled},
};
use crate::{Control, admit, view};
use api::{
    Error, Name, Timestamp,
    image::ImageRecord,
    key, path,
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
    let snapshot = settled(&control).await;
    // What cannot be is refused before anything is read.
    admit::job::create(&snapshot, request.clone(), now())?;
    let _coming = images::coming(&control).await;
    let base = admit::job::container(&snapshot, &request.base).filter(|_| !request.dry_run);
    let image = match base {
        Some(base) => Some(commits::committed(&control, &base).await?),
        None => None,
    };
    let changed = change(&control, request.dry_run, |world| {
        let seen = image.as_ref().map(|image| admit::job::committed(&world.snapshot, &request.base, image));
        let spec = admit::job::create(seen.as_ref().unwrap_or(&world.snapshot), request.clone(), now())?;
        let decision = Decision::saying(format!("make job {} of {} instances", spec.name, spec.count));
        with_image(decision, world, image.as_ref())?.put(world, key::of(key::JOBS, &spec.name), &spec)
    });
    Ok(Json(changed.await?))
}

/// The image is named in the same commit as what needs it.
fn with_image(decision: Decision, world: &crate::world::World, image: Option<&ImageRecord>) -> api::Result<Decision> {
    match image {
        Some(image) => decision.put(world, format!("{}{}", key::IMAGES, image.name), image),
        None => Ok(decision),
    }
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
    let _coming = images::coming(&control).await;
    let image = afresh(&control, &name, &request).await?;
    let asked = UpgradeRequest { image: image.as_ref().map(|image| image.name.clone()).or(request.image), ..request };
    let changed = change(&control, asked.dry_run, |world| {
        let spec = find(&world.snapshot, &name)?;
        let seen = image.as_ref().map(|image| commits::with(&world.snapshot, image));
        let fresh = admit::job::upgrade(seen.as_ref().unwrap_or(&world.snapshot), spec, &asked, now())?;
        let decision = Decision::saying(format!("upgrade job {name} to revision {}", fresh.revision));
        with_image(decision, world, image.as_ref())?.put(world, key::of(key::JOBS, &name), &fresh)
    });
    Ok(Json(changed.await?))
}

/// A job that was made of a container is made of it afresh, as it stands now, unless another image or an earlier revision is
/// asked for.
async fn afresh(control: &Control, name: &Name, request: &UpgradeRequest) -> api::Result<Option<ImageRecord>> {
    if request.image.is_some() || request.rollback.is_some() || request.dry_run {
        return Ok(None);
    }
    let snapshot = settled(control).await;
    let spec = find(&snapshot, name)?;
    let Some(base) = crate::commits::base_of(&snapshot, &spec.template) else { return Ok(None) };
    let other = !request.env.is_empty() || request.command.is_some() || request.limits.is_some();
    // Alone, its name could also mean the job that was made of it.
    let there = base.slot.is_some() || snapshot.containers.contains_key(&base.name);
    let subject = match there {
        true => crate::commits::subject(&snapshot, &base),
        false => Err(Error::not_found(format!("no container {base}"))),
    };
    match subject {
        // Its base is gone, and something else is wanted: the image stays.
        Err(error) if error.kind == api::Kind::NotFound && other => return Ok(None),
        outcome => outcome.map_err(|error| commits::explain(error, name))?,
    };
    // What cannot be is refused before anything is read.
    admit::job::upgrade(&snapshot, spec, request, now())?;
    commits::committed(control, &base).await.map(Some).map_err(|error| commits::explain(error, name))
}

async fn delete(State(control): State<Control>, Path(name): Path<Name>, Query(trying): Query<Trying>) -> Answer<Changed> {
    let changed = change(&control, trying.dry_run, |world| {
        find(&world.snapshot, &name)?;
        Ok(Decision::saying(format!("delete job {name}")).delete(world, key::of(key::JOBS, &name)))
    });
    Ok(Json(changed.await?))
}
