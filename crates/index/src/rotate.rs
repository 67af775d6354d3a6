//! The random rotation that makes every vector look alike to the quantiser.
//!
//! RaBitQ's error bound needs a random orthogonal matrix. A dense one costs d² products a vector; here it is four
//! rounds of random signs, a fast Hadamard transform over the largest power of two that fits (from the front and from
//! the back in turn) and one step of Kac's walk, O(d log d) ("FHT-Kac" in the RaBitQ library's documentation; Ailon and
//! Chazelle 2009 for the idea). Everything else in this crate happens in rotated space, where lengths and distances are
//! what they were.

use crate::distance::kernels;
use crate::rng::Rng;

const ROUNDS: usize = 4;

/// A rotation of `dimensions` values into [`Rotation::width`] values.
#[derive(Clone, Debug)]
pub struct Rotation {
    dimensions: usize,
    width: usize,
    /// +1 or -1, `width` a round.
    signs: Vec<f32>,
}

/// Dimensions rounded up to the width that codes have: a multiple of 32.
#[must_use]
pub fn padded(dimensions: usize) -> usize {
    dimensions.div_ceil(32) * 32
}

impl Rotation {
    /// The rotation that belongs to `seed`.
    #[must_use]
    pub fn new(dimensions: usize, seed: u64) -> Self {
        let width = padded(dimensions);
        let mut rng = Rng::new(seed);
        let mut signs = Vec::with_capacity(ROUNDS * width);
        while signs.len() < ROUNDS * width {
            let bits = rng.next_u64();
            signs.extend((0..32).map(|i| if bits >> i & 1 == 1 { 1.0 } else { -1.0 }));
        }
        Self { dimensions, width, signs }
    }

    /// Memory that the value takes beside itself.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<f32>() * self.signs.capacity()
    }

    /// Values that a rotated vector has.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Values that a vector has before.
    #[must_use]
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Rotates `vector` (`dimensions` values) into `out` (`width` values).
    pub fn apply(&self, vector: &[f32], out: &mut [f32]) {
        let (head, tail) = out.split_at_mut(self.dimensions);
        head.copy_from_slice(vector);
        tail.fill(0.0);
        let power = 1usize << self.width.ilog2();
        let scale = 1.0 / (power as f32).sqrt();
        let fast = kernels();
        for (round, signs) in self.signs.chunks_exact(self.width).enumerate() {
            for (value, sign) in out.iter_mut().zip(signs) {
                *value *= sign;
            }
            if power == self.width {
                (fast.hadamard)(out, scale);
            } else {
                let from = if round % 2 == 0 { 0 } else { self.width - power };
                (fast.hadamard)(&mut out[from..from + power], scale);
                kac_step(out);
            }
        }
    }
}

/// Turns every pair (i, i + half) by 45 degrees.
fn kac_step(values: &mut [f32]) {
    let (low, high) = values.split_at_mut(values.len() / 2);
    for (a, b) in low.iter_mut().zip(high) {
        let (x, y) = (*a, *b);
        *a = (x + y) * std::f32::consts::FRAC_1_SQRT_2;
        *b = (x - y) * std::f32::consts::FRAC_1_SQRT_2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distance::scalar;

    #[test]
    fn lengths_and_products_are_kept() {
        let mut rng = Rng::new(3);
        for dimensions in [1, 2, 31, 32, 33, 96, 100, 384, 768, 1000] {
            let rotation = Rotation::new(dimensions, 42);
            let a: Vec<f32> = (0..dimensions).map(|_| rng.normal()).collect();
            let b: Vec<f32> = (0..dimensions).map(|_| rng.normal()).collect();
            let (mut ra, mut rb) = (vec![0.0; rotation.width()], vec![0.0; rotation.width()]);
            rotation.apply(&a, &mut ra);
            rotation.apply(&b, &mut rb);
            let tolerance = 1e-4 * dimensions as f32;
            assert!((scalar::dot(&ra, &rb) - scalar::dot(&a, &b)).abs() < tolerance, "{dimensions}");
            assert!((scalar::dot(&ra, &ra) - scalar::dot(&a, &a)).abs() < tolerance, "{dimensions}");
        }
    }

    #[test]
    fn a_single_axis_spreads_over_all() {
        let rotation = Rotation::new(384, 1);
        let mut axis = vec![0.0; 384];
        axis[5] = 1.0;
        let mut out = vec![0.0; 384];
        rotation.apply(&axis, &mut out);
        let largest = out.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        assert!(largest < 0.35, "{largest}");
    }
}
