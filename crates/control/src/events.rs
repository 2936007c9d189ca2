//! What happened, for people. A ring in memory: never an input to a decision.

use api::{
    event::{Event, Noun},
    quantity::Timestamp,
};
use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};
use tokio::sync::watch;

/// Events kept. Older ones are gone.
const KEPT: usize = 10_000;

/// The ring.
pub struct Events {
    ring: Mutex<VecDeque<Event>>,
    last: watch::Sender<u64>,
}

impl Default for Events {
    fn default() -> Self {
        Self { ring: Mutex::default(), last: watch::Sender::new(0) }
    }
}

impl Events {
    /// Something happened.
    pub fn note(&self, noun: Noun, name: impl Into<String>, message: impl Into<String>) {
        let (name, message) = (name.into(), message.into());
        tracing::info!(?noun, name, message, "event");
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let sequence = ring.back().map_or(0, |event| event.sequence) + 1;
        if ring.len() == KEPT {
            ring.pop_front();
        }
        ring.push_back(Event { sequence, at: Timestamp(base::env::now_millis()), noun, name, message });
        self.last.send_replace(sequence);
    }

    /// Events after this number, oldest first.
    pub fn after(&self, sequence: u64) -> Vec<Event> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.iter().filter(|event| event.sequence > sequence).cloned().collect()
    }

    /// Waits for an event after this number.
    pub async fn wait(&self, sequence: u64) {
        let _ = self.last.subscribe().wait_for(|last| *last > sequence).await;
    }
}
