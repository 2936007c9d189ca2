//! A bed for tests: a sandbox of its own name and directory, taken down whatever happens, and an inventory of what it leaves.

use sandbox::{Options, Sandbox};
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Output,
    sync::atomic::{AtomicU32, Ordering},
};
use tempfile::TempDir;

/// A place for one sandbox.
pub struct Bed {
    pub options: Options,
    dir: TempDir,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Bed {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let name = format!("t{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let options = Options { name, base_dir: dir.path().join("base"), binary: helper() };
        Self { options, dir }
    }

    pub fn up(&self, servers: u16) -> Sandbox {
        Sandbox::create(self.options.clone(), servers).unwrap()
    }

    /// Everything on this machine that belongs to the sandbox, in words.
    pub fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        let base = self.options.base_dir.to_string_lossy().into_owned();
        if self.options.base_dir.exists() {
            left.push(format!("directory {base}"));
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        left.extend(mounts.lines().filter(|line| line.contains(&base)).map(|line| format!("mount {line}")));
        left.extend(groups_named(&self.options.name).iter().map(|dir| format!("control group {}", dir.display())));
        left.extend(processes(|text| text.contains(&base) || text.contains(&format!("/{}@", self.options.name))));
        let links = std::process::Command::new("ip").args(["-o", "link"]).output().unwrap();
        let links = String::from_utf8_lossy(&links.stdout).into_owned();
        left.extend(
            links.lines().filter(|line| line.contains(": ul0") || line.contains(": p1@")).map(|line| format!("link {line}")),
        );
        left
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if let Err(error) = Sandbox::remove(self.options.clone()) {
            eprintln!("the sandbox in {} stays: {error}", self.dir.path().display());
        }
    }
}

/// The example binary beside the tests.
fn helper() -> PathBuf {
    let deps = std::env::current_exe().unwrap();
    let helper = deps.parent().unwrap().parent().unwrap().join("examples/sandbox-helper");
    assert!(helper.exists(), "{} is missing: build the crate's examples too", helper.display());
    helper
}

/// Groups of this sandbox, in any hierarchy.
fn groups_named(name: &str) -> Vec<PathBuf> {
    let below = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect::<Vec<_>>();
    let tops: Vec<PathBuf> = below(Path::new("/sys/fs/cgroup")).into_iter().chain([PathBuf::from("/sys/fs/cgroup")]).collect();
    let found = tops.iter().flat_map(|top| below(&top.join("roost-sandbox")));
    found.filter(|dir| dir.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&format!("{name}@")))).collect()
}

/// Living processes whose command line or control groups the filter knows.
fn processes(known: impl Fn(&str) -> bool) -> Vec<String> {
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_string_lossy().parse::<u32>().ok());
    let described = pids.filter(|pid| *pid != std::process::id()).filter_map(|pid| {
        let read =
            |file: &str| fs::read(format!("/proc/{pid}/{file}")).map(|b| String::from_utf8_lossy(&b).replace('\0', " ")).ok();
        lives(Path::new(&format!("/proc/{pid}")))
            .then(|| format!("process {pid}: {} {}", read("cmdline").unwrap_or_default(), read("cgroup").unwrap_or_default()))
    });
    described.filter(|text| known(text)).collect()
}

/// Whether a process is more than a number that waits to be reaped, which the machine's first process may do late.
fn lives(proc: &Path) -> bool {
    let stat = fs::read_to_string(proc.join("stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with('Z') && !rest.is_empty())
}

/// Numbers of the namespaces of a process.
pub fn namespaces(pid: i32) -> Vec<String> {
    let of = |kind: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().to_string_lossy().into_owned();
    ["pid", "mnt", "net", "uts", "ipc", "cgroup"].map(of).to_vec()
}

/// Processes that are in one of these namespaces.
pub fn in_namespaces(spaces: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten().filter(|entry| lives(&entry.path())) {
        let of = |kind: &str| fs::read_link(entry.path().join("ns").join(kind)).map(|l| l.to_string_lossy().into_owned());
        let inside = ["pid", "mnt", "net", "uts", "ipc", "cgroup"].iter().filter_map(|kind| of(kind).ok());
        found.extend(inside.filter(|space| spaces.contains(space)).map(|space| format!("{:?} in {space}", entry.file_name())));
    }
    found
}

/// Words to arguments.
pub fn argv(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// Runs a program in a server.
pub fn run(sandbox: &Sandbox, server: &str, words: &[&str]) -> Output {
    sandbox.command(server, &argv(words)).unwrap().output().unwrap()
}

/// What a program in a server prints; it must succeed.
pub fn text(sandbox: &Sandbox, server: &str, words: &[&str]) -> String {
    let output = run(sandbox, server, words);
    assert!(output.status.success(), "{words:?} in {server}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Whether one server hears another's answer within a second.
pub fn pings(sandbox: &Sandbox, from: &str, address: &str) -> bool {
    run(sandbox, from, &["ping", "-n", "-q", "-c1", "-W1", address]).status.success()
}

/// Waits up to ten seconds for something.
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if done() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("not within ten seconds: {what}");
}
