//! Values of settings: given, generated, or filled in from what they refer to.

use crate::{
    address::Address,
    app::{App, Setting, Source},
    instance::{DatabaseAccess, Request},
    problem::Problem,
    text::{DatabasePart, Piece, Reference, Text},
};
use api::spec::limits;
use std::collections::{BTreeMap, BTreeSet};

/// A value, and whether it may be shown.
#[derive(Clone, Debug)]
pub struct Value {
    /// The value.
    pub text: String,
    /// It is a secret, or has one in it.
    pub secret: bool,
}

/// Finds each setting's value once, so that a secret is the same wherever it stands.
pub struct Resolver<'a> {
    app: &'a App,
    request: &'a Request,
    address: Option<Address>,
    secrets: &'a mut dyn FnMut(usize) -> String,
    known: BTreeMap<String, Option<Value>>,
}

impl<'a> Resolver<'a> {
    /// Nothing is known yet.
    pub fn new(
        app: &'a App,
        request: &'a Request,
        address: Option<Address>,
        secrets: &'a mut dyn FnMut(usize) -> String,
    ) -> Self {
        Self { app, request, address, secrets, known: BTreeMap::new() }
    }

    /// The value of a setting. Nothing when it is left out: it is optional, for another kind of database, or refers to
    /// something that is left out.
    pub fn setting(&mut self, name: &str) -> Result<Option<Value>, Problem> {
        if let Some(known) = self.known.get(name) {
            return Ok(known.clone());
        }
        let Some(setting) = self.app.settings.get(name) else { return Ok(None) };
        let value = match self.request.settings.get(name) {
            Some(given) => Some(Value { text: given.clone(), secret: is_secret(self.app, name) }),
            None => self.default(name, setting)?,
        };
        self.known.insert(name.to_owned(), value.clone());
        Ok(value)
    }

    fn default(&mut self, name: &str, setting: &Setting) -> Result<Option<Value>, Problem> {
        let engine = self.request.database.as_ref().map(|database| database.engine);
        if setting.engine.is_some() && setting.engine != engine {
            return Ok(None);
        }
        match &setting.source {
            Source::Required | Source::Optional => Ok(None),
            Source::Secret { length, form, prefix } => {
                let text = format!("{prefix}{}", form.generate(*length, self.secrets));
                Ok(Some(Value { text, secret: true }))
            }
            Source::Value(text) => {
                let value = self.fill(name, text)?;
                Ok(value.map(|value| Value { secret: value.secret || setting.sensitive, ..value }))
            }
        }
    }

    /// A text with its references filled in; nothing when one of them leads to what is left out.
    fn fill(&mut self, name: &str, text: &Text) -> Result<Option<Value>, Problem> {
        let mut filled = Value { text: String::new(), secret: false };
        for piece in &text.0 {
            match piece {
                Piece::Plain(plain) => filled.text.push_str(plain),
                Piece::Reference(reference) => {
                    let Some(value) = self.reference(reference)? else { return Ok(None) };
                    filled.text.push_str(&value.text);
                    filled.secret |= value.secret;
                }
            }
            // Values that refer to others twice, which do the same, would outgrow everything.
            if filled.text.len() > limits::ENV_VALUE {
                return Err(Problem::BadValue { setting: name.to_owned(), most: limits::ENV_VALUE });
            }
        }
        Ok(Some(filled))
    }

    fn reference(&mut self, reference: &Reference) -> Result<Option<Value>, Problem> {
        let open = |text: String| Value { text, secret: false };
        match reference {
            Reference::Name => Ok(Some(open(self.request.name.clone()))),
            Reference::Url(part) => match &self.address {
                Some(address) => Ok(Some(open(address.part(*part)))),
                None if self.app.url_optional => Ok(None),
                None => Err(Problem::MissingUrl { app: self.app.id.clone() }),
            },
            // That one is there if it must be, has been checked.
            Reference::Database(part) => {
                let word =
                    |access: &DatabaseAccess| self.app.database.as_ref().map_or("", |it| it.word(access.engine)).to_owned();
                let access = self.request.database.as_ref();
                Ok(access.map(|access| Value { text: database(access, &word(access), *part), secret: tells(*part) }))
            }
            Reference::Need(need) => Ok(self.request.needs.get(need).cloned().map(open)),
            Reference::Secret(name) | Reference::Setting(name) => self.setting(name),
        }
    }
}

/// Whether a setting's value is a secret or would have one in it, so that one that is given instead is one too.
fn is_secret(app: &App, name: &str) -> bool {
    let tells_password = |reference: &Reference| matches!(reference, Reference::Database(part) if tells(*part));
    let (mut waiting, mut seen) = (vec![name], BTreeSet::from([name]));
    while let Some(setting) = waiting.pop().and_then(|name| app.settings.get(name)) {
        let generated = matches!(setting.source, Source::Secret { .. });
        if generated || setting.sensitive || setting.source.references().any(tells_password) {
            return true;
        }
        waiting.extend(setting.source.settings().filter(|name| seen.insert(name)));
    }
    false
}

/// Whether a part of a database's access has the password in it.
const fn tells(part: DatabasePart) -> bool {
    matches!(part, DatabasePart::Password | DatabasePart::Url)
}

fn database(access: &DatabaseAccess, word: &str, part: DatabasePart) -> String {
    match part {
        DatabasePart::Engine => word.to_owned(),
        DatabasePart::Host => access.host.clone(),
        DatabasePart::Port => access.port.to_string(),
        DatabasePart::Name => access.name.clone(),
        DatabasePart::User => access.user.clone(),
        DatabasePart::Password => access.password.clone(),
        DatabasePart::Url => url(access, word),
    }
}

fn url(access: &DatabaseAccess, word: &str) -> String {
    let DatabaseAccess { host, port, .. } = access;
    let who = match (escaped(&access.user), escaped(&access.password)) {
        (user, password) if user.is_empty() && password.is_empty() => String::new(),
        (user, password) => format!("{user}:{password}@"),
    };
    format!("{word}://{who}{host}:{port}/{}", escaped(&access.name))
}

/// Escapes what has a meaning in URLs (RFC 3986, section 2.1).
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&hex::encode_upper([byte]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Engine;

    #[test]
    fn a_database_as_a_url() {
        let mut access = DatabaseAccess {
            engine: Engine::Postgresql,
            host: "db-1.internal".into(),
            port: 5432,
            name: "wiki".into(),
            user: "wiki".into(),
            password: "a/b@c:d ü%".into(),
        };
        assert_eq!(url(&access, "postgres"), "postgres://wiki:a%2Fb%40c%3Ad%20%C3%BC%25@db-1.internal:5432/wiki");
        access.user.clear();
        assert_eq!(url(&access, "redis"), "redis://:a%2Fb%40c%3Ad%20%C3%BC%25@db-1.internal:5432/wiki");
        access.password.clear();
        assert_eq!(url(&access, "redis"), "redis://db-1.internal:5432/wiki");
    }
}
