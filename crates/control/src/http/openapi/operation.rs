//! One operation of the API: what the table says about it, and how OpenAPI says it.

use super::schemas::{Type, parameters};
use api::{path, stream};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";
const TAR: &str = "application/x-tar";

/// What the body of a request is, and whether it may be left out.
#[derive(Clone, Copy)]
enum Body {
    Json(Type),
    Optional(Type),
    Tar,
}

/// What comes back when it is not an error.
#[derive(Clone, Copy)]
enum Answer {
    Json(Type),
    Tar,
    Text,
    /// The connection goes on as frames of [`stream`].
    Upgrade,
}

/// A row of the table.
pub struct Operation {
    pub method: &'static str,
    pub path: &'static str,
    pub id: &'static str,
    summary: &'static str,
    query: Option<Type>,
    body: Option<Body>,
    answer: Option<Answer>,
    /// Instead of the answer, or when the query asks for it: NDJSON with such lines.
    lines: Option<Type>,
}

const fn operation(method: &'static str, (path, id, summary): (&'static str, &'static str, &'static str)) -> Operation {
    Operation { method, path, id, summary, query: None, body: None, answer: None, lines: None }
}

macro_rules! methods {
    ($($method:ident)*) => {$(
        #[doc = concat!("An operation of the method `", stringify!($method), "`.")]
        pub const fn $method(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
            operation(stringify!($method), (path, id, summary))
        }
    )*};
}
methods!(get post put patch delete);

const fn of<T: JsonSchema>() -> Type {
    Type { schema: SchemaGenerator::subschema_for::<T>, inside: T::json_schema }
}

impl Operation {
    /// The query's fields.
    pub const fn query<T: JsonSchema>(self) -> Self {
        Self { query: Some(of::<T>()), ..self }
    }
    /// A body of JSON.
    pub const fn takes<T: JsonSchema>(self) -> Self {
        Self { body: Some(Body::Json(of::<T>())), ..self }
    }
    /// A body of JSON, or none.
    pub const fn may_take<T: JsonSchema>(self) -> Self {
        Self { body: Some(Body::Optional(of::<T>())), ..self }
    }
    /// A body that is an archive.
    pub const fn takes_tar(self) -> Self {
        Self { body: Some(Body::Tar), ..self }
    }
    /// An answer of JSON.
    pub const fn answers<T: JsonSchema>(self) -> Self {
        Self { answer: Some(Answer::Json(of::<T>())), ..self }
    }
    /// An answer that is an archive.
    pub const fn answers_tar(self) -> Self {
        Self { answer: Some(Answer::Tar), ..self }
    }
    /// An answer of text, in the format of Prometheus.
    pub const fn answers_text(self) -> Self {
        Self { answer: Some(Answer::Text), ..self }
    }
    /// An answer of lines, each JSON.
    pub const fn lines<T: JsonSchema>(self) -> Self {
        Self { lines: Some(of::<T>()), ..self }
    }
    /// An answer of JSON or, when watched, a line of the same whenever it has changed.
    pub const fn watched<T: JsonSchema>(self) -> Self {
        self.query::<super::super::watch::Watching>().answers::<T>().lines::<T>()
    }
    /// No answer but a stream of frames.
    pub const fn upgrades(self) -> Self {
        Self { answer: Some(Answer::Upgrade), ..self }
    }

    /// As an Operation Object, with what the braces in its path stand for and what an error looks like.
    pub fn describe(&self, generator: &mut SchemaGenerator, (places, error): (Vec<Value>, &Schema)) -> Value {
        let query = self.query.map(|query| parameters(&(query.inside)(generator))).unwrap_or_default();
        let upgrade = matches!(self.answer, Some(Answer::Upgrade)).then(|| {
            let description = "What the connection goes on as; beside `Connection: Upgrade`.";
            let schema = json!({"type": "string", "default": stream::PROTOCOL});
            json!({"name": "Upgrade", "in": "header", "required": true, "description": description, "schema": schema})
        });
        let mut out = json!({
            "operationId": self.id,
            "tags": [self.tag()],
            "summary": self.summary,
            "parameters": places.into_iter().chain(query).chain(upgrade).collect::<Vec<_>>(),
            "responses": self.responses(generator, error),
        });
        if let Some(body) = self.body {
            let (required, (media, content)) = match body {
                Body::Json(body) => (true, json_of(body, generator)),
                Body::Optional(body) => (false, json_of(body, generator)),
                Body::Tar => (true, (TAR, json!({}))),
            };
            out["requestBody"] = json!({"required": required, "content": {(media): content}});
        }
        // Who joins has no certificate yet: the token stands for it.
        if self.path == path::JOIN {
            out["security"] = json!([]);
        }
        out
    }

    fn responses(&self, generator: &mut SchemaGenerator, error: &Schema) -> Value {
        let answer = self.answer.and_then(|answer| match answer {
            Answer::Json(answer) => Some(json_of(answer, generator)),
            Answer::Tar => Some((TAR, json!({}))),
            Answer::Text => Some(("application/openmetrics-text", json!({"schema": {"type": "string"}}))),
            Answer::Upgrade => None,
        });
        let lines = self.lines.map(|line| (NDJSON, json_of(line, generator).1));
        let description = match (&answer, &lines) {
            (Some(_), None) => "The answer.",
            (Some(_), Some(_)) => "The answer or, when the query asks for it, lines of JSON; their schema is that of a line.",
            (None, Some(_)) => "Lines of JSON; the schema is that of a line.",
            (None, None) => "Frames follow.",
        };
        let status = if answer.is_none() && lines.is_none() { "101" } else { "200" };
        let content: Map<String, Value> =
            answer.into_iter().chain(lines).map(|(media, content)| (media.to_owned(), content)).collect();
        let mut good = json!({ "description": description });
        if !content.is_empty() {
            good["content"] = content.into();
        }
        let bad = json!({"description": "An error; its kind decides the status.", "content": {(JSON): {"schema": error}}});
        json!({(status): good, "default": bad})
    }

    /// Operations on the same noun stand together.
    fn tag(&self) -> &'static str {
        let noun = self.path.strip_prefix("/v1/").and_then(|rest| rest.split('/').next()).unwrap_or_default();
        match noun {
            "servers" | "tokens" | "join" => "servers",
            "containers" | "stats" => "containers",
            "jobs" => "jobs",
            "images" => "images",
            "agent" => "agents",
            _ => "cluster",
        }
    }
}

fn json_of(of: Type, generator: &mut SchemaGenerator) -> (&'static str, Value) {
    (JSON, json!({"schema": (of.schema)(generator)}))
}

/// What the last braces of a path's beginning stand for.
pub struct Place {
    begin: &'static str,
    description: &'static str,
    of: Type,
}

impl Place {
    /// In paths that begin so, a `T`.
    pub const fn new<T: JsonSchema>(begin: &'static str, description: &'static str) -> Self {
        Self { begin, description, of: of::<T>() }
    }

    /// Does this path have it?
    pub fn is_in(&self, path: &str) -> bool {
        path.strip_prefix(self.begin).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// As a Parameter Object.
    pub fn describe(&self, generator: &mut SchemaGenerator) -> Value {
        let name = self.begin.rsplit(['{', '}']).nth(1).unwrap_or_default();
        let schema = (self.of.schema)(generator);
        json!({"name": name, "in": "path", "required": true, "description": self.description, "schema": schema})
    }
}
