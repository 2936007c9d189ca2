//! Laws of placing, against slow and simple reckonings of the same thing.

use super::world::{name, world};
use crate::propose;
use api::{
    InstanceId, Name, Snapshot, Timestamp,
    plan::Placement,
    spec::{JobSpec, Strategy as Choice},
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// What a slow reckoning knows of a server.
#[derive(Clone, Debug)]
struct Plain {
    number: u16,
    memory: (u64, u64),
    cpu: (u64, u64),
    instances: u64,
    labels: BTreeMap<String, String>,
    of_job: BTreeMap<Name, u64>,
}

impl Plain {
    fn all(snapshot: &Snapshot) -> BTreeMap<Name, Self> {
        let plain = |spec: &api::server::ServerSpec| Self {
            number: spec.number,
            memory: (spec.facts.memory.0, spec.facts.memory.0),
            cpu: (u64::from(spec.facts.cpu.0), u64::from(spec.facts.cpu.0)),
            instances: 0,
            labels: spec.labels.clone(),
            of_job: BTreeMap::new(),
        };
        snapshot.servers.iter().map(|(name, spec)| (name.clone(), plain(spec))).collect()
    }

    fn takes(&self, job: &JobSpec) -> bool {
        let rules = &job.placement;
        let crowd = self.of_job.get(&job.name).copied().unwrap_or(0);
        job.template.memory().0 <= self.memory.0
            && u64::from(job.template.cpu().0) <= self.cpu.0
            && rules.per_server.is_none_or(|most| crowd < u64::from(most))
            && rules.require.iter().all(|(key, value)| self.labels.get(key) == Some(value))
            && rules.avoid.iter().all(|other| self.of_job.get(other).copied().unwrap_or(0) == 0)
    }

    fn share(&self) -> u64 {
        (self.memory.0 * 1_000_000 / self.memory.1).min(self.cpu.0 * 1_000_000 / self.cpu.1)
    }

    /// Smaller is better; the documented order of each strategy.
    fn score(&self, job: &JobSpec) -> (u64, u64, u64, u16) {
        let crowd = self.of_job.get(&job.name).copied().unwrap_or(0);
        let resource = (1_000_000 - self.share(), self.instances);
        match job.placement.strategy {
            Choice::Resource => (0, resource.0, resource.1, self.number),
            Choice::Spread => (crowd, resource.0, resource.1, self.number),
            Choice::Binpack if self.instances == 0 => (1, u64::MAX - self.memory.1, 0, self.number),
            Choice::Binpack => (0, self.memory.0, 0, self.number),
        }
    }

    fn put(&mut self, job: &JobSpec) {
        self.memory.0 -= job.template.memory().0;
        self.cpu.0 -= u64::from(job.template.cpu().0);
        self.instances += 1;
        *self.of_job.entry(job.name.clone()).or_default() += 1;
    }
}

fn clusters() -> impl Strategy<Value = String> {
    let server = (1u32..5, 1u32..5, 0u32..3).prop_map(|(memory, cpu, label)| format!("{}G {cpu} disk=d{label}", memory * 2));
    let rules = prop_oneof![
        Just(String::new()),
        (1u32..3).prop_map(|most| format!("per={most}")),
        (0u32..3).prop_map(|label| format!("require=disk:d{label}")),
        (0u32..6).prop_map(|other| format!("avoid=j{other}")),
    ];
    let strategy = prop::sample::select(vec!["resource", "spread", "binpack"]);
    let job = (0u32..8, 1u32..5, 0u32..9, strategy, rules).prop_map(|(count, memory, cpu, strategy, rules)| {
        let cpu = if cpu == 0 { String::new() } else { format!("cpu=0.{cpu}") };
        format!("{count} memory={}M {cpu} strategy={strategy} {rules}", memory * 512)
    });
    (prop::collection::vec(server, 1..9), prop::collection::vec(job, 1..6)).prop_map(|(servers, jobs)| {
        let servers = servers.iter().enumerate().map(|(at, server)| format!("server s{} {server}", at + 1));
        let jobs = jobs.iter().enumerate().map(|(at, job)| format!("job j{at} {job}"));
        servers.chain(jobs).collect::<Vec<_>>().join("\n")
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Each instance, in the order in which they were placed, is on the best of all servers that took it then; and one
    /// that waits was taken by none.
    #[test]
    fn every_choice_is_the_best_of_all(commands in clusters()) {
        let world = world(&commands);
        let proposal = propose(&world.snapshot, world.now, 0);
        let mut servers = Plain::all(&world.snapshot);
        let mut made: Vec<(&Name, &Placement)> = Vec::new();
        for (job, plan) in &proposal.jobs {
            made.extend(plan.iter().flat_map(|plan| &plan.placements).map(|one| (job, one)));
        }
        made.sort_by_key(|(_, one)| one.id);
        for (job, one) in made {
            let spec = &world.snapshot.jobs[job];
            let avoided: BTreeSet<&Name> = world.snapshot.jobs.values().filter(|other| other.placement.avoid.contains(job) && other.name != *job).map(|other| &other.name).collect();
            let taking = |plain: &Plain| {
                let mut careful = spec.as_ref().clone();
                careful.placement.avoid.retain(|other| other != job);
                plain.takes(&careful) && avoided.iter().all(|other| !plain.of_job.contains_key(*other))
            };
            let best = servers.iter().filter(|(_, plain)| taking(plain)).min_by_key(|(_, plain)| plain.score(spec)).map(|(name, _)| name.clone());
            prop_assert_eq!(best.as_ref(), Some(&one.server), "{} slot {} in\n{}", job, one.slot, &commands);
            servers.get_mut(&one.server).unwrap().put(spec);
        }
        for (job, plan) in &proposal.jobs {
            let spec = &world.snapshot.jobs[job];
            let mut alone = spec.as_ref().clone();
            alone.placement.avoid.clear();
            let strangers = |plain: &Plain| world.snapshot.jobs.values().any(|other| {
                let apart = other.placement.avoid.contains(job) || spec.placement.avoid.contains(&other.name);
                apart && other.name != *job && plain.of_job.contains_key(&other.name)
            });
            if plan.as_ref().is_some_and(|plan| !plan.waiting.is_empty()) {
                prop_assert!(servers.values().all(|plain| strangers(plain) || !plain.takes(&alone)), "{} waits in\n{}", job, &commands);
            }
        }
    }

    /// For one job, `binpack` uses as few servers as any distribution of its instances at all.
    #[test]
    fn binpack_uses_as_few_servers_as_possible(memory in prop::collection::vec((1u64..9, 0u64..4), 1..6), count in 1u32..9, ask in 1u64..4) {
        let mut commands = String::new();
        for (at, (size, used)) in memory.iter().enumerate() {
            commands += &format!("server s{} {size}G 64\n", at + 1);
            if (1..=*size).contains(used) {
                commands += &format!("container c{at} server=s{} memory={used}G\n", at + 1);
            }
        }
        let mut world = world(&commands);
        world.run(&format!("settle\njob web {count} memory={ask}G strategy=binpack\nsettle"));
        let free = |(size, used): &(u64, u64)| if (1..=*size).contains(used) { (size - used) / ask } else { size / ask };
        let places: Vec<u64> = memory.iter().map(free).collect();
        let in_use: Vec<bool> = memory.iter().map(|(size, used)| (1..=*size).contains(used)).collect();
        let wanted = u64::from(count).min(places.iter().sum());
        prop_assert_eq!(world.serving("web") as u64, wanted);
        // Every set of servers, those in use already always among them.
        let enough = (0u32..1 << places.len()).filter(|set| {
            let chosen = |at: usize| set >> at & 1 == 1;
            (0..places.len()).all(|at| chosen(at) || !in_use[at]) && (0..places.len()).filter(|at| chosen(*at)).map(|at| places[at]).sum::<u64>() >= wanted
        });
        let fewest = enough.map(u32::count_ones).min().unwrap();
        let used: BTreeSet<&Name> = world.snapshot.placements().map(|(_, one)| &one.server).collect();
        prop_assert_eq!(used.len(), fewest as usize, "{}", world.show());
    }

    /// For several jobs, it uses no more than a best fit that looks at every server each time, the largest first.
    #[test]
    fn binpack_is_as_good_as_an_exhaustive_best_fit(sizes in prop::collection::vec(2u64..9, 1..7), jobs in prop::collection::vec((1u32..5, 1u64..8), 1..5)) {
        let mut commands: String = sizes.iter().enumerate().map(|(at, size)| format!("server s{} {size}G 64\n", at + 1)).collect();
        for (at, (count, half)) in jobs.iter().enumerate() {
            commands += &format!("job j{at} {count} memory={}M strategy=binpack\n", half * 512);
        }
        let mut world = world(&commands);
        world.run("settle");
        let used: BTreeSet<&Name> = world.snapshot.placements().map(|(_, one)| &one.server).collect();
        let mut items: Vec<u64> = jobs.iter().flat_map(|(count, half)| vec![half * 512; *count as usize]).collect();
        items.sort_by_key(|item| std::cmp::Reverse(*item));
        let mut free: Vec<(bool, u64)> = sizes.iter().map(|size| (false, size * 1024)).collect();
        let mut placed = 0;
        for item in items {
            let tightest = free.iter_mut().filter(|(_, free)| *free >= item).min_by_key(|(used, free)| (!*used, if *used { *free } else { u64::MAX - *free }));
            if let Some(server) = tightest {
                *server = (true, server.1 - item);
                placed += 1;
            }
        }
        prop_assert_eq!(world.snapshot.placements().count(), placed);
        prop_assert!(used.len() <= free.iter().filter(|(used, _)| *used).count(), "{}", world.show());
    }

    /// Addresses stay inside, are never twice, and ids are never used again.
    #[test]
    fn addresses_and_ids_are_unique(counts in prop::collection::vec(0u32..40, 1..12)) {
        let mut world = world("server s1 64G 64\nserver s2 64G 64\njob web 0");
        let mut last = InstanceId(0);
        for count in counts {
            world.run(&format!("scale web {count}\nlook\nlook"));
            let newest = world.plan("web").placements.iter().map(|one| one.id).max().unwrap_or(last);
            prop_assert!(newest <= InstanceId(world.snapshot.next_instance));
            last = newest.max(last);
        }
    }
}

/// A tenth as many jobs as servers, of a hundred instances each, with every strategy and most rules.
fn mixed(servers: usize) -> Snapshot {
    let mut world = world("");
    for at in 1..=servers {
        let (size, disk) = ([16, 32, 64][at % 3], ["fast", "slow"][usize::from(!at.is_multiple_of(3))]);
        world.run(&format!("server s{at} {size}G {} zone=z{} disk={disk}", size / 2, at % 4));
    }
    for at in 0..servers / 10 {
        let strategy = ["resource", "spread", "binpack"][at % 3];
        let room = ["", "memory=256M cpu=0.1", "memory=1G", "cpu=0.5", "memory=2G cpu=1"][at % 5];
        let rule = match at % 6 {
            1 => "per=5".to_owned(),
            2 => format!("require=zone:z{}", at % 4),
            3 => "require=disk:fast".to_owned(),
            4 => format!("avoid=j{}", at + 6),
            _ => String::new(),
        };
        let (count, rule) = if at % 7 == 6 { (5, format!("group=g{at}")) } else { (100, rule) };
        world.run(&format!("job j{at} {count} strategy={strategy} {room} {rule}"));
    }
    world.snapshot
}

/// A placement looks at a few servers, and at no more of them in a cluster a hundred times as large than the logarithm allows.
#[test]
fn a_placement_does_not_look_at_every_server() {
    let per_placement = |servers: usize| {
        let (looks, placed) = crate::propose::effort(&mixed(servers), Timestamp(1_000_000));
        assert!(placed as usize > servers * 8, "{placed} placed on {servers}");
        looks as f64 / placed as f64
    };
    let (small, large) = (per_placement(100), per_placement(10_000));
    assert!(large < 20.0 && large <= small * 2.0, "{small:.1} looks per placement among 100 servers, {large:.1} among 10,000");
}

#[test]
fn instances_of_one_proposal_carry_its_time() {
    let world = world("server s1 8G 4\njob web 3");
    let proposal = propose(&world.snapshot, Timestamp(5), 0);
    let plan = proposal.jobs[0].1.as_ref().unwrap();
    assert!(
        plan.placements.iter().all(|one| one.placed == world.snapshot.jobs["web"].created),
        "a clock set back makes nobody a predecessor"
    );
    assert_eq!(proposal.jobs[0].0, name("web"));
}
