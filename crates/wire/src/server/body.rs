//! What handlers take and give: JSON within a limit, errors with their status, streams of lines.

use api::{
    Error, Result,
    registry::{Refusal, Refusals},
    spec::limits::REQUEST_BODY,
};
use axum::{
    extract::{FromRequest, Request},
    response::{IntoResponse, Response},
};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::{Serialize, de::DeserializeOwned};
use std::time::Duration;
use tokio::sync::mpsc;

/// A request's JSON body must have arrived this long after its head.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");

/// An error as an HTTP answer: status from its kind, itself as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError(pub Error);

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.kind.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, axum::Json(self.0)).into_response()
    }
}

/// A refusal of the registry as an HTTP answer, as its specification has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryError(pub Refusal);

impl From<Refusal> for RegistryError {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl IntoResponse for RegistryError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, axum::Json(Refusals { errors: vec![self.0] })).into_response()
    }
}

/// A request's JSON body, at most [`REQUEST_BODY`] bytes; an empty one counts as `null`. Refusals are sentences.
pub struct Body<T>(pub T);

/// Why a body was refused, with the status that says it.
pub struct Refused(StatusCode, Error);

impl Refused {
    fn too_large() -> Self {
        let error = Error::usage(format!("the request's body is too large: at most {} MiB are accepted", REQUEST_BODY >> 20));
        Self(StatusCode::PAYLOAD_TOO_LARGE, error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = ApiError(self.1).into_response();
        *response.status_mut() = self.0;
        if self.0 == StatusCode::PAYLOAD_TOO_LARGE || self.0 == StatusCode::REQUEST_TIMEOUT {
            // The rest of the body will not be read, so nothing can follow it.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Body<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refused> {
        let body = request.into_body();
        if hyper::body::Body::size_hint(&body).lower() > REQUEST_BODY as u64 {
            return Err(Refused::too_large());
        }
        let bytes = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, REQUEST_BODY).collect()).await.map_err(|_| {
            let seconds = BODY_TIMEOUT.as_secs();
            Refused(StatusCode::REQUEST_TIMEOUT, Error::usage(format!("the request's body did not arrive within {seconds} s")))
        })?;
        let bytes = bytes.map_err(|error| match error.is::<LengthLimitError>() {
            true => Refused::too_large(),
            false => Refused(StatusCode::BAD_REQUEST, Error::usage(format!("the request's body broke off: {error}"))),
        })?;
        decode(&bytes.to_bytes()).map(Self).map_err(|error| Refused(StatusCode::BAD_REQUEST, error))
    }
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let text = if bytes.is_empty() { b"null" } else { bytes };
    serde_json::from_slice(text).map_err(|e| match (bytes.is_empty(), e.is_data()) {
        (true, _) => Error::usage("the request has no body: it needs one in JSON"),
        (_, true) => Error::usage(format!("the request's body does not fit: {e}")),
        _ => Error::usage(format!("the request's body is not JSON: {e}")),
    })
}

/// What a channel brings, until nobody sends any more.
pub fn received<T>(receiver: mpsc::Receiver<T>) -> impl Stream<Item = T> {
    futures_util::stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|value| (value, receiver)) })
}

/// An answer of one JSON line for each value, sent as they come.
pub fn ndjson<T: Serialize + Send + 'static>(stream: impl Stream<Item = T> + Send + 'static) -> Response {
    answer(stream.map(|value| line(&value)))
}

/// Like [`ndjson`]; an error ends the stream, and the client's [`crate::client::Lines`] hands it on in its own words.
pub fn ndjson_results<T: Serialize + Send + 'static>(stream: impl Stream<Item = Result<T>> + Send + 'static) -> Response {
    let lines = stream.scan(false, |failed, value| {
        let line = match value {
            _ if *failed => None,
            Ok(value) => Some(line(&value)),
            Err(error) => {
                *failed = true;
                Some(line(&error))
            }
        };
        std::future::ready(line)
    });
    answer(lines)
}

fn answer(lines: impl Stream<Item = Result<Bytes, serde_json::Error>> + Send + 'static) -> Response {
    ([(header::CONTENT_TYPE, NDJSON)], axum::body::Body::from_stream(lines)).into_response()
}

fn line<T: Serialize>(value: &T) -> Result<Bytes, serde_json::Error> {
    let mut line = BytesMut::new().writer();
    serde_json::to_writer(&mut line, value)?;
    let mut line = line.into_inner();
    line.put_u8(b'\n');
    Ok(line.freeze())
}
