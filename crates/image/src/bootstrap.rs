//! Makes a base system from the distribution's packages with `mmdebstrap`, whose archive is taken in as it is written.

use crate::{
    apt,
    error::{Error, Result, on},
    import::root,
    layer::Keep,
    name,
    store::{ContentStore, Work},
    tarball::{BLOCK, TarError, Walker},
};
use api::{
    image::{ImageProgress, LocalImage},
    view::BootstrapRequest,
};
use driver::image::Progress;
use nix::sys::{prctl, signal::Signal};
use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs,
    io::{self, BufRead as _, BufReader, Read},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
    time::Duration,
};

/// Most further packages in one request.
const MAX_PACKAGES: usize = 200;
/// Lines of the program's messages kept for when it fails.
const KEPT_LINES: usize = 8;
/// Longest line of its messages read.
const MAX_LINE: u64 = 4096;
/// Tables of releases by distribution, from Debian's package distro-info-data; consulted when they are there.
const RELEASE_TABLES: &str = "/usr/share/distro-info";
/// How long the program may take to end after its archive was not taken.
const GRACE_CHECKS: u32 = 40;
const GRACE_STEP: Duration = Duration::from_millis(50);
const DISTRIBUTIONS: [&str; 2] = ["debian", "ubuntu"];

/// What makes packages a system that can be logged into and looked at from inside.
const SYSTEM: [&str; 4] = ["iproute2", "iputils-ping", "netbase", "procps"];
/// The init of a system for which none was asked, and the bus that its tools speak on.
const INIT: [&str; 2] = ["systemd-sysv", "dbus"];
/// Packages that bring an init.
const INITS: [&str; 5] = ["systemd-sysv", "sysvinit-core", "runit-init", "openrc", "finit-sysv"];

/// Left out of the image: what describes this machine or the making of the image.
const LEFT_OUT: [&[u8]; 3] = [b"etc/hostname", b"etc/resolv.conf", b"etc/apt/apt.conf.d/99mmdebstrap"];
/// Directories whose content is left out.
const EMPTIED: [&[u8]; 5] = [b"dev/", b"var/lib/apt/lists/", b"var/cache/apt/", b"var/log/apt/", b"tmp/"];

/// Makes a base system.
pub fn bootstrap(store: &ContentStore, request: &BootstrapRequest, progress: Progress<'_>) -> Result<LocalImage> {
    validate(request, Path::new(RELEASE_TABLES))?;
    let work = store.work(progress)?;
    let mirrors = mirrors(&work, request)?;
    let what = format!("{}/{}", request.distribution, request.release);
    progress(ImageProgress::Working { message: format!("making {what} from packages") });
    let mut making = Making::start(&work, request, &mirrors)?;
    let (output, errors) = making.streams()?;
    let mut last = VecDeque::new();
    let layer = std::thread::scope(|scope| {
        let reader = scope.spawn(|| relay(errors, progress));
        let layer = root::layer(&work, Filter::new(output), &what, Keep::Compressed);
        if layer.is_err() {
            making.stop();
        }
        last = reader.join().unwrap_or_default();
        layer
    });
    // That it failed by itself explains why its archive is not whole; that it was killed does not.
    match (making.succeeded(&last, &what), layer) {
        (Ok(()), layer) => root::finish(&work, layer?, &request.command),
        (Err(_), Err(error)) if making.killed => Err(error),
        (Err(error), _) => Err(error),
    }
}

fn validate(request: &BootstrapRequest, tables: &Path) -> Result<()> {
    let (distribution, release) = (request.distribution.as_str(), request.release.as_str());
    if !DISTRIBUTIONS.contains(&distribution) {
        return Err(Error::request(format!(
            "unknown distribution {distribution:?}: {} can be made",
            DISTRIBUTIONS.join(" and ")
        )));
    }
    if !name::is_release(release) {
        return Err(Error::request(format!("{release:?} is not the code name of a release, as bookworm is")));
    }
    if known(tables, distribution, release) == Some(false)
        && let Some(other) = DISTRIBUTIONS.iter().find(|d| **d != distribution && known(tables, d, release) == Some(true))
    {
        return Err(Error::request(format!("{release} is a release of {other}, not of {distribution}")));
    }
    if request.include.len() > MAX_PACKAGES {
        return Err(Error::request(format!(
            "{} packages are too many: at most {MAX_PACKAGES} can be included",
            request.include.len()
        )));
    }
    match request.include.iter().find(|package| !name::is_package(package)) {
        Some(bad) => Err(Error::request(format!("{bad:?} is not the name of a package: lower-case letters, digits and +-. are"))),
        None => Ok(()),
    }
}

