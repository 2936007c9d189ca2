//! `run` and `create`: a container is made, from an image that is had first where it is missing.

use super::{container::gone, template::TemplateArgs};
use crate::{
    command::{
        foreground::{self, ConsoleArgs},
        image,
    },
    output,
    progress::{self, Standing},
    say,
};
use api::{
    Error, Kind, Name, Result, Span, Timestamp,
    image::{ImageRecord, normalise},
    path,
    report::Phase,
    spec::{ContainerSpec, PodTemplate, Power},
    view::{Changed, ContainerRequest, ContainerView},
};
use clap::Args;
use http::Method;
use std::{net::Ipv4Addr, sync::Arc, time::Duration};
use wire::client::Client;

/// Run a container: make it, start it, and show its output until it ends
///
/// The name may be left out. Flags may stand anywhere; a command with flags of its own goes behind --. With -it the program has this
/// terminal, and Ctrl-P Ctrl-Q detaches from it. The program's exit code is passed through.
///
/// Example: roost run -d web nginx -p 8080:80
///
/// Example: roost run -it --rm debian bash
///
/// Example: echo hi | roost run -i --rm busybox cat
#[derive(Args)]
pub struct RunArgs {
    /// [name] image [command...]
    #[arg(required = true, value_name = "NAME IMAGE COMMAND")]
    pub words: Vec<String>,
    /// Program and arguments
    #[arg(last = true)]
    pub command: Vec<String>,
    /// Come back once it runs
    #[arg(short, long)]
    pub detach: bool,
    /// Remove it when its program ends
    #[arg(long)]
    pub rm: bool,
    #[command(flatten)]
    pub console: ConsoleArgs,
    #[command(flatten)]
    pub place: PlaceArgs,
    #[command(flatten)]
    pub template: TemplateArgs,
    /// Wait no longer than this for it to run
    #[arg(long, default_value = "5m", value_name = "DURATION")]
    pub timeout: Span,
    /// Only say what would change
    #[arg(long)]
    pub dry_run: bool,
}

/// Where a container goes.
#[derive(Args, Clone)]
pub struct PlaceArgs {
    /// Server to put it on; chosen when absent
    #[arg(long)]
    pub server: Option<Name>,
    /// Address inside that server's subnet; chosen when absent
    #[arg(long)]
    pub ip: Option<Ipv4Addr>,
}

/// Make a container without starting it
///
/// Example: roost create s2:c1 debian/bookworm --type system
#[derive(Args)]
pub struct CreateArgs {
    /// [server:]name
    pub name: String,
    /// What it is made of
    pub image: String,
    /// Program and arguments instead of the image's
    pub command: Vec<String>,
    #[command(flatten)]
    pub console: ConsoleArgs,
    #[command(flatten)]
    pub place: PlaceArgs,
    #[command(flatten)]
    pub template: TemplateArgs,
    /// Only say what would change
    #[arg(long)]
    pub dry_run: bool,
}

/// `[server:]name`, with `--server` as the other way to say the same.
pub fn place(name: &str, asked: Option<Name>) -> Result<(Option<Name>, Name)> {
    let (server, name) = match name.split_once(':') {
        Some((server, name)) => (Some(Name::parse("server", server)?), name),
        None => (None, name),
    };
    if let (Some(a), Some(b)) = (&server, &asked)
        && a != b
    {
        return Err(Error::usage(format!("the server is said twice: {a} and {b}")));
    }
    Ok((server.or(asked), Name::parse("container", name)?))
}

/// `roost create`.
pub async fn create(client: &Client, args: CreateArgs) -> Result<u8> {
    let (server, name) = place(&args.name, args.place.server)?;
    let mut template = args.template.template(&args.image, args.command)?;
    args.console.open(&mut template, false);
    let spec = spec(name.clone(), template, Power::Off);
    let spec = ContainerSpec { server, address: args.place.ip, ..spec };
    let changed = make(client, ContainerRequest { spec, dry_run: args.dry_run }).await?;
    if args.dry_run {
        return super::dry(&changed);
    }
    say::done(&format!("{name} made; start it: roost start {name}"));
    Ok(0)
}

fn spec(name: Name, template: PodTemplate, power: Power) -> ContainerSpec {
    ContainerSpec {
        name,
        template: Arc::new(template),
        server: None,
        address: None,
        power,
        restarts: 0,
        avoid: Vec::new(),
        hosts: Vec::new(),
        remove_on_exit: false,
        created: Timestamp(0),
    }
}

/// Makes it; an image that is not in the cluster is pulled, or made from packages, first.
async fn make(client: &Client, request: ContainerRequest) -> Result<Changed> {
    let first = client.send(Method::POST, path::CONTAINERS, &request).await;
    let image = request.spec.template.containers.first().map(|c| c.image.name.clone()).unwrap_or_default();
    match first {
        Err(error) if error.kind == Kind::NotFound && error.message.starts_with("no image") => {
            if request.dry_run && image::is_base_system(&image) {
                let summary = vec![format!("make image {image} from packages"), format!("make container {}", request.spec.name)];
                return Ok(Changed { revision: 0, unchanged: false, summary });
            }
            image::obtain(client, (&image, request.spec.server.as_ref()), error).await?;
            client.send(Method::POST, path::CONTAINERS, &request).await
        }
        other => other,
    }
}

