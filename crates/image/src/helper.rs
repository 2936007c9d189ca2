//! Starts the confined unpack process, feeds it, and finishes what it must not do itself.

use crate::{
    error::{Error, Result, on},
    unpack::{Outcome, Summary},
};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, OpenHow, ResolveFlag, fcntl, openat2},
};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read as _, Write as _},
    os::{fd::AsRawFd as _, unix::ffi::OsStrExt as _},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

/// Longest answer read: a line with the opaque directories.
const MAX_ANSWER: u64 = 64 << 20;
/// Room in the pipe to the helper; the default is 64 KiB. More is refused to the unprivileged only.
const PIPE: i32 = 1 << 20;

/// A running helper. Killed when dropped before its answer was read.
pub struct Helper {
    child: Child,
    input: Option<ChildStdin>,
}

impl Helper {
    /// Starts `command` with the directory to unpack into and the most bytes it may unpack.
    pub fn start(command: &[OsString], root: &Path, limit: u64) -> Result<Self> {
        let (program, args) = command.split_first().ok_or_else(|| Error::request("no unpack helper is configured"))?;
        let mut child = Command::new(program)
            .args(args)
            .arg(root)
            .arg(limit.to_string())
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(on("start the unpack helper", Path::new(program)))?;
        let input = child.stdin.take();
        if let Some(pipe) = &input
            && let Err(error) = fcntl(pipe, FcntlArg::F_SETPIPE_SZ(PIPE))
        {
            tracing::debug!(%error, "the pipe keeps its size");
        }
        Ok(Self { child, input })
    }

    /// Hands over more of the archive. False when the helper has stopped reading: its answer says why.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<bool> {
        let Some(input) = &mut self.input else { return Ok(false) };
        match input.write_all(bytes) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(source) => Err(Error::Io { what: "cannot write to the unpack helper".to_owned(), source }),
        }
    }

    /// The archive is at its end: what became of it?
    pub fn finish(mut self) -> Result<Outcome> {
        self.input = None;
        let broken = |source| Error::Io { what: "cannot read the unpack helper's answer".to_owned(), source };
        let mut answer = Vec::new();
        if let Some(output) = self.child.stdout.take() {
            output.take(MAX_ANSWER).read_to_end(&mut answer).map_err(broken)?;
        }
        let status = self.child.wait().map_err(broken)?;
        serde_json::from_slice(&answer)
            .map_err(|_| Error::Io { what: "the unpack helper died".to_owned(), source: io::Error::other(status.to_string()) })
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // It may have ended in between; then there is nothing to kill, and waiting is right all the same.
            let _ended = self.child.kill();
            if let Err(error) = self.child.wait() {
                tracing::warn!(%error, "cannot wait for the unpack helper");
            }
        }
    }
}

/// Marks the directories the helper named as opaque (overlayfs documentation, "whiteouts and opaque directories"). The
/// helper is not trusted: its paths are resolved strictly inside `root` and through no link.
pub fn mark_opaque(root: &Path, summary: &Summary) -> Result<()> {
    let dir = File::open(root).map_err(on("open", root))?;
    for name in &summary.opaque {
        let path = hex::decode(name).map_err(|_| Error::content("the unpack helper's answer is malformed"))?;
        let path = if path.is_empty() { b".".to_vec() } else { path };
        let how = OpenHow::new()
            .flags(OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        let opened = match openat2(&dir, OsStr::from_bytes(&path), how) {
            Ok(opened) => opened,
            // A later entry took its place.
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => continue,
            Err(e) => return Err(on("open a directory in", root)(e.into())),
        };
        // SAFETY: name and value outlive the call; the length is the value's.
        let done = unsafe { libc::fsetxattr(opened.as_raw_fd(), c"trusted.overlay.opaque".as_ptr(), c"y".as_ptr().cast(), 1, 0) };
        Errno::result(done).map_err(|e| on("mark a directory as opaque in", root)(e.into()))?;
    }
    Ok(())
}

/// Whether a layer's root hides everything below.
pub fn is_opaque(root: &Path) -> bool {
    let Ok(dir) = File::open(root) else { return false };
    let mut value = [0u8; 1];
    // SAFETY: the name outlives the call; one byte is written at most.
    let n =
        unsafe { libc::fgetxattr(dir.as_raw_fd(), c"trusted.overlay.opaque".as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    n == 1 && value == *b"y"
}
