//! Why something is as it is, in words: for `roost why`.

use crate::{
    container, job,
    job::Groups,
    look::{Look, Sight},
    propose::{Drafts, fleet},
    schedule::summary,
    template::effective_revision,
};
use api::{
    Error, Name, Result, Snapshot, Target, Timestamp,
    plan::{JobPlan, Placement, RolloutState, Wanted},
    report::{InstanceReport, Phase},
    server::Liveness,
    spec::{ContainerSpec, JobSpec},
    view::Why,
};

/// Explains a container, a job, one instance of a job (there or missing), or a server. Fails with `NotFound` when there is no
/// such thing.
pub fn why(snapshot: &Snapshot, target: &Target, now: Timestamp) -> Result<Why> {
    let look = Look::new(snapshot, now);
    if let Some(server) = target.server.as_ref().filter(|server| look.index(server).is_none()) {
        return Err(no_server(snapshot, server));
    }
    let name = &target.name;
    match (snapshot.jobs.get(name), snapshot.containers.get(name), look.index(name), target.slot) {
        (Some(spec), _, _, Some(slot)) => Ok(instance(&look, spec, slot)),
        (Some(spec), _, _, None) => Ok(whole_job(&look, spec)),
        (None, Some(spec), _, None) => here(&look, spec, target),
        (None, None, Some(index), None) => Ok(server(&look, index)),
        (None, Some(_), _, Some(_)) => {
            Err(Error::not_found(format!("{name} is a container, not a job: it has no instance {target}")))
        }
        _ => Err(unknown(snapshot, name)),
    }
}

fn no_server(snapshot: &Snapshot, server: &Name) -> Error {
    let names: Vec<&str> = snapshot.servers.keys().map(Name::as_str).take(8).collect();
    Error::not_found(format!("no server {server} (did you mean {}?)", names.join(", ")))
}

fn unknown(snapshot: &Snapshot, name: &Name) -> Error {
    if snapshot.job_plans.contains_key(name) || snapshot.container_plans.contains_key(name) {
        return Error::not_found(format!("{name} was removed; its last instances are going"));
    }
    Error::not_found(format!("no container, job or server {name}")).hint("see: roost ls")
}

fn plan_of(snapshot: &Snapshot, job: &Name) -> JobPlan {
    snapshot.job_plans.get(job).map(|plan| plan.as_ref().clone()).unwrap_or_default()
}

/// One instance of a job.
fn instance(look: &Look<'_>, spec: &JobSpec, slot: u32) -> Why {
    let display = format!("{}/{slot}", spec.name);
    let plan = plan_of(look.snapshot, &spec.name);
    let own: Vec<&Placement> = plan.placements.iter().filter(|placement| placement.slot == slot).collect();
    let newest = |wanted: &dyn Fn(Wanted) -> bool| own.iter().filter(|one| wanted(one.wanted)).max_by_key(|one| one.id).copied();
    if slot > spec.count {
        return beyond(look, spec, (&display, slot), newest(&|_| true));
    }
    let waits = plan.waiting.iter().any(|waiting| waiting.slot == slot);
    match newest(&|wanted| wanted == Wanted::Run).filter(|_| !waits) {
        Some(one) => {
            let mut why = placed(look, &display, one);
            why.facts.extend(own.iter().filter(|other| other.id != one.id).map(|other| beside(look, other)));
            why.facts.extend(leaving_facts(look, spec, &plan, one));
            why.facts.extend(rollout_fact(spec, &plan));
            why
        }
        None => waiting(look, spec, &plan, (&display, slot)),
    }
}

fn beyond(look: &Look<'_>, spec: &JobSpec, what: (&str, u32), last: Option<&Placement>) -> Why {
    let ((display, slot), name, count) = (what, &spec.name, spec.count);
    let answer = match last {
        Some(_) => format!("{display} is leaving: job {name} asks for {count}"),
        None => format!("{display} does not exist: job {name} asks for {count}"),
    };
    let facts = last.map(|last| beside(look, last)).into_iter().collect();
    Why { answer, facts, fix: Some(format!("roost job scale {name} {slot}")) }
}

