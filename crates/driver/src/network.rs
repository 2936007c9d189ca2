//! The kernel's network.

use crate::Result;
use api::{
    InstanceId,
    dataplane::{Dataplane, PodLink},
};
use std::path::PathBuf;

/// Makes one server's network equal to a value.
pub trait Network: Send + Sync {
    /// Makes bridge, tunnel, neighbours, routes and rules equal to the value: one transaction for rules, and only what
    /// differs elsewhere. Touches nothing that does not bear our name.
    fn ensure(&self, dataplane: &Dataplane) -> Result<()>;

    /// Makes a pod's namespace and link, or finds them as they should be. Constant work, whatever else is there.
    fn ensure_pod(&self, link: &PodLink) -> Result<PathBuf>;

    /// Removes a pod's namespace and link. Nothing there is fine.
    fn remove_pod(&self, id: InstanceId) -> Result<()>;

    /// Pods that have a namespace or link here.
    fn observe_pods(&self) -> Result<Vec<InstanceId>>;

    /// TCP connections to the pod that are established, from its own namespace: what a drain waits for.
    fn connections(&self, id: InstanceId) -> Result<u32>;

    /// Bytes received and sent by the pod.
    fn traffic(&self, id: InstanceId) -> Result<(u64, u64)>;

    /// What outside our rules keeps pods from being reached, a sentence each: another table that drops forwarded packets.
    fn problems(&self) -> Vec<String>;

    /// Removes everything of ours.
    fn clear(&self) -> Result<()>;
}
