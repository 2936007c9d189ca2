//! `attach`: joins a person's stream and the console of a program, which speak the same frames. Where there is no console (the program has
//! ended, or its shim is of another version), the log is all there is to show.

use super::{
    Instance, Shared, read,
    streams::{LINGER, Writer, finish},
};
use crate::{engine::Inner, exec, logs, state::Pod};
use api::{
    error::{Error, Result},
    name::{InstanceId, Name},
    stream::{AttachRequest, FRAME_MAX, FrameKind, LogLine, LogQuery, OPENED_INPUT, OPENED_TERMINAL},
};
use axum::{
    extract::{FromRequest, Request, State},
    response::{IntoResponse, Response},
};
use base::supervise::Scope;
use driver::runtime::Console;
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, ReadHalf, split},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
};
use wire::{
    Upgraded,
    frames::{FrameReader, write_frame},
    server::{self, ApiError},
};

/// A log that stands in for a console is looked at this often.
const LOOK: Duration = Duration::from_millis(20);
/// When a shim is gone without a word, so long may it take until it is known how its pod ended.
const SHIM_GONE: Duration = Duration::from_secs(5);

/// How a program's output is followed.
struct Way {
    end: End,
    console: Option<Console>,
    /// What comes before the console, or instead of it.
    log: Option<logs::Reader>,
}

/// The end of a program, which is heard of even when its instance goes with it.
struct End {
    inner: Arc<Inner>,
    id: InstanceId,
    exit: watch::Receiver<Option<i32>>,
}

impl End {
    /// Says it, with what its server has to say about it.
    async fn tell(&self, code: Result<i32>, to: &Writer) {
        let why = self.inner.lock().pods.get(&self.id).and_then(|pod| pod.seen.as_ref()?.message.clone());
        finish(to, code.map(|code| (code, why.unwrap_or_default()))).await;
    }
}

/// `POST …/attach`
pub async fn attach(State(inner): Shared, Instance(id): Instance, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let asked = match server::Body::<Option<AttachRequest>>::from_request(Request::new(body), &()).await {
        Ok(server::Body(asked)) => asked.unwrap_or_default(),
        Err(refused) => return refused.into_response(),
    };
    let way = match find(&inner, id, asked).await {
        Ok(way) => way,
        Err(error) => return ApiError(error).into_response(),
    };
    let (response, upgraded) = server::upgrade(&mut parts);
    let scope = inner.scope.clone();
    scope.job(async move {
        match upgraded.await {
            Ok(stream) => show(stream, way).await,
            Err(error) => tracing::debug!(%error, "attach without a stream"),
        }
    });
    response
}

async fn find(inner: &Arc<Inner>, id: InstanceId, asked: AttachRequest) -> Result<Way> {
    let container = super::container(inner, id, asked.container)?;
    let (inspect, name, whole) = (Arc::clone(&inner.drivers.inspect), container.clone(), asked.whole);
    let opened = Scope::blocking(move || inspect.attach(id, Some(&name), whole)).await.map_err(Error::failed)?;
    let end = {
        let state = inner.lock();
        let pod = state.pods.get(&id).ok_or_else(|| exec::absent(id))?;
        if opened.is_err() && !whole && !pod.is_up() {
            return Err(ended(pod));
        }
        End { inner: Arc::clone(inner), id, exit: pod.exit() }
    };
    match opened {
        Ok(console) if whole => {
            let log = open(inner, id, (container, LogQuery::default())).await?.until(console.logged);
            Ok(Way { end, console: Some(console), log: Some(log) })
        }
        Ok(console) => Ok(Way { end, console: Some(console), log: None }),
        Err(error) => {
            tracing::debug!(%id, %error, "no console");
            let query = LogQuery { tail: (!whole).then_some(0), ..LogQuery::default() };
            Ok(Way { end, console: None, log: Some(open(inner, id, (container, query)).await?) })
        }
    }
}

/// There is nothing to be connected to.
fn ended(pod: &Pod) -> Error {
    let name = &pod.record.display;
    let code = *pod.exit().borrow();
    match code {
        Some(code) => Error::conflict(format!("{name} has ended with exit code {code}")).hint(format!("see: roost logs {name}")),
        None => Error::conflict(format!("{name} does not run yet")).hint(format!("see: roost why {name}")),
    }
}

async fn open(inner: &Arc<Inner>, id: InstanceId, (container, query): (Name, LogQuery)) -> Result<logs::Reader> {
    let directory = inner.drivers.inspect.log_directory(id);
    let opened = Scope::blocking(move || logs::Reader::open(&directory, &container, &query)).await.map_err(Error::failed)?;
    opened.map_err(|error| Error::failed(format!("log of instance {id}: {error}")))
}

