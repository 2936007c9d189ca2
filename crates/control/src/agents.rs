//! Clients to the agents' own APIs, one for each server, made when first needed.

use api::{Error, Name, Result, path, server::ServerSpec};
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};
use wire::{client::Client, identity::Identity};

/// The clients.
pub struct Agents {
    identity: Identity,
    clients: Mutex<HashMap<Name, (SocketAddr, Client)>>,
}

impl Agents {
    /// Speaks with the manager's identity.
    pub fn new(identity: Identity) -> Self {
        Self { identity, clients: Mutex::default() }
    }

    /// The client to a server's agent.
    pub fn client(&self, server: &ServerSpec) -> Result<Client> {
        let address = SocketAddr::new(server.address, path::AGENT_PORT);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, client)) = clients.get(&server.name)
            && *known == address
        {
            return Ok(client.clone());
        }
        let client = Client::tls_to(address, &self.identity, &server.name)?;
        clients.insert(server.name.clone(), (address, client.clone()));
        Ok(client)
    }
}

/// Says which server did not answer when a call to its agent failed.
pub fn explain(server: &Name, error: Error) -> Error {
    if error.kind == api::Kind::Unreachable {
        Error { message: format!("server {server} does not answer"), details: vec![error.message], ..error }
    } else {
        error
    }
}
