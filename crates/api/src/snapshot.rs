//! All nouns at one revision. Cheap to clone; decisions are functions of it.

use crate::{
    app::AppRecord,
    image::ImageRecord,
    name::{InstanceId, Name},
    plan::{ContainerPlan, JobPlan, Placement},
    report::{InstanceReport, Report},
    server::{Liveness, ServerSpec},
    spec::{ClusterSpec, ContainerSpec, JobSpec},
};
use imbl::{OrdMap, OrdSet};
use std::{collections::BTreeSet, sync::Arc};

/// So many departed instances are remembered: more than are made before the oldest of them are not asked about any more.
pub const DEPARTED_MAX: usize = 4_096;

/// The cluster as the control plane knows it, at one revision of the store, with the latest reports beside it.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Revision of the store that specs and plans are from.
    pub revision: u64,
    /// The next free instance id.
    pub next_instance: u64,
    /// The cluster itself. None before the first start.
    pub cluster: Option<Arc<ClusterSpec>>,
    /// Servers.
    pub servers: OrdMap<Name, Arc<ServerSpec>>,
    /// Jobs.
    pub jobs: OrdMap<Name, Arc<JobSpec>>,
    /// Lone containers.
    pub containers: OrdMap<Name, Arc<ContainerSpec>>,
    /// Jobs' plans. May outlive the job while its instances are being removed.
    pub job_plans: OrdMap<Name, Arc<JobPlan>>,
    /// Containers' plans. May outlive the container while it is being removed.
    pub container_plans: OrdMap<Name, Arc<ContainerPlan>>,
    /// Images by normalised name.
    pub images: OrdMap<String, Arc<ImageRecord>>,
    /// Apps of the store that were got.
    pub apps: OrdMap<Name, Arc<AppRecord>>,
    /// Soft state: the latest report of each server.
    pub reports: OrdMap<Name, Arc<Report>>,
    /// Soft state: whether each server is there.
    pub liveness: OrdMap<Name, Liveness>,
    /// Soft state: servers that were lost and have not reported since that they run nothing but what is planned for them.
    pub strays: OrdSet<Name>,
    /// Soft state: instances that their server has named and names no longer; the youngest [`DEPARTED_MAX`].
    pub departed: OrdSet<InstanceId>,
}

impl Snapshot {
    /// Whether a server is there.
    pub fn liveness(&self, server: &Name) -> Liveness {
        self.liveness.get(server).copied().unwrap_or(Liveness::Unknown)
    }

    /// What the agent says about a placed instance. None: it has not been heard of on its server.
    pub fn report_of(&self, placement: &Placement) -> Option<&InstanceReport> {
        self.instance_report(&placement.server, placement.id)
    }

    /// What a server says about an instance.
    pub fn instance_report(&self, server: &Name, id: InstanceId) -> Option<&InstanceReport> {
        self.reports.get(server)?.instances.get(&id)
    }

    /// Does this instance answer, on a server that is there?
    pub fn serves(&self, placement: &Placement) -> bool {
        self.liveness(&placement.server) != Liveness::Lost && self.report_of(placement).is_some_and(InstanceReport::serves)
    }

    /// Does a server run something that is not planned for it, as far as it has said?
    pub fn runs_strays(&self, server: &Name) -> bool {
        let Some(report) = self.reports.get(server) else { return true };
        let planned: BTreeSet<_> = self.placements().filter(|(_, p)| p.server == *server).map(|(_, p)| p.id).collect();
        report.instances.keys().any(|id| !planned.contains(id))
    }

    /// Takes in what a server says. Gives back what it said before.
    pub fn take_report(&mut self, report: Arc<Report>) -> Option<Arc<Report>> {
        let server = report.server.clone();
        let former = self.reports.insert(server.clone(), Arc::clone(&report));
        if let Some(former) = &former {
            self.departed.extend(former.instances.keys().filter(|id| !report.instances.contains_key(id)).copied());
        }
        while self.departed.len() > DEPARTED_MAX {
            self.departed.remove_min();
        }
        if self.strays.contains(&server) && !self.runs_strays(&server) {
            self.strays.remove(&server);
        }
        former
    }

    /// Every placement of the plan, jobs first.
    pub fn placements(&self) -> impl Iterator<Item = (&Name, &Placement)> {
        let jobs = self.job_plans.iter().flat_map(|(name, plan)| plan.placements.iter().map(move |p| (name, p)));
        let lone = self.container_plans.iter().filter_map(|(name, plan)| plan.placement.as_ref().map(|p| (name, p)));
        jobs.chain(lone)
    }
}
