//! All apps together: those that are compiled in, and a user's own.

use crate::{
    app::{App, Engine},
    line::line_of,
    near,
    parse::{file_name, parse},
    problem::{Complaint, Problem, Problems},
    relations,
};
use std::collections::BTreeMap;

/// The files of `apps`, in the order of their names.
const FILES: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/apps.rs"));

/// Names that are suggested at most.
const SUGGESTIONS: usize = 5;

/// Apps by their names. What each needs is among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    apps: BTreeMap<String, App>,
}

impl Catalogue {
    /// The apps that are compiled in.
    pub fn compiled() -> Result<Self, Problems> {
        Self::default().extended(FILES.iter().copied())
    }

    /// These apps and more, each given as its name and the text of its file. One of the same name takes the other's place.
    pub fn extended<'a>(&self, files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Problems> {
        let mut apps = self.apps.clone();
        let mut complaints = Vec::new();
        let mut given = BTreeMap::new();
        for (id, text) in files {
            if given.insert(id, text).is_some() {
                let says = "there are two files of this name: keep one".to_owned();
                complaints.push(Complaint { file: file_name(id), line: 0, field: String::new(), says });
            }
            match parse(id, text) {
                Ok(app) => drop(apps.insert(app.id.clone(), app)),
                Err(problems) => complaints.extend(problems.0),
            }
        }
        // What is not there because it could not be read would be complained about twice.
        if complaints.is_empty() {
            complaints = relations::check(&apps);
            for (id, text) in given {
                let its = complaints.iter_mut().filter(|complaint| complaint.file == file_name(id));
                its.for_each(|complaint| complaint.line = line_of(text, &complaint.field));
            }
        }
        if complaints.is_empty() { Ok(Self { apps }) } else { Err(Problems(complaints)) }
    }

    /// All of them, by name.
    pub fn apps(&self) -> impl Iterator<Item = &App> {
        self.apps.values()
    }

    /// The app of this name.
    pub fn get(&self, id: &str) -> Option<&App> {
        self.apps.get(id)
    }

    /// The app that is another's database of this kind: of several the first by name, of ours and a user's own alike.
    pub fn server_of(&self, engine: Engine) -> Option<&App> {
        self.apps().find(|app| app.serves.as_ref().is_some_and(|serves| serves.engine == engine))
    }

    /// The app of this name, or a sentence with those that were probably meant.
    pub fn find(&self, id: &str) -> Result<&App, Problem> {
        self.get(id).ok_or_else(|| Problem::UnknownApp {
            id: id.to_owned(),
            near: self.near(id).into_iter().map(str::to_owned).collect(),
        })
    }

    /// Names of apps that a mistyped word may have meant, the nearest first: by name, or by a word of the title.
    pub fn near(&self, word: &str) -> Vec<&str> {
        let letters = |app: &App| {
            let words = app.title.split(|c: char| !c.is_alphanumeric()).chain([app.id.as_str()]);
            words.filter_map(|known| near::nearness(word, known)).min()
        };
        let mut near: Vec<(usize, &str)> = self.apps().filter_map(|app| Some((letters(app)?, app.id.as_str()))).collect();
        near.sort_unstable();
        near.into_iter().map(|(_, id)| id).take(SUGGESTIONS).collect()
    }

    /// What must run before this app, each after what it needs itself. Empty for an app that needs nothing, or is unknown.
    pub fn needed(&self, id: &str) -> Vec<&App> {
        let mut ordered = Vec::new();
        self.put_needed(id, &mut ordered);
        ordered
    }

    /// Ends, since no app that is here needs itself.
    fn put_needed<'a>(&'a self, id: &str, ordered: &mut Vec<&'a App>) {
        for need in self.get(id).into_iter().flat_map(|app| &app.needs) {
            if let Some(app) = self.get(need)
                && !ordered.contains(&app)
            {
                self.put_needed(need, ordered);
                ordered.push(app);
            }
        }
    }

    /// Apps by the shelf they stand on.
    pub fn categories(&self) -> BTreeMap<&str, Vec<&App>> {
        let mut shelves: BTreeMap<&str, Vec<&App>> = BTreeMap::new();
        for app in self.apps() {
            shelves.entry(app.category.as_str()).or_default().push(app);
        }
        shelves
    }
}
