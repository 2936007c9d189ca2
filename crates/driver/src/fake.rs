//! Fakes of every driver that can be told to fail. Used by the agent's tests and by whole-cluster simulations.
//!
//! Each keeps its state in memory, as the kernel would keep it, so a new agent over the same fakes finds what the former
//! one left. Each call is counted, and can be made to fail or take time: [`Faults`].

mod builder;
mod images;
mod network;
mod runtime;

pub use builder::FakeBuilder;
pub use images::FakeImages;
pub use network::FakeNetwork;
pub use runtime::{FakeInspect, FakeRuntime};

use crate::{DriverError, Result};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Calls kept for looking at.
const CALLS_MAX: usize = 100_000;

/// What a fake was asked, and what shall go wrong.
#[derive(Default)]
pub struct Faults {
    state: Mutex<FaultState>,
}

#[derive(Default)]
struct FaultState {
    calls: Vec<String>,
    fail: BTreeMap<String, (u32, DriverError)>,
    delay: BTreeMap<String, Duration>,
}

impl Faults {
    /// The next `times` calls of `verb` fail with `error`.
    pub fn fail(&self, verb: &str, times: u32, error: DriverError) {
        lock(&self.state).fail.insert(verb.to_owned(), (times, error));
    }

    /// From now on `verb` takes so long, on the caller's thread.
    pub fn delay(&self, verb: &str, pause: Duration) {
        lock(&self.state).delay.insert(verb.to_owned(), pause);
    }

    /// Everything goes right and fast again.
    pub fn heal(&self) {
        let mut state = lock(&self.state);
        state.fail.clear();
        state.delay.clear();
    }

    /// Every call so far, `verb` or `verb argument`, oldest first.
    pub fn calls(&self) -> Vec<String> {
        lock(&self.state).calls.clone()
    }

    /// How many calls began with this.
    pub fn count(&self, prefix: &str) -> usize {
        lock(&self.state).calls.iter().filter(|call| call.starts_with(prefix)).count()
    }

    /// A call is made: it is noted, takes its time, and may fail.
    pub fn enter(&self, verb: &str, argument: impl std::fmt::Display) -> Result<()> {
        let mut state = lock(&self.state);
        let argument = argument.to_string();
        if state.calls.len() < CALLS_MAX {
            state.calls.push(if argument.is_empty() { verb.to_owned() } else { format!("{verb} {argument}") });
        }
        let pause = state.delay.get(verb).copied();
        let failure = match state.fail.get_mut(verb) {
            Some((times, error)) if *times > 0 => {
                *times -= 1;
                Err(error.clone())
            }
            _ => Ok(()),
        };
        drop(state);
        if let Some(pause) = pause {
            std::thread::sleep(pause);
        }
        failure
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
