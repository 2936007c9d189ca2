//! What the agent knows: told, seen and remembered, in one place. No effects here: transitions and questions only.

use crate::{
    boot::{self, Ahead, Place},
    dataplane,
    health::{self, Tracker},
    ledger::{Failure, Record},
    resolve::{self, LocalImages},
    steps::{self, Drain, Link, Seen, Step, Told},
};
use api::{
    assignment::Assignment,
    dataplane::Dataplane,
    name::InstanceId,
    plan::Wanted,
    report::{Health, Phase, ServerUsage},
    spec::ContainerKind,
};
use base::backoff::Backoff;
use driver::runtime::{PodState, PodStatus};
use std::{
    collections::BTreeMap,
    mem::{Discriminant, discriminant},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

/// A program that ran this long was not in trouble: its next pause is short again.
pub const STEADY: Duration = Duration::from_secs(10);
/// First and longest pause before a program that ended is started again.
const RESTART: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));
/// First and longest pause before a step that failed is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Everything.
#[derive(Default)]
pub struct State {
    /// The assignment this server lives by.
    pub told: Option<Arc<Assignment>>,
    /// Every pod that is told, here, or remembered.
    pub pods: BTreeMap<InstanceId, Pod>,
    /// Images that are here, complete.
    pub images: LocalImages,
    /// The network that was last made, and when.
    pub applied: Option<(Dataplane, Instant)>,
    /// Generation that the network and the names are those of.
    pub current: u64,
    /// What is wrong outside any pod, by where.
    pub problems: BTreeMap<&'static str, String>,
    /// Use of the server when last looked.
    pub usage: ServerUsage,
    /// Who comes up one after the other since the server started.
    pub boot: Vec<Place>,
}

/// One pod.
pub struct Pod {
    /// Remembered on disk.
    pub record: Record,
    /// As the runtime last said.
    pub seen: Option<PodStatus>,
    /// A namespace or link is here.
    pub linked: bool,
    /// Its namespace, once made or verified.
    pub netns: Option<PathBuf>,
    /// Its checks in the current run.
    pub checks: Vec<Tracker>,
    /// Why the last step failed.
    pub message: Option<String>,
    /// A worker looks after it.
    pub busy: bool,
    /// Wakes that worker.
    pub wake: Arc<Notify>,
    /// Its worker is changing what the runtime has of it.
    pub acting: bool,
    /// Counts such changes, so that an observation from before one is not believed after it.
    pub epoch: u64,
    /// Somebody reads its files: nothing is done to it meanwhile. Whether it is held still for that.
    pub held: Option<bool>,
    /// Heavy work about it has begun.
    pub turn: bool,
    /// Counts its runs under this agent.
    pub run: u64,
    saved: Option<Record>,
    /// Starts lost in a row.
    pub failures: u32,
    began: Option<Instant>,
    passed: bool,
    restart: Backoff,
    restart_at: Option<Instant>,
    retry: Option<Retry>,
    drain: Option<DrainWatch>,
    exit: watch::Sender<Option<i32>>,
}

struct Retry {
    step: Discriminant<Step>,
    at: Instant,
    backoff: Backoff,
}

#[derive(Clone, Copy)]
struct DrainWatch {
    began: Instant,
    quiet: Option<Instant>,
    looked: Instant,
}

impl Pod {
    /// A pod nothing is known of but its record.
    pub fn new(record: Record) -> Self {
        Self {
            record,
            seen: None,
            linked: false,
            netns: None,
            checks: Vec::new(),
            message: None,
            busy: false,
            wake: Arc::default(),
            acting: false,
            epoch: 0,
            held: None,
            turn: false,
            run: 0,
            saved: None,
            failures: 0,
            began: None,
            passed: false,
            restart: Backoff::new(RESTART.0, RESTART.1),
            restart_at: None,
            retry: None,
            drain: None,
            exit: watch::Sender::new(None),
        }
    }

    /// Follows how its program ended: None while it has not, -1 when nobody knows. Outlives the pod.
    pub fn exit(&self) -> watch::Receiver<Option<i32>> {
        self.exit.subscribe()
    }

    /// A pod whose record is on disk.
    pub fn saved(record: Record) -> Self {
        Self { saved: Some(record.clone()), ..Self::new(record) }
    }

    /// Its record has to be written.
    pub fn unsaved(&self) -> bool {
        self.saved.as_ref() != Some(&self.record)
    }

    /// This record has been written.
    pub fn mark_saved(&mut self, record: Record) {
        self.saved = Some(record);
    }

    /// A former agent has started it.
    pub fn adopt(&mut self) {
        let record = &mut self.record;
        record.starts = if record.starting { record.starts.saturating_add(1) } else { record.starts.max(1) };
        (record.starting, record.halted, record.failed) = (false, false, None);
    }

    /// Its checks passed when a former agent looked last.
    pub fn remembered_healthy(&self) -> bool {
        self.run == 0 && self.saved.as_ref().is_some_and(|record| record.healthy)
    }

