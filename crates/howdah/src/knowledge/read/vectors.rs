//! Ready-made vectors: `.npy` files, and the lines that go with them.
//!
//! A file is cut into blocks, each a document of its own, so that a file of any size is read, written and resumed piece by
//! piece. Beside `name.npy` there may be `name.jsonl`: its n-th line says the text, the title, the metadata and the fields
//! of the n-th vector. Where lines name a `source`, those of the same one that follow each other are the rows of that
//! document, and the block has only the others.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::format::{Context, Documents};
use super::json::Json;
use super::lines::{Line, Lines};
use super::npy::Array;
use super::record::{Raw, Record};
use super::tables;
use super::{BadRecord, Body, Document, Refusal};

/// Rows of a block, where the vectors are not very long.
const BLOCK_ROWS: usize = 4_096;
/// Bytes of a document that lines name, beyond which it is given: what follows under the same name is told as a second one.
const NAMED_BYTES: u64 = 64 << 20;
/// Bytes of a block's numbers at the most.
const BLOCK_BYTES: usize = 16 << 20;

/// A document that lines beside the vectors name.
struct Named {
    source: String,
    line: u64,
    bytes: u64,
    hasher: Sha256,
    records: Vec<(u32, Record)>,
}

struct Blocks {
    context: Context,
    name: String,
    array: Array<BufReader<File>>,
    side: Option<Lines<BufReader<File>>>,
    side_name: String,
    next: u64,
    /// The document that lines name a `source` of, as far as it is read.
    open: Option<Named>,
    ready: VecDeque<Result<Document, Refusal>>,
}

/// The blocks of a file.
pub(super) fn documents(context: Context, path: &Path, name: &str, file: File) -> Result<Documents, Refusal> {
    let bad = |reason: String| Refusal::Bad(BadRecord::new(name, None, reason));
    let array = Array::open(BufReader::with_capacity(256 << 10, file)).map_err(bad)?;
    if array.columns != context.shape.dimensions {
        let wanted = context.shape.dimensions;
        return Err(bad(format!("its vectors have {} dimensions, the collection {wanted}", array.columns)));
    }
    if array.rows > u64::from(i32::MAX as u32) {
        return Err(bad(format!("it has {} rows; {} are allowed in a file", array.rows, i32::MAX)));
    }
    if array.rows == 0 {
        return Err(bad("there are no rows in it".to_owned()));
    }
    let side_path = path.with_extension("jsonl");
    let side = match File::open(&side_path) {
        Ok(file) => Some(Lines::new(BufReader::with_capacity(64 << 10, file), context.limits.line_bytes)),
        Err(_) => None,
    };
    let side_name = side_path.display().to_string();
    Ok(Box::new(Blocks {
        context,
        name: name.to_owned(),
        array,
        side,
        side_name,
        next: 0,
        open: None,
        ready: VecDeque::new(),
    }))
}

impl Iterator for Blocks {
    type Item = Result<Document, Refusal>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() && self.next < self.array.rows {
            self.fill();
        }
        if self.ready.is_empty() {
            self.close();
        }
        self.ready.pop_front()
    }
}

