//! The engine: one state, the workers that make it true, and the door to both: an assignment in, a report out.
//!
//! *Invariant:* one worker per pod at a time; the lock on the state is never held across a driver's call.

use crate::{
    Drivers,
    changes::ChangedReceiver,
    copies::Copies,
    health::{self, Round, Target, Tracker, Tried},
    ledger::{self, Ledger, LedgerError, Record, Refused},
    observe, plane, report,
    state::{Pod, State},
    steps::Step,
    usage, volumes, worker,
};
use api::{
    assignment::Assignment,
    name::{InstanceId, Name},
    report::Report,
    spec::ContainerKind,
};
use base::supervise::{Scope, Signal};
use driver::{
    image::BlobSource,
    runtime::{PodState, Runtime},
};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{RwLock, Semaphore, watch};

/// Images fetched at once.
const PULLS: usize = 4;
/// Pods being stopped at once: each may wait for its whole grace period on a thread.
const STOPS: usize = 64;
/// Checks tried at once.
const PROBES: usize = 64;
/// Commands run by people at once.
const EXECS: usize = 128;
/// Imports, pulls and bootstraps at once.
const IMAGE_WORKS: usize = 4;
/// Copies of images at once: a manager asks for one at a time.
const COPY_WORKS: usize = 1;

/// Where missing content comes from, given the latest assignment.
pub type Sources = Arc<dyn Fn(&Assignment) -> Arc<dyn BlobSource> + Send + Sync>;

/// What an engine is made of.
pub struct Setup {
    /// Its own server.
    pub server: Name,
    /// Where the ledger and volumes are.
    pub state_dir: PathBuf,
    /// Pods handled at once.
    pub parallel: usize,
    /// Hands and eyes.
    pub drivers: Drivers,
    /// Where missing images come from.
    pub sources: Sources,
    /// Tasks live in it.
    pub scope: Scope,
}

/// Shared by everything in the agent.
pub struct Inner {
    /// Its own server.
    pub server: Name,
    /// Below it are named volumes.
    pub volumes: PathBuf,
    /// Its disk is reported.
    pub state_dir: PathBuf,
    /// Hands and eyes.
    pub drivers: Drivers,
    /// Runtimes that work here, by what they run.
    pub runtimes: Vec<(ContainerKind, Arc<dyn Runtime>)>,
    /// On disk.
    pub ledger: Ledger,
    /// Tasks live in it.
    pub scope: Scope,
    /// Where missing images come from.
    pub sources: Sources,
    /// The report may have changed.
    pub dirty: Signal,
    /// The dataplane may have to change.
    pub network: Signal,
    /// Bounds work on pods.
    pub heavy: Semaphore,
    /// Bounds fetching.
    pub pulls: Semaphore,
    /// Bounds stopping.
    pub stops: Semaphore,
    /// Bounds checks.
    pub probes: Semaphore,
    /// Bounds commands.
    pub execs: Arc<Semaphore>,
    /// Bounds image work that people ask for.
    pub image_works: Arc<Semaphore>,
    /// Bounds copies that come for safety.
    pub copy_works: Arc<Semaphore>,
    /// Held for reading while content comes, for writing while it goes.
    pub content: Arc<RwLock<()>>,
    /// Copies that come for safety only.
    pub copies: Copies,
    state: Mutex<State>,
}

/// A running engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine(pub(crate) Arc<Inner>);

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The ledger cannot be used.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A component ended at once.
    #[error("{0}")]
    Other(String),
}

