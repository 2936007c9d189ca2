//! `ls`, `show`, `version`, `metrics`.

use crate::output::{self, Column, Format, ListArgs, column, or_dash, wide};
use api::{
    Error, Kind, Name, Result, Timestamp, path,
    report::Health,
    spec::ContainerKind,
    view::{ContainerView, JobView, ServerView, StatsView, Version},
};
use clap::Args;
use http::Method;
use serde::Serialize;
use std::collections::BTreeMap;
use wire::client::Client;

/// List containers and instances, anywhere in the cluster
///
/// Example: roost ls, roost ls s2:, roost ls --filter state=running
#[derive(Args)]
pub struct LsArgs {
    /// Only those on this server, written with a colon: s2:
    pub server: Option<String>,
    #[command(flatten)]
    pub list: ListArgs,
}

/// Show everything about a container, instance, job, server or image, or an app of the store
///
/// Example: roost show web/3
#[derive(Args)]
pub struct ShowArgs {
    /// Its name
    pub name: String,
    /// json or yaml
    #[arg(short, long, value_enum, default_value_t = Format::Yaml)]
    pub output: Format,
}

/// A single thing with a format.
#[derive(Args)]
pub struct Formatted {
    /// How to show it
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

/// A row of `ls`: the container, and its use of resources when its server says.
#[derive(Serialize)]
pub struct Row {
    #[serde(flatten)]
    container: ContainerView,
    memory: Option<api::Bytes>,
    cpu_seconds: Option<f64>,
    #[serde(skip)]
    now: Timestamp,
}

/// Only what runs is healthy or not.
fn health(row: &Row) -> String {
    match row.container.health.filter(|_| row.container.pid.is_some()) {
        Some(Health::Healthy) => "ok".to_owned(),
        Some(Health::Unhealthy) => "failing".to_owned(),
        Some(Health::Starting) => "starting".to_owned(),
        None => "-".to_owned(),
    }
}

fn kind(kind: ContainerKind) -> &'static str {
    match kind {
        ContainerKind::App => "app",
        ContainerKind::System => "system",
    }
}

/// Average share of one core since the start.
fn cpu(row: &Row) -> String {
    let up = row.container.started.map(|started| row.now.since(started).0);
    match (row.cpu_seconds, up) {
        #[allow(clippy::cast_precision_loss)]
        (Some(seconds), Some(up)) if up > 0 => format!("{:.1}%", seconds * 100_000.0 / up as f64),
        _ => "-".to_owned(),
    }
}

fn ports(row: &Row) -> String {
    let all: Vec<_> = row.container.publish.iter().map(|port| format!("{}:{}", port.host, port.container)).collect();
    if all.is_empty() { "-".to_owned() } else { all.join(",") }
}

const COLUMNS: &[Column<Row>] = &[
    column("NAME", |row| row.container.name.clone()),
    column("KIND", |row| kind(row.container.kind).to_owned()),
    column("IMAGE", |row| row.container.image.trim_end_matches(":latest").to_owned()),
    column("SERVER", |row| or_dash(row.container.server.as_ref())),
    column("ADDRESS", |row| or_dash(row.container.address)),
    column("STATE", |row| row.container.state.clone()),
    column("HEALTH", health),
    column("CPU", cpu),
    column("MEMORY", |row| or_dash(row.memory)),
    column("UP", |row| or_dash(row.container.started.filter(|_| row.container.pid.is_some()).map(|at| row.now.since(at)))),
    wide("PORTS", ports),
    wide("PID", |row| or_dash(row.container.pid)),
    wide("RESTARTS", |row| row.container.restarts.to_string()),
    wide("EXIT", |row| or_dash(row.container.exit_code)),
    wide("REVISION", |row| row.container.revision.to_string()),
    wide("ID", |row| or_dash(row.container.id)),
    wide("MESSAGE", |row| or_dash(row.container.message.as_ref())),
];

