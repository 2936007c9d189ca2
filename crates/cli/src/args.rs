//! The command table: every command with its arguments. A command's doc comment is its manual.

use crate::command::{
    apps, build, commit, container, events, files, get, image, job, list, publish, registry, run, server, stats, stream, system,
    token,
};
use api::{Name, quantity::Span};
use clap::{Args, Parser, Subcommand};
use std::{net::IpAddr, path::PathBuf};

/// Run containers on one to some hundreds of servers as if they were one
///
/// Start here: roost up -d, then roost run -d web <image> -p 8080:80.
#[derive(Parser)]
#[command(name = "roost", version, max_term_width = 110, infer_subcommands = false, arg_required_else_help = true)]
#[command(after_help = "Flockport's flat commands work as well: roost addjob web 6 is roost job add web 6.")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub global: Global,
}

/// Flags of every command.
#[derive(Args, Clone)]
pub struct Global {
    /// Socket of the cluster to talk to, instead of ROOST_SOCKET, this server's or the sandbox's
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

#[derive(Subcommand)]
pub enum Command {
    #[command(flatten)]
    Host(HostCommand),
    Run(run::RunArgs),
    Create(run::CreateArgs),
    Ls(list::LsArgs),
    Show(list::ShowArgs),
    Start(container::PowerArgs),
    Stop(container::PowerArgs),
    Restart(container::PowerArgs),
    Freeze(container::PowerArgs),
    Unfreeze(container::PowerArgs),
    Kill(container::KillArgs),
    Rm(container::RemoveArgs),
    Rename(container::RenameArgs),
    Build(build::BuildArgs),
    Commit(commit::CommitArgs),
    Clone(commit::CloneArgs),
    Snapshot(commit::SnapshotArgs),
    Set(system::SetArgs),
    Exec(stream::ExecArgs),
    Attach(stream::AttachArgs),
    Logs(stream::LogsArgs),
    Cp(files::CpArgs),
    Stats(stats::StatsArgs),
    Top(stats::TopArgs),
    Apps(apps::AppsArgs),
    Search(apps::SearchArgs),
    Get(get::GetArgs),
    Publish(publish::PublishArgs),
    Unpublish(publish::UnpublishArgs),
    /// Jobs: N instances of a pod, placed, healed and upgraded
    #[command(subcommand)]
    Job(job::JobCommand),
    /// Images: what containers are made of
    #[command(subcommand)]
    Image(image::ImageCommand),
    /// Servers of the cluster
    #[command(subcommand)]
    Server(server::ServerCommand),
    /// The registry inside: docker, podman and skopeo push to it and pull from it
    #[command(subcommand)]
    Registry(registry::RegistryCommand),
    /// Tokens that servers join with, and tokens of the registry
    #[command(subcommand)]
    Token(token::TokenCommand),
    Events(events::EventsArgs),
    Why(events::WhyArgs),
    /// Show metrics in the Prometheus format
    ///
    /// Example: roost metrics
    Metrics,
    /// Show the versions of this binary and of the cluster
    ///
    /// Example: roost version -o json
    Version(list::Formatted),
}

/// Commands that act on this machine.
#[derive(Subcommand, Clone)]
pub enum HostCommand {
    Up(UpArgs),
    /// Stop Roost on this machine and remove everything of it: containers, network, state
    ///
    /// Example: roost down -y
    Down {
        /// Answer yes to the question
        #[arg(short, long)]
        yes: bool,
    },
    Join(JoinArgs),
    /// Leave the cluster: remove this server from it, and everything of Roost from this machine
    ///
    /// Example: roost leave -y
    Leave {
        /// Answer yes to the question
        #[arg(short, long)]
        yes: bool,
    },
    /// A real cluster of several servers on this machine, in namespaces
    #[command(subcommand)]
    Sandbox(SandboxVerb),
    /// Find out what this machine can and cannot do for Roost
    ///
    /// Example: roost doctor
    Doctor,
    /// Print the completion script of a shell
    ///
    /// Example: roost completion bash > /etc/bash_completion.d/roost
    Completion {
        /// bash, elvish, fish, powershell or zsh
        shell: String,
    },
    /// Write the man pages into a folder
    #[command(hide = true)]
    Man {
        /// The folder
        folder: PathBuf,
    },
}

/// Make this machine a cluster of one server: manager and agent, nothing else needed
///
/// Example: roost up -d
#[derive(Args, Clone)]
pub struct UpArgs {
    /// Come back once it runs, and keep it running in the background
    #[arg(short, long)]
    pub detach: bool,
    /// Address other servers reach this one at; found out when absent
    #[arg(long, value_name = "IP")]
    pub advertise: Option<IpAddr>,
    /// Name of this server; its host name when absent
    #[arg(long)]
    pub name: Option<Name>,
    /// Name of the cluster
    #[arg(long, default_value = "home")]
    pub cluster: Name,
    /// Addresses of all containers of the cluster
    #[arg(long, default_value = "10.0.0.0/16", value_name = "CIDR")]
    pub range: String,
    /// Prefix length of each server's own part of them
    #[arg(long, default_value_t = 24, value_name = "BITS")]
    pub prefix: u8,
    /// Names of containers end in this
    #[arg(long, default_value = "internal")]
    pub domain: String,
}

/// Join a cluster with a token from `roost token create`
///
/// Example: roost join roost-1-…
#[derive(Args, Clone)]
pub struct JoinArgs {
    /// The token
    pub token: String,
    /// Name of this server; its host name when absent
    #[arg(long)]
    pub name: Option<Name>,
    /// Address other servers reach this one at; the one it connects from when absent
    #[arg(long, value_name = "IP")]
    pub advertise: Option<IpAddr>,
    /// Addresses of this server's containers; the next free ones when absent
    #[arg(long, value_name = "CIDR")]
    pub subnet: Option<String>,
    /// Labels for constraints
    #[arg(long, value_name = "KEY=VALUE")]
    pub label: Vec<String>,
}

#[derive(Subcommand, Clone)]
pub enum SandboxVerb {
    /// Start a sandbox
    ///
    /// Example: roost sandbox up --servers 3
    Up {
        /// How many servers
        #[arg(long, short, default_value_t = 3)]
        servers: u16,
        #[command(flatten)]
        which: Which,
    },
    /// Remove a sandbox and everything in it, also one that crashed
    ///
    /// Example: roost sandbox down
    Down(Which),
    /// List sandboxes and their servers
    ///
    /// Example: roost sandbox list
    List {
        /// table or json
        #[arg(short, long, default_value = "table")]
        output: String,
    },
    /// Run a command in a server, a shell when none is given. `outside` is a client beside the servers
    ///
    /// Example: roost sandbox enter s2 -- ip addr
    Enter {
        #[command(flatten)]
        which: Which,
        /// s1, s2, … or outside
        server: String,
        /// Program and arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Pull a server's network cable
    ///
    /// Example: roost sandbox cut s2
    Cut(One),
    /// Put the cable back, and end what `slow` began
    ///
    /// Example: roost sandbox heal s2
    Heal(One),
    /// Power a server off at once
    ///
    /// Example: roost sandbox kill s2
    Kill(One),
    /// Power it on again
    ///
    /// Example: roost sandbox start s2
    Start(One),
    /// Make a server's network slow and lossy until healed
    ///
    /// Example: roost sandbox slow s2 --delay 200ms --loss 5
    Slow {
        #[command(flatten)]
        one: One,
        /// Added to each round trip
        #[arg(long, default_value = "200ms")]
        delay: Span,
        /// Percent of packets lost, each way
        #[arg(long, default_value_t = 0.0)]
        loss: f32,
    },
}

/// Which sandbox.
#[derive(Args, Clone)]
pub struct Which {
    /// Name of the sandbox
    #[arg(long = "name", default_value = "default")]
    pub sandbox: String,
}

/// One server of a sandbox.
#[derive(Args, Clone)]
pub struct One {
    #[command(flatten)]
    pub which: Which,
    /// s1, s2, …
    pub server: String,
}

/// Flag of changes that take no time.
#[derive(Args, Clone)]
pub struct TryArgs {
    /// Only say what would change: exit code 0 nothing, 1 error, 2 would change
    #[arg(long)]
    pub dry_run: bool,
}

/// Flags of every change.
#[derive(Args, Clone)]
pub struct ChangeArgs {
    /// Return at once instead of waiting until it is true
    #[arg(long)]
    pub detach: bool,
    /// Wait no longer than this
    #[arg(long, default_value = "5m", value_name = "DURATION")]
    pub timeout: Span,
    /// Only say what would change: exit code 0 nothing, 1 error, 2 would change
    #[arg(long)]
    pub dry_run: bool,
}
