//! A world to plan for: servers whose agents do as they are told, and commands to change it, a line each.
//!
//! ```text
//! server s1 16G 4 disk=ssd        job web 6 memory=1G strategy=spread per=2 group=g require=disk:ssd avoid=db on=s1,s2
//! container c1 server=s1 port=80  scale web 8     upgrade web memory=2G     deljob web      rm c1
//! lose s2   away s2   back s2     drain s1        undrain s1     delserver s2
//! fail web/2   sick web/2   well web/2            bad web 3 fails|sick      tick 5s         settle
//! ```

use crate::{Proposal, apply, assignment, check, names, propose};
use api::{
    Bytes, Cpu, InstanceId, Name, Snapshot, Span, Timestamp,
    plan::{JobPlan, Placement, RolloutState, Wanted},
    report::{Health, InstanceReport, Phase, Report, ServerUsage},
    server::{Liveness, ServerFacts, ServerSpec},
    spec::*,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

/// Looks after which a world that has not come to rest never will.
const LOOKS_MAX: usize = 3_000;

#[derive(Clone)]
pub struct World {
    pub snapshot: Snapshot,
    pub now: Timestamp,
    pub notes: Vec<String>,
    /// What really is on each server.
    machines: BTreeMap<Name, BTreeMap<InstanceId, InstanceReport>>,
    /// Servers whose agent answers.
    up: BTreeSet<Name>,
    /// How new instances of a job's revision turn out.
    bad: HashMap<(Name, u32), Phase>,
    /// Instances whose fate a command has set.
    fates: BTreeMap<InstanceId, (Phase, Health)>,
}

pub fn name(text: &str) -> Name {
    Name::parse("test", text).unwrap()
}

pub fn world(commands: &str) -> World {
    let mut world = World {
        snapshot: Snapshot { next_instance: 1, ..Snapshot::default() },
        now: Timestamp(1_000_000),
        notes: Vec::new(),
        machines: BTreeMap::new(),
        up: BTreeSet::new(),
        bad: HashMap::new(),
        fates: BTreeMap::new(),
    };
    world.snapshot.cluster = Some(Arc::new(ClusterSpec {
        name: name("home"),
        domain: "internal".to_owned(),
        range: "10.0.0.0/16".parse().unwrap(),
        server_prefix: 24,
        vni: 7,
        created: world.now,
    }));
    world.run(commands);
    world
}

/// `memory=1G cpu=0.5 port=80,81` and the like.
struct Options<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Options<'a> {
    fn of(words: &[&'a str]) -> Self {
        Self(words.iter().filter_map(|word| word.split_once('=')).collect())
    }
    fn get(&self, key: &str) -> Option<&'a str> {
        self.0.iter().find(|(own, _)| *own == key).map(|(_, value)| *value)
    }
    fn list(&self, key: &str) -> Vec<&'a str> {
        self.get(key).into_iter().flat_map(|list| list.split(',')).collect()
    }
    fn number(&self, key: &str) -> Option<u32> {
        self.get(key).map(|value| value.parse().unwrap())
    }

    fn template(&self) -> PodTemplate {
        let container = ContainerTemplate {
            name: name("main"),
            image: ImageRef { name: self.get("image").unwrap_or("nginx").to_owned(), digest: None },
            kind: ContainerKind::App,
            entrypoint: None,
            command: None,
            env: BTreeMap::new(),
            user: None,
            workdir: None,
            mounts: Vec::new(),
            limits: Limits {
                memory: self.get("memory").map(|text| text.parse().unwrap()),
                cpu: self.get("cpu").map(|text| text.parse().unwrap()),
                pids: None,
            },
            health: None,
            restart: Restart::No,
            user_namespace: false,
            read_only: false,
            terminal: false,
            stdin: false,
            foreground: None,
            system: api::system::SystemRules::default(),
        };
        let port = |port: &str| PublishedPort { host: port.parse().unwrap(), container: 80, protocol: Protocol::Tcp };
        PodTemplate {
            containers: vec![container],
            publish: self.list("port").into_iter().map(port).collect(),
            stop_grace: default_grace(),
            drain_timeout: default_drain(),
            healthy_deadline: default_healthy(),
            labels: BTreeMap::new(),
        }
    }

    fn rules(&self) -> PlacementRules {
        let pair = |text: &str| text.split_once(':').map(|(key, value)| (key.to_owned(), value.to_owned())).unwrap();
        PlacementRules {
            strategy: match self.get("strategy") {
                Some("spread") => Strategy::Spread,
                Some("binpack") => Strategy::Binpack,
                _ => Strategy::Resource,
            },
            group: self.get("group").map(name),
            per_server: self.number("per"),
            require: self.list("require").into_iter().map(pair).collect(),
            avoid: self.list("avoid").into_iter().map(name).collect(),
            servers: self.list("on").into_iter().map(name).collect(),
        }
    }
}

