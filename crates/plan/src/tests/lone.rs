//! Stories of lone containers.

use super::world::{World, name, world};
use api::plan::Wanted;

fn three(commands: &str) -> World {
    let mut world = world("server s1 16G 4\nserver s2 16G 4\nserver s3 16G 4");
    world.run(commands);
    world
}

#[test]
fn a_container_is_placed_where_asked_with_the_address_asked_for() {
    let world = three(
        "container a server=s2\ncontainer b ip=10.0.3.77\ncontainer c server=s1 ip=10.0.3.9\ncontainer d ip=10.0.3.77\n\
         container e server=s9\ncontainer f ip=10.9.9.9\ncontainer g server=s1 ip=10.0.1.1\nsettle",
    );
    insta::assert_snapshot!(world.show(), @r#"
    a s2 10.0.2.2 Run 
    b s3 10.0.3.77 Run 
    c waits: 2 servers: not among the servers asked for; 1: address 10.0.3.9 is not one of its subnet's
    d waits: 2 servers: not among the servers asked for; 1: address 10.0.3.77 is taken
    e waits: no server s9
    f waits: address 10.9.9.9 is in no server's subnet
    g waits: 2 servers: not among the servers asked for; 1: address 10.0.1.1 is not one of its subnet's
    "#);
}

#[test]
fn ports_of_a_server_are_given_once() {
    let world = three(
        "container a port=80 server=s1\ncontainer b port=80 server=s1\ncontainer c port=80\ncontainer d port=80\ncontainer e port=80\n\
         job web 1 port=8080\ncontainer f port=8080\nsettle",
    );
    insta::assert_snapshot!(world.show(), @r#"
    web/1 #4 s1 r1 Run Running
    a s1 10.0.1.2 Run 
    b waits: 2 servers: not among the servers asked for; 1: port 80 taken by a
    c s2 10.0.2.3 Run 
    d s3 10.0.3.4 Run 
    e waits: 3 servers: port 80 taken by a
    f waits: 3 servers: port 8080 taken by web
    "#);
}

#[test]
fn one_that_avoids_another_is_on_another_server() {
    let world = three(
        "container db server=s2\nsettle\ncontainer a avoid=db server=s2\ncontainer b avoid=db\ncontainer c avoid=db,x\nsettle",
    );
    insta::assert_snapshot!(world.show(), @r#"
    a waits: 2 servers: not among the servers asked for; 1: db is there, which a must not meet
    b s1 10.0.1.3 Run 
    c s3 10.0.3.4 Run 
    db s2 10.0.2.2 Run 
    "#);
}

#[test]
fn it_is_never_moved() {
    let mut world = three("container a server=s2 memory=1G\nsettle");
    let before = world.snapshot.container_plans["a"].clone();
    for command in ["drain s2", "away s2", "lose s2", "back s2", "fail a", "unknown s2"] {
        world.run(command).run("settle");
        assert_eq!(world.snapshot.container_plans["a"], before, "{command}");
    }
    world.run("back s2\nundrain s2\nwell a\nsettle\ndrain s2\nsettle");
    insta::assert_snapshot!(world.why("a"), @r#"
    a runs on s2 at 10.0.2.2, healthy
      placed 2s ago: the server asked for
      s2 is draining
      a is a container of its own: it keeps its place and its files, and is not moved by itself
    fix: make it a job, which is: roost job add a 1
    "#);
}

#[test]
fn a_removed_one_is_stopped_and_then_forgotten() {
    let mut world = three("container a server=s2\nsettle\nrm a\nlook");
    let placement = world.snapshot.container_plans["a"].placement.clone().unwrap();
    assert_eq!(placement.wanted, Wanted::Stop);
    world.run("settle");
    assert!(world.snapshot.container_plans.is_empty());
}

#[test]
fn what_its_server_has_named_and_names_no_longer_is_gone_at_once() {
    let placed = |world: &World| world.snapshot.container_plans["a"].placement.clone().unwrap();
    let mut world = three("container a server=s2\nlook\nrm a\nlook");
    let (begun, told) = (placed(&world).placed, world.snapshot.clone());
    world.run("look");
    assert!(world.snapshot.container_plans.is_empty() && world.now.since(begun) < api::Span::seconds(1));
    // Of one it never named it may just not know yet.
    let unnamed = api::Snapshot { departed: Default::default(), ..told };
    let proposal = crate::propose(&unnamed, world.now, 0);
    assert!(proposal.containers.is_empty() && proposal.look_again.is_some(), "{proposal:?}");
    assert_eq!(crate::propose(&unnamed, begun.after(api::Span::seconds(1)), 0).containers, [(name("a"), None)]);
}

#[test]
fn one_made_anew_waits_for_its_predecessor() {
    let mut world = three("container a server=s2\nsettle\naway s2\nrm a\nlook\ncontainer a server=s1\nlook");
    insta::assert_snapshot!(world.show(), @"a s2 10.0.2.2 Stop its predecessor of the same name is still being removed on s2");
    world.run("back s2\nsettle");
    assert_eq!(world.snapshot.container_plans["a"].placement.as_ref().unwrap().server, name("s1"));
}

#[test]
fn one_made_anew_in_its_own_place_gets_its_address_back() {
    let mut world = three("container a server=s2\ncontainer b server=s2\nsettle");
    let before = world.snapshot.container_plans["a"].placement.clone().unwrap();
    let mut spec = world.snapshot.containers["a"].as_ref().clone();
    spec.address = Some(before.address);
    spec.created = api::Timestamp(before.placed.0 + 1);
    world.snapshot.containers.insert(name("a"), spec.into());
    world.run("look");
    assert_eq!(world.snapshot.container_plans["a"].placement.as_ref().unwrap().wanted, Wanted::Stop);
    world.run("settle");
    let after = world.snapshot.container_plans["a"].placement.clone().unwrap();
    assert_eq!((&after.server, after.address, after.wanted), (&before.server, before.address, Wanted::Run));
    assert_ne!(after.id, before.id, "another instance, with files of its own");
}

#[test]
fn one_to_be_removed_at_its_end_goes_with_its_spec() {
    let mut world = three("container a rm=1\nsettle\nexit a");
    let proposal = world.look();
    assert_eq!(proposal.remove_containers, [name("a")]);
    assert!(!world.snapshot.containers.contains_key("a"));
    world.settle();
    assert!(world.snapshot.container_plans.is_empty());
}

#[test]
fn one_to_be_removed_at_its_end_stays_when_it_never_ran_so_that_somebody_sees_why() {
    let mut world = three("container a rm=1\nsettle\nfail a");
    assert!(world.look().remove_containers.is_empty());
    assert!(world.snapshot.containers.contains_key("a"));
}

#[test]
fn one_whose_server_is_removed_begins_anew() {
    let world = three("container a\nsettle\ndelserver s1\nsettle");
    assert_eq!(world.snapshot.container_plans["a"].placement.as_ref().unwrap().server, name("s2"));
    assert!(world.notes.iter().any(|note| note.contains("s1 was removed from the cluster")));
}
