//! What does a record say, and does it fit the collection?
//!
//! JSON Lines, CSV, Parquet and records in memory all come down to one set of keys: `content` (or `text`), `title`, `id`,
//! `source`, `metadata`, `embedding`, and the collection's declared fields. Every other key goes to the metadata, where a
//! key of `metadata` itself goes first. A declared field is also looked for in the metadata.

use std::fmt;

use howdah_plan::spec::Metric;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::field::FieldType;
use howdah_embed::norm;

/// Only a vector of smaller numbers can have a length that rounds to zero.
const TINY: f32 = 1e-15;

/// What the collection wants of a record.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Declared fields and their types.
    pub fields: Vec<(String, FieldType)>,
    /// Dimensions of a vector.
    pub dimensions: usize,
    /// Vectors of length zero have no direction: cosine distance to them is not a number.
    pub metric: Metric,
    /// Whether there is an embedder for records without a vector.
    pub embeds: bool,
    /// Largest component that the column stores.
    pub largest: f32,
    /// Everything besides the text that decides what is written: with another, a document counts as changed.
    pub context: [u8; 32],
}

/// A row to be: everything but its place in a document.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Record {
    /// Title, or the headings above it.
    pub title: Option<String>,
    /// Text.
    pub content: String,
    /// What is known besides, as JSON text.
    pub metadata: String,
    /// Declared fields, in PostgreSQL's binary format.
    pub fields: Vec<Option<Vec<u8>>>,
    /// The vector, where the caller brings it.
    pub embedding: Option<Vec<f32>>,
}

impl Shape {
    /// SHA-256 over the context and `parts`.
    pub fn hash(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(self.context);
        for part in parts {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.finalize().into()
    }

    /// Why a vector cannot be taken, if so.
    ///
    /// # Errors
    /// The reason, in one sentence.
    pub fn check_vector(&self, vector: &[f32]) -> Result<(), String> {
        if vector.len() != self.dimensions {
            return Err(format!(
                "the vector has {} dimensions, the collection {}",
                vector.len(),
                self.dimensions
            ));
        }
        // Nearly every vector is fine, and all of its numbers are looked at together.
        let (fine, tiny) = vector.iter().fold((true, true), |(fine, tiny), x| {
            (fine & (x.abs() <= self.largest), tiny & (x.abs() < TINY))
        });
        if fine && !tiny {
            return Ok(());
        }
        if let Some(position) = vector.iter().position(|x| !x.is_finite()) {
            return Err(format!("number {} of the vector is {}", position + 1, vector[position]));
        }
        if let Some(position) = vector.iter().position(|x| x.abs() > self.largest) {
            return Err(format!(
                "number {} of the vector, {}, is too large for halfvec",
                position + 1,
                vector[position]
            ));
        }
        if self.metric == Metric::Cosine && norm(vector) == 0.0 {
            return Err("the vector is zero, and cosine distance has no direction for it".to_owned());
        }
        Ok(())
    }

    /// A record as this collection takes it.
    ///
    /// # Errors
    /// Why not, in one sentence.
    pub fn record(&self, raw: Raw) -> Result<Record, String> {
        let Raw { title, content, mut metadata, mut rest, embedding, .. } = raw;
        let content = content.unwrap_or_default();
        match &embedding {
            Some(vector) => self.check_vector(vector)?,
            None if !self.embeds => {
                return Err("the record has no `embedding`, and the collection has no embedder".to_owned());
            }
            None if content.trim().is_empty() => {
                return Err("the record has neither `content` (or `text`) nor `embedding`".to_owned());
            }
            None => {}
        }
        let fields = self.take_fields(&mut rest, &metadata)?;
        for (key, value) in rest {
            metadata.entry(key).or_insert(value);
        }
        let metadata = Value::Object(metadata).to_string();
        for (name, text) in [("content", content.as_str()), ("title", title.as_deref().unwrap_or_default())] {
            if text.contains('\0') {
                return Err(format!("`{name}` has a NUL character, which PostgreSQL does not store"));
            }
        }
        // JSON text never holds a raw NUL: it is escaped, whichever key or value it stands in.
        if has_escaped_nul(&metadata) {
            return Err(
                "the metadata has a NUL character (\\u0000), which PostgreSQL does not store".to_owned()
            );
        }
        Ok(Record {
            title: title.filter(|title| !title.trim().is_empty()),
            content,
            metadata,
            fields,
            embedding,
        })
    }

    fn take_fields(
        &self,
        rest: &mut Map<String, Value>,
        metadata: &Map<String, Value>,
    ) -> Result<Vec<Option<Vec<u8>>>, String> {
        let mut fields = Vec::with_capacity(self.fields.len());
        for (name, kind) in &self.fields {
            let value =
                rest.shift_remove(name).or_else(|| metadata.get(name).cloned()).unwrap_or(Value::Null);
            let bytes = kind.encode(&value).map_err(|e| format!("field `{name}`: {e}"))?;
            if *kind == FieldType::Text && bytes.as_ref().is_some_and(|bytes| bytes.contains(&0)) {
                return Err(format!("field `{name}` has a NUL character, which PostgreSQL does not store"));
            }
            fields.push(bytes);
        }
        Ok(fields)
    }
}

/// Whether JSON text holds `\u0000`, and not a backslash followed by `u0000`.
fn has_escaped_nul(json: &str) -> bool {
    let mut from = 0;
    while let Some(found) = json[from..].find("\\u0000") {
        let at = from + found;
        let backslashes = json[..at].bytes().rev().take_while(|byte| *byte == b'\\').count();
        if backslashes % 2 == 0 {
            return true;
        }
        from = at + 1;
    }
    false
}

/// A record as it was written.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Raw {
    /// Its own name.
    pub id: Option<String>,
    /// Document it belongs to.
    pub source: Option<String>,
    /// Title.
    pub title: Option<String>,
    /// Text.
    pub content: Option<String>,
    /// Metadata.
    pub metadata: Map<String, Value>,
    /// Vector.
    pub embedding: Option<Vec<f32>>,
    /// Every other key.
    pub rest: Map<String, Value>,
}

