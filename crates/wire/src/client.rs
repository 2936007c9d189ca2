//! The client: one request at a time over kept connections, and a connection of its own for everything that flows.

mod failure;
mod lines;
mod pool;

pub use crate::io::Upgraded;
pub use lines::{Download, LINE_MAX, Lines};

use crate::{identity::Identity, io::carry, tls::Remote, token::JoinToken};
use api::{Error, Name, Result, stream::PROTOCOL};
use axum::body::Body;
use bytes::Bytes;
use failure::Call;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use hyper::{body::Incoming, upgrade::OnUpgrade};
pub(crate) use pool::Endpoint;
use pool::Pool;
use serde::{Serialize, de::DeserializeOwned};
use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;

/// How long a small request may take until it is answered in full, unless [`Client::within`] says otherwise: longer than
/// anything that is done while a request waits, so that only a peer that hangs runs into it.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
/// Bytes of a body sent at a time.
const CHUNK: usize = 64 * 1024;

/// Speaks with one server. Cheap to clone; clones share their kept connections. Every error is one for a person:
/// [`api::Kind::Unreachable`] if nobody answers, else what the server said.
#[derive(Clone)]
pub struct Client {
    pool: Arc<Pool>,
    patience: Duration,
}

impl Client {
    /// Through a socket of this machine, as root.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::new(Endpoint::Unix(path.into()))
    }

    /// With a server of the cluster that this identity belongs to, whichever it is.
    pub fn tls(address: SocketAddr, identity: &Identity) -> Result<Self> {
        Ok(Self::new(Endpoint::Tls(Remote::new(address, identity, None)?)))
    }

    /// With this server of the cluster and no other.
    pub fn tls_to(address: SocketAddr, identity: &Identity, expect: &Name) -> Result<Self> {
        Ok(Self::new(Endpoint::Tls(Remote::new(address, identity, Some(expect.clone()))?)))
    }

    /// With the manager that a token names, before there is a certificate of our own. Trusts only the token's authority.
    pub fn join(token: &JoinToken) -> Result<Self> {
        Ok(Self::new(Endpoint::Tls(Remote::pinned(token.address, &token.authority)?)))
    }

    pub(crate) fn new(endpoint: Endpoint) -> Self {
        Self { pool: Arc::new(Pool::new(endpoint)), patience: ANSWER_TIMEOUT }
    }

    /// The same, with another bound on how long a small request may take.
    #[must_use]
    pub fn within(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// `GET`s a value.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.small(&Call::new(Method::GET, path), Bytes::new()).await
    }

    /// Sends a value, gets a value. `()` stands for an empty answer, and for an empty body.
    pub async fn send<B: Serialize + Sync, T: DeserializeOwned>(&self, method: Method, path: &str, body: &B) -> Result<T> {
        self.small(&Call::new(method, path), encode(body)?).await
    }

    async fn small<T: DeserializeOwned>(&self, call: &Call, body: Bytes) -> Result<T> {
        let exchange = tokio::time::timeout(self.patience, self.pool.exchange(call, body));
        let (status, answer) = exchange.await.map_err(|_| {
            let (peer, seconds) = (self.pool.endpoint.name(), self.patience.as_secs_f32());
            Error::unreachable(format!("{peer} did not answer {call} within {seconds} s"))
        })??;
        if !status.is_success() {
            return Err(failure::answered(call, status, &answer));
        }
        let answer = if answer.is_empty() { b"null" } else { &answer[..] };
        serde_json::from_slice(answer).map_err(|e| Error::failed(format!("the answer to {call} is not understood: {e}")))
    }

    /// Asks for a stream of values, a line of JSON each (NDJSON). A body, if any, is JSON too.
    pub async fn lines<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        headers: &[(&str, String)],
    ) -> Result<Lines<T>> {
        let call = Call::new(method, path);
        let mut request = self.request(&call, body.map_or_else(Body::empty, Body::from))?;
        for (name, value) in headers {
            let bad = || Error::usage(format!("{name:?} cannot be sent as a header"));
            let name = HeaderName::try_from(*name).map_err(|_| bad())?;
            request.headers_mut().insert(name, HeaderValue::try_from(value).map_err(|_| bad())?);
        }
        Ok(Lines::new(self.stream(&call, request).await?.into_body(), call))
    }

    /// Sends a stream of bytes, gets a stream of values.
    pub async fn upload<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: impl AsyncRead + Send + Unpin + 'static,
    ) -> Result<Lines<T>> {
        let call = Call::new(method, path);
        let request = self.bytes(&call, body)?;
        Ok(Lines::new(self.stream(&call, request).await?.into_body(), call))
    }

    /// Gets a stream of bytes.
    pub async fn download(&self, path: &str) -> Result<Download> {
        let call = Call::new(Method::GET, path);
        let request = self.request(&call, Body::empty())?;
        Ok(Download::new(self.stream(&call, request).await?.into_body()))
    }

    /// `PUT`s a stream of bytes and waits until it is accepted.
    pub async fn put_stream(&self, path: &str, body: impl AsyncRead + Send + Unpin + 'static) -> Result<()> {
        let call = Call::new(Method::PUT, path);
        let request = self.bytes(&call, body)?;
        let answer = self.stream(&call, request).await?;
        pool::collect(&call, &self.pool.endpoint, answer).await.map(|_| ())
    }

    /// `POST`s a value and goes on with a stream both ways ([`api::stream`]).
    pub async fn upgrade<B: Serialize + Sync>(&self, path: &str, body: &B) -> Result<Upgraded> {
        let call = Call::new(Method::POST, path);
        let mut request = self.request(&call, Body::from(encode(body)?))?;
        request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        request.headers_mut().insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
        let answer = self.stream(&call, request).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(Error::failed(format!("{call} was answered with {} instead of a stream", answer.status())));
        }
        let io = hyper::upgrade::on(answer).await.map_err(|e| self.pool.endpoint.lost(&call, &e))?;
        Ok(Upgraded::new(io, None))
    }

    /// Passes a request on as it is, body and answer streamed, an upgrade included. The path is the request's own. An answer of
    /// the other server that is an error is passed back as an answer; `Err` means that there was none.
    pub async fn forward(&self, mut request: Request<Body>) -> Result<Response<Body>> {
        let upgrade =
            request.headers().contains_key(header::UPGRADE).then(|| request.extensions_mut().remove::<OnUpgrade>()).flatten();
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let call = Call::new(request.method().clone(), &path);
        let (parts, body) = request.into_parts();
        let mut onward = self.request(&call, body)?;
        *onward.headers_mut() = end_to_end(parts.headers, upgrade.is_some());
        onward.headers_mut().insert(header::HOST, self.pool.endpoint.host());
        let mut answer = self.pool.connect().await?.send_request(onward).await.map_err(|e| self.pool.endpoint.lost(&call, &e))?;
        let switched = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
        if let (true, Some(theirs)) = (switched, upgrade) {
            let ours = hyper::upgrade::on(&mut answer);
            self.pool.tasks.job(splice(theirs, ours));
        }
        let (mut parts, body) = answer.into_parts();
        parts.headers = end_to_end(parts.headers, switched);
        Ok(Response::from_parts(parts, Body::new(body)))
    }

    /// Sends a request on a connection of its own; an answer that is an error becomes one.
    async fn stream(&self, call: &Call, request: Request<Body>) -> Result<Response<Incoming>> {
        let mut sender = self.pool.connect().await?;
        let answer = sender.send_request(request).await.map_err(|e| self.pool.endpoint.lost(call, &e))?;
        if answer.status().is_success() || answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(answer);
        }
        let (status, body) = pool::collect(call, &self.pool.endpoint, answer).await?;
        Err(failure::answered(call, status, &body))
    }

    fn bytes(&self, call: &Call, body: impl AsyncRead + Send + Unpin + 'static) -> Result<Request<Body>> {
        let mut request = self.request(call, Body::from_stream(ReaderStream::with_capacity(body, CHUNK)))?;
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        Ok(request)
    }

    fn request(&self, call: &Call, body: Body) -> Result<Request<Body>> {
        self.pool.endpoint.request(call, body)
    }
}

