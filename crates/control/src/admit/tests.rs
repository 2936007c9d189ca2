//! Admission through one door: a request on a small cluster, and what is said about it.

use super::{container, image, job, snapshot};
use api::{
    Bytes, Kind, Name, Result, Snapshot, Timestamp,
    image::{COMMIT_LABEL, ImageRecord, SNAPSHOT_LABEL},
    plan::{ContainerPlan, Placement, Wanted},
    server::{Liveness, ServerFacts, ServerSpec},
    spec::{ContainerKind, ContainerSpec, ContainerTemplate, JobSpec, PodTemplate, Power},
    view::{JobRequest, LimitsRequest, ScaleRequest, UpgradeRequest},
};
use std::sync::Arc;

const NOW: Timestamp = Timestamp(1_000_000);

fn name(text: &str) -> Name {
    Name::parse("test", text).unwrap()
}

/// Two servers with 1G each, one lost, an image `web` and an image `bare` that names no program.
fn cluster() -> Snapshot {
    let mut snapshot = Snapshot { next_instance: 10, ..Snapshot::default() };
    snapshot.cluster = Some(Arc::new(api::spec::ClusterSpec {
        name: name("home"),
        domain: "internal".into(),
        range: "10.0.0.0/16".parse().unwrap(),
        server_prefix: 24,
        vni: 1,
        created: NOW,
    }));
    for number in 1..=3u16 {
        let server = ServerSpec {
            name: name(&format!("s{number}")),
            number,
            address: format!("192.0.2.{number}").parse().unwrap(),
            subnet: format!("10.0.{number}.0/24").parse().unwrap(),
            manager: number == 1,
            draining: false,
            labels: Default::default(),
            key_fingerprint: String::new(),
            facts: ServerFacts { cpu: api::Cpu(2000), memory: Bytes(1 << 30), ..ServerFacts::default() },
            joined: NOW,
        };
        let liveness = if number == 3 { Liveness::Lost } else { Liveness::Alive };
        snapshot.liveness.insert(server.name.clone(), liveness);
        snapshot.servers.insert(server.name.clone(), Arc::new(server));
    }
    for (image, command) in [("web", vec!["/bin/web".to_owned()]), ("bare", Vec::new())] {
        let config = api::image::ImageConfig { command, ..Default::default() };
        let digest = format!("sha256:{image}");
        let record = ImageRecord {
            name: format!("{image}:latest"),
            digest,
            size: Bytes(1),
            config,
            created: NOW,
            index: None,
            unusable: None,
        };
        snapshot.images.insert(record.name.clone(), Arc::new(record));
    }
    snapshot
}

