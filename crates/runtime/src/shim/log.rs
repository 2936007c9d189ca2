//! Log files: one JSON object a line, rotated by size.

use crate::{Error, Result};
use api::{Timestamp, stream::LogLine};
use driver::runtime::LogPosition;
use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// A log file is put aside at this size.
pub const FILE_BYTES: u64 = 10 << 20;
/// So many files are kept: the current one, `.1` and `.2`.
pub const FILES: u32 = 3;
/// Longer lines are split.
pub const LINE_BYTES: usize = 16 << 10;

/// The log of one container. Writing blocks, and so in the end does the container: nothing is kept in memory.
pub struct Log {
    path: PathBuf,
    file: File,
    size: u64,
    limit: u64,
}

impl Log {
    /// Opens it, going on behind what is there.
    pub fn open(path: PathBuf) -> Result<Self> {
        Self::with_limit(path, FILE_BYTES)
    }

    fn with_limit(path: PathBuf, limit: u64) -> Result<Self> {
        let file = append(&path)?;
        let size = file.metadata().map_err(|e| Error::io("read", &path, e))?.len();
        Ok(Self { path, file, size, limit })
    }

    /// Writes encoded lines. What the disk does not take is lost, since a container must outlive a full disk.
    pub fn write(&mut self, lines: &[u8]) {
        if self.size > 0 && self.size + lines.len() as u64 > self.limit {
            self.rotate();
        }
        if self.file.write_all(lines).is_ok() {
            self.size += lines.len() as u64;
        }
    }

    /// Where the next line goes.
    pub fn position(&self) -> LogPosition {
        let known = self.file.metadata().map(|meta| LogPosition { inode: meta.ino(), offset: meta.len() });
        known.unwrap_or(LogPosition { inode: 0, offset: self.size })
    }

    fn rotate(&mut self) {
        for number in (1..FILES).rev() {
            let from = if number == 1 { self.path.clone() } else { numbered(&self.path, number - 1) };
            let _ = fs::rename(from, numbered(&self.path, number));
        }
        if let Ok(file) = append(&self.path) {
            (self.file, self.size) = (file, 0);
        }
    }
}

fn append(path: &Path) -> Result<File> {
    OpenOptions::new().create(true).append(true).open(path).map_err(|e| Error::io("open", path, e))
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// Cuts a stream of bytes into lines. Holds at most one unfinished line.
pub struct Lines {
    partial: Vec<u8>,
    stderr: bool,
}

impl Lines {
    /// Of standard error, or of standard output.
    pub const fn new(stderr: bool) -> Self {
        Self { partial: Vec::new(), stderr }
    }

    /// Takes in bytes read at this time; appends finished lines, encoded, to `out`.
    pub fn feed(&mut self, mut bytes: &[u8], at: Timestamp, out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            let room = LINE_BYTES - self.partial.len();
            let part = &bytes[..bytes.len().min(room)];
            match part.iter().position(|b| *b == b'\n') {
                Some(end) => {
                    self.partial.extend_from_slice(&part[..end]);
                    bytes = &bytes[end + 1..];
                    self.flush(at, out);
                }
                None => {
                    self.partial.extend_from_slice(part);
                    bytes = &bytes[part.len()..];
                    if self.partial.len() == LINE_BYTES {
                        self.flush(at, out);
                        // The line feed of a line of exactly this length does not make an empty line.
                        bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
                    }
                }
            }
        }
    }

    /// The line that is not finished yet.
    pub fn unfinished(&self) -> &[u8] {
        &self.partial
    }

    /// The stream has ended: the unfinished line is a line.
    pub fn finish(&mut self, at: Timestamp, out: &mut Vec<u8>) {
        if !self.partial.is_empty() {
            self.flush(at, out);
        }
    }

    fn flush(&mut self, at: Timestamp, out: &mut Vec<u8>) {
        // A terminal ends lines with a carriage return as well; a console that leads to another terminal with two.
        let end = self.partial.iter().rposition(|b| *b != b'\r').map_or(0, |last| last + 1);
        let text = &self.partial[..end];
        let line = LogLine { at, stderr: self.stderr, message: String::from_utf8_lossy(text).into_owned() };
        if serde_json::to_writer(&mut *out, &line).is_ok() {
            out.push(b'\n');
        }
        self.partial.clear();
        self.partial.shrink_to(LINE_BYTES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Vec<String> {
        bytes
            .split(|b| *b == b'\n')
            .filter(|l| !l.is_empty())
            .map(|l| serde_json::from_slice::<LogLine>(l).unwrap().message)
            .collect()
    }

    proptest! {
        /// However the bytes are cut on their way, the text comes out whole and in order.
        #[test]
        fn nothing_is_lost_or_doubled(lines in proptest::collection::vec("[a-z ]{0,40}", 0..20), cut in 1usize..50) {
            let text = lines.iter().map(|l| format!("{l}\n")).collect::<String>();
            let (mut splitter, mut out) = (Lines::new(false), Vec::new());
            for chunk in text.as_bytes().chunks(cut) {
                splitter.feed(chunk, Timestamp(1), &mut out);
            }
            splitter.finish(Timestamp(1), &mut out);
            prop_assert_eq!(read(&out), lines);
        }
    }

    #[test]
    fn long_lines_are_split_and_memory_is_bounded() {
        let (mut splitter, mut out) = (Lines::new(true), Vec::new());
        splitter.feed(&vec![b'x'; 3 * LINE_BYTES + 5], Timestamp(7), &mut out);
        splitter.finish(Timestamp(7), &mut out);
        let lengths: Vec<usize> = read(&out).iter().map(String::len).collect();
        assert_eq!(lengths, [LINE_BYTES, LINE_BYTES, LINE_BYTES, 5]);
        assert!(splitter.partial.capacity() <= 2 * LINE_BYTES);
    }

    #[test]
    fn what_is_not_text_is_replaced_and_carriage_returns_go() {
        let (mut splitter, mut out) = (Lines::new(false), Vec::new());
        splitter.feed(b"a\xffb\r\nc\rd\r\r\n\r\nrest", Timestamp(1), &mut out);
        splitter.finish(Timestamp(1), &mut out);
        assert_eq!(read(&out), ["a\u{fffd}b", "c\rd", "", "rest"]);
    }

    #[test]
    fn three_files_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.log");
        let mut log = Log::with_limit(path.clone(), 100).unwrap();
        for n in 0..50 {
            log.write(format!("line number {n:04}\n").as_bytes());
        }
        let mut names: Vec<_> =
            fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["c.log", "c.log.1", "c.log.2"]);
        assert!(fs::metadata(&path).unwrap().len() <= 100);
        let newest = fs::read_to_string(&path).unwrap();
        assert!(newest.ends_with("0049\n"));
        assert!(fs::read_to_string(numbered(&path, 1)).unwrap() > fs::read_to_string(numbered(&path, 2)).unwrap());
    }
}
