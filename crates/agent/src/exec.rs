//! Commands in containers: the ends of their streams without threads, and their end when nobody waits for them any more.

use crate::{engine::Inner, steps::is_job};
use api::{
    error::{Error, Result},
    name::InstanceId,
    stream::ExecRequest,
};
use base::supervise::Scope;
use driver::runtime::{ExecHandle, Runtime};
use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    pty::Winsize,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    convert::Infallible,
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, AsRawFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::io::unix::AsyncFd;

nix::ioctl_write_ptr_bad!(set_window_size, nix::libc::TIOCSWINSZ, Winsize);

/// Bytes read from a stream at a time.
pub const CHUNK: usize = 16 * 1024;

/// The host's end of a pipe or terminal.
pub struct Pipe(AsyncFd<File>);

impl Pipe {
    /// Takes it over. Its other end keeps its own flags.
    pub fn new(file: File) -> io::Result<Self> {
        let flags = OFlag::from_bits_truncate(fcntl(file.as_fd(), FcntlArg::F_GETFL)?);
        fcntl(file.as_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        // SAFETY: a `File` is one descriptor, open until it is dropped, and is never exchanged for another here.
        let registered = unsafe { AsyncFd::register(file) };
        registered.map(Self).map_err(io::Error::from)
    }

    /// Some bytes; 0 at the end. A terminal nobody is on the other side of any more answers EIO, which is its end.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.0.readable().await?;
            match ready.try_io(|fd| fd.get_ref().read(buffer)) {
                Ok(Err(error)) if error.raw_os_error() == Some(nix::libc::EIO) => return Ok(0),
                Ok(result) => return result,
                Err(_) => {}
            }
        }
    }

    /// All bytes.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut ready = self.0.writable().await?;
            match ready.try_io(|fd| fd.get_ref().write(bytes)) {
                Ok(Ok(written)) => bytes = &bytes[written..],
                Ok(Err(error)) => return Err(error),
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Tells the terminal behind it how large its window is.
    pub fn resize(&self, columns: u16, rows: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the descriptor is open for as long as `self` is, and `size` is what TIOCSWINSZ reads (ioctl_tty(2)).
        let done = unsafe { set_window_size(self.0.get_ref().as_raw_fd(), &raw const size) };
        if let Err(error) = done {
            tracing::debug!(%error, "terminal cannot be resized");
        }
    }

    /// Reads and throws away, until the end.
    pub async fn drain(&self) {
        let mut buffer = [0; 1024];
        while matches!(self.read(&mut buffer).await, Ok(1..)) {}
    }
}

/// Kills the command when dropped before it ended.
pub struct Leash {
    pid: u32,
    ended: Arc<AtomicBool>,
}

impl Leash {
    /// Sends it a signal, unless it has ended.
    pub fn signal(&self, signal: i32) {
        let (Ok(pid), Ok(signal)) = (i32::try_from(self.pid), Signal::try_from(signal)) else { return };
        if pid > 0 && !self.ended.load(Ordering::Acquire) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL as i32);
    }
}

/// A command that runs.
pub struct Running {
    /// Standard input, or the terminal.
    pub stdin: Option<Pipe>,
    /// Standard output.
    pub stdout: Option<Pipe>,
    /// Standard error.
    pub stderr: Option<Pipe>,
    /// Holds it.
    pub leash: Leash,
    /// Blocks until it ended.
    pub wait: Box<dyn FnOnce() -> driver::Result<i32> + Send>,
}

/// Starts a command in a container that runs.
pub async fn start(inner: &Arc<Inner>, id: InstanceId, request: ExecRequest) -> Result<Running> {
    let runtime = runtime(inner, id)?;
    if request.command.is_empty() {
        return Err(Error::usage("there is no command to run: give at least a program"));
    }
    let started = Scope::blocking(move || runtime.exec(id, &request)).await;
    let handle = started.map_err(Error::failed)?.map_err(|error| Error::failed(error.message))?;
    running(handle).map_err(|error| Error::failed(format!("streams of the command: {error}")))
}

