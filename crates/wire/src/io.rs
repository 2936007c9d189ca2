//! Byte streams: sockets set up alike everywhere, connections opened within a bound, and the stream after an HTTP upgrade.

use crate::tls::{Remote, explain_io};
use api::{Error, Result};
use hyper_util::rt::TokioIo;
use nix::sys::socket::{setsockopt, sockopt};
use std::{
    any::Any,
    io,
    net::SocketAddr,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::{TcpStream, UnixStream},
    time::timeout,
};

/// Longest wait for a connection to be accepted.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest TLS handshake, on both sides.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// A peer that acknowledges nothing for this long is dead (TCP_USER_TIMEOUT, RFC 5482).
pub const PEER_TIMEOUT: Duration = Duration::from_secs(10);
/// A silent connection is probed after so many seconds, then every [`KEEPALIVE_INTERVAL`], [`KEEPALIVE_PROBES`] times.
const KEEPALIVE_IDLE: u32 = 4;
const KEEPALIVE_INTERVAL: u32 = 2;
const KEEPALIVE_PROBES: u32 = 3;
/// After the last word, what the peer still sends is read and thrown away for this long, and no more than so many bytes:
/// closing a socket with unread bytes resets it, and the peer might lose the very answer that says what was wrong.
const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 512 * 1024 * 1024;
/// Buffer of one direction of a carried stream.
pub(crate) const COPY_BUFFER: usize = 64 * 1024;

/// Anything bytes flow through, both ways.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection of whichever kind.
pub(crate) type Connection = Box<dyn Stream>;

/// The stream after an HTTP upgrade, on either side. Ends when the peer shuts its half down.
pub struct Upgraded {
    io: TokioIo<hyper::upgrade::Upgraded>,
    /// Whatever has to live as long as the stream: on the server, its place among the connections allowed.
    _keep: Option<Arc<dyn Any + Send + Sync>>,
}

impl Upgraded {
    pub(crate) fn new(io: hyper::upgrade::Upgraded, keep: Option<Arc<dyn Any + Send + Sync>>) -> Self {
        Self { io: TokioIo::new(io), _keep: keep }
    }
}

impl AsyncRead for Upgraded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Carries bytes both ways until both sides have ended; the end of one side is passed on as the end of that direction only.
pub(crate) async fn carry(mut a: impl Stream, mut b: impl Stream) {
    if let Err(error) = tokio::io::copy_bidirectional_with_sizes(&mut a, &mut b, COPY_BUFFER, COPY_BUFFER).await {
        tracing::debug!(%error, "carried stream broke off");
    }
}

/// Small messages at once, and dead peers noticed within about [`PEER_TIMEOUT`].
pub(crate) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &KEEPALIVE_IDLE)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &KEEPALIVE_INTERVAL)?;
    setsockopt(stream, sockopt::TcpKeepCount, &KEEPALIVE_PROBES)?;
    let millis = u32::try_from(PEER_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
    Ok(setsockopt(stream, sockopt::TcpUserTimeout, &millis)?)
}

/// Connects to a socket of this machine.
pub(crate) async fn connect_unix(path: &Path) -> Result<UnixStream> {
    let shown = path.display();
    match timeout(CONNECT_TIMEOUT, UnixStream::connect(path)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(e)) if e.kind() == io::ErrorKind::PermissionDenied => {
            Err(Error::not_allowed(format!("only root may use {shown}")).hint("run it as root"))
        }
        Ok(Err(e)) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            Err(Error::unreachable(format!("roost is not running here: nobody listens on {shown}")).hint("start it: roost up -d"))
        }
        Ok(Err(e)) => Err(Error::unreachable(format!("cannot connect to {shown}: {e}"))),
        Err(_) => Err(Error::unreachable(format!("{shown} accepted no connection within {} s", CONNECT_TIMEOUT.as_secs()))),
    }
}

async fn connect_tcp(address: SocketAddr) -> Result<TcpStream> {
    let stream = match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(e)) if e.kind() == io::ErrorKind::ConnectionRefused => {
            return Err(Error::unreachable(format!("server at {address} refuses connections")).hint("is roost running there?"));
        }
        Ok(Err(e)) => return Err(Error::unreachable(format!("cannot connect to the server at {address}: {e}"))),
        Err(_) => {
            return Err(Error::unreachable(format!(
                "server at {address} does not answer within {} s",
                CONNECT_TIMEOUT.as_secs()
            ))
            .hint("is it up, and does a firewall let this port through?"));
        }
    };
    tune(&stream).map_err(|e| Error::failed(format!("cannot set up the connection to {address}: {e}")))?;
    Ok(stream)
}

/// Connects to a server of the cluster and knows, on return, that it is one.
pub(crate) async fn connect_tls(remote: &Remote) -> Result<tokio_rustls::client::TlsStream<TcpStream>> {
    remote.check_own()?;
    let address = remote.address;
    let stream = connect_tcp(address).await?;
    let name = rustls_pki_types::ServerName::from(address.ip());
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(&remote.config));
    match timeout(HANDSHAKE_TIMEOUT, connector.connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(e)) => Err(explain_io(&e, remote)
            .unwrap_or_else(|| Error::unreachable(format!("server at {address} broke off the TLS handshake: {e}")))),
        Err(_) => Err(Error::unreachable(format!(
            "server at {address} did not finish the TLS handshake within {} s",
            HANDSHAKE_TIMEOUT.as_secs()
        ))),
    }
}

/// Ends our half, then waits for the peer to end its own, within [`LINGER_TIME`].
pub(crate) async fn linger(mut stream: impl Stream) {
    let drain = async {
        stream.shutdown().await?;
        let mut buffer = vec![0; COPY_BUFFER];
        let mut left = LINGER_BYTES;
        loop {
            match stream.read(&mut buffer).await? {
                0 => return io::Result::Ok(()),
                n => left = left.checked_sub(n).ok_or(io::ErrorKind::FileTooLarge)?,
            }
        }
    };
    if let Ok(Err(error)) = timeout(LINGER_TIME, drain).await {
        tracing::debug!(%error, "connection did not end well");
    }
}
