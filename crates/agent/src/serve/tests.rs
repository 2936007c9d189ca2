//! The agent's API, over mTLS on loopback, with fakes behind it.

mod images;

use super::*;
use crate::testing::{
    self,
    bed::{Agent, Bed, ONE},
};
use api::{
    Kind,
    quantity::Timestamp,
    report::{InstanceStats, Phase},
    stream::{AttachRequest, ExecRequest, FrameKind, LogLine, OPENED_INPUT, OPENED_TERMINAL},
};
use driver::runtime::{Console, Inspect as _, LogPosition};
use http::Method;
use serde::de::IgnoredAny;
use std::{collections::BTreeMap, net::SocketAddr, os::unix::fs::MetadataExt as _, time::Duration};
use tokio::io::{AsyncReadExt, split};
use wire::{
    Upgraded,
    client::{Client, Lines},
    frames::{FrameReader, write_frame},
    identity::{Authority, Identity, Subject},
    token::JoinToken,
};

struct Api {
    bed: Bed,
    agent: Agent,
    authority: Authority,
    address: SocketAddr,
    client: Client,
}

fn identity(authority: &Authority, subject: &Subject) -> Identity {
    authority.issue(subject, Duration::from_secs(3600), &[]).unwrap()
}

impl Api {
    /// With one pod that runs.
    async fn new() -> Self {
        let bed = Bed::new();
        let agent = bed.agent().await;
        agent.tell(1, |_| ()).await;
        agent.phase(ONE, Phase::Running).await;
        let authority = Authority::create("test").unwrap();
        let own = identity(&authority, &Subject::Server(testing::name("s1")));
        let listener = wire::server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (router, scope) = (router(&agent.engine), agent.scope.clone());
        let serve = wire::server::serve_tls_on(router, listener, own, scope.clone());
        scope.job(async move { serve.await.unwrap() });
        let manager = identity(&authority, &Subject::Server(testing::name("s2")));
        let client = Client::tls_to(address, &manager, &testing::name("s1")).unwrap();
        Self { bed, agent, authority, address, client }
    }

    fn one(&self, rest: &str) -> String {
        format!("{INSTANCES}/{ONE}/{rest}")
    }

    fn log(&self, n: u64) {
        let line = LogLine { at: Timestamp(n), stderr: n.is_multiple_of(2), message: format!("line {n}") };
        self.bed.inspect.log(ONE, "main", &line).unwrap();
    }

    async fn logs(&self, query: &str) -> Lines<LogLine> {
        self.client.lines(Method::GET, &self.one(&format!("logs{query}")), None, &[]).await.unwrap()
    }

    async fn attach(&self, whole: bool) -> api::Result<Upgraded> {
        self.client.upgrade(&self.one("attach"), &AttachRequest { whole, container: None }).await
    }

    /// The next to attach gets a console whose other end is given here. The log so far is before it.
    fn console(&self, terminal: bool) -> tokio::net::UnixStream {
        let (ours, stream) = std::os::unix::net::UnixStream::pair().unwrap();
        let log = self.bed.inspect.log_directory(ONE).join("main.log");
        let meta = std::fs::metadata(log).unwrap();
        let logged = LogPosition { inode: meta.ino(), offset: meta.len() };
        self.bed.inspect.set_console(Console { stream, terminal, input: true, logged });
        ours.set_nonblocking(true).unwrap();
        tokio::net::UnixStream::from_std(ours).unwrap()
    }

    async fn exec(&self, request: &ExecRequest) -> api::Result<Upgraded> {
        self.client.upgrade(&self.one("exec"), request).await
    }
}

async fn all<T: DeserializeOwned>(mut lines: Lines<T>) -> Vec<T> {
    let mut all = Vec::new();
    while let Some(line) = lines.next().await {
        all.push(line.unwrap());
    }
    all
}

fn command(words: &[&str]) -> ExecRequest {
    ExecRequest {
        container: None,
        command: words.iter().map(|word| (*word).to_owned()).collect(),
        env: Vec::new(),
        user: None,
        workdir: None,
        terminal: None,
        stdin: true,
    }
}

