//! How far does a search read for the recall it was asked for?
//!
//! A curve says up to which score lists have to be read for a share of the nearest rows. [`crate::calibrate`] measures it,
//! searches ([`crate::search::probe`]) read it; where an index has none yet, that of text embeddings stands in.

use crate::format::meta::Point;

/// Numbers of nearest rows that a curve has points for.
pub(crate) const RANKS: [usize; 3] = [1, 10, 100];
/// Recalls that a curve has points for.
pub(crate) const RECALLS: [f32; 12] = [0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.9995];
/// Recall that scanning by sign bits may lose on top of the lists left out, as a share of what is left out.
const MARGIN: f64 = 0.85;
/// Scores for [`RECALLS`] in units of the mean squared radius, where nothing has been measured yet: those of text
/// embeddings.
const UNMEASURED: [f32; 12] = [0.05, 0.28, 0.58, 0.8, 1.13, 1.39, 1.61, 1.75, 1.9, 2.07, 2.25, 2.4];

/// The score to read up to for `k` rows at `recall`, from a curve or, without one, from experience with text.
#[must_use]
pub fn score_for(curve: &[Point], k: usize, recall: f64, spread: f32) -> f32 {
    let greatest = curve.iter().map(|p| p.rank).max().unwrap_or(RANKS[RANKS.len() - 1] as u32);
    // The line that goes on beyond the greatest rank rises too slowly: without this, of 1,000 rows of text asked for at
    // 0.97, 0.93 were found.
    let beyond = 1.0 + (k as f64 / f64::from(greatest)).max(1.0).ln();
    let asked = 1.0 - (1.0 - recall) * MARGIN / beyond;
    if curve.is_empty() {
        return spread * interpolate(RECALLS.iter().copied().zip(UNMEASURED), asked as f32);
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
        let at = |k, recall| score_for(&curve, k, recall, 1.0);
        assert!(at(10, 0.9) < at(10, 0.95) && at(10, 0.95) < at(10, 0.99));
        assert!(at(10, 0.95) < at(30, 0.95) && at(30, 0.95) < at(100, 0.95));
        assert!(at(100, 0.95) < at(5000, 0.95));
        assert!(score_for(&[], 10, 0.97, 2.0) > score_for(&[], 10, 0.9, 2.0));
    }
}
