//! Files of the catalogue: what is let through can be made into an instance, and what is refused is refused by name and field.

use ::catalogue::{App, Catalogue, DatabaseAccess, Request, Source, instantiate, parse};
use std::collections::BTreeMap;

/// Reads; then asks for an instance with everything that must be given.
pub fn holds(bytes: &[u8]) {
    let Some(text) = crate::text(bytes) else { return };
    match parse("fuzzed", text) {
        Ok(app) => {
            instance_of(&app);
            alone(&app, text);
        }
        Err(problems) => {
            assert!(!problems.0.is_empty(), "refused without a reason");
            for complaint in &problems.0 {
                assert_eq!(complaint.file, "apps/fuzzed.toml");
                crate::sentence(complaint);
            }
        }
    }
}

fn instance_of(app: &App) {
    let instance = match instantiate(app, &request(app), &mut |length| "s".repeat(length)) {
        Ok(instance) => instance,
        Err(problem) => panic!("an app that was let through cannot be made: {problem}"),
    };
    assert!(instance.env.keys().all(|name| app.settings.contains_key(name)), "a variable that is no setting");
    assert!(instance.secrets.iter().all(|name| instance.env.contains_key(name)), "a secret that is no variable");
    assert_eq!(api::image::normalise(&instance.image).ok().as_ref(), Some(&instance.image), "an image without a version");
    if let Err(problem) = instantiate(app, &Request { name: "x".to_owned(), ..Request::default() }, &mut |n| "s".repeat(n)) {
        crate::sentence(&problem);
    }
}

/// Everything that can be asked for.
fn request(app: &App) -> Request {
    let engine = app.database.as_ref().and_then(|database| database.engines.first());
    let database = engine.map(|engine| DatabaseAccess {
        engine: *engine,
        host: "db.internal".to_owned(),
        port: 5432,
        name: "db".to_owned(),
        user: "user".to_owned(),
        password: "p@ss:word/".to_owned(),
    });
    let required = app.settings.iter().filter(|(_, setting)| setting.source == Source::Required);
    Request {
        name: "fuzzed".to_owned(),
        url: Some("https://blog.example.org/path".to_owned()),
        settings: required.map(|(name, _)| (name.clone(), "given".to_owned())).collect(),
        database,
        needs: app.needs.iter().map(|need| (need.clone(), format!("{need}.internal"))).collect::<BTreeMap<_, _>>(),
    }
}

/// A catalogue of this one file is one, unless something that it needs is not in it.
fn alone(app: &App, text: &str) {
    match Catalogue::default().extended([("fuzzed", text)]) {
        Ok(catalogue) => assert_eq!(catalogue.find("fuzzed").ok(), Some(app)),
        Err(problems) => {
            assert!(!app.needs.is_empty(), "refused though it needs nothing: {problems}");
            problems.0.iter().for_each(crate::sentence);
        }
    }
}
