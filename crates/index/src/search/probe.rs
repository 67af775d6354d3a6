//! In which order lists are read, and when to stop.
//!
//! Seen from a question q, the squared distances of the rows of a list lie around |q − c|² + r², c being its centroid and r²
//! the mean squared distance of its rows from it, and stray by about 2·|q − c|·r·t, where t falls with the dimension of
//! the data and not with the question. So whether a list is still worth reading is said by its *score*: how far the
//! middle of its rows lies beyond what is wanted, in units of 2·a·r, a being the distance of the centroid that is
//! nearest. What is wanted lies between the k-th best row and the middle of the first list; the weights were fitted on text
//! embeddings and generated data, by the codes read for recall@10 of 0.95 to 0.99. A term grows with the rank.
//! In these units the score that a recall takes is nearly the same whatever the question: a row, far from all rows, ten
//! times as long. Under inner product the middle is −⟨q, c⟩, the unit |q|·r.
//!
//! The score up to which lists are read for a wanted recall is measured in each index ([`crate::calibrate`]), as in Quake's
//! adaptive partition scanning (OSDI 2025) but without its geometric model, which fits text badly: once with the index's
//! own rows as questions, once with questions far from them, which hold for a question that is further away than rows
//! are.

use std::sync::Arc;

use crate::curve::Curve;
use crate::directory::Index;
use crate::format::directory::Entry;
use crate::format::scan::Place;
use crate::options::{Metric, SearchOptions};
use crate::quantize::{Query, Small};

/// Weight of the k-th best distance in what is wanted; the middle of the first list has the rest. Under inner product, where
/// lengths differ, the k-th best has all of it.
const NEAR: f32 = 0.3;
/// Weight of the logarithm of the rank in the score.
const RANK: f32 = 0.1;
/// The score that lists are ordered for where all are read.
const TYPICAL_SCORE: f32 = 0.7;
/// The distance of the nearest centroid is taken to be at least this share of the mean radius, squared: a question may be a
/// centroid.
const LEAST_APART: f32 = 0.25;
/// So many lists in a row whose score is too high end the reading: lists differ in width, so one of them may be followed by
/// another that is worth it.
const PASSED_OVER: usize = 32;
/// Lists ordered at a time.
const CHUNK: usize = 64;
/// Of many lists those that look nearest are looked at closely, so many for each that is ordered: then hardly one is missing
/// from its place.
const LOOKED: usize = 2;
/// Indexes of so few rows are read whole, and nothing is left to chance: it costs less than deciding.
const SMALL: u64 = 1000;
/// What rounding the query into tables of small numbers does to estimates, in units of its squared length: as if it were
/// that much further from the centroid. Felt where lists are much smaller than the distances between them.
const ROUNDING: f32 = 0.0015;
/// What rounding a centroid to four bits moves it by, squared, in units of its squared length. All codes of a list share
/// that part of their residual, and so that part of their errors: where it is a large part of the radius, a list can look
/// further than it is as a whole.
const COMMON: f32 = 0.0125;
/// By how much the errors of codes are taken to be larger where residuals have nothing but that part.
const COMMON_SLACK: f32 = 2.0;
/// Dimensions with fewer of which a code says little of its error.
const FEW_DIMENSIONS: usize = 16;
/// Standard deviations by which a code may be nearer than its bits say: where nothing is left to chance, in a first round, in later
/// rounds. With 1.9 one row in thirty of those that lie just within the k-th distance is lost, far fewer of the others; a
/// later round loses for good what it misses.
const SLACK: [f32; 3] = [6.0, 1.9, 2.6];
/// Recall up to which a first round's slack is the least.
const ORDINARY: f32 = 0.97;
/// The same in a later round that reads every list: one row in thirty thousand strays further.
const CERTAIN: f32 = 4.0;
/// One row in so many is a large part of all.
const LARGE_PART: u64 = 32;

/// A list as a search sees it.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// Part of the distance that all rows of the list share.
    pub base: f32,
    /// Distance of query and centroid, with what rounding the query adds to it in effect.
    pub apart: f32,
    /// The list.
    pub list: u32,
    /// Its first block.
    pub head: Place,
}

/// A list before it is read: its key, its product with the query, its place among the filled lists. Of many lists key and
/// product are estimates until it is looked at.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    key: f32,
    product: f32,
    at: u32,
}

/// All lists, ordered as far as needed.
#[derive(Clone, Debug)]
pub struct Probes {
    lists: Arc<Vec<(u32, Entry)>>,
    /// Packed levels of all slots.
    centroids: Arc<Vec<u8>>,
    /// First the ordered ones, then others that have been looked at, then the rest.
    all: Vec<Candidate>,
    ordered: usize,
    looked: usize,
    centroid_bytes: usize,
    /// Whether lists were sketched first.
    sketched: bool,
    view: View,
    /// What is less than this wins nothing from the k-th best row: the middle of the first list.
    first: f32,
    /// How far the question is from the lists: see [`Probes::remoteness`].
    remoteness: f32,
    rows: u64,
    /// Whether nothing is left to chance: in small indexes, where it costs little, and in few dimensions, where errors of
    /// codes are not independent.
    careful: bool,
    /// Whether every row is a candidate whatever its code says.
    is_plain: bool,
    limit: Limit,
}

