//! The command line as a contract: formats, dry runs, both grammars, help, and what describes itself.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use api::server::Liveness;
use lab::{Lab, Output, Typed, binary, eventually};
use serde_json::Value;
use std::{collections::BTreeSet, process::Command, time::Duration};

/// Longer than anything takes on a loaded machine.
const SOON: Duration = Duration::from_secs(20);

/// Two servers, the image `tiny`, a container `one` on s1 with a published port, and a job `front` of two instances.
fn populated() -> Lab {
    let lab = Lab::with_tiny(2);
    let httpd = ["--", "/bin/httpd", "-f", "-p", "80", "-h", "/www"];
    lab.ok(&[&["run", "-d", "s1:one", "tiny", "-p", "8080:80"], &httpd[..]].concat());
    lab.ok(&[&["addjob", "tiny", "2", "--name", "front", "-p", "9000:80", "-s", "spread", "--stop-timeout", "0"], &httpd[..]]
        .concat());
    lab
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

/// Roost with no cluster.
fn alone(args: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(args);
    Typed::new(command).env("ROOST_SOCKET", "/nowhere/api.sock").run()
}

#[test]
fn every_list_is_json_with_the_fields_of_the_contract() {
    let lab = populated();
    lab.ok(&["token", "create"]);
    let container = "address digest exit_code health id image job kind labels limits limits_in_force message name phase pid publish restarts revision server slot started state wanted";
    let table = [
        ("ls", format!("{container} cpu_seconds memory")),
        ("listjobs", "count created deleting healthy history instances name placement revision rollout running template update waiting".to_owned()),
        ("image list", "config created digest name size".to_owned()),
        (
            "server list",
            "address draining facts instances joined key_fingerprint labels liveness manager name number problems reserved_cpu reserved_memory subnet usage"
                .to_owned(),
        ),
        ("token list", "expires id uses_left".to_owned()),
        ("publish --list", "container port protocol server to".to_owned()),
        ("stats", "at cpu_micros cpu_percent memory memory_limit name pids received sent server".to_owned()),
    ];
    for (line, fields) in table {
        let rows = lab.json(&words(line));
        let first = rows.as_array().and_then(|rows| rows.first()).and_then(Value::as_object);
        let found: BTreeSet<&str> = first.unwrap_or_else(|| panic!("{line}: {rows}")).keys().map(String::as_str).collect();
        let expected: BTreeSet<&str> = fields.split(' ').collect();
        // Fields may be added, never taken away.
        assert!(expected.is_subset(&found), "{line}: without {:?}", expected.difference(&found));
        assert!(found.is_subset(&expected), "{line}: not in this contract yet: {:?}", found.difference(&expected));
    }
    for line in
        ["show one", "show front/1", "show front", "showjob front", "server show s1", "image show tiny", "why one", "version"]
    {
        assert!(lab.json(&words(line)).is_object(), "{line}");
    }
    for line in ["events -o json", "logs -o json one"] {
        lab.ok(&words(line)).stdout.lines().for_each(|line| drop(serde_json::from_str::<Value>(line).unwrap()));
    }
}

#[test]
fn lists_in_other_forms() {
    let lab = populated();
    let out = |line: &str| lab.ok(&words(line)).stdout;
    assert_eq!(out("ls -q --sort name"), "front/1\nfront/2\none\n");
    assert_eq!(out("ls -o name --sort name"), out("ls -q --sort name"));
    assert_eq!(out("ls -q --filter server=s1 --filter name=one"), "one\n");
    assert_eq!(out("ls -q --filter state=stopped"), "");
    assert_eq!(out("ls s1: -q --sort name").lines().last(), Some("one"));
    assert_eq!(out("server list -q"), "s1\ns2\n");
    for noun in ["server", "job", "image", "token", "snapshot"] {
        assert_eq!(out(&format!("{noun} ls -o json")), out(&format!("{noun} list -o json")), "as in docker");
    }
    let sorted = out("server list -o csv --sort address");
    assert!(sorted.starts_with("name,state,address,subnet,role,"), "{sorted}");
    assert_eq!(sorted.lines().count(), 3);
    let csv = out("ls -o csv --filter name=one");
    let (head, row) = csv.trim().split_once('\n').unwrap();
    assert_eq!(head.split(',').count(), row.split(',').count(), "{csv}");
    assert!(row.starts_with("one,app,tiny,s1,10.0.1."), "{csv}");
    let (table, wide) = (out("ls"), out("ls -o wide"));
    assert!(table.starts_with("NAME ") && !table.contains("RESTARTS") && wide.contains("RESTARTS"), "{wide}");
    assert!(out("ls -o yaml").contains("- name: one\n"));
    assert!(out("listpubs").contains("8080"), "{}", out("listpubs"));
    assert!(!table.contains('\u{1b}'));
}

#[test]
fn dry_runs_say_what_would_change_and_change_nothing() {
    let lab = populated();
    let (archive, file) = (lab.files().join("tiny.tar").display().to_string(), lab.files().join("x").display().to_string());
    let token = lab.ok(&["token", "create"]).text().to_owned();
    let id = lab.json(&["token", "list"])[0]["id"].as_str().unwrap_or_default().to_owned();
    assert!(!token.is_empty());
    let state = || {
        let lists = ["listjobs", "image list", "token list", "publish --list"].map(|line| lab.json(&words(line)));
        let servers: Vec<_> = lab.server_views().into_iter().map(|server| server.spec).collect();
        (lists, lab.containers(), servers)
    };
    let before = state();
    let changes = [
        "run c1 tiny",
        "create c1 tiny",
        "stop one",
        "restart one",
        "freeze one",
        "kill one",
        "rm -f one",
        "rename one other",
        "set one --pids 99",
        "publish one 8081:80",
        "unpublish one 8080:80",
        "addjob tiny 3 --name other",
        "scalejob front 3",
        "scalejob front +1",
        "upgradejob front --env A=1",
        "deljob front",
        "job rm front",
        "drain s2",
        "server set s2 disk=ssd",
        "setsubnet s2 10.0.9.0/25",
        "token create",
        "image pull 127.0.0.1:5000/x",
        "image bootstrap debian bookworm",
        "image tag tiny other",
    ];
    let more = [
        format!("token revoke {id}"),
        format!("token rm {id}"),
        format!("image import {archive} --name again"),
        format!("cp {archive} one:/srv"),
        format!("cp one:/etc/passwd {file}"),
    ];
    for line in changes.into_iter().map(str::to_owned).chain(more) {
        let out = lab.roost(&[&words(&line)[..], &["--dry-run"]].concat());
        // What is used by containers is said to be in the way, as without the flag.
        let expected = if line.starts_with("setsubnet") { 4 } else { 2 };
        assert!(out.code == expected && out.stdout.is_empty() == (expected == 4), "{out}");
        assert_eq!(state(), before, "it changed something\n{out}");
    }
    assert!(!std::path::Path::new(&file).exists());
    for line in ["start one", "unfreeze one", "scalejob front 2", "publish one 8080:80", "undrain s2", "server set s2 disk="] {
        let out = lab.roost(&[&words(line)[..], &["--dry-run"]].concat()).must(0);
        assert!(!out.stdout.is_empty(), "{out}");
        assert_eq!(state(), before, "it changed something\n{out}");
    }
    for (line, code) in [
        ("stop nobody", 3),
        ("rm one", 4),
        ("run one tiny", 4),
        ("addjob tiny 3 --name big --memory 64G", 6),
        ("image delete tiny", 4),
        ("image rm tiny", 4),
        ("snapshot rm one before", 3),
        ("apps rm blog", 3),
    ] {
        let out = lab.roost(&[&words(line)[..], &["--dry-run"]].concat()).must(code);
        assert_eq!(state(), before, "it changed something\n{out}");
    }
}

/// The commands below one, as its help lists them.
fn below(command: &[String]) -> Vec<Vec<String>> {
    let mut words: Vec<&str> = command.iter().map(String::as_str).collect();
    words.push("--help");
    let help = alone(&words).must(0).stdout;
    let Some((_, list)) = help.split_once("\nCommands:\n") else { return Vec::new() };
    let names = list.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let named = names.filter(|name| !name.is_empty() && *name != "help");
    named.map(|name| [command, &[name.to_owned()]].concat()).collect()
}

/// Every command that can be typed.
fn commands() -> Vec<Vec<String>> {
    let (mut all, mut open) = (Vec::new(), below(&[]));
    while let Some(command) = open.pop() {
        let further = below(&command);
        if further.is_empty() { all.push(command) } else { open.extend(further) }
    }
    all
}

#[test]
fn every_command_has_a_manual_with_an_example_and_a_completion() {
    let all = commands();
    assert!(all.len() > 45, "{all:?}");
    let complete = |shell: &str| alone(&["completion", shell]).must(0).stdout;
    let scripts = ["bash", "zsh", "fish"].map(complete);
    for command in &all {
        let mut words: Vec<&str> = command.iter().map(String::as_str).collect();
        words.push("--help");
        let help = alone(&words).must(0).stdout;
        assert!(help.contains("Example: roost ") && help.contains("Usage: roost "), "{command:?}\n{help}");
        let last = command.last().unwrap();
        assert!(scripts.iter().all(|script| script.contains(last.as_str())), "{command:?} in no completion");
    }
    let mut check = Command::new("bash");
    check.args(["-n", "/dev/stdin"]);
    Typed::new(check).stdin(scripts[0].as_bytes()).run().must(0);
    alone(&["completion", "cmd"]).must(2);
}

#[test]
fn flat_and_canonical_forms_and_flockport_are_one() {
    let lab = populated();
    let same = [
        ("listjobs -o json", "job list -o json"),
        ("listjob -q", "job list -q"),
        ("jobs -q", "job list -q"),
        ("showjob front -o json", "job show front -o json"),
        ("listservers -q", "server list -q"),
        ("servers -q", "server list -q"),
        ("showserver s1 -o json", "server show s1 -o json"),
        ("listimages -o json", "image list -o json"),
        ("images -q", "image list -q"),
        ("listtokens -o csv", "token list -o csv"),
        ("listpubs -o json", "publish --list -o json"),
        ("ps -q", "ls -q"),
        ("scalejob front 2 --dry-run", "job scale front 2 --dry-run"),
        ("ugradejob front --dry-run", "job upgrade front --dry-run"),
        ("upgradejobs front --dry-run", "job upgrade front --dry-run"),
        ("deljobs front --dry-run", "job delete front --dry-run"),
        ("pub one 80 --dry-run", "publish one 80 --dry-run"),
        ("unpub one 8080 --dry-run", "unpublish one 8080 --dry-run"),
        ("drain s1 --dry-run", "server drain s1 --dry-run"),
        ("deljob nojob", "job delete nojob"),
        ("addjob tiny", "job add tiny"),
    ];
    let flockport = lab.files().join("flockport");
    std::os::unix::fs::symlink(binary(), &flockport).unwrap();
    // What runs uses memory and time, and the age of an image grows: numbers that differ from one look to the next.
    let still = |text: String| -> String {
        text.lines().filter(|line| !["usage", "memory", "cpu", "load"].iter().any(|word| line.contains(word))).collect()
    };
    let answer = |out: Output| (out.code, still(out.stdout), out.stderr.replace("flockport", "roost"));
    for (flat, canonical) in same {
        let expected = answer(lab.roost(&words(canonical)));
        assert_eq!(answer(lab.roost(&words(flat))), expected, "{flat}");
        let mut command = Command::new(&flockport);
        command.args(words(flat));
        let typed = Typed::new(command).env("ROOST_SOCKET", &lab.socket("s1").display().to_string());
        assert_eq!(answer(typed.run()), expected, "flockport {flat}");
    }
}

#[test]
fn colour_needs_a_terminal_and_no_wish_against_it() {
    let on_terminal = |set: Option<&str>| {
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--command", &format!("{} lst", binary().display()), "/dev/null"]);
        let typed = Typed::new(command).env("TERM", "xterm").env("NO_COLOR", set.unwrap_or_default());
        typed.run().must(2).stdout
    };
    assert!(on_terminal(None).contains("\u{1b}[31merror\u{1b}[0m: there is no command lst"), "{:?}", on_terminal(None));
    assert!(!on_terminal(Some("1")).contains('\u{1b}'));
    assert!(!alone(&["lst"]).stderr.contains('\u{1b}'));
}

#[test]
fn why_has_an_answer_for_everything() {
    let lab = populated();
    let why = |what: &str| lab.ok(&["why", what]).stdout;
    assert!(why("one").starts_with("one runs on s1") || why("one").contains("running on s1"), "{}", why("one"));
    assert!(why("front/1").contains("most free share") || why("front/1").contains("placed"), "{}", why("front/1"));
    assert!(why("front").contains('2'), "{}", why("front"));
    assert!(why("s1").contains("s1"), "{}", why("s1"));
    lab.ok(&["addjob", "tiny", "2", "--name", "pair", "-r", "1", "--stop-timeout", "0", "--", "/bin/sleep", "600"]);
    lab.sandbox(&["kill", "s2"]).run().must(0);
    eventually(SOON, "s2 is lost", || lab.server_views().iter().any(|server| server.liveness == Liveness::Lost));
    eventually(SOON, "an instance waits", || lab.job("pair").waiting.len() == 1);
    let slot = lab.job("pair").waiting[0].slot;
    let waits = why(&format!("pair/{slot}"));
    assert!(waits.contains("waiting") && waits.contains("1 server") && waits.contains("fix: "), "{waits}");
    assert!(why("s2").contains("lost"), "{}", why("s2"));
    let job = lab.ok(&["showjob", "pair"]).stdout;
    assert!(job.contains(&format!("pair/{slot} waits: ")), "{job}");
    assert!(why("pair/9").starts_with("pair/9 does not exist: job pair asks for 2"), "{}", why("pair/9"));
    let events = lab.ok(&["events"]).stdout;
    for expected in ["server    s2", "lost: no sign for", "pair/"] {
        assert!(events.contains(expected), "{expected}: {events}");
    }
    let json: Vec<Value> =
        lab.ok(&["events", "-o", "json"]).stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let numbers: Vec<u64> = json.iter().filter_map(|event| event["sequence"].as_u64()).collect();
    assert!(numbers.len() == json.len() && numbers.is_sorted(), "{numbers:?}");
}

/// A sample of the Prometheus text format (OpenMetrics 1.0, "Overall Structure"): `name{label="value"} number`.
fn sample(line: &str) -> Option<(&str, f64)> {
    let (series, value) = line.rsplit_once(' ')?;
    let name = series.split('{').next()?;
    let named = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    let labels = series.strip_prefix(name)?;
    let labelled = labels.is_empty() || (labels.starts_with("{") && labels.ends_with("\"}") && labels.contains("=\""));
    (named && labelled).then_some((name, value.parse().ok()?))
}

#[test]
fn metrics_are_what_prometheus_reads() {
    let lab = populated();
    let text = lab.ok(&["metrics"]).stdout;
    let mut names = BTreeSet::new();
    for line in text.lines() {
        match line.strip_prefix("# ") {
            Some(comment) => assert!(["TYPE ", "HELP ", "UNIT ", "EOF"].iter().any(|word| comment.starts_with(word)), "{line}"),
            None => {
                names.insert(sample(line).unwrap_or_else(|| panic!("no sample: {line}")).0);
            }
        }
    }
    assert!(names.len() > 5 && names.iter().all(|name| name.starts_with("roost_")), "{names:?}");
    assert!(text.ends_with("# EOF\n"), "{text}");
}

#[test]
fn the_api_describes_itself() {
    let lab = Lab::up(1);
    let socket = lab.socket("s1").display().to_string();
    let ask = |method: &str, path: &str| {
        let mut command = Command::new("curl");
        let data = ["--max-time", "5", "-X", method, "-H", "content-type: application/json"];
        command.args(["-sS", "--unix-socket", &socket, "-w", "\n%{http_code}"]).args(data).arg(format!("http://roost{path}"));
        let out = Typed::new(command).run().must(0).stdout;
        let (body, status) = out.rsplit_once('\n').unwrap();
        (status.parse::<u16>().unwrap(), body.to_owned())
    };
    let (status, body) = ask("GET", "/v1/openapi.json");
    assert_eq!(status, 200);
    let document: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let mut count = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        let real = path.replace("{name}", "nothing").replace("{target}", "nothing").replace("{id}", "nothing");
        for method in methods.as_object().unwrap().keys() {
            let (status, body) = ask(&method.to_uppercase(), &real);
            count += 1;
            assert!(
                status != 405 && !body.contains("in this API"),
                "{method} {path} is described and not there: {status} {body}"
            );
            assert!(status < 500 || serde_json::from_str::<api::Error>(&body).is_ok(), "{method} {path}: {status} {body}");
        }
    }
    assert!(count > 40, "{count}");
    let (status, body) = ask("GET", "/v1/nothing");
    assert_eq!(
        (status, serde_json::from_str::<api::Error>(&body).unwrap().message.as_str()),
        (404, "there is no GET /v1/nothing in this API")
    );
    assert_eq!(ask("PUT", "/v1/jobs").0, 405);
}
