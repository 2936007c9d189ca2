//! The other side of `exec`: a process of our own binary that enters a container and becomes, by way of a child, the command.
//!
//! The library's own way leaves out the system call filter and the user namespace, so this is done here: cgroup,
//! namespaces, bounding set, user, no-new-privileges, filter, all as the container's first program has them.

use crate::{
    Error, Result, caps,
    cgroup::Shape,
    fds,
    launch::Program,
    record::Refusal,
    spec, sys,
    user::{self, User},
};
use api::stream::ExecRequest;
use driver::runtime::ContainerRun;
use nix::{
    fcntl::OFlag,
    unistd::{Gid, Uid},
};
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsString,
    io::{Read as _, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Longest order.
const ORDER_MAX: u32 = 8 << 20;

/// What to run and where.
#[derive(Serialize, Deserialize)]
pub(crate) struct Order {
    /// Main process of the container.
    pub pid: i32,
    /// Path of its cgroup.
    pub cgroup: String,
    /// Host name inside.
    pub hostname: String,
    /// The container.
    pub container: ContainerRun,
    /// The command.
    pub request: ExecRequest,
}

/// What the helper says, once. With the controlling end of its terminal, if it has one.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// The command's process, about to become the command.
    Entered(u32),
    /// Not entered, because.
    Refused(String),
}

/// Entry of `roost shim exec`: the order comes on standard input, which is a socket. Ends as the command does.
pub fn main(_: Vec<OsString>) -> ExitCode {
    ExitCode::from(code())
}

/// As [`main`], with the exit code as a number.
pub(crate) fn code() -> u8 {
    let socket = match std::io::stdin().as_fd().try_clone_to_owned() {
        Ok(socket) => UnixStream::from(socket),
        Err(_) => return 2,
    };
    match enter(&socket) {
        Ok(code) => u8::try_from(code).unwrap_or(255),
        Err(error) => {
            say(&socket, &Answer::Refused(error.to_string()), None);
            1
        }
    }
}

fn say(socket: &UnixStream, answer: &Answer, terminal: Option<&OwnedFd>) {
    let text = serde_json::to_vec(answer).unwrap_or_default();
    let raw: Vec<i32> = terminal.iter().map(|fd| fd.as_raw_fd()).collect();
    let _ = fds::send(socket.as_fd(), &text, &raw);
}

/// Reads the order and the command's streams.
fn order(mut socket: &UnixStream) -> Result<(Order, Vec<OwnedFd>)> {
    let mut length = [0; 4];
    let (got, streams) = fds::receive(socket.as_fd(), &mut length)?;
    let length = u32::from_be_bytes(length);
    if got != 4 || length > ORDER_MAX {
        return Err(Error::text("the exec helper is started by the agent, not by hand"));
    }
    let mut text = Vec::new();
    std::io::Read::by_ref(&mut socket)
        .take(length.into())
        .read_to_end(&mut text)
        .map_err(|e| Error::call("read the order", e))?;
    serde_json::from_slice(&text).map(|order| (order, streams)).map_err(|e| Error::text(format!("unreadable order: {e}")))
}

/// All that must be found out before the server's files are out of sight.
struct Entry {
    process: OwnedFd,
    entrances: Vec<std::fs::File>,
    user: User,
    program: Program,
    workdir: PathBuf,
    user_namespace: bool,
    files: libc::rlimit,
    oom_score: String,
}

fn enter(socket: &UnixStream) -> Result<i32> {
    let (order, streams) = order(socket)?;
    let entry = prepare(&order)?;
    // Nobody inside may look into us while we are half inside (CVE-2016-9962).
    // SAFETY: plain numbers.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) };
    sys::join_namespaces(entry.process.as_fd(), libc::CLONE_NEWPID)?;
    let (told, tell) = sys::pipe()?;
    let pair = order.request.terminal.map(|_| UnixStream::pair()).transpose().map_err(|e| Error::call("make a socket", e))?;
    // SAFETY: there is one thread.
    match unsafe { libc::fork() } {
        -1 => Err(Error::errno("fork")),
        0 => {
            drop(told);
            let terminal = pair.as_ref().map(|(_, theirs)| theirs.as_raw_fd());
            let refusal = become_command(entry, streams, terminal, tell);
            // SAFETY: ends without running destructors twice.
            unsafe { libc::_exit(refusal.code) }
        }
        command => {
            drop((tell, streams, entry));
            let ours = pair.map(|(ours, _)| ours);
            outcome(socket, command, &told, ours.as_ref())
        }
    }
}

/// Waits until the command is about to run, says so, and waits for its end.
fn outcome(socket: &UnixStream, command: i32, told: &OwnedFd, terminal: Option<&UnixStream>) -> Result<i32> {
    let mut text = [0; 4096];
    let length = sys::read_some(told, &mut text).map_err(|e| Error::call("hear of the command", e))?;
    if length > 0 {
        wait(command)?;
        return Err(Error::text(String::from_utf8_lossy(&text[..length]).into_owned()));
    }
    let received = match terminal {
        Some(terminal) => fds::receive(terminal.as_fd(), &mut [0; 8])?.1.pop(),
        None => None,
    };
    say(socket, &Answer::Entered(command.cast_unsigned()), received.as_ref());
    drop(received);
    wait(command)
}

