//! Flockport recipes: a small language for one image, with what the cluster needs to know to run it.
//!
//! | word | meaning |
//! |---|---|
//! | `FROM` `ENV` `COPY` `RUN` `VOLUME` | as in a Dockerfile; one `FROM`, and no stages |
//! | `PORT 80 53/udp` | ports it listens on |
//! | `START nginx -g 'daemon off;'` | what runs; a JSON list or text for the shell |
//! | `CHECK tcp 80`, `CHECK http [8080] /path`, `CHECK command pg_isready` | how its health is found out |
//! | `SERVICE mysql 3306` | a name for a port, by which others find it |
//! | `LIMIT memory 512M cpu 0.5 pids 100` | what it may use |
//! | `NEEDS mysql redis` | apps and databases that have to be there |
//! | `TYPE system` | a whole system with its own init; an app when nothing is said |
//!
//! A recipe compiles to the instructions of a Dockerfile: what images can say goes into the configuration, the rest into labels,
//! so that it travels with the image.

mod compile;
mod words;

use crate::{
    dockerfile::{self, Dockerfile},
    error::Error,
    kind::Kind,
    text::lines,
};
use api::{
    Name,
    spec::{ContainerKind, Limits, Probe},
};
use serde::{Deserialize, Serialize};

/// Labels that a recipe leaves in the image.
pub mod label {
    /// `app` or `system`.
    pub const KIND: &str = "roost.kind";
    /// `tcp 80`, `http 8080 /path`, `command …`.
    pub const CHECK: &str = "roost.check";
    /// `mysql 3306, admin 33060`.
    pub const SERVICES: &str = "roost.services";
    /// `memory 512M cpu 0.5 pids 100`.
    pub const LIMITS: &str = "roost.limits";
    /// `mysql redis`.
    pub const NEEDS: &str = "roost.needs";
}

/// A file of either language, understood. Of a Dockerfile, only the build is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// How the image is built.
    pub build: Dockerfile,
    /// An app or a system.
    pub kind: ContainerKind,
    /// How its health is found out.
    pub check: Option<Probe>,
    /// Names of ports.
    pub services: Vec<Service>,
    /// What it may use.
    pub limits: Limits,
    /// What has to be there.
    pub needs: Vec<Name>,
}

/// A name for a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// By which others find it.
    pub name: Name,
    /// Where it listens.
    pub port: u16,
}

/// Reads a file of this kind.
pub fn read(kind: Kind, text: &str) -> Result<Recipe, Error> {
    match kind {
        Kind::Recipe => parse_recipe(text),
        Kind::Dockerfile => {
            let build = dockerfile::parse(text)?;
            let (kind, limits) = (ContainerKind::default(), Limits::default());
            Ok(Recipe { build, kind, check: None, services: Vec::new(), limits, needs: Vec::new() })
        }
    }
}

/// Reads a Flockport recipe.
pub fn parse_recipe(text: &str) -> Result<Recipe, Error> {
    let lines = lines::read(Kind::Recipe, text)?;
    let build = Dockerfile::empty(Kind::Recipe, &lines);
    let mut compiler = compile::Compiler::new(build);
    for line in lines.lines {
        compiler.line(line)?;
    }
    compiler.finish()
}

#[cfg(test)]
mod tests;
