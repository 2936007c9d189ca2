//! The search for the best server, many times over for one job.
//!
//! While a job's instances are placed, servers only fill up. So a server that did not fit will not fit later in the same
//! search, and one that was taken only gets worse: the walk along an order never has to turn back, and all the walks of
//! one search together pass every server about once, however many instances are placed.

use super::{Score, Slot, View, fit, fullness::ByFullness, share::ByShare};
use crate::fleet::Fleet;
use api::spec::Strategy;

/// The walk of one request.
pub(crate) enum Search {
    /// Few servers come into question: each is looked at.
    Few(Vec<usize>),
    Share(ByShare),
    Fullness(ByFullness),
}

/// So few servers are looked at one by one, sooner than an order is kept for them.
const FEW: usize = 64;

impl Search {
    /// Begins a search. Makes the order it walks along, if no other search has.
    pub fn begin(fleet: &mut Fleet<'_>, request: &super::Request<'_>, crowd: &super::Crowd) -> Self {
        if let Some(anchor) = request.anchor {
            return Self::Few(vec![anchor]);
        }
        if let Some(listed) = request.listed.as_ref().filter(|listed| listed.len() <= FEW) {
            return Self::Few(listed.iter().copied().collect());
        }
        let index = fleet.index(&request.rules.require);
        match request.rules.strategy {
            Strategy::Binpack => Self::Fullness(ByFullness::new(index)),
            Strategy::Resource => Self::Share(ByShare::new(fleet, index, None)),
            Strategy::Spread => Self::Share(ByShare::new(fleet, index, Some(crowd))),
        }
    }

    /// The best server that fits; one to be shunned only when no other does.
    pub fn choose(&mut self, view: View<'_, '_>, slot: &Slot) -> Option<usize> {
        let willing = Slot { own: slot.own.clone(), shun: Vec::new() };
        self.look(view, slot).or_else(|| if slot.shun.is_empty() { None } else { self.look(view, &willing) })
    }

    fn look(&mut self, view: View<'_, '_>, slot: &Slot) -> Option<usize> {
        let walked = match self {
            Self::Few(servers) => best(view, slot, servers),
            Self::Share(walk) => walk.next(view, slot),
            Self::Fullness(walk) => walk.next(view, slot),
        };
        // The slot's own servers count one less, so the walk may have passed them by.
        let own = best(view, slot, &slot.own);
        walked.into_iter().chain(own).min_by_key(|server| view.score(*server, slot))
    }

    /// Says that an instance was put there.
    pub fn placed(&mut self, view: View<'_, '_>, server: usize) {
        match self {
            Self::Few(_) => {}
            Self::Share(walk) => walk.placed(view, server),
            Self::Fullness(walk) => walk.placed(server),
        }
    }
}

/// The best of some servers that fit.
fn best(view: View<'_, '_>, slot: &Slot, servers: &[usize]) -> Option<usize> {
    let fitting = servers.iter().copied().filter(|server| !slot.shun.contains(server) && fit(view, *server, slot).is_ok());
    let scored = fitting.map(|server| (view.score(server, slot), server));
    scored.min().map(|(_, server): (Score, usize)| server)
}

/// Whether a server passed by may come into question for another slot of the same job.
pub(super) fn is_passing(slot: &Slot, server: usize) -> bool {
    slot.shun.contains(&server)
}
