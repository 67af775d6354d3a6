//! Pages in RAM: the second implementation of [`PageStore`], for tests, ground truth and benches.
//!
//! It keeps the contract and nothing beside it: changes are all or nothing, bytes behind `used` are lost, reading twice
//! is allowed, changing under a guard deadlocks (and panics here instead). Transaction ids are a counter that tests
//! move by hand.

use std::cell::{Cell, Ref, RefCell};

use crate::page::{
    Block, MAX_PAGES_PER_CHANGE, Outcome, PAGE_BODY, PAGE_HEADER, PAGE_SIZE, PAGE_SPECIAL, PageMut, PageRead,
    PageStore, Target, Tid, VectorSource,
};

/// One page, aligned as shared buffers are.
#[repr(C, align(64))]
#[derive(Clone)]
struct Frame {
    bytes: [u8; PAGE_SIZE],
}

const SPECIAL_AT: usize = PAGE_SIZE - PAGE_SPECIAL;

impl Frame {
    fn zeroed() -> Box<Self> {
        Box::new(Self { bytes: [0; PAGE_SIZE] })
    }

    /// Body bytes in use, kept where PostgreSQL keeps `pd_lower`.
    fn used(&self) -> usize {
        usize::from(u16::from_le_bytes([self.bytes[12], self.bytes[13]])).saturating_sub(PAGE_HEADER)
    }

    fn set_used(&mut self, used: usize) {
        assert!(used <= PAGE_BODY, "a page body has {PAGE_BODY} bytes, not {used}");
        self.bytes[12..14].copy_from_slice(&((used + PAGE_HEADER) as u16).to_le_bytes());
        self.bytes[PAGE_HEADER + used..SPECIAL_AT].fill(0);
    }

    fn split(&mut self) -> (&mut [u8], &mut [u8; PAGE_SPECIAL]) {
        let (front, special) = self.bytes.split_at_mut(SPECIAL_AT);
        let special =
            special.try_into().unwrap_or_else(|_| unreachable!("the rest of a page is its special space"));
        (&mut front[PAGE_HEADER..], special)
    }
}

/// The pages of one index, in RAM.
#[derive(Default)]
pub struct MemoryPages {
    frames: RefCell<Vec<Box<Frame>>>,
    now: Cell<u64>,
    oldest: Cell<u64>,
    changes: Cell<u64>,
    reads: Cell<u64>,
}

/// A page of [`MemoryPages`] held for reading.
pub struct MemoryGuard<'a>(Ref<'a, Frame>);

impl PageRead for MemoryGuard<'_> {
    fn body(&self) -> &[u8] {
        &self.0.bytes[PAGE_HEADER..SPECIAL_AT]
    }

    fn special(&self) -> &[u8; PAGE_SPECIAL] {
        self.0.bytes[SPECIAL_AT..]
            .try_into()
            .unwrap_or_else(|_| unreachable!("the end of a page is its special space"))
    }
}

impl MemoryPages {
    /// No page at all.
    #[must_use]
    pub fn new() -> Self {
        Self { now: Cell::new(3), oldest: Cell::new(3), ..Self::default() }
    }

    /// Pages from whole images of [`PAGE_SIZE`] bytes each, as [`MemoryPages::image`] gives them.
    #[must_use]
    pub fn from_image(image: &[u8]) -> Self {
        let pages = Self::new();
        for chunk in image.chunks_exact(PAGE_SIZE) {
            let mut frame = Frame::zeroed();
            frame.bytes.copy_from_slice(chunk);
            pages.frames.borrow_mut().push(frame);
        }
        pages
    }

    /// All pages, one after the other.
    #[must_use]
    pub fn image(&self) -> Vec<u8> {
        self.frames.borrow().iter().flat_map(|f| f.bytes).collect()
    }

    /// Ends the current transaction: the next stamp is greater.
    pub fn tick(&self) {
        self.now.set(self.now.get() + 1);
    }

    /// Says that every scan begun so far has ended: all stamps taken so far are past.
    pub fn end_scans(&self) {
        self.tick();
        self.oldest.set(self.now.get());
    }

    /// Committed changes so far, that is, WAL records.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.get()
    }

    /// Pages read so far.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.reads.get()
    }

    /// Damages one byte of a page, for tests of the structural check. `at` counts from the start of the body.
    pub fn damage(&self, block: Block, at: usize, xor: u8) {
        self.frames.borrow_mut()[block as usize].bytes[PAGE_HEADER + at] ^= xor;
    }
}

impl PageStore for MemoryPages {
    type Guard<'a> = MemoryGuard<'a>;

    fn pages(&self) -> Block {
        self.frames.borrow().len() as Block
    }

