//! How far does a search read for the recall it was asked for?
//!
//! A curve says up to which score lists have to be read for a share of the nearest rows. [`crate::calibrate`] measures it,
//! searches ([`crate::search::probe`]) read it; where an index has none yet, that of text embeddings stands in.

use crate::format::meta::{Meta, Point};
use crate::options::Metric;

/// Numbers of nearest rows that a curve has points for.
pub(crate) const RANKS: [usize; 3] = [1, 10, 100];
/// Recalls that a curve has points for.
pub(crate) const RECALLS: [f32; 12] = [0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.9995];
/// Shares of the lists that are read by remote questions, and by others where nothing was measured; about.
const REMOTE_SHARE: f32 = 0.5;
const NEAR_SHARE: f32 = 0.15;
/// Recall that scanning by sign bits may lose on top of the lists left out, as a share of what is left out.
const MARGIN: f64 = 0.85;
/// The same for remote questions, of which fewer were asked.
const REMOTE_MARGIN: f64 = 0.5;
/// Scores for [`RECALLS`] where nothing has been measured yet: those of text embeddings.
const UNMEASURED: [f32; 12] = [0.05, 0.18, 0.34, 0.45, 0.62, 0.74, 0.84, 0.91, 0.96, 1.03, 1.12, 1.2];

/// The scores up to which lists are read.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// For questions like the rows.
    near: Vec<Point>,
    /// For those that are further away; empty where none was measured.
    remote: Vec<Point>,
    /// [`crate::search::probe::Probes::remoteness`] from which on a question is further away.
    pub remote_from: f32,
}

impl Curve {
    /// The curves of an index whose lists have this mean squared radius.
    #[must_use]
    pub fn of(meta: &Meta, spread: f32) -> Self {
        let mut near = meta.curve.clone();
        if !meta.relative {
            near.iter_mut().for_each(|point| point.score = converted(point.score, meta.metric, spread));
        }
        Self { near, remote: meta.remote.clone(), remote_from: meta.remote_from }
    }

    /// About what share of the lists is read for `k` rows at `recall`.
    #[must_use]
    pub fn share(&self, k: usize, recall: f64, remote: bool) -> f32 {
        let of = |point: &&Point| point.rank as usize >= k && f64::from(point.recall) >= recall;
        if remote { REMOTE_SHARE } else { self.near.iter().find(of).map_or(NEAR_SHARE, |point| point.share) }
    }

    /// The score to read up to for `k` rows at `recall`.
    #[must_use]
    pub fn score(&self, k: usize, recall: f64, remote: bool) -> f32 {
        let near = score_for(&self.near, k, recall, MARGIN);
        if remote && !self.remote.is_empty() {
            near.max(score_for(&self.remote, k, recall, REMOTE_MARGIN))
        } else {
            near
        }
    }
}

/// A score as indexes had it until they were measured in units of each list's radius: an absolute distance. About what it
/// means, until a vacuum measures anew.
fn converted(score: f32, metric: Metric, spread: f32) -> f32 {
    let score = score / spread.max(f32::MIN_POSITIVE);
    if metric == Metric::InnerProduct { score + 0.4 } else { (score + 0.15) / 2.1 }
}

/// The score to read up to for `k` rows at `recall`, from a curve or, without one, from experience with text.
#[must_use]
fn score_for(curve: &[Point], k: usize, recall: f64, margin: f64) -> f32 {
    let greatest = curve.iter().map(|p| p.rank).max().unwrap_or(RANKS[RANKS.len() - 1] as u32);
    // The line that goes on beyond the greatest rank rises too slowly: without this, of 1,000 rows of text asked for at
    // 0.97, 0.93 were found.
    let beyond = 1.0 + (k as f64 / f64::from(greatest)).max(1.0).ln();
    let asked = 1.0 - (1.0 - recall) * margin / beyond;
    if curve.is_empty() {
        return interpolate(RECALLS.iter().copied().zip(UNMEASURED), asked as f32);
    }
    let at = |rank: u32| {
        let points = curve.iter().filter(|p| p.rank == rank).map(|p| (p.recall, p.score));
        interpolate(points, asked as f32)
    };
    let mut ranks: Vec<u32> = curve.iter().map(|p| p.rank).collect();
    ranks.dedup();
    let upper = ranks.iter().position(|r| *r as usize >= k).unwrap_or(ranks.len() - 1);
    let lower = upper.saturating_sub(1);
    let (low, high) = (ranks[lower], ranks[upper]);
    if low == high {
        return at(high);
    }
    let part = (k.max(1) as f32 / low as f32).ln() / (high as f32 / low as f32).ln();
    let rise = at(high) - at(low);
    // Beyond the greatest rank the line goes on, but never down.
    at(high) + if part > 1.0 { rise.max(0.0) } else { rise } * (part - 1.0)
}

/// Straight lines between points of rising abscissa, over −ln(1 − x), which makes a curve of recalls nearly straight.
fn interpolate(points: impl Iterator<Item = (f32, f32)>, x: f32) -> f32 {
    let bend = |x: f32| -(1.0 - x).max(1e-6).ln();
    let mut before: Option<(f32, f32)> = None;
    let mut last = 0.0;
    for (px, py) in points {
        if px >= x {
            let Some((bx, by)) = before else { return py };
            return by + (py - by) * (bend(x) - bend(bx)) / (bend(px) - bend(bx)).max(1e-9);
        }
        before = Some((px, py));
        last = py;
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(rank: u32, recall: f32, score: f32) -> Point {
        Point { rank, recall, score, share: 0.0 }
    }

    #[test]
    fn scores_rise_with_recall_and_lie_between_ranks() {
        let curve = [point(10, 0.9, 1.0), point(10, 0.99, 2.0), point(100, 0.9, 2.0), point(100, 0.99, 4.0)];
        let at = |k, recall| score_for(&curve, k, recall, MARGIN);
        assert!(at(10, 0.9) < at(10, 0.95) && at(10, 0.95) < at(10, 0.99));
        assert!(at(10, 0.95) < at(30, 0.95) && at(30, 0.95) < at(100, 0.95));
        assert!(at(100, 0.95) < at(5000, 0.95));
        assert!(score_for(&[], 10, 0.97, MARGIN) > score_for(&[], 10, 0.9, MARGIN));
    }
}
