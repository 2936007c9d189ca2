//! `roost agent`: the agent with real drivers, as a process.

use crate::{config, daemon, machine, names};
use agent::Drivers;
use api::{Error, Kind, Result, path, spec::ContainerKind};
use base::supervise::Scope;
use driver::{
    DriverError, Network, Runtime, WayOut,
    runtime::{Inspect, PodChanged},
};
use std::{
    ffi::OsString,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};
use wire::identity::Identity;

/// Cgroup that pods lie in.
const CGROUP: &str = "roost";
/// Pods that are started or stopped at once: twice the processors, since half of such work waits for disks.
fn parallel() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get) * 2
}

fn own(word: &str) -> Vec<OsString> {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe"));
    vec![program.into_os_string(), OsString::from(word)]
}

fn options() -> runtime::Options {
    runtime::Options {
        run_dir: config::run_dir("pods"),
        state_dir: config::state("pods"),
        log_dir: config::state("pod-logs"),
        cgroup_parent: CGROUP.to_owned(),
        shim: own("shim"),
    }
}

fn failed(what: &'static str) -> impl Fn(DriverError) -> Error {
    move |error| Error::new(Kind::Failed, format!("{what} cannot be used")).detail(error.message)
}

/// Cgroup that commands of builds lie in.
const BUILDS_CGROUP: &str = "roost-builds";

/// Commands of builds run apart from the pods that the cluster knows.
fn build_options() -> runtime::Options {
    runtime::Options {
        run_dir: config::run_dir("builds"),
        state_dir: config::state("builds/pods"),
        log_dir: config::state("builds/pod-logs"),
        cgroup_parent: BUILDS_CGROUP.to_owned(),
        shim: own("shim"),
    }
}

/// Builds images with the parts that the agent has.
fn builder(images: &Arc<image::ContentStore>, ways: Arc<dyn WayOut>, outer: Option<PathBuf>) -> Result<Arc<dyn driver::Builder>> {
    let broken = |error: runtime::Error| failed("the runtime of builds")(error.into());
    let tools = build::Tools {
        runtime: Arc::new(runtime::Oci::new(build_options(), Box::new(|_| {})).map_err(broken)?),
        inspect: Arc::new(runtime::Inspector::new(build_options()).map_err(broken)?),
        ways,
        images: Arc::clone(images) as Arc<dyn driver::Images>,
        layers: Arc::clone(images) as Arc<dyn driver::Layers>,
    };
    let options = build::Options { state_dir: config::state("builds"), network: outer };
    let builder = build::Builder::new(options, tools).map_err(|error| failed("builds")(error.into()))?;
    Ok(Arc::new(builder))
}

/// Both runtimes; the one for system containers only where LXC is installed.
fn build(changed: PodChanged) -> Result<Vec<Arc<dyn Runtime>>> {
    let changed: Arc<PodChanged> = Arc::new(changed);
    let told = |changed: &Arc<PodChanged>| -> PodChanged {
        let changed = Arc::clone(changed);
        Box::new(move |id| changed(id))
    };
    let start = |error: runtime::Error| failed("the container runtime")(error.into());
    let mut runtimes: Vec<Arc<dyn Runtime>> = vec![Arc::new(runtime::Oci::new(options(), told(&changed)).map_err(start)?)];
    if machine::program("lxc-start") {
        runtimes.push(Arc::new(runtime::Lxc::new(options(), told(&changed)).map_err(start)?));
    }
    Ok(runtimes)
}

/// The runtimes by themselves, for cleaning up.
pub fn runtimes() -> Result<Vec<Arc<dyn Runtime>>> {
    build(Box::new(|_| {}))
}

/// The runtime of builds by itself, for cleaning up.
pub fn build_runtime() -> Result<Arc<dyn Runtime>> {
    let start = |error: runtime::Error| failed("the runtime of builds")(error.into());
    Ok(Arc::new(runtime::Oci::new(build_options(), Box::new(|_| {})).map_err(start)?))
}

/// Removes the cgroups that held pods.
pub fn remove_cgroups() -> std::result::Result<(), String> {
    let removed = [CGROUP, BUILDS_CGROUP].map(runtime::remove_cgroup_parent);
    removed.into_iter().collect::<runtime::Result<()>>().map_err(|error| error.to_string())
}

/// The network driver.
pub fn network() -> Result<Arc<dyn Network>> {
    kernel_network().map(|network| network as Arc<dyn Network>)
}

fn kernel_network() -> Result<Arc<net::KernelNetwork>> {
    let network = net::KernelNetwork::new(net::Options::new(config::run_dir("netns")));
    network.map(Arc::new).map_err(|error| failed("the network")(error.into()))
}

/// Runs the agent until asked to end.
pub fn run() -> Result<()> {
    let config = config::require()?;
    let identity = Identity::load(&config::identity())?;
    config::directory(&PathBuf::from(path::RUN_DIR))?;
    let (changed, receiver) = agent::changed();
    let runtimes = build(changed)?;
    let inspect: Arc<dyn Inspect> =
        Arc::new(runtime::Inspector::new(options()).map_err(|error| failed("the runtime")(error.into()))?);
    let outer = Some(PathBuf::from(path::OUTER_NETWORK)).filter(|path| path.exists());
    let images = image::ContentStore::open(image::Options {
        network: outer.clone(),
        ..image::Options::new(config::state("images"), own("unpack"))
    });
    let images = Arc::new(images.map_err(failed("the image store"))?);
    let network = kernel_network()?;
    let builder = builder(&images, Arc::clone(&network) as Arc<dyn WayOut>, outer)?;
    debug_assert!(runtimes.iter().any(|runtime| runtime.info().kind == ContainerKind::App));
    let options = agent::Options {
        server: config.name.clone(),
        manager: config.control,
        identity,
        state_dir: config::state("agent"),
        run_dir: PathBuf::from(path::RUN_DIR),
        listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, path::AGENT_PORT)),
        parallel: parallel(),
        facts: machine::facts(),
        tunnel_socket: (!config.manager).then(|| PathBuf::from(path::SOCKET)),
        forget_on_refusal: true,
    };
    daemon::serve("agent", |scope: Scope| async move {
        let names = names::answer(config.domain, &scope);
        let content = Arc::clone(&images) as Arc<dyn driver::Content>;
        let drivers = Drivers { runtimes, inspect, network, images, content, builder, names };
        let ended = agent::run(options, drivers, receiver, scope).await;
        ended.map_err(|error| Error::from_chain(Kind::Failed, "the agent ended", &error))
    })
}
