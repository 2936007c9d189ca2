//! Servers as the cluster records them.

use crate::{
    name::Name,
    quantity::{Bytes, Cpu, Timestamp},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

/// A server that joined. Written by the API (at join, and by `server set`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServerSpec {
    /// Unique.
    pub name: Name,
    /// Number of the server in the cluster, from 1, never used again: gives the link addresses and marks.
    pub number: u16,
    /// Address other servers reach it at.
    pub address: IpAddr,
    /// Its containers' addresses; the first host address is the bridge's and the DNS server's.
    pub subnet: ipnet::Ipv4Net,
    /// Also runs the control plane.
    pub manager: bool,
    /// New instances go elsewhere and those here are moved away.
    #[serde(default)]
    pub draining: bool,
    /// For constraints.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// SHA-256 of its certificate's public key, hex. Only this key may speak as the server.
    pub key_fingerprint: String,
    /// What it has, as it said when it last came.
    pub facts: ServerFacts,
    /// When it joined.
    pub joined: Timestamp,
}

impl ServerSpec {
    /// The bridge's address: gateway and DNS server of its containers.
    pub fn gateway(&self) -> Ipv4Addr {
        let base = u32::from(self.subnet.network());
        Ipv4Addr::from(base + 1)
    }
}

/// What a server has. Read by its agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServerFacts {
    /// Processor time that may be reserved.
    pub cpu: Cpu,
    /// Memory that may be reserved.
    pub memory: Bytes,
    /// Machine type, as in `uname -m`.
    pub arch: String,
    /// Kernel release.
    pub kernel: String,
    /// Name of the distribution.
    pub os: String,
    /// `v1`, `v2` or `hybrid`.
    pub cgroups: String,
    /// Version of Roost.
    pub version: String,
    /// Things this kernel can do: `overlay`, `vxlan`, `nftables`, `wireguard`, `lxc`.
    pub features: Vec<String>,
}

/// Whether a server is there. Decided by the control plane from heartbeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Liveness {
    /// The control plane has just started and has not heard of it yet. Nothing is decided about it.
    Unknown,
    /// Heartbeats arrive.
    Alive,
    /// The agent is silent but its machine answers: containers live on, nothing is replaced for a while.
    AgentAway,
    /// Silent: its instances are replaced.
    Lost,
}
