//! Snapshots of rendered configurations.

use super::*;
use api::{
    Bytes, Cpu, Name,
    spec::{ContainerKind, Limits},
};
use driver::runtime::PodRun;

fn container() -> ContainerRun {
    ContainerRun {
        name: Name::parse("container", "main").unwrap(),
        kind: ContainerKind::App,
        layers: vec!["/layers/a".into()],
        argv: vec!["nginx".to_owned(), "-g".to_owned(), "daemon off;".to_owned()],
        env: vec!["LANG=C".to_owned()],
        user: "www-data".to_owned(),
        workdir: "/srv".to_owned(),
        mounts: Vec::new(),
        limits: Limits { memory: Some(Bytes(64 << 20)), cpu: Some(Cpu(500)), pids: None },
        stop_signal: 15,
        user_namespace: false,
        read_only: true,
        terminal: false,
        size: None,
        stdin: false,
        awaited: false,
        system: api::system::SystemRules::default(),
    }
}

fn rendered(container: &ContainerRun, shape: &Shape, leader: Option<i32>) -> Value {
    let user = User { uid: 33, gid: 33, groups: vec![4], home: "/var/www".to_owned() };
    render(&Facts {
        hostname: "web-1",
        container,
        root: Path::new("/run/roost/pods/7/c/main/root"),
        leader,
        etc: &[(PathBuf::from("/var/lib/roost/pods/7/c/main/etc/hosts"), "/etc/hosts")],
        mounts: &[MountRun { source: "/srv/data".into(), target: "/data".to_owned(), read_only: true }],
        user: &user,
        cgroup: "roost/7/main",
        shape,
        files_hard: 20_000,
        oom_score: -500,
    })
}

fn v1() -> Shape {
    let mounts = ["cpu,cpuacct", "cpuset", "memory", "pids", "freezer"]
        .map(|names| (PathBuf::from("/sys/fs/cgroup").join(names), names.split(',').map(str::to_owned).collect()));
    Shape::V1 { mounts: mounts.to_vec(), unified: None, swap: true }
}

#[test]
fn an_ordinary_container() {
    insta::assert_json_snapshot!(rendered(&container(), &v1(), None));
}

#[test]
fn a_second_container_in_a_user_namespace_on_v2() {
    let container = ContainerRun { user_namespace: true, read_only: false, terminal: true, ..container() };
    let shape = Shape::V2 { mount: "/sys/fs/cgroup".into() };
    insta::assert_json_snapshot!(rendered(&container, &shape, Some(4711)));
}

#[test]
fn limits_without_swap_accounting_leave_swap_alone() {
    let Shape::V1 { mounts, unified, .. } = v1() else { unreachable!() };
    let config = rendered(&container(), &Shape::V1 { mounts, unified, swap: false }, None);
    assert_eq!(config["linux"]["resources"]["memory"], json!({ "limit": 64 << 20 }));
}

#[test]
fn what_the_image_says_goes_before_defaults() {
    let user = User { uid: 0, gid: 0, groups: vec![], home: "/root".to_owned() };
    let env = environment(&["PATH=/x".to_owned(), "TERM=vt100".to_owned()], &user, "h", true);
    assert_eq!(env, ["PATH=/x", "TERM=vt100", "HOME=/root", "HOSTNAME=h"]);
}

#[test]
fn hosts_know_the_pod_by_long_and_short_name() {
    let pod = PodRun {
        id: api::InstanceId(7),
        hostname: "web-1.example".to_owned(),
        netns: "/run/netns/x".into(),
        address: [10, 1, 2, 3].into(),
        resolv_conf: "nameserver 10.1.2.1\n".to_owned(),
        containers: Vec::new(),
    };
    let [(_, hosts), ..] = etc_files(&pod);
    insta::assert_snapshot!(hosts, @"
    127.0.0.1	localhost
    ::1	localhost ip6-localhost ip6-loopback
    10.1.2.3	web-1.example web-1
    ");
}
