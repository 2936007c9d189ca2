//! Finding apps by words: of their names and titles, of the shelf they stand on, of what they are for.

use crate::{app::App, catalogue::Catalogue};
use std::cmp::Reverse;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found<'a> {
    /// Apps in which every word stands, the best first.
    pub apps: Vec<&'a App>,
    /// When there are none: names that may have been meant.
    pub near: Vec<&'a str>,
}

/// How much a place where a word stands is worth: the whole name or title, its beginning, a word's beginning, anywhere in it.
const NAME: [u32; 4] = [100, 60, 50, 35];
/// The same for the category.
const CATEGORY: [u32; 4] = [20, 18, 18, 10];
/// The same for the summary.
const SUMMARY: [u32; 4] = [14, 12, 12, 6];

impl Catalogue {
    /// Apps in which every one of these words stands, without regard to case. No words: all apps.
    pub fn search(&self, words: &str) -> Found<'_> {
        let words: Vec<String> = words.split_whitespace().map(str::to_lowercase).collect();
        let mut ranked: Vec<(Reverse<u32>, &App)> =
            self.apps().filter_map(|app| Some((Reverse(rank(app, &words)?), app))).collect();
        ranked.sort_by_key(|(rank, app)| (*rank, app.id.as_str()));
        let apps: Vec<&App> = ranked.into_iter().map(|(_, app)| app).collect();
        let near = if apps.is_empty() { self.meant(&words) } else { Vec::new() };
        Found { apps, near }
    }

    fn meant(&self, words: &[String]) -> Vec<&str> {
        let mut meant = Vec::new();
        for id in words.iter().flat_map(|word| self.near(word)) {
            if !meant.contains(&id) {
                meant.push(id);
            }
        }
        meant
    }
}

/// How well an app fits these words; nothing when one of them stands nowhere.
fn rank(app: &App, words: &[String]) -> Option<u32> {
    words.iter().try_fold(0_u32, |sum, word| {
        let name = worth(&app.id, word, NAME).max(worth(&app.title, word, NAME));
        let rank = name + worth(&app.category, word, CATEGORY) + worth(&app.summary, word, SUMMARY);
        (rank > 0).then_some(sum + rank)
    })
}

fn worth(text: &str, word: &str, [whole, beginning, within, anywhere]: [u32; 4]) -> u32 {
    let text = text.to_lowercase();
    let mut words = text.split(|c: char| !c.is_alphanumeric());
    if text == word {
        whole
    } else if text.starts_with(word) {
        beginning
    } else if words.any(|part| part.starts_with(word)) {
        within
    } else if text.contains(word) {
        anywhere
    } else {
        0
    }
}
