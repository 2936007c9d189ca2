//! One thread that hears of the end of every pod: it polls the hang-ups of all shims' sockets.

use crate::{Error, Result, sys};
use api::InstanceId;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::{
    collections::HashMap,
    os::fd::{AsFd as _, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
};

/// Called on the watcher's thread with the pod whose shim is gone.
pub type OnEnd = Box<dyn Fn(InstanceId) + Send>;

/// Connections by pod. Shared, so that a poll that is going on keeps those it polls.
type Watched = HashMap<InstanceId, Arc<OwnedFd>>;

/// Watches connections to shims. Dropping it ends its thread.
pub struct Watcher {
    watched: Arc<Mutex<Watched>>,
    wake: OwnedFd,
}

impl Watcher {
    /// Starts the thread.
    pub fn start(name: &str, on_end: OnEnd) -> Result<Self> {
        let (woken, wake) = sys::pipe()?;
        let watched = Arc::new(Mutex::new(HashMap::new()));
        let shared = Arc::clone(&watched);
        std::thread::Builder::new()
            .name(format!("{name}-watch"))
            .spawn(move || watch(&woken, &shared, &on_end))
            .map_err(|e| Error::call("start the watching thread", e))?;
        Ok(Self { watched, wake })
    }

    /// Watches a connection to the pod's shim, instead of one to its former shim.
    pub fn add(&self, id: InstanceId, connection: OwnedFd) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.insert(id, Arc::new(connection));
        drop(watched);
        let _ = nix::unistd::write(&self.wake, b"w");
    }

    /// Is the pod watched?
    pub fn has(&self, id: InstanceId) -> bool {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&id)
    }
}

/// Polls until the watcher is dropped. Connections are shared out for the duration of a poll, so that nobody waits for it.
fn watch(woken: &OwnedFd, watched: &Mutex<Watched>, on_end: &OnEnd) {
    loop {
        let polled: Vec<(InstanceId, Arc<OwnedFd>)> = {
            let watched = watched.lock().unwrap_or_else(PoisonError::into_inner);
            watched.iter().map(|(id, fd)| (*id, Arc::clone(fd))).collect()
        };
        let mut all = vec![PollFd::new(woken.as_fd(), PollFlags::POLLIN)];
        all.extend(polled.iter().map(|(_, fd)| PollFd::new(fd.as_fd(), PollFlags::POLLIN)));
        match poll(&mut all, PollTimeout::NONE) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => {
                tracing::error!(%error, "the watching thread cannot poll");
                return;
            }
        }
        let ready = |p: &PollFd<'_>| p.any().unwrap_or(true);
        let ended: Vec<bool> = all[1..].iter().map(ready).collect();
        if ready(&all[0]) && !matches!(sys::read_some(woken, &mut [0; 64]), Ok(1..)) {
            return;
        }
        drop(all);
        for ((id, connection), _) in polled.into_iter().zip(ended).filter(|(_, ended)| *ended) {
            let mut now = watched.lock().unwrap_or_else(PoisonError::into_inner);
            // Meanwhile the pod may have a new shim, of which this connection says nothing.
            let same = now.get(&id).is_some_and(|current| Arc::ptr_eq(current, &connection));
            if same {
                now.remove(&id);
                drop(now);
                on_end(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::net::UnixStream, sync::mpsc, time::Duration};

    #[test]
    fn a_hang_up_is_told_once_and_at_once() {
        let (tell, told) = mpsc::channel();
        let watcher = Watcher::start("test", Box::new(move |id| tell.send(id).unwrap())).unwrap();
        let (mine, theirs) = UnixStream::pair().unwrap();
        let (other, _kept) = UnixStream::pair().unwrap();
        watcher.add(InstanceId(1), mine.into());
        watcher.add(InstanceId(2), other.into());
        assert!(told.recv_timeout(Duration::from_millis(50)).is_err());
        drop(theirs);
        assert_eq!(told.recv_timeout(Duration::from_secs(5)).unwrap(), InstanceId(1));
        assert!(!watcher.has(InstanceId(1)) && watcher.has(InstanceId(2)));
        assert!(told.recv_timeout(Duration::from_millis(50)).is_err());
    }
}
