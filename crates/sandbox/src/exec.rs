//! Runs a command inside a server: enters its namespaces and control groups, and is its stand-in outside.

use crate::{cgroup, error::SandboxError, process::Process};
use nix::{
    fcntl::OFlag,
    sched::{CloneFlags, setns},
    sys::{
        signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, killpg, sigaction},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, fork, getpgrp, pipe2, setpgid, tcgetpgrp, tcsetpgrp},
};
use std::{
    ffi::OsString,
    fs, io,
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

/// Exit code when the program is there but cannot be run (POSIX shell, 2.8.2).
const CANNOT_RUN: u8 = 126;
/// Exit code when there is no such program.
const NOT_FOUND: u8 = 127;
/// What is added to the number of the signal that ended the program.
const BY_SIGNAL: i32 = 128;
/// Signals that go through to the program.
const FORWARDED: [Signal; 7] =
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGWINCH];

/// What to run, and where.
struct Order {
    target: Process,
    all: bool,
    argv: Vec<OsString>,
}

/// `sandbox-exec all|net PID START -- PROGRAM ARGUMENTS…`: runs a program in all namespaces of the process that has this
/// number and start time, or in its network only; in its control groups both times. Terminal, signals and exit code go
/// through; 126 and 127 as a shell's. `args` are those after the subcommand. Must be called before any thread is started.
pub fn exec_main(args: Vec<OsString>) -> ExitCode {
    let Some(order) = parse(args) else {
        return complain("usage: sandbox-exec all|net PID START -- PROGRAM ARGUMENTS…", CANNOT_RUN);
    };
    match run(&order) {
        Ok(code) => code,
        Err(why) => complain(&why, CANNOT_RUN),
    }
}

fn complain(why: &str, code: u8) -> ExitCode {
    eprintln!("roost sandbox: {why}");
    ExitCode::from(code)
}

fn parse(args: Vec<OsString>) -> Option<Order> {
    let mut args = args.into_iter();
    let mut word = || args.next()?.into_string().ok();
    let all = match word()?.as_str() {
        "all" => true,
        "net" => false,
        _ => return None,
    };
    let target = Process { pid: word()?.parse().ok()?, start: word()?.parse().ok()? };
    let argv: Vec<OsString> = (word()? == "--").then(|| args.collect())?;
    (!argv.is_empty()).then_some(Order { target, all, argv })
}

fn run(order: &Order) -> Result<ExitCode, String> {
    let handle = order.target.handle().ok_or("the server has ended")?;
    let groups = groups_of(order.target.pid).map_err(|e| e.to_string())?;
    if !order.all {
        enter(&handle, &groups, CloneFlags::CLONE_NEWNET)?;
        return Ok(become_program(&order.argv));
    }
    // Process numbers are a matter of children: hence a child, and this process as its stand-in.
    setns(&handle, CloneFlags::CLONE_NEWPID).map_err(|e| format!("enter the server's process numbers: {e}"))?;
    let terminal = Terminal::find();
    let before = block_signals().map_err(|e| format!("block signals: {e}"))?;
    let (alive, hold) = pipe2(OFlag::O_CLOEXEC).map_err(|e| format!("make a pipe: {e}"))?;
    // SAFETY: this program has one thread.
    match unsafe { fork() }.map_err(|e| format!("fork: {e}"))? {
        ForkResult::Child => {
            drop(hold);
            Ok(inside(&Inside { order, handle: &handle, groups: &groups, terminal, before, alive }))
        }
        ForkResult::Parent { child } => {
            drop(alive);
            // Both sides do this, because either may be first.
            let _ = setpgid(child, child);
            let code = stand_in(child, terminal);
            drop(hold);
            code
        }
    }
}

/// What the child needs.
struct Inside<'a> {
    order: &'a Order,
    handle: &'a OwnedFd,
    groups: &'a [PathBuf],
    terminal: Option<Terminal>,
    before: SigSet,
    alive: OwnedFd,
}

fn inside(with: &Inside) -> ExitCode {
    match prepare(with) {
        Ok(()) => become_program(&with.order.argv),
        Err(why) => complain(&why, CANNOT_RUN),
    }
}

fn prepare(with: &Inside) -> Result<(), String> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(|e| format!("tie to the caller: {e}"))?;
    orphaned(&with.alive)?;
    let here = Pid::from_raw(0);
    setpgid(here, here).map_err(|e| format!("make a process group: {e}"))?;
    let directory = std::env::current_dir().ok();
    let spaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWCGROUP;
    enter(with.handle, with.groups, spaces)?;
    // The directory of the caller if the server has it too; entering the mounts has led to `/`.
    directory.filter(|dir| dir.is_dir()).and_then(|dir| std::env::set_current_dir(dir).ok());
    if let Some(terminal) = &with.terminal {
        terminal.give(getpgrp());
    }
    with.before.thread_set_mask().map_err(|e| format!("unblock signals: {e}"))
}

