//! The API's own description (OpenAPI 3.1): one table of operations. What they take and give is described by the Rust types
//! themselves, so that a type without a description does not compile and none is described twice.

mod operation;
mod schemas;
#[cfg(test)]
mod tests;

use super::{
    apps::Forgetting,
    containers::{Publishing, Renaming},
    events::Following,
    images::{Import, build::Building, leave::Export, prune::Pruning, tag::Tagging},
    registry::RegistryChange,
    servers::Settings,
    streams::Kill,
    write::{Removal, Trying},
};
use crate::tokens::Grant;
use api::{
    Name, Target,
    app::AppRecord,
    assignment::Assignment,
    event::Event,
    image::{ImageProgress, ImageRecord},
    path,
    registry::RegistryView,
    report::Report,
    server::ServerFacts,
    stream::{ArchiveQuery, AttachRequest, ExecRequest, LogLine, LogQuery},
    view::{
        BootstrapRequest, Changed, CloneRequest, CommitRequest, ContainerRequest, ContainerView, JobRequest, JobView, JoinAnswer,
        JoinRequest, LimitsRequest, Pruned, PullRequest, PushRequest, ScaleRequest, ServerView, Settled, SnapshotRequest,
        StatsView, Token, UpgradeRequest, Version, Why,
    },
};
use axum::Json;
use operation::{Operation, Place, delete, get, patch, post, put};
use serde_json::{Map, Value, json};

