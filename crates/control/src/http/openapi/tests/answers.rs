//! Values against their schemas: what the routers really answer, what the other sides really send, and what must be refused.

use super::{super::describe, sample};
use api::{
    Name, Target,
    app::AppRecord,
    assignment::Assignment,
    image::ImageProgress,
    report::{InstanceStats, Report},
    stream::{AttachRequest, ExecRequest, LogLine},
    view::{ContainerRequest, JobRequest, JoinAnswer, JoinRequest, ScaleRequest, Settled, StatsView, UpgradeRequest},
};
use axum::{Router, body::Body, http::Request};
use boon::{Compiler, Schemas};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use wire::identity::Who;

/// Where the document is said to be. Nothing is fetched.
const HERE: &str = "https://roost.invalid/openapi.json";

/// The described schemas, which are checked against the rules of JSON Schema as they are read.
struct Described {
    compiler: Compiler,
    schemas: Schemas,
}

impl Described {
    /// With objects closed, so that a field nobody described is found.
    fn closed() -> Self {
        let mut document = describe();
        for schema in document["components"]["schemas"].as_object_mut().unwrap().values_mut() {
            close(schema);
        }
        let mut compiler = Compiler::new();
        compiler.enable_format_assertions();
        compiler.add_resource(HERE, document).unwrap();
        Self { compiler, schemas: Schemas::new() }
    }

    /// What a value has against the schema at this pointer.
    fn complaints(&mut self, pointer: &str, value: &Value) -> Option<String> {
        let schema = self.compiler.compile(&format!("{HERE}#{pointer}"), &mut self.schemas);
        let schema = schema.unwrap_or_else(|error| panic!("{pointer}: {error:#}"));
        self.schemas.validate(value, schema).err().map(|error| format!("{error:#}"))
    }

    fn fits(&mut self, pointer: &str, value: &Value) {
        if let Some(why) = self.complaints(pointer, value) {
            panic!("{pointer} does not describe {value:#}\n{why}");
        }
    }

    /// A type's value, as serde writes it.
    fn component<T: Serialize>(&mut self, name: &str, value: &T) {
        self.fits(&format!("/components/schemas/{name}"), &serde_json::to_value(value).unwrap());
    }
}

fn close(schema: &mut Value) {
    let alternatives = schema.get_mut("oneOf").and_then(Value::as_array_mut).into_iter().flatten();
    alternatives.for_each(close);
    if schema.get("properties").is_some() {
        schema["unevaluatedProperties"] = false.into();
    }
}

async fn ask(router: &Router, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    let mut request = Request::builder().method(method).uri(path).body(body).unwrap();
    request.extensions_mut().insert(Who::Root);
    let answer = router.clone().oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let bytes = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("{method} {path}: {e}")))
}

fn escaped(path: &str) -> String {
    path.replace('~', "~0").replace('/', "~1")
}

