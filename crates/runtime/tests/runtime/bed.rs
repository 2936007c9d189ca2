//! A bed for tests: directories, a network namespace, a busybox image, a runtime. Leaves nothing behind.

use api::{
    InstanceId, Name,
    quantity::{Span, Timestamp},
    spec::{ContainerKind, Limits},
    stream::{ExecRequest, LogLine},
};
use driver::{
    Runtime,
    runtime::{ContainerRun, PodRun, PodState},
};
use runtime::{Inspector, Lxc, Oci, Options};
use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

/// Waits no longer than this for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Bed {
    pub kind: ContainerKind,
    pub options: Options,
    pub runtime: Option<Box<dyn Runtime>>,
    pub ended: Receiver<InstanceId>,
    pub layer: PathBuf,
    pub dir: tempfile::TempDir,
    netns: tempfile::NamedTempFile,
    next: std::cell::Cell<u64>,
}

impl Bed {
    pub fn new(kind: ContainerKind) -> Self {
        let dir = tempfile::tempdir().unwrap();
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let tag = format!("rt{}-{number}{}", std::process::id(), if kind == ContainerKind::App { "o" } else { "l" });
        let layer = dir.path().join("layer");
        busybox(&layer);
        let netns = network_namespace();
        let options = Options {
            run_dir: dir.path().join("run"),
            state_dir: dir.path().join("state"),
            log_dir: dir.path().join("log"),
            cgroup_parent: format!("roost-test-{tag}"),
            shim: vec![std::env::current_exe().unwrap().into(), "shim".into()],
        };
        let (runtime, ended) = open(kind, &options);
        Self { kind, options, runtime: Some(runtime), ended, layer, dir, netns, next: std::cell::Cell::new(1) }
    }

    /// The exit code that is told of a program that ended with this one. `lxc-start` keeps a system's to itself: it is 0, or 137
    /// when the system was killed.
    pub fn code(&self, own: i32) -> i32 {
        if self.kind == ContainerKind::App { own } else { 0 }
    }

    pub fn app() -> Self {
        Self::new(ContainerKind::App)
    }

    pub fn rt(&self) -> &dyn Runtime {
        self.runtime.as_deref().unwrap()
    }

    /// As if the agent had been killed and started again.
    pub fn restart_agent(&mut self) {
        self.runtime = None;
        let (runtime, ended) = open(self.kind, &self.options);
        (self.runtime, self.ended) = (Some(runtime), ended);
    }

    pub fn inspector(&self) -> Inspector {
        Inspector::new(self.options.clone()).unwrap()
    }

    /// A pod of one container that runs a script.
    pub fn pod(&self, script: &str) -> PodRun {
        let id = InstanceId(0xabc0 + self.next.get());
        self.next.set(self.next.get() + 1);
        PodRun {
            id,
            hostname: "c1".to_owned(),
            netns: self.netns.path().to_owned(),
            address: "10.9.8.7".parse().unwrap(),
            resolv_conf: "nameserver 10.9.8.1\n".to_owned(),
            containers: vec![self.container("main", script)],
        }
    }

