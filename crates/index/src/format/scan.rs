//! Scan pages: blocks of sign codes with factors, TIDs and live bits.
//!
//! The codes of all blocks of a page come first, then their heads:
//! add f32 × capacity, scale bf16 ×, error bf16 ×, TID 6 bytes × (the highest bit of the offset marks a dead row), live 4, list 4, next page 4, stamp 8, next index 1,
//! used 1, state 1, reserved 1, unit pointers (page 4, index 1) × units.
//!
//! With 32 lanes, row g of a block (16 bytes) has the signs of dimensions 4g..4g+4: byte v those of code v in its low
//! half and those of code v + 16 in its high half. With 16 lanes, row j has dimensions 8j..8j+4 of code v in the low
//! and 8j+4..8j+8 in the high half of byte v. A code is written into its place at once: there is no other form.

use super::layout::UNIT_POINTER;
use super::{Layout, array, get_u32, get_u64, put};
use crate::distance::{ScanBlock, to_bf16};
use crate::page::{Block, NO_BLOCK, Tid};
use crate::quantize::Factors;

/// Bit of a TID's offset that marks a dead row: a page of a table has far fewer than 32,768 rows.
const MARK: u16 = 0x8000;

/// What may be done with a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Never used, or of a page never written.
    Empty = 0,
    /// Part of a list.
    Owned = 1,
    /// Of a list that has been replaced: to be read by scans that still know it, never to be written.
    Closed = 2,
    /// Given up at `stamp`; its content stays until that is past.
    Freed = 3,
}

/// Where a block lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Page.
    pub page: Block,
    /// Block of that page.
    pub index: u8,
}

impl Place {
    /// No block: the end of a chain.
    pub const NONE: Self = Self { page: NO_BLOCK, index: 0 };

    /// Whether this is a block.
    #[must_use]
    pub fn is_some(self) -> bool {
        self.page != NO_BLOCK
    }
}

/// A block of a scan page.
#[derive(Clone, Copy)]
pub struct BlockView<'a> {
    layout: &'a Layout,
    codes: &'a [u8],
    head: &'a [u8],
}

impl<'a> BlockView<'a> {
    /// Block `index` of the scan page with this body.
    #[must_use]
    #[inline]
    pub fn new(layout: &'a Layout, body: &'a [u8], index: usize) -> Self {
        let (codes, head) = (layout.codes_at(index), layout.head_at(index));
        Self {
            layout,
            codes: &body[codes..codes + layout.codes_bytes],
            head: &body[head..head + layout.head_bytes],
        }
    }

    #[inline]
    fn tail(&self) -> usize {
        14 * self.layout.capacity
    }

    /// Codes and factors as the kernels take them.
    #[must_use]
    #[inline]
    pub fn scan(&self) -> ScanBlock<'a> {
        let c = self.layout.capacity;
        ScanBlock {
            codes: self.codes,
            add: &self.head[..4 * c],
            scale: &self.head[4 * c..6 * c],
            error: &self.head[6 * c..8 * c],
        }
    }

    #[inline]
    fn tid_and_mark(&self, lane: usize) -> Tid {
        Tid::from_bytes(array(self.head, 8 * self.layout.capacity + Tid::BYTES * lane))
    }

    /// TID of code `lane`.
    #[must_use]
    #[inline]
    pub fn tid(&self, lane: usize) -> Tid {
        let Tid { block, offset } = self.tid_and_mark(lane);
        Tid { block, offset: offset & !MARK }
    }

    /// Whether code `lane` stands for a row that a scan found to be dead to everybody on the primary.
    #[must_use]
    #[inline]
    pub fn is_marked(&self, lane: usize) -> bool {
        self.tid_and_mark(lane).offset & MARK != 0
    }

    /// Codes that stand for rows: bit v for code v.
    #[must_use]
    #[inline]
    pub fn live(&self) -> u32 {
        get_u32(self.head, self.tail())
    }

    /// The list that the block belongs or belonged to.
    #[must_use]
    #[inline]
    pub fn list(&self) -> u32 {
        get_u32(self.head, self.tail() + 4)
    }

    /// The next block of the list.
    #[must_use]
    #[inline]
    pub fn next(&self) -> Place {
        Place { page: get_u32(self.head, self.tail() + 8), index: self.head[self.tail() + 20] }
    }

    /// When the block was opened or, in state freed, given up.
    #[must_use]
    pub fn stamp(&self) -> u64 {
        get_u64(self.head, self.tail() + 12)
    }

    /// Whether the block may be taken, `past` saying which stamps are past.
    #[must_use]
    pub fn is_free(&self, past: impl Fn(u64) -> bool) -> bool {
        match self.state() {
            State::Empty => true,
            State::Freed => past(self.stamp()),
            State::Owned | State::Closed => false,
        }
    }

    /// All bytes of the block: codes, head.
    #[must_use]
    pub fn bytes(&self) -> (&'a [u8], &'a [u8]) {
        (self.codes, self.head)
    }

    /// Codes written so far.
    #[must_use]
    pub fn used(&self) -> usize {
        usize::from(self.head[self.tail() + 21])
    }

    /// What may be done with the block; unknown numbers read as closed.
    #[must_use]
    pub fn state(&self) -> State {
        match self.head[self.tail() + 22] {
            0 => State::Empty,
            1 => State::Owned,
            3 => State::Freed,
            _ => State::Closed,
        }
    }

    /// The unit that holds the low bits of codes `n · unit` and following.
    #[must_use]
    #[inline]
    pub fn unit(&self, n: usize) -> Place {
        let at = self.tail() + super::layout::BLOCK_TAIL + UNIT_POINTER * n;
        Place { page: get_u32(self.head, at), index: self.head[at + 4] }
    }

    /// Sign code of `lane`, packed as [`crate::quantize`] packs it.
    pub fn sign_code(&self, lane: usize, out: &mut [u8]) {
        let half = |byte: u8, high: bool| if high { byte >> 4 } else { byte & 15 };
        if self.layout.lanes == 32 {
            let (v, high) = (lane % 16, lane >= 16);
            for (j, out) in out.iter_mut().enumerate() {
                *out = half(self.codes[32 * j + v], high) | half(self.codes[32 * j + 16 + v], high) << 4;
            }
        } else {
            for (j, out) in out.iter_mut().enumerate() {
                *out = self.codes[16 * j + lane];
            }
        }
    }
}

