//! The flags that say what a container is like, for `run`, `create` and jobs.

use crate::{
    command::system::SystemArgs,
    ports::{MountArg, PairArg, PortArg},
};
use api::{
    Bytes, Cpu, Error, Name, Result, Span,
    spec::{self, ContainerKind, ContainerTemplate, HealthCheck, ImageRef, Limits, PodTemplate, Probe, Restart},
};
use clap::{Args, ValueEnum};

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
