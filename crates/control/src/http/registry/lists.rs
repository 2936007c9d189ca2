//! What there is: repositories, tags, and manifests about others.

use super::{Reply, asked::Reference};
use crate::world::World;
use api::{
    image::ImageRecord,
    registry::{Code, HeldManifest, ManifestRecord, Refusal, is_repository, is_tag},
};
use axum::{
    Json,
    extract::Query,
    http::{HeaderName, HeaderValue, Uri, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;
use std::{collections::BTreeSet, sync::Arc};

/// Entries in one answer, when the client does not ask for fewer.
const PAGE_MAX: usize = 1000;
const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");
const INDEX: HeaderValue = HeaderValue::from_static("application/vnd.oci.image.index.v1+json");

#[derive(Default, Deserialize)]
struct Page {
    n: Option<String>,
    last: Option<String>,
}

#[derive(Default, Deserialize)]
struct Filter {
    #[serde(rename = "artifactType")]
    artifact_type: Option<String>,
}

fn query<T: DeserializeOwned + Default>(uri: &Uri) -> T {
    Query::<T>::try_from_uri(uri).map(|Query(query)| query).unwrap_or_default()
}

/// Repository and tag of a name, if it can be one in the registry: names with the port of another registry cannot.
pub fn place(name: &str) -> Option<(&str, &str)> {
    name.rsplit_once(':').filter(|(repository, tag)| is_repository(repository) && is_tag(tag))
}

/// Names of all repositories that have something in them.
pub fn repositories(world: &World) -> BTreeSet<&str> {
    let tagged = world.snapshot.images.keys().filter_map(|name| Some(place(name)?.0));
    tagged.chain(world.manifests.keys().filter_map(|key| Some(key.split_once('@')?.0))).collect()
}

/// Images of one repository, by tag.
pub fn tagged<'a>(world: &'a World, name: &str) -> impl Iterator<Item = (&'a str, &'a ImageRecord)> + use<'a> {
    let prefix = format!("{name}:");
    let own = world.snapshot.images.range(prefix.clone()..).take_while(move |(key, _)| key.starts_with(&prefix));
    own.filter_map(|(key, record)| Some((place(key)?.1, record.as_ref())))
}

/// Manifests of one repository that were pushed there.
pub fn pushed<'a>(world: &'a World, name: &str) -> impl Iterator<Item = &'a Arc<ManifestRecord>> + use<'a> {
    let prefix = format!("{name}@");
    world.manifests.range(prefix.clone()..).take_while(move |(key, _)| key.starts_with(&prefix)).map(|(_, record)| record)
}

/// The digest of a manifest in a repository, if it is in it.
pub fn find(world: &World, name: &str, reference: &Reference) -> Result<String, Refusal> {
    let (found, shown) = match reference {
        Reference::Tag(tag) => {
            let record = world.snapshot.images.get(&format!("{name}:{tag}"));
            (record.map(|record| record.target().to_owned()), tag)
        }
        Reference::Digest(digest) => {
            let is = world.manifests.contains_key(&format!("{name}@{digest}"))
                || tagged(world, name).any(|(_, record)| record.digest == *digest || record.target() == digest);
            (is.then(|| digest.clone()), digest)
        }
    };
    let why = if repositories(world).contains(name) { "has nothing under" } else { "is not there, nor" };
    found.ok_or_else(|| Refusal::new(Code::ManifestUnknown, format!("repository {name} {why} {shown}")))
}

