//! The table `[check]`: how an app's health is found out.

use super::facts;
use crate::{
    app::Check,
    fields::{Complaints, Fields},
    problem::list,
};

/// Its check, if it has one.
pub fn check(fields: &mut Fields, out: &mut Complaints) -> Option<Check> {
    let path = fields.path("check");
    let mut fields = Fields::new(format!("{path}."), fields.table("check", out)?);
    let mut given = Vec::new();
    if let Some(path) = fields.text("http", out) {
        if !path.starts_with('/') || path.contains(char::is_whitespace) {
            let field = fields.path("http");
            out.say(&field, format!("{field} {path:?} is not a path: begin with /"));
        }
        given.push(("http", Check::Http(path)));
    }
    if let Some(number) = fields.number("tcp", out) {
        let port = facts::port(&number.to_string());
        if port.is_none() {
            out.say(fields.path("tcp"), facts::not_a_port(&number.to_string()));
        }
        given.push(("tcp", Check::Tcp(port.unwrap_or_default())));
    }
    if let Some(words) = facts::command(&mut fields, "command", out) {
        given.push(("command", Check::Command(words)));
    }
    fields.finish(out);
    let words: Vec<&str> = given.iter().map(|(word, _)| *word).collect();
    match words.as_slice() {
        [_] => {}
        [] => out.say(&path, format!("{path} is empty: give one of http, tcp or command")),
        many => out.say(&path, format!("{path} has {}: give exactly one of http, tcp or command", list(many))),
    }
    given.into_iter().next().map(|(_, check)| check)
}
