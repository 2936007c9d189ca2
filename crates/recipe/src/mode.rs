//! Permissions as `--chmod` takes them: octal, or as chmod's symbols, which depend on what the file had.

use crate::error::Problem;
use serde::{Deserialize, Serialize};

/// What becomes of a file's permissions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Exactly these.
    Octal(u32),
    /// `u=rwX,go=rX`: in order.
    Symbolic(Vec<Clause>),
}

/// One change of symbolic permissions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clause {
    /// For whom: bits of the user (4), the group (2), others (1).
    who: u8,
    /// `+`, `-` or `=`.
    change: char,
    /// Letters of `rwxXst`, or one of `ugo` to copy from.
    what: String,
}

const PERMISSIONS_MAX: u32 = 0o7777;
const SET_USER: u32 = 0o4000;
const SET_GROUP: u32 = 0o2000;
const STICKY: u32 = 0o1000;
const ANY_EXECUTE: u32 = 0o111;

impl Mode {
    /// Reads what `--chmod` says.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let wrong = || Problem::Mode { text: text.to_owned() };
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let bits = u32::from_str_radix(text, 8).ok().filter(|bits| *bits <= PERMISSIONS_MAX);
            return bits.map(Self::Octal).ok_or_else(wrong);
        }
        let mut clauses = Vec::new();
        for part in text.split(',') {
            read(part, &mut clauses).ok_or_else(wrong)?;
        }
        Ok(Self::Symbolic(clauses))
    }

    /// The permissions of a file that had these.
    pub fn apply(&self, had: u32, is_directory: bool) -> u32 {
        match self {
            Self::Octal(bits) => *bits,
            Self::Symbolic(clauses) => {
                clauses.iter().fold(had & PERMISSIONS_MAX, |bits, clause| clause.apply(bits, is_directory))
            }
        }
    }
}

/// `go+rX-w`: for whom, then one or more changes.
fn read(part: &str, clauses: &mut Vec<Clause>) -> Option<()> {
    let begin = part.find(['+', '-', '='])?;
    let (who, mut rest) = part.split_at(begin);
    let bits = |c| match c {
        'u' => Some(4),
        'g' => Some(2),
        'o' => Some(1),
        'a' => Some(7),
        _ => None,
    };
    let who = who.chars().try_fold(0, |sum, c| bits(c).map(|bits| sum | bits))?;
    while let Some(change) = rest.chars().next() {
        let after = &rest[1..];
        let end = after.find(['+', '-', '=']).unwrap_or(after.len());
        let (what, next) = after.split_at(end);
        let letters = what.chars().all(|c| "rwxXst".contains(c)) || ["u", "g", "o"].contains(&what);
        if !letters {
            return None;
        }
        clauses.push(Clause { who: if who == 0 { 7 } else { who }, change, what: what.to_owned() });
        rest = next;
    }
    Some(())
}

impl Clause {
    fn apply(&self, had: u32, is_directory: bool) -> u32 {
        let (who, wanted) = self.bits(had, is_directory);
        match self.change {
            '+' => had | wanted,
            '-' => had & !wanted,
            _ => (had & !who) | wanted,
        }
    }

    /// The bits these people have at all, and those that are meant.
    fn bits(&self, had: u32, is_directory: bool) -> (u32, u32) {
        let (mut who, mut wanted) = (0, 0);
        let permissions = self.permissions(had, is_directory);
        for (person, shift, special, letter) in [(4, 6, SET_USER, 's'), (2, 3, SET_GROUP, 's'), (1, 0, STICKY, 't')] {
            if self.who & person == 0 {
                continue;
            }
            who |= 0o7 << shift | special;
            wanted |= permissions << shift;
            if self.what.contains(letter) {
                wanted |= special;
            }
        }
        (who, wanted)
    }

    /// Three bits: read, write, execute.
    fn permissions(&self, had: u32, is_directory: bool) -> u32 {
        let one = |c| match c {
            'r' => 4,
            'w' => 2,
            'x' => 1,
            'X' if is_directory || had & ANY_EXECUTE != 0 => 1,
            'u' => had >> 6 & 7,
            'g' => had >> 3 & 7,
            'o' => had & 7,
            _ => 0,
        };
        self.what.chars().fold(0, |bits, c| bits | one(c))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(mode: &str, had: u32) -> u32 {
        Mode::parse(mode).unwrap().apply(had, false)
    }

    #[test]
    fn as_chmod_does() {
        assert_eq!(file("755", 0o644), 0o755);
        assert_eq!(file("0640", 0o777), 0o640);
        assert_eq!(file("+x", 0o644), 0o755);
        assert_eq!(file("u=rwX,go=rX", 0o600), 0o644);
        assert_eq!(file("u=rwX,go=rX", 0o700), 0o755);
        assert_eq!(Mode::parse("u=rwX,go=rX").unwrap().apply(0o600, true), 0o755);
        assert_eq!(file("g=u", 0o640), 0o660);
        assert_eq!(file("go-rwx", 0o777), 0o700);
        assert_eq!(file("u+s,+t", 0o755), 0o5755);
        assert_eq!(file("a=r+w", 0o000), 0o666);
        assert_eq!(file("o=", 0o777), 0o770);
    }

    #[test]
    fn refusals() {
        for bad in ["", "8", "77777", "rwx", "u=q", "x+r", "0o755", "u+rw,", "755x", "+ü"] {
            assert!(Mode::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(
            Mode::parse("899").unwrap_err().to_string(),
            "899 are no permissions: write octal digits up to 7777, as in 755, or symbols, as in u=rwX,go=rX"
        );
    }
}
