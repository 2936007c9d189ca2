//! A conversation with a program elsewhere: what is typed goes there, what it says is shown here, and how it ended comes last.

use crate::{
    say,
    terminal::{self, Keys, Raw},
};
use api::{
    Error, Result,
    stream::{FrameKind, OPENED_INPUT, OPENED_TERMINAL},
};
use std::io::ErrorKind;
use tokio::{
    io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split},
    signal::unix::{SignalKind, signal},
};
use wire::{client::Upgraded, frames};

/// Bytes read from standard input at a time.
const CHUNK: usize = 16 * 1024;

/// How it ended, as seen from here.
pub enum Outcome {
    /// The program ended, with this code, and perhaps a reason.
    Ended(i32, Option<String>),
    /// The keys that detach were typed: it runs on.
    Detached,
    /// A signal ended the listening, not the program.
    Left(i32),
}

/// What of this side takes part.
#[derive(Clone, Copy, Default)]
pub struct Manner {
    /// Standard input goes to the program.
    pub input: bool,
    /// When standard input ends, the program's ends too.
    pub closes: bool,
    /// The terminal becomes the program's: its keys if there is input, and its size.
    pub terminal: bool,
    /// Its window is made another for a moment, so that a program that fills it draws it anew.
    pub redraw: bool,
    /// Leaving does the program nothing: with keys that detach, or by Ctrl-C where that is no key of the program's.
    pub leaves: bool,
}

/// What `attach` leads to.
#[derive(Clone, Copy)]
pub struct Opened {
    /// The program has a terminal.
    pub terminal: bool,
    /// The program hears what is sent.
    pub input: bool,
}

/// A stream that has been opened.
pub struct Conversation {
    reader: ReadHalf<Upgraded>,
    writer: WriteHalf<Upgraded>,
}

impl Conversation {
    /// With the command of an `exec`.
    pub fn new(stream: Upgraded) -> Self {
        let (reader, writer) = split(stream);
        Self { reader, writer }
    }

    /// With the program that an `attach` leads to.
    pub async fn opened(stream: Upgraded) -> Result<(Self, Opened)> {
        let mut own = Self::new(stream);
        match frames::read_frame(&mut own.reader).await? {
            Some((FrameKind::Opened, bytes)) => {
                let has = |flag: u8| bytes.first().is_some_and(|flags| flags & flag != 0);
                Ok((own, Opened { terminal: has(OPENED_TERMINAL), input: has(OPENED_INPUT) }))
            }
            Some((FrameKind::Error, bytes)) => Err(told(&bytes)),
            _ => Err(broken()),
        }
    }

    /// Carries both directions until one of the sides has had enough. The terminal is as it was afterwards.
    pub async fn run(self, manner: Manner) -> Result<Outcome> {
        let Self { mut reader, mut writer } = self;
        let raw = (manner.terminal && manner.input).then(Raw::enter).flatten();
        let is_raw = raw.is_some();
        let outcome = tokio::select! {
            outcome = listen(&mut reader, is_raw) => outcome,
            outcome = speak(&mut writer, manner, is_raw) => outcome,
            signal = ended_by(is_raw, manner.leaves) => Ok(Outcome::Left(signal)),
        };
        drop(raw);
        outcome
    }
}

fn broken() -> Error {
    Error::unreachable("the connection to the container's server broke off")
}

fn told(bytes: &[u8]) -> Error {
    serde_json::from_slice(bytes).unwrap_or_else(|_| Error::failed("the command could not be run"))
}

/// Shows what the program says until it has ended.
async fn listen(reader: &mut ReadHalf<Upgraded>, raw: bool) -> Result<Outcome> {
    // By threads of their own: a reader of ours that does not read must not keep signals from being heard.
    let (mut out, mut err) = (tokio::io::stdout(), tokio::io::stderr());
    while let Some((kind, bytes)) = frames::read_frame(reader).await? {
        match kind {
            FrameKind::Stdout => put(&mut out, &bytes).await?,
            FrameKind::Stderr => put(&mut err, &bytes).await?,
            FrameKind::Missed => put(&mut err, missed(&bytes, raw).as_bytes()).await?,
            FrameKind::Exit => return Ok(exit(&bytes)),
            FrameKind::Error => return Err(told(&bytes)),
            FrameKind::Stdin | FrameKind::Resize | FrameKind::Signal | FrameKind::Opened => {}
        }
    }
    Err(broken())
}

