//! Inner loops for x86-64 with AVX-512 F and BW (Skylake server 2017, Zen 4 and later).
//!
//! What gains nothing from the wider registers is taken from `avx2`.
#![allow(unsafe_code)] // Intrinsics: each entry point is installed only after `detected` said yes.

use std::arch::x86_64::*;

use super::{Kernels, LANES, ScanBlock, ScanTerms, avx2};

/// Whether this processor runs this file; [`avx2::detected`] must hold as well.
pub fn detected() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")
}

/// Must not be used unless [`detected`] and [`avx2::detected`] returned true.
pub static KERNELS: Kernels = Kernels {
    name: "avx512",
    // SAFETY (all of these): `available` lists this table only when `detected` saw AVX-512 F and BW.
    dot: |a, b| unsafe { dot(a, b) },
    l2_squared: |a, b| unsafe { l2_squared(a, b) },
    dot4: |a, b| unsafe { dot4(a, b) },
    hadamard: avx2::KERNELS.hadamard,
    sums_coarse: |c, t, o| unsafe { sums_coarse(c, t, o) },
    sums_fine: |c, t, o| unsafe { sums_fine(c, t, o) },
    scan: |b, t, p, e| unsafe { scan(b, t, p, e) },
    dot_nibbles: |c, l, h| unsafe { dot_nibbles(c, l, h) },
    dot_nibbles_each: |c, l, h, o| unsafe { dot_nibbles_each(c, l, h, o) },
    dot_triples: avx2::KERNELS.dot_triples,
};

#[target_feature(enable = "avx512f,avx512bw")]
fn load(values: &[f32], at: usize) -> __m512 {
    let chunk = &values[at..at + 16];
    // SAFETY: `chunk` has 16 values; unaligned loads are allowed.
    unsafe { _mm512_loadu_ps(chunk.as_ptr()) }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn load_bytes(bytes: &[u8], at: usize) -> __m512i {
    let chunk = &bytes[at..at + 64];
    // SAFETY: `chunk` has 64 bytes; unaligned loads are allowed.
    unsafe { _mm512_loadu_si512(chunk.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let n = a.len().min(b.len());
    let mut acc = [_mm512_setzero_ps(); 4];
    let mut i = 0;
    while i + 64 <= n {
        for (k, acc) in acc.iter_mut().enumerate() {
            *acc = _mm512_fmadd_ps(load(a, i + 16 * k), load(b, i + 16 * k), *acc);
        }
        i += 64;
    }
    let total =
        _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(acc[0], acc[1]), _mm512_add_ps(acc[2], acc[3])));
    total + super::scalar::dot(&a[i..n], &b[i..n])
}

#[target_feature(enable = "avx512f,avx512bw")]
fn l2_squared(a: &[f32], b: &[f32]) -> f32 {
    let n = a.len().min(b.len());
    let mut acc = [_mm512_setzero_ps(); 4];
    let mut i = 0;
    while i + 64 <= n {
        for (k, acc) in acc.iter_mut().enumerate() {
            let d = _mm512_sub_ps(load(a, i + 16 * k), load(b, i + 16 * k));
            *acc = _mm512_fmadd_ps(d, d, *acc);
        }
        i += 64;
    }
    let total =
        _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(acc[0], acc[1]), _mm512_add_ps(acc[2], acc[3])));
    total + super::scalar::l2_squared(&a[i..n], &b[i..n])
}

#[target_feature(enable = "avx512f,avx512bw")]
fn dot4(a: &[f32], others: [&[f32]; 4]) -> [f32; 4] {
    let n = others.iter().fold(a.len(), |n, b| n.min(b.len()));
    let mut acc = [_mm512_setzero_ps(); 4];
    let mut i = 0;
    while i + 16 <= n {
        let x = load(a, i);
        for (acc, b) in acc.iter_mut().zip(others) {
            *acc = _mm512_fmadd_ps(x, load(b, i), *acc);
        }
        i += 16;
    }
    let mut out = [0.0; 4];
    for k in 0..4 {
        out[k] = _mm512_reduce_add_ps(acc[k]) + super::scalar::dot(&a[i..n], &others[k][i..n]);
    }
    out
}

