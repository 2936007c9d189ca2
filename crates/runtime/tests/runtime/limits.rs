//! Memory, processes, processor: asked for, and held.

use crate::bed::Bed;
use api::{Bytes, Cpu, spec::Limits};

#[test]
fn who_takes_more_memory_than_allowed_is_killed_and_it_is_said() {
    let bed = Bed::app();
    let mut pod = bed.pod("echo ready; exec tail /dev/zero");
    pod.containers[0].limits = Limits { memory: Some(Bytes(32 << 20)), ..Limits::default() };
    let (code, message) = bed.run(&pod);
    assert_eq!(code, Some(137));
    assert_eq!(message.as_deref(), Some("container main was killed for want of memory: it reached its limit of 32M"));
    // And starts again with a clean slate.
    let calm = driver::runtime::PodRun { containers: vec![bed.container("main", "exit 1")], ..pod };
    assert_eq!(bed.run(&calm), (Some(1), None));
}

pub fn processes_are_limited_and_a_command_counts(bed: &mut Bed) {
    let mut pod = bed.pod("i=0; while [ $i -lt 60 ]; do sleep 600 & i=$((i+1)); done; echo never");
    pod.containers[0].limits = Limits { pids: Some(20), ..Limits::default() };
    let held = bed.pod("echo ready; sleep 600");
    let held = driver::runtime::PodRun {
        containers: vec![driver::runtime::ContainerRun {
            limits: Limits { pids: Some(20), ..Limits::default() },
            ..held.containers[0].clone()
        }],
        ..held
    };
    bed.rt().ensure(&pod).unwrap();
    crate::bed::until("forking was refused", || bed.log(pod.id, "main").iter().any(|l| l.contains("fork")));
    assert!(!bed.log(pod.id, "main").contains(&"never".to_owned()));
    bed.rt().ensure(&held).unwrap();
    bed.until_logged(held.id, "ready");
    let script = "i=0; while [ $i -lt 60 ]; do sleep 5 & i=$((i+1)); done; echo never";
    let (code, text) = bed.exec(held.id, &["sh", "-c", script]);
    assert!(code != 0 && !text.contains("never"), "{code} {text}");
}

#[test]
fn the_processor_is_shared_out() {
    let bed = Bed::app();
    let mut pod = bed.pod("echo ready; while :; do :; done");
    pod.containers[0].limits = Limits { cpu: Some(Cpu(200)), ..Limits::default() };
    bed.rt().ensure(&pod).unwrap();
    bed.until_logged(pod.id, "ready");
    let inspector = bed.inspector();
    let used = || driver::runtime::Inspect::stats(&inspector, pod.id).unwrap().cpu_micros;
    let (before, begin) = (used(), std::time::Instant::now());
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let share = (used() - before) as f64 / begin.elapsed().as_micros() as f64;
    assert!(share < 0.3, "{share}");
}

#[test]
fn a_container_cannot_raise_its_own_limits() {
    let bed = Bed::app();
    let script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max; \
        for f in /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids/pids.max; do \
        echo 999999999 > $f && echo raised; done; mkdir /sys/fs/cgroup/x && echo made; echo done";
    let mut pod = bed.pod(script);
    pod.containers[0].limits = Limits { memory: Some(Bytes(64 << 20)), ..Limits::default() };
    bed.run(&pod);
    let log = bed.log(pod.id, "main");
    assert!(log.contains(&"67108864".to_owned()), "it sees its limit: {log:?}");
    assert!(!log.contains(&"raised".to_owned()) && !log.contains(&"made".to_owned()), "{log:?}");
    assert!(log.contains(&"done".to_owned()));
}

pub fn memory_is_limited_and_changed_while_it_runs(bed: &mut Bed) {
    let mut pod = bed.pod("echo ready; sleep 600");
    pod.containers[0].limits = Limits { memory: Some(Bytes(64 << 20)), ..Limits::default() };
    let pid = bed.rt().ensure(&pod).unwrap().pid;
    bed.until_logged(pod.id, "ready");
    // In a child, so that it is not the command itself that is killed.
    let take = |size: &str| {
        let script = format!("dd if=/dev/zero of=/dev/null bs={size} count=1 2>/dev/null; echo $?");
        bed.exec(pod.id, &["sh", "-c", &script]).1.trim().to_owned()
    };
    assert_eq!((take("16M"), take("100M")), ("0".to_owned(), "137".to_owned()));
    let name = pod.containers[0].name.clone();
    let limit = |limits: Limits| bed.rt().limit(pod.id, &[(name.clone(), limits)]).unwrap();
    limit(Limits { memory: Some(Bytes(256 << 20)), cpu: Some(Cpu(1500)), pids: Some(100) });
    assert_eq!(take("100M"), "0", "more than before");
    limit(Limits { memory: Some(Bytes(32 << 20)), ..Limits::default() });
    assert_eq!(take("100M"), "137", "less than before");
    limit(Limits::default());
    assert_eq!(take("100M"), "0", "no limit");
    assert_eq!(bed.status(pod.id).pid, pid, "nothing was restarted");
    bed.rt().stop(pod.id, crate::bed::NO_GRACE).unwrap();
    assert!(bed.rt().limit(pod.id, &[(name, Limits::default())]).unwrap_err().message.contains("does not run"));
}
