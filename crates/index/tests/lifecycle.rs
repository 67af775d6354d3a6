//! Stories of an index: built or created without rows, grown, searched, vacuumed.
#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

mod support;

use howdah_index::build::{Sampler, Trained};
use howdah_index::calibrate::calibrate;
use howdah_index::directory::Index;
use howdah_index::memory::{row_of_tid, tid_of_row};
use howdah_index::options::{BuildOptions, Metric, Order, SearchOptions};
use howdah_index::page::{PAGE_SIZE, PageStore};
use howdah_index::search::Search;
use howdah_index::{info, vacuum};
use support::*;

const METRICS: [Metric; 3] = [Metric::L2, Metric::InnerProduct, Metric::Cosine];

fn asked(target_recall: f64) -> SearchOptions {
    SearchOptions { target_recall, ..SearchOptions::default() }
}

fn queries(table: &Table, n: usize) -> Vec<Vec<f32>> {
    table
        .rows
        .iter()
        .flatten()
        .step_by(table.live() / n)
        .map(|r| r.iter().map(|v| v * 0.9 + 0.1).collect())
        .collect()
}

#[test]
fn a_built_index_finds_what_it_was_asked_for() {
    for metric in METRICS {
        let options = BuildOptions::new(metric, 48);
        let mut table = Table::blobs(6000, 48, 40, 1);
        let pages = build(&table, options);
        assert_sound(&pages, &mut table, 6000);
        let mut index = Index::open(&pages).unwrap();
        calibrate(&mut index, &pages, &mut table, 60).unwrap();
        assert!(!index.meta.curve.is_empty());
        let queries = queries(&table, 30);
        for target in [0.9, 0.99] {
            let found = recall(&pages, &mut table, &options, asked(target), &queries, 10);
            assert!(found >= target - 0.05, "{metric:?}: asked {target}, found {found}");
        }
    }
}

#[test]
fn very_many_lists_are_found_by_a_sketch_of_them() {
    for metric in METRICS {
        let options = BuildOptions { lists: 4200, ..BuildOptions::new(metric, 128) };
        let mut table = Table::blobs(20_000, 128, 300, 14);
        let pages = build(&table, options);
        let mut index = Index::open(&pages).unwrap();
        assert!(index.directory.is_large(), "{} lists", index.meta.lists);
        calibrate(&mut index, &pages, &mut table, 60).unwrap();
        table.rows.extend(Table::blobs(400, 128, 300, 15).rows);
        insert_rows(&mut index, &pages, &mut table, 20_000);
        assert_sound(&pages, &mut table, 20_400);
        let queries = queries(&table, 40);
        for target in [0.9, 0.99] {
            let found = recall(&pages, &mut table, &options, asked(target), &queries, 10);
            assert!(found >= target - 0.05, "{metric:?}: asked {target}, found {found}");
        }
    }
}

#[test]
fn an_index_born_empty_becomes_a_good_one() {
    for metric in METRICS {
        let options = BuildOptions::new(metric, 40);
        let mut table = Table::blobs(4000, 40, 30, 2);
        let pages = empty(&options);
        let mut index = Index::open(&pages).unwrap();
        assert!(search(&pages, &mut table, asked(0.9), &[0.5; 40], 10).is_empty());
        insert_rows(&mut index, &pages, &mut table, 0);
        assert!(index.meta.lists >= 15, "{metric:?}: {} lists", index.meta.lists);
        assert_sound(&pages, &mut table, 4000);
        vacuum::clean_up(&mut index, &pages, &mut table).unwrap();
        assert_sound(&pages, &mut table, 4000);
        let queries = queries(&table, 30);
        let found = recall(&pages, &mut table, &options, asked(0.95), &queries, 10);
        assert!(found >= 0.92, "{metric:?}: {found}");
    }
}

