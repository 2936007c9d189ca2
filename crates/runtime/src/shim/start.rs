//! Starting the containers of a pod, one after the other, and taking all back when one cannot be started.

use super::{input::Input, log::Log, now};
use crate::{
    Error, Result,
    cgroup::Shape,
    create::{Making, Streams, null},
    fds, lxc,
    record::{Order, Refusal, Running, RunningContainer},
    sys,
};
use api::{Name, Timestamp, spec::ContainerKind};
use driver::runtime::ContainerRun;
use serde::{Deserialize, Serialize};
use std::{
    io::Write as _,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

/// Who is awaited has so long to come.
const AWAITED: Duration = Duration::from_secs(10);
/// How long the making of one container may take before it is given up, in milliseconds.
const MAKING_MILLIS: i32 = 60_000;
/// Longest message of the process that makes a container.
const MESSAGE_MAX: usize = 16 << 10;

/// The containers of a pod, running.
pub struct Pod {
    /// When the first began.
    pub started: Timestamp,
    /// In the pod's order.
    pub containers: Vec<Container>,
}

/// One container.
pub struct Container {
    /// Its name in the pod.
    pub name: Name,
    /// Our child, whose end is the container's.
    pub child: i32,
    /// Main process: the child itself, or the first process of a system container.
    pub main: i32,
    /// How it ended.
    pub exit_code: Option<i32>,
    /// Asks it to stop.
    pub stop_signal: i32,
    /// Path of its cgroup.
    pub cgroup: String,
    /// Where its output is kept.
    pub log: Log,
    /// Where its output comes from: descriptor, and whether it is standard error.
    pub outputs: Vec<(OwnedFd, bool)>,
    /// Where its input goes.
    pub input: Input,
    /// It has a terminal: input and output are two directions of it.
    pub terminal: bool,
    /// Until when its output is kept for who is awaited.
    pub awaited: Option<Instant>,
    /// Application or system.
    pub kind: ContainerKind,
    /// The container's end of its console, held open while a system that reboots has it closed.
    pub console: Option<OwnedFd>,
    /// Where it says that it is up, while that is waited for.
    pub ready: Option<OwnedFd>,
}

impl Container {
    /// Its main process now, if there is one: a system that reboots has another each time.
    pub fn main(&self) -> Option<i32> {
        match self.kind {
            ContainerKind::System if self.main != self.child => lxc::init::first_of(self.child),
            _ => Some(self.main),
        }
    }
}

impl Pod {
    /// As others are told.
    pub fn running(&self) -> Running {
        let told = |c: &Container| RunningContainer {
            name: c.name.clone(),
            pid: if c.exit_code.is_none() { c.main() } else { None },
            exit_code: c.exit_code,
        };
        Running { started: self.started, containers: self.containers.iter().map(told).collect() }
    }
}

/// What the process that makes a container says. Nothing, if it became the container's keeper.
#[derive(Serialize, Deserialize)]
enum Made {
    Process(i32),
    Refused(Refusal),
}

/// Starts all containers, or none.
pub fn all(order: &Order) -> Result<Pod, Refusal> {
    let mut pod = Pod { started: now(), containers: Vec::new() };
    std::fs::create_dir_all(&order.paths.log).map_err(|e| Error::io("create", &order.paths.log, e))?;
    Shape::detect()?.share(&order.cgroup_parent)?;
    for index in 0..order.pod.containers.len() {
        let leader = pod.containers.first().map(|c| c.main);
        match one(&Making { order, index, leader }) {
            Ok(container) => pod.containers.push(container),
            Err(refusal) => {
                take_back(order);
                let name = &order.pod.containers[index].name;
                let message = format!("container {name} could not be started: {}", refusal.message);
                return Err(Refusal { message, ..refusal });
            }
        }
    }
    if pod.containers.is_empty() { Err(Refusal::before("a pod needs at least one container")) } else { Ok(pod) }
}

/// Kills and removes what was started of the pod.
fn take_back(order: &Order) {
    let path = format!("{}/{}", order.cgroup_parent, order.pod.id);
    if let Ok(shape) = Shape::detect() {
        let _ = shape.kill(&path);
        // SAFETY: only our own children are waited for.
        while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
        let _ = shape.remove(&path);
    }
}

fn one(making: &Making<'_>) -> Result<Container, Refusal> {
    let container = making.container();
    let log = Log::open(making.order.paths.log_file(&container.name))?;
    let (streams, ends) = streams(container)?;
    let (child, main) = make(making, streams)?;
    let terminal = ends.hand_over.is_some();
    let (outputs, input, console, ready) = match ends.hand_over {
        Some(socket) => {
            let (master, theirs, ready) = received_terminal(&socket)?;
            let input = master.try_clone().map_err(|e| Error::call("keep the terminal", e))?;
            (vec![(master, false)], Input::new(input, true), theirs, ready)
        }
        None => (ends.outputs, ends.input, None, None),
    };
    Ok(Container {
        name: container.name.clone(),
        child,
        main,
        exit_code: None,
        stop_signal: container.stop_signal,
        cgroup: making.cgroup(),
        log,
        outputs,
        input,
        terminal,
        awaited: container.awaited.then(|| base::env::instant() + AWAITED),
        kind: container.kind,
        console,
        ready: ready.filter(|_| lxc::init::says_when_it_is_up(main)),
    })
}

/// Our ends of the container's streams: pipes, or a socket through which its terminal will come.
struct Ends {
    outputs: Vec<(OwnedFd, bool)>,
    input: Input,
    hand_over: Option<UnixStream>,
}

/// Both ends of the container's streams. An init has a console, which is a terminal.
fn streams(container: &ContainerRun) -> Result<(Streams, Ends)> {
    let app = container.kind == ContainerKind::App;
    let terminal = if app { container.terminal } else { lxc::init::is_init(&container.argv) };
    if terminal {
        let (ours, theirs) = UnixStream::pair().map_err(|e| Error::call("make a socket", e))?;
        let streams = Streams { input: null()?, output: null()?, error: null()?, terminal: Some(theirs.into()) };
        return Ok((streams, Ends { outputs: Vec::new(), input: Input::default(), hand_over: Some(ours) }));
    }
    let (output, output_in) = sys::pipe()?;
    let (error, error_in) = sys::pipe()?;
    let (input, from) = if container.stdin && app {
        let (from, to) = sys::pipe()?;
        (Input::new(to, false), from)
    } else {
        (Input::default(), null()?)
    };
    let streams = Streams { input: from, output: output_in, error: error_in, terminal: None };
    Ok((streams, Ends { outputs: vec![(output, false), (error, true)], input, hand_over: None }))
}

/// Our end of a terminal; of a system's console also the container's, which is to be held, and the socket on which it says that it is up.
fn received_terminal(socket: &UnixStream) -> Result<(OwnedFd, Option<OwnedFd>, Option<OwnedFd>)> {
    if !sys::wait_readable(socket.as_fd(), MAKING_MILLIS)? {
        return Err(Error::text("the container's terminal did not come in time"));
    }
    let mut all = fds::receive(socket.as_fd(), &mut [0; 8])?.1.into_iter();
    let ours = all.next().ok_or_else(|| Error::text("the container's terminal did not come"))?;
    Ok((ours, all.next(), all.next()))
}

/// Makes the container in a process of its own. Gives our child and the container's main process.
fn make(making: &Making<'_>, streams: Streams) -> Result<(i32, i32), Refusal> {
    let (answer, told) = sys::pipe()?;
    // SAFETY: there is one thread.
    match unsafe { libc::fork() } {
        -1 => Err(Error::errno("fork").into()),
        0 => {
            drop(answer);
            let made = match making.container().kind {
                ContainerKind::App => making.app(streams).map_or_else(Made::Refused, Made::Process),
                ContainerKind::System => Made::Refused(lxc::keeper::become_keeper(making, &streams)),
            };
            let text = serde_json::to_vec(&made).unwrap_or_default();
            let _ = std::fs::File::from(told).write_all(&text);
            // SAFETY: ends without running the shim's destructors twice.
            unsafe { libc::_exit(0) }
        }
        maker => {
            drop((told, streams));
            let made = message(&answer);
            match made? {
                Some(Made::Process(pid)) => reaped(maker).map(|()| (pid, pid)).map_err(Refusal::from),
                Some(Made::Refused(refusal)) => {
                    reaped(maker)?;
                    Err(refusal)
                }
                None if making.container().kind == ContainerKind::System => {
                    lxc::init::main_process(&making.paths(), maker).map(|main| (maker, main))
                }
                None => Err(Refusal::before("the process that makes containers died; the kernel's log may say why")),
            }
        }
    }
}

/// What the maker says; nothing when the pipe just closes.
fn message(answer: &OwnedFd) -> Result<Option<Made>, Refusal> {
    if !sys::wait_readable(answer.as_fd(), MAKING_MILLIS)? {
        return Err(Refusal::before(format!("the container was not made within {} seconds", MAKING_MILLIS / 1000)));
    }
    let mut text = vec![0; MESSAGE_MAX];
    let length = sys::read_some(answer, &mut text).map_err(|e| Error::call("hear of the container", e))?;
    if length == 0 {
        return Ok(None);
    }
    serde_json::from_slice(&text[..length])
        .map(Some)
        .map_err(|e| Refusal::before(format!("unreadable word of the container: {e}")))
}

fn reaped(child: i32) -> Result<()> {
    // SAFETY: our own child.
    if unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) } < 0 { Err(Error::errno("wait")) } else { Ok(()) }
}
