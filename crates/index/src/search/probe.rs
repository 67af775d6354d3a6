//! In which order lists are read, and when to stop.
//!
//! The promise of a list falls with its *key*: the squared distance of query and centroid plus half the list's mean
//! squared radius (a row of a wide list is further from the query than its centroid is, but more of them stray near).
//! Whether the list of a rank is still worth reading is said by its *score*: how far its key lies beyond the first
//! list's and the k-th best row's, plus a term that grows with the rank. Weights were fitted on text embeddings and
//! generated data, by the codes read for recall@10 of 0.95 to 0.99; against reading a fixed number of lists the score
//! halves them. The score up to which lists are read for a wanted recall is measured in each index
//! ([`crate::calibrate`]), as in Quake's adaptive partition scanning (OSDI 2025) but without its geometric model, which
//! fits text badly.

use std::sync::Arc;

use crate::curve::score_for;
use crate::directory::Index;
use crate::format::directory::Entry;
use crate::format::scan::Place;
use crate::options::{Metric, SearchOptions};
use crate::quantize::{Query, Small};

/// Weight of a list's squared radius in its key.
const RADIUS: f32 = 0.5;
/// Weight of the k-th best distance in the score; the first list's key has the rest.
const NEAR: f32 = 0.3;
/// Weight of the logarithm of the rank, in units of the index's mean squared radius.
const RANK: f32 = 0.2;
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
/// Dimensions with fewer of which a code says little of its error.
const FEW_DIMENSIONS: usize = 16;
/// Standard deviations by which a code may be nearer than its bits say: where nothing is left to chance, in a first round, in later
/// rounds. With 1.9 one row in thirty of those that lie just within the k-th distance is lost, far fewer of the others; a
/// later round loses for good what it misses.
const SLACK: [f32; 3] = [6.0, 1.9, 2.6];
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
    radius: f32,
    square: f32,
    product: bool,
    first: f32,
    rank_unit: f32,
    rows: u64,
    /// Whether nothing is left to chance: in small indexes, where it costs little, and in few dimensions, where errors of
    /// codes are not independent.
    careful: bool,
    limit: Limit,
}

/// The key of a list whose centroid's product with the query is `inner`.
fn key(product: bool, square: f32, radius: f32, inner: f32, e: &Entry) -> f32 {
    let base = if product { -inner } else { square + e.square - 2.0 * inner };
    base + radius * e.radius_squared
}

/// How far to read.
#[derive(Clone, Debug)]
enum Limit {
    All,
    Lists(usize),
    Recall { recall: f64, curve: Vec<crate::format::meta::Point>, spread: f32 },
}

impl Probes {
    /// The lists of `index` for a query of this squared length.
    #[must_use]
    pub fn new(index: &Index, query: &Query, square: f32, options: &SearchOptions) -> Self {
        let product = index.meta.metric == Metric::InnerProduct;
        let rows = index.directory.rows();
        // Under inner product everything is half as large as in squared distances of vectors of unit length, and grows
        // with the query.
        let (mut unit, mut radius) = (index.spread, RADIUS);
        if product {
            let typical = index.size.sqrt();
            let factor = if typical > 0.0 { square.sqrt() / typical } else { 0.0 };
            unit *= 0.5 * factor;
            radius = -0.25 * factor;
        }
        let careful = rows <= SMALL || index.meta.dimensions < FEW_DIMENSIONS;
        let lists = index.directory.filled();
        let large = index.directory.is_large();
        let products =
            if large { index.directory.estimates(query) } else { index.directory.products(&query.small) };
        let key = |inner: f32, e: &Entry| key(product, square, radius, inner, e);
        let candidate = |(at, (n, e)): (usize, &(u32, Entry))| {
            let inner = products[*n as usize];
            Candidate { key: key(inner, e), product: inner, at: at as u32 }
        };
        let all: Vec<Candidate> = lists.iter().enumerate().map(candidate).collect();
        let limit = if options.probes > 0 {
            Limit::Lists(options.probes as usize)
        } else if rows <= SMALL {
            Limit::All
        } else {
            Limit::Recall { recall: options.target_recall, curve: index.meta.curve.clone(), spread: unit }
        };
        Self {
            lists,
            centroids: index.directory.packed_centroids(),
            looked: if large { 0 } else { all.len() },
            centroid_bytes: index.layout.width / 2,
            sketched: large,
            all,
            ordered: 0,
            radius,
            square,
            product,
            first: 0.0,
            rank_unit: RANK * unit,
            rows,
            careful,
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
                candidate.key = key(self.product, self.square, self.radius, candidate.product, e);
            }
            self.looked = wanted;
        }
        let rest = &mut self.all[self.ordered..self.looked];
        if chunk < rest.len() {
            rest.select_nth_unstable_by(chunk - 1, by_key);
        }
        rest[..chunk].sort_unstable_by(by_key);
        self.ordered += chunk;
        self.first = self.all[0].key;
    }

    /// The list of rank `rank`, the most promising being 0. `query` is that of [`Probes::new`].
    pub fn get(&mut self, rank: usize, query: &Small) -> Option<Probe> {
        if rank >= self.ordered && rank < self.all.len() {
            self.order(query);
        }
        let candidate = self.all.get(rank)?;
        let (_, e) = &self.lists[candidate.at as usize];
        let apart = (self.square + e.square - 2.0 * candidate.product).max(0.0);
        let rounded = (apart + ROUNDING * self.square).sqrt();
        let (mut base, mut apart) = (if self.product { -candidate.product } else { apart }, rounded);
        if !(base.is_finite() && apart.is_finite()) {
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

    /// The score of the list of rank `rank`, already got, when the k-th best row is at `near`.
    #[must_use]
    pub fn score(&self, rank: usize, near: f32) -> f32 {
        let key = self.all[rank].key;
        key - NEAR * near - (1.0 - NEAR) * self.first + self.rank_unit * ((rank + 1) as f32).ln()
    }

    /// The score beyond which lists are not read for `k` rows; infinite when there is none.
    #[must_use]
    pub fn score_limit(&self, k: usize) -> f32 {
        match &self.limit {
            // Whoever wants a large part of all rows gets it by reading all.
            Limit::Recall { .. } if k as u64 * LARGE_PART >= self.rows => f32::INFINITY,
            Limit::Recall { recall, curve, spread } => score_for(curve, k, *recall, *spread),
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
            (false, true) => (SLACK[1], 1.0),
            (false, false) if all_lists => (CERTAIN, SLACK[2] / CERTAIN),
            (false, false) => (SLACK[2], 1.0),
        }
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
