//! Terminals and standard input: `exec -it`, `run -it`, `attach`, from any server, and what becomes of them when something breaks.

#![allow(clippy::unwrap_used, reason = "what helps a test fails the test")]

use lab::{Background, Lab, Output, Terminal, Typed, eventually};
use nix::sys::signal::Signal;
use std::time::Duration;

/// Longer than anything takes on a loaded machine.
const SOON: Duration = Duration::from_secs(30);
/// A window that is no program's default.
const SIZE: (u16, u16) = (91, 27);
/// The keys that detach.
const DETACH: &str = "\u{10}\u{11}";
const CTRL_C: &str = "\u{3}";
const CTRL_D: &str = "\u{4}";

/// A command typed on the machine to a server's own socket.
fn typed_to(lab: &Lab, server: &str, args: &[&str]) -> Typed {
    lab.typed(args).env("ROOST_SOCKET", &lab.socket(server).display().to_string())
}

fn at_terminal(lab: &Lab, server: &str, args: &[&str]) -> Terminal {
    typed_to(lab, server, args).at_terminal(SIZE)
}

/// A container `c1` on s2 whose program only waits.
fn idle() -> Lab {
    let lab = Lab::with_tiny(2);
    lab.ok(&["run", "-d", "--stop-timeout", "300ms", "s2:c1", "tiny", "--", "/bin/sleep", "600"]);
    lab
}

/// A shell whose prompt cannot be anything else.
const SHELL: [&str; 4] = ["-e", "PS1=here> ", "--", "/bin/sh"];

/// A container on s2 with a terminal of its own and a shell in it, detached.
fn with_shell(lab: &Lab, name: &str) {
    let target = format!("s2:{name}");
    lab.ok(&[&["run", "-dit", "--stop-timeout", "300ms", &target, "tiny"], &SHELL[..]].concat());
}

/// Waits until the shell asks for the next line: what is typed earlier may be anybody's. It asks the terminal for its
/// cursor, too, and has the rest of the screen erased.
#[track_caller]
fn until_prompt(terminal: &Terminal) {
    const AFTER: [&str; 2] = ["\u{1b}[6n", "\u{1b}[J"];
    let asks = || {
        let screen = terminal.screen();
        let mut text = screen.as_str();
        while let Some(rest) = AFTER.iter().find_map(|sequence| text.strip_suffix(sequence)) {
            text = rest;
        }
        text.ends_with("here> ")
    };
    eventually(SOON, &format!("a prompt: {}", terminal.screen()), asks);
}

/// Types a line once the shell asks for it.
#[track_caller]
fn line(terminal: &mut Terminal, text: &str) {
    until_prompt(terminal);
    terminal.keys(&format!("{text}\n"));
}

/// The program that runs in front gets Ctrl-C, and the client here does not.
#[track_caller]
fn interrupt(terminal: &mut Terminal) {
    line(terminal, "trap 'echo inter''rupted' INT; echo go''ing; sleep 600");
    terminal.until("going");
    terminal.keys(CTRL_C);
    terminal.until("interrupted");
}

fn running(lab: &Lab, name: &str) -> bool {
    lab.container(name).state == "running"
}

#[test]
fn exec_with_a_terminal_is_as_if_one_sat_there() {
    let lab = idle();
    let exec = [&["exec", "-it"], &SHELL[..2], &["s2:c1"], &SHELL[2..]].concat();
    let mut terminal = at_terminal(&lab, "s1", &exec);
    line(&mut terminal, "tty; stty size");
    assert!(terminal.is_raw());
    terminal.until("/dev/pts/");
    terminal.until("27 91");
    terminal.resize((120, 40));
    // The new size has to get there before it can be asked for.
    eventually(SOON, "the new size", || {
        terminal.keys("stty size\n");
        std::thread::sleep(Duration::from_millis(100));
        terminal.screen().contains("40 120")
    });
    interrupt(&mut terminal);
    line(&mut terminal, "exit 42");
    terminal.wait(42);
    assert!(running(&lab, "c1"));
}

