//! Laws: no text makes `parse` panic, and no request leaves a reference behind.

use super::{compiled, database, letters};
use crate::{App, Engine, Request, instantiate, parse};
use proptest::prelude::*;

/// Pieces that files are made of, right and wrong.
const PIECES: [&str; 29] = [
    "title",
    "image",
    "web",
    "ports",
    "volumes",
    "command",
    "packages",
    "serves",
    "url",
    "[database]\n",
    "engines",
    "words",
    "optional",
    "[[needs]]\n",
    "app",
    "[settings.A]\n",
    "[settings]\n",
    "[check]\n",
    "value",
    "secret",
    "form",
    "prefix",
    "engine",
    "about",
    "required",
    "http",
    "tcp",
    "check",
    "needs",
];

/// Values, right and wrong.
const VALUES: [&str; 18] = [
    "\"x\"",
    "\"\"",
    "\"${setting.A}\"",
    "\"${\"",
    "\"${secret.}\"",
    "\"/a\"",
    "1",
    "-1",
    "99999999999",
    "true",
    "1.5",
    "[]",
    "[\"a\"]",
    "[1]",
    "{}",
    "{ mysql = \"a\" }",
    "\"mysql\"",
    "1979-05-27",
];

fn soup() -> impl Strategy<Value = String> {
    let piece = proptest::sample::select(&PIECES[..]);
    let value = proptest::sample::select(&VALUES[..]);
    let line = (piece, value, any::<bool>()).prop_map(|(piece, value, both)| match both {
        true => format!("{piece} = {value}\n"),
        false => format!("{piece}\n"),
    });
    proptest::collection::vec(line, 0..12).prop_map(|lines| lines.concat())
}

fn an_app() -> impl Strategy<Value = App> {
    let apps: Vec<App> = compiled().apps().cloned().collect();
    proptest::sample::select(apps)
}

fn request_for(app: &App, name: String, url: Option<String>, engine: Option<Engine>, given: u64) -> Request {
    let chosen = app.settings.keys().enumerate().filter(|(index, _)| given >> (index % 64) & 1 == 1);
    let engine = engine.filter(|engine| app.database.as_ref().is_some_and(|wanted| wanted.engines.contains(engine)));
    Request {
        name,
        url,
        settings: chosen.map(|(index, key)| (key.clone(), format!("given {index}"))).collect(),
        database: engine.map(database),
        needs: app.needs.iter().map(|need| (need.clone(), format!("{need}.internal"))).collect(),
    }
}

proptest! {
    #[test]
    fn no_text_makes_parse_panic(id in ".{0,20}", text in ".{0,400}") {
        let _ = parse(&id, &text);
    }

    #[test]
    fn no_soup_of_fields_makes_parse_panic(text in soup()) {
        if let Err(problems) = parse("soup", &text) {
            prop_assert!(!problems.0.is_empty());
            prop_assert!(problems.0.iter().all(|complaint| complaint.to_string().starts_with("apps/soup.toml")));
        }
    }

    #[test]
    fn no_reference_is_left_behind(
        app in an_app(),
        name in "[a-z0-9-]{1,20}",
        url in proptest::option::of("(https?://)?[a-z]{1,9}\\.org(:[1-9][0-9]{0,3})?(/[a-z]{1,5})?"),
        engine in proptest::option::of(proptest::sample::select(&Engine::ALL[..])),
        given in any::<u64>(),
    ) {
        let request = request_for(&app, name, url, engine, given);
        if let Ok(instance) = instantiate(&app, &request, &mut letters()) {
            for (name, value) in &instance.env {
                prop_assert!(!value.contains("${"), "{name}={value}");
            }
            prop_assert!(instance.secrets.iter().all(|name| instance.env.contains_key(name)));
            prop_assert!(instance.env.keys().all(|name| app.settings.contains_key(name)));
            for (name, value) in &request.settings {
                prop_assert_eq!(instance.env.get(name), Some(value));
            }
        }
    }
}
