//! Another name for an image that is here.

use super::{Answer, Body, Changed, Decision, ImageRecord, Path, State, Trying, change, normalise};
use crate::{Control, admit};
use api::{Error, Timestamp, key};
use axum::{Json, extract::Query};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

/// The other name.
#[derive(Deserialize, JsonSchema)]
pub struct Tagging {
    /// As in `web:2`. One that leads to another image leads to this one from now on.
    to: String,
}

/// `POST /v1/images/{name}/tag`
pub async fn tag(
    State(control): State<Control>,
    Path(name): Path<String>,
    Query(trying): Query<Trying>,
    Body(request): Body<Tagging>,
) -> Answer<Changed> {
    let to = normalise(&request.to)?;
    if to.contains('@') {
        let hint = "give it a name and a tag, as in web:2";
        return Err(Error::usage(format!("{to} names content by its digest, which is no other name of it")).hint(hint).into());
    }
    // The content is not pruned between the look and the name.
    let _coming = super::coming(&control).await;
    let changed = change(&control, trying.dry_run, |world| {
        let image = admit::image::find(&world.snapshot, &name)?;
        let there = world.snapshot.images.get(&to).map(Arc::as_ref);
        let same = |other: &ImageRecord| other.digest == image.digest && other.index == image.index;
        if there.is_some_and(same) {
            return Ok(Decision::unchanged(format!("{to} leads to {name} already")));
        }
        let record = ImageRecord { name: to.clone(), created: Timestamp(base::env::now_millis()), ..image.clone() };
        Decision::saying(format!("give image {} the name {to}", image.name)).put(world, format!("{}{to}", key::IMAGES), &record)
    });
    Ok(Json(changed.await?))
}