#[test]
fn a_grown_index_is_hardly_larger_than_a_built_one() {
    let options = BuildOptions::new(Metric::L2, 256);
    let mut table = Table::blobs(12_000, 256, 60, 13);
    let built = build(&table, options);
    let grown = empty(&options);
    let mut index = Index::open(&grown).unwrap();
    insert_rows(&mut index, &grown, &mut table, 0);
    assert_sound(&grown, &mut table, 12_000);
    // Every list was split and written anew many times: its old blocks and units are other lists' room now.
    let ratio = f64::from(grown.pages()) / f64::from(built.pages());
    assert!(ratio < 1.5, "{ratio:.2} times the pages of a built index");
}

#[test]
fn deleted_rows_are_gone_and_their_room_is_used_again() {
    let options = BuildOptions::new(Metric::L2, 32);
    let mut table = Table::blobs(3000, 32, 20, 3);
    let pages = build(&table, options);
    let mut index = Index::open(&pages).unwrap();
    let before = pages.pages();
    for round in 0..4 {
        let start = table.rows.len() - 3000;
        for row in table.rows[start..start + 2000].iter_mut() {
            *row = None;
        }
        let rows = table.rows.clone();
        let removed = vacuum::bulk_delete(&mut index, &pages, |tid| rows[row_of_tid(tid)].is_none()).unwrap();
        assert_eq!(removed.removed, 2000);
        vacuum::clean_up(&mut index, &pages, &mut table).unwrap();
        assert_sound(&pages, &mut table, 1000);
        pages.end_scans();
        vacuum::clean_up(&mut index, &pages, &mut table).unwrap();
        let from = table.rows.len();
        table.rows.extend(Table::blobs(2000, 32, 20, 100 + round).rows);
        insert_rows(&mut index, &pages, &mut table, from);
        assert_sound(&pages, &mut table, 3000);
    }
    let after = pages.pages();
    assert!(after < before * 2, "{before} pages became {after}");
}

#[test]
fn a_filtered_scan_goes_on_until_every_row_was_seen() {
    let options = BuildOptions::new(Metric::Cosine, 32);
    let mut table = Table::blobs(3000, 32, 20, 4);
    let pages = build(&table, options);
    let query = table.rows[17].clone().unwrap();
    for memory in [1 << 12, 1 << 20] {
        let options = SearchOptions { target_recall: 0.9, memory, ..SearchOptions::default() };
        let found = search(&pages, &mut table, options, &query, usize::MAX);
        // Strict order drops what a later round finds too near; of a whole scan that must be little.
        assert!(found.len() >= 2940, "{} of 3000 rows with {memory} bytes", found.len());
    }
    let wanted: Vec<_> = (0..3000).step_by(300).map(tid_of_row).collect();
    let found = search(&pages, &mut table, asked(0.97), &query, usize::MAX);
    let through = found.iter().filter(|f| wanted.contains(&f.1)).count();
    assert!(through >= 9, "{through} of 10 rows passed the filter");
}

#[test]
fn a_source_that_filters_gives_the_nearest_of_what_passes() {
    let options = BuildOptions::new(Metric::Cosine, 32);
    let mut table = Table::blobs(20_000, 32, 40, 6);
    let pages = build(&table, options);
    let queries = queries(&table, 20);
    let passes = |row: usize| row.is_multiple_of(40);
    table.rows.iter_mut().enumerate().filter(|(i, _)| !passes(*i)).for_each(|(_, row)| *row = None);
    // Reckoned well, far too low, far too high, and without a word of how many are to pass.
    for (expected_rows, passing_rows, k) in [(450, 10, 10), (64, 10, 10), (4000, 10, 10), (450, 0, 10)] {
        let asked = SearchOptions { expected_rows, passing_rows, ..asked(0.97) };
        let found = recall(&pages, &mut table, &options, asked, &queries, k);
        assert!(found >= 0.95, "{found} of {k} with {expected_rows} codes for {passing_rows} rows");
    }
    // Read to its end, it returns every row that passes.
    let asked = SearchOptions { expected_rows: 450, passing_rows: 10, order: Order::Relaxed, ..asked(0.9) };
    let index = Index::open(&pages).unwrap();
    let mut search = Search::new(&index, asked, &queries[0]).unwrap();
    let mut found = Vec::new();
    while let Some(hit) = search.next(&pages, &mut table).unwrap() {
        found.push(hit.tid);
    }
    found.sort_unstable();
    let passing: Vec<_> = (0..20_000).filter(|i| passes(*i)).map(tid_of_row).collect();
    assert!(found == passing, "{} of {} rows", found.len(), passing.len());
}

