//! Records: JSON Lines, CSV, and JSON values in memory.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use howdah_plan::hex;
use serde::Deserialize;
use serde_json::Value;

use super::format::{Context, Documents};
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
    let raw: Raw = serde_json::from_slice(bytes).map_err(|e| bad(json_reason(&e)))?;
    document(context, file, line, raw, context.shape.hash(&[bytes]), taken)
}

fn json_reason(error: &serde_json::Error) -> String {
    // The line is known already, and always 1 within a line.
    let text = error.to_string();
    let reason = text.split(" at line ").next().unwrap_or(&text);
    match error.column() {
        0 => format!("malformed JSON: {reason}"),
        column => format!("malformed JSON at column {column}: {reason}"),
    }
}

pub(super) fn document(
    context: &Context,
    file: &str,
    line: Option<u64>,
    raw: Raw,
    hash: [u8; 32],
    bytes: u64,
) -> Result<Document, BadRecord> {
    let bad = |reason: String| BadRecord::new(file, line, reason);
    let source = raw.name().map_err(bad)?.unwrap_or_else(|| format!("{file}#{}", short(&hash)));
    let record = context.shape.record(raw).map_err(|reason| BadRecord::new(file, line, reason))?;
    Ok(Document { source, hash, body: Body::Record(Box::new(record)), file: file.to_owned(), line, bytes })
}

fn short(hash: &[u8; 32]) -> String {
    hex::encode(&hash[..8])
}

/// A document for each value.
pub(super) fn records(context: Context, name: String, records: Vec<Value>) -> Documents {
    Box::new(records.into_iter().zip(1u64..).map(move |(value, number)| {
        let bytes = value.to_string();
        let raw = Raw::deserialize(value)
            .map_err(|e| BadRecord::new(&name, Some(number), format!("malformed record: {e}")))?;
        let hash = context.shape.hash(&[bytes.as_bytes()]);
        document(&context, &name, Some(number), raw, hash, bytes.len() as u64).map_err(Refusal::Bad)
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
    let header = match reader.byte_headers() {
        Ok(header) => {
            header.iter().map(|key| String::from_utf8_lossy(key).trim().to_owned()).collect::<Vec<_>>()
        }
        Err(e) => {
            return Err(BadRecord::new(&file, Some(1), format!("the header cannot be read: {e}")).into());
        }
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
            cell(&mut raw, key, value).map_err(bad)?;
        }
    }
    let parts: Vec<&[u8]> = header.iter().map(String::as_bytes).chain(row.iter()).collect();
    document(context, file, line, raw, context.shape.hash(&parts), bytes)
}

fn cell(raw: &mut Raw, key: &str, value: &str) -> Result<(), String> {
    let text = || Some(value.to_owned());
    match key {
        "content" | "text" => raw.content = text(),
        "title" => raw.title = text(),
        "id" => raw.id = text(),
        "source" => raw.source = text(),
        "metadata" => {
            raw.metadata =
                serde_json::from_str(value).map_err(|e| format!("`metadata` is no JSON object: {e}"))?;
        }
        "embedding" => {
            raw.embedding = Some(
                serde_json::from_str(value).map_err(|e| format!("`embedding` is no list of numbers: {e}"))?,
            );
        }
        "" => {}
        _ => {
            raw.rest.insert(key.to_owned(), Value::String(value.to_owned()));
        }
    }
    Ok(())
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
