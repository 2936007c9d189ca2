//! Root's socket: its file, its callers, kept connections, and how it ends.

use crate::harness::serve_unix;
use api::{Kind, Result};
use base::supervise::Scope;
use http::Method;
use nix::libc;
use serde_json::{Value, json};
use std::{
    fs,
    io::Read as _,
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixListener, UnixStream},
    },
    path::Path,
    time::{Duration, Instant},
};
use wire::{client::Client, server};

async fn who(path: &Path) -> Result<String> {
    Client::unix(path).get("/who").await
}

#[allow(clippy::disallowed_methods, reason = "a test measures")]
fn now() -> Instant {
    Instant::now()
}

#[tokio::test]
async fn root_is_known_and_errors_arrive_as_they_were_said() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run/api.sock");
    let scope = serve_unix(&path).await;
    assert_eq!(who(&path).await.unwrap(), "root");
    let client = Client::unix(&path);
    let error = client.send::<_, Value>(Method::POST, "/taken", &json!({})).await.unwrap_err();
    assert_eq!(error, api::Error::conflict("the name web is taken").hint("use another"));
    client.send::<_, ()>(Method::POST, "/empty", &()).await.unwrap();
    let error = client.get::<Value>("/nowhere").await.unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (Kind::NotFound, "GET /nowhere was answered with 404 Not Found"));
    let error = client.get::<Value>("no slash").await.unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (Kind::Usage, "\"no slash\" is not a path of the API"));
    scope.stop();
}

#[tokio::test]
async fn the_file_is_roots_alone_and_goes_with_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.sock");
    let scope = serve_unix(&path).await;
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    scope.stop();
    scope.ended().await.unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn a_stale_socket_is_replaced_a_live_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.sock");
    drop(UnixListener::bind(&path).unwrap());
    let error = who(&path).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unreachable);
    assert_eq!(error.message, format!("roost is not running here: nobody listens on {}", path.display()));

    let scope = serve_unix(&path).await;
    assert_eq!(who(&path).await.unwrap(), "root");
    let error = server::bind_unix(&path).await.err().unwrap();
    assert_eq!(error.kind, Kind::Conflict);
    assert_eq!(error.message, format!("another roost is running here: it listens at {}", path.display()));
    assert_eq!(who(&path).await.unwrap(), "root");
    scope.stop();
}

#[tokio::test]
async fn what_is_no_socket_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.sock");
    fs::write(&path, "precious").unwrap();
    let error = server::bind_unix(&path).await.err().unwrap();
    assert_eq!(error.message, format!("cannot listen at {}: it is there and is no socket", path.display()));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn a_caller_that_is_not_root_is_turned_away() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.sock");
    let scope = serve_unix(&path).await;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let caller = path.clone();
    let read = Scope::blocking(move || {
        // The bare system call changes this thread only; the C library's function would change all.
        assert_eq!(unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) }, 0);
        let mut stream = UnixStream::connect(caller).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).map(|_| answer)
    });
    assert_eq!(read.await.unwrap().unwrap(), b"");
    assert_eq!(who(&path).await.unwrap(), "root");
    scope.stop();
}

#[tokio::test]
async fn a_small_request_takes_well_under_a_millisecond() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.sock");
    let scope = serve_unix(&path).await;
    let client = Client::unix(&path);
    let mut times = Vec::new();
    for n in 0..300 {
        let began = now();
        assert_eq!(client.send::<_, Value>(Method::POST, "/echo", &json!(n)).await.unwrap(), json!(n));
        times.push(began.elapsed());
    }
    times.sort();
    println!("unix socket, kept connection: median {:?}, 99 % {:?}", times[150], times[297]);
    let mut fresh: Vec<_> = Vec::new();
    for _ in 0..100 {
        let began = now();
        who(&path).await.unwrap();
        fresh.push(began.elapsed());
    }
    fresh.sort();
    println!("unix socket, new connection: median {:?}, 99 % {:?}", fresh[50], fresh[98]);
    // An unoptimised build on a busy machine; a release build takes a fraction of it.
    assert!(times[150] < Duration::from_millis(5) && fresh[50] < Duration::from_millis(10));
    scope.stop();
}

#[tokio::test]
async fn a_kept_connection_that_went_stale_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.sock");
    let client = Client::unix(&path);
    for _ in 0..3 {
        let scope = serve_unix(&path).await;
        assert_eq!(client.get::<String>("/who").await.unwrap(), "root");
        assert_eq!(client.send::<_, Value>(Method::POST, "/echo", &json!(1)).await.unwrap(), json!(1));
        scope.stop();
        scope.ended().await.unwrap();
    }
    assert_eq!(client.get::<String>("/who").await.unwrap_err().kind, Kind::Unreachable);
}

#[tokio::test]
async fn what_is_under_way_ends_well_when_the_server_stops() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.sock");
    let scope = serve_unix(&path).await;
    let (finishing, hanging) = (Client::unix(&path), Client::unix(&path));
    let stop = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        scope.stop();
    };
    let began = now();
    let (slow, hung, ()) = tokio::join!(finishing.get::<()>("/slow"), hanging.get::<()>("/hang"), stop);
    slow.unwrap();
    assert_eq!(hung.unwrap_err().kind, Kind::Unreachable);
    scope.ended().await.unwrap();
    assert!(began.elapsed() > Duration::from_millis(1900) && began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}
