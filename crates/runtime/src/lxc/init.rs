//! The first process of a system container: which one it is, when it is up, and how it is asked to stop.

use crate::{Error, paths::ContainerPaths, record::Refusal, sys};
use nix::{
    fcntl::OFlag,
    sys::wait::{Id, WaitPidFlag, WaitStatus, waitid},
};
use std::{
    fs,
    io::Write as _,
    os::{
        fd::AsFd as _,
        unix::fs::{FileTypeExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
    time::Duration,
};

/// How often a starting container is looked at, and how many times at most.
const LOOK: (Duration, u32) = (Duration::from_millis(5), 6000);
/// How many looks an init that runs is given until it hears the request to stop: it is up then, and may be stopped.
const DEAF_LOOKS: u32 = 2000;

/// `SIGRTMIN + 4` makes systemd power off (systemd(1), "Signals"); `SIGRTMIN` is 34 with glibc.
const STOP_SYSTEMD: i32 = 38;
/// `SIGUSR2` makes busybox's init power off (busybox, `init/init.c`).
const STOP_BUSYBOX: i32 = libc::SIGUSR2;
/// Where sysvinit hears of run levels (sysvinit, `src/initreq.h`), newest place first.
const INITCTL: [&str; 2] = ["/run/initctl", "/dev/initctl"];

/// How a first process is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// By a signal.
    Signal(i32),
    /// By a request for run level 0, into sysvinit's pipe.
    RunLevel,
}

/// Whether these words start a whole system, whose console is a terminal.
pub fn is_init(argv: &[String]) -> bool {
    let name = argv.first().and_then(|program| program.rsplit('/').next());
    matches!(name, Some("init" | "systemd" | "linuxrc" | "openrc-init" | "runit-init"))
}

/// Waits until the container that `keeper` starts is up: its first process, in our numbering.
pub fn main_process(paths: &ContainerPaths, keeper: i32) -> Result<i32, Refusal> {
    let mut deaf = 0;
    for _ in 0..LOOK.1 {
        match ended(keeper) {
            // It ran, and was quicker than we look. The shim's loop reaps it.
            Some(0) => return Ok(keeper),
            Some(_) => return Err(Refusal::before(last_words(&paths.lxc()))),
            None => {}
        }
        match first_of(keeper).filter(|main| !same_program(keeper, *main)) {
            Some(main) if hears(main) || deaf >= DEAF_LOOKS => return Ok(main),
            Some(_) => deaf += 1,
            None => {}
        }
        std::thread::sleep(LOOK.0);
    }
    Err(Refusal::before("lxc-start did not bring the container up in time"))
}

/// The first process of the container now, if it has one: a system that rebooted has another than before. It is the child of
/// the keeper that is number one in a numbering of its own.
pub fn first_of(keeper: i32) -> Option<i32> {
    children(keeper).into_iter().find(|child| {
        let numbers = field(*child, "NSpid:").unwrap_or_default();
        numbers.split_whitespace().count() > 1 && numbers.split_whitespace().last() == Some("1")
    })
}

/// Children of a process. Not every kernel lists them (`CONFIG_PROC_CHILDREN`): then everybody is asked for their parent.
fn children(parent: i32) -> Vec<i32> {
    if let Ok(text) = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")) {
        return text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    }
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|pid| field(*pid, "PPid:").as_deref() == Some(parent.to_string().as_str())).collect()
}

/// A line of `/proc/<pid>/status` (proc_pid_status(5)).
fn field(pid: i32, name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)).map(|rest| rest.trim().to_owned())
}

/// Before it becomes the container's program, its child is the keeper's own program.
fn same_program(keeper: i32, child: i32) -> bool {
    let file = |pid: i32| fs::metadata(format!("/proc/{pid}/exe")).ok().map(|file| (file.dev(), file.ino()));
    file(keeper) == file(child)
}

/// An init hears the request to stop once it handles or holds back the signal: before that the kernel throws it away.
fn hears(main: i32) -> bool {
    let bit = |signal: i32, mask: &str| u64::from_str_radix(mask, 16).is_ok_and(|mask| mask >> (signal - 1) & 1 == 1);
    match way(main, None) {
        Some(Way::Signal(signal)) => {
            ["SigCgt:", "SigBlk:"].into_iter().any(|name| field(main, name).is_some_and(|mask| bit(signal, &mask)))
        }
        Some(Way::RunLevel) => initctl(main).is_some(),
        None => true,
    }
}

