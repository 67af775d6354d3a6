//! What a search has dealt with: by page of the index, a bit for each code.
//!
//! A code that was returned, found gone or found too late must not be a candidate again, and distances do not tell: an estimate
//! may be off by more than lies between one round's rows and the next's. Half a byte a row at the most, a thousandth of
//! the index when all of it is read.

use std::collections::HashMap;

use crate::format::scan::Place;
use crate::page::Block;

/// Codes that need no further look.
#[derive(Debug, Default)]
pub struct Seen {
    pages: HashMap<Block, Box<[u32]>>,
    blocks_a_page: usize,
}

impl Seen {
    /// Nothing seen yet, in an index with this many blocks on a scan page.
    pub fn new(blocks_a_page: usize) -> Self {
        Self { pages: HashMap::new(), blocks_a_page }
    }

    /// The codes of this block seen so far.
    #[inline]
    pub fn lanes(&self, place: Place) -> u32 {
        if self.pages.is_empty() {
            return 0;
        }
        self.pages.get(&place.page).map_or(0, |blocks| blocks[usize::from(place.index)])
    }

    /// Remembers a code.
    pub fn note(&mut self, place: Place, lane: u8) {
        let blocks = self.pages.entry(place.page);
        let blocks = blocks.or_insert_with(|| vec![0; self.blocks_a_page].into_boxed_slice());
        blocks[usize::from(place.index)] |= 1 << lane;
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.pages.clear();
    }
}
