//! Schemas of Rust types, as people and generators of clients like to read them.

use schemars::{Schema, SchemaGenerator, generate::SchemaSettings, transform::transform_subschemas};
use serde_json::{Value, json};

/// A type as a schema.
#[derive(Clone, Copy)]
pub struct Type {
    /// A reference into the components, or the whole when it has no name of its own.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// The whole.
    pub inside: fn(&mut SchemaGenerator) -> Schema,
}

/// Makes schemas for this API. One schema serves requests and answers: what may be left out of a request is not promised in an
/// answer either, since an older manager may not know it.
pub fn generator() -> SchemaGenerator {
    let mut settings = SchemaSettings::draft2020_12().with_transform(tidy);
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    settings.into_generator()
}

/// The fields of a query as Parameter Objects.
pub fn parameters(query: &Schema) -> Vec<Value> {
    let required = |name: &str| {
        let names = query.get("required").and_then(Value::as_array);
        names.is_some_and(|names| names.iter().any(|one| one == name))
    };
    let fields = query.get("properties").and_then(Value::as_object).into_iter().flatten();
    fields
        .map(|(name, schema)| {
            let mut schema = present(schema.clone());
            let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
            let mut out = json!({"name": name, "in": "query", "required": required(name), "schema": schema});
            if let Some(Value::String(text)) = description {
                out["description"] = plain(&text).into();
            }
            out
        })
        .collect()
}

/// Without the `null` of what may be absent: a query has no way to say it.
fn present(mut schema: Value) -> Value {
    let Some(object) = schema.as_object_mut() else { return schema };
    if object.get("default") == Some(&Value::Null) {
        object.remove("default");
    }
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|one| one != "null");
        if types.len() == 1 {
            let one = types.remove(0);
            object.insert("type".to_owned(), one);
        }
    }
    if let Some(Value::Array(mut choices)) = object.remove("anyOf") {
        choices.retain(|one| one.get("type") != Some(&json!("null")));
        match choices.pop() {
            Some(Value::Object(one)) if choices.is_empty() => object.extend(one),
            last => {
                choices.extend(last);
                object.insert("anyOf".to_owned(), choices.into());
            }
        }
    }
    schema
}

/// What the derived schema says, said so that common generators of clients make a good type of it.
fn tidy(schema: &mut Schema) {
    enumeration(schema);
    keyed(schema);
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = plain(text);
    }
    transform_subschemas(&mut tidy, schema);
}

/// A choice of texts is an `enum`, with what each means in the description, rather than a choice of schemas with one text each.
fn enumeration(schema: &mut Schema) {
    let Some(Value::Array(choices)) = schema.get("oneOf") else { return };
    let texts: Option<Vec<&str>> = choices.iter().map(|choice| choice.get("const")?.as_str()).collect();
    let Some(texts) = texts else { return };
    let about = |choice: &Value| choice.get("description").and_then(Value::as_str).map(str::to_owned);
    let lines: Vec<_> =
        choices.iter().zip(&texts).filter_map(|(one, text)| Some(format!("* `{text}`: {}", about(one)?))).collect();
    let about = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    let description = format!("{about}\n\n{}", lines.join("\n"));
    let texts = json!(texts);
    schema.remove("oneOf");
    schema.insert("type".to_owned(), "string".into());
    schema.insert("enum".to_owned(), texts);
    schema.insert("description".to_owned(), description.trim().into());
}

/// A map whose keys have a form: `additionalProperties` and `propertyNames`, which more generators know than `patternProperties`.
fn keyed(schema: &mut Schema) {
    let Some(Value::Object(patterns)) = schema.get("patternProperties") else { return };
    if patterns.len() != 1 || schema.get("additionalProperties") != Some(&Value::Bool(false)) {
        return;
    }
    let Some((pattern, value)) = patterns.iter().next().map(|(pattern, value)| (pattern.clone(), value.clone())) else { return };
    schema.remove("patternProperties");
    schema.insert("propertyNames".to_owned(), json!({ "pattern": pattern }));
    schema.insert("additionalProperties".to_owned(), value);
}

/// A doc comment without the brackets of links into the code.
fn plain(text: &str) -> String {
    text.replace("[`", "`").replace("`]", "`").replace("`crate::", "`")
}
