//! A request that has been checked: nothing in it can surprise the statement.

use super::cursor::Cursor;
use super::direction;
use super::filter::{self, Expr, Scope};
use super::request::{
    Candidates, MAX_LIMIT, MAX_OFFSET, MAX_TEXT, Mode, Part, RowId, SearchRequest, Weights, Words,
};
use super::scan::{MAX_EF, TableFacts};
use crate::problem::{Kind, Problem};
use crate::spec::resolve::Resolved;
use crate::spec::{Metric, Storage};

/// Largest number a `halfvec` holds.
const MAX_HALF: f32 = 65_504.0;

/// What the vectors are near to.
#[derive(Debug, Clone, PartialEq)]
pub enum Near {
    /// The text, once it is embedded.
    Text,
    /// This vector.
    Vector(Vec<f32>),
    /// The embedding of this row; the row itself is left out.
    Row(RowId),
}

/// A checked request.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// How to search.
    pub mode: Mode,
    /// What the vectors are near to; none for full text.
    pub near: Option<Near>,
    /// The words.
    pub text: Option<String>,
    /// Rows to return.
    pub limit: u32,
    /// Rows to pass over.
    pub offset: u32,
    /// The row behind which the page begins.
    pub after: Option<Cursor>,
    /// Which rows count.
    pub filter: Option<Expr>,
    /// Largest distance, as pgvector has it.
    pub max_distance: Option<f64>,
    /// How words are matched.
    pub words: Words,
    /// Weights of the fusion.
    pub weights: Weights,
    /// Candidates of each leg: at least `offset + limit`.
    pub depth: Candidates,
    /// What to return of a row.
    pub select: Vec<Part>,
    /// Candidates of the graph, where asked for.
    pub ef_search: Option<u32>,
    /// Whether every row is to be compared.
    pub exact: bool,
}

impl Ask {
    /// Checks a request against the declared collection and what is known of its table.
    ///
    /// # Errors
    /// `usage`, with the range or the fields that fit.
    pub fn check(request: &SearchRequest, resolved: &Resolved, facts: &TableFacts) -> Result<Ask, Problem> {
        Self::check_ranges(request)?;
        let (limit, offset) = page(request);
        let text = request.text.as_deref().map(words_of).transpose()?;
        let mode = mode_of(request, resolved)?;
        let near = near_of(request, resolved, facts, mode)?;
        let scope = Scope::new(resolved, &facts.id_type);
        Ok(Ask {
            mode,
            near,
            text,
            limit,
            offset,
            after: after(request, &facts.id_type)?,
            filter: request.filter.as_ref().map(|filter| filter::parse(filter, &scope)).transpose()?,
            max_distance: threshold(request, resolved.metric, mode)?,
            words: request.words.unwrap_or_default(),
            weights: weights(request)?,
            depth: depth(request, limit + offset)?,
            select: request
                .select
                .clone()
                .unwrap_or_else(|| vec![Part::Content, Part::Metadata, Part::Fields, Part::Snippet]),
            ef_search: request.ef_search,
            exact: request.exact,
        })
    }

    /// Whether every number and list is within its range and the filter is one, whatever the collection is.
    ///
    /// # Errors
    /// `usage`, with the range.
    pub fn check_ranges(request: &SearchRequest) -> Result<(), Problem> {
        let (limit, offset) = page(request);
        between("limit", limit, 1, MAX_LIMIT)?;
        between("offset", offset, 0, MAX_OFFSET)?;
        if let Some(ef) = request.ef_search {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            between("ef_search", ef, 1, MAX_EF as u32)?;
        }
        if let Some(timeout) = request.timeout_ms {
            between("timeout_ms", timeout, 1, 600_000)?;
        }
        if request.vector.as_ref().is_some_and(Vec::is_empty) {
            return Err(usage("the query vector has `0` dimensions")
                .hint("Give as many numbers as the collection has dimensions."));
        }
        request.filter.as_ref().map(filter::as_object).transpose()?;
        weights(request)?;
        depth(request, limit.saturating_add(offset)).map(|_| ())
    }

    /// Nearest rows the vector leg has to give; none without one.
    pub fn vector_rows(&self) -> Option<u32> {
        match (self.mode, &self.after) {
            (Mode::Text, _) => None,
            (Mode::Vector, None) => Some(self.limit + self.offset),
            // An index asked for more may find rows that it missed before: a few more, so that the page is full nevertheless.
            (Mode::Vector, Some(after)) => {
                let rows = after.seen.saturating_add(self.limit);
                Some(rows.saturating_add(rows / 20 + 10))
            }
            (Mode::Hybrid, _) => Some(self.depth.vector),
        }
    }

    /// Rows of the whole list before this page.
    pub fn before(&self) -> u32 {
        self.after.as_ref().map_or(self.offset, |after| after.seen)
    }
}

