//! Looking at a pod without changing it: use of resources, logs, files, consoles.

use crate::{
    Error, Options, Result,
    cgroup::Shape,
    engine, idmap,
    paths::PodPaths,
    record::read_json,
    rootfs::{self, Root},
    shim::control::{Answer, Opened, Request},
};
use api::{InstanceId, Name, report::InstanceStats};
use driver::{
    image::{IdRange, Upper},
    runtime::{Console, ContainerRun, Inspect, PodRun},
};
use std::{
    os::fd::{AsFd as _, OwnedFd},
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

/// [`Inspect`] for pods of both kinds.
pub struct Inspector {
    options: Options,
    shape: Shape,
    /// One mount at a time: two of the same root would disturb each other.
    mounting: Mutex<()>,
}

impl Inspector {
    /// Looks where these options say.
    pub fn new(options: Options) -> Result<Self> {
        Ok(Self { options, shape: Shape::detect()?, mounting: Mutex::default() })
    }

    fn find(&self, id: InstanceId, container: Option<&Name>) -> Result<ContainerRun> {
        let pod: PodRun = read_json(&PodPaths::new(&self.options, id).pod())?
            .ok_or_else(|| Error::text(format!("instance {id} is not on this server")))?;
        let wanted = |c: &ContainerRun| container.is_none_or(|name| c.name == *name);
        pod.containers.into_iter().find(wanted).ok_or_else(|| Error::text(format!("instance {id} has no container of that name")))
    }

    /// A pod that was never started has no record of what was asked for.
    fn upper(&self, id: InstanceId, container: Option<&Name>) -> Result<Option<Upper>> {
        let paths = PodPaths::new(&self.options, id);
        if !paths.pod().exists() {
            return Ok(None);
        }
        let container = self.find(id, container)?;
        let path = paths.container(&container.name).upper();
        let ids = container.user_namespace.then_some(IdRange { first: idmap::FIRST, count: idmap::COUNT });
        Ok(path.is_dir().then_some(Upper { path, ids }))
    }

    fn root(&self, id: InstanceId, container: Option<&Name>) -> Result<PathBuf> {
        let container = self.find(id, container)?;
        let paths = PodPaths::new(&self.options, id);
        let asked = engine::connect(&paths.run).and_then(|connection| engine::ask(connection, &Request::Status));
        if let Ok((_, Answer::Running(running))) = asked {
            let pid = running.containers.iter().find(|c| c.name == container.name).and_then(|c| c.pid);
            let pid = pid.ok_or_else(|| Error::Later(format!("container {} is just ending", container.name)))?;
            return Ok(PathBuf::from(format!("/proc/{pid}/root")));
        }
        let _held = self.mounting.lock().unwrap_or_else(PoisonError::into_inner);
        let view = paths.container(&container.name).view();
        if !rootfs::mounts_below(&view).contains(&view) {
            mount_aside(&container, &paths)?;
        }
        Ok(view)
    }

    fn console(&self, id: InstanceId, container: Option<&Name>, whole: bool) -> Result<Console> {
        let shim = engine::connect(&PodPaths::new(&self.options, id).run)?;
        match engine::ask(shim, &Request::Console { container: container.cloned(), whole })? {
            (stream, Answer::Opened(Opened { terminal, input, logged })) => Ok(Console { stream, terminal, input, logged }),
            (_, Answer::Refused(why)) => Err(Error::text(why)),
            (_, other) => Err(Error::text(format!("the process that looks after the pod answered {other:?}"))),
        }
    }
}

/// Mounts a stopped container's root, on a thread of its own because that takes a working directory of its own.
fn mount_aside(container: &ContainerRun, paths: &PodPaths) -> Result<()> {
    std::thread::scope(|scope| {
        let mounted = scope.spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).map_err(|e| Error::call("leave the working directory", e))?;
            let space = container.user_namespace.then(idmap::namespace).transpose()?;
            let paths = paths.container(&container.name);
            let shifted = space.as_ref().map(OwnedFd::as_fd);
            Root { layers: &container.layers, paths: &paths, shifted }.mount(&paths.view())
        });
        mounted.join().unwrap_or_else(|_| Err(Error::text("the mounting thread panicked")))
    })
}

impl Inspect for Inspector {
    fn stats(&self, id: InstanceId) -> driver::Result<InstanceStats> {
        let path = format!("{}/{id}", self.options.cgroup_parent);
        let there = self.shape.hierarchy("pids").is_some_and(|root| root.join(&path).is_dir());
        if !there {
            return Err(driver::DriverError::retryable(format!("instance {id} does not run on this server")));
        }
        Ok(self.shape.stats(&path))
    }

    fn log_directory(&self, id: InstanceId) -> PathBuf {
        PodPaths::new(&self.options, id).log
    }

    fn root_directory(&self, id: InstanceId, container: Option<&Name>) -> driver::Result<PathBuf> {
        Ok(self.root(id, container)?)
    }

    fn attach(&self, id: InstanceId, container: Option<&Name>, whole: bool) -> driver::Result<Console> {
        Ok(self.console(id, container, whole)?)
    }

    fn writable_layer(&self, id: InstanceId, container: Option<&Name>) -> driver::Result<Option<Upper>> {
        Ok(self.upper(id, container)?)
    }

    fn first_owner(&self, id: InstanceId, container: Option<&Name>) -> driver::Result<u32> {
        Ok(if self.find(id, container)?.user_namespace { idmap::FIRST } else { 0 })
    }
}
