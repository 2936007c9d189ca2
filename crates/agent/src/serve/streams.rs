//! `exec` and `attach`: frames of [`api::stream`] after an upgrade.

use super::{Instance, Shared, read};
use crate::{
    engine::Inner,
    exec::{self, CHUNK, Pipe, Running},
    logs,
    state::Pod,
};
use api::{
    error::{Error, Result},
    name::InstanceId,
    stream::{ExecRequest, FRAME_MAX, FrameKind, LogLine, LogQuery},
};
use axum::{
    extract::{FromRequest, Request, State},
    response::{IntoResponse, Response},
};
use base::supervise::Scope;
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{ReadHalf, WriteHalf, split},
    sync::{mpsc, watch},
};
use wire::{
    Upgraded,
    frames::{FrameReader, write_frame},
    server::{self, ApiError},
};

/// After a command ended, so long may others that it left behind still write before its exit code is sent.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// How long a client that has been told the end is listened to, until it goes by itself.
const LINGER: Duration = Duration::from_secs(10);

/// The output somebody is attached to is looked at this often.
const ATTACHED: Duration = Duration::from_millis(20);

type Writer = tokio::sync::Mutex<WriteHalf<Upgraded>>;

/// `POST …/exec`
pub async fn exec(State(inner): Shared, Instance(id): Instance, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let asked = match server::Body::<ExecRequest>::from_request(Request::new(body), &()).await {
        Ok(server::Body(asked)) => asked,
        Err(refused) => return refused.into_response(),
    };
    let Ok(turn) = Arc::clone(&inner.execs).try_acquire_owned() else {
        return ApiError(Error::conflict("too many commands run on this server through its agent: end some first"))
            .into_response();
    };
    let terminal = asked.terminal;
    let running = match exec::start(&inner, id, asked).await {
        Ok(running) => running,
        Err(error) => return ApiError(error).into_response(),
    };
    let (response, upgraded) = server::upgrade(&mut parts);
    inner.scope.job(async move {
        let _turn = turn;
        match upgraded.await {
            Ok(stream) => converse(stream, running, terminal.is_some()).await,
            Err(error) => tracing::debug!(%error, "exec without a stream"),
        }
    });
    response
}

/// Until the command ended and all its output is sent, or its client is gone: then it is killed.
async fn converse(stream: Upgraded, running: Running, terminal: bool) {
    let (reader, writer) = split(stream);
    let (writer, mut reader) = (Writer::new(writer), FrameReader::new(reader));
    let Running { stdin, stdout, stderr, leash, wait } = running;
    let (tty, mut input) = if terminal { (stdin, None) } else { (None, stdin) };
    let tty = tty.as_ref();
    let output = async {
        tokio::join!(
            pump(stdout.as_ref().or(tty), FrameKind::Stdout, &writer),
            pump(stderr.as_ref(), FrameKind::Stderr, &writer)
        );
    };
    let ended = async {
        let code = Scope::blocking(wait).await;
        code.unwrap_or_else(|crashed| Err(driver::DriverError::fatal(crashed)))
    };
    let work = async {
        tokio::pin!(output, ended);
        let code = tokio::select! {
            code = &mut ended => {
                let _ = tokio::time::timeout(LAST_WORDS, output).await;
                code
            }
            () = &mut output => ended.await,
        };
        finish(&writer, code.map_err(|error| Error::failed(error.message))).await;
        // A socket closed with something unread is reset, and then the last frames are lost on their way over a slow network.
        tokio::time::sleep(LINGER).await;
    };
    tokio::select! {
        () = work => {}
        () = obey(&mut reader, tty, &mut input, &leash) => {}
    }
}

/// Sends what a stream of the command says, to its end.
async fn pump(from: Option<&Pipe>, kind: FrameKind, to: &Writer) {
    let Some(from) = from else { return };
    let mut buffer = vec![0; CHUNK];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if write_frame(&mut *to.lock().await, kind, &buffer[..length]).await.is_err() {
            return;
        }
    }
}

async fn finish(to: &Writer, code: Result<i32>) {
    let sent = match code {
        Ok(code) => write_frame(&mut *to.lock().await, FrameKind::Exit, &code.to_be_bytes()).await,
        Err(error) => {
            let json = serde_json::to_vec(&error).unwrap_or_default();
            write_frame(&mut *to.lock().await, FrameKind::Error, &json).await
        }
    };
    if sent.is_ok() {
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut *to.lock().await).await;
    }
}

