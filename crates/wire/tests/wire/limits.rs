//! Too much, too slow, too wrong: each refused in a sentence, and the server goes on.

use crate::harness::{Cluster, serve_unix};
use api::{Error, Kind, spec::limits::REQUEST_BODY};
use http::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};
use wire::client::Client;

const TOO_LARGE: &str = "the request's body is too large: at most 4 MiB are accepted";

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[allow(clippy::disallowed_methods, reason = "a test measures")]
fn now() -> Instant {
    Instant::now()
}

#[tokio::test]
async fn a_hundred_megabytes_are_refused_over_tls() {
    let cluster = Cluster::new().await;
    let client = cluster.client();
    let body = bytes::Bytes::from(vec![b'x'; 100 << 20]);
    let began = now();
    let error = client.lines::<Value>(Method::POST, "/echo", Some(body), &[]).await.err().unwrap();
    assert_eq!((error.kind, error.message.as_str()), (Kind::Usage, TOO_LARGE));
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert_eq!(client.send::<_, Value>(Method::POST, "/echo", &json!(1)).await.unwrap(), json!(1));
}

/// Over a bare socket, in small pieces, so that this process holds no large body itself.
async fn pour(path: &std::path::Path, head: &str, piece: &[u8], pieces: usize) -> String {
    let (mut reader, mut writer) = UnixStream::connect(path).await.unwrap().into_split();
    writer.write_all(head.as_bytes()).await.unwrap();
    let pour = async {
        for _ in 0..pieces {
            if writer.write_all(piece).await.is_err() {
                break;
            }
        }
        writer.shutdown().await.ok();
    };
    let mut answer = String::new();
    let (_, read) = tokio::join!(pour, reader.read_to_string(&mut answer));
    read.unwrap();
    answer
}

#[tokio::test]
async fn a_large_body_is_refused_with_413_and_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.sock");
    let scope = serve_unix(&path).await;
    let mib = vec![b'x'; 1 << 20];
    let mut chunk = b"100000\r\n".to_vec();
    chunk.extend(&mib);
    chunk.extend(b"\r\n");
    let before = resident();
    let announced = "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 104857600\r\n\r\n";
    let chunked = "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    for (head, piece) in [(announced, &mib), (chunked, &chunk)] {
        let began = now();
        let answer = pour(&path, head, piece, 100).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        let error: Error = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert_eq!((error.kind, error.message.as_str()), (Kind::Usage, TOO_LARGE));
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    }
    assert!(resident() < before + 40, "{} MiB before, {} MiB after", before, resident());
    scope.stop();
}

#[tokio::test]
async fn a_body_just_within_the_limit_is_taken() {
    let cluster = Cluster::new().await;
    let body = json!("x".repeat(REQUEST_BODY - 2));
    let back: Value = cluster.client().send(Method::POST, "/echo", &body).await.unwrap();
    assert!(back == body);
    let body = json!("x".repeat(REQUEST_BODY - 1));
    let error = cluster.client().send::<_, Value>(Method::POST, "/echo", &body).await.unwrap_err();
    assert_eq!(error.message, TOO_LARGE);
}

#[tokio::test]
async fn a_wrong_body_is_refused_with_where() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.sock");
    let scope = serve_unix(&path).await;
    let client = Client::unix(&path);
    assert_eq!(client.send::<_, u32>(Method::POST, "/count", &json!({"count": 1})).await.unwrap(), 2);
    let error = client.send::<_, u32>(Method::POST, "/count", &json!({"count": "many"})).await.unwrap_err();
    assert_eq!(error.kind, Kind::Usage);
    assert_eq!(error.message, "the request's body does not fit: invalid type: string \"many\", expected u32 at line 1 column 15");
    let error = client.send::<_, u32>(Method::POST, "/count", &()).await.unwrap_err();
    assert_eq!(error.message, "the request has no body: it needs one in JSON");
    let answer = pour(&path, "POST /count HTTP/1.1\r\nhost: x\r\ncontent-length: 8\r\n\r\n", b"{count:1", 1).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("the request's body is not JSON: key must be a string at line 1 column 2"), "{answer}");
    scope.stop();
}

#[tokio::test]
async fn junk_does_not_disturb_others() {
    let cluster = Cluster::new().await;
    for junk in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x16, 3, 1, 0xff, 0xff, 0, 0], b""] {
        let mut stream = tokio::net::TcpStream::connect(cluster.address).await.unwrap();
        stream.write_all(junk).await.unwrap();
        stream.shutdown().await.unwrap();
        stream.read_to_end(&mut Vec::new()).await.ok();
    }
    assert_eq!(cluster.client().get::<String>("/who").await.unwrap(), "server s2");
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_says_nothing_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.sock");
    let scope = serve_unix(&path).await;
    let mut silent = UnixStream::connect(&path).await.unwrap();
    silent.write_all(b"GET /who HTTP/1.1\r\nhost:").await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), silent.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "still connected after twice the limit");
    scope.stop();
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_given_up() {
    let cluster = Cluster::new().await;
    let client = cluster.client().within(Duration::from_millis(200));
    let error = client.get::<()>("/hang").await.unwrap_err();
    let expected = format!("server at {} did not answer GET /hang within 0.2 s", cluster.address);
    assert_eq!((error.kind, error.message), (Kind::Unreachable, expected));
}
