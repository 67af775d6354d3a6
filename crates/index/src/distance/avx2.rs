//! Inner loops for x86-64 with AVX2 and FMA (Haswell 2013, Zen 1 and later).
#![allow(unsafe_code)] // Intrinsics: each entry point is installed only after `detected` said yes.

use std::arch::x86_64::*;

use super::{Kernels, LANES, ScanBlock, ScanTerms};

/// Whether this processor runs this file.
pub fn detected() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

/// Must not be used unless [`detected`] returned true.
pub static KERNELS: Kernels = Kernels {
    name: "avx2",
    // SAFETY (all of these): `available` lists this table only when `detected` saw AVX2 and FMA.
    dot: |a, b| unsafe { dot(a, b) },
    l2_squared: |a, b| unsafe { l2_squared(a, b) },
    dot4: |a, b| unsafe { dot4(a, b) },
    hadamard: |v, s| unsafe { hadamard(v, s) },
    sums_coarse: |c, t, o| unsafe { sums_coarse(c, t, o) },
    sums_fine: |c, t, o| unsafe { sums_fine(c, t, o) },
    scan: |b, t, p, e| unsafe { scan(b, t, p, e) },
    dot_nibbles: |c, l, h| unsafe { dot_nibbles(c, l, h) },
    dot_nibbles_each: |c, l, h, o| unsafe { dot_nibbles_each(c, l, h, o) },
    dot_triples: |c, q| unsafe { dot_triples(c, q) },
};

#[target_feature(enable = "avx2,fma")]
fn load(values: &[f32], at: usize) -> __m256 {
    let chunk = &values[at..at + 8];
    // SAFETY: `chunk` has 8 values; unaligned loads are allowed.
    unsafe { _mm256_loadu_ps(chunk.as_ptr()) }
}

#[target_feature(enable = "avx2,fma")]
fn load_bytes(bytes: &[u8], at: usize) -> __m256i {
    let chunk = &bytes[at..at + 32];
    // SAFETY: `chunk` has 32 bytes; unaligned loads are allowed.
    unsafe { _mm256_loadu_si256(chunk.as_ptr().cast()) }
}

#[target_feature(enable = "avx2,fma")]
fn load_half(bytes: &[u8], at: usize) -> __m128i {
    let chunk = &bytes[at..at + 16];
    // SAFETY: `chunk` has 16 bytes; unaligned loads are allowed.
    unsafe { _mm_loadu_si128(chunk.as_ptr().cast()) }
}

#[target_feature(enable = "avx2,fma")]
fn sum(v: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

#[target_feature(enable = "avx2,fma")]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let n = a.len().min(b.len());
    let mut acc = [_mm256_setzero_ps(); 4];
    let mut i = 0;
    while i + 32 <= n {
        for (k, acc) in acc.iter_mut().enumerate() {
            *acc = _mm256_fmadd_ps(load(a, i + 8 * k), load(b, i + 8 * k), *acc);
        }
        i += 32;
    }
    let total = sum(_mm256_add_ps(_mm256_add_ps(acc[0], acc[1]), _mm256_add_ps(acc[2], acc[3])));
    total + super::scalar::dot(&a[i..n], &b[i..n])
}

#[target_feature(enable = "avx2,fma")]
fn l2_squared(a: &[f32], b: &[f32]) -> f32 {
    let n = a.len().min(b.len());
    let mut acc = [_mm256_setzero_ps(); 4];
    let mut i = 0;
    while i + 32 <= n {
        for (k, acc) in acc.iter_mut().enumerate() {
            let d = _mm256_sub_ps(load(a, i + 8 * k), load(b, i + 8 * k));
            *acc = _mm256_fmadd_ps(d, d, *acc);
        }
        i += 32;
    }
    let total = sum(_mm256_add_ps(_mm256_add_ps(acc[0], acc[1]), _mm256_add_ps(acc[2], acc[3])));
    total + super::scalar::l2_squared(&a[i..n], &b[i..n])
}

