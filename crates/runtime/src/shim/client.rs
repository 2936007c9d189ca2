//! One connection to a shim's socket: asking, a line at a time, or a console, which speaks frames of [`api::stream`].
//!
//! Nothing here waits. Of what a console's client is too slow to take, at most one read is kept; the rest is counted, and the client is
//! told how much it missed.

use super::control::{Answer, LINE_MAX, Request};
use api::stream::{FRAME_MAX, FrameKind};
use nix::sys::socket::{setsockopt, sockopt};
use std::{
    io::{ErrorKind, IoSlice, Read as _, Write as _},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

/// Kind and length in front of each frame's payload.
const HEADER: usize = 5;
/// Longest payload of a frame that is no input.
const WORD_MAX: usize = 16;
/// What the kernel keeps of output for a console: a pause of some tenths of a second at full speed.
const SEND_BUFFER: usize = 1 << 20;
/// Who is awaited may pause for so long until its program goes on without it.
const PAUSE: Duration = Duration::from_secs(2);

/// A connection.
pub struct Client {
    stream: UnixStream,
    /// What came and is not understood yet.
    heard: Vec<u8>,
    /// Bytes of an input frame that are yet to come.
    rest: usize,
    /// What it is connected to.
    pub console: Option<Console>,
}

/// A client that is connected to a container's program.
pub struct Console {
    /// By index.
    pub container: usize,
    /// It is the one that started the program in the foreground.
    awaited: bool,
    /// Rest of the frame that was last begun.
    unsent: Vec<u8>,
    /// Bytes of output left out since.
    missed: u64,
    /// When it last took something.
    took: Instant,
}

/// What came from a client.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// A request.
    Request(Request),
    /// Bytes for the program.
    Input(Vec<u8>),
    /// No more of those.
    End,
    /// Columns and rows of its terminal.
    Resize(u16, u16),
    /// A signal for the program.
    Signal(i32),
}

