//! Which rows does a document become?

use crate::knowledge::chunk::{Cut, Piece};
use crate::knowledge::read::json::Json;
use crate::knowledge::read::{Body, Document, Markup, Record, Values};

use super::job::Job;
use super::plan::Row;
use super::writable::Role;

/// The rows of a document.
pub(super) fn rows(job: &Job, document: Document) -> Vec<Row> {
    let context = job.target.row_context();
    let rows: Vec<(u32, Record)> = match document.body {
        Body::Rows(rows) => rows,
        Body::Record(record) if record.embedding.is_some() => vec![(0, *record)],
        Body::Record(record) => {
            let pieces = cut(job, |cut| cut.pieces(Markup::Plain, record.title.as_deref(), &record.content));
            let Record { metadata, fields, .. } = *record;
            let record = |(number, (title, content))| {
                let (metadata, fields) = (metadata.clone(), fields.clone());
                (number, Record { title, content, metadata, fields, embedding: None })
            };
            (0..).zip(pieces).map(record).collect()
        }
        Body::Text { markup, title, text, metadata, fields } => {
            let pieces = cut(job, |cut| cut.pieces(markup, title.as_deref(), &text));
            let record = |(number, (title, content))| {
                let (metadata, fields) = (metadata.clone(), fields.clone());
                (number, Record { title, content, metadata, fields, embedding: None })
            };
            (0..).zip(pieces).map(record).collect()
        }
    };
    rows.into_iter().map(|(number, record)| row(job, &context, number, record)).collect()
}

fn cut(job: &Job, pieces: impl FnOnce(&Cut<'_>) -> Vec<Piece>) -> Vec<(Option<String>, String)> {
    let count = |text: &str| match &job.embedder {
        Some(embedder) => embedder.count_tokens(text),
        None => howdah_embed::count_words(text),
    };
    let chunking = &job.request.chunking;
    let cut = Cut {
        max_tokens: chunking.max_tokens as usize,
        overlap: chunking.overlap as usize,
        reads: job.target.facts.as_ref().and_then(|facts| facts.max_tokens),
        max_characters: match &job.embedder {
            Some(embedder) => embedder.max_characters(chunking.max_tokens as usize),
            None => howdah_embed::default_characters(chunking.max_tokens as usize),
        },
        count: &count,
    };
    pieces(&cut).into_iter().map(|piece| (piece.title, piece.content)).collect()
}

fn row(job: &Job, context: &[u8; 32], number: u32, record: Record) -> Row {
    let Record { mut title, content, mut metadata, fields, embedding } = record;
    if !job.target.has(Role::Title)
        && let Some(title) = title.take()
    {
        metadata = with_title(metadata, title);
    }
    let hash = row_hash(context, title.as_deref(), &content, &metadata, &fields, embedding.as_deref());
    let chunk = i32::try_from(number).unwrap_or(i32::MAX);
    Row { chunk, title, content, hash, metadata, fields, embedding }
}

/// An adopted table has no column for the title; its metadata has room.
fn with_title(metadata: String, title: String) -> String {
    match serde_json::from_str::<Values>(&metadata) {
        Ok(mut values) => {
            values.entry("title".to_owned()).or_insert(Json::text(&title));
            serde_json::to_string(&values).unwrap_or(metadata)
        }
        Err(_) => metadata,
    }
}

fn row_hash(
    context: &[u8; 32],
    title: Option<&str>,
    content: &str,
    metadata: &str,
    fields: &[Option<Vec<u8>>],
    embedding: Option<&[f32]>,
) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    let mut hasher = Sha256::new();
    hasher.update(context);
    let mut part = |bytes: Option<&[u8]>| {
        hasher.update(bytes.map_or(u64::MAX, |bytes| bytes.len() as u64).to_le_bytes());
        hasher.update(bytes.unwrap_or_default());
    };
    part(title.map(str::as_bytes));
    part(Some(content.as_bytes()));
    part(Some(metadata.as_bytes()));
    fields.iter().for_each(|field| part(field.as_deref()));
    if let Some(vector) = embedding {
        let mut bytes = vec![0; vector.len() * 4];
        bytes.chunks_exact_mut(4).zip(vector).for_each(|(there, x)| there.copy_from_slice(&x.to_le_bytes()));
        part(Some(&bytes));
    }
    hasher.finalize().into()
}
