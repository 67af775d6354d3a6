//! Writes whole lists: for a build, and for the lists that replace others.
//!
//! Rows of a list arrive one after the other; blocks are filled in order, each before the one filled last, so that the
//! chain begins with the block that is not yet full and takes the next inserts. Lists follow each other on the same
//! pages. Nothing leads to these blocks until the caller puts the lists into the directory: a crash before that leaves
//! blocks without owner, which vacuum finds.

use crate::directory::widest_ordinary;
use crate::format::directory::{Entry, Front};
use crate::format::scan::{BlockMut, BlockView, Place};
use crate::format::{Fault, Layout, PageKind, Special, refine};
use crate::options::Metric;
use crate::page::{Block, NO_BLOCK, Outcome, PAGE_BODY, PageRead, PageStore, Target};
use crate::pool;
use crate::quantize::encode::{CodedCentroid, RowCode};

/// A page being written.
struct Draft {
    block: Block,
    body: Vec<u8>,
    /// Blocks or units that may be taken.
    free: Vec<u8>,
    /// Those taken.
    taken: Vec<u8>,
    /// Whether others may use the page as well.
    shared: bool,
}

/// See the module's description.
pub struct Writer<'a, S: PageStore> {
    store: &'a S,
    layout: Layout,
    /// Whether others read and write the index: then room comes from `front` and every page is a change.
    online: bool,
    front: Front,
    stamp: u64,
    scan: Option<Draft>,
    refine: Option<Draft>,
    list: u32,
    head: Place,
    unit: Place,
    blocks: u32,
    rows: u32,
    squares: Vec<f32>,
    /// False when somebody else took room that this writer counted on: what it wrote is not complete.
    intact: bool,
}

impl<'a, S: PageStore> Writer<'a, S> {
    /// A writer for an index that nobody else sees: pages are added at the end.
    pub fn new(store: &'a S, layout: Layout) -> Self {
        Self::with_front(store, layout, Front::new(NO_BLOCK), false)
    }

    /// A writer beside other users of the index. Takes room where `front` says there is some.
    pub fn online(store: &'a S, layout: Layout, front: Front) -> Self {
        Self::with_front(store, layout, front, true)
    }

    fn with_front(store: &'a S, layout: Layout, front: Front, online: bool) -> Self {
        Self {
            store,
            layout,
            online,
            front,
            stamp: store.stamp(),
            scan: None,
            refine: None,
            list: 0,
            head: Place::NONE,
            unit: Place::NONE,
            blocks: 0,
            rows: 0,
            squares: Vec::new(),
            intact: true,
        }
    }

    /// A page with room: one that the front names, or a new one.
    fn draft(&mut self, kind: PageKind) -> Result<Draft, Fault> {
        self.store.interrupts();
        if self.online
            && let Some(draft) = self.shared_draft(kind)?
        {
            return Ok(draft);
        }
        let block = if self.online { pool::take(self.store)? } else { self.store.extend() };
        let count = if kind == PageKind::Scan { self.layout.blocks_a_page } else { self.layout.units_a_page };
        let free = (0..count as u8).rev().collect();
        Ok(Draft { block, body: vec![0; PAGE_BODY], free, taken: Vec::new(), shared: false })
    }

    fn shared_draft(&mut self, kind: PageKind) -> Result<Option<Draft>, Fault> {
        let front = &mut self.front;
        let mut candidates: Vec<Block> = if kind == PageKind::Scan {
            let open = std::mem::replace(&mut front.open_scan, NO_BLOCK);
            [open].into_iter().chain(std::mem::replace(&mut front.spare_scan, [NO_BLOCK; 4])).collect()
        } else {
            let open = std::mem::replace(&mut front.open_refine, NO_BLOCK);
            [open].into_iter().chain(std::mem::replace(&mut front.spare_refine, [NO_BLOCK; 3])).collect()
        };
        let mut found = None;
        while found.is_none() && !candidates.is_empty() {
            let block = candidates.remove(0);
            found = room(self.store, &self.layout, block, kind)?;
        }
        // What was not looked at stays for later, what had no room yet is forgotten.
        if kind == PageKind::Scan {
            self.front.spare(&candidates, &[]);
        } else {
            self.front.spare(&[], &candidates);
        }
        Ok(found)
    }

