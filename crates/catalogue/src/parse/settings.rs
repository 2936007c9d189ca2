//! The tables `[settings.<NAME>]`: environment variables and where their values come from.

use super::database::engine;
use crate::{
    app::{Setting, Source},
    fields::{Complaints, Fields},
    problem::{choice, list},
    secret::Form,
    text::Text,
};
use api::spec::limits;
use std::collections::BTreeMap;
use toml::{Table, Value};

/// Shortest secret: shorter ones are guessed.
const SECRET_MIN: i64 = 8;
/// Longest secret: no app asks for more.
const SECRET_MAX: i64 = 256;

/// All its settings.
pub fn settings(fields: &mut Fields, out: &mut Complaints) -> BTreeMap<String, Setting> {
    let tables = fields.table("settings", out).unwrap_or_default();
    if tables.len() > limits::ENV_ENTRIES {
        out.say("settings", format!("there are {} settings: at most {}", tables.len(), limits::ENV_ENTRIES));
    }
    let mut settings = BTreeMap::new();
    for (name, value) in tables {
        if !is_name(&name) {
            out.say(
                "settings",
                format!("setting {name:?} is not the name of an environment variable: letters, digits and _ . -"),
            );
        }
        match value {
            Value::Table(table) => {
                settings.insert(name.clone(), setting(&name, table, out));
            }
            _ => {
                out.say(format!("settings.{name}"), format!("settings.{name} must be a table: [settings.{name}], value = \"…\""))
            }
        }
    }
    settings
}

fn is_name(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit() || c == '.' || c == '-')
}

fn setting(name: &str, table: Table, out: &mut Complaints) -> Setting {
    let mut fields = Fields::new(format!("settings.{name}."), table);
    let source = source(name, &mut fields, out);
    let only = fields.text("engine", out);
    let setting = Setting {
        source,
        engine: only.and_then(|word| engine(&fields.path("engine"), &word, out)),
        sensitive: fields.flag("sensitive", out),
        about: fields.optional_line("about", out),
    };
    fields.finish(out);
    setting
}

/// Exactly one of the four ways to come by a value.
fn source(name: &str, fields: &mut Fields, out: &mut Complaints) -> Source {
    let mut given = Vec::new();
    if let Some(text) = value(name, fields, out) {
        given.push(("value", Source::Value(text)));
    }
    if let Some(secret) = secret(name, fields, out) {
        given.push(("secret", secret));
    }
    if fields.flag("required", out) {
        given.push(("required", Source::Required));
    }
    if fields.flag("optional", out) {
        given.push(("optional", Source::Optional));
    }
    let ways = ["value", "secret", "required", "optional"];
    let words: Vec<&str> = given.iter().map(|(word, _)| *word).collect();
    let path = format!("settings.{name}");
    match words.as_slice() {
        [_] => {}
        [] => out.say(&path, format!("{path} has no value: give one of {}", choice(&ways))),
        many => out.say(&path, format!("{path} has {}: give exactly one of {}", list(many), choice(&ways))),
    }
    given.into_iter().next().map_or(Source::Optional, |(_, source)| source)
}

fn value(name: &str, fields: &mut Fields, out: &mut Complaints) -> Option<Text> {
    let path = format!("settings.{name}.value");
    let text = fields.text("value", out)?;
    if text.contains('\0') || text.len() > limits::ENV_VALUE {
        out.say(&path, format!("{path} cannot be a value: at most {} bytes, none of them 0", limits::ENV_VALUE));
    }
    let parsed = Text::parse(&text).map_err(|why| out.say(&path, format!("settings.{name}: {why}")));
    // Something stands there, if not what it should be.
    Some(parsed.unwrap_or(Text(Vec::new())))
}

fn secret(name: &str, fields: &mut Fields, out: &mut Complaints) -> Option<Source> {
    let path = format!("settings.{name}");
    let length = fields.number("secret", out);
    let (word, prefix) = (fields.text("form", out), fields.text("prefix", out));
    for (field, given) in [("form", &word), ("prefix", &prefix)] {
        if given.is_some() && length.is_none() {
            out.say(format!("{path}.{field}"), format!("{path}.{field} belongs to a secret, and there is none"));
        }
    }
    let form = form(&path, word.as_deref(), out);
    let prefix = prefix.unwrap_or_default();
    if prefix.contains(char::is_control) || prefix.contains("${") {
        out.say(format!("{path}.prefix"), format!("{path}.prefix is not plain text"));
    }
    let length = length?;
    if !(SECRET_MIN..=SECRET_MAX).contains(&length) {
        out.say(format!("{path}.secret"), format!("{path}.secret is {length}: use {SECRET_MIN} to {SECRET_MAX}"));
    }
    Some(Source::Secret { length: usize::try_from(length).unwrap_or_default(), form, prefix })
}

fn form(path: &str, word: Option<&str>, out: &mut Complaints) -> Form {
    match word {
        None => Form::Characters,
        Some("hex") => Form::Hex,
        Some("base64") => Form::Base64,
        Some(other) => {
            out.say(format!("{path}.form"), format!("{path}.form {other:?} is not known: use hex or base64"));
            Form::Characters
        }
    }
}
