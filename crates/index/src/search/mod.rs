//! Searching: rows in order of distance, for as long as they are asked for.
//!
//! A search works in rounds. A round wants the next k rows: it reads list after list in order of promise ([`probe`]),
//! compares 32 sign codes at a time with the distance that the k-th best row has so far, refines the few that may be
//! nearer with their other bits ([`round`]), stops when the calibration says that the remaining lists are not worth
//! reading, and compares the last few with the rows themselves. Nothing that is scanned is kept. When the caller wants
//! more than k rows, because a filter dropped some, the next round wants more of those that no round has compared yet
//! ([`seen`]): four times as many, or half as many where the first number was reckoned.
//!
//! Rows come in strict order of their exact distance. A row that a later round finds nearer than one already returned is
//! dropped: order is promised, completeness is what `target_recall` says. In relaxed order such a row is returned all the
//! same, at the beginning of the round that finds it, and a search that is read to its end has returned every row once.

pub mod probe;
mod round;
mod seen;

use std::sync::Arc;

use crate::directory::{Index, square};
use crate::format::scan::Place;
use crate::format::{Fault, Layout};
use crate::options::{Metric, Order, SearchOptions};
use crate::page::{PageStore, Tid, VectorSource};
use crate::quantize::Query;
use crate::space::Space;
use probe::Probes;
use round::Round;
use seen::Seen;

/// Bytes that a round takes for every row it wants.
const BYTES_A_ROW: usize = 256;
/// How much more than the last a round wants.
const GROWTH: usize = 4;
/// Who expects so many rows or more has reckoned with a filter. When they are not enough, a few are missing, so the second
/// round wants half as many.
const RECKONED: u32 = 64;
/// Times a search begins again because its lists were replaced under it.
const RESTARTS: usize = 8;

/// A row found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// The row.
    pub tid: Tid,
    /// What the operator returns for it.
    pub distance: f64,
    /// Where its code lies.
    pub place: Place,
    /// Code of that block.
    pub lane: u8,
}

/// A row found by reading everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neighbour {
    /// Distance in index space.
    pub distance: f32,
    /// Rank of its list.
    pub rank: u32,
}

/// A row that is dead to everybody, and where its code lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dead {
    /// The row.
    pub tid: Tid,
    /// The block of its code.
    pub place: Place,
    /// Code of that block.
    pub lane: u8,
}

/// What a search has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Rounds.
    pub rounds: u64,
    /// Lists read.
    pub lists: u64,
    /// Blocks of codes compared.
    pub blocks: u64,
    /// Codes refined.
    pub refined: u64,
    /// Rows compared exactly.
    pub exact: u64,
}

impl std::ops::AddAssign for Work {
    fn add_assign(&mut self, other: Self) {
        self.rounds += other.rounds;
        self.lists += other.lists;
        self.blocks += other.blocks;
        self.refined += other.refined;
        self.exact += other.exact;
    }
}

/// A search in progress. Holds no page between calls.
pub struct Search {
    layout: Layout,
    space: Arc<Space>,
    options: SearchOptions,
    /// As the caller gave it.
    vector: Vec<f32>,
    query: Query,
    /// Length of the question under inner product.
    length: f64,
    offset: f32,
    /// By how much rounding may make distances in index space differ.
    tolerance: f32,
    probes: Probes,
    /// Whether every row is compared: see [`is_too_far`].
    is_plain: bool,
    hits: Vec<Hit>,
    given: usize,
    /// Rows returned so far.
    returned: usize,
    /// The furthest row returned.
    last: Option<(f64, Tid)>,
    wanted: usize,
    done: bool,
    work: Work,
    seen: Seen,
    /// Whether the search began again with other lists: then `seen` says nothing of what was returned before.
    restarted: bool,
    dead: Vec<Dead>,
    /// The row compared last: room for the next.
    row: Vec<f32>,
}

/// Times the rows' own lengths, squared, beyond which codes say nothing of a question's distances: single precision loses
/// their differences.
const TOO_FAR: f32 = 1e9;

/// Whether a question of this squared length is so far from all rows that each is compared itself. Under inner product it is
/// asked at unit length.
fn is_too_far(index: &Index, square: f32) -> bool {
    !square.is_finite()
        || index.meta.metric == Metric::L2 && square > TOO_FAR * index.size.max(f32::MIN_POSITIVE)
}

/// By how much rounding may make distances in index space differ, for a question of this squared length.
fn tolerance(index: &Index, square: f32) -> f32 {
    let size = if index.meta.metric == Metric::InnerProduct {
        (square * index.size).sqrt()
    } else {
        square + index.size
    };
    if size.is_finite() { 1e-5 * size } else { 0.0 }
}

impl Search {
    /// Prepares a search for the rows nearest to `vector`. `index` should be fresh ([`Index::refresh`]).
    pub fn new(index: &Index, options: SearchOptions, vector: &[f32]) -> Result<Self, Fault> {
        let mut rotated = index.space.query(vector)?;
        let length = index.space.length(vector);
        let offset = index.space.offset(&rotated);
        let is_plain = is_too_far(index, square(&rotated));
        if is_plain {
            rotated.fill(0.0);
        }
        let query = Query::new(rotated);
        let size = square(&query.rotated);
        let most = (options.memory / BYTES_A_ROW).max(64);
        Ok(Self {
            layout: index.layout,
            space: Arc::clone(&index.space),
            probes: Probes::new(index, &query, size, &options, is_plain),
            tolerance: tolerance(index, size),
            is_plain,
            length,
            vector: vector.to_vec(),
            offset,
            query,
            hits: Vec::new(),
            given: 0,
            returned: 0,
            last: None,
            wanted: (options.expected_rows.max(1) as usize).min(most),
            options,
            done: false,
            work: Work::default(),
            seen: Seen::new(index.layout.blocks_a_page),
            restarted: false,
            dead: Vec::new(),
            row: Vec::new(),
        })
    }

