//! Images that a build begins or copies from: by the cluster's names, else as pulled before, else from a registry.

use crate::{
    Tools,
    cache::{Cache, Entry, key},
    config::{self, Known},
    error::{Error, Result},
};
use api::{Timestamp, build::BuildRequest, image::LocalImage, view::PullRequest};
use driver::{
    DriverError,
    image::{BlobSource, Progress},
};
use std::collections::BTreeMap;

/// An image that is here.
#[derive(Clone, Debug)]
pub struct Base {
    /// Its layers.
    pub image: LocalImage,
    /// What it says.
    pub known: Known,
}

/// Every image of a build, by its normalised name.
#[derive(Default)]
pub struct Bases(BTreeMap<String, Base>);

/// What is needed to get them.
pub struct Getting<'a> {
    /// The store.
    pub tools: &'a Tools,
    /// What was pulled before.
    pub cache: &'a Cache,
    /// The cluster's names.
    pub request: &'a BuildRequest,
    /// Other servers.
    pub source: &'a dyn BlobSource,
    /// Where progress goes.
    pub progress: Progress<'a>,
}

impl Bases {
    /// One that has been got.
    pub fn get(&self, name: &str) -> Result<&Base> {
        self.0.get(name).ok_or_else(|| Error::Wrong(format!("image {name} was not fetched before the build")))
    }

    /// Triggers of all of them, for planning.
    pub fn triggers(&self) -> BTreeMap<String, Vec<String>> {
        let with = self.0.iter().filter(|(_, base)| !base.known.config.on_build.is_empty());
        with.map(|(name, base)| (name.clone(), base.known.config.on_build.clone())).collect()
    }

    /// Gets one, if it has not been got. `place` is the line that needs it, `architecture` what it is to be for.
    pub fn obtain(&mut self, name: &str, (place, architecture): (&str, &str), getting: &Getting<'_>) -> Result<()> {
        if !self.0.contains_key(name) {
            let no = |why: DriverError| Error::NoImage { place: place.to_owned(), name: name.to_owned(), why: why.message };
            let image = getting.image(name).map_err(no)?;
            let known = config::known(getting.tools.images.as_ref(), &image).map_err(|error| error.at(place))?;
            self.0.insert(name.to_owned(), Base { image, known });
        }
        let there = &self.get(name)?.known.architecture;
        if !there.is_empty() && there != architecture {
            let sentence = format!("image {name} is for linux on {there}, and linux on {architecture} is to be built");
            return Err(Error::Step { place: place.to_owned(), sentence, usage: true });
        }
        Ok(())
    }
}

impl Getting<'_> {
    fn image(&self, name: &str) -> driver::Result<LocalImage> {
        let pinned = name.split_once('@').map(|(_, digest)| digest);
        if let Some(digest) = self.request.images.get(name).map(String::as_str) {
            return self.tools.images.ensure(digest, self.source, self.progress);
        }
        if let Some(image) = pinned.map(|digest| self.tools.images.find(digest)).transpose()?.flatten() {
            return Ok(image);
        }
        let noted = key(&["base", name]);
        if !self.request.no_cache
            && let Some(entry) = self.cache.get(&noted)
            && let Some(image) = self.tools.images.find(&entry.image)?
        {
            return Ok(image);
        }
        let request = PullRequest { image: name.to_owned(), server: None, insecure: false, login: None };
        let image = self.tools.images.pull(&request, self.progress)?;
        let created = Timestamp(base::env::now_millis());
        self.cache.put(&noted, &Entry { image: image.digest.clone(), created });
        Ok(image)
    }
}
