//! How fast the planner places: from an empty cluster to every instance of every job placed, under mixed constraints.
//!
//! `cargo bench -p plan`. Each size prints placements a second on one core; the checker reads the result of each. Time is
//! that of the processor, so that other work on the machine does not count.

use api::{
    Bytes, Cpu, Name, Snapshot, Span, Timestamp,
    plan::JobPlan,
    report::{Health, InstanceReport, Phase, Report, ServerUsage},
    server::{Liveness, ServerFacts, ServerSpec},
    spec::{
        ClusterSpec, ContainerTemplate, ImageRef, JobSpec, Limits, PlacementRules, PodTemplate, Restart, Strategy, UpdateRules,
        default_drain, default_grace, default_healthy,
    },
};
use criterion::{
    Criterion, Throughput, criterion_group, criterion_main,
    measurement::{Measurement, ValueFormatter, WallTime},
};
use std::{
    collections::BTreeMap,
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

const NOW: Timestamp = Timestamp(1_000_000);
/// Instances for each server, and of each job where there are many.
const PER_SERVER: usize = 10;
const PER_JOB: usize = 100;
/// Fewest jobs: strategies, constraints and their values come in 3, 7 and 4 kinds, so that every mixture is there at every size.
const JOBS_MIN: usize = 3 * 7 * 4;
/// Servers in all clusters of one size together: each size works through as much memory as the largest.
const SERVERS: usize = 10_000;

fn name(text: String) -> Name {
    match Name::parse("bench", &text) {
        Ok(name) => name,
        Err(error) => panic!("{error}"),
    }
}

/// Processor time of this thread in nanoseconds, as the kernel counts it (proc(5), `schedstat`).
struct ProcessorTime;

fn on_processor() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

impl Measurement for ProcessorTime {
    type Intermediate = u64;
    type Value = u64;

    fn start(&self) -> u64 {
        on_processor()
    }
    fn end(&self, start: u64) -> u64 {
        on_processor().saturating_sub(start)
    }
    fn add(&self, one: &u64, other: &u64) -> u64 {
        one + other
    }
    fn zero(&self) -> u64 {
        0
    }
    #[allow(clippy::cast_precision_loss)]
    fn to_f64(&self, value: &u64) -> f64 {
        *value as f64
    }
    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

/// Machines of three sizes in four zones, one in three with a fast disk.
fn server(index: usize) -> ServerSpec {
    let number = u16::try_from(index + 1).unwrap_or(u16::MAX);
    let size = [1, 2, 4][index % 3];
    let base = u32::from(Ipv4Addr::new(10, 0, 0, 0)) + (u32::from(number) << 8);
    let subnet = ipnet::Ipv4Net::new(Ipv4Addr::from(base), 24).unwrap_or_default();
    let mut labels = BTreeMap::from([("zone".to_owned(), format!("z{}", index % 4))]);
    if index.is_multiple_of(3) {
        labels.insert("disk".to_owned(), "fast".to_owned());
    }
    ServerSpec {
        name: name(format!("s{number}")),
        number,
        address: IpAddr::V4(Ipv4Addr::from(u32::from(Ipv4Addr::new(172, 16, 0, 0)) + u32::from(number))),
        subnet,
        manager: index == 0,
        draining: index % 97 == 96,
        labels,
        key_fingerprint: String::new(),
        facts: ServerFacts {
            memory: Bytes((size * 16) << 30),
            cpu: Cpu(u32::try_from(size).unwrap_or(1) * 8_000),
            ..ServerFacts::default()
        },
        joined: NOW,
    }
}

fn template(index: usize) -> PodTemplate {
    let limits = Limits {
        memory: [None, Some(256), Some(512), Some(1024), Some(2048)][index % 5].map(|megabytes| Bytes(megabytes << 20)),
        cpu: [None, Some(100), Some(250), Some(500)][index % 4].map(Cpu),
        pids: None,
    };
    let container = ContainerTemplate {
        name: name("main".to_owned()),
        image: ImageRef { name: "nginx".to_owned(), digest: None },
        kind: api::spec::ContainerKind::App,
        entrypoint: None,
        command: None,
        env: BTreeMap::new(),
        user: None,
        workdir: None,
        mounts: Vec::new(),
        limits,
        health: None,
        restart: Restart::No,
        user_namespace: false,
        read_only: false,
        terminal: false,
        stdin: false,
        foreground: None,
        system: api::system::SystemRules::default(),
    };
    PodTemplate {
        containers: vec![container],
        publish: Vec::new(),
        stop_grace: default_grace(),
        drain_timeout: default_drain(),
        healthy_deadline: default_healthy(),
        labels: BTreeMap::new(),
    }
}

/// Every strategy, and one constraint or none for each job: a limit per server, a zone, a disk, a stranger, a group.
fn rules(index: usize, (jobs, count): (usize, usize), servers: usize) -> PlacementRules {
    let mut rules = PlacementRules {
        strategy: [Strategy::Resource, Strategy::Spread, Strategy::Binpack][index % 3],
        ..PlacementRules::default()
    };
    match index % 7 {
        1 => rules.per_server = Some(2 + u32::try_from(count * 4 / servers).unwrap_or(0)),
        2 => drop(rules.require.insert("zone".to_owned(), format!("z{}", index % 4))),
        3 => drop(rules.require.insert("disk".to_owned(), "fast".to_owned())),
        4 if index + 7 < jobs => rules.avoid = vec![name(format!("job-{}", index + 7))],
        5 => rules.group = Some(name(format!("group-{index}"))),
        _ => {}
    }
    rules
}

fn job(index: usize, (jobs, count): (usize, usize), servers: usize) -> JobSpec {
    let rules = rules(index, (jobs, count), servers);
    JobSpec {
        name: name(format!("job-{index}")),
        // A group has one server: it is as small as fits on one; the others make up for it.
        count: if rules.group.is_some() { 5 } else { u32::try_from(count + count / 6).unwrap_or(u32::MAX) },
        template: Arc::new(template(index)),
        revision: 1,
        history: Vec::new(),
        placement: rules,
        update: UpdateRules::default(),
        created: NOW,
    }
}

fn cluster(servers: usize) -> Snapshot {
    let mut snapshot = Snapshot { next_instance: 1, ..Snapshot::default() };
    snapshot.cluster = Some(Arc::new(ClusterSpec {
        name: name("bench".to_owned()),
        domain: "internal".to_owned(),
        range: ipnet::Ipv4Net::new(Ipv4Addr::new(10, 0, 0, 0), 8).unwrap_or_default(),
        server_prefix: 24,
        vni: 7,
        created: NOW,
    }));
    for server in (0..servers).map(server) {
        snapshot.liveness.insert(server.name.clone(), Liveness::Alive);
        snapshot.servers.insert(server.name.clone(), Arc::new(server));
    }
    let jobs = (servers * PER_SERVER / PER_JOB).max(JOBS_MIN);
    let count = servers * PER_SERVER / jobs;
    for job in (0..jobs).map(|index| job(index, (jobs, count), servers)) {
        snapshot.jobs.insert(job.name.clone(), Arc::new(job));
    }
    snapshot
}

/// Every instance that is placed answers.
fn all_serve(mut snapshot: Snapshot) -> Snapshot {
    let serving = InstanceReport {
        phase: Phase::Running,
        health: Health::Healthy,
        message: None,
        last_lines: Vec::new(),
        pid: None,
        started: None,
        exit_code: None,
        restarts: 0,
        limits: Vec::new(),
    };
    let mut instances: BTreeMap<Name, BTreeMap<_, _>> =
        snapshot.servers.keys().map(|name| (name.clone(), BTreeMap::new())).collect();
    for (_, placement) in snapshot.placements() {
        instances.entry(placement.server.clone()).or_default().insert(placement.id, serving.clone());
    }
    for (server, instances) in instances {
        let (images, problems) = (Vec::new(), Vec::new());
        let report = Report {
            server: server.clone(),
            generation: 1,
            applied: 1,
            instances,
            images,
            usage: ServerUsage::default(),
            problems,
        };
        snapshot.reports.insert(server, Arc::new(report));
    }
    snapshot
}

fn placed(plans: &[(Name, Option<JobPlan>)]) -> usize {
    plans.iter().flat_map(|(_, plan)| plan).map(|plan| plan.placements.len()).sum()
}

fn placing(criterion: &mut Criterion<ProcessorTime>) {
    let mut group = criterion.benchmark_group("place");
    group.sample_size(10);
    for servers in [100, 1_000, 10_000] {
        let empty = cluster(servers);
        let proposal = plan::propose(&empty, NOW, 0);
        let count = placed(&proposal.jobs);
        let asked: u32 = empty.jobs.values().map(|job| job.count).sum();
        let full = plan::apply(&empty, &proposal);
        let complaints = plan::check(&full);
        assert!(complaints.is_empty(), "the checker complains: {complaints:#?}");
        eprintln!(
            "{servers} servers, {} jobs: {count} of {asked} instances placed; the checker finds nothing wrong",
            empty.jobs.len()
        );
        let clusters: Vec<Snapshot> = (0..SERVERS / servers).map(|_| cluster(servers)).collect();
        group.throughput(Throughput::Elements((count * clusters.len()) as u64));
        group.bench_function(format!("{servers}-servers"), |bencher| {
            let all = || clusters.iter().map(|cluster| plan::propose(cluster, NOW, 0)).collect::<Vec<_>>();
            bencher.iter_with_large_drop(|| black_box(all()));
        });
    }
    group.finish();
}

/// A look at a cluster where nothing changes; and one where a server is lost.
fn looking(criterion: &mut Criterion<ProcessorTime>) {
    let mut group = criterion.benchmark_group("look");
    group.sample_size(10);
    let empty = cluster(10_000);
    let full = plan::apply(&empty, &plan::propose(&empty, NOW, 0));
    let steady = all_serve(full);
    let later = NOW.after(Span::seconds(60));
    group.bench_function("10000-servers-unchanged", |bencher| bencher.iter(|| black_box(plan::propose(&steady, later, 0))));
    let mut lost = steady.clone();
    lost.liveness.insert(name("s5".to_owned()), Liveness::Lost);
    group.bench_function("10000-servers-one-lost", |bencher| bencher.iter(|| black_box(plan::propose(&lost, later, 0))));
    group.bench_function("10000-servers-names", |bencher| bencher.iter(|| black_box(plan::names(&steady))));
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(ProcessorTime);
    targets = placing, looking
}
criterion_main!(benches);
