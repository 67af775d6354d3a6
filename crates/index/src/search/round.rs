//! One round of a search: scan, refine, compare exactly.

use std::collections::BinaryHeap;

use super::probe::Probe;
use super::{Dead, Hit, Search};
use crate::distance::{LANES, ScanTerms, kernels, scalar};
use crate::format::scan::{BlockView, Place};
use crate::format::{Fault, Layout, refine};
use crate::page::{Block, PageRead, PageStore, Tid, VectorSource};
use crate::quantize::Query;

/// Standard deviations by which a code may be nearer than all its bits say, as a multiple of the same for sign bits.
const REFINE_SLACK: f32 = 1.15;
/// Error of a code of four and of five bits in units of the error of its sign bits, measured with the rounding of query
/// and tables.
const ALL_BITS: [f32; 2] = [0.155, 0.085];
/// Candidates that wait for refining before it is done, at least and at most: a few where few rows are wanted and each
/// one refined lowers the threshold for the next; many where pages can be shared.
const BATCH: [usize; 2] = [24, 1024];
/// Of so many rows wanted, one candidate waits for each.
const BATCH_PART: usize = 4;
/// Dead rows that a search tells of at a time.
const MOST_DEAD: usize = 1024;
/// Lists read at a time, at most.
const BATCH_LISTS: usize = 32;

/// A number in a heap; NaN counts as greatest.
#[derive(Clone, Copy, PartialEq)]
struct Key(f32);

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// A code whose sign bits look near enough.
#[derive(Clone, Copy)]
struct Pending {
    estimate: f32,
    lower: f32,
    /// By how much the estimate by all bits may be off.
    error: f32,
    sign_sum: f32,
    base: f32,
    tid: Tid,
    place: Place,
    lane: u8,
    rank: u32,
    unit: Place,
    slot: u8,
}

/// A code refined.
#[derive(Clone, Copy)]
struct Kept {
    estimate: f32,
    lower: f32,
    tid: Tid,
    place: Place,
    lane: u8,
    rank: u32,
    /// What the operator returns, once it was asked; then the estimate is exact.
    distance: Option<f64>,
}

impl Kept {
    /// Whether its estimate says something of its distance: codes of vectors too large to reckon with say nothing.
    fn is_known(&self) -> bool {
        self.distance.is_some() || self.estimate.is_finite()
    }
}

/// A row compared exactly.
struct Found {
    hit: Hit,
    /// Its distance in index space.
    there: f32,
    /// Rank of the list that it came from.
    rank: u32,
}

impl Found {
    /// A distance that is no number is beyond nothing.
    fn is_beyond(&self, limit: f32) -> bool {
        self.there > limit
    }
}

/// One round.
pub struct Round {
    /// Codes that are held against the rows.
    wanted: usize,
    /// Rows that are returned.
    rows: usize,
    threshold: f32,
    /// Least distance of a candidate forgotten for want of room.
    forgotten: f32,
    best: BinaryHeap<Key>,
    pending: Vec<Pending>,
    /// Number of candidates that wait at a time.
    batch: usize,
    kept: Vec<Kept>,
    /// Standard deviations by which a code may be nearer than its sign bits say, and the share of them that the estimate
    /// by all bits gets.
    slack: (f32, f32),
    /// Whether no list was left out.
    pub all_read: bool,
    /// Whether no candidate of unknown distance was forgotten for want of room, and none left for a later round.
    pub complete: bool,
    /// Whether a candidate turned out to be no result: it is noted as seen, too.
    dropped: bool,
}

impl Round {
    /// A round that holds `wanted` codes, of those that no round has compared yet, against their rows and returns `rows` of them.
    /// The numbers differ where the source of rows has a filter.
    pub fn new(wanted: usize, rows: usize) -> Self {
        let batch = (wanted / BATCH_PART).clamp(BATCH[0], BATCH[1]);
        Self {
            wanted,
            rows,
            batch,
            threshold: f32::INFINITY,
            forgotten: f32::INFINITY,
            best: BinaryHeap::with_capacity(wanted.min(1024) + 1),
            pending: Vec::with_capacity(2 * batch),
            kept: Vec::with_capacity(64),
            slack: (0.0, 1.0),
            all_read: true,
            complete: true,
            dropped: false,
        }
    }