impl World {
    /// Does as told, a line each.
    pub fn run(&mut self, commands: &str) -> &mut Self {
        for line in commands.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            self.command(words[0], &words[1..]);
        }
        self
    }

    fn command(&mut self, verb: &str, words: &[&str]) {
        let options = Options::of(words);
        match verb {
            "server" => self.server(words),
            "job" => self.job(words, &options),
            "container" => self.container(words[0], &options),
            "scale" => self.change(words[0], |job| job.count = words[1].parse().unwrap()),
            "group" => self.change(words[0], |job| job.placement.group = Some(name(words[1]))),
            "upgrade" => self.upgrade(words[0], options.template()),
            "deljob" => drop(self.snapshot.jobs.remove(words[0])),
            "rm" => drop(self.snapshot.containers.remove(words[0])),
            "delserver" => self.delete_server(words[0]),
            "lose" => self.liveness(words[0], Liveness::Lost),
            "away" => self.liveness(words[0], Liveness::AgentAway),
            "unknown" => self.liveness(words[0], Liveness::Unknown),
            "back" => self.liveness(words[0], Liveness::Alive),
            "drain" => self.draining(words[0], true),
            "undrain" => self.draining(words[0], false),
            "label" => self.label(words[0], words[1]),
            "fail" => self.fate(words[0], (Phase::Failed, Health::Starting)),
            "exit" => self.fate(words[0], (Phase::Exited, Health::Starting)),
            "sick" => self.fate(words[0], (Phase::Running, Health::Unhealthy)),
            "well" => self.fate(words[0], (Phase::Running, Health::Healthy)),
            "bad" => {
                let how = if words[2] == "fails" { Phase::Failed } else { Phase::Starting };
                self.bad.insert((name(words[0]), words[1].parse().unwrap()), how);
            }
            "tick" => self.now = self.now.after(words[0].parse().unwrap()),
            "look" => drop(self.look()),
            "settle" => self.settle(),
            other => panic!("no command {other}"),
        }
    }

    fn server(&mut self, words: &[&str]) {
        let number = u16::try_from(self.snapshot.servers.len() + 1).unwrap();
        let [high, low] = number.to_be_bytes();
        let spec = ServerSpec {
            name: name(words[0]),
            number,
            address: IpAddr::V4(Ipv4Addr::new(192, 168, high + 1, low)),
            subnet: format!("10.{high}.{low}.0/24").parse().unwrap(),
            manager: number == 1,
            draining: false,
            labels: words[3..]
                .iter()
                .map(|word| word.split_once('=').unwrap())
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .collect(),
            key_fingerprint: String::new(),
            facts: ServerFacts {
                memory: words[1].parse::<Bytes>().unwrap(),
                cpu: words[2].parse::<Cpu>().unwrap(),
                ..ServerFacts::default()
            },
            joined: self.now,
        };
        self.up.insert(spec.name.clone());
        self.machines.insert(spec.name.clone(), BTreeMap::new());
        self.snapshot.liveness.insert(spec.name.clone(), Liveness::Alive);
        self.snapshot.servers.insert(spec.name.clone(), Arc::new(spec));
    }

    fn job(&mut self, words: &[&str], options: &Options<'_>) {
        let spec = JobSpec {
            name: name(words[0]),
            count: words[1].parse().unwrap(),
            template: Arc::new(options.template()),
            revision: 1,
            history: Vec::new(),
            placement: options.rules(),
            update: UpdateRules {
                interval: options.get("interval").map_or(Span(0), |text| text.parse().unwrap()),
                parallel: options.number("parallel"),
            },
            created: self.now,
        };
        self.snapshot.jobs.insert(spec.name.clone(), Arc::new(spec));
    }

    fn container(&mut self, which: &str, options: &Options<'_>) {
        let spec = ContainerSpec {
            name: name(which),
            template: Arc::new(options.template()),
            server: options.get("server").map(name),
            address: options.get("ip").map(|ip| ip.parse().unwrap()),
            power: Power::On,
            restarts: 0,
            avoid: options.list("avoid").into_iter().map(name).collect(),
            hosts: options.list("host").into_iter().map(str::to_owned).collect(),
            remove_on_exit: options.get("rm").is_some(),
            created: self.now,
        };
        self.snapshot.containers.insert(spec.name.clone(), Arc::new(spec));
    }

    fn change(&mut self, job: &str, change: impl FnOnce(&mut JobSpec)) {
        let mut spec = self.snapshot.jobs[job].as_ref().clone();
        change(&mut spec);
        self.snapshot.jobs.insert(spec.name.clone(), Arc::new(spec));
    }

    fn upgrade(&mut self, job: &str, template: PodTemplate) {
        let until = self.now;
        self.change(job, |spec| {
            spec.history.push(JobRevision { revision: spec.revision, template: Arc::clone(&spec.template), until });
            if spec.history.len() > JobSpec::HISTORY_MAX {
                spec.history.remove(0);
            }
            spec.revision += 1;
            spec.template = Arc::new(template);
        });
    }

    fn delete_server(&mut self, server: &str) {
        self.snapshot.servers.remove(server);
        self.snapshot.reports.remove(server);
        self.snapshot.liveness.remove(server);
        self.machines.remove(server);
        self.up.remove(server);
    }

    fn liveness(&mut self, server: &str, liveness: Liveness) {
        self.snapshot.liveness.insert(name(server), liveness);
        match liveness {
            Liveness::Alive => drop(self.up.insert(name(server))),
            _ => drop(self.up.remove(server)),
        }
        if liveness == Liveness::Unknown {
            self.snapshot.reports.remove(server);
        }
    }

    fn draining(&mut self, server: &str, draining: bool) {
        let spec = ServerSpec { draining, ..self.snapshot.servers[server].as_ref().clone() };
        self.snapshot.servers.insert(spec.name.clone(), Arc::new(spec));
    }

    fn label(&mut self, server: &str, label: &str) {
        let mut spec = self.snapshot.servers[server].as_ref().clone();
        let (key, value) = label.split_once('=').unwrap();
        spec.labels.insert(key.to_owned(), value.to_owned());
        self.snapshot.servers.insert(spec.name.clone(), Arc::new(spec));
    }

    fn fate(&mut self, target: &str, fate: (Phase, Health)) {
        let id = match target.split_once('/') {
            Some((job, slot)) => {
                let placements = &self.snapshot.job_plans[job].placements;
                let own = placements.iter().filter(|one| one.slot.to_string() == slot && one.wanted == Wanted::Run);
                own.map(|one| one.id).max().unwrap()
            }
            None => self.snapshot.container_plans[target].placement.as_ref().unwrap().id,
        };
        self.fates.insert(id, fate);
        self.agents();
    }

    /// One look: proposes, checks the proposal with every law there is, applies it, and lets the agents work.
    pub fn look(&mut self) -> Proposal {
        let proposal = propose(&self.snapshot, self.now, 0);
        let next = apply(&self.snapshot, &proposal);
        let again = propose(&next, self.now, 0);
        if !again.is_empty() {
            let then = show(&apply(&next, &again));
            panic!("planning the result again changes it: {:?}\n{}---\n{}---\n{then}", again.notes, self.show(), show(&next));
        }
        let complaints = check(&next);
        assert!(complaints.is_empty(), "{complaints:#?}\n{}", show(&next));
        for (name, plan) in &proposal.jobs {
            self.forward_only(name, plan.as_ref());
        }
        self.snapshot = next;
        self.one_per_slot();
        self.notes.extend(proposal.notes.iter().map(|note| format!("{}: {}", note.name, note.message)));
        self.agents();
        self.one_per_slot();
        self.now = self.now.after(Span::millis(100));
        proposal
    }

    /// What is wanted of an instance moves forward only, and nothing else about it ever changes.
    fn forward_only(&self, job: &Name, plan: Option<&JobPlan>) {
        let Some(old) = self.snapshot.job_plans.get(job) else { return };
        for one in plan.iter().flat_map(|plan| &plan.placements) {
            if let Some(before) = old.placements.iter().find(|before| before.id == one.id) {
                assert!(before.wanted <= one.wanted, "{job}/{} goes back from {:?} to {:?}", one.slot, before.wanted, one.wanted);
                assert_eq!(Placement { wanted: before.wanted, ..one.clone() }, *before);
            }
        }
    }

    fn one_per_slot(&self) {
        let table = names(&self.snapshot);
        for (job, plan) in &self.snapshot.job_plans {
            let slot_of: HashMap<Ipv4Addr, u32> = plan.placements.iter().map(|one| (one.address, one.slot)).collect();
            let slots: Vec<u32> = table.names.get(job.as_str()).into_iter().flatten().map(|address| slot_of[address]).collect();
            assert!(slots.windows(2).all(|two| two[0] < two[1]), "{job} is answered by slots {slots:?}");
        }
    }

    /// Every agent that answers does a part of what it was told, and reports.
    fn agents(&mut self) {
        let table = Arc::new(names(&self.snapshot));
        for server in self.up.clone() {
            let told = assignment(&self.snapshot, &server, &table).unwrap();
            let jobs: HashMap<InstanceId, (Name, u32)> =
                self.snapshot.placements().map(|(name, one)| (one.id, (name.clone(), one.revision))).collect();
            let machine = self.machines.get_mut(&server).unwrap();
            machine.retain(|id, _| told.pods.contains_key(id));
            for (id, pod) in &told.pods {
                let bad = jobs.get(id).and_then(|job| self.bad.get(job)).copied();
                let before = machine.get(id).map(|report| report.phase);
                let (phase, health) = self
                    .fates
                    .get(id)
                    .copied()
                    .filter(|_| pod.wanted == Wanted::Run)
                    .unwrap_or_else(|| next(before, bad, pod.wanted));
                machine.insert(*id, report(phase, health));
            }
            let report = Report {
                applied: 1,
                server: server.clone(),
                generation: 0,
                instances: machine.clone(),
                images: Vec::new(),
                usage: ServerUsage::default(),
                problems: Vec::new(),
            };
            self.snapshot.take_report(Arc::new(report));
        }
    }

    /// Looks until nothing changes any more, waiting for what is due within two minutes.
    pub fn settle(&mut self) {
        let mut quiet = 0;
        for _ in 0..LOOKS_MAX {
            let before = self.snapshot.reports.clone();
            let proposal = self.look();
            let still = proposal.is_empty() && same(&before, &self.snapshot);
            quiet = if still { quiet + 1 } else { 0 };
            match proposal.look_again.filter(|_| still) {
                Some(due) if quiet < 40 => self.now = self.now.after(due),
                _ if quiet >= 2 => return,
                _ => {}
            }
        }
        panic!("it does not come to rest:\n{}", show(&self.snapshot));
    }

    /// Nothing that was broken is any more.
    pub fn heal(&mut self) {
        self.bad.clear();
        self.fates.clear();
        self.agents();
    }

    /// The instances of a job that answer.
    pub fn serving(&self, job: &str) -> usize {
        names(&self.snapshot).names.get(job).map_or(0, Vec::len)
    }

    pub fn plan(&self, job: &str) -> &JobPlan {
        static NONE: JobPlan = JobPlan { placements: Vec::new(), waiting: Vec::new(), rollout: None, failures: Vec::new() };
        self.snapshot.job_plans.get(job).map_or(&NONE, AsRef::as_ref)
    }

    /// Where a slot runs.
    pub fn server_of(&self, target: &str) -> Option<String> {
        let (job, slot) = target.split_once('/').unwrap();
        let own = self.plan(job).placements.iter().filter(|one| one.slot.to_string() == slot && one.wanted == Wanted::Run);
        own.max_by_key(|one| one.id).map(|one| one.server.to_string())
    }

    pub fn rollout(&self, job: &str) -> Option<RolloutState> {
        self.plan(job).rollout.as_ref().map(|rollout| rollout.state)
    }

    pub fn show(&self) -> String {
        show(&self.snapshot)
    }

    pub fn why(&self, target: &str) -> String {
        let why = crate::why(&self.snapshot, &target.parse().unwrap(), self.now);
        match why {
            Ok(why) => {
                let fix = why.fix.map(|fix| format!("fix: {fix}"));
                [vec![why.answer], why.facts.iter().map(|fact| format!("  {fact}")).collect(), fix.into_iter().collect()]
                    .concat()
                    .join("\n")
            }
            Err(error) => format!("error: {error}"),
        }
    }
}

