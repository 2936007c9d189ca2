//! Two small questions to netfilter that `nft` has no fast answer to: has anybody changed the rules, and which UDP flows still go to
//! a pod that no longer serves.

use crate::error::{Error, Result};
use nix::sys::{
    socket::{setsockopt, sockopt},
    time::{TimeVal, TimeValLike},
};
use rtnetlink::sys::{Socket, protocols::NETLINK_NETFILTER};
use std::{
    io,
    net::SocketAddrV4,
    os::fd::{AsRawFd, BorrowedFd},
};

// Numbers of `linux/netlink.h`, `linux/netfilter/nfnetlink.h`, `nf_tables.h` and `nfnetlink_conntrack.h`.
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NFT_MSG_GETGEN: u16 = (10 << 8) | 16;
const NFTA_GEN_ID: u16 = 1;
const CT_GET: u16 = (1 << 8) | 1;
const CT_DELETE: u16 = (1 << 8) | 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_FILTER: u16 = 25;
const CTA_FILTER_REPLY_FLAGS: u16 = 2;
/// Source address, protocol and source port count (`CTA_FILTER_F_*` in the kernel's `nf_internals.h`).
const REPLY_SOURCE: u32 = 1 | 1 << 3 | 1 << 4;
const NESTED: u16 = 0x8000;
const UDP: u8 = 17;
const HEADER: usize = 16;
/// `struct nfgenmsg`: family, version, resource.
const FAMILY_HEADER: usize = 4;
/// As for route netlink: a datagram of the kernel is never longer.
const BUFFER: usize = 64 * 1024;
/// The kernel answers before `send` returns, except in dumps; more than this is a fault.
const ANSWER_SECONDS: i64 = 10;
/// More flows to one pod than this are left to end by themselves.
const FLOWS_MAX: usize = 65_536;

/// A netfilter netlink socket in the namespace in which it was opened.
pub struct Netfilter {
    socket: Socket,
    sequence: u32,
}

