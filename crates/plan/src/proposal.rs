//! What one look came to, as a value: which plans change, and how.

use api::{
    Name, Snapshot, Span,
    event::Noun,
    plan::{ContainerPlan, JobPlan},
};
use std::sync::Arc;

/// Everything the planner wants written, from one look. Empty when nothing has to change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proposal {
    /// New plans of jobs. None: delete the plan, because the job is gone and so are its instances.
    pub jobs: Vec<(Name, Option<JobPlan>)>,
    /// New plans of lone containers. None: delete the plan.
    pub containers: Vec<(Name, Option<ContainerPlan>)>,
    /// `run --rm` containers whose program ended: their specs go too.
    pub remove_containers: Vec<Name>,
    /// The next free instance id, once this is written.
    pub next_instance: u64,
    /// What happens, for people.
    pub notes: Vec<Note>,
    /// Time after which something may be due though nothing was reported: a deadline, a back-off, an interval.
    pub look_again: Option<Span>,
}

/// One line for the events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// To what kind of thing.
    pub noun: Noun,
    /// To which one.
    pub name: String,
    /// What, in words: `web/2 → s1, web/5 → s3: s2 lost`.
    pub message: String,
}

impl Proposal {
    /// Nothing has to be written.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.containers.is_empty() && self.remove_containers.is_empty()
    }
}

/// The snapshot as it will be once the proposal is written: for tests, the checker and dry runs.
pub fn apply(snapshot: &Snapshot, proposal: &Proposal) -> Snapshot {
    let mut next = snapshot.clone();
    for (name, plan) in &proposal.jobs {
        match plan {
            Some(plan) => next.job_plans.insert(name.clone(), Arc::new(plan.clone())),
            None => next.job_plans.remove(name),
        };
    }
    for (name, plan) in &proposal.containers {
        match plan {
            Some(plan) => next.container_plans.insert(name.clone(), Arc::new(plan.clone())),
            None => next.container_plans.remove(name),
        };
    }
    for name in &proposal.remove_containers {
        next.containers.remove(name);
    }
    next.next_instance = proposal.next_instance;
    next
}
