//! What a query is turned into before it meets codes: look-up tables for the sign bits, small integers for the low bits.

use crate::distance::kernels;

/// A rotated vector in whole numbers of 8 bits, for products with packed levels of 4 bits.
#[derive(Clone, Debug)]
pub struct Small {
    low: Vec<i8>,
    high: Vec<i8>,
    /// Value of one unit.
    unit: f32,
    /// Σ of all units.
    total: i32,
}

impl Small {
    /// The nearest whole numbers to `rotated`, whose length is a multiple of 32.
    #[must_use]
    pub fn new(rotated: &[f32]) -> Self {
        let largest = rotated.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let unit = largest / 127.0;
        let per_unit = if unit > 0.0 { 1.0 / unit } else { 0.0 };
        let half = rotated.len() / 2;
        let (mut low, mut high) = (Vec::with_capacity(half), Vec::with_capacity(half));
        // Adding and taking away 1.5 · 2^23 rounds to the nearest whole number.
        let round = |v: &f32| ((v * per_unit + 12_582_912.0) - 12_582_912.0) as i8;
        for block in rotated.chunks_exact(32) {
            low.extend(block[..16].iter().map(round));
            high.extend(block[16..].iter().map(round));
        }
        let total = low.iter().chain(&high).map(|v| i32::from(*v)).sum();
        Self { low, high, unit, total }
    }

    /// ⟨q, v⟩ for packed levels u of four bits and v = u − 7.5.
    #[must_use]
    pub fn product(&self, packed: &[u8]) -> f32 {
        self.value((kernels().dot_nibbles)(packed, &self.low, &self.high))
    }

    /// The same for vector after vector of packed levels that follow each other.
    #[must_use]
    pub fn products(&self, packed: &[u8]) -> Vec<f32> {
        let mut raw = vec![0; packed.len() / self.low.len()];
        (kernels().dot_nibbles_each)(packed, &self.low, &self.high, &mut raw);
        raw.into_iter().map(|raw| self.value(raw)).collect()
    }

    fn value(&self, raw: i32) -> f32 {
        self.unit * (raw as f32 - 7.5 * self.total as f32)
    }
}

/// A rotated query, ready for scanning and refining.
#[derive(Clone, Debug)]
pub struct Query {
    /// The query in rotated space.
    pub rotated: Vec<f32>,
    /// High 6 bits of the table: 16 entries for each 4 dimensions.
    pub coarse: Vec<u8>,
    /// Low 8 bits of the table.
    pub fine: Vec<u8>,
    /// For products with low bits and centroids.
    pub small: Small,
    /// The same in whole numbers in order of dimension, in chunks of 128.
    plain: Vec<i8>,
    /// Value of one unit of the 14-bit table.
    unit: f32,
    /// Σ of the smallest entries: the value of an all-zero sum.
    floor: f32,
    /// Σ of the query.
    total: f32,
}

impl Query {
    /// Prepares a rotated query. Its length is a multiple of 32.
    #[must_use]
    pub fn new(rotated: Vec<f32>) -> Self {
        let mut query = Self {
            coarse: vec![0; rotated.len() * 4],
            fine: vec![0; rotated.len() * 4],
            small: Small::new(&rotated),
            plain: vec![0; rotated.len().next_multiple_of(128)],
            unit: 0.0,
            floor: 0.0,
            total: rotated.iter().sum(),
            rotated,
        };
        query.fill_tables();
        for (block, out) in query.plain.chunks_exact_mut(32).enumerate().take(query.rotated.len() / 32) {
            let at = 16 * block..16 * block + 16;
            out[..16].copy_from_slice(&query.small.low[at.clone()]);
            out[16..].copy_from_slice(&query.small.high[at]);
        }
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

    /// ⟨q, v⟩ for a code of `bits` bits from its sign sum and its packed low bits: v = 2^(B−1) · sign + low −
    /// (2^B − 1)/2. The low bits are taken around their middle, where rounding the query costs least.
    #[inline]
    #[must_use]
    pub fn product(&self, bits: u32, sign_sum: f32, packed: &[u8]) -> f32 {
        if bits == 5 {
            return 16.0 * sign_sum + self.small.product(packed) - 8.0 * self.total;
        }
        let raw = (kernels().dot_triples)(packed, &self.plain) as f32;
        8.0 * sign_sum + self.small.unit * (raw - 3.5 * self.small.total as f32) - 4.0 * self.total
    }
}
