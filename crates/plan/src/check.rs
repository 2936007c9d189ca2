//! The checker: reads a finished plan with other eyes. It shares no code with the planner, so that one mistake is not made twice.

use api::{
    InstanceId, Name, Snapshot,
    plan::{JobPlan, Placement, Wanted},
    report::{Health, Phase},
    server::{Liveness, ServerSpec},
    spec::{JobSpec, PodTemplate},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::Ipv4Addr,
};

/// Everything wrong with the plan, a sentence each; nothing when it is sound.
///
/// It is meant for the result of [`crate::propose`]: before that, a server just lost or a label just taken away is no fault
/// of the plan's.
pub fn check(snapshot: &Snapshot) -> Vec<String> {
    let mut out = Vec::new();
    identities(snapshot, &mut out);
    places(snapshot, &mut out);
    let sums = sums(snapshot);
    capacity(snapshot, &sums, &mut out);
    for (job, plan) in &snapshot.job_plans {
        match snapshot.jobs.get(job) {
            Some(spec) => one_job(snapshot, spec, plan, &mut out),
            None => orphans(job, plan, &mut out),
        }
    }
    strangers(snapshot, &mut out);
    groups(snapshot, &sums, &mut out);
    ports(snapshot, &mut out);
    out
}

fn all(snapshot: &Snapshot) -> impl Iterator<Item = (&Name, &Placement)> {
    let jobs = snapshot.job_plans.iter().flat_map(|(name, plan)| plan.placements.iter().map(move |one| (name, one)));
    jobs.chain(snapshot.container_plans.iter().filter_map(|(name, plan)| plan.placement.as_ref().map(|one| (name, one))))
}

fn identities(snapshot: &Snapshot, out: &mut Vec<String>) {
    let mut ids: HashMap<InstanceId, &Name> = HashMap::new();
    let mut addresses: HashMap<Ipv4Addr, (&Name, InstanceId)> = HashMap::new();
    for (name, one) in all(snapshot) {
        if let Some(other) = ids.insert(one.id, name) {
            out.push(format!("instance {} is both {other}'s and {name}'s", one.id));
        }
        if one.id.0 >= snapshot.next_instance {
            out.push(format!("instance {} of {name} is not below the next free number {}", one.id, snapshot.next_instance));
        }
        if let Some((other, id)) = addresses.insert(one.address, (name, one.id)) {
            out.push(format!("address {} is both {other}'s ({id}) and {name}'s ({})", one.address, one.id));
        }
    }
}

fn places(snapshot: &Snapshot, out: &mut Vec<String>) {
    for (name, one) in all(snapshot) {
        let Some(server) = snapshot.servers.get(&one.server) else {
            out.push(format!("instance {} of {name} is on {}, which does not exist", one.id, one.server));
            continue;
        };
        let numbers = (u32::from(server.subnet.network()), u32::from(server.subnet.broadcast()));
        let number = u32::from(one.address);
        if number <= numbers.0 + 1 || number >= numbers.1 {
            out.push(format!(
                "address {} of {name} is no instance's address in {} of {}",
                one.address, server.subnet, server.name
            ));
        }
    }
}

fn template(spec: &JobSpec, revision: u32) -> Option<&PodTemplate> {
    let past = spec.history.iter().find(|past| past.revision == revision && revision != spec.revision);
    if revision == spec.revision { Some(&spec.template) } else { past.map(|past| past.template.as_ref()) }
}

fn limits(template: &PodTemplate) -> (u64, u64) {
    let mut sum = (0, 0);
    for container in &template.containers {
        sum.0 += container.limits.memory.map_or(0, |memory| memory.0);
        sum.1 += container.limits.cpu.map_or(0, |cpu| u64::from(cpu.0));
    }
    sum
}

/// Memory and processor time reserved on each server.
type Sums<'a> = HashMap<&'a str, (u64, u64)>;

fn sums(snapshot: &Snapshot) -> Sums<'_> {
    let mut sums = Sums::new();
    for (job, plan) in &snapshot.job_plans {
        let Some(spec) = snapshot.jobs.get(job) else { continue };
        let mut known: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        // Of an instance older than its job, whose name was used before, nobody knows what it reserved.
        for one in plan.placements.iter().filter(|one| one.placed >= spec.created) {
            let (memory, cpu) = *known.entry(one.revision).or_insert_with(|| template(spec, one.revision).map_or((0, 0), limits));
            let sum = sums.entry(one.server.as_str()).or_default();
            *sum = (sum.0 + memory, sum.1 + cpu);
        }
    }
    for (name, plan) in &snapshot.container_plans {
        if let (Some(one), Some(spec)) = (&plan.placement, snapshot.containers.get(name))
            && one.placed >= spec.created
        {
            let (memory, cpu) = limits(&spec.template);
            let sum = sums.entry(one.server.as_str()).or_default();
            *sum = (sum.0 + memory, sum.1 + cpu);
        }
    }
    sums
}

