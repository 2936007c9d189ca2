//! Taking a sandbox down, from whatever state it is in.

use crate::{
    cgroup::Groups,
    error::{Result, SandboxError},
    layout::{Layout, Lock},
    process::wait_until,
    state::State,
};
use nix::{
    mount::{MntFlags, umount2},
    sys::signal::Signal,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long a killed process may take to die.
const DEATH: Duration = Duration::from_secs(10);
/// How often removing files is tried again while something still writes them.
const REMOVE_TRIES: u32 = 5;

/// Ends and removes everything of a sandbox but its lock. Nothing there is fine.
pub fn destroy(layout: &Layout) -> Result<()> {
    let groups = Groups::find()?;
    // The first processes first: the kernel then kills all else in their servers. A state that cannot be read does not
    // matter, because everything is found again by control group.
    if let Ok(state) = State::load(layout) {
        state.processes().for_each(|process| process.signal(Signal::SIGKILL));
        groups.thaw(&layout.cgroup);
        let alive: Vec<i32> = living(&state, DEATH);
        if !alive.is_empty() {
            return Err(SandboxError::Stays { what: format!("processes {alive:?}"), seconds: DEATH.as_secs() });
        }
    }
    if groups.exists(&layout.cgroup) {
        groups.kill(&layout.cgroup)?;
        groups.remove(&layout.cgroup)?;
    }
    unmount_below(&layout.dir)?;
    remove_dir(&layout.dir)
}

fn living(state: &State, limit: Duration) -> Vec<i32> {
    let mut alive = Vec::new();
    wait_until(limit, || {
        alive = state.processes().filter(|process| process.alive()).map(|process| process.pid).collect();
        alive.is_empty()
    });
    alive
}

/// Removes the lock, and the base directory after the last sandbox.
pub fn forget(layout: &Layout, lock: Lock) -> Result<()> {
    lock.remove()?;
    match fs::remove_dir(&layout.base) {
        Err(error)
            if !matches!(
                error.kind(),
                io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound | io::ErrorKind::ResourceBusy
            ) =>
        {
            Err(SandboxError::io(format!("remove {}", layout.base.display()))(error))
        }
        _ => Ok(()),
    }
}

fn remove_dir(dir: &Path) -> Result<()> {
    let mut last = None;
    for _ in 0..REMOVE_TRIES {
        match fs::remove_dir_all(dir) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => last = Some(error),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    last.map_or(Ok(()), |error| Err(SandboxError::io(format!("remove {}", dir.display()))(error)))
}

/// We mount nothing on the machine, but somebody may have mounted something below, and removing files must not follow it.
fn unmount_below(dir: &Path) -> Result<()> {
    let table = fs::read_to_string("/proc/self/mountinfo").map_err(SandboxError::io("read /proc/self/mountinfo"))?;
    for point in mounts_below(&table, dir).into_iter().rev() {
        umount2(&point, MntFlags::MNT_DETACH).map_err(SandboxError::io(format!("unmount {}", point.display())))?;
    }
    Ok(())
}

/// Mount points below a directory, in the order they were made.
fn mounts_below(mountinfo: &str, dir: &Path) -> Vec<PathBuf> {
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).map(|point| PathBuf::from(unescape(point)));
    points.filter(|point| point.starts_with(dir)).collect()
}

/// Blanks and the like are written as three octal digits (proc(5), `mountinfo`).
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")].iter().fold(text.to_owned(), |t, (a, b)| t.replace(a, b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_below_the_directory() {
        let table = "1 0 8:1 / / rw - ext4 a rw\n2 1 0:1 / /x/a rw - tmpfs t rw\n3 2 0:2 / /x/a/b\\040c rw - tmpfs t rw\n4 1 0:3 / /x/ab rw - tmpfs t rw";
        assert_eq!(mounts_below(table, Path::new("/x/a")), [PathBuf::from("/x/a"), PathBuf::from("/x/a/b c")]);
    }
}
