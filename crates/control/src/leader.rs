//! Leadership: a key whose guard rides on every commit of the leader. A deposed leader's commits are refused by the store itself.

use api::{Name, key};
use serde::{Deserialize, Serialize};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use store::{Commit, Guard, Revision, Store, StoreError, Write};

/// Who leads, and the how manieth leader that is.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    server: Name,
    epoch: u64,
}

/// Proof of leadership, and the source of generations: they grow over all leaders.
#[derive(Clone)]
pub struct Leader {
    revision: Revision,
    next: Arc<AtomicU64>,
}

/// Generations one leader may give out before the next leader's begin. A leader would need years of a million a second.
const GENERATIONS_PER_EPOCH: u64 = 1 << 40;

/// Becomes the leader.
pub async fn claim(store: &dyn Store, server: &Name) -> Result<Leader, StoreError> {
    loop {
        let current = store.get(key::LEADER).await?;
        let revision = current.as_ref().map_or(0, |entry| entry.revision);
        let epoch = current.and_then(|entry| serde_json::from_slice::<Record>(&entry.value).ok()).map_or(0, |r| r.epoch) + 1;
        let record = Record { server: server.clone(), epoch };
        let value = serde_json::to_vec(&record).unwrap_or_default().into();
        let commit = Commit {
            guards: vec![Guard::Unchanged { key: key::LEADER.to_owned(), revision }],
            writes: vec![Write::Put { key: key::LEADER.to_owned(), value }],
        };
        match store.commit(commit).await {
            Ok(revision) => {
                return Ok(Leader { revision, next: Arc::new(AtomicU64::new(epoch * GENERATIONS_PER_EPOCH)) });
            }
            Err(StoreError::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
    }
}

impl Leader {
    /// The guard that makes a commit the leader's.
    pub fn guard(&self) -> Guard {
        Guard::Unchanged { key: key::LEADER.to_owned(), revision: self.revision }
    }

    /// A generation greater than every one before.
    pub fn generation(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed) + 1
    }
}
