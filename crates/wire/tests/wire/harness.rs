//! A cluster in one process: an authority, servers, users, and a router that shows what arrives.

use api::{Error, Name, Result};
use axum::{
    Json, Router,
    extract::{ConnectInfo, Request},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use base::supervise::Scope;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use std::{net::SocketAddr, path::Path, time::Duration};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wire::{
    client::Client,
    identity::{Authority, Identity, Subject, Who},
    server::{self, ApiError, Body},
    token::JoinToken,
};

pub const DAY: Duration = Duration::from_secs(86_400);

pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// An authority, and one server `s1` that serves [`router`] on loopback until dropped.
pub struct Cluster {
    pub authority: Authority,
    pub address: SocketAddr,
    pub scope: Scope,
}

impl Cluster {
    pub async fn new() -> Self {
        let authority = Authority::create("test").unwrap();
        let identity = authority.issue(&Subject::Server(name("s1")), DAY, &[]).unwrap();
        Self::serving(authority, identity, router(Scope::new())).await
    }

    pub async fn serving(authority: Authority, identity: Identity, router: Router) -> Self {
        let (scope, listener) = (Scope::new(), server::bind(loopback()).await.unwrap());
        let address = listener.local_addr().unwrap();
        let stop = scope.clone();
        scope.component("server", async move {
            server::serve_tls_on(router, listener, identity, stop).await.map_err(|e| e.to_string())
        });
        Self { authority, address, scope }
    }

    pub fn server(&self, text: &str) -> Identity {
        self.authority.issue(&Subject::Server(name(text)), DAY, &[]).unwrap()
    }

    pub fn client(&self) -> Client {
        Client::tls(self.address, &self.server("s2")).unwrap()
    }

    pub fn token(&self) -> JoinToken {
        JoinToken { address: self.address, authority: self.authority.fingerprint(), secret: "sesame".to_owned() }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.scope.stop();
    }
}

pub fn loopback() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// Root's socket with [`router`], until the scope stops.
pub async fn serve_unix(path: &Path) -> Scope {
    let (scope, socket) = (Scope::new(), server::bind_unix(path).await.unwrap());
    let stop = scope.clone();
    scope.component("socket", async move {
        server::serve_unix_on(router(stop.clone()), socket, stop).await.map_err(|e| e.to_string())
    });
    scope
}

/// A router that shows what arrives.
pub fn router(scope: Scope) -> Router {
    Router::new()
        .route("/who", get(async |who: Who| Json(who.to_string())))
        .route(
            "/fingerprint",
            get(async |who: Who| match who {
                Who::Server { fingerprint, .. } => Json(fingerprint),
                _ => Json(String::new()),
            }),
        )
        .route("/peer", get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| Json(peer)))
        .route("/echo", post(async |Body(value): Body<Value>| Json(value)))
        .route("/count", post(async |Body(value): Body<Count>| Json(value.count + 1)))
        .route("/taken", post(async || ApiError(Error::conflict("the name web is taken").hint("use another"))))
        .route("/empty", post(async || ()))
        .route("/slow", get(async || tokio::time::sleep(Duration::from_millis(300)).await))
        .route("/hang", get(async || std::future::pending::<()>().await))
        .route(
            "/lines",
            get(async || server::ndjson(stream::iter((0..10_000).map(|n| json!({"n": n, "pad": "x".repeat(n % 300)}))))),
        )
        .route(
            "/failing",
            get(async || server::ndjson_results(stream::iter([Ok(1), Err(Error::failed("the disk is full")), Ok(3)]))),
        )
        .route("/measure", post(measure).put(measure))
        .route("/bytes", get(async || axum::body::Body::from_stream(zeros(100))))
        .route("/broken", get(broken))
        .route("/stream", post(move |request| echo_stream(request, scope.clone())))
}

#[derive(serde::Deserialize)]
pub struct Count {
    count: u32,
}

/// So many MiB of zeros.
fn zeros(mib: usize) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> + Send {
    stream::iter(std::iter::repeat_n(Bytes::from(vec![0; 1 << 20]), mib).map(Ok))
}

async fn broken() -> axum::body::Body {
    axum::body::Body::from_stream(zeros(1).chain(stream::iter([Err(std::io::Error::other("gone"))])))
}

async fn measure(request: Request) -> Response {
    let mut length = 0;
    let mut body = request.into_body().into_data_stream();
    while let Some(Ok(chunk)) = body.next().await {
        length += chunk.len();
    }
    server::ndjson(stream::iter([length])).into_response()
}

/// Answers each byte with itself; says `bye` when the caller has ended its half.
async fn echo_stream(request: Request, scope: Scope) -> Response {
    let (parts, body) = request.into_parts();
    drop(axum::body::to_bytes(body, 4096).await);
    let (response, stream) = server::upgrade(parts);
    scope.job(async move {
        let Ok(mut stream) = stream.await else { return };
        let mut buffer = [0; 8192];
        while let Ok(n @ 1..) = stream.read(&mut buffer).await {
            stream.write_all(&buffer[..n]).await.unwrap();
        }
        stream.write_all(b"bye").await.unwrap();
        stream.shutdown().await.unwrap();
    });
    response
}

/// Sends so many bytes through an echo and gets all back, then `bye`.
pub async fn check_echo(client: &Client, bytes: usize) -> Result<()> {
    let stream = client.upgrade("/stream", &json!({"command": ["sh"]})).await?;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let sent: Vec<u8> = (0..bytes).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let send = async {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let mut back = Vec::new();
    let (_, read) = tokio::join!(send, tokio::time::timeout(Duration::from_secs(20), reader.read_to_end(&mut back)));
    read.expect("the stream ends").unwrap();
    assert_eq!(back.len(), bytes + 3);
    assert!(back[..bytes] == sent && &back[bytes..] == b"bye");
    Ok(())
}
