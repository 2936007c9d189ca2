//! A small cluster with one of everything, and a control plane that has it in mind.

use crate::{Control, agents::Agents, leader, world::World};
use api::{Name, event::Noun, key};
use base::supervise::{Scope, Signal};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use store::memory::Memory;
use wire::identity::{Authority, Subject};

fn name(text: &str) -> Name {
    Name::parse("test", text).unwrap()
}

/// A pod template that says everything.
pub fn template() -> Value {
    json!({
        "containers": [
            {
                "name": "main",
                "image": {"name": "web", "digest": "sha256:00"},
                "kind": "app",
                "entrypoint": ["/bin/web"],
                "command": ["--port", "80"],
                "env": {"MODE": "fast"},
                "user": "www",
                "workdir": "/srv",
                "mounts": [{"source": "/data", "target": "/srv/data", "read_only": true}],
                "limits": {"memory": 67_108_864, "cpu": 500, "pids": 100},
                "health": {"probe": {"http": {"port": 80, "path": "/", "host": "web"}}, "interval": 5000, "retries": 3},
                "restart": "on_failure",
                "read_only": true,
            },
            {"name": "side", "image": {"name": "web"}, "health": {"probe": {"tcp": 81}}},
            {"name": "third", "image": {"name": "web"}, "health": {"probe": {"command": ["true"]}}},
        ],
        "publish": [{"host": 80, "container": 8080, "protocol": "udp"}],
        "labels": {"team": "a"},
    })
}

fn server(number: u16) -> Value {
    json!({
        "name": format!("s{number}"),
        "number": number,
        "address": if number == 1 { "192.0.2.1".to_owned() } else { format!("2001:db8::{number}") },
        "subnet": format!("10.0.{number}.0/24"),
        "manager": number == 1,
        "labels": {"disk": "ssd"},
        "key_fingerprint": "00",
        "facts": {
            "cpu": 2000, "memory": 1 << 30, "arch": "x86_64", "kernel": "6.12", "os": "Debian", "cgroups": "v2", "version": "0.1.0",
            "features": ["overlay"],
        },
        "joined": 1000,
    })
}

fn placement((id, slot, at): (u64, u32, &str), revision: u32) -> Value {
    json!({
        "id": format!("{id:x}"), "slot": slot, "server": "s1", "address": at, "revision": revision, "wanted": "run",
        "placed": 1000, "reason": "the only one that fits",
    })
}

/// An app that was got.
pub fn app() -> Value {
    json!({
        "name": "blog", "app": "wordpress", "generation": 3, "url": "blog.example", "got": 10,
        "parts": [{
            "container": "blog-db", "app": "mariadb", "packages": true, "server": "s1",
            "volumes": {"blog-db.var.lib.mysql": "/var/lib/mysql"},
            "settings": {"MARIADB_DATABASE": "blog"}, "secrets": {"MARIADB_PASSWORD": "hidden"},
        }],
    })
}

/// What the store of the cluster holds.
fn stored() -> Vec<(String, Value)> {
    let cluster =
        json!({"name": "home", "domain": "internal", "range": "10.0.0.0/16", "server_prefix": 24, "vni": 1, "created": 1});
    let image = json!({
        "name": "web:latest", "digest": "sha256:00", "size": 10, "created": 5,
        "config": {"command": ["/bin/web"], "labels": {"a": "b"}, "exposed": ["80/tcp"]},
    });
    let job = json!({
        "name": "web", "count": 3, "template": template(), "revision": 2, "created": 6,
        "history": [{"revision": 1, "template": template(), "until": 7}],
        "placement": {"strategy": "spread", "group": "g", "per_server": 1, "require": {"disk": "ssd"}, "avoid": ["c1"], "servers": ["s1"]},
        "update": {"interval": 1000, "parallel": 2},
    });
    let plan = json!({
        "placements": [placement((0xab, 1, "10.0.1.2"), 2), placement((0xac, 2, "10.0.1.3"), 1)],
        "waiting": [{"slot": 3, "reasons": ["1 server: full"]}],
        "rollout": {"to": 2, "from": 1, "state": "rolling_back", "started": 8, "last_batch": 9, "message": "not healthy in time"},
    });
    let lone =
        json!({"name": "c1", "template": template(), "power": "frozen", "created": 4, "server": "s1", "address": "10.0.1.4"});
    let waiting = json!({"name": "c2", "template": template(), "power": "off", "created": 4});
    vec![
        (key::CLUSTER.to_owned(), cluster),
        (format!("{}s1", key::SERVERS), server(1)),
        (format!("{}s2", key::SERVERS), server(2)),
        (format!("{}web:latest", key::IMAGES), image),
        (format!("{}web", key::JOBS), job),
        (format!("{}web", key::JOB_PLANS), plan),
        (format!("{}c1", key::CONTAINERS), lone),
        (format!("{}c1", key::CONTAINER_PLANS), json!({"placement": placement((0xad, 0, "10.0.1.4"), 0)})),
        (format!("{}c2", key::CONTAINERS), waiting),
        (format!("{}c2", key::CONTAINER_PLANS), json!({"placement": null, "waiting": ["no server fits"]})),
        (format!("{}{}", key::TOKENS, "0f".repeat(32)), json!({"expires": 10, "uses_left": 2})),
        (format!("{}blog", key::APPS), app()),
        (key::NEXT_INSTANCE.to_owned(), json!(300)),
    ]
}

/// What the agent of s1 says.
pub fn report() -> Value {
    json!({
        "server": "s1",
        "generation": 3,
        "instances": {
            "ab": {"phase": "running", "health": "healthy", "pid": 12, "started": 2000, "restarts": 1},
            "ac": {"phase": "failed", "health": "unhealthy", "message": "it ended", "last_lines": ["oh"], "exit_code": 137},
            "ad": {"phase": "frozen", "health": "starting"},
        },
        "images": ["sha256:00"],
        "usage": {"memory": 5, "cpu_milli": 6, "disk_free": 7},
        "problems": ["the disk is nearly full"],
    })
}

/// A control plane in whose world all this is so.
pub async fn control() -> Control {
    let authority = Authority::create("home").unwrap();
    let identity = authority.issue(&Subject::Server(name("s1")), Duration::from_secs(60), &[]).unwrap();
    let memory = Arc::new(Memory::default());
    let control = Control {
        leader: leader::claim(&*memory, &name("s1")).await.unwrap(),
        store: memory,
        world: Arc::default(),
        events: Arc::default(),
        agents: Arc::new(Agents::new(identity)),
        beats: Arc::default(),
        coming: Arc::default(),
        cuts: Arc::default(),
        authority: Arc::new(authority),
        server: name("s1"),
        port: 7443,
        look: Signal::new(),
        scope: Scope::new(),
    };
    control.world.change(fill);
    control.events.note(Noun::Server, "s1", "joined");
    control
}

fn fill(world: &mut World) {
    for (key, value) in stored() {
        world.take(&key, Some((value.to_string().as_bytes(), 1))).unwrap();
    }
    let report: api::report::Report = serde_json::from_value(report()).unwrap();
    world.snapshot.reports.insert(report.server.clone(), Arc::new(report));
    for server in ["s1", "s2"] {
        world.snapshot.liveness.insert(name(server), api::server::Liveness::Alive);
    }
}
