//! The server's side of `roost-stream/1`.

use super::{ApiError, Place};
use crate::io::Upgraded;
use api::{Error, Result, stream::PROTOCOL};
use axum::response::{IntoResponse as _, Response};
use futures_util::future::BoxFuture;
use http::{HeaderValue, StatusCode, header, request::Parts};
use hyper::upgrade::OnUpgrade;
use std::{any::Any, borrow::BorrowMut, sync::Arc};

/// The answer to send, and the stream that follows once it has been sent. Await the stream in a task of its own; if the
/// request did not ask for [`PROTOCOL`], the answer says so and the stream fails.
pub fn upgrade(mut parts: impl BorrowMut<Parts>) -> (Response, BoxFuture<'static, Result<Upgraded>>) {
    let parts = parts.borrow_mut();
    let asked =
        parts.headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(PROTOCOL.as_bytes()));
    let place = parts.extensions.get::<Place>().cloned();
    let Some(pending) = parts.extensions.remove::<OnUpgrade>().filter(|_| asked) else {
        let error =
            Error::usage(format!("{} is a stream: ask with `Connection: upgrade` and `Upgrade: {PROTOCOL}`", parts.uri.path()));
        let mut response = ApiError(error.clone()).into_response();
        *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
        response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
        return (response, Box::pin(async { Err(error) }));
    };
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
    let stream = async move {
        let io = pending.await.map_err(|e| Error::unreachable(format!("the caller was gone before the stream began: {e}")))?;
        Ok(Upgraded::new(io, place.map(|place| place as Arc<dyn Any + Send + Sync>)))
    };
    (response, Box::pin(stream))
}