    /// Reads lists until the rest is not worth it. False when a list turned out to be replaced.
    pub fn read<S: PageStore, V: VectorSource>(
        &mut self,
        search: &mut Search,
        store: &S,
        source: &mut V,
    ) -> Result<bool, Fault> {
        let score_limit = search.probes.score_limit(search.returned + self.wanted);
        let list_limit = if search.work.rounds == 1 { search.probes.list_limit() } else { usize::MAX };
        self.slack = search.probes.slack(search.work.rounds == 1, score_limit.is_infinite());
        let (mut rank, mut passed_over) = (0, 0);
        while rank < search.probes.len() && rank < list_limit && passed_over < search.probes.passed_over(rank)
        {
            // A batch is read in the order of its pages, which neighbouring lists share.
            let mut batch: Vec<(usize, Probe)> = Vec::with_capacity(BATCH_LISTS);
            let size = (rank / 4).clamp(1, BATCH_LISTS);
            while batch.len() < size
                && let Some(probe) = search.probes.get(rank, &search.query.small)
            {
                let full = self.threshold.is_finite() && rank > 0;
                let read = rank - passed_over;
                rank += 1;
                if full && search.probes.score(rank - 1, self.threshold, read) > score_limit {
                    self.all_read = false;
                    passed_over += 1;
                } else {
                    passed_over = 0;
                    batch.push((rank - 1, probe));
                }
                if rank >= list_limit || passed_over >= search.probes.passed_over(rank) {
                    break;
                }
            }
            batch.sort_unstable_by_key(|(_, probe)| std::cmp::Reverse(probe.head));
            if batch.len() > 1 {
                let pages: Vec<u32> = batch.iter().map(|(_, p)| p.head.page).collect();
                store.prefetch(&pages);
            }
            if !self.scan(search, store, source, &batch)? {
                return Ok(false);
            }
            search.work.lists += batch.len() as u64;
        }
        self.all_read &= rank == search.probes.len();
        self.refine(search, store, source)?;
        Ok(true)
    }

