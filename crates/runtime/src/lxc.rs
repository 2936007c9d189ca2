//! System containers: [`driver::Runtime`] on Debian's LXC tools. Thin: the shim keeps `lxc-start` in the foreground, as it
//! keeps an application container's first program, so that output, ends and adoption are one mechanism for both kinds.

mod config;

use crate::{
    Error, Options, Result,
    cgroup::Shape,
    create::{self, Making, Streams},
    engine::Engine,
    exec::target,
    paths::ContainerPaths,
    record::{Refusal, write_file},
    rootfs::{self, Root},
    sys, user,
};
use api::{InstanceId, quantity::Span, spec::ContainerKind, stream::ExecRequest};
use driver::runtime::{ExecHandle, PodChanged, PodRun, PodStatus, Runtime, RuntimeInfo};
use nix::pty::openpty;
use std::{
    fs::{self, File},
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::process::{CommandExt as _, ExitStatusExt as _},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// How often the state of a starting container is asked for, and how many times at most.
const LOOK: (Duration, u32) = (Duration::from_millis(10), 3000);

/// `SIGRTMIN + 3` stops systemd (systemd(1), "Signals"); `SIGRTMIN` is 34 with glibc.
const STOP_SYSTEMD: i32 = 37;
/// `SIGUSR2` makes busybox's init power off (busybox, `init/init.c`).
const STOP_BUSYBOX: i32 = libc::SIGUSR2;

/// Runs system containers.
pub struct Lxc {
    engine: Engine,
}

impl Lxc {
    /// Finds and watches what runs already. `changed` is called whenever a pod ends or is found ended.
    pub fn new(options: Options, changed: PodChanged) -> Result<Self> {
        Ok(Self { engine: Engine::new(options, ContainerKind::System, changed)? })
    }
}

impl Runtime for Lxc {
    fn info(&self) -> RuntimeInfo {
        let missing = ["lxc-start", "lxc-attach", "lxc-info"].into_iter().find(|name| tool(name).is_none());
        RuntimeInfo {
            name: "lxc".to_owned(),
            kind: ContainerKind::System,
            cgroups: self.engine.shape().name().to_owned(),
            unavailable: missing.map(|name| format!("{name} is not installed: install Debian's package lxc")),
        }
    }

    fn observe(&self) -> driver::Result<Vec<PodStatus>> {
        Ok(self.engine.observe()?)
    }

    fn ensure(&self, pod: &PodRun) -> driver::Result<PodStatus> {
        if pod.containers.iter().any(|c| c.kind != ContainerKind::System) {
            return Err(Error::text(format!("instance {} has application containers: LXC runs whole systems", pod.id)).into());
        }
        if pod.containers.iter().any(|c| c.user_namespace) {
            let why = format!("instance {}: system containers in a user namespace are not supported yet", pod.id);
            return Err(Error::text(why).into());
        }
        Ok(self.engine.ensure(pod)?)
    }

    fn stop(&self, id: InstanceId, grace: Span) -> driver::Result<PodStatus> {
        Ok(self.engine.stop(id, grace)?)
    }

    fn remove(&self, id: InstanceId) -> driver::Result<()> {
        Ok(self.engine.remove(id)?)
    }

    fn freeze(&self, id: InstanceId, frozen: bool) -> driver::Result<()> {
        Ok(self.engine.freeze(id, frozen)?)
    }

    fn signal(&self, id: InstanceId, signal: i32) -> driver::Result<()> {
        Ok(self.engine.signal(id, signal)?)
    }

    fn exec(&self, id: InstanceId, request: &ExecRequest) -> driver::Result<ExecHandle> {
        Ok(self.attach_command(id, request)?)
    }
}

impl Lxc {
    /// Runs a command by `lxc-attach`. Its environment travels as environment, never as arguments.
    fn attach_command(&self, id: InstanceId, request: &ExecRequest) -> Result<ExecHandle> {
        let (pod, running) = self.engine.running(id)?;
        let (container, pid) = target(&pod, &running, request)?;
        if self.engine.shape().is_frozen(&format!("{}/{id}", self.engine.options().cgroup_parent)) {
            return Err(Error::text(format!("instance {id} is frozen: let it go on first")));
        }
        if request.workdir.as_deref().is_some_and(|w| w != "/") {
            return Err(Error::text("commands in system containers start in /: leave out the working directory"));
        }
        let root = sys::open_directory(&PathBuf::from(format!("/proc/{pid}/root")))?;
        let user = user::lookup(root.as_fd(), request.user.as_deref().unwrap_or(&container.user))?;
        let paths = crate::paths::PodPaths::new(self.engine.options(), id).container(&container.name);
        let mut command = Command::new(required("lxc-attach")?);
        command.arg("-n").arg(container.name.as_str()).arg("-P").arg(paths.lxc());
        command.args(["--keep-env", "-u", &user.uid.to_string(), "-g", &user.gid.to_string(), "--"]);
        command.args(&request.command).current_dir("/").env_clear();
        let mut env = container.env.clone();
        env.extend(request.env.iter().cloned());
        env.push("container=lxc".to_owned());
        for (key, value) in crate::spec::environment(&env, &user, &pod.hostname, request.terminal.is_some())
            .iter()
            .filter_map(|entry| entry.split_once('='))
        {
            command.env(key, value);
        }
        spawn_attached(command, request)
    }
}

/// Starts `lxc-attach` with pipes or a terminal.
fn spawn_attached(mut command: Command, request: &ExecRequest) -> Result<ExecHandle> {
    let fail = |e: std::io::Error| Error::io("run", Path::new("lxc-attach"), e);
    let (mut child, master) = match request.terminal {
        Some((columns, rows)) => {
            let pair = openpty(None, None).map_err(|e| Error::call("open a terminal", e))?;
            crate::launch::resize(pair.master.as_raw_fd(), columns, rows)?;
            let copy = || pair.slave.try_clone().map_err(|e| Error::call("open a terminal", e));
            command.stdin(copy()?).stdout(copy()?).stderr(copy()?);
            // SAFETY: two system calls between fork and exec; standard input is the terminal by then.
            unsafe {
                command.pre_exec(|| {
                    libc::setsid();
                    libc::ioctl(0, libc::TIOCSCTTY, 0);
                    Ok(())
                });
            }
            (command.spawn().map_err(fail)?, Some(pair.master))
        }
        None => {
            command.stdin(if request.stdin { Stdio::piped() } else { Stdio::null() });
            (command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(fail)?, None)
        }
    };
    let file = |fd: Option<OwnedFd>| fd.map(File::from);
    let stdin = master.or_else(|| child.stdin.take().map(OwnedFd::from));
    let (stdout, stderr) = (child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from));
    let pid = child.id();
    let wait = Box::new(move || {
        let status = child.wait().map_err(|e| Error::call("wait for the command", e))?;
        Ok(sys::exit_code(status.into_raw()))
    });
    Ok(ExecHandle { stdin: file(stdin), stdout: file(stdout), stderr: file(stderr), wait, pid })
}

