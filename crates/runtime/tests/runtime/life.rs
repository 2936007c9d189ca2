//! Start, end, stop, start again, remove.

use crate::bed::{Bed, NO_GRACE, request, until};
use api::quantity::Span;
use driver::runtime::{Inspect as _, MountRun, PodState};
use std::time::{Duration, Instant};

pub fn a_pod_runs_is_observed_and_stops(bed: &mut Bed) {
    let pod = bed.pod("trap 'echo bye; exit 7' TERM; echo hello; while :; do sleep 0.05; done");
    let status = bed.rt().ensure(&pod).unwrap();
    assert_eq!(status.state, PodState::Running);
    assert!(status.started.is_some());
    bed.until_logged(pod.id, "hello");
    let again = bed.rt().ensure(&pod).unwrap();
    assert_eq!((again.pid, again.state), (status.pid, PodState::Running), "one that runs is left alone");
    let begin = Instant::now();
    let stopped = bed.rt().stop(pod.id, Span::seconds(10)).unwrap();
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert_eq!(stopped.state, PodState::Stopped);
    assert_eq!(stopped.exit_code, Some(bed.code(7)));
    assert!(bed.log(pod.id, "main").contains(&"bye".to_owned()));
    assert_eq!(bed.ended.recv_timeout(Duration::from_secs(5)).unwrap(), pod.id);
    until("the shim is gone", || bed.shims().is_empty());
}

pub fn exit_codes_output_and_environment_come_through(bed: &mut Bed) {
    let pod = bed.pod("echo out $COLOUR; echo err >&2; hostname; cat /etc/hosts /etc/resolv.conf; exit 42");
    assert_eq!(bed.run(&pod), (Some(bed.code(42)), None));
    let log = bed.log(pod.id, "main");
    for line in ["out blue", "!err", "c1", "10.9.8.7\tc1", "nameserver 10.9.8.1"] {
        assert!(log.contains(&line.to_owned()), "{line}: {log:?}");
    }
    assert_eq!(bed.ended.recv_timeout(Duration::from_secs(5)).unwrap(), pod.id);
}

pub fn one_that_does_not_listen_is_killed_after_its_grace(bed: &mut Bed) {
    let pod = bed.pod("trap '' TERM; echo ready; while :; do sleep 0.05; done");
    bed.rt().ensure(&pod).unwrap();
    bed.until_logged(pod.id, "ready");
    let begin = Instant::now();
    let stopped = bed.rt().stop(pod.id, Span::millis(400)).unwrap();
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(400) && took < Duration::from_secs(5), "{took:?}");
    assert_eq!(stopped.exit_code, Some(137));
    assert_eq!(stopped.state, PodState::Stopped);
}

pub fn files_are_kept_over_stop_and_start(bed: &mut Bed) {
    let pod = bed.pod("cat /kept; echo once >> /kept; echo ready; trap 'exit 0' TERM; while :; do sleep 0.05; done");
    bed.rt().ensure(&pod).unwrap();
    bed.until_logged(pod.id, "ready");
    bed.rt().stop(pod.id, Span::seconds(5)).unwrap();
    bed.rt().ensure(&pod).unwrap();
    bed.until_logged(pod.id, "once");
    assert!(!bed.layer.join("kept").exists(), "layers are never written");
    bed.rt().stop(pod.id, NO_GRACE).unwrap();
}

pub fn removing_leaves_nothing(bed: &mut Bed) {
    let pod = bed.pod("echo ready; sleep 600 & sleep 600");
    bed.rt().ensure(&pod).unwrap();
    bed.until_logged(pod.id, "ready");
    assert!(!bed.leftovers().is_empty(), "the test sees what is there");
    bed.rt().remove(pod.id).unwrap();
    until("the shim is gone", || bed.shims().is_empty());
    assert_eq!(bed.leftovers(), Vec::<String>::new());
    bed.rt().remove(pod.id).unwrap();
    assert!(bed.rt().observe().unwrap().is_empty());
}

