//! Root's socket on a server that is no manager.

use crate::harness::{Cluster, check_echo, loopback};
use api::Kind;
use base::supervise::Scope;
use http::Method;
use serde_json::{Value, json};
use std::{net::SocketAddr, path::Path, time::Duration};
use tokio::sync::watch;
use wire::{client::Client, server};

async fn dig(path: &Path, cluster: &Cluster, manager: SocketAddr) -> (Scope, watch::Sender<SocketAddr>) {
    let (scope, (sender, receiver)) = (Scope::new(), watch::channel(manager));
    let (socket, identity, stop) = (path.to_owned(), cluster.server("s5"), scope.clone());
    scope.component("tunnel", async move { server::tunnel(&socket, receiver, identity, stop).await.map_err(|e| e.to_string()) });
    for _ in 0..200 {
        if path.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (scope, sender)
}

#[tokio::test]
async fn carries_requests_and_upgrades_as_this_server() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.sock");
    let cluster = Cluster::new().await;
    let (scope, _manager) = dig(&path, &cluster, cluster.address).await;
    let client = Client::unix(&path);
    assert_eq!(client.get::<String>("/who").await.unwrap(), "server s5");
    let body = json!("x".repeat(1 << 20));
    assert!(client.send::<_, Value>(Method::POST, "/echo", &body).await.unwrap() == body);
    let error = client.send::<_, Value>(Method::POST, "/echo", &json!("x".repeat(30 << 20))).await.unwrap_err();
    assert_eq!(error.message, "the request's body is too large: at most 4 MiB are accepted");
    check_echo(&client, 2_000_000).await.unwrap();
    let mut lines = client.lines::<Value>(Method::GET, "/lines", None, &[]).await.unwrap();
    let mut count = 0;
    while let Some(line) = lines.next().await {
        line.unwrap();
        count += 1;
    }
    assert_eq!(count, 10_000);
    scope.stop();
    tokio::time::timeout(Duration::from_secs(4), scope.ended()).await.unwrap().unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn follows_the_manager_and_says_when_it_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.sock");
    let cluster = Cluster::new().await;
    let free = server::bind(loopback()).await.unwrap().local_addr().unwrap();
    let (scope, manager) = dig(&path, &cluster, free).await;
    let client = Client::unix(&path);
    for _ in 0..3 {
        let error = client.send::<_, Value>(Method::POST, "/echo", &json!("x".repeat(3 << 20))).await.unwrap_err();
        assert_eq!((error.kind, error.message), (Kind::Unreachable, format!("server at {free} refuses connections")));
    }
    manager.send(cluster.address).unwrap();
    assert_eq!(client.get::<String>("/who").await.unwrap(), "server s5");
    scope.stop();
}