fn same(before: &imbl::OrdMap<Name, Arc<Report>>, after: &Snapshot) -> bool {
    before
        .iter()
        .map(|(name, report)| (name, report.as_ref()))
        .eq(after.reports.iter().map(|(name, report)| (name, report.as_ref())))
}

/// The step an agent takes with an instance.
fn next(before: Option<Phase>, bad: Option<Phase>, wanted: Wanted) -> (Phase, Health) {
    match (before, wanted, bad) {
        (None, _, _) => (Phase::Starting, Health::Starting),
        (Some(Phase::Stopping | Phase::Exited), Wanted::Drain, _) => (Phase::Exited, Health::Starting),
        (Some(_), Wanted::Drain, _) => (Phase::Stopping, Health::Starting),
        (Some(_), _, Some(phase)) => (phase, Health::Starting),
        (Some(_), _, None) => (Phase::Running, Health::Healthy),
    }
}

pub fn report(phase: Phase, health: Health) -> InstanceReport {
    let failed = phase == Phase::Failed;
    InstanceReport {
        phase,
        health,
        message: failed.then(|| "its program ended with exit code 1".to_owned()),
        last_lines: if failed { vec!["nginx: [emerg] unknown directive".to_owned()] } else { Vec::new() },
        pid: None,
        started: None,
        exit_code: None,
        restarts: 0,
        limits: Vec::new(),
    }
}

