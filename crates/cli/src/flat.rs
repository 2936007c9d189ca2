//! Flockport's flat commands, rewritten to the canonical `noun verb` through one table. Pure.

use std::ffi::OsString;

/// Nouns that a verb may be glued to: `addjob`, `listjobs`.
const NOUNS: &[&str] = &["job", "server", "image", "registry", "token", "pub", "snapshot"];
/// Verbs that may be glued in front, and what they are called in the canonical form.
const VERBS: &[(&str, &str)] = &[
    ("add", "add"),
    ("del", "delete"),
    ("list", "list"),
    ("set", "set"),
    ("show", "show"),
    ("scale", "scale"),
    ("upgrade", "upgrade"),
    ("rollback", "rollback"),
];
/// The irregular ones.
const IRREGULAR: &[(&str, &[&str])] = &[
    ("ugradejob", &["job", "upgrade"]),
    ("upgrade", &["job", "upgrade"]),
    ("rollback", &["job", "rollback"]),
    ("scale", &["job", "scale"]),
    ("setsubnet", &["server", "set-subnet"]),
    ("pub", &["publish"]),
    ("unpub", &["unpublish"]),
    ("listpubs", &["publish", "--list"]),
    ("drain", &["server", "drain"]),
    ("undrain", &["server", "undrain"]),
    ("restoresnapshot", &["snapshot", "restore"]),
    ("ps", &["ls"]),
    ("pull", &["image", "pull"]),
    ("images", &["image", "list"]),
    ("servers", &["server", "list"]),
    ("jobs", &["job", "list"]),
];

/// Rewrites the first word if it is a flat command; everything else stays as it is.
pub fn rewrite(mut args: Vec<OsString>) -> Vec<OsString> {
    let first = first_word(&args);
    let words = args.get(first).and_then(|word| word.to_str()).and_then(canonical);
    if let Some(words) = words {
        args.splice(first..=first, words.into_iter().map(OsString::from));
    }
    args
}

/// Where the command stands: behind the global flags that precede it.
fn first_word(args: &[OsString]) -> usize {
    match args.get(1).and_then(|word| word.to_str()) {
        Some("--socket") => 3,
        Some(word) if word.starts_with("--socket=") => 2,
        _ => 1,
    }
}

/// Every flat command.
pub fn words() -> Vec<String> {
    let glued = VERBS.iter().flat_map(|(verb, _)| NOUNS.iter().map(move |noun| format!("{verb}{noun}")));
    glued.chain(IRREGULAR.iter().map(|(word, _)| (*word).to_owned())).collect()
}

fn canonical(word: &str) -> Option<Vec<String>> {
    if let Some((_, words)) = IRREGULAR.iter().find(|(flat, _)| *flat == word) {
        return Some(words.iter().map(|word| (*word).to_owned()).collect());
    }
    for (flat, verb) in VERBS {
        let Some(noun) = word.strip_prefix(flat) else { continue };
        let noun = noun.strip_suffix('s').unwrap_or(noun);
        if NOUNS.contains(&noun) {
            return Some(vec![noun.to_owned(), (*verb).to_owned()]);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &str) {
        let args = line.split(' ').map(OsString::from).collect();
        let rewritten: Vec<_> = rewrite(args).into_iter().map(|word| word.to_string_lossy().into_owned()).collect();
        assert_eq!(rewritten.join(" "), expected);
    }

    #[test]
    fn every_flat_form_of_the_seed_is_rewritten() {
        check("roost addjob c1 5 -g a", "roost job add c1 5 -g a");
        check("roost listjobs", "roost job list");
        check("roost showjob c1", "roost job show c1");
        check("roost scalejob c1 3", "roost job scale c1 3");
        check("roost ugradejob c1 -i 20", "roost job upgrade c1 -i 20");
        check("roost upgradejobs c1", "roost job upgrade c1");
        check("roost rollbackjob c1", "roost job rollback c1");
        check("roost deljob c1", "roost job delete c1");
        check("roost deljobs c1", "roost job delete c1");
        check("roost setsubnet s1 10.0.4.0/24", "roost server set-subnet s1 10.0.4.0/24");
        check("roost pub s1:ha1 80", "roost publish s1:ha1 80");
        check("roost addsnapshot c1 before", "roost snapshot add c1 before");
        check("roost listsnapshots c1", "roost snapshot list c1");
        check("roost restoresnapshot c1 before", "roost snapshot restore c1 before");
        check("roost delsnapshot c1 before", "roost snapshot delete c1 before");
        check("roost drain s2", "roost server drain s2");
        check("roost --socket /a addjob c1 5", "roost --socket /a job add c1 5");
        check("roost --socket=/a listjobs", "roost --socket=/a job list");
    }

    #[test]
    fn canonical_forms_and_everyday_verbs_stay() {
        check("roost job add c1 5", "roost job add c1 5");
        check("roost exec s2:c1 -- addjob", "roost exec s2:c1 -- addjob");
        check("roost start addjob", "roost start addjob");
    }
}
