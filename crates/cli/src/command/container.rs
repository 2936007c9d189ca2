//! The verbs of a container's life, once it is made.

use crate::{
    args::{ChangeArgs, TryArgs},
    progress::{self, Standing},
};
use api::{
    Name, Result, path,
    view::{Changed, ContainerView},
};
use clap::Args;
use http::Method;
use wire::client::Client;

/// Start, stop, restart, freeze or unfreeze containers, wherever they are
///
/// Example: roost restart s2:c1 c2
#[derive(Args)]
pub struct PowerArgs {
    /// [server:]name
    #[arg(required = true)]
    pub targets: Vec<String>,
    #[command(flatten)]
    pub change: ChangeArgs,
}

/// What `power` does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Start,
    Stop,
    Restart,
    Freeze,
    Unfreeze,
}

impl Verb {
    const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Freeze => "freeze",
            Self::Unfreeze => "unfreeze",
        }
    }
}

/// `roost start` and its siblings.
pub async fn power(client: &Client, args: PowerArgs, verb: Verb) -> Result<u8> {
    let (mut code, mut followed) = (0, false);
    for target in &args.targets {
        let one = format!("{}/{}", path::CONTAINERS, path::segment(target));
        let before: ContainerView = client.get(&one).await?;
        if args.change.dry_run {
            code = code.max(super::try_out(client, (Method::POST, &format!("{one}/{}", verb.word())), &()).await?);
            continue;
        }
        let changed: Changed = client.send(Method::POST, &format!("{one}/{}", verb.word()), &()).await?;
        if args.change.detach || changed.unchanged {
            continue;
        }
        let judge = |view: &ContainerView| match verb {
            // What its server said before it was told to start says nothing of this run.
            Verb::Start if view.phase == Some(api::report::Phase::Exited) && view.started == before.started => {
                waiting("starting")
            }
            Verb::Start | Verb::Unfreeze => progress::running(view),
            Verb::Restart if view.started == before.started && before.started.is_some() => waiting("restarting"),
            Verb::Restart => progress::running(view),
            Verb::Stop => progress::stopped(view),
            Verb::Freeze if view.phase == Some(api::report::Phase::Frozen) => Standing::True,
            Verb::Freeze => waiting("freezing"),
        };
        progress::follow(client, &format!("{one}?watch=true"), (target, args.change.timeout.duration()), judge).await?;
        followed = true;
    }
    if followed {
        progress::settled(client).await;
    }
    Ok(code)
}

fn waiting(word: &str) -> Standing {
    Standing::Under { done: 0, of: 1, word: word.to_owned() }
}

/// Send a signal to the main process of containers
///
/// Example: roost kill -s TERM web/3
#[derive(Args)]
pub struct KillArgs {
    /// [server:]name, or job/number
    #[arg(required = true)]
    pub targets: Vec<String>,
    /// By name or number: TERM, SIGTERM, 15; SIGKILL when absent
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL", value_parser = signal, hide_default_value = true)]
    pub signal: i32,
    #[command(flatten)]
    pub change: TryArgs,
}

fn signal(text: &str) -> std::result::Result<i32, String> {
    base::signals::number(text).ok_or_else(|| format!("{text:?} is not a signal: use a name, as in SIGTERM, or 1 to 64"))
}

/// `roost kill`.
pub async fn kill(client: &Client, args: KillArgs) -> Result<u8> {
    let mut code = 0;
    for target in &args.targets {
        let one = format!("{}/{}", path::CONTAINERS, path::segment(target));
        if args.change.dry_run {
            let view: ContainerView = client.get(&one).await?;
            code = super::would(&format!("send signal {} to container {}", args.signal, view.name))?;
            continue;
        }
        let path = format!("{one}/kill?signal={}", args.signal);
        client.send::<(), ()>(Method::POST, &path, &()).await?;
    }
    Ok(code)
}

/// Remove containers and their files
///
/// Example: roost rm -f c1
#[derive(Args)]
pub struct RemoveArgs {
    /// [server:]name
    #[arg(required = true)]
    pub targets: Vec<String>,
    /// Also when it runs
    #[arg(short, long)]
    pub force: bool,
    #[command(flatten)]
    pub change: ChangeArgs,
}

/// `roost rm`.
pub async fn remove(client: &Client, args: RemoveArgs) -> Result<u8> {
    let (mut code, mut followed) = (0, false);
    for target in &args.targets {
        let one = format!("{}/{}", path::CONTAINERS, path::segment(target));
        let view: ContainerView = client.get(&one).await?;
        let order = format!("{one}?force={}", args.force);
        if args.change.dry_run {
            code = code.max(super::try_out(client, (Method::DELETE, &order), &()).await?);
            continue;
        }
        client.send::<(), Changed>(Method::DELETE, &order, &()).await?;
        if args.change.detach {
            continue;
        }
        gone(client, &view, args.change.timeout.duration()).await?;
        followed = true;
    }
    if followed {
        progress::settled(client).await;
    }
    Ok(code)
}

/// Waits until a container that is being removed is no more, and its name free.
pub async fn gone(client: &Client, view: &ContainerView, timeout: std::time::Duration) -> Result<()> {
    let judge = |all: &Vec<ContainerView>| {
        if all.iter().any(|other| other.id == view.id && view.id.is_some()) { waiting("removing") } else { Standing::True }
    };
    let all = format!("{}?watch=true", path::CONTAINERS);
    progress::follow(client, &all, (&view.name, timeout), judge).await.map(drop)
}

/// Give a container another name
///
/// Example: roost rename c1 db
#[derive(Args)]
pub struct RenameArgs {
    /// [server:]name
    pub from: String,
    /// New name
    pub to: Name,
    #[command(flatten)]
    pub change: TryArgs,
}

/// `roost rename`.
pub async fn rename(client: &Client, args: RenameArgs) -> Result<u8> {
    let path = format!("{}/{}/rename", path::CONTAINERS, path::segment(&args.from));
    super::change(client, (Method::POST, &path), &serde_json::json!({"to": args.to}), args.change.dry_run).await
}
