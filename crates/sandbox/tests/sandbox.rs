//! Real sandboxes: made, used, hurt, and gone without a trace. They need root and namespaces.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

mod bed;

use bed::{Bed, argv, eventually, in_namespaces, namespaces, pings, run, text};
use sandbox::{OUTSIDE, Sandbox, SandboxError, ServerState};
use std::{fs, io::Write, os::unix::process::ExitStatusExt, process::Stdio, time::Duration};

fn conditions(bed: &Bed) -> Vec<ServerState> {
    let listed = Sandbox::list(&bed.options.base_dir).unwrap();
    listed[0].servers.iter().map(|server| server.state).collect()
}

fn init_of(bed: &Bed, server: usize) -> i32 {
    Sandbox::list(&bed.options.base_dir).unwrap()[0].servers[server].init.unwrap()
}

fn kill_hard(pid: i32) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
}

#[test]
fn servers_hear_each_other_and_nothing_is_left_after_down() {
    let bed = Bed::new();
    let began = base::env::instant();
    let sandbox = bed.up(3);
    let took = began.elapsed();
    eprintln!("up of 3 servers: {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(conditions(&bed), [ServerState::Up; 3]);
    assert!(pings(&sandbox, "s1", "10.200.0.2") && pings(&sandbox, "s3", "10.200.0.1"));
    assert!(pings(&sandbox, OUTSIDE, "10.200.0.3") && pings(&sandbox, "s2", "10.200.0.254"));
    let spaces: Vec<String> = (0..3).flat_map(|i| namespaces(init_of(&bed, i))).collect();
    // The inventory sees what there is, so that it may be believed when it sees nothing.
    for what in ["directory", "control group", "process"] {
        assert!(bed.left().iter().any(|line| line.starts_with(what)), "{what}: {:?}", bed.left());
    }
    assert!(!in_namespaces(&spaces).is_empty());
    sandbox.down().unwrap();
    assert_eq!(bed.left(), Vec::<String>::new());
    assert_eq!(in_namespaces(&spaces), Vec::<String>::new());
    Sandbox::remove(bed.options.clone()).unwrap();
    assert_eq!(bed.left(), Vec::<String>::new());
}

#[test]
fn a_server_has_places_of_its_own() {
    let bed = Bed::new();
    let sandbox = bed.up(2);
    assert_eq!(text(&sandbox, "s2", &["hostname"]), "s2");
    assert_eq!(text(&sandbox, "s1", &["cat", "/proc/1/comm"]), "sandbox-helper");
    assert!(text(&sandbox, "s1", &["sh", "-c", "ls -d /proc/[0-9]* | wc -l"]).parse::<u32>().unwrap() < 6);
    assert_eq!(text(&sandbox, "s1", &["sh", "-c", "ls /sys/class/net | xargs"]), "eth0 lo");
    text(&sandbox, "s1", &["sh", "-c", "mkdir -p /run/roost && echo 1 >/run/roost/api.sock && echo 2 >/var/lib/roost/kept"]);
    assert_eq!(fs::read_to_string(sandbox.socket("s1")).unwrap(), "1\n");
    assert!(!sandbox.socket("s2").exists());
    assert_eq!(text(&sandbox, "s2", &["ls", "/run", "/var/lib/roost"]), "/run:\nlock\nouter-network\n\n/var/lib/roost:");
    assert!(!run(&sandbox, "s1", &["sh", "-c", "echo x >/var/lib/roost-sandbox-test-$$ && test -e /tmp/none"]).status.success());
    let leaked =
        fs::read_dir("/var/lib").unwrap().flatten().any(|e| e.file_name().to_string_lossy().starts_with("roost-sandbox-test"));
    assert!(!leaked, "the rest of /var/lib is a throw-away copy");
    assert!(text(&sandbox, "s1", &["ip", "route"]).contains("default via 10.200.0.254"));
    let outer = format!("--net={}", api::path::OUTER_NETWORK);
    let ours = fs::read_link("/proc/self/ns/net").unwrap().display().to_string();
    assert_eq!(text(&sandbox, "s1", &["nsenter", &outer, "readlink", "/proc/self/ns/net"]), ours, "the way out");
}

#[test]
fn a_server_sees_its_own_control_groups_as_root_and_can_limit() {
    let bed = Bed::new();
    let sandbox = bed.up(1);
    let groups = text(&sandbox, "s1", &["cat", "/proc/self/cgroup"]);
    assert!(groups.lines().all(|line| line.ends_with(":/") || line.ends_with("0::/init")), "{groups}");
    if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        let on = text(&sandbox, "s1", &["cat", "/sys/fs/cgroup/cgroup.subtree_control"]);
        assert!(on.contains("memory") && on.contains("pids"), "{on}");
        return;
    }
    let limit = "mkdir /sys/fs/cgroup/pids/x && echo 2 >/sys/fs/cgroup/pids/x/pids.max && cat /sys/fs/cgroup/pids/x/pids.max";
    assert_eq!(text(&sandbox, "s1", &["sh", "-c", limit]), "2");
    let cpuset = "mkdir /sys/fs/cgroup/cpuset/x && echo $$ >/sys/fs/cgroup/cpuset/x/cgroup.procs && cat /sys/fs/cgroup/cpuset/x/cpuset.mems";
    assert!(!text(&sandbox, "s1", &["sh", "-c", cpuset]).is_empty());
    let unified = "mkdir /sys/fs/cgroup/unified/x && echo 1 >/sys/fs/cgroup/unified/x/cgroup.freeze";
    text(&sandbox, "s1", &["sh", "-c", unified]);
    assert_eq!(text(&sandbox, "s1", &["sh", "-c", "ls /sys/fs/cgroup | xargs"]), host_hierarchies());
}

