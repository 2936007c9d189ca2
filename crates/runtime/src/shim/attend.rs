//! The shim's loop: output to logs and consoles, ends to the record. What clients say is [`talk`].

mod talk;

use super::{client::Client, log::Lines, now, start::Pod};
use crate::{
    Error, Result,
    cgroup::Shape,
    lxc,
    paths::SOCKET,
    record::{ExitRecord, Order, Running, read_json, write_json},
    sys,
};
use api::{Name, spec::ContainerKind, stream::FrameKind};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signalfd::SignalFd,
};
use std::{
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::net::UnixListener,
    },
    time::{Duration, Instant},
};

/// Bytes read from a container in one go.
const READ_BYTES: usize = 32 << 10;
/// Output of containers that have ended is read for so long: a program outside may hold their pipes.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// When one container ends, the others have so long to stop before they are killed.
const OTHERS_GRACE: Duration = Duration::from_secs(10);
/// A system that says when it is up is waited for so long: from then on it counts as running all the same.
const BOOT: Duration = Duration::from_secs(10);
/// Longest message about that, and the line in it that says so (sd_notify(3)).
const READY_BYTES: usize = 4096;
const READY: &[u8] = b"READY=1";
/// Pause before killing is tried again.
const KILL_AGAIN: Duration = Duration::from_millis(500);

/// One stream of a container's output.
struct Output {
    container: usize,
    fd: OwnedFd,
    lines: Lines,
    kind: FrameKind,
}

/// Who has something, or room for something. By index in the shim's lists.
#[derive(Clone, Copy)]
enum Source {
    Signals,
    Listener,
    Ready(usize),
    Output(usize),
    Input(usize),
    Client(usize),
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
    /// Until when systems that boot are waited for.
    booting: Option<Instant>,
}

impl<'a> Attending<'a> {
    /// Takes over a pod that has just been started.
    pub fn new(order: &'a Order, mut pod: Pod, listener: UnixListener, signals: SignalFd) -> Self {
        let mut outputs = Vec::new();
        for (index, container) in pod.containers.iter_mut().enumerate() {
            for (fd, stderr) in container.outputs.drain(..) {
                set_nonblocking(&fd);
                let kind = if stderr { FrameKind::Stderr } else { FrameKind::Stdout };
                outputs.push(Output { container: index, fd, lines: Lines::new(stderr), kind });
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
            booting: None,
        }
    }

    /// Attends to the pod until its systems are up, its containers have ended, or too much time has passed. Gives what runs then.
    pub fn until_up(&mut self) -> Result<Running> {
        let mut buffer = vec![0; READ_BYTES];
        let until = base::env::instant() + BOOT;
        self.booting = Some(until);
        while self.pod.containers.iter().any(|c| c.ready.is_some() && c.exit_code.is_none()) && base::env::instant() < until {
            self.reap();
            self.kill_if_due();
            let ready = self.wait()?;
            self.attend(&ready, &mut buffer);
        }
        self.booting = None;
        self.pod.containers.iter_mut().for_each(|container| container.ready = None);
        Ok(self.pod.running())
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
        let now = base::env::instant();
        if self.outputs.iter().any(|output| self.waits_until(output.container, now).is_some()) {
            self.silent_at = None;
            return false;
        }
        let silent_at = *self.silent_at.get_or_insert(now + LAST_WORDS);
        self.outputs.is_empty() || now >= silent_at
    }

    /// Until when a container's output is not read: for who is awaited, until they are here, and as long as they have no room.
    fn waits_until(&self, container: usize, now: Instant) -> Option<Instant> {
        let to_come = self.pod.containers[container].awaited.filter(|until| now < *until);
        let clients = self.clients.iter().filter(|client| client.watches(container));
        to_come.or_else(|| clients.filter_map(|client| client.waited_for(now)).max())
    }

    /// Who has something to read or room for what waits. The others are not asked: a hang-up that is not heeded would be told at once,
    /// again and again.
    fn wait(&self) -> Result<Vec<Source>> {
        let (asked, timeout) = self.asked();
        let mut all: Vec<PollFd<'_>> = asked.iter().map(|(_, fd, flags)| PollFd::new(*fd, *flags)).collect();
        match poll(&mut all, timeout) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(Error::call("poll", error)),
        }
        let ready = all.iter().map(|p| p.any().unwrap_or(true));
        Ok(asked.iter().zip(ready).filter(|(_, ready)| *ready).map(|((source, ..), _)| *source).collect())
    }