/// Tells name, image and command apart. One word is the image. Of several, the first is the name unless it is itself a known image and
/// the second is none.
async fn words(client: &Client, args: &RunArgs) -> Result<(String, String, Vec<String>)> {
    let mut words = args.words.clone();
    let named = match words.as_slice() {
        [first, second, ..] => !is_image(client, first).await? || is_image(client, second).await?,
        _ => false,
    };
    let name = if named { words.remove(0) } else { invented(words.first().map_or("", String::as_str)) };
    let image = words.remove(0);
    words.extend(args.command.iter().cloned());
    Ok((name, image, words))
}

/// Whether an image of the cluster has this name.
async fn is_image(client: &Client, text: &str) -> Result<bool> {
    let Ok(name) = normalise(text) else { return Ok(false) };
    match client.get::<ImageRecord>(&format!("{}/{}", path::IMAGES, path::segment(text))).await {
        // By its digest an image is found under another name too.
        Ok(image) => Ok(image.name == name),
        Err(error) if matches!(error.kind, Kind::NotFound | Kind::Usage) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A name for a container that was given none: the image's last part and four random hexadecimal digits.
fn invented(image: &str) -> String {
    let last = image.split('@').next().unwrap_or(image).rsplit('/').next().unwrap_or(image);
    let stem: String = last.split(':').next().unwrap_or(last).chars().filter(char::is_ascii_alphanumeric).take(20).collect();
    let [a, b] = base::env::random_bytes::<2>();
    format!("{}-{a:02x}{b:02x}", stem.to_ascii_lowercase())
}

/// `roost run`.
pub async fn run(client: &Client, args: RunArgs) -> Result<u8> {
    if !args.detach && !args.dry_run {
        args.console.check()?;
    }
    let (name, image, command) = words(client, &args).await?;
    let (server, name) = place(&name, args.place.server.clone())?;
    let mut template = args.template.template(&image, command)?;
    args.console.open(&mut template, !args.detach);
    let spec = spec(name.clone(), template, Power::On);
    let spec = ContainerSpec { server, address: args.place.ip, remove_on_exit: args.rm, ..spec };
    let changed = make(client, ContainerRequest { spec, dry_run: args.dry_run }).await?;
    if args.dry_run {
        return super::dry(&changed);
    }
    let watch = format!("{}/{name}?watch=true", path::CONTAINERS);
    let begun = if args.detach { progress::running } else { started };
    let followed = progress::follow(client, &watch, (name.as_str(), args.timeout.duration()), begun).await;
    if followed.is_err() && args.rm {
        foreground::give_up(client, &name).await;
    }
    let (view, _) = followed?;
    if args.detach {
        progress::settled(client).await;
        if let Some(view) = view {
            announce(client, &view).await;
        }
        return output::print(&format!("{name}\n")).map(|()| 0);
    }
    let came = foreground::join(client, &name, args.console).await?;
    // One that was left runs on, and goes when it has ended.
    if let Some(view) = view.filter(|_| came.ended) {
        if args.rm {
            gone(client, &view, args.timeout.duration()).await?;
        } else {
            // The next command finds it ended. How it ended is known already, so that nothing fails by this.
            let _ = progress::follow(client, &watch, (name.as_str(), KNOWN), |now| over(&view, now)).await;
        }
    }
    Ok(came.code)
}

/// Longest wait for the cluster to know that a program has ended.
const KNOWN: Duration = Duration::from_secs(2);

/// Ended, and perhaps started again.
fn over(then: &ContainerView, now: &ContainerView) -> Standing {
    let same = now.phase == Some(Phase::Running) && now.started == then.started;
    if same { Standing::Under { done: 0, of: 1, word: "ended".to_owned() } } else { Standing::True }
}

/// Begun, whatever became of it since: its output is to be shown.
fn started(view: &ContainerView) -> Standing {
    match view.phase {
        Some(Phase::Running | Phase::Exited | Phase::BackOff) => Standing::True,
        _ => progress::running(view),
    }
}

/// Says where it runs.
pub async fn announce(client: &Client, view: &ContainerView) {
    let (Some(server), Some(address)) = (&view.server, view.address) else { return };
    if let Some(code) = view.exit_code.filter(|_| view.pid.is_none()) {
        return say::done(&format!("{} ran on {server} at {address} and ended with exit code {code}", view.name));
    }
    let mut line = format!("{} running on {server} at {address}", view.name);
    if let (Some(port), Ok(home)) =
        (view.publish.first(), client.get::<api::view::ServerView>(&format!("{}/{server}", path::SERVERS)).await)
    {
        line.push_str(&format!(" · http://{}:{}", home.spec.address, port.host));
    }
    say::done(&line);
}