fn host_hierarchies() -> String {
    let mut names: Vec<String> =
        fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names.join(" ")
}

#[test]
fn a_cable_is_cut_and_healed() {
    let bed = Bed::new();
    let sandbox = bed.up(2);
    sandbox.cut("s2").unwrap();
    assert_eq!(conditions(&bed), [ServerState::Up, ServerState::Cut]);
    assert!(!pings(&sandbox, "s1", "10.200.0.2"));
    sandbox.heal("s2").unwrap();
    assert_eq!(conditions(&bed), [ServerState::Up; 2]);
    eventually("s2 answers again", || pings(&sandbox, "s1", "10.200.0.2"));
    sandbox.heal("s2").unwrap();
}

#[test]
fn power_off_and_on_keeps_the_disk_and_the_address() {
    let bed = Bed::new();
    let sandbox = bed.up(2);
    text(&sandbox, "s1", &["sh", "-c", "echo kept >/var/lib/roost/file; echo gone >/run/file; sleep 300 >/dev/null 2>&1 &"]);
    let spaces = namespaces(init_of(&bed, 0));
    sandbox.kill("s1").unwrap();
    assert_eq!(conditions(&bed), [ServerState::Down, ServerState::Up]);
    assert_eq!(in_namespaces(&spaces), Vec::<String>::new());
    assert!(!pings(&sandbox, "s2", "10.200.0.1"));
    assert!(matches!(sandbox.command("s1", &argv(&["true"])), Err(SandboxError::Off(_))));
    assert!(matches!(sandbox.cut("s1"), Err(SandboxError::Off(_))));
    sandbox.kill("s1").unwrap();
    sandbox.start("s1").unwrap();
    assert!(matches!(sandbox.start("s1"), Err(SandboxError::On(_))));
    assert_eq!(text(&sandbox, "s1", &["cat", "/var/lib/roost/file"]), "kept");
    assert!(!run(&sandbox, "s1", &["test", "-e", "/run/file"]).status.success());
    eventually("s1 answers again", || pings(&sandbox, "s2", "10.200.0.1"));
}

#[test]
fn a_server_with_a_frozen_group_can_be_powered_off() {
    let bed = Bed::new();
    let sandbox = bed.up(1);
    let freezer = if fs::exists("/sys/fs/cgroup/freezer").unwrap() {
        ("freezer", "freezer.state", "FROZEN")
    } else {
        ("", "cgroup.freeze", "1")
    };
    let script = format!(
        "sleep 300 >/dev/null 2>&1 & d=/sys/fs/cgroup/{}/x; mkdir $d; echo $! >$d/cgroup.procs; echo {} >$d/{}",
        freezer.0, freezer.2, freezer.1
    );
    text(&sandbox, "s1", &["sh", "-c", &script]);
    sandbox.kill("s1").unwrap();
    sandbox.start("s1").unwrap();
    text(&sandbox, "s1", &["sh", "-c", &script]);
    sandbox.down().unwrap();
    assert_eq!(bed.left(), Vec::<String>::new());
}