/// Everything a stream says: bytes of output, bytes of errors, how it ended.
async fn listen(stream: impl tokio::io::AsyncRead + Unpin) -> (String, String, Option<i32>) {
    let (mut out, mut err, mut code) = (Vec::new(), Vec::new(), None);
    let mut frames = FrameReader::new(stream);
    while let Ok(Some((kind, bytes))) = frames.next().await {
        match kind {
            FrameKind::Stdout => out.extend_from_slice(&bytes),
            FrameKind::Stderr => err.extend_from_slice(&bytes),
            FrameKind::Exit => code = Some(i32::from_be_bytes(bytes[..4].try_into().unwrap())),
            FrameKind::Opened => assert_eq!(bytes.len(), 1),
            other => panic!("{other:?} {bytes:?}"),
        }
    }
    (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), code)
}

#[tokio::test]
async fn only_servers_of_the_cluster_may_ask() {
    let api = Api::new().await;
    let user = Client::tls(api.address, &identity(&api.authority, &Subject::User(testing::name("alice")))).unwrap();
    let token = JoinToken { address: api.address, authority: api.authority.fingerprint(), secret: "x".to_owned() };
    for client in [user, Client::join(&token).unwrap()] {
        let error = client.get::<IgnoredAny>(STATS).await.unwrap_err();
        assert_eq!(error.kind, Kind::NotAllowed, "{error}");
        assert!(error.message.ends_with("may not speak with agents: ask the manager"), "{error}");
    }
    api.client.get::<IgnoredAny>(STATS).await.unwrap();
}

#[tokio::test]
async fn a_command_gets_its_input_says_its_output_and_its_code_is_passed_on() {
    let api = Api::new().await;
    api.bed.runtime.set_script(Box::new(|_, request| (i32::from(request.command[0] == "fail"), b"hello\n".to_vec())));
    for (name, code) in [("echo", 0), ("fail", 1)] {
        let (reader, mut writer) = split(api.exec(&command(&[name])).await.unwrap());
        write_frame(&mut writer, FrameKind::Stdin, b"in").await.unwrap();
        write_frame(&mut writer, FrameKind::Stdin, b"put").await.unwrap();
        write_frame(&mut writer, FrameKind::Stdin, b"").await.unwrap();
        assert_eq!(listen(reader).await, ("hello\ninput".to_owned(), String::new(), Some(code)));
    }
}

#[tokio::test]
async fn a_command_that_cannot_be_run_is_an_error_before_any_stream() {
    let api = Api::new().await;
    let refused = |result: api::Result<Upgraded>| result.err().unwrap();
    let error = refused(api.exec(&command(&[])).await);
    assert_eq!((error.kind, error.message.as_str()), (Kind::Usage, "there is no command to run: give at least a program"));
    let error = refused(api.client.upgrade(&format!("{INSTANCES}/77/exec"), &command(&["x"])).await);
    assert_eq!((error.kind, error.message.as_str()), (Kind::NotFound, "instance 77 is not on this server"));
    let error = refused(api.client.upgrade(&format!("{INSTANCES}/xyz/exec"), &command(&["x"])).await);
    assert_eq!(error.kind, Kind::Usage);
    api.bed.runtime.end(ONE, Some(0));
    api.agent.phase(ONE, Phase::Exited).await;
    let error = refused(api.exec(&command(&["x"])).await);
    assert!(error.message.contains("does not run"), "{error}");
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_place() {
    let api = Api::new().await;
    let stream = api.exec(&command(&["wait"])).await.unwrap();
    let places = &api.agent.engine.0.execs;
    assert_eq!(places.available_permits(), 127);
    drop(stream);
    let freed = async {
        while places.available_permits() < 128 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), freed).await.unwrap();
}

