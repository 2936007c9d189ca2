//! `roost down` and `roost leave`: the end of everything of ours on this machine.

use crate::{agent, config, daemon, say};
use api::{Error, Result, path};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{fs, path::Path, process::Command, time::Duration};
use wire::{client::Client, identity::Identity};

/// How long the daemon may take to end before it is killed.
const END: Duration = Duration::from_secs(15);
/// Time between two looks whether it has.
const LOOK: Duration = Duration::from_millis(20);

/// `roost down`.
pub fn run() -> Result<u8> {
    let known = config::load()?.is_some();
    stop()?;
    clear()?;
    if known {
        say("Roost is gone from this machine");
    } else {
        say("nothing of Roost was on this machine");
    }
    Ok(0)
}

/// `roost leave`: tells the cluster first.
pub fn leave() -> Result<u8> {
    let config = config::require()?;
    if config.manager {
        return Err(Error::conflict(format!("{} is the cluster's manager", config.name))
            .hint("end the whole cluster: roost down on each server"));
    }
    let identity = Identity::load(&config::identity())?;
    let asked = crate::up::block_on(async {
        let client = Client::tls(config.control, &identity)?;
        let path = format!("{}/{}?force=true", path::SERVERS, config.name);
        client.send::<(), api::view::Changed>(http::Method::DELETE, &path, &()).await
    });
    asked.map_err(|error| error.hint("if the cluster is gone for ever: roost down"))?;
    run()
}

/// Ends the daemon and with it manager and agent. Containers live on until [`clear`].
fn stop() -> Result<()> {
    if Path::new("/run/systemd/system").exists() {
        let _ = Command::new("systemctl").args(["disable", "--now", "--quiet", "roost"]).status();
    }
    let Some(pid) = daemon::running() else { return Ok(()) };
    let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    let started = base::env::instant();
    while daemon::running() == Some(pid) {
        if started.elapsed() > END {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        if started.elapsed() > END * 2 {
            return Err(Error::failed(format!("the daemon (process {pid}) does not end")));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Removes containers, network and files. Each part is tried, whatever became of the others; what failed is said.
fn clear() -> Result<()> {
    let mut problems = Vec::new();
    let mut note = |what: &str, outcome: std::result::Result<(), String>| {
        if let Err(why) = outcome {
            problems.push(format!("{what}: {why}"));
        }
    };
    match agent::runtimes().and_then(|runtimes| Ok([runtimes, vec![agent::build_runtime()?]].concat())) {
        Ok(runtimes) => {
            for runtime in runtimes {
                for pod in runtime.observe().unwrap_or_default() {
                    note(&format!("container {}", pod.id), runtime.remove(pod.id).map_err(|error| error.message));
                }
            }
        }
        Err(error) => note("containers", Err(error.message)),
    }
    note(
        "network",
        agent::network().map_err(|error| error.message).and_then(|network| network.clear().map_err(|error| error.message)),
    );
    note("cgroups", agent::remove_cgroups());
    for dir in [path::RUN_DIR, path::STATE_DIR] {
        note(dir, remove(Path::new(dir)));
    }
    match problems.is_empty() {
        true => Ok(()),
        false => {
            Err(Error { details: problems, ..Error::failed("not everything of Roost could be removed") }
                .hint("repeat: roost down"))
        }
    }
}

fn remove(dir: &Path) -> std::result::Result<(), String> {
    unmount_below(dir);
    let gone = if is_mount(dir) { empty(dir) } else { fs::remove_dir_all(dir) };
    match gone {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.to_string()),
        _ => Ok(()),
    }
}

/// A directory that is itself a mount (in a sandbox) stays, empty.
fn empty(dir: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
    }
    Ok(())
}

fn mounts() -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    text.lines().filter_map(|line| line.split(' ').nth(4).map(str::to_owned)).collect()
}

fn is_mount(dir: &Path) -> bool {
    mounts().iter().any(|mount| Path::new(mount) == dir)
}

/// Nothing of ours is mounted below our directories any more, whatever a crash left; deepest first.
fn unmount_below(dir: &Path) {
    let mut below: Vec<_> =
        mounts().into_iter().filter(|mount| Path::new(mount) != dir && Path::new(mount).starts_with(dir)).collect();
    below.sort_by_key(|mount| std::cmp::Reverse(mount.len()));
    for mount in below {
        let _ = nix::mount::umount2(mount.as_str(), nix::mount::MntFlags::MNT_DETACH);
    }
}
