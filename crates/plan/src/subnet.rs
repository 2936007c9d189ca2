//! Subnets: which part of the cluster's range a joining server gets.

use api::{Error, Result, Snapshot};
use ipnet::Ipv4Net;
use std::{collections::BTreeMap, net::Ipv4Addr};

/// The subnet of the next server: the lowest free one but the range's very first, which is taken only when no other is
/// left, so that server 1 of `10.0.0.0/16` has `10.0.1.0/24`.
///
/// Fails with `Conflict` when every one belongs to a server, and with `Failed` before the cluster is started.
pub fn next_subnet(snapshot: &Snapshot) -> Result<Ipv4Net> {
    let cluster = snapshot.cluster.as_ref().ok_or_else(|| Error::failed("the cluster has not been started: run roost up"))?;
    let (range, prefix) = (cluster.range, cluster.server_prefix);
    let subnets = range.subnets(prefix).map_err(|_| {
        Error::failed(format!("a server's subnet /{prefix} does not fit into the cluster's range {range}: use a longer prefix"))
    })?;
    let taken: BTreeMap<Ipv4Addr, Ipv4Addr> =
        snapshot.servers.values().map(|server| (server.subnet.network(), server.subnet.broadcast())).collect();
    let first = range.subnets(prefix).into_iter().flatten().next();
    subnets.skip(1).chain(first).find(|subnet| is_free(&taken, subnet)).ok_or_else(|| {
        Error::conflict(format!(
            "no /{prefix} is left in the cluster's range {range}: each belongs to one of its {} servers",
            taken.len()
        ))
    })
}

/// Taken subnets never overlap each other, so the last that begins before our end is the only one that can reach into ours.
fn is_free(taken: &BTreeMap<Ipv4Addr, Ipv4Addr>, subnet: &Ipv4Net) -> bool {
    taken.range(..=subnet.broadcast()).next_back().is_none_or(|(_, end)| *end < subnet.network())
}