    /// Who is asked, for what, and for how long.
    fn asked(&self) -> (Vec<(Source, BorrowedFd<'_>, PollFlags)>, PollTimeout) {
        let (now, reads, writes) = (base::env::instant(), PollFlags::POLLIN, PollFlags::POLLOUT);
        let mut all = vec![(Source::Signals, self.signals.as_fd(), reads), (Source::Listener, self.listener.as_fd(), reads)];
        let mut next = [self.kill_at, self.silent_at, self.booting].into_iter().flatten().min();
        let booting = self.pod.containers.iter().enumerate().filter_map(|(index, c)| Some((index, c.ready.as_ref()?)));
        all.extend(booting.map(|(index, fd)| (Source::Ready(index), fd.as_fd(), reads)));
        for (index, output) in self.outputs.iter().enumerate() {
            match self.waits_until(output.container, now) {
                None => all.push((Source::Output(index), output.fd.as_fd(), reads)),
                Some(until) => next = Some(next.map_or(until, |next| next.min(until))),
            }
        }
        let inputs = self.pod.containers.iter().enumerate().filter_map(|(index, c)| Some((index, c.input.wants_room()?)));
        all.extend(inputs.map(|(index, fd)| (Source::Input(index), fd, writes)));
        for (index, client) in self.clients.iter().enumerate() {
            let flags = match (self.hears(client), client.has_unsent()) {
                (true, true) => reads | writes,
                (true, false) => reads,
                (false, true) => writes,
                (false, false) => continue,
            };
            all.push((Source::Client(index), client.as_fd(), flags));
        }
        let timeout = next.map_or(PollTimeout::NONE, |at| {
            let left = at.saturating_duration_since(now) + Duration::from_millis(1);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        (all, timeout)
    }

    /// From the last to the first, so that what is removed changes no index that is still to come.
    fn attend(&mut self, ready: &[Source], buffer: &mut [u8]) {
        for source in ready.iter().rev() {
            match *source {
                Source::Signals => while let Ok(Some(_)) = self.signals.read_signal() {},
                Source::Listener => self.accept(),
                Source::Ready(container) => self.hear(container),
                Source::Input(container) => self.pod.containers[container].input.push(),
                Source::Client(index) if !self.serve(index) => drop(self.clients.swap_remove(index)),
                Source::Output(index) if !self.relay(index, buffer) => drop(self.outputs.swap_remove(index)),
                Source::Client(_) | Source::Output(_) => {}
            }
        }
    }

    /// What a system says of its boot.
    fn hear(&mut self, container: usize) {
        let mut message = [0; READY_BYTES];
        let ready = &mut self.pod.containers[container].ready;
        let Some(length) = ready.as_ref().map(|socket| sys::read_some(socket, &mut message)) else { return };
        let up = length.is_ok_and(|length| message[..length].split(|byte| *byte == b'\n').any(|line| line == READY));
        if up {
            *ready = None;
        }
    }

    /// Moves output to the log and to consoles. False: the stream has ended.
    fn relay(&mut self, index: usize, buffer: &mut [u8]) -> bool {
        let output = &mut self.outputs[index];
        let (container, kind, mut encoded, at) = (output.container, output.kind, Vec::new(), now());
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
        let from = &mut self.pod.containers[container];
        from.log.write(&encoded);
        if !alive && from.terminal {
            from.input.close();
        }
        if !bytes.is_empty() {
            let now = base::env::instant();
            self.clients.retain_mut(|client| !client.watches(container) || client.tell(kind, bytes, now));
        }
        alive
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

    /// Asks all to stop, and remembers when to kill. The shorter of two graces counts. Nobody is awaited any more.
    fn stop(&mut self, grace: Duration) {
        self.pod.containers.iter_mut().for_each(|container| container.awaited = None);
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
        self.dismiss(record.message.as_deref());
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

/// Reading and writing never wait from now on.
pub fn set_nonblocking(fd: &OwnedFd) {
    // SAFETY: plain numbers. A pipe that cannot be made so is read only when poll says it has something.
    unsafe {
        let flags = libc::fcntl(fd.as_raw_fd(), libc::F_GETFL);
        libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK);
    }
}