/// What runs a pod that is up, or the sentence that says that it is not.
pub fn runtime(inner: &Inner, id: InstanceId) -> Result<Arc<dyn Runtime>> {
    let display = match inner.lock().pods.get(&id) {
        Some(pod) if pod.is_up() => None,
        Some(pod) => Some(pod.record.display.clone()),
        None => return Err(absent(id)),
    };
    match display {
        Some(name) if is_job(&name) => Err(down(&name).hint(format!("see: roost why {name}"))),
        Some(name) => Err(down(&name).hint(format!("start it: roost start {name}"))),
        None => inner.runtime_of(id).ok_or_else(|| absent(id)),
    }
}

fn down(name: &str) -> Error {
    Error::conflict(format!("container {name} does not run"))
}

/// The sentence about an instance that is not here.
pub fn absent(id: InstanceId) -> Error {
    Error::not_found(format!("instance {id} is not on this server"))
}

fn running(handle: ExecHandle) -> io::Result<Running> {
    let ended = Arc::new(AtomicBool::new(false));
    let leash = Leash { pid: handle.pid, ended: Arc::clone(&ended) };
    let wait = handle.wait;
    let pipe = |file: Option<File>| file.map(Pipe::new).transpose();
    Ok(Running {
        stdin: pipe(handle.stdin)?,
        stdout: pipe(handle.stdout)?,
        stderr: pipe(handle.stderr)?,
        leash,
        wait: Box::new(move || {
            let code = wait();
            ended.store(true, Ordering::Release);
            code
        }),
    })
}

/// Runs a command for its exit code: what a check does. Its output is thrown away; after `most` it is killed.
pub async fn run_to_end(
    inner: &Arc<Inner>,
    id: InstanceId,
    request: ExecRequest,
    most: Duration,
) -> std::result::Result<(), String> {
    let name = request.command.first().cloned().unwrap_or_default();
    let Running { stdin, stdout, stderr, leash, wait } = start(inner, id, request).await.map_err(|error| error.message)?;
    drop(stdin);
    let ended = tokio::time::timeout(most, Scope::blocking(wait));
    let drain = async {
        let each = |pipe: Option<Pipe>| async move {
            if let Some(pipe) = pipe {
                pipe.drain().await;
            }
        };
        tokio::join!(each(stdout), each(stderr));
        std::future::pending::<Infallible>().await
    };
    let result = tokio::select! {
        result = ended => result,
        never = drain => match never {},
    };
    drop(leash);
    match result {
        Err(_) => Err(format!("command {name} did not end within {} ms", most.as_millis())),
        Ok(Err(crashed)) => Err(crashed),
        Ok(Ok(Err(error))) => Err(error.message),
        Ok(Ok(Ok(0))) => Ok(()),
        Ok(Ok(Ok(code))) => Err(format!("command {name} exited with code {code}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Pipe, File) {
        let (reader, writer) = std::io::pipe().unwrap();
        (Pipe::new(File::from(std::os::fd::OwnedFd::from(reader))).unwrap(), File::from(std::os::fd::OwnedFd::from(writer)))
    }

    #[tokio::test]
    async fn a_pipe_is_read_until_its_writer_is_gone() {
        let (pipe, mut writer) = pair();
        writer.write_all(b"hello").unwrap();
        let mut buffer = [0; 16];
        assert_eq!(pipe.read(&mut buffer).await.unwrap(), 5);
        drop(writer);
        assert_eq!(pipe.read(&mut buffer).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_command_that_nobody_waits_for_is_killed() {
        use std::os::unix::process::ExitStatusExt;
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        drop(Leash { pid: child.id(), ended: Arc::default() });
        assert_eq!(child.wait().unwrap().signal(), Some(9));
    }

    #[tokio::test]
    async fn one_that_ended_is_left_alone() {
        let mut child = std::process::Command::new("sleep").arg("0.2").spawn().unwrap();
        drop(Leash { pid: child.id(), ended: Arc::new(AtomicBool::new(true)) });
        assert!(child.wait().unwrap().success());
    }
}
