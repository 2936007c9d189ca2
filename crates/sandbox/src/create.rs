//! A sandbox as a value: making one, finding one, and running commands in it.

use crate::{
    EXEC_COMMAND, INIT_COMMAND, OUTSIDE,
    cgroup::Groups,
    down,
    error::{Result, SandboxError},
    init::{BOOT_FILE, CONSOLE_FILE},
    layout::{Layout, Lock, MAX_SERVERS, Options, check_binary},
    network::{self, Network},
    process::Process,
    spawn::{self, Ready, Starting},
    state::{self, Info, State},
};
use nix::sys::signal::Signal;
use std::{
    ffi::OsString,
    fs::{self, File},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::Command,
};

/// The name of the switch's control group and directory.
const SWITCH: &str = "switch";
/// A console log longer than this, in bytes, is begun anew at power on.
const CONSOLE_MAX: u64 = 10 * 1024 * 1024;

/// A sandbox. Cheap: everything it is, is on the disk and in the kernel, and each call looks there.
#[derive(Clone, Debug)]
pub struct Sandbox {
    pub(crate) layout: Layout,
    pub(crate) binary: PathBuf,
}

impl Sandbox {
    /// Makes a sandbox of `servers` servers, `s1` and on, each with only its first process, all connected.
    ///
    /// # Errors
    /// Also [`SandboxError::Exists`]; after any error nothing is left behind.
    pub fn create(options: Options, servers: u16) -> Result<Self> {
        let sandbox = Self::named(options)?;
        if !(1..=MAX_SERVERS).contains(&servers) {
            return Err(SandboxError::Count { asked: servers, most: MAX_SERVERS });
        }
        let lock = sandbox.layout.lock()?;
        if sandbox.layout.dir.exists() {
            return Err(SandboxError::Exists(sandbox.layout.name));
        }
        // Somebody may have removed the directory of a sandbox by hand, and left its processes.
        down::destroy(&sandbox.layout)?;
        if let Err(error) = sandbox.make(servers) {
            if let Err(also) = down::destroy(&sandbox.layout).and_then(|()| down::forget(&sandbox.layout, lock)) {
                tracing::warn!(%also, "a sandbox that could not be made could not be taken down either");
            }
            return Err(error);
        }
        Ok(sandbox)
    }

    /// An existing sandbox, also a broken one.
    pub fn open(options: Options) -> Result<Self> {
        let sandbox = Self::named(options)?;
        if sandbox.layout.dir.is_dir() || Groups::find()?.exists(&sandbox.layout.cgroup) {
            return Ok(sandbox);
        }
        Err(SandboxError::NoSandbox { name: sandbox.layout.name, base: sandbox.layout.base })
    }

    /// Every sandbox in this directory, by name.
    pub fn list(base_dir: &Path) -> Result<Vec<Info>> {
        state::list(base_dir)
    }

    fn named(options: Options) -> Result<Self> {
        Ok(Self { layout: Layout::new(&options.name, &options.base_dir)?, binary: check_binary(&options.binary)? })
    }

    fn make(&self, servers: u16) -> Result<()> {
        let mut state = State::new(servers);
        make_dir(&self.layout.dir)?;
        state.save(&self.layout)?;
        let ready = self.start_switch()?;
        state.switch = Some(ready.process);
        state.save(&self.layout)?;
        let switch = Network::of(ready.process)?;
        ready.go()?;
        // Their namespaces are made at the same time as the switch.
        let starting: Vec<_> = state.servers.iter().map(|s| self.start_init(&s.name)).collect::<Result<_>>()?;
        network::make_switch(&switch)?;
        let ready: Vec<(u16, Ready)> = (1..).zip(starting).map(|(i, s)| Ok((i, s.ready()?))).collect::<Result<_>>()?;
        for (index, ready) in &ready {
            state.change(*index, |server| server.init = Some(ready.process));
        }
        state.save(&self.layout)?;
        ready.into_iter().try_for_each(|(index, ready)| {
            network::connect(&switch, ready.process, index)?;
            ready.go()
        })
    }

    fn start_switch(&self) -> Result<Ready> {
        let mut command = Command::new(&self.binary);
        command.args([INIT_COMMAND, SWITCH]);
        spawn::join(&mut command, &Groups::find()?.make(&self.layout.group(SWITCH))?)?;
        spawn::start("the switch", command, open_log(&self.layout.dir.join("switch.log"))?)?.ready()
    }

