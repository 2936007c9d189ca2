//! One machine, no configuration: `roost up -d`, a container, a page, `roost down`, and nothing is left.
//!
//! The machine is played by namespaces with an empty `/run` and an empty state directory. Control groups have no such thing that would
//! fit here, so these tests are one: two machines at once would find each other's.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use lab::{Output, Root, Typed, binary, eventually};
use std::{collections::BTreeSet, path::Path, process::Command, time::Duration};

/// Longer than the whole script takes on a loaded machine.
const LIMIT: Duration = Duration::from_secs(90);
/// Groups of a Roost of this very machine, which is none of ours to end.
const GROUP: &str = "/sys/fs/cgroup/pids/roost";

/// Everything that Roost makes somewhere.
const LOOK: &str = r#"
look() {
    echo "== $1"
    running=$(ps -e -o pid=,args=)
    echo "$running" | grep -v -e '^ *1 ' -e ' ps -e' | sed 's/^ *[0-9]* /process /'
    sed 's/^[^ ]* [^ ]* [^ ]* [^ ]* \([^ ]*\) .*/mount \1/' /proc/self/mountinfo
    ip -brief link | sed 's/^\([^ ]*\) .*/link \1/'
    ip rule | sed 's/^/rule /'
    ip netns | sed 's/^/netns /'
    nft list ruleset | sed 's/^/nft /'
    find /sys/fs/cgroup -maxdepth 3 -type d -path '*/roost' | sed 's/^/group /'
    find /run /var/lib/roost /etc/systemd/system -name '*roost*' | sed 's/^/file /'
    find /var/lib/roost -mindepth 1 | sed 's/^/file /'
}
"#;

/// What somebody types who tries Roost for the first time; and the same once more, ended by force.
const SCRIPT: &str = r#"
mount -t tmpfs none /run && mount -t tmpfs none /var/lib && mkdir /var/lib/roost && mount -t tmpfs none /var/lib/roost && ip link set lo up && hostname one
look before
echo "== up"
"$1" up -d && "$1" image import "$2" --name tiny && "$1" run -d web tiny -p 8080:80 -- /bin/httpd -f -p 80 -h /www
echo "exit $?"
curl --silent --show-error --max-time 5 localhost:8080
"$1" up -d
echo "exit $?"
"$1" exec web -- /bin/hostname
look during
echo "== down"
"$1" down
echo "exit $?"
look after
echo "== again"
"$1" up -d && "$1" image import "$2" --name tiny && "$1" run -d web tiny -p 8080:80 -- /bin/sleep 600
echo "exit $?"
for part in agent manager daemon; do kill -9 $(pgrep -f "roost $part"); done
"$1" down
echo "exit $?"
look forced
"$1" ls --socket /run/roost/api.sock
echo "exit $?"
"$1" down
echo "exit $?"
"#;

/// The part of the script's output under this heading.
fn part<'a>(out: &'a Output, name: &str) -> &'a str {
    let heading = format!("== {name}\n");
    let start = out.stdout.find(&heading).unwrap_or_else(|| panic!("no {name}\n{out}")) + heading.len();
    out.stdout[start..].split("== ").next().unwrap_or_default()
}

fn seen<'a>(out: &'a Output, name: &str) -> BTreeSet<&'a str> {
    part(out, name).lines().collect()
}

#[test]
fn up_run_curl_down() {
    eventually(LIMIT, "no other Roost on this machine", || !Path::new(GROUP).exists());
    let files = tempfile::tempdir().unwrap();
    let archive = files.path().join("tiny.tar");
    Root::tiny().write(&archive);
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "--net",
        "--uts",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "sh",
        "-c",
        &[LOOK, SCRIPT].concat(),
        "sh",
    ]);
    command.arg(binary()).arg(&archive);
    let out = Typed::new(command).limit(LIMIT).run().must(0);
    assert!(part(&out, "up").starts_with("web\nexit 0\ntiny\nexit 0\nweb\n"), "{out}");
    assert!(out.stderr.contains("✓ cluster \"home\" is up") && out.stderr.contains("✓ web running on one at 10.0.1.2"), "{out}");
    let (before, during) = (seen(&out, "before"), seen(&out, "during"));
    // The looks see what there is to see, else what is gone afterwards would prove nothing.
    for kind in ["process ", "mount ", "link roost0", "nft ", "group ", "file "] {
        assert!(during.difference(&before).any(|line| line.starts_with(kind)), "nothing of {kind} while it runs\n{out}");
    }
    assert!(part(&out, "down").starts_with("exit 0\n"), "{out}");
    assert_eq!(seen(&out, "after"), before, "{out}");
    assert!(part(&out, "again").starts_with("web\nexit 0\nexit 0\n"), "{out}");
    let forced = seen(&out, "forced");
    let left: Vec<_> = forced.difference(&before).filter(|line| !line.starts_with("exit ")).collect();
    assert!(left.is_empty(), "{left:?}\n{out}");
    assert!(out.stdout.ends_with("exit 8\nexit 0\n"), "{out}");
}