/// The plan as text, a line each instance.
pub fn show(snapshot: &Snapshot) -> String {
    let mut out = String::new();
    for (job, plan) in &snapshot.job_plans {
        let mut placements: Vec<&Placement> = plan.placements.iter().collect();
        placements.sort_by_key(|one| (one.slot, one.id));
        for one in placements {
            let state = snapshot.report_of(one).map_or("-".to_owned(), |report| format!("{:?}", report.phase));
            let (id, slot, server) = (one.id, one.slot, &one.server);
            writeln!(out, "{job}/{slot} #{id} {server} r{} {:?} {state}", one.revision, one.wanted).unwrap();
        }
        for waiting in &plan.waiting {
            writeln!(out, "{job}/{} waits: {}", waiting.slot, waiting.reasons.join("; ")).unwrap();
        }
        if let Some(rollout) = &plan.rollout {
            writeln!(out, "{job} {} → {}: {:?}", rollout.from, rollout.to, rollout.state).unwrap();
        }
    }
    for (name, plan) in &snapshot.container_plans {
        match &plan.placement {
            Some(one) => {
                writeln!(out, "{name} {} {} {:?} {}", one.server, one.address, one.wanted, plan.waiting.join("; ")).unwrap()
            }
            None => writeln!(out, "{name} waits: {}", plan.waiting.join("; ")).unwrap(),
        }
    }
    out
}