#[tokio::test]
async fn logs_by_tail_and_time_and_followed_until_the_instance_is_gone() {
    let api = Api::new().await;
    (1..=5).for_each(|n| api.log(n));
    let numbers = |lines: Vec<LogLine>| lines.into_iter().map(|line| line.at.0).collect::<Vec<_>>();
    assert_eq!(numbers(all(api.logs("").await).await), [1, 2, 3, 4, 5]);
    assert_eq!(numbers(all(api.logs("?tail=2").await).await), [4, 5]);
    assert_eq!(numbers(all(api.logs("?since=3&container=main").await).await), [3, 4, 5]);
    let error = api.client.lines::<LogLine>(Method::GET, &api.one("logs?container=other"), None, &[]).await.err().unwrap();
    assert_eq!(error.kind, Kind::NotFound);
    let mut follow = api.logs("?follow=true&tail=1").await;
    assert_eq!(follow.next().await.unwrap().unwrap().at.0, 5);
    api.log(6);
    assert_eq!(follow.next().await.unwrap().unwrap().message, "line 6");
    api.agent.tell(2, |told| told.pods.clear()).await;
    assert!(follow.next().await.is_none());
}

#[tokio::test]
async fn without_a_console_attach_shows_the_log_and_ends_with_the_exit_code() {
    let api = Api::new().await;
    api.log(1);
    let stream = api.attach(false).await.unwrap();
    let whole = api.attach(true).await.unwrap();
    let steer = async {
        api.log(2);
        api.log(3);
        tokio::time::sleep(Duration::from_millis(60)).await;
        api.bed.runtime.end(ONE, Some(7));
        // As for `run --rm`: it goes with its log as soon as it ended.
        api.agent.phase(ONE, Phase::Exited).await;
        api.agent.tell(2, |told| told.pods.clear()).await;
    };
    let ((), shown, whole) = tokio::join!(steer, listen(stream), listen(whole));
    assert_eq!(shown, ("line 3\n".to_owned(), "line 2\n".to_owned(), Some(7)));
    assert_eq!(whole.0, "line 1\nline 3\n");
}

#[tokio::test]
async fn a_console_is_joined_with_its_client_in_both_directions_behind_what_the_log_holds() {
    for (terminal, whole, before) in [(false, true, "line 1\n"), (true, true, "line 1\r\n"), (true, false, "")] {
        let api = Api::new().await;
        api.log(1);
        let (heard, mut shim) = split(api.console(terminal));
        api.log(3);
        let (mut reader, mut writer) = split(api.attach(whole).await.unwrap());
        let flags = OPENED_INPUT | if terminal { OPENED_TERMINAL } else { 0 };
        assert_eq!(wire::frames::read_frame(&mut reader).await.unwrap().unwrap(), (FrameKind::Opened, vec![flags].into()));
        let mut heard = FrameReader::new(heard);
        let said = [
            (FrameKind::Stdin, &b"ls\n"[..]),
            (FrameKind::Resize, &[0, 80, 0, 24]),
            (FrameKind::Signal, &[2]),
            (FrameKind::Stdin, b""),
        ];
        for (kind, bytes) in said {
            write_frame(&mut writer, kind, bytes).await.unwrap();
            assert_eq!(heard.next().await.unwrap().unwrap(), (kind, bytes.to_vec().into()));
        }
        // What does not fit never gets there.
        write_frame(&mut writer, FrameKind::Resize, &[1]).await.unwrap();
        write_frame(&mut shim, FrameKind::Stdout, b"prompt> ").await.unwrap();
        let code = [&7_i32.to_be_bytes()[..], b"why"].concat();
        write_frame(&mut shim, FrameKind::Exit, &code).await.unwrap();
        assert_eq!(listen(reader).await, (format!("{before}prompt> "), String::new(), Some(7)));
        assert_eq!(api.bed.inspect.faults.calls(), [format!("attach {ONE} {whole}")]);
    }
}

#[tokio::test]
async fn a_shim_that_is_gone_without_a_word_leaves_the_exit_code_to_be_known_otherwise() {
    let api = Api::new().await;
    api.log(1);
    let shim = api.console(false);
    let stream = api.attach(false).await.unwrap();
    drop(shim);
    api.bed.runtime.end(ONE, Some(137));
    assert_eq!(listen(stream).await.2, Some(137));
    api.agent.phase(ONE, Phase::Exited).await;
    let error = api.attach(false).await.err().unwrap();
    assert_eq!((error.kind, error.message.as_str()), (Kind::Conflict, "c1 has ended with exit code 137"));
    assert_eq!(listen(api.attach(true).await.unwrap()).await, ("line 1\n".to_owned(), String::new(), Some(137)));
}

