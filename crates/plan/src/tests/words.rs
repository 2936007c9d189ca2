//! What people read: reasons for waiting, and answers to why.

use super::world::{World, world};

fn three(commands: &str) -> World {
    let mut world = world("server s1 8G 4 disk=ssd\nserver s2 12G 4\nserver s3 16G 2");
    world.run(commands);
    world
}

fn waiting(world: &World, job: &str) -> String {
    let lines = world.plan(job).waiting.iter().map(|one| format!("{}: {}", one.slot, one.reasons.join("\n   ")));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn too_large_for_every_server() {
    let world = three("job small 1 memory=4813M\njob big 2 memory=64G\nsettle");
    insta::assert_snapshot!(waiting(&world, "big"), @r#"
    1: 3 servers: not enough memory (largest free: 16G on s3; each instance asks for 64G)
    2: 3 servers: not enough memory (largest free: 16G on s3; each instance asks for 64G)
    "#);
    insta::assert_snapshot!(world.why("big/1"), @r#"
    big/1 is waiting: 3 servers: not enough memory (largest free: 16G on s3; each instance asks for 64G)
      3 servers: not enough memory (largest free: 16G on s3; each instance asks for 64G)
    fix: try a smaller --memory, or add a server: roost server add
    "#);
    insta::assert_snapshot!(world.why("big"), @r#"
    big has 0 of 2 instances healthy, on revision 1
      big/1, big/2 waiting: 3 servers: not enough memory (largest free: 16G on s3; each instance asks for 64G)
    fix: try a smaller --memory, or add a server: roost server add
    "#);
}

#[test]
fn every_reason_is_counted() {
    let mut world = three("server s4 32G 8\nserver s5 32G 8\nserver s6 32G 8\nserver s7 32G 8 disk=ssd");
    world.run("drain s4\nlose s5\naway s6\nunknown s7");
    world.run("job a 1 cpu=3 memory=14G\nsettle\njob b 1 require=disk:ssd memory=9G\njob c 1 on=s4\njob d 9 per=1 strategy=spread\nsettle");
    insta::assert_snapshot!(world.show(), @r#"
    a/1 waits: 2 servers: not enough memory (largest free: 12G on s2; each instance asks for 14G); 1: not enough cpu (largest free: 2 on s3; each instance asks for 3); 1: draining; 1: lost; 1: agent away; 1: not heard of yet
    b/1 waits: 2 servers: without label disk=ssd; 1: not enough memory (largest free: 8G on s1; each instance asks for 9G); 1: draining; 1: lost; 1: agent away; 1: not heard of yet
    c/1 waits: 3 servers: not among the servers asked for; 1: draining; 1: lost; 1: agent away; 1: not heard of yet
    d/1 #1 s1 r1 Run Running
    d/2 #2 s2 r1 Run Running
    d/3 #3 s3 r1 Run Running
    d/4 waits: 3 servers: at most 1 per server; 1: draining; 1: lost; 1: agent away; 1: not heard of yet
    d/5 waits: 3 servers: at most 1 per server; 1: draining; 1: lost; 1: agent away; 1: not heard of yet
    d/6 waits: 3 servers: at most 1 per server; 1: draining; 1: lost; 1: agent away; 1: not heard of yet
    d/7 waits: 3 servers: at most 1 per server; 1: draining; 1: lost; 1: agent away; 1: not heard of yet
    d/8 waits: 3 servers: at most 1 per server; 1: draining; 1: lost; 1: agent away; 1: not heard of yet
    d/9 waits: 3 servers: at most 1 per server; 1: draining; 1: lost; 1: agent away; 1: not heard of yet
    "#);
}

#[test]
fn at_most_so_many_per_server() {
    let world = three("job web 7 per=2\nsettle");
    insta::assert_snapshot!(world.why("web/7"), @r#"
    web/7 is waiting: job web asks for 7, at most 2 per server (-r 2), and 3 servers are up
      3 servers: at most 2 per server
    fix: roost job set web --per-server 3, or add a server: roost server add
    "#);
}

#[test]
fn strangers_and_groups() {
    let mut world = three("job db 3 strategy=spread\nsettle\njob web 1 avoid=db\njob one 1 group=g on=s1\nsettle");
    world.run("job two 1 group=g memory=9G\nsettle");
    insta::assert_snapshot!(world.show(), @r#"
    db/1 #1 s1 r1 Run Running
    db/2 #2 s2 r1 Run Running
    db/3 #3 s3 r1 Run Running
    one/1 #4 s1 r1 Run Running
    two/1 waits: 2 servers: group g is on s1; 1: not enough memory (largest free: 8G on s1; each instance asks for 9G)
    web/1 waits: 3 servers: db is there, which web must not meet
    "#);
}

#[test]
fn no_servers_at_all() {
    let mut empty = world("job web 1\nsettle");
    insta::assert_snapshot!(empty.run("container c\nsettle").show(), @r#"
    web/1 waits: the cluster has no servers
    c waits: the cluster has no servers
    "#);
}

#[test]
fn a_full_subnet() {
    let mut world = world("server s1 8G 4\njob web 254\nsettle");
    assert_eq!(world.serving("web"), 253);
    insta::assert_snapshot!(waiting(&world, "web"), @"254: 1 server: no address free");
    world.run("scale web 100\nsettle\nscale web 253\nsettle");
    assert_eq!(world.serving("web"), 253);
}

#[test]
fn answers_to_why() {
    let mut world = three("job web 3\ncontainer c1 server=s2\nsettle\ntick 5m");
    let mut said = Vec::new();
    let mut ask = |world: &World, what: &str| said.push(format!("? {what}\n{}", world.why(what)));
    for what in ["web", "web/2", "web/9", "c1", "s2:c1", "s1:c1", "s1", "c9", "s4:web", "c1/2"] {
        ask(&world, what);
    }
    world.run("lose s2\nlook");
    for what in ["c1", "s2", "web/2"] {
        ask(&world, what);
    }
    world.run("settle\nfail web/1\nlook\nlook");
    ask(&world, "web/1");
    ask(&world, "web");
    world.run("settle\nupgrade web image=slow\nbad web 2 hangs\nlook\nlook\nlook");
    ask(&world, "web/1");
    world.run("settle\ndrain s3\naway s1");
    ask(&world, "s3");
    ask(&world, "s1");
    ask(&world, "web");
    world.run("deljob web");
    ask(&world, "web");
    insta::assert_snapshot!(said.join("\n\n"), @r#"
    ? web
    web has 3 of 3 instances healthy, on revision 1

    ? web/2
    web/2 runs on s3 at 10.0.3.4, healthy
      placed 5m ago: largest free share, 100 %

    ? web/9
    web/9 does not exist: job web asks for 3
    fix: roost job scale web 9

    ? c1
    c1 runs on s2 at 10.0.2.2, healthy
      placed 5m ago: the server asked for

    ? s2:c1
    c1 runs on s2 at 10.0.2.2, healthy
      placed 5m ago: the server asked for

    ? s1:c1
    error: c1 is on s2, not on s1

    ? s1
    s1 is up
      2 instances placed
      0B of 8G reserved
      0 of 4 cores reserved

    ? c9
    error: no container, job or server c9

    ? s4:web
    error: no server s4 (did you mean s1, s2, s3?)

    ? c1/2
    error: c1 is a container, not a job: it has no instance c1/2

    ? c1
    c1 is on s2, which is lost: nobody knows how it is
      placed 5m ago: the server asked for
      s2 is lost
      c1 is a container of its own: it keeps its place and its files, and is not moved by itself
    fix: make it a job, which is: roost job add c1 1

    ? s2
    s2 is lost: nothing was heard of it, and its instances are replaced elsewhere
      1 instance placed
      0B of 12G reserved
      0 of 4 cores reserved

    ? web/2
    web/2 runs on s3 at 10.0.3.4, healthy
      placed 5m ago: largest free share, 100 %

    ? web/1
    web/1 is waiting: it failed once, next try in 50ms
      instance 2 on s1 at 10.0.1.3 (revision 1) is being stopped and removed
    fix: roost logs web/1

    ? web
    web has 2 of 3 instances healthy, on revision 1
      web/1 waiting: failed once: tried again after a pause of 250ms

    ? web/1
    web/1 is starting on s1 at 10.0.1.7
      placed 300ms ago: largest free share, 100 %
      instance 5 on s3 at 10.0.3.6 (revision 1) runs until its replacement serves
      an upgrade from revision 1 to 2 is under way

    ? s3
    s3 is draining: 2 instances still there
      2 instances placed
      0B of 16G reserved
      0 of 2 cores reserved
    fix: roost undrain s3

    ? s1
    s1 has a silent agent on a machine that answers: it keeps what it has and gets nothing new
      1 instance placed
      0B of 8G reserved
      0 of 4 cores reserved

    ? web
    web has 3 of 3 instances healthy, on revision 1
      revision 2 failed, 1 runs again: web/1 on s1 at 10.0.1.7: not healthy after 30s

    ? web
    error: web was removed; its last instances are going
    "#);
}
