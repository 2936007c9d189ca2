//! Leaving a pod alone while its files are read: nothing is started, stopped or removed meanwhile, and, if asked for, its
//! processes stand still. It counts as running all the while, so that names and routes keep leading to it.

use crate::{engine::Inner, exec};
use api::{
    error::{Error, Result},
    name::InstanceId,
    spec::Power,
};
use driver::runtime::PodState;
use std::{sync::Arc, thread::sleep, time::Duration};

/// Longest wait until nobody else is busy with the pod: most stops and other readings are over by then.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// A pod that is left alone until this is dropped.
pub struct Hold {
    inner: Arc<Inner>,
    id: InstanceId,
}

impl Hold {
    /// Waits for whoever is busy with it. On a thread that may block.
    pub fn take(inner: &Arc<Inner>, id: InstanceId) -> Result<Self> {
        let began = base::env::timer();
        loop {
            let mut state = inner.lock();
            let pod = state.pods.get_mut(&id).ok_or_else(|| exec::absent(id))?;
            if !pod.acting && pod.held.is_none() {
                pod.held = Some(false);
                return Ok(Self { inner: Arc::clone(inner), id });
            }
            drop(state);
            if base::env::timer().saturating_duration_since(began) > PATIENCE {
                return Err(Error::conflict(format!("instance {id} is being stopped or read by somebody else: try again later")));
            }
            sleep(LOOK);
        }
    }

    /// Holds its processes still, unless they do not move anyway.
    pub fn still(&mut self) -> Result<()> {
        let runs = |state: &crate::state::State| {
            let status = state.pods.get(&self.id).and_then(|pod| pod.seen.as_ref());
            status.is_some_and(|status| status.state == PodState::Running)
        };
        if !runs(&self.inner.lock()) {
            return Ok(());
        }
        let runtime = self.inner.runtime_of(self.id).ok_or_else(|| exec::absent(self.id))?;
        self.mark(true);
        match runtime.freeze(self.id, true) {
            Ok(()) => self.froze(true),
            Err(error) => {
                self.mark(false);
                // One that has ended just now does not move either.
                if runs(&self.inner.lock()) {
                    return Err(Error::failed(error.message));
                }
            }
        }
        Ok(())
    }

    fn mark(&self, still: bool) {
        if let Some(pod) = self.inner.lock().pods.get_mut(&self.id) {
            pod.held = Some(still);
        }
    }

    fn froze(&self, frozen: bool) {
        if let Some(pod) = self.inner.lock().pods.get_mut(&self.id) {
            pod.froze(frozen);
            pod.epoch = pod.epoch.wrapping_add(1);
        }
    }

    /// Whether we hold it still, and nobody wants it so.
    fn thaws(&self) -> bool {
        let state = self.inner.lock();
        let still = state.pods.get(&self.id).is_some_and(|pod| pod.held == Some(true));
        still && state.told(self.id).is_none_or(|told| told.pod.power != Power::Frozen)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.thaws() {
            // When this fails its worker goes on trying: frozen is not what it is told.
            match self.inner.runtime_of(self.id).map(|runtime| runtime.freeze(self.id, false)) {
                Some(Ok(())) => self.froze(false),
                Some(Err(error)) => tracing::warn!(id = %self.id, %error, "still held after it was read"),
                None => {}
            }
        }
        if let Some(pod) = self.inner.lock().pods.get_mut(&self.id) {
            pod.held = None;
        }
        self.inner.dirty.wake();
        self.inner.kick(self.id);
    }
}
