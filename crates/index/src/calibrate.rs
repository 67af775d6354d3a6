//! What recall costs in this index, measured: the curve that turns `target_recall` into lists read.
//!
//! A few hundred rows of the index are taken as queries and searched exhaustively (which reads codes, not the table, and
//! compares only candidates exactly). For every true neighbour the score ([`crate::search::probe`]) of the list that
//! holds it is noted; the score below which a share r of them lies is the score to read up to for a recall of r. That is
//! done for the nearest 1, 10 and 100 rows.

use crate::directory::Index;
use crate::format::meta::{META, META_USED, Meta, Point};
use crate::format::scan::BlockView;
use crate::format::{Fault, PageKind, Special};
use crate::options::SearchOptions;
use crate::page::{Outcome, PageRead, PageStore, Target, Tid, VectorSource};
use crate::rng::Rng;
use crate::search::{Neighbour, Search};

/// Queries that a calibration samples.
pub const SAMPLES: usize = 200;
const RANKS: [usize; 3] = [1, 10, 100];
const RECALLS: [f32; 12] = [0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.9995];
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

/// A row taken at random: its TID. `None` when chance hits an empty place.
fn any_row<S: PageStore>(
    index: &Index,
    store: &S,
    rng: &mut Rng,
    rows: &[(u64, usize)],
) -> Result<Option<Tid>, Fault> {
    let total = rows.last().map_or(0, |r| r.0);
    let at = rng.below(total as usize) as u64;
    let slot = rows[rows.partition_point(|r| r.0 <= at)].1;
    let Some(entry) = index.directory.list(slot) else { return Ok(None) };
    let mut place = entry.head;
    let mut further = rng.below(entry.blocks.max(1) as usize);
    while place.is_some() && store.has(place.page) {
        let guard = store.read(place.page);
        let block = BlockView::new(&index.layout, guard.body(), usize::from(place.index));
        // The list may have been replaced and its pages taken for others.
        if Special::read(place.page, guard.special())?.kind != PageKind::Scan || block.list() != entry.id {
            return Ok(None);
        }
        if further == 0 || !block.next().is_some() {
            let lane = rng.below(index.layout.capacity);
            return Ok((block.live() >> lane & 1 == 1).then(|| block.tid(lane)));
        }
        further -= 1;
        place = block.next();
    }
    Ok(None)
}

/// Measures the curve with `samples` queries. Empty when the index is too small for it to matter.
pub fn measure<S: PageStore, V: VectorSource>(
    index: &mut Index,
    store: &S,
    source: &mut V,
    samples: usize,
) -> Result<Vec<Point>, Fault> {
    let mut rows = rows_before(index);
    let total = rows.last().map_or(0, |r| r.0);
    if total < 1000 {
        return Ok(Vec::new());
    }
    let mut rng = Rng::new(index.meta.seed ^ total);
    let mut notes: Vec<Vec<Note>> = vec![Vec::new(); RANKS.len()];
    let (mut vector, mut taken) = (Vec::new(), 0);
    for _ in 0..samples * 4 {
        if taken == samples {
            break;
        }
        store.interrupts();
        let Some(tid) = any_row(index, store, &mut rng, &rows)? else { continue };
        if !source.fetch(tid, &mut vector) {
            continue;
        }
        if one_query(index, store, source, tid, &vector, &mut notes)? {
            taken += 1;
        } else {
            // Who vacuums holds back nobody who splits lists.
            index.refresh(store)?;
            rows = rows_before(index);
        }
    }
    Ok(RANKS.iter().zip(notes).flat_map(|(rank, notes)| points(*rank, notes, taken, total)).collect())
}

/// Lists by slot, each with the rows up to its end.
fn rows_before(index: &Index) -> Vec<(u64, usize)> {
    let mut total = 0;
    let lists = index.directory.lists();
    lists
        .map(|(slot, entry)| {
            total += u64::from(entry.rows);
            (total, slot)
        })
        .collect()
}

/// A true neighbour: the score of its list; or a list: its score and rows.
#[derive(Clone, Copy)]
struct Note {
    score: f32,
    rows: u32,
    neighbours: u32,
}

/// Notes what one query finds. False, with nothing noted, when a list was replaced meanwhile.
fn one_query<S: PageStore, V: VectorSource>(
    index: &Index,
    store: &S,
    source: &mut V,
    own: Tid,
    vector: &[f32],
    notes: &mut [Vec<Note>],
) -> Result<bool, Fault> {
    let wanted = RANKS[RANKS.len() - 1];
    let options = SearchOptions { expected_rows: wanted as u32 + 1, ..SearchOptions::default() };
    let mut search = Search::new(index, options, vector)?;
    let Some(found) = search.exhaustive(store, source)? else { return Ok(false) };
    let found: Vec<Neighbour> = found.into_iter().filter(|f| f.tid != own).collect();
    for (rank, notes) in RANKS.iter().zip(notes) {
        if found.len() < *rank {
            continue;
        }
        let near = found[rank - 1].distance;
        let probes = search.probes();
        let mut neighbours = vec![0u32; probes.len()];
        for neighbour in &found[..*rank] {
            neighbours[neighbour.rank as usize] += 1;
        }
        for (at, count) in neighbours.into_iter().enumerate() {
            let rows = probes.rows_at(at);
            notes.push(Note { score: probes.score(at, near), rows, neighbours: count });
        }
    }
    Ok(true)
}

fn points(rank: usize, mut notes: Vec<Note>, queries: usize, rows: u64) -> Vec<Point> {
    notes.sort_unstable_by(|a, b| a.score.total_cmp(&b.score));
    let total: u64 = notes.iter().map(|n| u64::from(n.neighbours)).sum();
    let mut wanted = RECALLS.into_iter().peekable();
    let (mut hits, mut read) = (0u64, 0u64);
    let mut out = Vec::new();
    for note in &notes {
        hits += u64::from(note.neighbours);
        read += u64::from(note.rows);
        while let Some(&recall) = wanted.peek() {
            if (hits as f64) < f64::from(recall) * total as f64 || total == 0 {
                break;
            }
            let share = (read as f64 / (queries as f64 * rows as f64)) as f32;
            out.push(Point { rank: rank as u32, recall, score: note.score, share });
            wanted.next();
        }
    }
    out
}

/// Measures the curve and writes it to the meta page.
pub fn calibrate<S: PageStore, V: VectorSource>(
    index: &mut Index,
    store: &S,
    source: &mut V,
    samples: usize,
) -> Result<(), Fault> {
    index.refresh(store)?;
    let curve = measure(index, store, source, samples)?;
    let rows = index.directory.rows();
    store.change(&[Target::old(META)], |pages| {
        let Some(page) = pages.first_mut() else { return Outcome::Abandon(Ok(())) };
        let mut meta = match Meta::read(page.body) {
            Ok(meta) => meta,
            Err(fault) => return Outcome::Abandon(Err(fault)),
        };
        (meta.curve, meta.measured_rows, meta.measured_lists) = (curve, rows, meta.lists);
        let head = meta.directory;
        meta.changed(page.body, head);
        meta.write(page.body);
        page.used = META_USED;
        Outcome::Commit(Ok(()))
    })?;
    index.refresh(store)
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
