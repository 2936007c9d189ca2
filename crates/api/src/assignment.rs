//! Assignments: everything one server must be, with a generation. Cut from specs, plan and reports by the control plane.

use crate::{
    name::{InstanceId, Name},
    plan::Wanted,
    spec::{PodTemplate, Power, Protocol},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
    sync::Arc,
};

/// The full set for one server. An agent refuses an older generation, and different content under the same one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Assignment {
    /// Grows with every change; comparable only within one cluster and server.
    pub generation: u64,
    /// For whom.
    pub server: Name,
    /// Its place in the cluster's network.
    pub network: NetworkAssignment,
    /// Every pod that shall exist here. Any other of ours is stopped and removed.
    pub pods: BTreeMap<InstanceId, PodAssignment>,
    /// This server was lost: what runs here and is not in `pods` was replaced meanwhile, and has no time to lose with its end.
    #[serde(default)]
    pub replaced: bool,
    /// Templates the pods refer to, by digest, so that a hundred instances carry one.
    pub templates: BTreeMap<String, Arc<PodTemplate>>,
    /// What the DNS server answers.
    pub names: Arc<NameTable>,
    /// Ports of this server that lead to pods.
    pub routes: Arc<Vec<Route>>,
}

/// One pod that shall exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PodAssignment {
    /// `web/3` or `c1`; what people see.
    pub display: String,
    /// Host name inside: `web-3` or `c1`.
    pub hostname: String,
    /// Which entry of `templates`.
    pub template: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// What to make of it.
    pub wanted: Wanted,
    /// For a lone container: on, off or frozen. `On` for a job's instance.
    pub power: Power,
    /// For a lone container: restarts asked for.
    pub restarts: u32,
}

/// A server's place in the cluster's network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NetworkAssignment {
    /// Own number.
    pub number: u16,
    /// Own address on the underlay.
    pub underlay: IpAddr,
    /// Own containers.
    pub subnet: ipnet::Ipv4Net,
    /// All containers of the cluster.
    pub range: ipnet::Ipv4Net,
    /// VXLAN network identifier.
    pub vni: u32,
    /// Names end in this.
    pub domain: String,
    /// Every other server.
    pub peers: Vec<Peer>,
}

/// Another server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Peer {
    /// Its name.
    pub name: Name,
    /// Its number.
    pub number: u16,
    /// Its address on the underlay.
    pub underlay: IpAddr,
    /// Its containers.
    pub subnet: ipnet::Ipv4Net,
}

/// What DNS answers, relative to the cluster's domain: `web` → six addresses, `web-3.web` → one, `c1` → one.
///
/// Only instances that serve are in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NameTable {
    /// Addresses by relative lower-case name, without the domain.
    pub names: BTreeMap<String, Vec<Ipv4Addr>>,
    /// Addresses of servers by lower-case host name, whole, without the final dot.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hosts: BTreeMap<String, Vec<Ipv4Addr>>,
}

/// A port of the server and the pods behind it. Connections are spread over the targets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Route {
    /// Port on the server.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Pods that serve, in order of slot. Empty: the port is known, and refused.
    pub targets: Vec<SocketAddrV4>,
}