#[test]
fn a_slow_cable_adds_the_delay_to_a_round_trip_and_loses_frames() {
    let bed = Bed::new();
    let sandbox = bed.up(2);
    let quick = round_trip(&sandbox, 20, "0.005").1.unwrap();
    sandbox.slow("s2", Duration::from_millis(100), 0.0).unwrap();
    assert_eq!(conditions(&bed), [ServerState::Up, ServerState::Slow]);
    let (lost, slow) = round_trip(&sandbox, 10, "0.05");
    let slow = slow.unwrap();
    assert!(lost == 0.0 && (100.0..160.0).contains(&slow) && quick < 50.0, "{quick} ms, then {slow} ms, {lost} % lost");
    sandbox.slow("s2", Duration::from_millis(20), 20.0).unwrap();
    // 20 % each way: 36 % of round trips. Of 200, between 36 and 108 is 5 standard deviations away on either side.
    let (lost, _) = round_trip(&sandbox, 200, "0.005");
    assert!((18.0..54.0).contains(&lost), "{lost} % lost");
    sandbox.heal("s2").unwrap();
    let (lost, healed) = round_trip(&sandbox, 20, "0.005");
    assert!(lost == 0.0 && healed.unwrap() < 50.0, "{healed:?} ms, {lost} % lost");
    assert!(matches!(sandbox.slow("s2", Duration::ZERO, 101.0), Err(SandboxError::Loss(_))));
    sandbox.slow("s2", Duration::from_millis(20), 0.0).unwrap();
    sandbox.down().unwrap();
    assert_eq!(bed.left(), Vec::<String>::new());
}

/// Percent of pings lost, and milliseconds of an average one.
fn round_trip(sandbox: &Sandbox, count: u32, interval: &str) -> (f32, Option<f32>) {
    let output = run(sandbox, "s1", &["ping", "-n", "-q", "-W1", "-i", interval, "-c", &count.to_string(), "10.200.0.2"]);
    let said = String::from_utf8(output.stdout).unwrap();
    let lost = said.split("% packet loss").next().and_then(|text| text.rsplit(' ').next()).and_then(|n| n.parse().ok());
    let average = said.split("= ").nth(1).and_then(|text| text.split('/').nth(1)).and_then(|n| n.parse().ok());
    (lost.unwrap_or_else(|| panic!("{said} {:?}", output.stderr)), average)
}

#[test]
fn streams_pass_a_slow_cable_whole_bare_and_through_a_tunnel() {
    let bed = Bed::new();
    let sandbox = bed.up(2);
    for (server, own, peer) in [("s1", 1, 2), ("s2", 2, 1)] {
        let tunnel = format!(
            "ip link add vx0 type vxlan id 42 dstport 4789 local 10.200.0.{own} remote 10.200.0.{peer} dev eth0 && \
             ip address add 10.60.0.{own}/24 dev vx0 && ip link set vx0 up"
        );
        text(&sandbox, server, &["sh", "-c", &tunnel]);
    }
    sandbox.slow("s2", Duration::from_millis(10), 0.5).unwrap();
    stream(&sandbox, "10.200.0.2");
    stream(&sandbox, "10.60.0.2");
}

/// Three megabytes from s1 to s2, compared by digest, both directions of the cable under load.
fn stream(sandbox: &Sandbox, address: &str) {
    let serve = "import socket,hashlib\ns=socket.create_server(('',9000))\nc,_=s.accept()\nh=hashlib.sha256()\n\
                 while True:\n b=c.recv(65536)\n if not b: break\n h.update(b)\nprint(h.hexdigest())";
    let mut server = sandbox.command("s2", &argv(&["python3", "-c", serve])).unwrap().stdout(Stdio::piped()).spawn().unwrap();
    eventually("the server listens", || text(sandbox, "s2", &["ss", "-ltn"]).contains(":9000"));
    let send = format!(
        "import socket,hashlib,os\nd=os.urandom(3000000)\nc=socket.create_connection(('{address}',9000),20)\nc.sendall(d)\n\
         c.close()\nprint(hashlib.sha256(d).hexdigest())"
    );
    let sent = text(sandbox, "s1", &["python3", "-c", &send]);
    let mut got = String::new();
    std::io::Read::read_to_string(&mut server.stdout.take().unwrap(), &mut got).unwrap();
    assert!(server.wait().unwrap().success());
    assert_eq!(got.trim(), sent);
}

#[test]
fn two_sandboxes_do_not_meet() {
    let (one, other) = (Bed::new(), Bed::new());
    let (first, second) = (one.up(2), other.up(1));
    assert!(pings(&first, "s1", "10.200.0.2") && !pings(&second, "s1", "10.200.0.2"));
    assert!(pings(&second, OUTSIDE, "10.200.0.1"));
    first.down().unwrap();
    assert_eq!(one.left(), Vec::<String>::new());
    assert!(pings(&second, OUTSIDE, "10.200.0.1"));
    assert!(matches!(Sandbox::create(other.options.clone(), 1), Err(SandboxError::Exists(_))));
}

