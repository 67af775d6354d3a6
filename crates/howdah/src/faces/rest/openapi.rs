//! The OpenAPI 3.1 document, written from the table of skills.
//!
//! Schemas come from the types themselves (schemars), statuses from the table of problems. What the document says the
//! server keeps to: a fuzzer reads it in the tests and holds the server to every word.

use std::collections::BTreeSet;

use howdah_plan::problem::Kind;
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::paths::{DOCUMENTS, Document, What as Shows, scope_words};
use crate::access::scope::Scope;
use crate::faces::http::answer::ErrorBody;
use crate::faces::http::probes::{self, Alive, METRICS, Probe, Version, What};
use crate::jobs::store::Job;
use crate::runtime::host::Health;
use crate::skills::{Lasts, Skill};

/// Statuses any skill may end in besides its success, with the kinds that lead there. 405 and 415 have none of their own.
const COMMON: &[(u16, &str)] = &[
    (400, "The request does not fit: malformed, unknown fields, values out of range."),
    (401, "No key, or not a good one."),
    (403, "The key lacks the scope."),
    (404, "What was asked for does not exist."),
    (409, "Somebody else holds the lock, or the thing is there already."),
    (422, "It was tried and failed."),
    (429, "This key asks too often; `Retry-After` says when to come back."),
    (500, "A fault of Howdah."),
    (
        503,
        "PostgreSQL or the embedder does not answer, or everything that could answer is busy; `Retry-After` says when to \
         come back.",
    ),
    (504, "The time allowed ran out."),
];

/// Statuses of requests with a body.
const WITH_BODY: &[(u16, &str)] =
    &[(413, "The body is larger than allowed."), (415, "The body is not JSON by its content type.")];

/// The document as JSON text.
pub fn text<C>(skills: &'static [Skill<C>], collections: &[String], require_key: bool) -> String {
    document(skills, collections, require_key).to_string()
}

/// The document.
pub fn document<C>(skills: &'static [Skill<C>], collections: &[String], require_key: bool) -> Value {
    let (mut inputs, mut outputs) = (generator(true), generator(false));
    let mut paths = Map::new();
    for skill in skills {
        let operation = operation(skill, collections, &mut inputs, &mut outputs);
        let methods = paths.entry(skill.route.path).or_insert_with(|| json!({}));
        methods[skill.route.method.to_ascii_lowercase()] = operation;
    }
    for probe in probes::ALL {
        paths.insert(probe.path.to_owned(), json!({ "get": probe_operation(&probe, &mut outputs) }));
    }
    for one in DOCUMENTS {
        paths.insert(one.path.to_owned(), json!({ "get": document_operation(&one) }));
    }
    outputs.subschema_for::<ErrorBody>();
    let mut schemas = outputs.take_definitions(true);
    for (name, schema) in inputs.take_definitions(true) {
        schemas.entry(name).or_insert(schema);
    }
    let mut components = json!({
        "schemas": schemas,
        "responses": error_responses(),
        "headers": {
            "RequestId": {
                "description": "The id of the request; sent back as received, or made up.",
                "schema": {"type": "string"},
            },
        },
    });
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Howdah",
            "summary": "PostgreSQL as a production vector database",
            "description": DESCRIPTION,
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": tags(skills),
        "paths": paths,
    });
    if require_key {
        components["securitySchemes"] = json!({
            "bearer": {"type": "http", "scheme": "bearer", "description": "A key: `hdk_…`."},
            "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key", "description": "The same key."},
        });
        document["security"] = json!([{"bearer": []}, {"apiKey": []}]);
    }
    document["components"] = components;
    document
}

const DESCRIPTION: &str = "Every failure has one shape, `{\"error\":{kind,message,detail,hint,do_now,request_id}}`. \
Every search says whether it is complete, and if not, why.";

/// The schema of a skill's input, with the fields that are its path parameters still in it.
pub fn input_schema<C>(skill: &Skill<C>) -> Value {
    let mut generator = generator(true);
    let schema = (skill.input)(&mut generator);
    resolved(&schema, generator.definitions())
}

