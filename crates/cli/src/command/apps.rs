//! The store's catalogue: `apps`, `search`; and what of it was got.

use crate::{
    args::{Global, TryArgs},
    connect,
    output::{self, Column, Format, ListArgs, column, or_dash, wide},
    store,
};
use api::{Error, Name, Result, app::AppRecord, path};
use catalogue::{App, Catalogue, Check, Source};
use clap::{Args, Subcommand};
use http::Method;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// List the apps of the store, show one, or say what was got
///
/// A user's own apps are files in /etc/roost/apps, in the form of docs/catalogue.md; one of the same name takes the place of ours.
///
/// Example: roost apps, roost apps mail, roost apps show wordpress, roost apps got
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct AppsArgs {
    #[command(subcommand)]
    pub verb: Option<AppsVerb>,
    /// Only those of this category
    pub category: Option<String>,
    #[command(flatten)]
    pub list: ListArgs,
}

#[derive(Subcommand)]
pub enum AppsVerb {
    /// Show everything about an app of the store
    ///
    /// Example: roost apps show wordpress
    Show(ShowArgs),
    /// List what was got, or show one of them
    ///
    /// Example: roost apps got blog --secrets
    Got(GotArgs),
    /// Forget an app that was got, and remove its data; its containers must be gone
    ///
    /// Example: roost rm -f blog blog-db && roost apps delete blog
    #[command(visible_alias = "rm")]
    Delete(DeleteArgs),
}

/// An app of the store.
#[derive(Args)]
pub struct ShowArgs {
    /// Its name
    pub app: String,
    /// json or yaml
    #[arg(short, long, value_enum, default_value_t = Format::Yaml)]
    pub output: Format,
}

/// An app that was got, or all of them.
#[derive(Args)]
pub struct GotArgs {
    /// The name it was got under
    pub name: Option<Name>,
    /// With its passwords
    #[arg(long, requires = "name")]
    pub secrets: bool,
    #[command(flatten)]
    pub list: ListArgs,
}

/// Which app to forget.
#[derive(Args)]
pub struct DeleteArgs {
    /// The names they were got under
    #[arg(required = true)]
    pub names: Vec<Name>,
    /// Leave the data where it is
    #[arg(long)]
    pub keep_volumes: bool,
    #[command(flatten)]
    pub change: TryArgs,
}

/// Find apps of the store by words of their names, categories and summaries
///
/// Example: roost search wiki
#[derive(Args)]
pub struct SearchArgs {
    /// Words that must all stand somewhere
    #[arg(required = true)]
    pub words: Vec<String>,
    #[command(flatten)]
    pub list: ListArgs,
}

/// An app in a list, and whole.
#[derive(Serialize)]
pub struct AppView {
    name: String,
    title: String,
    summary: String,
    category: String,
    home: String,
    licence: String,
    image: String,
    /// What it is made from where only packages are reached; empty when it cannot be.
    packages: Vec<String>,
    web: Option<u16>,
    ports: Vec<String>,
    volumes: Vec<String>,
    /// Kinds of databases it can use, the preferred first.
    databases: Vec<String>,
    database_optional: bool,
    needs: BTreeSet<String>,
    settings: BTreeMap<String, SettingView>,
    check: Option<String>,
    notes: Option<String>,
    /// Where these facts are from.
    known: String,
}

/// A setting as people see it.
#[derive(Serialize)]
struct SettingView {
    /// What it is when nobody says: a text, or `generated`, `must be given`, `left out`.
    default: String,
    about: Option<String>,
    sensitive: bool,
}

impl From<&App> for AppView {
    fn from(app: &App) -> Self {
        let database = app.database.as_ref();
        let settings = app.settings.iter().map(|(name, setting)| {
            let default = match &setting.source {
                Source::Value(text) => text.to_string(),
                Source::Secret { .. } => "generated".to_owned(),
                Source::Required => "must be given".to_owned(),
                Source::Optional => "left out".to_owned(),
            };
            let sensitive = setting.sensitive || matches!(setting.source, Source::Secret { .. });
            (name.clone(), SettingView { default, about: setting.about.clone(), sensitive })
        });
        Self {
            name: app.id.clone(),
            title: app.title.clone(),
            summary: app.summary.clone(),
            category: app.category.clone(),
            home: app.home.clone(),
            licence: app.licence.clone(),
            image: app.image.clone(),
            packages: app.packages.as_ref().map(|packages| packages.install.clone()).unwrap_or_default(),
            web: app.web,
            ports: app.ports.iter().map(ToString::to_string).collect(),
            volumes: app.volumes.clone(),
            databases: database.iter().flat_map(|it| &it.engines).map(ToString::to_string).collect(),
            database_optional: database.is_some_and(|it| it.optional),
            needs: app.needs.clone(),
            settings: settings.collect(),
            check: app.check.as_ref().map(|check| match check {
                Check::Http(path) => format!("http {path}"),
                Check::Tcp(port) => format!("tcp {port}"),
                Check::Command(words) => words.join(" "),
            }),
            notes: app.notes.clone(),
            known: app.known.clone(),
        }
    }
}

