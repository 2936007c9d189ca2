//! Random clusters and histories: whatever happens, every look keeps every law, and once nothing happens any more, as many
//! instances answer as there is room for.

use super::world::{World, world};
use api::{Name, plan::RolloutState, server::Liveness, spec::JobSpec};
use proptest::prelude::*;

const SERVERS: usize = 4;

fn events() -> impl Strategy<Value = Vec<String>> {
    let server = 1..=SERVERS;
    let job = prop::sample::select(vec!["a", "b", "c"]);
    let slot = 1u32..5;
    let event = prop_oneof![
        4 => (job.clone(), 0u32..9).prop_map(|(job, count)| format!("scale {job} {count}")),
        3 => (job.clone(), 1u32..4).prop_map(|(job, size)| format!("upgrade {job} memory={size}G")),
        1 => (job.clone(), 2u32..4).prop_map(|(job, revision)| format!("bad {job} {revision} fails")),
        1 => (job.clone(), 2u32..4).prop_map(|(job, revision)| format!("bad {job} {revision} hangs")),
        3 => (job.clone(), slot.clone()).prop_map(|(job, slot)| format!("fail {job}/{slot}")),
        2 => (job.clone(), slot).prop_map(|(job, slot)| format!("sick {job}/{slot}")),
        2 => server.clone().prop_map(|server| format!("lose s{server}")),
        1 => server.clone().prop_map(|server| format!("away s{server}")),
        1 => server.clone().prop_map(|server| format!("unknown s{server}")),
        3 => server.clone().prop_map(|server| format!("back s{server}")),
        2 => server.clone().prop_map(|server| format!("drain s{server}")),
        2 => server.prop_map(|server| format!("undrain s{server}")),
        1 => job.prop_map(|job| format!("deljob {job}")),
        1 => Just("container c1 memory=1G".to_owned()),
        1 => Just("rm c1".to_owned()),
        4 => (1u32..4000).prop_map(|wait| format!("tick {wait}ms")),
        8 => Just("look".to_owned()),
    ];
    prop::collection::vec(event, 1..40)
}

fn beginning() -> impl Strategy<Value = String> {
    let rules = prop::sample::select(vec!["", "per=2", "per=1", "strategy=spread", "strategy=binpack", "parallel=2", "avoid=c"]);
    (prop::collection::vec(4u32..12, SERVERS), prop::collection::vec((0u32..7, rules, prop::bool::ANY), 3)).prop_map(
        |(sizes, jobs)| {
            let servers = sizes.iter().enumerate().map(|(at, size)| format!("server s{} {size}G 8", at + 1));
            let jobs = jobs.iter().zip(["a", "b", "c"]).map(|((count, rules, group), job)| {
                // A group has one server, so its jobs stand apart from the rules for several.
                let rules = if *group && !rules.contains("avoid") { "group=g" } else { rules };
                format!("job {job} {count} memory=1G {rules}")
            });
            servers.chain(jobs).collect::<Vec<_>>().join("\n")
        },
    )
}

/// Commands about instances that are not there are left out, as a person could not give them.
fn possible(world: &World, event: &str) -> bool {
    let words: Vec<&str> = event.split_whitespace().collect();
    match words[0] {
        "scale" | "upgrade" => world.snapshot.jobs.contains_key(words[1]),
        "fail" | "sick" => {
            let (job, slot) = words[1].split_once('/').unwrap();
            let runs = |plan: &api::plan::JobPlan| {
                plan.placements.iter().any(|one| one.slot.to_string() == slot && one.wanted == api::plan::Wanted::Run)
            };
            world.snapshot.jobs.contains_key(job) && world.snapshot.job_plans.get(job).is_some_and(|plan| runs(plan))
        }
        "container" => !world.snapshot.containers.contains_key("c1"),
        _ => true,
    }
}

/// Would this server take one more instance of the job?
fn takes(world: &World, server: &Name, job: &JobSpec) -> bool {
    let snapshot = &world.snapshot;
    let spec = &snapshot.servers[server];
    let plan = &snapshot.job_plans[&job.name];
    let revision = crate::effective_revision(job, Some(plan));
    let template = crate::template_of(job, revision).unwrap();
    let reserved: u64 = snapshot
        .placements()
        .filter(|(_, one)| one.server == *server)
        .map(|(name, one)| match (snapshot.jobs.get(name), snapshot.containers.get(name)) {
            (Some(job), _) => crate::template_of(job, one.revision).map_or(0, |template| template.memory().0),
            (None, lone) => lone.map_or(0, |lone| lone.template.memory().0),
        })
        .sum();
    let here = |name: &Name| snapshot.placements().any(|(own, one)| own == name && one.server == *server);
    let apart = |other: &JobSpec| job.placement.avoid.contains(&other.name) || other.placement.avoid.contains(&job.name);
    let own = plan.placements.iter().filter(|one| one.server == *server).count();
    snapshot.liveness(server) == Liveness::Alive
        && !spec.draining
        && reserved + template.memory().0 <= spec.facts.memory.0
        && job.placement.per_server.is_none_or(|most| own < most as usize)
        && !snapshot.jobs.values().any(|other| other.name != job.name && apart(other) && here(&other.name))
}

/// Every slot of every job is answered, or waits because nobody takes it.
fn is_converged(world: &World) -> Result<(), String> {
    for (name, job) in &world.snapshot.jobs {
        let Some(plan) = world.snapshot.job_plans.get(name) else {
            return if job.count == 0 { Ok(()) } else { Err(format!("{name} has no plan")) };
        };
        let hopeless = plan.placements.iter().any(|one| !world.snapshot.serves(one));
        if world.serving(name.as_str()) + plan.waiting.len() < job.count as usize && !hopeless {
            return Err(format!("{name}: slots are neither answered nor waiting"));
        }
        let group = job.placement.group.is_some();
        if let Some(server) =
            world.snapshot.servers.keys().find(|server| !plan.waiting.is_empty() && !group && takes(world, server, job))
        {
            return Err(format!("{name} waits, and {server} would take it"));
        }
        if matches!(plan.rollout.as_ref().map(|rollout| rollout.state), Some(RolloutState::Running)) && plan.waiting.is_empty() {
            return Err(format!("the upgrade of {name} does not end"));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, max_shrink_iters: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn histories_converge_and_keep_every_law(start in beginning(), events in events()) {
        let mut world = world(&start);
        world.run("settle");
        for event in &events {
            if possible(&world, event) {
                world.run(event);
            }
        }
        // Everything comes back and nothing is broken any more: now there is no excuse.
        for server in 1..=SERVERS {
            world.run(&format!("back s{server}\nundrain s{server}"));
        }
        world.heal();
        world.run("settle");
        prop_assert_eq!(is_converged(&world), Ok(()), "after\n{}\n{}\n{}", start, events.join("\n"), world.show());
        for job in world.snapshot.jobs.clone().keys() {
            world.run(&format!("deljob {job}"));
        }
        world.run("rm c1\nsettle");
        prop_assert!(world.snapshot.job_plans.is_empty() && world.snapshot.container_plans.is_empty(), "{}", world.show());
        prop_assert!(world.snapshot.reports.values().all(|report| report.instances.is_empty()));
    }
}
