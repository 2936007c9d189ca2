//! Containers as they stand become images, other containers, jobs, and snapshots to go back to.

#![allow(clippy::unwrap_used, reason = "what helps a test fails the test")]

use api::{image::ImageRecord, view::ContainerView};
use lab::{Lab, eventually};
use std::time::Duration;

/// Longer than anything takes on a loaded machine.
const SOON: Duration = Duration::from_secs(30);

const SLEEP: [&str; 4] = ["--stop-timeout", "0", "--", "/bin/sleep"];

/// A container on a server that has changed a file, deleted one, and made one.
fn changed(lab: &Lab, name: &str, server: &str) {
    lab.ok(&[&["run", "-d", name, "tiny", "--server", server], &SLEEP[..], &["3600"]].concat());
    write(lab, name, "one");
    sh(lab, name, "rm /etc/group && rm -r /www && mkdir /www && echo fresh > /www/fresh");
}

fn sh(lab: &Lab, container: &str, script: &str) -> String {
    lab.ok(&["exec", container, "--", "/bin/sh", "-c", script]).stdout
}

fn write(lab: &Lab, container: &str, text: &str) {
    sh(lab, container, &format!("echo {text} > /srv/state"));
}

/// What the changes look like from inside.
fn seen(lab: &Lab, container: &str) -> String {
    sh(lab, container, "cat /srv/state; ls /www; test -e /etc/group && echo group; true")
}

const CHANGED: &str = "one\nfresh\n";

fn images(lab: &Lab, args: &[&str]) -> Vec<ImageRecord> {
    lab.get(&[&["image", "list"], args].concat())
}

fn server(container: &ContainerView) -> &str {
    container.server.as_ref().unwrap().as_str()
}

#[test]
fn a_commit_is_an_image_of_what_the_container_is_now() {
    let lab = Lab::with_tiny(3);
    changed(&lab, "c1", "s2");
    let before = lab.container("c1");
    let out = lab.ok(&["commit", "s2:c1", "web:2"]);
    assert!(out.stderr.contains("web:2@sha256:"), "{out}");
    let after = lab.container("c1");
    assert_eq!((after.id, after.pid, after.state.as_str()), (before.id, before.pid, "running"), "it went on");
    // Wherever it runs, it is as it was read; what the base does since is its own.
    write(&lab, "c1", "two");
    for place in ["s1", "s2", "s3"] {
        let name = format!("on-{place}");
        lab.ok(&[&["run", "-d", &name, "web:2", "--server", place], &SLEEP[..], &["3600"]].concat());
        assert_eq!(seen(&lab, &name), CHANGED, "{place}");
    }
    lab.ok(&["commit", "c1", "web:3", "--pause=false"]);
    lab.ok(&["stop", "c1"]);
    lab.ok(&["commit", "c1", "web:4"]);
    lab.ok(&[&["run", "-d", "four", "web:4", "--server", "s1"], &SLEEP[..], &["3600"]].concat());
    assert_eq!(seen(&lab, "four"), "two\nfresh\n");
    assert!(images(&lab, &[]).iter().any(|image| image.name == "web:4"));
    // One that never ran has changed nothing.
    lab.ok(&["create", "s3:new", "tiny", "/bin/sleep", "9"]);
    lab.ok(&["commit", "new", "plain"]);
    lab.ok(&[&["run", "-d", "plain1", "plain", "--server", "s2"], &SLEEP[..], &["3600"]].concat());
    assert_eq!(sh(&lab, "plain1", "cat /www/index.html"), "tiny\n");
}

