//! Routes: which pods stand behind a server's published ports.

use crate::{
    look::{Look, Sight},
    names::{leads_to, serving},
    template::{effective_revision, template_of},
};
use api::{
    Name, Snapshot, Timestamp,
    assignment::Route,
    plan::{Placement, Wanted},
    spec::{PodTemplate, Power, Protocol},
};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::SocketAddrV4,
};

/// Ports and the pods behind them, with the name they belong to: the first that claimed a port keeps it.
type Table<'a> = BTreeMap<(u16, Protocol), (&'a Name, Vec<SocketAddrV4>)>;

/// Every port of a server that leads to pods: a job's on every server, a lone container's on its own.
///
/// A port whose pods do not serve is there without targets, so that it is refused rather than unknown.
pub fn routes(snapshot: &Snapshot, server: &Name) -> Vec<Route> {
    let look = Look::new(snapshot, Timestamp::default());
    let mut table = of_jobs(&look);
    for (name, placement) in lone(snapshot).filter(|(_, placement)| placement.server == *server) {
        add_lone(&look, &mut table, name, placement);
    }
    finish(table)
}

/// Lone containers that shall be somewhere.
pub(crate) fn lone(snapshot: &Snapshot) -> impl Iterator<Item = (&Name, &Placement)> {
    let plans = snapshot.container_plans.iter().filter(|(name, _)| snapshot.containers.contains_key(*name));
    plans.filter_map(|(name, plan)| Some((name, plan.placement.as_ref()?))).filter(|(_, p)| p.wanted == Wanted::Run)
}

/// The routes that every server has.
pub(crate) fn of_jobs<'a>(look: &Look<'a>) -> Table<'a> {
    let mut table = Table::new();
    for (job, spec) in &look.snapshot.jobs {
        let plan = look.snapshot.job_plans.get(job);
        if let Some(template) = template_of(spec, effective_revision(spec, plan.map(AsRef::as_ref))) {
            claim(&mut table, job, template);
        }
        for placement in plan.iter().flat_map(|plan| serving(look, plan).into_values()) {
            if let Some(template) = template_of(spec, placement.revision) {
                claim(&mut table, job, template);
                aim(&mut table, job, template, placement);
            }
        }
    }
    table
}

/// Adds a lone container's own ports.
pub(crate) fn add_lone<'a>(look: &Look<'a>, table: &mut Table<'a>, name: &'a Name, placement: &Placement) {
    let Some(spec) = look.snapshot.containers.get(name) else { return };
    claim(table, name, &spec.template);
    // A port leads to a lone container from the moment it is started, so that it is there once the container is said to run.
    let begins = spec.power == Power::On && matches!(look.sight(placement), Sight::Absent | Sight::Pending);
    if begins || leads_to(look, placement) {
        aim(table, name, &spec.template, placement);
    }
}

fn claim<'a>(table: &mut Table<'a>, owner: &'a Name, template: &PodTemplate) {
    for port in &template.publish {
        if let Entry::Vacant(free) = table.entry((port.host, port.protocol)) {
            free.insert((owner, Vec::new()));
        }
    }
}

fn aim(table: &mut Table<'_>, owner: &Name, template: &PodTemplate, placement: &Placement) {
    for port in &template.publish {
        match table.get_mut(&(port.host, port.protocol)) {
            Some((holder, targets)) if *holder == owner => targets.push(SocketAddrV4::new(placement.address, port.container)),
            _ => {}
        }
    }
}

/// The table as an assignment carries it.
pub(crate) fn finish(table: Table<'_>) -> Vec<Route> {
    table.into_iter().map(|((port, protocol), (_, targets))| Route { port, protocol, targets }).collect()
}
