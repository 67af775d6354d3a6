//! Crash safety: a primary with a streaming replica is killed at random points of inserts, splits, vacuums and builds,
//! with every replayed page compared (`wal_consistency_checking`).
//!
//! After each restart: every acknowledged row is there, the index leads to every row exactly once, the replica catches up,
//! finds no page different and gives the same answers. `HOWDAH_CRASH_ROUNDS` says how many rounds; `HOWDAH_CRASH_SEED`
//! which.
#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use howdah_extension_stories::{Db, Rows, Server, kit_or_skip, literal};
use howdah_index::rng::Rng;

/// Few enough that every `make test` can afford them.
const ROUNDS: usize = 4;
/// Rows that a writer keeps.
const KEPT: i64 = 2500;
const WRITERS: i64 = 2;
/// Ids of a writer begin at a multiple of this.
const SPACE: i64 = 1_000_000_000;

/// What a writer knows of its rows.
#[derive(Default)]
struct Known {
    /// Acknowledged and not deleted.
    there: BTreeSet<i64>,
    /// Rows of the one statement whose outcome is not known: inserted or deleted, or not.
    unsure: BTreeSet<i64>,
    next: i64,
    statements: u64,
}

/// Inserts and deletes until the server is gone.
fn write(server: &Server, writer: i64, round: u64, known: &mut Known) {
    let Ok(mut db) = Db::try_open(server, "d") else { return };
    // Groups move, so that lists split and empty.
    let mut rows = Rows::new(32, 6, round / 3 * 10 + writer as u64);
    let mut rng = Rng::new(round * 100 + writer as u64);
    loop {
        let count = 1 + rng.below(60) as i64;
        let first = SPACE * writer + known.next;
        known.next += count;
        let ids: Vec<i64> = (first..first + count).collect();
        let values: Vec<String> =
            ids.iter().map(|id| format!("({id},'{}')", literal(&rows.next().unwrap()))).collect();
        known.unsure = ids.iter().copied().collect();
        if db.simple(&format!("INSERT INTO t VALUES {}", values.join(","))).is_err() {
            return;
        }
        known.there.append(&mut known.unsure);
        let surplus = known.there.len() as i64 - KEPT;
        if surplus > 400 {
            let gone: Vec<i64> =
                known.there.iter().copied().filter(|id| id % 7 != 0).take(surplus as usize + 300).collect();
            known.unsure = gone.iter().copied().collect();
            let list = gone.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
            if db.simple(&format!("DELETE FROM t WHERE id IN ({list})")).is_err() {
                return;
            }
            known.there.retain(|id| !known.unsure.contains(id));
            known.unsure.clear();
        }
        known.statements += 1;
    }
}

/// Vacuums, builds and searches until the server is gone.
fn tend(server: &Server, round: u64) -> u64 {
    let Ok(mut db) = Db::try_open(server, "d") else { return 0 };
    let mut rng = Rng::new(round);
    let mut done = 0;
    loop {
        let statement = match rng.below(10) {
            0 => "REINDEX INDEX t_v".to_owned(),
            1 => "DROP INDEX IF EXISTS t_w; CREATE INDEX t_w ON t USING howdah (v vector_cosine_ops)"
                .to_owned(),
            2 => "REINDEX INDEX CONCURRENTLY t_v".to_owned(),
            3 => "CHECKPOINT".to_owned(),
            4 | 5 => {
                let q = literal(&Rows::new(32, 6, round).next().unwrap());
                format!("SET enable_seqscan = off; SELECT id FROM t ORDER BY v <-> '{q}' LIMIT 300")
            }
            _ => "VACUUM t".to_owned(),
        };
        if db.simple(&statement).is_err() && db.simple("SELECT 1").is_err() {
            return done;
        }
        done += 1;
    }
}

/// All ids, by a scan of the index that is read to its end.
fn by_index(db: &mut Db, query: &str) -> Vec<i64> {
    db.by_index();
    db.run("SET howdah.ordering = relaxed");
    let statement = format!("SELECT id FROM t ORDER BY v <-> '{query}'");
    assert!(db.plan(&statement).0.contains("t_v"));
    db.column(&statement)
}

