//! Which files a source of `COPY` or `ADD` means.

use crate::{
    error::{Error, Result, about},
    root::{Root, is_directory, look_at, relative},
    tree::names,
};
use recipe::effect::Source;
use std::{
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

/// Most files one pattern may mean.
const MATCHES_MAX: usize = 100_000;

/// Something to be copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    /// Where it is, from the origin's root.
    pub path: PathBuf,
    /// With `--parents`: where it goes to below the destination, directories of it like these.
    pub keep: Option<Kept>,
}

/// Directories that are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Below which.
    pub below: PathBuf,
    /// The path below it.
    pub path: PathBuf,
}

/// Everything these sources mean, in order. `whence` is for messages: `the build context`.
pub fn select(root: &Root, sources: &[Source], whence: &str) -> Result<Vec<Selected>> {
    let mut all = Vec::new();
    for source in sources {
        if source.is_pattern() {
            let deepest = source.path.split('/').count();
            let depth = if source.keep_below.is_some() { usize::MAX } else { deepest };
            matching(root, Path::new(""), (source, depth), &mut all)?;
        } else {
            let path = relative(&plain(&source.path));
            if root.look(&path)?.is_none() {
                return Err(Error::Wrong(format!("there is no {} in {whence}", source.path)));
            }
            all.push(selected(source, path));
        }
        if all.len() > MATCHES_MAX {
            return Err(Error::Wrong(format!("{} means more than {MATCHES_MAX} files", source.path)));
        }
    }
    Ok(all)
}

/// A text without the backslashes that keep it from being a pattern.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        plain.push(if letter == '\\' { letters.next().unwrap_or(letter) } else { letter });
    }
    plain
}

fn selected(source: &Source, path: PathBuf) -> Selected {
    let keep = source.keep_below.as_ref().map(|below| {
        let below = relative(below);
        let inner = path.strip_prefix(&below).unwrap_or(&path).to_owned();
        Kept { below, path: inner }
    });
    Selected { path, keep }
}

fn matching(root: &Root, directory: &Path, (source, depth): (&Source, usize), all: &mut Vec<Selected>) -> Result<()> {
    let opened = root.directory(directory).map_err(Error::errno(about("open", directory)))?;
    for name in names(opened.as_fd(), directory)? {
        let path = directory.join(&name);
        if source.matches(&path.to_string_lossy()) {
            all.push(selected(source, path));
            continue;
        }
        let stat = look_at(opened.as_fd(), &name).map_err(Error::errno(about("look at", &path)))?;
        if depth > 1 && stat.is_some_and(|stat| is_directory(&stat)) {
            matching(root, &path, (source, depth - 1), all)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn source(path: &str, keep_below: Option<&str>) -> Source {
        Source { path: path.to_owned(), keep_below: keep_below.map(str::to_owned) }
    }

    #[test]
    fn paths_and_patterns() {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir_all(top.path().join("src/deep")).unwrap();
        for file in ["a.txt", "b.txt", "src/main.c", "src/deep/x.c"] {
            fs::write(top.path().join(file), "").unwrap();
        }
        let root = Root::open(top.path()).unwrap();
        let found = |path: &str, keep: Option<&str>| {
            let found = select(&root, &[source(path, keep)], "the build context");
            found.map(|found| found.iter().map(|one| one.path.display().to_string()).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(found("*.txt", None).unwrap(), "a.txt b.txt");
        assert_eq!(found("src/*.c", None).unwrap(), "src/main.c");
        assert_eq!(found("s*", None).unwrap(), "src");
        assert_eq!(found("**/*.c", Some(".")).unwrap(), "src/deep/x.c src/main.c");
        assert_eq!(found("*.none", None).unwrap(), "");
        assert_eq!(found(".", None).unwrap(), "");
        fs::write(top.path().join("a*b"), "").unwrap();
        assert_eq!(found(r"a\*b", None).unwrap(), "a*b");
        assert_eq!(found("none", None).unwrap_err().to_string(), "there is no none in the build context");
        let kept = select(&root, &[source("src/deep/x.c", Some("src"))], "").unwrap();
        assert_eq!(kept[0].keep, Some(Kept { below: "src".into(), path: "deep/x.c".into() }));
    }
}
