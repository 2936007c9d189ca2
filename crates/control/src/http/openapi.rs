//! The API's own description (OpenAPI 3.1), made from one table.

use api::path;
use axum::Json;
use serde_json::{Map, Value, json};

/// Method, path, what it does, what it takes, what it answers. `ndjson` answers are streams of lines.
const OPERATIONS: &[(&str, &str, &str, &str, &str)] = &[
    ("get", "/v1/version", "Who answers", "", "Version"),
    ("post", "/v1/join", "Join the cluster with a token", "JoinRequest", "JoinAnswer"),
    ("get", "/v1/tokens", "List join tokens", "", "[Token]"),
    ("post", "/v1/tokens", "Make a join token", "Grant", "Token"),
    ("delete", "/v1/tokens/{id}", "Revoke a join token", "", "Changed"),
    ("get", "/v1/servers", "List servers", "", "[ServerView]"),
    ("get", "/v1/servers/{name}", "Show a server", "", "ServerView"),
    ("patch", "/v1/servers/{name}", "Set labels or subnet of a server", "Settings", "Changed"),
    ("delete", "/v1/servers/{name}", "Remove a server", "", "Changed"),
    ("post", "/v1/servers/{name}/drain", "Move its instances away", "", "Changed"),
    ("post", "/v1/servers/{name}/undrain", "Let it take instances again", "", "Changed"),
    ("get", "/v1/containers", "List containers and instances", "", "[ContainerView]"),
    ("post", "/v1/containers", "Make a container", "ContainerRequest", "Changed"),
    ("get", "/v1/containers/{target}", "Show a container", "", "ContainerView"),
    ("delete", "/v1/containers/{target}", "Remove a container", "", "Changed"),
    ("post", "/v1/containers/{target}/start", "Start it", "", "Changed"),
    ("post", "/v1/containers/{target}/stop", "Stop it", "", "Changed"),
    ("post", "/v1/containers/{target}/restart", "Restart it", "", "Changed"),
    ("post", "/v1/containers/{target}/freeze", "Hold its processes still", "", "Changed"),
    ("post", "/v1/containers/{target}/unfreeze", "Let them go on", "", "Changed"),
    ("post", "/v1/containers/{target}/rename", "Give it another name", "Renaming", "Changed"),
    ("post", "/v1/containers/{target}/publish", "Lead a port of its server to it, or no longer", "Publishing", "Changed"),
    ("post", "/v1/containers/{target}/limits", "Change what it may use, without a restart", "LimitsRequest", "Changed"),
    ("post", "/v1/containers/{target}/kill", "Send a signal", "", "null"),
    ("post", "/v1/containers/{target}/exec", "Run a command (upgrade to roost-stream/1)", "ExecRequest", "upgrade"),
    ("post", "/v1/containers/{target}/attach", "Follow its output (upgrade to roost-stream/1)", "", "upgrade"),
    ("get", "/v1/containers/{target}/logs", "Lines of output", "", "ndjson LogLine"),
    ("get", "/v1/containers/{target}/archive", "A path inside, as tar", "", "tar"),
    ("put", "/v1/containers/{target}/archive", "Unpack a tar inside", "tar", "null"),
    ("get", "/v1/stats", "Use of resources of every instance", "", "[StatsView]"),
    ("get", "/v1/jobs", "List jobs", "", "[JobView]"),
    ("post", "/v1/jobs", "Make a job", "JobRequest", "Changed"),
    ("get", "/v1/jobs/{name}", "Show a job", "", "JobView"),
    ("delete", "/v1/jobs/{name}", "Delete a job", "", "Changed"),
    ("post", "/v1/jobs/{name}/scale", "Scale a job", "ScaleRequest", "Changed"),
    ("post", "/v1/jobs/{name}/upgrade", "Upgrade or roll back a job", "UpgradeRequest", "Changed"),
    ("get", "/v1/images", "List images", "", "[ImageRecord]"),
    ("get", "/v1/images/{name}", "Show an image", "", "ImageRecord"),
    ("delete", "/v1/images/{name}", "Delete an image", "", "Changed"),
    ("post", "/v1/images/import", "Take in an archive", "tar", "ndjson ImageProgress"),
    ("post", "/v1/images/pull", "Pull from a registry", "PullRequest", "ndjson ImageProgress"),
    ("post", "/v1/images/bootstrap", "Make a base system from packages", "BootstrapRequest", "ndjson ImageProgress"),
    ("get", "/v1/events", "What happened", "", "[Event]"),
    ("get", "/v1/why/{target}", "Why something is as it is", "", "Why"),
    ("get", "/metrics", "Prometheus metrics", "", "text"),
    ("post", "/v1/agent/hello", "An agent says what its server has", "ServerFacts", "Changed"),
    ("get", "/v1/agent/assignment", "What the asking server must be, whole, whenever it changes", "", "ndjson Assignment"),
    ("post", "/v1/agent/report", "What the asking server is", "Report", "null"),
];

/// `GET /v1/openapi.json`.
pub async fn document() -> Json<Value> {
    let mut paths = Map::new();
    for (method, route, summary, body, answer) in OPERATIONS {
        let entry = paths.entry((*route).to_owned()).or_insert_with(|| json!({}));
        entry[*method] = operation(route, (summary, body, answer));
    }
    Json(json!({
        "openapi": "3.1.0",
        "info": {"title": "Roost", "version": env!("CARGO_PKG_VERSION"), "license": {"name": "Apache-2.0"}},
        "servers": [{"url": format!("https://localhost:{}", path::MANAGER_PORT)}],
        "paths": paths,
        "components": {"schemas": {"Error": error_schema()}},
    }))
}

fn operation(route: &str, (summary, body, answer): (&str, &str, &str)) -> Value {
    let names = route.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parameters: Vec<_> =
        names.map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}})).collect();
    let (status, media) = match answer {
        "upgrade" => ("101", "application/octet-stream"),
        "tar" => ("200", "application/x-tar"),
        "text" => ("200", "application/openmetrics-text"),
        _ if answer.starts_with("ndjson") => ("200", "application/x-ndjson"),
        _ => ("200", "application/json"),
    };
    let mut operation = json!({
        "summary": summary,
        "parameters": parameters,
        "responses": {
            (status): {"description": answer, "content": {(media): {}}},
            "default": {"description": "An error", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}},
        },
    });
    if !body.is_empty() {
        let media = if body == "tar" { "application/x-tar" } else { "application/json" };
        operation["requestBody"] = json!({"required": true, "description": body, "content": {(media): {}}});
    }
    operation
}

fn error_schema() -> Value {
    json!({
        "type": "object",
        "required": ["kind", "message"],
        "properties": {
            "kind": {"enum": ["failed", "usage", "not_found", "conflict", "not_allowed", "not_placed", "rolled_back", "unreachable"]},
            "message": {"type": "string"},
            "details": {"type": "array", "items": {"type": "string"}},
            "hint": {"type": "string"},
        },
    })
}
