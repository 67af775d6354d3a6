//! One round of a search: scan, refine, compare exactly.

use std::collections::BinaryHeap;

use super::probe::Probe;
use super::{Hit, Search};
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
/// Candidates that wait for refining before it is done.
const BATCH: usize = 24;
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
}

/// One round.
pub struct Round {
    wanted: usize,
    floor: f32,
    threshold: f32,
    /// Least estimate of a candidate forgotten for want of room.
    forgotten: f32,
    best: BinaryHeap<Key>,
    pending: Vec<Pending>,
    kept: Vec<Kept>,
    /// Whether no list was left out.
    pub all_read: bool,
}

impl Round {
    /// A round for `wanted` rows whose distance in index space is not below `floor`.
    pub fn new(wanted: usize, floor: f32) -> Self {
        Self {
            wanted,
            floor,
            threshold: f32::INFINITY,
            forgotten: f32::INFINITY,
            best: BinaryHeap::with_capacity(wanted.min(1024) + 1),
            pending: Vec::with_capacity(2 * BATCH),
            kept: Vec::with_capacity(64),
            all_read: true,
        }
    }

    /// Reads lists until the rest is not worth it. False when a list turned out to be replaced.
    pub fn read<S: PageStore>(&mut self, search: &mut Search, store: &S) -> Result<bool, Fault> {
        let score_limit = search.probes.score_limit(search.returned + self.wanted);
        let list_limit = if search.work.rounds == 1 { search.probes.list_limit() } else { usize::MAX };
        let mut rank = 0;
        while self.all_read && rank < search.probes.len() {
            // A batch is read in the order of its pages, which neighbouring lists share.
            let mut batch: Vec<(usize, Probe)> = Vec::with_capacity(BATCH_LISTS);
            let size = (rank / 4).clamp(1, BATCH_LISTS);
            while batch.len() < size
                && let Some(probe) = search.probes.get(rank)
            {
                let full = self.threshold.is_finite() && rank > 0;
                if rank >= list_limit || full && search.probes.score(rank, self.threshold) > score_limit {
                    self.all_read = false;
                    break;
                }
                batch.push((rank, probe));
                rank += 1;
            }
            batch.sort_unstable_by_key(|(_, probe)| std::cmp::Reverse(probe.head));
            if batch.len() > 1 {
                let pages: Vec<u32> = batch.iter().map(|(_, p)| p.head.page).collect();
                store.prefetch(&pages);
            }
            if !self.scan(search, store, &batch)? {
                return Ok(false);
            }
            search.work.lists += batch.len() as u64;
        }
        self.refine(search, store)?;
        Ok(true)
    }

    /// Scans the lists of a batch. False when one turned out to be replaced.
    fn scan<S: PageStore>(
        &mut self,
        search: &mut Search,
        store: &S,
        batch: &[(usize, Probe)],
    ) -> Result<bool, Fault> {
        let mut held: Option<(Block, S::Guard<'_>)> = None;
        for (rank, probe) in batch {
            let terms = ScanTerms {
                base: probe.base,
                step: search.query.step(),
                shift: search.query.shift(),
                slack: search.probes.slack(search.work.rounds == 1) * probe.apart,
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
                    self.scan_block(
                        &search.layout,
                        &search.query,
                        &terms,
                        &block,
                        place,
                        probe,
                        *rank as u32,
                    );
                    place = block.next();
                }
            }
            if self.pending.len() >= BATCH || *rank == 0 {
                held = None;
                self.refine(search, store)?;
            }
        }
        Ok(true)
    }

