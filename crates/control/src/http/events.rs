//! Events and explanations.

use super::Answer;
use crate::Control;
use api::{Target, Timestamp, event::Event, path, view::Why};
use axum::{
    Json, Router,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::{StreamExt, stream};
use schemars::JsonSchema;
use serde::Deserialize;

pub fn routes() -> Router<Control> {
    Router::new().route(path::EVENTS, get(events)).route(&format!("{}/{{target}}", path::WHY), get(why))
}

/// Query of the events.
#[derive(Deserialize, JsonSchema)]
pub struct Following {
    /// Send NDJSON, an event a line as they come, instead of one answer.
    #[serde(default)]
    follow: bool,
    /// Only events after this number.
    #[serde(default)]
    after: u64,
}

async fn events(State(control): State<Control>, Query(query): Query<Following>) -> Response {
    if !query.follow {
        return Json(control.events.after(query.after)).into_response();
    }
    let lines = stream::unfold((control.events, query.after), |(events, last)| async move {
        events.wait(last).await;
        let fresh: Vec<Event> = events.after(last);
        let last = fresh.last().map_or(last, |event| event.sequence);
        Some((stream::iter(fresh), (events, last)))
    });
    wire::server::ndjson(lines.flatten()).into_response()
}

async fn why(State(control): State<Control>, Path(target): Path<String>) -> Answer<Why> {
    let target: Target = target.parse()?;
    let snapshot = control.world.now().snapshot;
    Ok(Json(plan::why(&snapshot, &target, Timestamp(base::env::now_millis()))?))
}
