//! Which vector index does a collection get on this server, and why?
//!
//! The declaration names a kind; `auto` leaves it to what the server has. What is decided here is told: in the step's reason
//! where an index is built, and for `auto` as a note in every plan.

use super::live::{Available, Index, Table};
use super::types::unquote;
use super::wanted::{WantedIndex, shorten};
use crate::problem::{Kind, Problem};
use crate::search::scan::Access;
use crate::spec::resolve::{MAX_INDEXED_HALFVEC, MAX_INDEXED_VECTOR, Resolved};
use crate::spec::{IndexKind, Metric, Storage};

/// The extension with Howdah's own access method.
pub(super) const EXTENSION: &str = "howdah";

/// What the choice depends on besides the declaration.
#[derive(Debug, Clone, Copy)]
pub(super) struct EmbeddingFacts<'a> {
    /// The extension, where the server has its files.
    pub(super) extension: Option<&'a Available>,
    /// The table, where it is there.
    pub(super) table: Option<&'a Table>,
    /// How the embedding is stored.
    pub(super) storage: Storage,
    /// Dimensions of the embedding column, where it has a limit.
    pub(super) dimensions: Option<u32>,
    /// Whether what is indexed is a cast of the column to these.
    pub(super) cast: bool,
}

/// What a collection gets.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Chosen {
    /// The index, where there should be one.
    pub(super) index: Option<WantedIndex>,
    /// What is worth knowing about the choice.
    pub(super) notes: Vec<String>,
}

impl Chosen {
    fn none(note: Option<String>) -> Self {
        Chosen { index: None, notes: note.into_iter().collect() }
    }

    /// Whether the extension has to be there for it.
    pub(super) fn needs_extension(&self) -> bool {
        self.index.as_ref().is_some_and(|index| index.method == Access::Howdah.name())
    }
}

/// The vector index of a collection.
///
/// # Errors
/// `usage` for a kind that cannot index the metric; `machine` for `howdah` on a server without the extension.
pub(super) fn choose(resolved: &Resolved, facts: &EmbeddingFacts<'_>) -> Result<Chosen, Problem> {
    let name = &resolved.name;
    if resolved.index.kind == IndexKind::None {
        return Ok(Chosen::default());
    }
    let Some(dimensions) = facts.dimensions else {
        return Ok(Chosen::none(Some(format!(
            "collection `{name}` gets no vector index: its column has no dimensions"
        ))));
    };
    let (access, why) = access(resolved, facts)?;
    let most = most_dimensions(access, facts.storage);
    if dimensions > most {
        let who = if access == Access::Howdah { "howdah" } else { "pgvector" };
        return Ok(Chosen::none(Some(format!(
            "collection `{name}` gets no vector index: {who} indexes {} up to {most} dimensions, and it has \
             {dimensions}; every search of it is exact",
            facts.storage.sql_name()
        ))));
    }
    if access == Access::Ivfflat && !facts.table.is_some_and(|table| table.has_rows) {
        return Ok(Chosen::none(Some(format!(
            "collection `{name}`: ivfflat learns its lists from rows and there are none yet; run `howdah apply` again \
             after the first ingest"
        ))));
    }
    let note =
        why.as_ref().map(|why| format!("collection `{name}`: index `auto` is `{}`: {why}", access.name()));
    let mut index = wanted(resolved, facts.storage, dimensions, access, why.as_deref());
    index.cast = facts.cast.then(|| format!("{}({dimensions})", facts.storage.sql_name()));
    index.predicate = resolved.columns.fixed.clone();
    Ok(Chosen { index: Some(index), notes: note.into_iter().collect() })
}

/// The access method, and for `auto` the reason.
fn access(resolved: &Resolved, facts: &EmbeddingFacts<'_>) -> Result<(Access, Option<String>), Problem> {
    let declared = match resolved.index.kind {
        IndexKind::Auto => {
            let (access, why) = automatic(resolved, facts);
            return Ok((access, Some(why)));
        }
        IndexKind::Howdah => Access::Howdah,
        IndexKind::Ivfflat => Access::Ivfflat,
        IndexKind::Hnsw | IndexKind::None => Access::Hnsw,
    };
    if !serves(declared, resolved.metric) {
        let message = format!("collection `{}`: {} has no `l1`", resolved.name, declared.name());
        return Err(
            Problem::new(Kind::Usage, message).hint("Set `index.kind = \"hnsw\"`, or another metric.")
        );
    }
    if declared == Access::Howdah && facts.cast {
        let message = format!(
            "collection `{}`: howdah's index is made on a column, not on a cast of it",
            resolved.name
        );
        return Err(Problem::new(Kind::Usage, message)
            .detail(format!(
                "column `{}` is compared as `{}`",
                resolved.columns.embedding,
                facts.storage.sql_name()
            ))
            .hint("Set `index.kind = \"hnsw\"`."));
    }
    if declared == Access::Howdah && facts.extension.is_none() {
        return Err(Problem::new(Kind::Machine, "extension `howdah` is not available on this server")
            .detail(format!("collection `{}` declares `index.kind = \"howdah\"`", resolved.name))
            .hint(
                "Let Howdah run its own server, which carries the extension, install it on this one, or set \
                 `index.kind = \"auto\"`.",
            ));
    }
    Ok((declared, None))
}