/// `limit` and `offset`.
fn page(request: &SearchRequest) -> (u32, u32) {
    (request.limit.unwrap_or(10), request.offset.unwrap_or(0))
}

fn after(request: &SearchRequest, id_type: &str) -> Result<Option<Cursor>, Problem> {
    let Some(text) = &request.cursor else { return Ok(None) };
    if request.offset.is_some_and(|offset| offset > 0) {
        return Err(usage("both `cursor` and `offset` are given").hint("Give one of them."));
    }
    let cursor = Cursor::decode(text, request)?;
    let id = check_id(&cursor.id, id_type)?;
    Ok(Some(Cursor { id, ..cursor }))
}

fn usage(message: impl Into<String>) -> Problem {
    Problem::new(Kind::Usage, message)
}

fn between(name: &str, value: u32, least: u32, most: u32) -> Result<u32, Problem> {
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(usage(format!("{name} `{value}` is out of range"))
        .detail(format!("{name} is {least} to {most}"))
        .hint(match name {
            "limit" if value > most => {
                "Ask for fewer rows, and for the next ones with the answer's `next` as `cursor`.".to_owned()
            }
            _ => format!("Give a value from {least} to {most}."),
        }))
}

fn words_of(text: &str) -> Result<String, Problem> {
    if text.trim().is_empty() {
        return Err(usage("the text to search for is empty").hint("Say what to look for in `text`."));
    }
    if text.len() > MAX_TEXT {
        return Err(Problem::new(Kind::TooLarge, format!("the text has {} bytes", text.len()))
            .detail(format!("at most {MAX_TEXT} are searched for")));
    }
    if text.contains('\0') {
        return Err(usage("the text holds a NUL character").detail("PostgreSQL stores no NUL in text"));
    }
    Ok(text.to_owned())
}

fn mode_of(request: &SearchRequest, resolved: &Resolved) -> Result<Mode, Problem> {
    let has_text = request.text.is_some();
    let has_near = request.vector.is_some() || request.id.is_some();
    if request.vector.is_some() && request.id.is_some() {
        return Err(usage("both `vector` and `id` are given").hint("Search by one of them."));
    }
    if !has_text && !has_near {
        return Err(usage("nothing to search for").hint("Give `text`, `vector` or `id`."));
    }
    let embeds = resolved.embedder.is_some();
    let has_words = resolved.columns.content.is_some();
    let mode = request.mode.unwrap_or(match (has_text, has_near || embeds) {
        (true, true) if has_words => Mode::Hybrid,
        (true, false) => Mode::Text,
        _ => Mode::Vector,
    });
    if mode != Mode::Vector && !has_text {
        return Err(usage("searching words needs `text`").hint("Give `text`, or use `\"mode\": \"vector\"`."));
    }
    if mode != Mode::Vector && !has_words {
        return Err(usage(format!("collection `{}` has no text column", resolved.name))
            .hint("Name it under `adopt.content` in howdah.toml."));
    }
    if mode != Mode::Text && !has_near && !embeds {
        return Err(usage(format!("collection `{}` has no embedder", resolved.name))
            .detail("a text cannot be turned into a vector")
            .hint("Give `vector` or `id`, use `\"mode\": \"text\"`, or name an embedder in howdah.toml."));
    }
    if mode == Mode::Text && has_near {
        return Err(usage("`vector` and `id` have no part in a text search")
            .hint("Leave them out, or use `\"mode\": \"hybrid\"`."));
    }
    Ok(mode)
}

fn near_of(
    request: &SearchRequest,
    resolved: &Resolved,
    facts: &TableFacts,
    mode: Mode,
) -> Result<Option<Near>, Problem> {
    if mode == Mode::Text {
        return Ok(None);
    }
    Ok(Some(match (&request.vector, &request.id) {
        (Some(vector), _) => Near::Vector(check_vector(vector.clone(), resolved, facts)?),
        (None, Some(id)) => {
            resolved.named_rows()?;
            Near::Row(check_id(id, &facts.id_type)?)
        }
        (None, None) => Near::Text,
    }))
}

/// Checks that a vector can be compared with a collection's, and gives it as it is asked: under cosine one whose length
/// overflows or vanishes in single precision is brought to length one, see [`direction`].
///
/// # Errors
/// `usage`: other dimensions, not a number, no direction under cosine, too large for `halfvec`.
pub fn check_vector(
    mut vector: Vec<f32>,
    resolved: &Resolved,
    facts: &TableFacts,
) -> Result<Vec<f32>, Problem> {
    if let Some(dimensions) = facts.dimensions.or(resolved.dimensions)
        && vector.len() != dimensions as usize
    {
        return Err(usage(format!("the query vector has `{}` dimensions", vector.len()))
            .detail(format!("collection `{}` has {dimensions}", resolved.name))
            .hint("Embed the query with the model that filled the collection."));
    }
    if vector.is_empty() {
        return Err(usage("the query vector is empty"));
    }
    if let Some(at) = vector.iter().position(|value| !value.is_finite()) {
        return Err(usage(format!("the query vector has `{}` at place {at}", vector[at]))
            .hint("Every value of a vector is a finite number."));
    }
    let half = facts.storage == Storage::Halfvec;
    if half && let Some(at) = vector.iter().position(|value| value.abs() > MAX_HALF) {
        return Err(usage(format!("the query vector has `{}` at place {at}", vector[at]))
            .detail(format!("the collection is stored as halfvec, which ends at {MAX_HALF}")));
    }
    if resolved.metric == Metric::Cosine {
        if direction::length(&vector) == 0.0 {
            return Err(usage("the query vector is zero")
                .detail("cosine distance compares directions, and zero has none")
                .hint("Embed a text that is not empty."));
        }
        direction::comparable(&mut vector, facts.storage);
    }
    Ok(vector)
}

