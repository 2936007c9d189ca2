//! `RUN`: a command in a container of its own, on top of a stage's layers.

use crate::{
    error::{Error, Result, about},
    mounts::{self, Prepared},
    output::{self, Ended},
    stage::{Site, one_line},
    stubs::Stubs,
    work::Work,
};
use api::{InstanceId, Name, spec::ContainerKind, spec::Limits, system::SystemRules};
use driver::{
    build::Way,
    image::Upper,
    runtime::{ContainerRun, PodRun},
};
use recipe::{effect::Run, instruction::Network};
use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

/// What the container is called, inside as well.
const NAME: &str = "build";
/// A read that takes longer is the chance to ask whether anybody still waits.
const READ: Duration = Duration::from_millis(100);

/// A container, and its network. They go when this is dropped.
struct Pod<'a> {
    site: &'a Site<'a>,
    id: InstanceId,
}

impl Drop for Pod<'_> {
    fn drop(&mut self) {
        let tools = &self.site.builder.tools;
        let gone = tools.runtime.remove(self.id).and(tools.ways.close(self.id));
        if let Err(error) = gone {
            tracing::warn!(%error, "a build's container stays until the agent starts again");
        }
    }
}

/// A command, and what its failure is told with.
pub struct Command<'a> {
    /// What runs.
    pub run: &'a Run,
    /// On what, lowest first.
    pub layers: &'a [PathBuf],
    /// Which line of which file it is from.
    pub place: &'a str,
    /// As it is written.
    pub text: &'a str,
    /// Is told each line it says.
    pub tell: &'a dyn Fn(&str),
}

/// Runs a command, and hands on what it changed while that is still there.
pub fn run<T>(site: &Site<'_>, command: &Command<'_>, then: impl FnOnce(&Upper) -> Result<T>) -> Result<T> {
    let Command { run, layers, place, text, tell } = *command;
    let work = site.work.inner()?;
    let prepared = mounts::prepare(site, run, &work)?;
    let targets: Vec<String> = prepared.mounts.iter().map(|mount| mount.target.clone()).collect();
    let none = [work.directory()?];
    let layers = if layers.is_empty() { &none } else { layers };
    let stubs = Stubs::of(layers, &targets, &work)?;
    let id = InstanceId(u64::from_be_bytes(base::env::random_bytes()));
    let pod = Pod { site, id };
    let way = way(site, run.network, (id, &work))?;
    let ended = follow(site, &pod_run(site, (id, way), (run, layers), &prepared)?, tell)?;
    if ended.code != Some(0) {
        let how = match (ended.code, ended.message) {
            (_, Some(message)) => format!("failed: {message}"),
            (Some(code), None) => format!("ended with exit code {code}"),
            (None, None) => "ended, and how could not be recorded".to_owned(),
        };
        return Err(Error::Command { place: place.to_owned(), command: one_line(text), how, last: ended.last });
    }
    let upper = site.builder.tools.inspect.writable_layer(id, None)?;
    let upper = upper.ok_or_else(|| Error::Wrong("what the command changed is gone".to_owned()))?;
    stubs.clear(&upper.path)?;
    let done = then(&upper);
    drop(pod);
    done
}

/// The network of a command. In a sandbox it is the machine's, since servers there have no way out.
fn way(site: &Site<'_>, network: Network, (id, work): (InstanceId, &Work)) -> Result<Way> {
    match (network, &site.builder.options.network) {
        (Network::Host, _) => {
            let sentence = "--network=host would give a build the server's own network, which Roost does not do: remove it";
            Err(Error::Wrong(sentence.to_owned()))
        }
        (Network::Default, Some(outer)) => {
            // By a name of ours: what starts a container lets go of the directory that a namespace lies in.
            let path = work.directory()?.join("network");
            std::os::unix::fs::symlink(outer, &path).map_err(Error::io(about("make", &path)))?;
            Ok(Way { path, address: Ipv4Addr::LOCALHOST })
        }
        (Network::Default, None) => Ok(site.builder.tools.ways.open(id, true)?),
        (Network::None, _) => Ok(site.builder.tools.ways.open(id, false)?),
    }
}

fn pod_run(
    site: &Site<'_>,
    (id, way): (InstanceId, Way),
    (run, layers): (&Run, &[PathBuf]),
    prepared: &Prepared,
) -> Result<PodRun> {
    let container = ContainerRun {
        name: Name::parse("container", NAME)?,
        kind: ContainerKind::App,
        layers: layers.to_vec(),
        argv: run.argv.clone(),
        env: run.env.iter().chain(&run.proxies).chain(&prepared.env).cloned().collect(),
        user: run.user.clone(),
        workdir: run.workdir.clone(),
        mounts: prepared.mounts.clone(),
        limits: Limits::default(),
        stop_signal: libc::SIGTERM,
        user_namespace: false,
        read_only: false,
        terminal: false,
        size: None,
        stdin: false,
        awaited: true,
        system: SystemRules::default(),
    };
    let resolv_conf = if run.network == Network::None { String::new() } else { resolver(site) };
    let (hostname, address) = (NAME.to_owned(), way.address);
    Ok(PodRun { id, hostname, netns: way.path, address, resolv_conf, containers: vec![container] })
}

/// Whom commands ask for names: whom the server asks. A resolver of its own on a loopback address is not reached from
/// another network; systemd's keeps the list of those it asks itself.
fn resolver(site: &Site<'_>) -> String {
    const OWN: &str = "/etc/resolv.conf";
    const SYSTEMD: &str = "/run/systemd/resolve/resolv.conf";
    let own = fs::read_to_string(OWN).unwrap_or_default();
    if site.builder.options.network.is_some() {
        return own;
    }
    let reachable = without_loopback(&own);
    if reachable.contains("nameserver") || !Path::new(SYSTEMD).exists() {
        return reachable;
    }
    without_loopback(&fs::read_to_string(SYSTEMD).unwrap_or_default())
}

fn without_loopback(text: &str) -> String {
    let reached = |line: &&str| {
        let server = line.strip_prefix("nameserver").map(str::trim);
        !server.is_some_and(|server| server.starts_with("127.") || server == "::1")
    };
    text.lines().filter(reached).map(|line| format!("{line}\n")).collect()
}

/// Starts the container and reads what it says until it has ended.
fn follow(site: &Site<'_>, pod: &PodRun, tell: &dyn Fn(&str)) -> Result<Ended> {
    let tools = &site.builder.tools;
    let could_not = |message: String| Ended { code: None, message: Some(message), last: Vec::new() };
    if let Err(error) = tools.runtime.ensure(pod) {
        return if error.retryable { Err(error.into()) } else { Ok(could_not(error.message)) };
    }
    let console = tools.inspect.attach(pod.id, None, true)?;
    console.stream.set_read_timeout(Some(READ)).map_err(Error::io("read what the command says"))?;
    let ended = output::follow(&console.stream, tell, &|| site.still_wanted().is_err())?;
    if ended.code == Some(0) {
        return Ok(ended);
    }
    // What there is to say beyond the code is in the record.
    let seen = tools.runtime.observe()?.into_iter().find(|status| status.id == pod.id);
    let (code, message) = seen.map_or((None, None), |status| (status.exit_code, status.message));
    Ok(Ended { code: ended.code.or(code), message: ended.message.or(message), ..ended })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_nobody_else_reaches_are_left_out() {
        let text = "# c\nnameserver 127.0.0.53\nnameserver 192.0.2.1\nnameserver ::1\noptions edns0\n";
        assert_eq!(without_loopback(text), "# c\nnameserver 192.0.2.1\noptions edns0\n");
    }
}
