//! Paths as text, cleaned without looking at any file system.

/// The shortest path that means the same, as Go's `path.Clean`: no `.`, no inner `..`, no double or trailing slashes. An empty
/// path is `.`; what climbs above an absolute root stays at the root.
pub fn clean(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if absolute => {}
            part => parts.push(part),
        }
    }
    match (absolute, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

/// The path below the root it is relative to: cleaned, without a leading slash, `.` for the root itself. Nothing, when it
/// climbs out. A leading slash means the root, as it does in Dockerfiles.
pub fn inside(path: &str) -> Option<String> {
    let relative = clean(path.trim_start_matches('/'));
    (relative != ".." && !relative.starts_with("../")).then_some(relative)
}

/// The path below a root that nothing climbs above: cleaned, without a leading slash, `.` for the root itself.
pub fn rooted(path: &str) -> String {
    let cleaned = clean(&format!("/{path}"));
    if cleaned == "/" { ".".to_owned() } else { cleaned.trim_start_matches('/').to_owned() }
}

/// The path seen from a directory, cleaned; a trailing slash, or a last `.` or `..`, says that it is a directory and leaves a slash.
pub fn from_directory(directory: &str, path: &str) -> String {
    let joined = if path.starts_with('/') { path.to_owned() } else { format!("/{directory}/{path}") };
    let cleaned = clean(&joined);
    if is_directory(path) && cleaned != "/" { format!("{cleaned}/") } else { cleaned }
}

/// Whether a path as written can only be a directory.
pub fn is_directory(path: &str) -> bool {
    path.is_empty() || path.ends_with('/') || matches!(path.rsplit('/').next(), Some("." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaned() {
        for (path, expected) in [
            ("", "."),
            ("/", "/"),
            ("a//b/./c/", "a/b/c"),
            ("a/../b", "b"),
            ("../a", "../a"),
            ("/../a", "/a"),
            ("a/../..", ".."),
            ("./", "."),
            ("a/b/../../..", ".."),
        ] {
            assert_eq!(clean(path), expected, "{path}");
        }
    }

    #[test]
    fn what_climbs_out_is_noticed() {
        assert_eq!(inside("a/../b").as_deref(), Some("b"));
        assert_eq!(inside("/a").as_deref(), Some("a"));
        assert_eq!(inside("").as_deref(), Some("."));
        for out in ["..", "../x", "a/../../b", "/../x"] {
            assert_eq!(inside(out), None, "{out}");
        }
    }

    #[test]
    fn nothing_climbs_above_a_root() {
        assert_eq!(rooted("../../etc/passwd"), "etc/passwd");
        assert_eq!(rooted("/a/./b/"), "a/b");
        assert_eq!(rooted(""), ".");
        assert_eq!(rooted("/.."), ".");
    }

    #[test]
    fn destinations_keep_their_slash() {
        assert_eq!(from_directory("/app", "."), "/app/");
        assert_eq!(from_directory("/app", "bin/"), "/app/bin/");
        assert_eq!(from_directory("/app", "bin"), "/app/bin");
        assert_eq!(from_directory("/app", "/x/../y"), "/y");
        assert_eq!(from_directory("/app", "../x"), "/x");
        assert_eq!(from_directory("", ""), "/");
        assert_eq!(from_directory("/", "./"), "/");
    }
}