/// Whether the machine's table of the distribution lists the release; nothing when there is no table.
fn known(tables: &Path, distribution: &str, release: &str) -> Option<bool> {
    let table = fs::read_to_string(tables.join(format!("{distribution}.csv"))).ok()?;
    // version,codename,series,…
    Some(table.lines().any(|line| line.split(',').nth(2) == Some(release)))
}

/// Files with the package sources of the release.
fn mirrors(work: &Work<'_>, request: &BootstrapRequest) -> Result<Vec<PathBuf>> {
    let dir = work.store.apt_dir();
    let sources = apt::sources(&dir, &request.release)?;
    if sources.is_empty() {
        let there = if sources.releases.is_empty() { "none".to_owned() } else { sources.releases.join(", ") };
        let (distribution, release) = (&request.distribution, &request.release);
        let dir = dir.display();
        return Err(Error::request(format!(
            "this machine has no package source for {distribution} {release}: {dir} has sources for {there}; add one for {release}"
        )));
    }
    let mut files = Vec::new();
    for text in [&sources.paragraphs, &sources.lines].into_iter().filter(|text| !text.is_empty()) {
        files.push(work.staging.file(text.as_bytes())?);
    }
    Ok(files)
}

/// Further packages. Without a program to run it is a whole system that is asked for.
fn packages(request: &BootstrapRequest) -> Vec<&str> {
    let mut all: Vec<&str> = request.include.iter().map(String::as_str).collect();
    if request.command.is_empty() {
        let has_init = all.iter().any(|package| INITS.contains(package));
        let init = INIT.iter().filter(|_| !has_init);
        let missing: Vec<&str> = init.chain(&SYSTEM).copied().filter(|package| !all.contains(package)).collect();
        all.extend(missing);
    }
    all
}

/// The program's arguments after its name.
fn arguments(request: &BootstrapRequest, mirrors: &[PathBuf]) -> Vec<OsString> {
    let mut args: Vec<OsString> = [
        "--mode=root",
        "--variant=minbase",
        "--format=tar",
        "--skip=output/dev",
        "--aptopt=APT::Install-Recommends \"false\"",
        // The directory it works in is closed to all but root, and so to apt's own user. Left out of the image again.
        "--aptopt=APT::Sandbox::User \"root\"",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
    ]
    .map(OsString::from)
    .into();
    let packages = packages(request);
    if !packages.is_empty() {
        args.push(format!("--include={}", packages.join(",")).into());
    }
    args.push(OsString::from(&request.release));
    args.push("-".into());
    args.extend(mirrors.iter().map(|path| path.as_os_str().to_owned()));
    args
}

/// `unshare`, in the network namespace when one is given. Both programs become the next one, so that the child stays one process.
fn enter(network: Option<&Path>) -> Command {
    let Some(network) = network else { return Command::new("unshare") };
    let mut option = OsString::from("--net=");
    option.push(network);
    let mut command = Command::new("nsenter");
    command.arg(option).args(["--", "unshare"]);
    command
}

/// The running program. Ended, with everything it started, when dropped.
struct Making {
    child: Child,
    /// By us.
    killed: bool,
}

