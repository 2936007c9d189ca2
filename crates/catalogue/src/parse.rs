//! From the text of a file to an app, with everything that is wrong said at once.

mod check;
mod database;
mod facts;
mod packages;
mod references;
mod serves;
mod settings;

use crate::{
    app::App,
    fields::{Complaints, Fields},
    problem::Problems,
};
use std::collections::BTreeSet;
use toml::Table;

/// Longest file that is read: a page or two is usual.
const FILE_BYTES: usize = 64 * 1024;

/// Reads the file `apps/<id>.toml`. What is refused is refused with everything that is wrong with it.
pub fn parse(id: &str, text: &str) -> Result<App, Problems> {
    let mut out = Complaints::new(file_name(id));
    if let Err(error) = api::Name::parse("valid app", id) {
        out.say("", error.message);
    }
    match table(text, &mut out) {
        Some(table) => {
            let app = app(id, table, &mut out);
            out.locate(text);
            out.judge(app)
        }
        None => Err(out.refuse()),
    }
}

/// What the file of an app is called.
pub fn file_name(id: &str) -> String {
    format!("apps/{id}.toml")
}

fn table(text: &str, out: &mut Complaints) -> Option<Table> {
    if text.len() > FILE_BYTES {
        out.say("", format!("the file has {} bytes: at most {FILE_BYTES}", text.len()));
        return None;
    }
    text.parse::<Table>()
        .map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            out.say("", format!("line {line} is not TOML: {}", error.message().replace('\n', ", ")));
        })
        .ok()
}

fn app(id: &str, table: Table, out: &mut Complaints) -> App {
    let mut fields = Fields::new("", table);
    let mut app = App {
        id: id.to_owned(),
        title: fields.line("title", "its name as its makers write it", out),
        summary: fields.line("summary", "what it is for, in one line", out),
        category: fields.line("category", "the shelf it stands on", out),
        home: facts::home(&mut fields, out),
        licence: fields.line("licence", "an SPDX expression, as in MIT, or words", out),
        image: facts::image(&mut fields, out),
        web: facts::web(&mut fields, out),
        ports: facts::ports(&mut fields, out),
        volumes: facts::volumes(&mut fields, out),
        known: fields.line("known", "where these facts are from", out),
        notes: fields.optional_line("notes", out),
        command: facts::command(&mut fields, "command", out),
        url_optional: false,
        database: database::database(&mut fields, out),
        needs: needs(&mut fields, out),
        settings: settings::settings(&mut fields, out),
        check: check::check(&mut fields, out),
        serves: None,
        packages: None,
    };
    app.serves = serves::serves(&mut fields, &app, out);
    app.packages = packages::packages(&mut fields, out);
    let url = fields.optional_line("url", out);
    fields.finish(out);
    app.url_optional = references::url(&app, url.as_deref(), out);
    facts::ports_agree("", &app, out);
    if let Some(packaged) = app.packaged().filter(|packaged| (packaged.web, &packaged.check) != (app.web, &app.check)) {
        facts::ports_agree("packages.", &packaged, out);
    }
    references::check(&app, out);
    app
}

fn needs(fields: &mut Fields, out: &mut Complaints) -> BTreeSet<String> {
    let mut needs = BTreeSet::new();
    for table in fields.tables("needs", out) {
        let mut fields = Fields::new("needs.", table);
        let app = fields.line("app", "which app of the catalogue", out);
        fields.finish(out);
        if !app.is_empty() && !needs.insert(app.clone()) {
            out.say("needs.app", format!("{app} is needed twice: once is enough"));
        }
    }
    needs
}
