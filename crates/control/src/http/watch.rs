//! Watching: the same answer again, whenever it has changed.

use crate::{Control, world::World};
use axum::response::Response;
use futures_util::stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Shortest time between two answers of one watch.
const PAUSE: Duration = Duration::from_millis(20);

/// Query of everything that can be watched.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub struct Watching {
    /// Send NDJSON, a line whenever the answer changes, instead of one answer.
    #[serde(default)]
    pub watch: bool,
}

/// NDJSON of `look`'s answers, each different from the one before; ends when there is no answer any more.
pub fn watch<T>(control: &Control, look: impl Fn(&World) -> Option<T> + Send + 'static) -> Response
where
    T: Serialize + PartialEq + Clone + Send + Sync + 'static,
{
    let worlds = control.world.listen();
    let state = (worlds, None::<T>, look);
    wire::server::ndjson(stream::unfold(state, |(mut worlds, last, look)| async move {
        if last.is_some() {
            tokio::time::sleep(PAUSE).await;
        }
        loop {
            let world = worlds.borrow_and_update().clone();
            let fresh = look(&world)?;
            if last.as_ref() != Some(&fresh) {
                return Some((fresh.clone(), (worlds, Some(fresh), look)));
            }
            worlds.changed().await.ok()?;
        }
    }))
}