fn capacity(snapshot: &Snapshot, sums: &Sums<'_>, out: &mut Vec<String>) {
    for (name, server) in &snapshot.servers {
        let (memory, cpu) = sums.get(name.as_str()).copied().unwrap_or_default();
        if memory > server.facts.memory.0 {
            out.push(format!("{name} has {}, and {} are reserved on it", server.facts.memory, api::Bytes(memory)));
        }
        if cpu > u64::from(server.facts.cpu.0) {
            out.push(format!("{name} has {} cores, and {} thousandths of a core are reserved on it", server.facts.cpu, cpu));
        }
    }
}

fn orphans(job: &Name, plan: &JobPlan, out: &mut Vec<String>) {
    let kept = plan.placements.iter().filter(|one| one.wanted == Wanted::Run).count();
    if kept > 0 {
        out.push(format!("job {job} is gone, and {kept} of its instances shall run"));
    }
}

fn one_job(snapshot: &Snapshot, spec: &JobSpec, plan: &JobPlan, out: &mut Vec<String>) {
    let name = &spec.name;
    let mut slots: BTreeMap<u32, Vec<&Placement>> = BTreeMap::new();
    for one in &plan.placements {
        if template(spec, one.revision).is_none() {
            out.push(format!("{name}/{} runs revision {}, which the job does not know", one.slot, one.revision));
        }
        if one.wanted == Wanted::Run {
            slots.entry(one.slot).or_default().push(one);
        }
    }
    for (slot, ones) in &slots {
        one_slot(snapshot, spec, (*slot, ones), out);
    }
    let newest: Vec<&Placement> = slots.values().filter_map(|ones| ones.iter().max_by_key(|one| one.id).copied()).collect();
    for one in newest.iter().filter(|one| settled(snapshot, one)) {
        if let Some(server) = snapshot.servers.get(&one.server) {
            rules(spec, one, server, out);
        }
    }
    crowds(spec, &slots, out);
}

fn one_slot(snapshot: &Snapshot, spec: &JobSpec, slot: (u32, &[&Placement]), out: &mut Vec<String>) {
    let ((slot, ones), name) = (slot, &spec.name);
    if slot == 0 || slot > spec.count {
        out.push(format!("{name}/{slot} shall run, and job {name} asks for {}", spec.count));
    }
    if ones.len() > 2 {
        out.push(format!("{name}/{slot} has {} instances that shall run: a replacement needs two", ones.len()));
    }
    let answering: Vec<_> = ones.iter().filter(|one| settled(snapshot, one) && answers(snapshot, one)).collect();
    let mut revisions = BTreeSet::new();
    if answering.iter().any(|one| !revisions.insert(one.revision)) {
        out.push(format!("{name}/{slot} is answered by two instances of one revision, and none of them is being replaced"));
    }
}

/// On a server that is there and keeps what it has.
fn settled(snapshot: &Snapshot, one: &Placement) -> bool {
    let server = snapshot.servers.get(&one.server);
    snapshot.liveness.get(&one.server) == Some(&Liveness::Alive) && server.is_some_and(|server| !server.draining)
}

fn answers(snapshot: &Snapshot, one: &Placement) -> bool {
    let report = snapshot.reports.get(&one.server).and_then(|report| report.instances.get(&one.id));
    report.is_some_and(|report| report.phase == Phase::Running && report.health == Health::Healthy)
}

fn rules(spec: &JobSpec, one: &Placement, server: &ServerSpec, out: &mut Vec<String>) {
    let (name, slot, rules) = (&spec.name, one.slot, &spec.placement);
    for (key, value) in &rules.require {
        if server.labels.get(key).map(String::as_str) != Some(value.as_str()) {
            out.push(format!("{name}/{slot} is on {}, which lacks label {key}={value}", server.name));
        }
    }
    if !rules.servers.is_empty() && !rules.servers.contains(&server.name) {
        out.push(format!("{name}/{slot} is on {}, which was not asked for", server.name));
    }
}

/// More than `per_server` slots on one server. An old instance beside its replacement is the same slot.
fn crowds(spec: &JobSpec, slots: &BTreeMap<u32, Vec<&Placement>>, out: &mut Vec<String>) {
    let Some(most) = spec.placement.per_server else { return };
    let mut on: BTreeMap<&Name, BTreeSet<u32>> = BTreeMap::new();
    for (slot, ones) in slots {
        for one in ones {
            on.entry(&one.server).or_default().insert(*slot);
        }
    }
    for (server, slots) in on.into_iter().filter(|(_, slots)| slots.len() > most as usize) {
        out.push(format!("{} of {} are on {server}: at most {most} may be", slots.len(), spec.name));
    }
}

