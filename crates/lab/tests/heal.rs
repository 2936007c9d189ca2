//! Servers die, are cut off, or become slow: jobs heal, and nothing runs or answers twice.

#![allow(clippy::unwrap_used, reason = "what helps a test fails the test")]

use api::{plan::Wanted, report::Health, view::JobView};
use lab::{Client, Lab, Requests, Root, eventually};
use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::Duration,
};

/// Replacements run within 3 s on a quiet machine; this one may be as busy as it likes.
const REPLACED: Duration = Duration::from_secs(8);
/// Longer than anything takes on a loaded machine.
const SOON: Duration = Duration::from_secs(30);
/// A web server of one file.
const HTTPD: [&str; 6] = ["--", "/bin/httpd", "-f", "-p", "80", "-h"];

/// How long a trouble lasts where the time is the point: as said, or with `ROOST_LONG` set, for how long it is promised.
fn lasting(seconds: u64, promised: u64) -> Duration {
    Duration::from_secs(if std::env::var_os("ROOST_LONG").is_some() { promised } else { seconds })
}

fn web(lab: &Lab, count: &str, more: &[&str]) {
    lab.ok(&[
        &["addjob", "tiny", count, "--name", "web", "--health-tcp", "80", "-s", "spread"],
        more,
        &HTTPD,
        &["/www"],
    ]
    .concat());
}

/// Slots and ids of instances that run healthy where somebody knows of it.
fn running(job: &JobView) -> Vec<(u32, String, Ipv4Addr)> {
    let all = job.instances.iter().filter(|one| one.wanted == Some(Wanted::Run) && one.health == Some(Health::Healthy));
    all.filter(|one| one.state == "running")
        .filter_map(|one| Some((one.slot, one.server.as_ref()?.to_string(), one.address?)))
        .collect()
}

fn whole(job: &JobView, without: &str) -> bool {
    let running = running(job);
    let mut slots: Vec<u32> = running.iter().map(|(slot, ..)| *slot).collect();
    slots.dedup();
    slots.len() == job.spec.count as usize
        && running.len() == slots.len()
        && running.iter().all(|(_, server, _)| server != without)
}

#[test]
fn a_killed_server_is_replaced_within_seconds_and_keeps_nothing() {
    let lab = Lab::with_tiny(3);
    let before = lab.traces("s2");
    web(&lab, "6", &["--stop-timeout", "1s"]);
    let had = lab.instances_on("web", "s2").len();
    assert!(had >= 1, "spread leaves no server out");
    let began = base::env::instant();
    lab.sandbox(&["kill", "s2"]).run().must(0);
    eventually(REPLACED, "6 healthy without s2", || whole(&lab.job("web"), "s2"));
    eprintln!("{had} instances of a killed server replaced {:.2} s after the kill", began.elapsed().as_secs_f32());
    eventually(SOON, "6 addresses", || lab.dig("s1", "web.internal").len() == 6);
    let (replaced, lost) = (lab.job("web"), lab.roost(&["events"]).must(0).stdout);
    assert!(lost.contains("s2") && lost.contains("lost"), "{lost}");
    lab.sandbox(&["start", "s2"]).run().must(0);
    eventually(SOON, "s2 is back", || {
        lab.server_views().iter().any(|view| view.spec.name.as_str() == "s2" && view.liveness == api::server::Liveness::Alive)
    });
    before.gone(&lab, "s2", SOON);
    let now = lab.job("web");
    assert!(whole(&now, ""), "{:?}", now.instances);
    let ids = |job: &JobView| job.instances.iter().map(|one| one.id).collect::<Vec<_>>();
    assert_eq!(ids(&replaced), ids(&now), "instances were moved back for nothing");
}

#[test]
fn an_image_outlives_the_server_it_was_made_on() {
    let lab = Lab::up(4);
    let archive = lab.files().join("kept.tar");
    Root::tiny().file("kept", "here\n").write(&archive);
    lab.ok(&["image", "import", &archive.display().to_string(), "--name", "kept", "--server", "s2"]);
    let copied = |to: &str| lab.ok(&["events"]).stdout.contains(&format!("copied to {to}"));
    eventually(SOON, "two copies", || ["s1", "s3", "s4"].iter().filter(|to| copied(to)).count() == 2);
    lab.sandbox(&["kill", "s2"]).run().must(0);
    // The one that had no copy gets it from those that have.
    for server in ["s1", "s3", "s4"] {
        let answer = lab.ok(&["run", "--rm", "--server", server, "kept", "--", "/bin/cat", "/kept"]);
        assert_eq!(answer.stdout, "here\n", "{server}");
    }
    lab.ok(&["image", "rm", "kept"]);
    lab.sandbox(&["start", "s2"]).run().must(0);
    assert_eq!(lab.ok(&["image", "list", "-q"]).stdout, "");
}

