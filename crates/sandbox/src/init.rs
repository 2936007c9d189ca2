//! The first process of a server, and the process that holds the switch.

use crate::{cgroup, mounts, spawn};
use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
    sys::{
        signal::{SigSet, Signal},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, sethostname},
};
use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read, Write},
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStringExt, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

/// The file with the command to start at power on, one argument a line.
pub const BOOT_FILE: &str = "boot";
/// The file that the boot command's output goes to.
pub const CONSOLE_FILE: &str = "console.log";
/// The longest boot file.
const BOOT_MAX: u64 = 64 * 1024;
/// What the boot command finds programs with, if whoever made the sandbox had no PATH.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `sandbox-init switch` holds the underlay's network namespace; `sandbox-init server DIR NAME [LEAF]` is the first process of
/// the server NAME that lies in DIR; LEAF is the v2 control group to keep its own processes in. `args` are those after the
/// subcommand. Must be called before any thread is started.
pub fn init_main(args: Vec<OsString>) -> ExitCode {
    let word = args.first().and_then(|word| word.to_str()).unwrap_or_default();
    match (word, args.get(1), args.get(2)) {
        ("switch", None, None) => switch(),
        ("server", Some(dir), Some(name)) => server(Path::new(dir), &name.to_string_lossy(), args.get(3).map(PathBuf::from)),
        _ => spawn::say_error("usage: sandbox-init switch | server DIR NAME [LEAF]"),
    }
}

fn switch() -> ExitCode {
    if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
        return spawn::say_error(&format!("make a network namespace: {error}"));
    }
    // The underlay speaks IPv4 only; a kernel without IPv6 has no such files.
    for which in ["all", "default"] {
        let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6"), "1");
    }
    spawn::leave_behind(|| {
        if spawn::say_ready().is_err() || !spawn::wait_go() {
            return ExitCode::FAILURE;
        }
        loop {
            nix::unistd::pause();
        }
    })
}

fn server(dir: &Path, name: &str, leaf: Option<PathBuf>) -> ExitCode {
    // Looked for first: in the new namespaces the machine's mounts of them have no root any more.
    let hierarchies = match cgroup::hierarchies() {
        Ok(hierarchies) => hierarchies,
        Err(error) => return spawn::say_error(&error.to_string()),
    };
    if let Err(why) = separate(leaf.as_deref()) {
        return spawn::say_error(&why);
    }
    spawn::leave_behind(|| match first_process(dir, name, &hierarchies) {
        Ok(code) => code,
        Err(why) => spawn::say_error(&why),
    })
}

/// Leaves the machine's namespaces, its network excepted. The process numbers and the control groups seen as root begin with this process's child.
fn separate(leaf: Option<&Path>) -> Result<(), String> {
    let spaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWCGROUP;
    unshare(spaces).map_err(|e| format!("make namespaces: {e}"))?;
    leaf.map_or(Ok(()), enter_leaf)
}

/// A v2 group with processes of its own cannot limit groups below it, so the server's own processes go into a leaf.
fn enter_leaf(leaf: &Path) -> Result<(), String> {
    let failed = |error: io::Error| format!("enter control group {}: {error}", leaf.display());
    match fs::create_dir(leaf) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    fs::write(leaf.join("cgroup.procs"), "0").map_err(failed)?;
    leaf.parent().into_iter().for_each(cgroup::hand_down);
    Ok(())
}

fn first_process(dir: &Path, name: &str, hierarchies: &[cgroup::Hierarchy]) -> Result<ExitCode, String> {
    // Blocked signals wait for us instead of being lost, which is the rule for a first process without handlers.
    let signals = SigSet::from_iter([Signal::SIGCHLD, Signal::SIGUSR1]);
    signals.thread_block().map_err(|e| format!("block signals: {e}"))?;
    let home = Home::open(dir).map_err(|e| format!("open {}: {e}", dir.display()))?;
    sethostname(name).map_err(|e| format!("set the host name: {e}"))?;
    let outer = leave_network()?;
    mounts::arrange(dir, hierarchies, &outer)?;
    std::env::set_current_dir("/").map_err(|e| format!("go to /: {e}"))?;
    spawn::say_ready().map_err(|e| format!("let go of the output: {e}"))?;
    if !spawn::wait_go() {
        return Ok(ExitCode::FAILURE);
    }
    Ok(watch(&home, &signals))
}

