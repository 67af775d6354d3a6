//! Bytes written by version 1 are read for ever.
#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

mod support;

use howdah_index::directory::Index;
use howdah_index::memory::{MemoryPages, row_of_tid};
use howdah_index::options::{BuildOptions, Metric, SearchOptions};
use howdah_index::vacuum;
use support::*;

const BYTES: &[u8] = include_bytes!("data/version-1.bin");

/// The rows of the file: built with 150, 60 inserted, every fifth deleted and vacuumed.
fn table() -> Table {
    let mut table = Table::blobs(210, 40, 5, 2026);
    table.rows.iter_mut().step_by(5).for_each(|row| *row = None);
    table
}

fn write() -> Vec<u8> {
    let mut table = Table::blobs(150, 40, 5, 2026);
    let pages = build(&table, BuildOptions::new(Metric::L2, 40));
    let mut index = Index::open(&pages).unwrap();
    table.rows = Table::blobs(210, 40, 5, 2026).rows;
    insert_rows(&mut index, &pages, &mut table, 150);
    vacuum::bulk_delete(&mut index, &pages, |tid| row_of_tid(tid).is_multiple_of(5)).unwrap();
    vacuum::clean_up(&mut index, &pages, &mut table).unwrap();
    pages.image()
}

/// Writes the file. Not to be run again once version 1 has been released: a new version gets a new file beside it.
#[test]
#[ignore = "writes tests/data/version-1.bin"]
fn write_version_1() {
    std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/version-1.bin"), write()).unwrap();
}

#[test]
fn version_1_is_opened_searched_and_written() {
    let pages = MemoryPages::from_image(BYTES);
    let mut table = table();
    let live = table.live();
    assert_sound(&pages, &mut table, live);
    let options = BuildOptions::new(Metric::L2, 40);
    for query in table.clone().rows.iter().flatten().step_by(10) {
        let found = search(&pages, &mut table, SearchOptions::default(), query, 10);
        assert_eq!(found, table.exact(&options, query, 10));
    }
    let mut index = Index::open(&pages).unwrap();
    table.rows.extend(Table::blobs(100, 40, 5, 1).rows);
    insert_rows(&mut index, &pages, &mut table, 210);
    vacuum::clean_up(&mut index, &pages, &mut table).unwrap();
    assert_sound(&pages, &mut table, live + 100);
}

#[test]
fn what_is_no_index_is_refused() {
    assert!(Index::open(&MemoryPages::new()).is_err());
    assert!(Index::open(&MemoryPages::from_image(&[0; 8192])).is_err());
    let mut later = BYTES.to_vec();
    later[24 + 4] = 3;
    let refused = Index::open(&MemoryPages::from_image(&later)).map(|_| ()).unwrap_err().to_string();
    assert_eq!(refused, "index has format version 3, this build reads up to 2");
}
