//! The agent may die, and so may a shim: containers and exit codes are not lost.

use crate::bed::{Bed, until};
use driver::runtime::PodState;
use std::time::Duration;

pub fn a_new_agent_finds_everything_as_it_was(bed: &mut Bed) {
    let runs = bed.pod("echo ready; while :; do sleep 0.05; done");
    let ends = bed.pod("echo ready; while [ ! -e /go ]; do sleep 0.05; done; exit 9");
    let pid = bed.rt().ensure(&runs).unwrap().pid;
    let other = bed.rt().ensure(&ends).unwrap().pid.unwrap();
    bed.until_logged(ends.id, "ready");
    // The agent is away while one of them ends.
    bed.runtime = None;
    std::fs::write(format!("/proc/{other}/root/go"), "").unwrap();
    until("it has ended", || !std::path::Path::new(&format!("/proc/{other}")).exists());
    bed.restart_agent();
    let status = bed.status(runs.id);
    assert_eq!((status.state, status.pid), (PodState::Running, pid));
    bed.until_stopped(ends.id);
    assert_eq!(bed.status(ends.id).exit_code, Some(bed.code(9)));
    // And hears of the end of what it did not start.
    bed.rt().signal(runs.id, libc::SIGKILL).unwrap();
    let told = bed.ended.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(told == runs.id || told == ends.id);
    bed.until_stopped(runs.id);
}

pub fn a_killed_shim_takes_its_pod_with_it_and_is_told(bed: &mut Bed) {
    let pod = bed.pod("echo ready; sleep 600 & sleep 600");
    let status = bed.rt().ensure(&pod).unwrap();
    bed.until_logged(pod.id, "ready");
    // SAFETY: a process this test started.
    unsafe { libc::kill(bed.shims()[0], libc::SIGKILL) };
    assert_eq!(bed.ended.recv_timeout(Duration::from_secs(10)).unwrap(), pod.id);
    let after = bed.status(pod.id);
    assert_eq!((after.state, after.exit_code), (PodState::Stopped, Some(137)));
    assert!(after.message.unwrap().contains("killed from outside"));
    let main = format!("/proc/{}/cmdline", status.pid.unwrap());
    until("the container is gone", || std::fs::read(&main).map_or(true, |text| text.is_empty()));
    bed.rt().ensure(&pod).unwrap();
    assert_eq!(bed.status(pod.id).state, PodState::Running, "it can be started again");
    bed.rt().remove(pod.id).unwrap();
    until("the shim is gone", || bed.shims().is_empty());
    assert_eq!(bed.leftovers(), Vec::<String>::new());
}

#[test]
fn looking_while_pods_start_and_end_disturbs_nothing() {
    let bed = Bed::app();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let runtime = bed.rt();
        let stop = &stop;
        scope.spawn(move || {
            let begin = std::time::Instant::now();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) && begin.elapsed() < crate::bed::PATIENCE {
                runtime.observe().unwrap();
            }
        });
        for _ in 0..10 {
            let pod = bed.pod("exit 3");
            let (code, message) = bed.run(&pod);
            bed.rt().remove(pod.id).unwrap();
            assert_eq!((code, message), (Some(3), None));
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
