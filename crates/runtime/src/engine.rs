//! The agent's side of a pod's life, the same for both kinds: find the shim, start one, ask it, clean up behind it.

use crate::{
    Error, Options, Result,
    cgroup::Shape,
    limits,
    paths::{self, PodPaths, SOCKET},
    program::ShimProgram,
    record::{ExitRecord, Order, Running, Started, kind_of, read_json, write_json},
    rootfs,
    shim::{
        control::{Answer, LINE_MAX, Request},
        short_path,
    },
    sys,
    watcher::Watcher,
};
use api::{
    InstanceId, Timestamp,
    quantity::Span,
    spec::{ContainerKind, Limits},
};
use driver::runtime::{PodChanged, PodRun, PodState, PodStatus};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use std::{
    collections::HashMap,
    fs,
    io::{Read as _, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{fs::DirBuilderExt as _, net::UnixStream},
    },
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// How long a shim may take to say whether its pod runs, in milliseconds.
const START_MILLIS: i32 = 90_000;
/// How long a shim may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// How long after the grace a pod may take to be gone, before we kill what is left ourselves.
const KILL_SLACK: Duration = Duration::from_secs(10);
/// Longest first message of a shim.
const FIRST_WORD_MAX: usize = 64 << 10;

/// Pods of one kind on this server.
pub struct Engine {
    inner: Arc<Inner>,
    changed: Arc<PodChanged>,
    watcher: Watcher,
}

/// What the watching thread needs as well.
struct Inner {
    options: Options,
    kind: ContainerKind,
    shape: Shape,
    program: ShimProgram,
    /// One change of a pod at a time.
    locks: Mutex<HashMap<InstanceId, Arc<Mutex<()>>>>,
}

impl Engine {
    /// Makes directories, finds pods that run, and watches them.
    pub fn new(options: Options, kind: ContainerKind, changed: PodChanged) -> Result<Self> {
        for directory in [&options.run_dir, &options.state_dir, &options.log_dir] {
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true).mode(0o700).create(directory).map_err(|e| Error::io("create", directory, e))?;
        }
        let program = ShimProgram::new(&options.shim)?;
        let inner = Arc::new(Inner { options, kind, shape: Shape::detect()?, program, locks: Mutex::default() });
        let watching = Arc::clone(&inner);
        let changed = Arc::new(changed);
        let tell = Arc::clone(&changed);
        let name = if kind == ContainerKind::App { "oci" } else { "lxc" };
        let on_end = Box::new(move |id| {
            watching.ended(id);
            tell(id);
        });
        let engine = Self { inner, changed, watcher: Watcher::start(name, on_end)? };
        engine.observe()?;
        Ok(engine)
    }

    /// Where and how.
    pub fn options(&self) -> &Options {
        &self.inner.options
    }

    /// A shim, without the arguments that say what it is to do.
    pub fn shim(&self) -> Command {
        self.inner.program.command()
    }

    /// Cgroups of this server.
    pub fn shape(&self) -> &Shape {
        &self.inner.shape
    }

    /// Every pod of this kind, from what is on disk and who answers. Watches those that run.
    pub fn observe(&self) -> Result<Vec<PodStatus>> {
        let directory = &self.inner.options.state_dir;
        let ids = paths::ids_in(directory).map_err(|e| Error::io("list", directory, e))?;
        let mut all = Vec::new();
        for id in ids {
            match read_json::<PodRun>(&self.inner.paths(id).pod()) {
                Ok(Some(pod)) if kind_of(&pod) == self.inner.kind => all.push(self.status(id)),
                Ok(_) => {}
                // Its files are there but not what it was: the agent removes it or starts it anew.
                Err(error) => all.push(stopped(id, Some(error.to_string()))),
            }
        }
        Ok(all)
    }

    /// One pod, by asking its shim or reading its exit record.
    pub fn status(&self, id: InstanceId) -> PodStatus {
        match self.inner.ask(id, &Request::Status) {
            Ok((connection, Answer::Running(running))) => {
                if !self.watcher.has(id) {
                    self.watcher.add(id, connection.into());
                }
                self.inner.status_of(id, &running)
            }
            // A shim that waits for a disk is slow to answer; its pod runs all the same.
            _ if self.inner.connect(id).is_ok() => {
                let message = Some("the process that looks after the pod does not answer".to_owned());
                PodStatus { state: PodState::Running, ..stopped(id, message) }
            }
            _ => self.inner.ended(id),
        }
    }

    /// Makes the pod run.
    pub fn ensure(&self, pod: &PodRun) -> Result<PodStatus> {
        let lock = self.inner.lock(pod.id);
        let _held = lock.lock().unwrap_or_else(PoisonError::into_inner);
        if self.inner.connect(pod.id).is_ok() {
            return Ok(self.status(pod.id));
        }
        self.inner.clean(pod.id)?;
        let paths = self.inner.put_down(pod)?;
        match fs::remove_file(paths.exit()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::io("remove", &paths.exit(), error)),
            _ => {}
        }
        let order = Order { pod: pod.clone(), paths: paths.clone(), cgroup_parent: self.inner.options.cgroup_parent.clone() };
        write_json(&paths.order(), &order)?;
        let running = self.inner.start_shim(&paths.run)?;
        // A pod that has ended already is reported from its record.
        match self.inner.connect(pod.id) {
            Ok(connection) => {
                self.watcher.add(pod.id, connection.into());
                Ok(self.inner.status_of(pod.id, &running))
            }
            Err(_) => {
                (self.changed)(pod.id);
                Ok(self.inner.ended_while_locked(pod.id))
            }
        }
    }

    /// Gives a pod that never ran its directories and its record; whoever looks at its files mounts them.
    pub fn prepare(&self, pod: &PodRun) -> Result<PodStatus> {
        let lock = self.inner.lock(pod.id);
        let held = lock.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.inner.paths(pod.id).pod().exists() {
            self.inner.put_down(pod)?;
        }
        drop(held);
        Ok(self.status(pod.id))
    }

    /// Stops the pod and waits until it is gone.
    pub fn stop(&self, id: InstanceId, grace: Span) -> Result<PodStatus> {
        let lock = self.inner.lock(id);
        let _held = lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.inner.stop(id, grace)?;
        Ok(self.inner.ended_while_locked(id))
    }

    /// Removes all of the pod.
    pub fn remove(&self, id: InstanceId) -> Result<()> {
        let lock = self.inner.lock(id);
        let held = lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.inner.stop(id, Span(0))?;
        self.inner.clean(id)?;
        let paths = self.inner.paths(id);
        for directory in [&paths.run, &paths.state, &paths.log] {
            match fs::remove_dir_all(directory) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::io("remove", directory, error)),
                _ => {}
            }
        }
        drop(held);
        self.inner.locks.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        Ok(())
    }

    /// Holds the pod still, or lets it go on.
    pub fn freeze(&self, id: InstanceId, frozen: bool) -> Result<()> {
        self.running(id)?;
        self.inner.shape.freeze(&self.inner.cgroup(id), frozen)
    }

    /// Holds containers of a pod that runs to other limits, and remembers them.
    pub fn limit(&self, id: InstanceId, limits: &[(api::Name, Limits)]) -> Result<()> {
        let lock = self.inner.lock(id);
        let _held = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut pod, _) = self.running(id)?;
        for container in &mut pod.containers {
            let Some((_, new)) = limits.iter().find(|(name, _)| *name == container.name) else { continue };
            limits::apply(&self.inner.shape, &format!("{}/{}", self.inner.cgroup(id), container.name), new)?;
            container.limits = new.clone();
        }
        write_json(&self.inner.paths(id).pod(), &pod)
    }

    /// Signals main processes.
    pub fn signal(&self, id: InstanceId, signal: i32) -> Result<()> {
        match self.inner.ask(id, &Request::Signal(signal))?.1 {
            Answer::Refused(why) => Err(Error::text(why)),
            _ => Ok(()),
        }
    }

    /// The pod as asked for and as it runs, or a sentence saying that it does not.
    pub fn running(&self, id: InstanceId) -> Result<(PodRun, Running)> {
        let pod = read_json::<PodRun>(&self.inner.paths(id).pod())?;
        match (pod, self.inner.ask(id, &Request::Status)) {
            (Some(pod), Ok((_, Answer::Running(running)))) => Ok((pod, running)),
            _ => Err(Error::text(format!("instance {id} does not run on this server"))),
        }
    }
}

