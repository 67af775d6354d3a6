//! What does a model want in front of a query, and in front of a document?
//!
//! Some models are trained with a prompt. Forgetting it costs recall without a word, so Howdah knows the families that
//! need one; a model's own `config_sentence_transformers.json` goes before that table.

use std::path::Path;

use serde_json::Value;

use super::purpose::Purpose;

/// The prompts of a model; empty where it wants none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prompts {
    /// In front of a query.
    pub query: String,
    /// In front of a document.
    pub document: String,
}

/// Families of models: a part of the name, the query's prompt, the document's.
const FAMILIES: &[(&str, &str, &str)] = &[
    ("nomic-embed-text", "search_query: ", "search_document: "),
    ("e5-small", "query: ", "passage: "),
    ("e5-base", "query: ", "passage: "),
    ("e5-large", "query: ", "passage: "),
    ("bge-small-en", BGE, ""),
    ("bge-base-en", BGE, ""),
    ("bge-large-en", BGE, ""),
    ("mxbai-embed-large", BGE, ""),
];

const BGE: &str = "Represent this sentence for searching relevant passages: ";

impl Prompts {
    /// The prompts that a model of this name wants.
    pub fn of_name(model: &str) -> Self {
        let model = model.to_lowercase();
        FAMILIES
            .iter()
            .find(|(family, ..)| model.contains(family))
            .map(|(_, query, document)| Prompts { query: (*query).into(), document: (*document).into() })
            .unwrap_or_default()
    }

    /// The prompts that a model's directory declares.
    pub fn of_directory(directory: &Path) -> Self {
        let read = || -> Option<Prompts> {
            let text = std::fs::read(directory.join("config_sentence_transformers.json")).ok()?;
            let config: Value = serde_json::from_slice(&text).ok()?;
            let prompts = config.get("prompts")?;
            let one = |names: &[&str]| {
                names.iter().find_map(|name| prompts.get(name)?.as_str()).unwrap_or_default().to_owned()
            };
            Some(Prompts { query: one(&["query"]), document: one(&["document", "passage"]) })
        };
        read().unwrap_or_default()
    }

    /// The prompt for `purpose`.
    pub fn of(&self, purpose: Purpose) -> &str {
        match purpose {
            Purpose::Query => &self.query,
            Purpose::Document => &self.document,
        }
    }

    /// Whether the model wants none.
    pub fn is_empty(&self) -> bool {
        self.query.is_empty() && self.document.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_known_by_name() {
        assert_eq!(Prompts::of_name("intfloat/e5-base-v2").of(Purpose::Document), "passage: ");
        assert_eq!(Prompts::of_name("nomic-embed-text:v1.5").of(Purpose::Query), "search_query: ");
        assert!(Prompts::of_name("all-MiniLM-L6-v2").is_empty());
        assert!(Prompts::of_name("text-embedding-3-small").is_empty());
    }
}
