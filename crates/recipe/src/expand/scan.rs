//! The scanner of expansions: character by character, once through the text.

use super::{DEPTH_MAX, EXPANDED_MAX, ExpandError, Lookup, Pattern};

/// What has been expanded so far, as one text and as words.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// Everything.
    pub text: String,
    words: Vec<String>,
    word: String,
}

impl Output {
    /// A character that is meant: quoted, escaped, or plain.
    fn push(&mut self, c: char, splits: bool) {
        self.text.push(c);
        if splits && c.is_whitespace() {
            self.end_word();
        } else {
            self.word.push(c);
        }
    }

    fn append(&mut self, text: &str, splits: bool) {
        text.chars().for_each(|c| self.push(c, splits));
    }

    fn end_word(&mut self) {
        if !self.word.is_empty() {
            self.words.push(std::mem::take(&mut self.word));
        }
    }

    /// Refuses to grow for ever.
    const fn bounded(&self) -> Result<(), ExpandError> {
        if self.text.len() > EXPANDED_MAX { Err(ExpandError::TooLong { max: EXPANDED_MAX }) } else { Ok(()) }
    }

    /// The words.
    pub fn words(mut self) -> Vec<String> {
        self.end_word();
        self.words
    }
}

/// Where it ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    End,
    Brace,
    Slash,
}

impl Until {
    const fn character(self) -> Option<char> {
        match self {
            Self::End => None,
            Self::Brace => Some('}'),
            Self::Slash => Some('/'),
        }
    }
}

pub(super) struct Scanner<'a> {
    text: &'a str,
    letters: std::iter::Peekable<std::str::Chars<'a>>,
    escape: char,
    quotes: bool,
    depth: usize,
    lookup: Lookup<'a>,
}

impl<'a> Scanner<'a> {
    pub fn new(text: &'a str, escape: char, lookup: Lookup<'a>) -> Self {
        Self { text, letters: text.chars().peekable(), escape, quotes: true, depth: 0, lookup }
    }

    /// Quotes are characters like others.
    pub const fn without_quotes(mut self) -> Self {
        self.quotes = false;
        self
    }

    /// Everything to the end.
    pub fn all(&mut self) -> Result<Output, ExpandError> {
        self.until(Until::End, false)
    }

    fn shown(&self) -> String {
        const SHOWN_MAX: usize = 120;
        if self.text.chars().count() <= SHOWN_MAX {
            return self.text.to_owned();
        }
        format!("{}…", self.text.chars().take(SHOWN_MAX).collect::<String>())
    }

    /// Expands up to the end asked for. `raw` leaves escape characters in, for patterns have their own.
    fn until(&mut self, until: Until, raw: bool) -> Result<Output, ExpandError> {
        let mut output = Output::default();
        loop {
            output.bounded()?;
            let Some(c) = self.letters.next() else { break };
            match c {
                c if Some(c) == until.character() => return Ok(output),
                '\'' if self.quotes => self.single(&mut output)?,
                '"' if self.quotes => self.double(&mut output, raw)?,
                '$' => {
                    let value = self.dollar()?;
                    output.append(&value, true);
                }
                c if c == self.escape => {
                    if raw {
                        output.push(c, false);
                    }
                    if let Some(escaped) = self.letters.next() {
                        output.push(escaped, false);
                    }
                }
                c => output.push(c, true),
            }
        }
        match until {
            Until::End => Ok(output),
            Until::Brace => Err(ExpandError::OpenBrace { text: self.shown() }),
            Until::Slash => Err(ExpandError::NoReplacement { text: self.shown() }),
        }
    }

    /// Behind a single quote: everything up to the next is meant.
    fn single(&mut self, output: &mut Output) -> Result<(), ExpandError> {
        loop {
            match self.letters.next() {
                None => return Err(ExpandError::OpenQuote { text: self.shown(), quote: '\'', escape: self.escape }),
                Some('\'') => return Ok(()),
                Some(c) => output.push(c, false),
            }
        }
    }

    /// Behind a double quote.
    fn double(&mut self, output: &mut Output, raw: bool) -> Result<(), ExpandError> {
        loop {
            output.bounded()?;
            match self.letters.next() {
                None => return Err(ExpandError::OpenQuote { text: self.shown(), quote: '"', escape: self.escape }),
                Some('"') => return Ok(()),
                Some('$') => {
                    let value = self.dollar()?;
                    output.append(&value, false);
                }
                Some(c) if c == self.escape => {
                    let escape = self.escape;
                    let escaped = self.letters.next_if(|c| matches!(c, '"' | '$') || *c == escape);
                    if raw || escaped.is_none() {
                        output.push(c, false);
                    }
                    if let Some(escaped) = escaped {
                        output.push(escaped, false);
                    }
                }
                Some(c) => output.push(c, false),
            }
        }
    }