/// Leaves the machine's network; the way back to it, for what a server fetches from outside (package sources).
fn leave_network() -> Result<OwnedFd, String> {
    let outer = File::open("/proc/self/ns/net").map_err(|e| format!("open the machine's network namespace: {e}"))?;
    unshare(CloneFlags::CLONE_NEWNET).map_err(|e| format!("make a network namespace: {e}"))?;
    Ok(outer.into())
}

/// Reaps orphans for ever, and starts the boot command now and at each SIGUSR1.
fn watch(home: &Home, signals: &SigSet) -> ExitCode {
    let mut boot = home.boot(None);
    loop {
        match signals.wait() {
            Ok(Signal::SIGUSR1) => boot = home.boot(boot),
            Ok(_) => boot = reap(home, boot),
            Err(_) => return ExitCode::FAILURE,
        }
    }
}

/// Reaps all that have ended; the boot command's number as long as it runs.
fn reap(home: &Home, mut boot: Option<i32>) -> Option<i32> {
    loop {
        match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return boot,
            Ok(status) if status.pid().map(Pid::as_raw) == boot => {
                home.note(&format!("the boot command ended: {status:?}"));
                boot = None;
            }
            _ => {}
        }
    }
}

/// The server's directory on the machine, as seen from inside, where its path may be hidden.
struct Home {
    console: File,
    directory: File,
}

impl Home {
    fn open(dir: &Path) -> io::Result<Self> {
        let console = File::options().create(true).append(true).open(dir.join(CONSOLE_FILE))?;
        Ok(Self { console, directory: File::open(dir)? })
    }

    fn note(&self, text: &str) {
        let _ = writeln!(&self.console, "[{} sandbox-init] {text}", base::env::now_millis());
    }

    /// Starts the boot command unless it runs, or there is none.
    fn boot(&self, running: Option<i32>) -> Option<i32> {
        if running.is_some() {
            return running;
        }
        match self.command().and_then(|command| command.map(|c| self.start(c)).transpose()) {
            Ok(pid) => pid,
            Err(error) => {
                self.note(&format!("the boot command did not start: {error}"));
                None
            }
        }
    }

    fn start(&self, argv: Vec<OsString>) -> io::Result<i32> {
        let (program, rest) = argv.split_first().ok_or_else(|| io::Error::other("the boot file is empty"))?;
        let mut command = Command::new(program);
        command.args(rest).stdin(Stdio::null()).stdout(self.console.try_clone()?).stderr(self.console.try_clone()?);
        if std::env::var_os("PATH").is_none() {
            command.env("PATH", PATH);
        }
        // SAFETY: two system calls that are allowed between fork and exec.
        unsafe { command.pre_exec(|| nix::unistd::setsid().and(SigSet::empty().thread_set_mask()).map_err(Into::into)) };
        Ok(command.spawn()?.id().cast_signed())
    }

    /// The command in the boot file.
    fn command(&self) -> io::Result<Option<Vec<OsString>>> {
        use nix::{fcntl::OFlag, sys::stat::Mode};
        let file = match nix::fcntl::openat(&self.directory, BOOT_FILE, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::ENOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut bytes = Vec::new();
        file.take(BOOT_MAX).read_to_end(&mut bytes)?;
        Ok(Some(bytes.split(|b| *b == b'\n').filter(|a| !a.is_empty()).map(|a| OsString::from_vec(a.to_vec())).collect()))
    }
}
