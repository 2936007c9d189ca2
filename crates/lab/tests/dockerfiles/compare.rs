//! Two images, and in what they differ.

use crate::{
    image::Image,
    tree::{Kind, Node},
};
use serde_json::Value;
use std::{collections::BTreeSet, fmt};

/// What of an image's `config` says how it is run. The rest is history, or of the builder.
const CONFIG: [&str; 13] = [
    "Cmd",
    "Entrypoint",
    "Env",
    "ExposedPorts",
    "Healthcheck",
    "Labels",
    "OnBuild",
    "Shell",
    "StopSignal",
    "User",
    "Volumes",
    "WorkingDir",
    "ArgsEscaped",
];
/// What stands beside `config`.
const BESIDE: [&str; 3] = ["architecture", "author", "os"];

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// A path, or a path and what of it, or `config` and what of it.
    pub at: String,
    /// What it is in our image.
    pub roost: String,
    /// What it is in buildah's.
    pub buildah: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} by roost, {} by buildah", self.at, self.roost, self.buildah)
    }
}

/// How two images are compared.
pub struct Terms<'a> {
    /// Seconds since 1970 from which on a time is that of the build, and says no more than that.
    pub since: i64,
    /// Paths whose content is random on purpose.
    pub random: &'a BTreeSet<String>,
}

/// In what the images differ, paths first, in order.
pub fn compare(roost: &Image, buildah: &Image, terms: &Terms<'_>) -> Vec<Difference> {
    let mut found = Vec::new();
    let paths: BTreeSet<&str> = roost.tree.paths().chain(buildah.tree.paths()).collect();
    for path in paths {
        let at = format!("/{path}");
        match (roost.tree.get(path), buildah.tree.get(path)) {
            // What no layer speaks of has the properties every unpacker gives it.
            (Some(ours), Some(theirs)) => {
                nodes(&mut found, &at, (ours, theirs), terms);
                let names = |image: &Image| image.tree.others(path).join(" ");
                note(&mut found, format!("{at} names"), names(roost), names(buildah));
            }
            (ours, theirs) => note(&mut found, at, words(ours), words(theirs)),
        }
    }
    found.extend(CONFIG.iter().flat_map(|key| {
        let of = |image: &Image| normal(&image.config["config"][key]);
        differ(format!("config {key}"), of(roost), of(buildah))
    }));
    found.extend(
        BESIDE.iter().flat_map(|key| differ((*key).to_owned(), normal(&roost.config[key]), normal(&buildah.config[key]))),
    );
    found
}

fn differ(at: String, roost: String, buildah: String) -> Option<Difference> {
    (roost != buildah).then_some(Difference { at, roost, buildah })
}

fn note(found: &mut Vec<Difference>, at: String, roost: String, buildah: String) {
    found.extend(differ(at, roost, buildah));
}

/// What a path is, in a word or two.
fn words(node: Option<&Node>) -> String {
    match node.map(|node| &node.kind) {
        None => "nothing".to_owned(),
        Some(Kind::File(size, _)) => format!("a file of {size} bytes"),
        Some(Kind::Folder) => "a folder".to_owned(),
        Some(Kind::Link(to)) => format!("a link to {to}"),
        Some(Kind::Device(kind, major, minor)) => format!("a device {kind} {major}:{minor}"),
        Some(Kind::Pipe) => "a pipe".to_owned(),
    }
}

fn nodes(found: &mut Vec<Difference>, at: &str, (ours, theirs): (&Node, &Node), terms: &Terms<'_>) {
    let random = terms.random.contains(at);
    let content = |node: &Node| match &node.kind {
        Kind::File(..) if random => "a file".to_owned(),
        Kind::File(size, digest) => format!("a file of {size} bytes, {}", digest.get(..12).unwrap_or(digest)),
        _ => words(Some(node)),
    };
    note(found, at.to_owned(), content(ours), content(theirs));
    // Nobody can set a symbolic link's.
    let mode = |node: &Node| if matches!(node.kind, Kind::Link(_)) { String::new() } else { format!("{:o}", node.mode) };
    note(found, format!("{at} mode"), mode(ours), mode(theirs));
    let owner = |node: &Node| format!("{}:{}", node.owner.0, node.owner.1);
    note(found, format!("{at} owner"), owner(ours), owner(theirs));
    let time = |node: &Node| node.mtime.map(|time| if time >= terms.since { "the build's".to_owned() } else { time.to_string() });
    if at != "/" {
        note(found, format!("{at} mtime"), time(ours).unwrap_or_default(), time(theirs).unwrap_or_default());
    }
    let names: BTreeSet<&String> = ours.xattrs.keys().chain(theirs.xattrs.keys()).collect();
    for name in names {
        let value =
            |node: &Node| node.xattrs.get(name).map_or_else(|| "nothing".to_owned(), |value| value.escape_ascii().to_string());
        note(found, format!("{at} {name}"), value(ours), value(theirs));
    }
}