/// What the names `web.internal` and `web-<slot>.web.internal` ever meant on one server while somebody asked all the time.
#[derive(Default)]
struct Seen {
    twice: Vec<String>,
    most: usize,
}

fn watch(lab: &Lab, server: &str, slots: u32) -> (lab::Running, Arc<Mutex<Seen>>) {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let (into, resolver, server) = (Arc::clone(&seen), lab.resolver(server), server.to_owned());
    let running = Requests::each(&lab.place(&server), move |number| {
        let slot = u32::try_from(number).unwrap_or(0) % (slots + 1);
        let name = if slot == 0 { "web.internal".to_owned() } else { format!("web-{slot}.web.internal") };
        let found = Client::resolve(resolver, &name).map_err(|error| format!("{server} {name}: {error}"))?;
        let most = if slot == 0 { slots as usize } else { 1 };
        let mut seen = into.lock().unwrap();
        if found.len() > most {
            seen.twice.push(format!("{server}: {name} is {found:?}"));
        }
        seen.most = seen.most.max(found.len());
        std::thread::sleep(Duration::from_millis(2));
        Ok(Some(String::new()))
    });
    (running, seen)
}

#[test]
fn a_cut_server_never_doubles_a_slot_and_is_whole_again_soon_after() {
    let lab = Lab::with_tiny(3);
    let before = lab.traces("s2");
    web(&lab, "6", &[]);
    let old = lab.instances_on("web", "s2");
    assert!(!old.is_empty());
    let watchers: Vec<_> = ["s1", "s3"].into_iter().map(|server| watch(&lab, server, 6)).collect();
    lab.sandbox(&["cut", "s2"]).run().must(0);
    let cut = base::env::instant();
    eventually(REPLACED, "6 healthy without s2", || whole(&lab.job("web"), "s2"));
    while cut.elapsed() < lasting(20, 60) {
        assert!(whole(&lab.job("web"), "s2"), "{:?}", lab.job("web").instances);
        std::thread::sleep(Duration::from_millis(500));
    }
    // What was replaced runs on where nobody can be told, and that is right.
    assert!(lab.traces("s2").since(&before).iter().any(|line| line.contains("httpd")), "s2 lives by its last assignment");
    lab.sandbox(&["heal", "s2"]).run().must(0);
    let healed = base::env::instant();
    // The web server is deaf to the request to stop, and its grace is the default one of ten seconds: it gets less.
    before.gone(&lab, "s2", Duration::from_secs(10));
    let job = lab.job("web");
    assert!(whole(&job, "") && job.instances.len() == 6, "{:?}", job.instances);
    eprintln!("exactly 6 of 6 {:.2} s after healing", healed.elapsed().as_secs_f32());
    for (running, seen) in watchers {
        let asked = running.stop();
        let seen = seen.lock().unwrap();
        assert!(seen.twice.is_empty(), "{:#?}", seen.twice);
        assert_eq!(seen.most, 6);
        asked.none_lost(1000);
    }
    let gone: Vec<Ipv4Addr> = old.iter().filter_map(|one| one.address).collect();
    let answered = lab.dig("s2", "web.internal");
    assert!(answered.len() == 6 && answered.iter().all(|address| !gone.contains(address)), "{answered:?} {gone:?}");
}

#[test]
fn a_slow_and_lossy_server_is_not_taken_for_lost() {
    let lab = Lab::with_tiny(3);
    web(&lab, "3", &[]);
    let ids = |job: &JobView| job.instances.iter().map(|one| (one.slot, one.id)).collect::<BTreeMap<_, _>>();
    let before = ids(&lab.job("web"));
    lab.sandbox(&["slow", "s2", "--delay", "200ms", "--loss", "5"]).run().must(0);
    let began = base::env::instant();
    while began.elapsed() < lasting(30, 600) {
        let events = lab.ok(&["events"]).stdout;
        assert!(!events.contains("lost"), "{events}");
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(ids(&lab.job("web")), before);
    // It is slow, not gone: commands still get through.
    let there = lab.instances_on("web", "s2").remove(0);
    lab.ok(&["exec", &there.name, "--", "/bin/true"]);
    lab.sandbox(&["heal", "s2"]).run().must(0);
}
