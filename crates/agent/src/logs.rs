//! Reading what containers wrote: `<container>.log` and its rotated predecessors `.1` (newer) and `.2`. Blocking.

use api::{
    name::Name,
    quantity::Timestamp,
    stream::{LogLine, LogQuery},
};
use driver::runtime::LogPosition;
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

/// Lines handed out at a time.
const BATCH: usize = 256;
/// Longest line that is read; the rest of a longer one is dropped.
const LINE_MAX: u64 = 1024 * 1024;
/// Bytes looked at together when counting lines from the end.
const CHUNK: u64 = 64 * 1024;

/// Goes through a container's log, oldest line first, across rotations, for as long as it is asked.
pub struct Reader {
    directory: PathBuf,
    container: Name,
    since: Timestamp,
    file: Option<BufReader<File>>,
    inode: u64,
    /// How far into the file it is.
    offset: u64,
    partial: Vec<u8>,
    end: Option<LogPosition>,
    /// The file that the end is in is there no more, and so nothing that was before it.
    past: bool,
}

impl Reader {
    /// At the first line that `query` wants.
    pub fn open(directory: &Path, container: &Name, query: &LogQuery) -> io::Result<Self> {
        let mut reader = Self {
            directory: directory.to_owned(),
            container: container.clone(),
            since: query.since.unwrap_or_default(),
            file: None,
            inode: 0,
            offset: 0,
            partial: Vec::new(),
            end: None,
            past: false,
        };
        let (age, offset) = match query.tail {
            Some(lines) => reader.tail_start(lines)?,
            None => (reader.oldest(), 0),
        };
        reader.enter(age, offset)?;
        Ok(reader)
    }

    /// The same, with nothing of what was written later than this.
    pub fn until(mut self, end: LogPosition) -> Self {
        self.end = Some(end);
        self.past = self.is_past();
        self
    }

    fn is_past(&self) -> bool {
        self.end.is_some_and(|end| (0..3).all(|age| self.inode_of(age) != Some(end.inode)))
    }

    fn is_at_end(&self) -> bool {
        self.past || self.end.is_some_and(|end| end.inode == self.inode && self.offset >= end.offset)
    }

    /// The next lines, at most a few hundred; none: that is all for now.
    pub fn lines(&mut self) -> io::Result<Vec<LogLine>> {
        let mut lines = Vec::new();
        while lines.len() < BATCH && !self.is_at_end() {
            if self.file.is_none() {
                self.enter(self.oldest(), 0)?;
            }
            let Some(file) = &mut self.file else { break };
            if read_line(file, &mut self.partial, &mut self.offset)? {
                let line = serde_json::from_slice::<LogLine>(&self.partial).ok();
                self.partial.clear();
                lines.extend(line.filter(|line| line.at >= self.since));
            } else if !self.turn()? {
                break;
            }
        }
        Ok(lines)
    }

