//! Names in archives and requests: which are taken, and what whiteouts mean.

use api::error::sentence;

/// What the last part of a path in a layer means (OCI image specification, layer, "Whiteouts").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role<'a> {
    /// An entry like any other.
    Ordinary,
    /// This name of lower layers is hidden.
    Whiteout(&'a [u8]),
    /// Everything of lower layers in this directory is hidden.
    Opaque,
    /// Bookkeeping of another union file system (aufs): left out.
    Bookkeeping,
}

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const RESERVED: &[u8] = b".wh..wh.";

/// What a name in a layer means. A whiteout of nothing, or of `.` or `..`, is an error.
pub fn role(name: &[u8]) -> Result<Role<'_>, String> {
    match name.strip_prefix(WHITEOUT) {
        None => Ok(Role::Ordinary),
        Some(_) if name == OPAQUE => Ok(Role::Opaque),
        Some(_) if name.starts_with(RESERVED) => Ok(Role::Bookkeeping),
        Some(b"" | b"." | b"..") => Err(sentence(format!("entry {} hides nothing that can be named", name.escape_ascii()))),
        Some(hidden) => Ok(Role::Whiteout(hidden)),
    }
}

/// A path in an archive without empty parts and single dots, slashes between: empty for the root. A leading slash means the
/// archive's own root. One with `..` climbs out, or could, and is an error.
pub fn clean(path: &[u8]) -> Result<Vec<u8>, String> {
    if path.contains(&0) {
        return Err(sentence(format!("entry {} has a name with a zero byte", path.escape_ascii())));
    }
    let mut parts = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(sentence(format!("entry {} climbs out of the archive with '..'", path.escape_ascii()))),
            part => parts.push(part),
        }
    }
    Ok(parts.join(&b'/'))
}

/// A clean path as directory and last part.
pub fn split(clean: &[u8]) -> (&[u8], &[u8]) {
    match clean.iter().rposition(|b| *b == b'/') {
        Some(slash) => (clean.get(..slash).unwrap_or_default(), clean.get(slash + 1..).unwrap_or_default()),
        None => (b"", clean),
    }
}

/// Whether this can be a package (Debian Policy 5.6.1), so that it can stand in an argument.
pub fn is_package(name: &str) -> bool {
    (2..=100).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c))
}

/// Whether this can be the code name of a release: `bookworm`, `jammy`.
pub fn is_release(name: &str) -> bool {
    (2..=40).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn whiteouts() {
        assert_eq!(role(b"passwd"), Ok(Role::Ordinary));
        assert_eq!(role(b".wh.passwd"), Ok(Role::Whiteout(b"passwd")));
        assert_eq!(role(b".wh..wh..opq"), Ok(Role::Opaque));
        assert_eq!(role(b".wh..wh.plnk"), Ok(Role::Bookkeeping));
        assert_eq!(role(b".wh..hidden"), Ok(Role::Whiteout(b".hidden")));
        for bad in [&b".wh."[..], b".wh..", b".wh..."] {
            assert!(role(bad).is_err(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn packages_and_releases() {
        for good in ["nginx-light", "g++", "libc6", "0ad"] {
            assert!(is_package(good), "{good}");
        }
        for bad in ["", "a", "-y", "nginx light", "Nginx", "a/b", "a,b", "a;rm", "$(id)", "?essential", "./x.deb"] {
            assert!(!is_package(bad), "{bad}");
        }
        assert!(is_release("bookworm"));
        for bad in ["", "-x", "book worm", "../x", "Bookworm", "x=y"] {
            assert!(!is_release(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_clean_path_stays_inside(path in proptest::collection::vec(prop::sample::select(b"/.ab\0".to_vec()), 0..24)) {
            match clean(&path) {
                Ok(clean) => {
                    for part in clean.split(|b| *b == b'/') {
                        prop_assert!(clean.is_empty() || !matches!(part, b"" | b"." | b".."));
                    }
                    prop_assert_eq!(super::clean(&clean), Ok(clean.clone()));
                    let (dir, last) = split(&clean);
                    let joined = if dir.is_empty() { last.to_vec() } else { [dir, b"/", last].concat() };
                    prop_assert_eq!(joined, clean);
                }
                Err(_) => prop_assert!(path.contains(&0) || path.split(|b| *b == b'/').any(|p| p == b"..")),
            }
        }

        #[test]
        fn what_a_whiteout_hides_is_one_name(name in "[.wh]{0,8}[a-z]{0,3}") {
            if let Ok(Role::Whiteout(hidden)) = role(name.as_bytes()) {
                prop_assert!(!matches!(hidden, b"" | b"." | b".."));
                prop_assert_eq!([WHITEOUT, hidden].concat(), name.as_bytes());
            }
        }
    }
}
