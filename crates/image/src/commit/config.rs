//! The new image's configuration: the base's with changes. What we do not know of it stays as it is.

use crate::{
    digest::Digest,
    error::{Error, Result},
    manifest::{self, KIND_LABEL},
};
use api::{
    image::{ConfigChange, HistoryLine, ImageConfig, ORIGIN_LABELS},
    spec::ContainerKind,
};
use serde_json::{Map, Value, json};

type Object = Map<String, Value>;

/// The configuration with one more layer, if there is one, and with the changes. None: it is the base's own.
pub fn changed(base: &[u8], layer: Option<&Digest>, change: &ConfigChange) -> Result<Option<Vec<u8>>> {
    let before: Object = manifest::parse(base, "the base's configuration")?;
    let mut config = before.clone();
    let execution = object(&mut config, "config")?;
    if let Some(new) = &change.execution {
        replace(execution, new);
    }
    label(execution, change)?;
    let layers = list(object(&mut config, "rootfs")?, "diff_ids")?;
    let below = layers.len();
    layers.extend(layer.map(|digest| json!(digest)));
    history(&mut config, (below, layer.is_some()), &change.history)?;
    if let Some(created) = change.history.last().and_then(|line| line.created) {
        config.insert("created".to_owned(), json!(created.to_string()));
    }
    if config == before { Ok(None) } else { manifest::write(&config).map(Some) }
}

fn object<'a>(of: &'a mut Object, key: &str) -> Result<&'a mut Object> {
    let value = of.entry(key).or_insert(Value::Null);
    if value.is_null() {
        *value = json!({});
    }
    value.as_object_mut().ok_or_else(|| malformed(key))
}

fn list<'a>(of: &'a mut Object, key: &str) -> Result<&'a mut Vec<Value>> {
    let value = of.entry(key).or_insert(Value::Null);
    if value.is_null() {
        *value = json!([]);
    }
    value.as_array_mut().ok_or_else(|| malformed(key))
}

fn malformed(key: &str) -> Error {
    Error::content(format!("the base's configuration is malformed: {key} has another form"))
}

/// Everything we know of how an image is run; what we do not know (a health check, a shell) stays.
fn replace(execution: &mut Object, new: &ImageConfig) {
    let set = |names: &[String]| Value::Object(names.iter().map(|name| (name.clone(), json!({}))).collect());
    let known = [
        ("User", json!(new.user)),
        ("ExposedPorts", set(&new.exposed)),
        ("Env", json!(new.env)),
        ("Entrypoint", json!(new.entrypoint)),
        ("Cmd", json!(new.command)),
        ("Volumes", set(&new.volumes)),
        ("WorkingDir", json!(new.workdir)),
        ("StopSignal", json!(new.stop_signal)),
        ("Labels", json!(new.labels)),
    ];
    for (key, value) in known {
        let empty = value == json!("") || value == json!([]) || value == json!({});
        if empty {
            execution.remove(key)
        } else {
            execution.insert(key.to_owned(), value)
        };
    }
    if new.kind == ContainerKind::System {
        let labels = execution.entry("Labels").or_insert_with(|| json!({}));
        labels[KIND_LABEL] = json!("system");
    }
}

/// Adds labels, and takes off those that say how the base came to be.
fn label(execution: &mut Object, change: &ConfigChange) -> Result<()> {
    let labels = object(execution, "Labels")?;
    labels.retain(|key, _| !ORIGIN_LABELS.contains(&key.as_str()));
    labels.extend(change.labels.iter().map(|(key, value)| (key.clone(), json!(value))));
    if labels.is_empty() {
        execution.remove("Labels");
    }
    Ok(())
}