fn exit(bytes: &[u8]) -> Outcome {
    let code = bytes.first_chunk().map_or(1, |code| i32::from_be_bytes(*code));
    let why = String::from_utf8_lossy(bytes.get(4..).unwrap_or_default()).into_owned();
    Outcome::Ended(code, Some(why).filter(|why| !why.is_empty()))
}

fn missed(bytes: &[u8], raw: bool) -> String {
    let count = bytes.try_into().map_or(0, u64::from_be_bytes);
    let end = if raw { "\r\n" } else { "\n" };
    format!(
        "{end}roost: {count} bytes of output are left out here, which came faster than they were read; roost logs has them{end}"
    )
}

/// A reader that has gone is no reason to end.
async fn put(out: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<()> {
    let written = async {
        out.write_all(bytes).await?;
        out.flush().await
    };
    match written.await {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Error::failed(format!("cannot write output: {error}"))),
        _ => Ok(()),
    }
}

/// Standard input to the program, and the size of the terminal whenever it changes. Ends by the keys that detach only.
async fn speak(writer: &mut WriteHalf<Upgraded>, manner: Manner, raw: bool) -> Result<Outcome> {
    let mut resized =
        signal(SignalKind::window_change()).map_err(|e| Error::failed(format!("cannot watch the terminal: {e}")))?;
    if manner.terminal && manner.redraw {
        let (columns, rows) = terminal::size();
        resize(writer, (columns, rows.saturating_add(1))).await;
    }
    if manner.terminal {
        resize(writer, terminal::size()).await;
    }
    let mut stdin = tokio::io::stdin();
    let (mut open, mut keys, mut buffer) = (manner.input, Keys::default(), vec![0; CHUNK]);
    while open || manner.terminal {
        tokio::select! {
            read = stdin.read(&mut buffer), if open => {
                let bytes = buffer.get(..read.unwrap_or(0)).unwrap_or_default();
                open = !bytes.is_empty();
                let (bytes, detach) = if raw && manner.leaves { keys.typed(bytes) } else { (bytes.to_vec(), false) };
                // An empty frame is the end, which only the end of input is.
                if !bytes.is_empty() || (!open && manner.closes) {
                    send(writer, FrameKind::Stdin, &bytes).await;
                }
                if detach {
                    return Ok(Outcome::Detached);
                }
            }
            _ = resized.recv(), if manner.terminal => resize(writer, terminal::size()).await,
        }
    }
    std::future::pending().await
}

async fn resize(writer: &mut WriteHalf<Upgraded>, (columns, rows): (u16, u16)) {
    let ([a, b], [c, d]) = (columns.to_be_bytes(), rows.to_be_bytes());
    send(writer, FrameKind::Resize, &[a, b, c, d]).await;
}

/// That nobody hears any more is said by the other direction, in better words.
async fn send(writer: &mut WriteHalf<Upgraded>, kind: FrameKind, bytes: &[u8]) {
    let _ = frames::write_frame(writer, kind, bytes).await;
}

/// Waits for a signal that ends this side. With a raw terminal all that would end this program, which has to tidy up; else only Ctrl-C,
/// and only where that leaves the other side alone.
async fn ended_by(raw: bool, leaves: bool) -> i32 {
    let all = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()];
    let heard = all.into_iter().filter(|kind| raw || (leaves && *kind == SignalKind::interrupt()));
    let mut waiting = Vec::new();
    for kind in heard {
        if let Ok(mut heard) = signal(kind) {
            waiting.push(Box::pin(async move {
                heard.recv().await;
                kind.as_raw_value()
            }));
        }
    }
    std::future::poll_fn(|cx| {
        let ended = waiting.iter_mut().find_map(|one| match one.as_mut().poll(cx) {
            std::task::Poll::Ready(signal) => Some(signal),
            std::task::Poll::Pending => None,
        });
        ended.map_or(std::task::Poll::Pending, std::task::Poll::Ready)
    })
    .await
}

/// Says how it was left, and gives the exit code: the program's own, none when it was left as it should be, a signal's as a shell says it.
pub fn code(outcome: &Outcome, name: &str) -> u8 {
    match outcome {
        Outcome::Ended(code, why) => {
            if let Some(why) = why.as_ref().filter(|_| *code != 0) {
                say::note(&format!("roost: {why}"));
            }
            u8::try_from(code & 0xff).unwrap_or(1)
        }
        Outcome::Detached => {
            say::note(&format!("detached from {name}, which runs on; back to it: roost attach {name}"));
            0
        }
        Outcome::Left(signal) => {
            say::note(&format!("no longer watching {name}, which runs on; back to it: roost attach {name}"));
            u8::try_from(128 + signal).unwrap_or(1)
        }
    }
}