/// Whoever must not share a server with whom.
fn strangers(snapshot: &Snapshot, out: &mut Vec<String>) {
    let mut on: HashMap<&str, BTreeSet<&Name>> = HashMap::new();
    let rules = || {
        let jobs = snapshot.jobs.iter().map(|(name, spec)| (name, &spec.placement.avoid));
        jobs.chain(snapshot.containers.iter().map(|(name, spec)| (name, &spec.avoid))).filter(|(_, avoid)| !avoid.is_empty())
    };
    let careful: BTreeSet<&str> =
        rules().flat_map(|(name, avoid)| avoid.iter().map(Name::as_str).chain([name.as_str()])).collect();
    for (name, one) in all(snapshot).filter(|(name, one)| careful.contains(name.as_str()) && one.wanted == Wanted::Run) {
        on.entry(name.as_str()).or_default().insert(&one.server);
    }
    for (name, avoid) in rules() {
        for other in avoid.iter().filter(|other| *other != name) {
            let (Some(mine), Some(theirs)) = (on.get(name.as_str()), on.get(other.as_str())) else { continue };
            for server in mine.intersection(theirs).filter(|server| snapshot.liveness.get(**server) == Some(&Liveness::Alive)) {
                out.push(format!("{name} avoids {other}, and both are on {server}"));
            }
        }
    }
}

/// Jobs of one group on two servers, though the one that most of it is on has room for the others. Only a group at rest is
/// looked at: while one is moved or upgraded, it stands on two.
fn groups(snapshot: &Snapshot, sums: &Sums<'_>, out: &mut Vec<String>) {
    let mut members: BTreeMap<&Name, Vec<(&JobSpec, &Placement)>> = BTreeMap::new();
    let mut busy: BTreeSet<&Name> = BTreeSet::new();
    for (job, spec) in &snapshot.jobs {
        let (Some(group), Some(plan)) = (&spec.placement.group, snapshot.job_plans.get(job)) else { continue };
        if plan.placements.iter().any(|one| one.wanted != Wanted::Run || !settled(snapshot, one) || !answers(snapshot, one)) {
            busy.insert(group);
        }
        members.entry(group).or_default().extend(plan.placements.iter().map(|one| (spec.as_ref(), one)));
    }
    for (group, members) in members.into_iter().filter(|(group, _)| !busy.contains(group)) {
        one_group(snapshot, sums, (group, &members), out);
    }
}

fn one_group(snapshot: &Snapshot, sums: &Sums<'_>, group: (&Name, &[(&JobSpec, &Placement)]), out: &mut Vec<String>) {
    let (group, members) = group;
    let on = |server: &Name| members.iter().filter(|(_, one)| one.server == *server).count();
    let Some(most) = members.iter().map(|(_, one)| on(&one.server)).max() else { return };
    let mains: BTreeSet<&Name> = members.iter().map(|(_, one)| &one.server).filter(|server| on(server) == most).collect();
    // Between two halves, either may be the one to go to, and that one may be full.
    let [main] = Vec::from_iter(mains)[..] else { return };
    let (held, used) = sums.get(main.as_str()).copied().unwrap_or_default();
    let Some(facts) = snapshot.servers.get(main).map(|server| &server.facts) else { return };
    for (spec, one) in members.iter().filter(|(spec, one)| one.server != *main && !is_barred(snapshot, spec, main)) {
        // Whichever revision it would be made anew in.
        let (now, next) = (template(spec, one.revision).map_or((0, 0), limits), limits(&spec.template));
        let (memory, cpu) = (now.0.max(next.0), now.1.max(next.1));
        if held + memory <= facts.memory.0 && used + cpu <= u64::from(facts.cpu.0) {
            out.push(format!(
                "{}/{} of group {group} is on {}, and {main}, where its group is, has room",
                spec.name, one.slot, one.server
            ));
        }
    }
}

/// Do other rules of the job keep it from a server?
fn is_barred(snapshot: &Snapshot, spec: &JobSpec, server: &Name) -> bool {
    let stranger = |(name, one): (&Name, &Placement)| {
        let shuns = snapshot.jobs.get(name).is_some_and(|other| other.placement.avoid.contains(&spec.name));
        one.server == *server && *name != spec.name && (shuns || spec.placement.avoid.contains(name))
    };
    let rules = &spec.placement;
    let unasked = !rules.servers.is_empty() && !rules.servers.contains(server);
    let lacks = |labels: &BTreeMap<String, String>| rules.require.iter().any(|(key, value)| labels.get(key) != Some(value));
    let unfit = snapshot.servers.get(server).is_none_or(|server| lacks(&server.labels));
    unasked || unfit || rules.per_server.is_some() || all(snapshot).any(stranger)
}

/// Two lone containers with one port of one server.
fn ports(snapshot: &Snapshot, out: &mut Vec<String>) {
    let mut taken: HashMap<(&str, u16, api::spec::Protocol), &Name> = HashMap::new();
    for (name, plan) in &snapshot.container_plans {
        let (Some(one), Some(spec)) = (&plan.placement, snapshot.containers.get(name)) else { continue };
        for port in spec.template.publish.iter().filter(|_| one.wanted == Wanted::Run) {
            if let Some(other) = taken.insert((one.server.as_str(), port.host, port.protocol), name) {
                out.push(format!("port {} of {} is both {other}'s and {name}'s", port.host, one.server));
            }
        }
    }
}