impl Inner {
    fn paths(&self, id: InstanceId) -> PodPaths {
        PodPaths::new(&self.options, id)
    }

    /// Writes down what was asked for, where the rest of the pod will be.
    fn put_down(&self, pod: &PodRun) -> Result<PodPaths> {
        let paths = self.paths(pod.id);
        for directory in [&paths.run, &paths.state, &paths.log] {
            fs::create_dir_all(directory).map_err(|e| Error::io("create", directory, e))?;
        }
        write_json(&paths.pod(), pod)?;
        Ok(paths)
    }

    fn cgroup(&self, id: InstanceId) -> String {
        format!("{}/{id}", self.options.cgroup_parent)
    }

    fn lock(&self, id: InstanceId) -> Arc<Mutex<()>> {
        Arc::clone(self.locks.lock().unwrap_or_else(PoisonError::into_inner).entry(id).or_default())
    }

    /// Connects to the pod's shim. Fails if and only if there is none.
    fn connect(&self, id: InstanceId) -> Result<UnixStream> {
        connect(&self.paths(id).run)
    }

    fn ask(&self, id: InstanceId, request: &Request) -> Result<(UnixStream, Answer)> {
        ask(self.connect(id)?, request)
    }

    fn status_of(&self, id: InstanceId, running: &Running) -> PodStatus {
        let frozen = self.shape.is_frozen(&self.cgroup(id));
        PodStatus {
            id,
            state: if frozen { PodState::Frozen } else { PodState::Running },
            pid: running.containers.first().and_then(|c| c.pid).and_then(|pid| u32::try_from(pid).ok()),
            started: Some(running.started),
            exit_code: None,
            message: None,
        }
    }