    fn flush(&mut self, draft: &Draft, kind: PageKind) {
        let (layout, stamp, store) = (&self.layout, self.stamp, self.store);
        let used = if kind == PageKind::Scan { layout.scan_used() } else { layout.refine_used() };
        if !self.online {
            return self.store.fill(draft.block, &draft.body[..used], &Special::of(kind));
        }
        let target = if draft.shared { Target::old(draft.block) } else { Target::fresh(draft.block) };
        self.intact &= self.store.change(&[target], |pages| {
            let [page] = pages else { return Outcome::Abandon(false) };
            if !draft.shared {
                page.body.copy_from_slice(&draft.body);
                *page.special = Special::of(kind);
                page.used = used;
                return Outcome::Commit(true);
            }
            if Special::read(draft.block, page.special).map(|s| s.kind) != Ok(kind) {
                return Outcome::Abandon(false);
            }
            for &n in &draft.taken {
                let n = usize::from(n);
                if kind == PageKind::Scan {
                    if !BlockView::new(layout, page.body, n).is_free(|s| store.is_past(s)) {
                        return Outcome::Abandon(false);
                    }
                    BlockMut::new(layout, page.body, n).copy_from(&BlockView::new(layout, &draft.body, n));
                } else {
                    if refine::in_use(page.body) >> n & 1 == 1 {
                        return Outcome::Abandon(false);
                    }
                    refine::take(page.body, n, stamp);
                    refine::copy_unit(layout, page.body, n, &draft.body);
                }
            }
            Outcome::Commit(true)
        });
    }

    /// Begins list `id`.
    pub fn begin(&mut self, id: u32) {
        self.list = id;
        (self.head, self.blocks, self.rows) = (Place::NONE, 0, 0);
        self.squares.clear();
    }

    /// Adds a row to the list begun last.
    pub fn push(&mut self, code: &RowCode<'_>) -> Result<(), Fault> {
        let lane = self.rows as usize % self.layout.capacity;
        if lane == 0 {
            self.open_block()?;
        }
        if lane.is_multiple_of(self.layout.unit) {
            self.open_unit(lane / self.layout.unit)?;
        }
        let (Some(scan), Some(refine)) = (&mut self.scan, &mut self.refine) else { return Ok(()) };
        let mut block = BlockMut::new(&self.layout, &mut scan.body, usize::from(self.head.index));
        block.push(code.signs(), &code.factors(), code.tid());
        let (unit, slot) = (usize::from(self.unit.index), lane % self.layout.unit);
        refine::put_record(&self.layout, &mut refine.body, unit, slot, code.record());
        self.rows += 1;
        self.squares.push(code.square());
        Ok(())
    }

    /// The next free block or unit on the draft of `kind`, which is replaced when it is full.
    fn next(&mut self, kind: PageKind) -> Result<Place, Fault> {
        let slot = if kind == PageKind::Scan { &mut self.scan } else { &mut self.refine };
        let mut draft = match slot.take() {
            Some(draft) if !draft.free.is_empty() => draft,
            full => {
                if let Some(full) = full {
                    self.flush(&full, kind);
                }
                self.draft(kind)?
            }
        };
        let index = draft.free.pop().unwrap_or(0);
        draft.taken.push(index);
        let place = Place { page: draft.block, index };
        *(if kind == PageKind::Scan { &mut self.scan } else { &mut self.refine }) = Some(draft);
        Ok(place)
    }

    fn open_block(&mut self) -> Result<(), Fault> {
        let place = self.next(PageKind::Scan)?;
        if let Some(draft) = &mut self.scan {
            let mut block = BlockMut::new(&self.layout, &mut draft.body, usize::from(place.index));
            block.open(self.list, self.head, self.stamp);
        }
        self.head = place;
        self.blocks += 1;
        Ok(())
    }

