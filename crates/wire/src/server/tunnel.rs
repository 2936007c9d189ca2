//! Root's socket on a server that is no manager: each connection is carried, byte by byte, to the manager.

use super::{accept, bind_unix};
use crate::{
    identity::Identity,
    io::{carry, connect_tls, linger},
    tls::Remote,
};
use api::{Error, Result};
use base::supervise::Scope;
use std::{net::SocketAddr, path::Path, sync::Arc};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    sync::watch,
    time::timeout,
};

/// Bytes of a request's head that are read before it is answered with a failure.
const HEAD_MAX: usize = 64 * 1024;

/// Serves root on this machine with the manager's API, wherever the manager is when a connection is opened, until the scope
/// stops. The manager sees this server ([`crate::identity::Who::Server`]). If it cannot be reached, the request is answered
/// with 503 and the reason.
pub async fn tunnel(path: &Path, manager: watch::Receiver<SocketAddr>, identity: Identity, scope: Scope) -> Result<()> {
    let socket = bind_unix(path).await?;
    let identity = Arc::new(identity);
    accept(
        || socket.accept(),
        &scope,
        |caller, place| {
            let (address, identity) = (*manager.borrow(), Arc::clone(&identity));
            async move {
                pass_on(caller, address, &identity).await;
                drop(place);
            }
        },
    )
    .await
}

async fn pass_on(caller: UnixStream, manager: SocketAddr, identity: &Identity) {
    let connected = async { connect_tls(&Remote::new(manager, identity, None)?).await };
    match connected.await {
        Ok(onward) => carry(caller, onward).await,
        Err(error) => refuse(caller, &error).await,
    }
}

/// Answers whatever is asked with the error. Only after the request's head: an answer to nothing would be a protocol error.
async fn refuse(mut caller: UnixStream, error: &Error) {
    let body = serde_json::to_string(error).unwrap_or_default();
    let status = http::StatusCode::from_u16(error.kind.http_status()).unwrap_or(http::StatusCode::SERVICE_UNAVAILABLE);
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let exchange = async {
        let mut head = Vec::new();
        while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < HEAD_MAX {
            if caller.read_buf(&mut head).await? == 0 {
                return Ok(());
            }
        }
        caller.write_all(answer.as_bytes()).await
    };
    match timeout(super::HEADER_TIMEOUT, exchange).await {
        Ok(Ok(())) => linger(caller).await,
        Ok(Err(error)) => tracing::debug!(%error, "caller left before it was told that the manager is not there"),
        Err(_) => tracing::debug!("caller asked nothing"),
    }
}
