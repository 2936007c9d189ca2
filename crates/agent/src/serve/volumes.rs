//! Named volumes of this server, removed when nobody mounts them.

use super::Shared;
use api::error::{Error, Result};
use axum::{
    Json,
    extract::{Path, State},
};
use base::supervise::Scope;
use wire::server::ApiError;

/// `DELETE /v1/volumes/{volume}`: refused while an instance mounts it. One that is not there is gone already.
pub async fn delete(State(inner): Shared, Path(volume): Path<String>) -> Result<Json<()>, ApiError> {
    if !api::validate::is_volume(&volume) {
        return Err(ApiError(Error::usage(format!("{volume:?} is not a volume's name"))));
    }
    let user = {
        let state = inner.lock();
        let told = state.told.as_ref();
        let pods = told.into_iter().flat_map(|told| told.pods.values().map(move |pod| (pod, told.templates.get(&pod.template))));
        let mounts = |template: &api::spec::PodTemplate| {
            template.containers.iter().any(|container| container.mounts.iter().any(|mount| mount.source == volume))
        };
        pods.filter(|(_, template)| template.is_some_and(|template| mounts(template))).map(|(pod, _)| pod.display.clone()).next()
    };
    if let Some(user) = user {
        return Err(ApiError(Error::conflict(format!("volume {volume} is mounted by {user}"))));
    }
    let place = inner.volumes.join(&volume);
    let gone = Scope::blocking(move || match std::fs::remove_dir_all(&place) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::failed(format!("cannot remove {}: {error}", place.display())))
        }
        _ => Ok(()),
    });
    gone.await.map_err(Error::failed)??;
    tracing::info!(volume, "volume removed");
    Ok(Json(()))
}
