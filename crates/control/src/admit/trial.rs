//! The trial placement: would the planner find a place for it, as the cluster is now?

use api::{Error, Name, Result, Snapshot, Timestamp};
use plan::Proposal;

/// Plans a snapshot that has the new spec in it, and refuses when anything of `name` would have to wait. `before` slots waited already.
pub fn place(snapshot: &Snapshot, name: &Name, now: Timestamp) -> Result<Proposal> {
    let proposal = plan::propose(snapshot, now, 0);
    let job = proposal.jobs.iter().find(|(job, _)| job == name).and_then(|(_, plan)| plan.as_ref());
    if let Some(plan) = job
        && let Some(first) = plan.waiting.first()
    {
        let count = snapshot.jobs.get(name).map_or(0, |spec| spec.count);
        let mut error = Error::not_placed(format!("cannot place {} of {count} instances of {name}", plan.waiting.len()));
        error.details.clone_from(&first.reasons);
        return Err(error.hint("ask for less, or add a server: roost server add"));
    }
    let lone = proposal.containers.iter().find(|(container, _)| container == name).and_then(|(_, plan)| plan.as_ref());
    if let Some(plan) = lone
        && plan.placement.is_none()
        && !plan.waiting.is_empty()
    {
        let mut error = Error::not_placed(format!("cannot place {name}"));
        error.details.clone_from(&plan.waiting);
        return Err(error.hint("ask for less, or add a server: roost server add"));
    }
    Ok(proposal)
}