    /// It is about to be started, and this is on its way to the disk.
    pub fn starting(&mut self, record: &Record) {
        self.record = record.clone();
        self.saved = Some(record.clone());
    }

    /// It has been started.
    pub fn started(&mut self, checks: Vec<Tracker>, status: PodStatus, now: Instant) {
        self.record.starting = false;
        self.record.starts = self.record.starts.saturating_add(1);
        self.seen = Some(status.clone());
        self.begin(checks, now, Duration::ZERO);
        self.saw(Some(status), now);
    }

    /// It is held still, or goes on.
    pub fn froze(&mut self, frozen: bool) {
        if let Some(status) = &mut self.seen {
            status.state = if frozen { PodState::Frozen } else { PodState::Running };
        }
    }

    /// It cannot be started, whatever happens: only a restart that is asked for from now on is another try.
    pub fn give_up(&mut self, asked: Option<u32>, failure: Failure) {
        let record = &mut self.record;
        (record.asked, record.halted, record.starting) = (asked, false, false);
        self.message = None;
        record.failed = Some(failure);
        self.exit.send_replace(Some(-1));
    }

    /// Its programs are there, moving or held still.
    pub fn is_up(&self) -> bool {
        self.seen.as_ref().is_some_and(|status| status.state != PodState::Stopped)
    }

    /// Whether its checks pass.
    pub fn health(&self) -> Health {
        if self.is_up() { health::verdict(&self.checks) } else { Health::Starting }
    }

    /// Time since the current run began.
    pub fn age(&self, now: Instant) -> Duration {
        self.began.map_or(Duration::ZERO, |began| now.saturating_duration_since(began))
    }

    /// A run began so long ago.
    pub fn begin(&mut self, checks: Vec<Tracker>, now: Instant, age: Duration) {
        self.run += 1;
        self.exit.send_replace(None);
        self.began = Some(now.checked_sub(age).unwrap_or(now));
        self.passed = !checks.is_empty() && health::verdict(&checks) == Health::Healthy;
        self.record.healthy = health::verdict(&checks) == Health::Healthy;
        self.checks = checks;
        self.message = None;
        self.drain = None;
    }

    /// The run was ended by us: not a failure of its program.
    pub const fn end_on_purpose(&mut self) {
        self.began = None;
    }

    /// Takes what the runtime says. When a run ended by itself, decides how long to wait before the next.
    pub fn saw(&mut self, status: Option<PodStatus>, now: Instant) {
        self.seen = status;
        if self.is_up() {
            return;
        }
        if let Some(status) = &self.seen {
            self.exit.send_replace(Some(status.exit_code.unwrap_or(-1)));
        }
        self.record.healthy = false;
        if let Some(began) = self.began.take() {
            self.ended(now.saturating_duration_since(began), now);
        }
    }

    fn ended(&mut self, lasted: Duration, now: Instant) {
        if lasted >= STEADY {
            self.restart.reset();
        }
        self.failures = if lasted >= STEADY || self.passed { 0 } else { self.failures.saturating_add(1) };
        self.restart_at = Some(now + self.restart.pause());
        self.message = None;
    }

    /// A check's verdict changed.
    pub fn checked(&mut self) {
        self.record.healthy = self.health() == Health::Healthy;
        if self.record.healthy {
            (self.passed, self.failures) = (true, 0);
        }
    }

    /// A step failed: when to try it again.
    pub fn postpone(&mut self, step: &Step, why: String, now: Instant) {
        let kind = discriminant(step);
        let mut backoff = match self.retry.take() {
            Some(retry) if retry.step == kind => retry.backoff,
            _ => Backoff::new(RETRY.0, RETRY.1),
        };
        let at = now + backoff.pause();
        self.retry = Some(Retry { step: kind, at, backoff });
        self.message = Some(why);
        if *step == Step::Run {
            self.failures = self.failures.saturating_add(1);
        }
    }

    /// A step worked.
    pub fn worked(&mut self, step: &Step) {
        if self.retry.as_ref().is_some_and(|retry| retry.step == discriminant(step)) {
            (self.retry, self.message) = (None, None);
        }
    }

    /// Connections were counted; `None`: they could not be.
    pub fn looked(&mut self, connections: Option<u32>, now: Instant) {
        let before = self.drain.unwrap_or(DrainWatch { began: now, quiet: None, looked: now });
        let quiet = (connections == Some(0)).then(|| before.quiet.unwrap_or(now));
        self.drain = Some(DrainWatch { quiet, looked: now, ..before });
    }

    fn link(&self) -> Link {
        match (&self.netns, self.linked) {
            (Some(_), _) => Link::Ready,
            (None, true) => Link::Found,
            (None, false) => Link::Absent,
        }
    }

    fn draining(&self, now: Instant) -> Option<Drain> {
        let since = |at: Instant| now.saturating_duration_since(at);
        self.drain.map(|watch| Drain {
            elapsed: since(watch.began),
            quiet: watch.quiet.map_or(Duration::ZERO, since),
            looked: since(watch.looked),
        })
    }
}