/// Table rows that fit into 16-bit sums: 256 entries of 255.
const ROWS_A_PASS: usize = 256;

/// See `avx2::widen`.
#[target_feature(enable = "avx512f,avx512bw")]
fn widen(acc: &mut [__m512i; 2], bytes: __m512i) {
    acc[0] = _mm512_add_epi16(acc[0], bytes);
    acc[1] = _mm512_add_epi16(acc[1], _mm512_srli_epi16::<8>(bytes));
}

/// The sums of 16 codes in order: the four rows of each register are added, even and odd codes interleaved.
#[target_feature(enable = "avx512f,avx512bw")]
fn finish(acc: [__m512i; 2]) -> __m512i {
    let even = fold(_mm512_sub_epi16(acc[0], _mm512_slli_epi16::<8>(acc[1])));
    let odd = fold(acc[1]);
    let both = _mm256_set_m128i(_mm_unpackhi_epi16(even, odd), _mm_unpacklo_epi16(even, odd));
    _mm512_cvtepu16_epi32(both)
}

#[target_feature(enable = "avx512f,avx512bw")]
fn fold(v: __m512i) -> __m128i {
    let two = _mm256_add_epi16(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64::<1>(v));
    _mm_add_epi16(_mm256_castsi256_si128(two), _mm256_extracti128_si256::<1>(two))
}

/// One pass over at most [`ROWS_A_PASS`] rows: sums of codes 0..16 and 16..32. `FOUR` rows are added as bytes first,
/// which entries up to 63 allow.
#[target_feature(enable = "avx512f,avx512bw")]
fn pass<const COARSE: bool>(codes: &[u8], table: &[u8]) -> [__m512i; 2] {
    let mask = _mm512_set1_epi8(15);
    let zero = _mm512_setzero_si512();
    let (mut low, mut high) = ([zero; 2], [zero; 2]);
    let whole = codes.len().min(table.len()) / 64 * 64;
    let look = |at: usize| {
        let (c, t) = (load_bytes(codes, at), load_bytes(table, at));
        (
            _mm512_shuffle_epi8(t, _mm512_and_si512(c, mask)),
            _mm512_shuffle_epi8(t, _mm512_and_si512(_mm512_srli_epi16::<4>(c), mask)),
        )
    };
    let mut at = 0;
    if COARSE {
        while at + 256 <= whole {
            let (l0, h0) = look(at);
            let (l1, h1) = look(at + 64);
            let (l2, h2) = look(at + 128);
            let (l3, h3) = look(at + 192);
            widen(&mut low, _mm512_add_epi8(_mm512_add_epi8(l0, l1), _mm512_add_epi8(l2, l3)));
            widen(&mut high, _mm512_add_epi8(_mm512_add_epi8(h0, h1), _mm512_add_epi8(h2, h3)));
            at += 256;
        }
    }
    while at < whole {
        let (l, h) = look(at);
        widen(&mut low, l);
        widen(&mut high, h);
        at += 64;
    }
    if at < codes.len() {
        // Two rows remain of a width that is no multiple of 16: behind them come zeroes, whose entries are zero.
        let (mut c, mut t) = ([0u8; 64], [0u8; 64]);
        c[..codes.len() - at].copy_from_slice(&codes[at..]);
        t[..table.len() - at].copy_from_slice(&table[at..]);
        let (c, t) = (load_bytes(&c, 0), load_bytes(&t, 0));
        widen(&mut low, _mm512_shuffle_epi8(t, _mm512_and_si512(c, mask)));
        widen(&mut high, _mm512_shuffle_epi8(t, _mm512_and_si512(_mm512_srli_epi16::<4>(c), mask)));
    }
    [finish(low), finish(high)]
}

#[target_feature(enable = "avx512f,avx512bw")]
fn sums<const COARSE: bool>(codes: &[u8], table: &[u8]) -> [__m512i; 2] {
    let mut total = [_mm512_setzero_si512(); 2];
    for (codes, table) in codes.chunks(16 * ROWS_A_PASS).zip(table.chunks(16 * ROWS_A_PASS)) {
        let part = pass::<COARSE>(codes, table);
        total = [_mm512_add_epi32(total[0], part[0]), _mm512_add_epi32(total[1], part[1])];
    }
    total
}