/// A program of LXC, where the distribution puts them.
fn tool(name: &str) -> Option<PathBuf> {
    ["/usr/bin", "/usr/local/bin"].iter().map(|directory| Path::new(directory).join(name)).find(|path| path.exists())
}

fn required(name: &str) -> Result<PathBuf> {
    tool(name).ok_or_else(|| Error::text(format!("{name} is not installed: install Debian's package lxc")))
}

/// In the shim's child: mounts the root, writes the configuration and becomes `lxc-start`. Returns only if that failed.
pub fn become_keeper(making: &Making<'_>, streams: &Streams) -> Refusal {
    match keeper(making, streams) {
        Ok(mut command) => {
            sys::reset_signals();
            Refusal::before(format!("lxc-start cannot be run: {}", command.exec()))
        }
        Err(error) => error.into(),
    }
}

fn keeper(making: &Making<'_>, streams: &Streams) -> Result<Command> {
    let (container, paths) = (making.container(), making.paths());
    let program = required("lxc-start")?;
    rootfs::private_mounts()?;
    let root = paths.root();
    Root { layers: &container.layers, paths: &paths, shifted: None }.mount_with_devices(&root)?;
    let directory = sys::open_directory(&root)?;
    let user = user::lookup(directory.as_fd(), &container.user)?;
    let etc = create::write_etc(&paths, &making.order.pod, 0)?;
    let lxc = paths.lxc();
    fs::create_dir_all(&lxc).map_err(|e| Error::io("create", &lxc, e))?;
    let text = config::render(&config::Facts {
        hostname: &making.order.pod.hostname,
        container,
        root: &root,
        netns: &making.order.pod.netns,
        etc: &etc,
        uid: user.uid,
        gid: user.gid,
        cgroup: &making.cgroup(),
        shape: &Shape::detect()?,
    })?;
    let file = config_file(&paths);
    write_file(&file, text.as_bytes())?;
    let copy = |fd: &OwnedFd| fd.try_clone().map_err(|e| Error::call("hand over the streams", e));
    let mut command = Command::new(program);
    command.args(["-F", "-n", container.name.as_str(), "-P"]).arg(&lxc).arg("-f").arg(file).arg("-o").arg(lxc.join("lxc.log"));
    command.args(["-l", "WARN", "--"]).args(&container.argv).current_dir("/").env_clear();
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.stdin(copy(&streams.input)?).stdout(copy(&streams.output)?).stderr(copy(&streams.error)?);
    Ok(command)
}

