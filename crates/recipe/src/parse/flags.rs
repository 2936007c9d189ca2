//! Flags of an instruction: `--link`, `--from=build`, `--exclude=*.md --exclude=*.txt`.

use crate::{error::Problem, suggest};

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Nothing, or `true` or `false`.
    Switch,
    /// One text.
    Text,
    /// One text each time it is written.
    Texts,
}

/// The flags of one instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flags {
    given: Vec<(&'static str, String)>,
}

impl Flags {
    /// Reads flags as split off; the instruction's name serves the errors.
    pub fn read(instruction: &'static str, given: &[String], known: &[(&'static str, Takes)]) -> Result<Self, Problem> {
        let mut flags = Self { given: Vec::new() };
        for flag in given {
            let text = flag.strip_prefix("--").unwrap_or(flag);
            let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
            let Some((name, takes)) = known.iter().find(|(known, _)| *known == name).copied() else {
                return Err(unknown(instruction, name, known));
            };
            if takes != Takes::Texts && flags.texts(name).next().is_some() {
                return Err(Problem::RepeatedFlag { instruction, flag: name });
            }
            flags.given.push((name, checked(name, takes, value)?));
        }
        Ok(flags)
    }

    /// The text of a flag that is given at most once.
    pub fn text(&self, name: &str) -> Option<String> {
        self.texts(name).next().map(str::to_owned)
    }

    /// The texts of a flag, in order.
    pub fn texts<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.given.iter().filter(move |(given, _)| *given == name).map(|(_, text)| text.as_str())
    }

    /// Whether a switch is on; nothing when it is not given.
    pub fn switch(&self, name: &str) -> Option<bool> {
        self.texts(name).next().map(|text| text == "true")
    }
}

fn checked(flag: &'static str, takes: Takes, value: Option<&str>) -> Result<String, Problem> {
    match (takes, value) {
        (Takes::Switch, None) => Ok("true".to_owned()),
        (Takes::Switch, Some(value)) => match value.to_ascii_lowercase().as_str() {
            value @ ("true" | "false") => Ok(value.to_owned()),
            _ => Err(Problem::FlagSwitch { flag, value: value.to_owned() }),
        },
        (_, None) => Err(Problem::FlagValue { flag }),
        (_, Some(value)) => Ok(value.to_owned()),
    }
}

fn unknown(instruction: &'static str, flag: &str, known: &[(&'static str, Takes)]) -> Problem {
    if known.is_empty() {
        return Problem::NoFlags { instruction, flag: flag.to_owned() };
    }
    let known: Vec<String> = known.iter().map(|(name, _)| format!("--{name}")).collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let hint = suggest::hint(&format!("--{flag}"), "it has", &known);
    Problem::UnknownFlag { instruction, flag: flag.to_owned(), hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [(&str, Takes); 3] = [("from", Takes::Text), ("link", Takes::Switch), ("exclude", Takes::Texts)];

    fn read(flags: &[&str]) -> Result<Flags, String> {
        let given: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Flags::read("COPY", &given, &KNOWN).map_err(|problem| problem.to_string())
    }

    #[test]
    fn values_and_switches() {
        let flags = read(&["--from=a=b", "--link", "--exclude=1", "--exclude=2"]).unwrap();
        assert_eq!(flags.text("from").as_deref(), Some("a=b"));
        assert_eq!(flags.switch("link"), Some(true));
        assert_eq!(flags.texts("exclude").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(read(&["--link=FALSE"]).unwrap().switch("link"), Some(false));
        assert_eq!(read(&[]).unwrap().switch("link"), None);
    }

    #[test]
    fn refusals() {
        let says = |flag: &str| read(&[flag]).unwrap_err();
        assert_eq!(says("--form=x"), "COPY has no flag --form: did you mean --from?");
        assert_eq!(says("--size=x"), "COPY has no flag --size: it has --from, --link, --exclude");
        assert_eq!(says("--from"), "--from needs a value: write --from=…");
        assert_eq!(says("--link=maybe"), "--link=maybe is neither true nor false");
        assert_eq!(read(&["--from=a", "--from=b"]).unwrap_err(), "COPY has --from twice: remove one");
        assert_eq!(
            Flags::read("USER", &["--x".to_owned()], &[]).unwrap_err().to_string(),
            "USER has no flags, but --x stands here"
        );
    }
}