impl Engine {
    /// Observes the server, then lives by what the ledger says. What runs is adopted, never restarted.
    pub async fn start(setup: Setup, changed: ChangedReceiver) -> Result<Self, StartError> {
        let ledger = Ledger::open(setup.state_dir.join("ledger"))?;
        let (told, records) = (ledger.assignment()?.map(Arc::new), ledger.records()?);
        let volumes = setup.state_dir.join("volumes");
        let folder = volumes.clone();
        let cleared = Scope::blocking(move || volumes::clear(&folder)).await.map_err(StartError::Other)?;
        if let Err(error) = cleared {
            tracing::warn!(%error, "what was left of unfinished volumes stays");
        }
        let runtimes = setup.drivers.runtimes.iter().map(|runtime| (runtime.info(), runtime));
        let usable = runtimes.filter(|(info, _)| info.unavailable.is_none());
        let inner = Arc::new(Inner {
            server: setup.server,
            volumes,
            state_dir: setup.state_dir,
            runtimes: usable.map(|(info, runtime)| (info.kind, Arc::clone(runtime))).collect(),
            drivers: setup.drivers,
            ledger,
            scope: setup.scope.clone(),
            sources: setup.sources,
            dirty: Signal::new(),
            network: Signal::new(),
            heavy: Semaphore::new(setup.parallel.max(1)),
            pulls: Semaphore::new(PULLS),
            stops: Semaphore::new(STOPS),
            probes: Semaphore::new(PROBES),
            execs: Arc::new(Semaphore::new(EXECS)),
            image_works: Arc::new(Semaphore::new(IMAGE_WORKS)),
            copy_works: Arc::new(Semaphore::new(COPY_WORKS)),
            content: Arc::default(),
            copies: Copies::default(),
            state: Mutex::new(State::default()),
        });
        inner.remember(told, records);
        observe::first(&inner).await.map_err(StartError::Other)?;
        inner.ready();
        setup.scope.component("observer", observe::run(Arc::clone(&inner), changed));
        setup.scope.component("dataplane", plane::run(Arc::clone(&inner)));
        setup.scope.component("usage", usage::run(Arc::clone(&inner)));
        Ok(Self(inner))
    }

    /// Takes an assignment: refuses it, or writes it down and begins to make it true.
    pub async fn assign(&self, told: Assignment) -> Result<(), Refused> {
        let told = Arc::new(told);
        let held = self.0.lock().told.clone();
        let verdict = ledger::admit(&self.0.server, held.as_ref(), &told);
        self.0.problem("assignment", verdict.as_ref().err().map(ToString::to_string));
        if !verdict? {
            return Ok(());
        }
        let (ledger, written) = (self.0.ledger.clone(), Arc::clone(&told));
        let result = Scope::blocking(move || ledger.write_assignment(&written)).await;
        result.and_then(|done| done.map_err(|e| e.to_string())).map_err(Refused::Unwritten)?;
        self.0.live_by(told);
        Ok(())
    }

    /// This server belongs to no cluster any more: everything is stopped and removed, and the assignment forgotten.
    pub async fn forget(&self) -> Result<(), String> {
        let ledger = self.0.ledger.clone();
        Scope::blocking(move || ledger.forget_assignment()).await?.map_err(|e| e.to_string())?;
        let empty = self.0.lock().told.as_ref().map(|told| Assignment {
            generation: 0,
            pods: Default::default(),
            routes: Arc::default(),
            names: Arc::default(),
            ..Assignment::clone(told)
        });
        if let Some(empty) = empty {
            self.0.live_by(Arc::new(empty));
        }
        Ok(())
    }

    /// What this server is.
    pub fn report(&self) -> Report {
        report::report(&self.0.server, &self.0.lock(), base::env::timer())
    }

    /// Wakes whenever the report may have changed.
    pub fn reports(&self) -> watch::Receiver<u64> {
        self.0.dirty.listen()
    }

    /// Generation of the assignment it lives by; 0 for none.
    pub fn generation(&self) -> u64 {
        self.0.lock().told.as_ref().map_or(0, |told| told.generation)
    }
}

impl Inner {
    /// The state. Held for moments only.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this server has the instance, or is told of it within so long.
    pub async fn knows(&self, id: InstanceId, patience: Duration) -> bool {
        let mut changes = self.dirty.listen();
        let told = async {
            while !self.lock().pods.contains_key(&id) {
                if changes.changed().await.is_err() {
                    return false;
                }
            }
            true
        };
        tokio::time::timeout(patience, told).await.unwrap_or(false)
    }

    /// The runtime for containers of this kind.
    pub fn runtime(&self, kind: ContainerKind) -> Option<Arc<dyn Runtime>> {
        self.runtimes.iter().find(|(own, _)| *own == kind).map(|(_, runtime)| Arc::clone(runtime))
    }

    /// The runtime that has this pod, if the pod is here.
    pub fn runtime_of(&self, id: InstanceId) -> Option<Arc<dyn Runtime>> {
        let kind = self.lock().pods.get(&id).filter(|pod| pod.seen.is_some()).map(|pod| pod.record.kind);
        kind.and_then(|kind| self.runtime(kind))
    }

