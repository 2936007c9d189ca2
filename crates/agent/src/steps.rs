//! What to do next about one pod: a pure function of what was told and what is seen, asked again after every step.
//!
//! The lifecycle is ordered: images, link, run; and backwards stop, remove, unlink, forget. One step at a time, and the
//! next is never remembered but found anew, so a change of mind, a failure and a restart of the agent need no code of
//! their own.

use crate::{
    ledger::Record,
    resolve::{self, LocalImages},
};
use api::{
    assignment::PodAssignment,
    plan::Wanted,
    quantity::Span,
    report::Phase,
    spec::{PodTemplate, Power, Restart},
};
use driver::runtime::PodState;
use std::time::Duration;

/// Shortest drain: by then names and routes everywhere have followed. A resolver may hold an answer for a second (the TTL that the DNS
/// server gives), and the new names need a moment to get there.
pub const DRAIN_MIN: Duration = Duration::from_millis(1_500);
/// A drained pod must have had no connection for so long.
pub const DRAIN_QUIET: Duration = Duration::from_millis(300);
/// Time between two looks at a drained pod's connections.
pub const DRAIN_LOOK: Duration = Duration::from_millis(100);
/// Longest grace of a job's instance that was replaced while its server was lost. Its clients went to the replacement, and within
/// ten seconds of coming back a server shall run nothing that runs elsewhere: this leaves five to notice it.
pub const REPLACED_GRACE: Span = Span::seconds(5);
/// Starts in a row that a job's instance may lose before it counts as failed, and the planner replaces it.
pub const JOB_TRIES: u32 = 3;

/// What the control plane says of a pod.
#[derive(Clone, Copy)]
pub struct Told<'a> {
    /// Its line in the assignment.
    pub pod: &'a PodAssignment,
    /// Its template.
    pub template: &'a PodTemplate,
}

impl Told<'_> {
    /// An instance of a job.
    pub fn is_job(&self) -> bool {
        is_job(&self.pod.display)
    }

    fn restart(&self) -> Restart {
        self.template.containers.first().map_or(Restart::No, |first| first.restart)
    }
}

/// Whether this is the name of a job's instance: by the slash, which container names cannot have.
pub fn is_job(display: &str) -> bool {
    display.contains('/')
}

/// What is known of a pod here.
pub struct Seen<'a> {
    /// Where the runtime says it stands; None when the runtime has nothing of it.
    pub run: Option<PodState>,
    /// Exit code of its last run.
    pub exit_code: Option<i32>,
    /// Its namespace and link.
    pub link: Link,
    /// The bridge is there.
    pub bridge: bool,
    /// Images on this server.
    pub images: &'a LocalImages,
    /// What is remembered on disk.
    pub record: &'a Record,
    /// Left of the pause before its program is started again.
    pub pause: Option<Duration>,
    /// Starts lost in a row.
    pub failures: u32,
    /// Its drain, once begun.
    pub drain: Option<Drain>,
    /// This server was lost, and what it is not told of any more was replaced meanwhile.
    pub replaced: bool,
}

/// Namespace and link of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// There is none.
    Absent,
    /// Found here; not yet looked at closely.
    Found,
    /// As it should be.
    Ready,
}

/// How a drain goes. All measured from now, backwards.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    /// Since it began.
    pub elapsed: Duration,
    /// Without connections since; zero while there are some.
    pub quiet: Duration,
    /// Since connections were last counted.
    pub looked: Duration,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// All is as told.
    Rest,
    /// Nothing of it is left: forget it.
    Forget,
    /// Ask again after this time.
    Wait(Duration),
    /// Ask again when the bridge is there.
    AwaitNetwork,
    /// Get these images.
    Pull(Vec<String>),
    /// Make or find namespace and link.
    Link,
    /// Make it run.
    Run,
    /// Stop it, with so much time before the kill.
    Stop(Span),
    /// Hold it still, or let it go on.
    Freeze(bool),
    /// Hold it to the limits told, as it runs.
    Limit,
    /// Remember that it was stopped on purpose.
    Halt,
    /// Remember that it failed for good, and why.
    Fail(String),
    /// Count its connections.
    Look,
    /// Remove what the runtime has of it.
    Remove,
    /// Remove namespace and link.
    Unlink,
}

/// The next step.
pub fn next(told: Option<Told<'_>>, seen: &Seen<'_>) -> Step {
    match told {
        None if seen.replaced && is_job(&seen.record.display) => leave(seen, seen.record.grace.min(REPLACED_GRACE)),
        None => leave(seen, seen.record.grace),
        Some(told) => match told.pod.wanted {
            Wanted::Stop => leave(seen, told.template.stop_grace),
            Wanted::Drain => drain(told, seen),
            Wanted::Run if told.pod.power == Power::Off => off(told, seen),
            Wanted::Run => on(told, seen),
        },
    }
}

/// It shall be gone.
fn leave(seen: &Seen<'_>, grace: Span) -> Step {
    match seen.run {
        Some(PodState::Running | PodState::Frozen) => stop(seen, grace),
        Some(PodState::Stopped) => Step::Remove,
        // A start was tried, and may have left something half made that is not seen.
        None if seen.record.asked.is_some() => Step::Remove,
        None if seen.link == Link::Absent => Step::Forget,
        None => Step::Unlink,
    }
}

