//! Pods of values, with processes that are numbers.

use super::{Faults, lock};
use crate::{
    DriverError, Result, Runtime,
    image::Upper,
    runtime::{Adjust, Console, ExecHandle, Inspect, PodChanged, PodRun, PodState, PodStatus, RuntimeInfo},
};
use api::{
    Bytes, InstanceId, Name,
    quantity::{Span, Timestamp},
    report::InstanceStats,
    spec::{ContainerKind, Limits},
    stream::ExecRequest,
};
use std::{
    collections::BTreeMap,
    fs::File,
    io::Write,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

/// First pid that is given out: above what a kernel gives (4,194,304), so that nobody real is ever meant.
const FIRST_PID: u32 = 1 << 30;

/// How a command in a container goes: its exit code and what it says.
pub type Script = Box<dyn Fn(InstanceId, &ExecRequest) -> (i32, Vec<u8>) + Send + Sync>;

/// Runs nothing, and says that it does.
pub struct FakeRuntime {
    /// Calls, failures, delays: verbs are the trait's.
    pub faults: Faults,
    kind: ContainerKind,
    state: Mutex<State>,
}

struct State {
    pods: BTreeMap<InstanceId, (PodRun, PodStatus)>,
    next_pid: u32,
    changed: Option<Arc<PodChanged>>,
    script: Option<Arc<Script>>,
    unavailable: Option<String>,
    end_at_once: Option<i32>,
}

impl FakeRuntime {
    /// A runtime of this kind without pods.
    pub fn new(kind: ContainerKind) -> Self {
        let state = State {
            pods: BTreeMap::new(),
            next_pid: FIRST_PID,
            changed: None,
            script: None,
            unavailable: None,
            end_at_once: None,
        };
        Self { faults: Faults::default(), kind, state: Mutex::new(state) }
    }

    /// Who is called when a pod ended. A new agent brings its own.
    pub fn set_changed(&self, changed: PodChanged) {
        lock(&self.state).changed = Some(Arc::new(changed));
    }

    /// How commands go from now on.
    pub fn set_script(&self, script: Script) {
        lock(&self.state).script = Some(Arc::new(script));
    }

    /// It does not work here.
    pub fn set_unavailable(&self, why: Option<&str>) {
        lock(&self.state).unavailable = why.map(str::to_owned);
    }

    /// From now on every program ends with this code as soon as it is started.
    pub fn end_at_once(&self, code: Option<i32>) {
        lock(&self.state).end_at_once = code;
    }

    /// The pod's program ends, as if by itself. `None`: nobody knows how, as when the machine went down.
    pub fn end(&self, id: InstanceId, code: Option<i32>) {
        let mut state = lock(&self.state);
        if let Some((_, status)) = state.pods.get_mut(&id) {
            (status.state, status.pid, status.exit_code) = (PodState::Stopped, None, code);
        }
        let changed = state.changed.clone();
        drop(state);
        if let Some(changed) = changed {
            changed(id);
        }
    }

    /// Everything that is there.
    pub fn pods(&self) -> BTreeMap<InstanceId, (PodRun, PodStatus)> {
        lock(&self.state).pods.clone()
    }

    /// Main process of a pod that runs.
    pub fn pid(&self, id: InstanceId) -> Option<u32> {
        lock(&self.state).pods.get(&id).and_then(|(_, status)| status.pid)
    }

    fn change<T>(&self, id: InstanceId, change: impl FnOnce(&mut PodStatus) -> T) -> Result<T> {
        let mut state = lock(&self.state);
        let (_, status) = state.pods.get_mut(&id).ok_or_else(|| DriverError::fatal(format!("pod {id} is not here")))?;
        Ok(change(status))
    }
}

impl Runtime for FakeRuntime {
    fn info(&self) -> RuntimeInfo {
        let name = match self.kind {
            ContainerKind::App => "oci",
            ContainerKind::System => "lxc",
        };
        let unavailable = lock(&self.state).unavailable.clone();
        RuntimeInfo { name: name.to_owned(), kind: self.kind, cgroups: "v2".to_owned(), unavailable }
    }

    fn observe(&self) -> Result<Vec<PodStatus>> {
        self.faults.enter("observe", "")?;
        Ok(lock(&self.state).pods.values().map(|(_, status)| status.clone()).collect())
    }

    fn ensure(&self, pod: &PodRun) -> Result<PodStatus> {
        self.faults.enter("ensure", pod.id)?;
        let mut state = lock(&self.state);
        if let Some((_, status)) = state.pods.get(&pod.id).filter(|(_, status)| status.state != PodState::Stopped) {
            return Ok(status.clone());
        }
        state.next_pid += 1;
        let status = PodStatus {
            id: pod.id,
            state: PodState::Running,
            pid: Some(state.next_pid),
            started: Some(Timestamp(base::env::now_millis())),
            exit_code: None,
            message: None,
        };
        state.pods.insert(pod.id, (pod.clone(), status.clone()));
        let code = state.end_at_once;
        drop(state);
        if code.is_some() {
            self.end(pod.id, code);
        }
        Ok(status)
    }

    fn stop(&self, id: InstanceId, grace: Span) -> Result<PodStatus> {
        self.faults.enter("stop", format!("{id} {grace}"))?;
        self.change(id, |status| {
            if status.state != PodState::Stopped {
                (status.state, status.pid, status.exit_code) = (PodState::Stopped, None, Some(143));
            }
            status.clone()
        })
    }

    fn remove(&self, id: InstanceId) -> Result<()> {
        self.faults.enter("remove", id)?;
        lock(&self.state).pods.remove(&id);
        Ok(())
    }

    fn freeze(&self, id: InstanceId, frozen: bool) -> Result<()> {
        self.faults.enter("freeze", format!("{id} {frozen}"))?;
        let state = if frozen { PodState::Frozen } else { PodState::Running };
        self.change(id, |status| match status.state {
            PodState::Stopped => Err(DriverError::fatal(format!("pod {id} does not run"))),
            _ => {
                status.state = state;
                Ok(())
            }
        })?
    }

    fn signal(&self, id: InstanceId, signal: i32) -> Result<()> {
        self.faults.enter("signal", format!("{id} {signal}"))?;
        self.change(id, |_| ())?;
        // SIGINT, SIGKILL and SIGTERM end what does not handle them.
        if [2, 9, 15].contains(&signal) {
            self.end(id, Some(128 + signal));
        }
        Ok(())
    }

    fn exec(&self, id: InstanceId, request: &ExecRequest) -> Result<ExecHandle> {
        self.faults.enter("exec", format!("{id} {}", request.command.join(" ")))?;
        let running = self.change(id, |status| status.state == PodState::Running)?;
        if !running {
            return Err(DriverError::fatal(format!("pod {id} does not run")));
        }
        let script = lock(&self.state).script.clone();
        let (code, said) = script.map_or((0, Vec::new()), |script| script(id, request));
        command(code, &said).map_err(|e| DriverError::retryable(format!("pipes: {e}")))
    }
}

impl Adjust for FakeRuntime {
    fn prepare(&self, pod: &PodRun) -> Result<PodStatus> {
        self.faults.enter("prepare", pod.id)?;
        let mut state = lock(&self.state);
        let status = PodStatus { id: pod.id, state: PodState::Stopped, pid: None, started: None, exit_code: None, message: None };
        Ok(state.pods.entry(pod.id).or_insert((pod.clone(), status)).1.clone())
    }

    fn limit(&self, id: InstanceId, limits: &[(Name, Limits)]) -> Result<()> {
        self.faults.enter("limit", id)?;
        let mut state = lock(&self.state);
        let running = state.pods.get_mut(&id).filter(|(_, status)| status.state != PodState::Stopped);
        let (pod, _) = running.ok_or_else(|| DriverError::fatal(format!("pod {id} does not run")))?;
        for container in &mut pod.containers {
            if let Some((_, new)) = limits.iter().find(|(name, _)| *name == container.name) {
                container.limits = new.clone();
            }
        }
        Ok(())
    }
}

/// A command that has said everything and waits for its input to be closed, if there is any.
fn command(code: i32, said: &[u8]) -> std::io::Result<ExecHandle> {
    let (out, mut said_to) = std::io::pipe()?;
    let (mut input, stdin) = std::io::pipe()?;
    said_to.write_all(said)?;
    let wait = move || {
        let mut read = Vec::new();
        let _ = std::io::Read::read_to_end(&mut input, &mut read);
        let _ = said_to.write_all(&read);
        Ok(code)
    };
    Ok(ExecHandle {
        stdin: Some(File::from(OwnedFd::from(stdin))),
        stdout: Some(File::from(OwnedFd::from(out))),
        stderr: None,
        wait: Box::new(wait),
        // No process: signals have nobody to go to.
        pid: 0,
    })
}

/// Looks at directories below one that the test made.
pub struct FakeInspect {
    /// Calls, failures, delays: verbs are the trait's.
    pub faults: Faults,
    directory: PathBuf,
    console: Mutex<Option<Console>>,
}

impl FakeInspect {
    /// Logs are in `<directory>/<id>/logs`, root file systems in `<directory>/<id>/root`, what was changed, if anything, in
    /// `<directory>/<id>/upper`.
    pub fn new(directory: &Path) -> Self {
        Self { faults: Faults::default(), directory: directory.to_owned(), console: Mutex::default() }
    }

    /// Whoever attaches next gets this; without one, programs have no console.
    pub fn set_console(&self, console: Console) {
        *lock(&self.console) = Some(console);
    }

    /// The container writes this line.
    pub fn log(&self, id: InstanceId, container: &str, line: &api::stream::LogLine) -> std::io::Result<()> {
        let directory = self.log_directory(id);
        std::fs::create_dir_all(&directory)?;
        let mut file = File::options().create(true).append(true).open(directory.join(format!("{container}.log")))?;
        let mut json = serde_json::to_vec(line)?;
        json.push(b'\n');
        file.write_all(&json)
    }
}

impl Inspect for FakeInspect {
    fn stats(&self, id: InstanceId) -> Result<InstanceStats> {
        self.faults.enter("stats", id)?;
        Ok(InstanceStats { memory: Bytes(4096), cpu_micros: 7, pids: 1, ..InstanceStats::default() })
    }

    fn log_directory(&self, id: InstanceId) -> PathBuf {
        self.directory.join(id.to_string()).join("logs")
    }

    fn root_directory(&self, id: InstanceId, _: Option<&Name>) -> Result<PathBuf> {
        self.faults.enter("root_directory", id)?;
        let root = self.directory.join(id.to_string()).join("root");
        std::fs::create_dir_all(&root).map_err(|e| DriverError::fatal(format!("{}: {e}", root.display())))?;
        Ok(root)
    }

    fn attach(&self, id: InstanceId, _: Option<&Name>, whole: bool) -> Result<Console> {
        self.faults.enter("attach", format!("{id} {whole}"))?;
        lock(&self.console).take().ok_or_else(|| DriverError::fatal(format!("pod {id} has no console")))
    }

    fn writable_layer(&self, id: InstanceId, _: Option<&Name>) -> Result<Option<Upper>> {
        self.faults.enter("writable_layer", id)?;
        let path = self.directory.join(id.to_string()).join("upper");
        Ok(path.is_dir().then_some(Upper { path, ids: None }))
    }

    fn first_owner(&self, _: InstanceId, _: Option<&Name>) -> Result<u32> {
        Ok(0)
    }
}