    /// Starts the first process of a server: its directories, its control groups, its namespaces.
    pub(crate) fn start_init(&self, server: &str) -> Result<Starting> {
        let (dir, group) = (self.layout.server(server), self.layout.group(server));
        for part in ["lib", "run"] {
            make_dir(&dir.join(part))?;
        }
        let groups = Groups::find()?;
        let mut command = Command::new(&self.binary);
        command.args([INIT_COMMAND.as_ref(), "server".as_ref(), dir.as_os_str(), server.as_ref()]);
        command.args(groups.unified(&group).map(|dir| dir.join("init")));
        spawn::join(&mut command, &groups.make(&group)?)?;
        spawn::start(&format!("server {server}"), command, open_log(&dir.join(CONSOLE_FILE))?)
    }

    /// The control groups of the switch, which everything that runs on the underlay itself belongs to.
    pub(crate) fn switch_groups(&self) -> Result<Vec<PathBuf>> {
        Groups::find()?.make(&self.layout.group(SWITCH))
    }

    /// A command that runs inside a server, or [`OUTSIDE`]: in its namespaces and control groups, with the caller's
    /// environment, working directory, descriptors and terminal. Signals to it and its exit code go through; if it is killed,
    /// so is what runs inside. `argv` is a program and its arguments.
    pub fn command(&self, server: &str, argv: &[OsString]) -> Result<Command> {
        let state = State::load(&self.layout)?;
        let (how, process) = match server {
            OUTSIDE => ("net", state.switch(&self.layout)?),
            _ => ("all", state.server(&self.layout, server)?.running()?),
        };
        let mut command = Command::new(&self.binary);
        command.args([EXEC_COMMAND, how, &process.pid.to_string(), &process.start.to_string(), "--"]).args(argv);
        Ok(command)
    }

    /// Writes down what a server starts at power on, as a program and its arguments; nothing if `argv` is empty.
    /// Its output goes to `console.log` in the server's directory. It is not started again when it ends.
    pub fn set_boot(&self, server: &str, argv: &[OsString]) -> Result<()> {
        State::load(&self.layout)?.server(&self.layout, server)?;
        if argv.iter().any(|arg| arg.is_empty() || arg.as_bytes().contains(&b'\n')) {
            return Err(SandboxError::BootArgument);
        }
        let path = self.layout.server(server).join(BOOT_FILE);
        let text = argv.join(std::ffi::OsStr::new("\n"));
        if argv.is_empty() {
            return match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(SandboxError::io(format!("remove {}", path.display()))(error))
                }
                _ => Ok(()),
            };
        }
        fs::write(&path, text.as_bytes()).map_err(SandboxError::io(format!("write {}", path.display())))
    }

    /// Starts now, in a server that is up, what it would start at power on; nothing happens if that runs already.
    pub fn boot(&self, server: &str) -> Result<()> {
        let init = State::load(&self.layout)?.server(&self.layout, server)?.running()?;
        init.signal(Signal::SIGUSR1);
        Ok(())
    }

    /// Where that server's API socket is for programs outside of it.
    pub fn socket(&self, server: &str) -> PathBuf {
        let below = api::path::SOCKET.trim_start_matches("/run/");
        self.layout.server(server).join("run").join(below)
    }

    /// A server's directory on the machine: `lib` (its `/var/lib/roost`), `run` (its `/run`), `console.log`, `boot`.
    pub fn server_dir(&self, server: &str) -> PathBuf {
        self.layout.server(server)
    }

    /// Everything gone: processes, namespaces, links, control groups, files. Also from a half-made or crashed sandbox.
    pub fn down(self) -> Result<()> {
        let lock: Lock = self.layout.lock()?;
        down::destroy(&self.layout)?;
        down::forget(&self.layout, lock)
    }

    /// Takes down the sandbox of this name if there is anything of it; fine if there is not.
    pub fn remove(options: Options) -> Result<()> {
        Self::named(options)?.down()
    }

    pub(crate) fn switch(&self, state: &State) -> Result<(Process, Network)> {
        let switch = state.switch(&self.layout)?;
        Ok((switch, Network::of(switch)?))
    }
}

fn make_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(SandboxError::io(format!("make {}", path.display())))
}

/// Opens a log to append to; begins it anew if it has grown too long.
pub fn open_log(path: &Path) -> Result<File> {
    let long = fs::metadata(path).is_ok_and(|meta| meta.len() > CONSOLE_MAX);
    if long {
        let _ = fs::remove_file(path);
    }
    File::options().create(true).append(true).open(path).map_err(SandboxError::io(format!("open {}", path.display())))
}
