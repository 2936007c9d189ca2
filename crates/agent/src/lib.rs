//! The agent: makes one server what the control plane says it is, and says what it is.
//!
//! `ledger` keeps the last assignment on disk; `engine` holds one state and the workers that make it true; `steps` decides
//! the next step of each pod, purely; `session` speaks with the manager; `serve` answers people's commands on instances.
//!
//! *Invariant:* a pod that runs is never restarted because the agent, the manager or the network between them was away.
//! The agent imports drivers as traits only, and nothing of the control plane.

mod archive;
mod blobs;
mod boot;
mod changes;
mod copies;
mod dataplane;
mod engine;
mod exec;
mod health;
mod hold;
mod ledger;
mod logs;
mod observe;
mod plane;
mod prepare;
mod report;
mod resolve;
mod serve;
mod session;
mod signals;
mod state;
mod steps;
#[cfg(test)]
mod testing;
mod usage;
mod volumes;
mod worker;

pub use changes::{ChangedReceiver, changed};

use api::{assignment::Assignment, name::Name, server::ServerFacts};
use base::supervise::Scope;
use driver::{Builder, Content, Images, Network, Runtime, runtime::Inspect};
use engine::{Engine, Setup};
use std::{net::SocketAddr, path::PathBuf, sync::Arc};
use tokio::sync::watch;
use wire::identity::Identity;

/// How an agent is to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its own server.
    pub server: Name,
    /// The control plane.
    pub manager: SocketAddr,
    /// The server's certificate and key.
    pub identity: Identity,
    /// Holds ledger and volumes.
    pub state_dir: PathBuf,
    /// Made at the start if it is not there; sockets are in it.
    pub run_dir: PathBuf,
    /// Its own API; other servers' agents are expected at the same port.
    pub listen: SocketAddr,
    /// Pods handled at once.
    pub parallel: usize,
    /// What the server has.
    pub facts: ServerFacts,
    /// On a server that is no manager: root's socket there, a tunnel to the manager.
    pub tunnel_socket: Option<PathBuf>,
    /// When the manager says that this server is no member of the cluster: stop and remove everything, and forget.
    pub forget_on_refusal: bool,
}

/// Everything an agent acts with.
#[derive(Clone)]
pub struct Drivers {
    /// By `info().kind`.
    pub runtimes: Vec<Arc<dyn Runtime>>,
    /// Eyes on pods, shared by the runtimes.
    pub inspect: Arc<dyn Inspect>,
    /// The kernel's network.
    pub network: Arc<dyn Network>,
    /// The content store.
    pub images: Arc<dyn Images>,
    /// The same, as registries see it.
    pub content: Arc<dyn Content>,
    /// Makes new images.
    pub builder: Arc<dyn Builder>,
    /// Given the assignment whose names are to be answered for, at the start and when they or the subnet change.
    pub names: Arc<dyn Fn(&Assignment) + Send + Sync>,
}

/// Why an agent could not run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// It could not begin.
    #[error("agent: {0}")]
    Start(#[from] engine::StartError),
    /// It could not speak or listen.
    #[error("agent: {0}")]
    Wire(#[from] api::Error),
    /// A directory could not be made.
    #[error("agent: directory {path}: {source}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Runs until the scope ends. Pods go on without it.
pub async fn run(options: Options, drivers: Drivers, changed: ChangedReceiver, scope: Scope) -> Result<(), AgentError> {
    let run_dir = options.run_dir.clone();
    std::fs::create_dir_all(&run_dir).map_err(|source| AgentError::Directory { path: run_dir, source })?;
    let listener = wire::server::bind(options.listen).await?;
    let setup = Setup {
        server: options.server.clone(),
        state_dir: options.state_dir.clone(),
        parallel: options.parallel,
        drivers,
        sources: blobs::sources(&options, tokio::runtime::Handle::current()),
        scope: scope.clone(),
    };
    let engine = Engine::start(setup, changed).await?;
    let router = serve::router(&engine);
    let serve = wire::server::serve_tls_on(router, listener, options.identity.clone(), scope.clone());
    scope.component("agent's API", async move { serve.await.map_err(|error| error.message) });
    tunnel(&options, &scope);
    let session = session::Session { options, engine };
    scope.component("session", session.run());
    scope.stopping().await;
    Ok(())
}

fn tunnel(options: &Options, scope: &Scope) {
    let Some(path) = options.tunnel_socket.clone() else { return };
    let (manager, identity, own) = (options.manager, options.identity.clone(), scope.clone());
    scope.component("root's socket", async move {
        let (_keep, manager) = watch::channel(manager);
        wire::server::tunnel(&path, manager, identity, own).await.map_err(|error| error.message)
    });
}
