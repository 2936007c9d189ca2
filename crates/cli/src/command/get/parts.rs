//! What an app is made of: itself, its database, what it needs beside it; and what each of them is told. Pure.

use api::{
    Error, Kind, Name, Result, Timestamp,
    app::{AppPart, AppRecord},
};
use catalogue::{App, Catalogue, DatabaseAccess, Engine, Instance, Request, Serves, Source, instantiate};
use std::collections::{BTreeMap, BTreeSet};

/// Characters of a generated password of a database.
const PASSWORD: usize = 24;
/// Longest name of a user that every database takes (MySQL's limit).
const USER_MAX: usize = 32;

/// One container to be made.
#[derive(Clone, Debug)]
pub struct Part {
    /// What it is called.
    pub container: Name,
    /// What it is.
    pub app: App,
    /// Made of packages.
    pub packages: bool,
    /// Whose database it is.
    pub serves: Option<Name>,
    /// The container of its own database.
    pub database: Option<Name>,
    /// The containers of what it needs, by app.
    pub needs: BTreeMap<String, Name>,
}

impl Part {
    /// Whether it is the app itself, of this name, and not what it needs.
    pub fn is_main_of(&self, name: &Name) -> bool {
        self.container == *name
    }
}

/// The parts of an app, those that others need first, itself last. `engine` is the kind of database asked for.
pub fn parts(catalogue: &Catalogue, (app, name): (&App, &Name), engine: Option<Engine>) -> Result<Vec<Part>> {
    let mut out = Vec::new();
    add(catalogue, (app, name), engine, &mut out)?;
    Ok(out)
}

fn add(catalogue: &Catalogue, (app, name): (&App, &Name), asked: Option<Engine>, out: &mut Vec<Part>) -> Result<()> {
    let database = match engine(app, asked)? {
        None => None,
        Some(engine) => {
            let server = catalogue
                .server_of(engine)
                .ok_or_else(|| Error::failed(format!("no app of the store is a {engine} database")))?;
            let container = below(name, "db")?;
            let part = Part { serves: Some(name.clone()), ..part(server, &container) };
            out.push(part);
            Some(container)
        }
    };
    let mut needs = BTreeMap::new();
    for need in &app.needs {
        let container = below(name, need)?;
        add(catalogue, (catalogue.find(need)?, &container), None, out)?;
        needs.insert(need.clone(), container);
    }
    out.push(Part { database, needs, ..part(app, name) });
    Ok(())
}

fn part(app: &App, name: &Name) -> Part {
    Part { container: name.clone(), app: app.clone(), packages: false, serves: None, database: None, needs: BTreeMap::new() }
}

fn below(name: &Name, what: &str) -> Result<Name> {
    Name::parse("container", &format!("{name}-{what}"))
}

/// The database it gets: the one asked for, else the first it can use; none when it does without.
fn engine(app: &App, asked: Option<Engine>) -> Result<Option<Engine>> {
    let possible = app.database.as_ref().map(|database| database.engines.as_slice()).unwrap_or_default();
    match (asked, &app.database) {
        (Some(engine), _) if !possible.contains(&engine) => {
            Err(catalogue::Problem::WrongEngine { app: app.id.clone(), engine, possible: possible.to_vec() }.into())
        }
        (Some(engine), _) => Ok(Some(engine)),
        (None, Some(database)) if !database.optional => Ok(possible.first().copied()),
        (None, _) => Ok(None),
    }
}

/// The kind of database that a remembered app was given.
pub fn remembered_engine(catalogue: &Catalogue, record: &AppRecord) -> Option<Engine> {
    let container = below(&record.name, "db").ok()?;
    let part = record.parts.iter().find(|part| part.container == container)?;
    catalogue.get(&part.app)?.serves.as_ref().map(|serves| serves.engine)
}

/// What was asked for, and what is known.
pub struct Asked<'a> {
    /// The address people reach it at.
    pub url: Option<&'a str>,
    /// Settings of the app itself.
    pub settings: &'a BTreeMap<String, String>,
    /// What is remembered of it.
    pub record: Option<&'a AppRecord>,
    /// Names of containers end in this.
    pub domain: &'a str,
}

