//! Stories of upgrades.

use super::world::{World, world};
use api::plan::{RolloutState, Wanted};

fn three(commands: &str) -> World {
    let mut world = world("server s1 16G 4\nserver s2 16G 4\nserver s3 16G 4");
    world.run(commands);
    world
}

/// Looks until the upgrade has ended, and counts the fewest instances that ever answered and the most there ever were.
fn watch(world: &mut World, job: &str) -> (usize, usize) {
    let (mut fewest, mut most) = (usize::MAX, 0);
    for _ in 0..2_000 {
        let due = world.look().look_again;
        let running = world.plan(job).placements.iter().filter(|one| one.wanted == Wanted::Run).count();
        (fewest, most) = (fewest.min(world.serving(job)), most.max(running));
        if matches!(world.rollout(job), Some(RolloutState::Done | RolloutState::RolledBack)) {
            return (fewest, most);
        }
        world.now = world.now.after(due.unwrap_or_default().min(api::Span::millis(500)));
    }
    panic!("the upgrade does not end:\n{}", world.show());
}

fn revisions(world: &World, job: &str) -> Vec<u32> {
    let running = world.plan(job).placements.iter().filter(|one| one.wanted == Wanted::Run);
    let mut revisions: Vec<u32> = running.map(|one| one.revision).collect();
    revisions.sort_unstable();
    revisions
}

#[test]
fn the_first_start_is_no_upgrade() {
    let world = three("job web 6\nsettle");
    assert_eq!(world.rollout("web"), None);
}

#[test]
fn an_upgrade_never_has_fewer_than_all_answering() {
    let mut world = three("job web 8\nsettle\nupgrade web image=nginx:2");
    assert_eq!(watch(&mut world, "web"), (8, 10), "a quarter at a time");
    world.settle();
    assert_eq!(revisions(&world, "web"), [2; 8]);
    assert_eq!(world.rollout("web"), Some(RolloutState::Done));
}

#[test]
fn batches_are_as_large_as_asked_for_and_wait_for_the_interval() {
    let mut world = three("job web 6 parallel=3 interval=20s\nsettle\nupgrade web image=nginx:2");
    let start = world.now;
    assert_eq!(watch(&mut world, "web"), (6, 9));
    let took = world.now.since(start);
    assert!((20_000..23_000).contains(&took.0), "{took}");
}

#[test]
fn without_room_for_a_second_instance_the_old_one_stops_first() {
    let mut world = world("server s1 4G 4\nserver s2 4G 4\njob web 2 memory=3G\nsettle\nupgrade web memory=3G image=nginx:2");
    assert_eq!(watch(&mut world, "web"), (1, 2));
    world.settle();
    assert_eq!(revisions(&world, "web"), [2; 2]);
    assert!(world.notes.iter().any(|note| note.contains("the old one stops first")), "{:#?}", world.notes);
}

#[test]
fn a_new_revision_that_nothing_has_room_for_is_given_up_and_costs_no_instance() {
    let mut world = three("job web 4\nsettle\nupgrade web memory=64G");
    assert_eq!(watch(&mut world, "web"), (4, 4));
    insta::assert_snapshot!(world.plan("web").rollout.as_ref().unwrap().message.as_ref().unwrap(), @"web/1: no room for revision 2: 3 servers: not enough memory (largest free: 16G on s1; each instance asks for 64G)");
}