    fn open_unit(&mut self, n: usize) -> Result<(), Fault> {
        self.unit = self.next(PageKind::Refine)?;
        if let Some(draft) = &mut self.refine {
            refine::take(&mut draft.body, usize::from(self.unit.index), self.stamp);
        }
        if let Some(draft) = &mut self.scan {
            BlockMut::new(&self.layout, &mut draft.body, usize::from(self.head.index)).set_unit(n, self.unit);
        }
        Ok(())
    }

    /// Ends the list begun last and returns what the directory should say about it.
    pub fn end(&mut self, metric: Metric, centroid: &CodedCentroid, split_at: u32) -> Entry {
        Entry {
            id: self.list,
            head: self.head,
            blocks: self.blocks,
            rows: self.rows,
            radius_squared: radius_squared(metric, &self.squares),
            scale: centroid.scale,
            square: centroid.square,
            split_at,
        }
    }

    /// Writes what is not yet written. Returns where there is room now; `None` when somebody else took room that this
    /// writer counted on, and then the lists must not be used.
    pub fn finish(mut self) -> Option<Front> {
        for kind in [PageKind::Scan, PageKind::Refine] {
            let draft = if kind == PageKind::Scan { self.scan.take() } else { self.refine.take() };
            if let Some(draft) = draft {
                self.flush(&draft, kind);
                let open = if kind == PageKind::Scan {
                    &mut self.front.open_scan
                } else {
                    &mut self.front.open_refine
                };
                *open = draft.block;
            }
        }
        self.intact.then_some(self.front)
    }
}

/// The page as a shared draft, when it has room that may be taken.
fn room<S: PageStore>(
    store: &S,
    layout: &Layout,
    block: Block,
    kind: PageKind,
) -> Result<Option<Draft>, Fault> {
    if block == NO_BLOCK || !store.has(block) {
        return Ok(None);
    }
    let guard = store.read(block);
    if Special::read(block, guard.special())?.kind != kind {
        return Ok(None);
    }
    let past = |stamp| store.is_past(stamp);
    let mut free = if kind == PageKind::Scan {
        let free = |n: &u8| BlockView::new(layout, guard.body(), usize::from(*n)).is_free(past);
        (0..layout.blocks_a_page as u8).filter(free).collect()
    } else {
        refine::free_units(layout, guard.body(), past)
    };
    free.reverse();
    Ok((!free.is_empty()).then(|| Draft {
        block,
        body: vec![0; PAGE_BODY],
        free,
        taken: Vec::new(),
        shared: true,
    }))
}

/// A free block or unit on one of the pages that `front` names, the open page first.
pub fn find_room<S: PageStore>(
    store: &S,
    layout: &Layout,
    front: &Front,
    kind: PageKind,
) -> Result<Option<Place>, Fault> {
    let scan = [front.open_scan].into_iter().chain(front.spare_scan);
    let refine = [front.open_refine].into_iter().chain(front.spare_refine);
    let pages: Vec<Block> = if kind == PageKind::Scan { scan.collect() } else { refine.collect() };
    for page in pages {
        if let Some(draft) = room(store, layout, page, kind)? {
            return Ok(draft.free.last().map(|index| Place { page, index: *index }));
        }
    }
    Ok(None)
}

/// A row further from its centroid than this many times the median, squared, says nothing of the others.
const OUTLIER: f32 = 16.0;

/// Mean of the squared distances of a list's rows, without those that lie far outside: one row in a thousand of a thousandfold
/// length would make its list look as wide as itself. Under inner product such a row is among the best for half of all
/// questions, and its list is to look so.
fn radius_squared(metric: Metric, squares: &[f32]) -> f32 {
    let most = match metric {
        Metric::InnerProduct => f32::INFINITY,
        Metric::L2 | Metric::Cosine => widest_ordinary(squares.iter().copied(), OUTLIER),
    };
    let near = squares.iter().filter(|square| **square <= most);
    let (sum, count) =
        near.fold((0.0f64, 0u32), |(sum, count), square| (sum + f64::from(*square), count + 1));
    (sum / f64::from(count.max(1))) as f32
}