    /// The next row; `None` when there is no more.
    pub fn next<S: PageStore, V: VectorSource>(
        &mut self,
        store: &S,
        source: &mut V,
    ) -> Result<Option<Hit>, Fault> {
        while self.given == self.hits.len() {
            if self.done {
                return Ok(None);
            }
            self.round(store, source)?;
        }
        let hit = self.hits[self.given];
        self.given += 1;
        self.returned += 1;
        let before = |(d, t): (f64, Tid)| d.total_cmp(&hit.distance).then(t.cmp(&hit.tid)).is_lt();
        if self.last.is_none_or(before) {
            self.last = Some((hit.distance, hit.tid));
        }
        Ok(Some(hit))
    }

    /// Rows found dead to everybody since this was last asked: what [`crate::vacuum::mark_dead`] may mark.
    pub fn take_dead(&mut self) -> Vec<Dead> {
        std::mem::take(&mut self.dead)
    }

    /// Whether a row found now is still to be returned, given its distance. Before the first row, any.
    fn is_due(&self, distance: f64, tid: Tid) -> bool {
        let Some((last, last_tid)) = self.last else { return true };
        match distance.total_cmp(&last) {
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Equal => !self.restarted || tid > last_tid,
            std::cmp::Ordering::Less => self.options.order == Order::Relaxed && !self.restarted,
        }
    }

    /// The rows wanted, having read all lists; `None` when a list was replaced meanwhile.
    pub(crate) fn exhaustive<S: PageStore, V: VectorSource>(
        &mut self,
        store: &S,
        source: &mut V,
    ) -> Result<Option<Vec<Neighbour>>, Fault> {
        self.probes.read_all();
        self.work.rounds += 1;
        let mut round = Round::new(self.wanted, self.wanted);
        if !round.read(self, store, source)? {
            return Ok(None);
        }
        let found = round.ranked(self, source).into_iter();
        let near = |(hit, rank): (Hit, u32)| Neighbour {
            distance: self.space.to_index(hit.distance, self.length, self.offset),
            rank,
        };
        Ok(Some(found.map(near).collect()))
    }

    /// The distance in index space of a row that is the question: that of its copies.
    pub(crate) fn own_distance(&self, vector: &[f32]) -> f32 {
        self.space.to_index(self.space.distance(&self.vector, vector), self.length, self.offset)
    }

    pub(crate) fn probes(&self) -> &Probes {
        &self.probes
    }

    /// What the search has done so far.
    #[must_use]
    pub fn work(&self) -> Work {
        self.work
    }

    /// Bytes of the index that it has read: centroids or, of many lists, their signs first; blocks of codes, the low bits of those refined.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let layout = &self.layout;
        let blocks = self.work.blocks * (layout.codes_bytes + layout.head_bytes) as u64;
        self.probes.bytes() + blocks + self.work.refined * layout.record_bytes as u64
    }

    fn round<S: PageStore, V: VectorSource>(&mut self, store: &S, source: &mut V) -> Result<(), Fault> {
        if self.work.rounds > 0 {
            let most = (self.options.memory / BYTES_A_ROW).max(64);
            let reckoned = self.work.rounds == 1 && self.options.expected_rows >= RECKONED;
            self.wanted = if reckoned { self.wanted.div_ceil(2) } else { self.wanted * GROWTH }.min(most);
            if self.wanted == most {
                // Rounds cannot grow any more, and each would lose a few rows to the order that is promised.
                self.probes.read_all();
            }
        }
        self.work.rounds += 1;
        for hit in &self.hits {
            self.seen.note(hit.place, hit.lane);
        }
        let rows = match self.options.passing_rows as usize {
            rows if rows > 0 && self.work.rounds == 1 => rows.min(self.wanted),
            _ => self.wanted,
        };
        for _ in 0..RESTARTS {
            let mut round = Round::new(self.wanted, rows);
            if round.read(self, store, source)? {
                self.finish(round, source);
                return Ok(());
            }
            // The lists have been replaced and their blocks taken for others, which the horizon forbids on a primary
            // but a standby may see: begin again with the lists as they are now.
            let index = Index::open(store)?;
            self.probes =
                Probes::new(&index, &self.query, square(&self.query.rotated), &self.options, self.is_plain);
            // Codes lie elsewhere now: what was returned is known by its distance only.
            self.seen.clear();
            self.restarted = true;
        }
        Err(Fault::Replaced)
    }

    fn finish<V: VectorSource>(&mut self, mut round: Round, source: &mut V) {
        let nothing_behind = round.all_read && round.short();
        self.hits = round.exact(self, source);
        self.given = 0;
        // A round without a result has at least noted what it compared, so the next one compares others.
        self.done = nothing_behind && (round.complete || self.hits.is_empty());
    }
}
