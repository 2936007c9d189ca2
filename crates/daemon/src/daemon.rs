//! `roost daemon`: supervises the manager and the agent; and what their processes have in common.

use crate::{
    config,
    supervisor::{self, Child},
};
use api::{Error, Result, path};
use base::supervise::Scope;
use std::{ffi::OsString, fs, future::Future, io::Write, os::fd::AsRawFd, path::Path};
use tokio::signal::unix::{SignalKind, signal};

/// Threads that run a part's tasks. Enough for one machine's work, few for the sake of memory.
const WORKERS: usize = 2;
/// Stack of each thread: deep enough for TLS and JSON, small for the sake of memory.
const STACK: usize = 512 * 1024;
/// Threads for blocking work at the most.
const BLOCKING: usize = 64;

/// Runs a part until it ends or is asked to by SIGTERM or SIGINT.
pub fn serve<F, Fut>(name: &'static str, part: F) -> Result<()>
where
    F: FnOnce(Scope) -> Fut,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    let filter = tracing_subscriber::EnvFilter::try_from_env("ROOST_LOG").unwrap_or_else(|_| "info".into());
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr).try_init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING)
        .thread_stack_size(STACK)
        .thread_name(name)
        .enable_all()
        .build()
        .map_err(|error| Error::failed(format!("the {name} cannot start: {error}")))?;
    runtime.block_on(async {
        let scope = Scope::new();
        let running = part(scope.clone());
        let (inner, ending) = (scope.clone(), scope.clone());
        inner.component(name, async move { running.await.map_err(|error| describe(&error)) });
        let mut terminate = signal(SignalKind::terminate()).map_err(|error| Error::failed(error.to_string()))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| Error::failed(error.to_string()))?;
        tokio::select! {
            _ = terminate.recv() => ending.stop(),
            _ = interrupt.recv() => ending.stop(),
            () = ending.stopping() => {}
        }
        scope.ended().await.map_err(|why| Error::failed(format!("the {name} ended: {why}")))
    })
}

fn describe(error: &Error) -> String {
    if error.details.is_empty() { error.message.clone() } else { format!("{} ({})", error.message, error.details.join("; ")) }
}

/// The file whose lock says that a daemon runs, with its process id in it.
fn pid_file() -> std::path::PathBuf {
    config::run_dir("daemon.pid")
}

/// Runs the parts this machine needs, and starts again what dies.
pub fn run() -> Result<()> {
    let config = config::require()?;
    config::directory(Path::new(path::RUN_DIR))?;
    let _lock = lock()?;
    let own =
        std::env::current_exe().map_err(|error| Error::failed(format!("this program's own path cannot be found: {error}")))?;
    let child = |name: &'static str| Child { name, argv: vec![own.clone().into_os_string(), OsString::from(name)] };
    let mut children = Vec::new();
    if config.manager {
        children.push(child("manager"));
    }
    children.push(child("agent"));
    let logs = config::state("log");
    config::directory(&logs)?;
    supervisor::supervise(children, &logs).map_err(|error| Error::from_chain(api::Kind::Failed, "the daemon ended", &error))
}

fn lock() -> Result<fs::File> {
    let failed = |error: std::io::Error| Error::failed(format!("cannot write {}: {error}", pid_file().display()));
    let mut file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(pid_file()).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Err(Error::conflict("Roost runs on this machine already")),
        Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
    }
    file.set_len(0).map_err(failed)?;
    write!(file, "{}", std::process::id()).map_err(failed)?;
    // A close-on-exec descriptor would be the default; it stays so, or a child would hold the lock after us.
    tracing::debug!(fd = file.as_raw_fd(), "locked");
    Ok(file)
}

/// The process id of the daemon that runs here, if one does.
pub fn running() -> Option<i32> {
    let file = fs::File::open(pid_file()).ok()?;
    match file.try_lock() {
        Err(fs::TryLockError::WouldBlock) => fs::read_to_string(pid_file()).ok()?.trim().parse().ok(),
        _ => None,
    }
}