#[test]
fn exec_restores_the_terminal_whatever_happens() {
    let lab = idle();
    let exec = |command: &[&str]| at_terminal(&lab, "s1", &[&["exec", "-it", "c1", "--"], command].concat());
    exec(&["/bin/true"]).wait(0);
    exec(&["/bin/nothing"]).wait(127);
    exec(&["/bin/sh", "-c", "kill -9 $$"]).wait(137);
    at_terminal(&lab, "s1", &["exec", "-it", "nobody", "--", "/bin/sh"]).wait(3);
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGHUP, 129), (Signal::SIGINT, 130)] {
        let terminal = exec(&["/bin/sleep", "600"]);
        terminal.until_raw();
        terminal.signal(signal);
        terminal.wait(code);
    }
    let terminal = exec(&["/bin/sleep", "600"]);
    terminal.until_raw();
    lab.own("s2", "agent").unwrap().signal(Signal::SIGKILL);
    let shown = terminal.wait(8);
    assert!(shown.contains("error: ") && shown.contains("broke off"), "{shown}");
}

#[test]
fn piped_input_goes_through_exec_and_run_byte_by_byte() {
    let lab = idle();
    let all: Vec<u8> = (0..1_000_000_u32).map(|n| (n * 7 % 256) as u8).collect();
    let sum = |bytes: &[u8]| Typed::new(std::process::Command::new("md5sum")).stdin(bytes).run().must(0).stdout;
    let out = typed_to(&lab, "s1", &["exec", "-i", "c1", "--", "/bin/md5sum"]).stdin(all.clone()).run().must(0);
    assert_eq!(out.stdout, sum(&all));
    for server in ["s1", "s2"] {
        let run = |words: &[&str]| {
            typed_to(&lab, "s1", &[&["run", "-i", "--rm", "--server", server, "p1", "tiny", "--"], words].concat())
        };
        let out = run(&["/bin/cat"]).stdin("hi").run().must(0);
        assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("hi", ""));
        let out = run(&["/bin/md5sum"]).stdin(all.clone()).run().must(0);
        assert_eq!(out.stdout, sum(&all));
        let script = "gzip | gzip -d | md5sum; echo err >&2; exit 7";
        let out = run(&["/bin/sh", "-c", script]).stdin(all.clone()).run().must(7);
        assert_eq!((out.stdout, out.stderr.as_str()), (sum(&all), "err\n"));
        assert!(!lab.containers().iter().any(|container| container.name == "p1"), "removed");
    }
    // The very first bytes, and much of them, from a program that waits for nothing.
    let out = lab.typed(&["run", "--rm", "p2", "tiny", "--", "/bin/seq", "1", "300000"]).run().must(0);
    let expected: String = (1..=300_000).map(|n| format!("{n}\n")).collect();
    assert!(out.stdout == expected && out.stderr.is_empty(), "{} of {} bytes", out.stdout.len(), expected.len());
    let out = lab.typed(&["run", "--rm", "p3", "tiny", "--", "/bin/sh", "-c", "printf 'no line feed'"]).run().must(0);
    assert_eq!(out.stdout, "no line feed");
}

#[test]
fn without_i_nothing_is_read_and_with_it_input_stays_open() {
    let lab = Lab::with_tiny(1);
    let out = lab.typed(&["run", "--rm", "c1", "tiny", "--", "/bin/cat"]).stdin("not read").run().must(0);
    assert_eq!(out.stdout, "");
    lab.ok(&["run", "-di", "--stop-timeout", "300ms", "c2", "tiny", "--", "/bin/cat"]);
    for word in ["one", "two"] {
        // Its input ends, and the container's does not.
        let mut attached = lab.typed(&["attach", "c2"]).stdin(format!("{word}\n")).start();
        eventually(SOON, word, || attached.stdout() == format!("{word}\n"));
        assert!(attached.runs() && running(&lab, "c2"));
    }
    let watching = lab.typed(&["attach", "--no-stdin", "c2"]).stdin("not sent\n").start();
    eventually(SOON, "three", || {
        let _told = lab.typed(&["attach", "c2"]).stdin("three\n").limit(SOON).start();
        std::thread::sleep(Duration::from_millis(300));
        watching.stdout().contains("three\n")
    });
    assert!(!watching.stdout().contains("not sent"));
    lab.ok(&["stop", "c2"]);
    // The first process of a container does not end by a signal that it does not handle, so it was killed in the end.
    assert_eq!(watching.wait(SOON).code, 137);
}

