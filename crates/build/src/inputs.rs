//! What a step depends on besides what it says: the files it reads, as digests for its key.

use crate::{cache::key, copy, error::Result, fetch::Fetched, root::Root, stage::Site, view, work::Work};
use recipe::{
    Effect, Ignore, StageId,
    effect::{Mount, Origin, Source},
};

/// Files that a step reads.
struct Read<'a> {
    sources: &'a [Source],
    excludes: &'a Ignore,
    /// What tells them from all others that are read of the same stage.
    told: String,
}

impl Site<'_> {
    /// Digests of what a step reads; `text` is all that it says.
    pub fn inputs(&self, (effect, text): (&Effect, &str), fetched: &[Fetched], work: &Work) -> Result<Vec<String>> {
        match effect {
            Effect::Copy(copied) => {
                let excludes = copied.to.ignore();
                let read = Read { sources: &copied.sources, excludes: &excludes, told: text.to_owned() };
                Ok(vec![self.read(&copied.from, &read, work)?])
            }
            Effect::Add(added) => {
                let excludes = added.to.ignore();
                let read = Read { sources: &added.sources, excludes: &excludes, told: String::new() };
                let own = self.read(&Origin::Context, &read, work)?;
                Ok(std::iter::once(own).chain(fetched.iter().map(|file| file.digest.clone())).collect())
            }
            Effect::Run(run) => {
                let from = run.mounts.iter().filter_map(|mount| match mount {
                    Mount::Bind { from, source, .. } | Mount::Cache { from, source, .. } => Some((from, source)),
                    Mount::Secret { .. } | Mount::Tmpfs { .. } => None,
                });
                from.map(|(from, source)| {
                    let sources = [Source { path: source.clone(), keep_below: None }];
                    let read = Read { sources: &sources, excludes: &Ignore::default(), told: format!("mount {source}") };
                    self.read(from, &read, work)
                })
                .collect()
            }
            Effect::Workdir(_) | Effect::Metadata => Ok(Vec::new()),
        }
    }

    fn read(&self, origin: &Origin, read: &Read<'_>, work: &Work) -> Result<String> {
        match origin {
            Origin::Context => {
                let root = Root::open(&self.received.context)?;
                copy::digest(&root, read.sources, ("the build context", read.excludes, false))
            }
            Origin::Scratch => Ok(String::new()),
            Origin::Image(name) => Ok(self.bases.get(name)?.image.digest.clone()),
            Origin::Stage(id) => self.read_of_stage(*id, read, work),
        }
    }

    /// Of a stage only what is read counts: one that was made anew may hold the same. Looked at once for each stage as it is.
    fn read_of_stage(&self, id: StageId, read: &Read<'_>, work: &Work) -> Result<String> {
        let built = self.complete(id)?;
        let Some(image) = &built.chain.image else { return Ok(String::new()) };
        let known = key(&["read", &image.digest, &read.told]);
        if let Some(digest) = self.builder.cache.read(&known) {
            return Ok(digest);
        }
        let (whole, scratch) = (work.directory()?, work.directory()?);
        let digest = view::apart(|| {
            view::overlay(&image.layers, None, (&whole, &scratch))?;
            let called = format!("stage {}", self.shown(id));
            copy::digest(&Root::open(&whole)?, read.sources, (&called, read.excludes, true))
        })?;
        self.builder.cache.put_read(&known, &digest);
        Ok(digest)
    }
}
