//! The tables of well-known libraries, by the shape that the library gives them.

use crate::spec::Metric;

/// A library, and what its tables look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Library {
    /// Its name for people.
    pub name: &'static str,
    /// Columns, all of which the table has.
    pub shape: &'static [&'static str],
    /// How the names of its tables begin.
    pub prefix: &'static str,
    /// The schema it keeps them in, where that is fixed.
    pub schema: Option<&'static str>,
    /// The key.
    pub id: &'static str,
    /// The text; none where the library stores none.
    pub content: Option<&'static str>,
    /// The metadata.
    pub metadata: &'static str,
    /// Distance, unless its user says otherwise.
    pub metric: Metric,
    /// What is worth knowing of its tables.
    pub note: Option<&'static str>,
}

/// All that are known. The first that fits is it.
pub const LIBRARIES: &[Library] = &[
    Library {
        name: "LangChain `PGVectorStore`",
        shape: &["langchain_id", "content", "embedding", "langchain_metadata"],
        prefix: "",
        schema: None,
        id: "langchain_id",
        content: Some("content"),
        metadata: "langchain_metadata",
        metric: Metric::Cosine,
        note: None,
    },
    Library {
        name: "LangChain `PGVector`",
        shape: &["id", "collection_id", "embedding", "document", "cmetadata"],
        prefix: "",
        schema: None,
        id: "id",
        content: Some("document"),
        metadata: "cmetadata",
        metric: Metric::Cosine,
        note: Some("the library keeps all its collections in one table: the fixed filter tells them apart"),
    },
    Library {
        name: "LlamaIndex `PGVectorStore`",
        shape: &["id", "text", "metadata_", "node_id", "embedding"],
        prefix: "data_",
        schema: None,
        id: "id",
        content: Some("text"),
        metadata: "metadata_",
        metric: Metric::Cosine,
        note: None,
    },
    Library {
        name: "Supabase `vecs`",
        shape: &["id", "vec", "metadata"],
        prefix: "",
        schema: Some("vecs"),
        id: "id",
        content: None,
        metadata: "metadata",
        metric: Metric::Cosine,
        note: Some("the library stores no text, so searches are by vector"),
    },
    Library {
        name: "Haystack `PgvectorDocumentStore`",
        shape: &["id", "embedding", "content", "meta", "blob_data", "blob_meta"],
        prefix: "",
        schema: None,
        id: "id",
        content: Some("content"),
        metadata: "meta",
        metric: Metric::Cosine,
        note: None,
    },
];

/// The library that made a table, by its schema, its name, and which columns it has.
pub(super) fn of(schema: &str, name: &str, has: impl Fn(&str) -> bool) -> Option<&'static Library> {
    LIBRARIES.iter().find(|library| {
        library.shape.iter().all(|column| has(column))
            && name.starts_with(library.prefix)
            && library.schema.is_none_or(|own| own == schema)
    })
}