pub fn signals_reach_the_main_process(bed: &mut Bed) {
    let pod = bed.pod("trap 'echo hup' HUP; echo ready; while :; do sleep 0.05; done");
    bed.rt().ensure(&pod).unwrap();
    bed.until_logged(pod.id, "ready");
    bed.rt().signal(pod.id, libc::SIGHUP).unwrap();
    bed.until_logged(pod.id, "hup");
}

pub fn frozen_is_still_and_can_be_stopped(bed: &mut Bed) {
    let pod = bed.pod("trap 'exit 0' TERM; while :; do echo tick; sleep 0.02; done");
    bed.rt().ensure(&pod).unwrap();
    bed.until_logged(pod.id, "tick");
    bed.rt().freeze(pod.id, true).unwrap();
    assert_eq!(bed.status(pod.id).state, PodState::Frozen);
    std::thread::sleep(Duration::from_millis(100));
    let before = bed.log(pod.id, "main").len();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(bed.log(pod.id, "main").len(), before);
    assert!(bed.rt().exec(pod.id, &request(&["true"])).err().unwrap().message.contains("frozen"));
    bed.rt().freeze(pod.id, false).unwrap();
    until("it ticks again", || bed.log(pod.id, "main").len() > before);
    bed.rt().freeze(pod.id, true).unwrap();
    assert_eq!(bed.rt().stop(pod.id, Span::seconds(5)).unwrap().state, PodState::Stopped);
}

pub fn what_cannot_start_says_why_and_leaves_nothing_running(bed: &mut Bed) {
    for (program, code, words) in [
        ("nonesuch", 127, "\"nonesuch\" is not in the container's PATH"),
        ("/bin/nonesuch", 127, "does not exist in the container"),
        ("/bin/data", 126, "cannot be executed"),
    ] {
        let mut pod = bed.pod("");
        pod.containers[0].argv = vec![program.to_owned()];
        let error = bed.rt().ensure(&pod).unwrap_err();
        assert!(error.message.contains(words), "{}", error.message);
        assert!(!error.retryable);
        let status = bed.status(pod.id);
        assert_eq!((status.state, status.exit_code), (PodState::Stopped, Some(code)));
        bed.rt().remove(pod.id).unwrap();
    }
    let mut pod = bed.pod("true");
    pod.containers[0].user = "nobody-here".to_owned();
    let error = bed.rt().ensure(&pod).unwrap_err();
    assert!(error.message.contains("there is no user \"nobody-here\""), "{}", error.message);
    bed.rt().remove(pod.id).unwrap();
    until("no shim is left", || bed.shims().is_empty());
    assert_eq!(bed.leftovers(), Vec::<String>::new());
}

pub fn mounts_show_what_they_should(bed: &mut Bed) {
    let data = bed.dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("in"), "from outside\n").unwrap();
    let mut pod = bed.pod("cat /data/in; echo x > /data/out && echo written; echo x > /fixed/out || echo refused; echo done");
    let mount = |target: &str, read_only| MountRun { source: data.clone(), target: target.to_owned(), read_only };
    pod.containers[0].mounts = vec![mount("/data", false), mount("/fixed", true)];
    bed.rt().ensure(&pod).unwrap();
    bed.until_logged(pod.id, "done");
    let log = bed.log(pod.id, "main");
    for line in ["from outside", "written", "refused"] {
        assert!(log.contains(&line.to_owned()), "{line}: {log:?}");
    }
    assert!(data.join("out").exists());
}

#[test]
fn a_working_directory_is_made() {
    let bed = Bed::app();
    let mut pod = bed.pod("echo $HOME $PWD");
    pod.containers[0].workdir = "/srv/made".to_owned();
    assert_eq!(bed.run(&pod), (Some(0), None));
    assert_eq!(bed.log(pod.id, "main"), ["/root /srv/made"]);
}

