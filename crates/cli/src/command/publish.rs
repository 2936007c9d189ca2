//! Ports of servers that lead to containers.

use crate::{
    args::TryArgs,
    output::{self, Column, ListArgs, column, or_dash},
    ports::PortArg,
};
use api::{
    Error, Result, path,
    spec::Protocol,
    view::{ContainerView, JobView},
};
use clap::Args;
use http::Method;
use serde::Serialize;
use std::collections::BTreeSet;
use wire::client::Client;

/// Lead a port of a container's server to the container; --list shows all
///
/// Example: roost pub s1:ha1 80, roost publish c1 8080:80
#[derive(Args)]
pub struct PublishArgs {
    /// [server:]container
    #[arg(required_unless_present = "list")]
    pub target: Option<String>,
    /// [host:]port[/udp]
    #[arg(required_unless_present = "list")]
    pub port: Option<PortArg>,
    /// Show what is published
    #[arg(long)]
    pub list: bool,
    #[command(flatten)]
    pub output: ListArgs,
    #[command(flatten)]
    pub change: TryArgs,
}

/// Lead a port to a container no longer
///
/// Example: roost unpub s1:ha1 80
#[derive(Args)]
pub struct UnpublishArgs {
    /// [server:]container
    pub target: String,
    /// [host:]port[/udp]
    pub port: PortArg,
    #[command(flatten)]
    pub change: TryArgs,
}

#[derive(Serialize)]
struct Row {
    port: u16,
    protocol: Protocol,
    server: String,
    container: String,
    to: u16,
}

const COLUMNS: &[Column<Row>] = &[
    column("PORT", |row| row.port.to_string()),
    column("PROTOCOL", |row| format!("{:?}", row.protocol).to_lowercase()),
    column("SERVER", |row| row.server.clone()),
    column("CONTAINER", |row| row.container.clone()),
    column("TO", |row| row.to.to_string()),
];

async fn change(client: &Client, target: &str, (port, remove): (PortArg, bool), dry_run: bool) -> Result<u8> {
    let path = format!("{}/{}/publish", path::CONTAINERS, path::segment(target));
    let body = serde_json::json!({"port": port.0, "remove": remove});
    super::change(client, (Method::POST, &path), &body, dry_run).await
}

/// `roost publish`.
pub async fn publish(client: &Client, args: PublishArgs) -> Result<u8> {
    match (&args.target, args.port) {
        (Some(target), Some(port)) if !args.list => change(client, target, (port, false), args.change.dry_run).await,
        _ if args.list => list(client, &args.output).await.map(|()| 0),
        _ => Err(Error::usage("say which container and port: roost pub c1 8080:80")),
    }
}

/// `roost unpublish`.
pub async fn unpublish(client: &Client, args: UnpublishArgs) -> Result<u8> {
    change(client, &args.target, (args.port, true), args.change.dry_run).await
}

async fn list(client: &Client, args: &ListArgs) -> Result<()> {
    let containers: Vec<ContainerView> = client.get(path::CONTAINERS).await?;
    let jobs: Vec<JobView> = client.get(path::JOBS).await?;
    let lone = containers.iter().filter(|container| container.job.is_none()).flat_map(|container| {
        let server = or_dash(container.server.as_ref());
        container
            .publish
            .iter()
            .map(move |port| (port.host, port.protocol, server.clone(), container.name.clone(), port.container))
    });
    let job = jobs.iter().flat_map(|job| {
        let ports = job.spec.template.publish.iter();
        ports.map(|port| (port.host, port.protocol, "all".to_owned(), job.spec.name.to_string(), port.container))
    });
    let rows: BTreeSet<_> = lone.chain(job).collect();
    let rows = rows.into_iter().map(|(port, protocol, server, container, to)| Row { port, protocol, server, container, to });
    output::list(rows.collect(), COLUMNS, args)
}
