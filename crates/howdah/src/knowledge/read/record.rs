//! What does a record say, and does it fit the collection?
//!
//! JSON Lines, CSV, Parquet and records in memory all come down to one set of keys: `content`, `title`, `id`, `source`,
//! `metadata`, `embedding`, and the collection's declared fields. `text` is the content where there is no `content`. Every
//! other key goes to the metadata; one that stands in `metadata` too, with another value, is refused. A declared field is
//! also looked for in the metadata. Values that are kept stay JSON text, so that no digit is lost.

use std::collections::HashSet;
use std::fmt;

use howdah_plan::spec::Metric;
use indexmap::IndexMap;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::field::FieldType;
use super::json::{self, Json};
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
        for (name, text) in [("content", content.as_str()), ("title", title.as_deref().unwrap_or_default())] {
            if text.contains('\0') {
                return Err(format!("`{name}` has a NUL character, which PostgreSQL does not store"));
            }
        }
        settle(&mut rest, &metadata)?;
        let fields = self.take_fields(&mut rest, &metadata)?;
        metadata.extend(rest);
        Ok(Record {
            title: title.filter(|title| !title.trim().is_empty()),
            content,
            metadata: object(&metadata),
            fields,
            embedding,
        })
    }

    /// Metadata as JSON text, and the declared fields that it has.
    ///
    /// # Errors
    /// Why not, in one sentence.
    pub fn extras(&self, mut metadata: Values) -> Result<(String, Fields), String> {
        settle(&mut metadata, &Values::new())?;
        let fields = self.take_fields(&mut Values::new(), &metadata)?;
        Ok((object(&metadata), fields))
    }

    /// The declared fields, out of the record or else of its metadata.
    fn take_fields(&self, rest: &mut Values, metadata: &Values) -> Result<Fields, String> {
        let mut fields = Vec::with_capacity(self.fields.len());
        for (name, kind) in &self.fields {
            let own = rest.shift_remove(name);
            fields.push(match own.as_ref().filter(|own| !own.is_null()).or_else(|| metadata.get(name)) {
                Some(value) => kind.encode(value).map_err(|e| format!("field `{name}`: {e}"))?,
                None => None,
            });
        }
        Ok(fields)
    }
}

/// Looks through the values of a record for what would be lost. A key that stands in the metadata too has to say the same
/// there, or nothing: `null`.
fn settle(rest: &mut Values, metadata: &Values) -> Result<(), String> {
    for (key, value) in rest.iter_mut() {
        if key.contains('\0') {
            let key = key.replace('\0', "\\0");
            return Err(format!("the key `{key}` has a NUL character, which PostgreSQL does not store"));
        }
        *value = value.clean(key)?;
        let other = metadata.get(key).filter(|other| other.get() != value.get());
        if other.is_some() && !value.is_null() {
            return Err(format!("`{key}` stands in the record and, with another value, in its `metadata`"));
        }
    }
    rest.retain(|key, _| !metadata.contains_key(key));
    Ok(())
}

/// Values as the text of a JSON object.
fn object(values: &Values) -> String {
    serde_json::to_string(values).unwrap_or_else(|_| "{}".to_owned())
}

/// The declared fields in their order, in PostgreSQL's binary format.
pub type Fields = Vec<Option<Vec<u8>>>;

/// Values by their names, in the order they were written in.
pub type Values = IndexMap<String, Json>;

/// A record as it was written.
#[derive(Debug, Clone, Default, Serialize)]
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
    pub metadata: Values,
    /// Vector.
    pub embedding: Option<Vec<f32>>,
    /// Every other key.
    pub rest: Values,
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

    /// Takes a value in under its key.
    ///
    /// # Errors
    /// What is wrong with it, with its key.
    pub fn set(&mut self, key: &str, value: Json) -> Result<(), String> {
        match key {
            "embedding" => self.embedding = vector(&value)?,
            "content" => self.content = optional_text(key, &value)?,
            "title" => self.title = optional_text(key, &value)?,
            "id" => self.id = name_of(key, &value)?,
            "source" => self.source = name_of(key, &value)?,
            "metadata" => self.metadata = values(&value)?,
            _ => {
                self.rest.insert(key.to_owned(), value);
            }
        }
        Ok(())
    }

    /// Takes `text` for the content, where there is none.
    ///
    /// # Errors
    /// When it is no text.
    pub fn settle_text(&mut self) -> Result<(), String> {
        if self.content.as_deref().is_some_and(|content| !content.is_empty()) {
            return Ok(());
        }
        if let Some(text) = self.rest.shift_remove("text") {
            self.content = optional_text("text", &text)?.or(self.content.take());
        }
        Ok(())
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
                let mut seen = HashSet::new();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        // The long ones are read in one go.
                        "embedding" => {
                            raw.embedding =
                                map.next_value().map_err(|e| unfit("embedding", "a list of numbers", e))?;
                        }
                        "content" => {
                            raw.content = map.next_value().map_err(|e| unfit("content", "text", e))?;
                        }
                        _ => raw.set(&key, map.next_value()?).map_err(A::Error::custom)?,
                    }
                    if seen.contains(&key) {
                        return Err(A::Error::custom(format!("`{key}` stands twice")));
                    }
                    seen.insert(key);
                }
                raw.settle_text().map_err(A::Error::custom)?;
                Ok(raw)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// What is wanted of a key, where something else stands; the error as it is where the JSON is broken.
