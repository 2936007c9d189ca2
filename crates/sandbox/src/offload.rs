//! Checksum offload of a link. A frame on a virtual cable normally carries no checksum and may be 64 KiB long, because nothing
//! can happen to it; a relay that reads frames needs them as they would be on a real cable.

use crate::{error::Result, network::Network};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

/// `ETHTOOL_STXCSUM` (linux/ethtool.h). Without it the kernel segments before it sends, too (`harmonize_features`).
const SET_TX_CHECKSUM: u32 = 0x17;
/// `SIOCETHTOOL` (linux/sockios.h).
const SIOCETHTOOL: libc::c_ulong = 0x8946;

/// `struct ethtool_value` (linux/ethtool.h).
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// Leaves checksums and segmentation to the link, or does them before.
pub fn set(network: &Network, link: &str, on: bool) -> Result<()> {
    network.within(|| set_here(link, on))
}

fn set_here(link: &str, on: bool) -> io::Result<()> {
    let socket: OwnedFd = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut value = Value { command: SET_TX_CHECKSUM, data: u32::from(on) };
    // SAFETY: all zero bytes are a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if link.len() >= request.ifr_name.len() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{link} is not a link name")));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(link.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the request and the value it points to live until after the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
