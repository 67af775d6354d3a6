//! How is the index scanned so that the answer is whole?
//!
//! An approximate index stops after so many candidates, whether or not enough of them passed the filter: the classic
//! silently short answer. [`decide`] looks at facts about the table and at what is asked, and picks the index with
//! settings under which it goes on until the list is full, or compares every row where that is cheaper or the only way.
//! [`verdict`] judges afterwards whether what came back is whole; where the index came back short, the statement is run
//! again without it.
//!
//! The costs are in microseconds of one core on the class of machine Howdah is measured on. Only their ratio matters.

use howdah_index::options;
use serde::{Deserialize, Serialize};

use crate::spec::{Metric, Storage};

/// Candidates the graph keeps, unless asked otherwise: on 60,000 real text embeddings of 384 dimensions this finds 99.5 %
/// of the true ten nearest (100 finds 99.1 %, pgvector's own default of 40 finds 97.5 %).
pub const BASE_EF: f64 = 200.0;
/// Most candidates pgvector's graph can be told to keep.
pub const MAX_EF: f64 = 1000.0;
/// Rows up to which the base is enough; beyond, it grows with the square root of the rows.
const BASE_ROWS: f64 = 100_000.0;
/// A filter that passes the part `s` of the rows needs this times `1 / s` as many candidates for the same recall.
const FILTER_FACTOR: f64 = 0.5;
/// Share of an inverted-lists index to read: real text embeddings need 25 to 30 % of the lists for 99 % recall.
const LISTS_READ: f64 = 0.3;
/// Cost of one candidate kept by the graph: about 30 distances, with their page look-ups.
const COST_CANDIDATE: f64 = 14.0;
/// Recall asked of Howdah's own index: what [`BASE_EF`] candidates of a graph find on the same embeddings.
pub const TARGET_RECALL: f64 = 0.99;
/// The same where many rows are wanted: the index has measured itself for up to [`MEASURED_ROWS`], and beyond them finds less
/// than it is asked for (500 rows of generated vectors at 0.99: 97 %).
const TARGET_RECALL_OF_MANY: f64 = 0.998;
const MEASURED_ROWS: f64 = 100.0;
/// What a scan of Howdah's own index costs at the least: the executor, the lists' centres, ten rows compared exactly.
const COST_OWN_SCAN: f64 = 110.0;
/// Cost of one of its codes, and of one of its lists, of which there is one for a hundred rows.
const COST_OWN_CODE: f64 = 0.003 + 0.01 / 100.0;
/// Part of its codes that ten rows at [`TARGET_RECALL`] take: 13.7 % on real text embeddings.
const OWN_CODES_READ: f64 = 0.14;
/// Cost of one row that its scan passes on: refined, fetched and compared exactly, then looked at by the filter.
const COST_OWN_ROW: f64 = 2.0;
/// Cost of comparing a row that comes in the table's order.
const COST_COMPARE: f64 = 0.35;
/// Cost of comparing a row that an index on the filter leads to.
const COST_FETCH: f64 = 1.0;
/// Cost of looking at a row that the filter drops.
const COST_LOOK: f64 = 0.15;
/// Tables up to this many rows are always compared row by row: it takes a few milliseconds and is never wrong.
pub const ALWAYS_EXACT: f64 = 2_000.0;