/// A part with all that it is told, and what is to be remembered of that.
pub struct Furnished {
    pub part: Part,
    pub instance: Instance,
    pub remembered: AppPart,
    /// Settings that were generated just now.
    pub fresh: BTreeSet<String>,
}

/// Tells each part what it has to know: what is given and remembered stands, what is missing is generated.
pub fn furnish(parts: Vec<Part>, asked: &Asked<'_>, secrets: &mut dyn FnMut(usize) -> String) -> Result<Vec<Furnished>> {
    let mut accesses: BTreeMap<Name, DatabaseAccess> = BTreeMap::new();
    let last = parts.len().saturating_sub(1);
    let mut out = Vec::new();
    for (index, part) in parts.into_iter().enumerate() {
        let before = asked.record.and_then(|record| record.parts.iter().find(|known| known.container == part.container));
        let app = if part.packages { part.app.packaged().unwrap_or_else(|| part.app.clone()) } else { part.app.clone() };
        let mut settings = remembered(&app, before);
        if index == last {
            settings.extend(asked.settings.clone());
        }
        if let (Some(user), Some(serves)) = (&part.serves, &app.serves) {
            open(serves, user, &mut settings, secrets);
        }
        let known: BTreeSet<String> = settings.keys().cloned().collect();
        let request = Request {
            name: part.container.to_string(),
            url: asked.url.filter(|_| index == last).map(str::to_owned),
            settings,
            database: part.database.as_ref().and_then(|container| accesses.get(container).cloned()),
            needs: part.needs.iter().map(|(app, container)| (app.clone(), format!("{container}.{}", asked.domain))).collect(),
        };
        let instance = instantiate(&app, &request, secrets).map_err(|why| explained(why, &part, index == last))?;
        if let Some(serves) = app.serves.as_ref().filter(|_| part.serves.is_some()) {
            accesses.insert(part.container.clone(), access(serves, (&part.container, asked.domain), &instance));
        }
        let fresh = instance.env.keys().filter(|name| !known.contains(*name) && is_generated(&app, name)).cloned().collect();
        let remembered = remember((&part, &app), &instance, (&known, before));
        out.push(Furnished { part, instance, remembered, fresh });
    }
    Ok(out)
}

/// What is wrong with a part that nobody typed is not answered by repeating the command with another flag.
fn explained(why: catalogue::Problem, part: &Part, typed: bool) -> Error {
    let error = Error::from(why);
    if typed { error } else { Error { hint: None, ..error }.detail(format!("it would be {}", part.container)) }
}

fn is_generated(app: &App, setting: &str) -> bool {
    app.settings.get(setting).is_some_and(|setting| matches!(setting.source, Source::Secret { .. }))
}

