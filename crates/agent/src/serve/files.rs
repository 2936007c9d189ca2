//! `cp`: archives out of and into containers, streamed through a thread each way.

use super::{Asked, Instance, PIECES, Shared};
use crate::{
    archive::{Root, Source, pack, unpack},
    engine::Inner,
    prepare,
};
use api::{
    error::{Error, Result},
    name::{InstanceId, Name},
    stream::ArchiveQuery,
};
use axum::{
    Json,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use base::supervise::Scope;
use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use http::header;
use std::{
    io::{self, BufWriter, Read, Write},
    sync::Arc,
};
use tokio::sync::mpsc;
use wire::server::{ApiError, received};

/// Bytes sent together.
const PIECE: usize = 64 * 1024;

/// `GET …/archive?path=`
pub async fn get(State(inner): Shared, Instance(id): Instance, Asked(place): Asked<ArchiveQuery>) -> Result<Response, ApiError> {
    let source = Scope::blocking(move || {
        Source::find(&root(&inner, id, place.container.as_ref())?, &place.path).map(|source| (inner, source))
    });
    let (inner, source) = source.await.map_err(Error::failed)??;
    Ok(archive(&inner.scope, move |to| pack(&source, to)))
}

/// An answer that a thread writes.
pub fn archive(scope: &Scope, write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static) -> Response {
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(PIECES);
    scope.job(async move {
        let failed = sender.clone();
        let written = Scope::blocking(move || {
            let mut to = BufWriter::with_capacity(PIECE, Pieces(sender));
            write(&mut to).and_then(|()| to.flush())
        });
        // The reader sees the archive break off, not end.
        if let Err(error) = written.await.unwrap_or_else(|crashed| Err(io::Error::other(crashed))) {
            let _ = failed.send(Err(error)).await;
        }
    });
    ([(header::CONTENT_TYPE, "application/x-tar")], Body::from_stream(received(receiver))).into_response()
}

/// `PUT …/archive?path=`
pub async fn put(
    State(inner): Shared,
    Instance(id): Instance,
    Asked(place): Asked<ArchiveQuery>,
    body: Body,
) -> Result<Json<()>, ApiError> {
    let reader = reader(&inner.scope, body);
    let done = Scope::blocking(move || unpack(&root(&inner, id, place.container.as_ref())?, &place.path, reader));
    Ok(Json(done.await.map_err(Error::failed)??))
}

fn root(inner: &Arc<Inner>, id: InstanceId, container: Option<&Name>) -> Result<Root> {
    prepare::files(inner, id)?;
    let directory = inner.drivers.inspect.root_directory(id, container).map_err(|error| Error::failed(error.message))?;
    let first = inner.drivers.inspect.first_owner(id, container).map_err(|error| Error::failed(error.message))?;
    Ok(Root::open(&directory)?.mapped(first))
}

/// A body for a thread to read. An error on its way is an error of the reader, so that nothing torn passes for whole.
pub fn reader(scope: &Scope, body: Body) -> impl Read + Send + use<> {
    let (sender, receiver) = mpsc::channel(PIECES);
    scope.job(async move {
        let mut pieces = body.into_data_stream();
        while let Some(piece) = pieces.next().await {
            if sender.send(piece.map_err(io::Error::other)).await.is_err() {
                return;
            }
        }
        let _ = sender.send(Ok(Bytes::new())).await;
    });
    Received { receiver, piece: Bytes::new(), ended: false }
}

struct Received {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
    ended: bool,
}

impl Read for Received {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.ended {
            // Without the empty piece at its end it was cut off.
            self.piece = self.receiver.blocking_recv().unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))?;
            self.ended = self.piece.is_empty();
        }
        let length = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

/// The writing end of a body.
struct Pieces(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Bytes::copy_from_slice(bytes);
        self.0.blocking_send(Ok(piece)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
