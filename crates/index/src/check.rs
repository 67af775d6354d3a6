//! Is the index what it claims to be? Every live row reachable exactly once, every page owned, codes within their bound.
//!
//! Reads everything, changes nothing. What a crash may leave (blocks, units and pages without owner) is counted apart
//! from what must never be.

use std::collections::{HashMap, HashSet};

use crate::directory::Index;
use crate::distance::{dot, l2_squared};
use crate::format::scan::{BlockView, Place, State};
use crate::format::{Fault, PageKind, Special, refine};
use crate::options::Metric;
use crate::page::{Block, NO_BLOCK, PageRead, PageStore, Tid, VectorSource};
use crate::pool;
use crate::quantize::encode::{Encoder, RowCode, decode};

/// Problems reported at most; the rest are counted.
const MOST: usize = 100;
/// Squared error of a decoded vector, relative to its residual and the error that a code of that many bits has on
/// normally distributed values, above which a code is wrong. Small widths spread.
const DECODE_BOUND: f32 = 12.0;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Live rows.
    pub rows: u64,
    /// Lists.
    pub lists: u32,
    /// Blocks of lists.
    pub blocks: u64,
    /// Rows whose code was compared with the table.
    pub compared: u64,
    /// Greatest squared error of a decoded vector, relative to its residual.
    pub worst_error: f32,
    /// Blocks without owner: left by something interrupted, given back by vacuum.
    pub lost_blocks: u64,
    /// Units without owner.
    pub lost_units: u64,
    /// Pages without owner.
    pub lost_pages: u64,
    /// What must never be, at most 100 sentences.
    pub problems: Vec<String>,
    /// Number of problems.
    pub problem_count: u64,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.problem_count == 0
    }

    fn problem(&mut self, sentence: String) {
        self.problem_count += 1;
        if self.problems.len() < MOST {
            self.problems.push(sentence);
        }
    }
}

/// Checks the index. Codes are compared with the table when there is a `source`; rows that it does not have are
/// skipped. The index must not be written meanwhile, or what is written may be reported.
pub fn check<S: PageStore, V: VectorSource>(
    index: &Index,
    store: &S,
    mut source: Option<&mut V>,
) -> Result<Report, Fault> {
    let mut walk =
        Walk { index, store, report: Report::default(), blocks: HashSet::new(), units: HashMap::new() };
    let mut rows: Vec<Tid> = Vec::new();
    let lists: Vec<(usize, u32, Place, u32)> =
        index.directory.lists().map(|(n, e)| (n, e.id, e.head, e.blocks)).collect();
    let ids: HashSet<u32> = lists.iter().map(|l| l.1).collect();
    if ids.len() != lists.len() {
        walk.report.problem("two lists have the same number".into());
    }
    if index.meta.lists as usize != lists.len() {
        walk.report.problem(format!(
            "meta page counts {} lists, directory has {}",
            index.meta.lists,
            lists.len()
        ));
    }
    for (slot, id, head, blocks) in lists {
        walk.list(slot, id, head, blocks, &mut rows, &mut source)?;
    }
    walk.report.rows = rows.len() as u64;
    walk.report.lists = ids.len() as u32;
    rows.sort_unstable();
    for pair in rows.windows(2).filter(|p| p[0] == p[1]) {
        walk.report.problem(format!("row ({},{}) is indexed twice", pair[0].block, pair[0].offset));
    }
    walk.pages()?;
    Ok(walk.report)
}

struct Walk<'a, S> {
    index: &'a Index,
    store: &'a S,
    report: Report,
    blocks: HashSet<Place>,
    units: HashMap<Block, u64>,
}

