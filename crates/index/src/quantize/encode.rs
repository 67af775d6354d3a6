//! From a vector to the bytes of its code.
//!
//! A *row code* is what a build hands from the workers that make it to the writer that places it: TID 6, squared
//! residual f32, sign factors 3 × f32, packed signs, refine record. Bit b of sign byte j is set when dimension 8j + b
//! of the residual is not negative.

use super::{Factors, factors, keep_bf16, levels, values_of};
use crate::distance::dot;
use crate::distance::scalar::triple_at;
use crate::format::{Layout, get_f32};
use crate::options::Metric;
use crate::page::Tid;

const SIGNS_AT: usize = 22;
/// Squared distance that stands for one too large to reckon with.
const FAR: f32 = 1e30;

/// A row code, to read.
#[derive(Clone, Copy)]
pub struct RowCode<'a> {
    layout: &'a Layout,
    bytes: &'a [u8],
}

impl<'a> RowCode<'a> {
    /// Bytes of a row code.
    #[must_use]
    pub fn bytes(layout: &Layout) -> usize {
        SIGNS_AT + layout.sign_bytes() + layout.record_bytes
    }

    /// Reads a row code of [`RowCode::bytes`] bytes.
    #[must_use]
    pub fn new(layout: &'a Layout, bytes: &'a [u8]) -> Self {
        Self { layout, bytes: &bytes[..Self::bytes(layout)] }
    }

    /// The row.
    #[must_use]
    pub fn tid(&self) -> Tid {
        let b = self.bytes;
        Tid::from_bytes([b[0], b[1], b[2], b[3], b[4], b[5]])
    }

    /// Squared distance to the centroid; where it is no finite number, 0, and [`FAR`] under inner product.
    #[must_use]
    pub fn square(&self) -> f32 {
        get_f32(self.bytes, 6)
    }

    /// Factors of the sign code.
    #[must_use]
    pub fn factors(&self) -> Factors {
        let at = |i| get_f32(self.bytes, i);
        Factors { add: at(10), scale: at(14), error: at(18) }
    }

    /// Packed signs.
    #[must_use]
    pub fn signs(&self) -> &'a [u8] {
        &self.bytes[SIGNS_AT..SIGNS_AT + self.layout.sign_bytes()]
    }

    /// The refine record.
    #[must_use]
    pub fn record(&self) -> &'a [u8] {
        &self.bytes[SIGNS_AT + self.layout.sign_bytes()..]
    }
}

/// Buffers for encoding one vector after the other.
#[derive(Clone, Debug)]
pub struct Encoder {
    layout: Layout,
    metric: Metric,
    residual: Vec<f32>,
    levels: Vec<u8>,
    values: Vec<f32>,
}

impl Encoder {
    /// An encoder for this layout.
    #[must_use]
    pub fn new(layout: Layout, metric: Metric) -> Self {
        let width = layout.width;
        Self { layout, metric, residual: vec![0.0; width], levels: vec![0; width], values: vec![0.0; width] }
    }

    /// Appends the row code of `vector` (in index space) relative to `centroid` to `out`.
    pub fn encode(&mut self, tid: Tid, vector: &[f32], centroid: &[f32], out: &mut Vec<u8>) {
        for ((r, x), c) in self.residual.iter_mut().zip(vector).zip(centroid) {
            *r = x - c;
        }
        let bits = self.layout.bits;
        levels(&self.residual, bits, &mut self.levels);
        values_of(&self.levels, bits, &mut self.values);
        let mut fine = factors(self.metric, &self.residual, centroid, &self.values, |s| s);
        let half = 1u8 << (bits - 1);
        for (v, u) in self.values.iter_mut().zip(&self.levels) {
            *v = if *u >= half { 0.5 } else { -0.5 };
        }
        let mut coarse = factors(self.metric, &self.residual, centroid, &self.values, keep_bf16);
        coarse.error = keep_bf16(coarse.error);
        let mut square = dot(&self.residual, &self.residual);
        let finite = [fine.add, fine.scale, coarse.add, coarse.scale, coarse.error, square];
        if !finite.iter().all(|v| v.is_finite()) {
            // Too large to reckon with: a candidate for every query, decided by the exact comparison.
            fine = Factors { add: f32::NEG_INFINITY, ..Factors::default() };
            // Under inner product it is among the best for half of all questions; its list is to look so.
            let far = if self.metric == Metric::InnerProduct { FAR } else { 0.0 };
            (coarse, square) = (fine, far);
        }
        out.extend_from_slice(&tid.to_bytes());
        for value in [square, coarse.add, coarse.scale, coarse.error] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        for eight in self.levels.chunks_exact(8) {
            out.push(eight.iter().enumerate().fold(0, |byte, (b, u)| byte | u8::from(*u >= half) << b));
        }
        pack_low(&self.levels, bits, out);
        out.extend_from_slice(&fine.add.to_le_bytes());
        out.extend_from_slice(&fine.scale.to_le_bytes());
    }
}

