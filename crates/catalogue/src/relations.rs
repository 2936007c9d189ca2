//! How apps stand to each other: what one needs must be there and must not need it back, and each has its own title.

use crate::{
    app::App,
    near,
    parse::file_name,
    problem::{Complaint, choice},
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What is wrong between these apps.
pub fn check(apps: &BTreeMap<String, App>) -> Vec<Complaint> {
    let mut complaints: Vec<Complaint> = apps.values().flat_map(|app| unknown_needs(app, apps)).collect();
    complaints.extend(circles(apps));
    complaints.extend(same_titles(apps));
    complaints
}

fn complaint(id: &str, field: &str, says: String) -> Complaint {
    Complaint { file: file_name(id), line: 0, field: field.to_owned(), says }
}

fn unknown_needs(app: &App, apps: &BTreeMap<String, App>) -> Vec<Complaint> {
    let unknown = app.needs.iter().filter(|need| !apps.contains_key(*need));
    let says = |need: &String| match near::nearest(need, apps.keys().map(String::as_str)) {
        Some(near) => format!("it needs {need}, which is no app: did you mean {near}?"),
        None => format!("it needs {need}, which is no app"),
    };
    unknown.map(|need| complaint(&app.id, "needs", says(need))).collect()
}

fn circles(apps: &BTreeMap<String, App>) -> Vec<Complaint> {
    let next = |id: &str| apps.get(id).map(|app| app.needs.iter().map(String::as_str).collect()).unwrap_or_default();
    let found = apps.keys().filter_map(|id| Some((id, circle(id, &next)?)));
    found.map(|(id, way)| complaint(id, "needs", format!("it needs itself: {}", round(&way, "needs")))).collect()
}

fn same_titles(apps: &BTreeMap<String, App>) -> Vec<Complaint> {
    let mut titles: BTreeMap<String, Vec<&App>> = BTreeMap::new();
    for app in apps.values() {
        titles.entry(app.title.to_lowercase()).or_default().push(app);
    }
    let shared = titles.into_values().filter(|apps| apps.len() > 1);
    let says = |apps: Vec<&App>| {
        let [first, others @ ..] = apps.as_slice() else { return None };
        let files: Vec<String> = others.iter().map(|app| file_name(&app.id)).collect();
        Some(complaint(
            &first.id,
            "title",
            format!("title {:?} is also that of {}: give each its own", first.title, choice(&files)),
        ))
    };
    shared.filter_map(says).collect()
}

/// The shortest way from a name back to itself, if there is one and none on it comes earlier in the alphabet: so each circle
/// is found once. The name stands at both ends.
pub fn circle<'a>(start: &'a str, next: &dyn Fn(&str) -> Vec<&'a str>) -> Option<Vec<&'a str>> {
    let mut waiting = VecDeque::from([vec![start]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = waiting.pop_front() {
        for name in next(way.last()?) {
            if name == start {
                return Some([way, vec![start]].concat());
            }
            if name > start && seen.insert(name) {
                waiting.push_back([way.clone(), vec![name]].concat());
            }
        }
    }
    None
}

/// A circle in words: `a needs b, b needs a`.
pub fn round(way: &[&str], verb: &str) -> String {
    let steps: Vec<String> = way.windows(2).map(|pair| format!("{} {verb} {}", pair[0], pair[1])).collect();
    steps.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_circle_is_found_once() {
        let ways =
            BTreeMap::from([("a", vec!["b"]), ("b", vec!["c", "d"]), ("c", vec!["b"]), ("d", vec!["a"]), ("e", vec!["e"])]);
        let next = |name: &str| ways.get(name).cloned().unwrap_or_default();
        let found: Vec<String> = ways.keys().filter_map(|name| circle(name, &next)).map(|way| way.join(" ")).collect();
        assert_eq!(found, ["a b d a", "b c b", "e e"]);
        assert_eq!(round(&["a", "b", "a"], "needs"), "a needs b, b needs a");
    }
}
