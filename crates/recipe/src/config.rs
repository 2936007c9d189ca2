//! The configuration of an image, as its JSON holds it below `config`.

use serde::{Deserialize, Deserializer, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How an image is run. Reads and writes the `config` object of OCI image configurations, with Docker's additions
/// (`Healthcheck`, `Shell`, `OnBuild`). Fields it does not know are dropped; `null` is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Config {
    /// Whom it runs as: `name`, `uid`, `name:group`; empty for root.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Ports it listens on: `80/tcp`.
    #[serde(with = "keys", skip_serializing_if = "BTreeSet::is_empty")]
    pub exposed_ports: BTreeSet<String>,
    /// `NAME=value`, in order.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// What runs.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// Words behind it, or what runs if there is none.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// How its health is found out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Health>,
    /// Directories that outlive the container.
    #[serde(with = "keys", skip_serializing_if = "BTreeSet::is_empty")]
    pub volumes: BTreeSet<String>,
    /// Where it runs.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Instructions for those who build on it.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    /// Labels.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What asks it to stop.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// What runs commands that are no JSON list.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
}

/// How health is found out. Spans are nanoseconds; 0 where nothing was said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Health {
    /// `NONE`; or `CMD` and words; or `CMD-SHELL` and a text.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Between two checks.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: u64,
    /// Of one check.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: u64,
    /// After the start, in which failures do not count.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: u64,
    /// Between two checks in that time.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: u64,
    /// Failures in a row that make it unhealthy.
    #[serde(skip_serializing_if = "is_none")]
    pub retries: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde dictates it")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde dictates it")]
const fn is_none(number: &u32) -> bool {
    *number == 0
}

/// `null` is nothing.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(from).map(Option::unwrap_or_default)
}

impl Config {
    /// The value of a variable; of the last, if several have the name.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.env.iter().rev().find_map(|entry| value(entry, name))
    }

    /// Sets a variable where it stands, or at the end.
    pub fn set_variable(&mut self, name: &str, new: &str) {
        let mut entry = Some(format!("{name}={new}"));
        self.env.retain_mut(|old| match (value(old, name), entry.take()) {
            (None, unset) => {
                entry = unset;
                true
            }
            (Some(_), Some(new)) => {
                *old = new;
                true
            }
            (Some(_), None) => false,
        });
        self.env.extend(entry);
    }
}

/// The value of a `NAME=value`, if that is its name; of a bare name, nothing.
fn value<'a>(entry: &'a str, name: &str) -> Option<&'a str> {
    let (own, value) = entry.split_once('=').unwrap_or((entry, ""));
    (own == name).then_some(value)
}

/// Sets that JSON writes as objects without values: `{"80/tcp": {}}`.
mod keys {
    use super::{BTreeMap, BTreeSet, Deserialize, Deserializer, Serialize};
    use serde::Serializer;

    #[derive(Serialize, Deserialize)]
    struct Nothing {}

    pub fn serialize<S: Serializer>(set: &BTreeSet<String>, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(set.iter().map(|key| (key, Nothing {})))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeSet<String>, D::Error> {
        let map: Option<BTreeMap<String, Option<Nothing>>> = Option::deserialize(from)?;
        Ok(map.unwrap_or_default().into_keys().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_configurations_are_read() {
        let json = r#"{"Hostname":"","User":"","Tty":false,"ExposedPorts":{"80/tcp":{}},"Env":["PATH=/bin","A=1"],"Cmd":["nginx"],
            "Volumes":null,"WorkingDir":"","Entrypoint":null,"OnBuild":null,"Labels":{"a":"b"},"StopSignal":"SIGQUIT","ArgsEscaped":true,
            "Healthcheck":{"Test":["CMD-SHELL","x"],"Interval":5000000000}}"#;
        let config: Config = serde_json::from_str(json).unwrap();
        insta::assert_snapshot!(serde_json::to_string(&config).unwrap(), @r#"{"ExposedPorts":{"80/tcp":{}},"Env":["PATH=/bin","A=1"],"Cmd":["nginx"],"Healthcheck":{"Test":["CMD-SHELL","x"],"Interval":5000000000},"Labels":{"a":"b"},"StopSignal":"SIGQUIT"}"#);
        assert_eq!(serde_json::from_str::<Config>("{}").unwrap(), Config::default());
    }

    #[test]
    fn variables_are_set_where_they_stand() {
        let mut config = Config { env: vec!["A=1".into(), "B".into(), "AB=2".into(), "A=9".into()], ..Config::default() };
        config.set_variable("A", "x=y");
        config.set_variable("B", "b");
        config.set_variable("C", "");
        assert_eq!(config.env, ["A=x=y", "B=b", "AB=2", "C="]);
        assert_eq!((config.variable("A"), config.variable("C"), config.variable("D")), (Some("x=y"), Some(""), None));
    }
}
