//! Names: which addresses answer to a job, an instance and a container. They follow from the plan and the reports.

use crate::look::{Look, Sight};
use api::{
    Name, Snapshot, Timestamp,
    assignment::NameTable,
    plan::{JobPlan, Placement, Wanted},
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

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
    NameTable { names, hosts: hosts(&look) }
}

/// Host names, each with the address of the server its container is published on. One whose container does not serve is there
/// without addresses, so that nobody asks elsewhere for it.
fn hosts(look: &Look<'_>) -> BTreeMap<String, Vec<Ipv4Addr>> {
    let snapshot = look.snapshot;
    let named = snapshot.containers.iter().flat_map(|(name, spec)| spec.hosts.iter().map(move |host| (name, host)));
    let address = |name: &Name| {
        let placement = snapshot.container_plans.get(name)?.placement.as_ref()?;
        match snapshot.servers.get(&placement.server)?.address {
            IpAddr::V4(address) if leads_to(look, placement) => Some(address),
            _ => None,
        }
    };
    named.map(|(name, host)| (host.clone(), address(name).into_iter().collect())).collect()
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
