//! Names: which addresses answer to a job, an instance and a container. They follow from the plan and the reports.

use crate::look::{Look, Sight};
use api::{
    Snapshot, Timestamp,
    assignment::NameTable,
    plan::{JobPlan, Placement, Wanted},
};
use std::{collections::BTreeMap, net::Ipv4Addr};

/// What DNS answers, relative to the cluster's domain. A name nobody serves is absent.
///
/// A job's name has one address per slot, in order of slots: that of the newest instance that serves, so that there are
/// never two of one slot while an upgrade replaces it.
pub fn names(snapshot: &Snapshot) -> NameTable {
    let look = Look::new(snapshot, Timestamp::default());
    let mut names = BTreeMap::new();
    for (job, plan) in snapshot.job_plans.iter().filter(|(job, _)| snapshot.jobs.contains_key(*job)) {
        let serving = serving(&look, plan);
        for placement in serving.values() {
            names.insert(format!("{job}-{}.{job}", placement.slot), vec![placement.address]);
        }
        let addresses: Vec<Ipv4Addr> = serving.values().map(|placement| placement.address).collect();
        if !addresses.is_empty() {
            names.insert(job.to_string(), addresses);
        }
    }
    let lone = snapshot.container_plans.iter().filter(|(name, _)| snapshot.containers.contains_key(*name));
    for (name, placement) in lone.filter_map(|(name, plan)| Some((name, plan.placement.as_ref()?))) {
        if leads_to(&look, placement) {
            names.insert(name.to_string(), vec![placement.address]);
        }
    }
    NameTable { names }
}

/// The instance of each slot that names and routes lead to.
pub(crate) fn serving<'a>(look: &Look<'_>, plan: &'a JobPlan) -> BTreeMap<u32, &'a Placement> {
    let mut chosen: BTreeMap<u32, &Placement> = BTreeMap::new();
    for placement in plan.placements.iter().filter(|placement| leads_to(look, placement)) {
        let best = chosen.entry(placement.slot).or_insert(placement);
        if best.id < placement.id {
            *best = placement;
        }
    }
    chosen
}

/// May names and routes lead to this instance?
pub(crate) fn leads_to(look: &Look<'_>, placement: &Placement) -> bool {
    placement.wanted == Wanted::Run && look.sight(placement) == Sight::Serving
}
