//! Directory pages: one entry a list.
//!
//! Next directory page 4, open scan page 4, open refine page 4 (where lists of this page take new blocks and units),
//! 4 spare scan pages and 3 spare refine pages (where room was given up and will be free to take), then entries: id 4, head page 4, head index 1, state 1, reserved 2, blocks 4, rows 4, squared radius
//! f32, scale f32, squared length f32, next split 4, then the centroid in 4 bits a dimension (byte i of 16 has
//! dimension i of 32 in its low and dimension 16 + i in its high half).
//!
//! The centroid *is* what these bits say: scale · (level − 7.5). Codes are relative to it, so nothing is lost.

use super::scan::Place;
use super::{Layout, get_f32, get_u32, put};
use crate::page::{Block, NO_BLOCK};

/// What stands before the entries. Pages named here are where to look for room; they may have none, or have become
/// something else: who takes room looks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Front {
    /// The next directory page.
    pub next: Block,
    /// Where lists of this page take new blocks.
    pub open_scan: Block,
    /// Where lists of this page take new units.
    pub open_refine: Block,
    /// Scan pages with blocks given up, the latest first.
    pub spare_scan: [Block; 4],
    /// Refine pages with units given up, the latest first.
    pub spare_refine: [Block; 3],
}

impl Front {
    /// A front without room.
    #[must_use]
    pub fn new(next: Block) -> Self {
        let none = NO_BLOCK;
        Self { next, open_scan: none, open_refine: none, spare_scan: [none; 4], spare_refine: [none; 3] }
    }

    /// Reads the front of a directory page.
    #[must_use]
    pub fn read(body: &[u8]) -> Self {
        let at = |i: usize| get_u32(body, 4 * i);
        Self {
            next: at(0),
            open_scan: at(1),
            open_refine: at(2),
            spare_scan: [at(3), at(4), at(5), at(6)],
            spare_refine: [at(7), at(8), at(9)],
        }
    }

    /// Writes the front of a directory page.
    pub fn write(&self, body: &mut [u8]) {
        let all = [self.next, self.open_scan, self.open_refine].into_iter();
        for (i, page) in all.chain(self.spare_scan).chain(self.spare_refine).enumerate() {
            put(body, 4 * i, page.to_le_bytes());
        }
    }

    /// Remembers scan and refine pages where room was given up; the oldest are forgotten.
    pub fn spare(&mut self, scan: &[Block], refine: &[Block]) {
        remember(&mut self.spare_scan, scan);
        remember(&mut self.spare_refine, refine);
    }
}

fn remember<const N: usize>(spare: &mut [Block; N], pages: &[Block]) {
    for page in pages {
        if !spare.contains(page) {
            spare.rotate_right(1);
            spare[0] = *page;
        }
    }
}

/// A list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    /// Number of the list, never used again. 0 is no list.
    pub id: u32,
    /// First block of its chain, the one that takes new codes.
    pub head: Place,
    /// Blocks in the chain.
    pub blocks: u32,
    /// Rows, counted when the list was written and at every vacuum.
    pub rows: u32,
    /// Mean squared distance of a row to the centroid.
    pub radius_squared: f32,
    /// See the module's description.
    pub scale: f32,
    /// Squared length of the centroid.
    pub square: f32,
    /// Number of blocks at which the next split is tried.
    pub split_at: u32,
}

/// Reads entry `slot`; `None` for no list.
#[must_use]
pub fn entry(layout: &Layout, body: &[u8], slot: usize) -> Option<Entry> {
    let at = layout.entry_at(slot);
    let id = get_u32(body, at);
    (id != 0).then(|| Entry {
        id,
        head: Place { page: get_u32(body, at + 4), index: body[at + 8] },
        blocks: get_u32(body, at + 12),
        rows: get_u32(body, at + 16),
        radius_squared: get_f32(body, at + 20),
        scale: get_f32(body, at + 24),
        square: get_f32(body, at + 28),
        split_at: get_u32(body, at + 32),
    })
}

/// The centroid of entry `slot`.
#[must_use]
pub fn centroid<'a>(layout: &Layout, body: &'a [u8], slot: usize) -> &'a [u8] {
    let at = layout.entry_at(slot) + super::layout::ENTRY_FRONT;
    &body[at..at + layout.width / 2]
}

/// Writes entry `slot`; leaves its centroid.
pub fn put_entry(layout: &Layout, body: &mut [u8], slot: usize, entry: &Entry) {
    let at = layout.entry_at(slot);
    put(body, at, entry.id.to_le_bytes());
    put(body, at + 4, entry.head.page.to_le_bytes());
    body[at + 8] = entry.head.index;
    put(body, at + 12, entry.blocks.to_le_bytes());
    put(body, at + 16, entry.rows.to_le_bytes());
    put(body, at + 20, entry.radius_squared.to_le_bytes());
    put(body, at + 24, entry.scale.to_le_bytes());
    put(body, at + 28, entry.square.to_le_bytes());
    put(body, at + 32, entry.split_at.to_le_bytes());
}

/// Writes the centroid of entry `slot`.
pub fn put_centroid(layout: &Layout, body: &mut [u8], slot: usize, centroid: &[u8]) {
    let at = layout.entry_at(slot) + super::layout::ENTRY_FRONT;
    body[at..at + layout.width / 2].copy_from_slice(centroid);
}

/// Removes entry `slot`.
pub fn clear_entry(layout: &Layout, body: &mut [u8], slot: usize) {
    let at = layout.entry_at(slot);
    body[at..at + layout.entry_bytes].fill(0);
}

/// The first slot without a list.
#[must_use]
pub fn free_slot(layout: &Layout, body: &[u8]) -> Option<usize> {
    (0..layout.entries_a_page).find(|slot| get_u32(body, layout.entry_at(*slot)) == 0)
}