#[test]
fn run_with_a_terminal() {
    let lab = Lab::with_tiny(2);
    let run = |words: &[&str]| at_terminal(&lab, "s1", &[&["run", "-it", "--rm", "--server", "s2"], words].concat());
    let mut terminal = run(&[&["c1", "tiny"], &SHELL[..]].concat());
    line(&mut terminal, "stty size; tty");
    assert!(terminal.is_raw());
    terminal.until("27 91");
    interrupt(&mut terminal);
    line(&mut terminal, "true");
    until_prompt(&terminal);
    terminal.keys(CTRL_D);
    terminal.wait(0);
    assert!(lab.containers().is_empty(), "removed when it ended");
    // Its window has the right size before its first instruction, and what ends at once is seen all the same.
    assert!(run(&["c2", "tiny", "--", "/bin/sh", "-c", "stty size; exit 9"]).wait(9).contains("27 91"));
    assert!(run(&["c3", "tiny", "--", "/bin/nothing"]).wait(6).contains("does not exist in the container"));
    eventually(SOON, "what could not be started is removed as well", || lab.containers().is_empty());
    let out = lab.typed(&["run", "-t", "--rm", "c4", "tiny", "--", "/bin/sh", "-c", "tty"]).at_terminal(SIZE).wait(0);
    assert!(out.contains("/dev/pts/"), "{out}");
}

#[test]
fn a_terminal_is_refused_where_there_is_none_unless_nobody_needs_it() {
    let lab = Lab::with_tiny(1);
    lab.ok(&["run", "-d", "--stop-timeout", "300ms", "c1", "tiny", "--", "/bin/sleep", "600"]);
    let no = |args: &[&str]| {
        let out = lab.refused(args, 2);
        assert_eq!(out.stderr, "error: the input device is not a TTY\n  leave -t out, or type it at a terminal\n");
    };
    no(&["run", "-it", "--rm", "c2", "tiny", "--", "/bin/sh"]);
    no(&["run", "-t", "c2", "tiny", "--", "/bin/sh"]);
    no(&["exec", "-it", "c1", "--", "/bin/sh"]);
    assert_eq!(lab.containers().len(), 1, "nothing was made");
    lab.ok(&["run", "-dit", "--stop-timeout", "300ms", "c2", "tiny", "--", "/bin/sh"]);
    lab.ok(&["create", "-it", "c3", "tiny", "--", "/bin/sh", "-c", "tty; read x; exit 3"]);
    lab.ok(&["start", "c3"]);
    eventually(SOON, "a terminal", || lab.ok(&["logs", "c3"]).stdout.contains("/dev/pts/"));
    assert!(running(&lab, "c2"));
}

