//! Builds: the client's archive goes to the agent of a server, with the cluster's images told in its first member.

use super::{Streamed, coming, write};
use crate::{Control, agents::explain, commits::Progress, proxy};
use api::{
    Error, Kind, Name, Result, Snapshot,
    build::{BLOCK, BuildRequest, MEMBER, member, member_size, padding},
    image::{ImageProgress, ImageRecord, normalise},
    path,
};
use axum::{
    body::Body as HttpBody,
    extract::{Query, State},
    http::Method,
};
use futures_util::TryStreamExt as _;
use schemars::JsonSchema;
use serde::Deserialize;
use std::io::Cursor;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio_util::io::StreamReader;
use wire::client::Lines;

/// Query of a build.
#[derive(Deserialize, JsonSchema)]
pub struct Building {
    /// On which server; the manager's own when absent.
    #[serde(default)]
    server: Option<Name>,
}

/// `POST /v1/images/build?server=`
pub async fn build(State(control): State<Control>, Query(query): Query<Building>, body: HttpBody) -> Streamed {
    let mut reader = StreamReader::new(body.into_data_stream().map_err(std::io::Error::other));
    let mut request = first(&mut reader).await?;
    let name = normalise(&request.name)?;
    let held = coming(&control).await;
    let snapshot = control.world.now().snapshot;
    let server = proxy::pick(&control, &snapshot, query.server.as_ref())?.name.clone();
    let agent = proxy::agent(&control, &snapshot, &server)?;
    request.images = images(&snapshot);
    let archive = Cursor::new(member(&crate::tokens::encode(&request)?)?).chain(reader);
    let target = format!("{}/build", path::IMAGES);
    let lines = agent.upload(Method::POST, &target, archive).await.map_err(|error| explain(&server, error))?;
    let (own, server) = (control.clone(), server);
    Ok(super::lines(&control, |progress| async move {
        let _held = held;
        let image = follow(lines, &server, &progress).await?;
        write(&own, ImageRecord { name, ..image }).await
    }))
}

/// The request, from the archive's first member.
async fn first(reader: &mut (impl AsyncRead + Unpin)) -> Result<BuildRequest> {
    let cut = |error: std::io::Error| Error::usage(format!("what was sent is no build: {error}"));
    let mut header = [0; BLOCK];
    reader.read_exact(&mut header).await.map_err(cut)?;
    let size = member_size(&header)?;
    let whole = usize::try_from(size + padding(size)).map_err(|error| Error::usage(error.to_string()))?;
    let mut content = vec![0; whole];
    reader.read_exact(&mut content).await.map_err(cut)?;
    let json = content.get(..usize::try_from(size).unwrap_or_default()).unwrap_or_default();
    serde_json::from_slice(json).map_err(|error| Error::usage(format!("what was sent is no build: {MEMBER}: {error}")))
}

/// Digests by name of what servers can run.
fn images(snapshot: &Snapshot) -> std::collections::BTreeMap<String, String> {
    let usable = snapshot.images.values().filter(|record| record.unusable.is_none());
    usable.map(|record| (record.name.clone(), record.digest.clone())).collect()
}

/// Passes on what the agent says. When nobody listens any more, the agent is no longer listened to, and so gives up.
async fn follow(mut lines: Lines<ImageProgress>, server: &Name, progress: &Progress) -> Result<ImageRecord> {
    loop {
        let line = tokio::select! {
            line = lines.next() => line,
            () = progress.closed() => return Err(Error::failed("the build was given up")),
        };
        let Some(line) = line else { break };
        match line.map_err(|error| explain(server, error))? {
            ImageProgress::Done { image } => return Ok(*image),
            ImageProgress::Failed { error } => return Err(error),
            line @ (ImageProgress::Step { .. } | ImageProgress::Output { .. }) => drop(progress.send(line).await),
            // Somebody who reads too slowly misses some, never the end.
            line => drop(progress.try_send(line)),
        }
    }
    Err(Error::new(Kind::Unreachable, format!("server {server} went away while it was building")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_member_is_read_and_the_rest_is_left() {
        let request = BuildRequest { name: "web".to_owned(), ..BuildRequest::default() };
        let bytes = [member(&serde_json::to_vec(&request).unwrap()).unwrap(), b"rest".to_vec()].concat();
        let mut reader = &bytes[..];
        assert_eq!(first(&mut reader).await.unwrap(), request);
        assert_eq!(reader, b"rest");
        let error = first(&mut &bytes[..100]).await.unwrap_err();
        assert!(error.message.starts_with("what was sent is no build"), "{error}");
    }
}
