//! Jobs change under constant requests: none is lost.

#![allow(clippy::unwrap_used, reason = "what helps a test fails the test")]

use api::view::JobView;
use lab::{Lab, OUTSIDE, Requests, Root, Running, eventually};
use std::{net::SocketAddr, time::Duration};

/// Longer than anything takes on a loaded machine.
const SOON: Duration = Duration::from_secs(30);

/// A web server in the foreground that ends the way it should: at once, when it is told to.
const SERVE: &str = "trap 'exit 0' TERM; httpd -f -p 80 -h /www & wait";

/// A job of web servers on port 8080 of every server, and somebody who asks all of them all the time.
fn asked(lab: &Lab, count: &str) -> Running {
    lab.import("two", Root::tiny().file("www/index.html", "two\n"));
    let add = ["addjob", "tiny", count, "--name", "web", "-p", "8080:80", "--health-http", "80/", "--healthy-deadline", "10s"];
    lab.ok(&[&add[..], &["--", "/bin/sh", "-c", SERVE]].concat());
    let targets: Vec<SocketAddr> = lab.servers().iter().map(|server| (lab.address(server), 8080).into()).collect();
    let place = lab.place(OUTSIDE);
    for target in &targets {
        eventually(SOON, "the port is open", || place.run(|| lab::Client::get(*target)).is_ok());
    }
    Requests::start(&place, targets)
}

fn revisions(job: &JobView) -> Vec<u32> {
    job.instances.iter().map(|one| one.revision).collect()
}

#[test]
fn an_upgrade_and_its_rollback_lose_no_request() {
    let lab = Lab::with_tiny(2);
    let asking = asked(&lab, "4");
    let out = lab.ok(&["upgradejob", "web", "--image", "two"]);
    assert!(out.stderr.contains("4/4"), "{out}");
    eventually(SOON, "the old are gone", || revisions(&lab.job("web")) == [2; 4]);
    lab.ok(&["rollbackjob", "web"]);
    eventually(SOON, "the new are gone", || {
        let job = lab.job("web");
        job.instances.len() == 4 && job.instances.iter().all(|one| one.image.starts_with("tiny"))
    });
    let came = asking.stop();
    came.none_lost(100);
    assert_eq!(came.bodies.iter().map(String::as_str).collect::<Vec<_>>(), ["tiny\n", "two\n"]);
}

#[test]
fn a_failing_upgrade_goes_back_by_itself_and_loses_no_request() {
    let lab = Lab::with_tiny(2);
    let asking = asked(&lab, "4");
    let before = lab.job("web");
    let broken = "echo this cannot be >&2; exit 3";
    let out = lab.refused(&["upgradejob", "web", "--", "/bin/sh", "-c", broken], 7);
    assert!(out.stderr.contains("this cannot be") && out.stderr.contains("rolled back to revision 1"), "{out}");
    eventually(SOON, "as before", || {
        let job = lab.job("web");
        job.running == 4 && job.instances.len() == 4
    });
    let ids = |job: &JobView| job.instances.iter().map(|one| one.id).collect::<Vec<_>>();
    let kept = ids(&lab.job("web")).iter().filter(|id| ids(&before).contains(id)).count();
    assert!(kept >= 3, "only {kept} of 4 instances were left alone");
    // And one that runs but never answers, up to its deadline.
    let out = lab.refused(&["upgradejob", "web", "--", "/bin/sh", "-c", "echo deaf; exec sleep 600"], 7);
    assert!(out.stderr.contains("deaf"), "{out}");
    asking.stop().none_lost(100);
}

#[test]
fn a_drain_starts_the_replacement_first_and_loses_no_request() {
    let lab = Lab::with_tiny(3);
    let asking = asked(&lab, "3");
    let mut least = u32::MAX;
    let mut draining = lab.typed(&["drain", "s2"]).start();
    while draining.runs() {
        least = least.min(lab.job("web").running);
    }
    draining.wait(SOON).must(0);
    assert!(least >= 3, "only {least} of 3 ran while s2 was drained");
    assert!(lab.instances_on("web", "s2").is_empty());
    lab.ok(&["scalejob", "web", "6"]);
    assert!(lab.instances_on("web", "s2").is_empty(), "a drained server is given nothing");
    lab.ok(&["undrain", "s2"]);
    lab.ok(&["scalejob", "web", "+3"]);
    assert!(!lab.instances_on("web", "s2").is_empty(), "a server that is no longer drained is used again");
    lab.ok(&["scalejob", "web", "2"]);
    eventually(SOON, "two are left", || lab.job("web").instances.len() == 2);
    asking.stop().none_lost(100);
}
