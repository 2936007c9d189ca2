//! Addresses: which ones of its server's subnet are taken, and which one a new instance gets.

use api::{InstanceId, server::ServerSpec};
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// Addresses of a subnet that instances may have: all but the network's, the gateway's (the first) and the broadcast.
pub(crate) fn usable(subnet: Ipv4Net) -> u32 {
    let all = u32::from(subnet.broadcast()) - u32::from(subnet.network());
    all.saturating_sub(2)
}

/// May an instance on this server have this address?
pub(crate) fn is_usable(server: &ServerSpec, address: Ipv4Addr) -> bool {
    let subnet = server.subnet;
    subnet.contains(&address) && address != subnet.network() && address != subnet.broadcast() && address != server.gateway()
}

/// The addresses of one server: a bit for each that instances may have.
pub(crate) struct Pool {
    first: u32,
    size: u32,
    left: u32,
    /// As long as the highest one taken needs: most servers use few.
    taken: Vec<u64>,
}

impl Pool {
    pub fn new(server: &ServerSpec) -> Self {
        let size = usable(server.subnet);
        Self { first: u32::from(server.gateway()).saturating_add(1), size, left: size, taken: Vec::new() }
    }

    /// How many are free.
    pub fn left(&self) -> u32 {
        self.left
    }

    fn bit(&self, address: Ipv4Addr) -> Option<(usize, u64)> {
        let offset = u32::from(address).checked_sub(self.first).filter(|offset| *offset < self.size)?;
        Some(((offset / 64) as usize, 1 << (offset % 64)))
    }

    /// Takes one. One that is not of this pool, or is taken, changes nothing.
    pub fn take(&mut self, address: Ipv4Addr) {
        let Some((word, bit)) = self.bit(address) else { return };
        if self.taken.len() <= word {
            self.taken.resize(word + 1, 0);
        }
        self.left -= u32::from(self.taken[word] & bit == 0);
        self.taken[word] |= bit;
    }

    pub fn is_taken(&self, address: Ipv4Addr) -> bool {
        self.bit(address).is_some_and(|(word, bit)| self.taken.get(word).is_some_and(|taken| taken & bit != 0))
    }

    /// The address for a new instance: the search begins at a place that moves on with every instance made, so that an
    /// address just given back is not handed out again until the subnet has been gone round.
    pub fn choose(&self, id: InstanceId) -> Option<Ipv4Addr> {
        if self.left == 0 {
            return None;
        }
        let start = u32::try_from(id.0.saturating_sub(1) % u64::from(self.size)).unwrap_or(0);
        let turn = (start..self.size).chain(0..start);
        turn.map(|offset| Ipv4Addr::from(self.first + offset)).find(|address| !self.is_taken(*address))
    }
}
