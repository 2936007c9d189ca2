//! Containers as they stand, as images, as other containers, and as snapshots to go back to.

use super::{image, run};
use crate::{
    args::{ChangeArgs, TryArgs},
    output::{self, Column, ListArgs, column},
    progress::{self, Standing},
    say,
};
use api::{
    Error, Result, Timestamp,
    image::ImageRecord,
    path,
    view::{Changed, CloneRequest, CommitRequest, ContainerView, SnapshotRequest},
};
use clap::{ArgAction, Args, Subcommand};
use http::Method;
use serde::Serialize;
use std::time::Duration;
use wire::client::Client;

/// Flag of commands that read a container.
#[derive(Args, Clone)]
pub struct PauseArgs {
    /// Hold it still while it is read
    #[arg(
        long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set, num_args = 0..=1,
        default_missing_value = "true", require_equals = true
    )]
    pub pause: bool,
}

/// Make an image of a container as it stands
///
/// Example: roost commit s2:c1 web
#[derive(Args)]
pub struct CommitArgs {
    /// [server:]container
    pub target: String,
    /// Name of the image
    pub image: String,
    #[command(flatten)]
    pub pause: PauseArgs,
    #[command(flatten)]
    pub change: TryArgs,
}

/// Make a container out of another as it stands, with an address of its own and without published ports
///
/// Example: roost clone c1 s3:c2 --start
#[derive(Args)]
pub struct CloneArgs {
    /// [server:]container
    pub from: String,
    /// [server:]name of the new one
    pub to: String,
    /// Start it
    #[arg(long)]
    pub start: bool,
    #[command(flatten)]
    pub pause: PauseArgs,
    #[command(flatten)]
    pub change: ChangeArgs,
}

/// Keep a container's files as they are now, list what was kept, go back to it
///
/// A snapshot is an image of the container: image list -a shows it.
///
/// Example: roost snapshot c1 before
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct SnapshotArgs {
    #[command(subcommand)]
    pub command: Option<SnapshotCommand>,
    /// [server:]container
    #[arg(required = true)]
    pub target: Option<String>,
    /// Name of the snapshot; snap0, snap1… when absent
    pub name: Option<String>,
    #[command(flatten)]
    pub pause: PauseArgs,
    #[command(flatten)]
    pub change: TryArgs,
}

/// Keep a container's files as they are now
///
/// Example: roost snapshot c1 before
#[derive(Args)]
pub struct AddArgs {
    /// [server:]container
    pub target: String,
    /// Name of the snapshot; snap0, snap1… when absent
    pub name: Option<String>,
    #[command(flatten)]
    pub pause: PauseArgs,
    #[command(flatten)]
    pub change: TryArgs,
}

#[derive(Subcommand)]
pub enum SnapshotCommand {
    Add(AddArgs),
    #[command(visible_alias = "ls")]
    List(SnapshotListArgs),
    Restore(RestoreArgs),
    #[command(visible_alias = "rm")]
    Delete(DeleteArgs),
}

/// List the snapshots of a container, or all there are
///
/// Example: roost snapshot list c1
#[derive(Args)]
pub struct SnapshotListArgs {
    /// [server:]container
    pub target: Option<String>,
    #[command(flatten)]
    pub list: ListArgs,
}

/// Put a container back as it was: it is stopped, what it changed since is lost, and it runs again if it ran
///
/// Example: roost snapshot restore c1 before
#[derive(Args)]
pub struct RestoreArgs {
    /// [server:]container
    pub target: String,
    /// Name of the snapshot
    pub name: String,
    #[command(flatten)]
    pub change: ChangeArgs,
}

/// Delete a snapshot of a container
///
/// Example: roost snapshot delete c1 before
#[derive(Args)]
pub struct DeleteArgs {
    /// [server:]container
    pub target: String,
    /// Name of the snapshot
    pub name: String,
    #[command(flatten)]
    pub change: TryArgs,
}

fn one(target: &str) -> String {
    format!("{}/{}", path::CONTAINERS, path::segment(target))
}

/// Asks for something whose progress comes as lines; the image it ended with.
async fn ask<B: Serialize>(client: &Client, (path, body): (&str, &B), name: &str) -> Result<(ImageRecord, Duration)> {
    let body = serde_json::to_vec(body).map_err(|error| Error::failed(error.to_string()))?;
    let headers = [("content-type", "application/json".to_owned())];
    image::arrival(client.lines(Method::POST, path, Some(body.into()), &headers).await?, name).await
}

/// `roost commit`.
pub async fn commit(client: &Client, args: CommitArgs) -> Result<u8> {
    let path = format!("{}/commit", one(&args.target));
    let request = CommitRequest { image: args.image, pause: args.pause.pause, dry_run: args.change.dry_run };
    if request.dry_run {
        return super::dry(&client.send(Method::POST, &path, &request).await?);
    }
    let (image, took) = ask(client, (&path, &request), &args.target).await?;
    image::announce(&image, took);
    Ok(0)
}

