//! What follows from a plan: names, routes, assignments; addresses, subnets, ports; liveness; and the checker's own eyes.

use super::world::{World, name, world};
use crate::{
    Reach, assignment, assignments, check, informed,
    liveness::{AWAY_GRACE, SILENT, START_GRACE, Signs, decide, probe_due},
    names, next_subnet, port_conflicts, routes, template_digest,
};
use api::{
    Span, Timestamp,
    plan::{JobPlan, Wanted},
    server::{Liveness, ServerSpec},
};
use std::{collections::BTreeSet, fmt::Write as _, sync::Arc};

fn three(commands: &str) -> World {
    let mut world = world("server s1 16G 4\nserver s2 16G 4\nserver s3 16G 4");
    world.run(commands);
    world
}

fn table(world: &World) -> String {
    let mut out = String::new();
    for (name, addresses) in names(&world.snapshot).names {
        writeln!(out, "{name} {addresses:?}").unwrap();
    }
    for server in world.snapshot.servers.keys() {
        for route in routes(&world.snapshot, server) {
            writeln!(out, "{server}:{} {:?}", route.port, route.targets).unwrap();
        }
    }
    out
}

#[test]
fn names_and_routes_lead_to_what_serves() {
    let mut world = three("job web 3 port=8080\ncontainer c1 server=s2 port=80\ncontainer c2 server=s3\nlook");
    insta::assert_snapshot!(table(&world), @r#"
    s1:8080 []
    s2:80 [10.0.2.2:80]
    s2:8080 []
    s3:8080 []
    "#);
    world.run("settle");
    insta::assert_snapshot!(table(&world), @r#"
    c1 [10.0.2.2]
    c2 [10.0.3.3]
    web [10.0.1.4, 10.0.1.5, 10.0.2.6]
    web-1.web [10.0.1.4]
    web-2.web [10.0.1.5]
    web-3.web [10.0.2.6]
    s1:8080 [10.0.1.4:80, 10.0.1.5:80, 10.0.2.6:80]
    s2:80 [10.0.2.2:80]
    s2:8080 [10.0.1.4:80, 10.0.1.5:80, 10.0.2.6:80]
    s3:8080 [10.0.1.4:80, 10.0.1.5:80, 10.0.2.6:80]
    "#);
    let all = table(&world);
    world.run("away s1\nlook");
    assert_eq!(table(&world), all, "a silent agent's instances stay");
    world.run("back s1\nsick web/1\nsick c1\nlose s3");
    insta::assert_snapshot!(table(&world), @r#"
    web [10.0.1.5, 10.0.2.6]
    web-2.web [10.0.1.5]
    web-3.web [10.0.2.6]
    s1:8080 [10.0.1.5:80, 10.0.2.6:80]
    s2:80 []
    s2:8080 [10.0.1.5:80, 10.0.2.6:80]
    s3:8080 [10.0.1.5:80, 10.0.2.6:80]
    "#);
}

#[test]
fn host_names_lead_to_the_server_of_what_serves() {
    let mut world = three("container blog server=s2 port=80 host=blog.example\njob web 1 port=8080\nlook");
    let hosts = |world: &World| names(&world.snapshot).hosts["blog.example"].clone();
    assert!(hosts(&world).is_empty(), "known, and not there yet");
    world.run("settle");
    let std::net::IpAddr::V4(address) = world.snapshot.servers["s2"].address else { panic!("s2 has another kind of address") };
    assert_eq!(hosts(&world), [address]);
    world.run("sick blog");
    assert!(hosts(&world).is_empty());
    world.run("well blog\nrm blog\nsettle");
    assert!(names(&world.snapshot).hosts.is_empty());
}

#[test]
fn names_take_the_newest_of_a_slot_while_it_is_replaced() {
    let mut world = three("job web 1\nsettle\nupgrade web image=2\nlook");
    let old = names(&world.snapshot).names["web"].clone();
    world.run("look");
    let both = world.plan("web").placements.iter().filter(|one| one.wanted == Wanted::Run).count();
    let new = names(&world.snapshot).names["web"].clone();
    assert_eq!((both, new.len()), (2, 1));
    assert_ne!(old, new);
}

#[test]
fn assignments_are_the_same_one_by_one_and_all_at_once() {
    let world = three("job web 3 port=8080\ncontainer c1 server=s2 port=80\nsettle\nupgrade web image=2\nlook\nlook\nlook");
    let table = Arc::new(names(&world.snapshot));
    let all = assignments(&world.snapshot, &table);
    for server in world.snapshot.servers.keys() {
        assert_eq!(Some(&all[server]), assignment(&world.snapshot, server, &table).as_ref());
    }
    let told = &all["s2"];
    let listed: BTreeSet<&str> = told.pods.values().map(|pod| pod.display.as_str()).collect();
    assert_eq!(listed, BTreeSet::from(["web/1", "c1"]));
    assert!(told.pods.values().all(|pod| told.templates.contains_key(&pod.template)));
    assert_eq!(told.network.peers.iter().map(|peer| peer.name.as_str()).collect::<Vec<_>>(), ["s1", "s3"]);
    assert_eq!(assignment(&world.snapshot, &name("s9"), &table), None);
}

#[test]
fn what_is_stopped_is_left_out_and_what_drains_is_told_so() {
    let mut world = three("job web 3\ncontainer c1 server=s1\nsettle\nscale web 0\nrm c1\nlook");
    let table = Arc::new(names(&world.snapshot));
    let all = assignments(&world.snapshot, &table);
    let mut wanted: Vec<_> =
        all.values().flat_map(|one| one.pods.values().map(|pod| (pod.hostname.as_str(), pod.wanted))).collect();
    wanted.sort_unstable();
    assert_eq!(wanted, [("web-1", Wanted::Drain), ("web-2", Wanted::Drain), ("web-3", Wanted::Drain)]);
    assert!(table.names.is_empty());
    world.settle();
    assert!(assignments(&world.snapshot, &table).values().all(|one| one.pods.is_empty()));
}

#[test]
fn nothing_is_cut_before_every_server_was_heard_of() {
    let mut world = three("settle");
    assert!(informed(&world.snapshot));
    assert!(!informed(&world.run("unknown s2").snapshot));
    assert!(informed(&world.run("lose s2").snapshot));
    world.snapshot.reports.remove("s1");
    assert!(!informed(&world.snapshot));
}

#[test]
fn digests_follow_the_content() {
    let world = three("job a 1 memory=1G\njob b 1 memory=1G\njob c 1 memory=2G");
    let digest = |job: &str| template_digest(&world.snapshot.jobs[job].template);
    assert_eq!(digest("a"), digest("b"));
    assert_ne!(digest("a"), digest("c"));
    assert_eq!(digest("a").len(), 64);
}

#[test]
fn an_address_given_back_is_not_handed_out_at_once() {
    let mut world = world("server s1 16G 4");
    let mut seen = BTreeSet::new();
    for _ in 0..100 {
        world.run("container c\nsettle");
        assert!(seen.insert(world.snapshot.container_plans["c"].placement.as_ref().unwrap().address));
        world.run("rm c\nsettle");
    }
}

#[test]
fn a_joining_server_gets_the_next_subnet() {
    let mut world = world("");
    assert_eq!(next_subnet(&world.snapshot).unwrap().to_string(), "10.0.1.0/24");
    world.run("server s1 1G 1\nserver s2 1G 1\nserver s3 1G 1\ndelserver s2");
    assert_eq!(next_subnet(&world.snapshot).unwrap().to_string(), "10.0.2.0/24");
    let give = |world: &mut World, subnet: &str| {
        let spec = ServerSpec {
            name: name(&format!("x{}", world.snapshot.servers.len())),
            subnet: subnet.parse().unwrap(),
            ..world.snapshot.servers["s1"].as_ref().clone()
        };
        world.snapshot.servers.insert(spec.name.clone(), Arc::new(spec));
    };
    give(&mut world, "10.0.2.128/25");
    give(&mut world, "10.0.4.0/22");
    assert_eq!(next_subnet(&world.snapshot).unwrap().to_string(), "10.0.8.0/24");
    let mut small = world.snapshot.cluster.as_ref().unwrap().as_ref().clone();
    small.range = "10.0.0.0/22".parse().unwrap();
    world.snapshot.cluster = Some(Arc::new(small));
    assert_eq!(next_subnet(&world.snapshot).unwrap().to_string(), "10.0.0.0/24", "the first only when no other is left");
    give(&mut world, "10.0.0.0/24");
    insta::assert_snapshot!(next_subnet(&world.snapshot).unwrap_err(), @"no /24 is left in the cluster's range 10.0.0.0/22: each belongs to one of its 5 servers");
    world.snapshot.cluster = None;
    insta::assert_snapshot!(next_subnet(&world.snapshot).unwrap_err(), @"the cluster has not been started: run roost up");
}

#[test]
fn ports_that_somebody_has() {
    let world = three("job web 1 port=8080\ncontainer c1 server=s1 port=80\ncontainer c2 port=81\nsettle");
    let template = |job: &str| world.snapshot.jobs.get(job).map(|job| job.template.clone());
    let mut ask = three("job x 1 port=8080,80,81");
    let wanted = ask.run("").snapshot.jobs["x"].template.clone();
    let complaints = |reach: Reach<'_>| port_conflicts(&world.snapshot, &wanted, &name("x"), reach).join("\n");
    let s1 = name("s1");
    insta::assert_snapshot!(complaints(Reach::On(None)), @"port 8080 is taken on every server by job web: choose another");
    insta::assert_snapshot!(complaints(Reach::On(Some(&s1))), @r#"
    port 8080 is taken on every server by job web: choose another
    port 80 is taken on s1 by container c1: choose another
    "#);
    insta::assert_snapshot!(complaints(Reach::Everywhere), @r#"
    port 8080 is taken on every server by job web: choose another
    port 80 is taken on s1 by container c1: choose another
    port 81 is taken on s2 by container c2: choose another
    "#);
    let own = template("web").unwrap();
    assert!(port_conflicts(&world.snapshot, &own, &name("web"), Reach::Everywhere).is_empty(), "its own are no conflict");
}

fn signs(now: u64, beat: Option<u64>, answer: Option<u64>, current: Liveness) -> Signs {
    let at = |at: u64| Timestamp(100_000 + at);
    Signs { now: at(now), started: at(0), last_beat: beat.map(at), last_probe: None, last_answer: answer.map(at), current }
}

#[test]
fn liveness_follows_the_signs() {
    use Liveness::{AgentAway, Alive, Lost, Unknown};
    let (silent, away, start) = (SILENT.0, AWAY_GRACE.0, START_GRACE.0);
    for (now, beat, answer, current, expected) in [
        (0, None, None, Unknown, Unknown),
        (start, None, None, Unknown, Unknown),
        (start + 1, None, None, Unknown, Lost),
        (start + 1, None, Some(start), Unknown, AgentAway),
        (500, Some(400), None, Unknown, Alive),
        (1_000 + silent, Some(1_000), None, Alive, Alive),
        (1_001 + silent, Some(1_000), None, Alive, Lost),
        (1_001 + silent, Some(1_000), Some(2_000), Alive, AgentAway),
        (1_001 + silent, Some(1_000), Some(1_000), Alive, Lost),
        (1_000 + away, Some(1_000), Some(away), AgentAway, AgentAway),
        (1_001 + away, Some(1_000), Some(away), AgentAway, Lost),
        (9_000, Some(1_000), Some(8_900), Lost, Lost),
        (9_000, Some(8_900), None, Lost, Alive),
        (9_000, Some(8_900), None, AgentAway, Alive),
        (100, Some(9_000), None, Alive, Alive),
    ] {
        assert_eq!(decide(signs(now, beat, answer, current)), expected, "{now} {beat:?} {answer:?} {current:?}");
    }
}

#[test]
fn a_machine_is_tried_when_its_agent_is_silent() {
    let base = signs(1_900, Some(1_000), None, Liveness::Alive);
    assert!(probe_due(base));
    assert!(!probe_due(Signs { now: Timestamp(101_899), ..base }));
    assert!(!probe_due(Signs { last_probe: Some(Timestamp(101_800)), ..base }));
    assert!(probe_due(Signs { last_probe: Some(Timestamp(101_400)), ..base }));
    assert!(!probe_due(Signs { current: Liveness::Lost, ..base }));
}

#[test]
fn the_checker_sees_each_kind_of_fault() {
    let mut sound = three(
        "server s4 16G 4 disk=ssd\njob web 2 memory=4G per=1\njob db 1 group=g\njob dc 1 group=g avoid=x\njob x 1 on=s3\njob y 1\ncontainer c1 server=s1 port=80\nsettle",
    );
    assert_eq!(check(&sound.snapshot), Vec::<String>::new());
    let plan = |world: &mut World, job: &str, change: &dyn Fn(&mut JobPlan)| {
        let mut plan = world.snapshot.job_plans[job].as_ref().clone();
        change(&mut plan);
        world.snapshot.job_plans.insert(name(job), Arc::new(plan));
    };
    let mut said = Vec::new();
    type Fault = Box<dyn Fn(&mut JobPlan)>;
    let changes: Vec<(&str, Fault)> = vec![
        ("web", Box::new(|plan| plan.placements[1].address = plan.placements[0].address)),
        ("web", Box::new(|plan| plan.placements[1].id = plan.placements[0].id)),
        ("web", Box::new(|plan| plan.placements[1].id.0 = 99)),
        ("web", Box::new(|plan| plan.placements[1].server = plan.placements[0].server.clone())),
        ("web", Box::new(|plan| plan.placements[1].server = name("s9"))),
        ("web", Box::new(|plan| plan.placements[1].address = "10.0.2.1".parse().unwrap())),
        ("web", Box::new(|plan| plan.placements[1].address = "10.0.2.255".parse().unwrap())),
        ("web", Box::new(|plan| plan.placements[1].revision = 7)),
        ("web", Box::new(|plan| plan.placements[1].slot = 3)),
        ("web", Box::new(|plan| plan.placements[1].slot = 1)),
        ("x", Box::new(|plan| plan.placements[0].server = name("s1"))),
    ];
    for (job, change) in changes {
        let mut faulty = sound.clone();
        plan(&mut faulty, job, change.as_ref());
        let found = check(&faulty.snapshot);
        assert!(!found.is_empty(), "{}", faulty.show());
        said.extend(found);
    }
    let dc = sound.server_of("dc/1").unwrap();
    let more = [
        "deljob web".to_owned(),
        "scale web 1".to_owned(),
        "group y g".to_owned(),
        "job db 1 require=disk:hdd".to_owned(),
        format!("job x 1 avoid=dc on={dc}"),
    ];
    for commands in more {
        let mut faulty = sound.clone();
        faulty.run(&commands);
        if commands.starts_with("job x") {
            plan(&mut faulty, "x", &|plan| plan.placements[0].server = name(&dc));
        }
        said.extend(check(&faulty.snapshot));
    }
    let facts = |world: &mut World| {
        let mut spec = world.snapshot.servers["s2"].as_ref().clone();
        spec.facts.memory = api::Bytes(1 << 30);
        world.snapshot.servers.insert(name("s2"), Arc::new(spec));
    };
    facts(&mut sound);
    said.extend(check(&sound.snapshot));
    insta::assert_snapshot!(said.join("\n"), @r#"
    address 10.0.2.3 is both web's (2) and web's (3)
    address 10.0.2.3 of web is no instance's address in 10.0.3.0/24 of s3
    instance 2 is both web's and web's
    instance 63 of web is not below the next free number 8
    address 10.0.3.4 of web is no instance's address in 10.0.2.0/24 of s2
    2 of web are on s2: at most 1 may be
    instance 3 of web is on s9, which does not exist
    address 10.0.2.1 of web is no instance's address in 10.0.3.0/24 of s3
    address 10.0.2.255 of web is no instance's address in 10.0.3.0/24 of s3
    web/2 runs revision 7, which the job does not know
    web/3 shall run, and job web asks for 2
    web/1 is answered by two instances of one revision, and none of them is being replaced
    address 10.0.3.7 of x is no instance's address in 10.0.1.0/24 of s1
    x/1 is on s1, which was not asked for
    job web is gone, and 2 of its instances shall run
    web/2 shall run, and job web asks for 1
    y/1 of group g is on s1, and s4, where its group is, has room
    db/1 is on s4, which lacks label disk=hdd
    address 10.0.3.7 of x is no instance's address in 10.0.4.0/24 of s4
    dc avoids x, and both are on s4
    x avoids dc, and both are on s4
    s2 has 1G, and 4G are reserved on it
    "#);
}

#[test]
fn a_look_is_asked_for_when_something_is_due() {
    let mut world = three("job web 1\nsettle\nfail web/1");
    assert_eq!(world.look().look_again, Some(Span::millis(250)));
    assert_eq!(three("job web 1\nsettle").look().look_again, None);
}