#[target_feature(enable = "avx2,fma")]
fn dot4(a: &[f32], others: [&[f32]; 4]) -> [f32; 4] {
    let n = others.iter().fold(a.len(), |n, b| n.min(b.len()));
    let mut acc = [_mm256_setzero_ps(); 4];
    let mut i = 0;
    while i + 8 <= n {
        let x = load(a, i);
        for (acc, b) in acc.iter_mut().zip(others) {
            *acc = _mm256_fmadd_ps(x, load(b, i), *acc);
        }
        i += 8;
    }
    let mut out = [0.0; 4];
    for k in 0..4 {
        out[k] = sum(acc[k]) + super::scalar::dot(&a[i..n], &others[k][i..n]);
    }
    out
}

/// The first three levels inside each register, the others between registers.
#[target_feature(enable = "avx2,fma")]
fn hadamard(values: &mut [f32], scale: f32) {
    if values.len() < 8 {
        return super::scalar::hadamard(values, scale);
    }
    let one = _mm256_setr_ps(1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0);
    let two = _mm256_setr_ps(1.0, 1.0, -1.0, -1.0, 1.0, 1.0, -1.0, -1.0);
    let four = _mm256_setr_ps(1.0, 1.0, 1.0, 1.0, -1.0, -1.0, -1.0, -1.0);
    for eight in values.chunks_exact_mut(8) {
        // Each level adds to every value its partner, taken from the one that comes second.
        let mut v = _mm256_mul_ps(load(eight, 0), _mm256_set1_ps(scale));
        v = _mm256_fmadd_ps(v, one, _mm256_permute_ps::<0b10_11_00_01>(v));
        v = _mm256_fmadd_ps(v, two, _mm256_permute_ps::<0b01_00_11_10>(v));
        v = _mm256_fmadd_ps(v, four, _mm256_permute2f128_ps::<1>(v, v));
        // SAFETY: `eight` has 8 values.
        unsafe { _mm256_storeu_ps(eight.as_mut_ptr(), v) };
    }
    let mut half = 8;
    while half < values.len() {
        for pair in values.chunks_exact_mut(2 * half) {
            let (low, high) = pair.split_at_mut(half);
            for (low, high) in low.chunks_exact_mut(8).zip(high.chunks_exact_mut(8)) {
                let (x, y) = (load(low, 0), load(high, 0));
                // SAFETY: both chunks have 8 values.
                unsafe {
                    _mm256_storeu_ps(low.as_mut_ptr(), _mm256_add_ps(x, y));
                    _mm256_storeu_ps(high.as_mut_ptr(), _mm256_sub_ps(x, y));
                }
            }
        }
        half *= 2;
    }
}

/// Table rows that fit into 16-bit sums: 256 entries of 255.
const ROWS_A_PASS: usize = 256;

/// Adds the even and the odd bytes of `bytes` to the two 16-bit sums: the first takes both (the odd ones 256-fold), the
/// second only the odd ones, so that `finish` can take them out again. Overflow wraps and cancels.
#[target_feature(enable = "avx2,fma")]
fn widen(acc: &mut [__m256i; 2], bytes: __m256i) {
    acc[0] = _mm256_add_epi16(acc[0], bytes);
    acc[1] = _mm256_add_epi16(acc[1], _mm256_srli_epi16::<8>(bytes));
}