fn unfit<E: serde::de::Error>(key: &str, wanted: &str, error: E) -> E {
    let text = error.to_string();
    match text.strip_prefix("invalid type: ").and_then(|text| text.split(", expected").next()) {
        Some(found) => E::custom(format!("`{key}` is to be {wanted}, not {found}")),
        None => error,
    }
}

fn vector(value: &Json) -> Result<Option<Vec<f32>>, String> {
    serde_json::from_str(value.get())
        .map_err(|_| format!("`embedding` is no list of numbers: {}", value.kind()))
}

fn optional_text(key: &str, value: &Json) -> Result<Option<String>, String> {
    if !matches!(value.kind(), "null" | "text") {
        return Err(format!("`{key}` is to be text, not {}", value.kind()));
    }
    serde_json::from_str(value.get())
        .map_err(|_| format!("`{key}` has half of a surrogate pair, which is no character"))
}

/// The values of a JSON object.
fn values(value: &Json) -> Result<Values, String> {
    if value.is_null() {
        return Ok(Values::new());
    }
    if value.kind() != "an object" {
        return Err(format!("`metadata` is to be a JSON object, not {}", value.kind()));
    }
    let clean = json::clean("metadata", value.get()).map_err(|flaw| flaw.to_string())?;
    serde_json::from_str(&clean).map_err(|e| format!("`metadata` is no JSON object: {e}"))
}

fn name_of(key: &str, value: &Json) -> Result<Option<String>, String> {
    match value.kind() {
        "null" => Ok(None),
        "text" => Ok(optional_text(key, value)?.filter(|text| !text.is_empty())),
        // As it was written, and as long; of other numbers the shortest form that says the same.
        "a number" if value.get().bytes().all(|byte| byte == b'-' || byte.is_ascii_digit()) => {
            Ok(Some(value.get().to_owned()))
        }
        "a number" => Ok(Some(
            serde_json::from_str::<serde_json::Number>(value.get())
                .map_or_else(|_| value.get().to_owned(), |number| number.to_string()),
        )),
        other => Err(format!("`{key}` is to be text or a number, not {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::Scalar;
    use super::*;
    use serde_json::{Value, json};

    fn shape() -> Shape {
        Shape {
            fields: vec![("year".into(), FieldType::One(Scalar::Integer))],
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
            record(json!({"text": "x", "year": 2020, "lang": "de", "b": null, "metadata": {"lang": "de", "a": 1, "b": 2}}))
                .unwrap();
        assert_eq!(record.metadata, r#"{"lang":"de","a":1,"b":2}"#);
        assert_eq!(record.fields, [Some(2020i32.to_be_bytes().to_vec())]);
        let inside = self::record(json!({"text": "x", "metadata": {"year": 7}})).unwrap();
        assert_eq!(inside.fields, [Some(7i32.to_be_bytes().to_vec())]);
        let other = self::record(json!({"text": "x", "lang": "de", "metadata": {"lang": "en"}})).unwrap_err();
        assert!(other.contains("`lang`"), "{other}");
    }

    #[test]
    fn bad_records_are_refused_in_one_sentence() {
        for (value, part) in [
            (json!({"content": ""}), "neither"),
            (json!({"content": "a\u{0}b"}), "`content` has a NUL"),
            (json!({"content": "a", "metadata": {"k": "\u{0}"}}), "`metadata.k` has a NUL"),
            (json!({"content": "a", "k\u{0}": 1}), "NUL"),
            (json!({"content": "a", "embedding": [1]}), "1 dimensions"),
            (json!({"content": "a", "embedding": [0, 0]}), "zero"),
            (json!({"content": "a", "embedding": [1e300, 0]}), "inf"),
            (json!({"content": "a", "embedding": "x"}), "`embedding` is to be a list of numbers, not string"),
            (json!({"content": "a", "year": "soon"}), "year"),
            (json!({"content": 3}), "`content` is to be text, not integer `3`"),
            (json!({"text": 3}), "`text` is to be text, not a number"),
            (json!({"content": "a", "title": [3]}), "`title` is to be text, not a list"),
            (json!({"content": "a", "metadata": "x"}), "`metadata` is to be a JSON object, not text"),
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
    }

    #[test]
    fn names_come_from_source_and_id() {
        let name = |text: &str| serde_json::from_str::<Raw>(text).unwrap().name().unwrap();
        assert_eq!(name(r#"{"id": 7}"#), Some("7".into()));
        assert_eq!(
            name(r#"{"id": 123456789012345678901234567890}"#),
            Some("123456789012345678901234567890".into())
        );
        assert_eq!(name(r#"{"id": 1.50}"#), Some("1.5".into()));
        assert_eq!(name(r#"{"source": "a.md", "id": "x"}"#), Some("a.md#x".into()));
        assert_eq!(name(r#"{"id": null, "source": ""}"#), None);
    }
}
