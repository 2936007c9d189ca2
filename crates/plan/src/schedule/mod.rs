//! The scheduler: filters that say why not, and the choice of the best server that is left.

mod explain;
mod fit;
mod fullness;
mod search;
mod share;

pub(crate) use explain::{explain, summary};
pub(crate) use fit::fit;
pub(crate) use search::Search;

use crate::fleet::{ByServer, Fleet, Key, Room, Servers, bucket};
use api::{
    Name,
    spec::{PlacementRules, PublishedPort, Strategy},
};
use std::net::Ipv4Addr;

/// What is to be placed.
pub(crate) struct Request<'r> {
    /// The job or container.
    pub who: &'r Name,
    /// What one instance reserves.
    pub room: Room,
    /// The job's rules; a lone container has the default ones.
    pub rules: &'r PlacementRules,
    /// Only these servers.
    pub listed: Option<Servers>,
    /// The server that its group is on.
    pub anchor: Option<usize>,
    /// Ports that must be free on the server itself: a lone container's.
    pub ports: &'r [PublishedPort],
    /// The address asked for.
    pub address: Option<Ipv4Addr>,
    /// A lone container, not an instance of a job.
    pub lone: bool,
    /// Its old instance goes before it comes, and leaves it its address.
    pub instead: bool,
}

/// How many slots of the job each server runs.
#[derive(Clone, Default)]
pub(crate) struct Crowd(pub ByServer<u32>);

impl Crowd {
    pub fn on(&self, server: usize) -> u32 {
        self.0.get(&server).copied().unwrap_or(0)
    }

    pub fn add(&mut self, server: usize) {
        *self.0.entry(server).or_default() += 1;
    }

    pub fn remove(&mut self, server: usize) {
        if let Some(count) = self.0.get_mut(&server) {
            *count = count.saturating_sub(1);
        }
    }
}

/// The slot that is to be filled.
#[derive(Clone, Default)]
pub(crate) struct Slot {
    /// Servers that run it already: a replacement there does not count twice.
    pub own: Vec<usize>,
    /// Rather not there: it failed there.
    pub shun: Vec<usize>,
}

/// All that a filter looks at.
#[derive(Clone, Copy)]
pub(crate) struct View<'v, 'f> {
    pub fleet: &'v Fleet<'f>,
    pub request: &'v Request<'v>,
    pub crowd: &'v Crowd,
}

/// Smaller is better.
pub(crate) type Score = (u64, Key);

impl View<'_, '_> {
    /// Slots of the job on this server, other than the one to be filled.
    pub fn crowd_beside(&self, server: usize, slot: &Slot) -> u32 {
        self.crowd.on(server).saturating_sub(u32::from(slot.own.contains(&server)))
    }

    /// How good a server is, by the job's strategy. The orders in [`crate::fleet::Index`] agree with it.
    pub fn score(&self, server: usize, slot: &Slot) -> Score {
        let host = &self.fleet.hosts[server];
        match self.request.rules.strategy {
            Strategy::Resource => (0, crate::fleet::share_key(host)),
            Strategy::Spread => (u64::from(self.crowd_beside(server, slot)), crate::fleet::share_key(host)),
            Strategy::Binpack if host.instances == 0 => (u64::MAX, crate::fleet::size_key(host)),
            Strategy::Binpack if self.request.room.memory > 0 => (0, crate::fleet::tight_key(host)),
            Strategy::Binpack => (u64::from(bucket(host.cpu_free())), crate::fleet::tight_key(host)),
        }
    }
}
