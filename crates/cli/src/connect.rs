//! Which cluster is meant: the socket given, this server's, or the one sandbox on this machine.

use crate::args::Global;
use api::{Error, Kind, Result, path};
use std::path::{Path, PathBuf};
use wire::client::Client;

/// Environment variable with the socket of the cluster to talk to. Empty means none.
const SOCKET_VARIABLE: &str = "ROOST_SOCKET";

/// The client to the cluster.
pub fn client(global: &Global) -> Result<Client> {
    Ok(Client::unix(socket(global)?))
}

fn socket(global: &Global) -> Result<PathBuf> {
    let told = || std::env::var_os(SOCKET_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    if let Some(path) = global.socket.clone().or_else(told) {
        return Ok(path);
    }
    let own = PathBuf::from(path::SOCKET);
    if own.exists() {
        return Ok(own);
    }
    let mut sandboxes = sandboxes(Path::new(path::SANDBOX_DIR));
    match sandboxes.len() {
        0 => Err(Error::new(Kind::Unreachable, "Roost does not run on this machine")
            .hint("start it: roost up -d, join a cluster: roost join <token>, or try it: roost sandbox up")),
        1 => Ok(sandboxes.remove(0)),
        n => match sandboxes.iter().position(|path| path.to_string_lossy().contains("/default/")) {
            Some(default) => Ok(sandboxes.remove(default)),
            None => Err(Error::usage(format!("{n} sandboxes run on this machine: say which with --socket <path>"))
                .detail(sandboxes.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" "))),
        },
    }
}

/// The first server's socket of each sandbox.
fn sandboxes(base: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(base) else { return Vec::new() };
    let sockets = entries.flatten().map(|entry| entry.path().join("s1/run/roost/api.sock"));
    let mut found: Vec<_> = sockets.filter(|path| path.exists()).collect();
    found.sort();
    found
}