#[test]
fn one_attaches_from_another_server_detaches_and_comes_back() {
    let lab = Lab::with_tiny(2);
    with_shell(&lab, "c1");
    let mut terminal = at_terminal(&lab, "s1", &["attach", "s2:c1"]);
    line(&mut terminal, "stty size; x=kept");
    assert!(terminal.is_raw());
    terminal.until("27 91");
    interrupt(&mut terminal);
    until_prompt(&terminal);
    terminal.keys(DETACH);
    let shown = terminal.wait(0);
    assert!(shown.contains("detached from s2:c1, which runs on"), "{shown}");
    assert!(running(&lab, "c1"));
    // From the manager's server, from the container's own, and by a program instead of a person.
    let mut again = at_terminal(&lab, "s2", &["attach", "c1"]);
    line(&mut again, "echo $x");
    again.until("kept");
    until_prompt(&again);
    let piped = typed_to(&lab, "s1", &["attach", "c1"]).stdin("echo pi''ped\n").start();
    eventually(SOON, "what was piped", || piped.stdout().contains("piped\r\n"));
    again.until("piped");
    line(&mut again, "exit 5");
    again.wait(5);
    assert_eq!(piped.wait(SOON).code, 5);
    // The log has its lines as ever.
    let log = lab.ok(&["logs", "c1"]).stdout;
    assert!(log.lines().any(|line| line == "kept"), "{log}");
    lab.refused(&["attach", "c1"], 4);
}

#[test]
fn a_run_that_is_detached_from_runs_on_and_is_removed_when_it_ends() {
    let lab = Lab::with_tiny(2);
    let mut terminal = at_terminal(&lab, "s1", &[&["run", "-it", "--rm", "s2:c1", "tiny"], &SHELL[..]].concat());
    until_prompt(&terminal);
    terminal.keys(DETACH);
    terminal.wait(0);
    assert!(running(&lab, "c1"));
    let mut terminal = at_terminal(&lab, "s1", &["attach", "c1"]);
    line(&mut terminal, "exit 3");
    terminal.wait(3);
    eventually(SOON, "removed when it ended", || lab.containers().is_empty());
}

#[test]
fn without_a_terminal_ctrl_c_ends_the_watching_only() {
    let lab = Lab::with_tiny(1);
    lab.ok(&["run", "-di", "--stop-timeout", "300ms", "c1", "tiny", "--", "/bin/sh", "-c", "echo on; exec cat"]);
    for args in [&["attach", "c1"][..], &["run", "-i", "c2", "tiny", "--", "/bin/cat"]] {
        let mut terminal = lab.typed(args).at_terminal(SIZE);
        terminal.keys("a word\n");
        // Once by the terminal itself, once by the program.
        eventually(SOON, "the word comes back", || terminal.screen().matches("a word").count() == 2);
        assert!(!terminal.is_raw());
        terminal.keys(CTRL_C);
        let shown = terminal.wait(130);
        assert!(shown.contains("no longer watching c") && shown.contains("which runs on"), "{shown}");
    }
    assert!(running(&lab, "c1") && running(&lab, "c2"));
}

#[test]
fn an_agent_that_is_killed_leaves_the_program_running_and_says_that_the_connection_broke_off() {
    let lab = Lab::with_tiny(2);
    with_shell(&lab, "c1");
    let mut attached = at_terminal(&lab, "s1", &["attach", "s2:c1"]);
    line(&mut attached, "x=kept; echo se''t");
    let mut run = at_terminal(&lab, "s1", &[&["run", "-it", "s2:c2", "tiny"], &SHELL[..]].concat());
    line(&mut run, "x=kept; echo se''t");
    attached.until("set");
    run.until("set");
    lab.own("s2", "agent").unwrap().signal(Signal::SIGKILL);
    for terminal in [attached, run] {
        let shown = terminal.wait(8);
        assert!(shown.contains("error: ") && shown.contains("broke off"), "{shown}");
    }
    eventually(SOON, "the agent is back", || {
        lab.own("s2", "agent").is_some() && lab.roost(&["exec", "c1", "--", "/bin/true"]).code == 0
    });
    for name in ["c1", "c2"] {
        let mut again = at_terminal(&lab, "s1", &["attach", name]);
        line(&mut again, "echo $x");
        again.until("kept");
        again.keys(DETACH);
        again.wait(0);
        assert_eq!(lab.container(name).restarts, 0);
    }
}