    /// Scans the lists of a batch. False when one turned out to be replaced.
    fn scan<S: PageStore, V: VectorSource>(
        &mut self,
        search: &mut Search,
        store: &S,
        source: &mut V,
        batch: &[(usize, Probe)],
    ) -> Result<bool, Fault> {
        let mut held: Option<(Block, S::Guard<'_>)> = None;
        for (rank, probe) in batch {
            let terms = ScanTerms {
                base: probe.base,
                step: search.query.step(),
                shift: search.query.shift(),
                slack: self.slack.0 * probe.apart,
                threshold: self.threshold,
            };
            let mut place = probe.head;
            while place.is_some() {
                let page = place.page;
                let (_, guard) = match held.take() {
                    Some(same) if same.0 == page => held.insert(same),
                    other => {
                        drop(other);
                        store.interrupts();
                        if !store.has(page) {
                            return Err(Fault::Damaged { page, what: "a list leads beyond the end" });
                        }
                        held.insert((page, store.read(page)))
                    }
                };
                while place.page == page {
                    let block = BlockView::new(&search.layout, guard.body(), usize::from(place.index));
                    // Says as well that this is a scan page: numbers of lists are not used again.
                    if block.list() != probe.list {
                        return Ok(false);
                    }
                    search.work.blocks += 1;
                    self.scan_block(&*search, &terms, &block, place, probe, *rank as u32);
                    place = block.next();
                }
            }
            if self.pending.len() >= self.batch || *rank == 0 {
                held = None;
                self.refine(search, store, source)?;
            }
        }
        Ok(true)
    }

    fn scan_block(
        &mut self,
        search: &Search,
        terms: &ScanTerms,
        block: &BlockView<'_>,
        place: Place,
        probe: &Probe,
        rank: u32,
    ) {
        let (layout, query): (&Layout, &Query) = (&search.layout, &search.query);
        let mut coarse = [0; LANES];
        let codes = block.scan();
        let wide = layout.lanes == LANES;
        let scan = if wide { kernels().scan } else { scalar::scan_narrow };
        let mut mask = scan(&codes, &query.coarse, terms, &mut coarse) & block.live();
        if mask != 0 {
            mask &= !search.seen.lanes(place);
        }
        if mask == 0 {
            return;
        }
        let mut low = [0; LANES];
        let sums = if wide { kernels().sums_fine } else { scalar::sums_narrow };
        sums(codes.codes, &query.fine, &mut low);
        while mask != 0 {
            let lane = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            if block.is_marked(lane) && !search.options.see_marked {
                continue;
            }
            let estimate = scalar::estimate(&codes, terms, lane, coarse[lane]);
            let error = scalar::bf16_at(codes.error, lane) * terms.slack;
            self.pending.push(Pending {
                estimate,
                lower: estimate - error,
                error: REFINE_SLACK * ALL_BITS[layout.bits as usize - 4] * error * self.slack.1,
                sign_sum: query.sign_sum(coarse[lane], low[lane]),
                base: probe.base,
                tid: block.tid(lane),
                place,
                lane: lane as u8,
                rank,
                unit: block.unit(lane / layout.unit),
                slot: (lane % layout.unit) as u8,
            });
        }
    }

    /// Refines what waits: a few with the nearest first, so that the threshold falls before it is asked; many page by page,
    /// since finding a page costs more than refining a code.
    fn refine<S: PageStore, V: VectorSource>(
        &mut self,
        search: &mut Search,
        store: &S,
        source: &mut V,
    ) -> Result<(), Fault> {
        let mut pending = std::mem::take(&mut self.pending);
        if self.batch == BATCH[0] {
            pending.sort_unstable_by(|a, b| a.estimate.total_cmp(&b.estimate));
        } else {
            pending.sort_unstable_by_key(|p| (p.unit.page, p.unit.index, p.slot));
        }
        let mut held: Option<(Block, S::Guard<'_>)> = None;
        let packed = search.layout.record_bytes - 8;
        for p in pending.drain(..) {
            if self.is_ruled_out(p.lower) {
                continue;
            }
            let (_, guard) = match held.take() {
                Some(same) if same.0 == p.unit.page => held.insert(same),
                other => {
                    drop(other);
                    store.interrupts();
                    if !store.has(p.unit.page) {
                        return Err(Fault::Damaged {
                            page: p.place.page,
                            what: "a block points to a unit beyond the end",
                        });
                    }
                    held.insert((p.unit.page, store.read(p.unit.page)))
                }
            };
            let unit = usize::from(p.unit.index).min(search.layout.units_a_page - 1);
            let (codes, add, scale) = refine::record(&search.layout, guard.body(), unit, usize::from(p.slot));
            debug_assert_eq!(codes.len(), packed);
            search.work.refined += 1;
            let estimate = p.base + add + scale * search.query.product(search.layout.bits, p.sign_sum, codes);
            self.keep(&p, estimate);
        }
        drop(held);
        self.pending = pending;
        if self.kept.len() > 4 * self.wanted + 256 {
            self.settle(search, source);
        }
        Ok(())
    }

    /// Makes room: forgets candidates that cannot be among the wanted. Where estimates do not tell enough of them apart,
    /// as where many rows are nearly equally near, the rows themselves do: nothing is dropped by guess.
    fn settle<V: VectorSource>(&mut self, search: &mut Search, source: &mut V) {
        let most = 2 * self.wanted + 128;
        let mut kept = std::mem::take(&mut self.kept);
        kept.retain(|k| !self.is_ruled_out(k.lower));
        self.kept = kept;
        if self.kept.len() <= most {
            return;
        }
        let mut kept = std::mem::take(&mut self.kept);
        let before = kept.len();
        kept.retain_mut(|k| compare(k, search, source));
        self.dropped |= kept.len() < before;
        self.best.clear();
        for k in kept.iter().filter(|k| k.is_known()) {
            self.note_best(k.estimate);
        }
        kept.retain(|k| !self.is_ruled_out(k.lower));
        if kept.len() > most {
            // Very many at the same distance; those of unknown distance last, they must not displace the others.
            let known = |k: &Kept| if k.is_known() { k.estimate } else { f32::INFINITY };
            let order = |a: &Kept, b: &Kept| known(a).total_cmp(&known(b)).then(a.tid.cmp(&b.tid));
            let (_, first, _) = kept.select_nth_unstable_by(most, order);
            self.forgotten = self.forgotten.min(known(first));
            self.complete &= known(first).is_finite();
            kept.truncate(most);
        }
        self.kept = kept;
    }

    /// A candidate is no further than this.
    fn note_best(&mut self, upper: f32) {
        self.best.push(Key(upper));
        if self.best.len() > self.wanted {
            self.best.pop();
        }
        if self.best.len() == self.wanted {
            // The next number up: codes at exactly the k-th distance must not drop out. And never up again: what was
            // dropped by a threshold stays dropped, even if rows that it rested on turn out to be gone.
            let kth = self.best.peek().map_or(f32::INFINITY, |k| k.0.next_up());
            self.threshold = self.threshold.min(kth);
        }
    }

    fn keep(&mut self, p: &Pending, estimate: f32) {
        let error = p.error;
        if self.is_ruled_out(estimate - error) {
            return;
        }
        let (lower, rank) = (estimate - error, p.rank);
        let (tid, place, lane) = (p.tid, p.place, p.lane);
        self.kept.push(Kept { estimate, lower, tid, place, lane, rank, distance: None });
        if !estimate.is_finite() {
            // Unknown distance: a candidate that says nothing about the others.
            return;
        }
        self.note_best(estimate + error);
    }

    /// Whether a candidate that is at least this far cannot be among the wanted. While fewer were found than those, none is
    /// ruled out, however far it is.
    fn is_ruled_out(&self, lower: f32) -> bool {
        self.threshold.is_finite() && lower >= self.threshold
    }

    /// Whether fewer candidates were found than wanted: then none was dropped for its distance.
    pub fn short(&self) -> bool {
        self.threshold.is_infinite()
    }

    /// The distance in index space up to which rows found are returned: that below which nothing was dropped unseen; or
    /// any, where nothing is as near as that and no other candidate turned out to be no result: a round must return
    /// or rule out something, or the next would be the same.
    fn limit(&self, found: &[Found], tolerance: f32) -> f32 {
        let limit = self.threshold.min(self.forgotten) + tolerance;
        let comes_to_something = self.dropped || found.iter().any(|f| !f.is_beyond(limit));
        if comes_to_something { limit } else { f32::INFINITY }
    }

    /// Compares the candidates with their rows. Returns at most as many as the round is for beyond the last row returned,
    /// in order.
    pub fn exact<V: VectorSource>(&mut self, search: &mut Search, source: &mut V) -> Vec<Hit> {
        self.ranked(search, source).into_iter().map(|(hit, _)| hit).collect()
    }

    /// As [`exact`](Self::exact), with the rank of the list that each row came from.
    pub fn ranked<V: VectorSource>(&mut self, search: &mut Search, source: &mut V) -> Vec<(Hit, u32)> {
        let mut kept = std::mem::take(&mut self.kept);
        kept.retain(|k| !self.is_ruled_out(k.lower));
        self.kept = kept;
        self.kept.sort_unstable_by_key(|k| k.tid);
        self.kept.dedup_by_key(|k| k.tid);
        self.kept.sort_unstable_by(|a, b| a.estimate.total_cmp(&b.estimate));
        let tids: Vec<Tid> = self.kept.iter().map(|k| k.tid).collect();
        source.prefetch(&tids);
        let mut found: Vec<Found> = Vec::with_capacity(self.kept.len());
        let mut nearest: BinaryHeap<Key> = BinaryHeap::new();
        for k in &self.kept {
            let limit = if nearest.len() < self.rows {
                f32::INFINITY
            } else {
                nearest.peek().map_or(f32::INFINITY, |n| n.0)
            };
            if k.lower > limit + search.tolerance {
                self.complete &= self.rows == self.wanted;
                continue;
            }
            let mut k = *k;
            if !compare(&mut k, search, source) {
                self.dropped = true;
                continue;
            }
            let (distance, there) = (k.distance.unwrap_or(f64::INFINITY), k.estimate);
            nearest.push(Key(there));
            if nearest.len() > self.rows {
                nearest.pop();
            }
            let hit = Hit { tid: k.tid, distance, place: k.place, lane: k.lane };
            found.push(Found { hit, there, rank: k.rank });
        }
        let limit = self.limit(&found, search.tolerance);
        found.retain(|f| !f.is_beyond(limit));
        found.sort_by(|a, b| a.hit.distance.total_cmp(&b.hit.distance).then(a.hit.tid.cmp(&b.hit.tid)));
        // With fewer found than wanted, what is cut off here lies further than any number says.
        let more_comes = self.rows == self.wanted && self.threshold.is_finite();
        self.complete &= more_comes || found.len() <= self.rows;
        found.truncate(self.rows);
        found.into_iter().map(|f| (f.hit, f.rank)).collect()
    }
}

/// Compares a candidate with its row. False when it is no result: gone, or not due.
fn compare<V: VectorSource>(k: &mut Kept, search: &mut Search, source: &mut V) -> bool {
    if k.distance.is_some() {
        return true;
    }
    let mut row = std::mem::take(&mut search.row);
    let found = source.fetch(k.tid, &mut row);
    let distance = if found { search.space.distance(&search.vector, &row) } else { f64::INFINITY };
    search.row = row;
    if !found && source.is_dead() && search.dead.len() < MOST_DEAD {
        search.dead.push(Dead { tid: k.tid, place: k.place, lane: k.lane });
    }
    search.work.exact += u64::from(found);
    if !found || !search.is_due(distance, k.tid) {
        search.seen.note(k.place, k.lane);
        return false;
    }
    k.distance = Some(distance);
    k.estimate = search.space.to_index(distance, search.length, search.offset);
    k.lower = k.estimate;
    true
}