/// Every operation: method, path, its name in generated clients, what it does; what it takes and answers.
const OPERATIONS: &[Operation] = &[
    get("/v1/version", "version", "Who answers").answers::<Version>(),
    get("/v1/openapi.json", "describe", "This description").answers::<Map<String, Value>>(),
    get("/metrics", "metrics", "Prometheus metrics").answers_text(),
    post("/v1/join", "join", "Join the cluster with a token").takes::<JoinRequest>().answers::<JoinAnswer>(),
    get("/v1/tokens", "list_tokens", "List tokens").answers::<Vec<Token>>(),
    post("/v1/tokens", "create_token", "Make a token").takes::<Grant>().answers::<Token>(),
    delete("/v1/tokens/{id}", "revoke_token", "Revoke a token").query::<Trying>().answers::<Changed>(),
    get("/v1/servers", "list_servers", "List servers").watched::<Vec<ServerView>>(),
    get("/v1/servers/{name}", "show_server", "Show a server").answers::<ServerView>(),
    patch("/v1/servers/{name}", "set_server", "Set labels or subnet of a server")
        .query::<Trying>()
        .takes::<Settings>()
        .answers::<Changed>(),
    delete("/v1/servers/{name}", "remove_server", "Remove a server").query::<Removal>().answers::<Changed>(),
    post("/v1/servers/{name}/drain", "drain_server", "Move its instances away").query::<Trying>().answers::<Changed>(),
    post("/v1/servers/{name}/undrain", "undrain_server", "Let it take instances again").query::<Trying>().answers::<Changed>(),
    get("/v1/containers", "list_containers", "List containers and instances").watched::<Vec<ContainerView>>(),
    post("/v1/containers", "create_container", "Make a container").takes::<ContainerRequest>().answers::<Changed>(),
    get("/v1/containers/{target}", "show_container", "Show a container").watched::<ContainerView>(),
    delete("/v1/containers/{target}", "remove_container", "Remove a container").query::<Removal>().answers::<Changed>(),
    post("/v1/containers/{target}/start", "start_container", "Start it").query::<Trying>().answers::<Changed>(),
    post("/v1/containers/{target}/stop", "stop_container", "Stop it").query::<Trying>().answers::<Changed>(),
    post("/v1/containers/{target}/restart", "restart_container", "Restart it").query::<Trying>().answers::<Changed>(),
    post("/v1/containers/{target}/freeze", "freeze_container", "Hold its processes still").query::<Trying>().answers::<Changed>(),
    post("/v1/containers/{target}/unfreeze", "unfreeze_container", "Let them go on").query::<Trying>().answers::<Changed>(),
    post("/v1/containers/{target}/rename", "rename_container", "Give it another name")
        .query::<Trying>()
        .takes::<Renaming>()
        .answers::<Changed>(),
    post("/v1/containers/{target}/publish", "publish_port", "Lead a port of its server to it, or no longer")
        .query::<Trying>()
        .takes::<Publishing>()
        .answers::<Changed>(),
    post("/v1/containers/{target}/limits", "limit_container", "Change what it may use, without a restart")
        .query::<Trying>()
        .takes::<LimitsRequest>()
        .answers::<Changed>(),
    post("/v1/containers/{target}/kill", "kill_container", "Send a signal").query::<Kill>().answers::<()>(),
    post("/v1/containers/{target}/exec", "exec", "Run a command").takes::<ExecRequest>().upgrades(),
    post("/v1/containers/{target}/attach", "attach", "Connect to its program").may_take::<AttachRequest>().upgrades(),
    get("/v1/containers/{target}/logs", "logs", "Lines of output").query::<LogQuery>().lines::<LogLine>(),
    get("/v1/containers/{target}/archive", "download", "A path inside, as tar").query::<ArchiveQuery>().answers_tar(),
    put("/v1/containers/{target}/archive", "upload", "Unpack a tar inside").query::<ArchiveQuery>().takes_tar().answers::<()>(),
    post("/v1/containers/{target}/commit", "commit_container", "Make an image of it as it stands")
        .takes::<CommitRequest>()
        .lines::<ImageProgress>(),
    post("/v1/containers/{target}/clone", "clone_container", "Make a container of it as it stands")
        .takes::<CloneRequest>()
        .lines::<ImageProgress>(),
    get("/v1/containers/{target}/snapshots", "list_snapshots", "List its snapshots").answers::<Vec<ImageRecord>>(),
    post("/v1/containers/{target}/snapshots", "take_snapshot", "Keep its files as they are")
        .takes::<SnapshotRequest>()
        .lines::<ImageProgress>(),
    delete("/v1/containers/{target}/snapshots/{name}", "delete_snapshot", "Delete a snapshot")
        .query::<Trying>()
        .answers::<Changed>(),
    post("/v1/containers/{target}/snapshots/{name}/restore", "restore_snapshot", "Put it back as it was")
        .query::<Trying>()
        .answers::<Changed>(),
    get("/v1/stats", "stats", "Use of resources of every instance").answers::<Vec<StatsView>>(),
    get("/v1/jobs", "list_jobs", "List jobs").watched::<Vec<JobView>>(),
    post("/v1/jobs", "create_job", "Make a job").takes::<JobRequest>().answers::<Changed>(),
    get("/v1/jobs/{name}", "show_job", "Show a job").watched::<JobView>(),
    delete("/v1/jobs/{name}", "delete_job", "Delete a job").query::<Trying>().answers::<Changed>(),
    post("/v1/jobs/{name}/scale", "scale_job", "Scale a job").takes::<ScaleRequest>().answers::<Changed>(),
    post("/v1/jobs/{name}/upgrade", "upgrade_job", "Upgrade or roll back a job").takes::<UpgradeRequest>().answers::<Changed>(),
    get("/v1/images", "list_images", "List images").answers::<Vec<ImageRecord>>(),
    get("/v1/images/{name}", "show_image", "Show an image").answers::<ImageRecord>(),
    delete("/v1/images/{name}", "delete_image", "Delete an image").query::<Trying>().answers::<Changed>(),
    post("/v1/images/{name}/tag", "tag_image", "Give an image another name")
        .query::<Trying>()
        .takes::<Tagging>()
        .answers::<Changed>(),
    post("/v1/images/import", "import_image", "Take in an archive").query::<Import>().takes_tar().lines::<ImageProgress>(),
    post("/v1/images/build", "build_image", "Build an image: build.json, then the context below context/")
        .query::<Building>()
        .takes_tar()
        .lines::<ImageProgress>(),
    post("/v1/images/pull", "pull_image", "Pull from a registry").takes::<PullRequest>().lines::<ImageProgress>(),
    post("/v1/images/bootstrap", "bootstrap_image", "Make a base system from packages")
        .takes::<BootstrapRequest>()
        .lines::<ImageProgress>(),
    post("/v1/images/push", "push_image", "Push to a registry").takes::<PushRequest>().lines::<ImageProgress>(),
    post("/v1/images/prune", "prune_images", "Remove content that nothing needs").query::<Pruning>().answers::<Pruned>(),
    get("/v1/images/{name}/export", "export_image", "An image as an archive").query::<Export>().answers_tar(),
    get("/v1/apps", "list_apps", "List apps of the store that were got, without their secrets").answers::<Vec<AppRecord>>(),
    get("/v1/apps/{name}", "show_app", "Show an app that was got, with its secrets").answers::<AppRecord>(),
    put("/v1/apps/{name}", "put_app", "Remember an app").query::<Trying>().takes::<AppRecord>().answers::<Changed>(),
    delete("/v1/apps/{name}", "delete_app", "Forget an app, and remove its volumes").query::<Forgetting>().answers::<Changed>(),
    get("/v1/registry", "show_registry", "Where the registry is, and what is set").answers::<RegistryView>(),
    patch("/v1/registry", "set_registry", "Set what everybody may do at the registry")
        .query::<Trying>()
        .takes::<RegistryChange>()
        .answers::<Changed>(),
    get("/v1/events", "events", "What happened").query::<Following>().answers::<Vec<Event>>().lines::<Event>(),
    get("/v1/why/{target}", "why", "Why something is as it is").answers::<Why>(),
    get("/v1/settled", "settled", "Wait until names and routes of now are everywhere").answers::<Settled>(),
    post("/v1/agent/hello", "agent_hello", "An agent says what its server has").takes::<ServerFacts>().answers::<Changed>(),
    get("/v1/agent/assignment", "agent_assignment", "What the asking server must be, whole, whenever it changes")
        .lines::<Assignment>(),
    post("/v1/agent/report", "agent_report", "What the asking server is").takes::<Report>().answers::<()>(),
];

