//! Every life-cycle command, typed on any server, on a container of any other.

#![allow(clippy::unwrap_used, reason = "what helps a test fails the test")]

use lab::{Lab, eventually};
use nix::sys::signal::Signal;
use std::time::Duration;

/// Longer than anything takes on a loaded machine.
const SOON: Duration = Duration::from_secs(20);

/// Where commands are typed, and where their container is.
const PAIRS: [(&str, &str); 3] = [("s1", "s3"), ("s2", "s1"), ("s3", "s2")];

#[test]
fn a_whole_life_is_led_from_any_other_server() {
    let lab = Lab::with_tiny(3);
    for (here, there) in PAIRS {
        let target = format!("{there}:c-{there}");
        let typed = |args: &[&str]| lab.typed_on(here, args).run().must(0);
        let state = || lab.container(&format!("c-{there}")).state;
        typed(&["create", "--stop-timeout", "300ms", &target, "tiny", "--", "/bin/sleep", "600"]);
        assert_eq!(lab.container(&format!("c-{there}")).server.unwrap().as_str(), there);
        assert_eq!(state(), "stopped");
        typed(&["start", &target]);
        let first = lab.container(&format!("c-{there}"));
        assert_eq!(first.state, "running");
        typed(&["restart", &target]);
        let second = lab.container(&format!("c-{there}"));
        assert!(second.started > first.started && second.state == "running", "{first:?} {second:?}");
        typed(&["freeze", &target]);
        assert_eq!(state(), "frozen");
        let refused = lab.typed_on(here, &["exec", &target, "--", "/bin/true"]).run().must(4);
        let sentence = format!("error: container {target} is frozen\n  let it go on: roost unfreeze {target}\n");
        assert_eq!(refused.stderr, sentence);
        typed(&["unfreeze", &target]);
        assert_eq!(state(), "running");
        typed(&["kill", "-s", "sigkill", &target]);
        eventually(SOON, "killed", || lab.container(&format!("c-{there}")).exit_code == Some(137));
        typed(&["start", &target]);
        assert_eq!(state(), "running");
        typed(&["stop", &target]);
        assert_eq!(state(), "stopped");
        typed(&["rename", &target, "other"]);
        assert!(typed(&["ls"]).stdout.contains("other"));
        assert_eq!(lab.typed_on(here, &["show", &target]).run().code, 3);
        assert!(typed(&["show", "other"]).stdout.contains("tiny"));
        typed(&["rm", "other"]);
        assert!(lab.containers().is_empty());
    }
}

#[test]
fn what_has_ended_is_known_to_have_ended() {
    let lab = Lab::with_tiny(2);
    for server in ["s1", "s2", "s1", "s2"] {
        lab.ok(&["run", "--server", server, "once", "tiny", "--", "/bin/true"]);
        assert_eq!(lab.container("once").exit_code, Some(0));
        lab.ok(&["rm", "once"]);
    }
}

#[test]
fn exec_passes_everything_through() {
    let lab = Lab::with_tiny(3);
    for (here, there) in PAIRS {
        let name = format!("c-{there}");
        lab.ok(&["run", "-d", &format!("{there}:{name}"), "tiny", "--", "/bin/sleep", "600"]);
        let exec = |args: &[&str]| lab.typed_on(here, &[&["exec"], args].concat());
        assert_eq!(exec(&[&format!("{there}:{name}"), "--", "/bin/hostname"]).run().must(0).text(), name);
        for code in [0, 1, 7, 255] {
            exec(&[&name, "--", "/bin/sh", "-c", &format!("exit {code}")]).run().must(code);
        }
        exec(&[&name, "--", "/bin/sh", "-c", "kill -9 $$"]).run().must(137);
        exec(&[&name, "--", "/bin/nothing"]).run().must(127);
        let out = exec(&[&name, "--", "/bin/sh", "-c", "echo out; echo err >&2"]).run().must(0);
        assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("out\n", "err\n"));
        let out =
            exec(&["-e", "A=1 2", "-w", "/www", "-u", "user", &name, "--", "/bin/sh", "-c", "echo $A; pwd; id -u"]).run().must(0);
        assert_eq!(out.stdout, "1 2\n/www\n1000\n");
        let much: Vec<u8> = (0..1_000_000_u32).flat_map(|n| format!("{n}\n").into_bytes()).collect();
        let out = exec(&["-i", &name, "--", "/bin/wc", "-c"]).stdin(much.clone()).run().must(0);
        assert_eq!(out.text(), much.len().to_string());
        let out = exec(&["-i", &name, "--", "/bin/cat"]).stdin(much.clone()).run().must(0);
        assert!(out.stdout.as_bytes() == much, "{} of {} bytes came back", out.stdout.len(), much.len());
    }
    lab.refused(&["exec", "s9:c-s1", "--", "/bin/true"], 3);
    lab.refused(&["exec", "nobody", "--", "/bin/true"], 3);
}

