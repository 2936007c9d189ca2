//! Logical lines: what an instruction occupies, with continuation lines joined, comments left out and heredocs beside it.

use super::{
    heredoc::{self, Heredoc},
    words,
};
use crate::{
    error::{Error, Place, Problem},
    kind::Kind,
};
use std::iter::Peekable;

/// Most bytes of a file. Docker allows 64 KiB per line; a file of a million is machine-made, and bounds everything after it.
pub const FILE_MAX: usize = 1024 * 1024;

/// What escapes a character, and continues a line, when no directive says otherwise.
pub const ESCAPE: char = '\\';

/// A file, before its instructions are understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lines {
    /// What escapes and continues.
    pub escape: char,
    /// `# syntax=`, if it is there.
    pub syntax: Option<String>,
    /// `# check=`, if it is there.
    pub check: Option<String>,
    /// In order; none is empty.
    pub lines: Vec<Line>,
}

/// An instruction's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Number of its first line, from 1.
    pub first: u32,
    /// Number of its last line, heredocs included.
    pub last: u32,
    /// Continuation lines joined, without comments and empty lines.
    pub text: String,
    /// As written, with everything.
    pub source: String,
    /// Text below it.
    pub heredocs: Vec<Heredoc>,
}

/// Splits a file into logical lines.
pub fn read(kind: Kind, text: &str) -> Result<Lines, Error> {
    if text.len() > FILE_MAX {
        return Err(Place::Whole(kind).problem(Problem::FileTooLarge { size: text.len(), max: FILE_MAX }));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let physical = text.split_inclusive('\n').zip(1..);
    let mut reader =
        Reader { kind, escape: ESCAPE, syntax: None, check: None, physical: physical.peekable(), source: String::new() };
    reader.directives()?;
    let mut lines = Vec::new();
    while let Some(line) = reader.line()? {
        lines.push(line);
    }
    Ok(Lines { escape: reader.escape, syntax: reader.syntax, check: reader.check, lines })
}

struct Reader<'a, I: Iterator<Item = (&'a str, u32)>> {
    kind: Kind,
    escape: char,
    syntax: Option<String>,
    check: Option<String>,
    physical: Peekable<I>,
    /// Of the logical line that is being read.
    source: String,
}

impl<'a, I: Iterator<Item = (&'a str, u32)>> Reader<'a, I> {
    fn error(&self, line: u32, problem: Problem) -> Error {
        Place::Line(self.kind, line).problem(problem)
    }

    /// Directives come before everything else, also before other comments.
    fn directives(&mut self) -> Result<(), Error> {
        let mut escaped = false;
        while let Some((line, number)) = self.physical.peek().copied() {
            let Some((name, value)) = directive(line) else { break };
            let seen = match name.as_str() {
                "syntax" => self.syntax.replace(value).is_some(),
                "check" => self.check.replace(value).is_some(),
                "escape" => {
                    self.escape = match value.as_str() {
                        "\\" => '\\',
                        "`" => '`',
                        _ => return Err(self.error(number, Problem::BadEscape { value })),
                    };
                    std::mem::replace(&mut escaped, true)
                }
                _ => break,
            };
            if seen {
                return Err(self.error(number, Problem::RepeatedDirective { name }));
            }
            self.physical.next();
        }
        Ok(())
    }

    /// The next line as written, counted into the source.
    fn next(&mut self) -> Result<Option<(&'a str, u32)>, Error> {
        let Some((line, number)) = self.physical.next() else { return Ok(None) };
        if line.contains('\0') {
            return Err(self.error(number, Problem::Nul));
        }
        self.source.push_str(line);
        Ok(Some((line, number)))
    }

    /// The next logical line.
    fn line(&mut self) -> Result<Option<Line>, Error> {
        loop {
            self.source.clear();
            let Some((line, first)) = self.next()? else { return Ok(None) };
            if is_comment(line) {
                continue;
            }
            let (begun, continues) = continued(line.trim_start(), self.escape);
            if begun.is_empty() && !continues {
                continue;
            }
            let mut last = first;
            let mut text = begun.to_owned();
            if continues {
                last = self.continuation(&mut text, last)?;
            }
            if text.trim().is_empty() {
                continue;
            }
            let mut heredocs = Vec::new();
            for begun in heredoc::find(&announcing(&text, self.escape)) {
                let (heredoc, end) = self.heredoc(begun, first)?;
                last = end;
                heredocs.push(heredoc);
            }
            let source = self.source.trim_end_matches(['\r', '\n']).trim_start().to_owned();
            return Ok(Some(Line { first, last, text, source, heredocs }));
        }
    }

    /// Adds the lines that continue it; returns the last one's number.
    fn continuation(&mut self, text: &mut String, mut last: u32) -> Result<u32, Error> {
        while let Some((line, number)) = self.next()? {
            last = number;
            if is_comment(line) || line.trim().is_empty() {
                continue;
            }
            let (part, continues) = continued(line, self.escape);
            text.push_str(part);
            if !continues {
                break;
            }
        }
        Ok(last)
    }

    /// Reads the text of a heredoc that was announced on this line.
    fn heredoc(&mut self, mut heredoc: Heredoc, announced: u32) -> Result<(Heredoc, u32), Error> {
        while let Some((line, number)) = self.next()? {
            let end = line.trim_end_matches(['\r', '\n']);
            let end = if heredoc.chomp { end.trim_start_matches('\t') } else { end };
            if end == heredoc.name {
                return Ok((heredoc, number));
            }
            heredoc.content.push_str(line);
        }
        Err(self.error(announced, Problem::OpenHeredoc { name: heredoc.name }))
    }
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// `# name = value`, the name in small letters.
fn directive(line: &str) -> Option<(String, String)> {
    let (name, value) = line.trim().strip_prefix('#')?.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    let word = name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(|c| c.is_ascii_alphanumeric());
    (word && !value.is_empty()).then(|| (name.to_ascii_lowercase(), value.to_owned()))
}

