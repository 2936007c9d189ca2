//! Content from other servers: their agents hand out blobs by digest.

use crate::{Options, engine::Sources};
use api::{
    assignment::Assignment,
    name::Name,
    path::{AGENT_PORT, BLOBS, segment},
};
use driver::{DriverError, image::BlobSource};
use std::{
    io::{self, Read},
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    runtime::Handle,
    time::timeout,
};
use wire::{client::Client, identity::Identity};

/// Servers asked for one blob.
const PEERS_MAX: usize = 32;
/// One of them has so long to begin its answer.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// And so long for each further piece.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Where missing content comes from, given the latest assignment: the manager's server first, where most images come in.
pub fn sources(options: &Options, handle: Handle) -> Sources {
    let (identity, manager) = (options.identity.clone(), options.manager.ip());
    let port = if options.listen.port() == 0 { AGENT_PORT } else { options.listen.port() };
    Arc::new(move |told| {
        let peers = peers(told, manager).into_iter().map(|(name, ip)| (name, SocketAddr::new(ip, port))).collect();
        Arc::new(Peers { peers, identity: identity.clone(), handle: handle.clone() })
    })
}

/// Whom to ask, in order. Servers after this one come first, so that not everybody asks the same one.
fn peers(told: &Assignment, manager: IpAddr) -> Vec<(Option<Name>, IpAddr)> {
    let mut others: Vec<_> = told.network.peers.iter().collect();
    others.sort_by_key(|peer| (peer.underlay != manager, peer.number < told.network.number, peer.number));
    let mut list: Vec<_> = others.into_iter().map(|peer| (Some(peer.name.clone()), peer.underlay)).collect();
    if manager != told.network.underlay && !list.iter().any(|(_, ip)| *ip == manager) {
        list.insert(0, (None, manager));
    }
    list.truncate(PEERS_MAX);
    list
}

struct Peers {
    peers: Vec<(Option<Name>, SocketAddr)>,
    identity: Identity,
    handle: Handle,
}

impl BlobSource for Peers {
    fn open(&self, digest: &str) -> driver::Result<Box<dyn Read + Send>> {
        let mut answers = Vec::new();
        for (name, address) in &self.peers {
            match self.handle.block_on(self.ask(name.as_ref(), *address, digest)) {
                Ok(stream) => return Ok(Box::new(Blocking { stream, handle: self.handle.clone() })),
                Err(why) => answers.push(format!("{}: {why}", name.as_ref().map_or("the manager", Name::as_str))),
            }
        }
        Err(DriverError::retryable(match answers.is_empty() {
            true => format!("{digest} is not here, and there is no other server to ask"),
            false => format!("{digest} is not here, and nobody else gave it: {}", answers.join("; ")),
        }))
    }
}

impl Peers {
    async fn ask(
        &self,
        name: Option<&Name>,
        address: SocketAddr,
        digest: &str,
    ) -> Result<Pin<Box<dyn AsyncRead + Send>>, String> {
        let client = match name {
            Some(name) => Client::tls_to(address, &self.identity, name),
            None => Client::tls(address, &self.identity),
        };
        let client = client.map_err(|error| error.message)?;
        let path = format!("{BLOBS}/{}", segment(digest));
        let asked = timeout(OPEN_TIMEOUT, client.download(&path)).await;
        let stream = asked.map_err(|_| "no answer in time".to_owned())?.map_err(|error| error.message)?;
        Ok(Box::pin(stream))
    }
}

/// A reader for threads that may block.
struct Blocking {
    stream: Pin<Box<dyn AsyncRead + Send>>,
    handle: Handle,
}

impl Read for Blocking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let stream = &mut self.stream;
        // The timer has to be made inside the runtime.
        self.handle
            .block_on(async { timeout(READ_TIMEOUT, stream.read(buffer)).await })
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn order(own: u16, manager: &str) -> Vec<String> {
        let mut told = testing::assignment(1);
        told.network.number = own;
        told.network.underlay = format!("192.0.2.{own}").parse().unwrap();
        told.network.peers = (1..=4).filter(|n| *n != own).map(testing::peer).collect();
        peers(&told, manager.parse().unwrap())
            .into_iter()
            .map(|(name, ip)| name.map_or(ip.to_string(), |n| n.to_string()))
            .collect()
    }

    #[test]
    fn the_managers_server_is_asked_first_then_those_after_us() {
        assert_eq!(order(2, "192.0.2.1"), ["s1", "s3", "s4"]);
        assert_eq!(order(3, "192.0.2.1"), ["s1", "s4", "s2"]);
        assert_eq!(order(1, "192.0.2.1"), ["s2", "s3", "s4"]);
        assert_eq!(order(4, "198.51.100.1"), ["198.51.100.1", "s1", "s2", "s3"]);
    }
}
