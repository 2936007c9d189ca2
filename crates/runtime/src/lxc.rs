//! System containers: [`driver::Runtime`] on Debian's LXC tools. Thin: the shim keeps `lxc-start` in the foreground, as it
//! keeps an application container's first program, so that output, ends and adoption are one mechanism for both kinds.

mod attach;
mod config;
pub mod init;
pub mod keeper;

use crate::{Error, Options, Result, engine::Engine};
use api::{
    InstanceId, Name,
    quantity::Span,
    spec::{ContainerKind, Limits},
    stream::ExecRequest,
};
use driver::runtime::{Adjust, ExecHandle, PodChanged, PodRun, PodStatus, Runtime, RuntimeInfo};
use std::path::{Path, PathBuf};

/// Runs system containers.
pub struct Lxc {
    engine: Engine,
}

impl Lxc {
    /// Finds and watches what runs already. `changed` is called whenever a pod ends or is found ended.
    pub fn new(options: Options, changed: PodChanged) -> Result<Self> {
        Ok(Self { engine: Engine::new(options, ContainerKind::System, changed)? })
    }
}

impl Runtime for Lxc {
    fn info(&self) -> RuntimeInfo {
        let missing = ["lxc-start", "lxc-attach"].into_iter().find(|name| tool(name).is_none());
        RuntimeInfo {
            name: "lxc".to_owned(),
            kind: ContainerKind::System,
            cgroups: self.engine.shape().name().to_owned(),
            unavailable: missing.map(|name| format!("{name} is not installed: install Debian's package lxc")),
        }
    }

    fn observe(&self) -> driver::Result<Vec<PodStatus>> {
        Ok(self.engine.observe()?)
    }

    fn ensure(&self, pod: &PodRun) -> driver::Result<PodStatus> {
        if pod.containers.iter().any(|c| c.kind != ContainerKind::System) {
            return Err(Error::text(format!("instance {} has application containers: LXC runs whole systems", pod.id)).into());
        }
        Ok(self.engine.ensure(pod)?)
    }

    fn stop(&self, id: InstanceId, grace: Span) -> driver::Result<PodStatus> {
        Ok(self.engine.stop(id, grace)?)
    }

    fn remove(&self, id: InstanceId) -> driver::Result<()> {
        Ok(self.engine.remove(id)?)
    }

    fn freeze(&self, id: InstanceId, frozen: bool) -> driver::Result<()> {
        Ok(self.engine.freeze(id, frozen)?)
    }

    fn signal(&self, id: InstanceId, signal: i32) -> driver::Result<()> {
        Ok(self.engine.signal(id, signal)?)
    }

    fn exec(&self, id: InstanceId, request: &ExecRequest) -> driver::Result<ExecHandle> {
        Ok(attach::attach(&self.engine, id, request)?)
    }
}

impl Adjust for Lxc {
    fn prepare(&self, pod: &PodRun) -> driver::Result<PodStatus> {
        Ok(self.engine.prepare(pod)?)
    }

    fn limit(&self, id: InstanceId, limits: &[(Name, Limits)]) -> driver::Result<()> {
        Ok(self.engine.limit(id, limits)?)
    }
}

/// LXC's directory of containers. It keeps nothing there of ours, but root inside must be able to enter it.
const DIRECTORY: &str = "/run";

/// A program of LXC, where the distribution puts them.
fn tool(name: &str) -> Option<PathBuf> {
    ["/usr/bin", "/usr/local/bin"].iter().map(|directory| Path::new(directory).join(name)).find(|path| path.exists())
}

fn required(name: &str) -> Result<PathBuf> {
    tool(name).ok_or_else(|| Error::text(format!("{name} is not installed: install Debian's package lxc")))
}
