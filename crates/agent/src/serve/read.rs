//! Logs, signals, use, and content for other servers.

use super::{Asked, Instance, Shared};
use crate::{engine::Inner, exec, logs};
use api::{
    error::Error,
    name::InstanceId,
    report::{InstanceStats, Phase},
    stream::{LogLine, LogQuery},
};
use axum::{
    Json,
    extract::{Path, State},
    response::Response,
};
use base::supervise::Scope;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::mpsc;
use wire::server::{ApiError, ndjson, received};

/// A log that is followed is looked at this often.
const FOLLOW: Duration = Duration::from_millis(100);
/// Lines on their way to a reader.
const LINES: usize = 256;

/// `GET …/logs`
pub async fn logs(State(inner): Shared, Instance(id): Instance, Asked(query): Asked<LogQuery>) -> Result<Response, ApiError> {
    let container = super::container(&inner, id, query.container.clone())?;
    let directory = inner.drivers.inspect.log_directory(id);
    let opened = query.clone();
    let reader = Scope::blocking(move || logs::Reader::open(&directory, &container, &opened)).await.map_err(Error::failed)?;
    let reader = reader.map_err(|error| Error::failed(format!("log of instance {id}: {error}")))?;
    let (sender, receiver) = mpsc::channel(LINES);
    let scope = inner.scope.clone();
    scope.job(async move { send(&inner, id, (reader, query.follow), sender).await });
    Ok(ndjson(received(receiver)))
}

/// Nothing follows what its log holds now: it is gone, or its program has ended and nothing but a person starts it again.
fn is_over(inner: &Inner, id: InstanceId) -> bool {
    let state = inner.lock();
    let phase = state.pods.get(&id).map(|pod| state.phase(id, pod, base::env::timer()));
    matches!(phase, None | Some(Phase::Exited | Phase::Failed))
}

/// Until the end, or for one that follows until nothing more can come or its reader is gone.
async fn send(inner: &Arc<Inner>, id: InstanceId, (mut reader, follow): (logs::Reader, bool), to: mpsc::Sender<LogLine>) {
    loop {
        let over = is_over(inner, id);
        let Some(back) = drain(reader, &to).await else { return };
        reader = back;
        if over || !follow {
            return;
        }
        tokio::select! {
            () = to.closed() => return,
            () = tokio::time::sleep(FOLLOW) => {}
        }
    }
}

/// Sends what is there now and hands the reader back; None when nobody listens or nothing can be read any more.
pub async fn drain(mut reader: logs::Reader, to: &mpsc::Sender<LogLine>) -> Option<logs::Reader> {
    loop {
        let (lines, back) = Scope::blocking(move || (reader.lines(), reader)).await.ok()?;
        let lines = lines.ok()?;
        if lines.is_empty() {
            return Some(back);
        }
        for line in lines {
            to.send(line).await.ok()?;
        }
        reader = back;
    }
}

/// `POST …/signal/{n}`, by number or name.
pub async fn signal(
    State(inner): Shared,
    Instance(id): Instance,
    Path((_, text)): Path<(String, String)>,
) -> Result<Json<()>, ApiError> {
    let number =
        base::signals::number(&text).ok_or_else(|| Error::usage(format!("{text:?} is not a signal: as in SIGTERM or 15")))?;
    let runtime = exec::runtime(&inner, id)?;
    let sent = Scope::blocking(move || runtime.signal(id, number)).await.map_err(Error::failed)?;
    sent.map(Json).map_err(|error| ApiError(Error::failed(error.message)))
}

/// `GET /v1/stats`: of every instance that runs.
pub async fn stats(State(inner): Shared) -> Result<Json<BTreeMap<InstanceId, InstanceStats>>, ApiError> {
    let ids: Vec<InstanceId> = inner.lock().pods.iter().filter(|(_, pod)| pod.is_up()).map(|(id, _)| *id).collect();
    let all = Scope::blocking(move || ids.into_iter().filter_map(|id| Some((id, usage(&inner, id)?))).collect()).await;
    Ok(Json(all.map_err(Error::failed)?))
}

fn usage(inner: &Inner, id: InstanceId) -> Option<InstanceStats> {
    let mut stats = inner.drivers.inspect.stats(id).ok()?;
    if let Ok((received, sent)) = inner.drivers.network.traffic(id) {
        (stats.received.0, stats.sent.0) = (received, sent);
    }
    Some(stats)
}
