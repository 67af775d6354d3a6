//! How do the providers spell a request and an answer?
//!
//! Three shapes: OpenAI's `/v1/embeddings`, Ollama's `/api/embed`, Text Embeddings Inference's `/embed`. Data in, data
//! out; sending is `remote`'s business.

use howdah_plan::spec::EmbedderKind;
use serde::Deserialize;
use serde_json::{Value, json};

/// One of the three shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// `POST /v1/embeddings`.
    OpenAi,
    /// `POST /api/embed`.
    Ollama,
    /// `POST /embed`.
    Tei,
}

impl Provider {
    /// The provider of a declared kind; none for a local model.
    pub fn of(kind: EmbedderKind) -> Option<Self> {
        match kind {
            EmbedderKind::Local => None,
            EmbedderKind::Openai => Some(Provider::OpenAi),
            EmbedderKind::Ollama => Some(Provider::Ollama),
            EmbedderKind::Tei => Some(Provider::Tei),
        }
    }

    /// Where it listens unless declared otherwise.
    pub fn default_url(self) -> Option<&'static str> {
        match self {
            Provider::OpenAi => Some("https://api.openai.com"),
            Provider::Ollama => Some("http://127.0.0.1:11434"),
            Provider::Tei => None,
        }
    }

    /// Address of a request, from the declared base address.
    pub fn endpoint(self, base: &str) -> String {
        let base = base.trim_end_matches('/');
        match self {
            Provider::OpenAi if base.ends_with("/embeddings") => base.to_owned(),
            // `https://host/v1`, `https://host/api/v3`: a versioned base is taken as it is.
            Provider::OpenAi if versioned(base) => format!("{base}/embeddings"),
            Provider::OpenAi => format!("{base}/v1/embeddings"),
            Provider::Ollama => format!("{base}/api/embed"),
            Provider::Tei => format!("{base}/embed"),
        }
    }

    /// Texts a request, unless declared otherwise. TEI refuses more than 32 by default.
    pub fn default_batch(self) -> usize {
        match self {
            Provider::OpenAi => 128,
            Provider::Ollama | Provider::Tei => 32,
        }
    }

    /// Requests on their way at a time.
    pub fn parallel(self) -> usize {
        match self {
            Provider::OpenAi => 4,
            Provider::Ollama | Provider::Tei => 2,
        }
    }

    /// The body of a request. `shorten` asks for vectors of so many dimensions, where the provider can.
    pub fn request(self, model: &str, texts: &[String], shorten: Option<u32>) -> Value {
        match (self, shorten) {
            (Provider::OpenAi, None) => json!({"model": model, "input": texts, "encoding_format": "float"}),
            (Provider::OpenAi, Some(dimensions)) => {
                json!({"model": model, "input": texts, "encoding_format": "float", "dimensions": dimensions})
            }
            (Provider::Ollama, _) => json!({"model": model, "input": texts, "truncate": true}),
            (Provider::Tei, _) => json!({"inputs": texts, "truncate": true, "normalize": true}),
        }
    }

    /// The vectors of an answer, in the order of the texts.
    ///
    /// # Errors
    /// One sentence, when the answer has another shape.
    pub fn answer(self, body: &[u8]) -> Result<Vec<Vec<f32>>, String> {
        match self {
            Provider::OpenAi => parse::<OpenAi>(body)?.in_order(),
            Provider::Ollama => Ok(parse::<Ollama>(body)?.embeddings),
            Provider::Tei => parse(body),
        }
    }
}

fn versioned(base: &str) -> bool {
    let last = base.rsplit('/').next().unwrap_or_default();
    last.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|e| e.to_string())
}

#[derive(Deserialize)]
struct OpenAi {
    data: Vec<OpenAiRow>,
}

#[derive(Deserialize)]
struct OpenAiRow {
    index: Option<usize>,
    embedding: Vec<f32>,
}

impl OpenAi {
    /// OpenAI numbers its rows and promises no order; some servers leave the number out.
    fn in_order(self) -> Result<Vec<Vec<f32>>, String> {
        let count = self.data.len();
        let mut vectors: Vec<Option<Vec<f32>>> = vec![None; count];
        for (position, row) in self.data.into_iter().enumerate() {
            let index = row.index.unwrap_or(position);
            match vectors.get_mut(index) {
                Some(slot @ None) => *slot = Some(row.embedding),
                Some(Some(_)) => return Err(format!("index {index} twice in the answer")),
                None => return Err(format!("index {index} in an answer of {count} rows")),
            }
        }
        vectors
            .into_iter()
            .collect::<Option<_>>()
            .ok_or_else(|| "an index is missing in the answer".to_owned())
    }
}

#[derive(Deserialize)]
struct Ollama {
    embeddings: Vec<Vec<f32>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_follow_the_base_address() {
        let openai = |base| Provider::OpenAi.endpoint(base);
        assert_eq!(openai("https://api.openai.com/"), "https://api.openai.com/v1/embeddings");
        assert_eq!(openai("http://host:1/v1"), "http://host:1/v1/embeddings");
        assert_eq!(openai("http://host/api/v3/"), "http://host/api/v3/embeddings");
        assert_eq!(openai("http://host/v1/embeddings"), "http://host/v1/embeddings");
        assert_eq!(openai("http://vllm"), "http://vllm/v1/embeddings");
        assert_eq!(Provider::Tei.endpoint("http://host"), "http://host/embed");
    }

    #[test]
    fn openai_rows_come_back_in_the_order_of_their_numbers() {
        let body = br#"{"data":[{"index":1,"embedding":[2.0]},{"index":0,"embedding":[1.0]}]}"#;
        assert_eq!(Provider::OpenAi.answer(body), Ok(vec![vec![1.0], vec![2.0]]));
        let twice = br#"{"data":[{"index":0,"embedding":[2.0]},{"index":0,"embedding":[1.0]}]}"#;
        assert!(Provider::OpenAi.answer(twice).is_err());
        let beyond = br#"{"data":[{"index":9,"embedding":[2.0]}]}"#;
        assert!(Provider::OpenAi.answer(beyond).is_err());
    }
}