#[test]
fn a_clone_goes_anywhere_and_is_a_container_of_its_own() {
    let lab = Lab::with_tiny(3);
    lab.ok(&[&["run", "-d", "c1", "tiny", "--server", "s1", "-e", "KEY=kept", "-p", "8080:80"], &SLEEP[..], &["3600"]].concat());
    write(&lab, "c1", "one");
    sh(&lab, "c1", "rm /etc/group && rm -r /www && mkdir /www && echo fresh > /www/fresh");
    let out = lab.ok(&["clone", "c1", "s3:c2"]);
    assert!(out.stderr.contains("roost start c2"), "{out}");
    let (c1, c2) = (lab.container("c1"), lab.container("c2"));
    assert_eq!((server(&c2), c2.state.as_str(), c1.state.as_str()), ("s3", "stopped", "running"));
    assert!(c2.address != c1.address && c2.publish.is_empty());
    lab.ok(&["start", "c2"]);
    assert_eq!(seen(&lab, "c2"), CHANGED);
    assert_eq!(sh(&lab, "c2", "echo $KEY"), "kept\n");
    write(&lab, "c2", "other");
    assert_eq!(seen(&lab, "c1"), CHANGED);
    let out = lab.ok(&["clone", "c2", "s2:c3", "--start"]);
    assert!(out.stderr.contains("c3 running on s2"), "{out}");
    assert_eq!(seen(&lab, "c3"), "other\nfresh\n");
    assert!(images(&lab, &[]).iter().all(|image| !image.name.starts_with("commit/")), "they are our own business");
    assert_eq!(images(&lab, &["-a"]).iter().filter(|image| image.name.starts_with("commit/")).count(), 2);
    // Its base may go; a clone needs it no more.
    lab.ok(&["rm", "-f", "c1", "c2"]);
    lab.ok(&["restart", "c3"]);
    assert_eq!(seen(&lab, "c3"), "other\nfresh\n");
}

#[test]
fn a_restored_container_is_as_it_was_with_its_name_address_and_place() {
    let lab = Lab::with_tiny(3);
    changed(&lab, "c1", "s2");
    let out = lab.ok(&["snapshot", "c1", "before"]);
    assert_eq!(out.text(), "before");
    write(&lab, "c1", "two");
    assert_eq!(lab.ok(&["addsnapshot", "s2:c1"]).text(), "snap0");
    sh(&lab, "c1", "rm -r /www; echo junk > /junk");
    let was = lab.container("c1");
    lab.ok(&["snapshot", "restore", "c1", "before"]);
    let now = lab.container("c1");
    assert_eq!((server(&now), now.address, now.state.as_str()), (server(&was), was.address, "running"));
    assert_eq!(seen(&lab, "c1"), CHANGED);
    assert_eq!(sh(&lab, "c1", "test -e /junk || echo clean"), "clean\n");
    // The same one again, since it has changed again.
    write(&lab, "c1", "three");
    lab.ok(&["restoresnapshot", "c1", "before"]);
    assert_eq!(seen(&lab, "c1"), CHANGED);
    // One that is stopped stays so.
    lab.ok(&["stop", "c1"]);
    lab.ok(&["snapshot", "restore", "s2:c1", "snap0"]);
    assert_eq!(lab.container("c1").state, "stopped");
    lab.ok(&["start", "c1"]);
    assert_eq!(seen(&lab, "c1"), "two\nfresh\n");
    assert_eq!(lab.container("c1").address, was.address);
    let names = |args: &[&str]| -> Vec<String> {
        lab.get::<Vec<ImageRecord>>(args).iter().map(|image| image.snapshot().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&["snapshot", "list", "c1"]), ["before", "snap0"]);
    assert_eq!(names(&["listsnapshots"]), ["before", "snap0"]);
    assert!(images(&lab, &[]).iter().all(|image| image.snapshot().is_none()), "image list shows none");
    assert_eq!(images(&lab, &["-a"]).iter().filter(|image| image.name.starts_with("snapshot/c1:")).count(), 2);
    // It lives on what was snap0, which can go by name all the same.
    lab.ok(&["delsnapshot", "c1", "snap0"]);
    lab.ok(&["restart", "c1"]);
    assert_eq!(seen(&lab, "c1"), "two\nfresh\n");
    assert_eq!(names(&["snapshot", "list", "c1"]), ["before"]);
}

