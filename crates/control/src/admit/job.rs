//! Admission of jobs: made, scaled, upgraded, rolled back.

use super::{container, image, place};
use crate::commits;
use api::{
    Error, Name, Result, Snapshot, Target, Timestamp,
    image::{ImageRecord, normalise},
    spec::{ContainerSpec, JobRevision, JobSpec, PodTemplate},
    validate,
    view::{JobRequest, ScaleRequest, UpgradeRequest},
};
use std::sync::Arc;

/// Checks a new job and fills in what was left open.
pub fn create(snapshot: &Snapshot, request: JobRequest, now: Timestamp) -> Result<JobSpec> {
    let count = validate::count(request.count)?;
    let (template, base_name) = base(snapshot, &request)?;
    let name = request.name.map_or(base_name, Ok)?;
    let spec = JobSpec {
        name,
        count,
        template: Arc::new(template),
        revision: 1,
        history: Vec::new(),
        placement: request.placement,
        update: request.update,
        created: now,
    };
    validate::check(validate::job(&spec))?;
    free(snapshot, &spec.name, &request.base)?;
    for server in &spec.placement.servers {
        if !snapshot.servers.contains_key(server) {
            return Err(container::no_server(snapshot, server));
        }
    }
    fits(snapshot, &spec, now)?;
    Ok(spec)
}

/// No job has this name, and no container but the job's own base: the two share it, and the name's address is the job's.
fn free(snapshot: &Snapshot, name: &Name, base: &str) -> Result<()> {
    let own_base = name.as_str() == base && snapshot.containers.contains_key(name);
    if own_base && !snapshot.jobs.contains_key(name) && !snapshot.job_plans.contains_key(name) {
        return Ok(());
    }
    container::free(snapshot, name)
}

/// The template the job's base stands for: a container's, or one made of an image; with the request's changes.
fn base(snapshot: &Snapshot, request: &JobRequest) -> Result<(PodTemplate, Result<Name>)> {
    let lone = snapshot.containers.iter().find(|(name, _)| name.as_str() == request.base).map(|(_, spec)| spec);
    let mut template = match (&request.template, lone) {
        (Some(template), _) => template.clone(),
        (None, Some(spec)) => spec.template.as_ref().clone(),
        (None, None) => return Err(Error::usage("a job of an image needs a template")),
    };
    if let Some(spec) = lone {
        for (ours, theirs) in template.containers.iter_mut().zip(&spec.template.containers) {
            ours.image = theirs.image.clone();
        }
    } else if let Some(first) = template.containers.first_mut() {
        first.image = api::spec::ImageRef { name: request.base.clone(), digest: None };
    }
    image::resolve(snapshot, &mut template).map_err(|error| unknown_base(error, &request.base))?;
    Ok((template, job_name(&request.base)))
}

/// The container a job's base means, when an image can be made of it: a pod of one.
pub fn container(snapshot: &Snapshot, base: &str) -> Option<Target> {
    let (name, spec) = snapshot.containers.iter().find(|(name, _)| name.as_str() == base)?;
    let one = spec.template.containers.len() == 1;
    one.then(|| Target { server: None, name: name.clone(), slot: None })
}

/// The cluster as if the base were made of this image, which is the base as it stands.
pub fn committed(snapshot: &Snapshot, base: &str, image: &ImageRecord) -> Snapshot {
    let mut seen = snapshot.clone();
    seen.images.insert(image.name.clone(), Arc::new(image.clone()));
    let name = seen.containers.keys().find(|name| name.as_str() == base).cloned();
    if let Some(spec) = name.and_then(|name| seen.containers.get_mut(&name)) {
        let template = commits::with_image(&spec.template, image);
        *spec = Arc::new(ContainerSpec { template, ..spec.as_ref().clone() });
    }
    seen
}

fn unknown_base(error: Error, base: &str) -> Error {
    if error.kind == api::Kind::NotFound {
        Error { message: format!("no container and no image {base} in this cluster"), ..error }
    } else {
        error
    }
}

/// `registry:5000/team/web:1.2` gives `web`.
fn job_name(base: &str) -> Result<Name> {
    let last = base.split('@').next().unwrap_or(base).rsplit('/').next().unwrap_or(base);
    Name::parse("job", last.split(':').next().unwrap_or(last))
}

