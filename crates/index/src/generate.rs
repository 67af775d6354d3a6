//! Vectors for benches that may not use real ones: neighbourhoods like those of text embeddings, made of a seed alone.

use crate::distance::dot;
use crate::rng::Rng;

const FAMILIES: usize = 20;
const TOPICS: usize = 400;
/// Directions of the manifold within a topic.
const INNER: usize = 96;

/// A source of unit vectors, the same on every machine for the same seed.
///
/// A row is a topic (Zipf weights, topics in families), a place within it on a manifold of 96 curved directions of
/// falling weight, and a little noise in all dimensions. The constants give a local intrinsic dimension of about 24
/// at 100,000 rows, which is what text embeddings show.
#[derive(Clone, Debug)]
pub struct TextLike {
    width: usize,
    topics: Vec<f32>,
    lift: Vec<f32>,
    weights: Vec<f32>,
    rng: Rng,
}

impl TextLike {
    /// A source of vectors of `width` dimensions.
    #[must_use]
    pub fn new(width: usize, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut normals = |n: usize| -> Vec<f32> { (0..n).map(|_| rng.normal()).collect() };
        let families = normals(FAMILIES * INNER);
        let topics = normals(TOPICS * INNER)
            .iter()
            .enumerate()
            .map(|(i, v)| 0.55 * families[i / INNER % FAMILIES * INNER + i % INNER] + 0.45 * v)
            .collect();
        let lift = normals(2 * INNER * width);
        let weights = (0..INNER).map(|i| 1.0 / (1.0 + i as f32 / 20.0)).collect();
        Self { width, topics, lift, weights, rng: Rng::new(seed ^ 0x5EED) }
    }

    /// The next `rows` vectors, one after the other.
    pub fn take(&mut self, rows: usize) -> Vec<f32> {
        let mut out = Vec::with_capacity(rows * self.width);
        for _ in 0..rows {
            self.push(&mut out);
        }
        out
    }

    fn push(&mut self, out: &mut Vec<f32>) {
        let topic = ((TOPICS as f64).powf(self.rng.unit()) - 1.0) as usize % TOPICS;
        let spread = 0.35 + 0.5 * self.rng.unit() as f32;
        let place: Vec<f32> = (0..INNER)
            .map(|i| 0.3 * self.topics[topic * INNER + i] + spread * self.weights[i] * self.rng.normal())
            .collect();
        let mut row = vec![0.0f32; self.width];
        let curved = place.iter().copied().chain(place.iter().map(|p| (1.3 * p).sin()));
        for (c, direction) in curved.zip(self.lift.chunks_exact(self.width)) {
            for (r, d) in row.iter_mut().zip(direction) {
                *r += c * d;
            }
        }
        row.iter_mut().for_each(|v| *v += 0.25 * self.rng.normal());
        let length = dot(&row, &row).sqrt();
        out.extend(row.iter().map(|v| v / length));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_unit_length_and_depend_on_the_seed_alone() {
        let rows = TextLike::new(48, 7).take(20);
        assert_eq!(rows, TextLike::new(48, 7).take(20));
        assert_ne!(rows, TextLike::new(48, 8).take(20));
        assert!(rows.chunks_exact(48).all(|r| (dot(r, r) - 1.0).abs() < 1e-5));
    }
}