#[test]
fn duplicates_overflow_their_list_and_are_all_found() {
    let options = BuildOptions::new(Metric::L2, 32);
    let mut table = Table::blobs(300, 32, 3, 5);
    let pages = empty(&options);
    let mut index = Index::open(&pages).unwrap();
    table.rows.extend(vec![Some(vec![1.5; 32]); 1500]);
    insert_rows(&mut index, &pages, &mut table, 0);
    assert_sound(&pages, &mut table, 1800);
    let found = search(&pages, &mut table, asked(0.9), &[1.5; 32], 1500);
    assert_eq!(found.iter().filter(|f| f.0 == 0.0).count(), 1500);
    // Nothing but copies of the origin: every code says exactly the same.
    let pages = empty(&options);
    let mut index = Index::open(&pages).unwrap();
    let mut table = Table { rows: vec![Some(vec![1.5; 32]); 3000] };
    insert_rows(&mut index, &pages, &mut table, 0);
    for query in [[1.5; 32], [0.0; 32]] {
        assert_eq!(search(&pages, &mut table, asked(0.9), &query, 3000).len(), 3000);
    }
}

#[test]
fn vectors_without_direction_are_left_out_under_cosine_only() {
    for metric in METRICS {
        let options = BuildOptions::new(metric, 32);
        let mut table = Table::blobs(50, 32, 3, 6);
        table.rows.push(Some(vec![0.0; 32]));
        let expected = if metric == Metric::Cosine { 50 } else { 51 };
        assert_sound(&build(&table, options), &mut table, expected);
        let pages = empty(&options);
        let mut index = Index::open(&pages).unwrap();
        insert_rows(&mut index, &pages, &mut table, 0);
        assert_sound(&pages, &mut table, expected);
        let found = search(&pages, &mut table, asked(0.9), &[0.0; 32], 100);
        assert_eq!(found.len(), expected, "{metric:?}: a query without direction");
    }
}

#[test]
fn vectors_too_large_to_reckon_with_are_kept_and_found() {
    let options = BuildOptions::new(Metric::L2, 32);
    let mut table = Table::blobs(400, 32, 3, 7);
    for (i, value) in [1e20, 3e38, 1e-40, 1e18].into_iter().enumerate() {
        table.rows[100 * i] = Some(vec![value; 32]);
    }
    let pages = build(&table, options);
    assert_sound(&pages, &mut table, 400);
    let query = table.rows[5].clone().unwrap();
    let found = search(&pages, &mut table, asked(0.99), &query, 400);
    assert!(found.len() >= 397, "{}", found.len());
}

#[test]
fn data_far_from_zero_is_no_harder() {
    let options = BuildOptions::new(Metric::L2, 32);
    let mut table = Table::blobs(3000, 32, 20, 8);
    for row in table.rows.iter_mut().flatten() {
        row.iter_mut().for_each(|v| *v += 300.0);
    }
    let pages = empty(&options);
    let mut index = Index::open(&pages).unwrap();
    insert_rows(&mut index, &pages, &mut table, 0);
    let queries: Vec<_> = table.rows.iter().flatten().step_by(100).cloned().collect();
    let found = recall(&pages, &mut table, &options, asked(0.95), &queries, 10);
    assert!(found > 0.9, "{found}");
}

