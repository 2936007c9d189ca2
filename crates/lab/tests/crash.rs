//! The manager is killed at random moments while jobs are created, scaled and deleted: what it said yes to is there.
//!
//! `ROOST_CRASH_ROUNDS` is how often it is killed, `ROOST_CRASH_SEED` which moments and jobs.

#![allow(clippy::unwrap_used, reason = "what helps a test fails the test")]

use api::view::ContainerView;
use lab::{Lab, eventually, eventually_some};
use nix::sys::signal::Signal;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// Kills, when nobody says another number.
const ROUNDS: u64 = 25;
/// Longer than anything takes on a loaded machine.
const SOON: Duration = Duration::from_secs(60);
/// Jobs that come and go.
const JOBS: [&str; 4] = ["a", "b", "c", "d"];
/// Most instances of one.
const MOST: u64 = 4;

fn told(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A generator that anybody can repeat (splitmix64, Steele and others 2014).
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % most
    }
}

/// How many instances each job has, from the answers: after a yes one number, after silence the old or the new.
struct Model {
    jobs: BTreeMap<&'static str, BTreeSet<u64>>,
    acknowledged: u64,
    cut_off: u64,
}

/// How many instances a job has now, none when there is no such job; nothing while the manager does not say.
fn truth(lab: &Lab, name: &str) -> Option<u64> {
    let out = lab.roost(&["showjob", name, "-o", "json"]);
    match out.code {
        0 => Some(serde_json::from_str::<api::view::JobView>(&out.stdout).unwrap().spec.count.into()),
        3 => Some(0),
        _ => None,
    }
}

impl Model {
    fn new() -> Self {
        Self { jobs: JOBS.iter().map(|name| (*name, BTreeSet::from([0]))).collect(), acknowledged: 0, cut_off: 0 }
    }

    /// Looks what is true of a job, which must be one of what may be. Waits for a manager that says.
    fn settle(&mut self, lab: &Lab, name: &str) -> u64 {
        let is = eventually_some(SOON, "a manager that says what is true", || truth(lab, name));
        let may = self.jobs.get_mut(name).unwrap();
        assert!(may.contains(&is), "job {name} has {is} instances, but was acknowledged to have one of {may:?}");
        *may = BTreeSet::from([is]);
        is
    }

    /// One change of one job, typed, and what its answer means.
    fn change(&mut self, lab: &Lab, dice: &mut Dice) {
        let name = JOBS[usize::try_from(dice.below(JOBS.len() as u64)).unwrap()];
        let count = 1 + dice.below(MOST);
        let (line, new) = match (self.settle(lab, name), dice.below(3)) {
            (0, _) => (format!("addjob tiny {count} --name {name} --detach --stop-timeout 200ms -- /bin/sleep 600"), count),
            (_, 0) => (format!("deljob {name} --detach"), 0),
            _ => (format!("scalejob {name} {count} --detach"), count),
        };
        let out = lab.roost(&line.split(' ').collect::<Vec<_>>());
        let may = self.jobs.get_mut(name).unwrap();
        match out.code {
            0 => {
                *may = BTreeSet::from([new]);
                self.acknowledged += 1;
            }
            // Its predecessor is still going, which changes nothing; nor does what nobody heard.
            4 if out.stderr.contains("still being removed") => {}
            8 if out.stderr.contains("nobody listens") => {}
            // Cut off in the middle: it is true or not.
            1 | 8 => {
                may.insert(new);
                self.cut_off += 1;
            }
            code => panic!("{code} is no answer to this, with {may:?} possible\n{out}"),
        }
    }
}

fn twice<T: Ord + Clone>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let mut seen = BTreeSet::new();
    all.find(|one| !seen.insert(one.clone()))
}

/// No instance twice, in what the manager says.
fn unique(all: &[ContainerView]) {
    assert_eq!(twice(all.iter().filter_map(|one| one.id)), None, "an id twice: {all:?}");
    assert_eq!(twice(all.iter().filter_map(|one| one.address)), None, "an address twice: {all:?}");
    let runs = all.iter().filter(|one| one.wanted == Some(api::plan::Wanted::Run));
    assert_eq!(twice(runs.map(|one| one.name.as_str())), None, "a slot twice: {all:?}");
}

/// No instance twice, in what the kernel says: as many programs as the manager knows of.
fn programs(lab: &Lab) -> usize {
    let all = lab.servers().into_iter().flat_map(|server| lab.processes(&server));
    all.filter(|process| process.argv.first().is_some_and(|program| program == "/bin/sleep")).count()
}

#[test]
fn what_was_acknowledged_is_there_after_any_crash() {
    let (rounds, seed) = (told("ROOST_CRASH_ROUNDS").unwrap_or(ROUNDS), told("ROOST_CRASH_SEED").unwrap_or_else(base::env::seed));
    eprintln!("ROOST_CRASH_SEED={seed} ROOST_CRASH_ROUNDS={rounds}");
    let lab = Lab::with_tiny(3);
    // Every server has had a container, so that what stays of the first one is not taken for a trace.
    lab.ok(&["addjob", "tiny", "3", "--name", "first", "-r", "1", "--stop-timeout", "200ms", "--", "/bin/sleep", "600"]);
    lab.ok(&["deljob", "first"]);
    eventually(SOON, "the first job is gone", || lab.containers().is_empty() && programs(&lab) == 0);
    let before: Vec<_> = lab.servers().into_iter().map(|server| (lab.traces(&server), server)).collect();
    let mut model = Model::new();
    let mut dice = Dice(seed);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                model.change(&lab, &mut dice);
            }
            model
        });
        crash(&lab, rounds, Dice(seed ^ 1));
        done.store(true, Ordering::Relaxed);
        model_holds(&lab, &mut client.join().unwrap());
    });
    for job in lab.get::<Vec<api::view::JobView>>(&["listjobs"]) {
        lab.ok(&["deljob", job.spec.name.as_str()]);
    }
    eventually(SOON, "nothing is left in the plan", || lab.containers().is_empty());
    for (before, server) in before {
        before.gone(&lab, &server, SOON);
    }
}

/// Kills the manager so many times, each time at another moment of its life.
fn crash(lab: &Lab, rounds: u64, mut dice: Dice) {
    for _ in 0..rounds {
        let mut manager = None;
        eventually(SOON, "a manager to kill", || {
            manager = lab.own("s1", "manager");
            manager.is_some()
        });
        // A random moment is what is wanted here: from its first instructions to well in its work.
        std::thread::sleep(Duration::from_millis(dice.below(1000)));
        if let Some(manager) = manager.filter(lab::Process::alive) {
            manager.signal(Signal::SIGKILL);
        }
        let listed = lab.roost(&["ls", "-o", "json"]);
        if listed.code == 0 {
            unique(&serde_json::from_str::<Vec<ContainerView>>(&listed.stdout).unwrap());
        }
    }
}

fn model_holds(lab: &Lab, model: &mut Model) {
    let wanted: u64 = JOBS.iter().map(|name| model.settle(lab, name)).sum();
    let wanted = usize::try_from(wanted).unwrap();
    eprintln!("{} changes acknowledged, each of them there; {} cut off, each done or not", model.acknowledged, model.cut_off);
    assert!(model.acknowledged > 0);
    eventually(SOON, "as many programs as instances as asked for", || {
        let all = lab.containers();
        unique(&all);
        all.len() == wanted && programs(lab) == wanted
    });
}
