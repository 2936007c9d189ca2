//! The walk for `resource` and `spread`: the largest free share first, in each size class of machines.

use super::{Crowd, Slot, View, fit, search::is_passing};
use crate::fleet::{ByServer, Fleet, Key, SizeClass, share_key};
use std::{collections::BTreeSet, ops::Bound};

/// Where the walk stands.
pub(crate) struct ByShare {
    index: usize,
    /// For each size class, the last server that need not be looked at again.
    passed: Vec<Option<Key>>,
    /// For `spread`: the servers that run slots of this job, those with the fewest first. They are left out of the walk.
    crowded: Option<Crowded>,
}

/// Servers that run slots of the job, in order.
#[derive(Default)]
struct Crowded {
    order: BTreeSet<(u32, Key)>,
    at: ByServer<(u32, Key)>,
}

impl Crowded {
    fn put(&mut self, server: usize, place: (u32, Key)) {
        if let Some(old) = self.at.insert(server, place) {
            self.order.remove(&old);
        }
        self.order.insert(place);
    }
}

impl ByShare {
    pub fn new(fleet: &Fleet<'_>, index: usize, spread: Option<&Crowd>) -> Self {
        let crowded = spread.map(|crowd| {
            let mut crowded = Crowded::default();
            for (server, count) in crowd.0.iter().filter(|(_, count)| **count > 0) {
                crowded.put(*server, (*count, share_key(&fleet.hosts[*server])));
            }
            crowded
        });
        Self { index, passed: vec![None; fleet.ordered(index).sizes.len()], crowded }
    }

    /// The best server, or none.
    pub fn next(&mut self, view: View<'_, '_>, slot: &Slot) -> Option<usize> {
        let mut best: Option<Key> = None;
        for (size, class) in view.fleet.ordered(self.index).sizes.iter().enumerate() {
            let room = view.request.room;
            if class.memory >= room.memory && class.cpu >= room.cpu {
                best = self.along(view, slot, (size, class, best)).or(best);
            }
        }
        best.map(|key| view.fleet.at_rank(key.rank())).or_else(|| self.among_crowded(view, slot))
    }

    /// The first of a class that fits, if it is better than the best so far.
    fn along(&mut self, view: View<'_, '_>, slot: &Slot, step: (usize, &SizeClass, Option<Key>)) -> Option<Key> {
        let (size, class, best) = step;
        let from = self.passed[size].map_or(Bound::Unbounded, Bound::Excluded);
        let mut contiguous = true;
        for key in class.by_share.range((from, Bound::Unbounded)) {
            if best.is_some_and(|best| best <= *key) {
                return None;
            }
            let server = view.fleet.at_rank(key.rank());
            if is_passing(slot, server) {
                contiguous = false;
            } else if !self.is_crowded(server) && fit(view, server, slot).is_ok() {
                return Some(*key);
            } else if contiguous {
                self.passed[size] = Some(*key);
            }
        }
        None
    }

    fn is_crowded(&self, server: usize) -> bool {
        self.crowded.as_ref().is_some_and(|crowded| crowded.at.contains_key(&server))
    }

    fn among_crowded(&mut self, view: View<'_, '_>, slot: &Slot) -> Option<usize> {
        let crowded = self.crowded.as_mut()?;
        let mut full = Vec::new();
        let mut found = None;
        for place in &crowded.order {
            let server = view.fleet.at_rank(place.1.rank());
            if is_passing(slot, server) {
                continue;
            }
            if fit(view, server, slot).is_ok() {
                found = Some(server);
                break;
            }
            full.push(*place);
        }
        // They will not fit again in this search; the slot's own servers are looked at apart.
        for place in full {
            crowded.order.remove(&place);
        }
        found
    }

    /// Says that an instance was put there.
    pub fn placed(&mut self, view: View<'_, '_>, server: usize) {
        if let Some(crowded) = &mut self.crowded {
            crowded.put(server, (view.crowd.on(server), share_key(&view.fleet.hosts[server])));
        }
    }
}
