//! Makes one container of a pod, in a process that ends when it is made: mount namespace, root, configuration, program.
//!
//! A process of its own, so that mounts stay private, the shim stays small, and what the library does to its caller
//! (not dumpable, other limits) is not done to the shim.

use crate::{
    Error, Result,
    cgroup::Shape,
    enter::Entered,
    idmap,
    launch::{FirstProgram, Program, TERMINAL_SIZE},
    paths::ContainerPaths,
    record::{Order, Refusal, write_file},
    rootfs::{self, Root},
    spec::{self, Facts},
    sys, user,
};
use driver::runtime::{ContainerRun, MountRun};
use libcontainer::{
    container::{Container, builder::ContainerBuilder},
    syscall::syscall::SyscallType,
};
use std::{
    fs,
    os::{
        fd::{AsFd as _, AsRawFd, OwnedFd},
        unix::fs::chown,
    },
    path::{Path, PathBuf},
};

/// Longest reason that is read back from a program that could not be started.
const VERDICT_MAX: usize = 4096;

/// Standard streams of a new container.
pub struct Streams {
    /// Standard input.
    pub input: OwnedFd,
    /// Standard output.
    pub output: OwnedFd,
    /// Standard error.
    pub error: OwnedFd,
    /// Where the controlling end of its terminal is sent, if it has one.
    pub terminal: Option<OwnedFd>,
}

/// Which container is made.
pub struct Making<'a> {
    /// Its pod.
    pub order: &'a Order,
    /// Which of the pod's.
    pub index: usize,
    /// First container's main process, if this is not the first.
    pub leader: Option<i32>,
}

impl Making<'_> {
    /// The container's part of the order.
    pub fn container(&self) -> &ContainerRun {
        &self.order.pod.containers[self.index]
    }

    /// Its directories.
    pub fn paths(&self) -> ContainerPaths {
        self.order.paths.container(&self.container().name)
    }

    /// Path of its cgroup below the root of each hierarchy.
    pub fn cgroup(&self) -> String {
        format!("{}/{}/{}", self.order.cgroup_parent, self.order.pod.id, self.container().name)
    }

    /// Namespace that shifts owners: the first container's, or one made for the purpose with the same map.
    fn shift(&self) -> Result<Option<OwnedFd>> {
        self.container().user_namespace.then(idmap::namespace).transpose()
    }

    /// Makes the container and starts its program, which becomes a child of the caller's parent. Gives its process id.
    pub fn app(&self, streams: Streams) -> Result<i32, Refusal> {
        sys::join_network(&self.order.pod.netns)?;
        rootfs::private_mounts()?;
        rootfs::let_go_of_namespaces(&self.order.pod.netns);
        let shape = Shape::detect()?;
        let (config, program) = self.prepare(&shape)?;
        let bundle = self.paths().bundle();
        fs::create_dir_all(&bundle).map_err(|e| Error::io("create", &bundle, e))?;
        write_file(&bundle.join("config.json"), config.to_string().as_bytes())?;
        let (verdict, told) = sys::pipe().map_err(Refusal::from)?;
        let terminal = streams.terminal.as_ref().map(AsRawFd::as_raw_fd);
        let first = FirstProgram { program: Program { terminal, ..program }, verdict: told.as_raw_fd() };
        let entered = if self.container().user_namespace {
            // In there the kernel refuses to show a directory without what is mounted below it (mount_namespaces(7)).
            Entered::default()
        } else {
            Entered::enter(&shape, &self.cgroup(), &self.paths().stand_in())?
        };
        let pid = self.build(&bundle, streams, first, entered)?;
        drop(told);
        started(&verdict, pid)
    }

    /// Mounts the root and renders the configuration.
    fn prepare(&self, shape: &Shape) -> Result<(serde_json::Value, Program)> {
        let (container, paths) = (self.container(), self.paths());
        let space = self.shift()?;
        let shifted = space.as_ref().map(OwnedFd::as_fd);
        let root = paths.root();
        Root { layers: &container.layers, paths: &paths, shifted }.mount(&root)?;
        let directory = sys::open_directory(&root)?;
        let user = user::lookup(directory.as_fd(), &container.user)?;
        let owner = if shifted.is_some() { idmap::FIRST } else { 0 };
        rootfs::make_directory(directory.as_fd(), Path::new(&container.workdir), owner)?;
        let mut etc = write_etc(&paths, &self.order.pod, owner)?;
        let mut mounts = volumes(container)?;
        let mut root = root;
        if let Some(space) = shifted {
            let mut stage = rootfs::Stage::new();
            stage.copy(&root)?;
            etc.iter().try_for_each(|(source, _)| stage.copy(source).map(drop))?;
            mounts.iter().try_for_each(|mount| stage.copy_shifted(&mount.source, space).map(drop))?;
            let mut places = stage.set_up(&self.order.paths.run)?.into_iter();
            let sources = std::iter::once(&mut root)
                .chain(etc.iter_mut().map(|(source, _)| source))
                .chain(mounts.iter_mut().map(|mount| &mut mount.source));
            sources.for_each(|source| *source = places.next().unwrap_or_default());
        }
        let (_, files_hard) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
            .map_err(|e| Error::call("read our own limits", e))?;
        let hostname = &self.order.pod.hostname;
        let config = spec::render(&Facts {
            hostname,
            container,
            root: &root,
            leader: self.leader,
            etc: &etc,
            mounts: &mounts,
            user: &user,
            cgroup: &self.cgroup(),
            shape,
            files_hard,
            oom_score: own_oom_score(),
        });
        let env = spec::environment(&container.env, &user, hostname, container.terminal);
        let size = container.size.unwrap_or(TERMINAL_SIZE);
        Ok((config, Program { argv: container.argv.clone(), env, terminal: None, size }))
    }

    fn build(&self, bundle: &Path, streams: Streams, first: FirstProgram, entered: Entered) -> Result<i32> {
        let library = self.paths().library();
        let fail = |e: &dyn std::error::Error| Error::text(format!("container {}: {}", self.container().name, sentence(e)));
        let mut container: Container = ContainerBuilder::new(self.container().name.to_string(), SyscallType::default())
            .with_root_path(&library)
            .map_err(|e| fail(&e))?
            .with_executor(first)
            .with_stdin(streams.input)
            .with_stdout(streams.output)
            .with_stderr(streams.error)
            .as_init(bundle)
            .with_systemd(false)
            .with_detach(true)
            .as_sibling(true)
            .build()
            .map_err(|e| fail(&e))?;
        let pid = container.pid().ok_or_else(|| Error::text("the container has no process"))?;
        entered.leave()?;
        container.start().map_err(|e| fail(&e))?;
        Ok(pid.as_raw())
    }
}

