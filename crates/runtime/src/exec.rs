//! The agent's side of `exec`: starts a helper process, hands it request and streams over a socket, and waits for it.

use crate::record::Running;
use crate::{
    Error, Result,
    engine::Engine,
    exec_helper::{Answer, Order},
    fds, sys,
};
use api::{InstanceId, stream::ExecRequest};
use driver::runtime::{ContainerRun, ExecHandle, PodRun};
use std::{
    fs::File,
    os::{
        fd::{AsFd as _, AsRawFd, OwnedFd, RawFd},
        unix::{net::UnixStream, process::ExitStatusExt as _},
    },
    process::{Child, Stdio},
};

/// How long a helper may take to enter the container, in milliseconds.
const ENTER_MILLIS: i32 = 30_000;

/// The container a request means: its part of the pod, and its main process.
pub fn target<'a>(pod: &'a PodRun, running: &Running, request: &ExecRequest) -> Result<(&'a ContainerRun, i32)> {
    let wanted = |name: &api::Name| request.container.as_ref().is_none_or(|w| w == name);
    let container = pod.containers.iter().find(|c| wanted(&c.name)).ok_or_else(|| {
        let name = request.container.as_ref().map(ToString::to_string).unwrap_or_default();
        Error::text(format!("the pod has no container {name:?}"))
    })?;
    let pid = running.containers.iter().find(|c| c.name == container.name).and_then(|c| c.pid);
    Ok((container, pid.ok_or_else(|| Error::text(format!("container {} has ended", container.name)))?))
}

/// Runs a command in an application container.
pub fn in_app(engine: &Engine, id: InstanceId, request: &ExecRequest) -> Result<ExecHandle> {
    let (pod, running) = engine.running(id)?;
    let (container, pid) = target(&pod, &running, request)?;
    let path = format!("{}/{id}", engine.options().cgroup_parent);
    if engine.shape().is_frozen(&path) {
        return Err(Error::text(format!("instance {id} is frozen: let it go on first")));
    }
    let order = Order {
        pid,
        cgroup: format!("{path}/{}", container.name),
        hostname: pod.hostname.clone(),
        container: container.clone(),
        request: request.clone(),
    };
    let (socket, theirs) = UnixStream::pair().map_err(|e| Error::call("make a socket", e))?;
    let mut helper = spawn(engine, theirs)?;
    match hand_over(&socket, &order) {
        Ok((streams, pid)) => Ok(handle(streams, pid, helper)),
        Err(error) => {
            let _ = helper.kill();
            let _ = helper.wait();
            Err(error)
        }
    }
}

/// Our ends of the command's streams.
struct Streams {
    stdin: Option<File>,
    stdout: Option<File>,
    stderr: Option<File>,
}

fn spawn(engine: &Engine, socket: UnixStream) -> Result<Child> {
    engine
        .shim()
        .arg("exec")
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(socket)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| Error::call("run the exec helper", e))
}

/// Sends the order with the command's ends of its streams; gives our ends and the command's process id.
fn hand_over(socket: &UnixStream, order: &Order) -> Result<(Streams, u32)> {
    let text = serde_json::to_vec(order).map_err(|e| Error::text(e.to_string()))?;
    let length = u32::try_from(text.len()).map_err(|_| Error::text("the command is too long"))?;
    let terminal = order.request.terminal.is_some();
    let (theirs, mut ours) = if terminal { (Vec::new(), no_streams()) } else { pipes(order.request.stdin)? };
    let raw: Vec<RawFd> = theirs.iter().map(AsRawFd::as_raw_fd).collect();
    fds::send(socket.as_fd(), &length.to_be_bytes(), &raw)?;
    fds::send(socket.as_fd(), &text, &[])?;
    drop(theirs);
    if !sys::wait_readable(socket.as_fd(), ENTER_MILLIS)? {
        return Err(Error::Later("the command could not enter the container in time".to_owned()));
    }
    let mut buffer = vec![0; 16 << 10];
    let (length, mut received) = fds::receive(socket.as_fd(), &mut buffer)?;
    match serde_json::from_slice(&buffer[..length]) {
        Ok(Answer::Entered(pid)) => {
            if terminal {
                ours.stdin = received.pop().map(File::from);
            }
            Ok((ours, pid))
        }
        Ok(Answer::Refused(why)) => Err(Error::text(why)),
        Err(_) => Err(Error::Later("the exec helper died before it had entered the container".to_owned())),
    }
}

const fn no_streams() -> Streams {
    Streams { stdin: None, stdout: None, stderr: None }
}

/// Three pipes: the command's ends in order, and ours.
fn pipes(stdin: bool) -> Result<(Vec<OwnedFd>, Streams)> {
    let (input, mut typed) = sys::pipe().map(|(r, w)| (r, Some(w)))?;
    let (out, out_in) = sys::pipe()?;
    let (err, err_in) = sys::pipe()?;
    if !stdin {
        typed = None;
    }
    let ours = Streams { stdin: typed.map(File::from), stdout: Some(out.into()), stderr: Some(err.into()) };
    Ok((vec![input, out_in, err_in], ours))
}

/// The helper ends with the command's code.
fn handle(streams: Streams, pid: u32, mut helper: Child) -> ExecHandle {
    let wait = Box::new(move || {
        let status = helper.wait().map_err(|e| Error::call("wait for the command", e))?;
        Ok(sys::exit_code(status.into_raw()))
    });
    ExecHandle { stdin: streams.stdin, stdout: streams.stdout, stderr: streams.stderr, wait, pid }
}
