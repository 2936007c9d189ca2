//! What a sandbox remembers of itself between commands: one file, replaced whole.

use crate::{
    error::{Result, SandboxError},
    layout::{Layout, address},
    process::Process,
};
use serde::{Deserialize, Serialize};
use std::{fmt, fs, net::Ipv4Addr, path::Path};

/// Version of the state file.
const VERSION: u32 = 1;

/// The content of the state file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Format.
    version: u32,
    /// Boot identifier of the machine (random(4)): after a reboot no process below is meant any more.
    boot: String,
    /// The process that holds the underlay's network namespace.
    pub switch: Option<Process>,
    /// Servers in order.
    pub servers: Vec<Server>,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// `s1`, `s2`, …
    pub name: String,
    /// From 1.
    pub index: u16,
    /// Its first process; none when it is off.
    pub init: Option<Process>,
    /// Its cable.
    pub link: Link,
}

/// How a server's cable is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Link {
    /// As good as it gets.
    Whole,
    /// Cut.
    Cut,
    /// Slow and lossy.
    Slow {
        /// Added round trip, in microseconds.
        delay: u64,
        /// Lost frames per million, each way.
        loss: u32,
        /// Our own relay; none where the kernel does it.
        relay: Option<Process>,
    },
}

impl State {
    /// A sandbox of so many servers, none of them on.
    pub fn new(servers: u16) -> Self {
        let server = |index| Server { name: format!("s{index}"), index, init: None, link: Link::Whole };
        Self { version: VERSION, boot: boot(), switch: None, servers: (1..=servers).map(server).collect() }
    }

    /// Reads the state of a sandbox.
    pub fn load(layout: &Layout) -> Result<Self> {
        let broken = |why: String| SandboxError::Broken { name: layout.name.clone(), why };
        let text = match fs::read(layout.state()) {
            Ok(text) => text,
            Err(_) if !layout.dir.is_dir() => {
                return Err(SandboxError::NoSandbox { name: layout.name.clone(), base: layout.base.clone() });
            }
            Err(error) => return Err(broken(format!("its state file: {error}"))),
        };
        let state: Self = serde_json::from_slice(&text).map_err(|e| broken(format!("its state file: {e}")))?;
        if state.version != VERSION {
            return Err(broken(format!("its state file has version {}, not {VERSION}", state.version)));
        }
        if state.boot != boot() {
            return Err(broken("the machine was rebooted since".to_owned()));
        }
        Ok(state)
    }

    /// Replaces the state file.
    pub fn save(&self, layout: &Layout) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(SandboxError::io("encode the state"))?;
        let fresh = layout.dir.join("state.new");
        fs::write(&fresh, text).map_err(SandboxError::io(format!("write {}", fresh.display())))?;
        fs::rename(&fresh, layout.state()).map_err(SandboxError::io(format!("replace {}", layout.state().display())))
    }

    /// The server of this name.
    pub fn server(&self, layout: &Layout, name: &str) -> Result<&Server> {
        let known = || self.servers.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ");
        let missing = || SandboxError::NoServer { sandbox: layout.name.clone(), server: name.to_owned(), known: known() };
        self.servers.iter().find(|server| server.name == name).ok_or_else(missing)
    }

    /// Changes the server of this index.
    pub fn change(&mut self, index: u16, change: impl FnOnce(&mut Server)) {
        if let Some(server) = self.servers.iter_mut().find(|server| server.index == index) {
            change(server);
        }
    }

    /// The living holder of the underlay.
    pub fn switch(&self, layout: &Layout) -> Result<Process> {
        let gone = || SandboxError::Broken { name: layout.name.clone(), why: "its switch has died".to_owned() };
        self.switch.filter(|switch| switch.alive()).ok_or_else(gone)
    }

    /// Every process written down here.
    pub fn processes(&self) -> impl Iterator<Item = Process> {
        let relays = self.servers.iter().filter_map(|server| match server.link {
            Link::Slow { relay, .. } => relay,
            _ => None,
        });
        self.servers.iter().filter_map(|server| server.init).chain(relays).chain(self.switch)
    }
}

