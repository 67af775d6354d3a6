//! Rows with what the tests need around them.
#![allow(dead_code)] // Each test file uses a part of it.
#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

use howdah_index::build::{Loader, Sampler, create_empty};
use howdah_index::directory::Index;
use howdah_index::exact::Exact;
use howdah_index::insert::insert;
use howdah_index::memory::{MemoryPages, row_of_tid, tid_of_row};
use howdah_index::options::{BuildOptions, SearchOptions};
use howdah_index::page::{Tid, VectorSource};
use howdah_index::rng::Rng;
use howdah_index::search::Search;

/// A table: row `i` is a vector or deleted.
#[derive(Clone, Default)]
pub struct Table {
    pub rows: Vec<Option<Vec<f32>>>,
}

impl VectorSource for Table {
    fn prefetch(&mut self, _tids: &[Tid]) {}

    fn fetch(&mut self, tid: Tid, out: &mut Vec<f32>) -> bool {
        let Some(Some(row)) = self.rows.get(row_of_tid(tid)) else { return false };
        out.clear();
        out.extend_from_slice(row);
        true
    }

    fn is_dead(&self) -> bool {
        true
    }
}

impl Table {
    /// `n` rows around `centres` points, unit variance around normal centres of three times that.
    pub fn blobs(n: usize, dimensions: usize, centres: usize, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let middle: Vec<f32> = (0..centres * dimensions).map(|_| 3.0 * rng.normal()).collect();
        let row = |_| {
            let at = rng.below(centres) * dimensions;
            Some(middle[at..at + dimensions].iter().map(|m| m + rng.normal()).collect())
        };
        Self { rows: (0..n).map(row).collect() }
    }

    pub fn live(&self) -> usize {
        self.rows.iter().flatten().count()
    }

    pub fn exact(&self, options: &BuildOptions, query: &[f32], k: usize) -> Vec<(f64, Tid)> {
        let mut exact = Exact::new(options.metric, query, k);
        for (i, row) in self.rows.iter().enumerate() {
            if let Some(row) = row {
                exact.push(tid_of_row(i), row);
            }
        }
        exact.nearest().to_vec()
    }
}

pub fn build(table: &Table, options: BuildOptions) -> MemoryPages {
    let rows = table.live() as u64;
    let mut sampler = Sampler::new(options, rows, 64 << 20, 5).unwrap();
    for row in table.rows.iter().flatten() {
        sampler.push(row).unwrap();
    }
    let trained = sampler.train(rows, 1, &|| ());
    let mut encoder = trained.encoder();
    let mut codes = Vec::new();
    for (i, row) in table.rows.iter().enumerate() {
        let mut code = Vec::new();
        if let Some(row) = row
            && let Some(list) = encoder.encode(tid_of_row(i), row, &mut code).unwrap()
        {
            codes.push((list, code));
        }
    }
    codes.sort_by_key(|c| c.0);
    let pages = MemoryPages::new();
    let mut loader = Loader::new(&pages, &trained);
    for (list, code) in &codes {
        loader.push(*list, code).unwrap();
    }
    assert_eq!(loader.finish().unwrap(), codes.len() as u64);
    pages
}

pub fn empty(options: &BuildOptions) -> MemoryPages {
    let pages = MemoryPages::new();
    create_empty(&pages, options, 5).unwrap();
    pages
}

/// Inserts rows `from..` of the table.
pub fn insert_rows(index: &mut Index, pages: &MemoryPages, table: &mut Table, from: usize) {
    for i in from..table.rows.len() {
        let Some(row) = table.rows[i].clone() else { continue };
        insert(index, pages, table, tid_of_row(i), &row).unwrap();
        if i % 10 == 0 {
            pages.end_scans();
        }
    }
}

/// The first `k` rows that a search returns.
pub fn search(
    pages: &MemoryPages,
    table: &mut Table,
    options: SearchOptions,
    query: &[f32],
    k: usize,
) -> Vec<(f64, Tid)> {
    let index = Index::open(pages).unwrap();
    let mut search = Search::new(&index, options, query).unwrap();
    let mut found = Vec::new();
    while found.len() < k {
        match search.next(pages, table).unwrap() {
            Some(hit) => found.push((hit.distance, hit.tid)),
            None => break,
        }
    }
    assert!(found.windows(2).all(|w| w[0].0.total_cmp(&w[1].0).is_le()), "out of order");
    let mut tids: Vec<Tid> = found.iter().map(|f| f.1).collect();
    tids.sort_unstable();
    assert!(tids.windows(2).all(|w| w[0] != w[1]), "a row came twice");
    found
}

/// Mean share of the `k` nearest that searches find.
pub fn recall(
    pages: &MemoryPages,
    table: &mut Table,
    options: &BuildOptions,
    asked: SearchOptions,
    queries: &[Vec<f32>],
    k: usize,
) -> f64 {
    let mut hits = 0;
    for query in queries {
        let truth = table.exact(options, query, k);
        let found = search(pages, table, asked, query, k);
        let limit = truth.last().map_or(f64::NEG_INFINITY, |t| t.0) + 1e-5;
        hits += found.iter().filter(|f| f.0 <= limit).count();
        assert!(found.len() >= truth.len(), "{} of {} rows", found.len(), truth.len());
    }
    hits as f64 / (queries.len() * k) as f64
}

/// Checks the structure, codes included; panics with the first problems.
pub fn assert_sound(pages: &MemoryPages, table: &mut Table, rows: usize) {
    let index = Index::open(pages).unwrap();
    let report = howdah_index::check::check(&index, pages, Some(table)).unwrap();
    assert!(report.is_sound(), "{:#?}", report.problems);
    assert_eq!(report.rows as usize, rows);
}
