//! From an app and a request to what is run: the pure part of `roost get`.

use crate::{
    address::Address,
    app::{App, Check, Engine, Port, Source},
    near,
    problem::Problem,
    resolve::Resolver,
};
use api::spec::{Probe, limits};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// What is asked for.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// What the instance is called: its name in DNS too.
    pub name: String,
    /// The address people reach it at: a name, or a URL; `http` when it does not say.
    pub url: Option<String>,
    /// Values of settings, which stand as they are given.
    pub settings: BTreeMap<String, String>,
    /// The database that was made for it.
    pub database: Option<DatabaseAccess>,
    /// Where the apps are that it needs: host by app.
    pub needs: BTreeMap<String, String>,
}

/// Without the values of settings, which may be passwords.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("name", &self.name)
            .field("url", &self.url)
            .field("settings", &self.settings.keys())
            .field("database", &self.database)
            .field("needs", &self.needs)
            .finish()
    }
}

/// How a database is reached.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseAccess {
    /// What kind it is.
    pub engine: Engine,
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The database's name.
    pub name: String,
    /// Who connects.
    pub user: String,
    /// With which password.
    pub password: String,
}

/// Without the password.
impl fmt::Debug for DatabaseAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}@{}:{}/{}", self.engine, self.user, self.host, self.port, self.name)
    }
}

/// What is run.
#[derive(Clone, PartialEq, Eq)]
pub struct Instance {
    /// The image.
    pub image: String,
    /// Replaces the image's command.
    pub command: Option<Vec<String>>,
    /// Its environment.
    pub env: BTreeMap<String, String>,
    /// Which of its environment must not be shown.
    pub secrets: BTreeSet<String>,
    /// Every port it listens on.
    pub ports: Vec<Port>,
    /// Directories whose content must outlive its containers.
    pub volumes: Vec<String>,
    /// How its health is found out.
    pub check: Option<Probe>,
}

/// Without the values of secrets.
impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |name: &String| if self.secrets.contains(name) { "…" } else { self.env[name].as_str() };
        let env: BTreeMap<&String, &str> = self.env.keys().map(|name| (name, shown(name))).collect();
        f.debug_struct("Instance")
            .field("image", &self.image)
            .field("command", &self.command)
            .field("env", &env)
            .field("ports", &self.ports)
            .field("volumes", &self.volumes)
            .field("check", &self.check)
            .finish_non_exhaustive()
    }
}

/// Turns an app into what is run. `secrets` gives so many random characters of letters and digits.
pub fn instantiate(app: &App, request: &Request, secrets: &mut dyn FnMut(usize) -> String) -> Result<Instance, Problem> {
    check_settings(app, request)?;
    check_database(app, request)?;
    if let Some(need) = app.needs.iter().find(|need| !request.needs.contains_key(*need)) {
        return Err(Problem::MissingNeed { app: app.id.clone(), need: need.clone() });
    }
    let address = request.url.as_deref().map(|url| Address::parse(url).ok_or_else(|| Problem::BadUrl { url: url.to_owned() }));
    let mut resolver = Resolver::new(app, request, address.transpose()?, secrets);
    let mut instance = Instance {
        image: app.image.clone(),
        command: app.command.clone(),
        env: BTreeMap::new(),
        secrets: BTreeSet::new(),
        ports: app.ports.clone(),
        volumes: app.volumes.clone(),
        check: probe(app),
    };
    for name in app.settings.keys() {
        let Some(value) = resolver.setting(name)? else { continue };
        if value.secret {
            instance.secrets.insert(name.clone());
        }
        instance.env.insert(name.clone(), value.text);
    }
    Ok(instance)
}

/// Only settings it has, only values one can have, and all that must be given.
fn check_settings(app: &App, request: &Request) -> Result<(), Problem> {
    let known = || app.settings.keys().map(String::as_str);
    for (setting, value) in &request.settings {
        if !app.settings.contains_key(setting) {
            let near = near::nearest(setting, known()).map(str::to_owned);
            return Err(Problem::UnknownSetting { app: app.id.clone(), setting: setting.clone(), near });
        }
        if value.contains('\0') || value.len() > limits::ENV_VALUE {
            return Err(Problem::BadValue { setting: setting.clone(), most: limits::ENV_VALUE });
        }
    }
    let engine = request.database.as_ref().map(|database| database.engine);
    let missing = app.settings.iter().filter(|(name, setting)| {
        let wanted = setting.engine.is_none() || setting.engine == engine;
        setting.source == Source::Required && wanted && !request.settings.contains_key(*name)
    });
    let missing: Vec<_> = missing.collect();
    if missing.is_empty() {
        return Ok(());
    }
    let settings = missing.iter().map(|(name, _)| (*name).clone()).collect();
    let about = missing.iter().filter_map(|(name, setting)| Some(format!("{name}: {}", setting.about.as_ref()?))).collect();
    Err(Problem::MissingSettings { app: app.id.clone(), settings, about })
}

/// A database it can use, or none if it does without.
fn check_database(app: &App, request: &Request) -> Result<(), Problem> {
    let possible = app.database.as_ref().map(|database| database.engines.clone()).unwrap_or_default();
    match (&request.database, &app.database) {
        (Some(given), _) if !possible.contains(&given.engine) => {
            Err(Problem::WrongEngine { app: app.id.clone(), engine: given.engine, possible })
        }
        (None, Some(wanted)) if !wanted.optional => Err(Problem::MissingDatabase { app: app.id.clone(), possible }),
        _ => Ok(()),
    }
}

fn probe(app: &App) -> Option<Probe> {
    Some(match app.check.as_ref()? {
        Check::Http(path) => Probe::Http { port: app.web?, path: path.clone(), host: None },
        Check::Tcp(port) => Probe::Tcp(*port),
        Check::Command(words) => Probe::Command(words.clone()),
    })
}
