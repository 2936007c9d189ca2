//! The description against OpenAPI's rules, against the routers, and against what is really answered.

mod answers;
mod sample;

use super::{OPERATIONS, PLACES, describe, operation::Operation};
use axum::{Router, body::Body, http::Request};
use serde_json::Value;
use std::collections::BTreeSet;
use tower::ServiceExt as _;
use wire::identity::Who;

/// Every value in a document with where it stands, the document itself first.
fn walk<'a>(value: &'a Value, at: &str, see: &mut impl FnMut(&str, &'a Value)) {
    see(at, value);
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, inner)| walk(inner, &format!("{at}/{key}"), see)),
        Value::Array(items) => items.iter().enumerate().for_each(|(n, inner)| walk(inner, &format!("{at}/{n}"), see)),
        _ => {}
    }
}

/// Each operation object with its method and path.
fn operations(document: &Value) -> impl Iterator<Item = (String, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths.flat_map(|(path, item)| {
        item.as_object().unwrap().iter().map(move |(method, operation)| (format!("{method} {path}"), operation))
    })
}

#[test]
fn every_reference_leads_to_a_schema() {
    let document = describe();
    let mut references = 0;
    walk(&document, "#", &mut |at, value| {
        if let Some(reference) = value.get("$ref") {
            let pointer = reference.as_str().and_then(|text| text.strip_prefix('#')).unwrap();
            assert!(document.pointer(pointer).is_some_and(Value::is_object), "{at} leads to {reference}, which is not there");
            references += 1;
        }
    });
    assert!(references > 100, "{references}");
}

#[test]
fn schemas_have_their_types_names_and_descriptions() {
    let document = describe();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        // A number is what the library appends to the name of a second type of the same name.
        assert!(name.chars().all(|c| c.is_ascii_alphabetic()) || name == "Ipv4Net", "two types are named alike: {name}");
        let mut described = |at: &str, value: &Value| {
            let fields: Vec<_> = value.get("properties").and_then(Value::as_object).into_iter().flatten().collect();
            // A variant of an enum says itself what its only field, or the field that tells it, is about.
            let variant = |schema: &Value| at.contains("/oneOf/") && (fields.len() == 1 || schema.get("const").is_some());
            for (field, schema) in &fields {
                let about = if variant(schema) { value } else { schema };
                assert!(about.get("description").is_some(), "{at} says nothing about {field}");
            }
            if let Some(text) = value.get("description").and_then(Value::as_str) {
                assert!(!text.contains("[`") && !text.contains("crate::"), "{at} has a link into the code: {text}");
            }
        };
        walk(schema, name, &mut described);
        assert!(schema.get("description").is_some(), "{name} is not described");
    }
}

