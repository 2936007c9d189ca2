//! Which copies of images are made, and of what nothing is made.

use super::world::{World, name, world};
use crate::{COPIES, ImageCopy, copied, next_copy};
use api::{
    Bytes, Timestamp,
    image::{ImageConfig, ImageRecord},
    report::{Report, ServerUsage},
    server::Liveness,
};
use std::{collections::BTreeSet, sync::Arc};

const FREE: u64 = 100 << 30;

/// Servers `s1` to `s<count>`, each with room.
fn servers(count: usize) -> World {
    let mut world = world(&(1..=count).map(|n| format!("server s{n} 16G 4\n")).collect::<String>());
    for n in 1..=count {
        has(&mut world, &format!("s{n}"), FREE, &[]);
    }
    world
}

/// Free space and images of a server.
fn has(world: &mut World, server: &str, free: u64, images: &[&str]) {
    let report = Report {
        server: name(server),
        generation: 1,
        applied: 1,
        instances: Default::default(),
        images: images.iter().map(|image| format!("sha256:{image}")).collect(),
        usage: ServerUsage { disk_free: Bytes(free), ..ServerUsage::default() },
        problems: Vec::new(),
    };
    world.snapshot.reports.insert(name(server), Arc::new(report));
}

fn record(world: &mut World, image: &str, created: u64) {
    let record = ImageRecord {
        name: image.to_owned(),
        digest: format!("sha256:{image}"),
        size: Bytes(1 << 30),
        config: ImageConfig::default(),
        created: Timestamp(created),
        index: None,
        unusable: None,
    };
    world.snapshot.images.insert(image.to_owned(), Arc::new(record));
}

fn next(world: &World) -> Option<String> {
    next_copy(&world.snapshot, &BTreeSet::new()).map(|copy| format!("{} → {}", copy.image, copy.server))
}

/// Does what is asked for until nothing is.
fn copy_all(world: &mut World) -> Vec<String> {
    let mut done = Vec::new();
    while let Some(ImageCopy { image, digest, server }) = next_copy(&world.snapshot, &BTreeSet::new()) {
        let mut report = world.snapshot.reports[&server].as_ref().clone();
        assert!(!report.images.contains(&digest), "{server} has {image} already");
        report.images.push(digest);
        world.snapshot.reports.insert(server.clone(), Arc::new(report));
        done.push(format!("{image} → {server}"));
        assert!(done.len() < 100, "no end");
    }
    done
}

#[test]
fn an_image_gets_as_many_copies_as_there_are_servers_up_to_three() {
    for (count, copies) in [(1, 0), (2, 1), (3, 2), (5, COPIES - 1)] {
        let mut world = servers(count);
        record(&mut world, "web", 1);
        has(&mut world, "s1", FREE, &["web"]);
        assert_eq!(copy_all(&mut world).len(), copies, "{count} servers");
    }
}

#[test]
fn an_image_is_copied_when_every_server_that_shall_have_it_says_so() {
    let copied = |world: &World| copied(&world.snapshot, &world.snapshot.images["web"]);
    let mut world = servers(4);
    record(&mut world, "web", 1);
    assert!(!copied(&world), "nobody has reported it");
    for (server, done) in [("s1", false), ("s2", false), ("s3", true)] {
        has(&mut world, server, FREE, &["web"]);
        assert_eq!(copied(&world), done, "{server}");
    }
    world.snapshot.liveness.insert(name("s4"), Liveness::Unknown);
    has(&mut world, "s3", FREE, &[]);
    assert!(copied(&world), "nothing is copied now");
    let mut alone = servers(1);
    record(&mut alone, "web", 1);
    has(&mut alone, "s1", FREE, &["web"]);
    assert!(copied(&alone));
}

#[test]
fn the_fewest_copies_come_first_then_the_newest_image() {
    let mut world = servers(3);
    for (image, created) in [("old", 1), ("new", 2), ("twice", 3)] {
        record(&mut world, image, created);
    }
    has(&mut world, "s1", FREE, &["old", "new", "twice"]);
    has(&mut world, "s3", FREE, &["twice"]);
    assert_eq!(copy_all(&mut world), ["new → s2", "old → s2", "twice → s2", "new → s3", "old → s3"]);
}

#[test]
fn the_server_with_the_most_room_is_asked_and_none_without() {
    let mut world = servers(4);
    record(&mut world, "web", 1);
    has(&mut world, "s1", FREE, &["web"]);
    has(&mut world, "s2", 6 << 30, &[]);
    has(&mut world, "s3", 8 << 30, &[]);
    has(&mut world, "s4", 50 << 30, &[]);
    assert_eq!(copy_all(&mut world), ["web → s4", "web → s3"]);
    has(&mut world, "s3", 6 << 30, &[]);
    assert_eq!(next(&world), None);
}

#[test]
fn who_is_away_drained_or_unknown_gets_no_copy() {
    let ready = || {
        let mut world = servers(2);
        record(&mut world, "web", 1);
        has(&mut world, "s1", FREE, &["web"]);
        world
    };
    assert_eq!(next(&ready()).as_deref(), Some("web → s2"));
    for liveness in [Liveness::Unknown, Liveness::AgentAway, Liveness::Lost] {
        let mut world = ready();
        world.snapshot.liveness.insert(name("s2"), liveness);
        assert_eq!(next(&world), None, "{liveness:?}");
    }
    assert_eq!(next(ready().run("drain s2")), None);
    let resting = BTreeSet::from([("sha256:web".to_owned(), name("s2"))]);
    assert_eq!(next_copy(&ready().snapshot, &resting), None);
}

#[test]
fn a_lost_copy_is_made_up_for_when_only_one_is_left() {
    let mut world = servers(5);
    record(&mut world, "web", 1);
    for server in ["s1", "s2", "s3"] {
        has(&mut world, server, FREE, &["web"]);
    }
    world.snapshot.liveness.insert(name("s2"), Liveness::Lost);
    assert_eq!(next(&world), None, "it may come back");
    world.snapshot.liveness.insert(name("s3"), Liveness::Lost);
    assert_eq!(copy_all(&mut world), ["web → s4"]);
    world.run("delserver s2\ndelserver s3");
    assert_eq!(copy_all(&mut world), ["web → s5"], "they are gone for good");
    for server in ["s1", "s4", "s5"] {
        world.snapshot.liveness.insert(name(server), Liveness::Lost);
    }
    assert_eq!(next(&world), None, "nobody is left to give it");
}

#[test]
fn what_has_no_name_or_cannot_run_is_left_where_it_is() {
    let mut world = servers(2);
    record(&mut world, "arm", 1);
    let unusable = ImageRecord { unusable: Some("it is for arm64".to_owned()), ..world.snapshot.images["arm"].as_ref().clone() };
    world.snapshot.images.insert("arm".to_owned(), Arc::new(unusable));
    has(&mut world, "s1", FREE, &["arm", "step of a build"]);
    assert_eq!(next(&world), None);
}