/// Appends lines. Readers count those that are not empty against the layers, so a base that has none gets some.
fn history(config: &mut Object, (below, layer): (usize, bool), lines: &[HistoryLine]) -> Result<()> {
    if lines.is_empty() && !layer {
        return Ok(());
    }
    let invented = [HistoryLine { created_by: "roost commit".to_owned(), ..HistoryLine::default() }];
    let lines = if lines.is_empty() { &invented[..] } else { lines };
    let history = list(config, "history")?;
    let told = history.iter().filter(|line| line["empty_layer"] != json!(true)).count();
    for _ in told..below {
        history.insert(0, json!({"comment": "before"}));
    }
    let last = lines.len().saturating_sub(1);
    history.extend(lines.iter().enumerate().map(|(index, line)| entry(line, !(layer && index == last))));
    Ok(())
}

fn entry(line: &HistoryLine, empty: bool) -> Value {
    let mut entry = Object::new();
    for (key, text) in [("created_by", &line.created_by), ("comment", &line.comment)] {
        if !text.is_empty() {
            entry.insert(key.to_owned(), json!(text));
        }
    }
    if let Some(created) = line.created {
        entry.insert("created".to_owned(), json!(created.to_string()));
    }
    if empty {
        entry.insert("empty_layer".to_owned(), json!(true));
    }
    Value::Object(entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::image::COMMIT_LABEL;

    const BASE: &[u8] = br#"{"architecture":"amd64","author":"somebody","config":{"Cmd":["/bin/run"],"Env":["A=1"],
        "Healthcheck":{"Test":["CMD","x"]},"Labels":{"roost.commit":"old","kept":"1"}},"os":"linux",
        "rootfs":{"type":"layers","diff_ids":["sha256:aa"]}}"#;

    fn made(layer: Option<&Digest>, change: &ConfigChange) -> Value {
        let bytes = changed(BASE, layer, change).unwrap().unwrap_or_else(|| BASE.to_vec());
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn what_is_not_changed_stays_and_origins_are_not_inherited() {
        let layer = Digest::of(b"layer");
        let change = ConfigChange { labels: [(COMMIT_LABEL.to_owned(), "c1".to_owned())].into(), ..ConfigChange::default() };
        let made = made(Some(&layer), &change);
        assert_eq!(made["author"], "somebody");
        assert_eq!(made["config"]["Cmd"], json!(["/bin/run"]));
        assert_eq!(made["config"]["Labels"], json!({"kept": "1", "roost.commit": "c1"}));
        assert_eq!(made["rootfs"]["diff_ids"], json!(["sha256:aa", layer]));
        assert_eq!(made["history"], json!([{"comment": "before"}, {"created_by": "roost commit"}]));
    }

    #[test]
    fn an_execution_replaces_all_we_know_of_it() {
        let execution = ImageConfig {
            kind: ContainerKind::System,
            entrypoint: vec!["/sbin/init".to_owned()],
            exposed: vec!["80/tcp".to_owned()],
            ..ImageConfig::default()
        };
        let made = made(None, &ConfigChange { execution: Some(execution), ..ConfigChange::default() });
        let config = &made["config"];
        assert_eq!(config["Entrypoint"], json!(["/sbin/init"]));
        assert_eq!(config["ExposedPorts"], json!({"80/tcp": {}}));
        assert_eq!(config["Labels"], json!({"roost.kind": "system"}));
        assert!(config["Cmd"].is_null() && config["Env"].is_null(), "{config}");
        assert_eq!(config["Healthcheck"], json!({"Test": ["CMD", "x"]}));
    }

    #[test]
    fn lines_of_history_are_as_many_as_layers() {
        let line = |by: &str| HistoryLine { created_by: by.to_owned(), ..HistoryLine::default() };
        let layer = Digest::of(b"layer");
        let change = ConfigChange { history: vec![line("ENV A=2"), line("RUN x")], ..ConfigChange::default() };
        let full = made(Some(&layer), &change);
        assert_eq!(full["history"][1], json!({"created_by": "ENV A=2", "empty_layer": true}));
        assert_eq!(full["history"][2], json!({"created_by": "RUN x"}));
        assert_eq!(made(None, &change)["history"][2], json!({"created_by": "RUN x", "empty_layer": true}));
        assert!(made(None, &ConfigChange::default())["history"].is_null(), "nothing happened");
    }
}
