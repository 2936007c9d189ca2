//! The store as registries see it.

use crate::{digest::Digest, error::on, export, held, push, store::ContentStore, uploads::wanted};
use api::{
    registry::{Code, HeldManifest, Refusal},
    view::{ArchiveFormat, PushRequest},
};
use driver::{Content, Uploads, image::Progress};
use std::{
    fs,
    io::{Read, Write},
};

impl Uploads for ContentStore {
    fn begin(&self) -> Result<String, Refusal> {
        if let Err(error) = self.sweep_when_due() {
            tracing::warn!(%error, "content that nobody needs stays");
        }
        self.uploads().begin(self.layout())
    }

    fn received(&self, upload: &str) -> Result<u64, Refusal> {
        self.uploads().with(self.layout(), upload, |upload| Ok(upload.received()))
    }

    fn append(&self, upload: &str, at: Option<u64>, bytes: &mut dyn Read) -> Result<u64, Refusal> {
        self.uploads().with(self.layout(), upload, |upload| upload.append(at, bytes))
    }

    fn finish(&self, upload: &str, digest: &str) -> Result<(), Refusal> {
        let digest = wanted(digest)?;
        self.uploads().with(self.layout(), upload, |upload| {
            upload.finish(&digest, |file| self.put_blob(&digest, |blob| fs::rename(file, blob).map_err(on("put in place", blob))))
        })
    }

    fn cancel(&self, upload: &str) -> Result<(), Refusal> {
        self.uploads().with(self.layout(), upload, super::uploads::Upload::cancel)
    }
}

impl Content for ContentStore {
    fn hold(&self, manifest: &[u8], media_type: &str) -> Result<HeldManifest, Refusal> {
        held::hold(self, manifest, media_type)
    }

    fn held(&self) -> Vec<String> {
        self.held_digests().iter().map(Digest::to_string).collect()
    }

    fn size(&self, digest: &str) -> Option<u64> {
        self.counted_on(&digest.parse().ok()?)
    }

    fn discard(&self, digest: &str) -> Result<(), Refusal> {
        let digest = wanted(digest)?;
        self.remove_blob(&digest).map_err(held::failed)?.ok_or_else(|| {
            let message = format!("{digest} is needed by a manifest: delete that first");
            Refusal::new(Code::Denied, message)
        })
    }

    fn export(&self, digest: &str, name: &str, format: ArchiveFormat, to: &mut dyn Write) -> driver::Result<()> {
        Ok(export::export(self, (&digest.parse()?, name), format, to)?)
    }

    fn push(&self, request: &PushRequest, progress: Progress<'_>) -> driver::Result<String> {
        Ok(push::push(self, request, progress)?)
    }
}
