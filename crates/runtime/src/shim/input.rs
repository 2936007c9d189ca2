//! What a container's program reads: a pipe that stays open while nobody is connected, or its terminal. Never waited for.

use super::attend::set_nonblocking;
use crate::launch;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

/// The shim's end of it.
#[derive(Default)]
pub struct Input {
    to: Option<OwnedFd>,
    /// Taken from a client, and not by the program yet. While there is some, no client is read: that bounds it.
    waiting: Vec<u8>,
    terminal: bool,
    /// Nothing follows what waits.
    last: bool,
}

impl Input {
    /// The write end of a pipe, or the controlling end of a terminal.
    pub fn new(to: OwnedFd, terminal: bool) -> Self {
        set_nonblocking(&to);
        Self { to: Some(to), waiting: Vec::new(), terminal, last: false }
    }

    /// What is sent reaches the program.
    pub const fn is_open(&self) -> bool {
        self.to.is_some() && !self.last
    }

    /// To be polled for room: there is something that waits for it.
    pub fn wants_room(&self) -> Option<BorrowedFd<'_>> {
        self.to.as_ref().filter(|_| !self.waiting.is_empty()).map(|fd| fd.as_fd())
    }

    /// Gives the program these bytes, as soon as it takes them.
    pub fn give(&mut self, bytes: &[u8]) {
        if self.is_open() {
            self.waiting.extend_from_slice(bytes);
            self.push();
        }
    }

    /// The client's input has ended, and so the program's. A terminal stays open.
    pub fn end(&mut self) {
        if !self.terminal {
            self.last = true;
            self.push();
        }
    }

    /// Nobody is there to read any more.
    pub fn close(&mut self) {
        (self.to, self.waiting) = (None, Vec::new());
    }

    /// Writes what the program takes.
    pub fn push(&mut self) {
        while let Some(to) = self.to.as_ref().filter(|_| !self.waiting.is_empty()) {
            match nix::unistd::write(to, &self.waiting) {
                Ok(written) => drop(self.waiting.drain(..written)),
                Err(nix::Error::EAGAIN) => return,
                Err(nix::Error::EINTR) => {}
                // It reads no more.
                Err(_) => self.close(),
            }
        }
        self.waiting = Vec::new();
        if self.last {
            self.to = None;
        }
    }

    /// Tells the terminal how large its window is.
    pub fn resize(&self, columns: u16, rows: u16) {
        if let (Some(terminal), true) = (&self.to, self.terminal) {
            let _ = launch::resize(terminal.as_raw_fd(), columns, rows);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys;

    #[test]
    fn what_is_not_taken_waits_in_order_and_the_end_comes_last() {
        let (reader, writer) = sys::pipe().unwrap();
        let mut input = Input::new(writer, false);
        let sent: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        input.give(&sent);
        assert!(input.wants_room().is_some());
        input.end();
        assert!(!input.is_open());
        let (mut got, mut buffer) = (Vec::new(), vec![0; 10_000]);
        loop {
            match sys::read_some(&reader, &mut buffer).unwrap() {
                0 => break,
                length => got.extend_from_slice(&buffer[..length]),
            }
            input.push();
        }
        assert!(got == sent && input.wants_room().is_none());
    }

    #[test]
    fn nobody_there_is_no_trouble() {
        let (reader, writer) = sys::pipe().unwrap();
        let mut input = Input::new(writer, false);
        drop(reader);
        input.give(b"lost");
        assert!(!input.is_open() && input.wants_room().is_none());
        input.give(b"lost as well");
        Input::default().give(b"lost too");
    }

    #[test]
    fn it_stays_open_until_its_end_is_told() {
        let (reader, writer) = sys::pipe().unwrap();
        let mut input = Input::new(writer, false);
        input.give(b"one");
        assert_eq!(sys::read_some(&reader, &mut [0; 8]).unwrap(), 3);
        assert!(!sys::wait_readable(reader.as_fd(), 20).unwrap());
        input.end();
        assert_eq!(sys::read_some(&reader, &mut [0; 8]).unwrap(), 0);
    }
}