/// An instance that waits: for its pause after a failure, for its turn, or for a place.
fn waiting(look: &Look<'_>, spec: &JobSpec, plan: &JobPlan, what: (&str, u32)) -> Why {
    let (display, slot) = what;
    let mut facts: Vec<String> =
        plan.placements.iter().filter(|placement| placement.slot == slot).map(|placement| beside(look, placement)).collect();
    facts.extend(rollout_fact(spec, plan));
    let failures = plan.failures.iter().find(|failures| failures.slot == slot);
    if let Some(failures) = failures.filter(|failures| look.now < job::retry_at(failures)) {
        let next = job::retry_at(failures).since(look.now);
        let answer = format!("{display} is waiting: it failed {}, next try in {next}", times(failures.count));
        return Why { answer, facts, fix: Some(format!("roost logs {display}")) };
    }
    let groups = Groups::of(look);
    let reasons = job::reasons((look, &fleet(look, &Drafts::default(), 0)), &groups, spec, plan);
    if reasons.is_empty() || reasons.len() == look.servers.len() && reasons.iter().all(String::is_empty) {
        return Why { answer: format!("{display} is about to be placed"), facts, fix: None };
    }
    crowded(look, spec, display, &reasons).unwrap_or_else(|(answer, fix)| Why { answer, facts: [reasons, facts].concat(), fix })
}

/// The sentence for a job that `per_server` holds back; else the general one.
fn crowded(
    look: &Look<'_>,
    spec: &JobSpec,
    display: &str,
    reasons: &[String],
) -> std::result::Result<Why, (String, Option<String>)> {
    let up = look.servers.iter().filter(|server| server.liveness == Liveness::Alive && !server.spec.draining).count();
    let (name, count) = (&spec.name, spec.count);
    let limit = spec.placement.per_server.filter(|most| u64::from(*most) * (up as u64) < u64::from(count));
    let Some(most) = limit else {
        let answer = format!("{display} is waiting: {}", summary(reasons));
        return Err((answer, fix_for(reasons)));
    };
    let servers = if up == 1 { "1 server is up".to_owned() } else { format!("{up} servers are up") };
    let answer =
        format!("{display} is waiting: job {name} asks for {count}, at most {most} per server (-r {most}), and {servers}");
    let enough = count.div_ceil(u32::try_from(up).unwrap_or(u32::MAX).max(1));
    let fix = format!("roost job set {name} --per-server {enough}, or add a server: roost server add");
    Ok(Why { answer, facts: reasons.to_vec(), fix: Some(fix) })
}

/// What to do about the most frequent reason.
fn fix_for(reasons: &[String]) -> Option<String> {
    let says = |what: &str| reasons.iter().any(|reason| reason.contains(what));
    if says("tried again after") {
        return None;
    }
    if says("not enough memory") {
        return Some("try a smaller --memory, or add a server: roost server add".to_owned());
    }
    if says("not enough cpu") {
        return Some("try a smaller --cpu, or add a server: roost server add".to_owned());
    }
    if says("draining") {
        return Some("roost undrain a server, or add one: roost server add".to_owned());
    }
    Some("add a server: roost server add".to_owned())
}

fn times(count: u32) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times in a row") }
}

/// An instance that is placed and shall run.
fn placed(look: &Look<'_>, display: &str, one: &Placement) -> Why {
    let (server, address) = (&one.server, one.address);
    let report = look.report(one);
    let state = match (look.sight(one), report) {
        (Sight::NoServer, _) => format!("was on {server}, which is no longer in the cluster"),
        (Sight::Lost, _) => format!("is on {server}, which is lost: nobody knows how it is"),
        (Sight::Serving, _) => format!("runs on {server} at {address}, healthy"),
        (Sight::Unhealthy, _) => format!("runs on {server} at {address}, unhealthy"),
        (Sight::Ended, Some(report)) => format!("{} on {server}", ended(report)),
        (_, Some(report)) => format!("{} on {server} at {address}", phase_words(report)),
        (_, None) => format!("is placed on {server} at {address}, and its agent has not begun it yet"),
    };
    let mut facts = vec![format!("placed {} ago: {}", look.now.since(one.placed), one.reason)];
    facts.extend(report.and_then(|report| report.message.clone()));
    facts.extend(report.into_iter().flat_map(|report| report.last_lines.iter().cloned()));
    facts.extend(server_fact(look, server));
    Why { answer: format!("{display} {state}"), facts, fix: None }
}