fn template(image: &str, change: impl FnOnce(&mut PodTemplate)) -> PodTemplate {
    let text = format!(r#"{{"containers":[{{"name":"main","image":{{"name":"{image}"}}}}]}}"#);
    let mut template = serde_json::from_str(&text).unwrap();
    change(&mut template);
    template
}

fn lone(text: &str, template: PodTemplate) -> ContainerSpec {
    ContainerSpec {
        name: name(text),
        template: Arc::new(template),
        server: None,
        address: None,
        power: Power::On,
        restarts: 0,
        avoid: Vec::new(),
        hosts: Vec::new(),
        remove_on_exit: false,
        created: Timestamp(0),
    }
}

/// The cluster with a container `c1` on s1 at 10.0.1.9 that has port 80 of its server.
fn with_c1() -> Snapshot {
    let mut snapshot = cluster();
    let template = template("web", |t| t.publish.push(port(80)));
    let spec = container::create(&snapshot, ContainerSpec { server: Some(name("s1")), ..lone("c1", template) }, NOW).unwrap();
    let placement = Placement {
        id: api::InstanceId(1),
        slot: 0,
        server: name("s1"),
        address: "10.0.1.9".parse().unwrap(),
        revision: 0,
        wanted: Wanted::Run,
        placed: NOW,
        reason: String::new(),
    };
    snapshot.containers.insert(name("c1"), Arc::new(spec));
    let plan = ContainerPlan { placement: Some(placement), waiting: Vec::new() };
    snapshot.container_plans.insert(name("c1"), Arc::new(plan));
    snapshot
}

const fn port(host: u16) -> api::spec::PublishedPort {
    api::spec::PublishedPort { host, container: host, protocol: api::spec::Protocol::Tcp }
}

fn refused<T>(outcome: Result<T>) -> (Kind, String) {
    let Err(error) = outcome else { panic!("it was admitted") };
    (error.kind, std::iter::once(error.message).chain(error.details).collect::<Vec<_>>().join(" | "))
}

fn refuse(spec: ContainerSpec) -> (Kind, String) {
    refused(container::create(&with_c1(), spec, NOW))
}

#[test]
fn host_names_are_given_once_and_not_in_the_clusters_domain() {
    let with = |who: &str, host: &str| ContainerSpec { hosts: vec![host.to_owned()], ..lone(who, template("web", |_| {})) };
    let mut snapshot = cluster();
    let spec = container::create(&snapshot, with("blog", "blog.example"), NOW).unwrap();
    snapshot.containers.insert(name("blog"), Arc::new(spec));
    let refuse = |spec| refused(container::create(&snapshot, spec, NOW));
    let taken = "host name blog.example leads to container blog already";
    assert_eq!(refuse(with("other", "blog.example")), (Kind::Conflict, taken.into()));
    assert_eq!(refuse(with("other", "Blog.example")).0, Kind::Usage);
    let domain = snapshot.cluster.as_ref().map(|cluster| cluster.domain.clone()).unwrap();
    assert!(refuse(with("other", &format!("a.{domain}"))).1.contains("is in the cluster's own domain"));
    assert!(container::create(&snapshot, with("other", "www.blog.example"), NOW).is_ok());
}

#[test]
fn a_volume_has_a_name() {
    let mounted = |source: &str| {
        let mount = api::spec::Mount { source: source.to_owned(), target: "/data".to_owned(), read_only: false };
        lone("a", template("web", |t| t.containers[0].mounts.push(mount)))
    };
    assert!(container::create(&cluster(), mounted("blog.data"), NOW).is_ok());
    let says = "\"../etc\" of container main is not a volume's name: use 1 to 200 letters, digits and ._-";
    assert_eq!(refuse(mounted("../etc")), (Kind::Usage, says.into()));
}

#[test]
fn a_container_gets_its_digest() {
    let spec = container::create(&cluster(), lone("a", template("web", |_| {})), NOW).unwrap();
    assert_eq!(spec.template.containers[0].image.digest.as_deref(), Some("sha256:web"));
    assert_eq!(spec.created, NOW);
}

#[test]
fn containers_that_cannot_be_are_refused_with_one_sentence() {
    let plain = || lone("a", template("web", |_| {}));
    assert_eq!(refuse(lone("a", template("nope", |_| {}))), (Kind::NotFound, "no image nope in this cluster".into()));
    assert_eq!(refuse(lone("c1", template("web", |_| {}))), (Kind::Conflict, "there is a container c1 already".into()));
    let (kind, text) = refuse(lone("a", template("bare", |_| {})));
    assert_eq!((kind, text.as_str()), (Kind::Usage, "image bare names no program to run: give a command behind it"));
    let at = |address: &str, server: Option<&str>| ContainerSpec {
        address: Some(address.parse().unwrap()),
        server: server.map(name),
        ..plain()
    };
    let (kind, text) = refuse(at("10.9.9.9", Some("s1")));
    assert_eq!((kind, text.as_str()), (Kind::Usage, "address 10.9.9.9 is outside the subnet: use one of 10.0.1.0/24 on s1"));
    assert_eq!(refuse(at("10.0.1.1", None)).0, Kind::Usage);
    assert_eq!(refuse(at("10.0.1.9", None)), (Kind::Conflict, "address 10.0.1.9 is taken by c1".into()));
    assert_eq!(refuse(ContainerSpec { server: Some(name("s3")), ..plain() }), (Kind::NotPlaced, "server s3 is down".into()));
    assert_eq!(refuse(ContainerSpec { server: Some(name("s9")), ..plain() }), (Kind::NotFound, "no server s9".into()));
    let same_port = template("web", |t| t.publish.push(port(80)));
    assert_eq!(refuse(ContainerSpec { server: Some(name("s1")), ..lone("a", same_port) }).0, Kind::Conflict);
}

#[test]
fn what_has_no_room_is_refused_with_counts() {
    let big = template("web", |t| t.containers[0].limits.memory = Some(Bytes(64 << 30)));
    let (kind, text) = refuse(lone("big", big));
    assert_eq!(kind, Kind::NotPlaced);
    assert!(text.contains("not enough memory"), "{text}");
    assert!(text.contains("2 servers"), "{text}");
}

fn request(base: &str, count: i64) -> JobRequest {
    JobRequest {
        base: base.into(),
        name: None,
        count,
        template: Some(template(base, |_| {})),
        placement: Default::default(),
        update: Default::default(),
        dry_run: false,
    }
}

fn admitted() -> (Snapshot, JobSpec) {
    let mut snapshot = cluster();
    let spec = job::create(&snapshot, request("web", 2), NOW).unwrap();
    snapshot.jobs.insert(spec.name.clone(), Arc::new(spec.clone()));
    (snapshot, spec)
}

#[test]
fn jobs_take_their_base() {
    let (_, spec) = admitted();
    assert_eq!((spec.name.as_str(), spec.revision, spec.count), ("web", 1, 2));
    let of_container = job::create(&with_c1(), JobRequest { template: None, ..request("c1", 1) }, NOW).unwrap();
    assert_eq!(of_container.name.as_str(), "c1", "a job may have its base's name");
    assert_eq!(of_container.template.publish, [port(80)], "and takes its base's ports over");
    let (kind, text) = refused(job::create(&cluster(), request("nope", 1), NOW));
    assert_eq!((kind, text.as_str()), (Kind::NotFound, "no container and no image nope in this cluster"));
    let (kind, text) = refused(job::create(&cluster(), request("web", -1), NOW));
    assert_eq!((kind, text.as_str()), (Kind::Usage, "-1 is not a number of instances: use 0 to 100000"));
    let (snapshot, _) = admitted();
    assert_eq!(refused(job::create(&snapshot, request("web", 1), NOW)).0, Kind::Conflict);
}

#[test]
fn jobs_are_scaled_by_number_or_difference() {
    let (snapshot, spec) = admitted();
    let scale =
        |count, relative| job::scale(&snapshot, &spec, &ScaleRequest { count, relative, group: None, dry_run: false }, NOW);
    assert_eq!(scale(5, false).unwrap().count, 5);
    assert_eq!(scale(2, true).unwrap().count, 4);
    assert_eq!(scale(-1, true).unwrap().count, 1);
    assert_eq!(refused(scale(-3, true)).0, Kind::Usage);
    assert_eq!(refused(scale(600, false)).0, Kind::NotPlaced, "two subnets have no 600 addresses");
}

#[test]
fn upgrades_keep_a_bounded_history_and_rollbacks_find_it() {
    let (snapshot, mut spec) = admitted();
    let env = |value: &str| UpgradeRequest { env: [("V".to_owned(), value.to_owned())].into(), ..UpgradeRequest::default() };
    for n in 2..=20u32 {
        spec = job::upgrade(&snapshot, &spec, &env(&n.to_string()), NOW).unwrap();
        assert_eq!(spec.revision, n);
    }
    assert_eq!(spec.history.len(), JobSpec::HISTORY_MAX);
    let back = job::upgrade(&snapshot, &spec, &UpgradeRequest { rollback: Some(19), ..UpgradeRequest::default() }, NOW).unwrap();
    assert_eq!(back.template.containers[0].env["V"], "19");
    assert_eq!(back.revision, 21);
    let gone = UpgradeRequest { rollback: Some(2), ..UpgradeRequest::default() };
    assert_eq!(refused(job::upgrade(&snapshot, &spec, &gone, NOW)).0, Kind::NotFound);
    let (_, fresh) = admitted();
    let none = UpgradeRequest { rollback: Some(0), ..UpgradeRequest::default() };
    assert_eq!(refused(job::upgrade(&snapshot, &fresh, &none, NOW)).1, "job web has no earlier revision to go back to");
}

#[test]
fn images_are_found_by_name_tag_and_digest() {
    let snapshot = cluster();
    for text in ["web", "web:latest", "any@sha256:web"] {
        assert_eq!(image::find(&snapshot, text).unwrap().digest, "sha256:web", "{text}");
    }
    let error = image::find(&snapshot, "we").unwrap_err();
    assert_eq!(error.hint.as_deref(), Some("did you mean web:latest?"));
}

/// An image of `c1`: a snapshot when it is given a name.
fn of_c1(named: Option<&str>, digest: &str) -> ImageRecord {
    let mut config = api::image::ImageConfig { command: vec!["/bin/web".to_owned()], ..Default::default() };
    config.labels.insert(COMMIT_LABEL.to_owned(), "c1".to_owned());
    config.labels.extend(named.map(|named| (SNAPSHOT_LABEL.to_owned(), named.to_owned())));
    let name = match named {
        Some(named) => crate::commits::snapshot_name(&name("c1"), named),
        None => crate::commits::name_of("c1", digest),
    };
    ImageRecord { name, digest: digest.to_owned(), size: Bytes(1), config, created: NOW, index: None, unusable: None }
}

fn know(snapshot: &mut Snapshot, image: &ImageRecord) {
    snapshot.images.insert(image.name.clone(), Arc::new(image.clone()));
}

#[test]
fn a_job_of_a_container_is_made_of_its_image_and_finds_its_base_again() {
    let cluster = with_c1();
    let image = of_c1(None, "sha256:0123456789abcdef");
    assert_eq!(image.name, "commit/c1:0123456789ab");
    let mut seen = job::committed(&cluster, "c1", &image);
    let spec = job::create(&seen, JobRequest { template: None, ..request("c1", 1) }, NOW).unwrap();
    let used = &spec.template.containers[0].image;
    assert_eq!((used.name.as_str(), used.digest.as_deref()), (image.name.as_str(), Some(image.digest.as_str())));
    assert_eq!(cluster.containers["c1"].template.containers[0].image.name, "web", "the base stays as it is");
    let base = crate::commits::base_of(&seen, &spec.template).unwrap();
    assert_eq!(base.name.as_str(), "c1");
    // Made of the base afresh, it goes from one image to the other and back.
    let next = of_c1(None, "sha256:ffff");
    know(&mut seen, &next);
    let afresh = UpgradeRequest { image: Some(next.name.clone()), ..UpgradeRequest::default() };
    let spec = job::upgrade(&seen, &spec, &afresh, NOW).unwrap();
    assert_eq!((spec.revision, spec.template.containers[0].image.digest.as_deref()), (2, Some("sha256:ffff")));
    let back = UpgradeRequest { rollback: Some(0), ..UpgradeRequest::default() };
    let spec = job::upgrade(&seen, &spec, &back, NOW).unwrap();
    assert_eq!(spec.template.containers[0].image.digest.as_deref(), Some("sha256:0123456789abcdef"));
    // An image a person named is not looked at as a container's.
    assert_eq!(crate::commits::base_of(&seen, &template("web", |_| {})), None);
}

#[test]
fn what_containers_jobs_and_earlier_revisions_need_is_not_deleted() {
    let (mut cluster, mut spec) = admitted();
    let (old, new) = (of_c1(None, "sha256:01d"), of_c1(None, "sha256:0e3"));
    for image in [&old, &new] {
        know(&mut cluster, image);
    }
    assert_eq!(image::user(&cluster, &old), None);
    for image in [&old, &new] {
        let to = UpgradeRequest { image: Some(image.name.clone()), ..UpgradeRequest::default() };
        spec = job::upgrade(&cluster, &spec, &to, NOW).unwrap();
    }
    cluster.jobs.insert(spec.name.clone(), Arc::new(spec));
    assert_eq!(image::user(&cluster, &new).as_deref(), Some("job web"));
    assert_eq!(image::user(&cluster, &old).as_deref(), Some("job web"), "it may go back to it");
    // A snapshot of the same content: the name may go, the content may not.
    let snapshot = of_c1(Some("before"), &old.digest);
    know(&mut cluster, &snapshot);
    assert_eq!(image::user(&cluster, &snapshot), None);
    assert_eq!(image::needed_by(&cluster, &snapshot.digest).as_deref(), Some("job web"));
    let lone = with_c1();
    let web = lone.images["web:latest"].clone();
    assert_eq!(image::user(&lone, &web).as_deref(), Some("container c1"));
}

#[test]
fn snapshots_have_names_of_their_own() {
    let mut cluster = with_c1();
    let c1 = name("c1");
    assert_eq!(snapshot::name(&cluster, &c1, None).unwrap(), "snap0");
    for (named, digest) in [("snap0", "sha256:00"), ("before-upgrade", "sha256:01")] {
        know(&mut cluster, &of_c1(Some(named), digest));
    }
    know(&mut cluster, &of_c1(None, "sha256:02"));
    assert_eq!(snapshot::name(&cluster, &c1, None).unwrap(), "snap1");
    assert_eq!(refused(snapshot::name(&cluster, &c1, Some("snap0"))), (Kind::Conflict, "c1 has a snapshot snap0 already".into()));
    for bad in ["", "a b", "-x", ".x", "a/b", "a:b", &"x".repeat(65)] {
        assert_eq!(refused(snapshot::name(&cluster, &c1, Some(bad))).0, Kind::Usage, "{bad}");
    }
    let listed: Vec<_> = snapshot::of(&cluster, &c1).iter().filter_map(|record| record.snapshot()).collect();
    assert_eq!(listed, ["before-upgrade", "snap0"]);
    let error = snapshot::find(&cluster, &c1, "before").unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (Kind::NotFound, "c1 has no snapshot before"));
    assert_eq!(error.hint.as_deref(), Some("did you mean before-upgrade, snap0?"));
    assert_eq!(refused(snapshot::find(&cluster, &name("c9"), "x")), (Kind::NotFound, "no container c9".into()));
}