#[tokio::test]
async fn a_log_is_followed_until_the_program_has_ended_for_good() {
    let api = Api::new().await;
    api.log(1);
    let mut follow = api.logs("?follow=true").await;
    assert_eq!(follow.next().await.unwrap().unwrap().at.0, 1);
    api.agent
        .tell(2, |told| Arc::make_mut(told.templates.get_mut("t1").unwrap()).containers[0].restart = api::spec::Restart::Always)
        .await;
    api.bed.runtime.end(ONE, Some(1));
    api.log(2);
    assert_eq!(follow.next().await.unwrap().unwrap().at.0, 2);
    api.agent.phase(ONE, Phase::Running).await;
    api.log(3);
    assert_eq!(follow.next().await.unwrap().unwrap().at.0, 3);
    api.agent.tell(3, |_| ()).await;
    api.log(4);
    api.bed.runtime.end(ONE, Some(1));
    assert_eq!(follow.next().await.unwrap().unwrap().at.0, 4);
    assert!(follow.next().await.is_none());
    assert_eq!(all(api.logs("?follow=true").await).await.len(), 4);
}

#[tokio::test]
async fn a_signal_from_an_attached_client_or_by_its_own_path_reaches_the_pod() {
    let api = Api::new().await;
    let _: IgnoredAny = api.client.send(Method::POST, &api.one("signal/SIGHUP"), &()).await.unwrap();
    assert_eq!(api.bed.runtime.faults.count(&format!("signal {ONE} 1")), 1);
    let error = api.client.send::<_, IgnoredAny>(Method::POST, &api.one("signal/99"), &()).await.unwrap_err();
    assert_eq!(error.kind, Kind::Usage);
    let (reader, mut writer) = split(api.client.upgrade(&api.one("attach"), &()).await.unwrap());
    write_frame(&mut writer, FrameKind::Signal, &[15]).await.unwrap();
    assert_eq!(listen(reader).await.2, Some(143));
}

#[tokio::test]
async fn files_go_out_and_in() {
    let api = Api::new().await;
    let root = api.bed.directory.path().join("pods").join(ONE.to_string()).join("root");
    std::fs::create_dir_all(root.join("etc")).unwrap();
    std::fs::write(root.join("etc/motd"), "x".repeat(300_000)).unwrap();
    let mut archive = Vec::new();
    let mut stream = api.client.download(&api.one("archive?path=%2Fetc%2Fmotd")).await.unwrap();
    stream.read_to_end(&mut archive).await.unwrap();
    std::fs::create_dir(root.join("srv")).unwrap();
    api.client.put_stream(&api.one("archive?path=/srv"), std::io::Cursor::new(archive.clone())).await.unwrap();
    assert_eq!(std::fs::read(root.join("srv/motd")).unwrap().len(), 300_000);
    let error =
        api.client.put_stream(&api.one("archive?path=/nowhere"), std::io::Cursor::new(archive.clone())).await.unwrap_err();
    assert_eq!(error.kind, Kind::NotFound);
    let error =
        api.client.put_stream(&api.one("archive?path=/srv"), std::io::Cursor::new(archive[..99_999].to_vec())).await.unwrap_err();
    assert!(matches!(error.kind, Kind::Usage | Kind::Failed), "{error}");
    let error = api.client.download(&api.one("archive")).await.err().unwrap();
    assert_eq!(error.kind, Kind::Usage);
}

#[tokio::test]
async fn use_of_what_runs() {
    let api = Api::new().await;
    let stats: BTreeMap<InstanceId, InstanceStats> = api.client.get(STATS).await.unwrap();
    assert_eq!((stats[&ONE].pids, stats[&ONE].received.0, stats[&ONE].sent.0), (1, 1_000, 2_000));
}