/// What `auto` means here: Howdah's own where it can be, and never at the price of an index that is there and serves.
fn automatic(resolved: &Resolved, facts: &EmbeddingFacts<'_>) -> (Access, String) {
    let Some(extension) = facts.extension else {
        return (Access::Hnsw, "extension `howdah` is not available on this server".to_owned());
    };
    if !serves(Access::Howdah, resolved.metric) {
        return (Access::Hnsw, "the extension has no operator class for the metric `l1`".to_owned());
    }
    if facts.cast {
        return (Access::Hnsw, "what is compared is a cast of the column".to_owned());
    }
    if let Some(graph) = graph_that_serves(resolved, facts) {
        let why = format!("`{}` is there and serves; `index = \"howdah\"` has it replaced", graph.name);
        return (Access::Hnsw, why);
    }
    (Access::Howdah, format!("extension `howdah` {} is available", extension.default_version))
}

/// An HNSW index for the collection's metric, made earlier.
fn graph_that_serves<'a>(resolved: &Resolved, facts: &EmbeddingFacts<'a>) -> Option<&'a Index> {
    let own = shorten(&resolved.vector_index_name());
    let opclass = resolved.metric.opclass(facts.storage);
    facts.table?.indexes.iter().find(|index| {
        index.valid
            && index.method == Access::Hnsw.name()
            && index.predicate.is_none()
            && (resolved.adopted || index.name == own)
            && index.columns.iter().map(|column| unquote(column)).eq([resolved.columns.embedding.clone()])
            && index.opclasses.first() == Some(&opclass)
    })
}

/// Whether an access method has operator classes for a metric.
const fn serves(access: Access, metric: Metric) -> bool {
    matches!(access, Access::Hnsw) || !matches!(metric, Metric::L1)
}

/// Most dimensions that an access method indexes.
fn most_dimensions(access: Access, storage: Storage) -> u32 {
    match (access, storage) {
        (Access::Howdah, _) => u32::try_from(howdah_index::options::MAX_DIMENSIONS).unwrap_or(u32::MAX),
        (_, Storage::Vector) => MAX_INDEXED_VECTOR,
        (_, Storage::Halfvec) => MAX_INDEXED_HALFVEC,
    }
}

fn wanted(
    resolved: &Resolved,
    storage: Storage,
    dimensions: u32,
    access: Access,
    why: Option<&str>,
) -> WantedIndex {
    let index = &resolved.index;
    let mut reason = format!("nearest neighbours by `{}` are found in it", resolved.metric.operator());
    if let Some(why) = why {
        reason += &format!("; `auto` is `{}`: {why}", access.name());
    }
    let mut wanted = WantedIndex::new(
        resolved.vector_index_name(),
        access.name(),
        &[resolved.columns.embedding.as_str()],
        &reason,
    );
    wanted.opclass = Some(resolved.metric.opclass(storage));
    let options: &[(&'static str, Option<u32>)] = match access {
        Access::Ivfflat => &[("lists", index.lists)],
        Access::Hnsw => &[("m", index.m), ("ef_construction", index.ef_construction)],
        Access::Howdah => &[
            (howdah_index::options::BITS.name, index.bits),
            (howdah_index::options::LISTS.name, index.lists),
        ],
    };
    wanted.options = options.iter().filter_map(|(name, value)| value.map(|value| (*name, value))).collect();
    if access == Access::Hnsw {
        let width = if storage == Storage::Vector { 4 } else { 2 };
        // Measured by when pgvector says that the graph no longer fits, less the vector: 553 bytes a row at m = 8, 717
        // to 783 at m = 16, below 1,388 at m = 32.
        wanted.bytes_per_row = u64::from(dimensions) * width + 24 * u64::from(index.m.unwrap_or(16)) + 400;
    }
    wanted
}
