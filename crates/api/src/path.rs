//! Paths of the HTTP API. Both sides use these, so that a path is written once.
//!
//! The control plane's API (socket `/run/roost/api.sock`, TCP [`MANAGER_PORT`] with mTLS):
//!
//! | method and path | body → answer |
//! |---|---|
//! | `GET /v1/version` | → `view::Version` |
//! | `GET /v1/openapi.json`, `GET /metrics` | |
//! | `POST /v1/join` | `view::JoinRequest` → `view::JoinAnswer`; a token instead of a certificate |
//! | `GET/POST /v1/tokens`, `DELETE /v1/tokens/{id}` | `view::Token` |
//! | `GET /v1/servers`, `GET/PATCH/DELETE /v1/servers/{name}`, `POST …/drain`, `POST …/undrain` | `view::ServerView` |
//! | `GET/POST /v1/containers`, `GET/DELETE /v1/containers/{target}` | `view::ContainerView` |
//! | `POST /v1/containers/{target}/{start,stop,restart,kill,freeze,unfreeze,rename,publish}` | |
//! | `POST /v1/containers/{target}/limits` | `view::LimitsRequest` → `view::Changed` |
//! | `POST /v1/containers/{target}/exec`, `…/attach` | upgrade to [`crate::stream`] |
//! | `GET /v1/containers/{target}/logs` | → NDJSON of `stream::LogLine` |
//! | `GET/PUT /v1/containers/{target}/archive?path=` | tar |
//! | `POST /v1/containers/{target}/{commit,clone}` | `view::CommitRequest`, `view::CloneRequest` → NDJSON of `image::ImageProgress` |
//! | `GET/POST /v1/containers/{target}/snapshots`, `DELETE …/snapshots/{name}`, `POST …/snapshots/{name}/restore` | `view::SnapshotRequest` → NDJSON of `image::ImageProgress` |
//! | `GET /v1/stats` | → `view::StatsView` |
//! | `GET/POST /v1/jobs`, `GET/DELETE /v1/jobs/{name}`, `POST …/{scale,upgrade}` | `view::JobView` |
//! | `GET /v1/images`, `GET/DELETE /v1/images/{name}`, `POST /v1/images/{import,build,pull,push,bootstrap}` | NDJSON of `image::ImageProgress` |
//! | `POST /v1/images/{name}/tag` | another name → `view::Changed` |
//! | `GET /v1/images/{name}/export?format=`, `POST /v1/images/prune?all=&dry_run=` | tar; `view::Pruned` |
//! | `GET /v1/apps`, `GET/PUT/DELETE /v1/apps/{name}` | `app::AppRecord` |
//! | `GET/PATCH /v1/registry` | `registry::RegistryView` |
//! | `GET /v1/events?follow=&after=` | → NDJSON of `event::Event` |
//! | `GET /v1/why/{what}` | → `view::Why` |
//! | `GET /v1/settled` | → `view::Settled`, once every living server has the names and routes of now |
//! | `GET /v1/agent/assignment?generation=` | (agents) → NDJSON of `assignment::Assignment` |
//! | `POST /v1/agent/report` | (agents) `report::Report` |
//!
//! Each agent's own API (TCP [`AGENT_PORT`] with mTLS; only managers, and for blobs other agents, may ask):
//!
//! | method and path | |
//! |---|---|
//! | `POST /v1/instances/{id}/exec`, `…/attach` | upgrade to [`crate::stream`] |
//! | `GET /v1/instances/{id}/logs`, `POST …/signal/{n}` | |
//! | `GET/PUT /v1/instances/{id}/archive?path=` | tar |
//! | `POST /v1/instances/{id}/commit` | `view::CommitOrder` → NDJSON of `image::ImageProgress` |
//! | `DELETE /v1/volumes/{volume}` | |
//! | `GET /v1/stats` | → instance id → `report::InstanceStats` |
//! | `GET/DELETE /v1/blobs/{digest}` | bytes |
//! | `POST /v1/images/{import,build,pull,push,bootstrap}` | NDJSON of `image::ImageProgress` |
//! | `GET /v1/images/{digest}/export?name=&format=` | tar |
//! | `POST /v1/images/{digest}/fetch` | from another server; NDJSON of `image::ImageProgress` |
//! | `DELETE /v1/images/{digest}`, `POST /v1/images/prune` | a line when what goes is off the disk |
//! | `POST /v1/uploads`, `GET/PATCH/PUT/DELETE /v1/uploads/{upload}` | as in the OCI distribution specification |
//! | `POST /v1/manifests` | bytes → `registry::HeldManifest` |
//!
//! The registry (TCP [`REGISTRY_PORT`]) has the paths of the OCI distribution specification, below `/v2/`.

