//! The DNS server on every server: answers for containers and jobs from a value, and forwards the rest.
//!
//! `<name>.<domain>` has A records with a time to live of [`TTL`]; a job's addresses are all in the answer, each time beginning
//! with another. Inside the domain we are the authority: other types are "no data", unknown names do not exist, both with
//! SOA. Addresses of the cluster's range have PTR records. Everything else goes to the server's own resolvers.

mod answer;
mod forward;
mod serve;
mod zone;

pub use forward::Upstreams;

use api::assignment::NameTable;
use base::supervise::Scope;
use forward::Forwarder;
use hickory_proto::{ProtoError, rr::Name};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket, sockopt};
use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    os::fd::OwnedFd,
    sync::{Arc, PoisonError, RwLock},
};
use zone::Zone;

/// Seconds that an answer about the cluster may be kept. An instance leaves the names before its connections are drained and it
/// is stopped, which takes longer than this; so nobody who keeps to it goes to an address that is gone.
pub const TTL: u32 = 1;
/// Connections waiting to be accepted, per address.
const BACKLOG: i32 = 128;

/// How names are served.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen, UDP and TCP each. They need not be there yet. Port 0: any free one, the same for both.
    pub addresses: Vec<SocketAddr>,
    /// What the cluster's names end in, as in `internal`.
    pub domain: String,
    /// The cluster's containers: their addresses are never asked of other resolvers.
    pub range: Option<ipnet::Ipv4Net>,
    /// Who knows the rest.
    pub upstreams: Upstreams,
}

/// Why names cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a domain.
    #[error("{domain:?} is not a domain to end names in: {source}")]
    Domain {
        /// As given.
        domain: String,
        /// Why not.
        source: ProtoError,
    },
    /// An address cannot be listened on.
    #[error("cannot serve names at {address}: {source}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
}

/// A running DNS server. It ends with the scope it was started in; this is the handle to tell it names.
#[derive(Clone)]
pub struct DnsServer {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
}

/// What every request needs.
struct Shared {
    /// Replaced as a whole; held only for as long as it takes to clone the pointer.
    zone: RwLock<Arc<Zone>>,
    forwarder: Forwarder,
}

impl Shared {
    fn zone(&self) -> Arc<Zone> {
        self.zone.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl DnsServer {
    /// Serves names that end in `domain` at these addresses, and asks the resolvers in `/etc/resolv.conf` for all others. Until names
    /// are set, questions about the domain are answered by "server failure", which clients ask again.
    pub async fn bind(addresses: Vec<SocketAddr>, domain: String, scope: &Scope) -> Result<Self, Error> {
        let upstreams = Upstreams::File("/etc/resolv.conf".into());
        Self::bind_with(Options { addresses, domain, range: None, upstreams }, scope).await
    }

    /// The same with everything said.
    #[allow(clippy::unused_async, reason = "sockets are registered with the runtime, so there has to be one")]
    pub async fn bind_with(options: Options, scope: &Scope) -> Result<Self, Error> {
        let Options { addresses, domain, range, upstreams } = options;
        let bad = |source| Error::Domain { domain: domain.clone(), source };
        let mut name = Name::from_ascii(domain.to_ascii_lowercase()).map_err(bad)?;
        name.set_fqdn(true);
        let sockets: Vec<_> = addresses.iter().map(|address| sockets(*address)).collect::<Result<_, _>>()?;
        let addresses: Vec<_> = sockets.iter().map(|(_, _, at)| *at).collect();
        let zone = RwLock::new(Arc::new(Zone::new(name, range)));
        let shared = Arc::new(Shared { zone, forwarder: Forwarder::new(upstreams, addresses.clone()) });
        for (udp, tcp, address) in sockets {
            serve::start(udp, tcp, &shared, scope).map_err(|source| Error::Bind { address, source })?;
        }
        Ok(Self { shared, addresses })
    }

    /// Answers from this table from now on.
    pub fn set_names(&self, names: Arc<NameTable>) {
        let mut zone = self.shared.zone.write().unwrap_or_else(PoisonError::into_inner);
        *zone = Arc::new(zone.with(names));
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

/// Sockets for UDP and TCP at an address that may appear later (`IP_FREEBIND`, ip(7)).
fn sockets(address: SocketAddr) -> Result<(UdpSocket, TcpListener, SocketAddr), Error> {
    let failed = |source: io::Error| Error::Bind { address, source };
    let udp = UdpSocket::from(bound(address, SockType::Datagram).map_err(failed)?);
    let address = udp.local_addr().map_err(failed)?;
    let tcp = bound(address, SockType::Stream).map_err(failed)?;
    Backlog::new(BACKLOG).and_then(|backlog| listen(&tcp, backlog)).map_err(|e| failed(e.into()))?;
    Ok((udp, TcpListener::from(tcp), address))
}

fn bound(address: SocketAddr, kind: SockType) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    if address.is_ipv4() {
        setsockopt(&fd, sockopt::IpFreebind, &true)?;
    } else {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    if kind == SockType::Stream {
        // Connections of a former process in TIME_WAIT do not keep us from listening.
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    }
    bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &SockaddrStorage::from(address))?;
    Ok(fd)
}
