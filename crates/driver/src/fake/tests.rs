//! The fakes keep the promises of the traits they stand for.

use super::*;
use crate::{
    Images, Network, Runtime,
    image::{BlobSource, Upper},
    runtime::{ContainerRun, PodRun, PodState},
    suite,
};
use api::{
    InstanceId, Name,
    dataplane::{BRIDGE, Bridge, Dataplane, PodLink},
    image::ImageConfig,
    spec::{ContainerKind, Limits},
};
use std::{io::Read, net::Ipv4Addr};

fn pod(id: InstanceId) -> PodRun {
    let container = ContainerRun {
        name: Name::parse("container", "main").unwrap(),
        kind: ContainerKind::App,
        layers: vec!["/layers/1".into()],
        argv: vec!["/bin/sleep".to_owned(), "60".to_owned()],
        env: vec!["PATH=/bin".to_owned()],
        user: String::new(),
        workdir: "/".to_owned(),
        mounts: Vec::new(),
        limits: Limits::default(),
        stop_signal: 15,
        user_namespace: false,
        read_only: false,
        terminal: false,
        size: None,
        stdin: false,
        awaited: false,
        system: api::system::SystemRules::default(),
    };
    PodRun {
        id,
        hostname: "web-1".to_owned(),
        netns: "/run/netns/web".into(),
        address: Ipv4Addr::new(10, 70, 1, 2),
        resolv_conf: String::new(),
        containers: vec![container],
    }
}

#[test]
fn the_runtime_passes_the_suite() {
    let runtime = FakeRuntime::new(ContainerKind::App);
    suite::runtime(&runtime, &pod(InstanceId(7))).unwrap();
}

#[test]
fn the_network_passes_the_suite() {
    let gateway = Ipv4Addr::new(10, 70, 1, 1);
    let bridge = Bridge { name: BRIDGE.to_owned(), address: gateway, subnet: "10.70.1.0/24".parse().unwrap() };
    let dataplane = Dataplane { bridge, overlay: None, range: "10.70.0.0/16".parse().unwrap(), routes: Vec::new() };
    let address = Ipv4Addr::new(10, 70, 1, 2);
    let link = PodLink { id: InstanceId(7), address, prefix: 24, gateway, bridge: BRIDGE.to_owned() };
    suite::network(&FakeNetwork::new(), &dataplane, &link).unwrap();
}

struct Nobody;
impl BlobSource for Nobody {
    fn open(&self, digest: &str) -> Result<Box<dyn Read + Send>> {
        Err(DriverError::retryable(format!("{digest} is nowhere")))
    }
}

struct Other(FakeImages);
impl BlobSource for Other {
    fn open(&self, digest: &str) -> Result<Box<dyn Read + Send>> {
        Ok(Box::new(self.0.blob(digest)?))
    }
}

#[test]
fn images_come_from_elsewhere_and_go() {
    let (here, there) = (FakeImages::new(), FakeImages::new());
    let config = ImageConfig { user: "web".to_owned(), ..ImageConfig::default() };
    there.add("sha256:aa", config.clone());
    assert!(here.ensure("sha256:aa", &Nobody, &|_| {}).unwrap_err().retryable);
    assert!(here.find("sha256:aa").unwrap().is_none());
    assert_eq!(here.ensure("sha256:aa", &Other(there), &|_| {}).unwrap().config, config);
    here.ensure("sha256:aa", &Nobody, &|_| {}).unwrap();
    let other = here.import(&mut &b"tar"[..], "web", &|_| {}).unwrap();
    assert_eq!(here.prune(std::slice::from_ref(&other.digest)).unwrap().discard().unwrap(), 1_000);
    assert_eq!(here.list().unwrap(), [other]);
}

#[test]
fn a_fault_lasts_as_many_calls_as_said() {
    let network = FakeNetwork::new();
    network.faults.fail("remove_pod", 2, DriverError::retryable("busy"));
    let results: Vec<bool> = (0..3).map(|_| network.remove_pod(InstanceId(1)).is_ok()).collect();
    assert_eq!(results, [false, false, true]);
    assert_eq!(network.faults.count("remove_pod 1"), 3);
}

#[test]
fn an_end_is_told_and_seen() {
    let runtime = FakeRuntime::new(ContainerKind::App);
    let told = std::sync::Arc::new(Mutex::new(Vec::new()));
    let heard = std::sync::Arc::clone(&told);
    runtime.set_changed(Box::new(move |id| lock(&heard).push(id)));
    runtime.ensure(&pod(InstanceId(7))).unwrap();
    runtime.end(InstanceId(7), Some(3));
    assert_eq!(*lock(&told), [InstanceId(7)]);
    let seen = runtime.observe().unwrap();
    assert_eq!((seen[0].state, seen[0].exit_code), (PodState::Stopped, Some(3)));
}

#[test]
fn the_images_pass_the_suite() {
    let images = FakeImages::new();
    images.add("sha256:aa", ImageConfig::default());
    let upper = std::env::temp_dir().join(format!("fake-upper-{}", std::process::id()));
    std::fs::create_dir_all(upper.join("etc")).unwrap();
    let result = suite::commit(&images, "sha256:aa", &Upper { path: upper.clone(), ids: None });
    std::fs::remove_dir_all(&upper).unwrap();
    result.unwrap();
}
