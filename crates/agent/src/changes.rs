//! How a runtime's "something changed" reaches the agent: a set of pods, so that any number of calls stays small.

use api::name::InstanceId;
use base::supervise::Signal;
use driver::runtime::PodChanged;
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

/// The agent's end.
pub struct ChangedReceiver {
    pods: Arc<Mutex<BTreeSet<InstanceId>>>,
    signal: Signal,
}

/// A pair made before the runtimes are: the callback is theirs, the receiver is [`crate::run`]'s. Several runtimes share
/// one receiver: see [`ChangedReceiver::callback`].
pub fn changed() -> (PodChanged, ChangedReceiver) {
    let receiver = ChangedReceiver { pods: Arc::default(), signal: Signal::new() };
    (receiver.callback(), receiver)
}

impl ChangedReceiver {
    /// One more callback, for one more runtime.
    pub fn callback(&self) -> PodChanged {
        let (pods, signal) = (Arc::clone(&self.pods), self.signal.clone());
        Box::new(move |id| {
            pods.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
            signal.wake();
        })
    }

    /// Pods that changed since the last call.
    pub fn take(&self) -> BTreeSet<InstanceId> {
        std::mem::take(&mut *self.pods.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Wakes when there is something to take.
    pub fn listen(&self) -> tokio::sync::watch::Receiver<u64> {
        self.signal.listen()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn any_number_of_calls_from_any_callback_is_one_wake_and_a_set() {
        let (first, receiver) = changed();
        let second = receiver.callback();
        let mut wakes = receiver.listen();
        for _ in 0..100 {
            first(InstanceId(1));
            second(InstanceId(2));
        }
        wakes.changed().await.unwrap();
        assert_eq!(receiver.take(), BTreeSet::from([InstanceId(1), InstanceId(2)]));
        assert!(!wakes.has_changed().unwrap());
        assert!(receiver.take().is_empty());
    }
}
