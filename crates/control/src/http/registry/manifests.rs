//! Manifests and tags. A tag is an image of the cluster under the name `repository:tag`.

use super::{DIGEST, Reply, asked::Reference, blobs, failed, lists, located, own_agent};
use crate::{
    Control, admit,
    http::{
        images::forget,
        write::{Decision, change},
    },
    world::World,
};
use api::{
    Bytes, Timestamp,
    image::{ImageConfig, ImageRecord},
    key, path,
    registry::{Code, HeldManifest, MANIFEST_MAX, ManifestRecord, Refusal, Runs},
};
use axum::{
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use sha2::{Digest as _, Sha256};

/// Names the manifest that a pushed one is about.
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
/// Of a manifest that does not say what it is.
const DEFAULT_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// `GET` and `HEAD`
pub async fn get(control: &Control, name: &str, reference: &Reference, method: &Method) -> Reply {
    let digest = lists::find(&control.world.now(), name, reference)?;
    let gone = || Refusal::new(Code::ManifestUnknown, format!("no server that can be reached has the manifest {digest}"));
    let bytes = blobs::small(control, &digest, MANIFEST_MAX).await?.ok_or_else(gone)?;
    let says = serde_json::from_slice::<serde_json::Value>(&bytes).ok();
    let says = says.and_then(|manifest| manifest["mediaType"].as_str().map(str::to_owned));
    let recorded = control.world.now().manifests.get(&format!("{name}@{digest}")).map(|record| record.held.media_type.clone());
    let headers = [
        (header::CONTENT_TYPE, says.or(recorded).unwrap_or_else(|| DEFAULT_TYPE.to_owned())),
        (header::CONTENT_LENGTH, bytes.len().to_string()),
        (header::ETAG, format!("\"{digest}\"")),
        (DIGEST, digest),
    ];
    let body = if *method == Method::HEAD { Body::empty() } else { Body::from(bytes) };
    Ok((headers, body).into_response())
}

/// `PUT`
pub async fn put(control: &Control, (name, reference): (&str, &Reference), asked: Request) -> Reply {
    // Nothing is pruned between the content's arrival and the record that needs it.
    let _coming = control.coming.read().await;
    let kind = asked.headers().get(header::CONTENT_TYPE).cloned();
    let kind =
        kind.ok_or_else(|| Refusal::new(Code::ManifestInvalid, "a manifest is pushed with its media type as Content-Type"))?;
    let large = |_| Refusal::new(Code::SizeInvalid, format!("a manifest has at most {} MiB", MANIFEST_MAX >> 20));
    let bytes = to_bytes(asked.into_body(), MANIFEST_MAX).await.map_err(large)?;
    let digest = format!("sha256:{}", hex::encode(Sha256::digest(&bytes)));
    if let Reference::Digest(wanted) = reference
        && *wanted != digest
    {
        return Err(Refusal::new(Code::DigestInvalid, format!("the manifest has the digest {digest}, not {wanted}")).into());
    }
    let onward = Request::builder().method(Method::POST).uri(path::MANIFESTS).header(header::CONTENT_TYPE, kind);
    let onward = onward.body(Body::from(bytes)).map_err(|error| Refusal::new(Code::Unknown, error.to_string()))?;
    let answer = own_agent(control)?.forward(onward).await.map_err(failed)?;
    if !answer.status().is_success() {
        return Ok(answer);
    }
    let held = understand(answer).await?;
    let written = change(control, false, |world| record(world, (name, reference), &held));
    written.await.map_err(failed)?;
    let shown = match reference {
        Reference::Tag(tag) => tag,
        Reference::Digest(digest) => digest,
    };
    let mut response = located(StatusCode::CREATED, &format!("/v2/{name}/manifests/{shown}"), Some(&held.digest));
    if let Some(value) = held.subject.as_ref().and_then(|subject| HeaderValue::try_from(subject).ok()) {
        response.headers_mut().insert(SUBJECT, value);
    }
    Ok(response)
}

async fn understand(answer: Response) -> Result<HeldManifest, Refusal> {
    let bytes = to_bytes(answer.into_body(), 2 * MANIFEST_MAX).await;
    let bytes = bytes.map_err(|error| Refusal::new(Code::Unknown, format!("the content store's answer broke off: {error}")))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Refusal::new(Code::Unknown, format!("the content store's answer is not understood: {error}")))
}

/// The manifest is in the repository; the tag, if there is one, leads to it.
fn record(world: &World, (name, reference): (&str, &Reference), held: &HeldManifest) -> api::Result<Decision> {
    let now = Timestamp(base::env::now_millis());
    let key = format!("{}{name}@{}", key::REGISTRY_MANIFESTS, held.digest);
    let record = ManifestRecord { held: held.clone(), pushed: now };
    let mut decision = Decision::saying(format!("push {name}@{}", held.digest)).put(world, key, &record)?;
    if let Reference::Tag(tag) = reference {
        let image = image(format!("{name}:{tag}"), held, now);
        decision = decision.put(world, format!("{}{}", key::IMAGES, image.name), &image)?;
    }
    Ok(decision)
}

/// A tag as an image of the cluster.
fn image(name: String, held: &HeldManifest, created: Timestamp) -> ImageRecord {
    match &held.runs {
        Runs::Image { digest, size, config } => ImageRecord {
            name,
            digest: digest.clone(),
            size: *size,
            config: config.as_ref().clone(),
            created,
            index: (*digest != held.digest).then(|| held.digest.clone()),
            unusable: None,
        },
        Runs::Nothing(why) => ImageRecord {
            name,
            digest: held.digest.clone(),
            size: Bytes(held.size),
            config: ImageConfig::default(),
            created,
            index: None,
            unusable: Some(why.clone()),
        },
    }
}

/// `DELETE`: of a tag the name goes; of a digest the manifest, and every tag of the repository that leads to it.
pub async fn delete(control: &Control, name: &str, reference: &Reference) -> Reply {
    let digest = lists::find(&control.world.now(), name, reference)?;
    let changed = change(control, false, |world| removal(world, name, reference));
    changed.await.map_err(failed)?;
    forget(control, &digest).await;
    Ok(StatusCode::ACCEPTED.into_response())
}

fn removal(world: &World, name: &str, reference: &Reference) -> api::Result<Decision> {
    let (digest, tags): (_, Vec<String>) = match reference {
        Reference::Tag(tag) => (None, vec![tag.clone()]),
        Reference::Digest(digest) => {
            let lead = lists::tagged(world, name).filter(|(_, record)| record.target() == digest || record.digest == *digest);
            (Some(digest), lead.map(|(tag, _)| tag.to_owned()).collect())
        }
    };
    let mut decision = Decision::saying(format!("delete from {name}"));
    for tag in tags {
        let Some(record) = world.snapshot.images.get(&format!("{name}:{tag}")) else { continue };
        if let Some(user) = admit::image::user(&world.snapshot, record) {
            return Err(api::Error::conflict(format!("image {} is used by {user}", record.name)));
        }
        decision = decision.delete(world, format!("{}{}", key::IMAGES, record.name));
    }
    if let Some(digest) = digest.filter(|digest| world.manifests.contains_key(&format!("{name}@{digest}"))) {
        decision = decision.delete(world, format!("{}{name}@{digest}", key::REGISTRY_MANIFESTS));
    }
    Ok(Decision { unchanged: decision.writes.is_empty(), ..decision })
}