/// The line without its end, and without the escape character that continues it. Two of them continue nothing.
fn continued(line: &str, escape: char) -> (&str, bool) {
    let line = line.trim_end_matches(['\r', '\n']);
    match line.trim_end_matches([' ', '\t']).strip_suffix(escape) {
        Some(before) if !before.ends_with(escape) => (before, true),
        _ => (line, false),
    }
}

/// What may announce heredocs: the words of RUN, COPY and ADD, also behind ONBUILD, unless they are a JSON list. Flags may not, and how
/// quotes and `<<` in them would be read by a shell is of no account.
fn announcing(text: &str, escape: char) -> String {
    if !text.contains("<<") {
        return String::new();
    }
    let split = words::split(text, escape);
    let split = if split.name.eq_ignore_ascii_case("ONBUILD") { words::split(&split.rest, escape) } else { split };
    let has = ["RUN", "COPY", "ADD"].iter().any(|name| split.name.eq_ignore_ascii_case(name));
    if has && !matches!(words::exec_form(&split.rest), Ok(Some(_))) { split.rest } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        read(Kind::Dockerfile, text)
            .unwrap()
            .lines
            .into_iter()
            .map(|line| format!("{}-{} {}", line.first, line.last, line.text))
            .collect()
    }

    fn says(text: &str) -> String {
        read(Kind::Dockerfile, text).unwrap_err().to_string()
    }

    #[test]
    fn lines_are_joined() {
        assert_eq!(texts("RUN a \\\n  b\\\nc\nRUN d"), ["1-3 RUN a   bc", "4-4 RUN d"]);
        assert_eq!(texts("RUN a \\  \n b"), ["1-2 RUN a  b"], "blanks after the escape character");
        assert_eq!(texts("RUN a\\\\\nRUN b"), ["1-1 RUN a\\\\", "2-2 RUN b"], "an escaped one continues nothing");
        assert_eq!(texts("RUN a \\"), ["1-1 RUN a "], "at the end of the file");
        assert_eq!(texts("\n\n  RUN a\r\n"), ["3-3 RUN a"]);
        assert_eq!(texts("\u{feff}RUN a"), ["1-1 RUN a"]);
    }

    #[test]
    fn comments_and_empty_lines_inside_are_left_out() {
        assert_eq!(texts("# x\nRUN a \\\n# why\n\n  # and why\n && b # c\n# y\n"), ["2-6 RUN a  && b # c"]);
    }

    #[test]
    fn directives_come_first() {
        let read = |text: &str| super::read(Kind::Dockerfile, text).unwrap();
        let lines = read("# Syntax = docker/dockerfile:1\n#escape=`\n# check=skip=all\nRUN a `\n b\\\nRUN c");
        assert_eq!(
            (lines.escape, lines.syntax.as_deref(), lines.check.as_deref()),
            ('`', Some("docker/dockerfile:1"), Some("skip=all"))
        );
        assert_eq!(lines.lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["RUN a  b\\", "RUN c"]);
        assert_eq!(read("# hello\n# escape=`\n").escape, '\\', "after a comment it is a comment");
        assert_eq!(read("# other=1\n# escape=`\n").escape, '\\', "an unknown one is a comment");
        assert_eq!(says("# escape=x\n"), "Dockerfile line 1: escape=x is not possible: write escape=\\ or escape=`");
        assert_eq!(
            says("# syntax=a\n# syntax=b\n"),
            "Dockerfile line 2: the directive syntax stands here a second time: remove one"
        );
    }

    #[test]
    fn heredocs_are_taken_out() {
        let line = |text: &str| read(Kind::Dockerfile, text).unwrap().lines.remove(0);
        let run = line("RUN <<EOF\n# not a comment\n\tx \\\nEOF\nRUN y");
        assert_eq!((run.first, run.last, run.heredocs[0].content.as_str()), (1, 4, "# not a comment\n\tx \\\n"));
        assert_eq!(run.source, "RUN <<EOF\n# not a comment\n\tx \\\nEOF");
        let two = line("COPY <<a <<-\"b\" \\\n /x/\n1\na\n\t2\n\tb\n");
        assert_eq!(two.heredocs.iter().map(Heredoc::chomped).collect::<Vec<_>>(), ["1\n", "2\n"]);
        assert_eq!((two.heredocs[0].expand, two.heredocs[1].expand), (true, false));
        assert_eq!(line("ONBUILD RUN <<E\nx\nE\n").heredocs.len(), 1);
        assert_eq!(line("RUN [\"<<E\"]\nRUN b").heredocs.len(), 0);
        assert_eq!(line("ENV a=<<E\nRUN b").heredocs.len(), 0);
        assert_eq!(
            says("FROM x\nRUN <<EOF\na\n"),
            "Dockerfile line 2: the heredoc EOF never ends: write EOF alone on a line below it"
        );
    }

    #[test]
    fn what_is_no_text_is_refused() {
        assert_eq!(says("FROM x\nRUN a\0b"), "Dockerfile line 2: a NUL byte stands here, which no text has");
        assert_eq!(says(&"#\n".repeat(600_000)), "Dockerfile: it has 1200000 bytes, and a file may have 1048576");
    }
}
