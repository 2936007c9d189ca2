//! Apps of the store as somebody got them: what is remembered, so that the same can be made again with the same data.

use crate::{name::Name, quantity::Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// An app that was got. It outlives its containers: whoever gets it again finds its data and its passwords.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppRecord {
    /// What it is called: the name of its main container.
    pub name: Name,
    /// Which app of the catalogue it is.
    pub app: String,
    /// Counts its versions, from 1. A record takes the place of the one before it only.
    pub generation: u64,
    /// The address people reach it at, as typed.
    #[serde(default)]
    pub url: Option<String>,
    /// Its containers, those that others need first, itself last.
    #[serde(default)]
    pub parts: Vec<AppPart>,
    /// When it was got last.
    #[serde(default)]
    pub got: Timestamp,
    /// Somebody is making its containers, and will have said so again before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub making_until: Option<Timestamp>,
}

/// One container of an app.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppPart {
    /// The container's name.
    pub container: Name,
    /// Which app of the catalogue it is.
    pub app: String,
    /// Made of packages rather than of the app's own image.
    #[serde(default)]
    pub packages: bool,
    /// The server that has its volumes; not known before its first start.
    #[serde(default)]
    pub server: Option<Name>,
    /// Its volumes by name, and where they are in the container.
    #[serde(default)]
    pub volumes: BTreeMap<String, String>,
    /// Values of settings that anybody may see, as they were given.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// Values that nobody else may see, given or generated. Lists leave them out.
    #[serde(default)]
    pub secrets: BTreeMap<String, String>,
}

impl AppRecord {
    /// The same without its secrets.
    #[must_use]
    pub fn without_secrets(&self) -> Self {
        let mut record = self.clone();
        record.parts.iter_mut().for_each(|part| part.secrets.clear());
        record
    }
}

/// Without secrets.
impl fmt::Debug for AppRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, generation {}, {:?})", self.name, self.app, self.generation, self.parts)
    }
}

/// Without secrets.
impl fmt::Debug for AppPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = self.server.as_ref().map_or("nowhere", Name::as_str);
        write!(f, "{} ({}) on {server}, secrets {:?}", self.container, self.app, self.secrets.keys())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let part = AppPart {
            container: "blog-db".parse().unwrap(),
            app: "mariadb".into(),
            packages: true,
            server: None,
            volumes: BTreeMap::new(),
            settings: BTreeMap::new(),
            secrets: [("PASSWORD".to_owned(), "hidden".to_owned())].into(),
        };
        let record = AppRecord {
            name: "blog".parse().unwrap(),
            app: "wordpress".into(),
            generation: 1,
            url: None,
            parts: vec![part],
            got: Timestamp(0),
            making_until: None,
        };
        let shown = format!("{record:?}");
        assert!(shown.contains("PASSWORD") && !shown.contains("hidden"), "{shown}");
        assert!(record.without_secrets().parts[0].secrets.is_empty());
    }
}
