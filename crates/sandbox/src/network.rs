//! The underlay: a switch in a network namespace of its own, and a cable to each server.

use crate::{
    error::{Result, SandboxError},
    layout::{address, hardware_address},
    process::Process,
};
use nix::sched::{CloneFlags, setns};
use std::{
    fs::File,
    os::{fd::AsFd, unix::process::CommandExt},
    process::Command,
};

/// The switch's bridge.
const BRIDGE: &str = "ul0";
/// The switch's own address, with its prefix: where `outside` speaks from, and every server's default route.
const GATEWAY: &str = "10.200.0.254";
/// A server's end of its cable.
pub const UPLINK: &str = "eth0";

/// A network namespace that commands can be run in.
pub struct Network {
    namespace: File,
}

impl Network {
    /// The network of this process.
    pub fn of(process: Process) -> Result<Self> {
        let path = format!("/proc/{}/ns/net", process.pid);
        let namespace = File::open(&path).map_err(SandboxError::io(format!("open {path}")))?;
        if process.alive() {
            return Ok(Self { namespace });
        }
        Err(SandboxError::Start { what: format!("process {}", process.pid), why: "it has ended".to_owned() })
    }

    /// Makes a command run in here.
    pub fn enter(&self, command: &mut Command) -> Result<()> {
        let namespace = self.namespace.try_clone().map_err(SandboxError::io("copy a descriptor"))?;
        // SAFETY: setns(2) is one system call, and allowed between fork and exec.
        unsafe { command.pre_exec(move || setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET).map_err(Into::into)) };
        Ok(())
    }

    /// Does something in here, on a thread of its own: a network namespace is a thread's, not a process's.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> std::io::Result<T> + Send) -> Result<T> {
        let inside = || {
            setns(self.namespace.as_fd(), CloneFlags::CLONE_NEWNET)?;
            work()
        };
        let done = std::thread::scope(|scope| scope.spawn(inside).join());
        done.unwrap_or_else(|_| Err(std::io::Error::other("thread panicked")))
            .map_err(SandboxError::io("work in another network namespace"))
    }

    /// `ip` with these words, in here.
    pub fn ip(&self, words: &str) -> Result<()> {
        self.run("ip", words)
    }

    /// `tc` with these words, in here.
    pub fn tc(&self, words: &str) -> Result<()> {
        self.run("tc", words)
    }

    fn run(&self, program: &str, words: &str) -> Result<()> {
        let mut command = Command::new(program);
        command.args(words.split(' ')).env("LC_ALL", "C");
        self.enter(&mut command)?;
        let output = command.output().map_err(SandboxError::io(format!("run {program} (of Debian's iproute2)")))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
        Err(SandboxError::Tool { command: format!("{program} {words}"), said })
    }
}

/// The port of the switch that this server's cable is in.
pub fn port(index: u16) -> String {
    format!("p{index}")
}

/// Makes the switch. Without multicast snooping, which would drop what nobody has asked for yet.
pub fn make_switch(switch: &Network) -> Result<()> {
    switch.ip("link set lo up")?;
    switch.ip(&format!("link add {BRIDGE} type bridge stp_state 0 mcast_snooping 0"))?;
    switch.ip(&format!("address add {GATEWAY}/24 dev {BRIDGE}"))?;
    switch.ip(&format!("link set {BRIDGE} up"))
}

/// Lays a server's cable and gives it its address.
pub fn connect(switch: &Network, server: Process, index: u16) -> Result<()> {
    let (port, mac) = (port(index), hardware_address(index));
    switch.ip(&format!("link add {port} type veth peer name {UPLINK} address {mac} netns {}", server.pid))?;
    plug(switch, &port)?;
    let inside = Network::of(server)?;
    inside.ip("link set lo up")?;
    inside.ip(&format!("address add {}/24 dev {UPLINK}", address(index)))?;
    inside.ip(&format!("link set {UPLINK} up"))?;
    inside.ip(&format!("route add default via {GATEWAY}"))
}

/// Puts a link into the switch.
pub fn plug(switch: &Network, link: &str) -> Result<()> {
    switch.ip(&format!("link set {link} master {BRIDGE} up"))
}
