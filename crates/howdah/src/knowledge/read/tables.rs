//! Records: JSON Lines, CSV, and JSON values in memory.

use std::collections::HashSet;
use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use howdah_plan::hex;
use serde_json::Value;
use serde_json::error::Category;

use super::format::{Context, Documents};
use super::json::Json;
use super::lines::{Line, Lines};
use super::record::Raw;
use super::{BadRecord, Body, Document, Refusal};

/// A document for each line of JSON.
pub(super) fn jsonl(context: Context, input: Box<dyn BufRead + Send>, name: &str) -> Documents {
    let mut lines = Lines::new(input, context.limits.line_bytes);
    let file = name.to_owned();
    let mut ended = false;
    Box::new(std::iter::from_fn(move || {
        while !ended {
            let line = lines.next();
            let number = Some(lines.number());
            let bad = |reason: String| Some(Err(Refusal::Bad(BadRecord::new(&file, number, reason))));
            match line {
                Ok(None) => return None,
                Ok(Some(Line::Text(text, _))) if text.iter().all(u8::is_ascii_whitespace) => {}
                Ok(Some(Line::Text(text, bytes))) => {
                    return Some(json_line(&context, &file, number, &text, bytes).map_err(Refusal::Bad));
                }
                Ok(Some(Line::TooLong(bytes))) => {
                    return bad(format!(
                        "the line has {bytes} bytes; {} are allowed",
                        context.limits.line_bytes
                    ));
                }
                Err(e) => {
                    ended = true;
                    return bad(format!("cannot be read further: {e}"));
                }
            }
        }
        None
    }))
}

fn json_line(
    context: &Context,
    file: &str,
    line: Option<u64>,
    bytes: &[u8],
    taken: u64,
) -> Result<Document, BadRecord> {
    let bytes = if line == Some(1) { bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes) } else { bytes };
    let bad = |reason: String| BadRecord::new(file, line, reason);
    if let Err(e) = std::str::from_utf8(bytes) {
        return Err(bad(format!("invalid UTF-8 at byte {} of the line", e.valid_up_to() + 1)));
    }
    let raw = raw(bytes).map_err(bad)?;
    document(context, file, line, raw, context.shape.hash(&[bytes]), taken).map_err(bad)
}

/// A record out of its JSON text.
pub(super) fn raw(bytes: &[u8]) -> Result<Raw, String> {
    serde_json::from_slice(bytes).map_err(|e| json_reason(&e))
}

fn json_reason(error: &serde_json::Error) -> String {
    // The line is known already, and always 1 within a line.
    let text = error.to_string();
    let reason = text.split(" at line ").next().unwrap_or(&text);
    match (error.classify(), error.column()) {
        (Category::Data, _) => {
            match reason.strip_prefix("invalid type: ").and_then(|r| r.split_once(", expected ")) {
                Some((found, wanted)) => format!("it is to be {wanted}, not {found}"),
                None => reason.to_owned(),
            }
        }
        (_, 0) => format!("malformed JSON: {reason}"),
        (_, column) => format!("malformed JSON at column {column}: {reason}"),
    }
}

pub(super) fn document(
    context: &Context,
    file: &str,
    line: Option<u64>,
    raw: Raw,
    hash: [u8; 32],
    bytes: u64,
) -> Result<Document, String> {
    let source = raw.name()?.unwrap_or_else(|| format!("{file}#{}", short(&hash)));
    let body = Body::Record(Box::new(context.shape.record(raw)?));
    Ok(Document { source, hash, body, file: file.to_owned(), line, index: None, bytes })
}

fn short(hash: &[u8; 32]) -> String {
    hex::encode(&hash[..8])
}

/// A document for each value, read as a line of JSON Lines would be.
pub(super) fn records(context: Context, name: String, records: Vec<Value>) -> Documents {
    Box::new(records.into_iter().zip(0u64..).map(move |(value, index)| {
        let bytes = value.to_string().into_bytes();
        let hash = context.shape.hash(&[&bytes]);
        let taken =
            raw(&bytes).and_then(|raw| document(&context, &name, None, raw, hash, bytes.len() as u64));
        match taken {
            Ok(document) => Ok(Document { index: Some(index), ..document }),
            Err(reason) => Err(BadRecord::of_request(&name, index, reason).into()),
        }
    }))
}

