//! Jobs: `addjob` and its family.

use super::template::TemplateArgs;
use crate::{
    args::ChangeArgs,
    command::image,
    output::{self, Column, Format, ListArgs, column, or_dash, wide},
    ports::PairArg,
    progress, say,
};
use api::{
    Error, Kind, Name, Result, Span, path,
    plan::{RolloutState, Wanted},
    spec::{Limits, PlacementRules, Restart, Strategy, UpdateRules},
    view::{Changed, ContainerView, JobRequest, JobView, ScaleRequest, UpgradeRequest},
};
use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use std::{collections::BTreeMap, time::Duration};
use wire::client::Client;

#[derive(Subcommand)]
pub enum JobCommand {
    Add(Box<AddArgs>),
    /// List jobs
    ///
    /// Example: roost listjobs -o json
    #[command(visible_alias = "ls")]
    List(ListArgs),
    Show(ShowArgs),
    Scale(ScaleArgs),
    Upgrade(Box<UpgradeArgs>),
    Rollback(RollbackArgs),
    #[command(visible_alias = "rm")]
    Delete(DeleteArgs),
}

/// Run so many instances of a container as it stands, or of an image, wherever they fit
///
/// Example: roost addjob web 6 -r 2
#[derive(Args)]
pub struct AddArgs {
    /// A container whose like is wanted, or an image
    pub base: String,
    /// How many
    #[arg(allow_negative_numbers = true)]
    pub count: i64,
    /// Program and arguments instead of the image's
    #[arg(last = true)]
    pub command: Vec<String>,
    /// Name of the job; the base's when absent
    #[arg(long)]
    pub name: Option<Name>,
    /// Network to attach to
    #[arg(short = 'n', value_name = "NETWORK")]
    pub net: Option<String>,
    /// Jobs of the same group share one server
    #[arg(short, long)]
    pub group: Option<Name>,
    /// At most so many on one server
    #[arg(short = 'r', long = "per-server", value_name = "COUNT")]
    pub per_server: Option<u32>,
    /// How to choose among servers that fit
    #[arg(short, long, value_enum, default_value_t = StrategyArg::Resource)]
    pub strategy: StrategyArg,
    /// Only servers with this label
    #[arg(long, value_name = "KEY=VALUE")]
    pub require: Vec<PairArg>,
    /// Not on servers with instances of this job or container
    #[arg(long, value_name = "NAME")]
    pub avoid: Vec<Name>,
    /// Only on these servers
    #[arg(long = "on", value_name = "SERVER")]
    pub servers: Vec<Name>,
    /// An upgrade waits so long between two batches
    #[arg(short = 'i', long, value_name = "DURATION")]
    pub interval: Option<Span>,
    /// An upgrade replaces so many at a time
    #[arg(long, value_name = "COUNT")]
    pub parallel: Option<u32>,
    #[command(flatten)]
    pub template: TemplateArgs,
    #[command(flatten)]
    pub change: ChangeArgs,
}

/// Strategies.
#[derive(Clone, Copy, ValueEnum)]
pub enum StrategyArg {
    Resource,
    Spread,
    Binpack,
}

