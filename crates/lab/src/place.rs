//! A server's network for threads of the test itself: they enter its namespace and are clients there.

use nix::sched::{CloneFlags, setns};
use std::{fs::File, sync::Arc};

/// A network namespace that stays usable while this lives.
#[derive(Clone)]
pub struct Place {
    namespace: Arc<File>,
}

impl Place {
    /// The network of this process.
    #[track_caller]
    pub(crate) fn of(pid: i32) -> Self {
        let path = format!("/proc/{pid}/ns/net");
        Self { namespace: Arc::new(File::open(&path).unwrap_or_else(|error| panic!("{path}: {error}"))) }
    }

    /// Moves this thread into it, for the rest of its life.
    pub(crate) fn enter(&self) {
        setns(&*self.namespace, CloneFlags::CLONE_NEWNET).unwrap_or_else(|error| panic!("enter a network namespace: {error}"));
    }

    /// Does something there, in a thread of its own, and waits for it.
    #[track_caller]
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let done = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    self.enter();
                    work()
                })
                .join()
        });
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
