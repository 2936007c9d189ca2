//! Text of a setting with references in it: `${database.host}:${database.port}`.

use crate::problem::choice;
use std::fmt;

/// Text in pieces: some as written, some to be filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(pub Vec<Piece>);

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As written.
    Plain(String),
    /// To be filled in.
    Reference(Reference),
}

/// What a text refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// `${name}`: what the instance is called, which is its name in DNS too.
    Name,
    /// `${url}`: the address people reach it at.
    Url(UrlPart),
    /// `${database.host}`: how its database is reached.
    Database(DatabasePart),
    /// `${needs.redis.host}`: where another app is.
    Need(String),
    /// `${secret.TOKEN}`: a setting that is generated.
    Secret(String),
    /// `${setting.USER}`: any other setting.
    Setting(String),
}

/// Which part of the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlPart {
    /// `https://blog.example.org/path`, without a slash at the end.
    Whole,
    /// `blog.example.org`.
    Host,
    /// `https`.
    Scheme,
}

/// Which part of the access to a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabasePart {
    /// The app's own word for the engine.
    Engine,
    /// Where it is.
    Host,
    /// At which port.
    Port,
    /// The database's name.
    Name,
    /// Who connects.
    User,
    /// With which password.
    Password,
    /// All of it: `engine://user:password@host:port/name`, with what is special in URLs escaped.
    Url,
}

/// Parts of an address by the word after the dot.
const URL_PARTS: [(&str, UrlPart); 2] = [("host", UrlPart::Host), ("scheme", UrlPart::Scheme)];

/// Parts of a database's access by the word after the dot.
const DATABASE_PARTS: [(&str, DatabasePart); 7] = [
    ("engine", DatabasePart::Engine),
    ("host", DatabasePart::Host),
    ("port", DatabasePart::Port),
    ("name", DatabasePart::Name),
    ("user", DatabasePart::User),
    ("password", DatabasePart::Password),
    ("url", DatabasePart::Url),
];

impl Text {
    /// Takes a text apart; says what is wrong with a reference that is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((plain, after)) = rest.split_once("${") {
            let (inside, behind) = after.split_once('}').ok_or_else(|| format!("{text:?} has a ${{ without its }}"))?;
            pieces.push(Piece::Plain(plain.to_owned()));
            pieces.push(Piece::Reference(Reference::parse(inside)?));
            rest = behind;
        }
        pieces.push(Piece::Plain(rest.to_owned()));
        pieces.retain(|piece| *piece != Piece::Plain(String::new()));
        Ok(Self(pieces))
    }

    /// What it refers to.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Plain(_) => None,
            Piece::Reference(reference) => Some(reference),
        })
    }
}

impl Reference {
    fn parse(inside: &str) -> Result<Self, String> {
        let (head, tail) = inside.split_once('.').map_or((inside, None), |(head, tail)| (head, Some(tail)));
        match (head, tail) {
            ("name", None) => Ok(Self::Name),
            ("url", None) => Ok(Self::Url(UrlPart::Whole)),
            ("url", Some(part)) => Ok(Self::Url(named(inside, part, &URL_PARTS)?)),
            ("database", Some(part)) => Ok(Self::Database(named(inside, part, &DATABASE_PARTS)?)),
            ("secret", Some(setting)) => Ok(Self::Secret(setting.to_owned())),
            ("setting", Some(setting)) => Ok(Self::Setting(setting.to_owned())),
            ("needs", Some(need)) => match need.strip_suffix(".host") {
                Some(app) => Ok(Self::Need(app.to_owned())),
                None => Err(format!("${{{inside}}} leads nowhere: of what it needs, an app knows ${{needs.<app>.host}} only")),
            },
            _ => Err(format!("${{{inside}}} leads nowhere: refer to name, url, database, needs, secret or setting")),
        }
    }
}

fn named<T: Copy>(inside: &str, part: &str, parts: &[(&str, T)]) -> Result<T, String> {
    let found = parts.iter().find(|(word, _)| *word == part).map(|(_, part)| *part);
    let words: Vec<&str> = parts.iter().map(|(word, _)| *word).collect();
    found.ok_or_else(|| format!("${{{inside}}} leads nowhere: after the dot comes {}", choice(&words)))
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str("${name}"),
            Self::Url(UrlPart::Whole) => f.write_str("${url}"),
            Self::Url(part) => write!(f, "${{url.{}}}", word_of(*part, &URL_PARTS)),
            Self::Database(part) => write!(f, "${{database.{}}}", word_of(*part, &DATABASE_PARTS)),
            Self::Need(app) => write!(f, "${{needs.{app}.host}}"),
            Self::Secret(setting) => write!(f, "${{secret.{setting}}}"),
            Self::Setting(setting) => write!(f, "${{setting.{setting}}}"),
        }
    }
}

fn word_of<T: PartialEq>(part: T, parts: &[(&'static str, T)]) -> &'static str {
    parts.iter().find(|(_, known)| *known == part).map_or("", |(word, _)| word)
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.0 {
            match piece {
                Piece::Plain(plain) => f.write_str(plain)?,
                Piece::Reference(reference) => write!(f, "{reference}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_shown_as_written() {
        for text in [
            "",
            "plain $HOME } {",
            "${database.host}:${database.port}",
            "${url}/x${url.host}${url.scheme}",
            "${name} ${needs.redis.host}",
            "${secret.A}${setting.discovery.type}",
        ] {
            assert_eq!(Text::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_leads_nowhere_is_said() {
        let says = |text| Text::parse(text).unwrap_err();
        assert_eq!(says("a ${name"), "\"a ${name\" has a ${ without its }");
        assert_eq!(says("${nam}"), "${nam} leads nowhere: refer to name, url, database, needs, secret or setting");
        assert_eq!(says("${}"), "${} leads nowhere: refer to name, url, database, needs, secret or setting");
        assert_eq!(says("${url.path}"), "${url.path} leads nowhere: after the dot comes host or scheme");
        assert_eq!(
            says("${database.socket}"),
            "${database.socket} leads nowhere: after the dot comes engine, host, port, name, user, password or url"
        );
        assert_eq!(
            says("${needs.redis.port}"),
            "${needs.redis.port} leads nowhere: of what it needs, an app knows ${needs.<app>.host} only"
        );
    }
}
