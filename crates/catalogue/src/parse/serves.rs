//! The table `[serves]`: how an app is a database for others.

use super::{database, facts};
use crate::{
    app::{App, Serves},
    fields::{Complaints, Fields},
};

/// How it is another's database, if it can be one.
pub fn serves(fields: &mut Fields, app: &App, out: &mut Complaints) -> Option<Serves> {
    let mut fields = Fields::new("serves.", fields.table("serves", out)?);
    let word = fields.line("engine", "which kind of database it is", out);
    let engine = if word.is_empty() { None } else { database::engine("serves.engine", &word, out) };
    let number = fields.number("port", out).unwrap_or_default();
    let port = facts::port(&number.to_string());
    if port.is_none() {
        out.say("serves.port", facts::not_a_port(&number.to_string()));
    }
    let mut setting = |name: &'static str| {
        let setting = fields.text(name, out)?;
        if !app.settings.contains_key(&setting) {
            let field = format!("serves.{name}");
            out.say(&field, format!("{field} is {setting:?}, and there is no such setting"));
        }
        Some(setting)
    };
    let (database, user, password) = (setting("database"), setting("user"), setting("password"));
    fields.finish(out);
    Some(Serves { engine: engine?, port: port?, database, user, password })
}