/// A question's view of lists.
#[derive(Clone, Copy, Debug)]
struct View {
    /// Whether distances are inner products.
    product: bool,
    /// Squared length of the question.
    square: f32,
    /// What the radius of a list is multiplied by to be the unit of its score.
    unit: f32,
    /// The score that lists are ordered for.
    slope: f32,
}

impl View {
    /// The middle of a list's rows, given the product of its centroid with the question.
    fn middle(&self, inner: f32, e: &Entry) -> f32 {
        if self.product { -inner } else { self.square + e.square - 2.0 * inner + e.radius_squared }
    }

    /// The unit of a list's score.
    fn unit(&self, e: &Entry) -> f32 {
        self.unit * e.radius_squared.sqrt()
    }

    /// What a list is ordered by: where those of its rows begin that a score of `slope` does not rule out.
    fn key(&self, inner: f32, e: &Entry) -> f32 {
        self.middle(inner, e) - self.slope * self.unit(e)
    }
}

/// What the score of a list grows by when so many have been read.
#[must_use]
pub fn rank_term(read: usize) -> f32 {
    RANK * ((read + 1) as f32).ln()
}

/// How far to read.
#[derive(Clone, Debug)]
enum Limit {
    All,
    Lists(usize),
    Recall { recall: f64, curve: Curve, remote: bool },
}

impl Probes {
    /// The lists of `index` for a query of this squared length; for a plain search all of them, and each row a candidate.
    #[must_use]
    pub fn new(index: &Index, query: &Query, square: f32, options: &SearchOptions, is_plain: bool) -> Self {
        let product = index.meta.metric == Metric::InnerProduct;
        let rows = index.directory.rows();
        let careful = rows <= SMALL || index.meta.dimensions < FEW_DIMENSIONS;
        let lists = index.directory.filled();
        let large = index.directory.is_large();
        let products =
            if large { index.directory.estimates(query) } else { index.directory.products(&query.small) };
        let mut view = View { product, square, unit: 0.0, slope: TYPICAL_SCORE };
        let seen = |(n, e): &(u32, Entry)| (view.middle(products[*n as usize], e), products[*n as usize], *e);
        let nearest = lists.iter().map(seen);
        let nearest = nearest.min_by(|a, b| a.0.total_cmp(&b.0));
        let (mut first, mut remoteness) = (0.0, 0.0);
        if let Some((middle, inner, e)) = nearest {
            let radius = index.spread.max(f32::MIN_POSITIVE).sqrt();
            let apart = (square + e.square - 2.0 * inner).max(LEAST_APART * index.spread).sqrt();
            view.unit = if product { square.sqrt() } else { 2.0 * apart };
            first = middle;
            remoteness = if product { middle / (square.sqrt() * radius) } else { apart / radius };
        }
        let limit = if options.probes > 0 {
            Limit::Lists(options.probes as usize)
        } else if rows <= SMALL || is_plain {
            Limit::All
        } else {
            let curve = Curve::of(&index.meta, index.spread);
            let remote = remoteness > curve.remote_from;
            Limit::Recall { recall: options.target_recall, curve, remote }
        };
        if let Limit::Recall { recall, curve, remote } = &limit {
            // The score that a list may have falls as lists are read; they are ordered for what it is at the end.
            let k = options.expected_rows as usize;
            let read = curve.share(k, *recall, *remote) * lists.len() as f32;
            view.slope = (curve.score(k, *recall, *remote) - rank_term(read as usize)).max(0.0);
        }
        let candidate = |(at, (n, e)): (usize, &(u32, Entry))| {
            let inner = products[*n as usize];
            Candidate { key: view.key(inner, e), product: inner, at: at as u32 }
        };
        let all: Vec<Candidate> = lists.iter().enumerate().map(candidate).collect();
        Self {
            lists,
            centroids: index.directory.packed_centroids(),
            looked: if large { 0 } else { all.len() },
            centroid_bytes: index.layout.width / 2,
            sketched: large,
            all,
            ordered: 0,
            view,
            first,
            remoteness,
            rows,
            careful,
            is_plain,
            limit,
        }
    }

