//! Rows: groups of vectors, the same every time.

use howdah_index::rng::Rng;

/// A stream of vectors around centres.
#[derive(Clone, Debug)]
pub struct Rows {
    rng: Rng,
    centres: Vec<Vec<f32>>,
}

impl Rows {
    /// Vectors of `dimensions` values around `centres` centres three times as far apart as the vectors spread.
    pub fn new(dimensions: usize, centres: usize, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let centres = (0..centres).map(|_| (0..dimensions).map(|_| 3.0 * rng.normal()).collect()).collect();
        Self { rng, centres }
    }
}

impl Iterator for Rows {
    type Item = Vec<f32>;

    fn next(&mut self) -> Option<Vec<f32>> {
        let at = self.rng.below(self.centres.len());
        let spread: Vec<f32> = (0..self.centres[at].len()).map(|_| self.rng.normal()).collect();
        Some(self.centres[at].iter().zip(spread).map(|(c, s)| c + s).collect())
    }
}

/// A vector as pgvector writes it.
pub fn literal(vector: &[f32]) -> String {
    let values: Vec<String> = vector.iter().map(|v| format!("{v:.4}")).collect();
    format!("[{}]", values.join(","))
}
