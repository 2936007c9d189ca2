//! The composition root: the only place that knows every part. Builds the manager, the agent and the daemon that supervises them; makes
//! this machine a server and ends it again; and starts sandboxes.

mod agent;
mod config;
mod daemon;
mod doctor;
mod down;
mod join;
mod machine;
mod manager;
mod names;
mod sandboxes;
mod supervisor;
mod up;

use api::{Error, Kind, Name, Result, Span};
use std::{ffi::OsString, net::IpAddr, process::ExitCode};

/// What a person asks of this machine.
pub enum Request {
    /// Found a cluster here.
    Up(Up),
    /// End everything of ours here.
    Down,
    /// Join a cluster.
    Join(Join),
    /// Leave it.
    Leave,
    /// What can this machine do?
    Doctor,
    /// Sandboxes.
    Sandbox(SandboxRequest),
}

/// How to found a cluster.
pub struct Up {
    /// Come back once it runs.
    pub detach: bool,
    /// Address other servers reach this one at.
    pub advertise: Option<IpAddr>,
    /// Name of this server.
    pub name: Option<Name>,
    /// Name of the cluster.
    pub cluster: Name,
    /// Addresses of all containers.
    pub range: String,
    /// Prefix length of a server's own part.
    pub prefix: u8,
    /// Names end in this.
    pub domain: String,
}

/// How to join one.
pub struct Join {
    /// The token.
    pub token: String,
    /// Name of this server.
    pub name: Option<Name>,
    /// Address other servers reach this one at.
    pub advertise: Option<IpAddr>,
    /// Addresses of its containers.
    pub subnet: Option<String>,
    /// Labels, `key=value`.
    pub labels: Vec<String>,
}

/// What to do with a sandbox.
pub enum SandboxRequest {
    /// Start one with so many servers.
    Up { sandbox: String, servers: u16 },
    /// Remove it.
    Down { sandbox: String },
    /// List all, as a table or as JSON.
    List { json: bool },
    /// Run a command in a server.
    Enter { sandbox: String, server: String, command: Vec<String> },
    /// Cut a server off.
    Cut { sandbox: String, server: String },
    /// End a cut, and slowness.
    Heal { sandbox: String, server: String },
    /// Power it off.
    Kill { sandbox: String, server: String },
    /// Power it on.
    Start { sandbox: String, server: String },
    /// Make its network slow and lossy.
    Slow { sandbox: String, server: String, delay: Span, loss: f32 },
}

/// Runs a request; its exit code when it is not an error.
pub fn run(request: Request) -> Result<u8> {
    match request {
        Request::Doctor => doctor::run(),
        Request::Sandbox(request) => {
            root()?;
            sandboxes::run(request)
        }
        Request::Up(request) => {
            root()?;
            up::run(request)
        }
        Request::Join(request) => {
            root()?;
            join::run(request)
        }
        Request::Down => {
            root()?;
            down::run()
        }
        Request::Leave => {
            root()?;
            down::leave()
        }
    }
}

/// Processes of ours that nobody types: `roost shim …` and its like. None when the first word is something else.
pub fn internal(args: &[OsString]) -> Option<ExitCode> {
    let rest = args.get(2..).unwrap_or_default().to_vec();
    Some(match args.get(1)?.to_str()? {
        "shim" => runtime::shim::main(rest),
        "shim-exec" => runtime::exec_helper::main(rest),
        "unpack" => image::unpack::main(rest),
        "sandbox-init" => sandbox::init_main(rest),
        "sandbox-exec" => sandbox::exec_main(rest),
        "sandbox-relay" => sandbox::relay_main(rest),
        "daemon" => part(daemon::run()),
        "manager" => part(manager::run()),
        "agent" => part(agent::run()),
        _ => return None,
    })
}

/// The end of a part that ran as a process of its own.
fn part(ended: Result<()>) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            for line in &error.details {
                eprintln!("  {line}");
            }
            ExitCode::from(error.kind.exit_code())
        }
    }
}

fn root() -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Error::new(Kind::NotAllowed, "this needs root").hint("repeat it with sudo"))
}

/// A talk line on standard error.
fn say(line: &str) {
    eprintln!("✓ {line}");
}
