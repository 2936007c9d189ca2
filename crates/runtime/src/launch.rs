//! The last step before a container's program: signals, terminal, system call filter, `execve`.
//!
//! Runs inside the container, with its user and capabilities, for the first program and for every `exec`.

use crate::{Error, Result, record::Refusal, seccomp, sys};
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use oci_spec::runtime::Spec;
use std::{
    collections::HashMap,
    ffi::CString,
    io::{ErrorKind, IoSlice},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
};

/// A program to become.
#[derive(Clone, Debug)]
pub struct Program {
    /// Program and arguments; never empty.
    pub argv: Vec<String>,
    /// Whole environment.
    pub env: Vec<String>,
    /// Send the controlling end of a new terminal through this socket, and use the other end.
    pub terminal: Option<RawFd>,
    /// Columns and rows of the terminal.
    pub size: (u16, u16),
}

/// Size of a terminal until somebody says another.
pub const TERMINAL_SIZE: (u16, u16) = (80, 24);

impl Program {
    /// Becomes the program. Returns only if that failed.
    pub fn launch(&self) -> Refusal {
        match self.prepare() {
            Ok(mut filter) => {
                if let Err(error) = seccomp::install(&mut filter) {
                    return error.into();
                }
                self.execute()
            }
            Err(error) => error.into(),
        }
    }

    fn prepare(&self) -> Result<Vec<libc::sock_filter>> {
        sys::reset_signals();
        // SAFETY: plain number.
        unsafe { libc::umask(0o022) };
        if let Some(socket) = self.terminal {
            open_terminal(socket, self.size)?;
        }
        Ok(seccomp::program())
    }

    /// Tries the program itself, or each directory of the container's `PATH` in turn, as a shell would.
    fn execute(&self) -> Refusal {
        let Some(name) = self.argv.first().filter(|n| !n.is_empty()) else {
            return Refusal {
                code: 127,
                message: "there is no program to run: the image names none and none was given".to_owned(),
            };
        };
        let (Ok(argv), Ok(env)) = (c_strings(&self.argv), c_strings(&self.env)) else {
            return Refusal { code: 126, message: format!("an argument or variable of {name:?} contains a zero byte") };
        };
        let mut denied = None;
        for path in self.candidates(name) {
            let Ok(path) = CString::new(path) else { continue };
            let Err(errno) = nix::unistd::execve(&path, &argv, &env);
            let error = std::io::Error::from(errno);
            match error.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory => {}
                _ => denied = Some(error),
            }
        }
        match denied {
            Some(error) => Refusal { code: 126, message: format!("program {name:?} cannot be executed: {error}") },
            None if name.contains('/') => Refusal {
                code: 127,
                message: format!("program {name:?} does not exist in the container, or the interpreter it asks for does not"),
            },
            None => Refusal { code: 127, message: format!("program {name:?} is not in the container's PATH") },
        }
    }

    fn candidates(&self, name: &str) -> Vec<String> {
        if name.contains('/') {
            return vec![name.to_owned()];
        }
        let path = self.env.iter().find_map(|e| e.strip_prefix("PATH=")).unwrap_or_default();
        path.split(':').map(|directory| format!("{}/{name}", if directory.is_empty() { "." } else { directory })).collect()
    }
}

fn c_strings(all: &[String]) -> Result<Vec<CString>, std::ffi::NulError> {
    all.iter().map(|s| CString::new(s.as_str())).collect()
}

/// Makes a terminal of the container's own, takes one end as ours and sends the other away.
fn open_terminal(socket: RawFd, (columns, rows): (u16, u16)) -> Result<()> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the path is a constant.
    let master = unsafe { libc::open(c"/dev/ptmx".as_ptr(), flags) };
    if master < 0 {
        return Err(Error::errno("open the container's /dev/ptmx"));
    }
    // SAFETY: the kernel has just made this descriptor for us.
    let master = unsafe { OwnedFd::from_raw_fd(master) };
    let unlock: libc::c_int = 0;
    // SAFETY: both requests take what they are given here (ioctl_tty(2)).
    let slave = unsafe {
        libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlock);
        libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, libc::O_RDWR | libc::O_NOCTTY)
    };
    if slave < 0 {
        return Err(Error::errno("open the terminal"));
    }
    resize(master.as_raw_fd(), columns, rows)?;
    // SAFETY: descriptors are ours; we lead a session without a terminal.
    let taken = unsafe {
        let taken = libc::ioctl(slave, libc::TIOCSCTTY, 0) == 0 && (0..3).all(|n| libc::dup2(slave, n) == n);
        if slave > 2 {
            libc::close(slave);
        }
        taken
    };
    if !taken {
        return Err(Error::errno("take the terminal"));
    }
    let message = [ControlMessage::ScmRights(&[master.as_raw_fd()])];
    sendmsg::<()>(socket, &[IoSlice::new(b"t")], &message, MsgFlags::empty(), None)
        .map(drop)
        .map_err(|e| Error::call("hand over the terminal", e))
}

/// Tells a terminal its size.
pub fn resize(master: RawFd, columns: u16, rows: u16) -> Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the structure lives through the call.
    if unsafe { libc::ioctl(master, libc::TIOCSWINSZ, &raw const size) } < 0 {
        return Err(Error::errno("set the terminal's size"));
    }
    Ok(())
}

/// Hook of the library that makes containers: called in the finished container instead of its own last step.
#[derive(Clone)]
pub struct FirstProgram {
    /// What to become.
    pub program: Program,
    /// Closed by the kernel when that works, else told why it does not.
    pub verdict: RawFd,
}

impl Executor for FirstProgram {
    fn exec(&self, _: &Spec) -> Result<(), ExecutorError> {
        let refusal = self.program.launch();
        let text = serde_json::to_vec(&refusal).unwrap_or_default();
        // SAFETY: the bytes live through the call; then the process ends without running anything else.
        unsafe {
            libc::write(self.verdict, text.as_ptr().cast(), text.len());
            libc::_exit(refusal.code)
        }
    }

    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        Ok(())
    }

    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }
}
