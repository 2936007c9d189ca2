//! Keeps the world in step with the store.

use crate::{Control, ControlError, world::World};
use store::{Event, Watch};

/// Reads everything, then follows.
pub async fn start(control: &Control) -> Result<(), ControlError> {
    let mut watch = control.store.watch("", 0).await?;
    step(control, &mut watch).await?;
    let control_task = control.clone();
    control.scope.component("mirror of the store", async move {
        loop {
            step(&control_task, &mut watch).await.map_err(|error| error.to_string())?;
        }
    });
    Ok(())
}

async fn step(control: &Control, watch: &mut Watch) -> Result<(), ControlError> {
    let event = watch.next().await?;
    control.world.change(|world| take(world, event))?;
    control.look.wake();
    Ok(())
}

/// One event of the store into the world. A start-over keeps the soft state, which the store does not hold.
fn take(world: &mut World, event: Event) -> Result<(), ControlError> {
    match event {
        Event::StartOver { revision, entries } => {
            let mut fresh = World::default();
            for entry in entries {
                fresh.take(&entry.key, Some((&entry.value, entry.revision)))?;
            }
            fresh.snapshot.revision = revision;
            fresh.snapshot.reports = std::mem::take(&mut world.snapshot.reports);
            fresh.snapshot.liveness = std::mem::take(&mut world.snapshot.liveness);
            fresh.snapshot.strays = std::mem::take(&mut world.snapshot.strays);
            fresh.sequence = world.sequence;
            *world = fresh;
        }
        Event::Changed { revision, puts, deletes } => {
            for entry in puts {
                world.take(&entry.key, Some((&entry.value, entry.revision)))?;
            }
            for key in deletes {
                world.take(&key, None)?;
                if let Some(server) = key.strip_prefix(api::key::SERVERS) {
                    world.snapshot.reports.remove(server);
                    world.snapshot.liveness.remove(server);
                    world.snapshot.strays.remove(server);
                }
            }
            world.snapshot.revision = revision;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::{Name, server::Liveness};

    #[test]
    #[allow(clippy::field_reassign_with_default, reason = "not all fields can be named here")]
    fn a_start_over_keeps_what_the_store_does_not_hold() {
        let server = Name::parse("server", "s1").unwrap();
        let mut world = World::default();
        world.sequence = 7;
        world.snapshot.liveness.insert(server.clone(), Liveness::Alive);
        world.snapshot.strays.insert(server.clone());
        take(&mut world, Event::StartOver { revision: 9, entries: Vec::new() }).unwrap();
        assert_eq!((world.snapshot.revision, world.sequence), (9, 7));
        assert_eq!(world.snapshot.liveness(&server), Liveness::Alive);
        assert!(world.snapshot.strays.contains(&server));
    }
}
