//! Content by digest, and content on its way in: what other servers and the registry ask for. Answers and refusals are those of
//! the OCI distribution specification, so that the registry hands them on as they are.

use super::{Asked, Shared, files};
use crate::engine::Inner;
use api::registry::{Code, HeldManifest, MANIFEST_MAX, Refusal, Runs};
use axum::{
    Json,
    body::{Body, to_bytes},
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderName, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use base::supervise::Scope;
use driver::{DriverError, image::BlobSource};
use serde::Deserialize;
use std::{
    io::{Read, Seek as _, SeekFrom},
    sync::Arc,
};
use tokio::io::AsyncReadExt as _;
use wire::server::RegistryError;

/// Names an upload (distribution project's registry; the specification has it in `Location` only).
const UPLOAD: HeaderName = HeaderName::from_static("docker-upload-uuid");
/// Pieces of a blob that are read and sent.
const PIECE: usize = 256 << 10;

type Answer<T> = Result<T, RegistryError>;

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Refusal> + Send + 'static) -> Result<T, Refusal> {
    Scope::blocking(work).await.unwrap_or_else(|crashed| Err(Refusal::new(Code::Unknown, crashed)))
}

/// `GET /v1/blobs/{digest}`, whole or one range of it. `HEAD` keeps it here for a while.
pub async fn blob(State(inner): Shared, method: Method, Path(digest): Path<String>, headers: HeaderMap) -> Answer<Response> {
    let missing = |error: DriverError| Refusal::new(Code::BlobUnknown, error.message);
    let opened = blocking(move || {
        let size = if method == Method::HEAD { inner.drivers.content.size(&digest) } else { None };
        let file = inner.drivers.images.blob(&digest).map_err(missing)?;
        let length = size.or_else(|| file.metadata().ok().map(|meta| meta.len())).unwrap_or_default();
        Ok((length, file))
    });
    let (length, mut file) = opened.await?;
    let all = [(header::CONTENT_TYPE, "application/octet-stream".to_owned()), (header::ACCEPT_RANGES, "bytes".to_owned())];
    let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok()).and_then(|range| parse_range(range, length));
    let (status, from, to) = match range {
        None => (StatusCode::OK, 0, length),
        Some(Some((from, to))) => (StatusCode::PARTIAL_CONTENT, from, to),
        Some(None) => {
            let refused = RegistryError(Refusal::new(Code::BlobUploadInvalid, format!("the blob has only {length} bytes")));
            return Ok(([(header::CONTENT_RANGE, format!("bytes */{length}"))], refused).into_response());
        }
    };
    file.seek(SeekFrom::Start(from)).map_err(|error| Refusal::new(Code::Unknown, format!("cannot read the blob: {error}")))?;
    let stream = tokio_util::io::ReaderStream::with_capacity(tokio::fs::File::from_std(file).take(to - from), PIECE);
    let mut answer =
        (status, all, [(header::CONTENT_LENGTH, (to - from).to_string())], Body::from_stream(stream)).into_response();
    if status == StatusCode::PARTIAL_CONTENT
        && let Ok(value) = format!("bytes {from}-{}/{length}", to - 1).parse()
    {
        answer.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    Ok(answer)
}

/// A `Range` header (RFC 9110, section 14.2) as a half-open range. None: to be passed over. `Some(None)`: cannot be satisfied.
fn parse_range(text: &str, length: u64) -> Option<Option<(u64, u64)>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    if first.is_empty() {
        let count: u64 = last.parse().ok()?;
        return Some((count > 0 && length > 0).then(|| (length.saturating_sub(count), length)));
    }
    let first: u64 = first.parse().ok()?;
    let end = if last.is_empty() { length } else { last.parse::<u64>().ok()?.saturating_add(1).min(length) };
    if !last.is_empty() && end <= first && first < length {
        return None;
    }
    Some((first < length).then_some((first, end)))
}

/// `DELETE /v1/blobs/{digest}`
pub async fn discard(State(inner): Shared, Path(digest): Path<String>) -> Answer<StatusCode> {
    let done = blocking(move || {
        let unknown = || Refusal::new(Code::BlobUnknown, format!("there is no blob {digest}"));
        inner.drivers.content.size(&digest).ok_or_else(unknown)?;
        inner.drivers.content.discard(&digest)
    });
    done.await?;
    Ok(StatusCode::ACCEPTED)
}

/// `POST /v1/uploads`
pub async fn begin(State(inner): Shared) -> Answer<Response> {
    let upload = blocking(move || inner.drivers.content.begin()).await?;
    Ok(progress(StatusCode::ACCEPTED, &upload, 0))
}

/// `GET /v1/uploads/{upload}`
pub async fn received(State(inner): Shared, Path(upload): Path<String>) -> Answer<Response> {
    let asked = upload.clone();
    let received = blocking(move || inner.drivers.content.received(&asked)).await?;
    Ok(progress(StatusCode::NO_CONTENT, &upload, received))
}

/// How far an upload is: the last byte that is here, and 0 as well when there is none.
fn progress(status: StatusCode, upload: &str, received: u64) -> Response {
    let range = format!("0-{}", received.saturating_sub(1));
    (status, [(header::RANGE, range), (UPLOAD, upload.to_owned()), (header::CONTENT_LENGTH, "0".to_owned())]).into_response()
}

