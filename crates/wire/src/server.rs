//! The server: an axum router behind a Unix socket for root or behind mTLS, with every connection within limits.

mod body;
mod socket;
mod tunnel;
mod upgrade;

pub use crate::io::Upgraded;
pub use body::{ApiError, Body, RegistryError, ndjson, ndjson_results, received};
pub use socket::{UnixSocket, bind_unix};
pub use tunnel::tunnel;
pub use upgrade::upgrade;

use crate::{
    identity::{Identity, Who},
    io::{Connection, HANDSHAKE_TIMEOUT, linger, tune},
    tls,
};
use api::{Error, Result};
use axum::{Router, extract::ConnectInfo};
use base::supervise::Scope;
use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, future::Future, io, net::SocketAddr, path::Path, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

/// Connections open at once on one socket; further ones wait in the kernel's queue.
pub const CONNECTIONS_MAX: u32 = 4096;
/// A request's head must be complete this long after the connection was opened, or after the answer before.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// What is under way when the scope stops may take this much longer.
pub const GRACE: Duration = Duration::from_secs(2);
/// Pause after `accept` failed, which happens when file descriptors run out: others are being closed meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A connection's place among [`CONNECTIONS_MAX`]; given back when the last holder is gone.
pub(crate) type Place = Arc<OwnedSemaphorePermit>;

/// Serves root on this machine until the scope stops. Replaces the socket of a dead process; refuses if a live one listens.
pub async fn serve_unix(router: Router, path: &Path, scope: Scope) -> Result<()> {
    serve_unix_on(router, bind_unix(path).await?, scope).await
}

/// Like [`serve_unix`], on a socket that is there already.
pub async fn serve_unix_on(router: Router, socket: UnixSocket, scope: Scope) -> Result<()> {
    accept(
        || socket.accept(),
        &scope,
        |stream, place| {
            let (router, scope) = (router.clone(), scope.clone());
            async move { Caller { who: Who::Root, address: None, place }.serve(Box::new(stream), router, scope).await }
        },
    )
    .await
}

/// Serves the cluster's members, and who wants to join, until the scope stops.
pub async fn serve_tls(router: Router, address: SocketAddr, identity: Identity, scope: Scope) -> Result<()> {
    serve_tls_on(router, bind(address).await?, identity, scope).await
}

/// Like [`serve_tls`], on a socket that is bound already.
pub async fn serve_tls_on(router: Router, listener: TcpListener, identity: Identity, scope: Scope) -> Result<()> {
    let acceptor = TlsAcceptor::from(tls::server_config(&identity)?);
    accept(
        || listener.accept(),
        &scope,
        |(stream, address), place| {
            let (router, scope, acceptor) = (router.clone(), scope.clone(), acceptor.clone());
            async move {
                match greet(stream, &acceptor).await {
                    Ok((stream, who)) => Caller { who, address: Some(address), place }.serve(stream, router, scope).await,
                    Err(error) => tracing::debug!(%address, %error, "connection refused"),
                }
            }
        },
    )
    .await
}

/// Serves anybody, without TLS, on a socket that is bound already: for loopback only.
pub async fn serve_plain_on(router: Router, listener: TcpListener, scope: Scope) -> Result<()> {
    accept(
        || listener.accept(),
        &scope,
        |(stream, address), place| {
            let (router, scope) = (router.clone(), scope.clone());
            async move {
                match tune(&stream) {
                    Ok(()) => {
                        let caller = Caller { who: Who::Nobody, address: Some(address), place };
                        caller.serve(Box::new(stream), router, scope).await;
                    }
                    Err(error) => tracing::debug!(%address, %error, "connection lost"),
                }
            }
        },
    )
    .await
}

/// Binds a TCP socket, so that a caller knows it is there before anything else starts.
pub async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|e| cannot_listen(&address.to_string(), &e))
}

pub(crate) fn cannot_listen(address: &str, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            Error::conflict(format!("cannot listen at {address}: another program does")).hint("is roost running here already?")
        }
        io::ErrorKind::AddrNotAvailable => Error::usage(format!("cannot listen at {address}: this machine has no such address")),
        _ => Error::failed(format!("cannot listen at {address}: {error}")),
    }
}

/// Accepts connections until the scope stops; waits for those under way, at most [`GRACE`].
async fn accept<C, A, H>(next: impl Fn() -> A, scope: &Scope, handle: impl Fn(C, Place) -> H) -> Result<()>
where
    A: Future<Output = io::Result<C>>,
    H: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX as usize));
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
            Ok((next().await?, Arc::new(place)))
        };
        let accepted: io::Result<_> = tokio::select! {
            () = scope.stopping() => break,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((connection, place)) => scope.graceful(GRACE, handle(connection, place)),
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    timeout(GRACE, places.acquire_many(CONNECTIONS_MAX)).await.ok();
    Ok(())
}

/// The TLS handshake, and who it was.
async fn greet(stream: TcpStream, acceptor: &TlsAcceptor) -> io::Result<(Connection, Who)> {
    tune(&stream)?;
    let handshake = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream).into_fallible());
    let stream = match handshake.await? {
        Ok(stream) => stream,
        Err((error, stream)) => {
            // The alert that says why must arrive before the connection is reset.
            linger(stream).await;
            return Err(error);
        }
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let who = certificate.map_or(Ok(Who::Nobody), |der| Who::from_certificate(der)).map_err(io::Error::other)?;
    Ok((Box::new(stream), who))
}

/// The other end of a connection.
struct Caller {
    who: Who,
    address: Option<SocketAddr>,
    place: Place,
}

impl Caller {
    async fn serve(self, io: Connection, router: Router, scope: Scope) {
        let service = service_fn(|request| self.answer(request, router.clone()));
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
        let mut connection = builder.serve_connection(TokioIo::new(io), service).with_upgrades();
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = scope.stopping() => {
                std::pin::Pin::new(&mut connection).graceful_shutdown();
                (&mut connection).await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(who = %self.who, %error, "connection broke off");
        }
        if let Some(parts) = connection.into_parts() {
            linger(parts.io.into_inner()).await;
        }
    }

    fn answer(
        &self,
        request: Request<Incoming>,
        router: Router,
    ) -> impl Future<Output = Result<Response<axum::body::Body>, Infallible>> + use<> {
        let mut request = request.map(axum::body::Body::new);
        let extensions = request.extensions_mut();
        extensions.insert(self.who.clone());
        extensions.insert(Arc::clone(&self.place));
        if let Some(address) = self.address {
            extensions.insert(ConnectInfo(address));
        }
        router.oneshot(request)
    }
}

/// Whether the process at the other end is root's.
fn is_root(stream: &UnixStream) -> io::Result<bool> {
    Ok(stream.peer_cred()?.uid() == 0)
}