/// Show a job with its instances
///
/// Example: roost showjob web
#[derive(Args)]
pub struct ShowArgs {
    /// Its name
    pub name: Name,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

/// Change how many instances a job has: a number, or +2, or -2
///
/// Example: roost scalejob web 8
#[derive(Args)]
pub struct ScaleArgs {
    /// Its name
    pub name: Name,
    /// The number, or the difference
    #[arg(allow_hyphen_values = true)]
    pub count: String,
    /// Jobs of the same group share one server
    #[arg(short, long)]
    pub group: Option<Name>,
    #[command(flatten)]
    pub change: ChangeArgs,
}

/// Replace a job's instances by new ones, some at a time; goes back by itself when new ones are not healthy
///
/// Example: roost upgradejob web --image nginx:1.29 -i 20
#[derive(Args)]
pub struct UpgradeArgs {
    /// Its name
    pub name: Name,
    /// New image; when absent the present one is looked at afresh, and a container the job was made of is read again
    #[arg(long)]
    pub image: Option<String>,
    /// Wait so long between two batches
    #[arg(short, long, value_name = "DURATION")]
    pub interval: Option<Span>,
    /// Replace so many at a time
    #[arg(long, value_name = "COUNT")]
    pub parallel: Option<u32>,
    /// Set an environment variable
    #[arg(short, long = "env", value_name = "KEY=VALUE")]
    pub env: Vec<PairArg>,
    /// Memory each may use, and reserves
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<api::Bytes>,
    /// Cores each may use, and reserves
    #[arg(long, value_name = "CORES")]
    pub cpu: Option<api::Cpu>,
    /// Program and arguments instead of the image's
    #[arg(last = true)]
    pub command: Vec<String>,
    #[command(flatten)]
    pub change: ChangeArgs,
}

/// Go back to an earlier revision of a job
///
/// Example: roost rollbackjob web
#[derive(Args)]
pub struct RollbackArgs {
    /// Its name
    pub name: Name,
    /// Which revision; the one before when absent
    pub revision: Option<u32>,
    #[command(flatten)]
    pub change: ChangeArgs,
}

/// Delete a job and its instances
///
/// Example: roost deljob web
#[derive(Args)]
pub struct DeleteArgs {
    /// Its name
    pub name: Name,
    #[command(flatten)]
    pub change: ChangeArgs,
}

fn image_of(job: &JobView) -> String {
    job.spec.template.containers.first().map(|c| c.image.name.trim_end_matches(":latest").to_owned()).unwrap_or_default()
}

fn state(job: &JobView) -> String {
    match job.rollout.as_ref().map(|rollout| rollout.state) {
        Some(RolloutState::Running) => "upgrading".to_owned(),
        Some(RolloutState::RollingBack) => "rolling back".to_owned(),
        Some(RolloutState::RolledBack) => "rolled back".to_owned(),
        _ if !job.waiting.is_empty() => "waiting".to_owned(),
        _ if job.running < job.spec.count => "starting".to_owned(),
        _ => "running".to_owned(),
    }
}

const COLUMNS: &[Column<JobView>] = &[
    column("NAME", |job| job.spec.name.to_string()),
    column("IMAGE", image_of),
    column("HEALTHY", |job| format!("{}/{}", job.running, job.spec.count)),
    column("STATE", state),
    column("REVISION", |job| job.spec.revision.to_string()),
    wide("STRATEGY", |job| format!("{:?}", job.spec.placement.strategy).to_lowercase()),
    wide("GROUP", |job| or_dash(job.spec.placement.group.as_ref())),
    wide("PER-SERVER", |job| or_dash(job.spec.placement.per_server)),
];

/// Runs a job command; its exit code.
pub async fn run(client: &Client, command: JobCommand) -> Result<u8> {
    match command {
        JobCommand::Add(args) => add(client, *args).await,
        JobCommand::List(args) => list(client, &args).await.map(|()| 0),
        JobCommand::Show(args) => show(client, args).await.map(|()| 0),
        JobCommand::Scale(args) => scale(client, args).await,
        JobCommand::Upgrade(args) => upgrade(client, *args).await,
        JobCommand::Rollback(args) => rollback(client, args).await,
        JobCommand::Delete(args) => delete(client, args).await,
    }
}

fn one(name: &Name) -> String {
    format!("{}/{name}", path::JOBS)
}

async fn add(client: &Client, args: AddArgs) -> Result<u8> {
    if let Some(network) = args.net.clone() {
        TemplateArgs { network: Some(network), ..TemplateArgs::default() }.template("", Vec::new())?;
    }
    let bases: Vec<ContainerView> = client.get(path::CONTAINERS).await?;
    let is_container = bases.iter().any(|container| container.job.is_none() && container.name == args.base);
    let template = if is_container { None } else { Some(job_template(&args)?) };
    let rules = PlacementRules {
        strategy: match args.strategy {
            StrategyArg::Resource => Strategy::Resource,
            StrategyArg::Spread => Strategy::Spread,
            StrategyArg::Binpack => Strategy::Binpack,
        },
        group: args.group.clone(),
        per_server: args.per_server,
        require: args.require.iter().map(|PairArg(key, value)| (key.clone(), value.clone())).collect(),
        avoid: args.avoid.clone(),
        servers: args.servers.clone(),
    };
    let update = UpdateRules { interval: args.interval.unwrap_or_default(), parallel: args.parallel };
    let dry_run = args.change.dry_run;
    let request = JobRequest {
        base: args.base.clone(),
        name: args.name.clone(),
        count: args.count,
        template,
        placement: rules,
        update,
        dry_run,
    };
    // Its base may have to be read first.
    let patient = client.clone().within(args.change.timeout.duration());
    let changed = make(&patient, &request).await?;
    if dry_run {
        return super::dry(&changed);
    }
    let name = match args.name {
        Some(name) => name,
        None => named(&changed)?,
    };
    settle(client, &name, &args.change).await
}

/// The name in the answer's first line: `make job web of 6 instances`.
fn named(changed: &Changed) -> Result<Name> {
    let word = changed.summary.first().and_then(|line| line.split(' ').nth(2)).unwrap_or_default();
    Name::parse("job", word)
}

/// Instances of a job come back by themselves, unless told otherwise.
fn job_template(args: &AddArgs) -> Result<api::spec::PodTemplate> {
    let mut template = args.template.template(&args.base, args.command.clone())?;
    if args.template.restart.is_none() {
        for container in &mut template.containers {
            container.restart = Restart::Always;
        }
    }
    Ok(template)
}

async fn make(client: &Client, request: &JobRequest) -> Result<Changed> {
    match client.send(Method::POST, path::JOBS, request).await {
        Err(error) if error.kind == Kind::NotFound && error.message.starts_with("no container and no image") => {
            image::obtain(client, (&request.base, None), error).await?;
            client.send(Method::POST, path::JOBS, request).await
        }
        other => other,
    }
}

/// Waits until the job is as asked for, and shows where its instances are.
async fn settle(client: &Client, name: &Name, change: &ChangeArgs) -> Result<u8> {
    if change.detach {
        return Ok(0);
    }
    let watch = format!("{}?watch=true", one(name));
    match progress::follow(client, &watch, (name.as_str(), change.timeout.duration()), progress::job).await? {
        (Some(job), took) => {
            progress::settled(client).await;
            finish(client, &job, took).await.map(|()| 0)
        }
        (None, _) => Err(Error::conflict(format!("job {name} was deleted meanwhile"))),
    }
}

async fn finish(client: &Client, job: &JobView, took: Duration) -> Result<()> {
    let name = &job.spec.name;
    let revision = if job.spec.revision > 1 { format!("revision {}   ", job.spec.revision) } else { String::new() };
    say::done(&format!("{name}   {revision}{}/{} healthy   {:.1} s", job.running, job.spec.count, took.as_secs_f32()));
    let mut servers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    // Those on their way out finish their connections meanwhile; they are not the job's any more.
    for instance in job.instances.iter().filter(|instance| instance.wanted == Some(Wanted::Run)) {
        let place = format!("{} {}", instance.name, or_dash(instance.address));
        servers.entry(or_dash(instance.server.as_ref())).or_default().push(place);
    }
    for (server, places) in servers {
        say::note(&format!("  {server}  {}", places.join("   ")));
    }
    if job.spec.revision > 1 {
        say::note(&format!("  back: roost rollback {name}"));
    } else if let Ok(version) = client.get::<api::view::Version>(path::VERSION).await {
        say::note(&format!("  name  {name}.{}", version.domain));
    }
    Ok(())
}

async fn list(client: &Client, args: &ListArgs) -> Result<()> {
    if !args.watch {
        return output::list(client.get::<Vec<JobView>>(path::JOBS).await?, COLUMNS, args);
    }
    let mut lines = client.lines::<Vec<JobView>>(Method::GET, &format!("{}?watch=true", path::JOBS), None, &[]).await?;
    while let Some(jobs) = lines.next().await {
        output::list(jobs?, COLUMNS, args)?;
        output::print("\n")?;
    }
    Ok(())
}

const INSTANCES: &[Column<ContainerView>] = &[
    column("NAME", |row| row.name.clone()),
    column("SERVER", |row| or_dash(row.server.as_ref())),
    column("ADDRESS", |row| or_dash(row.address)),
    column("STATE", |row| row.state.clone()),
    column("REVISION", |row| row.revision.to_string()),
    column("RESTARTS", |row| row.restarts.to_string()),
    column("MESSAGE", |row| or_dash(row.message.as_ref())),
];

async fn show(client: &Client, args: ShowArgs) -> Result<()> {
    let job: JobView = client.get(&one(&args.name)).await?;
    if matches!(args.output, Format::Json | Format::Yaml) {
        return output::one(job, COLUMNS, args.output);
    }
    let rollout = job.rollout.as_ref().and_then(|rollout| rollout.message.clone());
    let waiting = job.waiting.clone();
    let instances = job.instances.clone();
    output::one(job, COLUMNS, args.output)?;
    output::print("\n")?;
    output::list(instances, INSTANCES, &ListArgs { output: args.output, ..ListArgs::default() })?;
    for slot in waiting {
        output::print(&format!("{}/{} waits: {}\n", args.name, slot.slot, slot.reasons.join("; ")))?;
    }
    rollout.map_or(Ok(()), |message| output::print(&format!("last upgrade: {message}\n")))
}

async fn scale(client: &Client, args: ScaleArgs) -> Result<u8> {
    let bad = || Error::usage(format!("{:?} is not a number of instances: write a number, +2 or -2", args.count));
    let relative = args.count.starts_with(['+', '-']);
    let count = args.count.trim_start_matches('+').parse().map_err(|_| bad())?;
    let request = ScaleRequest { count, relative, group: args.group.clone(), dry_run: args.change.dry_run };
    let changed: Changed = client.send(Method::POST, &format!("{}/scale", one(&args.name)), &request).await?;
    if args.change.dry_run {
        return super::dry(&changed);
    }
    settle(client, &args.name, &args.change).await
}

async fn upgrade(client: &Client, args: UpgradeArgs) -> Result<u8> {
    let limits =
        (args.memory.is_some() || args.cpu.is_some()).then_some(Limits { memory: args.memory, cpu: args.cpu, pids: None });
    let request = UpgradeRequest {
        image: args.image.clone(),
        interval: args.interval,
        parallel: args.parallel,
        env: args.env.iter().map(|PairArg(key, value)| (key.clone(), value.clone())).collect(),
        command: Some(args.command.clone()).filter(|command| !command.is_empty()),
        limits,
        rollback: None,
        dry_run: args.change.dry_run,
    };
    let target = format!("{}/upgrade", one(&args.name));
    // Its base may have to be read first.
    let patient = client.clone().within(args.change.timeout.duration());
    let send = || patient.send::<_, Changed>(Method::POST, &target, &request);
    let changed = match (send().await, &args.image) {
        (Err(error), Some(image)) if error.kind == Kind::NotFound && error.message.starts_with("no image") => {
            image::obtain(client, (image, None), error).await?;
            send().await?
        }
        (other, _) => other?,
    };
    if args.change.dry_run {
        return super::dry(&changed);
    }
    settle(client, &args.name, &args.change).await
}

async fn rollback(client: &Client, args: RollbackArgs) -> Result<u8> {
    let request =
        UpgradeRequest { rollback: Some(args.revision.unwrap_or(0)), dry_run: args.change.dry_run, ..UpgradeRequest::default() };
    let changed: Changed = client.send(Method::POST, &format!("{}/upgrade", one(&args.name)), &request).await?;
    if args.change.dry_run {
        return super::dry(&changed);
    }
    settle(client, &args.name, &args.change).await
}

async fn delete(client: &Client, args: DeleteArgs) -> Result<u8> {
    if args.change.dry_run {
        return super::try_out(client, (Method::DELETE, &one(&args.name)), &()).await;
    }
    client.send::<(), Changed>(Method::DELETE, &one(&args.name), &()).await?;
    if args.change.detach {
        return Ok(0);
    }
    let name = args.name.clone();
    let gone = move |all: &Vec<ContainerView>| {
        let left = all.iter().filter(|container| container.job.as_ref() == Some(&name)).count();
        match u32::try_from(left).unwrap_or(u32::MAX) {
            0 => progress::Standing::True,
            left => progress::Standing::Under { done: 0, of: left, word: format!("{left} left") },
        }
    };
    let watch = format!("{}?watch=true", path::CONTAINERS);
    progress::follow(client, &watch, (args.name.as_str(), args.change.timeout.duration()), gone).await?;
    say::done(&format!("{} deleted", args.name));
    Ok(0)
}
