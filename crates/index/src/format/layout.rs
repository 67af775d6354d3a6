//! Sizes and offsets that follow from dimensions and bits.

use crate::format::Fault;
use crate::options::MAX_DIMENSIONS;
use crate::page::{PAGE_BODY, Tid};
use crate::rotate::padded;

/// Bytes at the start of scan and directory pages before anything else: the arrays behind them then start on a cache
/// line.
pub const FRONT: usize = 40;
/// Bytes at the start of a refine page.
pub const REFINE_FRONT: usize = 24;
/// Bytes of a directory entry besides the centroid.
pub const ENTRY_FRONT: usize = 36;
/// Bytes of a block's head besides its arrays: live 4, list 4, next page 4, stamp 8, next index 1, used 1, state 1,
/// reserved 1.
pub const BLOCK_TAIL: usize = 24;
/// Bytes of a pointer to a unit: page 4, index 1.
pub const UNIT_POINTER: usize = 5;
/// Bytes of the factors in a refine record: add f32, scale f32.
pub const REFINE_FACTORS: usize = 8;
/// Bytes of a code's own factors and TID in a scan block: add f32, scale bf16, error bf16, TID 6.
const PER_CODE: usize = 8 + Tid::BYTES;

/// Sizes and offsets for one index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Dimensions of a vector.
    pub dimensions: usize,
    /// Dimensions of a code: a multiple of 32.
    pub width: usize,
    /// Bits a dimension, the sign included.
    pub bits: u32,
    /// Codes that a row of a scan block interleaves: 32, or 16 when a page would not hold 32.
    pub lanes: usize,
    /// Codes a block, at most `lanes`.
    pub capacity: usize,
    /// Blocks a scan page.
    pub blocks_a_page: usize,
    /// Bytes of the sign codes of a block.
    pub codes_bytes: usize,
    /// Bytes of a block's head: factors, TIDs, chain, unit pointers.
    pub head_bytes: usize,
    /// Codes a unit.
    pub unit: usize,
    /// Units that a block points to.
    pub units_a_block: usize,
    /// Units a refine page.
    pub units_a_page: usize,
    /// Bytes of a code's low bits and their factors.
    pub record_bytes: usize,
    /// Bytes of a directory entry.
    pub entry_bytes: usize,
    /// Entries a directory page.
    pub entries_a_page: usize,
}

impl Layout {
    /// The layout for vectors of `dimensions` with `bits` bits a dimension.
    pub fn new(dimensions: usize, bits: u32) -> Result<Self, Fault> {
        if dimensions == 0 || dimensions > MAX_DIMENSIONS {
            return Err(Fault::Width { found: dimensions });
        }
        let width = padded(dimensions);
        // Low bits by quantize::encode: three of them in chunks of 128 dimensions, four in chunks of 32.
        let packed = match bits {
            4 => width.div_ceil(128) * 48,
            5 => width / 2,
            found => return Err(Fault::Bits { found }),
        };
        let record_bytes = packed + REFINE_FACTORS;
        let wide = Self::arrange(width, 32, record_bytes);
        let arranged = wide.filter(|a| a.capacity == 32).or_else(|| Self::arrange(width, 16, record_bytes));
        let Arranged { lanes, capacity, blocks_a_page, unit } =
            arranged.ok_or(Fault::Width { found: dimensions })?;
        let units_a_block = capacity.div_ceil(unit);
        let entry_bytes = ENTRY_FRONT + width / 2;
        Ok(Self {
            dimensions,
            width,
            bits,
            lanes,
            capacity,
            blocks_a_page,
            codes_bytes: width / 8 * lanes,
            head_bytes: PER_CODE * capacity + BLOCK_TAIL + UNIT_POINTER * units_a_block,
            unit,
            units_a_block,
            units_a_page: ((PAGE_BODY - REFINE_FRONT) / (unit * record_bytes)).min(64),
            record_bytes,
            entry_bytes,
            entries_a_page: (PAGE_BODY - FRONT) / entry_bytes,
        })
    }

