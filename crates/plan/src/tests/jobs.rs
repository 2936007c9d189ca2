//! Stories of jobs: placed, scaled, failed, moved, lost.

use super::world::{World, name, world};
use api::plan::Wanted;

const THREE: &str = "
    server s1 16G 4 disk=ssd
    server s2 16G 4 disk=hdd
    server s3 16G 4 disk=ssd";

fn three(commands: &str) -> World {
    let mut world = world(THREE);
    world.run(commands);
    world
}

#[test]
fn six_instances_are_spread_over_three_servers() {
    let world = three("job web 6\nsettle");
    insta::assert_snapshot!(world.show(), @r#"
    web/1 #1 s1 r1 Run Running
    web/2 #2 s2 r1 Run Running
    web/3 #3 s3 r1 Run Running
    web/4 #4 s1 r1 Run Running
    web/5 #5 s2 r1 Run Running
    web/6 #6 s3 r1 Run Running
    "#);
    assert_eq!(world.serving("web"), 6);
}

#[test]
fn scaling_down_takes_the_highest_slots_and_gives_everything_back() {
    let mut world = three("job web 6\nsettle\nscale web 2\nlook");
    let wanted: Vec<Wanted> = world.plan("web").placements.iter().map(|one| one.wanted).collect();
    assert_eq!(wanted, [vec![Wanted::Run; 2], vec![Wanted::Drain; 4]].concat());
    world.settle();
    assert_eq!(world.plan("web").placements.iter().map(|one| one.slot).collect::<Vec<_>>(), [1, 2]);
    world.run("scale web 0\nsettle");
    assert!(world.plan("web").placements.is_empty());
}

#[test]
fn a_deleted_job_leaves_nothing() {
    let mut world = three("job web 6\nsettle\ndeljob web\nsettle");
    assert!(world.snapshot.job_plans.is_empty());
    world.run("job web 2\nsettle");
    assert_eq!(world.serving("web"), 2);
}

#[test]
fn a_job_made_anew_at_once_does_not_inherit_its_predecessor() {
    let mut world = three("job web 3\nsettle\ntick 5s");
    world.run("deljob web\njob web 2 image=other\nsettle");
    assert_eq!(world.serving("web"), 2);
    assert!(world.plan("web").placements.iter().all(|one| one.id.0 > 3));
}

#[test]
fn a_lost_server_is_replaced_at_once_and_keeps_nothing_when_it_is_back() {
    let mut world = three("job web 6\nsettle\nlose s2\nlook");
    let on_s2 = |world: &World| world.plan("web").placements.iter().filter(|one| one.server == name("s2")).count();
    assert_eq!(on_s2(&world), 0);
    assert_eq!(world.notes.last().unwrap(), "web: web/2 → s1, web/5 → s3: s2 lost");
    world.run("settle");
    assert_eq!(world.serving("web"), 6);
    world.run("back s2\nsettle");
    assert_eq!((world.serving("web"), on_s2(&world)), (6, 0));
}

#[test]
fn what_finds_no_other_place_stays_planned_on_the_lost_server() {
    let mut world = three("job web 6 memory=8G\nsettle\nlose s2\nsettle");
    insta::assert_snapshot!(world.show(), @r#"
    web/1 #1 s1 r1 Run Running
    web/2 #2 s2 r1 Run Running
    web/3 #3 s3 r1 Run Running
    web/4 #4 s1 r1 Run Running
    web/5 #5 s2 r1 Run Running
    web/6 #6 s3 r1 Run Running
    web/2 waits: 2 servers: not enough memory (largest free: 0B on s1; each instance asks for 8G); 1: lost
    web/5 waits: 2 servers: not enough memory (largest free: 0B on s1; each instance asks for 8G); 1: lost
    "#);
    assert_eq!(world.serving("web"), 4);
    world.run("back s2\nsettle");
    assert_eq!(world.serving("web"), 6);
    assert!(world.plan("web").waiting.is_empty());
    assert!(world.plan("web").placements.iter().all(|one| one.id.0 <= 6), "none was made anew");
}

#[test]
fn a_silent_agent_or_an_unknown_server_moves_nothing() {
    for silence in ["away s2", "unknown s2"] {
        let mut world = three("job web 6\nsettle");
        let before = world.plan("web").clone();
        world.run(silence).run("settle\ntick 1m\nsettle");
        assert_eq!(*world.plan("web"), before, "{silence}");
        world.run("scale web 8\nsettle");
        assert_ne!(world.server_of("web/7"), Some("s2".to_owned()));
        world.run("back s2\nsettle");
        assert_eq!(world.serving("web"), 8);
    }
}

#[test]
fn draining_starts_the_replacement_first() {
    let mut world = three("job web 3\nsettle\ndrain s2\nlook");
    insta::assert_snapshot!(world.show(), @r#"
    web/1 #1 s1 r1 Run Running
    web/2 #2 s2 r1 Run Running
    web/2 #4 s1 r1 Run Starting
    web/3 #3 s3 r1 Run Running
    "#);
    world.settle();
    insta::assert_snapshot!(world.show(), @r#"
    web/1 #1 s1 r1 Run Running
    web/2 #4 s1 r1 Run Running
    web/3 #3 s3 r1 Run Running
    "#);
    world.run("undrain s2\nscale web 4\nsettle");
    assert_eq!(world.server_of("web/4").as_deref(), Some("s2"));
}

#[test]
fn a_drain_without_room_elsewhere_leaves_the_instance_running() {
    let mut world = world("server s1 4G 4\nserver s2 4G 4\njob web 2 memory=3G\nsettle\ndrain s2\nsettle");
    assert_eq!(world.serving("web"), 2);
    insta::assert_snapshot!(world.why("web/2"), @r#"
    web/2 runs on s2 at 10.0.2.3, healthy
      placed 600ms ago: largest free share, 100 %
      s2 is draining
      it has to leave (s2 is draining) and stays until there is another place: 1 server: not enough memory (largest free: 1G on s1; each instance asks for 3G); 1: draining
    "#);
    world.run("scale web 1\nsettle\nscale web 2\nsettle");
    insta::assert_snapshot!(world.show(), @r#"
    web/1 #1 s1 r1 Run Running
    web/2 waits: 1 server: not enough memory (largest free: 1G on s1; each instance asks for 3G); 1: draining
    "#);
}

#[test]
fn a_failed_instance_is_replaced_elsewhere_with_growing_pauses() {
    let mut world = three("job web 1\nsettle");
    let first = world.server_of("web/1").unwrap();
    world.run("fail web/1\nlook\nlook\nlook\ntick 200ms\nlook");
    assert_ne!(world.server_of("web/1").unwrap(), first);
    assert_eq!(world.plan("web").failures[0].count, 1);
    world.run("look\nlook\nfail web/1\nlook");
    assert_eq!(world.plan("web").failures[0].count, 2);
    insta::assert_snapshot!(world.show(), @r#"
    web/1 #2 s2 r1 Stop -
    web/1 waits: failed 2 times in a row: tried again after a pause of 500ms
    "#);
    world.settle();
    assert!(world.plan("web").failures.is_empty(), "one that lives has put its failures behind it");
}

#[test]
fn one_that_always_fails_does_not_keep_the_cluster_busy() {
    let mut world = three("job web 1\nbad web 1 fails");
    let start = world.now;
    while world.now.since(start) < api::Span::seconds(300) {
        let due = world.look().look_again.unwrap_or(api::Span(0));
        world.now = world.now.after(due.min(api::Span::seconds(1)));
    }
    let made = world.snapshot.next_instance - 1;
    assert!((10..=22).contains(&made), "{made} instances in five minutes");
}

#[test]
fn an_unhealthy_instance_runs_until_its_replacement_serves() {
    let mut world = three("job web 1\nsettle\nsick web/1\nlook");
    insta::assert_snapshot!(world.show(), @r#"
    web/1 #1 s1 r1 Run Running
    web/1 #2 s2 r1 Run Starting
    "#);
    world.settle();
    insta::assert_snapshot!(world.show(), @"web/1 #2 s2 r1 Run Running");
}

#[test]
fn an_unhealthy_instance_without_room_beside_it_makes_room() {
    let mut world = world("server s1 4G 4\njob web 1 memory=3G\nsettle\nsick web/1\nsettle");
    assert_eq!(world.serving("web"), 1);
    world.run("settle");
}

#[test]
fn a_group_shares_one_server_and_moves_together() {
    let mut world = three("job db 2 group=g\njob web 3 group=g memory=1G\njob other 3\nsettle");
    let servers = |world: &World| {
        let all = ["db/1", "db/2", "web/1", "web/2", "web/3"].map(|one| world.server_of(one).unwrap());
        all.into_iter().collect::<std::collections::BTreeSet<_>>()
    };
    let first = servers(&world);
    assert_eq!(first.len(), 1);
    let server = first.first().unwrap().clone();
    world.run(&format!("drain {server}\nsettle"));
    assert_eq!(servers(&world).len(), 1);
    assert_ne!(servers(&world), first);
    let second = servers(&world).first().unwrap().clone();
    world.run(&format!("lose {second}\nsettle"));
    assert_eq!(servers(&world).len(), 1);
    world.run("group other g\nsettle");
    assert_eq!(world.server_of("other/1"), world.server_of("db/1"));
}

#[test]
fn a_group_goes_where_the_whole_of_it_fits() {
    let world = world(
        "server s1 4G 4\nserver s2 16G 4\nserver s3 4G 4\njob a 3 group=g memory=1G\njob b 3 group=g memory=1G\njob f 1 memory=2G on=s2\nsettle",
    );
    assert_eq!((world.serving("a"), world.serving("b")), (3, 3));
    assert_eq!(world.server_of("b/3").as_deref(), Some("s2"));
}

#[test]
fn labels_lists_and_strangers_are_heeded() {
    let world = three(
        "job ssd 4 require=disk:ssd\njob listed 2 on=s2\njob db 1 on=s3\njob web 4 avoid=db\njob late 2 avoid=web,db\nsettle",
    );
    insta::assert_snapshot!(world.show(), @r#"
    db/1 #1 s3 r1 Run Running
    late/1 #2 s1 r1 Run Running
    late/2 #3 s2 r1 Run Running
    listed/1 #4 s2 r1 Run Running
    listed/2 #5 s2 r1 Run Running
    ssd/1 #6 s1 r1 Run Running
    ssd/2 #7 s3 r1 Run Running
    ssd/3 #8 s1 r1 Run Running
    ssd/4 #9 s3 r1 Run Running
    web/1 waits: 2 servers: late is there, which web must not meet; 1: db is there, which web must not meet
    web/2 waits: 2 servers: late is there, which web must not meet; 1: db is there, which web must not meet
    web/3 waits: 2 servers: late is there, which web must not meet; 1: db is there, which web must not meet
    web/4 waits: 2 servers: late is there, which web must not meet; 1: db is there, which web must not meet
    "#);
}

#[test]
fn a_label_that_goes_takes_the_instances_elsewhere() {
    let mut world = three("job web 2 require=disk:ssd\nsettle\nlabel s1 disk=hdd\nlabel s2 disk=ssd");
    let next = crate::apply(&world.snapshot, &crate::propose(&world.snapshot, world.now, 0));
    assert_eq!(next.job_plans["web"].placements.len(), 3, "the replacement first");
    world.settle();
    assert_eq!(world.server_of("web/1").as_deref(), Some("s2"));
}

#[test]
fn a_server_removed_from_the_cluster_takes_its_placements_along() {
    let mut world = three("job web 3\nsettle\ndelserver s2\nsettle");
    assert_eq!(world.serving("web"), 3);
    world.run("delserver s1\ndelserver s3\nsettle");
    insta::assert_snapshot!(world.show(), @r#"
    web/1 waits: the cluster has no servers
    web/2 waits: the cluster has no servers
    web/3 waits: the cluster has no servers
    "#);
}

#[test]
fn spread_counts_the_jobs_own_instances_and_resource_what_is_free() {
    let world = world("server s1 64G 16\nserver s2 8G 4\njob big 4 memory=1G\njob even 4 memory=1G strategy=spread\nsettle");
    let on = |job: &str| world.plan(job).placements.iter().filter(|one| one.server == name("s1")).count();
    assert_eq!((on("big"), on("even")), (3, 2));
}

#[test]
fn a_seed_other_than_zero_breaks_ties_its_own_way() {
    let world = three("job web 1");
    let server = |seed| crate::propose(&world.snapshot, world.now, seed).jobs[0].1.clone().unwrap().placements[0].server.clone();
    assert_eq!(server(0), name("s1"));
    let chosen: std::collections::BTreeSet<_> = (1..40).map(server).collect();
    assert_eq!(chosen.len(), 3);
    assert_eq!(server(7), server(7));
}