    /// What a pod without a shim is: ended, by its record. While somebody changes the pod, only what the record says.
    fn ended(&self, id: InstanceId) -> PodStatus {
        let lock = self.lock(id);
        match lock.try_lock() {
            Ok(_held) => self.ended_while_locked(id),
            Err(_) => self.by_record(id, self.record(id)),
        }
    }

    /// As [`Inner::ended`], and the caller is the one who changes the pod. Without a record the shim was killed: then the
    /// rest is.
    fn ended_while_locked(&self, id: InstanceId) -> PodStatus {
        // Only a pod that was started, and whose shim is really gone, can have lost its record.
        let lost = self.record(id).is_none() && self.paths(id).order().exists() && self.connect(id).is_err();
        self.by_record(id, if lost { self.bury(id) } else { self.record(id) })
    }

    fn record(&self, id: InstanceId) -> Option<ExitRecord> {
        read_json(&self.paths(id).exit()).ok().flatten()
    }

    fn by_record(&self, id: InstanceId, record: Option<ExitRecord>) -> PodStatus {
        let Some(record) = record else { return stopped(id, None) };
        PodStatus {
            id,
            state: PodState::Stopped,
            pid: None,
            started: record.started,
            exit_code: Some(record.exit_code),
            message: record.message,
        }
    }

    /// The shim was killed: kill what it left, and write the record it could not write.
    fn bury(&self, id: InstanceId) -> Option<ExitRecord> {
        let path = self.cgroup(id);
        if let Err(error) = self.shape.kill(&path).and_then(|()| self.shape.remove(&path)) {
            tracing::warn!(%id, %error, "could not clean up behind a shim");
        }
        let record = ExitRecord {
            started: None,
            ended: Timestamp(base::env::now_millis()),
            exit_code: 128 + libc::SIGKILL,
            message: Some("the process that looks after the pod was killed from outside, so the pod was stopped".to_owned()),
        };
        // The shim, in its last moment, may have been quicker: the first record stays.
        if let Some(first) = self.record(id) {
            return Some(first);
        }
        write_json(&self.paths(id).exit(), &record).ok()?;
        Some(record)
    }

