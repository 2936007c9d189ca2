//! Committing what was admitted: read a world, decide, commit under the guard of what was read; think again when it moved.

use crate::{
    Control, liveness,
    tokens::{encode, failed},
    world::World,
};
use api::{Error, Name, Result, Snapshot, view::Changed};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use store::{Commit, Guard, StoreError, Write};
use tokio::time::timeout;

/// Times a change is thought over again because the store moved under it.
const TRIES: usize = 20;

/// Longest wait for the world to follow the store before a change is thought over again.
const MIRROR_LAG: Duration = Duration::from_millis(200);

/// The planner looks at a change within milliseconds; who waits for that waits no longer than this.
const PLANNED: Duration = Duration::from_secs(5);

/// Query of every change whose request has no place for it.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
pub struct Trying {
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Query of a removal that may be refused because of what is still there.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
pub struct Removal {
    /// Remove it even so: a container that runs, a server that holds containers.
    #[serde(default)]
    pub force: bool,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a decision comes to.
#[derive(Default)]
pub struct Decision {
    /// What it rests on.
    pub guards: Vec<Guard>,
    /// What to write.
    pub writes: Vec<Write>,
    /// For people, a line each.
    pub summary: Vec<String>,
    /// Nothing has to be written after all.
    pub unchanged: bool,
}

impl Decision {
    /// A decision with this to say.
    pub fn saying(line: impl Into<String>) -> Self {
        Self { summary: vec![line.into()], ..Self::default() }
    }

    /// Nothing has to be done.
    pub fn unchanged(line: impl Into<String>) -> Self {
        Self { unchanged: true, ..Self::saying(line) }
    }

    /// Writes a value, on condition that the key is as in `world`.
    pub fn put<T: Serialize>(mut self, world: &World, key: String, value: &T) -> Result<Self> {
        self.guards.push(world.unchanged(&key));
        self.writes.push(Write::Put { key, value: encode(value)? });
        Ok(self)
    }

    /// Deletes a key, on condition that it is as in `world`.
    pub fn delete(mut self, world: &World, key: String) -> Self {
        self.guards.push(world.unchanged(&key));
        self.writes.push(Write::Delete { key });
        self
    }
}

/// The cluster once its servers have had time to be heard after a start, so that nothing is refused for want of news.
pub async fn settled(control: &Control) -> Snapshot {
    let _ = liveness::settled(control).await;
    control.world.now().snapshot
}

/// Waits until the planner has looked at a container that has just been made: the next command asks for it where it is.
pub async fn planned(control: &Control, name: &Name) {
    let known = |world: &World| {
        let plan = world.snapshot.container_plans.get(name);
        let looked = plan.is_some_and(|plan| plan.placement.is_some() || !plan.waiting.is_empty());
        looked || !world.snapshot.containers.contains_key(name)
    };
    let _ = timeout(PLANNED, control.world.listen().wait_for(known)).await;
}

/// Decides on the world as it is, and commits; again from the start when somebody was quicker. The answer comes when the change is
/// durable and visible in the world.
pub async fn change(control: &Control, dry_run: bool, decide: impl Fn(&World) -> Result<Decision>) -> Result<Changed> {
    let _ = liveness::settled(control).await;
    for _ in 0..TRIES {
        let world = control.world.now();
        let decision = decide(&world)?;
        let summary = decision.summary;
        if dry_run || decision.unchanged {
            return Ok(Changed { revision: 0, unchanged: decision.unchanged, summary });
        }
        match control.store.commit(Commit { guards: decision.guards, writes: decision.writes }).await {
            Ok(revision) => {
                control.world.reaches(revision).await;
                control.look.wake();
                return Ok(Changed { revision, unchanged: false, summary });
            }
            Err(StoreError::Refused { .. }) => {
                let moved = control.world.reaches(world.snapshot.revision + 1);
                let _ = timeout(MIRROR_LAG, moved).await;
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Err(Error::conflict("it kept changing while this was tried").hint("repeat the command"))
}
