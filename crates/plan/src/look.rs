//! The snapshot as one look sees it: servers by number with their reports, found by name in constant time.

use api::{
    Name, Snapshot, Span, Timestamp,
    plan::{Placement, Wanted},
    report::{Health, InstanceReport, Phase, Report},
    server::{Liveness, ServerSpec},
};
use std::collections::HashMap;

/// An instance that its server has not named this long after it was placed was never begun there. Before that, the
/// assignment that names it may still be under way.
pub(crate) const UNHEARD: Span = Span::seconds(1);

/// A snapshot prepared for many questions.
pub(crate) struct Look<'a> {
    pub snapshot: &'a Snapshot,
    pub now: Timestamp,
    /// In order of their numbers.
    pub servers: Vec<Seen<'a>>,
    by_name: HashMap<&'a str, usize>,
}

/// A server, and what is known of it.
pub(crate) struct Seen<'a> {
    pub spec: &'a ServerSpec,
    pub liveness: Liveness,
    pub report: Option<&'a Report>,
}

/// How an instance looks from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Its server is no longer in the cluster.
    NoServer,
    /// Its server is lost.
    Lost,
    /// It answers, or did when its silent server was last heard of.
    Serving,
    /// On its way, held still, or on a server that says nothing at the moment.
    Pending,
    /// Runs, and its checks fail.
    Unhealthy,
    /// Its program ended or could not be started.
    Ended,
    /// Its server is there and does not know of it.
    Absent,
}

/// Every server with what is known of it. The three maps are in the same order, so they are gone through side by side.
fn seen(snapshot: &Snapshot) -> Vec<Seen<'_>> {
    let mut liveness = snapshot.liveness.iter().peekable();
    let mut reports = snapshot.reports.iter().peekable();
    let mut servers = Vec::with_capacity(snapshot.servers.len());
    for (name, spec) in &snapshot.servers {
        while liveness.next_if(|(other, _)| *other < name).is_some() {}
        while reports.next_if(|(other, _)| *other < name).is_some() {}
        let known = liveness.next_if(|(other, _)| *other == name).map(|(_, liveness)| *liveness);
        let report = reports.next_if(|(other, _)| *other == name).map(|(_, report)| report.as_ref());
        servers.push(Seen { spec, liveness: known.unwrap_or(Liveness::Unknown), report });
    }
    servers
}

impl<'a> Look<'a> {
    pub fn new(snapshot: &'a Snapshot, now: Timestamp) -> Self {
        let mut servers = seen(snapshot);
        servers.sort_by_key(|seen| seen.spec.number);
        let by_name = servers.iter().enumerate().map(|(index, seen)| (seen.spec.name.as_str(), index)).collect();
        Self { snapshot, now, servers, by_name }
    }

    /// Where a server stands in `servers`.
    pub fn index(&self, name: &Name) -> Option<usize> {
        self.by_name.get(name.as_str()).copied()
    }

    /// A server by name.
    pub fn server(&self, name: &Name) -> Option<&Seen<'a>> {
        self.index(name).map(|index| &self.servers[index])
    }

    /// What its server says about an instance.
    pub fn report(&self, placement: &Placement) -> Option<&'a InstanceReport> {
        self.server(&placement.server)?.report?.instances.get(&placement.id)
    }

    /// How an instance looks.
    pub fn sight(&self, placement: &Placement) -> Sight {
        let Some(server) = self.server(&placement.server) else { return Sight::NoServer };
        let report = server.report.and_then(|report| report.instances.get(&placement.id));
        match (server.liveness, report) {
            (Liveness::Lost, _) => Sight::Lost,
            (_, Some(report)) if report.serves() => Sight::Serving,
            (Liveness::Unknown | Liveness::AgentAway, _) => Sight::Pending,
            (Liveness::Alive, Some(report)) => Self::alive(report),
            (Liveness::Alive, None) if server.report.is_some() => Sight::Absent,
            (Liveness::Alive, None) => Sight::Pending,
        }
    }

    fn alive(report: &InstanceReport) -> Sight {
        match (report.phase, report.health) {
            (Phase::Failed | Phase::Exited, _) => Sight::Ended,
            (Phase::Running, Health::Unhealthy) => Sight::Unhealthy,
            _ => Sight::Pending,
        }
    }

    /// What an instance that is no longer wanted becomes. None: it is gone already, and its address is free.
    pub fn retire(&self, placement: &Placement) -> Option<Wanted> {
        if self.is_gone(placement, Wanted::Stop) {
            return None;
        }
        // One that never ran has no connections to wait for.
        let runs = self.report(placement).is_some_and(|report| matches!(report.phase, Phase::Running | Phase::Stopping));
        let held = self.server(&placement.server).is_some_and(|server| server.liveness != Liveness::Alive);
        let next = if runs || held { Wanted::Drain } else { Wanted::Stop };
        Some(next.max(placement.wanted))
    }

    /// Whether its server may not have been told of it yet. It was, if it has named it.
    pub fn may_be_coming(&self, placement: &Placement) -> bool {
        self.now.since(placement.placed) < UNHEARD && !self.snapshot.departed.contains(&placement.id)
    }

    /// Would an instance with this order be gone? Then its placement is dropped.
    pub fn is_gone(&self, placement: &Placement, wanted: Wanted) -> bool {
        match self.sight(placement) {
            Sight::NoServer => true,
            Sight::Lost => wanted != Wanted::Run,
            Sight::Absent => wanted != Wanted::Run && !self.may_be_coming(placement),
            _ => false,
        }
    }
}