    /// Says, or no longer says, that something outside any pod is wrong.
    pub fn problem(&self, place: &'static str, what: Option<String>) {
        let mut state = self.lock();
        let before = match what {
            Some(what) => state.problems.insert(place, what.clone()).filter(|old| *old == what),
            None => state.problems.remove(place).is_none().then(String::new),
        };
        drop(state);
        if before.is_none() {
            self.dirty.wake();
        }
    }

    fn remember(&self, told: Option<Arc<Assignment>>, records: std::collections::BTreeMap<InstanceId, Record>) {
        let mut state = self.lock();
        state.pods = records.into_iter().map(|(id, record)| (id, Pod::saved(record))).collect();
        state.told = told;
        state.expect();
    }

    /// The server has been observed: names are handed on and workers begin.
    fn ready(self: &Arc<Self>) {
        let mut state = self.lock();
        state.line_up(base::env::timer());
        let told = state.told.clone();
        drop(state);
        if let Some(told) = told {
            (self.drivers.names)(&told);
        }
        self.kick_all();
    }

    fn live_by(self: &Arc<Self>, told: Arc<Assignment>) {
        let mut state = self.lock();
        let same = state.told.as_ref().is_some_and(|old| old.names == told.names && old.network == told.network);
        state.told = Some(Arc::clone(&told));
        state.expect();
        drop(state);
        if !same {
            (self.drivers.names)(&told);
        }
        self.network.wake();
        self.kick_all();
        self.dirty.wake();
    }

    /// Has every pod looked at that needs it.
    pub fn kick_all(self: &Arc<Self>) {
        let now = base::env::timer();
        let state = self.lock();
        let needs = |id: &InstanceId, pod: &Pod| pod.busy || !matches!(state.step(*id, now), Step::Rest | Step::AwaitNetwork);
        let ids: Vec<InstanceId> = state.pods.iter().filter(|(id, pod)| needs(id, pod)).map(|(id, _)| *id).collect();
        drop(state);
        for id in ids {
            self.kick(id);
        }
    }

    /// Has one pod looked at: by its worker, or a new one.
    pub fn kick(self: &Arc<Self>, id: InstanceId) {
        let mut state = self.lock();
        let Some(pod) = state.pods.get_mut(&id) else { return };
        if pod.busy {
            pod.wake.notify_one();
        } else {
            pod.busy = true;
            self.scope.job(worker::look_after(Arc::clone(self), id));
        }
    }

    /// Starts the checks of a run that has just begun, or was adopted.
    pub fn start_checks(self: &Arc<Self>, id: InstanceId, run: u64, count: usize) {
        for index in 0..count {
            self.scope.job(health::watch(Arc::clone(self), id, run, index));
        }
    }

    /// What a check shall try next; None once that run is over.
    pub fn check_round(&self, id: InstanceId, run: u64, index: usize) -> Option<Round> {
        let state = self.lock();
        let pod = state.pods.get(&id).filter(|pod| pod.run == run && pod.is_up())?;
        let tracker = pod.checks.get(index)?;
        let moving = pod.seen.as_ref().is_some_and(|status| status.state == PodState::Running);
        let target = |tracker: &Tracker| {
            let address = state.told(id)?.pod.address;
            Some(Target { address, container: tracker.container.clone(), check: tracker.check.clone() })
        };
        Some(Round { target: moving.then(|| target(tracker)).flatten(), pause: tracker.pause() })
    }

    /// A check was tried.
    pub fn check_done(self: &Arc<Self>, id: InstanceId, run: u64, index: usize, (result, lines): Tried) {
        let now = base::env::timer();
        let mut state = self.lock();
        let Some(pod) = state.pods.get_mut(&id).filter(|pod| pod.run == run && pod.is_up()) else { return };
        let age = pod.age(now);
        let Some(tracker) = pod.checks.get_mut(index) else { return };
        let erred = tracker.error.is_some();
        let verdict = tracker.record(result, age);
        let lines = lines.filter(|lines| *lines != tracker.lines);
        let news = verdict || erred != tracker.error.is_some() || lines.is_some();
        if let Some(lines) = lines {
            tracker.lines = lines;
        }
        if verdict {
            pod.checked();
        }
        drop(state);
        if news {
            self.dirty.wake();
            // Its record may have to be written.
            self.kick(id);
        }
    }
}

#[cfg(test)]
mod tests;
