//! The fleet: what every server has left while placements are made, with the orders that make the choice quick.

mod holders;
mod index;
mod number;

pub(crate) use holders::Holders;
pub(crate) use index::{Index, Key, SizeClass, bucket, share_key, size_key, tight_key};
pub(crate) use number::{ByServer, Servers};

use crate::{address::Pool, look::Look};
use api::{
    InstanceId,
    plan::Placement,
    server::{Liveness, ServerSpec},
    spec::{PodTemplate, Protocol},
};
use std::{
    cell::Cell,
    collections::{BTreeMap, HashMap},
    net::Ipv4Addr,
};

/// Why a server takes nothing new at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Closed {
    Lost,
    Away,
    Unknown,
    Draining,
}

/// What one instance reserves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Room {
    pub memory: u64,
    pub cpu: u32,
}

impl Room {
    pub fn of(template: &PodTemplate) -> Self {
        Self { memory: template.memory().0, cpu: template.cpu().0 }
    }

    pub fn times(self, count: u32) -> Self {
        Self { memory: self.memory.saturating_mul(u64::from(count)), cpu: self.cpu.saturating_mul(count) }
    }

    pub fn minus(self, other: Self) -> Self {
        Self { memory: self.memory.saturating_sub(other.memory), cpu: self.cpu.saturating_sub(other.cpu) }
    }

    pub fn plus(self, other: Self) -> Self {
        Self { memory: self.memory.saturating_add(other.memory), cpu: self.cpu.saturating_add(other.cpu) }
    }
}

/// One server while placements are made.
pub(crate) struct Host<'a> {
    pub spec: &'a ServerSpec,
    pub closed: Option<Closed>,
    pub reserved: Room,
    pub instances: u32,
    pub addresses: Pool,
    /// What it has, beside what is reserved of it.
    all: Room,
    /// Place among equals.
    pub rank: u32,
}

impl Host<'_> {
    pub fn memory_free(&self) -> u64 {
        self.all.memory.saturating_sub(self.reserved.memory)
    }

    pub fn cpu_free(&self) -> u32 {
        self.all.cpu.saturating_sub(self.reserved.cpu)
    }

    /// The smaller of the free shares of memory and processor, in millionths.
    pub fn free_share(&self) -> u64 {
        // Kilobytes, so that a million times as much fits into 64 bits.
        let memory = share(self.memory_free() >> 10, self.all.memory >> 10);
        memory.min(share(u64::from(self.cpu_free()), u64::from(self.all.cpu)))
    }

    pub fn has_room(&self, room: Room) -> bool {
        // Nothing reserved fits anywhere, also where more has been reserved than the server now says it has.
        (room.memory == 0 || room.memory <= self.memory_free()) && (room.cpu == 0 || room.cpu <= self.cpu_free())
    }
}

fn share(free: u64, all: u64) -> u64 {
    free.saturating_mul(1_000_000) / all.max(1)
}

/// Every server, and everything placed on it.
pub(crate) struct Fleet<'a> {
    /// In the order of [`Look::servers`].
    pub hosts: Vec<Host<'a>>,
    /// Servers by rank.
    by_rank: Vec<usize>,
    /// Ports that lone containers publish, by server.
    ports: HashMap<usize, BTreeMap<(u16, Protocol), String>>,
    /// Ports that jobs publish, on every server.
    job_ports: BTreeMap<(u16, Protocol), String>,
    pub holders: Holders<'a>,
    indexes: Vec<Index>,
    next_instance: u64,
    /// How often a server was looked at, for the law that this stays small.
    looked: Cell<u64>,
}

impl<'a> Fleet<'a> {
    /// All servers, empty.
    pub fn new(look: &Look<'a>, seed: u64) -> Self {
        let mut by_rank: Vec<usize> = (0..look.servers.len()).collect();
        if seed != 0 {
            by_rank.sort_by_key(|index| scatter(seed, *index));
        }
        let mut ranks = vec![0; by_rank.len()];
        for (rank, index) in (0u32..).zip(&by_rank) {
            ranks[*index] = rank;
        }
        let hosts = look.servers.iter().zip(ranks).map(|(server, rank)| Host {
            spec: server.spec,
            closed: closed(server.liveness, server.spec.draining),
            reserved: Room::default(),
            instances: 0,
            addresses: Pool::new(server.spec),
            all: Room { memory: server.spec.facts.memory.0, cpu: server.spec.facts.cpu.0 },
            rank,
        });
        Self {
            hosts: hosts.collect(),
            by_rank,
            ports: HashMap::new(),
            job_ports: BTreeMap::new(),
            holders: Holders::new(look.snapshot),
            indexes: Vec::new(),
            next_instance: look.snapshot.next_instance.max(1),
            looked: Cell::new(0),
        }
    }