/// `roost clone`.
pub async fn clone(client: &Client, args: CloneArgs) -> Result<u8> {
    let (server, name) = run::place(&args.to, None)?;
    let path = format!("{}/clone", one(&args.from));
    let dry_run = args.change.dry_run;
    let request = CloneRequest { name: name.clone(), server, start: args.start, pause: args.pause.pause, dry_run };
    if dry_run {
        return super::dry(&client.send(Method::POST, &path, &request).await?);
    }
    ask(client, (&path, &request), &args.from).await?;
    if !args.start {
        say::done(&format!("{name} made of {}; start it: roost start {name}", args.from));
    } else if !args.change.detach {
        let watch = format!("{}?watch=true", one(name.as_str()));
        let (view, _) =
            progress::follow(client, &watch, (name.as_str(), args.change.timeout.duration()), progress::running).await?;
        if let Some(view) = view {
            run::announce(client, &view).await;
        }
    }
    Ok(0)
}

/// `roost snapshot`.
pub async fn snapshot(client: &Client, args: SnapshotArgs) -> Result<u8> {
    match (args.command, args.target) {
        (Some(SnapshotCommand::Add(args)), _) => add(client, args).await,
        (Some(SnapshotCommand::List(args)), _) => list(client, args).await.map(|()| 0),
        (Some(SnapshotCommand::Restore(args)), _) => restore(client, args).await,
        (Some(SnapshotCommand::Delete(args)), _) => {
            let path = format!("{}/snapshots/{}", one(&args.target), path::segment(&args.name));
            super::change(client, (Method::DELETE, &path), &(), args.change.dry_run).await
        }
        (None, Some(target)) => add(client, AddArgs { target, name: args.name, pause: args.pause, change: args.change }).await,
        (None, None) => Err(Error::usage("a snapshot needs a container").hint("as in: roost snapshot c1 before")),
    }
}

async fn add(client: &Client, args: AddArgs) -> Result<u8> {
    let path = format!("{}/snapshots", one(&args.target));
    let request = SnapshotRequest { name: args.name, pause: args.pause.pause, dry_run: args.change.dry_run };
    if request.dry_run {
        return super::dry(&client.send(Method::POST, &path, &request).await?);
    }
    let (image, took) = ask(client, (&path, &request), &args.target).await?;
    let name = name(&image);
    say::done(&format!("{} kept as {name}   {} in {:.1} s", args.target, image.size, took.as_secs_f32()));
    say::note(&format!("  back: roost snapshot restore {} {name}", args.target));
    output::print(&format!("{name}\n")).map(|()| 0)
}

fn name(image: &ImageRecord) -> String {
    image.snapshot().unwrap_or_default().to_owned()
}

const COLUMNS: &[Column<ImageRecord>] = &[
    column("CONTAINER", |image| image.made_of().unwrap_or_default().to_owned()),
    column("NAME", name),
    column("SIZE", |image| image.size.to_string()),
    column("AGE", |image| Timestamp(base::env::now_millis()).since(image.created).to_string()),
    column("IMAGE", |image| image.name.clone()),
];

async fn list(client: &Client, args: SnapshotListArgs) -> Result<()> {
    let rows: Vec<ImageRecord> = match &args.target {
        Some(target) => client.get(&format!("{}/snapshots", one(target))).await?,
        None => {
            let all: Vec<ImageRecord> = client.get(path::IMAGES).await?;
            all.into_iter().filter(|image| image.is_ours() && image.snapshot().is_some()).collect()
        }
    };
    output::list(rows, COLUMNS, &args.list)
}

async fn restore(client: &Client, args: RestoreArgs) -> Result<u8> {
    let one = one(&args.target);
    let path = format!("{one}/snapshots/{}/restore", path::segment(&args.name));
    let before: ContainerView = client.get(&one).await?;
    if args.change.dry_run {
        return super::try_out(client, (Method::POST, &path), &()).await;
    }
    client.send::<_, Changed>(Method::POST, &path, &()).await?;
    if args.change.detach {
        return Ok(0);
    }
    let judge = |view: &ContainerView| match view.id {
        // The instance as it was is still on its way out, or the new one is not placed yet.
        id if id == before.id || id.is_none() => Standing::Under { done: 0, of: 1, word: "restoring".to_owned() },
        _ if ran(&before) => progress::running(view),
        _ => Standing::True,
    };
    progress::follow(client, &format!("{one}?watch=true"), (&args.target, args.change.timeout.duration()), judge).await?;
    say::done(&format!("{} is as it was at {}", args.target, args.name));
    Ok(0)
}

/// Whether it is started again.
fn ran(before: &ContainerView) -> bool {
    before.phase == Some(api::report::Phase::Running)
}