#[test]
fn down_after_everything_was_killed() {
    let bed = Bed::new();
    let sandbox = bed.up(2);
    text(&sandbox, "s1", &["sh", "-c", "mount -t tmpfs x /mnt; mkdir /sys/fs/cgroup/pids/a; sleep 300 >/dev/null 2>&1 &"]);
    let mut outsider = sandbox.command(OUTSIDE, &argv(&["sleep", "300"])).unwrap().spawn().unwrap();
    sandbox.slow("s2", Duration::from_millis(5), 0.0).unwrap();
    let state: serde_json::Value =
        serde_json::from_slice(&fs::read(sandbox.server_dir("s1").join("../state.json")).unwrap()).unwrap();
    let relay = state["servers"][1]["link"]["Slow"]["relay"]["pid"].as_i64();
    let switch = state["switch"]["pid"].as_i64();
    for pid in [i64::from(init_of(&bed, 0)), i64::from(init_of(&bed, 1))].into_iter().chain(relay).chain(switch) {
        kill_hard(i32::try_from(pid).unwrap());
    }
    eventually("all are down", || conditions(&bed) == [ServerState::Down; 2]);
    assert!(Sandbox::list(&bed.options.base_dir).unwrap()[0].broken.is_some());
    assert!(matches!(sandbox.start("s1"), Err(SandboxError::Broken { .. })));
    sandbox.down().unwrap();
    assert_eq!(outsider.wait().unwrap().signal(), Some(9), "what ran outside ends with the network");
    assert_eq!(bed.left(), Vec::<String>::new());
}

#[test]
fn an_init_killed_by_hand_is_a_power_failure() {
    let bed = Bed::new();
    let sandbox = bed.up(2);
    kill_hard(init_of(&bed, 1));
    eventually("s2 is down", || conditions(&bed) == [ServerState::Up, ServerState::Down]);
    sandbox.start("s2").unwrap();
    eventually("s2 answers", || pings(&sandbox, "s1", "10.200.0.2"));
}

#[test]
fn down_after_half_an_up() {
    let bed = Bed::new();
    let sandbox = bed.up(2);
    let state = sandbox.server_dir("s1").join("../state.json");
    fs::write(&state, "{\"version\":").unwrap();
    assert!(matches!(sandbox.command("s1", &argv(&["true"])), Err(SandboxError::Broken { .. })));
    Sandbox::open(bed.options.clone()).unwrap().down().unwrap();
    assert_eq!(bed.left(), Vec::<String>::new());
    bed.up(1);
    fs::remove_dir_all(&bed.options.base_dir).unwrap();
    Sandbox::open(bed.options.clone()).unwrap().down().unwrap();
    assert_eq!(bed.left(), Vec::<String>::new());
    assert!(matches!(Sandbox::open(bed.options.clone()), Err(SandboxError::NoSandbox { .. })));
}

#[test]
fn down_after_an_up_that_was_killed_at_any_moment() {
    let bed = Bed::new();
    for round in 0..20 {
        let mut up = std::process::Command::new(&bed.options.binary);
        up.arg("up").arg(&bed.options.name).arg(&bed.options.base_dir).arg("3");
        let mut up = up.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(7 * round));
        let _ = up.kill();
        up.wait().unwrap();
        Sandbox::remove(bed.options.clone()).unwrap();
        assert_eq!(bed.left(), Vec::<String>::new(), "round {round}");
    }
}

#[test]
fn an_up_that_fails_leaves_nothing() {
    let bed = Bed::new();
    let options = sandbox::Options { binary: "/bin/true".into(), ..bed.options.clone() };
    let error = Sandbox::create(options, 2).unwrap_err();
    assert_eq!(error.to_string(), "the switch did not start: it ended without a word");
    assert_eq!(bed.left(), Vec::<String>::new());
    assert!(matches!(Sandbox::create(bed.options.clone(), 0), Err(SandboxError::Count { .. })));
    assert_eq!(bed.left(), Vec::<String>::new());
}

