//! The keeper of a system container: `lxc-start` in the foreground, in a mount namespace that holds all the container needs.
//!
//! With a user namespace the maker, which is root outside, prepares what root inside could not: layers whose owners are
//! shifted, copies of mounts in a place that root inside may reach, and a `/sys` of the pod's network, which only the owner of
//! that network may mount.

use super::{DIRECTORY, config, init, required};
use crate::{
    Error, Result,
    cgroup::Shape,
    create::{self, Making, Streams},
    fds, idmap,
    record::{Refusal, write_file},
    rootfs::{self, Root, Stage},
    sys, user,
};
use driver::runtime::MountRun;
use nix::{
    mount::{MsFlags, mount},
    pty::openpty,
    sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, socket},
};
use std::{
    fs,
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::Command,
};

/// Files of `/etc` that Roost gives a container.
const ETC: [&str; 3] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];
/// LXC leaves the mapping of users to these where it finds them, and they insist on entries in `/etc/subuid`, which root does not
/// need. So it must not find them.
const HELPERS: [&str; 2] = ["/usr/bin/newuidmap", "/usr/bin/newgidmap"];

/// In the shim's child: mounts the root, writes the configuration and becomes `lxc-start`. Returns only if that failed.
pub fn become_keeper(making: &Making<'_>, streams: &Streams) -> Refusal {
    match keeper(making, streams) {
        Ok(mut command) => {
            sys::reset_signals();
            Refusal::before(format!("lxc-start cannot be run: {}", command.exec()))
        }
        Err(refusal) => refusal,
    }
}

/// What the configuration refers to, where `lxc-start` finds it.
struct Places {
    root: PathBuf,
    etc: Vec<(PathBuf, &'static str)>,
    mounts: Vec<MountRun>,
    /// A `/sys` to be shown instead of one of its own.
    sys: Option<PathBuf>,
}

fn keeper(making: &Making<'_>, streams: &Streams) -> Result<Command, Refusal> {
    let (container, paths) = (making.container(), making.paths());
    let program = required("lxc-start")?;
    rootfs::private_mounts()?;
    let space = container.user_namespace.then(idmap::namespace).transpose()?;
    let shifted = space.as_ref().map(OwnedFd::as_fd);
    let root = paths.root();
    Root { layers: &container.layers, paths: &paths, shifted }.mount_with_devices(&root)?;
    init::check_program(&root, &container.argv, &container.env)?;
    let directory = sys::open_directory(&root)?;
    let user = user::lookup(directory.as_fd(), &container.user)?;
    ETC.iter().try_for_each(|file| rootfs::without_link(directory.as_fd(), Path::new(file)))?;
    drop(directory);
    let owner = if shifted.is_some() { idmap::FIRST } else { 0 };
    let etc = create::write_etc(&paths, &making.order.pod, owner)?;
    let mounts = create::volumes(container)?;
    let mut places = Places { root, etc, mounts, sys: None };
    if let Some(space) = &space {
        stage(making, space, &mut places)?;
        hide_helpers()?;
    }
    let name = paths.lxc_name();
    let (netns, socket) = (&making.order.pod.netns, streams.terminal.as_ref());
    let console = socket.map(|socket| console(socket, &ready(netns, &name)?)).transpose()?;
    let lxc = paths.lxc();
    fs::create_dir_all(&lxc).map_err(|e| Error::io("create", &lxc, e))?;
    let text = config::render(&config::Facts {
        hostname: &making.order.pod.hostname,
        container,
        root: &places.root,
        netns: &making.order.pod.netns,
        etc: &places.etc,
        mounts: &places.mounts,
        sys: places.sys.as_deref(),
        console: console.as_deref(),
        ready: console.is_some().then_some(name.as_str()),
        uid: user.uid,
        gid: user.gid,
        cgroup: &making.cgroup(),
        shape: &Shape::detect()?,
    })?;
    let file = lxc.join("config");
    write_file(&file, text.as_bytes())?;
    Ok(command(making, (&program, &file), streams)?)
}

fn command(making: &Making<'_>, (program, config): (&Path, &Path), streams: &Streams) -> Result<Command> {
    let (container, paths) = (making.container(), making.paths());
    let copy = |fd: &OwnedFd| fd.try_clone().map_err(|e| Error::call("hand over the streams", e));
    let mut command = Command::new(program);
    command.args(["-F", "-n", &paths.lxc_name(), "-P", DIRECTORY]);
    command.arg("-f").arg(config).arg("-o").arg(paths.lxc().join("lxc.log"));
    command.args(["-l", "WARN", "--"]).args(&container.argv).current_dir("/").env_clear();
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.stdin(copy(&streams.input)?).stdout(copy(&streams.output)?).stderr(copy(&streams.error)?);
    Ok(command)
}

/// Puts everything where root inside may reach it.
fn stage(making: &Making<'_>, space: &OwnedFd, places: &mut Places) -> Result<()> {
    let own_sys = making.paths().system();
    fs::create_dir_all(&own_sys).map_err(|e| Error::io("create", &own_sys, e))?;
    mount_system(&making.order.pod.netns, &own_sys)?;
    let mut stage = Stage::new();
    stage.copy(&places.root)?;
    stage.copy(&own_sys)?;
    places.etc.iter().try_for_each(|(source, _)| stage.copy(source).map(drop))?;
    places.mounts.iter().try_for_each(|m| stage.copy_shifted(&m.source, space.as_fd()).map(drop))?;
    let mut staged = stage.set_up(&making.order.paths.run)?.into_iter();
    let mut next = || staged.next().unwrap_or_default();
    places.root = next();
    places.sys = Some(next());
    places.etc.iter_mut().for_each(|(source, _)| *source = next());
    places.mounts.iter_mut().for_each(|m| m.source = next());
    Ok(())
}

/// Mounts the `/sys` that shows the pod's network.
fn mount_system(netns: &Path, at: &Path) -> Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let mounted = || mount(Some("sysfs"), at, Some("sysfs"), flags, None::<&str>);
    in_network(netns, || mounted().map_err(|e| Error::io("mount the pod's /sys on", at, e)))
}

