//! An image of a container as it stands.

use super::{Instance, Shared, images};
use crate::{engine::Inner, exec, hold::Hold};
use api::{
    error::{Error, Result},
    name::{InstanceId, Name},
    view::CommitOrder,
};
use axum::{extract::State, response::Response};
use driver::{DriverError, image::BlobSource};
use std::sync::Arc;
use wire::server::{ApiError, Body};

/// `POST …/commit`. The record that is answered bears the digest as its name: the cluster's is given by who asked.
pub async fn commit(State(inner): Shared, Instance(id): Instance, Body(order): Body<CommitOrder>) -> Result<Response, ApiError> {
    let container = super::container(&inner, id, order.container.clone())?;
    let (base, source) = base(&inner, id, &container)?;
    let engine = Arc::clone(&inner);
    images::work(inner, id.to_string(), move |images, progress| {
        // One that was never started may have its image elsewhere.
        images.ensure(&base, source.as_ref(), progress)?;
        let failed = |error: Error| DriverError::retryable(error.message);
        let mut hold = Hold::take(&engine, id).map_err(failed)?;
        if order.pause {
            hold.still().map_err(failed)?;
        }
        let upper = engine.drivers.inspect.writable_layer(id, Some(&container))?;
        images.commit(&base, upper.as_ref(), &order.change, progress)
    })
}

/// The image a container was made of, and where it comes from if it is not here.
fn base(inner: &Inner, id: InstanceId, container: &Name) -> Result<(String, Arc<dyn BlobSource>)> {
    let state = inner.lock();
    let (told, assignment) = state.told(id).zip(state.told.as_ref()).ok_or_else(|| exec::absent(id))?;
    let template = told.template.containers.iter().find(|one| one.name == *container);
    let digest = template.and_then(|template| template.image.digest.clone());
    let digest = digest.ok_or_else(|| Error::failed(format!("the image of container {container} has no digest")))?;
    Ok((digest, (inner.sources)(assignment)))
}
