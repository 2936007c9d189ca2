//! Frames of [`api::stream`] over any byte stream.

use api::{
    Error, Result,
    stream::{FRAME_MAX, FrameKind},
};
use bytes::{Buf as _, Bytes, BytesMut};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Kind and length in front of each payload.
const HEADER: usize = 5;

/// Reads one frame; `None` when the stream ends between two. *Not* cancel safe: in a `select!` use [`FrameReader`].
pub async fn read_frame<R: AsyncRead + Unpin>(reader: &mut R) -> Result<Option<(FrameKind, Bytes)>> {
    let mut header = [0; HEADER];
    if reader.read(&mut header[..1]).await.map_err(broken)? == 0 {
        return Ok(None);
    }
    reader.read_exact(&mut header[1..]).await.map_err(broken)?;
    let (kind, length) = parse(header)?;
    let mut payload = vec![0; length];
    reader.read_exact(&mut payload).await.map_err(broken)?;
    Ok(Some((kind, payload.into())))
}

/// Writes one frame and flushes it. At most [`FRAME_MAX`] bytes. Not cancel safe.
pub async fn write_frame<W: AsyncWrite + Unpin>(writer: &mut W, kind: FrameKind, payload: &[u8]) -> Result<()> {
    let length = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= FRAME_MAX);
    let length = length.ok_or_else(|| Error::failed(format!("a frame of {} bytes: at most {FRAME_MAX} fit", payload.len())))?;
    // One write, so that header and payload travel in one packet.
    let mut frame = Vec::with_capacity(HEADER + payload.len());
    frame.push(kind as u8);
    frame.extend(length.to_be_bytes());
    frame.extend(payload);
    writer.write_all(&frame).await.map_err(broken)?;
    writer.flush().await.map_err(broken)
}

/// Reads frames and keeps half-read ones between calls, so that `next` may be dropped in a `select!` without loss.
pub struct FrameReader<R> {
    reader: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Frames of this stream, from its next byte on.
    pub fn new(reader: R) -> Self {
        Self { reader, buffer: BytesMut::new() }
    }

    /// The next frame; `None` when the stream ends between two. Cancel safe.
    pub async fn next(&mut self) -> Result<Option<(FrameKind, Bytes)>> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(Some(frame));
            }
            self.buffer.reserve(HEADER + FRAME_MAX);
            if self.reader.read_buf(&mut self.buffer).await.map_err(broken)? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(broken(io::ErrorKind::UnexpectedEof.into())) };
            }
        }
    }

    fn take(&mut self) -> Result<Option<(FrameKind, Bytes)>> {
        let Some(header) = self.buffer.first_chunk::<HEADER>() else { return Ok(None) };
        let (kind, length) = parse(*header)?;
        if self.buffer.len() < HEADER + length {
            return Ok(None);
        }
        self.buffer.advance(HEADER);
        Ok(Some((kind, self.buffer.split_to(length).freeze())))
    }
}

fn parse([kind, length @ ..]: [u8; HEADER]) -> Result<(FrameKind, usize)> {
    let kind =
        FrameKind::from_byte(kind).ok_or_else(|| Error::failed(format!("the stream sent a frame of unknown kind {kind}")))?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > FRAME_MAX {
        return Err(Error::failed(format!("the stream announced a frame of {length} bytes: at most {FRAME_MAX} are allowed")));
    }
    Ok((kind, length))
}

fn broken(error: io::Error) -> Error {
    Error::unreachable(format!("the stream broke off: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{
        pin::Pin,
        task::{Context, Poll},
        time::Duration,
    };
    use tokio::io::ReadBuf;

    /// Gives a few bytes at a time and is not ready every other time.
    struct Drip<'a> {
        bytes: &'a [u8],
        step: usize,
        ready: bool,
    }

    impl AsyncRead for Drip<'_> {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            self.ready = !self.ready;
            if !self.ready {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let n = self.step.min(self.bytes.len()).min(buf.remaining());
            let (now, later) = self.bytes.split_at(n);
            buf.put_slice(now);
            self.bytes = later;
            Poll::Ready(Ok(()))
        }
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    fn frames() -> impl Strategy<Value = Vec<(FrameKind, Vec<u8>)>> {
        let kind = (0u8..7).prop_map(|byte| FrameKind::from_byte(byte).unwrap());
        let payload = prop_oneof![prop::collection::vec(any::<u8>(), 0..50), Just(vec![7; FRAME_MAX])];
        prop::collection::vec((kind, payload), 0..8)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn come_back_as_they_were(frames in frames(), step in 1usize..5000) {
            block_on(async {
                let mut bytes = Vec::new();
                for (kind, payload) in &frames {
                    write_frame(&mut bytes, *kind, payload).await.unwrap();
                }
                let mut plain = Drip { bytes: &bytes, step, ready: false };
                let mut reader = FrameReader::new(Drip { bytes: &bytes, step, ready: false });
                for (kind, payload) in &frames {
                    let expected = Some((*kind, Bytes::copy_from_slice(payload)));
                    assert_eq!(read_frame(&mut plain).await.unwrap(), expected);
                    // Dropped whenever it has to wait, as in a `select!`.
                    let frame = loop {
                        tokio::select! { biased; frame = reader.next() => break frame.unwrap(), () = std::future::ready(()) => {} }
                    };
                    assert_eq!(frame, expected);
                }
                assert_eq!(read_frame(&mut plain).await.unwrap(), None);
                assert_eq!(tokio::time::timeout(Duration::from_secs(5), reader.next()).await.unwrap().unwrap(), None);
            });
        }

        #[test]
        fn junk_is_an_error_or_frames_but_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            block_on(async {
                let mut reader = &bytes[..];
                while let Ok(Some((_, payload))) = read_frame(&mut reader).await {
                    assert!(payload.len() <= bytes.len());
                }
                let mut reader = FrameReader::new(&bytes[..]);
                while let Ok(Some(_)) = reader.next().await {}
            });
        }
    }

    #[tokio::test]
    async fn limits_and_broken_ends() {
        let long = vec![0; FRAME_MAX + 1];
        let error = write_frame(&mut Vec::new(), FrameKind::Stdin, &long).await.unwrap_err();
        assert_eq!(error.message, "a frame of 65537 bytes: at most 65536 fit");
        let error = read_frame(&mut &[1, 0, 1, 0, 1][..]).await.unwrap_err();
        assert_eq!(error.message, "the stream announced a frame of 65537 bytes: at most 65536 are allowed");
        let error = read_frame(&mut &[9, 0, 0, 0, 0][..]).await.unwrap_err();
        assert_eq!(error.message, "the stream sent a frame of unknown kind 9");
        for cut in [&[1, 0, 0][..], &[1, 0, 0, 0, 2, 7]] {
            assert_eq!(read_frame(&mut &cut[..]).await.unwrap_err().kind, api::Kind::Unreachable);
            assert_eq!(FrameReader::new(cut).next().await.unwrap_err().kind, api::Kind::Unreachable);
        }
    }
}
