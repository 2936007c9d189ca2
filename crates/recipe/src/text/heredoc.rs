//! Heredocs: text that stands below an instruction, as in a shell.

use serde::{Deserialize, Serialize};

/// Text below an instruction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heredoc {
    /// The word that ends it; for `COPY` and `ADD` also the name of the file.
    pub name: String,
    /// `<<-`: tabs at the beginning of lines do not count.
    pub chomp: bool,
    /// No quotes around the word: variables in the text are expanded, where the instruction expands at all.
    pub expand: bool,
    /// The lines, each with its end, as written.
    pub content: String,
}

impl Heredoc {
    /// The text as the instruction sees it: without leading tabs if it says so.
    pub fn chomped(&self) -> String {
        if !self.chomp {
            return self.content.clone();
        }
        self.content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}

/// Whether a whole word announces a heredoc, and which: `<<EOF`, `<<-'EOF'`, `3<<EOF`, `<< EOF`. As in Docker, blanks may follow
/// `<<` but not `<<-`.
pub fn announced(word: &str) -> Option<Heredoc> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let (chomp, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
    let rest = rest.trim_start();
    if rest.contains('<') {
        return None;
    }
    let (name, quotes) = resolved(rest)?;
    (!name.is_empty()).then_some(Heredoc { name, chomp, expand: !quotes, content: String::new() })
}

/// Whether a word between blanks would announce a heredoc if a name followed it. It may have spaces in it that are no blanks.
pub fn lacks_name(word: &str) -> bool {
    word.rsplit(char::is_whitespace).next().is_some_and(|last| last.trim_start_matches(|c: char| c.is_ascii_digit()) == "<<")
}

/// The heredocs that a line announces, outside of quotes. A line with an open quote announces none, as in Docker.
pub fn find(line: &str) -> Vec<Heredoc> {
    if !line.contains("<<") {
        return Vec::new();
    }
    shell_words(line).iter().filter_map(|word| announced(word)).collect()
}

/// A single word without its quotes and escapes, and whether it had quotes. Nothing when it is more than one or does not close.
fn resolved(text: &str) -> Option<(String, bool)> {
    let (mut word, mut quotes, mut quote) = (String::new(), false, None);
    let mut letters = text.chars();
    while let Some(c) = letters.next() {
        match quote {
            None if c == '\'' || c == '"' => (quote, quotes) = (Some(c), true),
            None if c.is_whitespace() => {
                return letters.all(char::is_whitespace).then_some((word, quotes));
            }
            Some(open) if c == open => quote = None,
            Some('\'') => word.push(c),
            _ if c == '\\' => word.extend(letters.next()),
            _ => word.push(c),
        }
    }
    quote.is_none().then_some((word, quotes))
}

/// Words of a shell's command line, quotes and escapes left in; blanks after `<<` belong to the word. Empty when a quote is open.
fn shell_words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut letters = line.chars().peekable();
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
        word.push(c);
        if c == '\\' && quote != Some('\'') {
            word.extend(letters.next());
        }
        if c == '<' && quote.is_none() && letters.next_if_eq(&'<').is_some() {
            word.push('<');
            while let Some(blank) = letters.next_if(|c| matches!(c, ' ' | '\t' | '\r')) {
                word.push(blank);
            }
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    if quote.is_some() { Vec::new() } else { words }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(line: &str) -> Vec<String> {
        find(line)
            .into_iter()
            .map(|doc| format!("{}{}{}", if doc.chomp { "-" } else { "" }, doc.name, if doc.expand { "" } else { "!" }))
            .collect()
    }

    #[test]
    fn announcements_in_lines() {
        for (line, expected) in [
            ("RUN <<EOF", "EOF"),
            ("RUN <<-EOF", "-EOF"),
            ("RUN <<'EOF'", "EOF!"),
            ("RUN <<\"EOF\" cat", "EOF!"),
            ("RUN << EOF", "EOF"),
            ("RUN <<- EOF", ""),
            ("RUN << -EOF", "-EOF"),
            ("RUN 4<<EOF", "EOF"),
            ("COPY <<A <<-B /x/", "A -B"),
            ("RUN <<eo'f'", "eof!"),
            ("RUN <<eo\\'f", "eo'f"),
            ("RUN <<'one two'", "one two!"),
            ("RUN <<$EOF", "$EOF"),
            ("RUN <<  EOF  > foo", "EOF"),
            ("RUN '<<EOF'", ""),
            ("RUN \"<<EOF\"", ""),
            ("RUN cat <<<EOF", ""),
            ("RUN it's <<EOF", ""),
            ("RUN cat<<EOF", ""),
            ("RUN <<", ""),
            ("RUN <<-", ""),
            ("RUN a < b", ""),
        ] {
            assert_eq!(names(line).join(" "), expected, "{line}");
        }
    }

    #[test]
    fn tabs_are_chomped_when_asked() {
        let doc = Heredoc { name: "E".into(), chomp: true, expand: true, content: "\t\ta\n\tb\n c\n".into() };
        assert_eq!(doc.chomped(), "a\nb\n c\n");
        assert_eq!(Heredoc { chomp: false, ..doc }.chomped(), "\t\ta\n\tb\n c\n");
    }
}
