//! Servers: listed, drained, changed, removed.

use crate::{
    args::{ChangeArgs, TryArgs},
    output::{self, Column, Format, ListArgs, column, or_dash, wide},
    ports::PairArg,
    progress::{self, Standing},
    say,
};
use api::{
    Error, Name, Result, path,
    server::Liveness,
    view::{Changed, ContainerView, ServerView},
};
use clap::{Args, Subcommand};
use http::Method;
use std::collections::BTreeMap;
use wire::client::Client;

#[derive(Subcommand)]
pub enum ServerCommand {
    /// List servers
    ///
    /// Example: roost server list -o wide
    #[command(visible_alias = "ls")]
    List(ListArgs),
    Show(ShowArgs),
    Drain(DrainArgs),
    Undrain(DrainArgs),
    Set(SetArgs),
    SetSubnet(SetSubnetArgs),
    #[command(visible_alias = "rm")]
    Delete(DeleteArgs),
}

/// Show a server
///
/// Example: roost server show s2
#[derive(Args)]
pub struct ShowArgs {
    /// Its name
    pub name: Name,
    /// json or yaml
    #[arg(short, long, value_enum, default_value_t = Format::Yaml)]
    pub output: Format,
}

/// Move a server's instances away and give it no new ones (drain), or let it take instances again (undrain)
///
/// Example: roost drain s2
#[derive(Args)]
pub struct DrainArgs {
    /// Its name
    pub name: Name,
    #[command(flatten)]
    pub change: ChangeArgs,
}

/// Set a server's labels; an empty value removes one
///
/// Example: roost server set s2 disk=ssd
#[derive(Args)]
pub struct SetArgs {
    /// Its name
    pub name: Name,
    /// Labels
    #[arg(required = true, value_name = "KEY=VALUE")]
    pub labels: Vec<PairArg>,
    #[command(flatten)]
    pub change: TryArgs,
}

/// Set the addresses of a server's containers
///
/// Example: roost setsubnet s1 10.0.4.0/24
#[derive(Args)]
pub struct SetSubnetArgs {
    /// [server] subnet; without a server, the one this is typed on
    #[arg(required = true, num_args = 1..=2)]
    pub words: Vec<String>,
    #[command(flatten)]
    pub change: TryArgs,
}

/// Remove a server from the cluster
///
/// Example: roost server delete s3
#[derive(Args)]
pub struct DeleteArgs {
    /// Its name
    pub name: Name,
    /// Also when it has containers
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub change: TryArgs,
}

fn state(server: &ServerView) -> String {
    match server.liveness {
        Liveness::Alive if server.spec.draining => "draining",
        Liveness::Alive => "up",
        Liveness::AgentAway => "agent away",
        Liveness::Lost => "lost",
        Liveness::Unknown => "unknown",
    }
    .to_owned()
}

const COLUMNS: &[Column<ServerView>] = &[
    column("NAME", |server| server.spec.name.to_string()),
    column("STATE", state),
    column("ADDRESS", |server| server.spec.address.to_string()),
    column("SUBNET", |server| server.spec.subnet.to_string()),
    column("ROLE", |server| if server.spec.manager { "manager" } else { "server" }.to_owned()),
    column("INSTANCES", |server| server.instances.to_string()),
    column("CORES", |server| server.spec.facts.cpu.to_string()),
    column("MEMORY", |server| format!("{} of {}", server.usage.memory, server.spec.facts.memory)),
    wide("RESERVED", |server| server.reserved_memory.to_string()),
    wide("OS", |server| server.spec.facts.os.clone()),
    wide("KERNEL", |server| server.spec.facts.kernel.clone()),
    wide("CGROUPS", |server| server.spec.facts.cgroups.clone()),
    wide("VERSION", |server| server.spec.facts.version.clone()),
    wide("LABELS", labels),
    wide("PROBLEMS", |server| or_dash(server.problems.first())),
];

fn labels(server: &ServerView) -> String {
    let all: Vec<_> = server.spec.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if all.is_empty() { "-".to_owned() } else { all.join(",") }
}

fn one(name: &Name) -> String {
    format!("{}/{name}", path::SERVERS)
}

