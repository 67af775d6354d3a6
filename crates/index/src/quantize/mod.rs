//! RaBitQ codes of several bits a dimension, split into a sign bit that is scanned and low bits that refine.
//!
//! A vector x of a list with centroid c is kept as its residual r = x − c, in rotated space. Each value of r becomes one
//! of 2^B levels v = u − (2^B − 1)/2; the top bit of u is the sign. With s = |r|² / ⟨v, r⟩ the product ⟨w, r⟩ is
//! estimated by s·⟨w, v⟩ for any w, without bias, and with an error that concentrates around
//! |w|·|r|·√((1/cos² − 1)/(d − 1)), cos being the cosine of v and r (RaBitQ, Gao and Long, SIGMOD 2024; several bits:
//! Gao et al., SIGMOD 2025). The same holds for the sign bits alone.
//!
//! Distances are affine in ⟨q, v⟩ with the *whole* query q, not its residual: ⟨q − c, v⟩ = ⟨q, v⟩ − ⟨c, v⟩, and the
//! second term is known when the vector is stored. So one table serves all lists, while the error keeps the size of
//! q − c.

pub mod encode;
mod query;
#[cfg(test)]
mod tests;
pub use query::{Query, Small};

use crate::distance::{dot, from_bf16, to_bf16};
use crate::options::Metric;

/// Step between levels, in standard deviations, that suits normally distributed values best: index is B, from 1
/// (Max, "Quantizing for minimum distortion", 1960; B of 6 and more by the same method).
const STEPS: [f32; 9] = [1.596, 1.596, 0.9957, 0.586, 0.3352, 0.1881, 0.1041, 0.0569, 0.0308];

/// Factors of a code: with them a product ⟨q, v⟩ becomes a distance. See [`Query`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Factors {
    /// What does not depend on the query.
    pub add: f32,
    /// What the product is multiplied by.
    pub scale: f32,
    /// Standard deviation of the estimated distance for |q − c| = 1.
    pub error: f32,
}

/// Chooses the level u of every value of `residual`, `bits` (1 to 8) bits each.
pub fn levels(residual: &[f32], bits: u32, out: &mut [u8]) {
    let length = dot(residual, residual).sqrt();
    let half = 1u32 << (bits - 1);
    let sigma = length / (residual.len() as f32).sqrt();
    let per_step = 1.0 / (STEPS[bits as usize] * sigma);
    if !per_step.is_finite() {
        out.fill(half as u8);
        return;
    }
    let (middle, top) = (half as f32, (2 * half - 1) as f32);
    for (u, r) in out.iter_mut().zip(residual) {
        // Adding 2^23 rounds to a whole number, which then stands in the low bits: the floor, half a step up.
        *u = ((r * per_step + (middle - 0.5)).clamp(0.0, top) + 8_388_608.0).to_bits() as u8;
    }
}

/// Factors of the code whose levels are `level(i)`, for a vector with this residual in the list of this centroid.
/// `keep` rounds a scale to what the page will keep.
pub fn factors(
    metric: Metric,
    residual: &[f32],
    centroid: &[f32],
    values: &[f32],
    keep: impl Fn(f32) -> f32,
) -> Factors {
    let (rr, rv) = (dot(residual, residual), dot(residual, values));
    let vv = dot(values, values);
    if !(rr > 0.0 && rv > 0.0) {
        // The vector is its centroid: nothing to estimate.
        return Factors::default();
    }
    let sign_and_size = if metric == Metric::InnerProduct { -1.0 } else { -2.0 };
    let scale = keep(sign_and_size * rr / rv);
    let constant = if metric == Metric::InnerProduct { -dot(centroid, residual) } else { rr };
    let cos_squared = (rv * rv / (rr * vv)).min(1.0);
    let spread = ((1.0 / cos_squared - 1.0) / (residual.len().max(2) - 1) as f32).sqrt();
    Factors {
        add: constant - scale * dot(centroid, values),
        scale,
        error: -sign_and_size * rr.sqrt() * spread,
    }
}

/// The values v that levels stand for.
pub fn values_of(levels: &[u8], bits: u32, out: &mut [f32]) {
    let middle = ((1u32 << bits) - 1) as f32 / 2.0;
    for (v, u) in out.iter_mut().zip(levels) {
        *v = f32::from(*u) - middle;
    }
}

/// Rounds a factor as scan blocks keep it.
#[must_use]
pub fn keep_bf16(value: f32) -> f32 {
    from_bf16(to_bf16(value))
}