impl Blocks {
    fn fill(&mut self) {
        let size = BLOCK_ROWS.min(BLOCK_BYTES / (self.array.columns * 4)).max(1);
        let first = self.next;
        let rows = usize::try_from((self.array.rows - first).min(size as u64)).unwrap_or(size);
        let source = format!("{}#{}", self.name, first / size as u64);
        self.next += rows as u64;
        let block = match self.array.block(rows) {
            Ok(block) => block,
            Err(e) => {
                self.next = self.array.rows;
                let bad = BadRecord::new(
                    &self.name,
                    Some(first + 1),
                    format!("the file is cut off or cannot be read: {e}"),
                );
                self.ready.push_back(Err(bad.into()));
                return;
            }
        };
        let mut side_bytes = Vec::new();
        let mut records = Vec::with_capacity(rows);
        let mut named = false;
        for (row, bytes) in (first..).zip(block.chunks_exact(self.array.row_bytes())) {
            let line_begin = side_bytes.len();
            match self.record(row, bytes, &mut side_bytes) {
                Ok((None, record)) => records.push((row as u32, record)),
                Ok((Some(source), record)) => {
                    named = true;
                    self.row_of(source, row, &[bytes, &side_bytes[line_begin..]], record);
                }
                Err(bad) => self.ready.push_back(Err(bad.into())),
            }
        }
        // One without rows of its own is given too: it may have had them before its lines named their documents.
        let bytes = (block.len() + side_bytes.len()) as u64;
        let parts: [&[u8]; 3] = [&block, &side_bytes, b"named"];
        let hash = self.context.shape.hash(&parts[..if named { 3 } else { 2 }]);
        self.give(Document {
            source,
            hash,
            body: Body::Rows(records),
            file: self.name.clone(),
            line: Some(first + 1),
            index: None,
            bytes,
        });
    }

    fn give(&mut self, document: Document) {
        self.ready.push_back(Ok(document));
    }

    /// Adds a row to the document that its line names.
    fn row_of(&mut self, source: String, row: u64, parts: &[&[u8]], record: Record) {
        let long = self.open.as_ref().is_some_and(|open| open.bytes > NAMED_BYTES);
        if long || self.open.as_ref().is_none_or(|open| open.source != source) {
            self.close();
        }
        let context = self.context.shape.context;
        let open = self.open.get_or_insert_with(|| Named {
            source,
            line: row + 1,
            bytes: 0,
            hasher: Sha256::new_with_prefix(context),
            records: Vec::new(),
        });
        for part in parts {
            open.hasher.update((part.len() as u64).to_le_bytes());
            open.hasher.update(part);
            open.bytes += part.len() as u64;
        }
        open.records.push((open.records.len() as u32, record));
    }

    /// Gives the document whose rows are all read.
    fn close(&mut self) {
        let Some(Named { source, line, bytes, hasher, records }) = self.open.take() else { return };
        let file = self.name.clone();
        let (hash, body) = (hasher.finalize().into(), Body::Rows(records));
        self.give(Document { source, hash, body, file, line: Some(line), index: None, bytes });
    }

    fn record(
        &mut self,
        row: u64,
        bytes: &[u8],
        side_bytes: &mut Vec<u8>,
    ) -> Result<(Option<String>, Record), BadRecord> {
        let vector = self.array.numbers(bytes);
        let raw = match &mut self.side {
            None => Raw::default(),
            Some(lines) => side_line(lines, &self.side_name, side_bytes)?,
        };
        let mut raw = Raw { embedding: Some(vector), ..raw };
        let bad = |reason: String| BadRecord::new(&self.name, Some(row + 1), reason);
        if let Some(id) = raw.id.take() {
            raw.rest.entry("id".to_owned()).or_insert(Json::text(&id));
        }
        let source = raw.name().map_err(bad)?;
        Ok((source, self.context.shape.record(raw).map_err(bad)?))
    }
}

fn side_line<R: Read>(
    lines: &mut Lines<BufReader<R>>,
    name: &str,
    taken: &mut Vec<u8>,
) -> Result<Raw, BadRecord> {
    let line = lines.next();
    let bad = |reason: String| BadRecord::new(name, Some(lines.number()), reason);
    match line {
        Ok(Some(Line::Text(text, _))) => {
            taken.extend_from_slice(&text);
            taken.push(b'\n');
            tables::raw(&text).map_err(bad)
        }
        Ok(Some(Line::TooLong(bytes))) => Err(bad(format!("the line has {bytes} bytes"))),
        Ok(None) => Err(bad("there are fewer lines than vectors".to_owned())),
        Err(e) => Err(bad(format!("cannot be read: {e}"))),
    }
}
