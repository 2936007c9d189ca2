//! A command as somebody types it, and what came of it.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fmt,
    io::{Read, Write},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

/// A command that takes longer hangs: the longest wait of any test's command is a minute.
const LIMIT: Duration = Duration::from_secs(90);
/// Time between two looks whether a command has ended.
const LOOK: Duration = Duration::from_millis(2);

/// What a command came to.
#[derive(Clone, Debug)]
pub struct Output {
    /// What was typed.
    pub typed: String,
    /// Its exit code; 128 and the signal's number when one ended it, as a shell says it.
    pub code: i32,
    /// Data.
    pub stdout: String,
    /// Talk.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Output {
    /// Panics unless it exited with this code; itself, for more questions.
    #[track_caller]
    pub fn must(self, code: i32) -> Self {
        assert!(self.code == code, "exit code {code} was expected\n{self}");
        self
    }

    /// Standard output without spaces around it.
    pub fn text(&self) -> &str {
        self.stdout.trim()
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "$ {}\nexit {} after {:?}\n--- stdout\n{}\n--- stderr\n{}",
            self.typed, self.code, self.took, self.stdout, self.stderr
        )
    }
}

/// A command about to be run.
pub struct Typed {
    command: Command,
    stdin: Option<Vec<u8>>,
    limit: Duration,
}

impl Typed {
    /// A command with nothing on standard input. It knows of no other cluster than the one it is told of.
    pub fn new(mut command: Command) -> Self {
        command.env_remove("ROOST_SOCKET").env("NO_COLOR", "1");
        Self { command, stdin: None, limit: LIMIT }
    }

    /// What it reads.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// An environment variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.command.env(key, value);
        self
    }

    /// How long it may take at most before it counts as hanging.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn run(self) -> Output {
        let limit = self.limit;
        self.start().wait(limit)
    }

    /// Starts it at a terminal of so many columns and rows.
    #[track_caller]
    pub fn at_terminal(self, size: (u16, u16)) -> crate::Terminal {
        crate::Terminal::new(&self.command, size)
    }

    /// Starts it; it is killed when the answer is dropped.
    #[track_caller]
    pub fn start(mut self) -> Background {
        let words = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        let typed = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let stdin = if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() };
        let began = base::env::instant();
        let mut child = match self.command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn() {
            Ok(child) => child,
            Err(error) => panic!("{typed}: {error}"),
        };
        if let (Some(bytes), Some(mut pipe)) = (self.stdin, child.stdin.take()) {
            // A command that does not read its input is none of ours to judge.
            std::thread::spawn(move || drop(pipe.write_all(&bytes)));
        }
        let out = Collected::of(child.stdout.take());
        let err = Collected::of(child.stderr.take());
        Background { child, typed, out, err, began }
    }
}

/// What a pipe has brought so far.
struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Collected {
    fn of(pipe: Option<impl Read + Send + 'static>) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&bytes);
        let reader = pipe.map(|pipe| std::thread::spawn(move || collect(pipe, &into)));
        Self { bytes, reader }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    fn whole(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        self.text()
    }
}

fn collect(mut pipe: impl Read, into: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 4096];
    while let Ok(count) = pipe.read(&mut buffer) {
        if count == 0 {
            return;
        }
        into.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..count]);
    }
}

/// A command that runs.
pub struct Background {
    child: Child,
    typed: String,
    out: Collected,
    err: Collected,
    began: std::time::Instant,
}

impl Background {
    /// Standard output so far.
    pub fn stdout(&self) -> String {
        self.out.text()
    }

    /// Standard error so far.
    pub fn stderr(&self) -> String {
        self.err.text()
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends the command a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        // Its number is its own until it is waited for.
        let sent = kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap_or_default()), signal);
        sent.unwrap_or_else(|error| panic!("send {signal} to {}: {error}", self.typed));
    }

    /// Its end; panics if it does not end in time.
    #[track_caller]
    pub fn wait(mut self, limit: Duration) -> Output {
        let began = base::env::instant();
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if began.elapsed() < limit => std::thread::sleep(LOOK),
                Ok(None) => panic!("hangs for {limit:?}: {}\n{}\n{}", self.typed, self.stdout(), self.stderr()),
                Err(error) => panic!("{}: {error}", self.typed),
            }
        };
        let took = self.began.elapsed();
        Output { typed: self.typed.clone(), code: code(status), stdout: self.out.whole(), stderr: self.err.whole(), took }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Typed {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        Typed::new(command)
    }

    #[test]
    fn everything_it_said_and_its_code() {
        let out = sh("cat; echo no >&2; exit 3").stdin("in").run();
        assert_eq!((out.code, out.stdout.as_str(), out.stderr.as_str()), (3, "in", "no\n"));
        assert_eq!(sh("kill -9 $$").run().code, 137);
    }

    #[test]
    #[should_panic(expected = "hangs for")]
    fn a_hanging_one_is_ended() {
        sh("exec sleep 60").limit(Duration::from_millis(50)).run();
    }
}