/// A block of a scan page inside a change.
pub struct BlockMut<'a> {
    layout: &'a Layout,
    body: &'a mut [u8],
    index: usize,
}

impl<'a> BlockMut<'a> {
    /// Block `index` of the scan page with this body.
    pub fn new(layout: &'a Layout, body: &'a mut [u8], index: usize) -> Self {
        Self { layout, body, index }
    }

    /// The block to read.
    #[must_use]
    pub fn view(&self) -> BlockView<'_> {
        BlockView::new(self.layout, self.body, self.index)
    }

    fn at(&self, offset: usize) -> usize {
        self.layout.head_at(self.index) + offset
    }

    fn tail(&self) -> usize {
        self.at(14 * self.layout.capacity)
    }

    /// Makes this an empty block of `list`, before `next`, opened at `stamp`.
    pub fn open(&mut self, list: u32, next: Place, stamp: u64) {
        let codes = self.layout.codes_at(self.index);
        self.body[codes..codes + self.layout.codes_bytes].fill(0);
        let head = self.at(0);
        self.body[head..head + self.layout.head_bytes].fill(0);
        let tail = self.tail();
        put(self.body, tail + 4, list.to_le_bytes());
        put(self.body, tail + 8, next.page.to_le_bytes());
        put(self.body, tail + 12, stamp.to_le_bytes());
        self.body[tail + 20] = next.index;
        self.body[tail + 22] = State::Owned as u8;
        for n in 0..self.layout.units_a_block {
            self.set_unit(n, Place::NONE);
        }
    }

    /// Writes the next code: packed signs, factors, TID. Returns its lane. The block has room.
    pub fn push(&mut self, signs: &[u8], factors: &Factors, tid: Tid) -> usize {
        let lane = self.view().used();
        let c = self.layout.capacity;
        let codes = self.layout.codes_at(self.index);
        if self.layout.lanes == 32 {
            let (v, shift) = (lane % 16, if lane < 16 { 0 } else { 4 });
            for (j, pair) in signs.iter().enumerate() {
                self.body[codes + 32 * j + v] |= (pair & 15) << shift;
                self.body[codes + 32 * j + 16 + v] |= (pair >> 4) << shift;
            }
        } else {
            for (j, pair) in signs.iter().enumerate() {
                self.body[codes + 16 * j + lane] = *pair;
            }
        }
        let head = self.at(0);
        put(self.body, head + 4 * lane, factors.add.to_le_bytes());
        put(self.body, head + 4 * c + 2 * lane, to_bf16(factors.scale).to_le_bytes());
        put(self.body, head + 6 * c + 2 * lane, to_bf16(factors.error).to_le_bytes());
        put(self.body, head + 8 * c + Tid::BYTES * lane, tid.to_bytes());
        let live = self.view().live() | 1 << lane;
        let tail = self.tail();
        put(self.body, tail, live.to_le_bytes());
        self.body[tail + 21] = lane as u8 + 1;
        lane
    }

    /// Copies all bytes of another block.
    pub fn copy_from(&mut self, other: &BlockView<'_>) {
        let (codes, head) = (self.layout.codes_at(self.index), self.at(0));
        self.body[codes..codes + self.layout.codes_bytes].copy_from_slice(other.codes);
        self.body[head..head + self.layout.head_bytes].copy_from_slice(other.head);
    }

    /// Keeps only the live bits in `mask`.
    pub fn keep(&mut self, mask: u32) {
        let live = self.view().live() & mask;
        let tail = self.tail();
        put(self.body, tail, live.to_le_bytes());
    }

    /// Marks code `lane` as that of a row that is dead to everybody.
    pub fn mark(&mut self, lane: usize) {
        let tid = self.view().tid(lane);
        let at = self.at(8 * self.layout.capacity + Tid::BYTES * lane);
        put(self.body, at, Tid { offset: tid.offset | MARK, ..tid }.to_bytes());
    }

    /// Sets where the low bits of codes `n · unit` and following are.
    pub fn set_unit(&mut self, n: usize, unit: Place) {
        let at = self.tail() + super::layout::BLOCK_TAIL + UNIT_POINTER * n;
        put(self.body, at, unit.page.to_le_bytes());
        self.body[at + 4] = unit.index;
    }

    /// Says that the list has been replaced.
    pub fn close(&mut self) {
        let tail = self.tail();
        self.body[tail + 22] = State::Closed as u8;
    }

    /// Gives the block up.
    pub fn free(&mut self, stamp: u64) {
        let tail = self.tail();
        self.body[tail + 22] = State::Freed as u8;
        put(self.body, tail + 12, stamp.to_le_bytes());
    }
}
