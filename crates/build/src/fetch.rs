//! What `ADD` fetches from elsewhere: by HTTP, on a thread that is where commands of builds are.

use crate::{
    error::{Error, Result, about},
    stage::Site,
    view,
    work::Work,
};
use nix::sched::{CloneFlags, setns};
use recipe::effect::{Added, Url};
use sha2::{Digest as _, Sha256};
use std::{
    fs::{self, File, Permissions},
    io::{BufWriter, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    time::{Duration, UNIX_EPOCH},
};

/// Permissions of what is fetched.
const MODE: u32 = 0o600;
/// Most bytes of one file.
const MOST: u64 = 16 << 30;
/// A server may take so long to be reached, and to send the next piece.
const PATIENCE: Duration = Duration::from_secs(30);

/// A file that has been fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Where it is, under its own name.
    pub path: PathBuf,
    /// Whether it is unpacked, if it is an archive.
    pub unpack: bool,
    /// Of its content: `sha256:…`.
    pub digest: String,
}

/// Whether what an `ADD` is known by changes with what is fetched: not where a checksum says what it must be.
pub fn decides(added: &Added) -> bool {
    added.urls.iter().any(|url| url.checksum.is_none())
}

/// Fetches everything, in order.
pub fn all(site: &Site<'_>, added: &Added, work: &Work) -> Result<Vec<Fetched>> {
    if let Some(repository) = added.repositories.first() {
        let url = &repository.url;
        return Err(Error::Wrong(format!("ADD {url} is a repository, which Roost does not clone: write RUN git clone {url}")));
    }
    added.urls.iter().map(|url| view::aside(|| one(site, url, work))).collect()
}

fn one(site: &Site<'_>, url: &Url, work: &Work) -> Result<Fetched> {
    if let Some(network) = &site.builder.options.network {
        let file = File::open(network).map_err(Error::io(about("open", network)))?;
        setns(file, CloneFlags::CLONE_NEWNET).map_err(Error::errno("enter the machine's network"))?;
    }
    let path = work.directory()?.join(&url.name);
    // The client takes the process's provider of cryptography; that there is one already is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Error::io("begin to fetch"))?;
    let digest = runtime.block_on(download(site, url, &path))?;
    if let Some(wanted) = url.checksum.as_ref().filter(|wanted| **wanted != digest) {
        return Err(Error::Wrong(format!("{} is not what its checksum says: it has {digest}, not {wanted}", url.url)));
    }
    Ok(Fetched { path, unpack: url.unpack, digest })
}

async fn download(site: &Site<'_>, url: &Url, path: &std::path::Path) -> Result<String> {
    let broken = |error: reqwest::Error| {
        Error::Driver(driver::DriverError::retryable(format!("{} cannot be fetched: {}", url.url, causes(&error))))
    };
    let client = reqwest::Client::builder().connect_timeout(PATIENCE).read_timeout(PATIENCE).build().map_err(broken)?;
    let mut answer = client.get(&url.url).send().await.and_then(reqwest::Response::error_for_status).map_err(broken)?;
    let modified = answer.headers().get(reqwest::header::LAST_MODIFIED).and_then(|value| value.to_str().ok());
    let modified = modified.and_then(|text| jiff::fmt::rfc2822::parse(text).ok()).map(|time| time.timestamp());
    let failed = || Error::io(about("write", path));
    let mut file = BufWriter::new(File::create_new(path).map_err(failed())?);
    let (mut hash, mut length) = (Sha256::new(), 0u64);
    while let Some(piece) = answer.chunk().await.map_err(broken)? {
        site.still_wanted()?;
        length += piece.len() as u64;
        if length > MOST {
            return Err(Error::Wrong(format!("{} has more than {}", url.url, api::Bytes(MOST))));
        }
        hash.update(&piece);
        file.write_all(&piece).map_err(failed())?;
    }
    let file = file.into_inner().map_err(|error| failed()(error.into_error()))?;
    fs::set_permissions(path, Permissions::from_mode(MODE)).map_err(failed())?;
    if let Some(seconds) = modified.and_then(|time| u64::try_from(time.as_second()).ok()) {
        file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).map_err(failed())?;
    }
    Ok(format!("sha256:{}", hex::encode(hash.finalize())))
}

/// An error with its causes: the first says only that something failed.
fn causes(error: &reqwest::Error) -> String {
    let mut causes = Vec::new();
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !causes.iter().any(|known: &String| known.contains(&text)) {
            causes.push(text);
        }
        next = error.source();
    }
    causes.join(": ")
}
