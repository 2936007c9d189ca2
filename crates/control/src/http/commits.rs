//! Images, clones and snapshots of containers as they stand.

use super::{
    Answer,
    containers::lone,
    images::{self, lines, no_progress},
    write::{Decision, Trying, change, planned, settled},
};
use crate::{
    Control, admit,
    commits::{self, Progress, Subject},
    world::World,
};
use api::{
    Error, Name, Result, Snapshot, Target, Timestamp,
    image::{ImageRecord, normalise},
    key, path,
    spec::{ContainerSpec, Power},
    view::{Changed, CloneRequest, CommitRequest, SnapshotRequest},
};
use axum::{
    Json, Router,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use std::sync::Arc;
use wire::server::{ApiError, Body};

pub fn routes() -> Router<Control> {
    let one = format!("{}/{{target}}", path::CONTAINERS);
    Router::new()
        .route(&format!("{one}/commit"), post(commit))
        .route(&format!("{one}/clone"), post(clone))
        .route(&format!("{one}/snapshots"), get(list).post(add))
        .route(&format!("{one}/snapshots/{{name}}"), delete(remove))
        .route(&format!("{one}/snapshots/{{name}}/restore"), post(restore))
}

fn now() -> Timestamp {
    Timestamp(base::env::now_millis())
}

fn image_key(image: &ImageRecord) -> String {
    format!("{}{}", key::IMAGES, image.name)
}

fn would(line: String) -> Response {
    Json(Changed { revision: 0, unchanged: false, summary: vec![line] }).into_response()
}

async fn commit(
    State(control): State<Control>,
    Path(target): Path<String>,
    Body(request): Body<CommitRequest>,
) -> Result<Response, ApiError> {
    let name = normalise(&request.image)?;
    let subject = commits::subject(&control.world.now().snapshot, &target.parse()?)?;
    if request.dry_run {
        return Ok(would(format!("make image {name} of {}", subject.name)));
    }
    Ok(lines(&control.clone(), |progress| async move {
        let _coming = images::coming(&control).await;
        let order = commits::order(&subject, None, request.pause);
        let image = commits::commit(&control, &subject, &order, &progress).await?;
        images::write(&control, ImageRecord { name, ..image }).await
    }))
}

/// The new container, before its image is there.
fn copy(subject: &Subject, request: &CloneRequest) -> ContainerSpec {
    let mut template = subject.template.as_ref().clone();
    // A port of a server leads to one container: the one that was there first.
    template.publish.clear();
    ContainerSpec {
        name: request.name.clone(),
        template: Arc::new(template),
        server: request.server.clone(),
        address: None,
        power: if request.start { Power::On } else { Power::Off },
        restarts: 0,
        avoid: Vec::new(),
        hosts: Vec::new(),
        remove_on_exit: false,
        created: now(),
    }
}

async fn clone(
    State(control): State<Control>,
    Path(target): Path<String>,
    Body(request): Body<CloneRequest>,
) -> Result<Response, ApiError> {
    let snapshot = settled(&control).await;
    let subject = commits::subject(&snapshot, &target.parse()?)?;
    // What cannot be is refused before anything is read.
    admit::container::create(&snapshot, copy(&subject, &request), now())?;
    if request.dry_run {
        return Ok(would(format!("make container {} of {} as it stands", request.name, subject.name)));
    }
    Ok(lines(&control.clone(), |progress| async move {
        let _coming = images::coming(&control).await;
        let image = commits::take(&control, &subject, request.pause, &progress).await?;
        let spec = copy(&subject, &request);
        let spec = ContainerSpec { template: commits::with_image(&spec.template, &image), ..spec };
        let made = change(&control, false, |world| {
            let spec = admit::container::create(&with(&world.snapshot, &image), spec.clone(), now())?;
            Decision::saying(format!("make container {}", spec.name)).put(world, image_key(&image), &image)?.put(
                world,
                key::of(key::CONTAINERS, &spec.name),
                &spec,
            )
        });
        made.await?;
        planned(&control, &request.name).await;
        Ok(image.clone())
    }))
}

/// The snapshot with one more image.
pub fn with(snapshot: &Snapshot, image: &ImageRecord) -> Snapshot {
    let mut more = snapshot.clone();
    more.images.insert(image.name.clone(), Arc::new(image.clone()));
    more
}

async fn list(State(control): State<Control>, Path(target): Path<String>) -> Answer<Vec<ImageRecord>> {
    let snapshot = control.world.now().snapshot;
    let target: Target = target.parse()?;
    let all = admit::snapshot::of(&snapshot, &target.name);
    if all.is_empty() && !snapshot.containers.contains_key(&target.name) {
        return Err(crate::proxy::no_container(&snapshot, &target).into());
    }
    Ok(Json(all.into_iter().map(|record| record.as_ref().clone()).collect()))
}

async fn add(
    State(control): State<Control>,
    Path(target): Path<String>,
    Body(request): Body<SnapshotRequest>,
) -> Result<Response, ApiError> {
    let world = control.world.now();
    let target: Target = target.parse()?;
    let container = lone(&world, &target)?.name.clone();
    let name = admit::snapshot::name(&world.snapshot, &container, request.name.as_deref())?;
    let subject = commits::subject(&world.snapshot, &target)?;
    if request.dry_run {
        return Ok(would(format!("make snapshot {name} of {container}")));
    }
    Ok(lines(&control.clone(), |progress| async move {
        let _coming = images::coming(&control).await;
        take_snapshot(&control, (&subject, &container, name.as_str()), request.pause, &progress).await
    }))
}

async fn take_snapshot(
    control: &Control,
    (subject, container, name): (&Subject, &Name, &str),
    pause: bool,
    progress: &Progress,
) -> Result<ImageRecord> {
    let image = commits::commit(control, subject, &commits::order(subject, Some(name), pause), progress).await?;
    let image = ImageRecord { name: commits::snapshot_name(container, name), ..image };
    let written = change(control, false, |world| {
        admit::snapshot::name(&world.snapshot, container, Some(name))?;
        Decision::saying(format!("make snapshot {name} of {container}")).put(world, image_key(&image), &image)
    });
    written.await.map(|_| image.clone())
}

async fn remove(
    State(control): State<Control>,
    Path((target, name)): Path<(String, String)>,
    Query(trying): Query<Trying>,
) -> Answer<Changed> {
    let target: Target = target.parse()?;
    let record = admit::snapshot::find(&control.world.now().snapshot, &target.name, &name)?.as_ref().clone();
    images::delete(&control, &record, trying).await
}

async fn restore(
    State(control): State<Control>,
    Path((target, name)): Path<(String, String)>,
    Query(trying): Query<Trying>,
) -> Answer<Changed> {
    let target: Target = target.parse()?;
    let changed =
        change(&control, trying.dry_run, |world: &World| {
            let spec = lone(world, &target)?;
            let found = admit::snapshot::find(&world.snapshot, &spec.name, &name)?;
            // A name of its own for the same content, so that the snapshot can be deleted while the container lives on it.
            let image = ImageRecord { name: commits::name_of(spec.name.as_str(), &found.digest), ..found.as_ref().clone() };
            let fresh = admit::snapshot::restored(&world.snapshot, &spec, &image, now())?;
            Decision::saying(format!("restore container {target} as it was at {name}"))
                .put(world, image_key(&image), &image)?
                .put(world, key::of(key::CONTAINERS, &spec.name), &fresh)
        });
    Ok(Json(changed.await?))
}

/// The cluster as it would be with the job's base committed: what the job is then made of is the base as it stands.
pub async fn committed(control: &Control, base: &Target) -> Result<ImageRecord> {
    let subject = commits::subject(&control.world.now().snapshot, base)?;
    commits::take(control, &subject, true, &no_progress()).await
}

/// Says what else can be done when the container a job was made of cannot be read.
pub fn explain(error: Error, job: &Name) -> Error {
    let hint = format!("or upgrade to an image: roost upgradejob {job} --image <image>");
    Error { message: format!("job {job} was made of a container, and {}", error.message), hint: Some(hint), ..error }
}