/// Where a piece says it begins; it must have the length it says as well.
fn begins(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let Some(range) = headers.get(header::CONTENT_RANGE) else { return Ok(None) };
    let bad = || Refusal::new(Code::BlobUploadInvalid, "the Content-Range is not <first byte>-<last byte>");
    let text = range.to_str().map_err(|_| bad())?;
    let text = text.strip_prefix("bytes ").unwrap_or(text);
    let (first, last) = text.split('/').next().and_then(|range| range.split_once('-')).ok_or_else(bad)?;
    let (first, last): (u64, u64) = (first.trim().parse().map_err(|_| bad())?, last.trim().parse().map_err(|_| bad())?);
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    match last.checked_sub(first).map(|more| more.saturating_add(1)) {
        Some(says) if length.is_none_or(|length| length == says) => Ok(Some(first)),
        _ => Err(Refusal::new(Code::BlobUploadInvalid, "the Content-Range does not fit the length of the piece")),
    }
}

/// `PATCH /v1/uploads/{upload}`
pub async fn append(State(inner): Shared, Path(upload): Path<String>, headers: HeaderMap, body: Body) -> Answer<Response> {
    let at = begins(&headers)?;
    let (mut bytes, asked) = (files::reader(&inner.scope, body), upload.clone());
    let received = blocking(move || inner.drivers.content.append(&asked, at, &mut bytes)).await?;
    Ok(progress(StatusCode::ACCEPTED, &upload, received))
}

/// Which digest an upload must have.
#[derive(Deserialize)]
pub struct Finish {
    #[serde(default)]
    digest: String,
}

/// `PUT /v1/uploads/{upload}?digest=`, with a last piece or without
pub async fn finish(
    State(inner): Shared,
    Path(upload): Path<String>,
    Asked(wanted): Asked<Finish>,
    piece: Request,
) -> Answer<StatusCode> {
    let at = begins(piece.headers())?;
    let mut bytes = files::reader(&inner.scope, piece.into_body());
    let done = blocking(move || {
        let content = &inner.drivers.content;
        content.append(&upload, at, &mut bytes)?;
        content.finish(&upload, &wanted.digest)
    });
    done.await?;
    Ok(StatusCode::CREATED)
}

/// `DELETE /v1/uploads/{upload}`
pub async fn cancel(State(inner): Shared, Path(upload): Path<String>) -> Answer<StatusCode> {
    blocking(move || inner.drivers.content.cancel(&upload)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/manifests`: kept as it came. An image is unpacked at once, so that its first container need not wait.
pub async fn hold(State(inner): Shared, headers: HeaderMap, body: Body) -> Answer<Json<HeldManifest>> {
    let large = |_| Refusal::new(Code::SizeInvalid, format!("a manifest has at most {} MiB", MANIFEST_MAX >> 20));
    let bytes = to_bytes(body, MANIFEST_MAX).await.map_err(large)?;
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned();
    let content = Arc::clone(&inner.drivers.content);
    let held = blocking(move || content.hold(&bytes, &media_type)).await?;
    if let Runs::Image { digest, .. } = &held.runs {
        let (unpacking, digest) = (Arc::clone(&inner), digest.clone());
        inner.scope.job(async move { unpack(unpacking, digest).await });
    }
    Ok(Json(held))
}

/// All of it is here: there is nobody else to ask.
struct Nobody;

impl BlobSource for Nobody {
    fn open(&self, digest: &str) -> driver::Result<Box<dyn Read + Send>> {
        Err(DriverError::fatal(format!("{digest} is not here")))
    }
}

async fn unpack(inner: Arc<Inner>, digest: String) {
    let Ok(_turn) = inner.pulls.acquire().await else { return };
    let content = Arc::clone(&inner.content).read_owned().await;
    let (images, asked) = (Arc::clone(&inner.drivers.images), digest.clone());
    let unpacked = Scope::blocking(move || {
        let _content = content;
        images.ensure(&asked, &Nobody, &|_| {})
    });
    match unpacked.await.unwrap_or_else(|crashed| Err(DriverError::fatal(crashed))) {
        Ok(image) => {
            inner.lock().images.insert(image.digest.clone(), Arc::new(image));
            inner.dirty.wake();
            inner.kick_all();
        }
        // Whoever runs it is told so then.
        Err(error) => tracing::warn!(digest, %error, "an image that was pushed cannot be unpacked"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_blobs() {
        assert_eq!(parse_range("bytes=0-", 10), Some(Some((0, 10))));
        assert_eq!(parse_range("bytes=3-5", 10), Some(Some((3, 6))));
        assert_eq!(parse_range("bytes=3-50", 10), Some(Some((3, 10))));
        assert_eq!(parse_range("bytes=-4", 10), Some(Some((6, 10))));
        assert_eq!(parse_range("bytes=-40", 10), Some(Some((0, 10))));
        assert_eq!(parse_range("bytes=10-", 10), Some(None));
        assert_eq!(parse_range("bytes=-0", 10), Some(None));
        for passed_over in ["bytes=5-3", "lines=1-2", "bytes=x-", "bytes=", "bytes=1-2,4-5"] {
            assert_eq!(parse_range(passed_over, 10), None, "{passed_over}");
        }
    }

    #[test]
    fn pieces_say_where_they_begin() {
        let headers = |range: &str, length: &str| {
            let pair = |name, value: &str| (name, value.parse().unwrap());
            HeaderMap::from_iter([pair(header::CONTENT_RANGE, range), pair(header::CONTENT_LENGTH, length)])
        };
        assert_eq!(begins(&HeaderMap::new()), Ok(None));
        assert_eq!(begins(&headers("0-9", "10")), Ok(Some(0)));
        assert_eq!(begins(&headers("bytes 10-19/*", "10")), Ok(Some(10)));
        for (range, length) in [("0-9", "9"), ("9-0", "10"), ("x", "1"), ("1-", "1")] {
            assert_eq!(begins(&headers(range, length)).unwrap_err().code, Code::BlobUploadInvalid, "{range}");
        }
    }
}
