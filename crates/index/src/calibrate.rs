//! What recall costs in this index, measured: the curves that turn `target_recall` into lists read.
//!
//! A few hundred rows of the index are taken as questions and searched exhaustively (which reads codes, not the table, and
//! compares only candidates exactly). For every true neighbour the score ([`crate::search::probe`]) of the list that
//! holds it is noted; the score below which a share r of them lies is the score to read up to for a recall of r. That is
//! done for the nearest 1, 10 and 100 rows. Copies of the row that asks, and what can hardly be told from one, are left out:
//! whoever asks has no row in the index, and a row finds its own copies in the first list.
//!
//! The same is done with questions that are unlike the rows: turned round, of any direction, with noise of their own length,
//! four times as long. Of their curves the most demanding score counts, for questions further from the lists than nineteen of
//! twenty rows were.

use crate::curve::{RANKS, RECALLS};
use crate::directory::Index;
use crate::format::meta::{META, META_USED, Meta, Point};
use crate::format::scan::BlockView;
use crate::format::{Fault, PageKind, Special};
use crate::options::SearchOptions;
use crate::page::{Outcome, PageRead, PageStore, Target, Tid, VectorSource};
use crate::rng::Rng;
use crate::search::probe::rank_term;
use crate::search::{Neighbour, Search};

/// Queries that a calibration samples.
pub const SAMPLES: usize = 200;
/// One question of each unlike kind for so many rows that ask.
const UNLIKE_PART: usize = 8;
/// Share of the rows that are as near to the lists as a question has to be to be like them.
const LIKE: f64 = 0.95;
/// A row nearer to another than this share of the mean squared radius is its copy.
const COPY: f32 = 1e-5;
/// Most copies that are seen through: of rows with more, others are asked.
const MOST_COPIES: usize = 400;

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

/// What was measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// The curve for questions like the rows; empty when the index is too small for it to matter.
    pub curve: Vec<Point>,
    /// The one for questions that are further away.
    pub remote: Vec<Point>,
    /// How far they have to be.
    pub remote_from: f32,
}

/// The kinds of questions that are unlike rows.
#[derive(Clone, Copy, Debug)]
enum Unlike {
    Negated,
    AnyDirection,
    Noisy,
    Long,
}

impl Unlike {
    const ALL: [Unlike; 4] = [Unlike::Negated, Unlike::AnyDirection, Unlike::Noisy, Unlike::Long];

    /// Makes such a question of a row.
    fn make(self, row: &mut [f32], rng: &mut Rng) {
        let length = row.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>();
        let deviation = (length / row.len() as f64).sqrt() as f32;
        for value in row {
            *value = match self {
                Unlike::Negated => -*value,
                Unlike::AnyDirection => deviation * rng.normal(),
                Unlike::Noisy => *value + deviation * rng.normal(),
                Unlike::Long => 4.0 * *value,
            };
        }
    }
}

/// Measures the curves with `samples` rows that ask, and some questions unlike them.
pub fn measure<S: PageStore, V: VectorSource>(
    index: &mut Index,
    store: &S,
    source: &mut V,
    samples: usize,
) -> Result<Measured, Fault> {
    let total = index.directory.rows();
    if total < 1000 {
        return Ok(Measured::default());
    }
    let mut rng = Rng::new(index.meta.seed ^ total);
    let like = ask(index, store, source, samples, None, &mut rng)?;
    let mut measured = Measured { curve: like.curve(total), ..Measured::default() };
    let mut remoteness = like.remoteness;
    remoteness.sort_unstable_by(f32::total_cmp);
    let at = (remoteness.len() as f64 * LIKE) as usize;
    let Some(remote_from) = remoteness.get(at.min(remoteness.len().saturating_sub(1))) else {
        return Ok(measured);
    };
    measured.remote_from = *remote_from;
    for kind in Unlike::ALL {
        let unlike = ask(index, store, source, samples / UNLIKE_PART, Some(kind), &mut rng)?.curve(total);
        if measured.remote.is_empty() {
            measured.remote = unlike;
        } else if unlike.len() == measured.remote.len() {
            for (worst, other) in measured.remote.iter_mut().zip(unlike) {
                worst.score = worst.score.max(other.score);
            }
        }
    }
    // The page keeps every rank and recall, or nothing.
    if measured.remote.len() != RANKS.len() * RECALLS.len() {
        measured.remote.clear();
    }
    Ok(measured)
}