    /// At the end of a file that has been rotated away since: goes on with the next newer one.
    fn turn(&mut self) -> io::Result<bool> {
        let at = (0..3).find(|age| self.inode_of(*age) == Some(self.inode));
        match at {
            Some(0) => Ok(false),
            Some(age) => {
                self.partial.clear();
                self.enter(age - 1, 0)?;
                Ok(self.file.is_some())
            }
            // It was rotated out altogether, or removed with the pod.
            None if self.inode_of(0).is_some() => {
                self.partial.clear();
                self.enter(self.oldest(), 0)?;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    fn path(&self, age: usize) -> PathBuf {
        let name = match age {
            0 => format!("{}.log", self.container),
            age => format!("{}.log.{age}", self.container),
        };
        self.directory.join(name)
    }

    fn inode_of(&self, age: usize) -> Option<u64> {
        std::fs::metadata(self.path(age)).ok().map(|meta| meta.ino())
    }

    fn oldest(&self) -> usize {
        (0..3).rev().find(|age| self.inode_of(*age).is_some()).unwrap_or(0)
    }

    fn enter(&mut self, age: usize, offset: u64) -> io::Result<()> {
        self.file = None;
        let mut file = match File::open(self.path(age)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        self.inode = file.metadata()?.ino();
        file.seek(SeekFrom::Start(offset))?;
        self.file = Some(BufReader::new(file));
        self.offset = offset;
        self.past = self.is_past();
        Ok(())
    }

    /// Which file, and where in it, the last so many lines begin.
    fn tail_start(&self, mut lines: usize) -> io::Result<(usize, u64)> {
        let oldest = self.oldest();
        for age in 0..=oldest {
            let Ok(file) = File::open(self.path(age)) else { continue };
            match line_from_end(&file, lines)? {
                Ok(offset) => return Ok((age, offset)),
                Err(had) => lines -= had,
            }
        }
        Ok((oldest, 0))
    }
}

/// The last lines of a container's log; none when they cannot be read.
pub fn last(directory: &Path, container: &Name, count: usize) -> Vec<LogLine> {
    let query = LogQuery { tail: Some(count), ..LogQuery::default() };
    let lines = Reader::open(directory, container, &query).and_then(|mut reader| reader.lines());
    lines.unwrap_or_default()
}

/// Adds to `line` up to the line feed, which is left out; false when it is not there yet. What is read is counted.
fn read_line(file: &mut BufReader<File>, line: &mut Vec<u8>, count: &mut u64) -> io::Result<bool> {
    loop {
        let buffer = file.fill_buf()?;
        if buffer.is_empty() {
            return Ok(false);
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(buffer.len());
        let room = usize::try_from(LINE_MAX).unwrap_or(usize::MAX).saturating_sub(line.len());
        line.extend_from_slice(&buffer[..taken.min(room)]);
        let read = end.map_or(taken, |end| end + 1);
        file.consume(read);
        *count += read as u64;
        if end.is_some() {
            return Ok(true);
        }
    }
}

/// Where the last so many complete lines begin, or how many there are if they are fewer.
fn line_from_end(file: &File, lines: usize) -> io::Result<Result<u64, usize>> {
    let length = file.metadata()?.len();
    let (mut end, mut seen) = (length, 0);
    let mut buffer = vec![0; usize::try_from(CHUNK.min(length)).unwrap_or(0)];
    while end > 0 {
        let start = end.saturating_sub(CHUNK);
        let chunk = &mut buffer[..usize::try_from(end - start).unwrap_or(0)];
        read_at(file, chunk, start)?;
        for (index, _) in chunk.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            if seen == lines {
                return Ok(Ok(start + index as u64 + 1));
            }
            seen += 1;
        }
        end = start;
    }
    Ok(if seen > lines || lines == 0 {
        Ok(length)
    } else if seen == lines {
        Ok(0)
    } else {
        Err(seen)
    })
}

fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let mut handle = File::from(file.as_fd().try_clone_to_owned()?);
    handle.seek(SeekFrom::Start(offset))?;
    handle.read_exact(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use std::{fs, io::Write};

    struct Log(tempfile::TempDir);

    impl Log {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }
        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }
        fn write(&self, name: &str, numbers: std::ops::Range<u64>) {
            let mut file = fs::OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap();
            for n in numbers {
                writeln!(file, "{{\"t\":{n},\"m\":\"{n}\"}}").unwrap();
            }
        }
        fn rotate(&self) {
            let _ = fs::rename(self.path("main.log.1"), self.path("main.log.2"));
            fs::rename(self.path("main.log"), self.path("main.log.1")).unwrap();
        }
        fn rotate_out(&self) {
            self.rotate();
            self.write("main.log", 900..910);
        }
        fn open(&self, tail: Option<usize>, since: u64) -> Reader {
            let query = LogQuery { tail, since: Some(Timestamp(since)), ..LogQuery::default() };
            Reader::open(self.0.path(), &testing::name("main"), &query).unwrap()
        }
    }

    fn numbers(reader: &mut Reader) -> Vec<u64> {
        let mut all = Vec::new();
        loop {
            let lines = reader.lines().unwrap();
            if lines.is_empty() {
                return all;
            }
            all.extend(lines.iter().map(|line| line.at.0));
        }
    }

    #[test]
    fn reads_across_rotated_files_in_order() {
        let log = Log::new();
        log.write("main.log.2", 0..300);
        log.write("main.log.1", 300..600);
        log.write("main.log", 600..610);
        assert_eq!(numbers(&mut log.open(None, 0)), (0..610).collect::<Vec<_>>());
        assert_eq!(numbers(&mut log.open(None, 598)), (598..610).collect::<Vec<_>>());
    }

    #[test]
    fn the_tail_may_begin_in_any_file() {
        let log = Log::new();
        log.write("main.log.2", 0..5);
        log.write("main.log.1", 5..8);
        log.write("main.log", 8..10);
        for (tail, first) in [(0, 10), (1, 9), (2, 8), (3, 7), (5, 5), (6, 4), (10, 0), (99, 0)] {
            assert_eq!(numbers(&mut log.open(Some(tail), 0)), (first..10).collect::<Vec<_>>(), "tail {tail}");
        }
        assert_eq!(numbers(&mut log.open(Some(4), 8)), [8, 9]);
    }

    #[test]
    fn a_tail_longer_than_a_chunk_is_counted_right() {
        let log = Log::new();
        log.write("main.log", 0..20_000);
        assert_eq!(numbers(&mut log.open(Some(15_000), 0)).len(), 15_000);
    }

    #[test]
    fn follows_across_rotation_and_waits_for_the_end_of_a_line() {
        let log = Log::new();
        let mut reader = log.open(None, 0);
        assert!(numbers(&mut reader).is_empty(), "there is no file yet");
        log.write("main.log", 0..2);
        assert_eq!(numbers(&mut reader), [0, 1]);
        let mut file = fs::OpenOptions::new().append(true).open(log.path("main.log")).unwrap();
        file.write_all(b"{\"t\":2,").unwrap();
        assert!(numbers(&mut reader).is_empty());
        file.write_all(b"\"m\":\"x\"}\n").unwrap();
        log.rotate();
        log.write("main.log", 3..5);
        assert_eq!(numbers(&mut reader), [2, 3, 4]);
        log.rotate();
        log.write("main.log", 5..6);
        log.rotate();
        log.write("main.log", 6..7);
        assert_eq!(numbers(&mut reader), [5, 6]);
    }

    #[test]
    fn ends_where_it_is_told_however_the_files_are_rotated() {
        let log = Log::new();
        log.write("main.log.1", 0..300);
        log.write("main.log", 300..600);
        let meta = fs::metadata(log.path("main.log")).unwrap();
        let end = LogPosition { inode: meta.ino(), offset: meta.len() };
        log.write("main.log", 600..610);
        assert_eq!(numbers(&mut log.open(None, 0).until(end)), (0..600).collect::<Vec<_>>());
        let mut reader = log.open(None, 0).until(end);
        assert_eq!(reader.lines().unwrap().len(), BATCH);
        log.rotate();
        log.write("main.log", 610..620);
        assert_eq!(numbers(&mut reader).last(), Some(&599));
        let nothing = LogPosition { inode: end.inode, offset: 0 };
        assert_eq!(numbers(&mut log.open(None, 0).until(nothing)), (0..300).collect::<Vec<_>>());
        (0..3).for_each(|_| log.rotate_out());
        assert!(numbers(&mut log.open(None, 0).until(end)).is_empty(), "all of it is gone");
    }

    #[test]
    fn junk_lines_are_left_out_and_the_last_lines_are_text() {
        let log = Log::new();
        log.write("main.log", 0..3);
        fs::OpenOptions::new().append(true).open(log.path("main.log")).unwrap().write_all(b"junk\n").unwrap();
        log.write("main.log", 3..4);
        assert_eq!(numbers(&mut log.open(None, 0)), [0, 1, 2, 3]);
        assert_eq!(last(log.0.path(), &testing::name("main"), 1)[0].message, "3");
        assert!(last(log.0.path(), &testing::name("other"), 1).is_empty());
    }
}
