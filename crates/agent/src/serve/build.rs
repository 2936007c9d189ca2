//! Images built here.

use super::{Shared, files, images};
use crate::engine::Inner;
use api::{error::Result, image::ImageProgress};
use axum::{body::Body, extract::State, response::Response};
use driver::{DriverError, image::BlobSource};
use std::{io::Read, sync::Arc};
use wire::server::ApiError;

/// `POST /v1/images/build`; an archive as in `api::build`. The record that is answered has no name of the cluster's: that is given
/// by who asked.
pub async fn build(State(inner): Shared, body: Body) -> Result<Response, ApiError> {
    let mut archive = files::reader(&inner.scope, body);
    let (source, shared) = (source(&inner), Arc::clone(&inner));
    images::listened((&inner, &inner.image_works), move |progress, given_up| {
        let image = shared.drivers.builder.build(&mut archive, source.as_ref(), progress, given_up)?;
        let record = images::arrived(&shared, "build".to_owned(), image);
        Ok(ImageProgress::Done { image: Box::new(record) })
    })
}

/// Where images come from that are not here.
fn source(inner: &Inner) -> Arc<dyn BlobSource> {
    let told = inner.lock().told.clone();
    told.map_or_else(|| Arc::new(Nowhere) as Arc<dyn BlobSource>, |told| (inner.sources)(&told))
}

/// Before the first assignment nobody is known.
struct Nowhere;

impl BlobSource for Nowhere {
    fn open(&self, digest: &str) -> driver::Result<Box<dyn Read + Send>> {
        Err(DriverError::retryable(format!("{digest} is not here, and no other server is known yet")))
    }
}