#[test]
fn run_in_the_foreground_shows_output_and_passes_the_code() {
    let lab = Lab::with_tiny(2);
    let script = "echo out; echo err >&2; exit 9";
    for server in ["s1", "s2"] {
        let words = ["run", "--rm", "--server", server, "short", "tiny", "--", "/bin/sh", "-c", script];
        let out = lab.typed_on("s2", &words).run().must(9);
        assert!(out.stdout.contains("out") && out.stderr.contains("err"), "{out}");
        eventually(SOON, "removed when it ended", || lab.containers().is_empty());
    }
}

#[test]
fn logs_come_from_any_server() {
    let lab = Lab::with_tiny(2);
    let script = "for n in 1 2 3; do echo line $n; done; sleep 0.3; echo bad >&2; while ! test -e /go; do sleep 0.1; done; echo late; sleep 600";
    lab.ok(&["run", "-d", "--stop-timeout", "300ms", "s2:talk", "tiny", "--", "/bin/sh", "-c", script]);
    eventually(SOON, "all early lines", || lab.roost(&["logs", "talk"]).stderr.contains("bad"));
    let out = lab.typed_on("s1", &["logs", "s2:talk"]).run().must(0);
    assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("line 1\nline 2\nline 3\n", "bad\n"));
    let out = lab.ok(&["logs", "--tail", "2", "talk"]);
    assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("line 3\n", "bad\n"));
    let stamped = lab.ok(&["logs", "-t", "--tail", "4", "talk"]);
    assert!(stamped.stdout.lines().all(|line| line.starts_with("20") && line.contains(" line ")), "{stamped}");
    let mut following = lab.typed_on("s1", &["logs", "-f", "--tail", "1", "s2:talk"]).start();
    eventually(SOON, "the last line so far", || following.stderr().contains("bad"));
    // Only what comes from here on is younger than this pause.
    let young = Duration::from_secs(2);
    std::thread::sleep(young);
    lab.ok(&["exec", "talk", "--", "/bin/touch", "/go"]);
    eventually(SOON, "the late line", || following.stdout() == "late\n");
    assert!(following.runs());
    let out = lab.ok(&["logs", "--since", "1900ms", "talk"]);
    assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("late\n", ""), "{out}");
    lab.ok(&["rm", "-f", "talk"]);
    assert_eq!(following.wait(SOON).code, 0);
}

#[test]
fn files_go_both_ways() {
    let lab = Lab::with_tiny(2);
    lab.ok(&["run", "-d", "--stop-timeout", "300ms", "s2:box", "tiny", "--", "/bin/sleep", "600"]);
    let dir = lab.files().join("cp");
    std::fs::create_dir_all(dir.join("tree/deep")).unwrap();
    let big: Vec<u8> = (0..3_000_000_u32).map(|n| (n * 7 % 251) as u8).collect();
    std::fs::write(dir.join("tree/deep/big"), &big).unwrap();
    std::fs::write(dir.join("tree/run.sh"), "#!/bin/sh\n").unwrap();
    std::os::unix::fs::symlink("run.sh", dir.join("tree/link")).unwrap();
    let path = |name: &str| dir.join(name).display().to_string();
    let cp = |from: &str, to: &str| lab.typed_on("s1", &["cp", from, to]).run();
    cp(&path("tree/deep/big"), "s2:box:/srv/one").must(0);
    cp(&path("tree/deep/big"), "box:/srv").must(0);
    cp(&path("tree"), "s2:box:/srv").must(0);
    let out =
        lab.ok(&["exec", "box", "--", "/bin/sh", "-c", "cd /srv; wc -c < one; wc -c < big; ls tree tree/deep; ls -l tree/link"]);
    assert!(out.stdout.starts_with("3000000\n3000000\n") && out.stdout.contains("link -> run.sh"), "{out}");
    cp("s2:box:/srv/one", &path("back")).must(0);
    assert!(std::fs::read(dir.join("back")).unwrap() == big);
    cp("box:/srv/tree", &path("came")).must(0);
    assert!(std::fs::read(dir.join("came/deep/big")).unwrap() == big);
    assert_eq!(std::fs::read_link(dir.join("came/link")).unwrap().to_str(), Some("run.sh"));
    // An archive out of a container, and into one.
    let tar = cp("box:/etc/passwd", "-").must(0).stdout;
    lab.typed_on("s2", &["cp", "-", "box:/srv/tree"]).stdin(tar.clone()).run().must(0);
    assert_eq!(lab.ok(&["exec", "box", "--", "/bin/busybox", "cmp", "/etc/passwd", "/srv/tree/passwd"]).stdout, "");
    lab.typed_on("s1", &["cp", "-", "box:/srv/none"]).stdin(tar).run().must(3);
    cp("box:/etc/hostname-that-is-not", &path("none")).must(3);
    cp(&path("not-here"), "box:/srv").must(3);
    // A stopped container's files are there as well.
    lab.ok(&["stop", "box"]);
    cp("box:/srv/one", &path("stopped")).must(0);
    assert!(std::fs::read(dir.join("stopped")).unwrap() == big);
}