/// What is known about a collection's table, read from the live server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableFacts {
    /// `server_version_num`
    pub server_version: u32,
    /// Version of pgvector in the database: major, minor, patch.
    pub pgvector: (u32, u32, u32),
    /// Schema of pgvector's types, where it is not on the search path.
    pub vector_schema: Option<String>,
    /// SQL type of the primary key.
    pub id_type: String,
    /// How embeddings are really stored.
    pub storage: Storage,
    /// Dimensions of the embedding column, where it has a limit.
    pub dimensions: Option<u32>,
    /// Type that embeddings are cast to before they are compared, where it is not the column's own.
    pub cast: Option<String>,
    /// What the table is, where it is only read: a view, a materialised view or a foreign table.
    pub read_only: Option<String>,
    /// Role that row-level security hides rows from, where it is in force for the one who asks.
    pub row_security: Option<String>,
    /// Whether the index, and `rows`, are those of the collection's fixed filter alone.
    pub partial: bool,
    /// Rows, as the planner estimates them.
    pub rows: f64,
    /// Part of the rows that are dead and not vacuumed yet, 0 to 1: the index still leads to them.
    pub dead: f64,
    /// `work_mem` in bytes.
    pub work_mem: u64,
    /// The valid index that serves the collection's metric.
    pub index: Option<IndexFacts>,
    /// Why there is no such index, in words.
    pub no_index: Option<String>,
}

/// A vector index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IndexFacts {
    /// Name.
    pub name: String,
    /// Access method.
    pub access: Access,
    /// Inverted lists, for `ivfflat`.
    pub lists: Option<u32>,
    /// Metric its operator class serves.
    pub metric: Metric,
}

/// Access method of a vector index, as `pg_am` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// pgvector's graph.
    Hnsw,
    /// pgvector's inverted lists.
    Ivfflat,
    /// Howdah's own.
    Howdah,
}

impl Access {
    /// By the name in `pg_am`.
    pub fn of(name: &str) -> Option<Access> {
        match name {
            "hnsw" => Some(Access::Hnsw),
            "ivfflat" => Some(Access::Ivfflat),
            "howdah" => Some(Access::Howdah),
            _ => None,
        }
    }

    /// The name in `pg_am`.
    pub const fn name(self) -> &'static str {
        match self {
            Access::Hnsw => "hnsw",
            Access::Ivfflat => "ivfflat",
            Access::Howdah => "howdah",
        }
    }
}

/// What is asked of the vector leg.
#[derive(Debug, Clone, PartialEq)]
pub struct Need {
    /// Nearest rows wanted, offset included.
    pub rows: u32,
    /// Rows that pass the filter, as the planner estimates them; none without a filter.
    pub matching: Option<f64>,
    /// Candidates asked for by the caller.
    pub ef_search: Option<u32>,
    /// Whether the caller wants every row compared.
    pub exact: bool,
}

/// Which way the vector leg goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// Ordered by the index.
    Index,
    /// Every candidate compared.
    Exact,
}

/// How a search is run, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Which way.
    pub path: Path,
    /// The index asked, where one is.
    pub index: Option<String>,
    /// `hnsw`, `ivfflat`, `howdah` or `exact`.
    pub access: &'static str,
    /// Settings of the transaction, in order.
    pub settings: Vec<(&'static str, String)>,
    /// Why, in words.
    pub reason: String,
}

/// Decides how the vector leg is scanned.
pub fn decide(facts: &TableFacts, need: &Need) -> Decision {
    if need.exact {
        return exact("asked for".into());
    }
    let Some(index) = &facts.index else {
        return exact(facts.no_index.clone().unwrap_or_else(|| "there is no vector index".into()));
    };
    if facts.rows <= ALWAYS_EXACT {
        return exact(format!("about {:.0} rows: comparing all of them takes a moment", facts.rows));
    }
    if f64::from(need.rows) >= facts.rows * 0.5 {
        return exact(format!("{} of about {:.0} rows are wanted", need.rows, facts.rows));
    }
    let effort = Effort::of(facts, index.access, need);
    // Who names the number of candidates wants the index, whatever it costs.
    if need.ef_search.is_none() && effort.exact_cost < effort.index_cost {
        return exact(match need.matching {
            Some(matching) => {
                format!("about {matching:.0} rows pass the filter: comparing them is cheaper than the index")
            }
            None => format!("{} rows are wanted: comparing all is cheaper than the index", need.rows),
        });
    }
    let mut settings = match index.access {
        Access::Hnsw => hnsw(facts, &effort),
        Access::Ivfflat => ivfflat(facts, index),
        Access::Howdah => own(&effort),
    };
    // The planner's costs for vector indexes know neither filters nor candidates. With sorting as the last resort it takes
    // the way decided on here, and what the answer says about its scan is true.
    settings.push(("enable_sort", "off".into()));
    Decision {
        path: Path::Index,
        index: Some(index.name.clone()),
        access: index.access.name(),
        settings,
        reason: effort.words(facts, need),
    }
}