const COLUMNS: &[Column<AppView>] = &[
    column("NAME", |app| app.name.clone()),
    column("CATEGORY", |app| app.category.clone()),
    column("SUMMARY", |app| app.summary.clone()),
    wide("IMAGE", |app| app.image.clone()),
    wide("PACKAGES", |app| app.packages.join(" ")),
    wide("LICENCE", |app| app.licence.clone()),
];

/// `roost apps` and its verbs. The catalogue needs no cluster.
pub async fn run(global: &Global, args: AppsArgs) -> Result<u8> {
    match args.verb {
        None => list(&store::catalogue()?, args.category.as_deref(), &args.list),
        Some(AppsVerb::Show(args)) => show(&store::catalogue()?, &args),
        Some(AppsVerb::Got(args)) => got(global, args).await,
        Some(AppsVerb::Delete(args)) => return delete(global, args).await,
    }?;
    Ok(0)
}

fn list(catalogue: &Catalogue, category: Option<&str>, list: &ListArgs) -> Result<()> {
    let apps: Vec<&App> = match category {
        None => catalogue.apps().collect(),
        Some(word) => shelf(catalogue, word)?,
    };
    output::list(apps.into_iter().map(AppView::from).collect(), COLUMNS, list)
}

/// The apps of the categories in which a word stands, without regard to case.
fn shelf<'a>(catalogue: &'a Catalogue, word: &str) -> Result<Vec<&'a App>> {
    let word = word.to_lowercase();
    let shelves = catalogue.categories();
    let found: Vec<&App> = shelves
        .iter()
        .filter(|(category, _)| category.to_lowercase().contains(&word))
        .flat_map(|(_, apps)| apps.iter().copied())
        .collect();
    if found.is_empty() {
        let known: Vec<&str> = shelves.into_keys().collect();
        return Err(Error::not_found(format!("no category {word}")).hint(format!("there are {}", known.join(", "))));
    }
    Ok(found)
}

fn show(catalogue: &Catalogue, args: &ShowArgs) -> Result<()> {
    output::one(AppView::from(catalogue.find(&args.app)?), &[], args.output)
}

/// The app of this name as `roost show` shows it, if there is one.
pub fn known(name: &str) -> Option<AppView> {
    Some(AppView::from(store::catalogue().ok()?.get(name)?))
}

/// `roost search`.
pub fn search(args: &SearchArgs) -> Result<u8> {
    let catalogue = store::catalogue()?;
    let words = args.words.join(" ");
    let found = catalogue.search(&words);
    if found.apps.is_empty() {
        let error = Error::not_found(format!("no app has {words} in its name, category or summary"));
        let near = found.near.join(", ");
        return Err(if near.is_empty() { error.hint("see: roost apps") } else { error.hint(format!("did you mean {near}?")) });
    }
    output::list(found.apps.into_iter().map(AppView::from).collect(), COLUMNS, &args.list)?;
    Ok(0)
}

const GOT: &[Column<AppRecord>] = &[
    column("NAME", |record| record.name.to_string()),
    column("APP", |record| record.app.clone()),
    column("URL", |record| or_dash(record.url.as_ref())),
    column("CONTAINERS", |record| {
        let parts = record.parts.iter().map(|part| match &part.server {
            Some(server) => format!("{server}:{}", part.container),
            None => part.container.to_string(),
        });
        parts.collect::<Vec<_>>().join(" ")
    }),
    wide("VOLUMES", |record| record.parts.iter().flat_map(|part| part.volumes.keys().cloned()).collect::<Vec<_>>().join(" ")),
];

async fn got(global: &Global, args: GotArgs) -> Result<()> {
    let client = connect::client(global)?;
    let Some(name) = args.name else {
        return output::list(client.get::<Vec<AppRecord>>(path::APPS).await?, GOT, &args.list);
    };
    let record: AppRecord = client.get(&format!("{}/{name}", path::APPS)).await?;
    let record = if args.secrets { record } else { record.without_secrets() };
    let format = if args.list.output == Format::Table { Format::Yaml } else { args.list.output };
    output::one(record, &[], format)
}

async fn delete(global: &Global, args: DeleteArgs) -> Result<u8> {
    let client = connect::client(global)?;
    let mut code = 0;
    for name in &args.names {
        let path = format!("{}/{name}?keep_volumes={}", path::APPS, args.keep_volumes);
        code = code.max(super::change(&client, (Method::DELETE, &path), &(), args.change.dry_run).await?);
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn categories_are_found_by_a_word() {
        let catalogue = Catalogue::compiled().unwrap();
        let mail = shelf(&catalogue, "mail").unwrap();
        assert!(mail.iter().any(|app| app.id == "roundcube") && mail.iter().all(|app| app.category == "Mail"));
        let refused = shelf(&catalogue, "weather").map(|_| ()).unwrap_err();
        assert_eq!(refused.message, "no category weather");
        assert!(refused.hint.is_some_and(|hint| hint.contains("Wiki & documents")));
    }

    #[test]
    fn an_app_as_it_is_shown() {
        let catalogue = Catalogue::compiled().unwrap();
        let view = AppView::from(catalogue.get("wordpress").unwrap());
        assert_eq!(view.settings["WORDPRESS_DB_PASSWORD"].default, "${database.password}");
        assert!(view.packages.contains(&"wordpress".to_owned()));
        assert_eq!(view.check.as_deref(), Some("http /wp-login.php"));
    }
}