fn ended(report: &InstanceReport) -> String {
    let how = if report.phase == Phase::Failed { "failed" } else { "has ended" };
    report.exit_code.map_or_else(|| how.to_owned(), |code| format!("{how} with exit code {code}"))
}

fn phase_words(report: &InstanceReport) -> &'static str {
    match report.phase {
        Phase::Pending => "waits for its turn",
        Phase::Pulling => "is fetching its image",
        Phase::Starting => "is starting",
        Phase::Running => "runs, and its first checks are not through,",
        Phase::Frozen => "is frozen",
        Phase::BackOff => "ended and will be started again after a pause",
        Phase::Stopping => "is being stopped",
        Phase::Exited => "has ended",
        Phase::Failed => "failed",
    }
}

fn server_fact(look: &Look<'_>, server: &Name) -> Option<String> {
    let seen = look.server(server)?;
    match seen.liveness {
        Liveness::Lost => Some(format!("{server} is lost")),
        Liveness::AgentAway => Some(format!("{server}: its agent is silent, its machine answers; nothing is moved for a while")),
        Liveness::Unknown => Some(format!("{server} has not been heard of since the control plane started")),
        Liveness::Alive => seen.spec.draining.then(|| format!("{server} is draining")),
    }
}

/// Another instance of the same slot.
fn beside(look: &Look<'_>, other: &Placement) -> String {
    let what = match (other.wanted, look.sight(other)) {
        (Wanted::Run, Sight::Lost) => "stays planned until there is another place for it",
        (Wanted::Run, _) => "runs until its replacement serves",
        (Wanted::Drain, _) => "is out of names and routes and waits for its last connections",
        (Wanted::Stop, _) => "is being stopped and removed",
    };
    format!("instance {} on {} at {} (revision {}) {what}", other.id, other.server, other.address, other.revision)
}

/// Why an instance that should leave its server is still there.
fn leaving_facts(look: &Look<'_>, spec: &JobSpec, plan: &JobPlan, one: &Placement) -> Vec<String> {
    let groups = Groups::of(look);
    let Some(cause) = job::misplaced(look, &groups, spec, one) else { return Vec::new() };
    let reasons = job::reasons((look, &fleet(look, &Drafts::default(), 0)), &groups, spec, plan);
    vec![format!("it has to leave ({cause}) and stays until there is another place: {}", summary(&reasons))]
}

fn rollout_fact(spec: &JobSpec, plan: &JobPlan) -> Option<String> {
    let rollout = plan.rollout.as_ref().filter(|rollout| rollout.to == spec.revision)?;
    let because = rollout.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
    match rollout.state {
        RolloutState::Done => None,
        RolloutState::Running => Some(format!("an upgrade from revision {} to {} is under way", rollout.from, rollout.to)),
        RolloutState::RollingBack => {
            Some(format!("revision {} failed, {} is being brought back{because}", rollout.to, rollout.from))
        }
        RolloutState::RolledBack => Some(format!("revision {} failed, {} runs again{because}", rollout.to, rollout.from)),
    }
}

fn whole_job(look: &Look<'_>, spec: &JobSpec) -> Why {
    let plan = plan_of(look.snapshot, &spec.name);
    let healthy = crate::names::serving(look, &plan).len();
    let (name, count) = (&spec.name, spec.count);
    let revision = effective_revision(spec, Some(&plan));
    let mut facts: Vec<String> = rollout_fact(spec, &plan).into_iter().collect();
    let mut told = std::collections::BTreeMap::<String, Vec<u32>>::new();
    for waiting in &plan.waiting {
        told.entry(summary(&waiting.reasons)).or_default().push(waiting.slot);
    }
    facts.extend(told.iter().map(|(reasons, slots)| format!("{} waiting: {reasons}", some(name, slots))));
    let bad = |one: &&Placement| one.wanted == Wanted::Run && !matches!(look.sight(one), Sight::Serving | Sight::Lost);
    let bad = plan.placements.iter().filter(bad).take(FACTS_MAX);
    facts.extend(bad.map(|one| placed(look, &format!("{name}/{}", one.slot), one).answer));
    let fix = plan.waiting.first().and_then(|waiting| fix_for(&waiting.reasons));
    Why { answer: format!("{name} has {healthy} of {count} instances healthy, on revision {revision}"), facts, fix }
}

