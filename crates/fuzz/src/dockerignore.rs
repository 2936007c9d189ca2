//! `.dockerignore`: the last line decides, the root is never ignored, and what is pruned holds nothing that is wanted.

use ::recipe::Ignore;

/// Paths that are asked about, beside one from the input.
const PATHS: [&str; 6] = ["a", "a/b", "a/b/c.md", "node_modules/x", "é", "a b"];

/// The first line is a path to ask about, the others are the file.
pub fn holds(bytes: &[u8]) {
    let Some((path, text)) = crate::text(bytes).and_then(|text| text.split_once('\n')) else { return };
    let ignore = match Ignore::parse(text) {
        Ok(ignore) => ignore,
        Err(error) => return crate::sentence(&error),
    };
    assert!(!ignore.ignores("") && !ignore.ignores("."), "the root is ignored");
    for path in PATHS.into_iter().chain([path]) {
        let below = format!("{path}/below");
        if ignore.prunes(path) {
            assert!(ignore.ignores(path), "{path:?} is pruned and not ignored");
            assert!(ignore.ignores(&below), "{path:?} is pruned, and {below:?} not ignored");
        }
        assert_eq!(ignore.ignores(path), ignore.ignores(&format!("/{path}")), "{path:?} and the same from the root");
    }
    last_line_decides(text, path);
}

fn last_line_decides(text: &str, path: &str) {
    let paths = || PATHS.into_iter().chain(Some(path).filter(|path| is_plain(path)));
    if let Ok(all) = Ignore::parse(&format!("{text}\n**")) {
        assert!(paths().all(|path| all.ignores(path)), "** does not ignore everything");
    }
    if let Ok(none) = Ignore::parse(&format!("{text}\n!**")) {
        assert!(!paths().any(|path| none.ignores(path)), "!** does not take everything back");
    }
}

/// What a walk through a directory can come upon.
fn is_plain(path: &str) -> bool {
    path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}
