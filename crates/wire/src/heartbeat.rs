//! Signs of life: one small authenticated datagram every [`INTERVAL`], from a thread of its own, so that a busy agent does not
//! look dead.
//!
//! A datagram is `magic (4) ‖ counter (8, big endian) ‖ name (1..=63) ‖ tag (16)`; the tag is HMAC-SHA256 (RFC 2104) over all
//! before it, truncated to 16 bytes (RFC 4868, section 2.1), with a key that the agent sends over mTLS when its session begins.

use api::{Error, Name, Result};
use base::env;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::{
    collections::HashMap,
    fmt, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

/// Time between two beats.
pub const INTERVAL: Duration = Duration::from_millis(200);
/// Header of `GET /v1/agent/assignment` in which an agent sends its session's key.
pub const HEADER: &str = "roost-heartbeat-key";

const MAGIC: &[u8; 4] = b"rhb1";
const TAG: usize = 16;
const COUNTER: usize = 8;
/// Longest datagram: everything, with the longest name.
const DATAGRAM_MAX: usize = MAGIC.len() + COUNTER + api::name::NAME_MAX + TAG;

/// The secret of one session between an agent and its manager.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; 32]);

impl Key {
    /// A fresh one.
    pub fn random() -> Self {
        Self(env::random_bytes())
    }
    /// For the header.
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }
    /// From the header: 64 hex digits.
    pub fn from_hex(text: &str) -> Result<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| Error::usage(format!("{HEADER} must be 64 hex digits")))?;
        Ok(Self(bytes))
    }

    fn mac(&self, message: &[u8]) -> Hmac<Sha256> {
        // A key shorter than the hash's block counts as filled up with zeros (RFC 2104, section 2).
        let mut block = [0; 64];
        block[..self.0.len()].copy_from_slice(&self.0);
        let mut mac = Hmac::<Sha256>::new(&block.into());
        mac.update(message);
        mac
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

fn seal(name: &Name, counter: u64, key: &Key) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(DATAGRAM_MAX);
    datagram.extend(MAGIC);
    datagram.extend(counter.to_be_bytes());
    datagram.extend(name.as_str().as_bytes());
    let tag = key.mac(&datagram).finalize().into_bytes();
    datagram.extend(&tag[..TAG]);
    datagram
}

/// Name, counter, what is covered by the tag, and the tag; nothing of it verified.
fn split(datagram: &[u8]) -> Option<(Name, u64, &[u8], &[u8])> {
    let (message, tag) = datagram.split_at_checked(datagram.len().checked_sub(TAG)?)?;
    let (counter, name) = message.strip_prefix(MAGIC)?.split_first_chunk::<COUNTER>()?;
    let name = std::str::from_utf8(name).ok()?.parse().ok()?;
    Some((name, u64::from_be_bytes(*counter), message, tag))
}

/// Sends beats until dropped. A send that fails (no route, no buffer) is like one lost on the way: the next is tried all the same.
pub struct Sender {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    manager: SocketAddr,
    stop: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sender {
    /// Begins to send the beats of this server to the manager's UDP port. Each sender needs a key of its own: it counts from
    /// 1, and a listener that has heard a greater count with that key would take the beats for replays.
    pub fn start(name: Name, manager: SocketAddr, key: Key) -> Self {
        let shared = Arc::new(Shared { state: Mutex::new(State { manager, stop: false }), changed: Condvar::new() });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("heartbeat".to_owned()).spawn(move || beat(&theirs, &name, &key));
        let thread = thread.inspect_err(|error| tracing::error!(%error, "cannot start the heartbeat thread")).ok();
        Self { shared, thread }
    }

    /// The manager is elsewhere now; the next beat goes there, at once.
    pub fn set_manager(&self, manager: SocketAddr) {
        self.shared.lock().manager = manager;
        self.shared.changed.notify_all();
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn beat(shared: &Shared, name: &Name, key: &Key) {
    let mut socket = None;
    let mut failing = false;
    let mut counter = 0;
    let mut state = shared.lock();
    while !state.stop {
        let manager = state.manager;
        drop(state);
        counter += 1;
        let sent = send(&mut socket, manager, &seal(name, counter, key));
        match &sent {
            Err(error) if !failing => tracing::warn!(%error, %manager, "cannot send heartbeats"),
            Ok(()) if failing => tracing::info!(%manager, "heartbeats are sent again"),
            _ => {}
        }
        failing = sent.is_err();
        state = shared.lock();
        if !state.stop && state.manager == manager {
            (state, _) = shared.changed.wait_timeout(state, INTERVAL).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Sends with the socket at hand, or a new one: the address family may have changed, or the old one is unusable.
fn send(socket: &mut Option<UdpSocket>, to: SocketAddr, datagram: &[u8]) -> io::Result<()> {
    let open = match socket.take() {
        Some(open) if open.local_addr()?.is_ipv4() == to.is_ipv4() => open,
        _ => {
            let any = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            let open = UdpSocket::bind(SocketAddr::new(any, 0))?;
            open.set_nonblocking(true)?;
            open
        }
    };
    open.send_to(datagram, to)?;
    *socket = Some(open);
    Ok(())
}

/// Hears the beats of the servers whose keys it was given.
pub struct Listener {
    socket: tokio::net::UdpSocket,
    sessions: Mutex<HashMap<Name, Session>>,
}

struct Session {
    key: Key,
    /// Counter of the newest beat; only greater ones are new.
    last: u64,
}

impl Listener {
    /// Hears at this address.
    pub async fn bind(address: SocketAddr) -> Result<Self> {
        let socket = tokio::net::UdpSocket::bind(address).await;
        let socket = socket.map_err(|e| crate::server::cannot_listen(&format!("{address}/udp"), &e))?;
        Ok(Self { socket, sessions: Mutex::default() })
    }

    /// The address it hears at.
    pub fn address(&self) -> Result<SocketAddr> {
        self.socket.local_addr().map_err(|e| Error::failed(format!("the heartbeat socket has no address: {e}")))
    }

    /// A server began a session: from now on only beats with this key count. Setting the same key again changes nothing, so
    /// that old beats cannot be replayed.
    pub fn set_key(&self, server: &Name, key: Key) {
        let mut sessions = self.lock();
        if sessions.get(server).is_none_or(|session| session.key != key) {
            sessions.insert(server.clone(), Session { key, last: 0 });
        }
    }

    /// The server is no member any more.
    pub fn forget(&self, server: &Name) {
        self.lock().remove(server);
    }

    /// Waits for a valid, fresh beat and says whose it is. Junk is dropped silently. Cancel safe.
    pub async fn next(&self) -> Result<Name> {
        let mut buffer = [0; DATAGRAM_MAX + 1];
        loop {
            let length = match self.socket.recv_from(&mut buffer).await {
                Ok((length, _)) => length,
                // An ICMP answer to something else: no reason to stop hearing.
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => continue,
                Err(e) => return Err(Error::failed(format!("cannot hear heartbeats: {e}"))),
            };
            if let Some(name) = self.accept(buffer.get(..length).unwrap_or_default()) {
                return Ok(name);
            }
        }
    }

    fn accept(&self, datagram: &[u8]) -> Option<Name> {
        let (name, counter, message, tag) = split(datagram)?;
        let mut sessions = self.lock();
        let session = sessions.get_mut(&name)?;
        let fresh = counter > session.last && session.key.mac(message).verify_truncated_left(tag).is_ok();
        fresh.then(|| {
            session.last = counter;
            name
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
