//! The exact answer, by comparing with every row: what tests and benches hold searches against.

use crate::options::Metric;
use crate::page::Tid;

/// The `k` rows nearest to a query among those shown.
#[derive(Clone, Debug)]
pub struct Exact {
    metric: Metric,
    query: Vec<f32>,
    k: usize,
    nearest: Vec<(f64, Tid)>,
}

impl Exact {
    /// Nothing shown yet.
    #[must_use]
    pub fn new(metric: Metric, query: &[f32], k: usize) -> Self {
        Self { metric, query: query.to_vec(), k, nearest: Vec::new() }
    }

    /// Distance of the query to a vector, as the operator returns it.
    #[must_use]
    pub fn distance(&self, vector: &[f32]) -> f64 {
        let q = &self.query;
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        match self.metric {
            Metric::L2 => {
                q.iter().zip(vector).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>().sqrt()
            }
            Metric::InnerProduct => -dot(q, vector),
            Metric::Cosine => 1.0 - dot(q, vector) / (dot(q, q) * dot(vector, vector)).sqrt(),
        }
    }

    /// Shows a row.
    pub fn push(&mut self, tid: Tid, vector: &[f32]) {
        let distance = self.distance(vector);
        let before = |e: &(f64, Tid)| e.0.total_cmp(&distance).then(e.1.cmp(&tid)).is_lt();
        let at = self.nearest.partition_point(before);
        if at < self.k {
            self.nearest.insert(at, (distance, tid));
            self.nearest.truncate(self.k);
        }
    }

    /// The nearest rows shown, in order, equal distances in order of TID.
    #[must_use]
    pub fn nearest(&self) -> &[(f64, Tid)] {
        &self.nearest
    }
}