/// A document for each row under the header.
pub(super) fn csv(
    context: Context,
    input: Box<dyn BufRead + Send>,
    name: &str,
    delimiter: u8,
) -> Result<Documents, Refusal> {
    let file = name.to_owned();
    let (input, budget) = Limited::new(input, context.limits.line_bytes);
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(input);
    let bad = |reason: String| Refusal::Bad(BadRecord::new(&file, Some(1), reason));
    let header = match reader.byte_headers() {
        Ok(row) if row.is_empty() => {
            return Err(Refusal::Empty(BadRecord::new(&file, None, "there is no header in it")));
        }
        Ok(row) => header(row).map_err(bad)?,
        Err(e) => return Err(bad(format!("the header cannot be read: {}", csv_reason(&e)))),
    };
    let mut ended = false;
    Ok(Box::new(std::iter::from_fn(move || {
        if ended {
            return None;
        }
        budget.store(0, Ordering::Relaxed);
        let mut row = csv::ByteRecord::new();
        let before = reader.position().clone();
        match reader.read_byte_record(&mut row) {
            Ok(false) => None,
            Ok(true) => {
                let line = row.position().map(csv::Position::line);
                let bytes = reader.position().byte().saturating_sub(before.byte());
                Some(csv_row(&context, &file, line, &header, &row, bytes).map_err(Refusal::Bad))
            }
            Err(e) => {
                // Behind an unreadable or endless record there is no telling where the next one begins.
                ended = e.is_io_error();
                let line = e.position().map_or(before.line(), csv::Position::line);
                Some(Err(BadRecord::new(&file, Some(line), csv_reason(&e)).into()))
            }
        }
    })))
}

/// The keys of the columns. A column without a name is `column_2`, by its place; two of one name cannot both be kept.
fn header(row: &csv::ByteRecord) -> Result<Vec<String>, String> {
    let mut keys: Vec<String> = Vec::with_capacity(row.len());
    for (key, place) in row.iter().zip(1..) {
        let key = std::str::from_utf8(key).map_err(|e| {
            format!("invalid UTF-8 at byte {} of the name of column {place}", e.valid_up_to() + 1)
        })?;
        keys.push(key.trim().to_owned());
    }
    let mut seen = HashSet::new();
    if let Some(twice) = keys.iter().find(|key| !key.is_empty() && !seen.insert(key.as_str())) {
        return Err(format!("the header has two columns `{twice}`; only one of them could be kept"));
    }
    let named: HashSet<String> = keys.iter().cloned().collect();
    for (key, place) in keys.iter_mut().zip(1..) {
        if key.is_empty() {
            *key = format!("column_{place}");
            while named.contains(key) {
                key.push('_');
            }
        }
    }
    Ok(keys)
}

fn csv_reason(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("the row has {len} columns, the header {expected_len}")
        }
        csv::ErrorKind::Io(e) => e.to_string(),
        _ => error.to_string(),
    }
}

fn csv_row(
    context: &Context,
    file: &str,
    line: Option<u64>,
    header: &[String],
    row: &csv::ByteRecord,
    bytes: u64,
) -> Result<Document, BadRecord> {
    let bad = |reason: String| BadRecord::new(file, line, reason);
    let mut raw = Raw::default();
    for (key, value) in header.iter().zip(row.iter()) {
        let value =
            std::str::from_utf8(value).map_err(|_| bad(format!("invalid UTF-8 in column `{key}`")))?;
        if !value.is_empty() {
            raw.set(key, cell(key, value).map_err(bad)?).map_err(bad)?;
        }
    }
    raw.settle_text().map_err(bad)?;
    let parts: Vec<&[u8]> = header.iter().map(String::as_bytes).chain(row.iter()).collect();
    document(context, file, line, raw, context.shape.hash(&parts), bytes).map_err(bad)
}

/// A cell's value: text, but for the columns whose text is JSON.
fn cell(key: &str, value: &str) -> Result<Json, String> {
    let wanted = match key {
        "metadata" => "JSON object",
        "embedding" => "list of numbers",
        _ => return Ok(Json::text(value)),
    };
    Json::parse(value).map_err(|e| format!("`{key}` is no {wanted}: {e}"))
}

/// Fails when more than the limit is read between two records: a quote that is never closed would swallow the file.
struct Limited<R> {
    input: R,
    used: Arc<AtomicUsize>,
    limit: usize,
}

impl<R> Limited<R> {
    fn new(input: R, limit: usize) -> (Self, Arc<AtomicUsize>) {
        let used = Arc::new(AtomicUsize::new(0));
        (Limited { input, used: Arc::clone(&used), limit }, used)
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.used.load(Ordering::Relaxed) > self.limit {
            let reason =
                format!("the record has more than the {} bytes allowed; is a quote left open?", self.limit);
            return Err(io::Error::other(reason));
        }
        let count = self.input.read(buffer)?;
        self.used.fetch_add(count, Ordering::Relaxed);
        Ok(count)
    }
}
