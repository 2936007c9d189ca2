//! A sandbox as a test's own cluster.

use crate::{Output, Process, Root, Traces, Typed, packages, place::Place, processes};
use api::{
    path,
    view::{ContainerView, JobView, ServerView},
};
use serde::de::DeserializeOwned;
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// The pseudo server beside the cluster: the machine's own files, with a network of only the underlay.
pub const OUTSIDE: &str = "outside";
/// Names of the lab's sandboxes: this, the number of the test's process, a dash, a number.
const PREFIX: &str = "lab";
/// How long making or removing a sandbox may take on a loaded machine.
const UP_DOWN: Duration = Duration::from_secs(90);

/// A sandbox of a test: a whole cluster, removed when this is dropped.
pub struct Lab {
    name: String,
    servers: u16,
    files: tempfile::TempDir,
    kept: bool,
    resolvers: Mutex<BTreeMap<String, Ipv4Addr>>,
}

impl Lab {
    /// A cluster of servers `s1`, `s2`, …, all up. With `ROOST_LAB_KEEP` set it is left there for looking at.
    #[track_caller]
    pub fn up(servers: u16) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        sweep();
        let name = format!("{PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let files =
            tempfile::Builder::new().prefix("roost-lab-").tempdir().unwrap_or_else(|error| panic!("a temporary folder: {error}"));
        let lab = Self { name, servers, files, kept: std::env::var_os("ROOST_LAB_KEEP").is_some(), resolvers: Mutex::default() };
        let path = packages::path().to_string_lossy().into_owned();
        lab.sandbox(&["up", "--servers", &servers.to_string()]).env("PATH", &path).limit(UP_DOWN).run().must(0);
        lab
    }

    /// [`Lab::up`], and the image [`Root::tiny`] under the name `tiny`.
    #[track_caller]
    pub fn with_tiny(servers: u16) -> Self {
        let lab = Self::up(servers);
        lab.import("tiny", Root::tiny());
        lab
    }

    /// The sandbox's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its servers' names.
    pub fn servers(&self) -> Vec<String> {
        (1..=self.servers).map(|n| format!("s{n}")).collect()
    }

    /// The address of a server on the underlay, as clients outside know it.
    pub fn address(&self, server: &str) -> Ipv4Addr {
        let index = server.trim_start_matches('s').parse().unwrap_or_else(|_| panic!("{server} is no server"));
        Ipv4Addr::new(10, 200, 0, index)
    }

    /// A folder on the machine, seen by the servers as well, that goes with the lab.
    pub fn files(&self) -> &Path {
        self.files.path()
    }

    /// A server's directory on the machine: `lib` is its `/var/lib/roost`, `run` its `/run`.
    pub fn server_dir(&self, server: &str) -> PathBuf {
        Path::new(path::SANDBOX_DIR).join(&self.name).join(server)
    }

    /// The API socket of a server.
    pub fn socket(&self, server: &str) -> PathBuf {
        self.server_dir(server).join("run/roost/api.sock")
    }

    /// A command of Roost, typed on the machine, to this cluster.
    pub fn typed(&self, args: &[&str]) -> Typed {
        let mut command = Command::new(binary());
        command.args(args);
        Typed::new(command).env("ROOST_SOCKET", &self.socket("s1").display().to_string())
    }

    /// A command of Roost, typed on a server (or [`OUTSIDE`], where none runs).
    pub fn typed_on(&self, server: &str, args: &[&str]) -> Typed {
        let own = binary();
        let words: Vec<&OsStr> = std::iter::once(own.as_os_str()).chain(args.iter().map(OsStr::new)).collect();
        self.inside(server, &words)
    }

    /// A program with its arguments, run on a server or [`OUTSIDE`].
    pub fn inside(&self, server: &str, argv: &[impl AsRef<OsStr>]) -> Typed {
        let mut command = Command::new(binary());
        command.args(["sandbox", "enter", "--name", &self.name, server, "--"]).args(argv);
        Typed::new(command)
    }