fn config_file(paths: &ContainerPaths) -> PathBuf {
    paths.lxc().join("config")
}

/// Waits until the container that `keeper` starts is up: its first process, in our numbering.
pub fn main_process(making: &Making<'_>, keeper: i32) -> Result<i32, Refusal> {
    let info = required("lxc-info")?;
    let lxc = making.paths().lxc();
    for _ in 0..LOOK.1 {
        match ended(keeper) {
            // It ran, and was quicker than we look. The shim's loop reaps it.
            Some(0) => return Ok(keeper),
            Some(_) => return Err(Refusal::before(last_words(&lxc))),
            None => {}
        }
        let mut command = Command::new(&info);
        command.args(["-n", making.container().name.as_str(), "-P"]).arg(&lxc).args(["-H", "-s", "-p"]);
        let output = command.stdin(Stdio::null()).output().map_err(|e| Error::io("run", &info, e))?;
        let text = String::from_utf8_lossy(&output.stdout);
        if let Some(pid) = process_of(&text) {
            return Ok(pid);
        }
        std::thread::sleep(LOOK.0);
    }
    Err(Refusal::before("lxc-start did not bring the container up in time"))
}

/// Exit code of a child that has ended, which stays to be reaped.
fn ended(child: i32) -> Option<i32> {
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    match waitid(Id::Pid(nix::unistd::Pid::from_raw(child)), flags) {
        Ok(WaitStatus::Exited(_, code)) => Some(code),
        Ok(WaitStatus::StillAlive) => None,
        _ => Some(-1),
    }
}

/// The process in the answer of `lxc-info -s -p`, if the container runs. Its lines begin with a label.
fn process_of(text: &str) -> Option<i32> {
    let mut words = text.split_whitespace();
    words.find(|word| *word == "RUNNING")?;
    words.find_map(|word| word.parse().ok())
}

/// Why `lxc-start` ended: the last error in its log.
fn last_words(lxc: &Path) -> String {
    let log = fs::read_to_string(lxc.join("lxc.log")).unwrap_or_default();
    let errors: Vec<&str> = log.lines().filter(|l| l.contains(" ERROR ")).collect();
    let said = errors.first().and_then(|l| l.rsplit(" - ").next()).unwrap_or("it did not say why");
    format!("lxc-start failed: {said}")
}

/// The signal that stops the system: an init does not take an ordinary program's.
pub fn stop_signal(asked: i32, main: i32) -> i32 {
    let program = fs::read_link(format!("/proc/{main}/exe")).unwrap_or_default();
    let arguments = fs::read(format!("/proc/{main}/cmdline")).unwrap_or_default();
    stop_signal_of(asked, &program, &String::from_utf8_lossy(&arguments))
}

fn stop_signal_of(asked: i32, program: &Path, arguments: &str) -> i32 {
    let name = program.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let first = arguments.split('\0').next().unwrap_or_default();
    match name {
        _ if asked != libc::SIGTERM => asked,
        "systemd" => STOP_SYSTEMD,
        "busybox" if first.ends_with("init") || first == "linuxrc" => STOP_BUSYBOX,
        _ => asked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_container_that_runs_has_a_process() {
        assert_eq!(process_of("State:          RUNNING\nPID:            19442\n"), Some(19442));
        assert_eq!(process_of("State:          STARTING\nPID:            19442\n"), None);
        assert_eq!(process_of("State:          STOPPED\n"), None);
    }

    #[test]
    fn an_init_is_stopped_by_its_own_signal_and_a_program_by_the_one_asked_for() {
        for (asked, program, arguments, wanted) in [
            (libc::SIGTERM, "/usr/lib/systemd/systemd", "/sbin/init\0", STOP_SYSTEMD),
            (libc::SIGTERM, "/bin/busybox", "/sbin/init\0", STOP_BUSYBOX),
            (libc::SIGTERM, "/bin/busybox", "sh\0-c\0", libc::SIGTERM),
            (libc::SIGINT, "/usr/lib/systemd/systemd", "/sbin/init\0", libc::SIGINT),
        ] {
            assert_eq!(stop_signal_of(asked, Path::new(program), arguments), wanted, "{program} {arguments}");
        }
    }
}
