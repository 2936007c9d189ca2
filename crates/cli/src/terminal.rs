//! The terminal that is typed at: raw while a program elsewhere has it, and afterwards as it was; its size; the keys that detach.

use api::{Error, Result};
use nix::sys::termios;
use std::io::IsTerminal;

/// Ctrl-P, the first of the keys that detach.
const FIRST: u8 = 0x10;
/// Ctrl-Q, the second.
const SECOND: u8 = 0x11;

/// Passes every key on as a byte until it is dropped, which puts the terminal back as it was.
pub struct Raw(termios::Termios);

impl Raw {
    /// None: standard input is no terminal.
    pub fn enter() -> Option<Self> {
        let stdin = std::io::stdin();
        let before = termios::tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(&stdin, termios::SetArg::TCSANOW, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(std::io::stdin(), termios::SetArg::TCSANOW, &self.0);
    }
}

/// Somebody types at it.
pub fn is_there() -> bool {
    std::io::stdin().is_terminal()
}

/// Refuses `-t` where there is no terminal to pass on.
pub fn required() -> Result<()> {
    if is_there() {
        return Ok(());
    }
    Err(Error::usage("the input device is not a TTY").hint("leave -t out, or type it at a terminal"))
}

nix::ioctl_read_bad!(window_size, nix::libc::TIOCGWINSZ, nix::libc::winsize);

/// Its columns and rows; what terminals had when nobody says.
pub fn size() -> (u16, u16) {
    let asked = [0, 1, 2].into_iter().find_map(|descriptor| {
        let mut size = nix::libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: TIOCGWINSZ writes one winsize through a pointer that is valid for the call.
        let asked = unsafe { window_size(descriptor, &raw mut size) };
        (asked.is_ok() && size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
    });
    asked.unwrap_or((80, 24))
}

/// Looks for Ctrl-P Ctrl-Q among what is typed, as docker does: the first waits until it is known what follows.
#[derive(Default)]
pub struct Keys {
    first: bool,
}

impl Keys {
    /// What of it is for the program, and whether the keys were typed; what comes behind them is for nobody.
    pub fn typed(&mut self, bytes: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(bytes.len() + 1);
        for byte in bytes {
            let first = std::mem::replace(&mut self.first, false);
            match (first, *byte) {
                (true, SECOND) => return (passed, true),
                (_, FIRST) => {
                    passed.extend(first.then_some(FIRST));
                    self.first = true;
                }
                (first, byte) => {
                    passed.extend(first.then_some(FIRST));
                    passed.push(byte);
                }
            }
        }
        (passed, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_detach_however_they_come_and_everything_else_goes_through() {
        /// What is typed at a time, what of it goes through, and whether that was the end.
        type Row = (&'static [&'static [u8]], &'static [u8], bool);
        let table: [Row; 7] = [
            (&[b"ls\n"], b"ls\n", false),
            (&[b"a\x10\x11b"], b"a", true),
            (&[b"\x10", b"\x11"], b"", true),
            (&[b"\x10", b"x"], b"\x10x", false),
            (&[b"\x10\x10\x11"], b"\x10", true),
            (&[b"\x11\x10"], b"\x11", false),
            (&[b"\x10\x03\x11"], b"\x10\x03\x11", false),
        ];
        for (typed, passed, detached) in table {
            let mut keys = Keys::default();
            let all: Vec<_> = typed.iter().map(|bytes| keys.typed(bytes)).collect();
            let through: Vec<u8> = all.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
            assert_eq!((through.as_slice(), all.last().is_some_and(|(_, end)| *end)), (passed, detached), "{typed:?}");
        }
    }
}
