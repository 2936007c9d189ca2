//! A network of values.

use super::{Faults, lock};
use crate::{DriverError, Network, Result};
use api::{
    InstanceId,
    dataplane::{Dataplane, PodLink},
};
use std::{collections::BTreeMap, path::PathBuf, sync::Mutex};

/// Remembers what it was made equal to.
#[derive(Default)]
pub struct FakeNetwork {
    /// Calls, failures, delays: verbs are the trait's.
    pub faults: Faults,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    dataplane: Option<Dataplane>,
    pods: BTreeMap<InstanceId, PodLink>,
    connections: BTreeMap<InstanceId, u32>,
}

impl FakeNetwork {
    /// Nothing there.
    pub fn new() -> Self {
        Self::default()
    }

    /// What it was last made equal to.
    pub fn dataplane(&self) -> Option<Dataplane> {
        lock(&self.state).dataplane.clone()
    }

    /// Links that are there.
    pub fn links(&self) -> BTreeMap<InstanceId, PodLink> {
        lock(&self.state).pods.clone()
    }

    /// From now on the pod has so many connections.
    pub fn set_connections(&self, id: InstanceId, count: u32) {
        lock(&self.state).connections.insert(id, count);
    }
}

impl Network for FakeNetwork {
    fn ensure(&self, dataplane: &Dataplane) -> Result<()> {
        self.faults.enter("ensure", "")?;
        lock(&self.state).dataplane = Some(dataplane.clone());
        Ok(())
    }

    fn ensure_pod(&self, link: &PodLink) -> Result<PathBuf> {
        self.faults.enter("ensure_pod", link.id)?;
        let mut state = lock(&self.state);
        let bridge = state.dataplane.as_ref().map(|plane| plane.bridge.name.clone());
        if bridge.as_ref() != Some(&link.bridge) {
            return Err(DriverError::retryable(format!("there is no bridge {}", link.bridge)));
        }
        if let Some((other, _)) = state.pods.iter().find(|(id, own)| **id != link.id && own.address == link.address) {
            return Err(DriverError::retryable(format!("address {} is in use by {other}", link.address)));
        }
        state.pods.insert(link.id, link.clone());
        Ok(PathBuf::from(format!("/run/netns/roost-{}", link.id)))
    }

    fn remove_pod(&self, id: InstanceId) -> Result<()> {
        self.faults.enter("remove_pod", id)?;
        let mut state = lock(&self.state);
        state.pods.remove(&id);
        state.connections.remove(&id);
        Ok(())
    }

    fn observe_pods(&self) -> Result<Vec<InstanceId>> {
        self.faults.enter("observe_pods", "")?;
        Ok(lock(&self.state).pods.keys().copied().collect())
    }

    fn connections(&self, id: InstanceId) -> Result<u32> {
        self.faults.enter("connections", id)?;
        Ok(lock(&self.state).connections.get(&id).copied().unwrap_or(0))
    }

    fn traffic(&self, id: InstanceId) -> Result<(u64, u64)> {
        self.faults.enter("traffic", id)?;
        if lock(&self.state).pods.contains_key(&id) {
            Ok((1_000, 2_000))
        } else {
            Err(DriverError::fatal(format!("pod {id} has no link")))
        }
    }

    fn problems(&self) -> Vec<String> {
        Vec::new()
    }

    fn clear(&self) -> Result<()> {
        self.faults.enter("clear", "")?;
        *lock(&self.state) = State::default();
        Ok(())
    }
}