fn exact(reason: String) -> Decision {
    Decision { path: Path::Exact, index: None, access: "exact", settings: Vec::new(), reason }
}

/// What either way would take.
struct Effort {
    /// Candidates wanted, before the cap: of a graph those it keeps, of Howdah's own index rows in order of distance.
    candidates: f64,
    index_cost: f64,
    exact_cost: f64,
}

impl Effort {
    fn of(facts: &TableFacts, access: Access, need: &Need) -> Effort {
        let rows = facts.rows.max(1.0);
        let matching = need.matching.unwrap_or(rows).clamp(1.0, rows);
        let part = (matching / rows * (1.0 - facts.dead)).clamp(1e-6, 1.0);
        let dimensions = f64::from(facts.dimensions.unwrap_or(384)) / 384.0;
        let wide = 0.5 + 0.5 * dimensions;
        let compare = if need.matching.is_some() { COST_FETCH } else { COST_COMPARE };
        let (candidates, index_cost) = match access {
            Access::Howdah => in_order(rows, part, dimensions, need),
            Access::Hnsw | Access::Ivfflat => {
                let base = BASE_EF * (rows / BASE_ROWS).sqrt().max(1.0);
                let wanted = base.max(2.0 * f64::from(need.rows));
                let candidates = match need.ef_search {
                    Some(asked) => f64::from(asked),
                    None => wanted.max(wanted * FILTER_FACTOR / part),
                };
                (candidates, candidates * COST_CANDIDATE * wide)
            }
        };
        Effort {
            candidates,
            index_cost,
            // The filter may be served by an index or not; half of the worst case is neither's worst.
            exact_cost: matching * compare * wide + (rows - matching) * COST_LOOK * 0.5,
        }
    }

    fn words(&self, facts: &TableFacts, need: &Need) -> String {
        let mut why = match need.matching {
            Some(matching) => format!("about {matching:.0} of {:.0} rows pass the filter", facts.rows),
            None => format!("about {:.0} rows", facts.rows),
        };
        if facts.dead > 0.2 {
            why.push_str(&format!(", {:.0} % of the index leads to dead rows", facts.dead * 100.0));
        }
        why
    }
}

/// Rows that Howdah's own index passes on until enough of them are alive and pass the filter, and what that costs.
fn in_order(rows: f64, part: f64, dimensions: f64, need: &Need) -> (f64, f64) {
    let wanted = f64::from(need.rows.max(need.ef_search.unwrap_or(0)));
    let passed_on = (wanted / part).min(rows);
    // What reading further takes grows with the square root of the rows wanted.
    let share = (OWN_CODES_READ * (passed_on / 10.0).max(1.0).sqrt()).min(1.0);
    let cost = COST_OWN_SCAN + rows * share * COST_OWN_CODE * dimensions + passed_on * COST_OWN_ROW;
    (passed_on, cost)
}

/// Howdah's own: the recall, and how many rows to have ready when the first is asked for. The scan goes on by itself until
/// the executor has enough; told what to expect, it need not begin anew in growing rounds.
fn own(effort: &Effort) -> Vec<(&'static str, String)> {
    let expected = options::EXPECTED_ROWS.clamp(effort.candidates.ceil());
    let recall = if effort.candidates > MEASURED_ROWS { TARGET_RECALL_OF_MANY } else { TARGET_RECALL };
    vec![
        ("howdah.target_recall", recall.to_string()),
        ("howdah.expected_rows", format!("{expected:.0}")),
        // As with the graph: nothing that was found is dropped, and the statement sorts what comes back.
        ("howdah.ordering", "relaxed".into()),
    ]
}