/// TCP port of the control plane's API, and UDP port of its heartbeats.
pub const MANAGER_PORT: u16 = 7443;
/// TCP port of each agent's API.
pub const AGENT_PORT: u16 = 7444;
/// TCP port of the cluster's registry: with TLS at the manager's address, without at its loopback address.
pub const REGISTRY_PORT: u16 = 7445;
/// Directory of sockets and of everything that ends with a reboot.
pub const RUN_DIR: &str = "/run/roost";
/// Directory of everything that stays.
pub const STATE_DIR: &str = "/var/lib/roost";
/// Directory of sandboxes: `<name>/<server>/run/roost/api.sock` is a sandbox server's socket as seen from the host.
pub const SANDBOX_DIR: &str = "/var/lib/roost-sandbox";
/// In a server of a sandbox: the network namespace of the machine around it, from where package sources can be reached.
pub const OUTER_NETWORK: &str = "/run/outer-network";
/// Socket on which root speaks to the control plane, from any server of the cluster.
pub const SOCKET: &str = "/run/roost/api.sock";

/// `GET` version.
pub const VERSION: &str = "/v1/version";
/// `POST` join.
pub const JOIN: &str = "/v1/join";
/// Tokens.
pub const TOKENS: &str = "/v1/tokens";
/// Servers.
pub const SERVERS: &str = "/v1/servers";
/// Containers.
pub const CONTAINERS: &str = "/v1/containers";
/// Jobs.
pub const JOBS: &str = "/v1/jobs";
/// Images.
pub const IMAGES: &str = "/v1/images";
/// Apps of the store that were got.
pub const APPS: &str = "/v1/apps";
/// Named volumes, on an agent.
pub const VOLUMES: &str = "/v1/volumes";
/// Events.
pub const EVENTS: &str = "/v1/events";
/// Use of every instance.
pub const STATS: &str = "/v1/stats";
/// Explanations.
pub const WHY: &str = "/v1/why";
/// Waits until what is known now has arrived everywhere.
pub const SETTLED: &str = "/v1/settled";
/// An agent's assignment.
pub const AGENT_ASSIGNMENT: &str = "/v1/agent/assignment";
/// What an agent says when it comes: `server::ServerFacts`.
pub const AGENT_HELLO: &str = "/v1/agent/hello";
/// An agent's report.
pub const AGENT_REPORT: &str = "/v1/agent/report";
/// Instances, on an agent.
pub const INSTANCES: &str = "/v1/instances";
/// Content by digest, on an agent.
pub const BLOBS: &str = "/v1/blobs";
/// Blobs on their way in, on an agent.
pub const UPLOADS: &str = "/v1/uploads";
/// Manifests on their way in, on an agent.
pub const MANIFESTS: &str = "/v1/manifests";
/// The registry.
pub const REGISTRY: &str = "/v1/registry";
/// Metrics in the Prometheus text format.
pub const METRICS: &str = "/metrics";

/// A path segment with everything escaped that RFC 3986 does not allow in one, `/` and `:` included.
pub fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