/// Waits until the program runs (the kernel closes the pipe) or says why it cannot.
fn started(verdict: &OwnedFd, pid: i32) -> Result<i32, Refusal> {
    let mut text = vec![0; VERDICT_MAX];
    match sys::read_some(verdict, &mut text) {
        Ok(0) => Ok(pid),
        Ok(length) => Err(serde_json::from_slice(&text[..length])
            .unwrap_or_else(|_| Refusal::before("the program could not be started and could not say why"))),
        Err(error) => Err(Error::call("wait for the program", error).into()),
    }
}

/// An error and its causes as one sentence, each said once.
fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}

/// Writes the pod's files for `/etc`.
pub fn write_etc(paths: &ContainerPaths, pod: &driver::runtime::PodRun, owner: u32) -> Result<Vec<(PathBuf, &'static str)>> {
    const TARGETS: [(&str, &str); 3] =
        [("hosts", "/etc/hosts"), ("hostname", "/etc/hostname"), ("resolv.conf", "/etc/resolv.conf")];
    let directory = paths.etc("");
    fs::create_dir_all(&directory).map_err(|e| Error::io("create", &directory, e))?;
    let mut all = Vec::new();
    for ((name, text), (_, target)) in spec::etc_files(pod).into_iter().zip(TARGETS) {
        let path = paths.etc(name);
        // In place, since a running neighbour may have it mounted.
        fs::write(&path, text).map_err(|e| Error::io("write", &path, e))?;
        chown(&path, Some(owner), Some(owner)).map_err(|e| Error::io("change the owner of", &path, e))?;
        all.push((path, target));
    }
    Ok(all)
}

/// Host directories to be mounted. What is missing on the host is said before anything is made.
pub fn volumes(container: &ContainerRun) -> Result<Vec<MountRun>> {
    let missing = container.mounts.iter().find(|mount| !mount.source.exists());
    match missing {
        Some(mount) => {
            let (source, target) = (mount.source.display(), &mount.target);
            Err(Error::text(format!("{source} does not exist on this server, to be mounted on {target}")))
        }
        None => Ok(container.mounts.clone()),
    }
}

fn own_oom_score() -> i32 {
    fs::read_to_string("/proc/self/oom_score_adj").ok().and_then(|t| t.trim().parse().ok()).unwrap_or(0)
}

/// Opens the null device once for every stream that leads nowhere.
pub fn null() -> Result<OwnedFd> {
    let path = Path::new("/dev/null");
    let file = fs::OpenOptions::new().read(true).write(true).open(path).map_err(|e| Error::io("open", path, e))?;
    Ok(file.into())
}