#[test]
fn a_root_can_be_read_only() {
    let bed = Bed::app();
    let mut pod = bed.pod("echo x > /file || echo refused; echo x > /dev/shm/file && echo written");
    pod.containers[0].read_only = true;
    bed.run(&pod);
    let log = bed.log(pod.id, "main");
    assert!(log.contains(&"refused".to_owned()) && log.contains(&"written".to_owned()), "{log:?}");
}

#[test]
fn many_layers_are_one_root() {
    let bed = Bed::app();
    let mut pod = bed.pod("cat /number; ls / | grep -c layer");
    for n in 0..200 {
        let layer = bed.dir.path().join(format!("a-long-name-of-a-directory-as-digests-are-{n:064}"));
        std::fs::create_dir(&layer).unwrap();
        std::fs::write(layer.join(format!("layer{n}")), "").unwrap();
        std::fs::write(layer.join("number"), format!("{n}\n")).unwrap();
        pod.containers[0].layers.push(layer);
    }
    assert_eq!(bed.run(&pod), (Some(0), None));
    assert_eq!(bed.log(pod.id, "main"), ["199", "200"]);
}

#[test]
fn containers_of_a_pod_share_network_names_and_end_together() {
    let bed = Bed::app();
    let mut pod = bed.pod("readlink /proc/self/ns/net /proc/self/ns/ipc /proc/self/ns/uts; echo ready; sleep 0.3; exit 3");
    let side = "readlink /proc/self/ns/net /proc/self/ns/ipc /proc/self/ns/uts; trap 'exit 0' TERM; while :; do sleep 0.05; done";
    pod.containers.push(bed.container("side", side));
    let (code, message) = bed.run(&pod);
    assert_eq!(code, Some(3));
    assert_eq!(message.as_deref(), Some("container main ended with exit code 3, so the pod was stopped"));
    let (main, side) = (bed.log(pod.id, "main"), bed.log(pod.id, "side"));
    assert_eq!(main[..3], side[..3]);
}

pub fn files_can_be_seen_from_outside_running_or_stopped(bed: &mut Bed) {
    let pod = bed.pod("echo content > /made; echo ready; trap 'exit 0' TERM; while :; do sleep 0.05; done");
    bed.rt().ensure(&pod).unwrap();
    bed.until_logged(pod.id, "ready");
    let inspector = bed.inspector();
    let read = || std::fs::read_to_string(inspector.root_directory(pod.id, None).unwrap().join("made")).unwrap();
    assert_eq!(read(), "content\n");
    let stats = inspector.stats(pod.id).unwrap();
    assert!(stats.pids >= 1 && stats.memory.0 > 0 && stats.cpu_micros > 0, "{stats:?}");
    bed.rt().stop(pod.id, Span::seconds(5)).unwrap();
    assert_eq!((read(), read()), ("content\n".to_owned(), "content\n".to_owned()));
    bed.rt().ensure(&pod).unwrap();
    bed.rt().remove(pod.id).unwrap();
    until("the shim is gone", || bed.shims().is_empty());
    assert_eq!(bed.leftovers(), Vec::<String>::new());
}

#[test]
fn output_faster_than_anything_is_rotated_and_costs_the_shim_no_memory() {
    let bed = Bed::app();
    let pod = bed.pod(&format!("yes {} | head -c 25000000; touch /ready; sleep 600", "x".repeat(1000)));
    let pid = bed.rt().ensure(&pod).unwrap().pid.unwrap();
    until("all is written", || std::path::Path::new(&format!("/proc/{pid}/root/ready")).exists());
    let directory = bed.options.log_dir.join(pod.id.to_string());
    let mut names: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["main.log", "main.log.1", "main.log.2"]);
    let shim = bed.shims()[0];
    let rollup = std::fs::read_to_string(format!("/proc/{shim}/smaps_rollup")).unwrap();
    let private: u64 = rollup
        .lines()
        .filter(|l| l.starts_with("Private_"))
        .map(|l| l.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap())
        .sum();
    eprintln!("private memory of the shim: {private} KiB");
    assert!(private < 4096, "{private} KiB private, in a build without optimisation");
}
