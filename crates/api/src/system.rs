//! What only concerns system containers: how far they are trusted, when they start, raw keys of LXC.

use crate::{quantity::Span, spec::ContainerKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of a system container beyond those every container has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SystemRules {
    /// Root inside is root outside. Without it root inside is an unprivileged user outside.
    #[serde(default)]
    pub privileged: bool,
    /// Containers may be run inside.
    #[serde(default)]
    pub nesting: bool,
    /// Further lines of LXC's configuration, key and value, in order.
    #[serde(default)]
    pub lxc: Vec<(String, String)>,
    /// When its server starts: lower ones first, one after the other. Without it at once, beside all others.
    #[serde(default)]
    pub autostart_order: Option<u32>,
    /// When its server starts: pause after this one before the next in order is started.
    #[serde(default)]
    pub autostart_delay: Span,
}

/// Most raw keys of one container.
const KEYS_MAX: usize = 256;

/// Keys that Roost sets itself, by their beginnings, and what to do instead or why not at all.
const OURS: [(&str, &str); 30] = [
    ("lxc.rootfs.", "its files are the image's and its own layer"),
    ("lxc.net", "its network is the cluster's: see --ip and --publish"),
    ("lxc.namespace.", "its network namespace is made by Roost"),
    ("lxc.uts.", "its host name is its name"),
    ("lxc.log.", "its log is kept by Roost: see roost logs"),
    ("lxc.console.", "its console leads to its log: see roost logs and roost attach"),
    ("lxc.tty.", "its console leads to its log: see roost logs and roost attach"),
    ("lxc.cgroup.dir", "its cgroup is where Roost finds it again"),
    ("lxc.cgroup.relative", "its cgroup is where Roost finds it again"),
    ("lxc.idmap", "its users are mapped by Roost: --privileged turns that off"),
    ("lxc.include", "another file may hold keys that are refused: give the keys themselves"),
    ("lxc.signal.", "it is stopped as its init wants it: see --stop-timeout"),
    ("lxc.monitor.", "it is looked after by Roost"),
    ("lxc.start.", "Roost starts it: see --autostart-order and --autostart-delay"),
    ("lxc.group", "Roost starts it: see --autostart-order and --autostart-delay"),
    ("lxc.ephemeral", "roost rm removes it"),
    ("lxc.execute.", "give the program behind the image"),
    ("lxc.init.cmd", "give the program behind the image"),
    ("lxc.init.uid", "see --user"),
    ("lxc.init.gid", "see --user"),
    ("lxc.cgroup.memory.limit_in_bytes", "see --memory"),
    ("lxc.cgroup.memory.memsw", "see --memory"),
    ("lxc.cgroup.cpu.cfs", "see --cpu"),
    ("lxc.cgroup.pids.max", "see --pids"),
    ("lxc.cgroup2.memory.max", "see --memory"),
    ("lxc.cgroup2.memory.swap", "see --memory"),
    ("lxc.cgroup2.cpu.max", "see --cpu"),
    ("lxc.cgroup2.pids.max", "see --pids"),
    ("lxc.mount.fstab", "another file may hold anything: give lxc.mount.entry, or --volume"),
    ("lxc.pty.", "its terminals are made by Roost"),
];

/// Keys whose empty value clears what was set before, which is not ours to lose.
const NOT_EMPTY: [&str; 4] = ["lxc.mount.", "lxc.environment", "lxc.cgroup", "lxc.apparmor."];

impl SystemRules {
    /// Nothing was said.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// What is wrong with them, a sentence each.
    pub fn complaints(&self, kind: ContainerKind) -> Vec<String> {
        if kind == ContainerKind::App && !self.is_default() {
            return vec!["privileged, nesting, autostart and lxc keys are for system containers: add --type system".to_owned()];
        }
        let many = (self.lxc.len() > KEYS_MAX).then(|| format!("{} lxc keys are too many: at most {KEYS_MAX}", self.lxc.len()));
        many.into_iter().chain(self.lxc.iter().filter_map(|(key, value)| refusal(key, value))).collect()
    }
}

/// Why a raw key cannot be set.
fn refusal(key: &str, value: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_');
    if !key.starts_with("lxc.") || key.ends_with('.') || !key.chars().all(plain) {
        return Some(format!("{key:?} is not a key of LXC: write it as lxc.cap.drop=sys_time"));
    }
    if value.contains(['\n', '\r', '\0']) {
        return Some(format!("the value of {key} cannot hold a line feed: give each line as a key of its own"));
    }
    // A key by itself stands for all below it.
    let own = |ours: &&(&str, &str)| key.starts_with(ours.0) || ours.0.strip_suffix('.') == Some(key);
    if let Some((_, why)) = OURS.iter().find(own) {
        return Some(format!("{key} cannot be set: {why}"));
    }
    (value.trim().is_empty() && NOT_EMPTY.iter().any(|ours| key.starts_with(ours)))
        .then(|| format!("{key} cannot be empty: that would clear what Roost has set"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(key: &str, value: &str) -> Vec<String> {
        let rules = SystemRules { lxc: vec![(key.to_owned(), value.to_owned())], ..SystemRules::default() };
        rules.complaints(ContainerKind::System)
    }

    #[test]
    fn keys_that_roost_relies_on_are_refused_with_a_sentence_each() {
        for (key, words) in [
            ("lxc.rootfs.path", "its files are the image's"),
            ("lxc.net.0.type", "the cluster's"),
            ("lxc.net", "the cluster's"),
            ("lxc.namespace.share.net", "made by Roost"),
            ("lxc.uts.name", "its host name"),
            ("lxc.log.file", "roost logs"),
            ("lxc.console.logfile", "roost attach"),
            ("lxc.cgroup.dir.container", "finds it again"),
            ("lxc.idmap", "--privileged"),
            ("lxc.include", "give the keys themselves"),
            ("lxc.cgroup2.memory.max", "--memory"),
            ("lxc.signal.halt", "--stop-timeout"),
        ] {
            let said = with(key, "x");
            assert!(said.len() == 1 && said[0].contains(words), "{key}: {said:?}");
        }
    }

    #[test]
    fn other_keys_may_be_set_but_nothing_else_smuggled_in() {
        for (key, value) in
            [("lxc.cap.drop", "sys_time"), ("lxc.cap.drop", ""), ("lxc.prlimit.nofile", "1024"), ("lxc.sysctl.net.core.x", "1")]
        {
            assert_eq!(with(key, value), Vec::<String>::new(), "{key}");
        }
        for (key, value, words) in [
            ("cap.drop", "x", "is not a key of LXC"),
            ("lxc.cap drop", "x", "is not a key of LXC"),
            ("lxc.cap.drop\nlxc.net", "x", "is not a key of LXC"),
            ("lxc.cap.drop", "x\nlxc.net.0.type = phys", "line feed"),
            ("lxc.mount.entry", " ", "would clear"),
        ] {
            let said = with(key, value);
            assert!(said.len() == 1 && said[0].contains(words), "{key}: {said:?}");
        }
    }

    #[test]
    fn an_application_container_has_none_of_it() {
        let rules = SystemRules { privileged: true, ..SystemRules::default() };
        assert!(rules.complaints(ContainerKind::App)[0].contains("--type system"));
        assert!(SystemRules::default().complaints(ContainerKind::App).is_empty());
    }
}
