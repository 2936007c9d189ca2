//! One look at everything: what is given back is settled first, then places are found, then what waits is explained.

use crate::{
    container,
    fleet::{Fleet, Room},
    job::{self, Draft, Groups},
    look::Look,
    proposal::{Note, Proposal},
    template::template_of,
};
use api::{
    Name, Snapshot, Timestamp,
    event::Noun,
    plan::{JobPlan, Placement, Wanted},
    spec::PodTemplate,
};
use std::{cmp::Reverse, collections::HashMap};

/// Decides everything there is to decide now.
///
/// `seed` breaks ties between servers that are equally good; 0 prefers the lowest number, so that the same cluster always
/// comes out the same.
pub fn propose(snapshot: &Snapshot, now: Timestamp, seed: u64) -> Proposal {
    let look = Look::new(snapshot, now);
    let mut groups = Groups::of(&look);
    let mut drafts = Drafts::begin(&look, &groups);
    let mut next_instance = snapshot.next_instance;
    if drafts.need_places() {
        let mut fleet = fleet(&look, &drafts, seed);
        drafts.place(&look, &mut fleet, &mut groups);
        drafts.explain(&look, &fleet, &groups);
        if fleet.next_instance() != next_instance.max(1) {
            next_instance = fleet.next_instance();
        }
    }
    drafts.finish(&look, next_instance)
}

/// The plans that change, or may.
#[derive(Default)]
pub(crate) struct Drafts<'a> {
    jobs: Vec<Draft<'a>>,
    containers: Vec<container::Draft<'a>>,
    /// Plans whose job is gone.
    orphans: Vec<(&'a Name, JobPlan)>,
}

impl<'a> Drafts<'a> {
    fn begin(look: &Look<'a>, groups: &Groups) -> Self {
        let snapshot = look.snapshot;
        let jobs = snapshot.jobs.iter().filter_map(|(name, spec)| {
            let plan = snapshot.job_plans.get(name).map(AsRef::as_ref);
            Draft::begin(look, groups, spec, plan)
        });
        let mut jobs: Vec<Draft<'a>> = jobs.collect();
        // The largest first: what is small finds room in what is left.
        jobs.sort_by_key(|draft| (Reverse(draft.spec.template.memory()), Reverse(draft.spec.template.cpu())));
        let wanted = snapshot.containers.iter().map(|(name, spec)| (name, Some(spec.as_ref())));
        let removed = snapshot.container_plans.keys().filter(|name| !snapshot.containers.contains_key(*name));
        let containers = wanted.chain(removed.map(|name| (name, None))).filter_map(|(name, spec)| {
            let plan = snapshot.container_plans.get(name).map(AsRef::as_ref);
            container::Draft::begin(look, name, spec, plan)
        });
        let gone = snapshot.job_plans.iter().filter(|(name, _)| !snapshot.jobs.contains_key(*name));
        let orphans = gone.map(|(name, plan)| (name, orphan(look, plan)));
        Self { containers: containers.collect(), orphans: orphans.collect(), jobs }
    }

    fn need_places(&self) -> bool {
        let jobs = self.jobs.iter().any(|draft| !draft.needs.is_empty());
        jobs || self.containers.iter().any(container::Draft::needs_place)
    }

    fn place(&mut self, look: &Look<'a>, fleet: &mut Fleet<'a>, groups: &mut Groups) {
        for draft in &mut self.containers {
            draft.place(look, fleet);
        }
        for draft in &mut self.jobs {
            // An upgrade fails once at most: going back is not an upgrade.
            if job::place(draft, look, fleet, groups) {
                draft.settle(look, groups);
                job::place(draft, look, fleet, groups);
            }
        }
    }

    fn explain(&mut self, look: &Look<'_>, fleet: &Fleet<'_>, groups: &Groups) {
        for draft in &mut self.jobs {
            job::explain_waiting(draft, look, fleet, groups);
        }
        for draft in &mut self.containers {
            draft.explain(look, fleet);
        }
    }

    fn finish(self, look: &Look<'_>, next_instance: u64) -> Proposal {
        let mut out = Outcome { look, proposal: Proposal { next_instance, ..Proposal::default() }, wake: None };
        for draft in self.jobs {
            out.job(draft);
        }
        for (name, plan) in self.orphans {
            out.orphan(name, plan);
        }
        for draft in self.containers {
            out.container(draft);
        }
        out.proposal.look_again = out.wake.map(|at| at.since(look.now));
        out.proposal
    }
}

/// What remains of the plan of a job that is gone. Its template is gone too, so its instances cannot be described to a
/// server any more, not even for draining: they are stopped.
fn orphan(look: &Look<'_>, plan: &JobPlan) -> JobPlan {
    let stopped = plan.placements.iter().map(|placement| Placement { wanted: Wanted::Stop, ..placement.clone() });
    let placements = stopped.filter(|placement| !look.is_gone(placement, Wanted::Stop)).collect();
    JobPlan { placements, ..JobPlan::default() }
}

/// The proposal as it is put together.
struct Outcome<'l, 'a> {
    look: &'l Look<'a>,
    proposal: Proposal,
    wake: Option<Timestamp>,
}

