//! Handing file descriptors to another process over a socket.

use crate::{Error, Result};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use std::{
    io::{IoSlice, IoSliceMut},
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
};

/// Descriptors that travel in one message at most.
pub const MAX: usize = 3;

/// Sends bytes (at least one) with descriptors.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[RawFd]) -> Result<()> {
    let message = [ControlMessage::ScmRights(descriptors)];
    let messages: &[ControlMessage<'_>] = if descriptors.is_empty() { &[] } else { &message };
    let mut sent = sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], messages, MsgFlags::MSG_NOSIGNAL, None)
        .map_err(|e| Error::call("send descriptors", e))?;
    while sent < bytes.len() {
        sent += sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(&bytes[sent..])], &[], MsgFlags::MSG_NOSIGNAL, None)
            .map_err(|e| Error::call("send", e))?;
    }
    Ok(())
}

/// Receives bytes and the descriptors that came with them.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<(usize, Vec<OwnedFd>)> {
    let mut space = nix::cmsg_space!([RawFd; MAX]);
    let mut slices = [IoSliceMut::new(buffer)];
    let message = loop {
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        match recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags) {
            Err(nix::Error::EINTR) => {}
            other => break other.map_err(|e| Error::call("receive descriptors", e))?,
        }
    };
    let mut all = Vec::new();
    for control in message.cmsgs().map_err(|e| Error::call("receive descriptors", e))? {
        if let ControlMessageOwned::ScmRights(descriptors) = control {
            // SAFETY: the kernel has just made these for us.
            all.extend(descriptors.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok((message.bytes, all))
}
