//! Application containers: [`driver::Runtime`] on libcontainer.

use crate::{Error, Options, Result, engine::Engine, exec};
use api::{
    InstanceId, Name,
    quantity::Span,
    spec::{ContainerKind, Limits},
    stream::ExecRequest,
};
use driver::runtime::{Adjust, ExecHandle, PodChanged, PodRun, PodStatus, Runtime, RuntimeInfo};

/// Runs application containers.
pub struct Oci {
    engine: Engine,
}

impl Oci {
    /// Finds and watches what runs already. `changed` is called whenever a pod ends or is found ended.
    pub fn new(options: Options, changed: PodChanged) -> Result<Self> {
        Ok(Self { engine: Engine::new(options, ContainerKind::App, changed)? })
    }
}

impl Runtime for Oci {
    fn info(&self) -> RuntimeInfo {
        RuntimeInfo {
            name: "oci".to_owned(),
            kind: ContainerKind::App,
            cgroups: self.engine.shape().name().to_owned(),
            unavailable: unavailable(),
        }
    }

    fn observe(&self) -> driver::Result<Vec<PodStatus>> {
        Ok(self.engine.observe()?)
    }

    fn ensure(&self, pod: &PodRun) -> driver::Result<PodStatus> {
        if pod.containers.iter().any(|c| c.kind != ContainerKind::App) {
            return Err(Error::text(format!("instance {} has system containers: they are run by LXC", pod.id)).into());
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
        Ok(exec::in_app(&self.engine, id, request)?)
    }
}

impl Adjust for Oci {
    fn prepare(&self, pod: &PodRun) -> driver::Result<PodStatus> {
        Ok(self.engine.prepare(pod)?)
    }

    fn limit(&self, id: InstanceId, limits: &[(Name, Limits)]) -> driver::Result<()> {
        Ok(self.engine.limit(id, limits)?)
    }
}

/// Why containers cannot be run here, if so.
fn unavailable() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("containers are run by root only: start the agent as root".to_owned());
    }
    let overlay = std::fs::read_to_string("/proc/filesystems").unwrap_or_default().lines().any(|l| l.ends_with("\toverlay"));
    (!overlay).then(|| "the kernel has no overlay file system: load the module with modprobe overlay".to_owned())
}