#[test]
fn every_operation_is_whole() {
    let document = describe();
    assert_eq!(document["openapi"], "3.1.0");
    let (mut ids, mut count) = (BTreeSet::new(), 0);
    for (at, operation) in operations(&document) {
        count += 1;
        let id = operation["operationId"].as_str().unwrap();
        assert!(ids.insert(id), "{at}: another operation is named {id}");
        assert!(operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{at}");
        let responses = operation["responses"].as_object().unwrap();
        assert_eq!(responses.len(), 2, "{at} answers well in one way, or fails");
        for (status, response) in responses {
            assert!(status == "default" || status.parse::<u16>().is_ok_and(|code| (100..300).contains(&code)), "{at}: {status}");
            assert!(response["description"].is_string(), "{at}: {status}");
        }
        let taken = operation.get("requestBody").map(|body| body["content"].as_object().unwrap().len());
        assert!(taken != Some(0), "{at} takes a body of nothing");
        for parameter in operation["parameters"].as_array().unwrap() {
            let about = parameter["description"].as_str();
            assert!(about.is_some_and(|text| !text.is_empty()), "{at}: nothing is said about {}", parameter["name"]);
            assert!(parameter["schema"].is_object() && parameter["required"].is_boolean(), "{at}: {parameter}");
        }
        assert!(!at.starts_with("get ") || operation.get("requestBody").is_none(), "{at} takes a body");
    }
    assert_eq!(count, OPERATIONS.len(), "an operation stands twice in the table");
    assert!(PLACES.iter().all(|place| OPERATIONS.iter().any(|operation| place.is_in(operation.path))), "a place is nowhere");
}

#[test]
fn what_stands_in_braces_is_described() {
    let document = describe();
    for (at, operation) in operations(&document) {
        let named: Vec<&str> = at.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        let places = operation["parameters"].as_array().unwrap().iter().filter(|parameter| parameter["in"] == "path");
        let listed: Vec<&str> = places.map(|place| place["name"].as_str().unwrap()).collect();
        assert_eq!(named, listed, "{at}");
    }
}

#[test]
fn streams_say_what_their_lines_are() {
    let document = describe();
    let answer = |path: &str| document["paths"][path]["get"]["responses"]["200"]["content"].clone();
    let line = |path: &str| answer(path)["application/x-ndjson"]["schema"].clone();
    assert_eq!(line("/v1/containers/{target}/logs")["$ref"], "#/components/schemas/LogLine");
    assert_eq!(answer("/v1/containers/{target}/logs").as_object().unwrap().len(), 1);
    assert_eq!(line("/v1/events")["$ref"], "#/components/schemas/Event");
    assert_eq!(answer("/v1/events")["application/json"]["schema"]["items"], line("/v1/events"));
    assert_eq!(line("/v1/jobs"), answer("/v1/jobs")["application/json"]["schema"]);
    let operations = operations(&document).filter(|(_, operation)| operation.to_string().contains("x-ndjson"));
    for (at, operation) in operations {
        let text = operation["responses"]["200"]["description"].as_str().unwrap();
        assert!(text.contains("of a line"), "{at}: {text}");
    }
}

#[test]
fn queries_are_the_fields_of_what_handlers_read() {
    let document = describe();
    let query = |path: &str, method: &str| -> BTreeSet<String> {
        let listed = document["paths"][path][method]["parameters"].as_array().unwrap().iter();
        listed
            .filter(|parameter| parameter["in"] == "query")
            .map(|p| format!("{}{}", p["name"].as_str().unwrap(), if p["required"] == true { "!" } else { "" }))
            .collect()
    };
    let names = |text: &str| -> BTreeSet<String> { text.split_whitespace().map(str::to_owned).collect() };
    assert_eq!(query("/v1/jobs", "get"), names("watch"));
    assert_eq!(query("/v1/containers/{target}", "delete"), names("force dry_run"));
    assert_eq!(query("/v1/containers/{target}/logs", "get"), names("follow since tail container"));
    assert_eq!(query("/v1/containers/{target}/archive", "put"), names("path! container"));
    assert_eq!(query("/v1/containers/{target}/kill", "post"), names("signal"));
    assert_eq!(query("/v1/images/import", "post"), names("name! server"));
    assert_eq!(query("/v1/images/build", "post"), names("server"));
    assert_eq!(query("/v1/events", "get"), names("follow after"));
    // What may be absent is not "null or a number" in a query.
    let tail = &document["paths"]["/v1/containers/{target}/logs"]["get"]["parameters"];
    let tail = tail.as_array().unwrap().iter().find(|parameter| parameter["name"] == "tail").unwrap();
    assert_eq!(tail["schema"]["type"], "integer");
    assert_eq!(tail["schema"].get("default"), None);
}

/// The paths an axum router knows. Its debug text is the only place where it says them; what it does not say there is missed in the
/// table's favour, and then the test fails.
fn paths(router: &Router) -> BTreeSet<String> {
    let text = format!("{router:?}");
    let text = text.split("fallback_router").next().unwrap();
    text.split('"').filter(|part| part.starts_with('/') && !part.contains("__private")).map(str::to_owned).collect()
}

/// The methods a path has: what is allowed when another is tried.
async fn methods(router: &Router, path: &str) -> BTreeSet<String> {
    let real = path.replace(['{', '}'], "");
    let mut request = Request::builder().method("PROBE").uri(&real).body(Body::empty()).unwrap();
    request.extensions_mut().insert(Who::Root);
    let answer = router.clone().oneshot(request).await.unwrap();
    assert_eq!(answer.status(), 405, "{path} is not there");
    let allowed = answer.headers()["allow"].to_str().unwrap().to_ascii_lowercase();
    allowed.split(',').filter(|method| *method != "head").map(str::to_owned).collect()
}

#[tokio::test]
async fn the_table_and_the_routers_list_the_same() {
    let router = super::super::router(sample::control().await);
    let mut served = BTreeSet::new();
    for path in paths(&router) {
        served.extend(methods(&router, &path).await.into_iter().map(|method| format!("{method} {path}")));
    }
    let listed: BTreeSet<String> =
        OPERATIONS.iter().map(|operation| format!("{} {}", operation.method, operation.path)).collect();
    let difference = |one: &BTreeSet<String>, other: &BTreeSet<String>| one.difference(other).cloned().collect::<Vec<_>>();
    assert_eq!(difference(&served, &listed), Vec::<String>::new(), "served, but not in the table");
    assert_eq!(difference(&listed, &served), Vec::<String>::new(), "in the table, but not served");
}

/// Whether an operation reads this field of the query: then it refuses what is neither true nor false before it does anything.
async fn reads(router: &Router, operation: &Operation, field: &str) -> bool {
    let path = operation.path.replace("{id}", "nothing").replace("{name}", "nothing").replace("{target}", "nothing");
    let method = operation.method.to_ascii_uppercase();
    let mut request = Request::builder().method(&*method).uri(format!("{path}?{field}=perhaps")).body(Body::empty()).unwrap();
    request.extensions_mut().insert(Who::Root);
    let answer = router.clone().oneshot(request).await.unwrap();
    let refused = answer.status() == 400;
    let text = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    refused && String::from_utf8_lossy(&text).contains("true` or `false")
}

#[tokio::test]
async fn the_table_and_the_handlers_know_the_same_queries() {
    let router = super::super::router(sample::control().await);
    let document = describe();
    // What agents read, they read as the type that is described; stats and what is settled are asked of agents too.
    let elsewhere = ["exec", "attach", "logs", "archive", "stats", "settled"];
    for operation in OPERATIONS.iter().filter(|operation| !elsewhere.iter().any(|verb| operation.path.ends_with(verb))) {
        let parameters = document["paths"][operation.path][operation.method]["parameters"].as_array().unwrap();
        for field in ["watch", "follow", "force", "dry_run"] {
            let listed = parameters.iter().any(|parameter| parameter["in"] == "query" && parameter["name"] == field);
            let at = format!("{} {}: {field}", operation.method, operation.path);
            assert_eq!(reads(&router, operation, field).await, listed, "{at} is read, or else listed, but not both");
        }
    }
}
