//! Rows of a statement as the hits of an answer.

use howdah_plan::problem::{Kind, Problem};
use howdah_plan::search::answer::{Hit, Legs, TextLeg, VectorLeg};
use howdah_plan::search::ask::{Ask, no_such_row, similarity_of};
use howdah_plan::search::request::{Mode, RowId};
use howdah_plan::spec::resolve::Resolved;
use indexmap::IndexMap;
use serde_json::Value;
use tokio_postgres::Row;

/// What a statement gave.
pub(crate) struct Batch {
    pub(crate) hits: Vec<Hit>,
    /// Rows the vector leg gave, before threshold and offset.
    pub(crate) vector_found: u64,
    /// Rows the text leg gave, before offset.
    pub(crate) text_found: u64,
    /// Rows an index gave, those included that are as near as the last one wanted.
    pub(crate) fetched: u64,
    /// Rows left out because nothing can be said of their distance.
    pub(crate) incomparable: usize,
    /// What the last row is sorted by, as it came.
    pub(crate) last_key: Option<f64>,
}

/// A row's columns, as [`howdah_plan::search::statement::COLUMNS`] names them.
struct Columns {
    id: Value,
    score: Option<f64>,
    distance: Option<f64>,
    vector_rank: Option<i64>,
    text_rank: Option<i64>,
    text_score: Option<f64>,
    source: Option<String>,
    title: Option<String>,
    content: Option<String>,
    metadata: Option<Value>,
    fields: Option<Value>,
}

/// Reads the rows of a search.
pub(crate) fn batch(rows: &[Row], ask: &Ask, resolved: &Resolved) -> Result<Batch, Problem> {
    let unreadable = |e: tokio_postgres::Error| {
        Problem::new(Kind::Internal, "a row of the answer cannot be read").detail(e.to_string())
    };
    let found = |at: usize| match rows.first() {
        Some(row) => row.try_get::<_, Option<i64>>(at).map_err(unreadable),
        None => Ok(Some(0)),
    };
    let (vector_found, text_found, fetched) = (found(11)?, found(12)?, found(13)?);
    let mut read = Vec::with_capacity(rows.len());
    for row in rows {
        if let Some(columns) = columns(row).map_err(unreadable)? {
            read.push(columns);
        }
    }
    let counted =
        |found: Option<i64>| found.map_or(read.len() as u64, |found| u64::try_from(found).unwrap_or(0));
    let (vector_found, text_found, fetched) = (counted(vector_found), counted(text_found), counted(fetched));
    let all = read.len();
    if ask.mode == Mode::Vector {
        // A zero vector under cosine has no distance to anything: such rows come last, and are none.
        read.retain(|row| row.distance.is_some_and(|distance| !distance.is_nan()));
    }
    let incomparable = all - read.len();
    let last_key =
        read.last().and_then(|row| if ask.mode == Mode::Vector { row.distance } else { row.score });
    let hits = read.into_iter().enumerate().map(|(at, row)| hit(at, row, ask, resolved)).collect();
    Ok(Batch { hits, vector_found, text_found, fetched, incomparable, last_key })
}

/// None where the row only carries the counts.
fn columns(row: &Row) -> Result<Option<Columns>, tokio_postgres::Error> {
    let Some(id) = row.try_get::<_, Option<Value>>(0)? else { return Ok(None) };
    Ok(Some(Columns {
        id,
        score: row.try_get(1)?,
        distance: row.try_get(2)?,
        vector_rank: row.try_get(3)?,
        text_rank: row.try_get(4)?,
        text_score: row.try_get(5)?,
        source: row.try_get(6)?,
        title: row.try_get(7)?,
        content: row.try_get(8)?,
        metadata: row.try_get(9)?,
        fields: row.try_get(10)?,
    }))
}

fn hit(at: usize, row: Columns, ask: &Ask, resolved: &Resolved) -> Hit {
    let rank = u32::try_from(at).unwrap_or(u32::MAX).saturating_add(ask.before()).saturating_add(1);
    let place = |rank: i64| u32::try_from(rank).unwrap_or(u32::MAX);
    // What overflowed a float is farther than anything; JSON has no infinity.
    let distance = row.distance.filter(|d| !d.is_nan()).map(|d| d.clamp(f64::MIN, f64::MAX));
    let similarity = distance.map(|distance| similarity_of(distance, resolved.metric));
    let legs = match ask.mode {
        Mode::Vector => Legs { vector: distance.map(|distance| VectorLeg { rank, distance }), text: None },
        Mode::Text => Legs { vector: None, text: row.text_score.map(|score| TextLeg { rank, score }) },
        Mode::Hybrid => Legs {
            vector: row.vector_rank.zip(distance).map(|(r, distance)| VectorLeg { rank: place(r), distance }),
            text: row.text_rank.zip(row.text_score).map(|(r, score)| TextLeg { rank: place(r), score }),
        },
    };
    Hit {
        rank,
        id: row.id,
        score: row.score.or(similarity).unwrap_or_default(),
        distance,
        similarity,
        legs,
        source: row.source,
        title: row.title,
        content: row.content,
        snippet: None,
        marks: Vec::new(),
        metadata: row.metadata,
        fields: match row.fields {
            Some(Value::Object(fields)) => Some(fields.into_iter().collect::<IndexMap<_, _>>()),
            _ => None,
        },
    }
}

/// Whether the row searched by is there and can be compared with others.
pub(crate) fn check_row(id: &RowId, rows: Option<Vec<Row>>, resolved: &Resolved) -> Result<(), Problem> {
    let rows = rows.unwrap_or_default();
    let row = rows.first().ok_or_else(|| no_such_row(resolved, id))?;
    let flag = |at: usize| row.try_get::<_, bool>(at).unwrap_or(false);
    if flag(0) {
        return Err(Problem::new(Kind::Failed, format!("row `{id}` has no embedding"))
            .hint("Ingest it again, or search by `text`."));
    }
    if flag(1) && resolved.metric == howdah_plan::spec::Metric::Cosine {
        return Err(Problem::new(Kind::Failed, format!("the embedding of row `{id}` is zero"))
            .detail("cosine distance compares directions, and zero has none"));
    }
    Ok(())
}
