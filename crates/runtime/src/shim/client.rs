//! One connection to a shim's socket.

use super::control::{Answer, LINE_MAX, Request};
use std::{
    io::{ErrorKind, Read as _, Write as _},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
};

/// A connection: asking, or attached to a container.
pub struct Client {
    stream: UnixStream,
    asked: Vec<u8>,
    /// Container (by index) whose output it gets.
    pub attached: Option<usize>,
}

/// What came from a client.
pub enum Heard {
    /// Nothing whole yet.
    Nothing,
    /// Requests.
    Requests(Vec<Request>),
    /// Bytes for the terminal.
    Input(Vec<u8>),
    /// It is gone, or talks nonsense.
    Gone,
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Client {
    /// A new connection.
    pub fn new(stream: UnixStream) -> Option<Self> {
        stream.set_nonblocking(true).ok()?;
        Some(Self { stream, asked: Vec::new(), attached: None })
    }

    /// Reads what is there.
    pub fn hear(&mut self) -> Heard {
        let mut buffer = [0; LINE_MAX];
        let length = match self.stream.read(&mut buffer) {
            Ok(0) => return Heard::Gone,
            Ok(length) => length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Heard::Nothing,
            Err(_) => return Heard::Gone,
        };
        if self.attached.is_some() {
            return Heard::Input(buffer[..length].to_vec());
        }
        self.asked.extend_from_slice(&buffer[..length]);
        let mut requests = Vec::new();
        while let Some(end) = self.asked.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.asked.drain(..=end).collect();
            match serde_json::from_slice(&line) {
                Ok(request) => requests.push(request),
                Err(_) => return Heard::Gone,
            }
        }
        match (requests.is_empty(), self.asked.len() > LINE_MAX) {
            (_, true) => Heard::Gone,
            (true, false) => Heard::Nothing,
            (false, false) => Heard::Requests(requests),
        }
    }

    /// Answers. An answer fits in a socket's buffer; a client that does not read is gone.
    pub fn answer(&mut self, answer: &Answer) -> bool {
        let mut text = serde_json::to_vec(answer).unwrap_or_default();
        text.push(b'\n');
        self.send(&text)
    }

    /// Sends all of it without waiting, or says that the client is too slow to stay.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write(bytes).is_ok_and(|written| written == bytes.len())
    }
}