/// The caller may have been killed before the tie to it was made.
fn orphaned(alive: &OwnedFd) -> Result<(), String> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    match poll(&mut [PollFd::new(alive.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO) {
        Ok(0) => Ok(()),
        _ => Err("the caller has ended".to_owned()),
    }
}

fn enter(handle: &OwnedFd, groups: &[PathBuf], spaces: CloneFlags) -> Result<(), String> {
    for group in groups {
        let file = group.join("cgroup.procs");
        fs::write(&file, "0").map_err(|e| format!("join {}: {e}", file.display()))?;
    }
    setns(handle, spaces).map_err(|e| format!("enter the server's namespaces: {e}"))
}

fn become_program(argv: &[OsString]) -> ExitCode {
    let Some((program, rest)) = argv.split_first() else { return ExitCode::from(CANNOT_RUN) };
    let error = Command::new(program).args(rest).exec();
    let code = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { CANNOT_RUN };
    complain(&format!("run {}: {error}", Path::new(program).display()), code)
}

/// The control groups a process is in, as directories of the hierarchies this process sees.
fn groups_of(pid: i32) -> Result<Vec<PathBuf>, SandboxError> {
    let path = format!("/proc/{pid}/cgroup");
    let text = fs::read_to_string(&path).map_err(SandboxError::io(format!("read {path}")))?;
    Ok(join_paths(&cgroup::hierarchies()?, &text))
}

/// Matches lines `number:controllers:path` (cgroups(7)) with hierarchies.
fn join_paths(hierarchies: &[cgroup::Hierarchy], groups: &str) -> Vec<PathBuf> {
    let line = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let found = hierarchies.iter().find(|h| h.options.as_deref().unwrap_or_default() == controllers)?;
        Some(found.mount.join(path.trim_start_matches('/')))
    };
    groups.lines().filter_map(line).collect()
}

/// The terminal, if this command has the use of it.
#[derive(Clone, Copy)]
struct Terminal {
    own: Pid,
}

impl Terminal {
    fn find() -> Option<Self> {
        let own = getpgrp();
        (tcgetpgrp(io::stdin()).ok()? == own).then_some(Self { own })
    }

    /// Hands the terminal over. Who is not in front is stopped for that, unless it ignores or blocks the signal.
    fn give(self, group: Pid) {
        let _ = tcsetpgrp(io::stdin(), group);
    }
}

/// Blocks what this process waits for; the mask from before.
fn block_signals() -> nix::Result<SigSet> {
    let mut set = SigSet::from_iter(FORWARDED);
    set.add(Signal::SIGCHLD);
    set.add(Signal::SIGTTOU);
    // A child's end is only told to those who do not ignore it, and whoever started us may have.
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default action runs no code of ours.
    unsafe { sigaction(Signal::SIGCHLD, &default)? };
    let before = SigSet::thread_get_mask()?;
    set.thread_block()?;
    Ok(before)
}

/// Passes signals on and waits; the child's exit code.
fn stand_in(child: Pid, terminal: Option<Terminal>) -> Result<ExitCode, String> {
    let mut awaited = SigSet::from_iter(FORWARDED);
    awaited.add(Signal::SIGCHLD);
    loop {
        match awaited.wait().map_err(|e| format!("wait: {e}"))? {
            Signal::SIGCHLD => {
                if let Some(code) = look(child, terminal)? {
                    return Ok(code);
                }
            }
            signal => drop(killpg(child, signal)),
        }
    }
}

/// Looks what the child has come to: an exit code, or a pause that the caller's shell has to know of.
fn look(child: Pid, terminal: Option<Terminal>) -> Result<Option<ExitCode>, String> {
    let status = waitpid(child, Some(WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED)).map_err(|e| format!("wait: {e}"))?;
    let code = match status {
        WaitStatus::Exited(_, code) => code,
        WaitStatus::Signaled(_, signal, _) => BY_SIGNAL + signal as i32,
        WaitStatus::Stopped(..) => {
            if let Some(terminal) = terminal {
                pause_with(child, terminal);
            }
            return Ok(None);
        }
        _ => return Ok(None),
    };
    if let Some(terminal) = terminal {
        terminal.give(terminal.own);
    }
    Ok(Some(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))))
}

/// The program was stopped at the terminal (Ctrl-Z): stops everything that stands for it, then goes on with it.
fn pause_with(child: Pid, terminal: Terminal) {
    terminal.give(terminal.own);
    let _ = kill(Pid::from_raw(0), Signal::SIGSTOP);
    terminal.give(child);
    let _ = killpg(child, Signal::SIGCONT);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_whole_or_not_at_all() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let order = parse(words("all 7 99 -- ls -l")).unwrap();
        assert!(order.all && order.target == Process { pid: 7, start: 99 } && order.argv == words("ls -l"));
        assert!(!parse(words("net 7 99 -- ls")).unwrap().all);
        for bad in ["all 7 99 ls", "all 7 99 --", "some 7 99 -- ls", "all x 99 -- ls"] {
            assert!(parse(words(bad)).is_none(), "{bad}");
        }
    }

    #[test]
    fn groups_become_directories() {
        let hierarchies = [
            cgroup::Hierarchy { mount: "/c/cpu,cpuacct".into(), options: Some("cpu,cpuacct".into()) },
            cgroup::Hierarchy { mount: "/c/unified".into(), options: None },
        ];
        let found = join_paths(&hierarchies, "4:cpu,cpuacct:/x/s1\n3:pids:/x/s1\n0::/x/s1/init\n");
        assert_eq!(found, [PathBuf::from("/c/cpu,cpuacct/x/s1"), PathBuf::from("/c/unified/x/s1/init")]);
    }
}
