//! Server sessions: what each connected agent is told, whole and numbered, whenever it changes.

use crate::{Control, settled::Cut, world::World};
use api::{Name, assignment::Assignment};
use futures_util::{Stream, stream};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// Changes within this time of the last assignment go out together, so that a burst of reports is not a burst of assignments.
const GATHER: Duration = Duration::from_millis(5);
/// An assignment is repeated after this time without change, so that both sides notice a dead connection.
const REPEAT: Duration = Duration::from_secs(3);

struct Session {
    control: Control,
    server: Name,
    worlds: watch::Receiver<World>,
    last: Option<Assignment>,
}

/// Assignments for one server, from now on, until its record is gone.
pub fn assignments(control: Control, server: Name) -> impl Stream<Item = Arc<Assignment>> + Send {
    let worlds = control.world.listen();
    let session = Session { control, server, worlds, last: None };
    stream::unfold(session, |mut session| async move {
        let next = session.next().await?;
        Some((Arc::new(next), session))
    })
}

impl Session {
    async fn next(&mut self) -> Option<Assignment> {
        match self.last {
            Some(_) => tokio::time::sleep(GATHER).await,
            None => self.informed().await,
        }
        loop {
            let world = self.worlds.borrow_and_update().clone();
            let mut fresh = plan::assignment(&world.snapshot, &self.server, &world.names())?;
            match &self.last {
                Some(last) => {
                    fresh.generation = last.generation;
                    if fresh != *last {
                        return Some(self.number(fresh, &world));
                    }
                    self.control.cuts.note(&self.server, Cut { world: world.sequence, generation: last.generation });
                }
                None => return Some(self.number(fresh, &world)),
            }
            match tokio::time::timeout(REPEAT, self.worlds.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) => return self.last.clone(),
            }
        }
    }

    /// Waits until every server has been heard of, or is not going to be: until then names and routes would lack instances that serve,
    /// and an agent told so would cut connections that work.
    async fn informed(&mut self) {
        let informed = self.worlds.wait_for(|world| plan::informed(&world.snapshot));
        let _ = tokio::time::timeout(plan::liveness::START_GRACE.duration(), informed).await;
    }

    fn number(&mut self, mut fresh: Assignment, world: &World) -> Assignment {
        fresh.generation = self.control.leader.generation();
        self.control.cuts.note(&self.server, Cut { world: world.sequence, generation: fresh.generation });
        self.last = Some(fresh.clone());
        fresh
    }
}
