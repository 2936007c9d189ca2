//! Blobs on their way in: the agent of this server takes them; here are only the places where clients find them.

use super::{Reply, blobs, forward, located, own_agent, request};
use crate::Control;
use api::{
    path::{UPLOADS, segment},
    registry::{Code, Refusal},
};
use axum::{
    extract::{Query, Request},
    http::{HeaderValue, Method, StatusCode, header},
};
use serde::Deserialize;

#[derive(Default, Deserialize)]
struct Beginning {
    mount: Option<String>,
    digest: Option<String>,
}

#[derive(Default, Deserialize)]
struct Finish {
    digest: Option<String>,
}

fn place(name: &str, upload: &str) -> String {
    format!("/v2/{name}/blobs/uploads/{upload}")
}

/// `POST`: a new upload; or all of it at once with `digest`; or nothing to do, when `mount` is here already.
pub async fn begin(control: &Control, name: &str, asked: Request) -> Reply {
    let query = Query::<Beginning>::try_from_uri(asked.uri()).map(|Query(query)| query).unwrap_or_default();
    if let Some(mount) = query.mount {
        let digest = super::asked::digest(&mount)?;
        // Whoever may push may read every repository, so it does not matter which one has it.
        if blobs::is_here(control, &digest).await? {
            return Ok(located(StatusCode::CREATED, &format!("/v2/{name}/blobs/{digest}"), Some(&digest)));
        }
    }
    let begun = forward(&own_agent(control)?, request(Method::POST, UPLOADS)?, UPLOADS).await?;
    let upload = begun.headers().get("docker-upload-uuid").and_then(|upload| upload.to_str().ok()).map(str::to_owned);
    let Some(upload) = upload.filter(|_| begun.status().is_success()) else { return Ok(begun) };
    if let Some(digest) = query.digest {
        let (mut parts, body) = asked.into_parts();
        parts.method = Method::PUT;
        return finish(control, (name, &upload, &digest), Request::from_parts(parts, body)).await;
    }
    Ok(at(begun, &place(name, &upload)))
}

fn at(mut answer: axum::response::Response, location: &str) -> axum::response::Response {
    if let Ok(value) = HeaderValue::try_from(location) {
        answer.headers_mut().insert(header::LOCATION, value);
    }
    answer
}

/// A further piece, the last one, how far it is, or no more of it.
pub async fn go_on(control: &Control, (name, upload): (&str, &str), asked: Request) -> Reply {
    if asked.method() == Method::PUT {
        let query = Query::<Finish>::try_from_uri(asked.uri()).map(|Query(query)| query).unwrap_or_default();
        let missing = || Refusal::new(Code::DigestInvalid, "an upload is finished with ?digest=sha256:…");
        return finish(control, (name, upload, &query.digest.ok_or_else(missing)?), asked).await;
    }
    let gone = asked.method() == Method::DELETE;
    let answer = forward(&own_agent(control)?, asked, &format!("{UPLOADS}/{}", segment(upload))).await?;
    Ok(if answer.status().is_success() && !gone { at(answer, &place(name, upload)) } else { answer })
}

async fn finish(control: &Control, (name, upload, digest): (&str, &str, &str), asked: Request) -> Reply {
    let digest = super::asked::digest(digest)?;
    let path = format!("{UPLOADS}/{}?digest={}", segment(upload), segment(&digest));
    let answer = forward(&own_agent(control)?, asked, &path).await?;
    if !answer.status().is_success() {
        return Ok(answer);
    }
    Ok(located(StatusCode::CREATED, &format!("/v2/{name}/blobs/{digest}"), Some(&digest)))
}
