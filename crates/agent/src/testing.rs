//! Values the tests of this crate begin with.

pub mod bed;

use api::{
    assignment::{Assignment, NameTable, NetworkAssignment, Peer, PodAssignment},
    image::{ImageConfig, LocalImage},
    name::Name,
    plan::Wanted,
    quantity::Bytes,
    spec::{
        ContainerKind, ContainerTemplate, ImageRef, Limits, PodTemplate, Power, Restart, default_drain, default_grace,
        default_healthy,
    },
};
use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc};

/// Of the image every test uses.
pub const DIGEST: &str = "sha256:00000000000000000000000000000000000000000000000000000000000000aa";

pub fn name(text: &str) -> Name {
    Name::parse("test", text).unwrap()
}

pub fn container(text: &str) -> ContainerTemplate {
    ContainerTemplate {
        name: name(text),
        image: ImageRef { name: "web".to_owned(), digest: Some(DIGEST.to_owned()) },
        kind: ContainerKind::App,
        entrypoint: None,
        command: None,
        env: BTreeMap::new(),
        user: None,
        workdir: None,
        mounts: Vec::new(),
        limits: Limits::default(),
        health: None,
        restart: Restart::No,
        user_namespace: false,
        read_only: false,
        terminal: false,
        stdin: false,
        foreground: None,
        system: api::system::SystemRules::default(),
    }
}

pub fn template() -> PodTemplate {
    PodTemplate {
        containers: vec![container("main")],
        publish: Vec::new(),
        stop_grace: default_grace(),
        drain_timeout: default_drain(),
        healthy_deadline: default_healthy(),
        labels: BTreeMap::new(),
    }
}

pub fn pod(display: &str, host: u8) -> PodAssignment {
    PodAssignment {
        display: display.to_owned(),
        hostname: display.replace('/', "-"),
        template: "t1".to_owned(),
        address: Ipv4Addr::new(10, 70, 1, host),
        wanted: Wanted::Run,
        power: Power::On,
        restarts: 0,
    }
}

pub fn assignment(generation: u64) -> Assignment {
    Assignment {
        replaced: false,
        generation,
        server: name("s1"),
        network: NetworkAssignment {
            number: 1,
            underlay: "192.0.2.1".parse().unwrap(),
            subnet: "10.70.1.0/24".parse().unwrap(),
            range: "10.70.0.0/16".parse().unwrap(),
            vni: 7,
            domain: "internal".to_owned(),
            peers: Vec::new(),
        },
        pods: BTreeMap::new(),
        templates: BTreeMap::from([("t1".to_owned(), Arc::new(template()))]),
        names: Arc::new(NameTable::default()),
        routes: Arc::new(Vec::new()),
    }
}

pub fn peer(number: u16) -> Peer {
    Peer {
        name: name(&format!("s{number}")),
        number,
        underlay: format!("192.0.2.{number}").parse().unwrap(),
        subnet: format!("10.70.{number}.0/24").parse().unwrap(),
    }
}

pub fn image(config: ImageConfig) -> LocalImage {
    let config = if config.command.is_empty() && config.entrypoint.is_empty() {
        ImageConfig { command: vec!["serve".to_owned()], ..config }
    } else {
        config
    };
    LocalImage { digest: DIGEST.to_owned(), config, layers: vec!["/layers/1".into()], size: Bytes(1), index: None }
}