/// Checks that an id can be one of this table's.
///
/// # Errors
/// `usage`, with the type that fits.
pub fn check_id(id: &RowId, id_type: &str) -> Result<RowId, Problem> {
    let wrong = |wanted: &str| {
        let shown: String = id.to_string().chars().take(60).collect();
        Err(usage(format!("id `{shown}` does not fit"))
            .detail(format!("ids of this collection are {wanted} (`{id_type}`)")))
    };
    match (filter::Kind::of(id_type), id) {
        (filter::Kind::Integer(_), RowId::Integer(_)) => Ok(id.clone()),
        (filter::Kind::Integer(_), RowId::Text(text)) => match text.parse() {
            Ok(number) => Ok(RowId::Integer(number)),
            Err(_) => wrong("whole numbers"),
        },
        (filter::Kind::Uuid, RowId::Text(text)) if filter::uuid(text).is_some() => Ok(id.clone()),
        (filter::Kind::Uuid, _) => wrong("UUIDs"),
        (_, RowId::Text(text)) if text.contains('\0') => wrong("without NUL"),
        (_, RowId::Text(_)) => Ok(id.clone()),
        // A text key that looks like a number, as the command line reads it.
        (_, RowId::Integer(number)) => Ok(RowId::Text(number.to_string())),
    }
}

/// No row of a collection has this id.
pub fn no_such_row(resolved: &Resolved, id: &RowId) -> Problem {
    Problem::new(Kind::NotFound, format!("collection `{}` has no row `{id}`", resolved.name))
}

fn threshold(request: &SearchRequest, metric: Metric, mode: Mode) -> Result<Option<f64>, Problem> {
    let limit = match (request.max_distance, request.min_similarity) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(usage("both `max_distance` and `min_similarity` are given").hint("Give one of them."));
        }
        (Some(distance), None) => distance,
        (None, Some(similarity)) => distance_of(similarity, metric),
    };
    if mode == Mode::Text {
        return Err(usage("a distance threshold has no part in a text search")
            .hint("Use `\"mode\": \"vector\"` or `\"mode\": \"hybrid\"`."));
    }
    if limit.is_nan() {
        return Err(usage("the threshold is not a number"));
    }
    Ok(Some(limit))
}

/// The similarity of a distance; larger is nearer. See [`super::answer::Hit::similarity`].
pub fn similarity_of(distance: f64, metric: Metric) -> f64 {
    match metric {
        Metric::Cosine => 1.0 - distance,
        // `+ 0.0` so that no similarity is ever written as -0.
        Metric::InnerProduct => -distance + 0.0,
        Metric::L2 | Metric::L1 => 1.0 / (1.0 + distance),
    }
}

/// The largest distance that has at least this similarity.
pub fn distance_of(similarity: f64, metric: Metric) -> f64 {
    match metric {
        Metric::Cosine => 1.0 - similarity,
        Metric::InnerProduct => -similarity,
        Metric::L2 | Metric::L1 if similarity <= 0.0 => f64::INFINITY,
        Metric::L2 | Metric::L1 => 1.0 / similarity - 1.0,
    }
}

fn weights(request: &SearchRequest) -> Result<Weights, Problem> {
    let weights = request.weights.unwrap_or_default();
    for (name, value) in [("vector", weights.vector), ("text", weights.text)] {
        if !(value > 0.0 && value <= 1000.0) {
            return Err(usage(format!("weight `{value}` of the {name} leg is out of range"))
                .detail("a weight is above 0 and at most 1000")
                .hint(format!(
                    "To leave a leg out, use `\"mode\": \"{}\"`.",
                    if name == "text" { "vector" } else { "text" }
                )));
        }
    }
    Ok(weights)
}

fn depth(request: &SearchRequest, rows: u32) -> Result<Candidates, Problem> {
    let asked = request.candidates.unwrap_or_default();
    let most = MAX_LIMIT;
    Ok(Candidates {
        vector: between("candidates.vector", asked.vector, 1, most)?.max(rows),
        text: between("candidates.text", asked.text, 1, most)?.max(rows),
    })
}