    /// Counts a look at a server.
    pub fn note_look(&self) {
        self.looked.set(self.looked.get() + 1);
    }

    /// How often a server was looked at since the fleet was made.
    #[cfg(test)]
    pub fn looks(&self) -> u64 {
        self.looked.get()
    }

    /// The server with this rank.
    pub fn at_rank(&self, rank: u32) -> usize {
        self.by_rank[rank as usize]
    }

    /// Counts a placement that exists. `room` is what its template reserves.
    pub fn hold(&mut self, server: usize, placement: &Placement, room: Room) {
        let host = &mut self.hosts[server];
        host.reserved = host.reserved.plus(room);
        host.instances += 1;
        host.addresses.take(placement.address);
    }

    /// Counts the ports a lone container publishes on its server.
    pub fn hold_ports(&mut self, server: usize, owner: &str, template: &PodTemplate) {
        let ports = template.publish.iter().map(|port| ((port.host, port.protocol), owner.to_owned()));
        self.ports.entry(server).or_default().extend(ports);
    }

    /// Counts the ports a job publishes everywhere.
    pub fn hold_job_ports(&mut self, owner: &str, template: &PodTemplate) {
        self.job_ports.extend(template.publish.iter().map(|port| ((port.host, port.protocol), owner.to_owned())));
    }

    /// Who has a port of this server.
    pub fn port_owner(&self, server: usize, port: (u16, Protocol)) -> Option<&str> {
        let own = self.ports.get(&server).and_then(|ports| ports.get(&port));
        own.or_else(|| self.job_ports.get(&port)).map(String::as_str)
    }

    /// Takes the next instance id and an address on this server.
    pub fn take(&mut self, server: usize, asked: Option<Ipv4Addr>) -> Option<(InstanceId, Ipv4Addr)> {
        let id = InstanceId(self.next_instance);
        let address = asked.or_else(|| self.hosts[server].addresses.choose(id))?;
        self.next_instance += 1;
        Some((id, address))
    }

    /// The first instance id not taken.
    pub fn next_instance(&self) -> u64 {
        self.next_instance
    }

    /// Counts a placement just made, and keeps the orders.
    pub fn settle(&mut self, server: usize, placement: &Placement, room: Room) {
        for index in &mut self.indexes {
            index.remove(server, &self.hosts[server]);
        }
        self.hold(server, placement, room);
        for index in &mut self.indexes {
            index.insert(server, &self.hosts[server]);
        }
    }

    /// The orders of the servers with one of these labels, the rarest of them; of all servers when none is asked for.
    /// Made at its first use and kept from then on.
    pub fn index(&mut self, labels: &BTreeMap<String, String>) -> usize {
        let wanted: Vec<Option<(&str, &str)>> = match labels.is_empty() {
            true => vec![None],
            false => labels.iter().map(|(key, value)| Some((key.as_str(), value.as_str()))).collect(),
        };
        let made: Vec<usize> = wanted.into_iter().map(|label| self.ensure_index(label)).collect();
        made.into_iter().min_by_key(|index| self.indexes[*index].members()).unwrap_or(0)
    }

    fn ensure_index(&mut self, label: Option<(&str, &str)>) -> usize {
        if let Some(known) = self.indexes.iter().position(|index| index.is_for(label)) {
            return known;
        }
        let mut index = Index::new(label, &self.hosts);
        for (server, host) in self.hosts.iter().enumerate() {
            index.insert(server, host);
        }
        self.indexes.push(index);
        self.indexes.len() - 1
    }

    pub fn ordered(&self, index: usize) -> &Index {
        &self.indexes[index]
    }
}

fn closed(liveness: Liveness, draining: bool) -> Option<Closed> {
    match liveness {
        Liveness::Lost => Some(Closed::Lost),
        Liveness::AgentAway => Some(Closed::Away),
        Liveness::Unknown => Some(Closed::Unknown),
        Liveness::Alive => draining.then_some(Closed::Draining),
    }
}

/// A number that looks random and is always the same for the same two (splitmix64, Steele and others, 2014).
fn scatter(seed: u64, index: usize) -> u64 {
    let mut mixed = seed.wrapping_add((index as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
