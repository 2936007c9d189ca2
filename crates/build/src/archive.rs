//! What is sent: the request, then the context, which the confined process unpacks.

use crate::{
    error::{Error, Result, about},
    work::Work,
};
use api::build::{BLOCK, BuildRequest, CONTEXT, MEMBER, member_size, padding};
use driver::Layers;
use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

/// A build as it was asked for.
pub struct Received {
    /// What is asked for.
    pub request: BuildRequest,
    /// The folder that files are copied from.
    pub context: PathBuf,
}

/// Receives a build into its directory.
pub fn receive(archive: &mut (dyn Read + Send), layers: &dyn Layers, work: &Work) -> Result<Received> {
    let cut = || Error::io("receive the build");
    let mut header = [0; BLOCK];
    archive.read_exact(&mut header).map_err(cut())?;
    let size = member_size(&header)?;
    let mut content = vec![0; usize::try_from(size + padding(size)).unwrap_or_default()];
    archive.read_exact(&mut content).map_err(cut())?;
    content.truncate(usize::try_from(size).unwrap_or_default());
    let request = serde_json::from_slice(&content);
    let request = request.map_err(|error| Error::Wrong(format!("what was sent is no build: {MEMBER}: {error}")))?;
    let whole = work.directory()?;
    layers.unpack(archive, &whole, "the build context")?;
    let context = whole.join(CONTEXT.trim_end_matches('/'));
    match fs::symlink_metadata(&context) {
        Ok(meta) if meta.is_dir() => {}
        Ok(_) => return Err(Error::Wrong(format!("what was sent is no build: its {CONTEXT} is no directory"))),
        // An empty folder is not worth a member.
        Err(_) => fs::create_dir(&context).map_err(Error::io(about("make", &context)))?,
    }
    Ok(Received { request, context })
}

/// Unpacks a file into a directory of its own, if it is an archive.
pub fn unpacked(file: &mut fs::File, layers: &dyn Layers, (work, shown): (&Work, &Path)) -> Result<Option<PathBuf>> {
    use std::io::Seek as _;
    let is_archive = layers.is_archive(file);
    file.rewind().map_err(Error::io(about("read", shown)))?;
    if !is_archive {
        return Ok(None);
    }
    let directory = work.directory()?;
    let what = shown.display().to_string();
    layers.unpack(file, &directory, &what).map_err(|error| Error::Wrong(error.message))?;
    Ok(Some(directory))
}