    /// `roost sandbox <verb> …` for this sandbox: `["kill", "s2"]`.
    pub fn sandbox(&self, words: &[&str]) -> Typed {
        let (verb, rest) = words.split_first().unwrap_or_else(|| panic!("a sandbox command has a verb"));
        let mut command = Command::new(binary());
        command.args(["sandbox", verb, "--name", &self.name]).args(rest);
        Typed::new(command)
    }

    /// Runs a command of Roost, whatever its exit code.
    #[track_caller]
    pub fn roost(&self, args: &[&str]) -> Output {
        self.typed(args).run()
    }

    /// Runs a command of Roost that must exit with 0.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> Output {
        self.roost(args).must(0)
    }

    /// Runs a command of Roost that must exit with this code, having said why in one sentence that begins with `error: `.
    #[track_caller]
    pub fn refused(&self, args: &[&str], code: i32) -> Output {
        let out = self.roost(args).must(code);
        assert!(out.stderr.lines().any(|line| line.starts_with("error: ") && line.len() > 12), "no sentence\n{out}");
        out
    }

    /// The answer of a command with `-o json` added, as a value of the API.
    #[track_caller]
    pub fn get<T: DeserializeOwned>(&self, args: &[&str]) -> T {
        let out = self.ok(&[args, &["-o", "json"]].concat());
        serde_json::from_str(&out.stdout).unwrap_or_else(|error| panic!("{error}\n{out}"))
    }

    /// The answer of a command with `-o json` added.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> serde_json::Value {
        self.get(args)
    }

    /// `roost ls`: every container and instance.
    #[track_caller]
    pub fn containers(&self) -> Vec<ContainerView> {
        self.get(&["ls"])
    }

    /// One container or instance by name; panics when there is none.
    #[track_caller]
    pub fn container(&self, name: &str) -> ContainerView {
        let found = self.containers().into_iter().find(|container| container.name == name);
        found.unwrap_or_else(|| panic!("no container {name} in `roost ls`"))
    }

    /// One job; panics when there is none.
    #[track_caller]
    pub fn job(&self, name: &str) -> JobView {
        self.get(&["showjob", name])
    }

    /// The instances of a job that are on a server.
    #[track_caller]
    pub fn instances_on(&self, job: &str, server: &str) -> Vec<ContainerView> {
        let mut all = self.job(job).instances;
        all.retain(|one| one.server.as_ref().is_some_and(|at| at.as_str() == server));
        all
    }

    /// `roost server list`.
    #[track_caller]
    pub fn server_views(&self) -> Vec<ServerView> {
        self.get(&["server", "list"])
    }

    /// Takes a root file system in as an image.
    #[track_caller]
    pub fn import(&self, name: &str, root: Root) {
        let file = self.files().join(format!("{name}.tar"));
        root.write(&file);
        self.ok(&["image", "import", &file.display().to_string(), "--name", name]);
    }

    /// `dig +short` on a server, asking that server's own DNS server: addresses of a name; none when there is no such name.
    #[track_caller]
    pub fn dig(&self, server: &str, name: &str) -> Vec<Ipv4Addr> {
        let resolver = format!("@{}", self.resolver(server));
        let out = self.inside(server, &["dig", &resolver, "+short", "+time=2", "+tries=2", name]).run().must(0);
        out.stdout.lines().filter_map(|line| line.trim().parse().ok()).collect()
    }

    /// The address of a server's DNS server: the first of its containers' subnet. It needs the manager, the first time.
    #[track_caller]
    pub fn resolver(&self, server: &str) -> Ipv4Addr {
        let mut known = self.resolvers.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_empty() {
            let first = |view: &ServerView| view.spec.subnet.hosts().next().unwrap_or(Ipv4Addr::UNSPECIFIED);
            known.extend(self.server_views().iter().map(|view| (view.spec.name.to_string(), first(view))));
        }
        known.get(server).copied().unwrap_or_else(|| panic!("{server} is no server"))
    }

    /// One GET from outside with `curl`, the body on standard output: `http://10.200.0.1:8080/`.
    pub fn curl(&self, url: &str) -> Output {
        self.inside(OUTSIDE, &["curl", "--silent", "--show-error", "--fail", "--max-time", "5", url]).run()
    }

    /// A server's network (or that of [`OUTSIDE`]) for threads of the test itself.
    #[track_caller]
    pub fn place(&self, server: &str) -> Place {
        Place::of(self.holder(server))
    }

    /// The first process of a server, or the one that holds [`OUTSIDE`]'s network, as the machine numbers it.
    #[track_caller]
    pub fn holder(&self, server: &str) -> i32 {
        let file = Path::new(path::SANDBOX_DIR).join(&self.name).join("state.json");
        let text = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let state: serde_json::Value =
            serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let process = match server {
            OUTSIDE => state["switch"].clone(),
            _ => {
                let found = state["servers"].as_array().and_then(|all| all.iter().find(|one| one["name"] == server).cloned());
                found.unwrap_or_default()["init"].clone()
            }
        };
        let pid = process["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        pid.unwrap_or_else(|| panic!("{server} is off, or not in sandbox {}", self.name))
    }

    /// Every process of a server, its containers' included, as the machine numbers them.
    #[track_caller]
    pub fn processes(&self, server: &str) -> Vec<Process> {
        processes::below(self.holder(server))
    }

    /// The process of Roost's own with this first argument (`agent`, `manager`, `daemon`) on a server, if it runs.
    #[track_caller]
    pub fn own(&self, server: &str, word: &str) -> Option<Process> {
        self.processes(server).into_iter().find(|process| process.is_roost(word))
    }

    /// What is on a server, to be compared with what was there before.
    #[track_caller]
    pub fn traces(&self, server: &str) -> Traces {
        Traces::of(self, server)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.kept {
            eprintln!("left for looking at: roost sandbox down --name {}", self.name);
            return;
        }
        if std::thread::panicking() {
            self.last_words();
        }
        let out = self.sandbox(&["down"]).limit(UP_DOWN).run();
        // A panic within a panic would hide the first.
        assert!(out.code == 0 || std::thread::panicking(), "the sandbox does not go\n{out}");
    }
}

