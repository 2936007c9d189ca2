//! The parent of the daemon's processes: starts them, starts again what dies, and ends with all of them.
//!
//! *Invariant:* no child outlives the supervisor, however it ends. What the children themselves let go (shims of containers)
//! belongs to the machine's first process and is none of our business.
//!
//! Without an async runtime, so that it stays small and has little to die of.

use base::backoff::Backoff;
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        signal::{SigSet, Signal, kill},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, getppid},
};
use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, FromRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// The first pause before a dead child is started again.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A child that lived this long begins again with the first pause.
const STEADY: Duration = Duration::from_secs(10);
/// How long children may take to end before they are killed.
const GRACE: Duration = Duration::from_secs(10);
/// How long killed children may take to be gone.
const DEATH: Duration = Duration::from_secs(5);
/// A log longer than this, in bytes, is put aside. One old one is kept.
const LOG_MAX: u64 = 10 * 1024 * 1024;
/// How often logs are measured.
const MEASURE: Duration = Duration::from_secs(60);

/// A process to keep alive.
#[derive(Clone, Debug)]
pub struct Child {
    /// What it is called; also the name of its log.
    pub name: &'static str,
    /// Program and arguments.
    pub argv: Vec<OsString>,
}

/// Why children cannot be supervised at all.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// Nothing to run.
    #[error("the command line of {0} is empty")]
    Empty(&'static str),
    /// Logs have no place.
    #[error("cannot make the log directory {path}: {source}")]
    LogDir {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Signals or descriptors cannot be waited for.
    #[error("cannot wait for signals: {0}")]
    Wait(#[from] nix::Error),
    /// Even SIGKILL did not end it.
    #[error("{0} does not end")]
    Stays(&'static str),
}

/// Runs the children until SIGTERM or SIGINT, starting again each that ends; then ends them all: SIGTERM, ten seconds, SIGKILL.
/// Their output is appended to `<log_dir>/<name>.log`.
///
/// Must be called on the main thread, before any other is started: children are tied to the thread that starts them, and
/// signals must be blocked on all. A child that cannot be started is tried again like one that died.
///
/// # Errors
/// An empty command line, no log directory, no means to wait; or a child that cannot even be killed.
pub fn supervise(children: Vec<Child>, log_dir: &Path) -> Result<(), SupervisorError> {
    if let Some(empty) = children.iter().find(|child| child.argv.is_empty()) {
        return Err(SupervisorError::Empty(empty.name));
    }
    fs::create_dir_all(log_dir).map_err(|source| SupervisorError::LogDir { path: log_dir.to_owned(), source })?;
    let stop = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    stop.thread_block()?;
    let signals = SignalFd::with_flags(&stop, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let mut slots: Vec<Slot> = children.into_iter().map(|child| Slot::new(child, log_dir)).collect();
    let ran = run(&mut slots, &signals);
    ran.and(end(&mut slots))
}

/// Until told to stop.
fn run(slots: &mut [Slot], signals: &SignalFd) -> Result<(), SupervisorError> {
    let mut measured = base::env::instant();
    loop {
        let now = base::env::instant();
        slots.iter_mut().for_each(|slot| slot.look(now));
        if now.duration_since(measured) >= MEASURE {
            slots.iter().for_each(|slot| put_aside(&slot.log));
            measured = now;
        }
        reap_strays(slots)?;
        if wait(slots, Some(signals), pause(slots, now))? && signals.read_signal()?.is_some() {
            return Ok(());
        }
    }
}

/// How long nothing has to be done.
fn pause(slots: &[Slot], now: Instant) -> Duration {
    let next = slots.iter().filter_map(|slot| match slot.state {
        State::Waiting(until) => Some(until.saturating_duration_since(now)),
        State::Running(_) => None,
    });
    // Poll counts whole milliseconds: rounded up, so as not to look too early again and again.
    next.min().map_or(MEASURE, |next| next.min(MEASURE) + Duration::from_millis(1))
}

/// Waits for the end of a child, or a signal; whether it was a signal.
fn wait(slots: &[Slot], signals: Option<&SignalFd>, limit: Duration) -> Result<bool, SupervisorError> {
    let ends = slots.iter().filter_map(|slot| match &slot.state {
        State::Running(running) => Some(running.handle.as_fd()),
        State::Waiting(_) => None,
    });
    let sources = signals.iter().map(|signals| signals.as_fd()).chain(ends);
    let mut sources: Vec<PollFd> = sources.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    match poll(&mut sources, PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX)) {
        Ok(_) | Err(nix::Error::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(signals.is_some() && sources.first().and_then(PollFd::any).unwrap_or(false))
}

/// As the first process of a container everybody's orphans are ours, to be reaped only.
fn reap_strays(slots: &mut [Slot]) -> Result<(), SupervisorError> {
    if std::process::id() != 1 {
        return Ok(());
    }
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(nix::Error::ECHILD) => return Ok(()),
            Ok(status) => {
                let own = slots.iter_mut().find(|slot| slot.pid().is_some() && slot.pid() == status.pid());
                own.into_iter().for_each(|slot| slot.died(&format!("{status:?}"), base::env::instant()));
            }
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Ends all that run: asks, waits, kills.
fn end(slots: &mut [Slot]) -> Result<(), SupervisorError> {
    for (signal, limit) in [(Signal::SIGTERM, GRACE), (Signal::SIGKILL, DEATH)] {
        for pid in slots.iter().filter_map(Slot::pid) {
            // One that ended meanwhile is not yet reaped, so the number still means it.
            let _ = kill(pid, signal);
        }
        let deadline = base::env::instant() + limit;
        while slots.iter_mut().any(Slot::still_runs) && base::env::instant() < deadline {
            wait(slots, None, deadline.saturating_duration_since(base::env::instant()) + Duration::from_millis(1))?;
        }
    }
    let stays = slots.iter_mut().find_map(|slot| slot.still_runs().then_some(slot.child.name));
    stays.map_or(Ok(()), |name| Err(SupervisorError::Stays(name)))
}

/// A child and what it has come to.
struct Slot {
    child: Child,
    log: PathBuf,
    backoff: Backoff,
    state: State,
}

enum State {
    Running(Running),
    /// To be started at this time.
    Waiting(Instant),
}

struct Running {
    process: std::process::Child,
    /// Becomes readable when the process ends (pidfd_open(2)).
    handle: OwnedFd,
    since: Instant,
}

impl Slot {
    fn new(child: Child, log_dir: &Path) -> Self {
        let log = log_dir.join(format!("{}.log", child.name));
        let backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        Self { child, log, backoff, state: State::Waiting(base::env::instant()) }
    }

    fn pid(&self) -> Option<Pid> {
        match &self.state {
            State::Running(running) => Some(Pid::from_raw(running.process.id().cast_signed())),
            State::Waiting(_) => None,
        }
    }

    /// Notices its end, and starts it when it is time.
    fn look(&mut self, now: Instant) {
        if let State::Running(running) = &mut self.state
            && let Some(how) = ended(&mut running.process)
        {
            self.died(&how, now);
        }
        if let State::Waiting(until) = self.state
            && until <= now
        {
            match self.start(now) {
                Ok(running) => self.state = State::Running(running),
                Err(error) => self.failed(&error, now),
            }
        }
    }

    fn died(&mut self, how: &str, now: Instant) {
        if let State::Running(running) = &self.state
            && now.duration_since(running.since) >= STEADY
        {
            self.backoff.reset();
        }
        self.again(how, now);
    }

    fn failed(&mut self, error: &io::Error, now: Instant) {
        self.again(&format!("cannot be started: {error}"), now);
    }

    fn again(&mut self, why: &str, now: Instant) {
        let pause = self.backoff.pause();
        tracing::warn!(child = self.child.name, why, pause_ms = pause.as_millis(), "child ended: starting it again");
        self.state = State::Waiting(now + pause);
    }

    /// While ending: no more starting again.
    fn still_runs(&mut self) -> bool {
        let now = base::env::instant();
        if let State::Running(running) = &mut self.state
            && ended(&mut running.process).is_some()
        {
            self.state = State::Waiting(now);
        }
        matches!(self.state, State::Running(_))
    }

    fn start(&self, now: Instant) -> io::Result<Running> {
        put_aside(&self.log);
        let log = File::options().create(true).append(true).open(&self.log)?;
        let (program, args) = self.child.argv.split_first().ok_or_else(|| io::Error::other("empty command line"))?;
        let mut command = Command::new(program);
        // A group of its own, so that Ctrl-C reaches only the supervisor, which then ends everybody in order.
        command.args(args).process_group(0).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let parent = Pid::this();
        // SAFETY: only system calls that are allowed between fork and exec.
        unsafe { command.pre_exec(move || tie_to(parent)) };
        let mut process = command.spawn()?;
        match open_handle(process.id()) {
            Ok(handle) => Ok(Running { process, handle, since: now }),
            Err(error) => {
                process.kill().and_then(|()| process.wait())?;
                Err(error)
            }
        }
    }
}

/// How it ended, if it has. That somebody else has reaped it means so, too.
fn ended(process: &mut std::process::Child) -> Option<String> {
    match process.try_wait() {
        Ok(status) => status.map(|status| status.to_string()),
        Err(error) => Some(error.to_string()),
    }
}

/// In the child: die with the parent, which may have died before this was said; and take signals again.
fn tie_to(parent: Pid) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != parent {
        return Err(nix::Error::ESRCH.into());
    }
    SigSet::empty().thread_set_mask().map_err(Into::into)
}

fn open_handle(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open(2) takes two numbers and gives a new descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    match i32::try_from(fd) {
        // SAFETY: the kernel just gave us this descriptor.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Copies a log that has grown too long to `<log>.1` and empties it: whoever writes to its end goes on at the beginning.
fn put_aside(log: &Path) {
    if !fs::metadata(log).is_ok_and(|meta| meta.len() > LOG_MAX) {
        return;
    }
    let old = log.with_extension("log.1");
    let done = fs::copy(log, &old).and_then(|_| File::options().write(true).open(log)?.set_len(0));
    if let Err(error) = done {
        tracing::warn!(log = %log.display(), %error, "a long log cannot be put aside");
    }
}

#[cfg(test)]
mod tests;