impl State {
    /// What the control plane says of a pod.
    pub fn told(&self, id: InstanceId) -> Option<Told<'_>> {
        let told = self.told.as_ref()?;
        let pod = told.pods.get(&id)?;
        Some(Told { pod, template: told.templates.get(&pod.template)? })
    }

    /// The bridge is as it should be.
    pub fn bridge(&self) -> bool {
        match (&self.told, &self.applied) {
            (Some(told), Some((applied, _))) => dataplane::bridge(&told.network) == applied.bridge,
            _ => false,
        }
    }

    /// Gives every pod that is told a place, with a new record if it has none.
    pub fn expect(&mut self) {
        let Some(told) = self.told.clone() else { return };
        for (id, pod) in told.pods.iter().filter(|(_, pod)| pod.wanted != Wanted::Stop) {
            let kind =
                told.templates.get(&pod.template).and_then(|t| t.containers.first()).map_or(ContainerKind::App, |c| c.kind);
            let own = self.pods.entry(*id).or_insert_with(|| Pod::new(Record::new(pod.display.clone(), kind)));
            own.record.display.clone_from(&pod.display);
            if own.is_up() {
                own.record.asked.get_or_insert(pod.restarts);
                if let Some(template) = told.templates.get(&pod.template) {
                    own.record.limits.get_or_insert_with(|| resolve::limits(template));
                }
            }
        }
    }

    /// How often each pod was changed by its worker.
    pub fn epochs(&self) -> BTreeMap<InstanceId, u64> {
        self.pods.iter().map(|(id, pod)| (*id, pod.epoch)).collect()
    }

    fn seen<'a>(&'a self, pod: &'a Pod, now: Instant) -> Seen<'a> {
        let run = pod.seen.as_ref().map(|status| status.state);
        Seen {
            // Held still by ourselves and for a moment, it counts as running.
            run: if pod.held == Some(true) && run == Some(PodState::Frozen) { Some(PodState::Running) } else { run },
            exit_code: pod.seen.as_ref().and_then(|status| status.exit_code),
            link: pod.link(),
            bridge: self.bridge(),
            images: &self.images,
            record: &pod.record,
            pause: pod.restart_at.filter(|at| *at > now).map(|at| at - now),
            failures: pod.failures,
            drain: pod.draining(now),
            replaced: self.told.as_ref().is_some_and(|told| told.replaced),
        }
    }

    /// The next step about a pod. Before the first assignment ever, nothing is done to anything.
    pub fn step(&self, id: InstanceId, now: Instant) -> Step {
        let Some(pod) = self.pods.get(&id).filter(|_| self.told.is_some()) else {
            return Step::Rest;
        };
        if pod.held.is_some() {
            return Step::Rest;
        }
        let step = steps::next(self.told(id), &self.seen(pod, now));
        match &pod.retry {
            Some(retry) if retry.step == discriminant(&step) && retry.at > now => Step::Wait(retry.at - now),
            _ if step == Step::Run && pod.run == 0 => self.boot_turn(id, now).map_or(Step::Run, Step::Wait),
            _ => step,
        }
    }

    /// How long a pod still has to wait for those that come up before it.
    fn boot_turn(&self, id: InstanceId, now: Instant) -> Option<Duration> {
        boot::wait(&self.boot, id, |other| match self.pods.get(&other) {
            Some(pod) if pod.is_up() => Ahead::Up(pod.age(now)),
            Some(pod) if pod.run == 0 && pod.retry.is_none() && self.starts(other, pod, now) => Ahead::Coming,
            _ => Ahead::Out,
        })
    }

    /// Whether it shall run and does not.
    fn starts(&self, id: InstanceId, pod: &Pod, now: Instant) -> bool {
        use Step::{AwaitNetwork, Link, Pull, Run};
        matches!(steps::next(self.told(id), &self.seen(pod, now)), Pull(_) | Link | Run | AwaitNetwork)
    }

    /// The server has just been looked at for the first time: puts in order who is to come up one after the other.
    pub fn line_up(&mut self, now: Instant) {
        let rules = |id: InstanceId| self.told(id).and_then(|told| told.template.containers.first()).map(|c| &c.system);
        let starting = self.pods.iter().filter(|(id, pod)| self.starts(**id, pod, now));
        self.boot = boot::line(starting.filter_map(|(id, pod)| Some((*id, pod.record.display.as_str(), rules(*id)?))));
    }

    /// Where a pod stands.
    pub fn phase(&self, id: InstanceId, pod: &Pod, now: Instant) -> Phase {
        steps::phase(self.told(id), &self.seen(pod, now), pod.turn)
    }

    /// Pods that are wanted gone and have left nothing: not part of a report.
    pub fn is_gone(&self, id: InstanceId, now: Instant) -> bool {
        matches!(self.step(id, now), Step::Forget)
    }
}
