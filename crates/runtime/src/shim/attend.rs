//! The shim's loop: output to logs, ends to the record, requests to actions.

use super::{
    client::{Client, Heard},
    control::{Answer, Request},
    log::Lines,
    now,
    start::{Container, Pod},
};
use crate::{
    Error, Result,
    cgroup::Shape,
    launch, lxc,
    paths::SOCKET,
    record::{ExitRecord, Order, read_json, write_json},
    sys,
};
use api::{Name, spec::ContainerKind};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signalfd::SignalFd,
};
use std::{
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::net::UnixListener,
    },
    time::{Duration, Instant},
};

/// Connections at once: agents that come and go, a few people attached.
const CLIENTS_MAX: usize = 32;
/// Bytes read from a container in one go.
const READ_BYTES: usize = 32 << 10;
/// Output of containers that have ended is read for so long: a program outside may hold their pipes.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// When one container ends, the others have so long to stop before they are killed.
const OTHERS_GRACE: Duration = Duration::from_secs(10);
/// Pause before killing is tried again.
const KILL_AGAIN: Duration = Duration::from_millis(500);

/// One stream of a container's output.
struct Output {
    container: usize,
    fd: OwnedFd,
    lines: Lines,
}

/// All a shim holds while its pod runs.
pub struct Attending<'a> {
    order: &'a Order,
    pod: Pod,
    listener: UnixListener,
    signals: SignalFd,
    outputs: Vec<Output>,
    clients: Vec<Client>,
    /// When what is left is killed.
    kill_at: Option<Instant>,
    /// When the last container had ended and output is no longer waited for.
    silent_at: Option<Instant>,
    /// Name and exit code of the container that ended first by itself, in a pod of several.
    first_end: Option<(Name, i32)>,
    stopping: bool,
    killed: bool,
}

impl<'a> Attending<'a> {
    /// Takes over a pod that has just been started.
    pub fn new(order: &'a Order, mut pod: Pod, listener: UnixListener, signals: SignalFd) -> Self {
        let mut outputs = Vec::new();
        for (index, container) in pod.containers.iter_mut().enumerate() {
            for (fd, stderr) in container.outputs.drain(..) {
                set_nonblocking(&fd);
                outputs.push(Output { container: index, fd, lines: Lines::new(stderr) });
            }
        }
        Self {
            order,
            pod,
            listener,
            signals,
            outputs,
            clients: Vec::new(),
            kill_at: None,
            silent_at: None,
            first_end: None,
            stopping: false,
            killed: false,
        }
    }