/// What questions of one kind found.
struct Asked {
    /// By rank.
    notes: Vec<Vec<Note>>,
    taken: usize,
    remoteness: Vec<f32>,
}

impl Asked {
    fn curve(&self, rows: u64) -> Vec<Point> {
        let of = |(rank, notes): (&usize, &Vec<Note>)| points(*rank, notes.clone(), self.taken, rows);
        RANKS.iter().zip(&self.notes).flat_map(of).collect()
    }
}

/// Asks `samples` rows, or questions made of them.
fn ask<S: PageStore, V: VectorSource>(
    index: &mut Index,
    store: &S,
    source: &mut V,
    samples: usize,
    unlike: Option<Unlike>,
    rng: &mut Rng,
) -> Result<Asked, Fault> {
    let mut asked = Asked { notes: vec![Vec::new(); RANKS.len()], taken: 0, remoteness: Vec::new() };
    let mut rows = rows_before(index);
    let mut vector = Vec::new();
    for _ in 0..samples * 4 {
        if asked.taken == samples {
            break;
        }
        store.interrupts();
        let Some(tid) = any_row(index, store, rng, &rows)? else { continue };
        if !source.fetch(tid, &mut vector) {
            continue;
        }
        if let Some(kind) = unlike {
            kind.make(&mut vector, rng);
        }
        match one_query(index, store, source, &vector, unlike.is_none(), &mut asked)? {
            Answer::Noted => asked.taken += 1,
            Answer::Copies => {}
            Answer::Replaced => {
                // Lists are split while a vacuum measures.
                index.refresh(store)?;
                rows = rows_before(index);
            }
        }
    }
    Ok(asked)
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

/// What came of a question.
enum Answer {
    /// What it found is noted.
    Noted,
    /// It found little but copies of itself.
    Copies,
    /// A list was replaced meanwhile.
    Replaced,
}

/// Notes what one query finds; of a row that asks, without itself and its copies.
fn one_query<S: PageStore, V: VectorSource>(
    index: &Index,
    store: &S,
    source: &mut V,
    vector: &[f32],
    is_row: bool,
    asked: &mut Asked,
) -> Result<Answer, Fault> {
    let most = RANKS[RANKS.len() - 1];
    let copy = COPY * index.spread;
    let mut wanted = most + 1;
    let (search, found) = loop {
        let options = SearchOptions { expected_rows: wanted as u32, ..SearchOptions::default() };
        let mut search = Search::new(index, options, vector)?;
        let own = search.own_distance(vector);
        let Some(found) = search.exhaustive(store, source)? else { return Ok(Answer::Replaced) };
        let all = found.len();
        let found: Vec<Neighbour> =
            found.into_iter().filter(|f| !is_row || (f.distance - own).abs() > copy).collect();
        if found.len() >= most || all < wanted {
            break (search, found);
        }
        if wanted > MOST_COPIES {
            return Ok(Answer::Copies);
        }
        wanted *= 4;
    };
    let probes = search.probes();
    asked.remoteness.push(probes.remoteness());
    for (rank, notes) in RANKS.iter().zip(&mut asked.notes) {
        if found.len() < *rank {
            continue;
        }
        let near = found[rank - 1].distance;
        let mut lists: Vec<Note> = (0..probes.len())
            .map(|at| Note { score: probes.score(at, near, 0), rows: probes.rows_at(at), neighbours: 0 })
            .collect();
        for neighbour in &found[..*rank] {
            lists[neighbour.rank as usize].neighbours += 1;
        }
        lists.sort_unstable_by(|a, b| a.score.total_cmp(&b.score));
        for (at, note) in lists.iter_mut().enumerate() {
            note.score += rank_term(at);
        }
        notes.extend(lists);
    }
    Ok(Answer::Noted)
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
    let Measured { curve, remote, remote_from } = measure(index, store, source, samples)?;
    let rows = index.directory.rows();
    store.change(&[Target::old(META)], |pages| {
        let Some(page) = pages.first_mut() else { return Outcome::Abandon(Ok(())) };
        let mut meta = match Meta::read(page.body) {
            Ok(meta) => meta,
            Err(fault) => return Outcome::Abandon(Err(fault)),
        };
        (meta.curve, meta.measured_rows, meta.measured_lists) = (curve, rows, meta.lists);
        (meta.relative, meta.remote, meta.remote_from) = (true, remote, remote_from);
        let head = meta.directory;
        meta.changed(page.body, head);
        meta.write(page.body);
        page.used = META_USED;
        Outcome::Commit(Ok(()))
    })?;
    index.refresh(store)
}