#[test]
fn a_job_is_of_its_base_as_it_stands_and_upgrades_follow_the_base() {
    let lab = Lab::with_tiny(3);
    changed(&lab, "c1", "s2");
    // What all of them need of the image is there already.
    lab.ok(&["addjob", "tiny", "3", "--name", "warm", "-r", "1", "--stop-timeout", "0", "--", "/bin/sleep", "3600"]);
    let pid = lab.container("c1").pid;
    let out = lab.ok(&["addjob", "c1", "5"]);
    assert!(out.stderr.contains("5/5 healthy"), "{out}");
    eprintln!("five clones on three servers: {:?}", out.took);
    let all = |text: &str| {
        let instances = lab.job("c1").instances;
        let current = instances.iter().filter(|one| one.wanted == Some(api::plan::Wanted::Run));
        let names: Vec<_> = current.map(|one| one.name.clone()).collect();
        names.len() == 5 && names.iter().all(|name| seen(&lab, name) == text)
    };
    assert!(all(CHANGED));
    assert_eq!(lab.container("c1").pid, pid, "the base went on");
    // Each is one of its own.
    write(&lab, "c1/1", "alone");
    assert_eq!(seen(&lab, "c1/2"), CHANGED);
    write(&lab, "c1", "two");
    let out = lab.ok(&["upgradejob", "c1"]);
    assert!(out.stderr.contains("revision 2"), "{out}");
    eventually(SOON, "all are of the base as it stood then", || all("two\nfresh\n"));
    lab.ok(&["rollbackjob", "c1"]);
    eventually(SOON, "all are as they were first", || all(CHANGED));
    // What it may go back to cannot be deleted.
    let records = images(&lab, &["-a"]);
    let ours: Vec<_> = records.iter().filter(|image| image.name.starts_with("commit/c1:")).collect();
    assert_eq!(ours.len(), 2, "{records:?}");
    for image in ours {
        let out = lab.refused(&["image", "delete", &image.name], 4);
        assert!(out.stderr.contains("is used by job c1"), "{out}");
    }
    lab.ok(&["rm", "-f", "c1"]);
    let out = lab.refused(&["upgradejob", "c1"], 3);
    assert!(out.stderr.contains("job c1 was made of a container, and ") && out.stderr.contains("--image"), "{out}");
    lab.ok(&["upgradejob", "c1", "-e", "A=1"]);
    eventually(SOON, "the image stays", || all(CHANGED));
}

#[test]
fn each_no_is_one_sentence_and_changes_nothing() {
    let lab = Lab::with_tiny(3);
    changed(&lab, "c1", "s2");
    lab.ok(&["snapshot", "c1", "before"]);
    let records = images(&lab, &["-a"]).len();
    let says = |line: &str, code: i32, sentence: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let out = lab.refused(&words, code);
        assert!(out.stderr.starts_with(&format!("error: {sentence}")), "{sentence}\n{out}");
    };
    says("commit c9 web", 3, "no container c9");
    says("commit s1:c1 web", 3, "container c1 is on s2, not on s1");
    says("commit s9:c1 web", 3, "no server s9 (did you mean s1, s2, s3?)");
    says("commit c1 no//name", 2, "\"no//name\" is not an image name");
    says("clone c9 c2", 3, "no container c9");
    says("clone c1 c1", 4, "there is a container c1 already");
    says("clone c1 s9:c2", 3, "no server s9");
    says("clone c1 C2", 2, "\"C2\" is not a container name");
    says("snapshot c9", 3, "no container c9");
    says("snapshot c1 before", 4, "c1 has a snapshot before already");
    says("snapshot c1 a/b", 2, "\"a/b\" is not a snapshot name");
    says("snapshot list c9", 3, "no container c9");
    says("snapshot restore c1 befor", 3, "c1 has no snapshot befor (did you mean before?)");
    says("snapshot delete c1 x", 3, "c1 has no snapshot x (did you mean before?)");
    says("snapshot restore c9 before", 3, "no container c9");
    for line in
        ["commit c1 web --dry-run", "clone c1 c2 --dry-run", "snapshot c1 --dry-run", "snapshot restore c1 before --dry-run"]
    {
        lab.roost(&line.split(' ').collect::<Vec<_>>()).must(2);
    }
    lab.sandbox(&["kill", "s2"]).run().must(0);
    eventually(SOON, "s2 is lost", || lab.server_views().iter().any(|view| view.liveness == api::server::Liveness::Lost));
    says("commit c1 web", 8, "server s2 does not answer, and c1 is on it");
    says("clone c1 s1:c2", 8, "server s2 does not answer, and c1 is on it");
    says("snapshot c1 later", 8, "server s2 does not answer, and c1 is on it");
    says("snapshot restore c1 before", 6, "server s2 is down");
    says("addjob c1 2 --name web", 8, "server s2 does not answer, and c1 is on it");
    assert_eq!(images(&lab, &["-a"]).len(), records);
    assert_eq!(lab.containers().len(), 1);
}