/// Values of before, of settings that the app still has.
fn remembered(app: &App, before: Option<&AppPart>) -> BTreeMap<String, String> {
    let all = before.into_iter().flat_map(|part| part.settings.iter().chain(&part.secrets));
    all.filter(|(name, _)| app.settings.contains_key(*name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Has a database made with a user of its own for whoever it is for.
fn open(serves: &Serves, user: &Name, settings: &mut BTreeMap<String, String>, secrets: &mut dyn FnMut(usize) -> String) {
    // Underscores need no quotes in SQL.
    let name: String = user.as_str().replace('-', "_").chars().take(USER_MAX).collect();
    for setting in serves.database.iter().chain(&serves.user) {
        settings.entry(setting.clone()).or_insert_with(|| name.clone());
    }
    if let Some(setting) = &serves.password {
        settings.entry(setting.clone()).or_insert_with(|| secrets(PASSWORD));
    }
}

/// How a database is reached, from what it was told.
fn access(serves: &Serves, (container, domain): (&Name, &str), instance: &Instance) -> DatabaseAccess {
    let told =
        |setting: &Option<String>| setting.as_ref().and_then(|setting| instance.env.get(setting)).cloned().unwrap_or_default();
    DatabaseAccess {
        engine: serves.engine,
        host: format!("{container}.{domain}"),
        port: serves.port,
        name: told(&serves.database),
        user: told(&serves.user),
        password: told(&serves.password),
    }
}

fn remember((part, app): (&Part, &App), instance: &Instance, (known, before): (&BTreeSet<String>, Option<&AppPart>)) -> AppPart {
    let kept = instance.env.iter().filter(|(name, _)| known.contains(*name) || is_generated(app, name));
    let (secret, open): (BTreeMap<_, _>, BTreeMap<_, _>) =
        kept.map(|(name, value)| (name.clone(), value.clone())).partition(|(name, _)| instance.secrets.contains(name));
    AppPart {
        container: part.container.clone(),
        app: part.app.id.clone(),
        packages: part.packages,
        server: before.and_then(|before| before.server.clone()),
        volumes: instance.volumes.iter().map(|path| (volume(&part.container, path), path.clone())).collect(),
        settings: open,
        secrets: secret,
    }
}

/// The name of a volume: the container's, and where it is inside, with dots, which no container's name has.
fn volume(container: &Name, path: &str) -> String {
    format!("{container}{}", path.replace(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c)), "."))
}

/// Refuses when a container of one of the parts is there, save one that this app was given before. Gives those.
///
/// Nor may somebody else be at it.
pub fn standing(
    parts: &[Part],
    record: Option<&AppRecord>,
    (there, now): (&BTreeSet<String>, Timestamp),
) -> Result<BTreeSet<Name>> {
    if let Some(record) = record.filter(|record| record.making_until.is_some_and(|until| until > now)) {
        return Err(Error::conflict(format!("app {} is being got by somebody else", record.name))
            .hint("repeat the command when they are done"));
    }
    let mut standing = BTreeSet::new();
    for (index, part) in parts.iter().enumerate().filter(|(_, part)| there.contains(part.container.as_str())) {
        let name = &part.container;
        let own = record.is_some_and(|record| record.parts.iter().any(|known| known.container == *name));
        if index + 1 == parts.len() {
            let what = if own { format!("app {name} is there already") } else { format!("there is a container {name} already") };
            return Err(Error::new(Kind::Conflict, what)
                .hint(format!("remove it first: roost rm -f {name}, or get it under another name")));
        }
        if !own {
            return Err(Error::conflict(format!("there is a container {name} already, which its part would be called"))
                .hint("get the app under another name"));
        }
        standing.insert(name.clone());
    }
    Ok(standing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse("test", text).unwrap()
    }

    fn composed(app: &str, called: &str) -> Vec<Part> {
        let catalogue = Catalogue::compiled().unwrap();
        parts(&catalogue, (catalogue.get(app).unwrap(), &name(called)), None).unwrap()
    }

    fn furnished(app: &str, given: &[(&str, &str)], record: Option<&AppRecord>) -> Vec<Furnished> {
        let settings = given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let asked = Asked { url: Some("blog.example"), settings: &settings, record, domain: "internal" };
        let mut next = b'a'..=b'z';
        let mut secrets = |length: usize| char::from(next.next().unwrap_or(b'z')).to_string().repeat(length);
        furnish(composed(app, "my-blog"), &asked, &mut secrets).unwrap()
    }

    fn record(furnished: &[Furnished]) -> AppRecord {
        AppRecord {
            name: name("my-blog"),
            app: "wordpress".into(),
            generation: 1,
            url: None,
            parts: furnished.iter().map(|one| one.remembered.clone()).collect(),
            got: Timestamp(0),
            making_until: None,
        }
    }

    #[test]
    fn a_database_is_made_first_with_a_user_of_its_own() {
        let made = furnished("wordpress", &[], None);
        let [db, app] = made.as_slice() else { panic!("{} parts", made.len()) };
        assert_eq!((db.part.container.as_str(), db.part.app.id.as_str()), ("my-blog-db", "mariadb"));
        assert_eq!(
            (db.instance.env["MARIADB_DATABASE"].as_str(), db.instance.env["MARIADB_USER"].as_str()),
            ("my_blog", "my_blog")
        );
        assert_eq!(app.instance.env["WORDPRESS_DB_HOST"], "my-blog-db.internal:3306");
        assert_eq!(app.instance.env["WORDPRESS_DB_PASSWORD"], db.instance.env["MARIADB_PASSWORD"]);
        assert_eq!(app.part.database, Some(name("my-blog-db")));
        assert_eq!(db.remembered.volumes, [("my-blog-db.var.lib.mysql".to_owned(), "/var/lib/mysql".to_owned())].into());
        // What follows from other values is not remembered; what was made is, and is a secret.
        assert!(app.remembered.secrets.is_empty(), "{:?}", app.remembered);
        let secrets: Vec<&str> = db.remembered.secrets.keys().map(String::as_str).collect();
        assert_eq!(secrets, ["MARIADB_PASSWORD", "MARIADB_ROOT_PASSWORD"]);
        assert!(db.fresh.contains("MARIADB_ROOT_PASSWORD"));
    }

    #[test]
    fn what_is_remembered_stands() {
        let first = furnished("wordpress", &[("WORDPRESS_TABLE_PREFIX", "x_")], None);
        let record = record(&first);
        let again = furnished("wordpress", &[], Some(&record));
        for (before, after) in first.iter().zip(&again) {
            assert_eq!(before.instance, after.instance);
            assert!(after.fresh.is_empty());
        }
        let changed = furnished("wordpress", &[("WORDPRESS_TABLE_PREFIX", "y_")], Some(&record));
        assert_eq!(changed[1].instance.env["WORDPRESS_TABLE_PREFIX"], "y_");
        assert_eq!(changed[1].instance.env["WORDPRESS_DB_PASSWORD"], first[0].instance.env["MARIADB_PASSWORD"]);
    }

    #[test]
    fn what_an_app_needs_comes_with_it() {
        let names: Vec<String> = composed("immich", "photos").into_iter().map(|part| part.container.to_string()).collect();
        assert_eq!(names, ["photos-db", "photos-redis", "photos"]);
    }

    #[test]
    fn kinds_of_databases() {
        let catalogue = Catalogue::compiled().unwrap();
        let of =
            |app: &str, engine| parts(&catalogue, (catalogue.get(app).unwrap(), &name("a")), engine).map(|parts| parts.len());
        assert_eq!(of("roundcube", None).unwrap(), 1);
        assert_eq!(of("roundcube", Some(Engine::Mysql)).unwrap(), 2);
        assert_eq!(of("redis", Some(Engine::Mysql)).unwrap_err().message, "redis cannot use mysql: it uses no database");
        let long = name(&"a".repeat(63));
        assert!(parts(&catalogue, (catalogue.get("wordpress").unwrap(), &long), None).is_err());
    }

    #[test]
    fn what_stands_is_left_or_in_the_way() {
        let made = furnished("wordpress", &[], None);
        let (parts, record) = (composed("wordpress", "my-blog"), record(&made));
        let there = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let now = Timestamp(1000);
        assert!(standing(&parts, None, (&there(&["other"]), now)).unwrap().is_empty());
        assert_eq!(standing(&parts, Some(&record), (&there(&["my-blog-db"]), now)).unwrap(), [name("my-blog-db")].into());
        let refused = |record, names: &[&str]| standing(&parts, record, (&there(names), now)).unwrap_err().message;
        let making = |until| AppRecord { making_until: Some(Timestamp(until)), ..record.clone() };
        let (still, gone) = (making(1001), making(1000));
        assert_eq!(refused(Some(&still), &[]), "app my-blog is being got by somebody else");
        assert!(standing(&parts, Some(&gone), (&there(&[]), now)).is_ok(), "whoever it was is gone");
        assert_eq!(refused(Some(&record), &["my-blog", "my-blog-db"]), "app my-blog is there already");
        assert_eq!(refused(None, &["my-blog"]), "there is a container my-blog already");
        assert_eq!(refused(None, &["my-blog-db"]), "there is a container my-blog-db already, which its part would be called");
    }
}