/// Rows with stats put beside the containers.
async fn rows(client: &Client, server: Option<&Name>) -> Result<Vec<Row>> {
    let containers: Vec<ContainerView> = client.get(path::CONTAINERS).await?;
    let stats: Vec<StatsView> = client.get(path::STATS).await.unwrap_or_default();
    let stats: BTreeMap<_, _> = stats.into_iter().map(|stat| ((stat.name.clone(), stat.server.clone()), stat)).collect();
    let now = Timestamp(base::env::now_millis());
    let here = |container: &ContainerView| server.is_none() || container.server.as_ref() == server;
    let row = |container: ContainerView| {
        let key = container.server.clone().map(|server| (container.name.clone(), server));
        let stat = key.and_then(|key| stats.get(&key)).filter(|_| container.pid.is_some());
        #[allow(clippy::cast_precision_loss)]
        let cpu_seconds = stat.map(|stat| stat.stats.cpu_micros as f64 / 1e6);
        Row { memory: stat.map(|stat| stat.stats.memory), cpu_seconds, container, now }
    };
    Ok(containers.into_iter().filter(here).map(row).collect())
}

/// `roost ls`.
pub async fn ls(client: &Client, args: LsArgs) -> Result<()> {
    let server = match &args.server {
        Some(text) => Some(Name::parse("server", text.trim_end_matches(':'))?),
        None => None,
    };
    if let Some(server) = &server {
        client.get::<ServerView>(&format!("{}/{server}", path::SERVERS)).await?;
    }
    if !args.list.watch {
        return output::list(rows(client, server.as_ref()).await?, COLUMNS, &args.list);
    }
    let watched = format!("{}?watch=true", path::CONTAINERS);
    let mut lines = client.lines::<serde::de::IgnoredAny>(Method::GET, &watched, None, &[]).await?;
    while let Some(line) = lines.next().await {
        line?;
        output::list(rows(client, server.as_ref()).await?, COLUMNS, &args.list)?;
        output::print("\n")?;
    }
    Ok(())
}

/// `roost show`.
pub async fn show(client: &Client, args: ShowArgs) -> Result<()> {
    let segment = path::segment(&args.name);
    let error = match client.get::<ContainerView>(&format!("{}/{segment}", path::CONTAINERS)).await {
        Ok(container) => return output::one(container, &[], args.output),
        Err(error) => error,
    };
    if !matches!(error.kind, Kind::NotFound | Kind::Usage) {
        return Err(error);
    }
    if let Ok(job) = client.get::<JobView>(&format!("{}/{segment}", path::JOBS)).await {
        return output::one(job, &[], args.output);
    }
    if let Ok(server) = client.get::<ServerView>(&format!("{}/{segment}", path::SERVERS)).await {
        return output::one(server, &[], args.output);
    }
    if let Ok(image) = client.get::<api::image::ImageRecord>(&format!("{}/{segment}", path::IMAGES)).await {
        return output::one(image, &[], args.output);
    }
    if let Some(app) = super::apps::known(&args.name) {
        return output::one(app, &[], args.output);
    }
    Err(if error.kind == Kind::NotFound {
        Error { message: format!("nothing here is named {}", args.name), ..error }
    } else {
        error
    })
}

/// `roost metrics`.
pub async fn metrics(client: &Client) -> Result<()> {
    use tokio::io::AsyncReadExt as _;
    let mut text = String::new();
    let mut body = client.download(path::METRICS).await?;
    body.read_to_string(&mut text).await.map_err(|error| Error::failed(format!("metrics broke off: {error}")))?;
    output::print(&text)
}

#[derive(Serialize)]
struct Versions {
    client: &'static str,
    cluster: Option<Version>,
}

/// `roost version`.
pub async fn version(client: &Client, args: Formatted) -> Result<()> {
    let versions = Versions { client: env!("CARGO_PKG_VERSION"), cluster: client.get(path::VERSION).await.ok() };
    if args.output != Format::Table {
        return output::one(versions, &[], args.output);
    }
    let cluster = match &versions.cluster {
        Some(cluster) => format!("cluster {} runs {}", cluster.cluster, cluster.version),
        None => "no cluster answers here".to_owned(),
    };
    output::print(&format!("roost {}\n{cluster}\n", versions.client))
}
