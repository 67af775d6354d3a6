//! Everybody at once: inserters, deleters, searchers, vacuum, rebuilds.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use howdah_extension_stories::{Kit, Rows, Server, kit_or_skip, literal};
use howdah_index::rng::Rng;

/// How long all of them run.
const CROWD: Duration = Duration::from_secs(8);

/// Inserts and deletes until told to stop. Writers choose different rows.
fn write(kit: &'static Kit, database: &str, writer: usize, done: &AtomicBool) {
    let mut db = Server::shared(kit).db(database);
    let mut rows = Rows::new(32, 12, 71 + writer as u64);
    let mut next = 1_000_000 * writer;
    while !done.load(Ordering::Relaxed) {
        db.load("t", next, rows.by_ref().take(40));
        next += 40;
        if next.is_multiple_of(200) {
            // Nine of ten of the rows that came some time ago.
            let (from, to) = (next.saturating_sub(3000), next.saturating_sub(2800));
            db.run(&format!("DELETE FROM t WHERE id >= {from} AND id < {to} AND id % 10 <> 0"));
        }
    }
}

/// In one snapshot, a scan of the index returns what the table holds, each row once.
fn search(kit: &'static Kit, database: &str, seed: u64, done: &AtomicBool) -> usize {
    let mut db = Server::shared(kit).db(database);
    let mut rng = Rng::new(seed);
    let mut rounds = 0;
    while !done.load(Ordering::Relaxed) {
        let q = literal(&Rows::new(32, 12, 71 + rng.below(3) as u64).nth(rng.below(50)).unwrap());
        db.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SET LOCAL howdah.ordering = relaxed");
        let mut truth: Vec<i64> = db.column("SELECT id FROM t");
        db.run("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off");
        let mut found: Vec<i64> = db.column(&format!("SELECT id FROM t ORDER BY v <-> '{q}'"));
        db.run("COMMIT");
        truth.sort_unstable();
        found.sort_unstable();
        assert!(
            found == truth,
            "{} rows found, {} in the table: {}",
            found.len(),
            truth.len(),
            first_difference(&found, &truth)
        );
        rounds += 1;
    }
    rounds
}

fn first_difference(found: &[i64], truth: &[i64]) -> String {
    let missing: Vec<_> = truth.iter().filter(|id| found.binary_search(id).is_err()).take(5).collect();
    let twice: Vec<_> = found.windows(2).filter(|w| w[0] == w[1]).map(|w| w[0]).take(5).collect();
    format!("missing {missing:?}, twice {twice:?}")
}

#[test]
fn a_crowd_of_writers_searchers_and_vacuums_loses_and_doubles_nothing() {
    let kit = kit_or_skip!();
    let mut db = Server::shared(kit).database("crowd");
    db.run("CREATE TABLE t (id bigint, v vector(32)); CREATE INDEX t_v ON t USING howdah (v)");
    let (done, vacuums) = (AtomicBool::new(false), AtomicUsize::new(0));
    let searches: usize = std::thread::scope(|scope| {
        let done = &done;
        for writer in 0..3 {
            scope.spawn(move || write(kit, "crowd", writer, done));
        }
        scope.spawn(|| {
            let mut db = Server::shared(kit).db("crowd");
            while !done.load(Ordering::Relaxed) {
                db.run("VACUUM t");
                vacuums.fetch_add(1, Ordering::Relaxed);
            }
        });
        let searchers: Vec<_> = (0..2).map(|n| scope.spawn(move || search(kit, "crowd", n, done))).collect();
        let begun = Instant::now();
        while begun.elapsed() < CROWD && searchers.iter().all(|s| !s.is_finished()) {
            std::thread::sleep(Duration::from_millis(50));
        }
        done.store(true, Ordering::Relaxed);
        searchers.into_iter().map(|s| s.join().unwrap()).sum()
    });
    let rows: i64 = db.one("SELECT count(*) FROM t");
    println!("{rows} rows, {searches} whole scans, {} vacuums", vacuums.load(Ordering::Relaxed));
    db.check("t_v");
    db.run("VACUUM t");
    db.check("t_v");
}

#[test]
fn a_build_beside_writers_misses_no_row() {
    let kit = kit_or_skip!();
    let mut db = Server::shared(kit).database("crowd_build");
    db.run("CREATE TABLE t (id bigint, v vector(32))");
    db.load("t", 5_000_000, Rows::new(32, 12, 80).take(5000));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let done = &done;
        for writer in 0..2 {
            scope.spawn(move || write(kit, "crowd_build", writer, done));
        }
        db.run("CREATE INDEX CONCURRENTLY t_v ON t USING howdah (v)");
        for _ in 0..3 {
            db.run("REINDEX INDEX CONCURRENTLY t_v");
        }
        done.store(true, Ordering::Relaxed);
    });
    db.check("t_v");
    db.run("VACUUM t");
    db.check("t_v");
}