/// One page of a sorted list, and the header that leads to the next.
fn page<'a>(all: impl Iterator<Item = &'a str>, asked: &Page, path: &str) -> Result<(Vec<&'a str>, Option<String>), Refusal> {
    let bad = |text: &String| Refusal::new(Code::PaginationNumberInvalid, format!("n={text:?} is not a number of entries"));
    let wanted = asked.n.as_ref().map(|text| text.parse::<usize>().map_err(|_| bad(text))).transpose()?;
    let count = wanted.unwrap_or(PAGE_MAX).min(PAGE_MAX);
    let mut rest = all.filter(|entry| asked.last.as_deref().is_none_or(|last| *entry > last));
    let entries: Vec<&str> = rest.by_ref().take(count).collect();
    let more = entries.last().filter(|_| rest.next().is_some());
    let link = more.map(|last| format!("<{path}?n={count}&last={}>; rel=\"next\"", api::path::segment(last)));
    Ok((entries, link))
}

fn linked(body: serde_json::Value, link: Option<String>) -> Response {
    let mut response = Json(body).into_response();
    if let Some(value) = link.and_then(|link| HeaderValue::try_from(link).ok()) {
        response.headers_mut().insert(header::LINK, value);
    }
    response
}

/// `GET /v2/_catalog`
pub fn catalog(control: &crate::Control, uri: &Uri) -> Reply {
    let world = control.world.now();
    let (repositories, link) = page(repositories(&world).into_iter(), &query(uri), uri.path())?;
    Ok(linked(json!({"repositories": repositories}), link))
}

/// `GET /v2/<name>/tags/list`
pub fn tags(control: &crate::Control, name: &str, uri: &Uri) -> Reply {
    let world = control.world.now();
    if !repositories(&world).contains(name) {
        return Err(Refusal::new(Code::NameUnknown, format!("there is no repository {name}")).into());
    }
    let (tags, link) = page(tagged(&world, name).map(|(tag, _)| tag), &query(uri), uri.path())?;
    Ok(linked(json!({"name": name, "tags": tags}), link))
}

/// `GET /v2/<name>/referrers/<digest>`
pub fn referrers(control: &crate::Control, (name, digest): (&str, &str), uri: &Uri) -> Reply {
    let world = control.world.now();
    let filter = query::<Filter>(uri).artifact_type;
    let wanted = |held: &HeldManifest| {
        held.subject.as_deref() == Some(digest) && filter.as_ref().is_none_or(|kind| held.artifact_type.as_ref() == Some(kind))
    };
    let manifests: Vec<_> =
        pushed(&world, name).filter(|record| wanted(&record.held)).map(|record| described(&record.held)).collect();
    let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests});
    let mut response = Json(index).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, INDEX);
    if filter.is_some() {
        response.headers_mut().insert(FILTERS, HeaderValue::from_static("artifactType"));
    }
    Ok(response)
}

fn described(held: &HeldManifest) -> serde_json::Value {
    let mut value = json!({"mediaType": held.media_type, "digest": held.digest, "size": held.size});
    if let Some(kind) = &held.artifact_type {
        value["artifactType"] = json!(kind);
    }
    if !held.annotations.is_empty() {
        value["annotations"] = json!(held.annotations);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_one_another() {
        let all = ["a", "b", "c", "d"];
        let page = |n: &str, last: &str| {
            let asked = Page { n: Some(n.to_owned()), last: (!last.is_empty()).then(|| last.to_owned()) };
            page(all.into_iter(), &asked, "/v2/_catalog")
        };
        let next = "</v2/_catalog?n=2&last=b>; rel=\"next\"".to_owned();
        assert_eq!(page("2", ""), Ok((vec!["a", "b"], Some(next))));
        assert_eq!(page("2", "b"), Ok((vec!["c", "d"], None)));
        assert_eq!(page("9", "bb"), Ok((vec!["c", "d"], None)));
        assert_eq!(page("0", ""), Ok((vec![], None)));
        assert_eq!(page("x", "").unwrap_err().code, Code::PaginationNumberInvalid);
    }

    #[test]
    fn names_of_other_registries_are_no_repositories() {
        assert_eq!(place("team/web:1.0"), Some(("team/web", "1.0")));
        assert_eq!(place("127.0.0.1:5000/web:1"), None);
        assert_eq!(place("web@sha256:00"), None);
    }
}
