//! The world: the snapshot, the revision of each key behind it, and the one place where it changes.

use crate::registry_tokens;
use api::{
    Name, Snapshot,
    assignment::NameTable,
    key,
    registry::{ManifestRecord, RegistrySettings},
    report::Report,
    server::Liveness,
};
use imbl::OrdMap;
use serde::de::DeserializeOwned;
use std::sync::{Arc, OnceLock};
use tokio::sync::watch;

/// A stored value that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the value of key {key} is not what this version writes")]
pub struct Decode {
    key: String,
    source: serde_json::Error,
}

/// A snapshot with what commits need to know about it. Cheap to clone.
#[derive(Clone, Default)]
pub struct World {
    /// The nouns.
    pub snapshot: Snapshot,
    /// Revision of each key's last change; what guards are made of.
    pub revisions: OrdMap<String, u64>,
    /// Number of the next server to join.
    pub next_server: u16,
    /// Join tokens by key, as stored.
    pub tokens: OrdMap<String, Arc<[u8]>>,
    /// Counts the changes of this process's world: a later world has a greater one.
    pub sequence: u64,
    /// Manifests that were pushed, by `repository@digest`.
    pub manifests: OrdMap<String, Arc<ManifestRecord>>,
    /// Tokens of the registry by hash.
    pub registry_tokens: OrdMap<String, Arc<registry_tokens::Record>>,
    /// What everybody may do at the registry.
    pub registry: RegistrySettings,
    names: Arc<OnceLock<Arc<NameTable>>>,
}

impl World {
    /// What DNS answers in this world; computed once.
    pub fn names(&self) -> Arc<NameTable> {
        Arc::clone(self.names.get_or_init(|| Arc::new(plan::names(&self.snapshot))))
    }

    fn changed(&mut self) {
        self.names = Arc::default();
        self.sequence += 1;
    }

    /// A guard that a key is as it is in this world.
    pub fn unchanged(&self, key: &str) -> store::Guard {
        store::Guard::Unchanged { key: key.to_owned(), revision: self.revisions.get(key).copied().unwrap_or(0) }
    }

    /// Takes one change of the store in. `None`: the key is gone.
    pub fn take(&mut self, key: &str, value: Option<(&[u8], u64)>) -> Result<(), Decode> {
        match value {
            Some((_, revision)) => self.revisions.insert(key.to_owned(), revision),
            None => self.revisions.remove(key),
        };
        let value = value.map(|(bytes, _)| bytes);
        let s = &mut self.snapshot;
        if let Some(name) = key.strip_prefix(key::JOB_PLANS) {
            return entry(&mut s.job_plans, key, name, value);
        } else if let Some(name) = key.strip_prefix(key::CONTAINER_PLANS) {
            return entry(&mut s.container_plans, key, name, value);
        } else if let Some(name) = key.strip_prefix(key::JOBS) {
            return entry(&mut s.jobs, key, name, value);
        } else if let Some(name) = key.strip_prefix(key::CONTAINERS) {
            return entry(&mut s.containers, key, name, value);
        } else if let Some(name) = key.strip_prefix(key::SERVERS) {
            return entry(&mut s.servers, key, name, value);
        } else if let Some(name) = key.strip_prefix(key::IMAGES) {
            set(&mut s.images, key, name, value)?;
        } else if let Some(name) = key.strip_prefix(key::APPS) {
            return entry(&mut s.apps, key, name, value);
        } else if key.starts_with(key::TOKENS) {
            match value {
                Some(bytes) => self.tokens.insert(key.to_owned(), bytes.into()),
                None => self.tokens.remove(key),
            };
        } else if let Some(name) = key.strip_prefix(key::REGISTRY_MANIFESTS) {
            set(&mut self.manifests, key, name, value)?;
        } else if let Some(hash) = key.strip_prefix(key::REGISTRY_TOKENS) {
            set(&mut self.registry_tokens, key, hash, value)?;
        } else if key == key::REGISTRY_SETTINGS {
            self.registry = value.map(|bytes| decode(key, bytes)).transpose()?.unwrap_or_default();
        } else if key == key::NEXT_SERVER {
            self.next_server = value.map(|bytes| decode(key, bytes)).transpose()?.unwrap_or(1);
        } else if key == key::CLUSTER {
            s.cluster = value.map(|bytes| decode(key, bytes)).transpose()?.map(Arc::new);
        } else if key == key::NEXT_INSTANCE {
            s.next_instance = value.map(|bytes| decode(key, bytes)).transpose()?.unwrap_or(0);
        }
        Ok(())
    }
}

fn entry<T: DeserializeOwned>(map: &mut OrdMap<Name, Arc<T>>, key: &str, name: &str, value: Option<&[u8]>) -> Result<(), Decode> {
    let name: Name = decode(key, serde_json::Value::from(name).to_string().as_bytes())?;
    match value {
        Some(bytes) => map.insert(name, Arc::new(decode(key, bytes)?)),
        None => map.remove(&name),
    };
    Ok(())
}

fn set<T: DeserializeOwned>(map: &mut OrdMap<String, Arc<T>>, key: &str, name: &str, value: Option<&[u8]>) -> Result<(), Decode> {
    match value {
        Some(bytes) => map.insert(name.to_owned(), Arc::new(decode(key, bytes)?)),
        None => map.remove(name),
    };
    Ok(())
}

/// Reads a stored value.
pub fn decode<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, Decode> {
    serde_json::from_slice(bytes).map_err(|source| Decode { key: key.to_owned(), source })
}

/// The current world, for everybody to see; changed only through this.
pub struct Shared(watch::Sender<World>);

impl Default for Shared {
    fn default() -> Self {
        Self(watch::Sender::new(World::default()))
    }
}

impl Shared {
    /// The world as it is now.
    pub fn now(&self) -> World {
        self.0.borrow().clone()
    }

    /// To be told when it changes.
    pub fn listen(&self) -> watch::Receiver<World> {
        self.0.subscribe()
    }

    /// Changes it; `change` says whether anything that names or plans depend on did.
    pub fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let mut out = None;
        self.0.send_modify(|world| {
            out = Some(change(world));
            world.changed();
        });
        match out {
            Some(out) => out,
            None => unreachable!("send_modify always calls its closure"),
        }
    }

    /// Puts a new report in, unless it says what the last one said. Gives back the former.
    pub fn report(&self, report: Report) -> Option<Option<Arc<Report>>> {
        let mut former = None;
        self.0.send_if_modified(|world| {
            if world.snapshot.reports.get(&report.server).map(AsRef::as_ref) == Some(&report) {
                return false;
            }
            former = Some(world.snapshot.take_report(Arc::new(report)));
            world.changed();
            true
        });
        former
    }

    /// Sets a server's liveness; says whether it is another than before.
    pub fn liveness(&self, server: &Name, liveness: Liveness) -> bool {
        self.0.send_if_modified(|world| {
            let changed = world.snapshot.liveness.get(server) != Some(&liveness);
            if changed {
                world.snapshot.liveness.insert(server.clone(), liveness);
                if liveness == Liveness::Lost {
                    world.snapshot.strays.insert(server.clone());
                }
                world.changed();
            }
            changed
        })
    }

    /// Waits until the store's changes up to `revision` are in.
    pub async fn reaches(&self, revision: u64) {
        let mut listen = self.listen();
        let _ = listen.wait_for(|world| world.snapshot.revision >= revision).await;
    }
}
