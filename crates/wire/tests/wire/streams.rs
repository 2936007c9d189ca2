//! What flows: lines, uploads, downloads, upgrades, and all of it passed on.

use crate::harness::{Cluster, check_echo, name, router};
use api::{Error, Kind, stream::PROTOCOL};
use axum::{Router, extract::Request};
use base::supervise::Scope;
use futures_util::StreamExt as _;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};
use wire::{client::Client, identity::Subject, server::ApiError};

#[derive(Deserialize)]
struct Line {
    n: usize,
    pad: String,
}

async fn check_lines(client: &Client) {
    let mut lines = client.lines::<Line>(Method::GET, "/lines", None, &[]).await.unwrap();
    for n in 0..10_000 {
        let line = lines.next().await.unwrap().unwrap();
        assert_eq!((line.n, line.pad.len()), (n, n % 300));
    }
    assert!(lines.next().await.is_none());
    assert!(lines.next().await.is_none());
}

#[tokio::test]
async fn ten_thousand_lines() {
    let cluster = Cluster::new().await;
    check_lines(&cluster.client()).await;
    let count = cluster.client().lines::<Value>(Method::GET, "/lines", None, &[]).await.unwrap().count().await;
    assert_eq!(count, 10_000);
}

#[tokio::test]
async fn an_error_ends_the_lines_in_its_own_words() {
    let cluster = Cluster::new().await;
    let mut lines = cluster.client().lines::<u32>(Method::GET, "/failing", None, &[]).await.unwrap();
    assert_eq!(lines.next().await.unwrap().unwrap(), 1);
    assert_eq!(lines.next().await.unwrap().unwrap_err(), Error::failed("the disk is full"));
    assert!(lines.next().await.is_none());
    let refused = cluster.client().lines::<u32>(Method::POST, "/taken", None, &[]).await.err().unwrap();
    assert_eq!(refused.kind, Kind::Conflict);
}

#[tokio::test]
async fn uploads_and_downloads_flow() {
    let cluster = Cluster::new().await;
    let client = cluster.client();
    let mut lines = client.upload::<u64>(Method::POST, "/measure", tokio::io::repeat(7).take(30 << 20)).await.unwrap();
    assert_eq!(lines.next().await.unwrap().unwrap(), 30 << 20);
    client.put_stream("/measure", &b"abc"[..]).await.unwrap();
    let mut download = client.download("/bytes").await.unwrap();
    let copied = tokio::io::copy(&mut download, &mut tokio::io::sink()).await.unwrap();
    assert_eq!(copied, 100 << 20);
    let mut broken = client.download("/broken").await.unwrap();
    assert!(tokio::io::copy(&mut broken, &mut tokio::io::sink()).await.is_err());
}

/// A file that cannot be read to its end.
struct BadDisk;
impl AsyncRead for BadDisk {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::Error::other("bad sector")))
    }
}

#[tokio::test]
async fn an_upload_that_cannot_be_read_says_so() {
    let cluster = Cluster::new().await;
    let error = cluster.client().put_stream("/measure", BadDisk).await.unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (Kind::Failed, "what PUT /measure should send cannot be read: bad sector"));
}

#[tokio::test]
async fn an_upgrade_carries_bytes_both_ways_and_ends_each_way_by_itself() {
    let cluster = Cluster::new().await;
    check_echo(&cluster.client(), 3_000_000).await.unwrap();
}

#[tokio::test]
async fn a_stream_must_be_asked_for() {
    let cluster = Cluster::new().await;
    let error = cluster.client().send::<_, Value>(Method::POST, "/stream", &json!({})).await.unwrap_err();
    assert_eq!(error.message, format!("/stream is a stream: ask with `Connection: upgrade` and `Upgrade: {PROTOCOL}`"));
    let error = cluster.client().upgrade("/taken", &()).await.err().unwrap();
    assert_eq!(error.kind, Kind::Conflict);
    let error = cluster.client().upgrade("/empty", &()).await.err().unwrap();
    assert_eq!(error.message, "POST /empty was answered with 200 OK instead of a stream");
}

/// A manager before the cluster's server: passes everything on, as another server.
async fn front(behind: &Cluster, agent: Client) -> Cluster {
    let pass = move |request: Request| {
        let agent = agent.clone();
        async move { agent.forward(request).await.map_err(ApiError) }
    };
    let identity = behind.authority.issue(&Subject::Server(name("front")), Duration::from_secs(3600), &[]).unwrap();
    Cluster::serving(behind.authority.clone(), identity, Router::new().fallback(pass)).await
}

#[tokio::test]
async fn everything_can_be_passed_on() {
    let behind = Cluster::new().await;
    let front = front(&behind, Client::tls_to(behind.address, &behind.server("manager"), &name("s1")).unwrap()).await;
    let client = Client::tls(front.address, &behind.server("s7")).unwrap();
    assert_eq!(client.get::<String>("/who?a=b").await.unwrap(), "server manager");
    let body = json!("x".repeat(1 << 20));
    assert!(client.send::<_, Value>(Method::POST, "/echo", &body).await.unwrap() == body);
    let error = client.send::<_, Value>(Method::POST, "/taken", &json!({})).await.unwrap_err();
    assert_eq!(error, Error::conflict("the name web is taken").hint("use another"));
    check_lines(&client).await;
    let mut lines = client.upload::<u64>(Method::POST, "/measure", tokio::io::repeat(7).take(20 << 20)).await.unwrap();
    assert_eq!(lines.next().await.unwrap().unwrap(), 20 << 20);
    check_echo(&client, 3_000_000).await.unwrap();
    check_echo(&client, 0).await.unwrap();
}

#[tokio::test]
async fn passing_on_to_nobody_is_unreachable() {
    let behind = Cluster::new().await;
    let free = wire::server::bind(crate::harness::loopback()).await.unwrap().local_addr().unwrap();
    let front = front(&behind, Client::tls(free, &behind.server("manager")).unwrap()).await;
    let error = Client::tls(front.address, &behind.server("s7")).unwrap().upgrade("/stream", &()).await.err().unwrap();
    assert_eq!((error.kind, error.message), (Kind::Unreachable, format!("server at {free} refuses connections")));
}

#[tokio::test]
async fn an_end_behind_reaches_the_caller_in_front() {
    let authority = wire::identity::Authority::create("test").unwrap();
    let identity = authority.issue(&Subject::Server(name("s1")), Duration::from_secs(3600), &[]).unwrap();
    let handlers = Scope::new();
    let behind = Cluster::serving(authority, identity, router(handlers.clone())).await;
    let front = front(&behind, Client::tls(behind.address, &behind.server("manager")).unwrap()).await;
    let client = Client::tls(front.address, &behind.server("s7")).unwrap();
    let mut stream = client.upgrade("/stream", &()).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'x');
    handlers.stop();
    let end = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut [0; 8])).await.expect("it ends");
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}
