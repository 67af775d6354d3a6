//! What is in these files?
//!
//! [`Reader`] turns paths, standard input and records in memory into [`Document`]s, one after another, in a fixed order
//! and with bounded memory: a directory is walked level by level, a line or a record is never longer than the limit, a
//! file of vectors is read in blocks. Encodings and packed files are undone in front of all that (`decode`). Whatever
//! cannot be taken in is a [`BadRecord`] with its file and line; reading goes on behind it where that is possible.
//!
//! # Names of documents
//! A file is its path from the directory of the declaration (`docs/guide.md`), or its absolute path when it is not below that
//! ([`Naming`]). A record is its `source`, or its `id`, or `source#id` where it has both;
//! one with neither is `file#` and the beginning of its hash, so that reordering a file changes nothing. A block of ready-made
//! vectors is `file#block`; rows that follow one another and whose lines beside them name the same `source` are that document.

mod decode;
pub mod field;
mod format;
mod front;
pub mod json;
mod lines;
mod name;
mod npy;
#[cfg(feature = "parquet")]
mod parquet;
mod prose;
mod reader;
mod record;
mod tables;
mod vectors;
mod walk;

use std::path::Path;

use howdah_plan::problem::{Kind, Problem};
use howdah_plan::spec::resolve::nearest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use decode::encoding;
pub use format::Limits;
pub use name::{Naming, older_names};
pub use reader::{Input, PassedOver, Reader, Totals, totals};
pub use record::{Record, Shape, Values};
pub use walk::{Passed, Selection};

/// A record that cannot be taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BadRecord {
    /// File it is in.
    pub file: String,
    /// Line it begins at, or its row for files without lines; counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Place among the documents of a request, counted from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// What is wrong with it.
    pub reason: String,
}

impl BadRecord {
    /// A bad record in `file`.
    pub fn new(file: &str, line: Option<u64>, reason: impl Into<String>) -> Self {
        BadRecord { file: file.to_owned(), line, index: None, reason: reason.into() }
    }

    /// A bad record among those of a request.
    pub fn of_request(name: &str, index: u64, reason: impl Into<String>) -> Self {
        BadRecord { file: name.to_owned(), line: None, index: Some(index), reason: reason.into() }
    }

    /// `file:line`, or `documents[index]`.
    pub fn place(&self) -> String {
        match (self.line, self.index) {
            (_, Some(index)) => format!("{}[{index}]", self.file),
            (Some(line), None) => format!("{}:{line}", self.file),
            (None, None) => self.file.clone(),
        }
    }

    /// The problem that ends an ingest which does not skip.
    pub fn problem(&self) -> Problem {
        let hint = if self.index.is_some() {
            "Correct it and send the request again, or send `\"skip_bad\": true` to leave such documents out."
        } else if self.reason.starts_with("invalid UTF-8") {
            "Say how it is encoded, for example `--encoding latin1`; or pass `--skip-bad` to leave such files out."
        } else {
            "Correct it and run the command again, or pass `--skip-bad` to leave such records out."
        };
        Problem::new(Kind::Failed, format!("bad record at `{}`: {}", self.place(), self.reason)).hint(hint)
    }
}

/// What a reader can give instead of a document.
#[derive(Debug)]
pub enum Refusal {
    /// This record cannot be taken in; the next one may.
    Bad(BadRecord),
    /// There is nothing in this file: told, and no trouble.
    Empty(BadRecord),
    /// Nothing more can be read.
    Fatal(Problem),
}

impl Refusal {
    /// The problem that ends an ingest which does not go on.
    pub fn problem(self) -> Problem {
        match self {
            Refusal::Bad(bad) | Refusal::Empty(bad) => bad.problem(),
            Refusal::Fatal(problem) => problem,
        }
    }
}

impl From<BadRecord> for Refusal {
    fn from(bad: BadRecord) -> Self {
        Refusal::Bad(bad)
    }
}

/// A document: what is written, or left alone, as a whole.
#[derive(Debug)]
pub struct Document {
    /// Its name in the collection.
    pub source: String,
    /// SHA-256 of everything it was read from.
    pub hash: [u8; 32],
    /// What is in it.
    pub body: Body,
    /// File it is in, for messages.
    pub file: String,
    /// Line it begins at.
    pub line: Option<u64>,
    /// Its place among the documents of a request.
    pub index: Option<u64>,
    /// Bytes read for it.
    pub bytes: u64,
}

