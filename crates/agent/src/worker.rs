//! Workers: each looks after one pod, a step at a time, until there is nothing to do.

use crate::{
    dataplane,
    engine::Inner,
    health,
    ledger::{Failure, Record},
    logs,
    resolve::{self, Place},
    state::{Pod, State},
    steps::Step,
    volumes,
};
use api::{
    image::LocalImage,
    name::InstanceId,
    quantity::Span,
    spec::{ContainerKind, Limits, PodTemplate},
};
use base::supervise::Scope;
use driver::{
    DriverError, Network,
    image::BlobSource,
    runtime::{PodRun, PodStatus, Runtime},
};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit},
    time::Instant,
};

/// Lines of output kept of what failed for good.
const LAST_LINES: usize = 10;

/// What a worker does next.
enum Next {
    End,
    Wait(Duration, Arc<Notify>),
    Queue(Pool),
    Save(Record),
    Forget,
    Act(Step, Action),
    Impossible(Step, DriverError),
}

/// A bound on work of one sort.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pool {
    Pulls,
    Heavy,
    Stops,
}

/// A step with everything needed to take it.
enum Action {
    Pull(Vec<String>, Arc<dyn BlobSource>),
    Link(api::dataplane::PodLink),
    Run(Box<PodRun>, Arc<dyn Runtime>, Record),
    Stop(Arc<dyn Runtime>, Span),
    Freeze(Arc<dyn Runtime>, bool),
    Limit(Arc<dyn Runtime>, Vec<(api::Name, Limits)>),
    Note,
    Fail(Option<api::Name>, String),
    Look,
    Remove(Option<Arc<dyn Runtime>>),
    Unlink,
}

/// What came of it.
enum Done {
    Pulled(Vec<LocalImage>),
    Linked(PathBuf),
    Status(PodStatus),
    Frozen(bool),
    Limited(Vec<Limits>),
    Connections(Option<u32>),
    Noted,
    Failed(Failure),
    Removed,
    Unlinked,
}

