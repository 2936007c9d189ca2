//! What is only true of whole systems: an init, with a console, that shuts down and reboots.

use crate::{
    bed::{Bed, until},
    console::Talk,
};
use api::{quantity::Span, spec::ContainerKind};
use driver::runtime::{PodRun, PodState};
use std::path::Path;

/// Why system containers cannot be tried here.
pub fn missing() -> Option<String> {
    let there = Path::new("/usr/bin/lxc-start").exists();
    (!there).then(|| "lxc-start is not installed".to_owned())
}

/// A pod whose first program is busybox's init, which runs what its table says.
fn with_init(bed: &Bed, table: &str) -> PodRun {
    let mut pod = bed.pod("");
    std::fs::write(bed.layer.join("etc/inittab"), table).unwrap();
    pod.containers[0].argv = vec!["/bin/init".to_owned()];
    pod.containers[0].user_namespace = true;
    pod
}

const TABLE: &str = "::sysinit:/bin/sh -c 'echo up; cat /kept; echo once >> /kept'\n\
    ::respawn:/bin/sh -c 'read line; echo got $line'\n::shutdown:/bin/echo going down\n";

#[test]
fn an_init_has_a_console_that_is_logged_and_shuts_down_when_asked() {
    if let Some(why) = missing() {
        return eprintln!("not tried: {why}");
    }
    let bed = Bed::new(ContainerKind::System);
    let pod = with_init(&bed, TABLE);
    bed.rt().ensure(&pod).unwrap();
    bed.until_logged(pod.id, "up");
    Talk::with(&bed, pod.id, false).typed("word\n");
    bed.until_logged(pod.id, "got word");
    let begin = std::time::Instant::now();
    let stopped = bed.rt().stop(pod.id, Span::seconds(15)).unwrap();
    assert!(begin.elapsed() < std::time::Duration::from_secs(10), "{:?}", begin.elapsed());
    assert_eq!((stopped.state, stopped.exit_code), (PodState::Stopped, Some(0)));
    assert!(bed.log(pod.id, "main").contains(&"going down".to_owned()));
}

#[test]
fn a_system_that_reboots_is_the_same_with_another_first_process() {
    if let Some(why) = missing() {
        return eprintln!("not tried: {why}");
    }
    let bed = Bed::new(ContainerKind::System);
    let pod = with_init(&bed, TABLE);
    let first = bed.rt().ensure(&pod).unwrap().pid.unwrap();
    bed.until_logged(pod.id, "up");
    assert_eq!(bed.exec(pod.id, &["reboot"]).0, 0);
    bed.until_logged(pod.id, "once");
    until("another first process", || bed.status(pod.id).pid.is_some_and(|pid| pid != first));
    assert_eq!(bed.exec(pod.id, &["cat", "/proc/1/comm"]), (0, "init\n".to_owned()));
    let stopped = bed.rt().stop(pod.id, Span::seconds(15)).unwrap();
    assert_eq!((stopped.state, stopped.exit_code), (PodState::Stopped, Some(0)), "it stays down when it is asked to");
    bed.rt().remove(pod.id).unwrap();
    until("the shim is gone", || bed.shims().is_empty());
    assert_eq!(bed.leftovers(), Vec::<String>::new());
}
