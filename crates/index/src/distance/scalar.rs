//! The truth: plain loops that every other implementation is compared with.

use super::{Kernels, LANES, ScanBlock, ScanTerms, from_bf16};

/// The plain loops.
pub static KERNELS: Kernels = Kernels {
    name: "scalar",
    dot,
    l2_squared,
    dot4,
    hadamard,
    sums_coarse: sums,
    sums_fine: sums,
    scan,
    dot_nibbles,
    dot_nibbles_each,
    dot_triples,
};

/// Inner product.
#[must_use]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// Squared Euclidean distance.
#[must_use]
pub fn l2_squared(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum()
}

fn dot4(a: &[f32], others: [&[f32]; 4]) -> [f32; 4] {
    others.map(|b| dot(a, b))
}

/// Fast Hadamard transform in place, then every value times `scale`.
pub fn hadamard(values: &mut [f32], scale: f32) {
    let mut half = 1;
    while half < values.len() {
        for pair in values.chunks_exact_mut(2 * half) {
            let (low, high) = pair.split_at_mut(half);
            for (a, b) in low.iter_mut().zip(high) {
                let (x, y) = (*a, *b);
                *a = x + y;
                *b = x - y;
            }
        }
        half *= 2;
    }
    for value in values {
        *value *= scale;
    }
}

/// Sums of table entries, code by code.
pub fn sums(codes: &[u8], table: &[u8], out: &mut [u32; LANES]) {
    out.fill(0);
    for (row, entries) in codes.chunks_exact(16).zip(table.chunks_exact(16)) {
        for (lane, byte) in row.iter().enumerate() {
            out[lane] += u32::from(entries[usize::from(byte & 15)]);
            out[lane + 16] += u32::from(entries[usize::from(byte >> 4)]);
        }
    }
}

/// The number at place `lane` of an array of little-endian f32.
#[must_use]
#[inline]
pub fn f32_at(bytes: &[u8], lane: usize) -> f32 {
    f32::from_le_bytes([bytes[4 * lane], bytes[4 * lane + 1], bytes[4 * lane + 2], bytes[4 * lane + 3]])
}

/// The number at place `lane` of an array of little-endian bf16.
#[must_use]
#[inline]
pub fn bf16_at(bytes: &[u8], lane: usize) -> f32 {
    from_bf16(u16::from_le_bytes([bytes[2 * lane], bytes[2 * lane + 1]]))
}

fn scan(block: &ScanBlock<'_>, table: &[u8], terms: &ScanTerms, totals: &mut [u32; LANES]) -> u32 {
    sums(block.codes, table, totals);
    finish(block, totals, terms)
}

/// The mask from the sums.
pub fn finish(block: &ScanBlock<'_>, totals: &[u32; LANES], terms: &ScanTerms) -> u32 {
    let mut mask = 0;
    for (lane, total) in totals.iter().enumerate().take(block.scale.len() / 2) {
        let bound = estimate(block, terms, lane, *total) - bf16_at(block.error, lane) * terms.slack;
        if bound < terms.threshold {
            mask |= 1 << lane;
        }
    }
    mask
}

/// The estimate of code `lane` from its sum.
#[inline]
#[must_use]
pub fn estimate(block: &ScanBlock<'_>, terms: &ScanTerms, lane: usize, total: u32) -> f32 {
    let product = terms.step * total as f32 + terms.shift;
    terms.base + f32_at(block.add, lane) + bf16_at(block.scale, lane) * product
}

/// Sums over a block with 16 lanes (row j: dimensions 8j..8j+4 in the low, 8j+4..8j+8 in the high half of each byte).
pub fn sums_narrow(codes: &[u8], table: &[u8], out: &mut [u32; LANES]) {
    out.fill(0);
    for (row, entries) in codes.chunks_exact(16).zip(table.chunks_exact(32)) {
        for (total, byte) in out.iter_mut().zip(row) {
            *total +=
                u32::from(entries[usize::from(byte & 15)]) + u32::from(entries[16 + usize::from(byte >> 4)]);
        }
    }
}

/// [`Kernels::scan`] for a block with 16 lanes, of which as many count as there are factors.
pub fn scan_narrow(block: &ScanBlock<'_>, table: &[u8], terms: &ScanTerms, totals: &mut [u32; LANES]) -> u32 {
    sums_narrow(block.codes, table, totals);
    finish(block, totals, terms)
}

fn dot_nibbles(codes: &[u8], low: &[i8], high: &[i8]) -> i32 {
    let pairs = low.iter().zip(high);
    codes
        .iter()
        .zip(pairs)
        .map(|(c, (l, h))| i32::from(c & 15) * i32::from(*l) + i32::from(c >> 4) * i32::from(*h))
        .sum()
}

fn dot_nibbles_each(codes: &[u8], low: &[i8], high: &[i8], out: &mut [i32]) {
    codes.chunks_exact(low.len()).zip(out).for_each(|(codes, out)| *out = dot_nibbles(codes, low, high));
}

/// The 3-bit code of dimension `dimension` of a chunk.
#[inline]
#[must_use]
pub fn triple_at(chunk: &[u8], dimension: usize) -> u8 {
    let (h, j, i) = (dimension / 64, dimension / 16 % 4, dimension % 16);
    chunk[16 * h + i] >> (2 * j) & 3 | (chunk[32 + i] >> (dimension / 16) & 1) << 2
}

fn dot_triples(codes: &[u8], query: &[i8]) -> i32 {
    let one = |chunk: &[u8], q: &[i8]| -> i32 {
        q.iter().enumerate().map(|(d, q)| i32::from(triple_at(chunk, d)) * i32::from(*q)).sum()
    };
    codes.chunks_exact(48).zip(query.chunks_exact(128)).map(|(chunk, q)| one(chunk, q)).sum()
}
