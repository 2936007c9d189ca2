//! Commands in system containers, by `lxc-attach`, which follows the container's own configuration.

use super::{DIRECTORY, required};
use crate::{Error, Result, engine::Engine, exec::target, sys, user};
use api::{InstanceId, stream::ExecRequest};
use driver::runtime::ExecHandle;
use nix::{fcntl::OFlag, pty::openpty};
use std::{
    fs::File,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::process::{CommandExt as _, ExitStatusExt as _},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Runs a command. Its environment travels as environment, never as arguments.
pub fn attach(engine: &Engine, id: InstanceId, request: &ExecRequest) -> Result<ExecHandle> {
    let (pod, running) = engine.running(id)?;
    let (container, pid) = target(&pod, &running, request)?;
    if engine.shape().is_frozen(&format!("{}/{id}", engine.options().cgroup_parent)) {
        return Err(Error::text(format!("instance {id} is frozen: let it go on first")));
    }
    let root = sys::open_directory(&PathBuf::from(format!("/proc/{pid}/root")))?;
    let user = user::lookup(root.as_fd(), request.user.as_deref().unwrap_or(&container.user))?;
    let words = in_directory(root.as_fd(), request)?;
    let paths = crate::paths::PodPaths::new(engine.options(), id).container(&container.name);
    let mut command = Command::new(required("lxc-attach")?);
    command.args(["-n", &paths.lxc_name(), "-P", DIRECTORY]);
    command.args(["--keep-env", "-u", &user.uid.to_string(), "-g", &user.gid.to_string(), "--"]);
    command.args(words).current_dir("/").env_clear();
    let mut env = container.env.clone();
    env.extend(request.env.iter().cloned());
    env.push("container=lxc".to_owned());
    for (key, value) in crate::spec::environment(&env, &user, &pod.hostname, request.terminal.is_some())
        .iter()
        .filter_map(|entry| entry.split_once('='))
    {
        command.env(key, value);
    }
    spawn(command, request)
}

/// The command, in the directory asked for: `lxc-attach` itself starts it in `/`.
fn in_directory(root: BorrowedFd<'_>, request: &ExecRequest) -> Result<Vec<String>> {
    let Some(directory) = request.workdir.as_deref().filter(|directory| *directory != "/") else {
        return Ok(request.command.clone());
    };
    sys::open_in_root(root, Path::new(directory), OFlag::O_PATH | OFlag::O_DIRECTORY)
        .map_err(|_| Error::text(format!("there is no directory {directory:?} in the container")))?;
    let shell = ["/bin/sh", "-c", r#"cd "$0" && exec "$@""#, directory];
    Ok(shell.into_iter().map(str::to_owned).chain(request.command.iter().cloned()).collect())
}

/// Starts `lxc-attach` with pipes or a terminal.
fn spawn(mut command: Command, request: &ExecRequest) -> Result<ExecHandle> {
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