/// Private memory of each shim of a server, in KiB.
fn shims(lab: &Lab, server: &str) -> Vec<u64> {
    let all = lab.processes(server).into_iter().filter(|process| process.is_roost("shim"));
    let rollups = all.filter_map(|process| std::fs::read_to_string(format!("/proc/{}/smaps_rollup", process.pid)).ok());
    let private = |text: String| {
        let lines = text.lines().filter(|line| line.starts_with("Private_"));
        lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
    };
    rollups.map(private).collect()
}

#[test]
fn a_client_that_does_not_read_holds_nothing_up_and_costs_the_shim_little() {
    let lab = Lab::with_tiny(2);
    let script = "while read count; do yes $LINE | head -c $count; echo; echo that was $count; done";
    let line = format!("LINE={}", "x".repeat(1000));
    lab.ok(&["run", "-di", "--stop-timeout", "300ms", "-e", &line, "s2:c1", "tiny", "--", "/bin/sh", "-c", script]);
    let stuck = at_terminal(&lab, "s1", &["attach", "s2:c1"]);
    let send = |count: u32| {
        let _sender = lab.typed(&["attach", "c1"]).stdin(format!("{count}\n")).start();
        let last = format!("that was {count}\n");
        eventually(SOON, "the log has all of it", || lab.ok(&["logs", "--tail", "1", "c1"]).stdout == last);
    };
    // Once it is connected it hears what others ask for.
    eventually(SOON, "attached", || {
        send(3);
        stuck.screen().contains("that was 3")
    });
    stuck.signal(Signal::SIGSTOP);
    let began = base::env::instant();
    // More than all buffers on the way can hold.
    send(40_000_000);
    eprintln!("40 MB beside a client that does not read: {:?}", began.elapsed());
    let private = shims(&lab, "s2");
    eprintln!("private memory of shims: {private:?} KiB");
    // A build without optimisation has larger code that is private as well.
    assert!(private.len() == 1 && private[0] < if cfg!(debug_assertions) { 4096 } else { 2048 }, "{private:?}");
    stuck.signal(Signal::SIGCONT);
    stuck.until("bytes of output are left out here");
    assert!(running(&lab, "c1"));
}

#[test]
fn logs_that_are_followed_end_when_the_program_has_ended_for_good() {
    let lab = Lab::with_tiny(2);
    let follow = |name: &str| typed_to(&lab, "s1", &["logs", "-f", name]).start();
    let ended = |following: Background, last: &str| -> Output {
        let out = following.wait(SOON);
        assert!(out.code == 0 && out.stdout.lines().last() == Some(last), "{out}");
        out
    };
    let script = "echo begun; while [ ! -e /go ]; do sleep 0.05; done; echo last; exit 4";
    lab.ok(&["run", "-d", "s2:c1", "tiny", "--", "/bin/sh", "-c", script]);
    let mut following = follow("c1");
    eventually(SOON, "the first line", || following.stdout() == "begun\n");
    assert!(following.runs());
    lab.ok(&["exec", "c1", "--", "/bin/touch", "/go"]);
    ended(following, "last");
    // One that has ended already is shown and done.
    ended(follow("c1"), "last");
    // Stopped by a person.
    lab.ok(&[
        "run",
        "-d",
        "--stop-timeout",
        "300ms",
        "--restart",
        "always",
        "s2:c2",
        "tiny",
        "--",
        "/bin/sh",
        "-c",
        "echo up; exec sleep 600",
    ]);
    let following = follow("c2");
    eventually(SOON, "the first line", || following.stdout() == "up\n");
    lab.ok(&["stop", "c2"]);
    ended(following, "up");
    // Restarted by its policy: it goes on, until the policy says no more.
    let script = "echo run >> /runs; n=$(wc -l < /runs); echo run $n; sleep 0.3; [ $n -ge 3 ]";
    lab.ok(&["run", "-d", "--restart", "on-failure", "s2:c3", "tiny", "--", "/bin/sh", "-c", script]);
    let out = ended(follow("c3"), "run 3");
    assert_eq!(out.stdout, "run 1\nrun 2\nrun 3\n");
}
