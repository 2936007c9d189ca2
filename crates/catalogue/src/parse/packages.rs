//! The table `[packages]`: how an app is made from a distribution's packages.

use super::{check, facts};
use crate::{
    fields::{Complaints, Fields},
    packages::Packages,
};
use std::collections::BTreeMap;
use toml::Value;

/// How it is made from packages, if it can be.
pub fn packages(fields: &mut Fields, out: &mut Complaints) -> Option<Packages> {
    let mut fields = Fields::new("packages.", fields.table("packages", out)?);
    let packages = Packages {
        install: install(&mut fields, out),
        files: files(&mut fields, out),
        run: run(&mut fields, out),
        command: facts::command(&mut fields, "command", out).unwrap_or_default(),
        stop_signal: stop_signal(&mut fields, out),
        web: facts::web(&mut fields, out),
        ports: facts::optional_ports(&mut fields, out),
        volumes: facts::optional_volumes(&mut fields, out),
        check: check::check(&mut fields, out),
    };
    fields.finish(out);
    if packages.command.is_empty() {
        out.say("packages.command", "packages.command is missing: the program that runs, and its arguments");
    }
    Some(packages)
}

fn install(fields: &mut Fields, out: &mut Complaints) -> Vec<String> {
    let names = fields.texts("install", out).unwrap_or_default();
    if names.is_empty() {
        out.say("packages.install", "packages.install is empty: list the packages it is made from");
    }
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
    for (index, name) in names.iter().enumerate() {
        if name.len() < 2 || !name.bytes().all(letter) || !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            let says = format!("{name:?} is not the name of a package: use lower-case letters, digits and +-.");
            out.say(format!("packages.install.{index}"), says);
        }
    }
    names
}

fn files(fields: &mut Fields, out: &mut Complaints) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for (path, value) in fields.table("files", out).unwrap_or_default() {
        let field = format!("packages.files.{path}");
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-+".contains(&b);
        if !facts::is_path(&path) || !path.bytes().all(plain) {
            out.say(&field, format!("file {path:?} is not a path: begin with /, and use letters, digits and ._-+"));
        }
        match value {
            Value::String(text) if !text.contains('\0') => drop(files.insert(path, text)),
            _ => out.say(&field, format!("file {path} must be a text: its content")),
        }
    }
    files
}

fn run(fields: &mut Fields, out: &mut Complaints) -> Vec<String> {
    let lines = fields.texts("run", out).unwrap_or_default();
    for (index, line) in lines.iter().enumerate() {
        if line.trim().is_empty() || line.contains(char::is_control) || line.ends_with('\\') {
            let says = format!("{line:?} is not one command: longer ones are files that are run");
            out.say(format!("packages.run.{index}"), says);
        }
    }
    lines
}

fn stop_signal(fields: &mut Fields, out: &mut Complaints) -> Option<String> {
    let signal = fields.optional_line("stop_signal", out)?;
    let named = signal
        .strip_prefix("SIG")
        .is_some_and(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()));
    if !named {
        out.say("packages.stop_signal", format!("packages.stop_signal {signal:?} is not a signal: write it as in SIGINT"));
    }
    Some(signal)
}