    #[allow(clippy::too_many_arguments)] // The innermost step: everything it needs, nothing it must look up.
    fn scan_block(
        &mut self,
        layout: &Layout,
        query: &Query,
        terms: &ScanTerms,
        block: &BlockView<'_>,
        place: Place,
        probe: &Probe,
        rank: u32,
    ) {
        let mut coarse = [0; LANES];
        let codes = block.scan();
        let wide = layout.lanes == LANES;
        let scan = if wide { kernels().scan } else { scalar::scan_narrow };
        let mut mask = scan(&codes, &query.coarse, terms, &mut coarse) & block.live();
        if mask == 0 {
            return;
        }
        let mut fine = [0; LANES];
        let sums = if wide { kernels().sums_fine } else { scalar::sums_narrow };
        sums(codes.codes, &query.fine, &mut fine);
        while mask != 0 {
            let lane = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            let estimate = scalar::estimate(&codes, terms, lane, coarse[lane]);
            let error = scalar::bf16_at(codes.error, lane) * terms.slack;
            self.pending.push(Pending {
                estimate,
                lower: estimate - error,
                error: REFINE_SLACK * ALL_BITS[layout.bits as usize - 4] * error,
                sign_sum: query.sign_sum(coarse[lane], fine[lane]),
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

    /// Refines what waits, the nearest first, so that the threshold falls before it is asked.
    fn refine<S: PageStore>(&mut self, search: &mut Search, store: &S) -> Result<(), Fault> {
        let mut pending = std::mem::take(&mut self.pending);
        pending.sort_unstable_by(|a, b| a.estimate.total_cmp(&b.estimate));
        let packed = search.layout.record_bytes - 8;
        for p in pending.drain(..) {
            if p.lower >= self.threshold {
                continue;
            }
            store.interrupts();
            if !store.has(p.unit.page) {
                return Err(Fault::Damaged {
                    page: p.place.page,
                    what: "a block points to a unit beyond the end",
                });
            }
            let guard = store.read(p.unit.page);
            let unit = usize::from(p.unit.index).min(search.layout.units_a_page - 1);
            let (codes, add, scale) = refine::record(&search.layout, guard.body(), unit, usize::from(p.slot));
            debug_assert_eq!(codes.len(), packed);
            search.work.refined += 1;
            let estimate = p.base + add + scale * search.query.product(search.layout.bits, p.sign_sum, codes);
            self.keep(&p, estimate);
        }
        self.pending = pending;
        if self.kept.len() > 4 * self.wanted + 256 {
            // Rounds grow fourfold, so what was returned before has room beside what is wanted now, until they cannot
            // grow any more.
            let last = search.last.filter(|_| search.returned > self.wanted);
            self.prune(last.map(|l| l.1));
        }
        Ok(())
    }

    /// Forgets candidates that cannot be among the wanted. Where very many are equally near, those that sort behind.
    fn prune(&mut self, last: Option<Tid>) {
        let (threshold, floor) = (self.threshold, self.floor);
        self.kept.retain(|k| k.lower < threshold);
        let most = 2 * self.wanted + 128;
        if self.kept.len() <= most {
            return;
        }
        if let Some(last) = last {
            self.kept.retain(|k| k.lower > floor || k.tid > last);
        }
        if self.kept.len() > most {
            // Those of unknown distance last: they must not displace the others.
            let known = |k: &Kept| if k.estimate.is_finite() { k.estimate } else { f32::INFINITY };
            let order = |a: &Kept, b: &Kept| known(a).total_cmp(&known(b)).then(a.tid.cmp(&b.tid));
            let (_, first, _) = self.kept.select_nth_unstable_by(most, order);
            self.forgotten = self.forgotten.min(known(first));
            self.kept.truncate(most);
        }
    }

    fn keep(&mut self, p: &Pending, estimate: f32) {
        let error = p.error;
        if estimate - error >= self.threshold || (estimate.is_finite() && estimate + error < self.floor) {
            return;
        }
        let (lower, rank) = (estimate - error, p.rank);
        self.kept.push(Kept { estimate, lower, tid: p.tid, place: p.place, lane: p.lane, rank });
        if !estimate.is_finite() {
            // Unknown distance: a candidate that says nothing about the others.
            return;
        }
        self.best.push(Key(estimate + error));
        if self.best.len() > self.wanted {
            self.best.pop();
        }
        if self.best.len() == self.wanted {
            // The next number up: codes at exactly the k-th distance must not drop out.
            self.threshold = self.best.peek().map_or(f32::INFINITY, |k| k.0.next_up());
        }
    }

    /// Whether fewer rows were found than wanted.
    pub fn short(&self) -> bool {
        self.best.len() < self.wanted
    }

    /// The distance below which every row that was read has been a candidate.
    pub fn limit(&self) -> f32 {
        self.threshold.min(self.forgotten)
    }

    /// The greatest estimate among the candidates.
    pub fn highest(&self) -> f32 {
        let known = self.kept.iter().filter(|k| k.lower < self.threshold && k.estimate.is_finite());
        known.map(|k| k.estimate).fold(f32::NEG_INFINITY, f32::max)
    }

    /// Compares the candidates with their rows. Returns at most the wanted number beyond the last row returned, in
    /// order.
    pub fn exact<V: VectorSource>(&mut self, search: &mut Search, source: &mut V) -> Vec<Hit> {
        self.ranked(search, source).into_iter().map(|(hit, _)| hit).collect()
    }

    /// As [`exact`](Self::exact), with the rank of the list that each row came from.
    pub fn ranked<V: VectorSource>(&mut self, search: &mut Search, source: &mut V) -> Vec<(Hit, u32)> {
        let threshold = self.threshold;
        self.kept.retain(|k| k.lower < threshold);
        self.kept.sort_unstable_by_key(|k| k.tid);
        self.kept.dedup_by_key(|k| k.tid);
        self.kept.sort_unstable_by(|a, b| a.estimate.total_cmp(&b.estimate));
        let tids: Vec<Tid> = self.kept.iter().map(|k| k.tid).collect();
        source.prefetch(&tids);
        let mut found: Vec<(Hit, u32)> = Vec::with_capacity(self.kept.len());
        let mut nearest: BinaryHeap<Key> = BinaryHeap::new();
        let mut row = Vec::new();
        for k in &self.kept {
            let limit = if nearest.len() < self.wanted {
                f32::INFINITY
            } else {
                nearest.peek().map_or(f32::INFINITY, |n| n.0)
            };
            if k.lower > limit + search.tolerance || !source.fetch(k.tid, &mut row) {
                continue;
            }
            search.work.exact += 1;
            let distance = search.space.distance(&search.vector, &row);
            let after = |(d, t): (f64, Tid)| distance.total_cmp(&d).then(k.tid.cmp(&t)).is_gt();
            if !search.last.is_none_or(after) {
                continue;
            }
            let there = search.space.to_index(distance, search.offset);
            if there > self.limit() + search.tolerance {
                // Further than what this round dropped unseen: a later round returns it in its place.
                continue;
            }
            nearest.push(Key(there));
            if nearest.len() > self.wanted {
                nearest.pop();
            }
            found.push((Hit { tid: k.tid, distance, place: k.place, lane: k.lane }, k.rank));
        }
        found.sort_by(|a, b| a.0.distance.total_cmp(&b.0.distance).then(a.0.tid.cmp(&b.0.tid)));
        found.truncate(self.wanted);
        found
    }
}
