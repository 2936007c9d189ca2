//! What is on a server: compared before and after, what containers have left behind.

use crate::Lab;
use std::{collections::BTreeSet, time::Duration};

/// Time between two looks, each of which runs some programs.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Everything on a server that containers can leave something in, each thing in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    found: BTreeSet<String>,
}

/// Roost's own processes of a server: what may be there without any container.
const OWN: [&str; 4] = ["sandbox-init", "daemon", "manager", "agent"];
/// Looks at links, addresses, forwarding entries, rules, mounts, control groups and folders, a line for each thing.
const LOOK: &str = "
ip -brief link | sed 's/[@ ].*//'
ip -oneline -4 address | awk '{print $2, $4}'
bridge fdb show
nft list table inet roost
grep -E ' /(run|var/lib)/roost| overlay | /tmp' /proc/self/mountinfo | cut -d' ' -f5 | grep -vE '^/run/roost/(netns|ways)$'
find /sys/fs/cgroup -mindepth 3 -type d
find /run/roost /var/lib/roost/builds/work /var/lib/roost/builds/pods /var/lib/roost/images/staging /var/lib/roost/pods /var/lib/roost/pod-logs /var/lib/roost/agent/agent/pods -mindepth 1 -not -name '*.sock' -not -name '*.pid' -not -path /run/roost/netns -not -path /run/roost/ways
";

impl Traces {
    /// What is there now and was not then.
    pub fn since(&self, before: &Self) -> Vec<String> {
        self.found.difference(&before.found).cloned().collect()
    }

    /// Waits until a server has nothing that it did not have before; panics with what is left.
    #[track_caller]
    pub fn gone(&self, lab: &Lab, server: &str, deadline: Duration) {
        let began = base::env::instant();
        loop {
            let left = Self::of(lab, server).since(self);
            if left.is_empty() {
                return;
            }
            assert!(began.elapsed() < deadline, "left on {server} after {deadline:?}: {left:#?}");
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    #[track_caller]
    pub(crate) fn of(lab: &Lab, server: &str) -> Self {
        let others = lab.processes(server).into_iter().filter(|process| !OWN.iter().any(|word| process.is_roost(word)));
        let mut found: BTreeSet<String> =
            others.map(|process| format!("process {} {}", process.pid, process.argv.join(" "))).collect();
        let out = lab.inside(server, &["/bin/sh", "-c", LOOK]).run();
        found.extend(out.stdout.lines().map(|line| line.trim().to_owned()));
        Self { found }
    }
}
