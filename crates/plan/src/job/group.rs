//! Groups: jobs that share one server.

use crate::{
    fleet::{Fleet, Room, Servers},
    look::Look,
    schedule::{Crowd, Request, Search, Slot, View, fit},
    template::{effective_revision, template_of},
};
use api::{
    InstanceId, Name,
    plan::{JobPlan, Placement},
    server::Liveness,
    spec::{JobSpec, PlacementRules},
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
};

/// The server of each group that has one.
#[derive(Default)]
pub(crate) struct Groups {
    anchors: HashMap<Name, usize>,
}

impl Groups {
    /// A group is where most of its slots are, each where its newest instance is; servers that are lost or being drained
    /// aside.
    pub fn of(look: &Look<'_>) -> Self {
        let mut counts: HashMap<&Name, BTreeMap<usize, usize>> = HashMap::new();
        for (job, spec) in &look.snapshot.jobs {
            let Some(group) = &spec.placement.group else { continue };
            let Some(plan) = look.snapshot.job_plans.get(job) else { continue };
            for (_, server) in standing(look, spec, plan).into_values() {
                *counts.entry(group).or_default().entry(server).or_default() += 1;
            }
        }
        let most = |on: BTreeMap<usize, usize>| on.into_iter().min_by_key(|(server, count)| (Reverse(*count), *server));
        let anchors = counts.into_iter().filter_map(|(group, on)| Some((group.clone(), most(on)?.0)));
        Self { anchors: anchors.collect() }
    }

    /// Where a group is.
    pub fn anchor(&self, group: Option<&Name>) -> Option<usize> {
        self.anchors.get(group?).copied()
    }

    /// Chooses a place for a group that has none: where the whole of it fits, if there is such a server.
    pub fn settle(&mut self, look: &Look<'_>, fleet: &mut Fleet<'_>, spec: &JobSpec) {
        let Some(group) = spec.placement.group.as_ref().filter(|group| !self.anchors.contains_key(*group)) else { return };
        let whole = Whole::of(look, group);
        let rules = PlacementRules { strategy: spec.placement.strategy, ..whole.rules };
        let listed = listed(look, &rules);
        let request = Request {
            who: &spec.name,
            room: whole.room,
            rules: &rules,
            listed,
            anchor: None,
            ports: &[],
            address: None,
            lone: false,
            instead: false,
        };
        let (crowd, slot) = (Crowd::default(), Slot::default());
        let first = Search::begin(fleet, &request, &crowd).choose(View { fleet, request: &request, crowd: &crowd }, &slot);
        let view = View { fleet, request: &request, crowd: &crowd };
        let meets = |server: usize| {
            let enemies = whole.members.iter().flat_map(|member| fleet.holders.enemies(member));
            enemies.into_iter().any(|enemy| fleet.holders.is_on(enemy, server))
        };
        // Only where the best is barred to another job of the group, all have to be looked at.
        let fitting = (0..fleet.hosts.len()).filter(|server| fit(view, *server, &slot).is_ok() && !meets(*server));
        let best = match first {
            Some(server) if meets(server) => fitting.min_by_key(|server| view.score(*server, &slot)),
            first => first,
        };
        if let Some(best) = best {
            self.anchors.insert(group.clone(), best);
        }
    }

    /// Says that an instance of a group was put there: the others follow.
    pub fn placed(&mut self, group: Option<&Name>, server: usize) {
        if let Some(group) = group {
            self.anchors.entry(group.clone()).or_insert(server);
        }
    }
}

/// The newest instance of each slot, of those that hold their group somewhere. While a group moves, the old ones no longer
/// hold it; one that is on its way out for want of room does, until it is gone.
fn standing(look: &Look<'_>, spec: &JobSpec, plan: &JobPlan) -> BTreeMap<u32, (InstanceId, usize)> {
    let mut newest: BTreeMap<u32, (InstanceId, usize)> = BTreeMap::new();
    let own = plan.placements.iter().filter(|placement| placement.placed >= spec.created && placement.slot <= spec.count);
    for (placement, server) in own.filter_map(|placement| Some((placement, stands(look, placement)?))) {
        let best = newest.entry(placement.slot).or_insert((placement.id, server));
        *best = (*best).max((placement.id, server));
    }
    newest
}

/// The server an instance holds its group on.
fn stands(look: &Look<'_>, placement: &Placement) -> Option<usize> {
    let at = look.index(&placement.server).filter(|_| !look.is_gone(placement, placement.wanted))?;
    let server = &look.servers[at];
    (server.liveness != Liveness::Lost && !server.spec.draining).then_some(at)
}

/// A group as one thing to be placed.
struct Whole<'l> {
    members: Vec<&'l Name>,
    room: Room,
    rules: PlacementRules,
}

impl<'l> Whole<'l> {
    fn of(look: &Look<'l>, group: &Name) -> Self {
        let mut whole = Self { members: Vec::new(), room: Room::default(), rules: PlacementRules::default() };
        for (job, spec) in look.snapshot.jobs.iter().filter(|(_, spec)| spec.placement.group.as_ref() == Some(group)) {
            let plan = look.snapshot.job_plans.get(job).map(AsRef::<JobPlan>::as_ref);
            if let Some(template) = template_of(spec, effective_revision(spec, plan)) {
                whole.room = whole.room.plus(Room::of(template).times(spec.count));
            }
            whole.members.push(job);
            whole.add_rules(&spec.placement);
        }
        whole
    }

    fn add_rules(&mut self, rules: &PlacementRules) {
        self.rules.require.extend(rules.require.iter().map(|(key, value)| (key.clone(), value.clone())));
        let both = |server: &Name| self.rules.servers.contains(server);
        self.rules.servers = match (self.rules.servers.is_empty(), rules.servers.is_empty()) {
            (_, true) => std::mem::take(&mut self.rules.servers),
            (true, false) => rules.servers.clone(),
            (false, false) => rules.servers.iter().filter(|server| both(server)).cloned().collect(),
        };
    }
}

/// The servers a job names, as positions. None: any.
pub(super) fn listed(look: &Look<'_>, rules: &PlacementRules) -> Option<Servers> {
    if rules.servers.is_empty() {
        return None;
    }
    Some(rules.servers.iter().filter_map(|server| look.index(server)).collect())
}
