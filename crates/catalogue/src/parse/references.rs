//! What the settings of an app refer to: it must be there, and lead back to nobody.

use crate::{
    app::{App, Database, Source},
    fields::Complaints,
    near,
    relations::{circle, round},
    text::Reference,
};

/// Whether it does without its address, from the field `url`.
pub fn url(app: &App, word: Option<&str>, out: &mut Complaints) -> bool {
    let refers = app.settings.values().flat_map(|setting| setting.source.references()).any(|it| matches!(it, Reference::Url(_)));
    match word {
        None => false,
        Some("optional" | "required") if !refers => {
            out.say("url", "url says whether its address must be known, but no setting refers to ${url}: leave it out");
            false
        }
        Some("optional") => true,
        Some("required") => false,
        Some(other) => {
            out.say("url", format!("url {other:?} is not known: use required or optional"));
            false
        }
    }
}

/// Complains about references that lead nowhere or in a circle, and about engines the app cannot use.
pub fn check(app: &App, out: &mut Complaints) {
    for (name, setting) in &app.settings {
        let field = format!("settings.{name}");
        for reference in setting.source.references() {
            if let Some(why) = wrong(app, reference) {
                out.say(&field, format!("{field} refers to {reference}, but {why}"));
            }
        }
        if let Some(engine) = setting.engine
            && !engines(app.database.as_ref()).any(|known| known == engine)
        {
            out.say(&field, format!("{field} is for {engine}, which is not among database.engines"));
        }
    }
    let next = |name: &str| app.settings.get(name).map(|setting| setting.source.settings().collect()).unwrap_or_default();
    for name in app.settings.keys() {
        if let Some(way) = circle(name, &next) {
            out.say(format!("settings.{name}"), format!("settings.{name} refers to itself: {}", round(&way, "refers to")));
        }
    }
}

fn engines(database: Option<&Database>) -> impl Iterator<Item = crate::app::Engine> {
    database.into_iter().flat_map(|database| database.engines.iter().copied())
}

fn wrong(app: &App, reference: &Reference) -> Option<String> {
    match reference {
        Reference::Name | Reference::Url(_) => None,
        Reference::Database(_) if app.database.is_some() => None,
        Reference::Database(_) => Some("it has no database: add [database]".to_owned()),
        Reference::Need(need) if app.needs.contains(need) => None,
        Reference::Need(need) => Some(format!("it does not need {need}: add [[needs]], app = \"{need}\"")),
        Reference::Secret(name) | Reference::Setting(name) => match app.settings.get(name) {
            None => Some(match near::nearest(name, app.settings.keys().map(String::as_str)) {
                Some(near) => format!("there is no such setting: did you mean {near}?"),
                None => "there is no such setting".to_owned(),
            }),
            Some(setting) if is_secret(reference) && !matches!(setting.source, Source::Secret { .. }) => {
                Some(format!("that is not generated: write ${{setting.{name}}}"))
            }
            Some(_) => None,
        },
    }
}

const fn is_secret(reference: &Reference) -> bool {
    matches!(reference, Reference::Secret(_))
}
