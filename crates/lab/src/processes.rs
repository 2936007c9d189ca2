//! Processes of a server as the machine sees them.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{collections::BTreeMap, fs};

/// A process, by number and start time, so that a number used anew is another process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// As the machine numbers it.
    pub pid: i32,
    /// When it was started, in the kernel's ticks.
    pub start: u64,
    /// Program and arguments.
    pub argv: Vec<String>,
}

impl Process {
    /// Whether it is Roost's own with this first argument.
    pub fn is_roost(&self, word: &str) -> bool {
        let own = self.argv.first().is_some_and(|program| program.rsplit('/').next() == Some("roost"));
        own && self.argv.get(1).is_some_and(|first| first == word)
    }

    /// Whether it still runs.
    pub fn alive(&self) -> bool {
        start_time(self.pid) == Some(self.start)
    }

    /// Sends a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        assert!(self.alive(), "process {} ended before it could be sent {signal}", self.pid);
        kill(Pid::from_raw(self.pid), signal).unwrap_or_else(|error| panic!("send {signal} to {}: {error}", self.pid));
    }
}

/// When a process was started, in the kernel's ticks since boot; none when there is no such process, or only its remains.
pub fn start_time(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    (fields.next()? != "Z").then_some(())?;
    // Field 22, proc(5); the one after the state is number 4.
    fields.nth(18)?.parse().ok()
}

fn parent(pid: i32) -> Option<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// All processes below this one, and itself.
pub fn below(top: i32) -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let parents: BTreeMap<i32, i32> = pids.filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let is_below = |pid: i32| std::iter::successors(Some(pid), |pid| parents.get(pid).copied()).take(64).any(|pid| pid == top);
    parents.keys().filter(|pid| is_below(**pid)).filter_map(|pid| look(*pid)).collect()
}

fn look(pid: i32) -> Option<Process> {
    let argv = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let argv = argv.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    let argv = argv.map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    Some(Process { pid, start: start_time(pid)?, argv })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_itself_and_what_is_below() {
        let own = i32::try_from(std::process::id()).unwrap();
        let mut child = std::process::Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let found = below(own);
        let sleeping = found.iter().find(|process| process.pid == i32::try_from(child.id()).unwrap()).unwrap().clone();
        assert!(found.iter().any(|process| process.pid == own) && sleeping.alive());
        sleeping.signal(Signal::SIGKILL);
        child.wait().unwrap();
        assert!(!sleeping.alive());
    }
}