fn wait(command: i32) -> Result<i32> {
    let mut status = 0;
    loop {
        // SAFETY: our own child; the status lives through the call.
        if unsafe { libc::waitpid(command, &raw mut status, 0) } == command {
            return Ok(sys::exit_code(status));
        }
        let error = std::io::Error::last_os_error();
        if error.kind() != std::io::ErrorKind::Interrupted {
            return Err(Error::call("wait for the command", error));
        }
    }
}

fn prepare(order: &Order) -> Result<Entry> {
    let (container, request) = (&order.container, &order.request);
    let process = sys::pidfd(order.pid)?;
    let root = sys::open_directory(&PathBuf::from(format!("/proc/{}/root", order.pid)))?;
    let user = user::lookup(root.as_fd(), request.user.as_deref().unwrap_or(&container.user))?;
    let workdir = request.workdir.clone().unwrap_or_else(|| container.workdir.clone());
    let workdir = if workdir.is_empty() { "/".to_owned() } else { workdir };
    check_workdir(root.as_fd(), &workdir)?;
    let mut env = container.env.clone();
    for entry in &request.env {
        let key = entry.split('=').next().unwrap_or(entry);
        env.retain(|e| e.split('=').next() != Some(key));
        env.push(entry.clone());
    }
    if request.user.is_some() {
        env.retain(|e| !e.starts_with("HOME="));
    }
    let env = spec::environment(&env, &user, &order.hostname, request.terminal.is_some());
    let mut files = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure lives through the call.
    unsafe { libc::prlimit(order.pid, libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut files) };
    Ok(Entry {
        process,
        entrances: Shape::detect()?.entrances(&order.cgroup)?,
        user,
        program: Program { argv: request.command.clone(), env, terminal: None, size: request.terminal.unwrap_or((80, 24)) },
        workdir: workdir.into(),
        user_namespace: container.user_namespace,
        files,
        oom_score: std::fs::read_to_string(format!("/proc/{}/oom_score_adj", order.pid)).unwrap_or_default(),
    })
}

fn check_workdir(root: BorrowedFd<'_>, workdir: &str) -> Result<()> {
    sys::open_in_root(root, Path::new(workdir), OFlag::O_PATH | OFlag::O_DIRECTORY)
        .map(drop)
        .map_err(|_| Error::text(format!("there is no directory {workdir:?} in the container")))
}

/// In the child: goes inside and becomes the command. Says why if it cannot even go inside; from there on the command's own
/// standard error is told.
fn become_command(entry: Entry, streams: Vec<OwnedFd>, terminal: Option<i32>, tell: OwnedFd) -> Refusal {
    if let Err(error) = go_inside(&entry, &streams) {
        let _ = std::fs::File::from(tell).write_all(error.to_string().as_bytes());
        return error.into();
    }
    drop(tell);
    let refusal = Program { terminal, ..entry.program }.launch();
    eprintln!("roost: {}", refusal.message);
    refusal
}

fn go_inside(entry: &Entry, streams: &[OwnedFd]) -> Result<()> {
    for mut entrance in &entry.entrances {
        // 0 is the writer itself.
        entrance.write_all(b"0").map_err(|e| Error::call("enter the container's cgroup", e))?;
    }
    if !entry.oom_score.is_empty() {
        // Raised only: whoever starts us may be better protected than a container.
        let _ = std::fs::write("/proc/self/oom_score_adj", &entry.oom_score);
    }
    let mut kinds = libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP;
    if entry.user_namespace {
        kinds |= libc::CLONE_NEWUSER;
    }
    sys::join_namespaces(entry.process.as_fd(), kinds)?;
    nix::unistd::setsid().map_err(|e| Error::call("start a session", e))?;
    nix::unistd::chdir(&entry.workdir).map_err(|e| Error::io("enter", &entry.workdir, e))?;
    if entry.files.rlim_max > 0 {
        // SAFETY: the structure lives through the call.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const entry.files) };
    }
    take_streams(streams)?;
    become_user(&entry.user)
}

fn take_streams(streams: &[OwnedFd]) -> Result<()> {
    for (number, stream) in (0..3).zip(streams) {
        // SAFETY: standard streams are ours to replace.
        if unsafe { libc::dup2(stream.as_raw_fd(), number) } < 0 {
            return Err(Error::errno("take the command's streams"));
        }
    }
    // SAFETY: plain numbers. Everything else ends with execve.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    Ok(())
}

/// The container's user with the container's capabilities, and no way to more.
fn become_user(user: &User) -> Result<()> {
    let groups: Vec<Gid> = user.groups.iter().copied().map(Gid::from_raw).collect();
    caps::bound(caps::default_mask())?;
    nix::unistd::setgroups(&groups).map_err(|e| Error::call("set groups", e))?;
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    nix::unistd::setresgid(gid, gid, gid).map_err(|e| Error::call("set the group", e))?;
    nix::unistd::setresuid(uid, uid, uid).map_err(|e| Error::call("set the user", e))?;
    if user.uid == 0 {
        caps::hold(caps::default_mask())?;
    }
    // SAFETY: plain numbers.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } < 0 {
        return Err(Error::errno("give up new privileges"));
    }
    Ok(())
}