/// Does what the client's frames say, until the client is gone. An empty frame closes `input`; a terminal stays open.
async fn obey(from: &mut FrameReader<ReadHalf<Upgraded>>, tty: Option<&Pipe>, input: &mut Option<Pipe>, leash: &exec::Leash) {
    while let Ok(Some((kind, bytes))) = from.next().await {
        match kind {
            FrameKind::Stdin if bytes.is_empty() => *input = None,
            FrameKind::Stdin => {
                let written = match tty.or(input.as_ref()) {
                    Some(pipe) => pipe.write_all(&bytes).await,
                    None => Ok(()),
                };
                // A command that reads no more is no reason to end.
                if written.is_err() {
                    *input = None;
                }
            }
            FrameKind::Resize if bytes.len() == 4 => {
                let number = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
                tty.into_iter().for_each(|tty| tty.resize(number(0), number(2)));
            }
            FrameKind::Signal => bytes.first().into_iter().for_each(|signal| leash.signal(i32::from(*signal))),
            _ => {}
        }
    }
}

/// `POST …/attach`: output from now on (or as the log query in the body says), signals in, the exit code at the end.
/// Programs get no standard input from here: runtimes keep none open.
pub async fn attach(State(inner): Shared, Instance(id): Instance, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let asked = match server::Body::<Option<LogQuery>>::from_request(Request::new(body), &()).await {
        Ok(server::Body(asked)) => asked.unwrap_or_default(),
        Err(refused) => return refused.into_response(),
    };
    let reader = match open(&inner, id, asked).await {
        Ok(reader) => reader,
        Err(error) => return ApiError(error).into_response(),
    };
    let (response, upgraded) = server::upgrade(&mut parts);
    let scope = inner.scope.clone();
    scope.job(async move {
        match upgraded.await {
            Ok(stream) => show(&inner, id, stream, reader).await,
            Err(error) => tracing::debug!(%error, "attach without a stream"),
        }
    });
    response
}

async fn open(inner: &Arc<Inner>, id: InstanceId, mut query: LogQuery) -> Result<logs::Reader> {
    let container = super::container(inner, id, query.container.take())?;
    if query.tail.is_none() && query.since.is_none() {
        query.tail = Some(0);
    }
    let directory = inner.drivers.inspect.log_directory(id);
    let opened = Scope::blocking(move || logs::Reader::open(&directory, &container, &query)).await.map_err(Error::failed)?;
    opened.map_err(|error| Error::failed(format!("log of instance {id}: {error}")))
}

async fn show(inner: &Arc<Inner>, id: InstanceId, stream: Upgraded, reader: logs::Reader) {
    let Some(exit) = inner.lock().pods.get(&id).map(Pod::exit) else { return };
    let (from, writer) = split(stream);
    let (writer, mut from) = (Writer::new(writer), FrameReader::new(from));
    let output = async {
        let code = copy(reader, exit, &writer).await;
        finish(&writer, code).await;
    };
    tokio::select! {
        () = output => {}
        () = forward_signals(inner, id, &mut from) => {}
    }
}

/// Copies lines until the program ended and all it wrote is sent: its exit code. What ends is heard of at once, since an
/// instance that is to be removed when it ends takes its log along.
async fn copy(mut reader: logs::Reader, mut exit: watch::Receiver<Option<i32>>, to: &Writer) -> Result<i32> {
    loop {
        let gone = exit.has_changed().is_err();
        let ended = *exit.borrow_and_update();
        let (sender, mut lines) = mpsc::channel(64);
        let read = async move { read::drain(reader, &sender).await };
        let send = async {
            while let Some(line) = lines.recv().await {
                write_line(line, to).await?;
            }
            Ok::<_, Error>(())
        };
        let (back, sent) = tokio::join!(read, send);
        sent?;
        reader = back.ok_or_else(|| Error::failed("the log cannot be read"))?;
        match (ended, gone) {
            (Some(code), _) => return Ok(code),
            (None, true) => return Err(Error::not_found("the instance is gone")),
            (None, false) => {}
        }
        // The end of the sender is seen in the next round.
        let _ = tokio::time::timeout(ATTACHED, exit.changed()).await;
    }
}

async fn write_line(line: LogLine, to: &Writer) -> Result<()> {
    let kind = if line.stderr { FrameKind::Stderr } else { FrameKind::Stdout };
    let mut text = line.message.into_bytes();
    text.push(b'\n');
    for piece in text.chunks(FRAME_MAX) {
        write_frame(&mut *to.lock().await, kind, piece).await?;
    }
    Ok(())
}

async fn forward_signals(inner: &Arc<Inner>, id: InstanceId, from: &mut FrameReader<ReadHalf<Upgraded>>) {
    while let Ok(Some((kind, bytes))) = from.next().await {
        if let (FrameKind::Signal, Some(signal), Some(runtime)) = (kind, bytes.first().copied(), inner.runtime_of(id)) {
            let sent = Scope::blocking(move || runtime.signal(id, i32::from(signal))).await;
            if let Ok(Err(error)) = sent {
                tracing::debug!(%id, %error, "signal");
            }
        }
    }
}