/// The graph: enough candidates at once, and on from there until the list is full.
fn hnsw(facts: &TableFacts, effort: &Effort) -> Vec<(&'static str, String)> {
    let candidates = effort.candidates.clamp(1.0, MAX_EF);
    let mut settings = vec![("hnsw.ef_search", format!("{candidates:.0}"))];
    if facts.pgvector >= (0, 8, 0) {
        // Relaxed order drops nothing that strict order would; the statement sorts what comes back.
        settings.push(("hnsw.iterative_scan", "relaxed_order".into()));
        settings.push(("hnsw.max_scan_tuples", i32::MAX.to_string()));
        settings.push(("hnsw.scan_mem_multiplier", memory_multiplier(facts, effort)));
    }
    settings
}

/// The scan's memory is a multiple of `work_mem`: enough for what it will probably visit, at most 512 MiB.
fn memory_multiplier(facts: &TableFacts, effort: &Effort) -> String {
    let visited = (effort.candidates * 40.0).min(facts.rows);
    let bytes = (visited * 400.0).clamp(f64::from(32 << 20), f64::from(512 << 20));
    #[allow(clippy::cast_precision_loss)]
    let work_mem = (facts.work_mem as f64).max(65_536.0);
    format!("{:.0}", (bytes / work_mem).ceil().clamp(1.0, 1000.0))
}

/// Inverted lists: the share that the recall needs, and on from there until the list is full.
fn ivfflat(facts: &TableFacts, index: &IndexFacts) -> Vec<(&'static str, String)> {
    let lists = f64::from(index.lists.unwrap_or(100));
    let mut settings = vec![("ivfflat.probes", format!("{:.0}", (lists * LISTS_READ).ceil().max(1.0)))];
    if facts.pgvector >= (0, 8, 0) {
        settings.push(("ivfflat.iterative_scan", "relaxed_order".into()));
        settings.push(("ivfflat.max_probes", "32768".into()));
    }
    settings
}

/// What came back of one leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LegRows {
    /// Rows asked of the leg.
    pub wanted: u64,
    /// Rows it gave.
    pub found: u64,
    /// Whether it looked at every candidate.
    pub exact: bool,
}

impl LegRows {
    /// Whether the leg gave all there is, up to what was wanted.
    pub fn whole(self) -> bool {
        self.exact || self.found >= self.wanted
    }
}

/// The end of a hybrid list that was read page by page: it holds the candidates of either leg, of which there may be more.
pub fn candidates_end(limit: u32, returned: usize, legs: &[LegRows]) -> Option<(bool, String)> {
    let more = returned < limit as usize && legs.iter().any(|leg| leg.found >= leg.wanted);
    more.then(|| {
        let why = "the list of a hybrid search ends with the candidates of its legs, and there are more rows";
        (false, format!("{returned} of {limit} rows: {why}; ask for more `candidates`"))
    })
}

/// Whether an answer is whole, and why.
///
/// `returned` are the rows after threshold and offset; `legs` what each leg gave. An index leg that is not whole has to be
/// run again exactly before this is asked; where that failed, `gave_up` says why.
pub fn verdict(
    limit: u32,
    returned: usize,
    legs: &[LegRows],
    thresholded: bool,
    gave_up: Option<&str>,
) -> (bool, String) {
    if let Some(why) = gave_up {
        return (
            false,
            format!("the index gave {returned} of {limit} rows and the exact search after it failed: {why}"),
        );
    }
    if returned >= limit as usize {
        return (true, format!("{limit} rows, as many as asked for"));
    }
    if legs.iter().any(|leg| !leg.whole()) {
        return (false, format!("{returned} of {limit} rows: the index stopped before the list was full"));
    }
    let why = if thresholded {
        format!("{returned} rows: no other row is within the threshold")
    } else {
        format!("{returned} rows: there are no more that match")
    };
    (true, why)
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
