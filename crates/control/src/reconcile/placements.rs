//! Makes the plan follow specs and reports: snapshot → [`plan::propose`] → one commit under the guard.

use crate::{Control, world::World};
use api::key;
use base::reconcile::Outcome;
use plan::Proposal;
use serde::Serialize;
use std::time::Duration;
use store::{Commit, Guard, StoreError, Write};

/// Looked at no later than this, whatever happens.
const PERIOD: Duration = Duration::from_secs(2);

/// Starts the reconciler.
pub fn start(control: &Control) {
    let (control_task, signal) = (control.clone(), control.look.clone());
    control.scope.component("planner", async move { base::reconcile::run(&signal, PERIOD, || look(&control_task)).await });
}

async fn look(control: &Control) -> Outcome {
    let world = control.world.now();
    let now = api::Timestamp(base::env::now_millis());
    let proposal = plan::propose(&world.snapshot, now, base::env::seed());
    let again = proposal.look_again.map_or(Outcome::Settled, |span| Outcome::Again(span.duration()));
    let commit = match commit(control, &world, &proposal) {
        Ok(commit) if commit.writes.is_empty() => return again,
        Ok(commit) => commit,
        Err(error) => {
            tracing::error!(%error, "plan cannot be written");
            return Outcome::Failed;
        }
    };
    match control.store.commit(commit).await {
        Ok(revision) => {
            for note in proposal.notes {
                control.events.note(note.noun, note.name, note.message);
            }
            control.world.reaches(revision).await;
            again
        }
        Err(StoreError::Refused { key, .. }) if key == key::LEADER => {
            tracing::error!("another manager leads now");
            control.scope.stop();
            Outcome::Failed
        }
        Err(StoreError::Refused { .. }) => Outcome::Again(Duration::ZERO),
        Err(error) => {
            tracing::error!(%error, "plan not committed");
            Outcome::Failed
        }
    }
}

/// The proposal as one commit, guarded by everything it was thought up from and writes to.
fn commit(control: &Control, world: &World, proposal: &Proposal) -> Result<Commit, serde_json::Error> {
    let mut guards = vec![control.leader.guard()];
    let mut writes = Vec::new();
    for (name, plan) in &proposal.jobs {
        guards.push(world.unchanged(&key::of(key::JOBS, name)));
        change(world, &mut guards, &mut writes, (key::of(key::JOB_PLANS, name), plan.as_ref()))?;
    }
    for (name, plan) in &proposal.containers {
        guards.push(world.unchanged(&key::of(key::CONTAINERS, name)));
        change(world, &mut guards, &mut writes, (key::of(key::CONTAINER_PLANS, name), plan.as_ref()))?;
    }
    for name in &proposal.remove_containers {
        let key = key::of(key::CONTAINERS, name);
        guards.push(world.unchanged(&key));
        writes.push(Write::Delete { key });
    }
    if proposal.next_instance != world.snapshot.next_instance {
        change(world, &mut guards, &mut writes, (key::NEXT_INSTANCE.to_owned(), Some(&proposal.next_instance)))?;
    }
    Ok(Commit { guards, writes })
}

fn change<T: Serialize>(
    world: &World,
    guards: &mut Vec<Guard>,
    writes: &mut Vec<Write>,
    (key, value): (String, Option<&T>),
) -> Result<(), serde_json::Error> {
    guards.push(world.unchanged(&key));
    writes.push(match value {
        Some(value) => Write::Put { key, value: serde_json::to_vec(value)?.into() },
        None => Write::Delete { key },
    });
    Ok(())
}