    /// Behind a dollar: a variable's value, or the dollar itself if no name follows.
    fn dollar(&mut self) -> Result<String, ExpandError> {
        if self.letters.next_if_eq(&'{').is_none() {
            let name = self.name();
            return Ok(if name.is_empty() { "$".to_owned() } else { self.value(&name).unwrap_or_default() });
        }
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(ExpandError::TooDeep { text: self.shown(), max: DEPTH_MAX });
        }
        let value = self.braces();
        self.depth -= 1;
        value
    }

    /// Behind `${`.
    fn braces(&mut self) -> Result<String, ExpandError> {
        match self.letters.peek() {
            None => return Err(ExpandError::OpenBrace { text: self.shown() }),
            Some('{' | '}' | ':') => return Err(ExpandError::NoName { text: self.shown(), escape: self.escape }),
            Some(_) => {}
        }
        let name = self.name();
        match self.letters.next() {
            None => Err(ExpandError::OpenBrace { text: self.shown() }),
            Some('}') => Ok(self.value(&name).unwrap_or_default()),
            Some(':') => match self.letters.next() {
                Some(modifier @ ('-' | '+' | '?')) => {
                    let value = self.value(&name).filter(|value| !value.is_empty());
                    self.modified(&name, value, modifier, "is not allowed to be empty")
                }
                None => Err(ExpandError::OpenBrace { text: self.shown() }),
                Some(other) => Err(ExpandError::Modifier { text: self.shown(), modifier: format!(":{other}") }),
            },
            Some(modifier @ ('-' | '+' | '?')) => {
                let value = self.value(&name);
                self.modified(&name, value, modifier, "is not allowed to be unset")
            }
            Some(side @ ('#' | '%')) => self.trimmed(&name, side),
            Some('/') => self.replaced(&name),
            Some(other) => Err(ExpandError::Modifier { text: self.shown(), modifier: other.to_string() }),
        }
    }

    /// `-` gives another value, `+` another instead of the value, `?` demands one.
    fn modified(&mut self, name: &str, value: Option<String>, modifier: char, missing: &str) -> Result<String, ExpandError> {
        let word = self.until(Until::Brace, false)?.text;
        match (modifier, value) {
            ('-', value) => Ok(value.unwrap_or(word)),
            ('+', Some(_)) => Ok(word),
            ('+', None) => Ok(String::new()),
            (_, Some(value)) => Ok(value),
            (_, None) => {
                let message = if word.is_empty() { missing.to_owned() } else { word };
                Err(ExpandError::Demanded { name: name.to_owned(), message })
            }
        }
    }

    /// `#` and `##` cut at the beginning, `%` and `%%` at the end; one cuts as little as possible, two as much.
    fn trimmed(&mut self, name: &str, side: char) -> Result<String, ExpandError> {
        let longest = self.letters.next_if_eq(&side).is_some();
        let pattern = self.pattern(Until::Brace)?;
        let value = self.value(name).unwrap_or_default();
        if side == '#' { pattern.without_prefix(&value, longest) } else { pattern.without_suffix(&value, longest) }
    }

    /// `/` replaces the first match, `//` all.
    fn replaced(&mut self, name: &str) -> Result<String, ExpandError> {
        let all = self.letters.next_if_eq(&'/').is_some();
        let pattern = self.pattern(Until::Slash)?;
        let replacement = self.until(Until::Brace, true)?.text;
        let value = self.value(name).unwrap_or_default();
        let replaced = pattern.replace(&value, &replacement, all)?;
        if replaced.len() > EXPANDED_MAX { Err(ExpandError::TooLong { max: EXPANDED_MAX }) } else { Ok(replaced) }
    }

    fn pattern(&mut self, until: Until) -> Result<Pattern, ExpandError> {
        let text = self.until(until, true)?.text;
        Pattern::parse(&text).map_err(|letter| ExpandError::PatternEscape { text, letter })
    }

    /// A name: letters, digits and `_`; or only digits; or one of the shell's special characters. None of the last two is ever set.
    fn name(&mut self) -> String {
        let mut name = String::new();
        if let Some(first) = self.letters.next_if(char::is_ascii_digit) {
            name.push(first);
            while let Some(digit) = self.letters.next_if(char::is_ascii_digit) {
                name.push(digit);
            }
        } else if let Some(special) = self.letters.next_if(|c| "@*#?-$!".contains(*c)) {
            name.push(special);
        } else {
            while let Some(c) = self.letters.next_if(|c| c.is_alphanumeric() || *c == '_') {
                name.push(c);
            }
        }
        name
    }

    fn value(&self, name: &str) -> Option<String> {
        (self.lookup)(name)
    }
}