#[target_feature(enable = "avx512f,avx512bw")]
fn store(totals: [__m512i; 2], out: &mut [u32; LANES]) {
    // SAFETY: `out` has 32 values.
    unsafe {
        _mm512_storeu_si512(out.as_mut_ptr().cast(), totals[0]);
        _mm512_storeu_si512(out.as_mut_ptr().add(16).cast(), totals[1]);
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn sums_coarse(codes: &[u8], table: &[u8], out: &mut [u32; LANES]) {
    store(sums::<true>(codes, table), out);
}

#[target_feature(enable = "avx512f,avx512bw")]
fn sums_fine(codes: &[u8], table: &[u8], out: &mut [u32; LANES]) {
    store(sums::<false>(codes, table), out);
}

#[target_feature(enable = "avx512f,avx512bw")]
fn bf16(bytes: &[u8], lane: usize) -> __m512 {
    let chunk = &bytes[2 * lane..2 * lane + 32];
    // SAFETY: `chunk` has 32 bytes; unaligned loads are allowed.
    let halves = unsafe { _mm256_loadu_si256(chunk.as_ptr().cast()) };
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
}

#[target_feature(enable = "avx512f,avx512bw")]
fn scan(block: &ScanBlock<'_>, table: &[u8], terms: &ScanTerms, out: &mut [u32; LANES]) -> u32 {
    let totals = sums::<true>(block.codes, table);
    store(totals, out);
    let (step, shift) = (_mm512_set1_ps(terms.step), _mm512_set1_ps(terms.shift));
    let (base, slack) = (_mm512_set1_ps(terms.base), _mm512_set1_ps(terms.slack));
    let threshold = _mm512_set1_ps(terms.threshold);
    let mut mask = 0;
    for (half, total) in totals.into_iter().enumerate() {
        let lane = 16 * half;
        let product = _mm512_fmadd_ps(step, _mm512_cvtepi32_ps(total), shift);
        let add = _mm512_add_ps(base, _mm512_castsi512_ps(load_bytes(block.add, 4 * lane)));
        let estimate = _mm512_fmadd_ps(bf16(block.scale, lane), product, add);
        let bound = _mm512_fnmadd_ps(bf16(block.error, lane), slack, estimate);
        mask |= u32::from(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(bound, threshold)) << lane;
    }
    mask
}

#[target_feature(enable = "avx512f,avx512bw")]
fn signed(values: &[i8], at: usize) -> __m512i {
    let chunk = &values[at..at + 64];
    // SAFETY: `chunk` has 64 bytes; unaligned loads are allowed.
    unsafe { _mm512_loadu_si512(chunk.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn dot_nibbles(codes: &[u8], low: &[i8], high: &[i8]) -> i32 {
    let n = codes.len().min(low.len()).min(high.len());
    let (mask, ones) = (_mm512_set1_epi8(15), _mm512_set1_epi16(1));
    let mut acc = _mm512_setzero_si512();
    let whole = n / 64 * 64;
    for at in (0..whole).step_by(64) {
        let c = load_bytes(codes, at);
        let l = _mm512_maddubs_epi16(_mm512_and_si512(c, mask), signed(low, at));
        let h = _mm512_maddubs_epi16(_mm512_and_si512(_mm512_srli_epi16::<4>(c), mask), signed(high, at));
        // Four products of at most 15 · 127 fit in 16 bits.
        acc = _mm512_add_epi32(acc, _mm512_madd_epi16(_mm512_add_epi16(l, h), ones));
    }
    let rest = if whole < n {
        (avx2::KERNELS.dot_nibbles)(&codes[whole..n], &low[whole..n], &high[whole..n])
    } else {
        0
    };
    _mm512_reduce_add_epi32(acc) + rest
}

#[target_feature(enable = "avx512f,avx512bw")]
fn dot_nibbles_each(codes: &[u8], low: &[i8], high: &[i8], out: &mut [i32]) {
    for (codes, out) in codes.chunks_exact(low.len()).zip(out) {
        *out = dot_nibbles(codes, low, high);
    }
}
