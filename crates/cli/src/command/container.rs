//! `run`, `create`, and the verbs of a container's life.

use crate::{
    args::{ChangeArgs, TryArgs},
    command::{
        foreground::{self, ConsoleArgs},
        image,
        system::SystemArgs,
    },
    output,
    ports::{MountArg, PairArg, PortArg},
    progress::{self, Standing},
    say,
};
use api::{
    Bytes, Cpu, Error, Kind, Name, Result, Span, Timestamp, path,
    spec::{
        self, ContainerKind, ContainerSpec, ContainerTemplate, HealthCheck, ImageRef, Limits, PodTemplate, Power, Probe, Restart,
    },
    view::{Changed, ContainerRequest, ContainerView},
};
use clap::{Args, ValueEnum};
use http::Method;
use std::{net::Ipv4Addr, sync::Arc};
use wire::client::Client;

/// Flags that say what a container is like.
#[derive(Args, Clone, Default)]
pub struct TemplateArgs {
    /// Lead a port of the server to the container: 8080:80, 53:53/udp
    #[arg(short, long = "publish", value_name = "HOST:PORT")]
    pub publish: Vec<PortArg>,
    /// Set an environment variable
    #[arg(short, long = "env", value_name = "KEY=VALUE")]
    pub env: Vec<PairArg>,
    /// Mount a directory of the server: /on/server:/in/container[:ro]
    #[arg(short, long = "volume", value_name = "FROM:TO")]
    pub volume: Vec<MountArg>,
    /// Cores it may use, and reserves
    #[arg(long, value_name = "CORES")]
    pub cpu: Option<Cpu>,
    /// Memory it may use, and reserves
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<Bytes>,
    /// Processes and threads it may have
    #[arg(long, value_name = "COUNT")]
    pub pids: Option<u32>,
    /// User to run as
    #[arg(long, value_name = "USER[:GROUP]")]
    pub user: Option<String>,
    /// Directory to run in
    #[arg(long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// Program to run instead of the image's
    #[arg(long, value_name = "PROGRAM")]
    pub entrypoint: Option<String>,
    /// Healthy when this command exits 0 in the container
    #[arg(long, value_name = "COMMAND", group = "check")]
    pub health_cmd: Option<String>,
    /// Healthy when this TCP port accepts
    #[arg(long, value_name = "PORT", group = "check")]
    pub health_tcp: Option<u16>,
    /// Healthy when this answers: 80, 80/path
    #[arg(long, value_name = "PORT[/PATH]", group = "check")]
    pub health_http: Option<String>,
    /// Time between two checks
    #[arg(long, value_name = "DURATION", requires = "check")]
    pub health_interval: Option<Span>,
    /// Failures in a row that make it unhealthy
    #[arg(long, value_name = "COUNT", requires = "check")]
    pub health_retries: Option<u32>,
    /// Longest time until it must be healthy
    #[arg(long, value_name = "DURATION")]
    pub healthy_deadline: Option<Span>,
    /// Longest wait for its last connections when it is replaced
    #[arg(long, value_name = "DURATION")]
    pub drain_timeout: Option<Span>,
    /// Time a stop may take before it is killed
    #[arg(long, value_name = "DURATION")]
    pub stop_timeout: Option<Span>,
    /// What happens when its program ends
    #[arg(long, value_enum)]
    pub restart: Option<RestartArg>,
    /// app or system; when absent what the image is, and app when a command is given
    #[arg(long = "type", value_enum)]
    pub kind: Option<KindArg>,
    /// Label it
    #[arg(long, value_name = "KEY=VALUE")]
    pub label: Vec<PairArg>,
    /// Root file system cannot be written
    #[arg(long)]
    pub read_only: bool,
    /// Root inside is nobody outside
    #[arg(long)]
    pub userns: bool,
    /// Network to attach to
    #[arg(long, value_name = "NAME")]
    pub network: Option<String>,
    #[command(flatten)]
    pub system: SystemArgs,
}

/// Restart policies.
#[derive(Clone, Copy, ValueEnum)]
pub enum RestartArg {
    No,
    OnFailure,
    Always,
}

/// Kinds of containers.
#[derive(Clone, Copy, ValueEnum, PartialEq, Eq)]
pub enum KindArg {
    App,
    System,
}

/// The one network there is until others are added.
const DEFAULT_NETWORK: &str = "default";

