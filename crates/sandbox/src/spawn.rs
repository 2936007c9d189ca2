//! Starts the processes that stay: they leave the command that starts them behind, and say when they are ready.
//!
//! The word between both sides is lines on the child's standard output: `pid N`, then `ok` or `error <why>`.

use crate::{
    error::{Result, SandboxError},
    process::Process,
};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::{ForkResult, Pid, fork, setsid},
};
use std::{
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, AsRawFd},
        unix::process::CommandExt,
    },
    path::PathBuf,
    process::{Child, ChildStdin, Command, ExitCode, Stdio},
    time::Duration,
};

/// How long a process may take to say it is ready.
const READY: Duration = Duration::from_secs(20);
/// The longest word a process may say before that.
const WORD_MAX: usize = 4096;

/// A started process that has not said yet that it is ready.
pub struct Starting {
    what: String,
    child: Child,
}

/// A ready process. It goes on when [`Ready::go`] is called, and ends if that never happens.
pub struct Ready {
    /// Which process stays.
    pub process: Process,
    stdin: Option<ChildStdin>,
}

impl Ready {
    /// Everything around it is ready too.
    pub fn go(mut self) -> Result<()> {
        self.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(b"g")).map_err(SandboxError::io("speak to a server's init"))
    }
}

/// Makes a command join these control groups before it begins.
pub fn join(command: &mut Command, groups: &[PathBuf]) -> Result<()> {
    let open = |dir: &PathBuf| {
        let path = dir.join("cgroup.procs");
        File::options().write(true).open(&path).map_err(SandboxError::io(format!("open {}", path.display())))
    };
    let files: Vec<File> = groups.iter().map(open).collect::<Result<_>>()?;
    // SAFETY: only write(2), which is allowed between fork and exec.
    unsafe { command.pre_exec(move || files.iter().try_for_each(|mut file| file.write_all(b"0"))) };
    Ok(())
}

/// Starts a process that is going to stay; `log` gets what it complains about.
pub fn start(what: &str, mut command: Command, log: File) -> Result<Starting> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
    let child = command.spawn().map_err(SandboxError::io(format!("start {what}")))?;
    Ok(Starting { what: what.to_owned(), child })
}

impl Starting {
    /// Waits for its word.
    pub fn ready(mut self) -> Result<Ready> {
        let word = self.child.stdout.take().map_or(Ok(String::new()), read_word);
        let stdin = self.child.stdin.take();
        if word.is_err() {
            let _ = self.child.kill();
        }
        // The one we started ends at once; the one that stays is its child.
        let _ = self.child.wait();
        let failed = |why: String| SandboxError::Start { what: self.what.clone(), why };
        let word = word.map_err(|error| failed(error.to_string()))?;
        let pid = pid_in(&word).map_err(failed)?;
        Ok(Ready { process: Process::of(pid)?, stdin })
    }
}

/// Reads until there is an `ok`, an `error`, or the end.
fn read_word(mut from: std::process::ChildStdout) -> io::Result<String> {
    let deadline = base::env::instant() + READY;
    let (mut word, mut buffer) = (Vec::new(), [0; 512]);
    while word.len() < WORD_MAX && !is_whole(&word) {
        let left = deadline.saturating_duration_since(base::env::instant());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        if poll(&mut [PollFd::new(from.as_fd(), PollFlags::POLLIN)], timeout)? == 0 {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("it did not get ready within {} s", READY.as_secs())));
        }
        match from.read(&mut buffer)? {
            0 => break,
            read => word.extend_from_slice(buffer.get(..read).unwrap_or_default()),
        }
    }
    Ok(String::from_utf8_lossy(&word).into_owned())
}

fn is_whole(word: &[u8]) -> bool {
    let word = String::from_utf8_lossy(word);
    // The number comes from one process and the verdict from another, in either order.
    word.split_inclusive('\n').any(|line| line.starts_with("error") && line.ends_with('\n'))
        || (word.contains("ok\n") && word.split_inclusive('\n').any(|line| line.starts_with("pid ") && line.ends_with('\n')))
}

/// The number in a good word, the reason in a bad one.
fn pid_in(word: &str) -> Result<i32, String> {
    if let Some(why) = word.lines().find_map(|line| line.strip_prefix("error ")) {
        return Err(why.to_owned());
    }
    let pid = word.lines().find_map(|line| line.strip_prefix("pid ")).and_then(|pid| pid.parse().ok());
    pid.filter(|_| word.lines().any(|line| line == "ok")).ok_or_else(|| "it ended without a word".to_owned())
}

/// In the started process: leaves a child behind that does `work`, and ends.
pub fn leave_behind(work: impl FnOnce() -> ExitCode) -> ExitCode {
    // SAFETY: these programs have one thread.
    match unsafe { fork() } {
        Ok(ForkResult::Parent { child }) => say_pid(child),
        Ok(ForkResult::Child) => {
            let _ = setsid();
            close_strangers();
            work()
        }
        Err(error) => say_error(&format!("fork: {error}")),
    }
}

/// What the caller's caller left open (locks, pipes) must not stay open for as long as a server is up.
fn close_strangers() {
    // SAFETY: close_range(2); nothing of ours above standard error is open yet.
    unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
}

fn say_pid(child: Pid) -> ExitCode {
    say(&format!("pid {child}\n"))
}

/// In the started process: it cannot be.
pub fn say_error(why: &str) -> ExitCode {
    say(&format!("error {}\n", why.replace('\n', " ")));
    ExitCode::FAILURE
}

/// In the process that stays: ready. Lets go of the command that started it.
pub fn say_ready() -> io::Result<()> {
    say("ok\n");
    let null = File::options().write(true).open("/dev/null")?;
    point(&null, libc::STDOUT_FILENO)
}

fn say(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// In the process that stays: waits for [`Ready::go`]; false if the command that started it is gone.
pub fn wait_go() -> bool {
    let mut byte = [0];
    let went = io::stdin().lock().read_exact(&mut byte).is_ok();
    went && File::open("/dev/null").and_then(|null| point(&null, libc::STDIN_FILENO)).is_ok()
}

/// Makes descriptor `to` mean the same as this file.
pub fn point(file: &File, to: i32) -> io::Result<()> {
    // SAFETY: both are open descriptors of this process.
    if unsafe { libc::dup2(file.as_raw_fd(), to) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_whole_with_both_halves_in_any_order() {
        assert!(!is_whole(b"pid 4"));
        assert!(!is_whole(b"pid 4\n"));
        assert!(!is_whole(b"ok\npid 4"));
        assert!(is_whole(b"ok\npid 4\n"));
        assert!(is_whole(b"pid 4\nerror no\n"));
    }

    #[test]
    fn a_word_is_a_number_or_a_reason() {
        assert_eq!(pid_in("pid 4\nok\n"), Ok(4));
        assert_eq!(pid_in("ok\npid 4\n"), Ok(4));
        assert_eq!(pid_in("pid 4\nerror mount: no\n"), Err("mount: no".to_owned()));
        assert!(pid_in("pid 4\n").is_err());
    }
}