    /// Number of lists.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is no list.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Bytes of centroids that were read.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        // A sketch has one bit of the four of each value.
        let sketch = if self.sketched { self.all.len() * self.centroid_bytes / 4 } else { 0 };
        (sketch + self.looked * self.centroid_bytes) as u64
    }

    /// Orders more of the lists.
    fn order(&mut self, query: &Small) {
        let chunk = CHUNK.max(self.ordered).min(self.all.len() - self.ordered);
        let wanted = (LOOKED * (self.ordered + chunk)).min(self.all.len());
        let by_key = |a: &Candidate, b: &Candidate| a.key.total_cmp(&b.key);
        if self.looked < wanted {
            let rest = &mut self.all[self.looked..];
            let more = wanted - self.looked;
            if more < rest.len() {
                rest.select_nth_unstable_by(more - 1, by_key);
            }
            for candidate in &mut rest[..more] {
                let (n, e) = &self.lists[candidate.at as usize];
                let packed = &self.centroids[*n as usize * self.centroid_bytes..][..self.centroid_bytes];
                candidate.product = e.scale * query.product(packed);
                candidate.key = self.view.key(candidate.product, e);
            }
            self.looked = wanted;
        }
        let rest = &mut self.all[self.ordered..self.looked];
        if chunk < rest.len() {
            rest.select_nth_unstable_by(chunk - 1, by_key);
        }
        rest[..chunk].sort_unstable_by(by_key);
        self.ordered += chunk;
    }

    /// The list of rank `rank`, the most promising being 0. `query` is that of [`Probes::new`].
    pub fn get(&mut self, rank: usize, query: &Small) -> Option<Probe> {
        if rank >= self.ordered && rank < self.all.len() {
            self.order(query);
        }
        let candidate = self.all.get(rank)?;
        let (_, e) = &self.lists[candidate.at as usize];
        let View { product, square, .. } = self.view;
        let apart = (square + e.square - 2.0 * candidate.product).max(0.0);
        let common = (COMMON * e.square / e.radius_squared.max(f32::MIN_POSITIVE)).min(1.0);
        let rounded = (apart + ROUNDING * square).sqrt() * (1.0 + COMMON_SLACK * common);
        let (mut base, mut apart) = (if product { -candidate.product } else { apart }, rounded);
        if self.is_plain || !(base.is_finite() && apart.is_finite()) {
            // Too far to reckon with: all rows of the list are candidates.
            (base, apart) = (f32::NEG_INFINITY, 0.0);
        }
        Some(Probe { base, apart, list: e.id, head: e.head })
    }

    /// Rows of the list of rank `rank`, already got.
    #[must_use]
    pub fn rows_at(&self, rank: usize) -> u32 {
        self.lists[self.all[rank].at as usize].1.rows
    }

    /// The score of the list of rank `rank`, already got, when the k-th best row is at `near` and `read` lists were read.
    #[must_use]
    pub fn score(&self, rank: usize, near: f32, read: usize) -> f32 {
        let candidate = &self.all[rank];
        let e = &self.lists[candidate.at as usize].1;
        // The k-th best may lie beyond the first list where that has few rows.
        let wanted = if self.view.product || near > self.first {
            near
        } else {
            NEAR * near + (1.0 - NEAR) * self.first
        };
        let beyond = self.view.middle(candidate.product, e) - wanted;
        let unit = self.view.unit(e);
        let score = if unit > 0.0 { beyond / unit } else { f32::INFINITY.copysign(beyond) };
        score + rank_term(read)
    }

    /// How far the question is from the lists: the distance of the nearest centroid in units of the mean radius; under inner
    /// product the least middle in units of the question's length and that radius.
    #[must_use]
    pub fn remoteness(&self) -> f32 {
        self.remoteness
    }

    /// The score beyond which lists are not read for `k` rows; infinite when there is none.
    #[must_use]
    pub fn score_limit(&self, k: usize) -> f32 {
        match &self.limit {
            // Whoever wants a large part of all rows gets it by reading all.
            Limit::Recall { .. } if k as u64 * LARGE_PART >= self.rows => f32::INFINITY,
            Limit::Recall { recall, curve, remote } => curve.score(k, *recall, *remote),
            Limit::All | Limit::Lists(_) => f32::INFINITY,
        }
    }

    /// Standard deviations by which a code may be nearer than its sign bits say, and the share of them that the estimate
    /// by all bits gets. A later round that reads all lists leaves out no code either, since what it missed would be
    /// lost for good; but it need not hold more candidates than others for it.
    #[must_use]
    pub fn slack(&self, first_round: bool, all_lists: bool) -> (f32, f32) {
        match (self.careful, first_round) {
            (true, _) => (SLACK[0], 1.0),
            (false, true) => (self.first_slack(), 1.0),
            (false, false) if all_lists => (CERTAIN, SLACK[2] / CERTAIN),
            (false, false) => (SLACK[2], 1.0),
        }
    }

    /// Standard deviations in a first round: a high recall leaves codes less room for losses.
    fn first_slack(&self) -> f32 {
        let Limit::Recall { recall, .. } = self.limit else { return SLACK[1] };
        let asked = ((recall as f32 - ORDINARY) / (1.0 - ORDINARY)).clamp(0.0, 1.0);
        SLACK[1] + (SLACK[2] - SLACK[1]) * asked
    }

    /// How many lists in a row whose score is too high end the reading, when so many were looked at.
    #[must_use]
    pub fn passed_over(&self, looked_at: usize) -> usize {
        PASSED_OVER + looked_at / 4
    }

    /// The number of lists after which a first round stops.
    #[must_use]
    pub fn list_limit(&self) -> usize {
        if let Limit::Lists(n) = self.limit { n } else { usize::MAX }
    }

    /// Reads all lists from now on.
    pub fn read_all(&mut self) {
        self.limit = Limit::All;
    }
}
