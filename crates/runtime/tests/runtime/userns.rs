//! Root inside is an unprivileged user outside.

use crate::bed::{Bed, request};
use driver::runtime::MountRun;
use std::os::unix::fs::MetadataExt as _;

pub fn root_inside_is_nobody_outside_and_files_follow(bed: &mut Bed) {
    let data = bed.dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let mut pod = bed.pod(
        "id -u; cat /proc/self/uid_map; stat -c %u /bin/busybox; touch /made /data/made && echo made; echo ready; sleep 600",
    );
    pod.containers[0].user_namespace = true;
    pod.containers[0].mounts = vec![MountRun { source: data.clone(), target: "/data".to_owned(), read_only: false }];
    let pid = bed.rt().ensure(&pod).unwrap().pid.unwrap();
    bed.until_logged(pod.id, "ready");
    let log = bed.log(pod.id, "main");
    assert_eq!(log[0], "0");
    assert_eq!(log[1].split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
    assert_eq!(log[2], "0", "layers seem to belong to root inside");
    assert!(log.contains(&"made".to_owned()), "{log:?}");
    let outside = std::fs::metadata(format!("/proc/{pid}")).unwrap().uid();
    assert_eq!(outside, 100_000);
    let state = bed.options.state_dir.join(pod.id.to_string());
    assert_eq!(std::fs::metadata(state.join("c/main/upper/made")).unwrap().uid(), 100_000);
    assert_eq!(std::fs::metadata(data.join("made")).unwrap().uid(), 0, "volumes keep plain owners");
    assert_eq!(std::fs::metadata(bed.layer.join("bin/busybox")).unwrap().uid(), 0, "layers are untouched");
    let (code, text) =
        bed.exec_request(pod.id, &request(&["sh", "-c", "id -u; cat /proc/self/uid_map; grep Seccomp: /proc/self/status"]), "");
    assert_eq!(code, 0);
    assert!(text.starts_with("0\n") && text.contains("100000") && text.contains("Seccomp:\t2"), "{text}");
    assert!(bed.exec(pod.id, &["ip", "link", "set", "lo", "up"]).0 != 0, "the network is not its own to change");
    bed.rt().remove(pod.id).unwrap();
    crate::bed::until("the shim is gone", || bed.shims().is_empty());
    assert_eq!(bed.leftovers(), Vec::<String>::new());
}