fn verify(db: &mut Db, known: &mut [Known], query: &str) -> usize {
    let mut table: Vec<i64> = db.column("SELECT id FROM t");
    table.sort_unstable();
    let held: BTreeSet<i64> = table.iter().copied().collect();
    assert_eq!(held.len(), table.len(), "the table itself has a row twice");
    for writer in known.iter_mut() {
        let lost: Vec<_> =
            writer.there.iter().filter(|id| !held.contains(id) && !writer.unsure.contains(id)).collect();
        assert!(lost.is_empty(), "acknowledged rows are gone: {lost:?}");
        writer.there.append(&mut writer.unsure);
        writer.there.retain(|id| held.contains(id));
    }
    assert_eq!(known.iter().map(|w| w.there.len()).sum::<usize>(), table.len(), "a deleted row is back");
    db.check("t_v");
    // An index that was being built when the server died is not there, or there and sound.
    if db.one::<bool>(
        "SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('t_w') AND indisvalid)",
    ) {
        db.check("t_w");
    }
    let mut found = by_index(db, query);
    found.sort_unstable();
    assert!(found == table, "the index leads to {} rows, the table has {}", found.len(), table.len());
    table.len()
}

/// An interrupted `REINDEX CONCURRENTLY` leaves an invalid index behind, as every access method's does.
fn sweep(db: &mut Db) {
    let left: Vec<String> = db.column(
        "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 't'::regclass AND NOT indisvalid",
    );
    for index in left {
        db.run(&format!("DROP INDEX {index}"));
    }
}

#[test]
fn a_killed_server_loses_nothing_and_its_replica_agrees() {
    let kit = kit_or_skip!();
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let rounds = number("HOWDAH_CRASH_ROUNDS").unwrap_or(ROUNDS as u64);
    let seed = number("HOWDAH_CRASH_SEED").unwrap_or(1);
    let settings = [
        ("fsync", "off"),
        ("wal_consistency_checking", "all"),
        ("wal_keep_size", "512MB"),
        ("wal_retrieve_retry_interval", "100ms"),
        ("max_standby_streaming_delay", "-1"),
        ("checkpoint_timeout", "30s"),
    ];
    let primary = Server::start(kit, "primary", &settings);
    let mut db = primary.database("d");
    db.run("CREATE TABLE t (id bigint, v vector(32)); CREATE INDEX t_v ON t USING howdah (v)");
    let replica = primary.replica("replica");
    let mut known: Vec<Known> = (0..WRITERS).map(|_| Known::default()).collect();
    let mut rng = Rng::new(seed);
    let (mut tended, begun) = (0, Instant::now());
    let mut next_report = 10;
    for round in 0..rounds {
        let pause = Duration::from_millis(250 + rng.below(1000) as u64);
        std::thread::scope(|scope| {
            let primary = &primary;
            for (writer, known) in known.iter_mut().enumerate() {
                scope.spawn(move || write(primary, writer as i64, seed * 1000 + round, known));
            }
            let tender = scope.spawn(move || tend(primary, seed * 1000 + round));
            std::thread::sleep(pause);
            if round % 5 == 4 {
                replica.kill();
            }
            primary.kill();
            tended += tender.join().unwrap();
        });
        primary.up();
        if round % 5 == 4 {
            replica.up();
        }
        db = primary.db("d");
        let query = literal(&Rows::new(32, 6, round).next().unwrap());
        let rows = verify(&mut db, &mut known, &query);
        sweep(&mut db);
        if round % 3 == 2 {
            // Rows that the primary has marked as dead, and the replica has to look at, leave the same room to both again.
            db.run("VACUUM t");
        }
        // The same scan on both, before anything changes.
        let strict = format!("SELECT id FROM t ORDER BY v <-> '{query}' LIMIT 100");
        let there = by_index(&mut db, &query);
        // Queries lie apart from what was inserted, where how far to read is a guess: here both read all lists.
        let careful = "SET howdah.ordering = strict; SET howdah.probes = 262144";
        db.run(careful);
        let nearest: Vec<i64> = db.column(&strict);
        replica.catch_up(&primary);
        let mut other = replica.db("d");
        let found = by_index(&mut other, &query);
        assert_eq!(found.len(), there.len(), "the replica has other rows");
        assert_eq!(found.iter().collect::<BTreeSet<_>>(), there.iter().collect::<BTreeSet<_>>());
        other.run(careful);
        let answer: Vec<i64> = other.column(&strict);
        let common = answer.iter().filter(|id| nearest.contains(id)).count();
        assert!(
            common >= 85 && (round % 3 != 2 || answer == nearest),
            "the replica answers otherwise: {common} of 100"
        );
        other.check("t_v");
        primary.assert_log_is_clean();
        replica.assert_log_is_clean();
        if round + 1 == next_report || round + 1 == rounds {
            let statements: u64 = known.iter().map(|w| w.statements).sum();
            let lists: i32 = db.one("SELECT (howdah_index_info('t_v') ->> 'lists')::int");
            println!(
                "{} rounds in {:?}: {statements} acknowledged statements, {tended} vacuums and builds, {rows} rows, {lists} lists",
                round + 1,
                begun.elapsed()
            );
            next_report += 10;
        }
    }
}
