//! When a change has arrived everywhere: every living server has names and routes that were cut from a world with it.

use crate::{Control, world::World};
use api::{Name, Snapshot, server::Liveness};
use imbl::OrdMap;
use std::{collections::BTreeMap, time::Duration};
use tokio::sync::watch;

/// A server that has not followed by then is slow, or about to be lost: nobody waits longer for it.
const PATIENCE: Duration = Duration::from_secs(3);

/// The assignment a server's session has cut last, or found to be still right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Sequence of the world it was cut from.
    pub world: u64,
    /// Its number.
    pub generation: u64,
}

/// The latest cut of each server.
#[derive(Default)]
pub struct Cuts(watch::Sender<OrdMap<Name, Cut>>);

impl Cuts {
    /// A session has looked at a world.
    pub fn note(&self, server: &Name, cut: Cut) {
        self.0.send_modify(|cuts| {
            cuts.insert(server.clone(), cut);
        });
    }
}

/// Waits until every living server has what follows from the world as it is now; those that have not in time.
pub async fn settled(control: &Control) -> Vec<Name> {
    let (mut worlds, mut cuts) = (control.world.listen(), control.cuts.0.subscribe());
    let mut waiting = Waiting::begin(&worlds.borrow_and_update());
    let all = async {
        loop {
            waiting.look(&cuts.borrow_and_update(), &worlds.borrow_and_update().snapshot);
            if waiting.servers.is_empty() {
                return;
            }
            let changed = tokio::select! {
                changed = worlds.changed() => changed,
                changed = cuts.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(PATIENCE, all).await;
    waiting.servers.into_keys().collect()
}

/// Servers that are waited for.
struct Waiting {
    since: u64,
    /// Which generation has what is waited for, once that is known.
    servers: BTreeMap<Name, Option<u64>>,
}

impl Waiting {
    fn begin(world: &World) -> Self {
        let snapshot = &world.snapshot;
        let alive = snapshot.servers.keys().filter(|name| snapshot.liveness(name) == Liveness::Alive);
        Self { since: world.sequence, servers: alive.map(|name| (name.clone(), None)).collect() }
    }

    /// Forgets those that have it, and those that are not there any more.
    fn look(&mut self, cuts: &OrdMap<Name, Cut>, snapshot: &Snapshot) {
        let since = self.since;
        self.servers.retain(|name, needed| {
            let late_enough = cuts.get(name).filter(|cut| cut.world >= since).map(|cut| cut.generation);
            *needed = needed.or(late_enough);
            let has = snapshot.reports.get(name).map_or(0, |report| report.applied);
            snapshot.liveness(name) == Liveness::Alive && needed.is_none_or(|needed| has < needed)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::report::{Report, ServerUsage};
    use std::sync::Arc;

    fn name(text: &str) -> Name {
        Name::parse("server", text).unwrap()
    }

    fn world(applied: u64) -> Snapshot {
        let mut snapshot = Snapshot::default();
        snapshot.liveness.insert(name("s1"), Liveness::Alive);
        let (instances, images, problems) = (BTreeMap::new(), Vec::new(), Vec::new());
        let report = Report {
            server: name("s1"),
            generation: applied,
            applied,
            instances,
            images,
            usage: ServerUsage::default(),
            problems,
        };
        snapshot.reports.insert(name("s1"), Arc::new(report));
        snapshot
    }

    fn waiting() -> Waiting {
        Waiting { since: 10, servers: BTreeMap::from([(name("s1"), None)]) }
    }

    fn cut(world: u64, generation: u64) -> OrdMap<Name, Cut> {
        OrdMap::unit(name("s1"), Cut { world, generation })
    }

    #[test]
    fn a_server_is_waited_for_until_it_applied_what_was_cut_late_enough() {
        let mut all = waiting();
        all.look(&OrdMap::new(), &world(9));
        all.look(&cut(9, 4), &world(9));
        assert_eq!(all.servers[&name("s1")], None);
        all.look(&cut(10, 5), &world(4));
        // A later cut does not move the goal.
        all.look(&cut(12, 7), &world(4));
        assert_eq!(all.servers[&name("s1")], Some(5));
        all.look(&cut(12, 7), &world(5));
        assert!(all.servers.is_empty());
    }

    #[test]
    fn a_lost_server_is_not_waited_for() {
        let mut all = waiting();
        let mut snapshot = world(0);
        snapshot.liveness.insert(name("s1"), Liveness::Lost);
        all.look(&OrdMap::new(), &snapshot);
        assert!(all.servers.is_empty());
    }
}