/// Runs a server command.
pub async fn run(client: &Client, command: ServerCommand) -> Result<u8> {
    match command {
        ServerCommand::List(args) => list(client, &args).await.map(|()| 0),
        ServerCommand::Show(args) => output::one(client.get::<ServerView>(&one(&args.name)).await?, &[], args.output).map(|()| 0),
        ServerCommand::Drain(args) => drain(client, args).await,
        ServerCommand::Undrain(args) => undrain(client, args).await,
        ServerCommand::Set(args) => set(client, args).await,
        ServerCommand::SetSubnet(args) => set_subnet(client, args).await,
        ServerCommand::Delete(args) => {
            let path = format!("{}?force={}", one(&args.name), args.force);
            super::change(client, (Method::DELETE, &path), &(), args.change.dry_run).await
        }
    }
}

async fn list(client: &Client, args: &ListArgs) -> Result<()> {
    if !args.watch {
        return output::list(client.get::<Vec<ServerView>>(path::SERVERS).await?, COLUMNS, args);
    }
    let mut lines = client.lines::<Vec<ServerView>>(Method::GET, &format!("{}?watch=true", path::SERVERS), None, &[]).await?;
    while let Some(servers) = lines.next().await {
        output::list(servers?, COLUMNS, args)?;
        output::print("\n")?;
    }
    Ok(())
}

async fn drain(client: &Client, args: DrainArgs) -> Result<u8> {
    let order = format!("{}/drain", one(&args.name));
    if args.change.dry_run {
        return super::try_out(client, (Method::POST, &order), &()).await;
    }
    client.send::<(), Changed>(Method::POST, &order, &()).await?;
    if args.change.detach {
        return Ok(0);
    }
    let name = args.name.clone();
    let empty = move |all: &Vec<ContainerView>| {
        let left = all.iter().filter(|container| container.job.is_some() && container.server.as_ref() == Some(&name)).count();
        match u32::try_from(left).unwrap_or(u32::MAX) {
            0 => Standing::True,
            left => Standing::Under { done: 0, of: left, word: format!("{left} instances left") },
        }
    };
    let watch = format!("{}?watch=true", path::CONTAINERS);
    let (left, took) = progress::follow(client, &watch, (args.name.as_str(), args.change.timeout.duration()), empty).await?;
    say::done(&format!("{} drained in {:.1} s", args.name, took.as_secs_f32()));
    let stays = left.unwrap_or_default().iter().filter(|container| container.server.as_ref() == Some(&args.name)).count();
    if stays > 0 {
        say::note(&format!("  {stays} containers of no job stay on it"));
    }
    Ok(0)
}

async fn undrain(client: &Client, args: DrainArgs) -> Result<u8> {
    super::change(client, (Method::POST, &format!("{}/undrain", one(&args.name))), &(), args.change.dry_run).await
}

async fn set(client: &Client, args: SetArgs) -> Result<u8> {
    let labels: BTreeMap<_, _> = args
        .labels
        .iter()
        .map(|PairArg(key, value)| (key.clone(), Some(value.clone()).filter(|value| !value.is_empty())))
        .collect();
    super::change(client, (Method::PATCH, &one(&args.name)), &serde_json::json!({ "labels": labels }), args.change.dry_run).await
}

async fn set_subnet(client: &Client, args: SetSubnetArgs) -> Result<u8> {
    let (name, subnet) = match args.words.as_slice() {
        [name, subnet] => (Name::parse("server", name)?, subnet),
        [subnet] => (this_server(client).await?, subnet),
        _ => return Err(Error::usage("write a server and a subnet, as in: roost setsubnet s1 10.0.4.0/24")),
    };
    if !subnet.contains('/') {
        return Err(Error::usage(format!("{subnet:?} is not a subnet: write an address and a prefix, as in 10.0.4.0/24")));
    }
    super::change(client, (Method::PATCH, &one(&name)), &serde_json::json!({ "subnet": subnet }), args.change.dry_run).await
}

/// The server whose host name is this machine's, else the only one there is.
async fn this_server(client: &Client) -> Result<Name> {
    let servers: Vec<ServerView> = client.get(path::SERVERS).await?;
    let host = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned();
    let own = servers.iter().find(|server| server.spec.name.as_str() == host);
    match (own, servers.as_slice()) {
        (Some(server), _) => Ok(server.spec.name.clone()),
        (None, [only]) => Ok(only.spec.name.clone()),
        _ => Err(Error::usage("say which server: roost setsubnet <server> <subnet>")),
    }
}
