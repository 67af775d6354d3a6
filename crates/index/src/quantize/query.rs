//! What a query is turned into before it meets codes: look-up tables for the sign bits, small integers for the low bits.

use crate::distance::kernels;

/// A rotated query, ready for scanning and refining.
#[derive(Clone, Debug)]
pub struct Query {
    /// The query in rotated space.
    pub rotated: Vec<f32>,
    /// High 6 bits of the table: 16 entries for each 4 dimensions.
    pub coarse: Vec<u8>,
    /// Low 8 bits of the table.
    pub fine: Vec<u8>,
    /// Value of one unit of the 14-bit table.
    unit: f32,
    /// Σ of the smallest entries: the value of an all-zero sum.
    floor: f32,
    /// Σ of the query.
    total: f32,
    low: Vec<i8>,
    high: Vec<i8>,
    /// Value of one unit of `low` and `high`.
    small: f32,
    /// Σ of `low` and `high`.
    small_total: i32,
}

impl Query {
    /// Prepares a rotated query. Its length is a multiple of 32.
    #[must_use]
    pub fn new(rotated: Vec<f32>) -> Self {
        let mut query = Self {
            coarse: vec![0; rotated.len() * 4],
            fine: vec![0; rotated.len() * 4],
            unit: 0.0,
            floor: 0.0,
            total: rotated.iter().sum(),
            low: vec![0; rotated.len() / 2],
            high: vec![0; rotated.len() / 2],
            small: 0.0,
            small_total: 0,
            rotated,
        };
        query.fill_tables();
        query.fill_small();
        query
    }

    fn fill_tables(&mut self) {
        let mut widest = 0.0f32;
        for x in self.rotated.chunks_exact(4) {
            widest = widest.max(x.iter().map(|v| v.abs()).sum());
            self.floor += x.iter().map(|v| v.min(0.0)).sum::<f32>();
        }
        self.unit = widest / 16383.0;
        let per_unit = if self.unit > 0.0 { 1.0 / self.unit } else { 0.0 };
        let tables = self.coarse.chunks_exact_mut(16).zip(self.fine.chunks_exact_mut(16));
        for (x, (coarse, fine)) in self.rotated.chunks_exact(4).zip(tables) {
            let least: f32 = x.iter().map(|v| v.min(0.0)).sum();
            for entry in 0..16usize {
                let bit = |k: usize| (entry >> k & 1) as f32;
                let value = bit(0) * x[0] + bit(1) * x[1] + bit(2) * x[2] + bit(3) * x[3] - least;
                let units = (value * per_unit + 0.5).clamp(0.0, 16383.0) as u16;
                coarse[entry] = (units >> 8) as u8;
                fine[entry] = units as u8;
            }
        }
    }

    fn fill_small(&mut self) {
        let largest = self.rotated.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        self.small = largest / 127.0;
        let per_unit = if self.small > 0.0 { 1.0 / self.small } else { 0.0 };
        for (block, x) in self.rotated.chunks_exact(32).enumerate() {
            for i in 0..16 {
                self.low[16 * block + i] = (x[i] * per_unit).round() as i8;
                self.high[16 * block + i] = (x[16 + i] * per_unit).round() as i8;
            }
        }
        self.small_total = self.low.iter().chain(&self.high).map(|v| i32::from(*v)).sum();
    }

    /// Value of one unit of a coarse sum, for [`crate::distance::ScanTerms::step`].
    #[must_use]
    pub fn step(&self) -> f32 {
        self.unit * 256.0
    }

    /// Value of the coarse sum 0, for [`crate::distance::ScanTerms::shift`]: with it the sum of the table entries
    /// becomes ⟨q, v⟩ for v = ±½. The dropped low bits are taken at their mean.
    #[must_use]
    pub fn shift(&self) -> f32 {
        let dropped = 127.5 * (self.rotated.len() / 4) as f32 * self.unit;
        dropped + self.floor - 0.5 * self.total
    }

    /// Σ of the query's values where the sign bit is set, from both sums.
    #[must_use]
    pub fn sign_sum(&self, coarse: u32, fine: u32) -> f32 {
        (256 * coarse + fine) as f32 * self.unit + self.floor
    }

    /// ⟨q, v⟩ for v = ±½ from the sum of [`sign_sum`](Self::sign_sum).
    #[must_use]
    pub fn sign_product(&self, sign_sum: f32) -> f32 {
        sign_sum - 0.5 * self.total
    }

    /// ⟨q, v⟩ for a five-bit code from its sign sum and its packed low bits (16 bytes for 32 dimensions: byte i has
    /// dimension i in its low and dimension 16 + i in its high half).
    #[must_use]
    pub fn nibble_product(&self, sign_sum: f32, packed: &[u8]) -> f32 {
        let raw = (kernels().dot_nibbles)(packed, &self.low, &self.high);
        let centred = self.small * (raw as f32 - 7.5 * self.small_total as f32);
        16.0 * sign_sum + centred + (7.5 - 15.5) * self.total
    }

    /// ⟨q, v⟩ for packed levels u of four bits and v = u − 7.5.
    #[must_use]
    pub fn centred_product(&self, packed: &[u8]) -> f32 {
        let raw = (kernels().dot_nibbles)(packed, &self.low, &self.high);
        self.small * (raw as f32 - 7.5 * self.small_total as f32)
    }
}
