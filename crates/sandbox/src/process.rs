//! A process that is known again: its number and when it started, so that a number used anew is never killed by mistake.

use crate::error::{Result, SandboxError};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use std::{
    fs,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    time::Duration,
};

/// One process, for as long as the machine is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number on the machine.
    pub pid: i32,
    /// When it started, in clock ticks since the machine booted (proc(5), `stat` field 22).
    pub start: u64,
}

impl Process {
    /// The process that has this number now.
    pub fn of(pid: i32) -> Result<Self> {
        let gone = || SandboxError::Start { what: format!("process {pid}"), why: "it ended at once".to_owned() };
        stat(pid).map(|(_, start)| Self { pid, start }).ok_or_else(gone)
    }

    /// Whether it still runs. One that only waits to be reaped does not.
    pub fn alive(self) -> bool {
        matches!(stat(self.pid), Some((state, start)) if start == self.start && !matches!(state, 'Z' | 'X'))
    }

    /// A handle that can never mean another process; `None` if it has ended.
    pub fn handle(self) -> Option<OwnedFd> {
        let handle = pidfd(self.pid)?;
        self.alive().then_some(handle)
    }

    /// Sends a signal, if it still runs.
    pub fn signal(self, signal: Signal) {
        if let Some(handle) = self.handle() {
            send(&handle, signal);
        }
    }

    /// Kills it and waits until it is dead.
    pub fn kill(self, limit: Duration) -> Result<()> {
        self.signal(Signal::SIGKILL);
        if wait_until(limit, || !self.alive()) {
            return Ok(());
        }
        Err(SandboxError::Stays { what: format!("process {}", self.pid), seconds: limit.as_secs() })
    }
}

/// Opens a handle of whatever process has this number.
pub fn pidfd(pid: i32) -> Option<OwnedFd> {
    // SAFETY: pidfd_open(2) takes two numbers and gives a new descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: the kernel just gave us this descriptor.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a signal through a handle; a process that has ended is left alone.
pub fn send(handle: &OwnedFd, signal: Signal) {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: pidfd_send_signal(2) with no siginfo, which it allows.
    unsafe { libc::syscall(libc::SYS_pidfd_send_signal, handle.as_raw_fd(), signal as i32, none, 0) };
}

/// State letter and start time of a process (proc(5), `stat`).
fn stat(pid: i32) -> Option<(char, u64)> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(text: &str) -> Option<(char, u64)> {
    // The second field is the name in brackets, which may hold blanks and brackets itself.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// Looks until `done` says so, at most for `limit`; whether it did.
pub fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = base::env::instant() + limit;
    let mut pauses = base::backoff::Backoff::new(Duration::from_micros(500), Duration::from_millis(20));
    loop {
        if done() {
            return true;
        }
        if base::env::instant() >= deadline {
            return false;
        }
        std::thread::sleep(pauses.pause());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_with_a_nasty_name() {
        let text = "42 (a) b) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 987 0 0";
        assert_eq!(parse_stat(text), Some(('S', 987)));
        assert_eq!(parse_stat("42 (cut"), None);
    }

    #[test]
    fn a_number_used_anew_is_another_process() {
        let me = Process::of(std::process::id() as i32).unwrap();
        assert!(me.alive() && me.handle().is_some());
        let other = Process { start: me.start + 1, ..me };
        assert!(!other.alive() && other.handle().is_none());
        other.kill(Duration::ZERO).unwrap();
    }

    #[test]
    fn a_dead_child_that_waits_to_be_reaped_is_not_alive() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::of(child.id() as i32).unwrap();
        process.kill(Duration::from_secs(5)).unwrap();
        assert!(!process.alive());
        child.wait().unwrap();
    }
}
