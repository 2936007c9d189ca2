//! A small virtual machine with Debian's stock kernel, for what the kernel of this machine lacks: limits on cgroups v2, above all.
//!
//! It sees this machine's files, read-only and with a layer of memory above them, so the very test program that runs here runs
//! there as well. Software emulation: some twenty times slower, and the same everywhere. `.ci/vm` fetches what it is made of.

use crate::{Output, Typed};
use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// Set within the machine, so that a test knows where it runs.
pub const INSIDE: &str = "ROOST_LAB_VM";
/// Before the exit code of what ran there, on the console.
const ENDED: &str = "the virtual machine's program ended with ";
/// What the machine's shell does: runs the words in the file beside this script, each ended by a zero byte, says how that ended as
/// [`ENDED`] has it, and powers off.
const RUN: &str = "\
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
ip link set lo up
hostname vm
cd /
xargs -0 -a \"${0%/*}/words\" env
echo \"the virtual machine's program ended with $?\"
busybox poweroff -f
";

/// A virtual machine that is about to run one program.
pub struct Vm {
    parts: PathBuf,
    memory: &'static str,
    limit: Duration,
}

impl Vm {
    /// One with two processors and 3 GiB of memory. Panics when its parts are not there.
    #[track_caller]
    pub fn new() -> Self {
        let parts = std::env::var_os("ROOST_VM").map(PathBuf::from).or_else(beside_this_test);
        let parts = parts.unwrap_or_else(|| panic!("no folder for the virtual machine: set ROOST_VM"));
        assert!(parts.join("ready").exists(), "{} is not ready: run .ci/vm {0}", parts.display());
        Self { parts, memory: "3072", limit: Duration::from_secs(1200) }
    }

    /// Runs a program there, to its end: what it printed, and its exit code. 255 when the machine ended without it.
    #[track_caller]
    pub fn run(&self, words: &[impl AsRef<OsStr>]) -> Output {
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("a temporary folder: {error}"));
        let mut list = format!("{INSIDE}=1\0").into_bytes();
        for word in words {
            list.extend_from_slice(word.as_ref().as_bytes());
            list.push(0);
        }
        let write = |name: &str, bytes: &[u8]| {
            std::fs::write(folder.path().join(name), bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        };
        write("words", &list);
        write("run.sh", RUN.as_bytes());
        let mut out = Typed::new(self.emulator(folder.path())).limit(self.limit).run();
        // The machine's console ends lines as terminals do.
        out.stdout = out.stdout.replace('\r', "");
        let code = out.stdout.rsplit_once(ENDED).and_then(|(_, rest)| rest.lines().next()?.trim().parse().ok());
        out.code = code.unwrap_or(255);
        out
    }

    fn emulator(&self, run: &Path) -> Command {
        let root = self.parts.join("root");
        let own = root.join("usr/bin/qemu-system-x86_64");
        let share = root.join("usr/share");
        // Ended with this test, should it be killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        match own.exists() {
            true => {
                let libraries = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|folder| root.join(folder));
                command.env("LD_LIBRARY_PATH", std::env::join_paths(libraries).unwrap_or_default());
                command.arg(own).arg("-L").arg(share.join("qemu")).arg("-L").arg(share.join("seabios"))
            }
            false => command.arg("qemu-system-x86_64"),
        };
        let modules = root.join("lib/modules");
        let (run, modules) = (run.display(), modules.display());
        command.args(["-accel", "tcg,thread=multi", "-smp", "2", "-m", self.memory]);
        command.args(["-nographic", "-no-reboot", "-nodefaults", "-serial", "stdio"]);
        command.arg("-kernel").arg(self.parts.join("vmlinuz")).arg("-initrd").arg(self.parts.join("initramfs.gz"));
        command.args(["-append", &format!("console=ttyS0 loglevel=3 panic=-1 roost.run={run} roost.modules={modules}")]);
        command.args(["-virtfs", "local,path=/,mount_tag=machine,security_model=none,readonly=on,multidevs=remap"]);
        command
    }
}

impl Default for Vm {
    fn default() -> Self {
        Self::new()
    }
}

/// `target/vm`, for a test in `target/debug/deps`.
fn beside_this_test() -> Option<PathBuf> {
    let test = std::env::current_exe().ok()?;
    test.ancestors().nth(3).map(|target| target.join("vm"))
}