#[test]
fn what_boots_is_started_at_power_on_and_its_words_are_kept() {
    let bed = Bed::new();
    let sandbox = bed.up(1);
    let words = argv(&["sh", "-c", "echo on >>/var/lib/roost/boots; echo hello; exec sleep 300"]);
    sandbox.set_boot("s1", &words).unwrap();
    let boots = || fs::read_to_string(sandbox.server_dir("s1").join("lib/boots")).unwrap_or_default();
    sandbox.boot("s1").unwrap();
    eventually("the boot command runs", || boots() == "on\n");
    sandbox.boot("s1").unwrap();
    sandbox.kill("s1").unwrap();
    sandbox.start("s1").unwrap();
    eventually("it runs again", || boots() == "on\non\n");
    let console = || fs::read_to_string(sandbox.server_dir("s1").join("console.log")).unwrap();
    assert_eq!(console().matches("hello").count(), 2);
    text(&sandbox, "s1", &["pkill", "-x", "sleep"]);
    eventually("its end is written down", || console().contains("the boot command ended"));
    sandbox.set_boot("s1", &[]).unwrap();
    sandbox.kill("s1").unwrap();
    sandbox.start("s1").unwrap();
    assert_eq!(run(&sandbox, "s1", &["pgrep", "-x", "sleep"]).status.code(), Some(1));
    assert!(matches!(sandbox.set_boot("s1", &argv(&["a\nb"])), Err(SandboxError::BootArgument)));
}

#[test]
fn exit_codes_input_and_signals_go_through() {
    let bed = Bed::new();
    let sandbox = bed.up(1);
    assert_eq!(run(&sandbox, "s1", &["sh", "-c", "exit 42"]).status.code(), Some(42));
    assert_eq!(run(&sandbox, "s1", &["sh", "-c", "kill -9 $$"]).status.code(), Some(137));
    assert_eq!(run(&sandbox, "s1", &["no-such-program"]).status.code(), Some(127));
    assert_eq!(run(&sandbox, "s1", &["/etc/passwd"]).status.code(), Some(126));
    assert_eq!(run(&sandbox, OUTSIDE, &["sh", "-c", "exit 7"]).status.code(), Some(7));
    let mut cat = sandbox.command("s1", &argv(&["cat"])).unwrap().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    cat.stdin.take().unwrap().write_all(b"through").unwrap();
    assert_eq!(cat.wait_with_output().unwrap().stdout, b"through");
    let script = "trap 'exit 5' TERM; echo ready >/run/ready; while :; do sleep 0.02; done";
    let child = sandbox.command("s1", &argv(&["sh", "-c", script])).unwrap().spawn().unwrap();
    eventually("the trap is set", || sandbox.server_dir("s1").join("run/ready").exists());
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(5));
}

#[test]
fn what_runs_inside_ends_with_its_stand_in_but_not_what_it_left_behind() {
    let bed = Bed::new();
    let sandbox = bed.up(1);
    let script = "setsid sleep 301 & exec sleep 302";
    let mut child = sandbox.command("s1", &argv(&["sh", "-c", script])).unwrap().spawn().unwrap();
    let running = |what: &str| run(&sandbox, "s1", &["pgrep", "-f", what]).status.success();
    eventually("both run", || running("^sleep 301") && running("^sleep 302"));
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("the program is gone", || !running("^sleep 302"));
    assert!(running("^sleep 301"));
}

#[test]
fn a_shell_at_a_terminal_has_job_control() {
    let bed = Bed::new();
    let sandbox = bed.up(1);
    // script(1) gives it a terminal; what is typed comes from a pipe.
    let enter = sandbox.command("s1", &argv(&["bash", "--norc", "-i"])).unwrap();
    let mut words = vec![enter.get_program().to_owned()];
    words.extend(enter.get_args().map(ToOwned::to_owned));
    let line = words.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ");
    let mut script = std::process::Command::new("script");
    script.args(["-q", "-e", "-c", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut shell = script.spawn().unwrap();
    let mut keys = shell.stdin.take().unwrap();
    keys.write_all(b"echo at-$(hostname)\nsleep 303\n").unwrap();
    eventually("the foreground job runs", || run(&sandbox, "s1", &["pgrep", "-f", "^sleep 303"]).status.success());
    keys.write_all(b"\x03").unwrap();
    eventually("Ctrl-C ends it", || !run(&sandbox, "s1", &["pgrep", "-f", "^sleep 303"]).status.success());
    keys.write_all(b"exit 9\n").unwrap();
    let output = shell.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("at-s1") && !said.contains("no job control"), "{said}");
    assert_eq!(output.status.code(), Some(9), "{said}");
}

#[test]
fn the_servers_disk_stays_when_the_machines_directory_goes() {
    let bed = Bed::new();
    let sandbox = bed.up(1);
    text(&sandbox, "s1", &["sh", "-c", "echo kept >/var/lib/roost/file"]);
    let made = fs::create_dir("/var/lib/roost").is_ok();
    if made {
        fs::remove_dir("/var/lib/roost").unwrap();
    }
    assert_eq!(text(&sandbox, "s1", &["cat", "/var/lib/roost/file"]), "kept");
}