/// Held still, it could not follow the request to stop.
fn stop(seen: &Seen<'_>, grace: Span) -> Step {
    if seen.run == Some(PodState::Frozen) { Step::Freeze(false) } else { Step::Stop(grace) }
}

fn drain(told: Told<'_>, seen: &Seen<'_>) -> Step {
    match seen.run {
        Some(PodState::Running) => {}
        Some(PodState::Frozen) => return stop(seen, told.template.stop_grace),
        Some(PodState::Stopped) | None => return Step::Rest,
    }
    let most = told.template.drain_timeout.duration();
    match seen.drain {
        None => Step::Look,
        Some(drain) if drain.elapsed >= most => Step::Stop(told.template.stop_grace),
        Some(drain) if drain.elapsed >= DRAIN_MIN && drain.quiet >= DRAIN_QUIET => Step::Stop(told.template.stop_grace),
        Some(drain) if drain.looked >= DRAIN_LOOK => Step::Look,
        Some(drain) => Step::Wait((DRAIN_LOOK - drain.looked).min(most - drain.elapsed)),
    }
}

fn off(told: Told<'_>, seen: &Seen<'_>) -> Step {
    match seen.run {
        Some(PodState::Running | PodState::Frozen) => stop(seen, told.template.stop_grace),
        _ if seen.record.halted => Step::Rest,
        _ => Step::Halt,
    }
}

fn on(told: Told<'_>, seen: &Seen<'_>) -> Step {
    let restart = seen.record.asked.is_some_and(|asked| told.pod.restarts > asked);
    match (seen.run, told.pod.power) {
        (Some(PodState::Running | PodState::Frozen), _) if restart => stop(seen, told.template.stop_grace),
        (Some(PodState::Running), _) if seen.link != Link::Ready && seen.bridge => Step::Link,
        (Some(PodState::Running | PodState::Frozen), _) if other_limits(told.template, seen.record) => Step::Limit,
        (Some(PodState::Running), Power::Frozen) => Step::Freeze(true),
        (Some(PodState::Frozen), Power::On) => Step::Freeze(false),
        (Some(PodState::Running | PodState::Frozen), _) => Step::Rest,
        (Some(PodState::Stopped), _) if !restart && !seen.record.halted && !seen.record.starting => ended(told, seen),
        (Some(PodState::Stopped) | None, _) => again(told, seen, restart),
    }
}

/// Is it held to other limits than it is told to be?
fn other_limits(template: &PodTemplate, record: &Record) -> bool {
    record.limits.as_ref().is_some_and(|held| !held.iter().eq(template.containers.iter().map(|c| &c.limits)))
}

/// Its program ended by itself. Without an exit code the machine went down under it, and it goes on as before.
fn ended(told: Told<'_>, seen: &Seen<'_>) -> Step {
    let stays = match (told.restart(), seen.exit_code) {
        (_, None) | (Restart::Always, _) => false,
        (Restart::No, _) => true,
        (Restart::OnFailure, Some(code)) => code == 0,
    };
    if stays { Step::Rest } else { again(told, seen, false) }
}

fn again(told: Told<'_>, seen: &Seen<'_>, restart: bool) -> Step {
    let asked = restart || seen.record.halted;
    match seen.pause {
        _ if asked => start(told, seen),
        _ if seen.record.failed.is_some() => Step::Rest,
        _ if told.is_job() && seen.failures >= JOB_TRIES => {
            Step::Fail(format!("given up after {} starts in a row that did not last", seen.failures))
        }
        Some(left) if !seen.record.starting => Step::Wait(left),
        _ => start(told, seen),
    }
}

fn start(told: Told<'_>, seen: &Seen<'_>) -> Step {
    let mut missing = resolve::digests(told.template);
    missing.retain(|digest| !seen.images.contains_key(digest));
    match (missing.is_empty(), seen.link) {
        (false, _) => Step::Pull(missing),
        (true, Link::Ready) => Step::Run,
        (true, _) if seen.bridge => Step::Link,
        (true, _) => Step::AwaitNetwork,
    }
}

/// Where the pod stands, for the report. `turn`: heavy work about it has begun, it does not wait for its turn.
pub fn phase(told: Option<Told<'_>>, seen: &Seen<'_>, turn: bool) -> Phase {
    let Some(told) = told.filter(|told| told.pod.wanted != Wanted::Stop) else {
        return Phase::Stopping;
    };
    match (next(Some(told), seen), seen.run) {
        (Step::Stop(_), _) => Phase::Stopping,
        (_, Some(PodState::Running)) => Phase::Running,
        (_, Some(PodState::Frozen)) => Phase::Frozen,
        (Step::Pull(_), _) if turn => Phase::Pulling,
        (Step::Link | Step::Run, _) if turn => Phase::Starting,
        (Step::Pull(_) | Step::Link | Step::Run | Step::AwaitNetwork, _) => Phase::Pending,
        (Step::Wait(_) | Step::Fail(_), _) => Phase::BackOff,
        _ if seen.record.failed.is_some() && told.pod.wanted == Wanted::Run => Phase::Failed,
        _ => Phase::Exited,
    }
}

#[cfg(test)]
mod tests;
