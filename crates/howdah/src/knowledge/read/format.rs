//! What does every format get, and what does it give?

use std::sync::Arc;

use encoding_rs::Encoding;

use super::{Document, Refusal, Shape};

/// How much is read at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest line or record, in bytes.
    pub line_bytes: usize,
    /// Largest text, Markdown or HTML file, in bytes.
    pub file_bytes: u64,
}

impl Default for Limits {
    /// 16 MiB a line, 64 MiB a file of text.
    fn default() -> Self {
        Limits { line_bytes: 16 << 20, file_bytes: 64 << 20 }
    }
}

/// Documents of one file.
pub(super) type Documents = Box<dyn Iterator<Item = Result<Document, Refusal>> + Send>;

/// What every format needs to know.
#[derive(Clone)]
pub(super) struct Context {
    pub shape: Arc<Shape>,
    pub limits: Limits,
    /// The encoding of texts without a byte order mark, where a caller says one.
    pub encoding: Option<&'static Encoding>,
}
