//! What a scan will cost, for a planner: pages, codes and rows, from what the index has measured of itself.

use crate::format::Layout;
use crate::format::meta::Point;
use crate::options::SearchOptions;

/// Share of codes read for RECALLS when nothing has been measured: that of text embeddings.
const UNMEASURED: [(f32, f32); 5] = [(0.5, 0.003), (0.9, 0.04), (0.97, 0.12), (0.99, 0.2), (0.999, 0.5)];
/// Codes refined and rows fetched beyond those wanted; measured, they hardly depend on anything.
const REFINED: f64 = 70.0;
const FETCHED: f64 = 2.0;

/// The facts an estimate is made of.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Sizes of everything.
    pub layout: &'a Layout,
    /// Rows in the index.
    pub rows: f64,
    /// Lists.
    pub lists: f64,
    /// The calibration curve.
    pub curve: &'a [Point],
}

/// What one scan does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// Directory pages looked through, from memory after the first scan of a session.
    pub directory_pages: f64,
    /// Scan pages read, mostly one after the other.
    pub scan_pages: f64,
    /// Refine pages read, anywhere.
    pub refine_pages: f64,
    /// Rows of the table fetched to compare them.
    pub fetched: f64,
    /// Codes compared; a few nanoseconds each.
    pub codes: f64,
    /// Share of the index that is read.
    pub share: f64,
}

/// Share of all codes that a search for `k` rows reads.
#[must_use]
pub fn share(facts: &Facts<'_>, options: &SearchOptions, k: f64) -> f64 {
    if facts.rows <= 1000.0 || facts.lists <= 1.0 {
        return 1.0;
    }
    if options.probes > 0 {
        return (f64::from(options.probes) / facts.lists).min(1.0);
    }
    let recall = options.target_recall as f32;
    let between = |points: &[(f32, f32)]| {
        let at = points.partition_point(|p| p.0 < recall);
        match (at.checked_sub(1).map(|i| points[i]), points.get(at)) {
            (Some(a), Some(b)) => a.1 + (b.1 - a.1) * (recall - a.0) / (b.0 - a.0).max(1e-6),
            (Some(a), None) => a.1,
            (None, Some(b)) => b.1,
            (None, None) => 1.0,
        }
    };
    // The measured rank nearest to k from above; beyond the greatest, reading grows with the square root of k.
    let rank = facts.curve.iter().map(|p| p.rank).filter(|r| f64::from(*r) >= k).min();
    let rank = rank.or_else(|| facts.curve.iter().map(|p| p.rank).max());
    let measured: Vec<(f32, f32)> =
        facts.curve.iter().filter(|p| Some(p.rank) == rank).map(|p| (p.recall, p.share)).collect();
    let base = f64::from(between(if measured.is_empty() { &UNMEASURED } else { &measured }));
    let beyond = (k / rank.map_or(10.0, f64::from)).max(1.0).sqrt();
    (base * beyond).clamp((k / facts.rows).min(1.0), 1.0)
}

/// The cost of returning `rows_wanted` rows when a filter lets the share `selectivity` of them through.
#[must_use]
pub fn estimate(facts: &Facts<'_>, options: &SearchOptions, rows_wanted: f64, selectivity: f64) -> Estimate {
    let layout = facts.layout;
    let looked_at = (rows_wanted.max(1.0) / selectivity.max(1e-9)).min(facts.rows.max(1.0));
    // Rounds of growing size read again what the rounds before them read: a third more in all.
    let first = f64::from(options.expected_rows);
    let again = if looked_at > first { 4.0 / 3.0 } else { 1.0 };
    let share = share(facts, options, looked_at.max(first));
    let codes = facts.rows * share * again;
    let lists = facts.lists * share * again;
    let a_page = (layout.blocks_a_page * layout.capacity) as f64;
    let refined = REFINED.min(facts.rows) + 1.5 * looked_at;
    Estimate {
        directory_pages: (facts.lists / layout.entries_a_page as f64).ceil(),
        // A list begins and ends anywhere on a page.
        scan_pages: codes / a_page + lists,
        refine_pages: refined,
        fetched: looked_at + FETCHED,
        codes,
        share,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts<'a>(layout: &'a Layout, curve: &'a [Point]) -> Facts<'a> {
        Facts { layout, rows: 100_000.0, lists: 1000.0, curve }
    }

    #[test]
    fn more_recall_and_narrower_filters_cost_more() {
        let layout = Layout::new(384, 5).unwrap();
        let curve: Vec<Point> = [(10, 0.9, 0.05), (10, 0.99, 0.2), (100, 0.9, 0.1), (100, 0.99, 0.3)]
            .map(|(rank, recall, share)| Point { rank, recall, score: 0.0, share })
            .to_vec();
        for curve in [&curve[..], &[]] {
            let facts = facts(&layout, curve);
            let cost = |recall, selectivity| {
                let options = SearchOptions { target_recall: recall, ..SearchOptions::default() };
                estimate(&facts, &options, 10.0, selectivity).codes
            };
            assert!(cost(0.9, 1.0) < cost(0.97, 1.0) && cost(0.97, 1.0) < cost(0.99, 1.0));
            assert!(cost(0.97, 1.0) < cost(0.97, 0.1) && cost(0.97, 0.1) <= cost(0.97, 0.001));
            assert!(cost(0.97, 1e-12) <= 100_000.0 * 4.0 / 3.0 + 1.0);
        }
    }
}