/// Instances named one by one in an answer.
const FACTS_MAX: usize = 10;

fn some_instances(count: u32) -> String {
    if count == 1 { "1 instance".to_owned() } else { format!("{count} instances") }
}

fn some(name: &Name, slots: &[u32]) -> String {
    let named: Vec<String> = slots.iter().take(FACTS_MAX).map(|slot| format!("{name}/{slot}")).collect();
    let more = slots.len() - named.len();
    if more > 0 { format!("{} and {more} more", named.join(", ")) } else { named.join(", ") }
}

fn here(look: &Look<'_>, spec: &ContainerSpec, target: &Target) -> Result<Why> {
    let plan = look.snapshot.container_plans.get(&spec.name);
    let one = plan.and_then(|plan| plan.placement.as_ref());
    if let (Some(asked), Some(one)) = (&target.server, one.filter(|one| Some(&one.server) != target.server.as_ref())) {
        return Err(Error::not_found(format!("{} is on {}, not on {asked}", spec.name, one.server)));
    }
    Ok(lone(look, spec, one))
}

fn lone(look: &Look<'_>, spec: &ContainerSpec, one: Option<&Placement>) -> Why {
    let name = &spec.name;
    let Some(one) = one.filter(|one| one.wanted == Wanted::Run) else {
        let reasons = match one {
            Some(old) => vec![format!("its predecessor of the same name is still being removed on {}", old.server)],
            None => container::reasons(look, &fleet(look, &Drafts::default(), 0), spec),
        };
        if reasons.is_empty() {
            return Why { answer: format!("{name} is about to be placed"), facts: Vec::new(), fix: None };
        }
        return Why { answer: format!("{name} is waiting: {}", summary(&reasons)), fix: fix_for(&reasons), facts: reasons };
    };
    let mut why = placed(look, name.as_str(), one);
    let moved = look.server(&one.server).is_some_and(|server| server.spec.draining || server.liveness == Liveness::Lost);
    if moved {
        why.facts.push(format!("{name} is a container of its own: it keeps its place and its files, and is not moved by itself"));
        why.fix = Some(format!("make it a job, which is: roost job add {name} 1"));
    }
    why
}

fn server(look: &Look<'_>, index: usize) -> Why {
    let seen = &look.servers[index];
    let name = &seen.spec.name;
    let fleet = fleet(look, &Drafts::default(), 0);
    let host = &fleet.hosts[index];
    let lone = crate::routes::lone(look.snapshot).filter(|(_, one)| one.server == *name).count();
    let state = match (seen.liveness, seen.spec.draining) {
        (Liveness::Alive, false) => "is up".to_owned(),
        (Liveness::Alive, true) => format!("is draining: {} still there", some_instances(host.instances)),
        (Liveness::Lost, _) => "is lost: nothing was heard of it, and its instances are replaced elsewhere".to_owned(),
        (Liveness::AgentAway, _) => {
            "has a silent agent on a machine that answers: it keeps what it has and gets nothing new".to_owned()
        }
        (Liveness::Unknown, _) => {
            "has not been heard of since the control plane started: nothing is decided about it yet".to_owned()
        }
    };
    let facts = &seen.spec.facts;
    let mut lines = vec![
        format!("{} placed", some_instances(host.instances)),
        format!("{} of {} reserved", api::Bytes(host.reserved.memory), facts.memory),
        format!("{} of {} cores reserved", api::Cpu(host.reserved.cpu), facts.cpu),
    ];
    if lone > 0 && seen.spec.draining {
        lines.push(format!("{lone} of them are containers of their own, which a drain does not move"));
    }
    lines.extend(seen.report.into_iter().flat_map(|report| report.problems.iter().cloned()));
    let fix = seen.spec.draining.then(|| format!("roost undrain {name}"));
    Why { answer: format!("{name} {state}"), facts: lines, fix }
}
