//! What people see, computed from a snapshot. Pure.

use api::{
    Name, Snapshot,
    plan::{JobPlan, Placement, Wanted},
    quantity::Bytes,
    report::{Health, InstanceReport, Phase},
    server::{Liveness, ServerSpec},
    spec::{ContainerSpec, JobSpec, PodTemplate, Power},
    view::{ContainerView, JobView, ServerView},
};
use std::sync::Arc;

/// Every container and instance.
pub fn containers(snapshot: &Snapshot) -> Vec<ContainerView> {
    let lone = snapshot.containers.values().map(|spec| container(snapshot, spec)).chain(leaving(snapshot));
    let jobs = snapshot.job_plans.iter().flat_map(|(name, plan)| instances(snapshot, name, plan));
    let mut all: Vec<_> = lone.chain(jobs).collect();
    all.sort_by(|a, b| (&a.job, a.slot, &a.name, a.id).cmp(&(&b.job, b.slot, &b.name, b.id)));
    all
}

/// Lone containers that were removed and are not gone yet: their names are not free before.
fn leaving(snapshot: &Snapshot) -> impl Iterator<Item = ContainerView> {
    let removed = snapshot.container_plans.iter().filter(|(name, _)| !snapshot.containers.contains_key(*name));
    removed.filter_map(|(name, plan)| {
        let mut view = ContainerView { name: name.to_string(), ..nothing() };
        placed(snapshot, &mut view, plan.placement.as_ref()?);
        view.state = "removing".to_owned();
        Some(view)
    })
}

/// A lone container.
pub fn container(snapshot: &Snapshot, spec: &ContainerSpec) -> ContainerView {
    let plan = snapshot.container_plans.get(&spec.name);
    let placement = plan.and_then(|plan| plan.placement.as_ref());
    let mut view = blank(spec.name.to_string(), &spec.template);
    view.server = spec.server.clone();
    match placement {
        Some(placement) => placed(snapshot, &mut view, placement),
        None => view.message = plan.map(|plan| plan.waiting.join("; ")).filter(|why| !why.is_empty()),
    }
    if spec.power == Power::Off && view.state != "unknown" && matches!(view.phase, None | Some(Phase::Exited)) {
        view.state = "stopped".to_owned();
    }
    view
}

/// A job's instances that are placed, by slot.
fn instances(snapshot: &Snapshot, job: &Name, plan: &JobPlan) -> Vec<ContainerView> {
    let spec = snapshot.jobs.get(job);
    let mut views: Vec<_> = plan.placements.iter().map(|placement| instance(snapshot, (job, spec), placement)).collect();
    views.sort_by_key(|view| (view.slot, view.id));
    views
}

fn instance(snapshot: &Snapshot, (job, spec): (&Name, Option<&Arc<JobSpec>>), placement: &Placement) -> ContainerView {
    let name = format!("{job}/{}", placement.slot);
    let template = spec.and_then(|spec| plan::template_of(spec, placement.revision));
    let mut view = match template {
        Some(template) => blank(name, template),
        None => ContainerView { name, ..nothing() },
    };
    view.job = Some(job.clone());
    view.slot = placement.slot;
    view.revision = placement.revision;
    placed(snapshot, &mut view, placement);
    view
}

fn nothing() -> ContainerView {
    ContainerView {
        name: String::new(),
        id: None,
        job: None,
        slot: 0,
        kind: Default::default(),
        image: String::new(),
        digest: None,
        server: None,
        address: None,
        state: "waiting".to_owned(),
        phase: None,
        wanted: None,
        health: None,
        message: None,
        last_lines: Vec::new(),
        pid: None,
        started: None,
        exit_code: None,
        restarts: 0,
        revision: 0,
        publish: Vec::new(),
        labels: Default::default(),
        limits: Default::default(),
        limits_in_force: None,
    }
}

fn blank(name: String, template: &PodTemplate) -> ContainerView {
    let mut view = ContainerView { name, publish: template.publish.clone(), labels: template.labels.clone(), ..nothing() };
    if let Some(first) = template.containers.first() {
        view.kind = first.kind;
        view.image = first.image.name.clone();
        view.digest = first.image.digest.clone();
        view.limits = first.limits.clone();
    }
    view
}