impl Netfilter {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open() -> Result<Self> {
        let opened = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_NETFILTER)?;
            socket.bind_auto()?;
            // SAFETY: the descriptor belongs to `socket`, which outlives this borrow.
            let fd = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
            setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::seconds(ANSWER_SECONDS))?;
            Ok(socket)
        };
        let socket = opened().map_err(|e| Error::kernel("open a netfilter socket", e))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Number of the namespace's rule generation: it grows with every transaction of anybody.
    pub fn generation(&mut self) -> Result<u32> {
        let failed = |e| Error::kernel("ask for the rules' generation", e);
        self.send(NFT_MSG_GETGEN, 0, &[]).map_err(failed)?;
        for (_, body) in self.receive().map_err(failed)? {
            if let Some(id) =
                attributes(&body).find(|(kind, _)| *kind == NFTA_GEN_ID).and_then(|(_, value)| value.try_into().ok())
            {
                return Ok(u32::from_be_bytes(id));
            }
        }
        Err(failed(io::Error::other("no answer that can be understood")))
    }

    /// Forgets UDP flows that were led to `target`, so that their next packet is led to a pod that serves. Says how many.
    pub fn forget_udp(&mut self, target: SocketAddrV4) -> Result<usize> {
        let failed = |e| Error::kernel(format!("forget flows to {target}"), e);
        // A kernel that cannot filter (before 5.8) tells all.
        let flows = self.flows(&filter(target)).or_else(|_| self.flows(&[])).map_err(failed)?;
        let source = reply_source(target);
        let mut count = 0;
        for body in flows {
            let found = |wanted: u16| attributes(&body).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
            if let (Some(flow), Some(reply)) = (found(CTA_TUPLE_ORIG), found(CTA_TUPLE_REPLY))
                && tuple_source(reply) == tuple_source(&source)
            {
                self.send(CT_DELETE, NLM_F_ACK, &attribute(CTA_TUPLE_ORIG | NESTED, flow)).map_err(failed)?;
                // Gone by itself in between is fine.
                let _ = self.receive().map_err(failed)?;
                count += 1;
            }
        }
        Ok(count)
    }

    fn flows(&mut self, filter: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        self.send(CT_GET, NLM_F_DUMP, filter)?;
        let mut found = Vec::new();
        loop {
            for (kind, body) in self.receive()? {
                match kind {
                    NLMSG_DONE => return Ok(found),
                    NLMSG_ERROR => return Err(error_of(&body)),
                    _ if found.len() < FLOWS_MAX => found.push(body),
                    _ => {}
                }
            }
        }
    }

    fn send(&mut self, kind: u16, flags: u16, attributes: &[u8]) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut bytes = Vec::with_capacity(HEADER + FAMILY_HEADER + attributes.len());
        bytes.extend(((HEADER + FAMILY_HEADER + attributes.len()) as u32).to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((flags | NLM_F_REQUEST).to_ne_bytes());
        bytes.extend(self.sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend([libc::AF_INET as u8, 0, 0, 0]);
        bytes.extend(attributes);
        self.socket.send(&bytes, 0).map(|_| ())
    }

    /// One datagram's messages: type and what follows the header. Answers to older requests are left out.
    fn receive(&mut self) -> io::Result<Vec<(u16, Vec<u8>)>> {
        let mut buffer = Vec::with_capacity(BUFFER);
        self.socket.recv(&mut buffer, 0)?;
        let (mut rest, mut messages) = (&buffer[..], Vec::new());
        while let Some((length, kind, sequence)) = header(rest) {
            if sequence == self.sequence {
                messages.push((kind, rest[HEADER..length].to_vec()));
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(messages)
    }
}

fn header(bytes: &[u8]) -> Option<(usize, u16, u32)> {
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let sequence = u32::from_ne_bytes(bytes.get(8..12)?.try_into().ok()?);
    (HEADER..=bytes.len()).contains(&length).then_some((length, kind, sequence))
}

fn error_of(body: &[u8]) -> io::Error {
    let code = body.get(..4).and_then(|code| code.try_into().ok()).map_or(0, i32::from_ne_bytes);
    io::Error::from_raw_os_error(code.saturating_abs())
}

/// Attributes behind the family header.
fn attributes(body: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    nested(body.get(FAMILY_HEADER..).unwrap_or_default())
}

fn nested(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?) & !NESTED;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Content of a reply tuple that comes from `target` by UDP: address (`CTA_TUPLE_IP`, `CTA_IP_V4_SRC`), then protocol
/// (`CTA_TUPLE_PROTO`: `CTA_PROTO_NUM`, `CTA_PROTO_SRC_PORT`).
fn reply_source(target: SocketAddrV4) -> Vec<u8> {
    let address = attribute(1 | NESTED, &attribute(1, &target.ip().octets()));
    let protocol = attribute(2 | NESTED, &[attribute(1, &[UDP]), attribute(2, &target.port().to_be_bytes())].concat());
    [address, protocol].concat()
}

fn filter(target: SocketAddrV4) -> Vec<u8> {
    let flags = attribute(CTA_FILTER_REPLY_FLAGS, &REPLY_SOURCE.to_ne_bytes());
    [attribute(CTA_TUPLE_REPLY | NESTED, &reply_source(target)), attribute(CTA_FILTER | NESTED, &flags)].concat()
}

/// Source address, protocol and source port of a tuple, as bytes.
fn tuple_source(tuple: &[u8]) -> [Option<Vec<u8>>; 3] {
    let find = |outer: u16, inner: u16| {
        let (_, group) = nested(tuple).find(|(kind, _)| *kind == outer)?;
        nested(group).find(|(kind, _)| *kind == inner).map(|(_, value)| value.to_vec())
    };
    [find(1, 1), find(2, 1), find(2, 2)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tuple_is_read_as_it_was_written() {
        let target = "10.88.1.5:53".parse().unwrap();
        assert_eq!(tuple_source(&reply_source(target)), [Some(vec![10, 88, 1, 5]), Some(vec![17]), Some(vec![0, 53])]);
        assert_eq!(tuple_source(&[9, 0, 1]), [None, None, None]);
    }
}