#[test]
fn files_go_into_and_out_of_a_container_that_was_never_started() {
    let lab = Lab::with_tiny(2);
    let own = lab.files().join("own");
    std::fs::write(&own, "mine\n").unwrap();
    let own = own.display().to_string();
    for flags in [&[][..], &["--userns"]] {
        let start = ["c1", "tiny", "--server", "s2", "--", "/bin/sleep", "600"];
        lab.ok(&[&["create"], flags, &start].concat());
        assert_eq!(lab.ok(&["cp", "c1:/www/index.html", "-"]).stdout.matches("tiny\n").count(), 1);
        lab.ok(&["cp", &own, "c1:/srv/own"]);
        let made = lab.container("c1");
        assert_eq!((made.state.as_str(), made.exit_code, made.restarts), ("stopped", None, 0));
        // An agent that comes anew finds it so.
        lab.own("s2", "agent").unwrap().signal(Signal::SIGKILL);
        eventually(SOON, "files again", || lab.roost(&["cp", "c1:/srv/own", "-"]).code == 0);
        lab.ok(&["start", "c1"]);
        assert_eq!(lab.ok(&["exec", "c1", "--", "/bin/busybox", "cat", "/srv/own"]).stdout, "mine\n");
        lab.ok(&["rm", "-f", "c1"]);
    }
}

#[test]
fn what_does_not_run_is_said_not_to_run() {
    let lab = Lab::with_tiny(2);
    lab.ok(&["create", "s2:made", "tiny", "--", "/bin/true"]);
    lab.ok(&["run", "s2:ended", "tiny", "--", "/bin/true"]);
    for name in ["made", "ended"] {
        for verb in [&["exec", name, "--", "/bin/true"][..], &["kill", name], &["freeze", name], &["unfreeze", name]] {
            let out = lab.roost(verb).must(4);
            let word = if verb[0] == "exec" && name == "made" { "is stopped" } else { "does not run" };
            assert_eq!(out.stderr, format!("error: container {name} {word}\n  start it: roost start {name}\n"), "{verb:?}");
        }
    }
    assert_eq!(lab.container("made").state, "stopped");
}

#[test]
fn stats_and_top_see_the_whole_cluster() {
    let lab = Lab::with_tiny(2);
    lab.ok(&["run", "-d", "s1:busy", "tiny", "--", "/bin/sh", "-c", "while :; do :; done"]);
    lab.ok(&["run", "-d", "--memory", "64M", "s2:idle", "tiny", "--", "/bin/sleep", "600"]);
    let used = |name: &str| {
        let all: Vec<api::view::StatsView> = lab.get(&["stats"]);
        all.into_iter().find(|one| one.name == name).map(|one| one.stats.cpu_micros)
    };
    eventually(SOON, "both in stats", || used("busy").is_some() && used("idle").is_some());
    let before = used("busy").unwrap();
    eventually(SOON, "time used", || used("busy").unwrap() > before + 100_000);
    assert!(used("idle").unwrap() < 1_000_000);
    let out = lab.typed_on("s2", &["stats"]).run().must(0);
    assert!(out.stdout.contains("busy") && out.stdout.contains("idle") && out.stdout.contains("64M"), "{out}");
    let out = lab.typed_on("s2", &["top"]).run().must(0);
    assert!(out.stdout.lines().nth(1).is_some_and(|line| line.starts_with("busy")), "{out}");
}

#[test]
fn a_bare_name_is_found_and_a_doubtful_one_is_not_guessed() {
    let lab = Lab::with_tiny(2);
    lab.ok(&["run", "-d", "s2:only", "tiny", "--", "/bin/sleep", "600"]);
    assert_eq!(lab.typed_on("s1", &["exec", "only", "--", "/bin/hostname"]).run().must(0).text(), "only");
    let out = lab.refused(&["exec", "s1:only", "--", "/bin/true"], 3);
    assert!(out.stderr.contains("only"), "{out}");
    lab.refused(&["rm", "only"], 4);
    lab.ok(&["addjob", "tiny", "1", "--name", "job", "--on", "s2", "--stop-timeout", "0", "--", "/bin/sleep", "600"]);
    let out = lab.refused(&["exec", "s1:job/1", "--", "/bin/true"], 3);
    assert_eq!(out.stderr, "error: job/1 is on s2, not on s1\n");
    // Forced, it does not wait for a program that is deaf to the request to stop, as `sleep` is in the first place of a container.
    let forced = lab.ok(&["rm", "-f", "only"]);
    assert!(forced.took < Duration::from_secs(8), "its grace of ten seconds was waited for\n{forced}");
}