/// Packs the low bits of levels of `bits` bits, as [`crate::distance::Kernels`] takes them.
fn pack_low(levels: &[u8], bits: u32, out: &mut Vec<u8>) {
    if bits == 5 {
        return pack_nibbles(levels, out);
    }
    for chunk in levels.chunks(128) {
        let mut packed = [0u8; 48];
        for (d, level) in chunk.iter().enumerate() {
            let (h, j, i) = (d / 64, d / 16 % 4, d % 16);
            packed[16 * h + i] |= (level & 3) << (2 * j);
            packed[32 + i] |= (level >> 2 & 1) << (d / 16);
        }
        out.extend_from_slice(&packed);
    }
}

/// Unpacks what [`pack_low`] packed.
fn unpack_low(packed: &[u8], bits: u32, out: &mut [u8]) {
    if bits == 5 {
        return unpack_nibbles(packed, out);
    }
    for (chunk, levels) in packed.chunks_exact(48).zip(out.chunks_mut(128)) {
        for (d, level) in levels.iter_mut().enumerate() {
            *level = triple_at(chunk, d);
        }
    }
}

/// Packs the low four bits of every level: of 32 levels, byte i has level i in its low and level 16 + i in its high
/// half.
pub fn pack_nibbles(levels: &[u8], out: &mut Vec<u8>) {
    for block in levels.chunks_exact(32) {
        let (low, high) = block.split_at(16);
        out.extend(low.iter().zip(high).map(|(l, h)| l & 15 | h << 4));
    }
}

/// Unpacks what [`pack_nibbles`] packed.
pub fn unpack_nibbles(packed: &[u8], out: &mut [u8]) {
    for (bytes, block) in packed.chunks_exact(16).zip(out.chunks_exact_mut(32)) {
        for (i, byte) in bytes.iter().enumerate() {
            block[i] = byte & 15;
            block[16 + i] = byte >> 4;
        }
    }
}

/// The vector (in index space) that a code stands for: centroid + s·v, where s follows from the scale of the record.
/// The relative error of the residual is about 2^-B.
pub fn decode(
    metric: Metric,
    layout: &Layout,
    signs: &[u8],
    record: &[u8],
    centroid: &[f32],
    out: &mut [f32],
) {
    let packed = layout.record_bytes - 8;
    let mut low = vec![0u8; layout.width];
    unpack_low(&record[..packed], layout.bits, &mut low);
    let scale = get_f32(record, packed + 4) / if metric == Metric::InnerProduct { -1.0 } else { -2.0 };
    let middle = ((1u32 << layout.bits) - 1) as f32 / 2.0;
    let half = (1u32 << (layout.bits - 1)) as f32;
    for (i, (o, c)) in out.iter_mut().zip(centroid).enumerate() {
        let sign = if signs[i / 8] >> (i % 8) & 1 == 1 { half } else { 0.0 };
        *o = c + scale * (sign + f32::from(low[i]) - middle);
    }
}

/// A centroid as the directory keeps it: 4 bits a dimension, and the factor that makes vectors of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CodedCentroid {
    /// Packed levels.
    pub packed: Vec<u8>,
    /// Step between levels.
    pub scale: f32,
    /// Squared length of the decoded centroid.
    pub square: f32,
}

impl CodedCentroid {
    /// The nearest that the directory can keep to `centroid`.
    #[must_use]
    pub fn new(centroid: &[f32]) -> Self {
        let mut chosen = vec![0; centroid.len()];
        levels(centroid, 4, &mut chosen);
        let mut values = vec![0.0; centroid.len()];
        values_of(&chosen, 4, &mut values);
        let scale = dot(&values, centroid) / dot(&values, &values);
        let scale = if scale.is_finite() && scale > 0.0 { scale } else { 0.0 };
        let mut packed = Vec::with_capacity(centroid.len() / 2);
        pack_nibbles(&chosen, &mut packed);
        Self { packed, scale, square: scale * scale * dot(&values, &values) }
    }

    /// The centroid that this stands for.
    pub fn decode(packed: &[u8], scale: f32, out: &mut [f32]) {
        let mut low = vec![0u8; out.len()];
        unpack_nibbles(packed, &mut low);
        for (o, u) in out.iter_mut().zip(low) {
            *o = scale * (f32::from(u) - 7.5);
        }
    }
}
