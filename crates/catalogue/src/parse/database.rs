//! The table `[database]`: what kinds an app can use, and what it calls them.

use crate::{
    app::{Database, Engine},
    fields::{Complaints, Fields},
    problem::choice,
};
use std::collections::BTreeMap;

/// The database it wants, if it wants one.
pub fn database(fields: &mut Fields, out: &mut Complaints) -> Option<Database> {
    let mut fields = Fields::new("database.", fields.table("database", out)?);
    let mut engines = Vec::new();
    let words = fields.texts("engines", out).unwrap_or_default();
    if words.is_empty() {
        out.say("database.engines", format!("database.engines is empty: list {}", known()));
    }
    for word in words {
        match engine("database.engines", &word, out) {
            Some(engine) if engines.contains(&engine) => {
                out.say("database.engines", format!("database engine {engine} is listed twice: once is enough"));
            }
            Some(engine) => engines.push(engine),
            None => {}
        }
    }
    let optional = fields.flag("optional", out);
    let words = words_of(&mut fields, &engines, out);
    fields.finish(out);
    Some(Database { engines, optional, words })
}

fn words_of(fields: &mut Fields, engines: &[Engine], out: &mut Complaints) -> BTreeMap<Engine, String> {
    let mut words = BTreeMap::new();
    for (name, value) in fields.table("words", out).unwrap_or_default() {
        let path = format!("database.words.{name}");
        match (engine(&path, &name, out), value.as_str()) {
            (Some(engine), _) if !engines.contains(&engine) => {
                out.say(&path, format!("{path} is a word for an engine that is not among its engines"));
            }
            (Some(engine), Some(word)) if !word.is_empty() => {
                words.insert(engine, word.to_owned());
            }
            (Some(_), _) => out.say(&path, format!("{path} must be a text: the app's own word for the engine")),
            (None, _) => {}
        }
    }
    words
}

/// The engine of this word; complains when there is none.
pub fn engine(field: &str, word: &str, out: &mut Complaints) -> Option<Engine> {
    let engine = Engine::of(word);
    if engine.is_none() {
        out.say(field, format!("database engine {word:?} is not known: use {}", known()));
    }
    engine
}

fn known() -> String {
    choice(&Engine::ALL.map(Engine::as_str))
}
