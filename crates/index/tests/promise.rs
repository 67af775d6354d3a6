//! What the index promises on data and for questions that are not what it was measured with.
//!
//! `examples/classes.rs` prints the same for many more kinds of both.
#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

mod support;

use howdah_index::calibrate::{SAMPLES, calibrate};
use howdah_index::directory::Index;
use howdah_index::memory::MemoryPages;
use howdah_index::options::{BuildOptions, Metric, Order, SearchOptions};
use howdah_index::rng::Rng;
use howdah_index::search::Search;
use support::*;

const ROWS: usize = 6_000;
const METRICS: [Metric; 3] = [Metric::L2, Metric::InnerProduct, Metric::Cosine];

fn normals(rng: &mut Rng, dimensions: usize, deviation: f32) -> Vec<f32> {
    (0..dimensions).map(|_| deviation * rng.normal()).collect()
}

fn times(vector: &[f32], factor: f32) -> Vec<f32> {
    vector.iter().map(|v| v * factor).collect()
}

fn table(row: impl FnMut(usize) -> Vec<f32>) -> Table {
    Table { rows: (0..ROWS).map(row).map(Some).collect() }
}

/// The table, built and measured as a server does it.
fn built(table: &mut Table, metric: Metric, dimensions: usize) -> (BuildOptions, MemoryPages) {
    let options = BuildOptions::new(metric, dimensions);
    let pages = build(table, options);
    let mut index = Index::open(&pages).unwrap();
    calibrate(&mut index, &pages, table, SAMPLES).unwrap();
    (options, pages)
}

fn holds(table: &mut Table, metric: Metric, questions: &[Vec<f32>], least: f64) {
    let (options, pages) = built(table, metric, questions[0].len());
    let asked = SearchOptions { target_recall: 0.97, ..SearchOptions::default() };
    let found = recall(&pages, table, &options, asked, questions, 10);
    assert!(found >= least, "{metric:?}: {found:.3}");
}

#[test]
fn the_length_of_a_question_changes_nothing() {
    let mut rng = Rng::new(1);
    let mut uniform = |_| (0..64).map(|_| rng.unit() as f32).collect::<Vec<f32>>();
    let mut rows = table(&mut uniform);
    let questions: Vec<Vec<f32>> = (0..60).map(uniform).collect();
    for metric in METRICS {
        for factor in [0.1, 1.0, 10.0] {
            let questions: Vec<Vec<f32>> = questions.iter().map(|q| times(q, factor)).collect();
            holds(&mut rows, metric, &questions, 0.95);
        }
    }
}

#[test]
fn rows_that_are_there_twenty_times_do_not_hide_the_next() {
    let mut rng = Rng::new(2);
    let originals: Vec<Vec<f32>> = (0..ROWS / 20).map(|_| normals(&mut rng, 48, 1.0)).collect();
    let mut rows = table(|n| originals[n / 20].clone());
    let questions: Vec<Vec<f32>> = (0..60).map(|_| normals(&mut rng, 48, 1.0)).collect();
    for metric in [Metric::L2, Metric::Cosine] {
        holds(&mut rows, metric, &questions, 0.95);
    }
}

#[test]
fn a_few_very_long_rows_do_not_spoil_the_others() {
    for size in [1e3, 1e18, 1e38] {
        let mut rng = Rng::new(3);
        let mut rows = table(|n| {
            let row = normals(&mut rng, 32, 1.0);
            let length = row.iter().map(|v| v * v).sum::<f32>().sqrt();
            if n % 500 == 0 { times(&row, size / length) } else { row }
        });
        let questions: Vec<Vec<f32>> = (0..60).map(|_| normals(&mut rng, 32, 1.0)).collect();
        holds(&mut rows, Metric::L2, &questions, 0.95);
        holds(&mut rows, Metric::InnerProduct, &questions, 0.93);
    }
}

#[test]
fn narrow_and_wide_groups_are_found_alike() {
    let mut rng = Rng::new(4);
    let centres: Vec<Vec<f32>> = (0..40).map(|_| normals(&mut rng, 64, 1.0)).collect();
    let mut near = |n: usize, deviation: f32| -> Vec<f32> {
        centres[n % 40].iter().map(|c| c + deviation * rng.normal()).collect()
    };
    let mut rows = table(|n| near(n, if n % 2 == 0 { 0.1 } else { 0.5 }));
    let questions: Vec<Vec<f32>> = (0..60).map(|n| near(n, 0.1)).collect();
    for metric in METRICS {
        holds(&mut rows, metric, &questions, 0.94);
    }
}

#[test]
fn questions_that_no_number_holds_get_as_many_rows_as_there_are() {
    let mut rng = Rng::new(5);
    let mut rows = table(|_| normals(&mut rng, 3, 1.0));
    for metric in METRICS {
        let (_, pages) = built(&mut rows, metric, 3);
        for question in [vec![1e38; 3], vec![3e38, 0.0, 0.0], vec![-3e38; 3], vec![2e19, 0.0, 0.0]] {
            let found = search(&pages, &mut rows, SearchOptions::default(), &question, 10);
            assert_eq!(found.len(), 10, "{metric:?} {question:?}");
            let asked = SearchOptions { order: Order::Relaxed, ..SearchOptions::default() };
            let index = Index::open(&pages).unwrap();
            let mut all = Search::new(&index, asked, &question).unwrap();
            let count = std::iter::from_fn(|| all.next(&pages, &mut rows).unwrap()).count();
            assert_eq!(count, ROWS, "{metric:?} {question:?}: read to its end in relaxed order");
        }
    }
}