#[test]
fn every_width_works_from_one_dimension_to_the_most() {
    for dimensions in [1, 2, 3, 33, 96, 100, 1000, 1536, 1900, 2000, 3072, 4000] {
        let options = BuildOptions::new(Metric::L2, dimensions);
        let n = if dimensions > 500 { 80 } else { 400 };
        let mut table = Table::blobs(n, dimensions, 4, 9);
        let pages = build(&table, options);
        assert_sound(&pages, &mut table, n);
        let mut index = Index::open(&pages).unwrap();
        table.rows.extend(Table::blobs(40, dimensions, 4, 10).rows);
        insert_rows(&mut index, &pages, &mut table, n);
        assert_sound(&pages, &mut table, n + 40);
        let queries: Vec<_> = table.rows.iter().flatten().step_by(40).cloned().collect();
        let found = recall(&pages, &mut table, &options, asked(0.99), &queries, 10);
        assert!(found >= 0.98, "{dimensions} dimensions: {found}");
    }
}

#[test]
fn workers_in_other_processes_encode_the_same() {
    let options = BuildOptions::new(Metric::Cosine, 48);
    let table = Table::blobs(2000, 48, 10, 11);
    let mut sampler = Sampler::new(options, 2000, 1 << 20, 3).unwrap();
    table.rows.iter().flatten().for_each(|r| sampler.push(r).unwrap());
    let trained = sampler.train(2000, 1, &|| ());
    let copy = Trained::from_bytes(&trained.to_bytes()).unwrap();
    assert!(Trained::from_bytes(&trained.to_bytes()[..100]).is_none());
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for (i, row) in table.rows.iter().flatten().enumerate() {
        let first = trained.encoder().encode(tid_of_row(i), row, &mut a).unwrap();
        assert_eq!(first, copy.encoder().encode(tid_of_row(i), row, &mut b).unwrap());
    }
    assert_eq!(a, b);
}

#[test]
fn the_index_is_as_small_as_it_claims() {
    let options = BuildOptions::new(Metric::Cosine, 384);
    let table = Table::blobs(4000, 384, 10, 12);
    let pages = build(&table, options);
    let index = Index::open(&pages).unwrap();
    let info = info::info(&index, &pages).unwrap();
    assert_eq!(info.rows, 4000);
    assert_eq!(info.pages.iter().sum::<u32>(), pages.pages());
    let bytes = f64::from(pages.pages()) * PAGE_SIZE as f64 / 4000.0;
    assert!(bytes < 310.0, "{bytes} bytes a vector");
    assert!(info.fill > 0.7, "{}", info.fill);
}

#[test]
fn a_scan_on_its_way_survives_a_split() {
    let options = BuildOptions::new(Metric::L2, 32);
    let mut table = Table::blobs(2000, 32, 10, 13);
    let pages = build(&table, options);
    let mut index = Index::open(&pages).unwrap();
    let query = table.rows[3].clone().unwrap();
    let mut scan = Search::new(&index, asked(0.9), &query).unwrap();
    let first = scan.next(&pages, &mut table).unwrap().unwrap();
    assert_eq!(row_of_tid(first.tid), 3);
    let from = table.rows.len();
    table.rows.extend(Table::blobs(2000, 32, 10, 13).rows);
    // Every stamp is past at once here, as a standby may see it: blocks are taken again under the scan.
    insert_rows(&mut index, &pages, &mut table, from);
    let mut count = 1;
    while scan.next(&pages, &mut table).unwrap().is_some() {
        count += 1;
    }
    assert!(count >= 1900, "{count}");
}

