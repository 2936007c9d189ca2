//! What a command says, line by line, and how it ends: frames of a console (`api::stream`).

use crate::error::{Error, LAST_LINES, Result};
use api::stream::{FRAME_MAX, FrameKind};
use std::{
    cell::RefCell,
    collections::VecDeque,
    io::{ErrorKind, Read},
};

/// Longest line; what is behind is on the next.
const LINE_MAX: usize = 4096;
/// Bytes before a frame's payload: its kind and its length.
const HEAD: usize = 5;

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code, if it was told.
    pub code: Option<i32>,
    /// What there is to say beyond it.
    pub message: Option<String>,
    /// The last lines it said.
    pub last: Vec<String>,
}

/// Lines out of bytes.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn feed(&mut self, bytes: &[u8], tell: &dyn Fn(&str)) {
        for byte in bytes {
            if *byte == b'\n' || self.0.len() >= LINE_MAX {
                self.close(tell);
            }
            if *byte != b'\n' {
                self.0.push(*byte);
            }
        }
    }

    fn close(&mut self, tell: &dyn Fn(&str)) {
        let line = std::mem::take(&mut self.0);
        let text = String::from_utf8_lossy(&line);
        // What a carriage return wrote over, as progress bars do, is no longer to be seen.
        tell(text.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default());
    }

    fn finish(mut self, tell: &dyn Fn(&str)) {
        if !self.0.is_empty() {
            self.close(tell);
        }
    }
}

/// Follows a console to its end. Reads that take too long are the chance to ask whether anybody still waits.
pub fn follow(mut console: impl Read, tell: &dyn Fn(&str), given_up: &dyn Fn() -> bool) -> Result<Ended> {
    let (mut out, mut err, last) = (Lines::default(), Lines::default(), RefCell::new(VecDeque::new()));
    let tell = |line: &str| {
        tell(line);
        let mut last = last.borrow_mut();
        last.push_back(line.to_owned());
        if last.len() > LAST_LINES {
            last.pop_front();
        }
    };
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; FRAME_MAX]);
    let (mut code, mut message) = (None, None);
    loop {
        if given_up() {
            return Err(Error::GivenUp);
        }
        match console.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => bytes.extend_from_slice(&buffer[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
            Err(error) => return Err(Error::io("read what the command says")(error)),
        }
        while let Some((kind, payload)) = frame(&mut bytes) {
            match FrameKind::from_byte(kind) {
                Some(FrameKind::Stdout) => out.feed(&payload, &tell),
                Some(FrameKind::Stderr) => err.feed(&payload, &tell),
                Some(FrameKind::Exit) => {
                    code = payload.get(..4).and_then(|four| four.try_into().ok()).map(i32::from_be_bytes);
                    message =
                        payload.get(4..).filter(|text| !text.is_empty()).map(|text| String::from_utf8_lossy(text).into_owned());
                }
                _ => {}
            }
        }
    }
    out.finish(&tell);
    err.finish(&tell);
    Ok(Ended { code, message, last: last.into_inner().into() })
}

/// The next whole frame.
fn frame(bytes: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let length = bytes.get(1..HEAD)?.try_into().ok().map(u32::from_be_bytes)?;
    let end = HEAD + usize::try_from(length).ok()?;
    if bytes.len() < end {
        return None;
    }
    let rest = bytes.split_off(end);
    let whole = std::mem::replace(bytes, rest);
    Some((whole[0], whole[HEAD..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(kind: FrameKind, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&[kind as u8][..], &length, payload].concat()
    }

    /// Gives a byte at a time, as slow connections do.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            let length = self.0.len().min(1);
            into[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    #[test]
    fn lines_and_the_end_are_told() {
        let bytes = [
            framed(FrameKind::Opened, &[0]),
            framed(FrameKind::Stdout, b"one\ntw"),
            framed(FrameKind::Stderr, b"10%\r100%\rbad\r\n"),
            framed(FrameKind::Stdout, b"o\nthree"),
            framed(FrameKind::Exit, &[0, 0, 0, 7]),
        ]
        .concat();
        let told = RefCell::new(Vec::new());
        let ended = follow(Slow(&bytes), &|line| told.borrow_mut().push(line.to_owned()), &|| false).unwrap();
        assert_eq!(told.into_inner(), ["one", "bad", "two", "three"]);
        assert_eq!((ended.code, ended.message), (Some(7), None));
        assert_eq!(ended.last.len(), 4);
    }

    #[test]
    fn only_the_last_lines_are_kept_and_long_ones_are_broken() {
        let text: String = (0..100).map(|n| format!("{n}\n")).collect();
        let bytes = [framed(FrameKind::Stdout, text.as_bytes()), framed(FrameKind::Stdout, &[b'x'; LINE_MAX + 1])].concat();
        let ended = follow(&bytes[..], &|_| {}, &|| false).unwrap();
        assert_eq!((ended.last.len(), ended.code), (LAST_LINES, None));
        assert_eq!(ended.last.last().map(String::as_str), Some("x"));
        assert!(matches!(follow(&bytes[..], &|_| {}, &|| true), Err(Error::GivenUp)));
    }
}
