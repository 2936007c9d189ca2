//! Founding a cluster: the first commit of a store.

use crate::tokens::{encode, failed};
use api::{Error, Result, key, server::ServerSpec, spec::ClusterSpec};
use store::{Commit, Guard, Store, StoreError, Write};

/// Writes the cluster and its first server into an empty store.
pub async fn found(store: &dyn Store, cluster: &ClusterSpec, server: &ServerSpec) -> Result<()> {
    let put = |key: &str, value| Write::Put { key: key.to_owned(), value };
    let writes = vec![
        put(key::CLUSTER, encode(cluster)?),
        put(key::FORMAT, encode(&api::FORMAT_VERSION)?),
        put(key::NEXT_INSTANCE, encode(&1u64)?),
        put(key::NEXT_SERVER, encode(&(server.number + 1))?),
        put(&key::of(key::SERVERS, &server.name), encode(server)?),
    ];
    match store.commit(Commit { guards: vec![Guard::Absent(key::CLUSTER.to_owned())], writes }).await {
        Ok(_) => Ok(()),
        Err(StoreError::Refused { .. }) => Err(Error::conflict("there is a cluster here already").hint("see: roost server list")),
        Err(error) => Err(failed(error)),
    }
}
