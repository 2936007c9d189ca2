//! Pulls from a registry (OCI distribution specification; Docker's registry API, version 2).

use crate::{
    digest::Digest,
    error::{Error, Result},
    fetch::{self, Here, Source},
    held,
    manifest::{Descriptor, MAX_MANIFEST},
    store::{ContentStore, Turn},
};
use api::{
    image::{ImageProgress, LocalImage},
    view::{Login, PullRequest},
};
use driver::image::Progress;
use futures_util::{StreamExt as _, stream::BoxStream};
use oci_client::{
    Client, Reference, RegistryOperation,
    client::{BlobResponse, ClientConfig, ClientProtocol},
    errors::{OciDistributionError, OciErrorCode, Result as PushResult},
    secrets::RegistryAuth,
};
use std::{
    io::{self, Read},
    net::IpAddr,
    time::Duration,
};
use tokio::runtime::{Builder, Handle, Runtime};

/// To reach a registry at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two pieces of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two lines of progress of what is sent.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);
/// Media types asked for: OCI's and Docker's, of manifests and indexes.
const ACCEPT: [&str; 4] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// Pulls an image.
pub fn pull(store: &ContentStore, request: &PullRequest, progress: Progress<'_>) -> Result<LocalImage> {
    let reference = reference(&request.image)?;
    let runtime = runtime()?;
    let registry = Registry::new(reference, (request.insecure, request.login.as_ref()), runtime.handle().clone())?;
    let what = format!("image {}", request.image);
    progress(ImageProgress::Working { message: format!("asking {} for {what}", registry.reference.registry()) });
    let top = registry.top(&what)?;
    let (digest, manifest) = registry.resolve(&top, &what)?;
    let image = match store.turn(&digest) {
        Turn::Here(image) => *image,
        Turn::Ours(_busy) => {
            let work = store.work(progress)?;
            fetch::image(&work, &manifest, &Here { work: &work, elsewhere: &registry })?
        }
    };
    if Digest::of(&top) == digest {
        return Ok(image);
    }
    held::hold_index(store, &top)?;
    Ok(LocalImage { index: Some(Digest::of(&top).to_string()), ..image })
}

/// One thread that moves bytes; those that wait for layers wait on it.
pub fn runtime() -> Result<Runtime> {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.map_err(|source| Error::Io { what: "cannot start a runtime".to_owned(), source })
}

/// The reference, with the well-known registry when it names none.
pub fn reference(text: &str) -> Result<Reference> {
    let bad = |why: &dyn std::fmt::Display| Error::request(format!("{text:?} is not an image in a registry: {why}"));
    api::image::normalise(text).map_err(|e| Error::request(e.to_string()))?;
    let reference: Reference = text.parse().map_err(|e| bad(&e))?;
    // A first part with capital letters but neither dot nor port is no registry, and is taken for a part of the name.
    if !api::registry::is_repository(reference.repository()) {
        return Err(bad(&format_args!("{:?} is not the name of a repository, which has small letters", reference.repository())));
    }
    Ok(reference)
}

/// One repository of a registry, and how to speak with it.
pub struct Registry {
    /// What was named.
    pub reference: Reference,
    client: Client,
    auth: RegistryAuth,
    handle: Handle,
}