fn placed(snapshot: &Snapshot, view: &mut ContainerView, placement: &Placement) {
    view.id = Some(placement.id);
    view.server = Some(placement.server.clone());
    view.address = Some(placement.address);
    view.wanted = Some(placement.wanted);
    let report = snapshot.report_of(placement);
    if let Some(report) = report {
        view.phase = Some(report.phase);
        view.health = Some(report.health);
        view.message = report.message.clone();
        view.last_lines = report.last_lines.clone();
        view.pid = report.pid;
        view.started = report.started;
        view.exit_code = report.exit_code;
        view.restarts = report.restarts;
        view.limits_in_force = report.limits.first().cloned();
    }
    view.state = state(snapshot.liveness(&placement.server), placement.wanted, report).to_owned();
}

/// The one word for where an instance stands.
fn state(liveness: Liveness, wanted: Wanted, report: Option<&InstanceReport>) -> &'static str {
    if matches!(liveness, Liveness::Lost) {
        return "unknown";
    }
    let Some(report) = report else { return if wanted == Wanted::Stop { "stopping" } else { "placed" } };
    match (wanted, report.phase) {
        (Wanted::Drain, Phase::Running) => "draining",
        (_, Phase::Pending) => "pending",
        (_, Phase::Pulling) => "pulling",
        (_, Phase::Starting) => "starting",
        (_, Phase::Running) if report.health == Health::Unhealthy => "unhealthy",
        (_, Phase::Running) => "running",
        (_, Phase::Frozen) => "frozen",
        (_, Phase::BackOff) => "back-off",
        (_, Phase::Stopping) => "stopping",
        (_, Phase::Exited) => "exited",
        (_, Phase::Failed) => "failed",
    }
}

/// A job.
pub fn job(snapshot: &Snapshot, name: &Name) -> Option<JobView> {
    let plan = snapshot.job_plans.get(name);
    let instances = plan.map(|plan| instances(snapshot, name, plan)).unwrap_or_default();
    let (spec, deleting) = match snapshot.jobs.get(name) {
        Some(spec) => (spec.as_ref().clone(), false),
        None => return None,
    };
    let revision = plan::effective_revision(&spec, plan.map(AsRef::as_ref));
    let placements = plan.map(|plan| plan.placements.as_slice()).unwrap_or_default();
    let serving = |p: &&Placement| p.wanted == Wanted::Run && snapshot.serves(p);
    let healthy = placements.iter().filter(serving).filter(|p| p.revision == revision).count();
    let running = placements.iter().filter(serving).count();
    Some(JobView {
        spec,
        healthy: u32::try_from(healthy).unwrap_or(u32::MAX),
        running: u32::try_from(running).unwrap_or(u32::MAX),
        waiting: plan.map(|plan| plan.waiting.clone()).unwrap_or_default(),
        rollout: plan.and_then(|plan| plan.rollout.clone()),
        instances,
        deleting,
    })
}

/// A server.
pub fn server(snapshot: &Snapshot, spec: &ServerSpec) -> ServerView {
    let mut view = ServerView {
        spec: spec.clone(),
        liveness: snapshot.liveness(&spec.name),
        instances: 0,
        reserved_memory: Bytes(0),
        reserved_cpu: 0,
        usage: Default::default(),
        problems: Vec::new(),
    };
    if let Some(report) = snapshot.reports.get(&spec.name) {
        view.usage = report.usage.clone();
        view.problems = report.problems.clone();
    }
    for (owner, placement) in snapshot.placements().filter(|(_, p)| p.server == spec.name) {
        view.instances += 1;
        if let Some(template) = template(snapshot, owner, placement) {
            view.reserved_memory.0 += template.memory().0;
            view.reserved_cpu += template.cpu().0;
        }
    }
    view
}

/// The template a placement runs.
pub fn template<'a>(snapshot: &'a Snapshot, owner: &Name, placement: &Placement) -> Option<&'a Arc<PodTemplate>> {
    if placement.slot == 0 {
        snapshot.containers.get(owner).map(|spec| &spec.template)
    } else {
        snapshot.jobs.get(owner).and_then(|spec| plan::template_of(spec, placement.revision))
    }
}