async fn show(stream: Upgraded, way: Way) {
    let Way { mut end, console, log } = way;
    let (inner, id) = (Arc::clone(&end.inner), end.id);
    let (from, writer) = split(stream);
    let (writer, mut from) = (Writer::new(writer), FrameReader::new(from));
    let Some(console) = console else {
        let output = async {
            let opened = write_frame(&mut *writer.lock().await, FrameKind::Opened, &[0]).await;
            if let (Ok(()), Some(log)) = (opened, log) {
                let code = follow(log, &mut end.exit, &writer).await;
                end.tell(code, &writer).await;
                tokio::time::sleep(LINGER).await;
            }
        };
        tokio::select! {
            () = output => {}
            () = forward_signals(&inner, id, &mut from) => {}
        }
        return;
    };
    let (shown, ears) = (Shown::of(&console), console.stream.set_nonblocking(true));
    let (heard, said) = match ears.and_then(|()| UnixStream::from_std(console.stream)) {
        Ok(shim) => shim.into_split(),
        Err(error) => return end.tell(Err(Error::failed(format!("console of instance {id}: {error}"))), &writer).await,
    };
    tokio::select! {
        () = output((shown, log), heard, end, &writer) => {}
        () = input(&mut from, said) => {}
    }
}

/// What a console leads to.
#[derive(Clone, Copy)]
struct Shown {
    terminal: bool,
    flags: u8,
}

impl Shown {
    const fn of(console: &Console) -> Self {
        let terminal = if console.terminal { OPENED_TERMINAL } else { 0 };
        Self { terminal: console.terminal, flags: terminal | if console.input { OPENED_INPUT } else { 0 } }
    }

    /// How lines of the log end where they are shown.
    const fn line_end(self) -> &'static str {
        if self.terminal { "\r\n" } else { "\n" }
    }
}

/// Until the program has ended and its client knows, or the client is gone.
async fn output((shown, log): (Shown, Option<logs::Reader>), from: OwnedReadHalf, mut end: End, to: &Writer) {
    let begun = async {
        write_frame(&mut *to.lock().await, FrameKind::Opened, &[shown.flags]).await?;
        if let Some(log) = log {
            send_lines(log, shown.line_end(), to).await?;
        }
        relay(FrameReader::new(from), to).await
    };
    match begun.await {
        Ok(true) => drop(tokio::io::AsyncWriteExt::shutdown(&mut *to.lock().await).await),
        Ok(false) => {
            let known = tokio::time::timeout(SHIM_GONE, end.exit.wait_for(Option::is_some)).await;
            let code = known.ok().and_then(|known| known.ok().and_then(|code| *code));
            end.tell(code.ok_or_else(|| Error::failed("the process that looks after the container is gone")), to).await;
        }
        Err(error) => return tracing::debug!(%error, "attach"),
    }
    // A socket closed with something unread is reset, and then the last frames are lost on their way over a slow network.
    tokio::time::sleep(LINGER).await;
}

/// Passes on what the shim sends. True: up to its last frame; false: it is gone before. An error is the client's.
async fn relay(mut from: FrameReader<impl AsyncRead + Unpin>, to: &Writer) -> Result<bool> {
    while let Ok(Some((kind, bytes))) = from.next().await {
        write_frame(&mut *to.lock().await, kind, &bytes).await?;
        if kind == FrameKind::Exit {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Passes on what the client sends, until it is gone. A program that has ended hears nothing; how it ended is still on its way.
async fn input(from: &mut FrameReader<ReadHalf<Upgraded>>, mut to: OwnedWriteHalf) {
    while let Ok(Some((kind, bytes))) = from.next().await {
        let fits = match kind {
            FrameKind::Stdin => true,
            FrameKind::Resize => bytes.len() == 4,
            FrameKind::Signal => bytes.len() == 1,
            _ => false,
        };
        if fits && let Err(error) = write_frame(&mut to, kind, &bytes).await {
            tracing::debug!(%error, "input of a program that has ended");
        }
    }
}

/// Copies lines until the program ended and all it wrote is sent: its exit code. What ends is heard of at once, since an
/// instance that is to be removed when it ends takes its log along.
async fn follow(mut reader: logs::Reader, exit: &mut watch::Receiver<Option<i32>>, to: &Writer) -> Result<i32> {
    loop {
        let gone = exit.has_changed().is_err();
        let ended = *exit.borrow_and_update();
        reader = send_lines(reader, "\n", to).await?;
        match (ended, gone) {
            (Some(code), _) => return Ok(code),
            (None, true) => return Err(Error::not_found("the instance is gone")),
            (None, false) => {}
        }
        // The end of the sender is seen in the next round.
        let _ = tokio::time::timeout(LOOK, exit.changed()).await;
    }
}

/// Sends the lines that are there now.
async fn send_lines(reader: logs::Reader, end: &str, to: &Writer) -> Result<logs::Reader> {
    let (sender, mut lines) = mpsc::channel(64);
    let read = async move { read::drain(reader, &sender).await };
    let send = async {
        while let Some(line) = lines.recv().await {
            write_line(line, end, to).await?;
        }
        Ok::<_, Error>(())
    };
    let (back, sent) = tokio::join!(read, send);
    sent?;
    back.ok_or_else(|| Error::failed("the log cannot be read"))
}

async fn write_line(line: LogLine, end: &str, to: &Writer) -> Result<()> {
    let kind = if line.stderr { FrameKind::Stderr } else { FrameKind::Stdout };
    let mut text = line.message.into_bytes();
    text.extend_from_slice(end.as_bytes());
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