#[test]
fn a_dead_row_is_marked_where_it_was_found_and_looked_at_no_more() {
    let options = BuildOptions::new(Metric::L2, 32);
    let mut table = Table::blobs(500, 32, 4, 14);
    let pages = build(&table, options);
    let mut index = Index::open(&pages).unwrap();
    let query = table.rows[9].clone().unwrap();
    table.rows[9] = None;
    let mut scan = Search::new(&index, asked(0.9), &query).unwrap();
    assert_ne!(row_of_tid(scan.next(&pages, &mut table).unwrap().unwrap().tid), 9);
    let dead = scan.take_dead();
    assert_eq!(dead.iter().map(|d| row_of_tid(d.tid)).collect::<Vec<_>>(), [9]);
    assert_eq!(vacuum::mark_dead(&index.layout, &pages, &dead), Ok(1));
    assert_eq!(vacuum::mark_dead(&index.layout, &pages, &dead), Ok(0), "marked already");
    let fetched = |see_marked: bool, table: &mut Table| {
        let mut scan = Search::new(&index, SearchOptions { see_marked, ..asked(0.9) }, &query).unwrap();
        scan.next(&pages, table).unwrap();
        scan.take_dead().len()
    };
    assert_eq!(fetched(false, &mut table), 0, "a marked row is not fetched again");
    assert_eq!(fetched(true, &mut table), 1, "a standby cannot trust the mark");
    assert_sound(&pages, &mut table, 500);
    let removed = vacuum::bulk_delete(&mut index, &pages, |tid| row_of_tid(tid) == 9).unwrap();
    assert_eq!(removed.removed, 1);
    assert_sound(&pages, &mut table, 499);
}

#[test]
fn relaxed_order_returns_every_row_once() {
    let options = BuildOptions::new(Metric::Cosine, 32);
    let mut table = Table::blobs(3000, 32, 20, 4);
    let pages = build(&table, options);
    table.rows.iter_mut().step_by(7).for_each(|row| *row = None);
    let query = table.rows[17].clone().unwrap();
    for memory in [1 << 16, 1 << 20] {
        let options = SearchOptions { order: Order::Relaxed, memory, ..asked(0.9) };
        let index = Index::open(&pages).unwrap();
        let mut search = Search::new(&index, options, &query).unwrap();
        let mut found = Vec::new();
        while let Some(hit) = search.next(&pages, &mut table).unwrap() {
            found.push((hit.distance, hit.tid));
        }
        let late = found.windows(2).filter(|w| w[1].0 < w[0].0).count();
        assert!(late < 100, "{late} steps down are more than a nearly ordered scan has");
        let mut tids: Vec<_> = found.iter().map(|f| f.1).collect();
        tids.sort_unstable();
        tids.dedup();
        assert_eq!((found.len(), tids.len()), (table.live(), table.live()), "{memory} bytes");
    }
}

#[test]
fn a_scan_with_little_memory_loses_no_more_rows() {
    let options = BuildOptions::new(Metric::L2, 32);
    let mut table = Table::blobs(20_000, 32, 20, 4);
    let pages = build(&table, options);
    let query = table.rows[17].clone().unwrap();
    let asked = SearchOptions { memory: 1 << 16, ..asked(0.97) };
    let found = search(&pages, &mut table, asked, &query, usize::MAX);
    assert!(found.len() > 19_700, "{}", found.len());
}

#[test]
fn damage_is_found() {
    let options = BuildOptions::new(Metric::L2, 32);
    let mut table = Table::blobs(500, 32, 4, 15);
    let image = build(&table, options).image();
    let mut found = 0;
    for block in 0..(image.len() / PAGE_SIZE) as u32 {
        for at in [8, 60, 300, 2500] {
            let pages = howdah_index::memory::MemoryPages::from_image(&image);
            pages.damage(block, at, 0xFF);
            let sound = Index::open(&pages)
                .and_then(|index| howdah_index::check::check(&index, &pages, Some(&mut table)))
                .is_ok_and(|report| report.is_sound());
            found += usize::from(!sound);
        }
    }
    assert!(found >= 6, "{found}");
}