/// Asks the first process to stop: an init as it wants to be asked, any other program by its own signal.
pub fn ask_to_stop(asked: i32, main: i32) {
    match way(main, Some(asked)) {
        Some(Way::RunLevel) if request_halt(main).is_ok() => {}
        // A pipe that nobody reads: what any init understands as a request to end, and the kill after the grace.
        Some(Way::RunLevel) => signal(main, libc::SIGPWR),
        Some(Way::Signal(number)) => signal(main, number),
        None => signal(main, asked),
    }
}

fn signal(main: i32, number: i32) {
    // SAFETY: plain numbers; the process is watched by its keeper, so the number is still its own.
    unsafe { libc::kill(main, number) };
}

/// systemd says that everything it starts at boot is started (systemd(1), `$NOTIFY_SOCKET`).
pub fn says_when_it_is_up(main: i32) -> bool {
    way(main, None) == Some(Way::Signal(STOP_SYSTEMD))
}

fn way(main: i32, asked: Option<i32>) -> Option<Way> {
    let program = fs::read_link(format!("/proc/{main}/exe")).unwrap_or_default();
    let arguments = fs::read(format!("/proc/{main}/cmdline")).unwrap_or_default();
    way_of(asked.unwrap_or(libc::SIGTERM), &program, &String::from_utf8_lossy(&arguments))
}

/// None: it is no init that we know.
fn way_of(asked: i32, program: &Path, arguments: &str) -> Option<Way> {
    let name = program.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let first = arguments.split('\0').next().unwrap_or_default();
    match name {
        // Somebody knows better.
        _ if asked != libc::SIGTERM => None,
        "systemd" => Some(Way::Signal(STOP_SYSTEMD)),
        "busybox" if first.ends_with("init") || first == "linuxrc" => Some(Way::Signal(STOP_BUSYBOX)),
        "init" => Some(Way::RunLevel),
        _ => None,
    }
}

/// The pipe of sysvinit, once it has made it.
fn initctl(main: i32) -> Option<std::os::fd::OwnedFd> {
    let root = sys::open_directory(&PathBuf::from(format!("/proc/{main}/root"))).ok()?;
    INITCTL.into_iter().find_map(|path| {
        let pipe =
            sys::open_in_root(root.as_fd(), Path::new(path), OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY).ok()?;
        let kind = fs::metadata(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&pipe))).ok()?.file_type();
        kind.is_fifo().then_some(pipe)
    })
}

/// `struct init_request` for run level 0: magic number, command, run level, pause; the rest is not used.
fn halt_request() -> [u8; 384] {
    const MAGIC: u32 = 0x0309_1969;
    const CHANGE_RUN_LEVEL: u32 = 1;
    let mut bytes = [0; 384];
    for (at, number) in [(0, MAGIC), (4, CHANGE_RUN_LEVEL), (8, u32::from(b'0')), (12, 0)] {
        bytes[at..at + 4].copy_from_slice(&number.to_ne_bytes());
    }
    bytes
}

fn request_halt(main: i32) -> std::io::Result<()> {
    let pipe = initctl(main).ok_or(std::io::ErrorKind::NotFound)?;
    fs::File::from(pipe).write_all(&halt_request())
}

/// Exit code of a child that has ended, which stays to be reaped.
fn ended(child: i32) -> Option<i32> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    match waitid(Id::Pid(nix::unistd::Pid::from_raw(child)), flags) {
        Ok(WaitStatus::Exited(_, code)) => Some(code),
        Ok(WaitStatus::StillAlive) => None,
        _ => Some(-1),
    }
}

/// Why `lxc-start` ended: the first error in its log, which the others follow from.
fn last_words(lxc: &Path) -> String {
    let log = fs::read_to_string(lxc.join("lxc.log")).unwrap_or_default();
    format!("lxc-start failed: {}", first_error(&log).unwrap_or("it did not say why"))
}

