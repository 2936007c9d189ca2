//! `exec`: frames of [`api::stream`] after an upgrade.

use super::{Instance, Shared};
use crate::exec::{self, CHUNK, Pipe, Running};
use api::{
    error::{Error, Result},
    stream::{ExecRequest, FrameKind},
};
use axum::{
    extract::{FromRequest, Request, State},
    response::{IntoResponse, Response},
};
use base::supervise::Scope;
use std::{sync::Arc, time::Duration};
use tokio::io::{ReadHalf, WriteHalf, split};
use wire::{
    Upgraded,
    frames::{FrameReader, write_frame},
    server::{self, ApiError},
};

/// After a command ended, so long may others that it left behind still write before its exit code is sent.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// How long a client that has been told the end is listened to, until it goes by itself.
pub const LINGER: Duration = Duration::from_secs(10);

/// The way to a client, for several who have something to say.
pub type Writer = tokio::sync::Mutex<WriteHalf<Upgraded>>;

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
        let ended = code.map(|code| (code, String::new())).map_err(|error| Error::failed(error.message));
        finish(&writer, ended).await;
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

/// Says how it ended, which is the last frame.
pub async fn finish(to: &Writer, ended: Result<(i32, String)>) {
    let sent = match ended {
        Ok((code, why)) => {
            let bytes = [&code.to_be_bytes(), why.as_bytes()].concat();
            write_frame(&mut *to.lock().await, FrameKind::Exit, &bytes).await
        }
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
