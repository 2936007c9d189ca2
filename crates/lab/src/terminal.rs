//! A person at a terminal: a command on a pseudo-terminal of the test's own, keys, and what the screen shows.

use crate::{Typed, eventually, processes};
use nix::{
    pty::{Winsize, openpty},
    sys::{
        signal::{Signal, kill},
        termios::{LocalFlags, tcgetattr},
    },
    unistd::Pid,
};
use std::{
    fs::File,
    io::{Read, Write},
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

/// Longest wait for something on the screen, on a loaded machine.
const LIMIT: Duration = Duration::from_secs(30);
/// Runs the command as a shell would, in front of the terminal, and notes how the terminal is before and afterwards.
const SHELL: &str = r#"trap : INT; stty -g >"$0/before"; "$@"; code=$?; stty -g >"$0/after"; exit $code"#;

/// A terminal at which one command runs. The command is ended when this is dropped.
pub struct Terminal {
    child: Child,
    keys: File,
    screen: Arc<Mutex<Vec<u8>>>,
    /// Open as long as this: a terminal that nobody has open is no more.
    device: Option<OwnedFd>,
    collector: Option<JoinHandle<()>>,
    notes: tempfile::TempDir,
    typed: String,
}

impl Terminal {
    /// Starts it at a terminal of so many columns and rows.
    #[track_caller]
    pub(crate) fn new(command: &Command, (columns, rows): (u16, u16)) -> Self {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(Some(&size), None).unwrap_or_else(|error| panic!("a pseudo-terminal: {error}"));
        let notes = tempfile::tempdir().unwrap_or_else(|error| panic!("a temporary folder: {error}"));
        let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
        let typed = words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let end = || Stdio::from(pair.slave.try_clone().unwrap_or_else(|error| panic!("a pseudo-terminal: {error}")));
        let mut shell = Command::new("setsid");
        shell.args(["--ctty", "/bin/sh", "-c", SHELL]).arg(notes.path()).args(words);
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(key, value),
                None => shell.env_remove(key),
            };
        }
        let spawned = shell.env("TERM", "xterm").stdin(end()).stdout(end()).stderr(end()).spawn();
        let child = spawned.unwrap_or_else(|error| panic!("{typed}: {error}"));
        let screen = Arc::new(Mutex::new(Vec::new()));
        let (keys, into) = (File::from(pair.master), Arc::clone(&screen));
        let shown = keys.try_clone().unwrap_or_else(|error| panic!("a pseudo-terminal: {error}"));
        let collector = Some(std::thread::spawn(move || collect(shown, &into)));
        Self { child, keys, screen, device: Some(pair.slave), collector, notes, typed }
    }

    /// Types.
    #[track_caller]
    pub fn keys(&mut self, text: &str) {
        self.keys.write_all(text.as_bytes()).unwrap_or_else(|error| panic!("type {text:?}: {error}"));
    }

    /// Everything shown so far.
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Waits until this is shown.
    #[track_caller]
    pub fn until(&self, text: &str) {
        let began = base::env::instant();
        while !self.screen().contains(text) {
            assert!(began.elapsed() < LIMIT, "{text:?} is not shown\n$ {}\n{}", self.typed, self.screen());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Makes the window another size.
    #[track_caller]
    pub fn resize(&self, (columns, rows): (u16, u16)) {
        let device = self.device.as_ref().and_then(|device| nix::unistd::ttyname(device).ok());
        let device = device.unwrap_or_else(|| panic!("the terminal has no name"));
        let mut stty = Command::new("stty");
        stty.arg("-F").arg(device).args(["cols", &columns.to_string(), "rows", &rows.to_string()]);
        Typed::new(stty).run().must(0);
    }

    /// Keys go through as they are: the terminal is in the command's hands.
    pub fn is_raw(&self) -> bool {
        tcgetattr(&self.keys)
            .is_ok_and(|now| !now.local_flags.intersects(LocalFlags::ICANON | LocalFlags::ISIG | LocalFlags::ECHO))
    }

    /// Waits until the command has the terminal in its hands.
    #[track_caller]
    pub fn until_raw(&self) {
        eventually(LIMIT, &format!("raw: {}\n{}", self.typed, self.screen()), || self.is_raw());
    }

    /// Sends the command itself a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        let shell = i32::try_from(self.child.id()).unwrap_or_default();
        let own = processes::below(shell).into_iter().find(|process| process.pid != shell);
        let own = own.unwrap_or_else(|| panic!("{} has ended", self.typed));
        own.signal(signal);
    }

    /// Its end: exit code, and all that was shown. The terminal must be as it was before.
    #[track_caller]
    pub fn wait(mut self, code: i32) -> String {
        let began = base::env::instant();
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if began.elapsed() < LIMIT => std::thread::sleep(Duration::from_millis(10)),
                other => panic!("does not end: {other:?}\n$ {}\n{}", self.typed, self.screen()),
            }
        };
        // Nobody has it open any more, so what it shows has an end.
        drop(self.device.take());
        self.collector.take().map(JoinHandle::join);
        let found = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        assert!(found == code, "exit code {found}, {code} was expected\n$ {}\n{}", self.typed, self.screen());
        let noted = |name: &str| std::fs::read_to_string(self.notes.path().join(name)).unwrap_or_default();
        let (before, after) = (noted("before"), noted("after"));
        assert!(!before.is_empty() && before == after, "the terminal is not as it was: {before} {after}\n$ {}", self.typed);
        self.screen()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // The whole session: the shell leads it, and the command is in its group.
            let session = i32::try_from(self.child.id()).unwrap_or(i32::MAX);
            let _ = kill(Pid::from_raw(-session), Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

fn collect(mut shown: File, into: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = shown.read(&mut buffer) {
        into.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..count]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_terminal(script: &str) -> Terminal {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        Typed::new(command).at_terminal((91, 27))
    }

    #[test]
    fn it_is_a_terminal_with_a_size_keys_and_an_end() {
        let mut terminal = at_terminal("stty size; read word; echo got $word; stty size; exit 3");
        terminal.until("27 91");
        terminal.resize((100, 30));
        terminal.keys("it\n");
        terminal.until("got it");
        assert!(terminal.wait(3).contains("30 100"));
    }

    #[test]
    #[should_panic(expected = "is not as it was")]
    fn a_terminal_that_is_left_raw_is_noticed() {
        at_terminal("stty raw -echo").wait(0);
    }

    #[test]
    fn a_signal_reaches_the_command() {
        let terminal = at_terminal("trap 'exit 9' TERM; echo ready; while :; do sleep 0.02; done");
        terminal.until("ready");
        terminal.signal(Signal::SIGTERM);
        terminal.wait(9);
    }
}
