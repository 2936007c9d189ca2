//! The machine's own package sources, narrowed to one release.
//!
//! Both of apt's forms (sources.list(5)): one line for each source, and paragraphs of fields (deb822).

use crate::{
    error::{Result, on},
    name,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where apt keeps its configuration.
pub const DEFAULT_DIR: &str = "/etc/apt";
/// Largest file of sources read.
const MAX_FILE: u64 = 1 << 20;

/// Sources of one release.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// In the form of one line each.
    pub lines: String,
    /// In paragraphs.
    pub paragraphs: String,
    /// Releases that sources were there for, the wanted one or not.
    pub releases: Vec<String>,
}

impl Sources {
    /// No source serves the release.
    pub const fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.paragraphs.is_empty()
    }
}

/// Reads the sources configured in `dir` that serve `release`.
pub fn sources(dir: &Path, release: &str) -> Result<Sources> {
    let mut sources = Sources::default();
    for path in files(dir)? {
        if fs::metadata(&path).map_err(on("read", &path))?.len() > MAX_FILE {
            tracing::warn!(path = %path.display(), "a file of package sources is too large and is passed over");
            continue;
        }
        let text = fs::read_to_string(&path).map_err(on("read", &path))?;
        if path.extension().is_some_and(|e| e == "sources") {
            add_paragraphs(&text, release, &mut sources);
        } else {
            add_lines(&text, release, &mut sources);
        }
    }
    sources.releases.sort();
    sources.releases.dedup();
    Ok(sources)
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let parts = dir.join("sources.list.d");
    let mut files = Vec::new();
    if parts.is_dir() {
        for entry in fs::read_dir(&parts).map_err(on("list", &parts))? {
            files.push(entry.map_err(on("list", &parts))?.path());
        }
    }
    files.retain(|path| path.is_file() && path.extension().is_some_and(|e| e == "list" || e == "sources"));
    files.sort();
    let main = dir.join("sources.list");
    if main.is_file() {
        files.insert(0, main);
    }
    Ok(files)
}

/// Whether a suite serves the release: itself, or its updates and security fixes (`bookworm-updates`,
/// `bookworm-security`, `bookworm/updates`). A path (ending in a slash) names no release and is taken for any.
fn serves(suite: &str, release: &str) -> bool {
    suite.ends_with('/')
        || suite.strip_prefix(release).is_some_and(|rest| matches!(rest, "" | "-updates" | "-security" | "/updates"))
}

/// The release a suite belongs to.
fn release_of(suite: &str) -> Option<String> {
    let release = suite.split(['-', '/']).next().unwrap_or_default();
    name::is_release(release).then(|| release.to_owned())
}

fn add_lines(text: &str, release: &str, sources: &mut Sources) {
    for line in text.lines().map(str::trim).filter(|line| line.starts_with("deb ") || line.starts_with("deb\t")) {
        let Some(suite) = suite_of_line(line) else { continue };
        sources.releases.extend(release_of(suite));
        if serves(suite, release) {
            sources.lines.push_str(line);
            sources.lines.push('\n');
        }
    }
}

/// `deb [options] uri suite component…`
fn suite_of_line(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("deb")?.trim_start();
    let rest = if rest.starts_with('[') { rest.split_once(']')?.1 } else { rest };
    rest.split_whitespace().nth(1)
}

fn add_paragraphs(text: &str, release: &str, sources: &mut Sources) {
    let text: String = text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{}\n", line.trim_end())).collect();
    for paragraph in text.split("\n\n").map(|p| p.trim_matches('\n')).filter(|p| !p.is_empty()) {
        let types = field(paragraph, "Types").unwrap_or_default();
        let enabled = field(paragraph, "Enabled").is_none_or(|value| !matches!(value.trim(), "no" | "false" | "0" | "off"));
        if !enabled || !types.split_whitespace().any(|kind| kind == "deb") {
            continue;
        }
        let suites = field(paragraph, "Suites").unwrap_or_default();
        sources.releases.extend(suites.split_whitespace().filter_map(release_of));
        let kept: Vec<&str> = suites.split_whitespace().filter(|suite| serves(suite, release)).collect();
        if !kept.is_empty() {
            sources.paragraphs.push_str(&narrowed(paragraph, &kept.join(" ")));
            sources.paragraphs.push('\n');
        }
    }
}

/// Splits a paragraph into its fields, each with its continuation lines.
fn fields(paragraph: &str) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in paragraph.lines() {
        match (line.starts_with([' ', '\t']), fields.last_mut(), line.split_once(':')) {
            (true, Some((_, value)), _) => {
                value.push('\n');
                value.push_str(line);
            }
            (false, _, Some((key, value))) => fields.push((key.to_owned(), value.to_owned())),
            _ => {}
        }
    }
    fields
}

fn field(paragraph: &str, name: &str) -> Option<String> {
    fields(paragraph).into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// The paragraph with only these suites, and without sources of sources.
fn narrowed(paragraph: &str, suites: &str) -> String {
    let mut text = String::new();
    for (key, value) in fields(paragraph) {
        match key.to_ascii_lowercase().as_str() {
            "types" => text.push_str("Types: deb\n"),
            "suites" => text.push_str(&format!("Suites: {suites}\n")),
            _ => text.push_str(&format!("{key}:{value}\n")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAGRAPHS: &str = "# ours\nTypes: deb deb-src\nURIs: http://mirror.test/debian\nSuites: bookworm bookworm-updates bookworm-backports\nComponents: main\nSigned-By:\n -----BEGIN\n .\n x\n\n\nTypes: deb\nURIs: http://mirror.test/security\nSuites: bookworm-security\nComponents: main\nEnabled: no\n\nTypes: deb\nURIs: http://tools.test\nSuites: jammy\nComponents: main\n";

    #[test]
    fn paragraphs_are_narrowed_to_the_release() {
        let mut sources = Sources::default();
        add_paragraphs(PARAGRAPHS, "bookworm", &mut sources);
        let wanted = "Types: deb\nURIs: http://mirror.test/debian\nSuites: bookworm bookworm-updates\nComponents: main\nSigned-By:\n -----BEGIN\n .\n x\n\n";
        assert_eq!(sources.paragraphs, wanted);
        assert_eq!(sources.releases, ["bookworm", "bookworm", "bookworm", "jammy"]);
    }

    #[test]
    fn lines_are_narrowed_to_the_release() {
        let text = "deb [signed-by=/a b=c] http://mirror.test/debian trixie main\ndeb-src http://mirror.test/debian bookworm main\n\
            deb http://mirror.test/debian bookworm main contrib\n# deb http://mirror.test/x bookworm main\ndeb\thttp://mirror.test/s bookworm-security main\n\
            deb [trusted=yes] copy:/srv/packages ./\n";
        let mut sources = Sources::default();
        add_lines(text, "bookworm", &mut sources);
        assert_eq!(
            sources.lines,
            "deb http://mirror.test/debian bookworm main contrib\ndeb\thttp://mirror.test/s bookworm-security main\ndeb [trusted=yes] copy:/srv/packages ./\n"
        );
        assert_eq!(sources.releases, ["trixie", "bookworm", "bookworm"]);
    }
}
