//! From a row's vector to index space and from distances in index space to what the operators return.
//!
//! Index space is: unit length under cosine, rotated, and moved so that the origin, some vector of the data, becomes
//! zero. Moving keeps numbers small when data lies far from zero; under inner product queries stay unmoved, which
//! changes all their products by the same amount.

use crate::distance::{dot, from_bf16, kernels, l2_squared, to_bf16};
use crate::format::Fault;
use crate::options::Metric;
use crate::rotate::Rotation;

/// Product of lengths below which single precision says little of an angle.
const LEAST: f64 = 1e-30;

/// The way into index space.
#[derive(Clone, Debug)]
pub struct Space {
    /// Distance that the index orders by.
    pub metric: Metric,
    rotation: Rotation,
    /// In rotated space, rounded to bf16.
    origin: Vec<f32>,
}

impl Space {
    /// A space with the origin at zero.
    #[must_use]
    pub fn new(metric: Metric, dimensions: usize, seed: u64) -> Self {
        let rotation = Rotation::new(dimensions, seed);
        let origin = vec![0.0; rotation.width()];
        Self { metric, rotation, origin }
    }

    /// Memory that the value takes beside itself.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.rotation.bytes() + size_of::<f32>() * self.origin.capacity()
    }

    /// The origin as a page keeps it.
    #[must_use]
    pub fn origin_bytes(&self) -> Vec<u8> {
        self.origin.iter().flat_map(|v| to_bf16(*v).to_le_bytes()).collect()
    }

    /// Takes the origin from a page.
    pub fn set_origin_bytes(&mut self, bytes: &[u8]) {
        for (o, b) in self.origin.iter_mut().zip(bytes.chunks_exact(2)) {
            *o = from_bf16(u16::from_le_bytes([b[0], b[1]]));
        }
    }

    /// Makes `rotated`, a mean of rotated vectors, the origin. Values that are no numbers count as zero.
    pub fn set_origin(&mut self, rotated: &[f32]) {
        for (o, v) in self.origin.iter_mut().zip(rotated) {
            *o = if v.is_finite() { from_bf16(to_bf16(*v)) } else { 0.0 };
        }
    }

    /// Rotates `vector`, at unit length under cosine, without moving it. `None` when it has no direction and the
    /// metric asks for one: such vectors are not indexed.
    pub fn rotate(&self, vector: &[f32]) -> Result<Option<Vec<f32>>, Fault> {
        if vector.len() != self.rotation.dimensions() {
            return Err(Fault::Dimensions { expected: self.rotation.dimensions(), found: vector.len() });
        }
        let mut out = vec![0.0; self.rotation.width()];
        if self.metric != Metric::Cosine {
            self.rotation.apply(vector, &mut out);
            return Ok(Some(out));
        }
        // Scaled by the greatest value first: squares of very large or small numbers would not survive.
        let largest = vector.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        if largest == 0.0 {
            return Ok(None);
        }
        let part: Vec<f32> = vector.iter().map(|v| v / largest).collect();
        let length = dot(&part, &part).sqrt();
        let unit: Vec<f32> = part.iter().map(|v| v / length).collect();
        self.rotation.apply(&unit, &mut out);
        Ok(Some(out))
    }

    /// A vector to be stored, in index space; `None` as for [`rotate`](Self::rotate).
    pub fn row(&self, vector: &[f32]) -> Result<Option<Vec<f32>>, Fault> {
        Ok(self.rotate(vector)?.map(|mut rotated| {
            self.centre(&mut rotated);
            rotated
        }))
    }

    /// Moves a rotated vector into index space.
    pub fn centre(&self, rotated: &mut [f32]) {
        for (v, o) in rotated.iter_mut().zip(&self.origin) {
            *v -= o;
        }
    }

    /// A query in index space, at unit length under inner product. A vector without direction becomes zero: every row is then
    /// as good as any other.
    pub fn query(&self, vector: &[f32]) -> Result<Vec<f32>, Fault> {
        let length = self.length(vector);
        let unit: Vec<f32>;
        let vector = if length == 1.0 {
            vector
        } else {
            unit = vector.iter().map(|v| (f64::from(*v) / length) as f32).collect();
            &unit
        };
        let mut rotated = self.rotate(vector)?.unwrap_or_else(|| vec![0.0; self.rotation.width()]);
        if self.metric != Metric::InnerProduct {
            self.centre(&mut rotated);
        }
        Ok(rotated)
    }

    /// What the operator returns for a query and a row: Euclidean distance, negative inner product or cosine distance.
    #[must_use]
    pub fn distance(&self, query: &[f32], row: &[f32]) -> f64 {
        let fast = kernels();
        let distance = match self.metric {
            Metric::L2 => f64::from(l2_squared(query, row)).sqrt(),
            Metric::InnerProduct => -f64::from((fast.dot)(query, row)),
            Metric::Cosine => cosine(|a, b| f64::from((fast.dot)(a, b)), LEAST, query, row),
        };
        if distance.is_finite() { distance } else { in_double(self.metric, query, row) }
    }

    /// What a distance that the operator returned is in index space: squared Euclidean, or the product of the question at
    /// unit length (`length`, see [`length`](Self::length)) less that with the origin (`offset`, see
    /// [`offset`](Self::offset)).
    #[must_use]
    pub fn to_index(&self, distance: f64, length: f64, offset: f32) -> f32 {
        match self.metric {
            Metric::L2 => (distance * distance) as f32,
            Metric::InnerProduct => (distance / length + f64::from(offset)) as f32,
            Metric::Cosine => (2.0 * distance) as f32,
        }
    }

    /// The length of a question under inner product, whose order does not depend on it: it is asked at unit length. 1 for
    /// other metrics and for a question of zeros.
    #[must_use]
    pub fn length(&self, vector: &[f32]) -> f64 {
        let square = || vector.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>();
        let length = if self.metric == Metric::InnerProduct { square().sqrt() } else { 1.0 };
        if length > 0.0 { length } else { 1.0 }
    }

    /// Product of a query in index space with the origin, under inner product; 0 otherwise.
    #[must_use]
    pub fn offset(&self, query: &[f32]) -> f32 {
        if self.metric == Metric::InnerProduct { dot(query, &self.origin) } else { 0.0 }
    }
}