impl Lab {
    /// The ends of the servers' logs, for whoever reads why a test failed.
    fn last_words(&self) {
        for server in self.servers() {
            for part in ["manager", "agent"] {
                let text =
                    std::fs::read_to_string(self.server_dir(&server).join(format!("lib/log/{part}.log"))).unwrap_or_default();
                let last: Vec<&str> = text.lines().rev().take(15).collect();
                last.iter().rev().for_each(|line| eprintln!("{server} {part}: {line}"));
            }
        }
    }
}

/// The binary under test: `ROOST_BIN`, else `roost` two directories above this test.
pub fn binary() -> PathBuf {
    if let Some(told) = std::env::var_os("ROOST_BIN") {
        return told.into();
    }
    let test = std::env::current_exe().unwrap_or_else(|error| panic!("this test's own path: {error}"));
    let found = test.ancestors().nth(2).map(|dir| dir.join("roost")).filter(|file| file.exists());
    found.unwrap_or_else(|| panic!("no roost beside {}: cargo build -p roost, or set ROOST_BIN", test.display()))
}

/// Removes sandboxes of tests that were killed before they could.
fn sweep() {
    let names = std::fs::read_dir(path::SANDBOX_DIR).into_iter().flatten().flatten();
    for name in names.filter_map(|entry| entry.file_name().into_string().ok()) {
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) && std::env::var_os("ROOST_LAB_KEEP").is_none() {
            let mut command = Command::new(binary());
            command.args(["sandbox", "down", "--name", &name]);
            // Several tests may sweep at once: the first one does it.
            Typed::new(command).limit(UP_DOWN).run();
        }
    }
}