    pub fn container(&self, name: &str, script: &str) -> ContainerRun {
        ContainerRun {
            name: Name::parse("container", name).unwrap(),
            kind: self.kind,
            layers: vec![self.layer.clone()],
            argv: vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()],
            env: vec!["PATH=/bin".to_owned(), "COLOUR=blue".to_owned()],
            user: String::new(),
            workdir: "/".to_owned(),
            mounts: Vec::new(),
            limits: Limits::default(),
            stop_signal: libc::SIGTERM,
            user_namespace: false,
            read_only: false,
            terminal: false,
            size: None,
            stdin: false,
            awaited: false,
            system: api::system::SystemRules::default(),
        }
    }

    /// Starts a pod and waits for its end; exit code and message.
    pub fn run(&self, pod: &PodRun) -> (Option<i32>, Option<String>) {
        self.rt().ensure(pod).unwrap();
        self.until_stopped(pod.id);
        let status = self.status(pod.id);
        (status.exit_code, status.message)
    }

    pub fn status(&self, id: InstanceId) -> driver::runtime::PodStatus {
        self.rt().observe().unwrap().into_iter().find(|s| s.id == id).expect("the pod is observed")
    }

    pub fn until_stopped(&self, id: InstanceId) {
        until("the pod has stopped", || self.status(id).state == PodState::Stopped);
    }

    /// All lines a container wrote, standard error marked by `!`.
    pub fn log(&self, id: InstanceId, container: &str) -> Vec<String> {
        let path = self.options.log_dir.join(id.to_string()).join(format!("{container}.log"));
        let text = std::fs::read_to_string(path).unwrap_or_default();
        // The last line may be half there.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|l| serde_json::from_str::<LogLine>(l).expect("a log line"))
            .inspect(|l| assert!(l.at > Timestamp(1_600_000_000_000)))
            .map(|l| format!("{}{}", if l.stderr { "!" } else { "" }, l.message))
            .collect()
    }

    /// Waits until the log holds this line.
    pub fn until_logged(&self, id: InstanceId, line: &str) {
        let begin = Instant::now();
        while !self.log(id, "main").iter().any(|l| l == line) {
            assert!(begin.elapsed() < PATIENCE, "not in time: {line:?} is logged by {id}: {:?}", self.log(id, "main"));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Runs a command inside; exit code and output, standard error included.
    pub fn exec(&self, id: InstanceId, command: &[&str]) -> (i32, String) {
        self.exec_request(id, &request(command), "")
    }

    pub fn exec_request(&self, id: InstanceId, request: &ExecRequest, input: &str) -> (i32, String) {
        let mut handle = self.rt().exec(id, request).unwrap();
        if let Some(mut stdin) = handle.stdin.take() {
            stdin.write_all(input.as_bytes()).unwrap();
        }
        let mut text = String::new();
        handle.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        handle.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        ((handle.wait)().unwrap(), text)
    }

    /// Everything on this server that bears the test's name.
    pub fn leftovers(&self) -> Vec<String> {
        let mut all = Vec::new();
        for directory in [&self.options.run_dir, &self.options.state_dir, &self.options.log_dir] {
            all.extend(std::fs::read_dir(directory).unwrap().map(|e| e.unwrap().path().display().to_string()));
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let ours = self.dir.path().display().to_string();
        all.extend(mounts.lines().filter(|l| l.contains(&ours)).map(str::to_owned));
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            let parent = hierarchy.path().join(&self.options.cgroup_parent);
            let children = std::fs::read_dir(parent).into_iter().flatten().flatten();
            all.extend(children.filter(|e| e.file_type().unwrap().is_dir()).map(|e| e.path().display().to_string()));
        }
        all.extend(self.shims().into_iter().map(|pid| format!("shim {pid}")));
        all
    }

    /// Process ids of shims of this bed.
    pub fn shims(&self) -> Vec<i32> {
        let ours = self.options.run_dir.display().to_string();
        let numbers = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
        numbers
            .filter(|pid| {
                let text = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let text = String::from_utf8_lossy(&text).into_owned();
                text.contains("\0shim\0") && text.contains(&ours)
            })
            .collect()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            for status in runtime.observe().unwrap_or_default() {
                if let Err(error) = runtime.remove(status.id) {
                    eprintln!("not removed: {error}");
                }
            }
        }
        nix::mount::umount(self.netns.path()).unwrap_or_else(|e| eprintln!("not unmounted: {e}"));
        runtime::remove_cgroup_parent(&self.options.cgroup_parent).unwrap_or_else(|e| eprintln!("{e}"));
    }
}

fn open(kind: ContainerKind, options: &Options) -> (Box<dyn Runtime>, Receiver<InstanceId>) {
    let (tell, told) = channel();
    let changed = Box::new(move |id| {
        let _ = tell.send(id);
    });
    let runtime: Box<dyn Runtime> = match kind {
        ContainerKind::App => Box::new(Oci::new(options.clone(), changed).unwrap()),
        ContainerKind::System => Box::new(Lxc::new(options.clone(), changed).unwrap()),
    };
    (runtime, told)
}

pub fn request(command: &[&str]) -> ExecRequest {
    ExecRequest {
        container: None,
        command: command.iter().map(ToString::to_string).collect(),
        env: Vec::new(),
        user: None,
        workdir: None,
        terminal: None,
        stdin: false,
    }
}

pub const NO_GRACE: Span = Span(0);

/// Waits until it is so, or fails.
pub fn until(what: &str, so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !so() {
        assert!(begin.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn run(program: &str, args: &[&str]) {
    let status = Command::new(program).args(args).status().unwrap();
    assert!(status.success(), "{program} {args:?}: {status}");
}

/// A network namespace, bound to a file. Not `ip netns add`, for that leaves `/run/netns` mounted on itself.
fn network_namespace() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    run("unshare", &[&format!("--net={}", file.path().display()), "true"]);
    file
}

/// A root file system of one program with many names.
fn busybox(root: &Path) {
    for directory in ["bin", "etc", "proc", "sys", "dev", "tmp", "run", "root"] {
        std::fs::create_dir_all(root.join(directory)).unwrap();
    }
    std::fs::copy("/usr/bin/busybox", root.join("bin/busybox")).unwrap();
    let list = Command::new("/usr/bin/busybox").arg("--list").output().unwrap();
    for name in String::from_utf8(list.stdout).unwrap().lines().filter(|n| *n != "busybox") {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    std::fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nweb:x:33:33::/tmp:/bin/sh\n").unwrap();
    std::fs::write(root.join("etc/group"), "root:x:0:\nweb:x:33:\nlog:x:44:web\n").unwrap();
    std::fs::write(root.join("bin/data"), "not a program").unwrap();
}
