//! What recall costs in this index, measured: the curve that turns `target_recall` into lists read.
//!
//! A few hundred rows of the index are taken as queries and searched exhaustively (which reads codes, not the table, and
//! compares only candidates exactly). For every true neighbour the score ([`crate::search::probe`]) of the list that
//! holds it is noted; the score below which a share r of them lies is the score to read up to for a recall of r. That is
//! done for the nearest 1, 10 and 100 rows.

use crate::curve::{RANKS, RECALLS};
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
            // Lists are split while a vacuum measures.
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
