//! The command line: talks to people on one side and HTTP on the other. One file per noun or verb.
//!
//! *Invariant:* knows nothing of kernels, stores or plans. What must happen on this machine itself (`up`, `join`, `sandbox`…) is handed
//! to whoever called [`parse`].

mod args;
mod command;
mod connect;
mod conversation;
mod flat;
mod interrupt;
mod output;
mod ports;
mod progress;
mod say;
mod store;
mod terminal;
mod usage;

pub use args::{HostCommand, JoinArgs, SandboxVerb, UpArgs};

use args::{Cli, Command};
use clap::{CommandFactory, FromArgMatches};
use std::{ffi::OsString, process::ExitCode};

/// What a command line asks for.
pub enum Invocation {
    /// Something to do on this machine.
    Host(HostCommand),
    /// A request to the cluster.
    Client(ClientCommand),
}

/// A request to the cluster, ready to be run.
pub struct ClientCommand(Box<Command>, args::Global);

/// Reads a command line. When there is nothing to run (help, a usage error), what had to be said has been said.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Invocation, ExitCode> {
    let args = flat::rewrite(args.into_iter().collect());
    let matched = definition().try_get_matches_from(args).and_then(|matches| Cli::from_arg_matches(&matches));
    match matched {
        Ok(Cli { command: Command::Host(host), .. }) => Ok(Invocation::Host(host)),
        Ok(Cli { command, global }) => Ok(Invocation::Client(ClientCommand(Box::new(command), global))),
        Err(error) => Err(usage::say(&error)),
    }
}

/// The whole definition, for completions and man pages.
pub fn definition() -> clap::Command {
    Cli::command()
}

/// Runs a request to the cluster and says how it went.
pub async fn run(command: ClientCommand) -> ExitCode {
    let ClientCommand(command, global) = command;
    match command::run(*command, &global).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => fail(&error),
    }
}

/// Says an error as people get to see it, and gives its exit code.
pub fn fail(error: &api::Error) -> ExitCode {
    say::error(error);
    ExitCode::from(error.kind.exit_code())
}