/// Looks after one pod until there is nothing to do.
pub async fn look_after(inner: Arc<Inner>, id: InstanceId) {
    let mut permit: Option<(Pool, SemaphorePermit<'_>)> = None;
    loop {
        let next = decide(&inner, id, permit.as_ref().map(|(pool, _)| *pool));
        if !matches!(next, Next::Act(..)) {
            permit = None;
        }
        match next {
            Next::End => return,
            Next::Wait(pause, wake) => {
                tokio::select! {
                    () = wake.notified() => {}
                    () = tokio::time::sleep(pause) => {}
                }
            }
            Next::Queue(pool) => match inner.pool(pool).acquire().await {
                Ok(own) => permit = Some((pool, own)),
                Err(_) => return,
            },
            Next::Save(record) => save(&inner, id, record).await,
            Next::Forget => {
                forget(&inner, id).await;
            }
            Next::Act(step, action) => {
                let result = perform(&inner, id, action).await;
                settle(&inner, id, &step, result);
            }
            Next::Impossible(step, error) => settle(&inner, id, &step, Err(error)),
        }
    }
}

impl Inner {
    const fn pool(&self, pool: Pool) -> &Semaphore {
        match pool {
            Pool::Pulls => &self.pulls,
            Pool::Heavy => &self.heavy,
            Pool::Stops => &self.stops,
        }
    }
}

const fn pool_of(step: &Step) -> Option<Pool> {
    match step {
        Step::Pull(_) => Some(Pool::Pulls),
        Step::Link | Step::Run | Step::Remove | Step::Unlink => Some(Pool::Heavy),
        Step::Stop(_) => Some(Pool::Stops),
        _ => None,
    }
}

fn decide(inner: &Arc<Inner>, id: InstanceId, held: Option<Pool>) -> Next {
    let now = base::env::timer();
    let mut state = inner.lock();
    let step = state.step(id, now);
    let idle = matches!(step, Step::Rest | Step::AwaitNetwork | Step::Wait(_));
    let Some(pod) = state.pods.get_mut(&id) else { return Next::End };
    if idle && pod.unsaved() {
        return Next::Save(pod.record.clone());
    }
    match (step, held) {
        (Step::Rest | Step::AwaitNetwork, _) => {
            (pod.busy, pod.turn) = (false, false);
            inner.dirty.wake();
            Next::End
        }
        (Step::Wait(pause), _) => Next::Wait(pause, Arc::clone(&pod.wake)),
        (Step::Forget, _) => Next::Forget,
        (step, held) if pool_of(&step).is_some() && pool_of(&step) != held => pool_of(&step).map_or(Next::End, Next::Queue),
        (step, _) => {
            let next = prepare(inner, &mut state, id, step);
            inner.dirty.wake();
            next
        }
    }
}

/// Everything the step needs, taken under the lock.
fn prepare(inner: &Arc<Inner>, state: &mut State, id: InstanceId, step: Step) -> Next {
    let action = action(inner, state, id, &step);
    let Some(pod) = state.pods.get_mut(&id) else { return Next::End };
    pod.turn |= matches!(step, Step::Pull(_) | Step::Link | Step::Run);
    pod.acting = matches!(step, Step::Run | Step::Stop(_) | Step::Freeze(_) | Step::Remove);
    match action {
        Ok(Action::Run(run, runtime, record)) => {
            pod.starting(&record);
            Next::Act(step, Action::Run(run, runtime, record))
        }
        Ok(action) => {
            if matches!(step, Step::Stop(_)) {
                pod.end_on_purpose();
            }
            Next::Act(step, action)
        }
        Err(error) => Next::Impossible(step, error),
    }
}

fn action(inner: &Arc<Inner>, state: &State, id: InstanceId, step: &Step) -> Result<Action, DriverError> {
    let pod = state.pods.get(&id).ok_or_else(|| DriverError::fatal("the pod is forgotten"))?;
    let runtime = |kind| inner.runtime(kind).ok_or_else(|| unavailable(inner, kind));
    let told = || state.told(id).zip(state.told.as_ref()).ok_or_else(|| DriverError::retryable("nothing is told of it any more"));
    Ok(match step {
        Step::Pull(digests) => Action::Pull(digests.clone(), (inner.sources)(told()?.1)),
        Step::Link => {
            let (pod, told) = told()?;
            Action::Link(dataplane::pod_link(id, pod.pod.address, &told.network))
        }
        Step::Run => run_action(inner, state, id, pod)?,
        Step::Stop(grace) => Action::Stop(runtime(pod.record.kind)?, *grace),
        Step::Freeze(frozen) => Action::Freeze(runtime(pod.record.kind)?, *frozen),
        Step::Limit => {
            let containers = told()?.0.template.containers.iter();
            Action::Limit(runtime(pod.record.kind)?, containers.map(|c| (c.name.clone(), c.limits.clone())).collect())
        }
        Step::Fail(why) => Action::Fail(told()?.0.template.containers.first().map(|c| c.name.clone()), why.clone()),
        Step::Look => Action::Look,
        // What cannot run here has left nothing here.
        Step::Remove if pod.seen.is_none() => Action::Remove(inner.runtime(pod.record.kind)),
        Step::Remove => Action::Remove(Some(runtime(pod.record.kind)?)),
        Step::Unlink => Action::Unlink,
        Step::Halt | Step::Rest | Step::Forget | Step::Wait(_) | Step::AwaitNetwork => Action::Note,
    })
}

fn unavailable(inner: &Inner, kind: ContainerKind) -> DriverError {
    let infos = inner.drivers.runtimes.iter().map(|runtime| runtime.info());
    let why = infos.filter(|info| info.kind == kind).find_map(|info| info.unavailable);
    let what = match kind {
        ContainerKind::App => "application containers",
        ContainerKind::System => "system containers",
    };
    DriverError::fatal(match why {
        Some(why) => format!("{what} cannot run on this server: {why}"),
        None => format!("{what} cannot run on this server: it has no runtime for them"),
    })
}

fn run_action(inner: &Arc<Inner>, state: &State, id: InstanceId, pod: &Pod) -> Result<Action, DriverError> {
    let netns = pod.netns.clone().ok_or_else(untold)?;
    let told = state.told(id).ok_or_else(untold)?;
    let (run, runtime) = pod_run((inner, state), id, netns)?;
    let record = Record {
        display: told.pod.display.clone(),
        kind: one_kind(told.template)?,
        grace: told.template.stop_grace,
        asked: Some(told.pod.restarts),
        starts: pod.record.starts,
        healthy: false,
        halted: false,
        starting: true,
        failed: None,
        limits: Some(resolve::limits(told.template)),
    };
    Ok(Action::Run(Box::new(run), runtime, record))
}

fn untold() -> DriverError {
    DriverError::retryable("nothing is told of it any more")
}

/// A pod as it would be run now, in this namespace, and what would run it.
pub(crate) fn pod_run(
    (inner, state): (&Inner, &State),
    id: InstanceId,
    netns: PathBuf,
) -> Result<(PodRun, Arc<dyn Runtime>), DriverError> {
    let (told, assignment) = state.told(id).zip(state.told.as_ref()).ok_or_else(untold)?;
    let kind = one_kind(told.template)?;
    let runtime = inner.runtime(kind).ok_or_else(|| unavailable(inner, kind))?;
    let first = state.pods.get(&id).is_none_or(|pod| pod.record.starts == 0);
    let place = Place { id, pod: told.pod, network: &assignment.network, netns, volumes: &inner.volumes, first };
    let run = resolve::pod_run(told.template, &state.images, &place).map_err(DriverError::fatal)?;
    Ok((run, runtime))
}

fn one_kind(template: &PodTemplate) -> Result<ContainerKind, DriverError> {
    let mut kinds = template.containers.iter().map(|container| container.kind);
    let first = kinds.next().ok_or_else(|| DriverError::fatal("the pod has no containers"))?;
    if kinds.all(|kind| kind == first) {
        Ok(first)
    } else {
        Err(DriverError::fatal("the pod mixes application and system containers: use one kind in a pod"))
    }
}

async fn perform(inner: &Arc<Inner>, id: InstanceId, action: Action) -> Result<Done, DriverError> {
    let content = match action {
        Action::Pull(..) => Some(Arc::clone(&inner.content).read_owned().await),
        _ => None,
    };
    let inner = Arc::clone(inner);
    let result = Scope::blocking(move || {
        let _content = content;
        act(&inner, id, action)
    });
    result.await.unwrap_or_else(|crashed| Err(DriverError::retryable(crashed)))
}

fn act(inner: &Inner, id: InstanceId, action: Action) -> Result<Done, DriverError> {
    let network: &dyn Network = inner.drivers.network.as_ref();
    Ok(match action {
        Action::Pull(digests, source) => Done::Pulled(pull(inner, &digests, source.as_ref())?),
        Action::Link(link) => Done::Linked(network.ensure_pod(&link)?),
        Action::Run(run, runtime, record) => {
            inner.ledger.write_record(id, &record).map_err(|error| DriverError::retryable(error.to_string()))?;
            volumes::make(&run, &inner.volumes, inner.drivers.builder.as_ref())?;
            Done::Status(runtime.ensure(&run)?)
        }
        Action::Stop(runtime, grace) => Done::Status(runtime.stop(id, grace)?),
        Action::Freeze(runtime, frozen) => runtime.freeze(id, frozen).map(|()| Done::Frozen(frozen))?,
        Action::Limit(runtime, limits) => {
            runtime.limit(id, &limits)?;
            Done::Limited(limits.into_iter().map(|(_, limits)| limits).collect())
        }
        Action::Note => Done::Noted,
        Action::Fail(container, message) => Done::Failed(Failure { message, last_lines: last_lines(inner, id, container) }),
        Action::Look => Done::Connections(count(network, id)),
        Action::Remove(runtime) => {
            runtime.map_or(Ok(()), |runtime| runtime.remove(id))?;
            Done::Removed
        }
        Action::Unlink => network.remove_pod(id).map(|()| Done::Unlinked)?,
    })
}

pub(crate) fn pull(inner: &Inner, digests: &[String], source: &dyn BlobSource) -> Result<Vec<LocalImage>, DriverError> {
    let images = &inner.drivers.images;
    digests.iter().map(|digest| images.ensure(digest, source, &|_| {})).collect()
}

/// A drain that cannot count waits for its time-out.
fn count(network: &dyn Network, id: InstanceId) -> Option<u32> {
    network.connections(id).inspect_err(|error| tracing::warn!(%id, %error, "connections cannot be counted")).ok()
}

pub(crate) fn last_lines(inner: &Inner, id: InstanceId, container: Option<api::Name>) -> Vec<String> {
    let directory = inner.drivers.inspect.log_directory(id);
    container
        .map_or_else(Vec::new, |name| logs::last(&directory, &name, LAST_LINES).into_iter().map(|line| line.message).collect())
}

async fn save(inner: &Arc<Inner>, id: InstanceId, record: Record) {
    let (ledger, written) = (inner.ledger.clone(), record.clone());
    let result = Scope::blocking(move || ledger.write_record(id, &written)).await;
    let failed = result.and_then(|done| done.map_err(|e| e.to_string())).err();
    inner.problem("ledger", failed);
    // Also after a failure, which has been said: else the worker would try for ever.
    if let Some(pod) = inner.lock().pods.get_mut(&id) {
        pod.mark_saved(record);
    }
}

async fn forget(inner: &Arc<Inner>, id: InstanceId) {
    let ledger = inner.ledger.clone();
    let result = Scope::blocking(move || ledger.forget(id)).await;
    inner.problem("ledger", result.and_then(|done| done.map_err(|e| e.to_string())).err());
    let mut state = inner.lock();
    if state.is_gone(id, base::env::timer()) {
        state.pods.remove(&id);
        drop(state);
        inner.dirty.wake();
    }
}

fn settle(inner: &Arc<Inner>, id: InstanceId, step: &Step, result: Result<Done, DriverError>) {
    let now = base::env::timer();
    let mut state = inner.lock();
    let begun = match result {
        Ok(done) => settled(&mut state, id, (step, done), now),
        Err(error) => {
            failed(&mut state, id, (step, error), now);
            None
        }
    };
    if let Some(pod) = state.pods.get_mut(&id) {
        (pod.acting, pod.epoch) = (false, pod.epoch.wrapping_add(1));
    }
    drop(state);
    inner.dirty.wake();
    if let Some((run, checks)) = begun {
        inner.start_checks(id, run, checks);
    }
}

/// The step worked. When a run began: its number, and how many checks begin.
fn settled(state: &mut State, id: InstanceId, (step, done): (&Step, Done), now: Instant) -> Option<(u64, usize)> {
    let checks = match step {
        Step::Run => state.told(id).map(|told| health::trackers(told.template, false)).unwrap_or_default(),
        _ => Vec::new(),
    };
    if let Done::Pulled(images) = done {
        state.images.extend(images.into_iter().map(|image| (image.digest.clone(), Arc::new(image))));
        state.pods.get_mut(&id)?.worked(step);
        return None;
    }
    let pod = state.pods.get_mut(&id)?;
    pod.worked(step);
    match done {
        Done::Pulled(_) => {}
        Done::Linked(netns) => (pod.netns, pod.linked) = (Some(netns), true),
        Done::Status(status) if *step == Step::Run => {
            let count = checks.len();
            pod.started(checks, status, now);
            return Some((pod.run, count));
        }
        Done::Status(status) => pod.saw(Some(status), now),
        Done::Frozen(frozen) => pod.froze(frozen),
        Done::Limited(limits) => pod.record.limits = Some(limits),
        Done::Connections(count) => pod.looked(count, now),
        Done::Noted => (pod.record.halted, pod.record.failed) = (true, None),
        Done::Failed(failure) => pod.record.failed = Some(failure),
        Done::Removed => {
            pod.saw(None, now);
            (pod.record.asked, pod.record.starting) = (None, false);
        }
        Done::Unlinked => (pod.netns, pod.linked) = (None, false),
    }
    None
}

/// The step failed: again later, or, when a start cannot work whatever happens, never.
fn failed(state: &mut State, id: InstanceId, (step, error): (&Step, DriverError), now: Instant) {
    tracing::warn!(%id, ?step, %error, "step failed");
    let asked = state.told(id).map(|told| told.pod.restarts);
    let Some(pod) = state.pods.get_mut(&id) else { return };
    let start = matches!(step, Step::Pull(_) | Step::Link | Step::Run) && !pod.is_up();
    if start && !error.retryable {
        pod.give_up(asked, Failure { message: error.message, last_lines: Vec::new() });
    } else {
        pod.postpone(step, error.message, now);
    }
}
