//! `roost manager`: the control plane as a process.

use crate::{config, daemon};
use api::{Error, Kind, Result, path};
use base::supervise::Scope;
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};
use store::embedded::Embedded;
use wire::identity::{Authority, Identity};

/// Where the cluster's state is.
pub fn store_file() -> PathBuf {
    config::state("store.redb")
}

/// Where the authority's certificate and key are; only on managers.
pub fn authority_dir() -> PathBuf {
    config::state("authority")
}

/// Keeps the authority, key readable by root only.
pub fn save_authority(authority: &Authority) -> Result<()> {
    let certificate = authority.certificate_pem().to_owned();
    let identity = Identity { certificate: certificate.clone(), key: authority.key_pem(), authority: certificate };
    identity.save(&authority_dir())
}

fn load_authority() -> Result<Authority> {
    let identity = Identity::load(&authority_dir())?;
    Authority::from_pem(&identity.certificate, &identity.key)
}

/// Runs the control plane until asked to end.
pub fn run() -> Result<()> {
    let config = config::require()?;
    let options = control::Options {
        server: config.name.clone(),
        identity: Identity::load(&config::identity())?,
        authority: load_authority()?,
        listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, path::MANAGER_PORT)),
        socket: PathBuf::from(path::SOCKET),
    };
    config::directory(&PathBuf::from(path::RUN_DIR))?;
    let _ = fs::remove_file(path::SOCKET);
    let opened = Embedded::open(&store_file());
    let store = opened.map_err(|error| Error::from_chain(Kind::Failed, "the cluster's store cannot be opened", &error))?;
    daemon::serve("manager", |scope: Scope| async move {
        let ended = control::run(options, Arc::new(store), scope.clone()).await;
        ended.map_err(|error| Error::from_chain(Kind::Failed, "the control plane ended", &error))
    })
}
