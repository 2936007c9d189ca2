//! An app as a value: what its file says, read and checked.

use crate::{
    packages::Packages,
    secret::Form,
    text::{Reference, Text},
};
use api::spec::Protocol;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// A program somebody wants to run, and all that is known about running it. Made by [`crate::parse`] only.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct App {
    /// The file's name without its ending: a DNS label, what `roost get` takes.
    pub id: String,
    /// Its name as its makers write it.
    pub title: String,
    /// What it is for, in one line.
    pub summary: String,
    /// The shelf it stands on.
    pub category: String,
    /// Its web site.
    pub home: String,
    /// An SPDX expression, or words.
    pub licence: String,
    /// The image, always with a tag or a digest.
    pub image: String,
    /// The port that answers HTTP and that its address leads to.
    pub web: Option<u16>,
    /// Every port it listens on.
    pub ports: Vec<Port>,
    /// Directories whose content must outlive a container.
    pub volumes: Vec<String>,
    /// Where these facts are from, in words.
    pub known: String,
    /// What a person should know before relying on it.
    pub notes: Option<String>,
    /// Replaces the image's command.
    pub command: Option<Vec<String>>,
    /// Whether it does without its address: settings that refer to the address are then left out.
    pub url_optional: bool,
    /// The database it wants.
    pub database: Option<Database>,
    /// Other apps that must run beside it.
    pub needs: BTreeSet<String>,
    /// Its environment variables.
    pub settings: BTreeMap<String, Setting>,
    /// How its health is found out.
    pub check: Option<Check>,
    /// How it is a database for other apps, if it can be one.
    pub serves: Option<Serves>,
    /// How it is made from a distribution's packages.
    pub packages: Option<Packages>,
}

/// How an app is another's database: which of its settings say what is made at its first start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serves {
    /// What kind of database it is.
    pub engine: Engine,
    /// Where it answers.
    pub port: u16,
    /// The setting with the database's name; none: there is no such thing.
    pub database: Option<String>,
    /// The setting with the user's name.
    pub user: Option<String>,
    /// The setting with the user's password.
    pub password: Option<String>,
}

/// A port with its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// 1 to 65535.
    pub number: u16,
    /// TCP unless written `53/udp`.
    pub protocol: Protocol,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol {
            Protocol::Tcp => write!(f, "{}", self.number),
            Protocol::Udp => write!(f, "{}/udp", self.number),
        }
    }
}

/// The database an app wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// At least one, the preferred first.
    pub engines: Vec<Engine>,
    /// Whether it keeps its data in its volumes when it gets none: settings that refer to the database are then left out.
    pub optional: bool,
    /// What the app calls an engine, where it is another word than ours: `postgres`, `pgsql`, `mysqli`.
    pub words: BTreeMap<Engine, String>,
}

impl Database {
    /// The app's own word for this engine.
    pub fn word(&self, engine: Engine) -> &str {
        self.words.get(&engine).map_or(engine.as_str(), String::as_str)
    }
}

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Engine {
    /// MySQL or MariaDB.
    Mysql,
    /// PostgreSQL.
    Postgresql,
    /// MongoDB.
    Mongodb,
    /// Redis or Valkey.
    Redis,
}

impl Engine {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Mysql, Self::Postgresql, Self::Mongodb, Self::Redis];

    /// The word for it in files and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mysql => "mysql",
            Self::Postgresql => "postgresql",
            Self::Mongodb => "mongodb",
            Self::Redis => "redis",
        }
    }

    /// The engine of this word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|engine| engine.as_str() == word)
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// An environment variable of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Where its value comes from when nobody gives one.
    pub source: Source,
    /// It is set only with this engine.
    pub engine: Option<Engine>,
    /// Its value is nobody's business, even if a person gave it.
    pub sensitive: bool,
    /// What it is, in one line.
    pub about: Option<String>,
}

/// Where a setting's value comes from when nobody gives one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// This text, with its references filled in.
    Value(Text),
    /// Generated, once.
    Secret {
        /// Characters, or bytes when it has a form.
        length: usize,
        /// How it is written.
        form: Form,
        /// What stands before it: `neo4j/`, `base64:`.
        prefix: String,
    },
    /// From nowhere: it must be given.
    Required,
    /// From nowhere: it is left out.
    Optional,
}

impl App {
    /// The app as it is when it is made from packages; nothing when it cannot be. The image is to be named by whoever makes it.
    pub fn packaged(&self) -> Option<Self> {
        let packages = self.packages.as_ref()?;
        let mut app = self.clone();
        app.command = None;
        app.web = packages.web.or(app.web);
        app.ports = packages.ports.clone().unwrap_or(app.ports);
        app.volumes = packages.volumes.clone().unwrap_or(app.volumes);
        app.check = packages.check.clone().or(app.check);
        Some(app)
    }
}

/// How an app's health is found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// This path on its web port.
    Http(String),
    /// A connection to this port.
    Tcp(u16),
    /// A command in the container.
    Command(Vec<String>),
}

impl Source {
    /// What its text refers to.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        let text = match self {
            Self::Value(text) => Some(text),
            Self::Secret { .. } | Self::Required | Self::Optional => None,
        };
        text.into_iter().flat_map(Text::references)
    }

    /// The other settings its text refers to.
    pub fn settings(&self) -> impl Iterator<Item = &str> {
        self.references().filter_map(|reference| match reference {
            Reference::Secret(name) | Reference::Setting(name) => Some(name.as_str()),
            Reference::Name | Reference::Url(_) | Reference::Database(_) | Reference::Need(_) => None,
        })
    }
}
