//! The files in `apps`: each is right, says where its image is, and can be made into something that runs.

use super::{compiled, database, letters};
use crate::{App, Engine, Request, Source, instantiate};
use std::collections::BTreeMap;

/// Apps that are there at least.
const APPS: usize = 210;

/// Apps whose image is `latest`: nobody knows which version runs. The list may only shrink.
const LATEST: [&str; 13] = [
    "excalidraw",
    "flarum",
    "grav",
    "grist",
    "hasura",
    "kanboard",
    "leantime",
    "metabase",
    "nodebb",
    "owncast",
    "parse-server",
    "taiga",
    "wekan",
];

/// Where apps stand. A new shelf is a decision, a mistyped one is not.
const SHELVES: [&str; 24] = [
    "AI",
    "Admin tools",
    "Analytics",
    "Automation & low-code",
    "CMS & blogs",
    "Chat & community",
    "Databases & stores",
    "E-commerce",
    "ERP, CRM & business",
    "Files & storage",
    "Finance",
    "Git, CI & artefacts",
    "Home automation",
    "Household & utilities",
    "Identity & secrets",
    "Mail",
    "Monitoring & logs",
    "Network services",
    "Photos & media",
    "Project management",
    "Queues & messaging",
    "Reading & bookmarks",
    "Web & proxy",
    "Wiki & documents",
];

/// Longest summary that fits beside a name in a terminal.
const SUMMARY: usize = 80;

#[test]
fn every_file_is_right() {
    assert!(compiled().apps().count() >= APPS);
}

#[test]
fn what_was_promised_is_there() {
    let catalogue = compiled();
    for id in [
        "wordpress",
        "minio",
        "mattermost",
        "discourse",
        "mysql",
        "mariadb",
        "postgresql",
        "nginx",
        "haproxy",
        "consul",
        "keepalived",
    ] {
        assert!(catalogue.get(id).is_some(), "{id}");
    }
}

#[test]
fn apps_without_a_version_are_listed() {
    let catalogue = compiled();
    let latest: Vec<&str> = catalogue.apps().filter(|app| app.image.ends_with(":latest")).map(|app| app.id.as_str()).collect();
    assert_eq!(latest, LATEST, "the list may only shrink: name a version");
}

#[test]
fn images_say_which_registry_they_are_from() {
    for app in compiled().apps() {
        let registry = app.image.split_once('/').map_or("", |(registry, _)| registry);
        assert!(registry.contains('.'), "{}: {}", app.id, app.image);
    }
}

#[test]
fn lines_fit_and_are_plain() {
    for app in compiled().apps() {
        assert!(app.summary.chars().count() <= SUMMARY, "{}: {}", app.id, app.summary);
        let notes = app.notes.as_deref().unwrap_or_default();
        let abouts = app.settings.values().filter_map(|setting| setting.about.as_deref());
        for line in abouts.chain([app.summary.as_str(), notes]) {
            assert!(!line.ends_with('.') && line == line.trim(), "{}: {line}", app.id);
        }
    }
}

#[test]
fn shelves_are_those_there_are() {
    let catalogue = compiled();
    assert_eq!(catalogue.categories().into_keys().collect::<Vec<_>>(), SHELVES);
}

/// Apps that can be made from packages at least.
const PACKAGED: usize = 12;

#[test]
fn apps_can_be_had_where_only_packages_can() {
    let catalogue = compiled();
    let packaged: Vec<&App> = catalogue.apps().filter(|app| app.packages.is_some()).collect();
    assert!(packaged.len() >= PACKAGED, "{}", packaged.len());
    for app in packaged {
        let packages = app.packages.as_ref().unwrap();
        // What runs is of the packages, or a file of ours.
        let program = &packages.command[0];
        assert!(program.starts_with('/'), "{}: {program}", app.id);
        assert!(app.packaged().is_some_and(|packaged| packaged.check.is_some()), "{} has no check", app.id);
        for (path, content) in packages.files.iter().filter(|(_, content)| content.starts_with("#!")) {
            assert!(content.contains("\nset -eu\n"), "{}: {path} goes on after an error", app.id);
            assert!(!content.contains("set -x"), "{}: {path} says its secrets", app.id);
        }
    }
}

#[test]
fn each_kind_of_database_is_served_by_one_app() {
    let catalogue = compiled();
    for engine in Engine::ALL {
        let served = catalogue.server_of(engine).unwrap_or_else(|| panic!("no app serves {engine}"));
        let serves = served.serves.as_ref().unwrap();
        assert!(served.ports.iter().any(|port| port.number == serves.port), "{}", served.id);
    }
    let sql = catalogue.apps().filter(|app| app.database.as_ref().is_some_and(|database| !database.optional));
    for app in sql {
        let engine = app.database.as_ref().unwrap().engines[0];
        assert!(catalogue.server_of(engine).is_some(), "{}", app.id);
    }
}

/// A request with everything an app can ask for.
fn full(app: &App, engine: Option<Engine>) -> Request {
    let required = app.settings.iter().filter(|(_, setting)| setting.source == Source::Required);
    Request {
        name: "mine".into(),
        url: Some("https://mine.example.org".into()),
        settings: required.map(|(name, _)| (name.clone(), "given".into())).collect(),
        database: engine.map(database),
        needs: app.needs.iter().map(|need| (need.clone(), format!("{need}.internal"))).collect(),
    }
}

#[test]
fn every_app_can_be_made_with_each_of_its_databases() {
    for app in compiled().apps() {
        let mut ways: Vec<Option<Engine>> = Vec::new();
        match &app.database {
            None => ways.push(None),
            Some(database) => {
                ways.extend(database.engines.iter().copied().map(Some));
                ways.extend(database.optional.then_some(None));
            }
        }
        for engine in ways {
            let instance = instantiate(app, &full(app, engine), &mut letters()).unwrap_or_else(|why| panic!("{why}"));
            for (name, value) in &instance.env {
                assert!(!value.contains("${"), "{}: {name}={value}", app.id);
            }
            assert_eq!(instance.check.is_some(), app.check.is_some(), "{}", app.id);
        }
    }
}

#[test]
fn passwords_are_never_shown() {
    for app in compiled().apps() {
        let engine = app.database.as_ref().map(|database| database.engines[0]);
        let instance = instantiate(app, &full(app, engine), &mut letters()).unwrap_or_else(|why| panic!("{why}"));
        let shown = format!("{instance:?}");
        assert!(!shown.contains("p@ss/word") && !shown.contains("p%40ss%2Fword"), "{}: {shown}", app.id);
        for (name, value) in instance.env.iter().filter(|(name, _)| !instance.secrets.contains(*name)) {
            let generated = value.len() > 7 && value.bytes().all(|b| value.as_bytes()[0] == b);
            assert!(!generated, "{}: {name} is generated and no secret", app.id);
        }
    }
}

#[test]
fn apps_that_do_without_an_address_are_made_without_one() {
    for app in compiled().apps().filter(|app| app.url_optional) {
        let engine = app.database.as_ref().map(|database| database.engines[0]);
        let request = Request { url: None, ..full(app, engine) };
        let with = instantiate(app, &full(app, engine), &mut letters()).unwrap().env;
        let without = instantiate(app, &request, &mut letters()).unwrap().env;
        let left_out: BTreeMap<_, _> = with.iter().filter(|(name, _)| !without.contains_key(*name)).collect();
        assert!(!left_out.is_empty(), "{}", app.id);
        assert!(
            left_out.values().all(|value| value.contains("mine.example.org") || *value == "https"),
            "{}: {left_out:?}",
            app.id
        );
    }
}
