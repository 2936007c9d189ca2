//! Blobs: read from the manager's content store, or from the first server that has them.

use super::{DIGEST, Reply, failed, forward, own_agent, request};
use crate::{Control, proxy};
use api::{
    Name,
    path::{BLOBS, segment},
    registry::{Access, Code, Refusal},
};
use axum::{
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderValue, Method, StatusCode, header},
    response::Response,
};
use sha2::{Digest as _, Sha256};

/// Servers asked for one blob.
const SERVERS_MAX: usize = 16;

/// Where content may be: here first, then where images are.
fn places(control: &Control) -> Vec<Name> {
    let snapshot = control.world.now().snapshot;
    let others = snapshot.reports.iter().filter(|(name, report)| **name != control.server && !report.images.is_empty());
    std::iter::once(control.server.clone()).chain(others.map(|(name, _)| name.clone())).take(SERVERS_MAX).collect()
}

fn unknown(digest: &str) -> Refusal {
    Refusal::new(Code::BlobUnknown, format!("there is no blob {digest}"))
}

/// `GET` and `HEAD`, ranges included. Whoever may push and asks whether a blob is there is about to leave it out, and a
/// manifest needs its content on this server: then only this server's answer counts.
pub async fn get(control: &Control, (digest, access): (&str, Option<Access>), asked: Request) -> Reply {
    let path = format!("{BLOBS}/{}", segment(digest));
    let here_only = *asked.method() == Method::HEAD && access == Some(Access::Push);
    let snapshot = control.world.now().snapshot;
    for server in places(control).into_iter().take(if here_only { 1 } else { SERVERS_MAX }) {
        let Ok(agent) = proxy::agent(control, &snapshot, &server) else { continue };
        let mut again = request(asked.method().clone(), &path)?;
        *again.headers_mut() = asked.headers().clone();
        let mut answer = match forward(&agent, again, &path).await {
            Ok(answer) => answer,
            Err(refusal) if server == control.server => return Err(refusal.into()),
            Err(_) => continue,
        };
        if answer.status() != StatusCode::NOT_FOUND {
            if let (Ok(value), Ok(tag)) = (HeaderValue::try_from(digest), HeaderValue::try_from(format!("\"{digest}\""))) {
                answer.headers_mut().insert(DIGEST, value);
                answer.headers_mut().insert(header::ETAG, tag);
            }
            return Ok(answer);
        }
    }
    Err(unknown(digest).into())
}

/// `DELETE`
pub async fn delete(control: &Control, digest: &str, asked: Request) -> Reply {
    Ok(forward(&own_agent(control)?, asked, &format!("{BLOBS}/{}", segment(digest))).await?)
}

/// Whether it is on this server; it then stays for a while.
pub async fn is_here(control: &Control, digest: &str) -> Result<bool, Refusal> {
    let path = format!("{BLOBS}/{}", segment(digest));
    let answer = forward(&own_agent(control)?, request(Method::HEAD, &path)?, &path).await?;
    Ok(answer.status().is_success())
}

/// The content of a small one, verified. None when no server has it.
pub async fn small(control: &Control, digest: &str, most: usize) -> Result<Option<Vec<u8>>, Refusal> {
    let path = format!("{BLOBS}/{}", segment(digest));
    let snapshot = control.world.now().snapshot;
    let mut last = None;
    for server in places(control) {
        let Ok(agent) = proxy::agent(control, &snapshot, &server) else { continue };
        let answer: Response<Body> = match forward(&agent, request(Method::GET, &path)?, &path).await {
            Ok(answer) if answer.status().is_success() => answer,
            Ok(_) => continue,
            Err(refusal) => {
                last.get_or_insert(refusal);
                continue;
            }
        };
        let broken = |error: axum::Error| failed(api::Error::failed(format!("{digest} cannot be read: {error}")));
        let bytes = to_bytes(answer.into_body(), most).await.map_err(broken)?;
        if format!("sha256:{}", hex::encode(Sha256::digest(&bytes))) == digest {
            return Ok(Some(bytes.to_vec()));
        }
    }
    last.map_or(Ok(None), Err)
}
