//! Sequences of insert, delete, vacuum, split and search, against the exact answer.
#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

mod support;

use howdah_index::directory::Index;
use howdah_index::insert::insert;
use howdah_index::memory::{row_of_tid, tid_of_row};
use howdah_index::options::{BuildOptions, Metric, SearchOptions};
use howdah_index::rng::Rng;
use howdah_index::{split, vacuum};
use proptest::prelude::*;
use support::*;

#[derive(Clone, Debug)]
enum Step {
    /// Inserts so many rows near this centre.
    Insert { rows: usize, centre: u64 },
    /// Inserts copies of one row.
    Copies { rows: usize },
    /// Deletes about one row in so many.
    Delete { one_in: usize },
    /// Removes deleted rows from the index.
    BulkDelete,
    /// Puts the index in order.
    CleanUp,
    /// Tries to split or compact every list.
    Rewrite { split: bool },
    /// Lets all scans end.
    EndScans,
    /// A query near this centre, for so many rows.
    Search { centre: u64, rows: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (1usize..150, 0u64..6).prop_map(|(rows, centre)| Step::Insert { rows, centre }),
        1 => (1usize..80).prop_map(|rows| Step::Copies { rows }),
        2 => (2usize..6).prop_map(|one_in| Step::Delete { one_in }),
        2 => Just(Step::BulkDelete),
        1 => Just(Step::CleanUp),
        1 => any::<bool>().prop_map(|split| Step::Rewrite { split }),
        2 => Just(Step::EndScans),
        3 => (0u64..6, 1usize..40).prop_map(|(centre, rows)| Step::Search { centre, rows }),
    ]
}

fn near(centre: u64, dimensions: usize, rng: &mut Rng) -> Vec<f32> {
    let mut middle = Rng::new(centre);
    (0..dimensions).map(|_| 2.0 * middle.normal() + rng.normal()).collect()
}

fn run(options: BuildOptions, start: usize, steps: &[Step]) {
    let mut rng = Rng::new(77);
    let mut table = Table::default();
    table.rows.extend((0..start).map(|i| Some(near(i as u64 % 6, options.dimensions, &mut rng))));
    let pages = if start > 0 { build(&table, options) } else { empty(&options) };
    let mut index = Index::open(&pages).unwrap();
    // Rows in the index that the table has no more: deleted, not yet vacuumed.
    let mut dead = 0usize;
    for step in steps {
        match step {
            Step::Insert { rows, centre } => {
                for _ in 0..*rows {
                    let row = near(*centre, options.dimensions, &mut rng);
                    table.rows.push(Some(row.clone()));
                    let tid = tid_of_row(table.rows.len() - 1);
                    assert!(insert(&mut index, &pages, &mut table, tid, &row).unwrap());
                }
            }
            Step::Copies { rows } => {
                let row = near(3, options.dimensions, &mut rng);
                for _ in 0..*rows {
                    table.rows.push(Some(row.clone()));
                    let tid = tid_of_row(table.rows.len() - 1);
                    insert(&mut index, &pages, &mut table, tid, &row).unwrap();
                }
            }
            Step::Delete { one_in } => {
                for row in table.rows.iter_mut().filter(|r| r.is_some()) {
                    if rng.below(*one_in) == 0 {
                        *row = None;
                        dead += 1;
                    }
                }
            }
            Step::BulkDelete => {
                let rows = table.rows.clone();
                let removed = vacuum::bulk_delete(&mut index, &pages, |tid| rows[row_of_tid(tid)].is_none());
                assert_eq!(removed.unwrap().removed as usize, dead);
                dead = 0;
            }
            Step::CleanUp => {
                let cleaned = vacuum::clean_up(&mut index, &pages, &mut table).unwrap();
                assert_eq!(cleaned.rows as usize, table.live() + dead);
            }
            Step::Rewrite { split } => {
                let slots: Vec<usize> = index.directory.lists().map(|(n, _)| n).collect();
                for slot in slots {
                    if *split {
                        split::split(&mut index, &pages, &mut table, slot).unwrap();
                    } else {
                        split::compact(&mut index, &pages, slot).unwrap();
                    }
                }
            }
            Step::EndScans => pages.end_scans(),
            Step::Search { centre, rows } => {
                let query = near(*centre, options.dimensions, &mut rng);
                let truth = table.exact(&options, &query, *rows);
                let asked = SearchOptions { probes: 100_000, ..SearchOptions::default() };
                let found = search(&pages, &mut table, asked, &query, *rows);
                // Strict order may drop a row that a later round finds too near.
                assert!(
                    found.len() + 1 + truth.len() / 20 >= truth.len(),
                    "{} of {}",
                    found.len(),
                    truth.len()
                );
                let limit = truth.last().map_or(0.0, |t| t.0) + 1e-4;
                let hits = found.iter().filter(|f| f.0 <= limit).count();
                assert!(hits * 10 >= truth.len() * 9, "{hits} of {}", truth.len());
            }
        }
        let rows = table.live() + dead;
        assert_sound(&pages, &mut table, rows);
    }
    let image = pages.image();
    let again = howdah_index::memory::MemoryPages::from_image(&image);
    let rows = table.live() + dead;
    assert_sound(&again, &mut table, rows);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 1 } else { 100 }, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_and_everything_is_found(
        metric in prop_oneof![Just(Metric::L2), Just(Metric::InnerProduct), Just(Metric::Cosine)],
        dimensions in prop_oneof![Just(8usize), Just(32), Just(40)],
        start in prop_oneof![Just(0usize), Just(1), 50usize..600],
        steps in prop::collection::vec(step(), 1..if cfg!(miri) { 3 } else { 25 }),
    ) {
        run(BuildOptions::new(metric, dimensions), start, &steps);
    }
}