impl Making {
    /// Starts it in namespaces of its own: what it mounts is never seen outside, and when the first process in them ends,
    /// the kernel ends the rest. It ends when this process does.
    fn start(work: &Work<'_>, request: &BootstrapRequest, mirrors: &[PathBuf]) -> Result<Self> {
        let program = &work.store.options().mmdebstrap;
        let temporary = work.staging.path();
        fs::create_dir(&temporary).map_err(on("make directory", &temporary))?;
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
        let mut command = enter(work.store.options().network.as_deref());
        // SAFETY: one system call, which takes a number, between fork and exec.
        unsafe { command.pre_exec(|| prctl::set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from)) };
        let child = command
            .args(["--mount", "--pid", "--fork", "--mount-proc", "--kill-child=SIGKILL", "--"])
            .arg(program)
            .args(arguments(request, mirrors))
            .env_clear()
            .envs([("PATH", path.as_os_str()), ("TMPDIR", temporary.as_os_str()), ("LC_ALL", OsStr::new("C.UTF-8"))])
            .envs(std::env::vars_os().filter(|(key, _)| key.to_str().is_some_and(|k| k.to_ascii_lowercase().ends_with("_proxy"))))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(on("start", Path::new("unshare")))?;
        Ok(Self { child, killed: false })
    }

    fn streams(&mut self) -> Result<(impl Read + use<>, ChildStderr)> {
        let lost = || Error::request("the output of mmdebstrap is lost");
        Ok((self.child.stdout.take().ok_or_else(lost)?, self.child.stderr.take().ok_or_else(lost)?))
    }

    /// After its archive was not taken there is no point in going on. But when it failed by itself, which is why the
    /// archive was not whole, it gets the time to say so.
    fn stop(&mut self) {
        for _ in 0..GRACE_CHECKS {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(GRACE_STEP);
        }
        // It may have ended just now; then there is nothing to kill.
        self.killed = self.child.kill().is_ok();
    }

    fn succeeded(&mut self, last: &VecDeque<String>, what: &str) -> Result<()> {
        let status = self.child.wait().map_err(|source| Error::Io { what: "cannot wait for mmdebstrap".to_owned(), source })?;
        if status.success() {
            return Ok(());
        }
        if status.code() == Some(127) {
            return Err(Error::request("mmdebstrap is not installed: install Debian's package mmdebstrap"));
        }
        let errors: Vec<&str> =
            last.iter().map(String::as_str).filter(|l| l.starts_with("E: ") || l.starts_with("Err:")).collect();
        let why =
            if errors.is_empty() { last.back().map_or("it said nothing", String::as_str).to_owned() } else { errors.join("; ") };
        Err(Error::Elsewhere(format!("mmdebstrap could not make {what} ({status}): {why}")))
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // It may have ended in between; then there is nothing to kill, and waiting is right all the same.
            let _ended = self.child.kill();
            if let Err(error) = self.child.wait() {
                tracing::warn!(%error, "cannot wait for mmdebstrap");
            }
        }
    }
}

/// Hands each line of the program's messages on, and keeps the last.
fn relay(errors: ChildStderr, progress: Progress<'_>) -> VecDeque<String> {
    let mut last = VecDeque::new();
    let mut errors = BufReader::new(errors);
    loop {
        let mut line = Vec::new();
        match (&mut errors).take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(1..) => {}
            _ => return last,
        }
        // A progress bar rewrites its line.
        let text = String::from_utf8_lossy(&line);
        let Some(text) = text.split('\r').map(str::trim).rfind(|part| !part.is_empty()) else { continue };
        progress(ImageProgress::Working { message: text.strip_prefix("I: ").unwrap_or(text).to_owned() });
        if last.len() == KEPT_LINES {
            last.pop_front();
        }
        last.push_back(text.to_owned());
    }
}

/// The archive without what is left out.
struct Filter<R> {
    walker: Walker<R>,
    /// Headers or padding to be handed on.
    pending: Vec<u8>,
    given: usize,
    /// Padding after the current entry's data, once that is through.
    padding: u64,
    ended: bool,
}

impl<R: Read> Filter<R> {
    fn new(archive: R) -> Self {
        Self { walker: Walker::new(archive), pending: Vec::new(), given: 0, padding: 0, ended: false }
    }

    fn refill(&mut self) -> io::Result<()> {
        self.given = 0;
        self.pending.clear();
        if self.padding > 0 {
            self.pending.resize(usize::try_from(self.padding).unwrap_or_default(), 0);
            self.padding = 0;
            return Ok(());
        }
        loop {
            match self.walker.advance().map_err(tar_error)? {
                None => {
                    self.ended = true;
                    // The end marker is two blocks of zeros; without one the archive was cut short, and stays so.
                    self.pending.resize(if self.walker.marked_end() { 2 * BLOCK } else { 0 }, 0);
                    return Ok(());
                }
                Some(entry) if is_left_out(&entry.path) => {}
                Some(_) => {
                    self.pending.extend_from_slice(self.walker.blocks());
                    self.padding = self.walker.padding();
                    return Ok(());
                }
            }
        }
    }
}

fn tar_error(error: TarError) -> io::Error {
    match error {
        TarError::Read(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, other.to_string()),
    }
}

fn is_left_out(path: &[u8]) -> bool {
    let Ok(path) = name::clean(path) else { return false };
    LEFT_OUT.contains(&&path[..]) || EMPTIED.iter().any(|dir| path.starts_with(dir))
}

impl<R: Read> Read for Filter<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let rest = self.pending.get(self.given..).unwrap_or_default();
            if !rest.is_empty() {
                let n = rest.len().min(into.len());
                into.get_mut(..n).unwrap_or_default().copy_from_slice(rest.get(..n).unwrap_or_default());
                self.given += n;
                return Ok(n);
            }
            if self.ended || into.is_empty() {
                return Ok(0);
            }
            let n = self.walker.read(into)?;
            if n > 0 {
                return Ok(n);
            }
            self.refill()?;
        }
    }
}

#[cfg(test)]
mod tests;