impl<S: PageStore> Walk<'_, S> {
    fn list<V: VectorSource>(
        &mut self,
        slot: usize,
        id: u32,
        head: Place,
        blocks: u32,
        rows: &mut Vec<Tid>,
        source: &mut Option<&mut V>,
    ) -> Result<(), Fault> {
        let layout = &self.index.layout;
        let centroid = self.index.directory.centroid(slot);
        let (mut place, mut count) = (head, 0);
        while place.is_some() {
            self.store.interrupts();
            if place.page >= self.store.pages() || usize::from(place.index) >= layout.blocks_a_page {
                self.report.problem(format!("list {id} leads to page {} which does not exist", place.page));
                break;
            }
            if !self.blocks.insert(place) {
                self.report.problem(format!("block {} of page {} is in two chains", place.index, place.page));
                break;
            }
            let guard = self.store.read(place.page);
            if Special::read(place.page, guard.special())?.kind != PageKind::Scan {
                self.report.problem(format!("list {id} leads to page {} which is no scan page", place.page));
                break;
            }
            let body = guard.body().to_vec();
            drop(guard);
            let block = BlockView::new(layout, &body, usize::from(place.index));
            if block.list() != id || block.state() != State::Owned {
                self.report.problem(format!("list {id} leads to a block of list {}", block.list()));
                break;
            }
            self.block(id, &block, place == head, &centroid, rows, source)?;
            count += 1;
            place = block.next();
        }
        self.report.blocks += u64::from(count);
        if count != blocks {
            self.report.problem(format!("list {id} has {count} blocks, the directory says {blocks}"));
        }
        Ok(())
    }

    fn block<V: VectorSource>(
        &mut self,
        id: u32,
        block: &BlockView<'_>,
        first: bool,
        centroid: &[f32],
        rows: &mut Vec<Tid>,
        source: &mut Option<&mut V>,
    ) -> Result<(), Fault> {
        let layout = &self.index.layout;
        let used = block.used();
        if used > layout.capacity || (!first && used != layout.capacity) {
            self.report.problem(format!("a block of list {id} has {used} codes"));
            return Ok(());
        }
        if used < 32 && block.live() >> used != 0 {
            self.report.problem(format!("a block of list {id} has rows where no code was written"));
        }
        for n in 0..used.div_ceil(layout.unit) {
            self.unit(id, block.unit(n))?;
        }
        for lane in (0..used).filter(|lane| block.live() >> lane & 1 == 1) {
            rows.push(block.tid(lane));
            if let Some(source) = source {
                self.code(block, lane, centroid, &mut **source)?;
            }
        }
        Ok(())
    }

    fn unit(&mut self, id: u32, unit: Place) -> Result<(), Fault> {
        if unit.page >= self.store.pages() || usize::from(unit.index) >= self.index.layout.units_a_page {
            self.report
                .problem(format!("list {id} points to a unit on page {} which does not exist", unit.page));
            return Ok(());
        }
        let guard = self.store.read(unit.page);
        let kind = Special::read(unit.page, guard.special())?.kind;
        if kind != PageKind::Refine || refine::in_use(guard.body()) >> unit.index & 1 == 0 {
            self.report
                .problem(format!("list {id} points to a unit on page {} that is not in use", unit.page));
        }
        let seen = self.units.entry(unit.page).or_default();
        if *seen >> unit.index & 1 == 1 {
            self.report.problem(format!("unit {} of page {} has two owners", unit.index, unit.page));
        }
        *seen |= 1 << unit.index;
        Ok(())
    }

    fn code<V: VectorSource>(
        &mut self,
        block: &BlockView<'_>,
        lane: usize,
        centroid: &[f32],
        source: &mut V,
    ) -> Result<(), Fault> {
        let layout = &self.index.layout;
        let tid = block.tid(lane);
        let mut vector = Vec::new();
        if !source.fetch(tid, &mut vector) {
            return Ok(());
        }
        let Some(row) = self.index.space.row(&vector)? else {
            self.report
                .problem(format!("row ({},{}) has no direction but is indexed", tid.block, tid.offset));
            return Ok(());
        };
        let mut signs = vec![0; layout.sign_bytes()];
        block.sign_code(lane, &mut signs);
        let unit = block.unit(lane / layout.unit);
        if unit.page >= self.store.pages() {
            return Ok(());
        }
        let guard = self.store.read(unit.page);
        let at = layout.record_at(usize::from(unit.index), lane % layout.unit);
        let record = guard.body()[at..at + layout.record_bytes].to_vec();
        drop(guard);
        let add = crate::format::get_f32(&record, layout.record_bytes - 8);
        let mut decoded = vec![0.0; layout.width];
        decode(self.index.meta.metric, layout, &signs, &record, centroid, &mut decoded);
        let residual = l2_squared(&row, centroid);
        if add == f32::NEG_INFINITY || !residual.is_finite() {
            return Ok(());
        }
        self.report.compared += 1;
        // What rounding to f32 leaves of a residual much smaller than the vectors is no error of the code.
        let rounding = 1e-10 * (dot(&row, &row) + dot(centroid, centroid));
        // And a row beside its centroid has the residual that the centroid's own bits leave, which may be lopsided.
        // The same holds for a row beside the origin, which is rounded to eight bits.
        let whole = if self.index.meta.metric == Metric::Cosine { 1.0 } else { dot(&vector, &vector) };
        let length = residual + 0.02 * dot(centroid, centroid) + 1e-4 * whole;
        let off =
            |decoded: &[f32]| (l2_squared(&row, decoded) - rounding).max(0.0) / length.max(f32::MIN_POSITIVE);
        let error = off(&decoded);
        self.report.worst_error = self.report.worst_error.max(error);
        let expected = 0.25f32.powi(layout.bits as i32) * 3.6 * (128.0 / layout.width as f32).max(1.0);
        // A lopsided residual has no better code: the one that it would get now says so.
        let mut best = || {
            let mut code = Vec::new();
            Encoder::new(*layout, self.index.meta.metric).encode(tid, &row, centroid, &mut code);
            let code = RowCode::new(layout, &code);
            decode(self.index.meta.metric, layout, code.signs(), code.record(), centroid, &mut decoded);
            off(&decoded)
        };
        if error > DECODE_BOUND * expected && error > 1.1 * best() {
            self.report.problem(format!(
                "the code of row ({},{}) is off by {error:.4} of its residual",
                tid.block, tid.offset
            ));
        }
        Ok(())
    }

    /// Every page once: what it is and who owns it.
    fn pages(&mut self) -> Result<(), Fault> {
        let free: HashSet<Block> = pool::list(self.store)?.into_iter().collect();
        let layout = &self.index.layout;
        for page in 0..self.store.pages() {
            self.store.interrupts();
            let guard = self.store.read(page);
            let kind = Special::read(page, guard.special())?.kind;
            match kind {
                PageKind::Meta if page != 0 => {
                    self.report.problem(format!("page {page} claims to be the meta page"))
                }
                PageKind::Origin if page != self.index.meta.origin => self.report.lost_pages += 1,
                PageKind::Directory if !self.index.directory.pages().contains(&page) => {
                    self.report.lost_pages += 1;
                }
                PageKind::Free if !free.contains(&page) => self.report.lost_pages += 1,
                PageKind::Scan => {
                    for index in 0..layout.blocks_a_page {
                        let block = BlockView::new(layout, guard.body(), index);
                        let place = Place { page, index: index as u8 };
                        let owned = matches!(block.state(), State::Owned | State::Closed);
                        self.report.lost_blocks += u64::from(owned && !self.blocks.contains(&place));
                    }
                }
                PageKind::Refine => {
                    let seen = self.units.get(&page).copied().unwrap_or(0);
                    self.report.lost_units += u64::from((refine::in_use(guard.body()) & !seen).count_ones());
                }
                _ => {}
            }
        }
        if self.index.meta.origin == NO_BLOCK && self.report.rows > 0 {
            self.report.problem("the index has rows but no origin".into());
        }
        Ok(())
    }
}