impl TemplateArgs {
    /// The template these flags describe.
    pub fn template(&self, image: &str, command: Vec<String>) -> Result<PodTemplate> {
        if let Some(network) = self.network.as_deref().filter(|network| *network != DEFAULT_NETWORK) {
            return Err(Error::not_found(format!("no network {network}"))
                .hint("leave --network out: every container is in the cluster's own network"));
        }
        let container = ContainerTemplate {
            name: Name::parse("container", "main")?,
            image: ImageRef { name: image.to_owned(), digest: None },
            kind: if self.kind == Some(KindArg::System) { ContainerKind::System } else { ContainerKind::App },
            entrypoint: self.entrypoint.clone().map(|program| vec![program]),
            command: Some(command).filter(|command| !command.is_empty()),
            env: self.env.iter().map(|PairArg(key, value)| (key.clone(), value.clone())).collect(),
            user: self.user.clone(),
            workdir: self.workdir.clone(),
            mounts: self.volume.iter().map(|MountArg(mount)| mount.clone()).collect(),
            limits: Limits { memory: self.memory, cpu: self.cpu, pids: self.pids },
            health: self.health()?,
            restart: self.restart(),
            user_namespace: self.userns,
            read_only: self.read_only,
            terminal: false,
            stdin: false,
            foreground: None,
            system: self.system.rules(),
        };
        Ok(PodTemplate {
            containers: vec![container],
            publish: self.publish.iter().map(|PortArg(port)| *port).collect(),
            stop_grace: self.stop_timeout.unwrap_or(spec::default_grace()),
            drain_timeout: self.drain_timeout.unwrap_or(spec::default_drain()),
            healthy_deadline: self.healthy_deadline.unwrap_or(spec::default_healthy()),
            labels: self.label.iter().map(|PairArg(key, value)| (key.clone(), value.clone())).collect(),
        })
    }

    fn restart(&self) -> Restart {
        match self.restart {
            Some(RestartArg::Always) => Restart::Always,
            Some(RestartArg::OnFailure) => Restart::OnFailure,
            Some(RestartArg::No) | None => Restart::No,
        }
    }

    fn health(&self) -> Result<Option<HealthCheck>> {
        let probe = if let Some(command) = &self.health_cmd {
            Probe::Command(vec!["/bin/sh".to_owned(), "-c".to_owned(), command.clone()])
        } else if let Some(port) = self.health_tcp {
            Probe::Tcp(port)
        } else if let Some(text) = &self.health_http {
            http_probe(text)?
        } else {
            return Ok(None);
        };
        let mut check = HealthCheck::new(probe);
        if let Some(interval) = self.health_interval {
            check.interval = interval;
        }
        if let Some(retries) = self.health_retries {
            check.retries = retries;
        }
        Ok(Some(check))
    }
}

fn http_probe(text: &str) -> Result<Probe> {
    let (port, path) = text.split_once('/').unwrap_or((text, ""));
    let port = port
        .parse()
        .map_err(|_| Error::usage(format!("{text:?} is not an HTTP check: write a port and a path, as in 80/health")))?;
    Ok(Probe::Http { port, path: format!("/{path}"), host: None })
}

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
    let images: Vec<api::image::ImageRecord> = client.get(path::IMAGES).await?;
    let known = |text: &str| api::image::normalise(text).is_ok_and(|name| images.iter().any(|image| image.name == name));
    let named = match words.as_slice() {
        [first, second, ..] => !known(first) || known(second),
        _ => false,
    };
    let name = if named { words.remove(0) } else { invented(words.first().map_or("", String::as_str)) };
    let image = words.remove(0);
    words.extend(args.command.iter().cloned());
    Ok((name, image, words))
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
    if let (Some(view), true, true) = (view, args.rm, came.ended) {
        gone(client, &view, args.timeout.duration()).await?;
    }
    Ok(came.code)
}

/// Begun, whatever became of it since: its output is to be shown.
fn started(view: &ContainerView) -> Standing {
    use api::report::Phase;
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
/// Example: roost kill -s 15 web/3
#[derive(Args)]
pub struct KillArgs {
    /// [server:]name, or job/number
    #[arg(required = true)]
    pub targets: Vec<String>,
    /// Signal number
    #[arg(short, long, default_value_t = 9)]
    pub signal: i32,
    #[command(flatten)]
    pub change: TryArgs,
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