#[test]
fn a_failing_upgrade_is_taken_back_with_its_last_lines() {
    let mut world = three("job web 6\nsettle\nupgrade web image=broken\nbad web 2 fails");
    assert_eq!(watch(&mut world, "web"), (6, 7));
    world.settle();
    assert_eq!((world.rollout("web"), revisions(&world, "web")), (Some(RolloutState::RolledBack), vec![1; 6]));
    assert_eq!(crate::effective_revision(&world.snapshot.jobs["web"], Some(world.plan("web"))), 1);
    insta::assert_snapshot!(world.plan("web").rollout.as_ref().unwrap().message.as_ref().unwrap(), @r#"
    web/1 on s1 at 10.0.1.8: its program ended with exit code 1
    nginx: [emerg] unknown directive
    "#);
    world.run("scale web 8\nsettle");
    assert_eq!(revisions(&world, "web"), [1; 8]);
    world.run("upgrade web image=good\nsettle");
    assert_eq!((world.rollout("web"), revisions(&world, "web")), (Some(RolloutState::Done), vec![3; 8]));
    assert_eq!(world.plan("web").rollout.as_ref().unwrap().from, 1);
}

#[test]
fn an_upgrade_that_is_never_healthy_is_taken_back_at_the_deadline() {
    let mut world = three("job web 4\nsettle\nupgrade web image=slow\nbad web 2 hangs");
    let start = world.now;
    assert_eq!(watch(&mut world, "web"), (4, 5));
    assert!((30_000..31_500).contains(&world.now.since(start).0));
    insta::assert_snapshot!(world.plan("web").rollout.as_ref().unwrap().message.as_ref().unwrap(), @"web/1 on s2 at 10.0.2.6: not healthy after 30s");
}

#[test]
fn one_that_fails_late_brings_back_what_was_replaced_already() {
    let mut world = three("job web 4\nsettle\nupgrade web image=flaky");
    while revisions(&world, "web").iter().filter(|revision| **revision == 2).count() < 3 {
        world.look();
    }
    world.run("bad web 2 fails");
    let (fewest, _) = watch(&mut world, "web");
    world.settle();
    assert_eq!((fewest, revisions(&world, "web")), (2, vec![1; 4]), "the new ones all end at once in this world");
    assert_eq!(world.rollout("web"), Some(RolloutState::RolledBack));
}

#[test]
fn healthy_new_ones_serve_until_the_old_revision_is_back() {
    let mut world = three("job web 4\nsettle\nupgrade web image=odd");
    while world.plan("web").placements.iter().filter(|one| one.revision == 2).count() < 3 {
        world.look();
    }
    let newest = world.plan("web").placements.iter().max_by_key(|one| one.id).unwrap().slot;
    world.run(&format!("fail web/{newest}"));
    let (fewest, _) = watch(&mut world, "web");
    assert_eq!((fewest, world.rollout("web")), (4, Some(RolloutState::RolledBack)));
}

#[test]
fn a_newer_upgrade_supersedes_one_under_way_and_goes_back_to_what_last_worked() {
    let mut world = three("job web 4\nsettle\nupgrade web image=slow\nbad web 2 hangs\nlook\nlook\nlook");
    world.run("upgrade web image=broken\nbad web 3 fails");
    assert_eq!(watch(&mut world, "web").0, 4);
    assert_eq!((world.rollout("web"), revisions(&world, "web")), (Some(RolloutState::RolledBack), vec![1; 4]));
    assert_eq!(world.plan("web").rollout.as_ref().unwrap().from, 1);
}

#[test]
fn a_job_of_none_upgrades_at_once() {
    let mut world = three("job web 0\nsettle\nupgrade web image=nginx:2\nlook");
    assert_eq!(world.rollout("web"), Some(RolloutState::Done));
    world.run("scale web 2\nsettle");
    assert_eq!(revisions(&world, "web"), [2, 2]);
}

#[test]
fn a_server_lost_in_an_upgrade_does_not_fail_it() {
    let mut world = three("job web 6\nsettle\nupgrade web image=nginx:2\nlook\nlook\nlook\nlose s3");
    watch(&mut world, "web");
    world.settle();
    assert_eq!((world.rollout("web"), revisions(&world, "web")), (Some(RolloutState::Done), vec![2; 6]));
    world.run("back s3\nsettle");
    assert_eq!(revisions(&world, "web"), [2; 6]);
}

#[test]
fn a_broken_first_revision_is_cured_by_the_next() {
    let mut world = three("job web 3\nbad web 1 fails\nlook\nlook\nlook\nlook\nlook");
    world.run("upgrade web image=fixed\nsettle");
    assert_eq!((world.serving("web"), revisions(&world, "web")), (3, vec![2; 3]));
}

#[test]
fn slots_without_room_do_not_keep_an_upgrade_from_its_end() {
    let mut world = world("server s1 4G 4\njob web 3 memory=1500M\nsettle\nupgrade web memory=1500M image=nginx:2\nsettle");
    assert_eq!((world.rollout("web"), world.serving("web")), (Some(RolloutState::Done), 2));
    insta::assert_snapshot!(world.show(), @r#"
    web/1 #3 s1 r2 Run Running
    web/2 #4 s1 r2 Run Running
    web/3 waits: 1 server: not enough memory (largest free: 1.1G on s1; each instance asks for 1.5G)
    web 1 → 2: Done
    "#);
    world.run("server s2 4G 4\nsettle");
    assert_eq!(revisions(&world, "web"), [2; 3]);
}

#[test]
fn per_server_counts_a_slot_and_its_replacement_once() {
    let mut world = three("job web 6 per=2\nsettle\nupgrade web image=nginx:2");
    assert_eq!(watch(&mut world, "web"), (6, 7));
    world.settle();
    assert_eq!(revisions(&world, "web"), [2; 6]);
}