impl Registry {
    /// Plain HTTP is spoken on loopback, and elsewhere when asked for.
    pub fn new(reference: Reference, (insecure, login): (bool, Option<&Login>), handle: Handle) -> Result<Self> {
        let plain = insecure || is_loopback(reference.resolve_registry());
        let auth = login.map_or(RegistryAuth::Anonymous, |l| RegistryAuth::Basic(l.user.clone(), l.password.clone()));
        let config = ClientConfig {
            protocol: if plain { ClientProtocol::Http } else { ClientProtocol::Https },
            connect_timeout: Some(CONNECT_TIMEOUT),
            read_timeout: Some(READ_TIMEOUT),
            use_monolithic_push: true,
            user_agent: concat!("roost/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        // The client takes the process's provider of cryptography. It is the one everything else here uses; that somebody else has
        // installed it already is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::try_from(config).map_err(|e| Error::request(format!("cannot set up a registry client: {e}")))?;
        handle.block_on(client.store_auth_if_needed(reference.resolve_registry(), &auth));
        Ok(Self { reference, client, auth, handle })
    }

    /// Asks for leave to push.
    pub fn may_push(&self) -> Result<()> {
        let asked = self.client.auth(&self.reference, &self.auth, RegistryOperation::Push);
        self.handle.block_on(asked).map(drop).map_err(|e| sentence(e, &self.reference))
    }

    /// Whether it has a blob.
    pub fn has(&self, digest: &Digest) -> Result<bool> {
        let asked = self.client.blob_exists(&self.reference, digest.as_str());
        self.handle.block_on(asked).map_err(|e| sentence(e, &self.reference))
    }

    /// Sends a blob; `going` is asked now and then whether to go on.
    pub fn put_blob(
        &self,
        digest: &Digest,
        (pieces, size): (BoxStream<'static, PushResult<bytes::Bytes>>, u64),
        mut going: impl FnMut() -> bool,
    ) -> Result<()> {
        let push = self.client.push_blob_stream(&self.reference, pieces, digest.as_str(), Some(size));
        let watched = async {
            tokio::pin!(push);
            let mut clock = tokio::time::interval(PROGRESS_EVERY);
            loop {
                tokio::select! {
                    done = &mut push => return done.map(drop).map_err(|e| sentence(e, &self.reference)),
                    _ = clock.tick() => if !going() {
                        return Err(Error::Elsewhere(format!("sending {digest} was given up because another blob failed")));
                    }
                }
            }
        };
        self.handle.block_on(watched)
    }

    /// Sends a manifest.
    pub fn put_manifest(&self, to: &Reference, bytes: &[u8], media_type: &str) -> Result<()> {
        let kind = media_type.parse().map_err(|_| Error::content(format!("{media_type:?} is not a media type")))?;
        let push = self.client.push_manifest_raw(to, bytes.to_vec(), kind);
        self.handle.block_on(push).map(drop).map_err(|e| sentence(e, to))
    }

    /// The manifest or index that was named.
    fn top(&self, what: &str) -> Result<Vec<u8>> {
        let (bytes, digest) = self.manifest(&self.reference)?;
        if bytes.len() as u64 > MAX_MANIFEST {
            return Err(Error::content(format!("the manifest of {what} has more than {MAX_MANIFEST} bytes")));
        }
        let actual = Digest::of(&bytes);
        if digest.parse::<Digest>().is_ok_and(|claimed| claimed != actual) {
            return Err(Error::content(format!("the manifest of {what} is damaged: it has another digest than {digest}")));
        }
        Ok(bytes)
    }

    fn resolve(&self, top: &[u8], what: &str) -> Result<(Digest, Vec<u8>)> {
        let actual = Digest::of(top);
        let start = Descriptor::new("", actual.clone(), top.len() as u64);
        let open = |wanted: &Digest| {
            if *wanted == actual {
                return Ok(top.to_vec());
            }
            let (bytes, _) = self.manifest(&self.reference.clone_with_digest(wanted.to_string()))?;
            if Digest::of(&bytes) == *wanted {
                return Ok(bytes);
            }
            Err(Error::content(format!("the manifest of {what} is damaged: it has another digest than {wanted}")))
        };
        fetch::resolve(start, &open, what)
    }

    fn manifest(&self, reference: &Reference) -> Result<(Vec<u8>, String)> {
        let answer = self.handle.block_on(self.client.pull_manifest_raw(reference, &self.auth, &ACCEPT));
        answer.map(|(bytes, digest)| (bytes.to_vec(), digest)).map_err(|e| sentence(e, &self.reference))
    }
}

impl Source for Registry {
    fn open(&self, digest: &Digest, offset: u64) -> Result<Box<dyn Read + Send>> {
        let answer = self.handle.block_on(self.client.pull_blob_stream_partial(&self.reference, digest.as_str(), offset, None));
        let (stream, skip) = match answer.map_err(|e| sentence(e, &self.reference))? {
            BlobResponse::Partial(stream) => (stream, 0),
            // It does not know ranges: everything comes again.
            BlobResponse::Full(stream) => (stream, offset),
        };
        let mut reader = Transfer { stream: stream.stream, handle: self.handle.clone(), piece: bytes::Bytes::new() };
        io::copy(&mut (&mut reader).take(skip), &mut io::sink())
            .map_err(|e| Error::Elsewhere(format!("reading {digest} again: {e}")))?;
        Ok(Box::new(reader))
    }
}

/// A body as a reader.
struct Transfer {
    stream: BoxStream<'static, io::Result<bytes::Bytes>>,
    handle: Handle,
    piece: bytes::Bytes,
}

impl Read for Transfer {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.handle.block_on(self.stream.next()) {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let n = self.piece.len().min(into.len());
        let part = self.piece.split_to(n);
        into.get_mut(..n).unwrap_or_default().copy_from_slice(&part);
        Ok(n)
    }
}

/// Whether a registry (host, or host and port) is on this machine, where plain HTTP can be read by nobody else.
fn is_loopback(registry: &str) -> bool {
    let host = match registry.rsplit_once(':') {
        _ if registry.parse::<IpAddr>().is_ok() => registry,
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !host.is_empty() => host,
        _ => registry,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// What went wrong, as a sentence about the image and the registry.
fn sentence(error: OciDistributionError, reference: &Reference) -> Error {
    let registry = reference.registry();
    let image = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => format!("{}@{digest}", reference.repository()),
        (None, tag) => format!("{}:{}", reference.repository(), tag.unwrap_or("latest")),
    };
    let missing = || Error::request(format!("no image {image} in registry {registry}"));
    let denied =
        || Error::request(format!("registry {registry} refuses us {image}: it does not exist there, or needs a login (--user)"));
    let status = |code: u16| match code {
        401 | 403 => denied(),
        404 => missing(),
        code => Error::Elsewhere(format!("registry {registry} answered with status {code}")),
    };
    match error {
        OciDistributionError::ImageManifestNotFoundError(_) => missing(),
        OciDistributionError::RegistryError { envelope, .. } => match envelope.errors.first().map(|e| &e.code) {
            Some(OciErrorCode::ManifestUnknown | OciErrorCode::NameUnknown | OciErrorCode::NotFound) => missing(),
            Some(OciErrorCode::Unauthorized | OciErrorCode::Denied) => denied(),
            Some(OciErrorCode::Toomanyrequests) => {
                Error::Elsewhere(format!("registry {registry} takes no more requests for now"))
            }
            _ => Error::Elsewhere(format!("registry {registry} refused {image}: {envelope}")),
        },
        OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_) => denied(),
        OciDistributionError::ServerError { code, .. } => status(code),
        OciDistributionError::DigestError(e) => {
            Error::content(format!("what registry {registry} sent for {image} is damaged: {e}"))
        }
        OciDistributionError::RequestError(e) => match e.status() {
            Some(code) => status(code.as_u16()),
            None => Error::Elsewhere(format!("registry {registry} does not answer: {}", root_cause(&e))),
        },
        other => Error::Elsewhere(format!("registry {registry} cannot be used for {image}: {other}")),
    }
}

/// The innermost cause, which is the one that says something.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    let text = cause.to_string().to_lowercase();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        for here in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.3.2.1", "[::1]:5000", "::1"] {
            assert!(is_loopback(here), "{here}");
        }
        for there in ["registry.example", "127.0.0.1.example:5000", "localhost.example", "10.0.0.1:5000", "[fe80::1]:5000"] {
            assert!(!is_loopback(there), "{there}");
        }
    }

    #[test]
    fn references() {
        let full = reference("127.0.0.1:5000/team/web:1.0").unwrap();
        assert_eq!((full.registry(), full.repository(), full.tag()), ("127.0.0.1:5000", "team/web", Some("1.0")));
        assert_eq!(reference("nginx").unwrap().tag(), Some("latest"));
        for bad in ["", "Web", "web:", "a b", "http://x/y", "../x", "x@sha256:12", "Team/web"] {
            assert!(reference(bad).is_err(), "{bad}");
        }
    }
}
