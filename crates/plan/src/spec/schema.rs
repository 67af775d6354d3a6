//! The declaration's JSON Schema: what editors complete from, and what `read` walks beside.
//!
//! It is generated from the types. TOML has no null, so what schemars says for optional keys is made plainer here, and
//! every key gets a title from the first sentence of its description.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::Spec;

/// Where the schema stands in the repository. A declaration's first line `#:schema <path or address>` makes editors
/// complete and check by it.
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
    let mut ordered = json!({ "$schema": root["$schema"], "title": "howdah.toml" });
    if let (Some(ordered), Value::Object(root)) = (ordered.as_object_mut(), root) {
        root.into_iter().filter(|(name, _)| name != "title").for_each(|(name, value)| {
            ordered.insert(name, value);
        });
    }
    ordered
}

/// Makes one schema and all below it plainer. Keywords that hold schemas are named, since a key of the declaration may be
/// called like a keyword (`default`).
fn plain(schema: &mut Value) {
    let Value::Object(object) = schema else { return };
    without_null(object);
    titled(object);
    for (keyword, value) in object.iter_mut() {
        match (keyword.as_str(), value) {
            ("properties" | "$defs", Value::Object(schemas)) => schemas.values_mut().for_each(plain),
            ("items" | "additionalProperties", value) => plain(value),
            ("anyOf" | "oneOf", Value::Array(schemas)) => schemas.iter_mut().for_each(plain),
            _ => {}
        }
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
    let end = [". ", "; ", ": "].iter().filter_map(|stop| text.find(stop)).min().unwrap_or(text.len());
    let first = text[..end].trim_end_matches('.').to_owned();
    object.insert("description".into(), text.into());
    object.insert("title".into(), first.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `cargo test -p howdah-plan` with `UPDATE_SCHEMA=1` writes it anew.
    #[test]
    fn the_committed_schema_is_the_one_the_types_give() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schema/howdah.schema.json");
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            std::fs::write(path, text()).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == text(),
            "schema/howdah.schema.json is old: UPDATE_SCHEMA=1 cargo test -p howdah-plan"
        );
    }

    #[test]
    fn every_key_is_described_and_none_allows_null() {
        let mut keys = 0;
        let definitions = schema()["$defs"].as_object().unwrap().values();
        for definition in definitions.chain([schema()]) {
            for (name, key) in definition["properties"].as_object().into_iter().flatten() {
                assert!(key["description"].is_string(), "{name}: {key}");
                assert!(!key.to_string().contains("null"), "{name}: {key}");
                keys += 1;
            }
        }
        assert!(keys > 70, "{keys}");
    }
}
