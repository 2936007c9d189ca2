//! The shim: parent of one pod's containers. One thread, no async runtime, a few hundred kilobytes of its own.
//!
//! `<program> shim <run directory of the pod>` reads its order there, puts itself outside its parent's session, starts the
//! containers and says on standard output, in one line, whether they run. Then it waits: for output, for ends, for
//! requests on the pod's socket. `<program> shim exec` is [`crate::exec_helper`].

mod attend;
mod client;
pub(crate) mod control;
mod input;
mod log;
mod start;

use crate::{
    Error, Result,
    paths::SOCKET,
    record::{ExitRecord, Order, Refusal, Started, read_json, write_json},
    sys,
};
use api::Timestamp;
use nix::sys::{
    signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction},
    signalfd::{SfdFlags, SignalFd},
};
use std::{
    ffi::OsString,
    io::Write as _,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::net::UnixListener,
    },
    path::Path,
    process::ExitCode,
};

/// Entry of `roost shim …`, with the arguments behind `shim`.
pub fn main(args: Vec<OsString>) -> ExitCode {
    ExitCode::from(code(&args))
}

/// As [`main`], with the exit code as a number.
pub fn code(args: &[OsString]) -> u8 {
    match args {
        [first, ..] if first == "exec" => crate::exec_helper::code(),
        [directory] => run(Path::new(directory)),
        _ => {
            eprintln!("usage: roost shim <run directory of a pod> (started by the agent, not by hand)");
            2
        }
    }
}

fn run(directory: &Path) -> u8 {
    let order = match read_json::<Order>(&directory.join("shim.json")) {
        Ok(Some(order)) => order,
        Ok(None) => return refuse(&Refusal::before(format!("{} holds no order for a shim", directory.display()))),
        Err(error) => return refuse(&error.into()),
    };
    // SAFETY: there is one thread.
    match unsafe { libc::fork() } {
        -1 => refuse(&Error::errno("fork").into()),
        0 => u8::from(live(&order).is_err()),
        _ => 0,
    }
}

/// The life of a shim, from birth to exit record.
fn live(order: &Order) -> Result<()> {
    let begun = detach().and_then(|signals| Ok((signals, listen(order)?)));
    let (signals, listener) = match begun {
        Ok(both) => both,
        Err(error) => {
            refuse(&error.into());
            return Ok(());
        }
    };
    match start::all(order) {
        Ok(pod) => {
            let mut attending = attend::Attending::new(order, pod, listener, signals);
            say(&Started::Running(attending.until_up()?));
            silence()?;
            attending.until_ended()
        }
        Err(refusal) => {
            let record =
                ExitRecord { started: None, ended: now(), exit_code: refusal.code, message: Some(refusal.message.clone()) };
            let written = write_json(&order.paths.exit(), &record);
            let _ = std::fs::remove_file(order.paths.run.join(SOCKET));
            refuse(&refusal);
            written
        }
    }
}

/// The time.
fn now() -> Timestamp {
    Timestamp(base::env::now_millis())
}

fn refuse(refusal: &Refusal) -> u8 {
    say(&Started::Failed(refusal.clone()));
    1
}

/// The one line the agent waits for.
fn say(started: &Started) {
    let mut text = serde_json::to_vec(started).unwrap_or_default();
    text.push(b'\n');
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(&text).and_then(|()| out.flush());
}

/// Lets go of everything of the agent's: its session, its death, its signals. Orphans of the pod become our children.
fn detach() -> Result<SignalFd> {
    nix::unistd::setsid().map_err(|e| Error::call("start a session", e))?;
    // SAFETY: plain numbers.
    if unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) } < 0 {
        return Err(Error::errno("become the reaper of the pod's processes"));
    }
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM, Signal::SIGPIPE] {
        // SAFETY: no handler runs.
        unsafe { sigaction(signal, &ignore) }.map_err(|e| Error::call("ignore a signal", e))?;
    }
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block().map_err(|e| Error::call("block a signal", e))?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(|e| Error::call("watch for signals", e))
}

/// Listens on the pod's socket. By way of the directory's descriptor, since a socket's path has 107 bytes at most.
fn listen(order: &Order) -> Result<UnixListener> {
    let directory = sys::open_directory(&order.paths.run)?;
    let socket = order.paths.run.join(SOCKET);
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(short_path(&directory)).map_err(|e| Error::io("listen on", &socket, e))?;
    listener.set_nonblocking(true).map_err(|e| Error::io("listen on", &socket, e))?;
    Ok(listener)
}

/// The socket in an open directory, as a path that is short whatever the directory's name.
pub(crate) fn short_path(directory: &OwnedFd) -> String {
    format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd())
}

/// Standard streams lead nowhere from now on: whoever waits for their end goes on.
fn silence() -> Result<()> {
    let null = crate::create::null()?;
    let set = nix::unistd::dup2_stdin(&null).and_then(|()| nix::unistd::dup2_stdout(&null));
    set.and_then(|()| nix::unistd::dup2_stderr(&null)).map_err(|e| Error::call("let go of the standard streams", e))
}
