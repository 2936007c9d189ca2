//! Through one door: an assignment in; the fakes' state and the report out. Time is paused, and passes when all wait.

use super::*;
use crate::testing::{
    self,
    bed::{Agent, Bed, ONE, config, told},
};
use api::{
    assignment::{NameTable, PodAssignment},
    image::ImageConfig,
    plan::Wanted,
    quantity::{Span, Timestamp},
    report::{Health, Phase},
    spec::{HealthCheck, Limits, PodTemplate, Power, Probe, Restart},
    stream::LogLine,
};
use driver::{DriverError, Images};
use std::{sync::atomic::AtomicU32, time::Duration};

fn template(told: &mut Assignment, change: impl FnOnce(&mut PodTemplate)) {
    let template = told.templates.get_mut("t1").unwrap();
    change(Arc::make_mut(template));
}

fn restart(restart: Restart) -> impl FnOnce(&mut Assignment) {
    move |told| template(told, |template| template.containers[0].restart = restart)
}

fn wanted(wanted: Wanted) -> impl FnOnce(&mut Assignment) {
    move |told| told.pods.get_mut(&ONE).unwrap().wanted = wanted
}

#[tokio::test(start_paused = true)]
async fn what_is_told_runs_and_what_is_no_longer_told_leaves_nothing() {
    let bed = Bed::new();
    let agent = bed.agent().await;
    agent.tell(1, |_| ()).await;
    let report = agent.phase(ONE, Phase::Running).await;
    assert_eq!((report.health, report.pid, report.restarts), (Health::Healthy, bed.runtime.pid(ONE), 0));
    assert_eq!(agent.engine.report().generation, 1);
    let (run, _) = bed.runtime.pods().remove(&ONE).unwrap();
    assert_eq!((run.hostname.as_str(), run.containers[0].argv.clone()), ("c1", vec!["serve".to_owned()]));
    assert_eq!(bed.network.links()[&ONE].address.octets(), [10, 70, 1, 5]);
    agent.tell(2, |told| told.pods.clear()).await;
    agent.gone(ONE).await;
    assert!(bed.runtime.pods().is_empty() && bed.network.links().is_empty());
    assert!(agent.engine.0.ledger.records().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_dataplane_and_the_names_follow_and_unchanged_ones_are_left_alone() {
    let bed = Bed::new();
    let agent = bed.agent().await;
    let table =
        |host| Arc::new(NameTable { names: [("web".to_owned(), vec![[10, 70, 1, host].into()])].into(), ..NameTable::default() });
    agent.tell(1, |told| told.names = table(5)).await;
    agent.phase(ONE, Phase::Running).await;
    agent.tell(2, |told| told.names = table(5)).await;
    agent.tell(3, |told| (told.names, told.network.peers) = (table(6), vec![testing::peer(2)])).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(*bed.names.lock().unwrap(), [table(5), table(6)]);
    assert_eq!(bed.network.faults.count("ensure"), bed.network.faults.count("ensure_pod") + 2);
    assert!(bed.network.dataplane().unwrap().overlay.is_some());
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert!(bed.network.faults.count("ensure") > 3, "it is verified now and then");
}

#[tokio::test(start_paused = true)]
async fn a_missing_image_comes_from_elsewhere_as_soon_as_it_is_there() {
    let bed = Bed::new();
    bed.images.prune(&[]).unwrap().discard().unwrap();
    let agent = bed.agent().await;
    agent.tell(1, |_| ()).await;
    let report = agent.until(ONE, "a message", |report| report.message.is_some()).await;
    assert_eq!(report.phase, Phase::Pulling);
    assert!(report.message.unwrap().contains("is not here"));
    bed.elsewhere.add(testing::DIGEST, config());
    let report = agent.phase(ONE, Phase::Running).await;
    assert_eq!((report.message, agent.engine.report().images), (None, vec![testing::DIGEST.to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn each_verb_that_fails_is_tried_again_and_said() {
    for verb in ["ensure", "ensure_pod", "runtime"] {
        let bed = Bed::new();
        let error = DriverError::retryable("the kernel is busy");
        match verb {
            "runtime" => bed.runtime.faults.fail("ensure", 2, error),
            verb => bed.network.faults.fail(verb, 2, error),
        }
        let agent = bed.agent().await;
        agent.tell(1, |_| ()).await;
        let said =
            |report: &Report| report.instances[&ONE].message.iter().chain(&report.problems).any(|line| line.contains("busy"));
        let mut wakes = agent.engine.reports();
        while !said(&agent.engine.report()) {
            tokio::time::timeout(Duration::from_secs(60), wakes.changed()).await.expect(verb).unwrap();
        }
        let report = agent.phase(ONE, Phase::Running).await;
        assert_eq!((report.message, agent.engine.report().problems), (None, Vec::new()), "{verb}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_verb_of_removal_that_fails_is_tried_again() {
    let bed = Bed::new();
    let agent = bed.agent().await;
    agent.tell(1, |_| ()).await;
    agent.phase(ONE, Phase::Running).await;
    for (faults, verb) in [(&bed.runtime.faults, "stop"), (&bed.runtime.faults, "remove"), (&bed.network.faults, "remove_pod")] {
        faults.fail(verb, 2, DriverError::fatal("no"));
    }
    agent.tell(2, |told| told.pods.clear()).await;
    agent.gone(ONE).await;
    let counts = [bed.runtime.faults.count("stop"), bed.runtime.faults.count("remove"), bed.network.faults.count("remove_pod")];
    assert_eq!(counts, [3, 3, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_cannot_work_fails_with_its_sentence_until_a_restart_is_asked_for() {
    let bed = Bed::new();
    bed.runtime.faults.fail("ensure", 1, DriverError::fatal("no such user: www"));
    let agent = bed.agent().await;
    agent.tell(1, |_| ()).await;
    let report = agent.phase(ONE, Phase::Failed).await;
    assert_eq!(report.message.as_deref(), Some("no such user: www"));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(bed.runtime.faults.count("ensure"), 1);
    agent.tell(2, |told| told.pods.get_mut(&ONE).unwrap().restarts = 1).await;
    agent.phase(ONE, Phase::Running).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_failed_start_left_half_made_is_removed() {
    let bed = Bed::new();
    bed.runtime.faults.fail("ensure", 1, DriverError::fatal("no such user: www"));
    let agent = bed.agent().await;
    agent.tell(1, |_| ()).await;
    agent.phase(ONE, Phase::Failed).await;
    agent.tell(2, |told| told.pods.clear()).await;
    agent.gone(ONE).await;
    assert_eq!((bed.runtime.faults.count("remove"), bed.network.links().len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_image_without_a_command_fails_with_a_sentence() {
    let bed = Bed::new();
    bed.images.add(testing::DIGEST, ImageConfig::default());
    let agent = bed.agent().await;
    agent.tell(1, |_| ()).await;
    let report = agent.phase(ONE, Phase::Failed).await;
    assert!(report.message.unwrap().contains("neither entrypoint nor command"));
}

#[tokio::test(start_paused = true)]
async fn a_kind_of_container_that_cannot_run_here_says_why() {
    let bed = Bed::new();
    bed.runtime.set_unavailable(Some("this kernel has no overlay"));
    let agent = bed.agent().await;
    agent.tell(1, |_| ()).await;
    let report = agent.phase(ONE, Phase::Failed).await;
    assert_eq!(report.message.as_deref(), Some("application containers cannot run on this server: this kernel has no overlay"));
    agent.tell(2, |told| told.pods.clear()).await;
    agent.gone(ONE).await;
}

#[tokio::test(start_paused = true)]
async fn a_program_that_ends_stays_ended_without_a_restart_policy() {
    let bed = Bed::new();
    let agent = bed.agent().await;
    agent.tell(1, |_| ()).await;
    agent.phase(ONE, Phase::Running).await;
    bed.runtime.end(ONE, Some(3));
    assert_eq!(agent.phase(ONE, Phase::Exited).await.exit_code, Some(3));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((agent.instance(ONE).unwrap().phase, bed.runtime.faults.count("ensure")), (Phase::Exited, 1));
}

#[tokio::test(start_paused = true)]
async fn the_pause_before_a_restart_doubles_and_is_short_again_after_a_steady_run() {
    let bed = Bed::new();
    let agent = bed.agent().await;
    agent.tell(1, restart(Restart::Always)).await;
    agent.phase(ONE, Phase::Running).await;
    let mut pauses = Vec::new();
    for _ in 0..4 {
        pauses.push(end_and_wait(&bed, &agent).await);
    }
    tokio::time::sleep(Duration::from_secs(11)).await;
    pauses.push(end_and_wait(&bed, &agent).await);
    let rounded: Vec<_> = pauses.iter().map(|pause| pause.as_millis() / 100 * 100).collect();
    assert_eq!(rounded, [100, 200, 400, 800, 100], "{pauses:?}");
    assert_eq!(agent.instance(ONE).unwrap().restarts, 5);
}

/// Ends the program: how long until it runs again.
async fn end_and_wait(bed: &Bed, agent: &Agent) -> Duration {
    let pid = bed.runtime.pid(ONE);
    bed.runtime.end(ONE, Some(0));
    agent.phase(ONE, Phase::BackOff).await;
    let began = base::env::timer();
    agent.until(ONE, "running again", |report| report.phase == Phase::Running && report.pid != pid).await;
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_jobs_instance_that_never_lasts_fails_with_its_last_lines() {
    let bed = Bed::new();
    bed.runtime.end_at_once(Some(1));
    for n in 1..=12 {
        bed.inspect.log(ONE, "main", &LogLine { at: Timestamp(n), stderr: true, message: format!("line {n}") }).unwrap();
    }
    let agent = bed.agent().await;
    let job = |told: &mut Assignment| {
        told.pods.get_mut(&ONE).unwrap().display = "web/1".to_owned();
        restart(Restart::Always)(told);
    };
    agent.tell(1, job).await;
    let report = agent.phase(ONE, Phase::Failed).await;
    assert_eq!(bed.runtime.faults.count("ensure"), 3);
    assert!(report.message.unwrap().starts_with("given up after 3 starts in a row"));
    assert_eq!((report.last_lines.len(), report.last_lines[9].as_str()), (10, "line 12"));
}

#[tokio::test(start_paused = true)]
async fn power_off_freeze_and_restart() {
    let bed = Bed::new();
    let agent = bed.agent().await;
    let power = |power| move |told: &mut Assignment| told.pods.get_mut(&ONE).unwrap().power = power;
    agent.tell(1, |_| ()).await;
    let first = agent.phase(ONE, Phase::Running).await.pid;
    agent.tell(2, power(Power::Frozen)).await;
    assert_eq!(agent.phase(ONE, Phase::Frozen).await.pid, first);
    agent.tell(3, power(Power::Off)).await;
    agent.phase(ONE, Phase::Exited).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!((bed.runtime.pods().len(), bed.runtime.pid(ONE)), (1, None), "files are kept");
    agent.tell(4, power(Power::On)).await;
    let second = agent.phase(ONE, Phase::Running).await.pid;
    agent.tell(5, |told| told.pods.get_mut(&ONE).unwrap().restarts = 1).await;
    agent.until(ONE, "another pid", |report| report.phase == Phase::Running && report.pid != second).await;
    agent.tell(6, |told| told.pods.get_mut(&ONE).unwrap().restarts = 1).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(bed.runtime.faults.count("ensure"), 3, "asked for once, done once");
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_its_connections_then_stops_and_is_kept_until_it_is_no_longer_told() {
    let bed = Bed::new();
    let agent = bed.agent().await;
    agent.tell(1, |_| ()).await;
    agent.phase(ONE, Phase::Running).await;
    bed.network.set_connections(ONE, 2);
    let began = base::env::timer();
    agent.tell(2, wanted(Wanted::Drain)).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(agent.instance(ONE).unwrap().phase, Phase::Running);
    bed.network.set_connections(ONE, 0);
    agent.phase(ONE, Phase::Exited).await;
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(3_300) && took < Duration::from_millis(3_700), "{took:?}");
    agent.tell(3, |told| told.pods.clear()).await;
    agent.gone(ONE).await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_takes_at_least_its_minimum_and_at_most_its_time_out() {
    for (connections, least, most) in [(0, 1_500, 1_700), (9, 2_000, 2_200)] {
        let bed = Bed::new();
        let agent = bed.agent().await;
        let short = |told: &mut Assignment| template(told, |t| t.drain_timeout = Span::seconds(2));
        agent.tell(1, short).await;
        agent.phase(ONE, Phase::Running).await;
        bed.network.set_connections(ONE, connections);
        let began = base::env::timer();
        agent.tell(2, |told| (short(told), wanted(Wanted::Drain)(told)).1).await;
        agent.phase(ONE, Phase::Exited).await;
        let took = began.elapsed().as_millis();
        assert!((least..most).contains(&took), "{connections} connections: {took} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn stop_removes_even_while_a_program_waits_for_its_restart() {
    let bed = Bed::new();
    bed.runtime.end_at_once(Some(1));
    let agent = bed.agent().await;
    agent.tell(1, restart(Restart::Always)).await;
    agent.until(ONE, "a few restarts", |report| report.phase == Phase::BackOff && report.restarts >= 5).await;
    let began = base::env::timer();
    agent.tell(2, wanted(Wanted::Stop)).await;
    agent.gone(ONE).await;
    assert!(began.elapsed() < Duration::from_millis(100));
    assert!(bed.runtime.pods().is_empty() && bed.network.links().is_empty());
}

fn checked(told: &mut Assignment) {
    let check = HealthCheck { interval: Span::seconds(1), ..HealthCheck::new(Probe::Command(vec!["check".to_owned()])) };
    template(told, |template| template.containers[0].health = Some(check));
}

#[tokio::test(start_paused = true)]
async fn health_follows_the_check() {
    let bed = Bed::new();
    let code = Arc::new(AtomicU32::new(1));
    let answer = Arc::clone(&code);
    bed.runtime.set_script(Box::new(move |_, _| (answer.load(std::sync::atomic::Ordering::Relaxed) as i32, b"output".to_vec())));
    let set = |value| code.store(value, std::sync::atomic::Ordering::Relaxed);
    let agent = bed.agent().await;
    agent.tell(1, checked).await;
    let report = agent.until(ONE, "a failed check", |report| report.message.is_some()).await;
    assert_eq!((report.phase, report.health), (Phase::Running, Health::Starting));
    assert_eq!(report.message.as_deref(), Some("command check exited with code 1"));
    set(0);
    let began = base::env::timer();
    agent.until(ONE, "healthy", |report| report.health == Health::Healthy && report.message.is_none()).await;
    assert!(began.elapsed() <= Duration::from_millis(100), "tries come fast while it starts: {:?}", began.elapsed());
    set(1);
    let began = base::env::timer();
    agent.until(ONE, "unhealthy", |report| report.health == Health::Unhealthy).await;
    assert!((2_000..4_100).contains(&began.elapsed().as_millis()), "three tries a second apart: {:?}", began.elapsed());
    set(0);
    agent.until(ONE, "healthy again", |report| report.health == Health::Healthy).await;
}

#[tokio::test(start_paused = true)]
async fn the_next_agent_adopts_what_runs_keeps_its_health_and_restarts_nothing() {
    let bed = Bed::new();
    let agent = bed.agent().await;
    agent.tell(7, checked).await;
    let before = agent.until(ONE, "healthy", |report| report.health == Health::Healthy).await;
    let saved = || agent.engine.0.ledger.records().unwrap().get(&ONE).is_some_and(|record| record.healthy && !record.starting);
    while !saved() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(agent);
    bed.runtime.set_script(Box::new(|_, _| (1, Vec::new())));
    let next = bed.agent().await;
    let report = next.engine.report();
    assert_eq!((report.generation, &report.instances[&ONE]), (7, &before), "as the former one said, at once");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!((bed.runtime.faults.count("ensure"), bed.runtime.faults.count("stop")), (1, 0));
    let refused = next.engine.assign(told(6, checked)).await.unwrap_err();
    assert_eq!(refused, Refused::Older { offered: 6, held: 7 });
    assert!(next.engine.report().problems[0].contains("generation 6 refused"));
    next.engine.assign(told(7, checked)).await.unwrap();
    assert!(next.engine.report().problems.is_empty());
}

#[tokio::test]
async fn who_saw_a_placement_before_the_agent_did_is_not_told_that_it_is_not_here() {
    let bed = Bed::new();
    let agent = bed.agent().await;
    agent.tell(1, |_| ()).await;
    let two = InstanceId(2);
    let tell = agent.tell(2, |told| {
        told.pods.insert(two, testing::pod("c2", 6));
    });
    let (known, ()) = tokio::join!(agent.engine.0.knows(two, Duration::from_secs(60)), tell);
    assert!(known);
    assert!(!agent.engine.0.knows(InstanceId(77), Duration::from_millis(10)).await);
}

#[tokio::test(start_paused = true)]
async fn what_happened_while_no_agent_was_there_is_found() {
    let bed = Bed::new();
    let agent = bed.agent().await;
    let both = |told: &mut Assignment| {
        told.pods.insert(InstanceId(2), testing::pod("c2", 6));
    };
    agent.tell(1, both).await;
    agent.phase(ONE, Phase::Running).await;
    agent.phase(InstanceId(2), Phase::Running).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(agent);
    bed.runtime.end(ONE, Some(5));
    bed.runtime.end(InstanceId(2), None);
    let next = bed.agent().await;
    let report = next.phase(ONE, Phase::Exited).await;
    assert_eq!(report.exit_code, Some(5));
    // The machine went down under the other: it goes on, whatever its policy.
    next.phase(InstanceId(2), Phase::Running).await;
    next.tell(2, |told| told.pods.clear()).await;
    next.gone(ONE).await;
    next.gone(InstanceId(2)).await;
    assert!(bed.runtime.pods().is_empty() && bed.network.links().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_agent_without_a_ledger_touches_nothing_before_it_is_told() {
    let bed = Bed::new();
    let agent = bed.agent().await;
    agent.tell(1, |_| ()).await;
    let pid = agent.phase(ONE, Phase::Running).await.pid;
    drop(agent);
    // A last write of the agent that was dropped may still be on its way to the disk.
    let ledger = bed.directory.path().join("ledger");
    let gone = (0..1_000).any(|_| std::fs::remove_dir_all(&ledger).is_ok() || !ledger.exists());
    assert!(gone, "the ledger cannot be removed");
    let next = bed.agent().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((bed.runtime.pid(ONE), next.engine.report().generation), (pid, 0));
    next.tell(9, |told| told.pods.get_mut(&ONE).unwrap().restarts = 4).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(next.phase(ONE, Phase::Running).await.pid, pid, "a lost record is no reason to restart");
}

#[tokio::test(start_paused = true)]
async fn the_first_look_is_repeated_until_it_works() {
    let bed = Bed::new();
    bed.runtime.faults.fail("observe", 3, DriverError::retryable("cgroups are not mounted"));
    let agent = bed.agent().await;
    assert_eq!(bed.runtime.faults.count("observe"), 4);
    agent.tell(1, |_| ()).await;
    agent.phase(ONE, Phase::Running).await;
}

#[tokio::test(start_paused = true)]
async fn no_more_pods_are_started_at_once_than_allowed_and_all_are_in_the_end() {
    let bed = Bed::new();
    let agent = bed.agent().await;
    let many = |told: &mut Assignment| {
        told.pods = (1..=50).map(|n| (InstanceId(n), testing::pod(&format!("web/{n}"), n as u8 + 1))).collect();
    };
    agent.tell(1, many).await;
    for n in 1..=50 {
        agent.phase(InstanceId(n), Phase::Running).await;
    }
    assert_eq!(bed.runtime.faults.count("ensure"), 50);
    assert_eq!(agent.engine.0.heavy.available_permits(), 4);
    agent.tell(2, |told| told.pods.clear()).await;
    for n in 1..=50 {
        agent.gone(InstanceId(n)).await;
    }
    assert!(bed.runtime.pods().is_empty() && bed.network.links().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_change_of_mind_while_a_start_is_under_way_wins() {
    let bed = Bed::new();
    bed.runtime.faults.delay("ensure", Duration::from_millis(200));
    let agent = bed.agent().await;
    agent.tell(1, |_| ()).await;
    while bed.runtime.faults.count("ensure") == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    agent.tell(2, |told| told.pods.clear()).await;
    agent.gone(ONE).await;
    assert!(bed.runtime.pods().is_empty());
    assert_eq!(bed.runtime.faults.count("stop"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_no_member_any_more_leaves_nothing() {
    let bed = Bed::new();
    let agent = bed.agent().await;
    agent.tell(8, |_| ()).await;
    agent.phase(ONE, Phase::Running).await;
    agent.engine.forget().await.unwrap();
    agent.gone(ONE).await;
    assert!(bed.runtime.pods().is_empty());
    agent.tell(1, |_| ()).await;
    agent.phase(ONE, Phase::Running).await;
}

#[tokio::test(start_paused = true)]
async fn limits_change_while_it_runs_and_the_report_says_which_hold() {
    let bed = Bed::new();
    let agent = bed.agent().await;
    agent.tell(1, |_| ()).await;
    let first = agent.phase(ONE, Phase::Running).await;
    assert_eq!(first.limits, [Limits::default()]);
    let other = Limits { pids: Some(7), ..Limits::default() };
    bed.runtime.faults.fail("limit", 1, DriverError::retryable("more than that is in use"));
    agent.tell(2, |told| template(told, |template| template.containers[0].limits = other.clone())).await;
    agent.until(ONE, "why not yet", |report| report.message.is_some()).await;
    let after = agent.until(ONE, "other limits", |report| report.limits == [other.clone()]).await;
    assert_eq!((after.pid, after.message), (first.pid, None));
    assert_eq!(bed.runtime.pods()[&ONE].0.containers[0].limits, other);
    // The next agent knows which hold, and has nothing to do, once that is written.
    let written = bed.directory.path().join("ledger/pods/1.json");
    let knows = || std::fs::read_to_string(&written).is_ok_and(|text| text.contains("\"pids\":7"));
    let pause = || std::thread::sleep(std::time::Duration::from_millis(1));
    assert!(
        (0..5_000).any(|_| knows() || {
            pause();
            false
        }),
        "the ledger never says which limits hold"
    );
    drop(agent);
    let agent = bed.agent().await;
    assert_eq!(agent.phase(ONE, Phase::Running).await.limits, [other]);
    assert_eq!(bed.runtime.faults.count("limit"), 2);
}

#[tokio::test(start_paused = true)]
async fn after_the_server_went_down_those_in_line_come_up_one_after_the_other() {
    let bed = Bed::new();
    let rules = [(1, Some(9), 0), (2, Some(1), 5000), (3, Some(5), 1000), (4, None, 0)];
    let agent = bed.agent().await;
    let tell = |told: &mut Assignment| {
        for (id, order, delay) in rules {
            let mut template = testing::template();
            template.containers[0].system.autostart_order = order;
            template.containers[0].system.autostart_delay = Span(delay);
            told.templates.insert(format!("of {id}"), Arc::new(template));
            let pod = testing::pod(&format!("c{id}"), u8::try_from(id).unwrap());
            told.pods.insert(InstanceId(id), PodAssignment { template: format!("of {id}"), ..pod });
        }
    };
    agent.tell(1, tell).await;
    for (id, ..) in rules {
        agent.phase(InstanceId(id), Phase::Running).await;
    }
    drop(agent);
    for (id, ..) in rules {
        bed.runtime.end(InstanceId(id), None);
    }
    let begin = base::env::timer();
    let agent = bed.agent().await;
    let up = |id| {
        let agent = &agent;
        async move {
            agent.phase(InstanceId(id), Phase::Running).await;
            begin.elapsed().as_millis()
        }
    };
    let (last, first, second, free) = tokio::join!(up(1), up(2), up(3), up(4));
    assert!(first < 1000 && free < 1000, "{first} {free}");
    assert!((5000..6000).contains(&second), "{second}");
    assert!((6000..7500).contains(&last), "{last}");
}