    /// The most codes a block with `lanes` lanes, then the most blocks a page, then the size of unit that wastes
    /// least of a refine page and still leaves room for its pointers.
    fn arrange(width: usize, lanes: usize, record_bytes: usize) -> Option<Arranged> {
        let records = (PAGE_BODY - REFINE_FRONT) / record_bytes;
        let room = PAGE_BODY - FRONT;
        let codes = width / 8 * lanes;
        for capacity in (1..=lanes).rev() {
            let head =
                |unit: usize| PER_CODE * capacity + BLOCK_TAIL + UNIT_POINTER * capacity.div_ceil(unit);
            let largest = capacity.min(records);
            let blocks_a_page = room / (codes + head(largest.max(1)));
            if blocks_a_page == 0 || records == 0 {
                continue;
            }
            let fits = |unit: &usize| {
                records / unit <= 64 && blocks_a_page * (codes + head(*unit)) <= room && capacity % unit == 0
            };
            let units = [32, 16, 8, 4, 2, 1].into_iter().filter(|u| *u <= largest);
            // The first of equal waste is the largest: fewer pointers.
            let unit = units.filter(fits).min_by_key(|u| records % u);
            if let Some(unit) = unit {
                return Some(Arranged { lanes, capacity, blocks_a_page, unit });
            }
        }
        None
    }

    /// Where the sign codes of block `index` begin in the body of a scan page.
    #[must_use]
    #[inline]
    pub fn codes_at(&self, index: usize) -> usize {
        FRONT + index * self.codes_bytes
    }

    /// Where the head of block `index` begins in the body of a scan page.
    #[must_use]
    #[inline]
    pub fn head_at(&self, index: usize) -> usize {
        FRONT + self.blocks_a_page * self.codes_bytes + index * self.head_bytes
    }

    /// Body bytes that a scan page uses.
    #[must_use]
    pub fn scan_used(&self) -> usize {
        self.head_at(self.blocks_a_page)
    }

    /// Where record `slot` of unit `unit` begins in the body of a refine page.
    #[must_use]
    #[inline]
    pub fn record_at(&self, unit: usize, slot: usize) -> usize {
        REFINE_FRONT + (unit * self.unit + slot) * self.record_bytes
    }

    /// Body bytes that a refine page uses.
    #[must_use]
    pub fn refine_used(&self) -> usize {
        self.record_at(self.units_a_page, 0)
    }

    /// Where entry `slot` begins in the body of a directory page.
    #[must_use]
    pub fn entry_at(&self, slot: usize) -> usize {
        FRONT + slot * self.entry_bytes
    }

    /// Body bytes that a directory page uses.
    #[must_use]
    pub fn directory_used(&self) -> usize {
        self.entry_at(self.entries_a_page)
    }

    /// Bytes of a packed sign code.
    #[must_use]
    pub fn sign_bytes(&self) -> usize {
        self.width / 8
    }

    /// Bytes a vector takes in full pages.
    #[must_use]
    pub fn bytes_a_vector(&self) -> f64 {
        let page = crate::page::PAGE_SIZE as f64;
        page / (self.blocks_a_page * self.capacity) as f64 + page / (self.units_a_page * self.unit) as f64
    }
}

struct Arranged {
    lanes: usize,
    capacity: usize,
    blocks_a_page: usize,
    unit: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_dimensions_fits() {
        for dimensions in 1..=MAX_DIMENSIONS {
            for bits in [4, 5] {
                let layout = Layout::new(dimensions, bits).unwrap();
                assert!(layout.scan_used() <= PAGE_BODY, "{layout:?}");
                assert!(layout.refine_used() <= PAGE_BODY && layout.units_a_page >= 1, "{layout:?}");
                assert!(layout.directory_used() <= PAGE_BODY && layout.entries_a_page >= 2, "{layout:?}");
                assert!(layout.capacity >= 1 && layout.capacity <= layout.lanes, "{layout:?}");
                assert!(layout.capacity.is_multiple_of(layout.unit), "{layout:?}");
            }
        }
        assert!(Layout::new(384, 3).is_err() && Layout::new(384, 6).is_err());
        assert!(Layout::new(0, 5).is_err() && Layout::new(MAX_DIMENSIONS + 1, 5).is_err());
    }

    #[test]
    fn common_widths_waste_little() {
        for (dimensions, bits, most) in [
            (384, 5, 269.0),
            (768, 5, 538.0),
            (1536, 5, 1076.0),
            (384, 4, 235.0),
            (768, 4, 444.0),
            (1536, 4, 890.0),
        ] {
            let bytes = Layout::new(dimensions, bits).unwrap().bytes_a_vector();
            assert!(bytes <= most, "{dimensions} {bits}: {bytes}");
        }
    }
}
