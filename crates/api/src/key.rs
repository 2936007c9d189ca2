//! Keys of the store. The layout is part of the stored format ([`crate::FORMAT_VERSION`]).
//!
//! Values are JSON of the type named beside each key. A prefix ends in `/` so that no key is a prefix of another kind.

use crate::name::Name;

/// [`crate::spec::ClusterSpec`]; its existence is what "there is a cluster" means.
pub const CLUSTER: &str = "cluster";
/// `u32`: the [`crate::FORMAT_VERSION`] this store was written by.
pub const FORMAT: &str = "format";
/// `u64`: the next [`crate::InstanceId`]. Guarded by every commit that makes placements.
pub const NEXT_INSTANCE: &str = "next/instance";
/// `u16`: the next server number.
pub const NEXT_SERVER: &str = "next/server";
/// `Leader`: who may commit plans. Its revision guards every commit of the leader (fencing).
pub const LEADER: &str = "leader";
/// [`crate::server::ServerSpec`] by name.
pub const SERVERS: &str = "server/";
/// [`crate::spec::JobSpec`] by name.
pub const JOBS: &str = "job/";
/// [`crate::spec::ContainerSpec`] by name.
pub const CONTAINERS: &str = "container/";
/// [`crate::plan::JobPlan`] by job name.
pub const JOB_PLANS: &str = "plan/job/";
/// [`crate::plan::ContainerPlan`] by container name.
pub const CONTAINER_PLANS: &str = "plan/container/";
/// [`crate::image::ImageRecord`] by normalised name.
pub const IMAGES: &str = "image/";
/// [`crate::app::AppRecord`] by name.
pub const APPS: &str = "app/";
/// Join tokens by the SHA-256 of their secret.
pub const TOKENS: &str = "token/";
/// [`crate::registry::ManifestRecord`] by `repository@digest`.
pub const REGISTRY_MANIFESTS: &str = "registry/manifest/";
/// Tokens of the registry by the SHA-256 of their text.
pub const REGISTRY_TOKENS: &str = "registry/token/";
/// [`crate::registry::RegistrySettings`].
pub const REGISTRY_SETTINGS: &str = "registry/settings";
/// The cluster's certificate authority: certificate and key, sealed in the manager's state directory.
pub const AUTHORITY: &str = "authority";

/// The key of a named thing below a prefix.
pub fn of(prefix: &str, name: &Name) -> String {
    format!("{prefix}{name}")
}