    /// Attends to the pod until its last container has ended, then writes the record.
    pub fn until_ended(mut self) -> Result<()> {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            self.reap();
            if self.is_over() {
                return self.finish();
            }
            self.kill_if_due();
            let ready = self.wait()?;
            self.attend(&ready, &mut buffer);
        }
    }

    fn is_over(&mut self) -> bool {
        if self.pod.containers.iter().any(|c| c.exit_code.is_none()) {
            return false;
        }
        let silent_at = *self.silent_at.get_or_insert_with(|| base::env::instant() + LAST_WORDS);
        self.outputs.is_empty() || base::env::instant() >= silent_at
    }

    /// Descriptors that have something, in the order: signals, listener, outputs, clients.
    fn wait(&self) -> Result<Vec<bool>> {
        let mut all =
            vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN), PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
        all.extend(self.outputs.iter().map(|o| PollFd::new(o.fd.as_fd(), PollFlags::POLLIN)));
        all.extend(self.clients.iter().map(|c| PollFd::new(c.as_fd(), PollFlags::POLLIN)));
        match poll(&mut all, self.timeout()) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(Error::call("poll", error)),
        }
        Ok(all.iter().map(|p| p.any().unwrap_or(true)).collect())
    }

    fn timeout(&self) -> PollTimeout {
        let next = [self.kill_at, self.silent_at].into_iter().flatten().min();
        next.map_or(PollTimeout::NONE, |at| {
            let left = at.saturating_duration_since(base::env::instant()) + Duration::from_millis(1);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        })
    }

    fn attend(&mut self, ready: &[bool], buffer: &mut [u8]) {
        while let Ok(Some(_)) = self.signals.read_signal() {}
        let outputs = self.outputs.len();
        let talking: Vec<usize> = (0..self.clients.len()).filter(|n| ready[2 + outputs + n]).collect();
        for index in talking.into_iter().rev() {
            if !self.serve(index) {
                self.clients.swap_remove(index);
            }
        }
        for index in (0..outputs).rev().filter(|n| ready[2 + n]) {
            if !self.relay(index, buffer) {
                self.outputs.swap_remove(index);
            }
        }
        if ready[1] {
            self.accept();
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if self.clients.len() < CLIENTS_MAX {
                self.clients.extend(Client::new(stream));
            }
        }
    }

    /// Moves output to the log and to those attached. False: the stream has ended.
    fn relay(&mut self, index: usize, buffer: &mut [u8]) -> bool {
        let output = &mut self.outputs[index];
        let (container, mut encoded, at) = (output.container, Vec::new(), now());
        let (alive, bytes) = match sys::read_some(&output.fd, buffer) {
            Ok(0) => (false, &buffer[..0]),
            Ok(length) => (true, &buffer[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return true,
            // A terminal whose last user is gone reads EIO.
            Err(_) => (false, &buffer[..0]),
        };
        output.lines.feed(bytes, at, &mut encoded);
        if !alive {
            output.lines.finish(at, &mut encoded);
        }
        self.pod.containers[container].log.write(&encoded);
        self.clients.retain_mut(|c| c.attached != Some(container) || (alive && c.send(bytes)));
        alive
    }

    /// Hears a client and does what it asks. False: let it go.
    fn serve(&mut self, index: usize) -> bool {
        match self.clients[index].hear() {
            Heard::Nothing => true,
            Heard::Gone => false,
            Heard::Input(bytes) => {
                self.input(index, &bytes);
                true
            }
            Heard::Requests(requests) => requests.iter().all(|request| {
                let answer = self.act(index, request).unwrap_or_else(Answer::Refused);
                self.clients[index].answer(&answer)
            }),
        }
    }

    /// Input for a terminal that is not taken at once is lost, as on any terminal.
    fn input(&self, client: usize, bytes: &[u8]) {
        let attached = self.clients[client].attached;
        let terminal = |o: &&Output| Some(o.container) == attached && self.pod.containers[o.container].terminal;
        if let Some(output) = self.outputs.iter().find(terminal) {
            let _ = nix::unistd::write(&output.fd, bytes);
        }
    }

    fn act(&mut self, client: usize, request: &Request) -> Result<Answer, String> {
        match request {
            Request::Status => return Ok(Answer::Running(self.pod.running())),
            Request::Signal(signal) => self.signal(Some(*signal)),
            Request::Stop(millis) => self.stop(Duration::from_millis(*millis)),
            Request::Attach(name) => self.clients[client].attached = Some(self.find(name.as_ref())?),
            Request::Resize(name, columns, rows) => {
                let container = self.find(name.as_ref())?;
                let output = self.outputs.iter().find(|o| o.container == container && self.pod.containers[container].terminal);
                let output = output.ok_or("the container has no terminal")?;
                launch::resize(output.fd.as_raw_fd(), *columns, *rows).map_err(|e| e.to_string())?;
            }
        }
        Ok(Answer::Done)
    }

    fn find(&self, name: Option<&Name>) -> Result<usize, String> {
        let wanted = |c: &Container| name.is_none_or(|name| c.name == *name);
        self.pod.containers.iter().position(wanted).ok_or_else(|| "the pod has no container of that name".to_owned())
    }

    /// Signals the main process of each container that runs: this one, or its own stop signal.
    fn signal(&self, signal: Option<i32>) {
        for container in self.pod.containers.iter().filter(|c| c.exit_code.is_none()) {
            let Some(main) = container.main() else { continue };
            if signal.is_none() && container.kind == ContainerKind::System {
                lxc::init::ask_to_stop(container.stop_signal, main);
                continue;
            }
            // SAFETY: plain numbers; the process is our child, or watched by it, so the number is still its own.
            unsafe { libc::kill(main, signal.unwrap_or(container.stop_signal)) };
        }
    }

    /// Asks all to stop, and remembers when to kill. The shorter of two graces counts.
    fn stop(&mut self, grace: Duration) {
        let at = base::env::instant() + grace;
        self.kill_at = Some(self.kill_at.map_or(at, |before| before.min(at)));
        self.stopping = true;
        self.signal(None);
        self.thaw();
    }

    /// A process held still hears nothing, not even its death.
    fn thaw(&self) {
        let path = self.cgroup();
        if let Ok(shape) = Shape::detect()
            && shape.is_frozen(&path)
        {
            let _ = shape.freeze(&path, false);
        }
    }

    fn cgroup(&self) -> String {
        format!("{}/{}", self.order.cgroup_parent, self.order.pod.id)
    }

    fn kill_if_due(&mut self) {
        if self.kill_at.is_some_and(|at| base::env::instant() >= at) {
            self.signal(Some(libc::SIGKILL));
            self.kill_keepers();
            self.killed = true;
            self.thaw();
            self.kill_at = Some(base::env::instant() + KILL_AGAIN);
        }
    }

    /// A system without a first process, as one that is just rebooting, cannot be killed by it.
    fn kill_keepers(&self) {
        let running = self.pod.containers.iter().filter(|c| c.exit_code.is_none());
        for container in running.filter(|c| c.kind == ContainerKind::System && c.main().is_none()) {
            // SAFETY: plain numbers; it is our child and not reaped yet.
            unsafe { libc::kill(container.child, libc::SIGKILL) };
        }
    }

    /// Notes which children have ended. The first container to end by itself takes the others with it.
    fn reap(&mut self) {
        loop {
            let mut status = 0;
            // SAFETY: the status lives through the call.
            let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
            if pid <= 0 {
                return;
            }
            let Some(container) = self.pod.containers.iter_mut().find(|c| c.child == pid) else { continue };
            let code = sys::exit_code(status);
            container.exit_code = Some(code);
            container.console = None;
            let several = self.pod.containers.len() > 1;
            if several && !self.stopping {
                self.first_end = Some((self.pod.containers.iter().find(|c| c.child == pid).map(|c| c.name.clone()), code))
                    .and_then(|(name, code)| Some((name?, code)));
                self.stop(OTHERS_GRACE);
            }
        }
    }

    /// Everything has ended: record, then clean up, in this order, so that no exit code is ever lost.
    fn finish(mut self) -> Result<()> {
        let at = now();
        for output in &mut self.outputs {
            let mut encoded = Vec::new();
            output.lines.finish(at, &mut encoded);
            self.pod.containers[output.container].log.write(&encoded);
        }
        let shape = Shape::detect();
        let record = ExitRecord {
            started: Some(self.pod.started),
            ended: at,
            exit_code: self.exit_code(),
            message: shape.as_ref().ok().and_then(|shape| self.message(shape)),
        };
        write_json(&self.order.paths.exit(), &record)?;
        if let Ok(shape) = shape {
            // What a system container left running, and processes that joined from outside.
            let _ = shape.kill(&self.cgroup()).and_then(|()| shape.remove(&self.cgroup()));
        }
        let _ = std::fs::remove_file(self.order.paths.run.join(SOCKET));
        Ok(())
    }

    /// The first container's. LXC's keeper does not pass on how a system ended: zero, unless we killed it.
    fn exit_code(&self) -> i32 {
        const KILLED: i32 = 128 + libc::SIGKILL;
        if self.killed && self.order.pod.containers.iter().any(|c| c.kind == ContainerKind::System) {
            return KILLED;
        }
        self.pod.containers.first().and_then(|c| c.exit_code).unwrap_or(KILLED)
    }

    /// What there is to say beyond the exit code.
    fn message(&self, shape: &Shape) -> Option<String> {
        // Limits may have been changed since.
        let pod = read_json(&self.order.paths.pod()).ok().flatten();
        let asked = pod.as_ref().unwrap_or(&self.order.pod);
        for (container, asked) in self.pod.containers.iter().zip(&asked.containers) {
            let kills = shape.oom_kills(&container.cgroup);
            if kills > 0 && container.exit_code != Some(0) {
                let limit = asked.limits.memory.map_or_else(|| "this server's".to_owned(), |m| format!("its limit of {m}"));
                return Some(format!("container {} was killed for want of memory: it reached {limit}", container.name));
            }
        }
        let (name, code) = self.first_end.as_ref()?;
        Some(format!("container {name} ended with exit code {code}, so the pod was stopped"))
    }
}

fn set_nonblocking(fd: &OwnedFd) {
    // SAFETY: plain numbers. A pipe that cannot be made so is read only when poll says it has something.
    unsafe {
        let flags = libc::fcntl(fd.as_raw_fd(), libc::F_GETFL);
        libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK);
    }
}
