//! What is on a server: compared before and after, what containers have left behind.

use crate::Lab;
use std::collections::BTreeSet;

/// Everything on a server that containers can leave something in, each thing in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    found: BTreeSet<String>,
}

/// Roost's own processes of a server: what may be there without any container.
const OWN: [&str; 4] = ["sandbox-init", "daemon", "manager", "agent"];
/// Looks at links, addresses, forwarding entries, rules, mounts, control groups and folders, a line for each thing.
const LOOK: &str = "
ip -brief link | cut -d' ' -f1
ip -brief -4 address
bridge fdb show
nft list table inet roost
grep -E ' /(run|var/lib)/roost| overlay | /tmp' /proc/self/mountinfo | cut -d' ' -f5
find /sys/fs/cgroup -mindepth 2 -type d
find /run/roost /var/lib/roost/pods /var/lib/roost/pod-logs /var/lib/roost/agent/agent/pods -mindepth 1 -not -name '*.sock' -not -name '*.pid'
";

impl Traces {
    /// What is there now and was not then.
    pub fn since(&self, before: &Self) -> Vec<String> {
        self.found.difference(&before.found).cloned().collect()
    }

    #[track_caller]
    pub(crate) fn of(lab: &Lab, server: &str) -> Self {
        let others = lab.processes(server).into_iter().filter(|process| !OWN.iter().any(|word| process.is_roost(word)));
        let mut found: BTreeSet<String> =
            others.map(|process| format!("process {} {}", process.pid, process.argv.join(" "))).collect();
        let out = lab.inside(server, &["/bin/sh", "-c", LOOK]).run();
        // The state of a link without members, and how long a neighbour has been known, are no traces.
        found.extend(out.stdout.lines().map(|line| line.trim().replace(" UP ", " ").replace(" DOWN ", " ")));
        Self { found }
    }
}
