//! Fields of a table, taken out one by one, so that everything that is wrong is found in one reading.

use crate::{
    line::line_of,
    near,
    problem::{Complaint, Problems, list},
};
use api::error::sentence;
use toml::{Table, Value};

/// What is wrong with a file, as it is found.
pub struct Complaints {
    file: String,
    found: Vec<Complaint>,
}

impl Complaints {
    /// None yet.
    pub fn new(file: String) -> Self {
        Self { file, found: Vec::new() }
    }

    /// One more.
    pub fn say(&mut self, field: impl Into<String>, says: impl Into<String>) {
        self.found.push(Complaint { file: self.file.clone(), line: 0, field: field.into(), says: sentence(says) });
    }

    /// Says of each complaint in which line of the text its field stands.
    pub fn locate(&mut self, text: &str) {
        for complaint in &mut self.found {
            complaint.line = line_of(text, &complaint.field);
        }
    }

    /// What has been found, as the reason of a refusal.
    pub fn refuse(self) -> Problems {
        Problems(self.found)
    }

    /// The value, if there is nothing to complain about.
    pub fn judge<T>(self, value: T) -> Result<T, Problems> {
        if self.found.is_empty() { Ok(value) } else { Err(self.refuse()) }
    }
}

/// A table whose fields are being taken out.
pub struct Fields {
    /// What its fields' names begin with: nothing, `database.`, `settings.TOKEN.`.
    inside: String,
    table: Table,
    asked: Vec<&'static str>,
}

impl Fields {
    /// All fields of a table.
    pub fn new(inside: impl Into<String>, table: Table) -> Self {
        Self { inside: inside.into(), table, asked: Vec::new() }
    }

    /// The full name of a field.
    pub fn path(&self, name: &str) -> String {
        format!("{}{name}", self.inside)
    }

    /// One line of text that must be there; empty when it is not.
    pub fn line(&mut self, name: &'static str, what: &str, out: &mut Complaints) -> String {
        let path = self.path(name);
        if !self.table.contains_key(name) {
            self.asked.push(name);
            out.say(&path, format!("{path} is missing: {what}"));
            return String::new();
        }
        self.optional_line(name, out).unwrap_or_default()
    }

    /// One line of text, if it is there.
    pub fn optional_line(&mut self, name: &'static str, out: &mut Complaints) -> Option<String> {
        let path = self.path(name);
        let text = self.text(name, out)?;
        if text.trim().is_empty() || text.chars().any(char::is_control) {
            out.say(&path, format!("{path} is not one line of text"));
        }
        Some(text)
    }

    /// A text, if it is there.
    pub fn text(&mut self, name: &'static str, out: &mut Complaints) -> Option<String> {
        self.take(name, "a text, in quotes", out, |value| match value {
            Value::String(text) => Some(text),
            _ => None,
        })
    }

    /// Texts; none when the field is not there.
    pub fn texts(&mut self, name: &'static str, out: &mut Complaints) -> Option<Vec<String>> {
        self.take(name, "texts, as in [\"a\", \"b\"]", out, |value| {
            let Value::Array(values) = value else { return None };
            values.into_iter().map(|value| value.as_str().map(str::to_owned)).collect()
        })
    }

    /// True or false; false when the field is not there.
    pub fn flag(&mut self, name: &'static str, out: &mut Complaints) -> bool {
        self.take(name, "true or false", out, |value| value.as_bool()).unwrap_or_default()
    }

    /// A whole number, if it is there.
    pub fn number(&mut self, name: &'static str, out: &mut Complaints) -> Option<i64> {
        self.take(name, "a whole number", out, |value| value.as_integer())
    }

    /// A table, if it is there.
    pub fn table(&mut self, name: &'static str, out: &mut Complaints) -> Option<Table> {
        let wanted = format!("a table, below [{}]", self.path(name));
        self.take(name, &wanted, out, |value| match value {
            Value::Table(table) => Some(table),
            _ => None,
        })
    }

    /// Tables; none when the field is not there.
    pub fn tables(&mut self, name: &'static str, out: &mut Complaints) -> Vec<Table> {
        let wanted = format!("tables, each below [[{}]]", self.path(name));
        let tables = self.take(name, &wanted, out, |value| {
            let Value::Array(values) = value else { return None };
            values.into_iter().map(|value| value.as_table().cloned()).collect::<Option<Vec<Table>>>()
        });
        tables.unwrap_or_default()
    }

    /// Complains about what is left.
    pub fn finish(self, out: &mut Complaints) {
        for name in self.table.keys() {
            let path = self.path(name);
            let meant = match near::nearest(name, self.asked.iter().copied()) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("known are {}", list(&self.asked)),
            };
            out.say(&path, format!("there is no field {path}: {meant}"));
        }
    }

    fn take<T>(
        &mut self,
        name: &'static str,
        wanted: &str,
        out: &mut Complaints,
        read: impl FnOnce(Value) -> Option<T>,
    ) -> Option<T> {
        self.asked.push(name);
        let value = self.table.remove(name)?;
        let kind = value.type_str();
        let taken = read(value);
        if taken.is_none() {
            let path = self.path(name);
            out.say(&path, format!("{path} cannot be this {kind}: write {wanted}"));
        }
        taken
    }
}