/// Does something in the pod's network, and comes back.
fn in_network<T>(netns: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let own = Path::new("/proc/self/ns/net");
    let back = fs::File::open(own).map_err(|e| Error::io("open", own, e))?;
    sys::join_network(netns)?;
    let done = work();
    sys::join_network(Path::new(&format!("/proc/self/fd/{}", back.as_raw_fd())))?;
    done
}

/// In our own mount namespace only.
fn hide_helpers() -> Result<()> {
    for helper in HELPERS.iter().map(Path::new).filter(|helper| helper.exists()) {
        mount(Some("/dev/null"), helper, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .map_err(|e| Error::io("hide", helper, e))?;
    }
    Ok(())
}

/// Where the init will say that it is up (sd_notify(3)): a socket that has a name in the pod's network only.
fn ready(netns: &Path, name: &str) -> Result<OwnedFd> {
    let failed = |errno| Error::call("make a socket for the init", errno);
    in_network(netns, || {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Datagram, flags, None).map_err(failed)?;
        bind(socket.as_raw_fd(), &UnixAddr::new_abstract(name.as_bytes()).map_err(failed)?).map_err(failed)?;
        Ok(socket)
    })
}

/// Makes the console: a terminal whose both ends the shim keeps, as long as the container lives. Gives its path.
fn console(socket: &OwnedFd, ready: &OwnedFd) -> Result<PathBuf> {
    let pair = openpty(None, None).map_err(|e| Error::call("make the console", e))?;
    fds::send(socket.as_fd(), b"t", &[pair.master.as_raw_fd(), pair.slave.as_raw_fd(), ready.as_raw_fd()])?;
    crate::launch::resize(pair.master.as_raw_fd(), crate::launch::TERMINAL_SIZE.0, crate::launch::TERMINAL_SIZE.1)?;
    nix::unistd::ttyname(&pair.slave).map_err(|e| Error::call("find the console", e))
}
