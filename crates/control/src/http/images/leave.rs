//! The ways out: to a registry, and as an archive.

use super::{Streamed, admit, ask_at};
use crate::{Control, agents::explain, proxy};
use api::{
    Error, Name, Result, Snapshot,
    image::ImageRecord,
    path,
    view::{ArchiveFormat, PushRequest},
};
use axum::{
    body::Body as HttpBody,
    extract::{Path, Query, Request, State},
    response::Response,
};
use futures_util::StreamExt as _;
use schemars::JsonSchema;
use serde::Deserialize;
use wire::server::Body;

/// A server that has the content: this one if it can be, since it has what was pushed as well.
fn holder(control: &Control, snapshot: &Snapshot, record: &ImageRecord) -> Result<Name> {
    let has = |server: &Name| snapshot.reports.get(server).is_some_and(|report| report.images.contains(&record.digest));
    if record.unusable.is_some() || has(&control.server) {
        return Ok(control.server.clone());
    }
    let alive = |server: &&Name| has(server) && crate::admit::container::present(snapshot, server).is_ok();
    let found = snapshot.reports.keys().find(alive).cloned();
    // One that was pushed a moment ago may not be unpacked yet.
    Ok(found.unwrap_or_else(|| control.server.clone()))
}

/// `POST /v1/images/push`
pub async fn push(State(control): State<Control>, Body(request): Body<PushRequest>) -> Streamed {
    let snapshot = control.world.now().snapshot;
    let record = admit::image::find(&snapshot, &request.image)?;
    let server = holder(&control, &snapshot, record)?;
    let request = PushRequest { image: record.target().to_owned(), ..request };
    let lines = ask_at(&control, (&snapshot, &server), "push", &request).await?;
    Ok(wire::server::ndjson_results(lines_of(lines).boxed()))
}

fn lines_of(
    lines: wire::client::Lines<api::image::ImageProgress>,
) -> impl futures_util::Stream<Item = Result<api::image::ImageProgress>> + Send + 'static {
    futures_util::stream::unfold(lines, |mut lines| async move { lines.next().await.map(|line| (line, lines)) })
}

/// How it leaves.
#[derive(Deserialize, JsonSchema)]
pub struct Export {
    /// Form of the archive.
    #[serde(default)]
    format: ArchiveFormat,
}

/// `GET /v1/images/{name}/export?format=`
pub async fn export(State(control): State<Control>, Path(name): Path<String>, Query(asked): Query<Export>) -> Streamed {
    let snapshot = control.world.now().snapshot;
    let record = admit::image::find(&snapshot, &name)?;
    let server = holder(&control, &snapshot, record)?;
    let format = match asked.format {
        ArchiveFormat::Oci => "oci",
        ArchiveFormat::DockerArchive => "docker-archive",
    };
    let (digest, name) = (record.target(), path::segment(&record.name));
    let target = format!("{}/{}/export?name={name}&format={format}", path::IMAGES, path::segment(digest));
    let request = Request::builder().uri(&target).body(HttpBody::empty());
    let request = request.map_err(|error| Error::failed(error.to_string()))?;
    let agent = proxy::agent(&control, &snapshot, &server)?;
    let answer: Response = agent.forward(request).await.map_err(|error| explain(&server, error))?;
    Ok(answer)
}