impl Raw {
    /// Name of the record: its source, its id, both, or neither.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub fn name(&self) -> Result<Option<String>, String> {
        let name = match (&self.source, &self.id) {
            (Some(source), Some(id)) => format!("{source}#{id}"),
            (Some(name), None) | (None, Some(name)) => name.clone(),
            (None, None) => return Ok(None),
        };
        if name.contains('\0') {
            return Err("its `source` or `id` has a NUL character".to_owned());
        }
        // A B-tree refuses keys beyond a third of a page.
        if name.len() > 2_000 {
            return Err(format!("its `source` or `id` is {} bytes long; 2000 are allowed", name.len()));
        }
        Ok(Some(name))
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Raw;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
                let mut raw = Raw::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "embedding" => raw.embedding = map.next_value()?,
                        "content" | "text" => raw.content = map.next_value()?,
                        "title" => raw.title = map.next_value()?,
                        "id" => raw.id = name_of("id", map.next_value()?).map_err(A::Error::custom)?,
                        "source" => {
                            raw.source = name_of("source", map.next_value()?).map_err(A::Error::custom)?
                        }
                        "metadata" => raw.metadata = map.next_value::<Option<_>>()?.unwrap_or_default(),
                        _ => {
                            let value = map.next_value()?;
                            raw.rest.insert(key, value);
                        }
                    }
                }
                Ok(raw)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

fn name_of(key: &str, value: Value) -> Result<Option<String>, String> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) if text.is_empty() => Ok(None),
        Value::String(text) => Ok(Some(text)),
        Value::Number(number) => Ok(Some(number.to_string())),
        _ => Err(format!("`{key}` is neither text nor a number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shape() -> Shape {
        Shape {
            fields: vec![("year".into(), FieldType::Integer)],
            dimensions: 2,
            metric: Metric::Cosine,
            embeds: true,
            largest: f32::MAX,
            context: [0; 32],
        }
    }

    fn record(value: Value) -> Result<Record, String> {
        let raw: Raw = serde_json::from_str(&value.to_string()).map_err(|e| e.to_string())?;
        shape().record(raw)
    }

    #[test]
    fn unknown_keys_go_to_the_metadata_and_declared_fields_to_their_columns() {
        let record =
            record(json!({"text": "x", "year": 2020, "lang": "en", "metadata": {"lang": "de", "a": 1}}))
                .unwrap();
        assert_eq!(record.metadata, r#"{"lang":"de","a":1}"#);
        assert_eq!(record.fields, [Some(2020i32.to_be_bytes().to_vec())]);
        let inside = self::record(json!({"text": "x", "metadata": {"year": 7}})).unwrap();
        assert_eq!(inside.fields, [Some(7i32.to_be_bytes().to_vec())]);
    }

    #[test]
    fn bad_records_are_refused_in_one_sentence() {
        for (value, part) in [
            (json!({"content": ""}), "neither"),
            (json!({"content": "a\u{0}b"}), "NUL"),
            (json!({"content": "a", "metadata": {"k": "\u{0}"}}), "NUL"),
            (json!({"content": "a", "k\u{0}": 1}), "NUL"),
            (json!({"content": "a", "embedding": [1]}), "1 dimensions"),
            (json!({"content": "a", "embedding": [0, 0]}), "zero"),
            (json!({"content": "a", "embedding": [1e300, 0]}), "inf"),
            (json!({"content": "a", "year": "soon"}), "year"),
            (json!({"content": 3}), "invalid type"),
            (json!({"content": "a", "id": [1]}), "`id`"),
            (json!([1]), "invalid type"),
        ] {
            let reason = record(value.clone()).unwrap_err();
            assert!(reason.contains(part), "{value}: {reason}");
        }
    }

    #[test]
    fn a_backslash_before_u0000_is_no_nul() {
        assert!(record(json!({"content": "a", "k": "\\u0000"})).is_ok());
        assert!(has_escaped_nul(r#"{"a":"\\\u0000"}"#));
    }

    #[test]
    fn names_come_from_source_and_id() {
        let name = |value: Value| serde_json::from_value::<Raw>(value).unwrap().name().unwrap();
        assert_eq!(name(json!({"id": 7})), Some("7".into()));
        assert_eq!(name(json!({"source": "a.md", "id": "x"})), Some("a.md#x".into()));
        assert_eq!(name(json!({"id": null, "source": ""})), None);
    }
}