/// Brings the sums of 16 codes into order and adds them to `out`.
#[target_feature(enable = "avx2,fma")]
fn finish(acc: [__m256i; 2], out: &mut [u32]) {
    let even = _mm256_sub_epi16(acc[0], _mm256_slli_epi16::<8>(acc[1]));
    let even = _mm_add_epi16(_mm256_castsi256_si128(even), _mm256_extracti128_si256::<1>(even));
    let odd = _mm_add_epi16(_mm256_castsi256_si128(acc[1]), _mm256_extracti128_si256::<1>(acc[1]));
    for (half, pair) in [_mm_unpacklo_epi16(even, odd), _mm_unpackhi_epi16(even, odd)].into_iter().enumerate()
    {
        let wide = _mm256_cvtepu16_epi32(pair);
        let out = &mut out[8 * half..8 * half + 8];
        // SAFETY: `out` has 8 values.
        unsafe {
            let before = _mm256_loadu_si256(out.as_ptr().cast());
            _mm256_storeu_si256(out.as_mut_ptr().cast(), _mm256_add_epi32(before, wide));
        }
    }
}

#[target_feature(enable = "avx2,fma")]
fn sums_fine(codes: &[u8], table: &[u8], out: &mut [u32; LANES]) {
    out.fill(0);
    let mask = _mm256_set1_epi8(15);
    for (codes, table) in codes.chunks(16 * ROWS_A_PASS).zip(table.chunks(16 * ROWS_A_PASS)) {
        let (mut low, mut high) = ([_mm256_setzero_si256(); 2], [_mm256_setzero_si256(); 2]);
        for at in (0..codes.len()).step_by(32) {
            let (c, t) = (load_bytes(codes, at), load_bytes(table, at));
            widen(&mut low, _mm256_shuffle_epi8(t, _mm256_and_si256(c, mask)));
            widen(&mut high, _mm256_shuffle_epi8(t, _mm256_and_si256(_mm256_srli_epi16::<4>(c), mask)));
        }
        finish(low, &mut out[..16]);
        finish(high, &mut out[16..]);
    }
}

#[target_feature(enable = "avx2,fma")]
fn sums_coarse(codes: &[u8], table: &[u8], out: &mut [u32; LANES]) {
    out.fill(0);
    let mask = _mm256_set1_epi8(15);
    for (codes, table) in codes.chunks(16 * ROWS_A_PASS).zip(table.chunks(16 * ROWS_A_PASS)) {
        let (mut low, mut high) = ([_mm256_setzero_si256(); 2], [_mm256_setzero_si256(); 2]);
        // Four entries of at most 63 fit in a byte: widen every fourth time.
        for (codes, table) in codes.chunks(128).zip(table.chunks(128)) {
            let (mut l, mut h) = (_mm256_setzero_si256(), _mm256_setzero_si256());
            for at in (0..codes.len()).step_by(32) {
                let (c, t) = (load_bytes(codes, at), load_bytes(table, at));
                l = _mm256_add_epi8(l, _mm256_shuffle_epi8(t, _mm256_and_si256(c, mask)));
                h = _mm256_add_epi8(
                    h,
                    _mm256_shuffle_epi8(t, _mm256_and_si256(_mm256_srli_epi16::<4>(c), mask)),
                );
            }
            widen(&mut low, l);
            widen(&mut high, h);
        }
        finish(low, &mut out[..16]);
        finish(high, &mut out[16..]);
    }
}

#[target_feature(enable = "avx2,fma")]
fn bf16(bytes: &[u8], lane: usize) -> __m256 {
    let halves = load_half(bytes, 2 * lane);
    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves)))
}

#[target_feature(enable = "avx2,fma")]
fn scan(block: &ScanBlock<'_>, table: &[u8], terms: &ScanTerms, totals: &mut [u32; LANES]) -> u32 {
    sums_coarse(block.codes, table, totals);
    let (step, shift) = (_mm256_set1_ps(terms.step), _mm256_set1_ps(terms.shift));
    let (base, slack) = (_mm256_set1_ps(terms.base), _mm256_set1_ps(terms.slack));
    let threshold = _mm256_set1_ps(terms.threshold);
    let mut mask = 0;
    for lane in (0..LANES).step_by(8) {
        // SAFETY: 8 sums from `lane` on, of 32.
        let total = unsafe { _mm256_loadu_si256(totals.as_ptr().add(lane).cast()) };
        let product = _mm256_fmadd_ps(step, _mm256_cvtepi32_ps(total), shift);
        let add = _mm256_add_ps(base, _mm256_castsi256_ps(load_bytes(block.add, 4 * lane)));
        let estimate = _mm256_fmadd_ps(bf16(block.scale, lane), product, add);
        let bound = _mm256_fnmadd_ps(bf16(block.error, lane), slack, estimate);
        let below = _mm256_cmp_ps::<_CMP_LT_OQ>(bound, threshold);
        mask |= (_mm256_movemask_ps(below) as u32) << lane;
    }
    mask
}