#[test]
fn a_restored_container_is_made_again_where_it_was() {
    let mut cluster = with_c1();
    let image = of_c1(Some("before"), "sha256:01");
    let spec = cluster.containers["c1"].clone();
    let fresh = snapshot::restored(&cluster, &spec, &image, NOW).unwrap();
    assert_eq!((fresh.server, fresh.address), (Some(name("s1")), Some("10.0.1.9".parse().unwrap())));
    assert_eq!(fresh.template.containers[0].image.digest.as_deref(), Some("sha256:01"));
    assert!(fresh.created > NOW, "later than its present instance, though the clock stood still");
    assert_eq!((fresh.power, fresh.template.publish.clone()), (Power::On, vec![port(80)]));
    let mut drained = cluster.clone();
    let s1 = ServerSpec { draining: true, ..cluster.servers["s1"].as_ref().clone() };
    drained.servers.insert(name("s1"), Arc::new(s1));
    assert_eq!(refused(snapshot::restored(&drained, &spec, &image, NOW)).0, Kind::NotPlaced);
    cluster.liveness.insert(name("s1"), Liveness::Lost);
    assert_eq!(refused(snapshot::restored(&cluster, &spec, &image, NOW)).1, "server s1 is down");
}

#[test]
fn a_container_is_a_system_when_that_is_asked_or_its_image_is_one_and_nothing_else_is_run() {
    let mut snapshot = cluster();
    let mut record = snapshot.images["bare:latest"].as_ref().clone();
    record.name = "whole:latest".to_owned();
    record.config.kind = ContainerKind::System;
    snapshot.images.insert(record.name.clone(), Arc::new(record));
    let kind = |image: &str, change: &dyn Fn(&mut ContainerTemplate)| {
        let template = template(image, |t| change(&mut t.containers[0]));
        container::create(&snapshot, lone("a", template), NOW).map(|spec| spec.template.containers[0].kind)
    };
    assert_eq!(kind("whole", &|_| ()), Ok(ContainerKind::System));
    assert_eq!(kind("whole", &|c| c.command = Some(vec!["sh".to_owned()])), Ok(ContainerKind::App));
    assert_eq!(kind("web", &|c| c.kind = ContainerKind::System), Ok(ContainerKind::System));
    assert_eq!(kind("whole", &|c| c.system.privileged = true), Ok(ContainerKind::System));
    let (kind_of, said) = refused(kind("web", &|c| c.system.nesting = true));
    assert!(kind_of == Kind::Usage && said.contains("add --type system"), "{said}");
    let (_, said) = refused(kind("whole", &|c| c.system.lxc = vec![("lxc.idmap".to_owned(), String::new())]));
    assert!(said.contains("lxc.idmap cannot be set"), "{said}");
}

#[test]
fn other_limits_need_room_where_the_container_is() {
    let snapshot = with_c1();
    let spec = &snapshot.containers["c1"];
    let ask = |memory: u64| LimitsRequest { memory: Some(Bytes(memory)), ..LimitsRequest::default() };
    let more = container::limits(&snapshot, spec, &ask(512 << 20), NOW).unwrap();
    assert_eq!(more.template.containers[0].limits.memory, Some(Bytes(512 << 20)));
    assert_eq!((more.created, &more.server, more.restarts), (spec.created, &spec.server, spec.restarts), "nothing else changes");
    let (kind, said) = refused(container::limits(&snapshot, spec, &ask(2 << 30), NOW));
    assert!(kind == Kind::NotPlaced && said.contains("cannot place c1"), "{said}");
    let (kind, said) = refused(container::limits(&snapshot, spec, &ask(1), NOW));
    assert!(kind == Kind::Usage && said.contains("too small"), "{said}");
}