impl Server {
    /// Its first process, if it is up.
    pub fn running(&self) -> Result<Process> {
        self.init.filter(|init| init.alive()).ok_or_else(|| SandboxError::Off(self.name.clone()))
    }

    fn info(&self) -> ServerInfo {
        let init = self.init.filter(|init| init.alive());
        let state = match (init, self.link) {
            (None, _) => ServerState::Down,
            (_, Link::Whole) => ServerState::Up,
            (_, Link::Cut) => ServerState::Cut,
            (_, Link::Slow { .. }) => ServerState::Slow,
        };
        ServerInfo { name: self.name.clone(), state, init: init.map(|init| init.pid), address: address(self.index) }
    }
}

fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// One sandbox, for a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Info {
    /// Its name.
    pub name: String,
    /// Why it can only be taken down, if so.
    pub broken: Option<String>,
    /// Its servers.
    pub servers: Vec<ServerInfo>,
}

/// One server, for a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerInfo {
    /// Its name.
    pub name: String,
    /// How it is.
    pub state: ServerState,
    /// Its first process, as the machine numbers it; none when it is off.
    pub init: Option<i32>,
    /// Its address on the underlay.
    pub address: Ipv4Addr,
}

/// How a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerState {
    /// On, with a whole cable.
    Up,
    /// On, with its cable cut.
    Cut,
    /// On, with a slow or lossy cable.
    Slow,
    /// Off.
    Down,
}

impl fmt::Display for ServerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Cut => "cut",
            Self::Slow => "slow",
            Self::Down => "down",
        })
    }
}

/// Every sandbox in this directory, by name.
pub fn list(base: &Path) -> Result<Vec<Info>> {
    let entries = match fs::read_dir(base) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(SandboxError::io(format!("read {}", base.display()))(error)),
    };
    let names = entries.flatten().filter(|e| e.path().is_dir()).filter_map(|e| e.file_name().into_string().ok());
    let mut found: Vec<Info> = names.filter_map(|name| Layout::new(&name, base).ok()).map(|layout| info(&layout)).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn info(layout: &Layout) -> Info {
    let (broken, servers) = match State::load(layout) {
        Ok(state) => (state.switch(layout).err(), state.servers.iter().map(Server::info).collect()),
        Err(error) => (Some(error), Vec::new()),
    };
    Info { name: layout.name.clone(), broken: broken.map(|error| error.to_string()), servers }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(dir: &Path) -> Layout {
        let layout = Layout::new("a", dir).unwrap();
        fs::create_dir_all(&layout.dir).unwrap();
        layout
    }

    #[test]
    fn comes_back_as_it_was_saved() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(dir.path());
        let mut state = State::new(2);
        state.change(2, |server| server.link = Link::Slow { delay: 5, loss: 7, relay: Some(Process { pid: 9, start: 9 }) });
        state.save(&layout).unwrap();
        assert_eq!(State::load(&layout).unwrap(), state);
        assert_eq!(state.processes().count(), 1);
        let listed = list(dir.path()).unwrap();
        assert_eq!(listed[0].servers.iter().map(|s| s.state).collect::<Vec<_>>(), [ServerState::Down, ServerState::Down]);
        assert!(listed[0].broken.as_ref().is_some_and(|why| why.contains("switch")));
    }

    #[test]
    fn another_boot_or_a_torn_file_is_broken_and_a_missing_one_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(dir.path());
        State { boot: "other".into(), ..State::new(1) }.save(&layout).unwrap();
        assert!(matches!(State::load(&layout), Err(SandboxError::Broken { .. })));
        fs::write(layout.state(), "{").unwrap();
        assert!(matches!(State::load(&layout), Err(SandboxError::Broken { .. })));
        fs::remove_dir_all(&layout.dir).unwrap();
        assert!(matches!(State::load(&layout), Err(SandboxError::NoSandbox { .. })));
    }

    #[test]
    fn an_unknown_server_is_named_with_those_there_are() {
        let layout = Layout::new("a", Path::new("/tmp")).unwrap();
        let error = State::new(2).server(&layout, "s3").unwrap_err();
        assert_eq!(error.to_string(), "sandbox \"a\" has no server \"s3\", it has s1, s2");
    }
}