#[tokio::test]
async fn what_is_answered_is_what_is_described() {
    let router = super::super::super::router(sample::control().await);
    let mut described = Described::closed();
    let template = sample::template();
    let plain = json!({"containers": [{"name": "main", "image": {"name": "web"}}]});
    for (method, path, real, body) in [
        ("get", "/v1/version", "/v1/version", Value::Null),
        ("get", "/v1/openapi.json", "/v1/openapi.json", Value::Null),
        ("get", "/v1/tokens", "/v1/tokens", Value::Null),
        ("get", "/v1/servers", "/v1/servers", Value::Null),
        ("get", "/v1/servers/{name}", "/v1/servers/s2", Value::Null),
        ("get", "/v1/containers", "/v1/containers", Value::Null),
        ("get", "/v1/containers/{target}", "/v1/containers/web%2F1", Value::Null),
        ("get", "/v1/containers/{target}", "/v1/containers/c2", Value::Null),
        ("get", "/v1/jobs", "/v1/jobs", Value::Null),
        ("get", "/v1/jobs/{name}", "/v1/jobs/web", Value::Null),
        ("get", "/v1/images", "/v1/images", Value::Null),
        ("get", "/v1/images/{name}", "/v1/images/web", Value::Null),
        ("get", "/v1/apps", "/v1/apps", Value::Null),
        ("get", "/v1/apps/{name}", "/v1/apps/blog", Value::Null),
        ("put", "/v1/apps/{name}", "/v1/apps/wiki?dry_run=true", json!({"name": "wiki", "app": "dokuwiki", "generation": 1})),
        ("delete", "/v1/apps/{name}", "/v1/apps/blog?dry_run=true", Value::Null),
        ("get", "/v1/events", "/v1/events", Value::Null),
        ("get", "/v1/why/{target}", "/v1/why/web%2F3", Value::Null),
        ("post", "/v1/tokens", "/v1/tokens", json!({"uses": 2})),
        ("post", "/v1/servers/{name}/drain", "/v1/servers/s2/drain?dry_run=true", Value::Null),
        ("patch", "/v1/servers/{name}", "/v1/servers/s2?dry_run=true", json!({"labels": {"disk": null, "a": "b"}})),
        ("post", "/v1/jobs", "/v1/jobs", json!({"base": "web", "name": "x", "count": 1, "template": plain, "dry_run": true})),
        ("post", "/v1/jobs/{name}/scale", "/v1/jobs/web/scale", json!({"count": 1, "dry_run": true})),
        ("post", "/v1/containers/{target}/rename", "/v1/containers/c2/rename?dry_run=true", json!({"to": "c9"})),
        (
            "post",
            "/v1/containers/{target}/publish",
            "/v1/containers/c2/publish?dry_run=true",
            json!({"port": template["publish"][0], "remove": true}),
        ),
        ("delete", "/v1/containers/{target}", "/v1/containers/c1?dry_run=true&force=true", Value::Null),
    ] {
        let operation = format!("/paths/{}/{method}", escaped(path));
        if !body.is_null() {
            described.fits(&format!("{operation}/requestBody/content/application~1json/schema"), &body);
        }
        let (status, answer) = ask(&router, &method.to_uppercase(), real, &body).await;
        assert_eq!(status, 200, "{method} {real}: {answer}");
        // Lists of apps leave secrets out; whoever asks for one of them has them.
        assert_eq!(answer.to_string().contains("hidden"), real == "/v1/apps/blog" && method == "get", "{method} {real}");
        described.fits(&format!("{operation}/responses/200/content/application~1json/schema"), &answer);
    }
    for (method, path, refused) in [
        ("GET", "/v1/apps/none", 404),
        ("GET", "/v1/jobs/none", 404),
        ("GET", "/v1/jobs/No", 400),
        ("GET", "/v1/jobs?watch=perhaps", 400),
        ("GET", "/v1/why/a%2Fb", 400),
        ("POST", "/v1/jobs", 400),
        ("PUT", "/v1/jobs", 405),
        ("GET", "/v2", 404),
    ] {
        let (status, answer) = ask(&router, method, path, &Value::Null).await;
        assert_eq!(status, refused, "{method} {path}: {answer}");
        described.fits("/components/schemas/Error", &answer);
    }
}

/// Reads JSON as the type does, and checks what the type writes.
fn written<T: Serialize + DeserializeOwned>(described: &mut Described, name: &str, json: Value) {
    described.component(name, &json);
    let value: T = serde_json::from_value(json).unwrap_or_else(|e| panic!("{name}: {e}"));
    described.component(name, &value);
}