/// What the operator returns, for values whose squares single precision does not hold.
pub(crate) fn in_double(metric: Metric, query: &[f32], row: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    match metric {
        Metric::L2 => {
            let apart = |(a, b): (&f32, &f32)| (f64::from(*a) - f64::from(*b)).powi(2);
            query.iter().zip(row).map(apart).sum::<f64>().sqrt()
        }
        Metric::InnerProduct => -dot(query, row),
        Metric::Cosine => cosine(dot, 0.0, query, row),
    }
}

/// Cosine distance by way of a dot product that holds products from `least` on; NaN beyond, and for a vector without
/// direction.
fn cosine(dot: impl Fn(&[f32], &[f32]) -> f64, least: f64, a: &[f32], b: &[f32]) -> f64 {
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths > least { 1.0 - (dot(a, b) / lengths).clamp(-1.0, 1.0) } else { f64::NAN }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_survive_the_way_into_index_space() {
        let (a, b) = ([1.0, 2.0, 3.0], [0.5, -1.0, 2.0]);
        for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
            let mut space = Space::new(metric, 3, 1);
            let rotated = space.rotate(&a).unwrap().unwrap();
            space.set_origin(&rotated);
            let (q, x) = (space.query(&a).unwrap(), space.row(&b).unwrap().unwrap());
            let there = if metric == Metric::InnerProduct { -dot(&q, &x) } else { l2_squared(&q, &x) };
            let here = space.to_index(space.distance(&a, &b), space.length(&a), space.offset(&q));
            assert!((there - here).abs() < 1e-4, "{metric:?}: {there} {here}");
        }
    }

    #[test]
    fn vectors_without_direction_and_of_wrong_size_are_told_apart() {
        let space = Space::new(Metric::Cosine, 3, 1);
        assert_eq!(space.row(&[0.0; 3]), Ok(None));
        assert_eq!(space.row(&[0.0; 2]), Err(Fault::Dimensions { expected: 3, found: 2 }));
        assert_eq!(space.query(&[0.0; 3]).map(|q| q.len()), Ok(32));
        assert!(space.row(&[1e-30, 0.0, 0.0]).unwrap().is_some());
        assert!(space.row(&[f32::MAX; 3]).unwrap().unwrap().iter().all(|v| v.is_finite()));
    }
}
