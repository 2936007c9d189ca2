//! Words of a logical line: the instruction, its flags, and what follows, split as the instruction wants it.

use crate::error::Problem;

/// A logical line, taken apart as far as every instruction agrees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// First word, as written.
    pub name: String,
    /// `--flag` and `--flag=value`, without quotes.
    pub flags: Vec<String>,
    /// Everything after them, trimmed.
    pub rest: String,
}

/// Blanks between words of a line. Narrower than Unicode's idea of a space, as in Docker.
const fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{b}' | '\u{c}' | '\r')
}

/// Takes a line apart.
pub fn split(line: &str, escape: char) -> Split {
    let line = line.trim();
    let (name, rest) = line.split_once(is_blank).unwrap_or((line, ""));
    let (flags, rest) = flags(rest, escape);
    Split { name: name.to_owned(), flags, rest: rest.trim().to_owned() }
}

/// Words between blanks, without a look at quotes.
pub fn fields(rest: &str) -> Vec<String> {
    rest.split(is_blank).filter(|field| !field.is_empty()).map(str::to_owned).collect()
}

/// The name before the first blank, and the trimmed rest.
pub fn first_field(rest: &str) -> Option<(&str, &str)> {
    rest.split_once(is_blank).map(|(first, rest)| (first, rest.trim_start_matches(is_blank)))
}

/// The flags at the beginning, and what is left. `--` alone ends them.
fn flags(rest: &str, escape: char) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut left = rest.trim_start();
    while left.starts_with("--") {
        let (flag, after) = unquoted(left, escape);
        left = after;
        if flag == "--" {
            break;
        }
        flags.push(flag);
        left = left.trim_start();
    }
    (flags, left)
}

/// The first word with its quotes and escapes resolved, and what follows it.
fn unquoted(text: &str, escape: char) -> (String, &str) {
    let mut word = String::new();
    let mut quote = None;
    let mut letters = text.char_indices();
    while let Some((at, c)) = letters.next() {
        match quote {
            None if c.is_whitespace() => return (word, &text[at..]),
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ if c == escape => word.extend(letters.next().map(|(_, escaped)| escaped)),
            _ => word.push(c),
        }
    }
    (word, "")
}

/// Words with their quotes and escapes left in, so that they can be expanded later. An open quote ends with the line.
pub fn quoted(rest: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut letters = rest.chars();
    while let Some(c) = letters.next() {
        match quote {
            None if c.is_whitespace() => {
                words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
                continue;
            }
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ => {}
        }
        // Nothing is escaped between single quotes; an escape character at the very end is dropped.
        if c == escape && quote != Some('\'') {
            if let Some(escaped) = letters.next() {
                word.extend([c, escaped]);
            }
        } else {
            word.push(c);
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

/// The words of a JSON list, or nothing when the text is no valid JSON list and is therefore meant for the shell.
pub fn exec_form(rest: &str) -> Result<Option<Vec<String>>, Problem> {
    let rest = rest.trim();
    if !rest.starts_with('[') {
        return Ok(None);
    }
    let Ok(list) = serde_json::from_str::<Vec<serde_json::Value>>(rest) else { return Ok(None) };
    let text = |value: serde_json::Value| match value {
        serde_json::Value::String(text) if text.contains('\0') => Err(Problem::Nul),
        serde_json::Value::String(text) => Ok(text),
        other => Err(Problem::ListOfText { found: other.to_string() }),
    };
    list.into_iter().map(text).collect::<Result<Vec<_>, _>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_flags_and_the_rest() {
        let parts = |line: &str| {
            let split = split(line, '\\');
            (split.name, split.flags.join("|"), split.rest)
        };
        let is = |name: &str, flags: &str, rest: &str| (name.to_owned(), flags.to_owned(), rest.to_owned());
        assert_eq!(parts("RUN  a  b "), is("RUN", "", "a  b"));
        assert_eq!(
            parts("run\t--mount=type=cache,target=/x --network=none make"),
            is("run", "--mount=type=cache,target=/x|--network=none", "make")
        );
        assert_eq!(parts("COPY --link -- --odd /x"), is("COPY", "--link", "--odd /x"));
        assert_eq!(parts("COPY --chown=\"a b\" x /"), is("COPY", "--chown=a b", "x /"));
        assert_eq!(parts("COPY --exclude=a\\ b x /"), is("COPY", "--exclude=a b", "x /"));
        assert_eq!(parts("CMD"), is("CMD", "", ""));
        assert_eq!(parts("CMD -- []"), is("CMD", "", "[]"));
        assert_eq!(parts("CMD --"), is("CMD", "", ""));
    }

    #[test]
    fn words_keep_their_quotes() {
        let words = |text: &str| quoted(text, '\\');
        assert_eq!(words(r#"a="b c" d='e f' g=h\ i"#), [r#"a="b c""#, "d='e f'", r"g=h\ i"]);
        assert_eq!(words(r#"a="b\"c" d"#), [r#"a="b\"c""#, "d"]);
        assert_eq!(words(r"a='b\' c"), [r"a='b\'", "c"]);
        assert_eq!(words("a=\"open b"), ["a=\"open b"]);
        assert_eq!(words(r"a\"), ["a"]);
        assert_eq!(words("   "), [""; 0]);
        assert_eq!(words("\"\" x"), ["\"\"", "x"]);
    }

    #[test]
    fn a_json_list_or_the_shell() {
        let list = |text: &str| exec_form(text).unwrap();
        assert_eq!(list(r#"[ "a", "b c" ]"#).unwrap(), ["a", "b c"]);
        assert_eq!(list("[]").unwrap(), [""; 0]);
        for shell in ["ls", "['a']", "[\"a\"", "[\"a\"] && b", "[ -f x ] && y", "", "\"[\""] {
            assert_eq!(list(shell), None, "{shell}");
        }
        assert!(exec_form("[\"a\", [\"b\"]]").is_err());
        assert!(exec_form("[\"a\", 1]").is_err());
    }
}
