//! The control plane: HTTP API, admission, reconcilers (one file each), server sessions.
//!
//! *Invariant:* decides nothing itself. It keeps a [`api::Snapshot`] in step with the store, hands it to `plan`, and commits what comes
//! back under the guard of the leader's key. Reports and liveness are soft state: lost with the process, sent anew by agents.

pub mod admit;
mod agents;
mod commits;
mod events;
pub mod found;
mod http;
mod leader;
mod liveness;
mod metrics;
mod mirror;
mod proxy;
mod reconcile;
mod registry_tokens;
mod session;
mod settled;
mod tokens;
mod view;
mod world;

use base::supervise::{Scope, Signal};
use std::{net::SocketAddr, path::PathBuf, sync::Arc};
use store::Store;
use tokio::sync::RwLock;
use wire::identity::{Authority, Identity};

pub use tokens::{Grant, grant};
pub use world::Decode;

/// What the control plane needs to know.
pub struct Options {
    /// Server this runs on.
    pub server: api::Name,
    /// Identity of that server: the API's certificate, and what agents are called with.
    pub identity: Identity,
    /// Signs the certificates of servers that join.
    pub authority: Authority,
    /// Where mTLS requests and heartbeats arrive.
    pub listen: SocketAddr,
    /// Where root's requests arrive.
    pub socket: PathBuf,
}

/// Everything parts of the control plane share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Control {
    pub store: Arc<dyn Store>,
    pub world: Arc<world::Shared>,
    pub events: Arc<events::Events>,
    pub agents: Arc<agents::Agents>,
    pub beats: Arc<liveness::Beats>,
    pub cuts: Arc<settled::Cuts>,
    pub authority: Arc<Authority>,
    pub server: api::Name,
    pub leader: leader::Leader,
    pub port: u16,
    /// Wakes the planner.
    pub look: Signal,
    /// Held for reading while content is here that no record leads to yet, for writing while what none leads to is removed.
    pub coming: Arc<RwLock<()>>,
    pub scope: Scope,
}

/// An error that ends the control plane.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The store failed.
    #[error("the cluster's store failed")]
    Store(#[from] store::StoreError),
    /// What is stored cannot be read.
    #[error("the cluster's store cannot be read")]
    Decode(#[from] Decode),
    /// Serving failed.
    #[error("the control plane cannot serve")]
    Serve(#[source] api::Error),
}

/// Runs the control plane until the scope ends.
pub async fn run(options: Options, store: Arc<dyn Store>, scope: Scope) -> Result<(), ControlError> {
    let leader = leader::claim(&*store, &options.server).await?;
    let world = Arc::new(world::Shared::default());
    let agents = agents::Agents::new(options.identity.clone());
    let control = Control {
        store,
        world,
        events: Arc::default(),
        agents: Arc::new(agents),
        beats: Arc::default(),
        cuts: Arc::default(),
        authority: Arc::new(options.authority),
        server: options.server,
        leader,
        port: options.listen.port(),
        look: Signal::new(),
        coming: Arc::default(),
        scope: scope.clone(),
    };
    let listener = wire::server::bind(options.listen).await.map_err(ControlError::Serve)?;
    let heartbeats = wire::heartbeat::Listener::bind(options.listen).await.map_err(ControlError::Serve)?;
    mirror::start(&control).await?;
    liveness::start(&control, heartbeats);
    reconcile::start(&control);
    http::registry::serve(&control, options.identity.clone()).await;
    http::serve(&control, listener, options.identity, options.socket);
    control.scope.stopping().await;
    Ok(())
}