/// It talks what nobody understands: let it go.
#[derive(Debug)]
pub struct Nonsense;

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Client {
    /// A new connection.
    pub fn new(stream: UnixStream) -> Option<Self> {
        stream.set_nonblocking(true).ok()?;
        Some(Self { stream, heard: Vec::new(), rest: 0, console: None })
    }

    /// Reads what is there. False: it is gone.
    pub fn hear(&mut self) -> bool {
        let mut buffer = [0; LINE_MAX];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(length) => {
                self.heard.extend_from_slice(&buffer[..length]);
                true
            }
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }

    /// The next thing it said; none until more has come.
    pub fn said(&mut self) -> Result<Option<Said>, Nonsense> {
        if self.console.is_some() { self.frame() } else { self.line() }
    }

    fn line(&mut self) -> Result<Option<Said>, Nonsense> {
        let Some(end) = self.heard.iter().position(|b| *b == b'\n') else {
            return if self.heard.len() > LINE_MAX { Err(Nonsense) } else { Ok(None) };
        };
        let line: Vec<u8> = self.heard.drain(..=end).collect();
        serde_json::from_slice(&line).map(|request| Some(Said::Request(request))).map_err(|_| Nonsense)
    }

    /// Input is passed on as it comes, not frame by frame, so that little has to be kept.
    fn frame(&mut self) -> Result<Option<Said>, Nonsense> {
        if self.rest == 0 {
            let Some([kind, length @ ..]) = self.heard.first_chunk::<HEADER>().copied() else { return Ok(None) };
            let length = usize::try_from(u32::from_be_bytes(length)).map_err(|_| Nonsense)?;
            if FrameKind::from_byte(kind) != Some(FrameKind::Stdin) {
                return self.word(kind, length);
            }
            if length > FRAME_MAX {
                return Err(Nonsense);
            }
            self.heard.drain(..HEADER);
            self.rest = length;
            if length == 0 {
                return Ok(Some(Said::End));
            }
        }
        let here = self.heard.len().min(self.rest);
        self.rest -= here;
        let bytes: Vec<u8> = self.heard.drain(..here).collect();
        Ok(Some(Said::Input(bytes)).filter(|_| here > 0))
    }

    fn word(&mut self, kind: u8, length: usize) -> Result<Option<Said>, Nonsense> {
        if length > WORD_MAX {
            return Err(Nonsense);
        }
        if self.heard.len() < HEADER + length {
            return Ok(None);
        }
        let frame: Vec<u8> = self.heard.drain(..HEADER + length).collect();
        match (FrameKind::from_byte(kind), &frame[HEADER..]) {
            (Some(FrameKind::Resize), [a, b, c, d]) => {
                Ok(Some(Said::Resize(u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]))))
            }
            (Some(FrameKind::Signal), [signal]) => Ok(Some(Said::Signal((*signal).into()))),
            _ => Err(Nonsense),
        }
    }

    /// Answers a request. An answer fits in a socket's buffer; a client that does not read is gone.
    pub fn answer(&mut self, answer: &Answer) -> bool {
        let mut text = serde_json::to_vec(answer).unwrap_or_default();
        text.push(b'\n');
        self.stream.write(&text).is_ok_and(|written| written == text.len())
    }

    /// From the answer on it is a console.
    pub fn open(&mut self, container: usize, awaited: bool, now: Instant) {
        // Root may; where it may not, what the kernel gives everybody is enough.
        let _ = setsockopt(&self.stream, sockopt::SndBufForce, &SEND_BUFFER);
        self.console = Some(Console { container, awaited, unsent: Vec::new(), missed: 0, took: now });
    }

    /// Whether this is a console of that container.
    pub fn watches(&self, container: usize) -> bool {
        self.console.as_ref().is_some_and(|console| console.container == container)
    }

    /// Something waits for room.
    pub fn has_unsent(&self) -> bool {
        self.console.as_ref().is_some_and(|console| !console.unsent.is_empty())
    }

    /// Until when output of its container waits for it, if it does.
    pub fn waited_for(&self, now: Instant) -> Option<Instant> {
        let console = self.console.as_ref().filter(|console| console.awaited && !console.unsent.is_empty())?;
        Some(console.took + PAUSE).filter(|until| now < *until)
    }

    /// Sends output, or leaves it out. False: the client is gone.
    pub fn tell(&mut self, kind: FrameKind, bytes: &[u8], now: Instant) -> bool {
        if !self.flush(now) {
            return false;
        }
        match &mut self.console {
            Some(console) if !console.unsent.is_empty() => {
                console.missed += bytes.len() as u64;
                true
            }
            _ => self.begin(kind, bytes, now),
        }
    }

    /// The last frame, behind everything that is still to be sent.
    pub fn conclude(&mut self, kind: FrameKind, bytes: &[u8], now: Instant) -> bool {
        if let Some(console) = &mut self.console {
            let missed = std::mem::take(&mut console.missed);
            if missed > 0 {
                console.unsent.extend(frame(FrameKind::Missed, &missed.to_be_bytes()));
            }
            console.unsent.extend(frame(kind, bytes));
        }
        self.flush(now)
    }

    /// Sends what is left of the last frame, as far as there is room, and then what was left out meanwhile. False: the client is gone.
    pub fn flush(&mut self, now: Instant) -> bool {
        let Some(console) = &mut self.console else { return true };
        while !console.unsent.is_empty() {
            match self.stream.write(&console.unsent) {
                Ok(written) => {
                    console.unsent.drain(..written);
                    console.took = now;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        console.unsent = Vec::new();
        match std::mem::take(&mut console.missed) {
            0 => true,
            missed => self.begin(FrameKind::Missed, &missed.to_be_bytes(), now),
        }
    }

    /// Sends a frame, of which what finds no room is kept.
    fn begin(&mut self, kind: FrameKind, bytes: &[u8], now: Instant) -> bool {
        let header = header(kind, bytes);
        let written = loop {
            match self.stream.write_vectored(&[IoSlice::new(&header), IoSlice::new(bytes)]) {
                Ok(written) => break written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break 0,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        };
        if let Some(console) = &mut self.console {
            console.took = now;
            console.unsent = header.iter().chain(bytes).skip(written).copied().collect();
        }
        true
    }
}

fn header(kind: FrameKind, bytes: &[u8]) -> [u8; HEADER] {
    let [a, b, c, d] = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
    [kind as u8, a, b, c, d]
}

fn frame(kind: FrameKind, bytes: &[u8]) -> impl Iterator<Item = u8> {
    header(kind, bytes).into_iter().chain(bytes.iter().copied())
}

#[cfg(test)]
mod tests;
