//! Connections to one server: a few are kept for small requests.

use super::failure::Call;
use crate::{
    io::{Connection, connect_tls, connect_unix},
    tls::Remote,
};
use api::{Error, Result};
use axum::body::Body;
use base::{env, supervise::Scope};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use std::{
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Idle connections kept for one server.
const IDLE_MAX: usize = 4;
/// How long one is kept: less than [`crate::server::HEADER_TIMEOUT`], after which the server closes it.
const IDLE_FOR: Duration = Duration::from_secs(8);
/// Longest answer that is taken whole.
pub(crate) const ANSWER_MAX: usize = 64 * 1024 * 1024;

pub(crate) type Sender = SendRequest<Body>;

/// Where the server is.
pub(crate) enum Endpoint {
    Unix(PathBuf),
    Tls(Remote),
}

impl Endpoint {
    /// The server in an error's sentence.
    pub fn name(&self) -> String {
        match self {
            Self::Unix(path) => format!("roost at {}", path.display()),
            Self::Tls(remote) => format!("server at {}", remote.address),
        }
    }

    /// The `Host` header.
    pub fn host(&self) -> HeaderValue {
        let host = match self {
            Self::Unix(_) => return HeaderValue::from_static("roost"),
            Self::Tls(remote) => remote.address.to_string(),
        };
        HeaderValue::try_from(host).unwrap_or(HeaderValue::from_static("roost"))
    }

    pub fn request(&self, call: &Call, body: Body) -> Result<Request<Body>> {
        let mut request = Request::new(body);
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = call.uri()?;
        request.headers_mut().insert(header::HOST, self.host());
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(request)
    }
}

pub(crate) struct Pool {
    pub endpoint: Endpoint,
    /// Drives the connections; each ends when nobody uses it any more.
    pub tasks: Scope,
    idle: Mutex<Vec<(Sender, Instant)>>,
}

/// A request that failed: whether it may be sent again, and why it failed.
struct Broken {
    again: bool,
    error: Error,
}

impl Pool {
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, tasks: Scope::new(), idle: Mutex::default() }
    }

    /// A new connection.
    pub async fn connect(&self) -> Result<Sender> {
        let io: Connection = match &self.endpoint {
            Endpoint::Unix(path) => Box::new(connect_unix(path).await?),
            Endpoint::Tls(remote) => Box::new(connect_tls(remote).await?),
        };
        let opened = http1::handshake(TokioIo::new(io)).await;
        let (sender, connection) =
            opened.map_err(|e| Error::unreachable(format!("{} does not speak HTTP: {e}", self.endpoint.name())))?;
        self.tasks.job(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "connection broke off");
            }
        });
        Ok(sender)
    }

    /// Sends a small request over a kept connection, or a new one. Tried once more, on a new one, if the kept connection turns
    /// out to be stale and nothing has been done yet: nothing of the request was sent, or it is a `GET`.
    pub async fn exchange(&self, call: &Call, body: Bytes) -> Result<(StatusCode, Bytes)> {
        if let Some(kept) = self.take() {
            match self.once(kept, call, body.clone()).await {
                Err(Broken { again: true, error }) => tracing::debug!(%error, "kept connection was stale"),
                Err(Broken { error, .. }) => return Err(error),
                Ok(answer) => return Ok(answer),
            }
        }
        let fresh = self.connect().await?;
        self.once(fresh, call, body).await.map_err(|broken| broken.error)
    }

    async fn once(&self, mut sender: Sender, call: &Call, body: Bytes) -> Result<(StatusCode, Bytes), Broken> {
        let idempotent = call.method == Method::GET;
        let broken = |error| Broken { again: idempotent, error };
        let request = self.endpoint.request(call, Body::from(body)).map_err(|error| Broken { again: false, error })?;
        let answer = sender.try_send_request(request).await.map_err(|mut unsent| Broken {
            again: idempotent || unsent.take_message().is_some(),
            error: self.endpoint.lost(call, unsent.error()),
        })?;
        let answer = collect(call, &self.endpoint, answer).await.map_err(broken)?;
        self.keep(sender);
        Ok(answer)
    }

    fn take(&self) -> Option<Sender> {
        let now = env::instant();
        let mut idle = self.lock();
        idle.retain(|(sender, since)| sender.is_ready() && now.duration_since(*since) < IDLE_FOR);
        idle.pop().map(|(sender, _)| sender)
    }

    fn keep(&self, sender: Sender) {
        let mut idle = self.lock();
        if idle.len() < IDLE_MAX && !sender.is_closed() {
            idle.push((sender, env::instant()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Sender, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The whole answer, at most [`ANSWER_MAX`] bytes.
pub(crate) async fn collect(call: &Call, endpoint: &Endpoint, answer: Response<Incoming>) -> Result<(StatusCode, Bytes)> {
    let status = answer.status();
    match Limited::new(answer.into_body(), ANSWER_MAX).collect().await {
        Ok(body) => Ok((status, body.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(Error::failed(format!("the answer to {call} is longer than {} MiB", ANSWER_MAX >> 20)))
        }
        Err(error) => Err(match error.downcast_ref::<hyper::Error>() {
            Some(error) => endpoint.lost(call, error),
            None => Error::unreachable(format!("the answer to {call} broke off: {error}")),
        }),
    }
}