#[target_feature(enable = "avx2,fma")]
fn dot_nibbles(codes: &[u8], low: &[i8], high: &[i8]) -> i32 {
    let n = codes.len().min(low.len()).min(high.len()) / 16 * 16;
    let mask = _mm_set1_epi8(15);
    let ones = _mm256_set1_epi16(1);
    let mut acc = _mm256_setzero_si256();
    for at in (0..n).step_by(16) {
        let c = load_half(codes, at);
        let (l, h) = (&low[at..at + 16], &high[at..at + 16]);
        // SAFETY: both chunks have 16 bytes.
        let (l, h) = unsafe { (_mm_loadu_si128(l.as_ptr().cast()), _mm_loadu_si128(h.as_ptr().cast())) };
        let c = _mm256_set_m128i(_mm_and_si128(_mm_srli_epi16::<4>(c), mask), _mm_and_si128(c, mask));
        // 15 · 127 twice fits in 16 bits: no saturation.
        let pairs = _mm256_maddubs_epi16(c, _mm256_set_m128i(h, l));
        acc = _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, ones));
    }
    let four = _mm_add_epi32(_mm256_castsi256_si128(acc), _mm256_extracti128_si256::<1>(acc));
    let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
    _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0b00_00_00_01>(two)))
}

#[target_feature(enable = "avx2,fma")]
fn dot_nibbles_each(codes: &[u8], low: &[i8], high: &[i8], out: &mut [i32]) {
    for (codes, out) in codes.chunks_exact(low.len()).zip(out) {
        *out = dot_nibbles(codes, low, high);
    }
}

#[target_feature(enable = "avx2,fma")]
fn dot_triples(codes: &[u8], query: &[i8]) -> i32 {
    let (two, one) = (_mm256_set1_epi8(3), _mm256_set1_epi8(1));
    let ones = _mm256_set1_epi16(1);
    let mut acc = _mm256_setzero_si256();
    for (chunk, query) in codes.chunks_exact(48).zip(query.chunks_exact(128)) {
        let bits = load_half(chunk, 32);
        // Two groups of 16 dimensions at a time: shifted by 2j and 2j + 2 on one side, by the group on the other.
        for pair in 0..4 {
            let (h, j) = (pair / 2, pair % 2 * 2);
            let lower = load_half(chunk, 16 * h);
            let by = |n: usize| _mm_cvtsi32_si128(n as i32);
            let low = _mm256_set_m128i(_mm_srl_epi16(lower, by(2 * j + 2)), _mm_srl_epi16(lower, by(2 * j)));
            let high =
                _mm256_set_m128i(_mm_srl_epi16(bits, by(2 * pair + 1)), _mm_srl_epi16(bits, by(2 * pair)));
            let high = _mm256_slli_epi16::<2>(_mm256_and_si256(high, one));
            let code = _mm256_or_si256(_mm256_and_si256(low, two), high);
            let q = &query[32 * pair..32 * pair + 32];
            // SAFETY: `q` has 32 bytes.
            let q = unsafe { _mm256_loadu_si256(q.as_ptr().cast()) };
            acc = _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(code, q), ones));
        }
    }
    let four = _mm_add_epi32(_mm256_castsi256_si128(acc), _mm256_extracti128_si256::<1>(acc));
    let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
    _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0b00_00_00_01>(two)))
}
