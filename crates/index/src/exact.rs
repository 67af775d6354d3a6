//! The exact answer, by comparing with every row: what tests and benches hold searches against.

use crate::distance::{dot, l2_squared};
use crate::options::Metric;
use crate::page::Tid;
use crate::space::in_double;

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
        let distance = match self.metric {
            Metric::L2 => f64::from(l2_squared(q, vector)).sqrt(),
            Metric::InnerProduct => -f64::from(dot(q, vector)),
            Metric::Cosine => {
                1.0 - f64::from(dot(q, vector))
                    / (f64::from(dot(q, q)) * f64::from(dot(vector, vector))).sqrt()
            }
        };
        if distance.is_finite() { distance } else { in_double(self.metric, q, vector) }
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
