//! Refine pages: units of low bits.
//!
//! Bitmap of units in use 8, stamp of the last unit given up 8, stamp of the last unit taken 8, then units of `unit` records each. A record is the low
//! bits of a code and its two factors (add f32, scale f32). Which unit belongs to which block is known by the block.

use super::{Layout, get_f32, get_u64, put};

/// Units in use: bit u for unit u.
#[must_use]
pub fn in_use(body: &[u8]) -> u64 {
    get_u64(body, 0)
}

/// When a unit of this page was last given up; 0 for never.
#[must_use]
pub fn stamp(body: &[u8]) -> u64 {
    get_u64(body, 8)
}

/// The units that may be taken, `past` saying which stamps are past.
pub fn free_units(layout: &Layout, body: &[u8], past: impl Fn(u64) -> bool) -> Vec<u8> {
    let given_up = stamp(body);
    if given_up != 0 && !past(given_up) {
        return Vec::new();
    }
    (0..layout.units_a_page as u8).filter(|u| in_use(body) >> u & 1 == 0).collect()
}

/// When a unit of this page was last taken.
#[must_use]
pub fn taken_at(body: &[u8]) -> u64 {
    get_u64(body, 16)
}

/// Takes unit `unit` into use.
pub fn take(body: &mut [u8], unit: usize, at: u64) {
    let bits = in_use(body) | 1 << unit;
    put(body, 0, bits.to_le_bytes());
    put(body, 16, at.to_le_bytes());
}

/// Gives up the units in `mask`.
pub fn give_up(body: &mut [u8], mask: u64, at: u64) {
    let bits = in_use(body) & !mask;
    put(body, 0, bits.to_le_bytes());
    put(body, 8, at.max(stamp(body)).to_le_bytes());
}

/// A record: packed low bits, add, scale.
#[must_use]
#[inline]
pub fn record<'a>(layout: &Layout, body: &'a [u8], unit: usize, slot: usize) -> (&'a [u8], f32, f32) {
    let at = layout.record_at(unit, slot);
    let bytes = &body[at..at + layout.record_bytes];
    let packed = layout.record_bytes - 8;
    (&bytes[..packed], get_f32(bytes, packed), get_f32(bytes, packed + 4))
}

/// Writes a record as [`crate::quantize::encode`] made it.
pub fn put_record(layout: &Layout, body: &mut [u8], unit: usize, slot: usize, record: &[u8]) {
    let at = layout.record_at(unit, slot);
    body[at..at + layout.record_bytes].copy_from_slice(record);
}

/// Copies unit `unit` from another page's body.
pub fn copy_unit(layout: &Layout, body: &mut [u8], unit: usize, other: &[u8]) {
    let (from, to) = (layout.record_at(unit, 0), layout.record_at(unit + 1, 0));
    body[from..to].copy_from_slice(&other[from..to]);
}
