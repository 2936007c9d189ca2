//! A server's power switch.

use crate::{
    cgroup::Groups,
    create::Sandbox,
    error::{Result, SandboxError},
    network::{self, Network},
    state::{Link, Server, State},
};
use nix::sys::signal::Signal;
use std::{fs, io, path::Path, time::Duration};

/// How long a server's first process may take to die.
const DEATH: Duration = Duration::from_secs(10);

impl Sandbox {
    /// Power off: every process of the server dies at once and its cable is gone; its disk stays. Fine if it is off.
    pub fn kill(&self, server: &str) -> Result<()> {
        let _lock = self.layout.lock()?;
        let mut state = State::load(&self.layout)?;
        let server = state.server(&self.layout, server)?.clone();
        self.power_off(&server)?;
        state.change(server.index, |server| {
            server.init = None;
            server.link = Link::Whole;
        });
        state.save(&self.layout)
    }

    /// Power on again: same disk, same addresses, an empty `/run`, a whole cable, and its boot command.
    pub fn start(&self, server: &str) -> Result<()> {
        let _lock = self.layout.lock()?;
        let mut state = State::load(&self.layout)?;
        let server = state.server(&self.layout, server)?.clone();
        if server.running().is_ok() {
            return Err(SandboxError::On(server.name));
        }
        let (_, switch) = self.switch(&state)?;
        // It may have died by itself, which leaves more behind than a kill.
        self.power_off(&server)?;
        empty(&self.layout.server(&server.name).join("run"))?;
        let ready = self.start_init(&server.name)?.ready()?;
        state.change(server.index, |server| {
            server.init = Some(ready.process);
            server.link = Link::Whole;
        });
        state.save(&self.layout)?;
        network::connect(&switch, ready.process, server.index)?;
        ready.go()
    }

    /// Leaves nothing of a running server.
    fn power_off(&self, server: &Server) -> Result<()> {
        let (groups, group) = (Groups::find()?, self.layout.group(&server.name));
        if let Some(init) = server.init {
            init.signal(Signal::SIGKILL);
            groups.thaw(&group);
            init.kill(DEATH)?;
        }
        // The kernel kills the rest with the first process; what is left after that is ours to kill.
        if !groups.wait_empty(&group) {
            groups.kill(&group)?;
        }
        groups.remove(&group)?;
        self.unplug(server)
    }

    fn unplug(&self, server: &Server) -> Result<()> {
        let state = State::load(&self.layout)?;
        // Without a switch there is no cable either.
        let Ok((_, switch)) = self.switch(&state) else { return Ok(()) };
        self.remove_relay(&switch, server)?;
        cut_off(&switch, &network::port(server.index))
    }
}

/// Removes a link that may have gone with the namespace at its other end, or may be about to.
pub fn cut_off(switch: &Network, link: &str) -> Result<()> {
    match switch.ip(&format!("link delete {link}")) {
        Err(SandboxError::Tool { said, .. }) if is_gone(&said) => Ok(()),
        other => other,
    }
}

/// What `ip` says when it looked for a device in vain, and what the kernel says when the device went after `ip` had found it.
fn is_gone(said: &str) -> bool {
    said.contains("Cannot find device") || said.contains("No such device")
}

/// Removes what is in a directory, as a reboot does to `/run`.
fn empty(dir: &Path) -> Result<()> {
    let failed = |e: io::Error| SandboxError::io(format!("empty {}", dir.display()))(e);
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let directory = entry.file_type().map_err(failed)?.is_dir();
        if directory { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) }.map_err(failed)?;
    }
    Ok(())
}
