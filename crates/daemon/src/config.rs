//! What this machine remembers of being a server: one small file, and the places everything else is at.

use api::{Error, Name, Result, path};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

/// The file. Read at each start of daemon, manager and agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// [`api::FORMAT_VERSION`] of whoever wrote it.
    pub format: u32,
    /// Name of this server.
    pub name: Name,
    /// Address other servers reach it at.
    pub address: IpAddr,
    /// Runs the control plane as well.
    pub manager: bool,
    /// Where the control plane answers.
    pub control: SocketAddr,
    /// Names of containers end in this.
    pub domain: String,
}

/// A place below the state directory.
pub fn state(part: &str) -> PathBuf {
    Path::new(path::STATE_DIR).join(part)
}

/// A place below the run directory.
pub fn run_dir(part: &str) -> PathBuf {
    Path::new(path::RUN_DIR).join(part)
}

/// Where the identity of this server is.
pub fn identity() -> PathBuf {
    state("identity")
}

fn file() -> PathBuf {
    state("config.json")
}

/// What this machine remembers; none when it is no server.
pub fn load() -> Result<Option<Config>> {
    let text = match fs::read(file()) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(&error)),
    };
    let config: Config = serde_json::from_slice(&text).map_err(|error| unreadable(&error))?;
    if config.format > api::FORMAT_VERSION {
        return Err(
            Error::failed(format!("{} was written by a newer Roost", file().display())).hint("install that version again")
        );
    }
    Ok(Some(config))
}

fn unreadable(error: &dyn std::error::Error) -> Error {
    Error::from_chain(api::Kind::Failed, format!("{} cannot be read", file().display()), error)
}

/// The same, where it must be there.
pub fn require() -> Result<Config> {
    load()?.ok_or_else(|| Error::not_found("this machine is no server of a cluster").hint("roost up -d, or roost join <token>"))
}

/// Remembers, all or nothing.
pub fn save(config: &Config) -> Result<()> {
    let failed = |error: std::io::Error| Error::failed(format!("cannot write {}: {error}", file().display()));
    let text = serde_json::to_vec_pretty(config).map_err(|error| Error::failed(error.to_string()))?;
    directory(Path::new(path::STATE_DIR))?;
    let fresh = state("config.json.new");
    fs::write(&fresh, text).map_err(failed)?;
    fs::rename(&fresh, file()).map_err(failed)
}

/// A directory only root can look into.
pub fn directory(path: &Path) -> Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    let failed = |error: std::io::Error| Error::failed(format!("cannot make {}: {error}", path.display()));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o711)).map_err(failed)
}