/// The fields of a skill's input.
pub fn properties<C>(skill: &Skill<C>) -> Map<String, Value> {
    match input_schema(skill).get_mut("properties").map(Value::take) {
        Some(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

fn generator(input: bool) -> SchemaGenerator {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    if input { settings.for_deserialize() } else { settings.for_serialize() }.into_generator()
}

/// Follows the one `$ref` a top-level schema may be.
fn resolved(schema: &Schema, definitions: &Map<String, Value>) -> Value {
    let value = schema.as_value().clone();
    let Some(reference) = value.get("$ref").and_then(Value::as_str) else { return value };
    let name = reference.rsplit('/').next().unwrap_or_default();
    definitions.get(name).cloned().unwrap_or(value)
}

/// What a caller may say of a call that can run as a job.
fn job_headers() -> [Value; 2] {
    [
        json!({
            "name": "Prefer", "in": "header", "required": false,
            "description": "`respond-async`: do not wait, answer 202 with the job (RFC 7240).",
            "schema": {"type": "string"}, "example": "respond-async",
        }),
        json!({
            "name": "Idempotency-Key", "in": "header", "required": false,
            "description": "The caller's own name for the call. The same key again means the same job.",
            "schema": {"type": "string", "pattern": "^[!-~]{1,200}$"},
        }),
    ]
}

fn operation<C>(
    skill: &Skill<C>,
    collections: &[String],
    inputs: &mut SchemaGenerator,
    outputs: &mut SchemaGenerator,
) -> Value {
    let schema = (skill.input)(inputs);
    let mut schema = resolved(&schema, inputs.definitions());
    let in_path = path_parameters(skill.route.path);
    let mut parameters = take_parameters(&mut schema, &in_path, "path");
    for parameter in &mut parameters {
        if parameter["name"] == "collection" && !collections.is_empty() {
            parameter["schema"]["enum"] = json!(collections);
        }
    }
    let has_body = !matches!(skill.route.method, "GET" | "DELETE");
    if !has_body {
        let rest: Vec<String> = fields(&schema);
        parameters.extend(take_parameters(&mut schema, &rest, "query"));
    }
    if skill.lasts != Lasts::Request {
        parameters.extend(job_headers());
    }
    let mut operation = json!({
        "operationId": skill.name,
        "summary": skill.summary,
        "description": format!("{}\n\n{}", skill.description, scope_words(skill.scope)),
        "tags": [tag(skill)],
        "x-scope": skill.scope.name(),
        "x-effect": skill.effect,
        "parameters": parameters,
        "responses": responses(skill, has_body, outputs),
    });
    if has_body {
        let required =
            schema.get("required").and_then(Value::as_array).is_some_and(|names| !names.is_empty());
        operation["requestBody"] = json!({
            "required": required,
            "content": {"application/json": {"schema": schema, "examples": examples(skill, &in_path)}},
        });
    }
    operation
}

fn examples<C>(skill: &Skill<C>, in_path: &[String]) -> Value {
    let mut all = Map::new();
    for (number, example) in skill.examples.iter().enumerate() {
        let Ok(Value::Object(mut input)) = serde_json::from_str(example.input) else { continue };
        input.retain(|name, _| !in_path.contains(name));
        all.insert(format!("example{}", number + 1), json!({"summary": example.title, "value": input}));
    }
    all.into()
}

fn responses<C>(skill: &Skill<C>, has_body: bool, outputs: &mut SchemaGenerator) -> Value {
    let output = (skill.output)(outputs);
    let mut all = json!({
        skill.route.success.to_string(): {
            "description": skill.summary,
            "headers": request_id_header(),
            "content": {"application/json": {"schema": output}},
        },
    });
    if skill.lasts != Lasts::Request {
        let mut headers = request_id_header();
        headers["Location"] =
            json!({"schema": {"type": "string"}, "description": "Where to look after the job."});
        all["202"] = json!({
            "description": "It goes on as a job.",
            "headers": headers,
            "content": {"application/json": {"schema": outputs.subschema_for::<Job>()}},
        });
    }
    for (status, _) in COMMON.iter().chain(if has_body { WITH_BODY } else { &[] }) {
        all[status.to_string()] = json!({"$ref": format!("#/components/responses/Error{status}")});
    }
    all
}

fn error_responses() -> Value {
    let mut all = Map::new();
    for (status, description) in COMMON.iter().chain(WITH_BODY) {
        let mut headers = request_id_header();
        let whole = json!({"schema": {"type": "integer", "minimum": 1}, "description": "Seconds to wait."});
        match status {
            401 => headers["WWW-Authenticate"] = json!({"schema": {"type": "string"}}),
            429 | 503 => headers["Retry-After"] = whole,
            _ => {}
        }
        let response = json!({
            "description": description,
            "headers": headers,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
        });
        all.insert(format!("Error{status}"), response);
    }
    all.into()
}

fn request_id_header() -> Value {
    json!({"x-request-id": {"$ref": "#/components/headers/RequestId"}})
}

fn probe_operation(probe: &Probe, outputs: &mut SchemaGenerator) -> Value {
    let json = "application/json";
    let (kind, schema) = match probe.what {
        What::Health => (json, outputs.subschema_for::<Health>().to_value()),
        What::Live | What::Ready => (json, outputs.subschema_for::<Alive>().to_value()),
        What::Version => (json, outputs.subschema_for::<Version>().to_value()),
        What::Metrics => (METRICS, json!({"type": "string"})),
    };
    let mut operation = plain_operation((probe.name, probe.summary), kind, &schema);
    let errors: &[u16] = match probe.what {
        What::Health => {
            operation["responses"]["503"] = json!({
                "description": "It is not healthy, or not yet.",
                "headers": request_id_header(),
                "content": {kind: {"schema": schema}},
            });
            &[]
        }
        What::Ready => &[503],
        What::Metrics => {
            if let Some(operation) = operation.as_object_mut() {
                operation.shift_remove("security");
            }
            operation["x-scope"] = json!(Scope::Read.name());
            operation["description"] = json!(scope_words(Scope::Read));
            &[401, 403, 429, 503]
        }
        What::Live | What::Version => &[],
    };
    add_errors(&mut operation["responses"], errors);
    operation
}

fn document_operation(document: &Document) -> Value {
    let schema = match document.what {
        Shows::OpenApi => json!({"type": "object"}),
        Shows::Page => json!({"type": "string"}),
    };
    plain_operation((document.name, document.summary), document.kind, &schema)
}

/// An operation that is open to everybody and takes nothing.
fn plain_operation((name, summary): (&str, &str), kind: &str, schema: &Value) -> Value {
    let mut responses = json!({
        "200": {"description": summary, "headers": request_id_header(), "content": {kind: {"schema": schema}}},
    });
    add_errors(&mut responses, &[500, 504]);
    json!({
        "operationId": name,
        "summary": summary,
        "tags": ["server"],
        "security": [],
        "responses": responses,
    })
}

fn add_errors(responses: &mut Value, statuses: &[u16]) {
    for status in statuses {
        responses[status.to_string()] = json!({"$ref": format!("#/components/responses/Error{status}")});
    }
}

/// Takes the fields named out of an object schema, as parameters.
fn take_parameters(schema: &mut Value, names: &[String], place: &str) -> Vec<Value> {
    let mut required: Vec<String> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|all| all.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect())
        .unwrap_or_default();
    let mut parameters = Vec::new();
    for name in names {
        let Some(mut field) = schema
            .get_mut("properties")
            .and_then(Value::as_object_mut)
            .and_then(|all| all.shift_remove(name))
        else {
            continue;
        };
        let description = field.as_object_mut().and_then(|field| field.shift_remove("description"));
        not_null(&mut field);
        let must = place == "path" || required.contains(name);
        let mut parameter = json!({"name": name, "in": place, "required": must, "schema": field});
        if let Some(description) = description {
            parameter["description"] = description;
        }
        parameters.push(parameter);
    }
    required.retain(|name| !names.contains(name));
    if let Some(object) = schema.as_object_mut() {
        object.shift_remove("required");
        if !required.is_empty() {
            object.insert("required".into(), json!(required));
        }
    }
    parameters
}

/// A parameter is there or absent, never null.
fn not_null(field: &mut Value) {
    if let Some(Value::Array(kinds)) = field.get("type").cloned() {
        let kinds: Vec<Value> = kinds.into_iter().filter(|kind| kind != "null").collect();
        if let [only] = kinds.as_slice() {
            field["type"] = only.clone();
        }
    }
    if field.get("default").is_some_and(Value::is_null)
        && let Some(object) = field.as_object_mut()
    {
        object.shift_remove("default");
    }
}

fn fields(schema: &Value) -> Vec<String> {
    schema
        .get("properties")
        .and_then(Value::as_object)
        .map(|all| all.keys().cloned().collect())
        .unwrap_or_default()
}

fn path_parameters(path: &str) -> Vec<String> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).map(str::to_owned).collect()
}

/// Skills are grouped by the first word of their path.
fn tag<C>(skill: &Skill<C>) -> &'static str {
    match skill.route.path.split('/').nth(2) {
        Some("collections") => "collections",
        Some("keys") => "keys",
        _ => "server",
    }
}

fn tags<C>(skills: &[Skill<C>]) -> Value {
    let words = [
        ("collections", "Search, ingest and look."),
        ("keys", "Who may ask."),
        ("server", "The server behind it all."),
    ];
    let used: BTreeSet<&str> = skills.iter().map(tag).chain(["server"]).collect();
    words
        .iter()
        .filter(|(name, _)| used.contains(name))
        .map(|(name, description)| json!({"name": name, "description": description}))
        .collect()
}

/// Whether the document knows every status that a kind of problem can end in.
pub fn describes(kind: Kind) -> bool {
    COMMON.iter().chain(WITH_BODY).any(|(status, _)| *status == kind.row().http)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_problem_ends_in_a_status_that_is_described() {
        for kind in Kind::ALL {
            assert!(describes(kind), "{kind:?}");
        }
    }
}
