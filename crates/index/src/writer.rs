//! Writes whole lists to new pages: for a build, and for the lists that replace one that splits.
//!
//! Rows of a list arrive one after the other; blocks are filled in order, each before the one filled last, so that the
//! chain begins with the block that is not yet full and takes the next inserts. Lists follow each other on the same
//! pages. Nothing leads to these pages until the caller puts the lists into the directory.

use crate::format::directory::Entry;
use crate::format::scan::{BlockMut, Place};
use crate::format::{Fault, Layout, PageKind, Special, refine};
use crate::page::{Block, NO_BLOCK, Outcome, PAGE_BODY, PageStore, Target};
use crate::pool;
use crate::quantize::encode::{CodedCentroid, RowCode};

/// How pages reach the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nobody else sees the index: pages are added at the end and filled.
    Build,
    /// Others read and write: pages come from the free list and every page is a change.
    Online,
}

/// A page being written.
struct Draft {
    block: Block,
    body: Vec<u8>,
    /// Blocks or units taken.
    taken: usize,
}

/// See the module's description.
pub struct Writer<'a, S: PageStore> {
    store: &'a S,
    layout: Layout,
    mode: Mode,
    scan: Option<Draft>,
    refine: Option<Draft>,
    list: u32,
    head: Place,
    unit: Place,
    blocks: u32,
    rows: u32,
    squares: f64,
    /// Pages written so far.
    pub written: Vec<Block>,
}

impl<'a, S: PageStore> Writer<'a, S> {
    /// A writer with nothing written.
    pub fn new(store: &'a S, layout: Layout, mode: Mode) -> Self {
        Self {
            store,
            layout,
            mode,
            scan: None,
            refine: None,
            list: 0,
            head: Place::NONE,
            unit: Place::NONE,
            blocks: 0,
            rows: 0,
            squares: 0.0,
            written: Vec::new(),
        }
    }

    fn draft(&mut self) -> Result<Draft, Fault> {
        self.store.interrupts();
        let block = if self.mode == Mode::Build { self.store.extend() } else { pool::take(self.store)? };
        self.written.push(block);
        Ok(Draft { block, body: vec![0; PAGE_BODY], taken: 0 })
    }

    fn flush(&self, draft: &Draft, kind: PageKind) {
        let used = if kind == PageKind::Scan { self.layout.scan_used() } else { self.layout.refine_used() };
        if self.mode == Mode::Build {
            self.store.fill(draft.block, &draft.body[..used], &Special::of(kind));
            return;
        }
        self.store.change(&[Target::fresh(draft.block)], |pages| {
            for page in pages {
                page.body.copy_from_slice(&draft.body);
                *page.special = Special::of(kind);
                page.used = used;
            }
            Outcome::Commit(())
        });
    }

    /// Begins list `id`.
    pub fn begin(&mut self, id: u32) {
        self.list = id;
        (self.head, self.blocks, self.rows, self.squares) = (Place::NONE, 0, 0, 0.0);
    }

    /// Adds a row to the list begun last.
    pub fn push(&mut self, code: &RowCode<'_>) -> Result<(), Fault> {
        let lane = self.rows as usize % self.layout.capacity;
        if lane == 0 {
            self.open_block()?;
        }
        if lane % self.layout.unit == 0 {
            self.open_unit(lane / self.layout.unit)?;
        }
        let (Some(scan), Some(refine)) = (&mut self.scan, &mut self.refine) else { return Ok(()) };
        let mut block = BlockMut::new(&self.layout, &mut scan.body, usize::from(self.head.index));
        block.push(code.signs(), &code.factors(), code.tid());
        let (unit, slot) = (usize::from(self.unit.index), lane % self.layout.unit);
        refine::put_record(&self.layout, &mut refine.body, unit, slot, code.record());
        self.rows += 1;
        self.squares += f64::from(code.square());
        Ok(())
    }

    fn open_block(&mut self) -> Result<(), Fault> {
        let mut draft = match self.scan.take() {
            Some(draft) if draft.taken < self.layout.blocks_a_page => draft,
            full => {
                if let Some(full) = full {
                    self.flush(&full, PageKind::Scan);
                }
                self.draft()?
            }
        };
        let place = Place { page: draft.block, index: draft.taken as u8 };
        BlockMut::new(&self.layout, &mut draft.body, draft.taken).open(self.list, self.head);
        draft.taken += 1;
        self.scan = Some(draft);
        self.head = place;
        self.blocks += 1;
        Ok(())
    }

    fn open_unit(&mut self, n: usize) -> Result<(), Fault> {
        let mut draft = match self.refine.take() {
            Some(draft) if draft.taken < self.layout.units_a_page => draft,
            full => {
                if let Some(full) = full {
                    self.flush(&full, PageKind::Refine);
                }
                self.draft()?
            }
        };
        refine::take(&mut draft.body, draft.taken);
        self.unit = Place { page: draft.block, index: draft.taken as u8 };
        draft.taken += 1;
        self.refine = Some(draft);
        if let Some(scan) = &mut self.scan {
            BlockMut::new(&self.layout, &mut scan.body, usize::from(self.head.index)).set_unit(n, self.unit);
        }
        Ok(())
    }

    /// Ends the list begun last and returns what the directory should say about it.
    pub fn end(&mut self, centroid: &CodedCentroid, split_at: u32) -> Entry {
        Entry {
            id: self.list,
            head: self.head,
            blocks: self.blocks,
            rows: self.rows,
            radius_squared: (self.squares / f64::from(self.rows.max(1))) as f32,
            scale: centroid.scale,
            square: centroid.square,
            split_at,
        }
    }

    /// Writes what is not yet written. Returns the last scan and the last refine page, which may have room.
    pub fn finish(&mut self) -> (Block, Block) {
        let (scan, refine) = (self.scan.take(), self.refine.take());
        if let Some(draft) = &scan {
            self.flush(draft, PageKind::Scan);
        }
        if let Some(draft) = &refine {
            self.flush(draft, PageKind::Refine);
        }
        (scan.map_or(NO_BLOCK, |d| d.block), refine.map_or(NO_BLOCK, |d| d.block))
    }
}