impl Document {
    /// Where it stands.
    pub fn origin(&self) -> Origin {
        Origin { file: self.file.clone(), line: self.line, index: self.index }
    }

    /// Whether there is nothing in it to be written.
    pub fn is_empty(&self) -> bool {
        matches!(&self.body, Body::Rows(rows) if rows.is_empty())
    }
}

/// Where a document stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// File it is in.
    pub file: String,
    /// Line it begins at.
    pub line: Option<u64>,
    /// Its place among the documents of a request.
    pub index: Option<u64>,
}

impl Origin {
    /// Why what stands here cannot be taken in.
    pub fn bad(&self, reason: impl Into<String>) -> BadRecord {
        BadRecord { file: self.file.clone(), line: self.line, index: self.index, reason: reason.into() }
    }
}

/// What is in a document.
#[derive(Debug)]
pub enum Body {
    /// Text to be cut into chunks.
    Text {
        /// How it is structured.
        markup: Markup,
        /// Its title, where something outside the text says one.
        title: Option<String>,
        /// The text.
        text: String,
        /// What its front matter says besides, as JSON text.
        metadata: String,
        /// The declared fields out of that.
        fields: Vec<Option<Vec<u8>>>,
    },
    /// A record: text to be cut into chunks, or one row with its vector.
    Record(Box<Record>),
    /// Rows with their vectors, each with its number in the file.
    Rows(Vec<(u32, Record)>),
}

/// How a text is structured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Markup {
    /// Headings, lists, code fences.
    Markdown,
    /// Paragraphs.
    Plain,
}

/// Format of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Markdown.
    Markdown,
    /// Plain text.
    Text,
    /// HTML, read as the Markdown it amounts to.
    Html,
    /// A JSON object a line.
    Jsonl,
    /// Comma-separated values with a header.
    Csv,
    /// Tab-separated values with a header.
    Tsv,
    /// NumPy's array of vectors, a row each.
    Npy,
    /// Parquet (a build with the feature `parquet`).
    Parquet,
}

/// The formats: name and suffixes.
const FORMATS: &[(Format, &str, &[&str])] = &[
    (Format::Markdown, "markdown", &["md", "markdown", "mdown", "mkd"]),
    (Format::Text, "text", &["txt", "text", "rst", "adoc", "asciidoc", "org"]),
    (Format::Html, "html", &["html", "htm", "xhtml"]),
    (Format::Jsonl, "jsonl", &["jsonl", "ndjson"]),
    (Format::Csv, "csv", &["csv"]),
    (Format::Tsv, "tsv", &["tsv"]),
    (Format::Npy, "npy", &["npy"]),
    (Format::Parquet, "parquet", &["parquet"]),
];

impl Format {
    /// The format that a file's suffix says, the one before `.gz` or `.zst`.
    pub fn of(path: &Path) -> Option<Self> {
        if decode::Packing::of(path).is_some() {
            return Format::of(Path::new(path.file_stem()?));
        }
        let suffix = path.extension()?.to_str()?.to_ascii_lowercase();
        FORMATS.iter().find(|(.., suffixes)| suffixes.contains(&suffix.as_str())).map(|(format, ..)| *format)
    }

    /// The format of this name.
    ///
    /// # Errors
    /// `usage`, with all names.
    pub fn parse(name: &str) -> Result<Self, Problem> {
        let wanted = name.to_ascii_lowercase();
        let found = FORMATS
            .iter()
            .find(|(_, known, suffixes)| *known == wanted || suffixes.contains(&wanted.as_str()));
        found.map(|(format, ..)| *format).ok_or_else(|| {
            let names: Vec<&str> = FORMATS.iter().map(|(_, name, _)| *name).collect();
            let problem = Problem::new(Kind::Usage, format!("unknown format `{name}`"))
                .detail(format!("known are: {}", names.join(", ")));
            match nearest(&wanted, names) {
                Some(near) => problem.hint(format!("Did you mean `{near}`?")),
                None => problem,
            }
        })
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        FORMATS.iter().find(|(format, ..)| *format == self).map_or("", |(_, name, _)| name)
    }

    /// Whether a file is one document to be cut, rather than records.
    pub fn is_prose(self) -> bool {
        matches!(self, Format::Markdown | Format::Text | Format::Html)
    }
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Format::parse(name).map_err(|problem| problem.message)
    }
}