impl Outcome<'_, '_> {
    fn note(&mut self, noun: Noun, name: &Name, messages: Vec<String>) {
        let name = name.to_string();
        self.proposal.notes.extend(messages.into_iter().map(|message| Note { noun, name: name.clone(), message }));
    }

    fn wake_at(&mut self, at: Option<Timestamp>) {
        let earliest = [self.wake, at].into_iter().flatten().min();
        self.wake = earliest;
    }

    fn job(&mut self, mut draft: Draft<'_>) {
        draft.end_rollout();
        self.wake_at(draft.wake);
        let old = self.look.snapshot.job_plans.get(draft.name).map(AsRef::as_ref);
        if old.unwrap_or(&JobPlan::default()) != &draft.plan {
            self.note(Noun::Job, draft.name, draft.notes);
            self.proposal.jobs.push((draft.name.clone(), Some(draft.plan)));
        }
    }

    fn orphan(&mut self, name: &Name, plan: JobPlan) {
        let unheard = plan.placements.iter().map(|placement| placement.placed.after(crate::look::UNHEARD)).min();
        self.wake_at(unheard.filter(|at| *at > self.look.now));
        if plan.placements.is_empty() {
            self.note(Noun::Job, name, vec!["removed: its last instance is gone".to_owned()]);
            self.proposal.jobs.push((name.clone(), None));
        } else if self.look.snapshot.job_plans.get(name).is_none_or(|old| **old != plan) {
            self.proposal.jobs.push((name.clone(), Some(plan)));
        }
    }

    fn container(&mut self, draft: container::Draft<'_>) {
        self.wake_at(draft.wake);
        if draft.remove {
            self.proposal.remove_containers.push(draft.name.clone());
        }
        let old = self.look.snapshot.container_plans.get(draft.name).map(AsRef::as_ref);
        let gone = (draft.spec.is_none() || draft.remove) && draft.plan.placement.is_none();
        let plan = (!gone).then_some(draft.plan);
        if old != plan.as_ref() {
            self.note(Noun::Container, draft.name, draft.notes);
            self.proposal.containers.push((draft.name.clone(), plan));
        }
    }
}

/// How often a server is looked at while everything that waits is placed, and how many instances are.
#[cfg(test)]
pub(crate) fn effort(snapshot: &Snapshot, now: Timestamp) -> (u64, u64) {
    let look = Look::new(snapshot, now);
    let mut groups = Groups::of(&look);
    let mut drafts = Drafts::begin(&look, &groups);
    let mut fleet = fleet(&look, &drafts, 0);
    drafts.place(&look, &mut fleet, &mut groups);
    (fleet.looks(), fleet.next_instance() - snapshot.next_instance.max(1))
}

/// The fleet with everything on it that the drafts have not given back.
pub(crate) fn fleet<'a>(look: &Look<'a>, drafts: &Drafts<'_>, seed: u64) -> Fleet<'a> {
    let snapshot = look.snapshot;
    let mut fleet = Fleet::new(look, seed);
    let jobs: HashMap<&Name, &JobPlan> = drafts.jobs.iter().map(|draft| (draft.name, &draft.plan)).collect();
    let orphans: HashMap<&Name, &JobPlan> = drafts.orphans.iter().map(|(name, plan)| (*name, plan)).collect();
    for (name, spec) in &snapshot.jobs {
        fleet.hold_job_ports(name.as_str(), &spec.template);
        let plan = jobs.get(name).copied().or_else(|| snapshot.job_plans.get(name).map(AsRef::as_ref));
        let mut rooms: HashMap<u32, Room> = HashMap::new();
        for placement in plan.into_iter().flat_map(|plan| &plan.placements) {
            let room = rooms
                .entry(placement.revision)
                .or_insert_with(|| template_of(spec, placement.revision).map_or(Room::default(), |template| Room::of(template)));
            // What the instances of a predecessor reserved is gone with its template.
            let room = if placement.placed < spec.created { Room::default() } else { *room };
            hold(look, &mut fleet, name, (placement, room));
        }
    }
    for (name, plan) in &orphans {
        for placement in &plan.placements {
            hold(look, &mut fleet, name, (placement, Room::default()));
        }
    }
    hold_containers(look, &mut fleet, drafts);
    fleet
}

fn hold(look: &Look<'_>, fleet: &mut Fleet<'_>, name: &Name, held: (&Placement, Room)) {
    let (placement, room) = held;
    if let Some(server) = look.index(&placement.server) {
        fleet.hold(server, placement, room);
        fleet.holders.add(name, server);
    }
}

fn hold_containers(look: &Look<'_>, fleet: &mut Fleet<'_>, drafts: &Drafts<'_>) {
    let changed: HashMap<&Name, _> = drafts.containers.iter().map(|draft| (draft.name, &draft.plan)).collect();
    for (name, plan) in &look.snapshot.container_plans {
        let plan = changed.get(name).copied().unwrap_or(plan);
        let Some(placement) = &plan.placement else { continue };
        let spec = look.snapshot.containers.get(name).filter(|spec| placement.placed >= spec.created);
        let template: Option<&PodTemplate> = spec.map(|spec| spec.template.as_ref());
        hold(look, fleet, name, (placement, template.map_or(Room::default(), Room::of)));
        if let (Some(server), Some(template)) = (look.index(&placement.server), template) {
            fleet.hold_ports(server, name.as_str(), template);
        }
    }
}
