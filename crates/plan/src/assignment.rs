//! Assignments: the plan cut into one full set per server.

use crate::{
    look::Look,
    routes,
    template::{template_digest, template_of},
};
use api::{
    InstanceId, Name, Snapshot, Timestamp,
    assignment::{Assignment, NameTable, NetworkAssignment, Peer, PodAssignment, Route},
    plan::{Placement, Wanted},
    server::{Liveness, ServerSpec},
    spec::{ClusterSpec, PodTemplate, Power},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// All that one server must be, with generation 0: its session numbers it. None while the server or the cluster is not recorded.
///
/// To cut for many servers at once, [`assignments`] looks at the plan only once.
pub fn assignment(snapshot: &Snapshot, server: &Name, names: &Arc<NameTable>) -> Option<Assignment> {
    let look = Look::new(snapshot, Timestamp::default());
    let spec = snapshot.servers.get(server)?;
    let cluster = snapshot.cluster.as_ref()?;
    let mut parts = Parts::default();
    let mut digests = Digests::default();
    for pod in pods(snapshot).filter(|pod| pod.placement.server == *server) {
        parts.add(pod, &mut digests);
    }
    let routes = Arc::new(routes::routes(snapshot, server));
    Some(parts.finish(snapshot, (network(&look, cluster, spec), server), (names, routes)))
}

/// The assignments of all servers, each as [`assignment`] would cut it.
pub fn assignments(snapshot: &Snapshot, names: &Arc<NameTable>) -> BTreeMap<Name, Assignment> {
    let Some(cluster) = snapshot.cluster.as_ref() else { return BTreeMap::new() };
    let look = Look::new(snapshot, Timestamp::default());
    let mut parts: HashMap<&Name, Parts> = HashMap::new();
    let mut digests = Digests::default();
    for pod in pods(snapshot) {
        parts.entry(&pod.placement.server).or_default().add(pod, &mut digests);
    }
    let mut routes = all_routes(&look);
    let shared = Arc::new(routes::finish(routes::of_jobs(&look)));
    let cut = look.servers.iter().map(|server| {
        let name = &server.spec.name;
        let routes = routes.remove(name).unwrap_or_else(|| Arc::clone(&shared));
        let parts = parts.remove(name).unwrap_or_default();
        (name.clone(), parts.finish(snapshot, (network(&look, cluster, server.spec), name), (names, routes)))
    });
    cut.collect()
}

/// Is enough known that names and routes may be cut? While a server has not been heard of since the control plane
/// started, its instances would be missing from them, and an agent told so would cut connections that work.
pub fn informed(snapshot: &Snapshot) -> bool {
    snapshot.servers.keys().all(|server| match snapshot.liveness(server) {
        Liveness::Lost | Liveness::AgentAway => true,
        Liveness::Unknown => false,
        Liveness::Alive => snapshot.reports.contains_key(server),
    })
}

/// Routes of the servers that have lone containers: all others share the jobs'.
fn all_routes<'a>(look: &Look<'a>) -> HashMap<&'a Name, Arc<Vec<Route>>> {
    let mut lone: HashMap<&Name, Vec<(&Name, &Placement)>> = HashMap::new();
    for (name, placement) in routes::lone(look.snapshot) {
        lone.entry(&placement.server).or_default().push((name, placement));
    }
    let jobs = routes::of_jobs(look);
    let with_lone = |containers: Vec<(&'a Name, &'a Placement)>| {
        let mut table = jobs.clone();
        for (name, placement) in containers {
            routes::add_lone(look, &mut table, name, placement);
        }
        Arc::new(routes::finish(table))
    };
    lone.into_iter().map(|(server, containers)| (server, with_lone(containers))).collect()
}

/// A placed pod with what the agent has to know of it.
struct Pod<'a> {
    name: &'a Name,
    placement: &'a Placement,
    template: &'a Arc<PodTemplate>,
    power: Power,
    restarts: u32,
}

/// Every pod that shall exist. One to be stopped is left out, for what is absent is stopped and removed; so is one whose
/// template is gone with its job.
fn pods(snapshot: &Snapshot) -> impl Iterator<Item = Pod<'_>> {
    let jobs = snapshot.jobs.iter().flat_map(|(name, spec)| {
        let placements = snapshot.job_plans.get(name).into_iter().flat_map(|plan| &plan.placements);
        placements.filter_map(move |placement| {
            let template = template_of(spec, placement.revision)?;
            Some(Pod { name, placement, template, power: Power::On, restarts: 0 })
        })
    });
    let lone = snapshot.containers.iter().filter_map(|(name, spec)| {
        let placement = snapshot.container_plans.get(name)?.placement.as_ref()?;
        Some(Pod { name, placement, template: &spec.template, power: spec.power, restarts: spec.restarts })
    });
    jobs.chain(lone).filter(|pod| pod.placement.wanted != Wanted::Stop)
}

/// Digests of the templates met so far, by where they lie: a thousand instances share one.
#[derive(Default)]
struct Digests(HashMap<*const PodTemplate, String>);

impl Digests {
    fn of(&mut self, template: &Arc<PodTemplate>) -> String {
        self.0.entry(Arc::as_ptr(template)).or_insert_with(|| template_digest(template)).clone()
    }
}

/// What servers are told alike.
type Shared<'a> = (&'a Arc<NameTable>, Arc<Vec<Route>>);

/// The pods of one assignment as they are gathered.
#[derive(Default)]
struct Parts {
    pods: BTreeMap<InstanceId, PodAssignment>,
    templates: BTreeMap<String, Arc<PodTemplate>>,
}

impl Parts {
    fn add(&mut self, pod: Pod<'_>, digests: &mut Digests) {
        let template = digests.of(pod.template);
        let (display, hostname) = match pod.placement.slot {
            0 => (pod.name.to_string(), pod.name.to_string()),
            slot => (format!("{}/{slot}", pod.name), format!("{}-{slot}", pod.name)),
        };
        self.templates.entry(template.clone()).or_insert_with(|| Arc::clone(pod.template));
        let assigned = PodAssignment {
            display,
            hostname,
            template,
            address: pod.placement.address,
            wanted: pod.placement.wanted,
            power: pod.power,
            restarts: pod.restarts,
        };
        self.pods.insert(pod.placement.id, assigned);
    }

    fn finish(self, snapshot: &Snapshot, (network, told): (NetworkAssignment, &Name), (names, routes): Shared<'_>) -> Assignment {
        Assignment {
            generation: 0,
            server: told.clone(),
            network,
            pods: self.pods,
            replaced: snapshot.strays.contains(told),
            templates: self.templates,
            names: Arc::clone(names),
            routes,
        }
    }
}

fn network(look: &Look<'_>, cluster: &ClusterSpec, own: &ServerSpec) -> NetworkAssignment {
    let others = look.servers.iter().map(|server| server.spec).filter(|server| server.name != own.name);
    let peers = others.map(|server| Peer {
        name: server.name.clone(),
        number: server.number,
        underlay: server.address,
        subnet: server.subnet,
    });
    NetworkAssignment {
        number: own.number,
        underlay: own.address,
        subnet: own.subnet,
        range: cluster.range,
        vni: cluster.vni,
        domain: cluster.domain.clone(),
        peers: peers.collect(),
    }
}
