//! Who is where, for the few names that somebody must not share a server with.

use super::Servers;
use api::{Name, Snapshot};
use std::collections::HashMap;

/// Servers that hold an instance of a name, kept only for names that an `avoid` rule concerns.
#[derive(Default)]
pub(crate) struct Holders<'a> {
    /// Both ways: who avoids whom is the same as by whom one is avoided.
    enemies: HashMap<&'a str, Vec<&'a Name>>,
    servers: HashMap<&'a str, Servers>,
}

impl<'a> Holders<'a> {
    pub fn new(snapshot: &'a Snapshot) -> Self {
        let mut made = Self::default();
        let jobs = snapshot.jobs.iter().map(|(name, spec)| (name, &spec.placement.avoid));
        let lone = snapshot.containers.iter().map(|(name, spec)| (name, &spec.avoid));
        for (name, avoid) in jobs.chain(lone) {
            for other in avoid.iter().filter(|other| *other != name) {
                made.add_pair(name, other);
                made.add_pair(other, name);
            }
        }
        made
    }

    fn add_pair(&mut self, one: &'a Name, other: &'a Name) {
        let enemies = self.enemies.entry(one.as_str()).or_default();
        if !enemies.contains(&other) {
            enemies.push(other);
        }
        self.servers.entry(one.as_str()).or_default();
    }

    /// Records that an instance of `name` is there.
    pub fn add(&mut self, name: &Name, server: usize) {
        if let Some(servers) = self.servers.get_mut(name.as_str()) {
            servers.insert(server);
        }
    }

    /// The names that `name` must not meet.
    pub fn enemies(&self, name: &Name) -> &[&'a Name] {
        self.enemies.get(name.as_str()).map_or(&[], Vec::as_slice)
    }

    /// Is an instance of `name` there?
    pub fn is_on(&self, name: &Name, server: usize) -> bool {
        self.servers.get(name.as_str()).is_some_and(|servers| servers.contains(&server))
    }
}