    /// Runs a shim and waits for its first word.
    fn start_shim(&self, run: &Path) -> Result<Running> {
        let mut child = self
            .program
            .command()
            .arg(run)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| Error::call("run the shim", e))?;
        let out: Option<OwnedFd> = child.stdout.take().map(Into::into);
        let word = out.map_or_else(|| Err(Error::text("the shim has no output")), |out| first_word(&out));
        let _ = child.wait();
        match word? {
            Started::Running(running) => Ok(running),
            Started::Failed(refusal) if refusal.code == 125 => Err(Error::Later(refusal.message)),
            Started::Failed(refusal) => Err(Error::text(refusal.message)),
        }
    }

    /// Makes sure that nothing of the pod runs.
    fn stop(&self, id: InstanceId, grace: Span) -> Result<()> {
        let Ok(connection) = self.connect(id) else {
            // Nothing to ask; but something may be left of a shim that was killed.
            return self.shape.kill(&self.cgroup(id));
        };
        let shim = getsockopt(&connection, PeerCredentials).map(|c| c.pid()).map_err(|e| Error::call("find the shim", e))?;
        let process = sys::pidfd(shim);
        let (connection, _) = ask(connection, &Request::Stop(grace.0))?;
        let patience = grace.duration() + KILL_SLACK;
        let millis = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
        if sys::wait_readable(connection.as_fd(), millis)? {
            return Ok(());
        }
        // Should never be: the shim neither ended nor killed. Do its work.
        tracing::warn!(%id, "a shim did not stop its pod in time");
        if let Ok(process) = process {
            sys::pidfd_signal(process.as_fd(), libc::SIGKILL)?;
        }
        self.bury(id);
        Ok(())
    }

    /// Removes what a run leaves: cgroups, mounts in our namespace, the run directory. Nothing of the pod runs.
    fn clean(&self, id: InstanceId) -> Result<()> {
        let path = self.cgroup(id);
        self.shape.kill(&path)?;
        self.shape.remove(&path)?;
        let run = self.paths(id).run;
        rootfs::unmount_below(&run)?;
        match fs::remove_dir_all(&run) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", &run, error)),
            _ => Ok(()),
        }
    }
}

/// Connects to the shim whose socket lies in this directory.
pub fn connect(run: &Path) -> Result<UnixStream> {
    let directory = sys::open_directory(run)?;
    UnixStream::connect(short_path(&directory)).map_err(|e| Error::io("reach the shim at", &run.join(SOCKET), e))
}

/// One request, one answer.
pub fn ask(mut connection: UnixStream, request: &Request) -> Result<(UnixStream, Answer)> {
    let mut line = serde_json::to_vec(request).map_err(|e| Error::text(e.to_string()))?;
    line.push(b'\n');
    let set = connection.set_read_timeout(Some(ANSWER)).and_then(|()| connection.write_all(&line));
    set.map_err(|e| Error::call("ask the shim", e))?;
    let mut answer = Vec::new();
    let mut byte = [0];
    // Byte by byte: what follows the line is a container's output.
    while answer.len() < LINE_MAX {
        match connection.read(&mut byte).map_err(|e| Error::call("hear the shim", e))? {
            1 if byte[0] != b'\n' => answer.push(byte[0]),
            _ => break,
        }
    }
    connection.set_read_timeout(None).map_err(|e| Error::call("ask the shim", e))?;
    let answer = serde_json::from_slice(&answer).map_err(|_| Error::call("hear the shim", std::io::ErrorKind::UnexpectedEof))?;
    Ok((connection, answer))
}

fn first_word(out: &OwnedFd) -> Result<Started> {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    while !text.ends_with(b"\n") && text.len() < FIRST_WORD_MAX {
        if !sys::wait_readable(out.as_fd(), START_MILLIS)? {
            return Err(Error::call("start the pod", std::io::ErrorKind::TimedOut));
        }
        match sys::read_some(out, &mut buffer).map_err(|e| Error::call("hear the shim", e))? {
            0 => break,
            length => text.extend_from_slice(&buffer[..length]),
        }
    }
    serde_json::from_slice(&text).map_err(|_| {
        Error::call(
            "start the pod",
            std::io::Error::other("the shim ended without a word; is the program it is run from complete?"),
        )
    })
}

const fn stopped(id: InstanceId, message: Option<String>) -> PodStatus {
    PodStatus { id, state: PodState::Stopped, pid: None, started: None, exit_code: None, message }
}
