//! Answers that flow: lines of JSON, and plain bytes.

use super::failure::Call;
use api::{Error, Result};
use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, future::poll_fn};
use http_body_util::BodyDataStream;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use std::{
    io,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::io::StreamReader;

/// Longest line of an NDJSON stream.
pub const LINE_MAX: usize = 64 * 1024 * 1024;

/// Values of type `T`, one for each line of an answer. Ends after the first error. Dropping it closes the connection.
pub struct Lines<T> {
    body: BodyDataStream<Incoming>,
    buffer: LineBuffer,
    call: Call,
    ended: bool,
    values: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Lines<T> {
    pub(crate) fn new(body: Incoming, call: Call) -> Self {
        Self { body: BodyDataStream::new(body), buffer: LineBuffer::new(LINE_MAX), call, ended: false, values: PhantomData }
    }

    /// The next value; `None` when the server has ended the stream. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<T>> {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let line = ready!(self.poll_line(cx));
        let value = line.transpose().map(|line| line.and_then(|line| self.decode(&line)));
        self.ended = !matches!(value, Some(Ok(_)));
        Poll::Ready(value)
    }

    fn poll_line(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        loop {
            if let Some(line) = self.buffer.line() {
                return Poll::Ready(Ok(Some(line)));
            }
            match ready!(self.body.poll_next_unpin(cx)) {
                Some(Ok(chunk)) => self.buffer.push(&chunk).map_err(|LineTooLong(max)| {
                    Error::failed(format!("{} was answered with a line of more than {} MiB", self.call, max >> 20))
                })?,
                Some(Err(e)) => {
                    return Poll::Ready(Err(Error::unreachable(format!("the answer to {} broke off: {e}", self.call))));
                }
                None => return Poll::Ready(Ok(self.buffer.rest())),
            }
        }
    }

    fn decode(&self, line: &[u8]) -> Result<T> {
        serde_json::from_slice(line).map_err(|e| {
            // Values may come between error lines: an error ends the stream in its own words.
            serde_json::from_slice::<Error>(line)
                .unwrap_or_else(|_| Error::failed(format!("a line of the answer to {} is not understood: {e}", self.call)))
        })
    }
}

impl<T: DeserializeOwned> Stream for Lines<T> {
    type Item = Result<T>;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        self.poll(cx)
    }
}

/// Cuts chunks into lines. Empty ones are left out: they only show that the stream lives.
struct LineBuffer {
    bytes: BytesMut,
    /// How far it is known that there is no line feed, so that a long line is looked through once.
    scanned: usize,
    max: usize,
}

/// No line feed within so many bytes.
#[derive(Debug, PartialEq, Eq)]
struct LineTooLong(usize);

impl LineBuffer {
    fn new(max: usize) -> Self {
        Self { bytes: BytesMut::new(), scanned: 0, max }
    }

    fn push(&mut self, chunk: &[u8]) -> Result<(), LineTooLong> {
        self.bytes.extend_from_slice(chunk);
        let unfinished = self.bytes.len() > self.max && !chunk.contains(&b'\n');
        if unfinished { Err(LineTooLong(self.max)) } else { Ok(()) }
    }

    fn line(&mut self) -> Option<Bytes> {
        loop {
            let Some(at) = self.bytes[self.scanned..].iter().position(|byte| *byte == b'\n') else {
                self.scanned = self.bytes.len();
                return None;
            };
            let line = self.bytes.split_to(self.scanned + at).freeze();
            self.bytes.advance(1);
            self.scanned = 0;
            if !line.trim_ascii().is_empty() {
                return Some(line);
            }
        }
    }

    /// What stands behind the last line feed.
    fn rest(&mut self) -> Option<Bytes> {
        self.scanned = 0;
        Some(self.bytes.split().freeze()).filter(|rest| !rest.trim_ascii().is_empty())
    }
}

/// Bytes of an answer. A connection that breaks off is an error, not an end.
pub struct Download(Pin<Box<dyn AsyncRead + Send>>);

impl Download {
    pub(crate) fn new(body: Incoming) -> Self {
        Self(Box::pin(StreamReader::new(BodyDataStream::new(body).map(|chunk| chunk.map_err(io::Error::other)))))
    }
}

impl AsyncRead for Download {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_read(cx, buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_they_are_cut(lines in prop::collection::vec("[a-z {}]{0,40}", 0..30), cut in 1usize..50, ended: bool) {
            let mut text = lines.join("\n");
            if ended {
                text.push('\n');
            }
            let mut buffer = LineBuffer::new(1000);
            let mut seen = Vec::new();
            for chunk in text.as_bytes().chunks(cut) {
                buffer.push(chunk).unwrap();
                seen.extend(std::iter::from_fn(|| buffer.line()));
            }
            seen.extend(buffer.rest());
            let seen: Vec<_> = seen.iter().map(|line| std::str::from_utf8(line).unwrap()).collect();
            let expected: Vec<_> = lines.iter().map(String::as_str).filter(|line| !line.trim().is_empty()).collect();
            prop_assert_eq!(seen, expected);
        }
    }

    #[test]
    fn an_endless_line_is_noticed() {
        let mut buffer = LineBuffer::new(100);
        buffer.push(&[b'x'; 100]).unwrap();
        assert!(buffer.line().is_none());
        assert_eq!(buffer.push(b"x"), Err(LineTooLong(100)));
    }
}
