//! The declaration's JSON Schema: what editors complete from, and what `read` walks beside.
//!
//! It is generated from the types. TOML has no null, so what schemars says for optional keys is made plainer here, and
//! every key gets a title from the first sentence of its description.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::Spec;

/// Where the schema stands in the repository; also the last part of its `$id`.
pub const PATH: &str = "schema/howdah.schema.json";

static SCHEMA: LazyLock<Value> = LazyLock::new(generate);

/// The schema (draft 2020-12).
pub fn schema() -> &'static Value {
    &SCHEMA
}

/// The schema as it is committed, for `#:schema` lines and editors.
pub fn text() -> String {
    format!("{:#}\n", schema())
}

fn generate() -> Value {
    let root = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Spec>();
    let mut root = Value::from(root);
    plain(&mut root);
    if let Some(object) = root.as_object_mut() {
        object.insert("title".into(), json!("howdah.toml"));
    }
    root
}

/// Makes one schema and all below it plainer.
fn plain(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            without_null(object);
            titled(object);
            for (name, value) in object.iter_mut() {
                if !matches!(name.as_str(), "default" | "examples" | "const") {
                    plain(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(plain),
        _ => {}
    }
}

fn without_null(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|one| one != "null");
        if let [one] = types.as_slice() {
            let one = one.clone();
            object.insert("type".into(), one);
        }
    }
    if let Some(Value::Array(any)) = object.get_mut("anyOf") {
        any.retain(|one| one["type"] != "null");
        if let [Value::Object(one)] = any.as_slice() {
            let one = one.clone();
            object.remove("anyOf");
            object.extend(one);
        }
    }
    match object.get("default") {
        Some(Value::Null | Value::Object(_)) => {
            object.remove("default");
        }
        Some(Value::Array(items)) if items.is_empty() => {
            object.remove("default");
        }
        _ => {}
    }
}

fn titled(object: &mut Map<String, Value>) {
    let Some(text) = object.get("description").and_then(Value::as_str) else { return };
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let first = text.split(['.', ';', ':']).next().unwrap_or(&text).to_owned();
    object.insert("description".into(), text.into());
    object.insert("title".into(), first.into());
}