/// A value as text; "nothing" for what says nothing. In an object 0 and `null` are left out: Docker's durations.
fn normal(value: &Value) -> String {
    let said = match value {
        Value::Null | Value::Bool(false) => None,
        Value::String(text) => (!text.is_empty()).then(|| value.clone()),
        Value::Array(list) => (!list.is_empty()).then(|| value.clone()),
        Value::Object(map) => {
            let said = map.iter().filter(|(_, value)| !value.is_null() && value.as_u64() != Some(0));
            (!map.is_empty()).then(|| Value::Object(said.map(|(key, value)| (key.clone(), value.clone())).collect()))
        }
        Value::Bool(true) | Value::Number(_) => Some(value.clone()),
    };
    said.map_or_else(|| "nothing".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Entry, Tree};
    use serde_json::json;
    use std::collections::BTreeMap;

    fn file(digest: &str) -> Node {
        let kind = Kind::File(1, digest.to_owned());
        Node { kind, mode: 0o644, owner: (0, 0), mtime: Some(5), xattrs: BTreeMap::new() }
    }

    fn image(nodes: &[(&str, Node)], config: Value) -> Image {
        let mut tree = Tree::default();
        let layer: Vec<Entry> = nodes.iter().map(|(path, node)| Entry::Made((*path).to_owned(), node.clone())).collect();
        tree.apply(&layer).unwrap();
        Image { config, tree }
    }

    fn found(roost: &Image, buildah: &Image) -> Vec<String> {
        let random = BTreeSet::from(["/random".to_owned()]);
        let terms = Terms { since: 100, random: &random };
        compare(roost, buildah, &terms).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn everything_that_can_differ_is_seen() {
        let xattrs = BTreeMap::from([("user.x".to_owned(), vec![0])]);
        let other = Node { mode: 0o755, owner: (1, 2), mtime: Some(200), xattrs, ..file("b") };
        let roost = image(&[("a", file("a")), ("b", file("a")), ("random", file("a"))], json!({"config": {"Cmd": ["a"]}}));
        let buildah =
            image(&[("a", other), ("c", file("a")), ("random", file("b"))], json!({"config": {"User": "x"}, "author": "me"}));
        let expected = [
            "/a: a file of 1 bytes, a by roost, a file of 1 bytes, b by buildah",
            "/a mode: 644 by roost, 755 by buildah",
            "/a owner: 0:0 by roost, 1:2 by buildah",
            "/a mtime: 5 by roost, the build's by buildah",
            "/a user.x: nothing by roost, \\x00 by buildah",
            "/b: a file of 1 bytes by roost, nothing by buildah",
            "/c: nothing by roost, a file of 1 bytes by buildah",
            "config Cmd: [\"a\"] by roost, nothing by buildah",
            "config User: nothing by roost, \"x\" by buildah",
            "author: nothing by roost, \"me\" by buildah",
        ];
        assert_eq!(found(&roost, &buildah), expected);
    }

    #[test]
    fn names_of_one_file_count() {
        let one = image(&[("a", file("a")), ("b", file("a"))], json!({}));
        let mut both = image(&[("a", file("a"))], json!({}));
        both.tree.apply(&[Entry::Hard("b".to_owned(), "a".to_owned())]).unwrap();
        assert_eq!(found(&one, &both), ["/a names:  by roost, b by buildah", "/b names:  by roost, a by buildah"]);
    }

    #[test]
    fn what_says_nothing_is_nothing() {
        let empty = json!({"config": {"Cmd": null, "Labels": {}, "Healthcheck": {"Test": ["NONE"], "Interval": 0}}});
        let absent = json!({"config": {"Healthcheck": {"Test": ["NONE"], "Interval": 0}, "User": "", "ArgsEscaped": false}});
        assert_eq!(found(&image(&[], empty), &image(&[], absent)), Vec::<String>::new());
    }
}
