//! Names of images, as people type them and as clients of the registry ask for them.

use api::registry::{
    asked::{Asked, Reference},
    is_repository, is_tag,
};

/// Most characters of a name as people type it; with the well-known registry before it, it may be longer.
const LONGEST_NAME: usize = 255;

/// The same text as a name and as a path.
pub fn holds(bytes: &[u8]) {
    let Some(text) = crate::text(bytes) else { return };
    name_holds(text);
    path_holds(text);
    path_holds(&format!("/v2/{text}"));
}

fn name_holds(text: &str) {
    match api::image::normalise(text) {
        Ok(name) => {
            assert_eq!(api::image::normalise(&name).as_ref(), Ok(&name), "normalised twice is something else");
            assert!(name.starts_with(text), "{text:?} became {name:?}");
            assert!(!name.contains("..") || text.contains(".."), "{name:?}");
            assert!(!name.split('/').any(|part| matches!(part, "" | "." | "..")), "{name:?} climbs");
        }
        Err(error) => crate::sentence(&error.message),
    }
    match image::reference(text) {
        Ok(reference) => {
            assert!(is_repository(reference.repository()), "{:?} is no repository", reference.repository());
            let whole = reference.to_string();
            if whole.len() > LONGEST_NAME {
                return;
            }
            assert_eq!(image::reference(&whole).map(|again| again.to_string()).ok(), Some(whole), "printed, it is another");
        }
        Err(error) => crate::sentence(&error),
    }
}

fn path_holds(path: &str) {
    let asked = match Asked::parse(path) {
        Ok(asked) => asked,
        Err(refusal) => return crate::sentence(&refusal),
    };
    let again = match &asked {
        Asked::Base => "/v2/".to_owned(),
        Asked::Catalog => "/v2/_catalog".to_owned(),
        Asked::Tags { name } => repository(name, "tags/list"),
        Asked::Manifest { name, reference: Reference::Tag(tag) } => {
            assert!(is_tag(tag), "{tag:?} is no tag");
            repository(name, &format!("manifests/{tag}"))
        }
        Asked::Manifest { name, reference: Reference::Digest(digest) } => repository(name, &format!("manifests/{digest}")),
        Asked::Blob { name, digest } => repository(name, &format!("blobs/{digest}")),
        Asked::Uploads { name } => repository(name, "blobs/uploads/"),
        Asked::Upload { name, upload } => repository(name, &format!("blobs/uploads/{upload}")),
        Asked::Referrers { name, digest } => repository(name, &format!("referrers/{digest}")),
    };
    assert_eq!(Asked::parse(&again), Ok(asked), "{path:?} and {again:?} ask for different things");
}

fn repository(name: &str, rest: &str) -> String {
    assert!(is_repository(name), "{name:?} is no repository");
    format!("/v2/{name}/{rest}")
}