#[tokio::test]
async fn what_agents_and_clients_send_is_what_is_described() {
    let mut described = Described::closed();
    let control = sample::control().await;
    let world = control.world.now();
    let assignment: Assignment = plan::assignment(&world.snapshot, &Name::parse("test", "s1").unwrap(), &world.names()).unwrap();
    assert!(!assignment.pods.is_empty() && !assignment.network.peers.is_empty());
    described.component("Assignment", &assignment);
    written::<AppRecord>(&mut described, "AppRecord", sample::app());
    written::<Report>(&mut described, "Report", sample::report());
    let spec = world.snapshot.containers.values().next().unwrap();
    described.component("ContainerRequest", &ContainerRequest { spec: spec.as_ref().clone(), dry_run: true });
    // What is not said has its default, on both sides.
    written::<JobRequest>(&mut described, "JobRequest", json!({"base": "web", "count": -1}));
    written::<JobRequest>(&mut described, "JobRequest", json!({"base": "web", "count": 1, "template": sample::template()}));
    written::<ScaleRequest>(&mut described, "ScaleRequest", json!({"count": -1, "relative": true, "group": "g"}));
    written::<UpgradeRequest>(&mut described, "UpgradeRequest", json!({}));
    written::<ExecRequest>(&mut described, "ExecRequest", json!({"command": ["sh"], "terminal": [80, 24]}));
    written::<AttachRequest>(&mut described, "AttachRequest", json!({"whole": true}));
    written::<LogLine>(&mut described, "LogLine", json!({"t": 1, "m": "x"}));
    written::<LogLine>(&mut described, "LogLine", json!({"t": 1, "e": true, "m": "x"}));
    let image = world.snapshot.images.values().next().unwrap();
    written::<ImageProgress>(&mut described, "ImageProgress", json!({"step": "fetching", "what": "x", "done": 1, "total": 0}));
    written::<ImageProgress>(&mut described, "ImageProgress", json!({"step": "working", "message": "unpacking"}));
    described.component("ImageProgress", &ImageProgress::Done { image: Box::new(image.as_ref().clone()) });
    described.component("ImageProgress", &ImageProgress::Failed { error: api::Error::failed("no").detail("why").hint("what") });
    let server = world.snapshot.servers.values().next().unwrap().as_ref().clone();
    let stats = StatsView {
        name: "web/1".into(),
        server: server.name.clone(),
        stats: InstanceStats::default(),
        memory_limit: None,
        at: api::Timestamp(1),
    };
    described.component("StatsView", &stats);
    written::<Settled>(&mut described, "Settled", json!({"behind": ["s2"]}));
    let facts = serde_json::to_value(&server.facts).unwrap();
    written::<JoinRequest>(&mut described, "JoinRequest", json!({"secret": "x", "name": "s3", "csr": "y", "facts": facts}));
    described.component("JoinAnswer", &JoinAnswer { server, certificate: String::new(), authority: String::new() });
}

#[test]
fn what_is_described_otherwise_does_not_fit() {
    let mut described = Described::closed();
    for (name, value) in [
        ("JobRequest", json!({"count": 1})),
        ("JobRequest", json!({"base": "web", "count": "1"})),
        ("JobRequest", json!({"base": "web", "count": 1, "colour": "red"})),
        ("Probe", json!({"udp": 1})),
        ("Probe", json!({"tcp": 65_536})),
        ("Phase", json!("dancing")),
        ("Liveness", json!("AgentAway")),
        ("ImageProgress", json!({"step": "fetching"})),
        ("ImageProgress", json!({"message": "x"})),
        ("Timestamp", json!("2025-11-21")),
        ("Report", json!({"server": "s1", "generation": 1, "instances": {"no hex": {"phase": "running", "health": "healthy"}}})),
    ] {
        assert!(described.complaints(&format!("/components/schemas/{name}"), &value).is_some(), "{name} takes {value}");
    }
}

#[test]
fn patterns_say_what_parsers_say() {
    let mut described = Described::closed();
    let long = "a".repeat(64);
    let texts = ["a", "web-1", "0", "-a", "a-", "A", "a.b", "a_b", "", "ä", &long[..63], &long, "s2:c1", "web/3", "s2:web/3"];
    for text in texts.into_iter().chain(["s2:", "web/", "web/x", "a:b:c", "a/1/2", "a\n"]) {
        let mut fits = |name: &str| described.complaints(&format!("/components/schemas/{name}"), &json!(text)).is_none();
        assert_eq!(fits("Name"), text.parse::<Name>().is_ok(), "{text:?} as a name");
        assert_eq!(fits("Target"), text.parse::<Target>().is_ok(), "{text:?} as a target");
    }
    for text in ["0", "ab", "ffffffffffffffff", "10000000000000000", "", "x"] {
        let fits = described.complaints("/components/schemas/InstanceId", &json!(text)).is_none();
        assert_eq!(fits, text.parse::<api::InstanceId>().is_ok(), "{text:?} as an instance's id");
    }
}