fn first_error(log: &str) -> Option<&str> {
    log.lines().find(|line| line.contains(" ERROR ")).and_then(|line| line.rsplit(" - ").next())
}

/// Why a program cannot be the first: the error it would meet, before anything is started.
pub fn check_program(root: &Path, argv: &[String], env: &[String]) -> Result<(), Refusal> {
    let name = argv.first().map(String::as_str).unwrap_or_default();
    if name.is_empty() {
        return Err(Refusal { code: 127, message: "there is no program to run: give one behind the image".to_owned() });
    }
    let search = env.iter().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or("/usr/sbin:/usr/bin:/sbin:/bin");
    let places: Vec<String> = if name.contains('/') {
        vec![name.to_owned()]
    } else {
        search.split(':').map(|directory| format!("{directory}/{name}")).collect()
    };
    let root = sys::open_directory(root).map_err(Refusal::from)?;
    let found = places.iter().find_map(|place| sys::open_in_root(root.as_fd(), Path::new(place), OFlag::O_PATH).ok());
    let Some(found) = found else {
        let message = if name.contains('/') {
            format!("program {name:?} does not exist in the container")
        } else {
            format!("program {name:?} is not in the container's PATH")
        };
        return Err(Refusal { code: 127, message });
    };
    let file = fs::metadata(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&found)));
    match file.map_err(|e| Error::call("look at the program", e)) {
        Ok(file) if file.is_file() && file.mode() & 0o111 != 0 => Ok(()),
        Ok(_) => Err(Refusal { code: 126, message: format!("program {name:?} cannot be executed: it is no program") }),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_init_is_stopped_as_it_wants_to_be_and_a_program_by_the_signal_asked_for() {
        for (asked, program, arguments, wanted) in [
            (libc::SIGTERM, "/usr/lib/systemd/systemd", "/sbin/init\0", Some(Way::Signal(STOP_SYSTEMD))),
            (libc::SIGTERM, "/bin/busybox", "/sbin/init\0", Some(Way::Signal(STOP_BUSYBOX))),
            (libc::SIGTERM, "/usr/sbin/init", "init [2]\0", Some(Way::RunLevel)),
            (libc::SIGTERM, "/bin/busybox", "sh\0-c\0", None),
            (libc::SIGINT, "/usr/lib/systemd/systemd", "/sbin/init\0", None),
        ] {
            assert_eq!(way_of(asked, Path::new(program), arguments), wanted, "{program} {arguments}");
        }
    }

    #[test]
    fn a_request_to_halt_is_as_sysvinit_reads_it() {
        let bytes = halt_request();
        assert_eq!(bytes.len(), 384);
        assert_eq!(u32::from_ne_bytes(bytes[..4].try_into().unwrap()), 0x0309_1969);
        assert_eq!(u32::from_ne_bytes(bytes[8..12].try_into().unwrap()), 48);
    }

    #[test]
    fn whole_systems_are_told_from_programs_by_their_first_word() {
        let init = |text: &str| is_init(&text.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert!(init("/sbin/init") && init("init --log-target=console") && init("/lib/systemd/systemd"));
        assert!(!init("/bin/sh -c init") && !init("/usr/bin/initdb") && !is_init(&[]));
    }

    #[test]
    fn the_first_error_is_the_cause() {
        let log = "lxc-start main 1 WARN x - a.c:f:1 - not this\nlxc-start main 1 ERROR x - a.c:f:2 - No such file - Failed to mount\n\
                   lxc-start main 1 ERROR x - a.c:f:3 - what follows\n";
        assert_eq!(first_error(log), Some("Failed to mount"));
        assert_eq!(first_error(""), None);
    }

    #[test]
    fn a_program_that_is_not_there_or_none_is_said_before_anything_is_started() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("bin")).unwrap();
        fs::write(root.path().join("bin/data"), "text").unwrap();
        let check = |word: &str| check_program(root.path(), &[word.to_owned()], &["PATH=/sbin:/bin".to_owned()]);
        assert_eq!(check("none").unwrap_err().code, 127);
        assert!(check("/bin/none").unwrap_err().message.contains("does not exist in the container"));
        assert_eq!(check("data").unwrap_err().code, 126);
    }
}
