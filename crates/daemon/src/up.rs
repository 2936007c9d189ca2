//! `roost up`: this machine becomes a cluster of one server.

use crate::{
    Up,
    config::{self, Config},
    daemon, machine, manager, say,
};
use api::{
    Error, Kind, Name, Result, Timestamp, path,
    server::{Liveness, ServerSpec},
    spec::ClusterSpec,
    view::ServerView,
};
use std::{
    fs::{self, File},
    net::{IpAddr, SocketAddr},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};
use store::embedded::Embedded;
use wire::{
    client::Client,
    identity::{Authority, Subject},
};

/// How long a server's certificate is good for.
const CERTIFICATE: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long the daemon may take to answer.
const START: Duration = Duration::from_secs(20);
/// Time between two looks whether it answers.
const LOOK: Duration = Duration::from_millis(10);
/// Sets the VXLAN identifier apart from those people choose by hand, which tend to be small.
const VNI: u32 = 0x52_53;

/// Runs it.
pub fn run(request: Up) -> Result<u8> {
    let config = match config::load()? {
        Some(config) => config,
        None => found(&request)?,
    };
    if daemon::running().is_some() {
        say(&format!("{} is up already", config.name));
        return Ok(0);
    }
    if !request.detach {
        daemon::run()?;
        return Ok(0);
    }
    start()?;
    let server = block_on(wait(&config))?;
    say(&format!(
        "cluster \"{}\" is up   manager and agent on {} ({}), state in {}",
        request.cluster,
        config.name,
        config.address,
        path::STATE_DIR
    ));
    eprintln!("  containers get {}, names end in .{}", server.spec.subnet, config.domain);
    eprintln!(
        "  next: roost run -d web <image> -p 8080:80        add a server: roost token create, then there: roost join <token>"
    );
    Ok(0)
}

/// Runs one small future to its end.
pub fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Error::failed(format!("no runtime: {error}")))?.block_on(future)
}

/// Founds the cluster: keys, identity, the store's first commit, and last the file that makes this machine a server. Whatever a
/// failed or interrupted attempt left is put aside by beginning again from nothing.
fn found(request: &Up) -> Result<Config> {
    let name = request.name.clone().map_or_else(machine::host_name, Ok)?;
    let address = request.advertise.unwrap_or_else(machine::own_address);
    let (cluster, server) = specs(request, (&name, address))?;
    let _ = fs::remove_file(manager::store_file());
    config::directory(Path::new(path::STATE_DIR))?;
    let authority = Authority::create(request.cluster.as_str())?;
    manager::save_authority(&authority)?;
    let identity = authority.issue(&Subject::Server(name.clone()), CERTIFICATE, &[address])?;
    identity.save(&config::identity())?;
    let server = ServerSpec { key_fingerprint: identity.fingerprint()?, ..server };
    let opened = Embedded::open(&manager::store_file());
    let store = opened.map_err(|error| Error::from_chain(Kind::Failed, "the cluster's store cannot be made", &error))?;
    block_on(control::found::found(&store, &cluster, &server))?;
    let config = Config {
        format: api::FORMAT_VERSION,
        name,
        address,
        manager: true,
        control: SocketAddr::new(address, path::MANAGER_PORT),
        domain: cluster.domain,
    };
    config::save(&config)?;
    Ok(config)
}

fn specs(request: &Up, (name, address): (&Name, IpAddr)) -> Result<(ClusterSpec, ServerSpec)> {
    let range: ipnet::Ipv4Net = request
        .range
        .parse()
        .map_err(|_| Error::usage(format!("{:?} is not a range of addresses: write one as 10.0.0.0/16", request.range)))?;
    if range.prefix_len() >= request.prefix || request.prefix > 29 {
        return Err(Error::usage(format!(
            "servers cannot get a /{} each out of {range}: use a prefix of {} to 29",
            request.prefix,
            range.prefix_len() + 1
        )));
    }
    if request.domain.is_empty() || request.domain.split('.').any(|label| Name::parse("domain", label).is_err()) {
        return Err(Error::usage(format!("{:?} is not a domain: use labels of a-z, 0-9 and -, as in internal", request.domain)));
    }
    // The first subnet stays free, so that server 1 gets x.y.1.0/24: numbers of servers and subnets agree.
    let subnets = range.subnets(request.prefix).map_err(|error| Error::usage(error.to_string()))?;
    let subnet =
        subnets.clone().nth(1).or_else(|| subnets.clone().next()).ok_or_else(|| Error::usage("the range has no room"))?;
    let now = Timestamp(base::env::now_millis());
    let cluster = ClusterSpec {
        name: request.cluster.clone(),
        domain: request.domain.clone(),
        range: range.trunc(),
        server_prefix: request.prefix,
        vni: VNI,
        created: now,
    };
    let server = ServerSpec {
        name: name.clone(),
        number: 1,
        address,
        subnet,
        manager: true,
        draining: false,
        labels: Default::default(),
        key_fingerprint: String::new(),
        facts: machine::facts(),
        joined: now,
    };
    Ok((cluster, server))
}

/// The unit that `make install` puts in place.
const UNIT: &str = "/etc/systemd/system/roost.service";

/// Starts the daemon in the background: by systemd where it runs and knows us, else by ourselves.
pub fn start() -> Result<()> {
    if Path::new("/run/systemd/system").exists() && Path::new(UNIT).exists() {
        let status = Command::new("systemctl").args(["enable", "--now", "--quiet", "roost"]).status();
        return match status {
            Ok(status) if status.success() => Ok(()),
            _ => Err(Error::failed("systemd could not start Roost").hint("journalctl -u roost")),
        };
    }
    config::directory(Path::new(path::RUN_DIR))?;
    config::directory(&config::state("log"))?;
    let log = File::options().create(true).append(true).open(config::state("log/daemon.log"));
    let log = log.map_err(|error| Error::failed(format!("cannot write the daemon's log: {error}")))?;
    let own =
        std::env::current_exe().map_err(|error| Error::failed(format!("this program's own path cannot be found: {error}")))?;
    let mut command = Command::new(own);
    command.arg("daemon").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).current_dir("/");
    // SAFETY: setsid is async-signal-safe and touches nothing of the parent.
    unsafe { command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(Into::into)) };
    command.spawn().map(drop).map_err(|error| Error::failed(format!("the daemon cannot be started: {error}")))
}

/// Waits until the control plane answers and this server is there.
pub async fn wait(config: &Config) -> Result<ServerView> {
    let client = Client::unix(path::SOCKET);
    let started = base::env::instant();
    loop {
        let answer: Result<ServerView> = client.get(&format!("{}/{}", path::SERVERS, config.name)).await;
        match answer {
            Ok(server) if server.liveness == Liveness::Alive => return Ok(server),
            answer if started.elapsed() > START => return Err(late(answer.err())),
            _ => tokio::time::sleep(LOOK).await,
        }
    }
}

/// What the daemon said last, for an error that explains itself.
fn late(cause: Option<Error>) -> Error {
    let mut error = Error::new(Kind::Unreachable, format!("Roost did not come up within {} s", START.as_secs()));
    error.details.extend(cause.map(|cause| cause.message));
    for part in ["daemon", "manager", "agent"] {
        let text = fs::read_to_string(config::state(&format!("log/{part}.log"))).unwrap_or_default();
        error.details.extend(text.lines().rev().take(3).map(|line| format!("{part}: {line}")));
    }
    error.hint(format!("logs are in {}/log", path::STATE_DIR))
}
