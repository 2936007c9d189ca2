//! The walk for `binpack`: the fullest server that still fits; when none in use does, the largest empty one.

use super::{Slot, View, fit, search::is_passing};
use crate::fleet::{Key, bucket};
use std::{
    collections::{BTreeSet, HashMap},
    ops::Bound,
};

/// Where the walk stands.
pub(crate) struct ByFullness {
    index: usize,
    /// For each bucket of free processor time, the last server that need not be looked at again.
    passed: HashMap<u8, Key>,
    /// The same for the empty ones.
    passed_empty: Option<Key>,
    /// Servers chosen in this search that may still have room: they only became fuller, so they come first.
    chosen: Vec<usize>,
}

impl ByFullness {
    pub fn new(index: usize) -> Self {
        Self { index, passed: HashMap::new(), passed_empty: None, chosen: Vec::new() }
    }

    /// The best server, or none.
    pub fn next(&mut self, view: View<'_, '_>, slot: &Slot) -> Option<usize> {
        self.among_chosen(view, slot).or_else(|| self.among_used(view, slot)).or_else(|| self.among_empty(view, slot))
    }

    fn among_chosen(&mut self, view: View<'_, '_>, slot: &Slot) -> Option<usize> {
        self.chosen.retain(|server| is_passing(slot, *server) || fit(view, *server, slot).is_ok());
        let open = self.chosen.iter().copied().filter(|server| !is_passing(slot, *server));
        open.min_by_key(|server| view.score(*server, slot))
    }

    fn among_used(&mut self, view: View<'_, '_>, slot: &Slot) -> Option<usize> {
        let room = view.request.room;
        let mut best: Option<Key> = None;
        for (number, members) in view.fleet.ordered(self.index).used.range(bucket(room.cpu)..) {
            let enough = Key::before(room.memory);
            let from = match self.passed.get(number) {
                Some(key) if *key >= enough => Bound::Excluded(*key),
                _ => Bound::Included(enough),
            };
            let walked = walk(view, slot, (members, from, best));
            if let Some(key) = walked.passed {
                self.passed.insert(*number, key);
            }
            best = walked.found.or(best);
            // Without memory to go by, the least free processor time is the fullest.
            if room.memory == 0 && best.is_some() {
                break;
            }
        }
        best.map(|key| view.fleet.at_rank(key.rank()))
    }

    fn among_empty(&mut self, view: View<'_, '_>, slot: &Slot) -> Option<usize> {
        let from = self.passed_empty.map_or(Bound::Unbounded, Bound::Excluded);
        let walked = walk(view, slot, (&view.fleet.ordered(self.index).empty, from, None));
        self.passed_empty = walked.passed.or(self.passed_empty);
        walked.found.map(|key| view.fleet.at_rank(key.rank()))
    }

    /// Says that an instance was put there.
    pub fn placed(&mut self, server: usize) {
        if !self.chosen.contains(&server) {
            self.chosen.push(server);
        }
    }
}

/// What one walk came to.
struct Walked {
    found: Option<Key>,
    /// Everything up to here does not fit, now or later in this search.
    passed: Option<Key>,
}

fn walk(view: View<'_, '_>, slot: &Slot, along: (&BTreeSet<Key>, Bound<Key>, Option<Key>)) -> Walked {
    let (members, from, best) = along;
    let mut walked = Walked { found: None, passed: None };
    let mut contiguous = true;
    for key in members.range((from, Bound::Unbounded)) {
        if best.is_some_and(|best| best <= *key) {
            break;
        }
        let server = view.fleet.at_rank(key.rank());
        if is_passing(slot, server) {
            contiguous = false;
        } else if fit(view, server, slot).is_ok() {
            walked.found = Some(*key);
            break;
        } else if contiguous {
            walked.passed = Some(*key);
        }
    }
    walked
}