    fn read(&self, block: Block) -> Self::Guard<'_> {
        self.reads.set(self.reads.get() + 1);
        MemoryGuard(Ref::map(self.frames.borrow(), |frames| &*frames[block as usize]))
    }

    fn prefetch(&self, _blocks: &[Block]) {}

    fn change<R>(&self, targets: &[Target], write: impl FnOnce(&mut [PageMut<'_>]) -> Outcome<R>) -> R {
        assert!(
            (1..=MAX_PAGES_PER_CHANGE).contains(&targets.len()),
            "a change has 1 to 4 pages, not {}",
            targets.len()
        );
        for (i, target) in targets.iter().enumerate() {
            assert!(
                targets[..i].iter().all(|t| t.block != target.block),
                "page {} twice in a change",
                target.block
            );
        }
        let mut copies: Vec<Box<Frame>> = {
            let frames = self.frames.borrow();
            let copy = |t: &Target| if t.fresh { Frame::zeroed() } else { frames[t.block as usize].clone() };
            targets.iter().map(copy).collect()
        };
        // A write lock is impossible while a guard lives: fail here rather than deadlock in a server.
        let mut frames = self.frames.borrow_mut();
        let mut views: Vec<PageMut<'_>> = Vec::with_capacity(copies.len());
        for copy in &mut copies {
            let used = copy.used();
            let (body, special) = copy.split();
            views.push(PageMut { body, special, used });
        }
        match write(&mut views) {
            Outcome::Abandon(result) => result,
            Outcome::Commit(result) => {
                let used: Vec<usize> = views.iter().map(|v| v.used).collect();
                drop(views);
                for ((target, mut copy), used) in targets.iter().zip(copies).zip(used) {
                    copy.set_used(used);
                    frames[target.block as usize] = copy;
                }
                self.changes.set(self.changes.get() + 1);
                result
            }
        }
    }

    fn extend(&self) -> Block {
        let mut frames = self.frames.borrow_mut();
        frames.push(Frame::zeroed());
        (frames.len() - 1) as Block
    }

    fn fill(&self, block: Block, body: &[u8], special: &[u8; PAGE_SPECIAL]) {
        let mut frame = Frame::zeroed();
        frame.bytes[PAGE_HEADER..PAGE_HEADER + body.len()].copy_from_slice(body);
        frame.bytes[SPECIAL_AT..].copy_from_slice(special);
        frame.set_used(body.len());
        self.frames.borrow_mut()[block as usize] = frame;
    }

    fn stamp(&self) -> u64 {
        self.now.get()
    }

    fn is_past(&self, stamp: u64) -> bool {
        stamp < self.oldest.get()
    }

    fn interrupts(&self) {}
}

/// Vectors in RAM, row after row; row `i` has the TID that [`tid_of_row`] gives it.
#[derive(Clone, Copy, Debug)]
pub struct MemoryVectors<'a> {
    /// All values, `dimensions` a row.
    pub values: &'a [f32],
    /// Values a row.
    pub dimensions: usize,
}

/// Rows that [`tid_of_row`] puts on one page of an imagined table.
pub const ROWS_A_PAGE: u32 = 100;

/// The TID of row `row` of an imagined table.
#[must_use]
pub fn tid_of_row(row: usize) -> Tid {
    Tid { block: row as u32 / ROWS_A_PAGE, offset: (row as u32 % ROWS_A_PAGE + 1) as u16 }
}

/// The row that [`tid_of_row`] made `tid` of.
#[must_use]
pub fn row_of_tid(tid: Tid) -> usize {
    (tid.block * ROWS_A_PAGE + u32::from(tid.offset) - 1) as usize
}

impl VectorSource for MemoryVectors<'_> {
    fn prefetch(&mut self, _tids: &[Tid]) {}

    fn fetch(&mut self, tid: Tid, out: &mut Vec<f32>) -> bool {
        let at = row_of_tid(tid) * self.dimensions;
        let Some(row) = self.values.get(at..at + self.dimensions) else { return false };
        out.clear();
        out.extend_from_slice(row);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_all_or_nothing() {
        let pages = MemoryPages::new();
        let (a, b) = (pages.extend(), pages.extend());
        let targets = [Target::fresh(b), Target::fresh(a)];
        pages.change(&targets, |p| {
            p[0].body[0] = 1;
            p[1].body[0] = 2;
            p[0].used = 1;
            p[1].used = 1;
            Outcome::Commit(())
        });
        pages.change(&[Target::old(a)], |p| {
            p[0].body[0] = 9;
            Outcome::Abandon(())
        });
        assert_eq!((pages.read(a).body()[0], pages.read(b).body()[0]), (2, 1));
        assert_eq!(pages.changes(), 1);
    }

    #[test]
    fn bytes_behind_the_used_part_are_lost() {
        let pages = MemoryPages::new();
        let a = pages.extend();
        pages.change(&[Target::fresh(a)], |p| {
            p[0].body[..20].fill(7);
            p[0].used = 10;
            Outcome::Commit(())
        });
        assert_eq!(pages.read(a).body()[9..11], [7, 0]);
    }

    #[test]
    fn stamps_wait_for_scans() {
        let pages = MemoryPages::new();
        let stamp = pages.stamp();
        assert!(!pages.is_past(stamp));
        pages.end_scans();
        assert!(pages.is_past(stamp));
    }

    #[test]
    fn images_come_back() {
        let pages = MemoryPages::new();
        let a = pages.extend();
        pages.fill(a, &[1, 2, 3], &[5; PAGE_SPECIAL]);
        let again = MemoryPages::from_image(&pages.image());
        assert_eq!(again.read(0).body()[..4], [1, 2, 3, 0]);
        assert_eq!(again.read(0).special(), &[5; PAGE_SPECIAL]);
    }

    #[test]
    fn rows_and_tids_correspond() {
        for row in [0, 1, 99, 100, 12_345] {
            assert_eq!(row_of_tid(tid_of_row(row)), row);
            assert_eq!(Tid::from_bytes(tid_of_row(row).to_bytes()), tid_of_row(row));
        }
    }
}