/// What the braces stand for in paths that begin so.
const PLACES: &[Place] = &[
    Place::new::<String>("/v1/tokens/{id}", "The token's id, or its first characters."),
    Place::new::<Name>("/v1/servers/{name}", "The server."),
    Place::new::<Target>("/v1/containers/{target}", "The container or instance. Its `/` and `:` are written `%2F` and `%3A`."),
    Place::new::<String>("/v1/containers/{target}/snapshots/{name}", "The snapshot."),
    Place::new::<Name>("/v1/jobs/{name}", "The job."),
    Place::new::<String>("/v1/images/{name}", "The image, with its tag or without. `/` and `:` are written `%2F` and `%3A`."),
    Place::new::<Name>("/v1/apps/{name}", "The app, by the name it was got under."),
    Place::new::<Target>("/v1/why/{target}", "The container, instance or job. Its `/` and `:` are written `%2F` and `%3A`."),
];

/// `GET /v1/openapi.json`.
pub async fn document() -> Json<Value> {
    Json(describe())
}

fn describe() -> Value {
    let mut generator = schemas::generator();
    let error = generator.subschema_for::<api::Error>();
    let mut paths = Map::new();
    for operation in OPERATIONS {
        let places = PLACES.iter().filter(|place| place.is_in(operation.path));
        let places = places.map(|place| place.describe(&mut generator)).collect();
        let entry = paths.entry(operation.path.to_owned()).or_insert_with(|| json!({}));
        entry[operation.method] = operation.describe(&mut generator, (places, &error));
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Roost", "version": env!("CARGO_PKG_VERSION"), "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "servers": [{"url": format!("https://localhost:{}", path::MANAGER_PORT), "description": "A manager."}],
        "security": [{"certificate": []}],
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": {"certificate": {
                "type": "mutualTLS",
                "description": format!("A certificate of the cluster's authority. Root needs none at the socket {}.", path::SOCKET),
            }},
        },
    })
}
