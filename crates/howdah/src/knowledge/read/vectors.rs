//! Ready-made vectors: `.npy` files, and the lines that go with them.
//!
//! A file is cut into blocks, each a document of its own, so that a file of any size is read, written and resumed piece by
//! piece. Beside `name.npy` there may be `name.jsonl`: its n-th line says the text, the title, the metadata and the fields
//! of the n-th vector.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use super::format::{Context, Documents};
use super::lines::{Line, Lines};
use super::npy::Array;
use super::record::{Raw, Record};
use super::{BadRecord, Body, Document, Refusal};

/// Rows of a block, where the vectors are not very long.
const BLOCK_ROWS: usize = 4_096;
/// Bytes of a block's numbers at the most.
const BLOCK_BYTES: usize = 16 << 20;

struct Blocks {
    context: Context,
    name: String,
    array: Array<BufReader<File>>,
    side: Option<Lines<BufReader<File>>>,
    side_name: String,
    next: u64,
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
        ready: VecDeque::new(),
    }))
}

impl Iterator for Blocks {
    type Item = Result<Document, Refusal>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty() && self.next < self.array.rows {
            self.fill();
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
        for (row, bytes) in (first..).zip(block.chunks_exact(self.array.row_bytes())) {
            match self.record(row, bytes, &mut side_bytes) {
                Ok(record) => records.push((row as u32, record)),
                Err(bad) => self.ready.push_back(Err(bad.into())),
            }
        }
        let bytes = (block.len() + side_bytes.len()) as u64;
        let hash = self.context.shape.hash(&[&block, &side_bytes]);
        let line = Some(first + 1);
        let body = Body::Rows(records);
        self.ready.push_back(Ok(Document { source, hash, body, file: self.name.clone(), line, bytes }));
    }

    fn record(&mut self, row: u64, bytes: &[u8], side_bytes: &mut Vec<u8>) -> Result<Record, BadRecord> {
        let vector = self.array.numbers(bytes);
        let raw = match &mut self.side {
            None => Raw::default(),
            Some(lines) => side_line(lines, &self.side_name, side_bytes)?,
        };
        let mut raw = Raw { embedding: Some(vector), ..raw };
        for (key, name) in [("id", raw.id.take()), ("source", raw.source.take())] {
            if let Some(name) = name {
                raw.rest.entry(key).or_insert(name.into());
            }
        }
        self.context.shape.record(raw).map_err(|reason| BadRecord::new(&self.name, Some(row + 1), reason))
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
            serde_json::from_slice(&text).map_err(|e| bad(format!("malformed JSON: {e}")))
        }
        Ok(Some(Line::TooLong(bytes))) => Err(bad(format!("the line has {bytes} bytes"))),
        Ok(None) => Err(bad("there are fewer lines than vectors".to_owned())),
        Err(e) => Err(bad(format!("cannot be read: {e}"))),
    }
}