/// Ports are free and every instance finds a place.
fn fits(snapshot: &Snapshot, spec: &JobSpec, now: Timestamp) -> Result<()> {
    if let Some(first) = plan::port_conflicts(snapshot, &spec.template, &spec.name, plan::Reach::Everywhere).into_iter().next() {
        return Err(Error::conflict(first));
    }
    let mut trial = snapshot.clone();
    trial.jobs.insert(spec.name.clone(), Arc::new(spec.clone()));
    place(&trial, &spec.name, now).map(drop)
}

/// The job with its new count.
pub fn scale(snapshot: &Snapshot, spec: &JobSpec, request: &ScaleRequest, now: Timestamp) -> Result<JobSpec> {
    let wanted = if request.relative { i64::from(spec.count) + request.count } else { request.count };
    let count = validate::count(wanted)?;
    let mut fresh = JobSpec { count, ..spec.clone() };
    if let Some(group) = &request.group {
        fresh.placement.group = Some(group.clone());
    }
    validate::check(validate::job(&fresh))?;
    if count > spec.count {
        fits(snapshot, &fresh, now)?;
    }
    Ok(fresh)
}

/// The job with its new template, as the next revision.
pub fn upgrade(snapshot: &Snapshot, spec: &JobSpec, request: &UpgradeRequest, now: Timestamp) -> Result<JobSpec> {
    let in_force = plan::effective_revision(spec, snapshot.job_plans.get(&spec.name).map(AsRef::as_ref));
    let template = match request.rollback {
        Some(revision) => earlier(spec, revision, in_force)?,
        None => changed(snapshot, spec, request)?,
    };
    let mut fresh = spec.clone();
    if let Some(interval) = request.interval {
        fresh.update.interval = interval;
    }
    if request.parallel.is_some() {
        fresh.update.parallel = request.parallel;
    }
    let history = JobRevision { revision: spec.revision, template: Arc::clone(&spec.template), until: now };
    fresh.history.push(history);
    while fresh.history.len() > JobSpec::HISTORY_MAX {
        let oldest = fresh.history.iter().position(|old| old.revision != in_force).unwrap_or(0);
        fresh.history.remove(oldest);
    }
    fresh.revision += 1;
    fresh.template = Arc::new(template);
    validate::check(validate::job(&fresh))?;
    if let Some(first) = plan::port_conflicts(snapshot, &fresh.template, &fresh.name, plan::Reach::Everywhere).into_iter().next()
    {
        return Err(Error::conflict(first));
    }
    Ok(fresh)
}

/// The template of an earlier revision; 0 means the one in force before the present one.
fn earlier(spec: &JobSpec, revision: u32, in_force: u32) -> Result<PodTemplate> {
    let found = if revision == 0 {
        spec.history.iter().rev().find(|old| old.revision != in_force)
    } else {
        spec.history.iter().find(|old| old.revision == revision)
    };
    match found {
        Some(old) => Ok(old.template.as_ref().clone()),
        None if revision == 0 => Err(Error::not_found(format!("job {} has no earlier revision to go back to", spec.name))),
        None => {
            let known: Vec<_> = spec.history.iter().map(|old| old.revision.to_string()).collect();
            Err(Error::not_found(format!("job {} has no revision {revision}", spec.name)).detail(if known.is_empty() {
                "it has had no other".to_owned()
            } else {
                format!("revisions kept: {}", known.join(", "))
            }))
        }
    }
}

/// The present template with the request's changes, its images looked up afresh.
fn changed(snapshot: &Snapshot, spec: &JobSpec, request: &UpgradeRequest) -> Result<PodTemplate> {
    let mut template = spec.template.as_ref().clone();
    for container in &mut template.containers {
        if normalise(&container.image.name).is_ok_and(|name| snapshot.images.contains_key(&name)) {
            container.image.digest = None;
        }
    }
    if let Some(first) = template.containers.first_mut() {
        if let Some(image) = &request.image {
            first.image = api::spec::ImageRef { name: image.clone(), digest: None };
        }
        first.env.extend(request.env.clone());
        if let Some(command) = &request.command {
            first.command = Some(command.clone());
        }
        if let Some(limits) = &request.limits {
            first.limits = limits.clone();
        }
    }
    image::resolve(snapshot, &mut template)?;
    Ok(template)
}
