//! A route netlink socket, used synchronously: messages are sent in batches and each is acknowledged.
//!
//! The socket stays in the network namespace in which it was opened, whichever thread uses it later.

use crate::error::{Error, Result};
use nix::sys::{
    socket::{setsockopt, sockopt},
    time::{TimeVal, TimeValLike},
};
use rtnetlink::{
    packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload},
    packet_route::RouteNetlinkMessage,
    sys::{Socket, protocols::NETLINK_ROUTE},
};
use std::{
    io,
    num::NonZeroI32,
    os::fd::{AsRawFd, BorrowedFd},
    sync::{Mutex, PoisonError},
};

/// Messages sent at once: their acknowledgements must fit into the socket's receive buffer.
const BATCH_MAX: usize = 64;
/// The kernel fills at most 32 KiB of a dump at a time (`NLMSG_GOODSIZE` limits); one message is never longer than 64 KiB here.
const BUFFER: usize = 64 * 1024;
/// The kernel answers before `send` returns, except in dumps; more than this is a fault.
const ANSWER_SECONDS: i64 = 10;

/// One request of a batch.
pub struct Request {
    /// For the error message, as in `add link roost0`.
    pub what: String,
    /// What to do.
    pub message: RouteNetlinkMessage,
    /// `NLM_F_CREATE` and the like.
    pub flags: u16,
    /// Error numbers that mean "was so already".
    pub forgiven: &'static [i32],
}

/// A route netlink socket. Calls from several threads take turns.
pub struct Netlink(Mutex<Inner>);

struct Inner {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open() -> Result<Self> {
        let opened = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.set_cap_ack(true)?;
            // Old kernels have no strict checking; answers are filtered again anyway.
            let _ = socket.set_netlink_get_strict_chk(true);
            // SAFETY: the descriptor belongs to `socket`, which outlives this borrow.
            let fd = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
            setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::seconds(ANSWER_SECONDS))?;
            Ok(socket)
        };
        let socket = opened().map_err(|e| Error::kernel("open a netlink socket", e))?;
        Ok(Self(Mutex::new(Inner { socket, sequence: 0, buffer: Vec::with_capacity(BUFFER) })))
    }

    /// Does all requests in order; the first refusal is the error, and later requests have been tried as well.
    pub fn batch(&self, requests: Vec<Request>) -> Result<()> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rest = requests.into_iter().peekable();
        while rest.peek().is_some() {
            inner.batch(rest.by_ref().take(BATCH_MAX).collect())?;
        }
        Ok(())
    }

    /// All answers to a question. Messages the packet library does not understand are left out: they are not of our making.
    pub fn dump(&self, what: &str, message: RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.dump(message).map_err(|e| Error::kernel(what, e))
    }

    /// One answer; None if the kernel knows no such thing (`ENODEV`, `ENOENT`, `ENETUNREACH`).
    pub fn get(&self, what: &str, message: RouteNetlinkMessage) -> Result<Option<RouteNetlinkMessage>> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match inner.get(message) {
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENODEV | libc::ENOENT | libc::ENETUNREACH)) => Ok(None),
            answer => answer.map_err(|e| Error::kernel(what, e)),
        }
    }
}

impl Inner {
    fn batch(&mut self, requests: Vec<Request>) -> Result<()> {
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        let mut open = Vec::with_capacity(requests.len());
        for Request { what, message, flags, forgiven } in requests {
            self.append(&mut bytes, message, NLM_F_REQUEST | NLM_F_ACK | flags);
            open.push((what, forgiven));
        }
        self.socket.send(&bytes, 0).map_err(|e| Error::kernel("send to the kernel", e))?;
        let mut refused = None;
        let mut answered = 0;
        while answered < open.len() {
            for (sequence, payload) in self.receive().map_err(|e| Error::kernel("hear from the kernel", e))? {
                let Some((what, forgiven)) = open.get(sequence.wrapping_sub(first) as usize) else { continue };
                let Ok(NetlinkPayload::Error(answer)) = payload else { continue };
                answered += 1;
                if let Some(code) = refusal(answer.code).filter(|code| !forgiven.contains(code)) {
                    refused.get_or_insert_with(|| Error::kernel(what.clone(), io::Error::from_raw_os_error(code)));
                }
            }
        }
        refused.map_or(Ok(()), Err)
    }

    fn dump(&mut self, message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        let sequence = self.ask(message, NLM_F_REQUEST | NLM_F_DUMP)?;
        let mut found = Vec::new();
        loop {
            for (answer_to, payload) in self.receive()? {
                match payload {
                    _ if answer_to != sequence => {}
                    Ok(NetlinkPayload::InnerMessage(message)) => found.push(message),
                    Ok(NetlinkPayload::Done(_)) => return Ok(found),
                    Ok(NetlinkPayload::Error(error)) => return Err(error.to_io()),
                    Ok(_) => {}
                    Err(why) => tracing::debug!(why, "netlink message not understood"),
                }
            }
        }
    }

    fn get(&mut self, message: RouteNetlinkMessage) -> io::Result<Option<RouteNetlinkMessage>> {
        let sequence = self.ask(message, NLM_F_REQUEST)?;
        loop {
            for (answer_to, payload) in self.receive()? {
                match payload {
                    _ if answer_to != sequence => {}
                    Ok(NetlinkPayload::InnerMessage(message)) => return Ok(Some(message)),
                    Ok(NetlinkPayload::Error(error)) => return Err(error.to_io()),
                    Ok(_) => return Ok(None),
                    Err(why) => return Err(io::Error::other(why)),
                }
            }
        }
    }

    fn ask(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<u32> {
        let mut bytes = Vec::new();
        self.append(&mut bytes, message, flags);
        self.socket.send(&bytes, 0)?;
        Ok(self.sequence)
    }

    fn append(&mut self, bytes: &mut Vec<u8>, message: RouteNetlinkMessage, flags: u16) {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.sequence_number = self.sequence;
        header.flags = flags;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        message.finalize();
        let at = bytes.len();
        bytes.resize(at + message.buffer_len().next_multiple_of(4), 0);
        message.serialize(&mut bytes[at..]);
    }

    /// One datagram's messages with the sequence number each answers to.
    #[allow(clippy::type_complexity, reason = "used here only")]
    fn receive(&mut self) -> io::Result<Vec<(u32, Result<NetlinkPayload<RouteNetlinkMessage>, String>)>> {
        self.buffer.clear();
        self.socket.recv(&mut self.buffer, 0)?;
        let mut rest = &self.buffer[..];
        let mut messages = Vec::new();
        while let Some((length, sequence)) = header(rest) {
            let payload = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&rest[..length]);
            messages.push((sequence, payload.map(|m| m.payload).map_err(|e| e.to_string())));
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(messages)
    }
}

/// The error number in an answer; none if it says yes. Never by way of "0 means yes": `code.map_or(0, |code| code.get().abs())`
/// is compiled by rustc 1.95 (LLVM 22) at any optimisation to a number that it then takes for never 0.
fn refusal(code: Option<NonZeroI32>) -> Option<i32> {
    Some(code?.get().wrapping_neg())
}

/// Length and sequence number of the first message (`struct nlmsghdr`: length, type, flags, sequence, port).
fn header(bytes: &[u8]) -> Option<(usize, u32)> {
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let sequence = u32::from_ne_bytes(bytes.get(8..12)?.try_into().ok()?);
    (16..=bytes.len()).contains(&length).then_some((length, sequence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_number_is_a_refusal() {
        assert_eq!(refusal(None), None);
        assert_eq!(refusal(NonZeroI32::new(-libc::EEXIST)), Some(libc::EEXIST));
    }
}