impl Call {
    fn uri(&self) -> Result<Uri> {
        let uri = self.path.parse::<Uri>().ok().filter(|uri| uri.path().starts_with('/') && uri.authority().is_none());
        uri.ok_or_else(|| Error::usage(format!("{:?} is not a path of the API", self.path)))
    }
}

/// Without the headers that concern one connection only (RFC 9110, section 7.6.1), save those of an upgrade.
fn end_to_end(mut headers: HeaderMap, upgrade: bool) -> HeaderMap {
    let protocol = headers.remove(header::UPGRADE).filter(|_| upgrade);
    let listed =
        headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let listed: Vec<HeaderName> = listed.filter_map(|name| name.trim().parse().ok()).collect();
    for name in listed.iter().chain(&[header::CONNECTION, header::TRANSFER_ENCODING, header::TE, header::TRAILER, KEEP_ALIVE]) {
        headers.remove(name);
    }
    if let Some(protocol) = protocol {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
    headers
}

/// Carries bytes between two upgraded connections, once both are.
async fn splice(theirs: OnUpgrade, ours: OnUpgrade) {
    match tokio::try_join!(theirs, ours) {
        Ok((theirs, ours)) => carry(Upgraded::new(theirs, None), Upgraded::new(ours, None)).await,
        Err(error) => tracing::debug!(%error, "an upgrade that was passed on failed"),
    }
}

fn encode<B: Serialize>(body: &B) -> Result<Bytes> {
    let bytes = serde_json::to_vec(body).map_err(|e| Error::failed(format!("cannot write the request as JSON: {e}")))?;
    Ok(if bytes == b"null" { Bytes::new() } else { bytes.into() })
}
