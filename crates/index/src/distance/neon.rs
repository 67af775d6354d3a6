//! Inner loops for AArch64, where NEON is always there.
#![allow(unsafe_code)] // Intrinsics: NEON is part of the base architecture.

use std::arch::aarch64::*;

use super::{Kernels, LANES, ScanBlock, ScanTerms, scalar};

/// For every AArch64 processor.
pub static KERNELS: Kernels = Kernels {
    name: "neon",
    // SAFETY (all of these): NEON is part of AArch64.
    dot: |a, b| unsafe { dot(a, b) },
    l2_squared: |a, b| unsafe { l2_squared(a, b) },
    dot4: |a, b| b.map(|b| unsafe { dot(a, b) }),
    hadamard: scalar::hadamard,
    sums_coarse: |c, t, o| unsafe { sums(c, t, o) },
    sums_fine: |c, t, o| unsafe { sums(c, t, o) },
    scan: |b, t, p, e| scan(b, t, p, e),
    dot_nibbles: |c, l, h| unsafe { dot_nibbles(c, l, h) },
    dot_nibbles_each: |c, l, h, o| unsafe { dot_nibbles_each(c, l, h, o) },
    dot_triples: scalar::KERNELS.dot_triples,
};

#[target_feature(enable = "neon")]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let n = a.len().min(b.len());
    let mut acc = [vdupq_n_f32(0.0); 4];
    let mut i = 0;
    while i + 16 <= n {
        for (k, acc) in acc.iter_mut().enumerate() {
            let (x, y) = (&a[i + 4 * k..i + 4 * k + 4], &b[i + 4 * k..i + 4 * k + 4]);
            // SAFETY: both chunks have 4 values.
            *acc = unsafe { vfmaq_f32(*acc, vld1q_f32(x.as_ptr()), vld1q_f32(y.as_ptr())) };
        }
        i += 16;
    }
    let total = vaddvq_f32(vaddq_f32(vaddq_f32(acc[0], acc[1]), vaddq_f32(acc[2], acc[3])));
    total + scalar::dot(&a[i..n], &b[i..n])
}

#[target_feature(enable = "neon")]
fn l2_squared(a: &[f32], b: &[f32]) -> f32 {
    let n = a.len().min(b.len());
    let mut acc = [vdupq_n_f32(0.0); 4];
    let mut i = 0;
    while i + 16 <= n {
        for (k, acc) in acc.iter_mut().enumerate() {
            let (x, y) = (&a[i + 4 * k..i + 4 * k + 4], &b[i + 4 * k..i + 4 * k + 4]);
            // SAFETY: both chunks have 4 values.
            let d = unsafe { vsubq_f32(vld1q_f32(x.as_ptr()), vld1q_f32(y.as_ptr())) };
            *acc = vfmaq_f32(*acc, d, d);
        }
        i += 16;
    }
    let total = vaddvq_f32(vaddq_f32(vaddq_f32(acc[0], acc[1]), vaddq_f32(acc[2], acc[3])));
    total + scalar::l2_squared(&a[i..n], &b[i..n])
}

/// Table rows that fit into 16-bit sums: 256 entries of 255.
const ROWS_A_PASS: usize = 256;

#[target_feature(enable = "neon")]
fn sums(codes: &[u8], table: &[u8], out: &mut [u32; LANES]) {
    out.fill(0);
    let mask = vdupq_n_u8(15);
    for (codes, table) in codes.chunks(16 * ROWS_A_PASS).zip(table.chunks(16 * ROWS_A_PASS)) {
        let mut acc = [vdupq_n_u16(0); 4];
        for (row, entries) in codes.chunks_exact(16).zip(table.chunks_exact(16)) {
            // SAFETY: both chunks have 16 bytes.
            let (c, t) = unsafe { (vld1q_u8(row.as_ptr()), vld1q_u8(entries.as_ptr())) };
            let low = vqtbl1q_u8(t, vandq_u8(c, mask));
            let high = vqtbl1q_u8(t, vshrq_n_u8::<4>(c));
            acc[0] = vaddw_u8(acc[0], vget_low_u8(low));
            acc[1] = vaddw_high_u8(acc[1], low);
            acc[2] = vaddw_u8(acc[2], vget_low_u8(high));
            acc[3] = vaddw_high_u8(acc[3], high);
        }
        for (k, acc) in acc.into_iter().enumerate() {
            let mut part = [0u16; 8];
            // SAFETY: `part` has 8 values.
            unsafe { vst1q_u16(part.as_mut_ptr(), acc) };
            for (total, value) in out[8 * k..8 * k + 8].iter_mut().zip(part) {
                *total += u32::from(value);
            }
        }
    }
}

fn scan(block: &ScanBlock<'_>, table: &[u8], terms: &ScanTerms, totals: &mut [u32; LANES]) -> u32 {
    // SAFETY: NEON is part of AArch64.
    unsafe { sums(block.codes, table, totals) };
    scalar::finish(block, totals, terms)
}

#[target_feature(enable = "neon")]
fn dot_nibbles(codes: &[u8], low: &[i8], high: &[i8]) -> i32 {
    let n = codes.len().min(low.len()).min(high.len()) / 16 * 16;
    let mask = vdupq_n_u8(15);
    let mut acc = vdupq_n_s32(0);
    for at in (0..n).step_by(16) {
        let (c, l, h) = (&codes[at..at + 16], &low[at..at + 16], &high[at..at + 16]);
        // SAFETY: all chunks have 16 bytes.
        let (c, l, h) = unsafe { (vld1q_u8(c.as_ptr()), vld1q_s8(l.as_ptr()), vld1q_s8(h.as_ptr())) };
        let a = vreinterpretq_s8_u8(vandq_u8(c, mask));
        let b = vreinterpretq_s8_u8(vshrq_n_u8::<4>(c));
        // 15 · 127 four times fits in 16 bits.
        let mut products = vmull_s8(vget_low_s8(a), vget_low_s8(l));
        products = vmlal_high_s8(products, a, l);
        products = vmlal_s8(products, vget_low_s8(b), vget_low_s8(h));
        products = vmlal_high_s8(products, b, h);
        acc = vpadalq_s16(acc, products);
    }
    vaddvq_s32(acc)
}

#[target_feature(enable = "neon")]
fn dot_nibbles_each(codes: &[u8], low: &[i8], high: &[i8], out: &mut [i32]) {
    for (codes, out) in codes.chunks_exact(low.len()).zip(out) {
        *out = dot_nibbles(codes, low, high);
    }
}
