//! A first look at which lists are near: the sign bits of all centroids.
//!
//! To order many lists a query would read all their centroids, and in large indexes these are more bytes than all codes that
//! it goes on to read. The signs are a quarter of them, and estimate the product of query and centroid as they estimate
//! that of query and row ([`crate::quantize`]); only centroids that look near are then read. Kept in memory, not on pages:
//! the sign of a value is the top bit of its level.

use crate::distance::{LANES, kernels};
use crate::quantize::Query;

/// The sign bits of the centroids in slots 0, 1, ….
#[derive(Clone, Debug)]
pub struct Sketch {
    width: usize,
    /// 32 slots after 32 slots, as [`crate::distance::ScanBlock`] has codes.
    codes: Vec<u8>,
    /// What a product with a slot's signs, taken as ±½, is multiplied by.
    scales: Vec<f32>,
}

impl Sketch {
    /// A sketch of centroids of `width` values, without slots.
    #[must_use]
    pub fn new(width: usize) -> Self {
        Self { width, codes: Vec::new(), scales: Vec::new() }
    }

    fn block_bytes(&self) -> usize {
        self.width / 4 * 16
    }

    /// Memory that the value takes beside itself.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.codes.capacity() + size_of::<f32>() * self.scales.capacity()
    }

    /// Makes room for `slots` slots.
    pub fn resize(&mut self, slots: usize) {
        self.scales.resize(slots, 0.0);
        self.codes.resize(slots.div_ceil(LANES) * self.block_bytes(), 0);
    }

    /// Gives back memory that is kept for further slots.
    pub fn shrink_to_fit(&mut self) {
        self.codes.shrink_to_fit();
        self.scales.shrink_to_fit();
    }

    /// Sets slot `n` to the centroid with these packed levels, this scale and this squared length.
    pub fn set(&mut self, n: usize, packed: &[u8], scale: f32, square: f32) {
        let (bytes, lane) = (self.block_bytes(), n % LANES);
        let block = &mut self.codes[n / LANES * bytes..][..bytes];
        let (byte, shift) = (lane % 16, if lane < 16 { 0 } else { 4 });
        let mut sum = 0;
        for (rows, levels) in block.chunks_exact_mut(8 * 16).zip(packed.chunks_exact(16)) {
            for (g, row) in rows.chunks_exact_mut(16).enumerate() {
                // Of 32 dimensions the first 16 are in the low halves of the bytes, the others in the high ones.
                let four = &levels[4 * (g % 4)..][..4];
                let half = if g < 4 { 0 } else { 4 };
                let mut signs = 0;
                for (bit, level) in four.iter().enumerate() {
                    let level = level >> half & 15;
                    signs |= (level >> 3) << bit;
                    // Twice the distance from the middle, 7.5.
                    sum += (2 * i32::from(level) - 15).abs();
                }
                row[byte] = row[byte] & !(15 << shift) | signs << shift;
            }
        }
        // |c|² / ⟨c, v⟩ for v = ±½ with the signs of c.
        let product = 0.25 * scale * sum as f32;
        self.scales[n] = if product > 0.0 { square / product } else { 0.0 };
    }

    /// Estimates of the products of the query with the centroids of all slots.
    #[must_use]
    pub fn products(&self, query: &Query) -> Vec<f32> {
        let sums = kernels().sums_coarse;
        let mut out = Vec::with_capacity(self.scales.len().next_multiple_of(LANES));
        let mut totals = [0; LANES];
        for (codes, scales) in self.codes.chunks_exact(self.block_bytes()).zip(self.scales.chunks(LANES)) {
            sums(codes, &query.coarse, &mut totals);
            out.extend(
                scales
                    .iter()
                    .zip(&totals)
                    .map(|(scale, total)| scale * (query.step() * *total as f32 + query.shift())),
            );
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distance::dot;
    use crate::quantize::encode::CodedCentroid;
    use crate::rng::Rng;

    #[test]
    fn estimates_lie_around_the_products() {
        let mut rng = Rng::new(4);
        for width in [32, 96, 768] {
            let vectors: Vec<Vec<f32>> =
                (0..70).map(|_| (0..width).map(|_| rng.normal()).collect()).collect();
            let mut sketch = Sketch::new(width);
            sketch.resize(vectors.len());
            // Slots are written anew when their pages change.
            for at in [1, 0] {
                for n in 0..vectors.len() {
                    let coded = CodedCentroid::new(&vectors[(n + at) % vectors.len()]);
                    sketch.set(n, &coded.packed, coded.scale, coded.square);
                }
            }
            let query: Vec<f32> = (0..width).map(|_| rng.normal()).collect();
            let estimates = sketch.products(&Query::new(query.clone()));
            assert_eq!(estimates.len(), vectors.len());
            let mut errors = 0.0;
            for (estimate, vector) in estimates.iter().zip(&vectors) {
                // The cosine of a vector and its signs is 0.8: 0.75 of |q||c| / √d.
                let sigma = 0.75 * (dot(&query, &query) * dot(vector, vector) / width as f32).sqrt();
                let error = (estimate - dot(&query, vector)) / sigma;
                assert!(error.abs() < 6.0, "width {width}: {error}");
                errors += error * error;
            }
            assert!((0.4..2.0).contains(&(errors / 70.0)), "width {width}: {errors}");
        }
    }

    #[test]
    fn a_centroid_of_zeros_estimates_zero() {
        let mut sketch = Sketch::new(32);
        sketch.resize(3);
        let coded = CodedCentroid::new(&[0.0; 32]);
        sketch.set(1, &coded.packed, coded.scale, coded.square);
        assert_eq!(sketch.products(&Query::new(vec![1.0; 32])), vec![0.0; 3]);
    }
}
