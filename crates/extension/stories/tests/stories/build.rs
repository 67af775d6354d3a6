//! Building: memory, threads, progress, cancel, CONCURRENTLY, REINDEX.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use howdah_extension_stories::kit::PATIENCE;
use howdah_extension_stories::{Rows, Server, db_or_skip, kit_or_skip};

#[test]
fn a_build_keeps_to_any_memory_and_any_number_of_threads() {
    let mut db = db_or_skip!("build_memory");
    db.run("CREATE TABLE t (id bigint, v vector(48))");
    db.load("t", 0, Rows::new(48, 40, 1).take(8000));
    let queries: Vec<_> = Rows::new(48, 40, 1).skip(20_000).take(200).collect();
    for memory in ["1MB", "64MB"] {
        for threads in [0, 1, 2] {
            db.run(&format!(
                "SET maintenance_work_mem = '{memory}'; SET max_parallel_maintenance_workers = {threads};
                 CREATE INDEX t_v ON t USING howdah (v vector_cosine_ops)"
            ));
            db.check("t_v");
            let recall = db.recall("t", "<=>", &queries, 10);
            println!("{memory}, {threads} threads: {recall}");
            assert!(recall >= 0.95, "{memory}, {threads} threads: {recall}");
            db.run("DROP INDEX t_v");
        }
    }
}

#[test]
fn two_builds_of_the_same_rows_give_the_same_index() {
    let mut db = db_or_skip!("build_twice");
    db.run("CREATE TABLE t (id bigint, v vector(32))");
    db.load("t", 0, Rows::new(32, 20, 2).take(5000));
    // The number of lists follows from what the planner believes about the table.
    db.run("ANALYZE t");
    let mut answers = Vec::new();
    for _ in 0..2 {
        db.run("CREATE INDEX t_v ON t USING howdah (v vector_l2_ops)");
        db.by_index();
        let ids: Vec<i64> =
            db.column("SELECT id FROM t ORDER BY v <-> (SELECT v FROM t WHERE id = 7) LIMIT 1000");
        let info: String = db.one("SELECT (howdah_index_info('t_v') - 'calibration')::text");
        let curve: String = db.one("SELECT (howdah_index_info('t_v') -> 'calibration')::text");
        db.check("t_v");
        answers.push((ids, info, curve));
        db.run("DROP INDEX t_v");
    }
    assert_eq!(answers[0].1, answers[1].1);
    assert_eq!(answers[0].2, answers[1].2);
    assert_eq!(answers[0].0, answers[1].0);
}

#[test]
fn a_rebuilt_index_is_as_sound_as_the_first() {
    let mut db = db_or_skip!("build_again");
    db.run("CREATE TABLE t (id bigint PRIMARY KEY, v vector(32)); CREATE INDEX t_v ON t USING howdah (v)");
    db.load("t", 0, Rows::new(32, 20, 3).take(3000));
    db.each(&["DELETE FROM t WHERE id % 3 = 0", "REINDEX INDEX t_v"]);
    db.check("t_v");
    db.run("REINDEX INDEX CONCURRENTLY t_v");
    db.check("t_v");
    db.each(&["REINDEX TABLE t", "VACUUM FULL t", "CLUSTER t USING t_pkey"]);
    db.check("t_v");
    db.run("CREATE INDEX CONCURRENTLY t_v2 ON t USING howdah (v vector_cosine_ops) WITH (bits = 5)");
    db.check("t_v2");
    db.run("TRUNCATE t");
    db.check("t_v");
    db.load("t", 0, Rows::new(32, 20, 3).take(500));
    for index in ["t_v", "t_v2"] {
        db.check(index);
    }
}

#[test]
fn progress_names_the_phases_of_a_build_and_their_totals() {
    let kit = kit_or_skip!();
    let mut db = Server::shared(kit).database("progress");
    db.run("CREATE TABLE t (id bigint, v vector(64))");
    db.load("t", 0, Rows::new(64, 40, 4).take(30_000));
    let named = ["sampling rows", "making lists", "encoding rows", "writing pages", "measuring recall"];
    let (mut phases, mut totals) = (BTreeSet::new(), 0);
    // On a busy machine a phase may pass between two looks: another build shows it.
    for _ in 0..20 {
        db.run("DROP INDEX IF EXISTS t_v");
        let builder = std::thread::spawn(|| {
            Server::shared(kit).db("progress").run("CREATE INDEX t_v ON t USING howdah (v)");
        });
        while !builder.is_finished() {
            for row in db.all("SELECT phase, tuples_total, tuples_done FROM pg_stat_progress_create_index") {
                phases.insert(row.get::<_, String>(0));
                let (total, done): (i64, i64) = (row.get(1), row.get(2));
                // The total of the encoding is the planner's guess.
                assert!(done <= 2 * total.max(15_000), "{done} of {total}");
                totals = totals.max(total);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        builder.join().unwrap();
        if totals >= 25_000 && named.iter().all(|name| phases.contains(&format!("building index: {name}"))) {
            break;
        }
    }
    println!("phases seen: {phases:?}");
    for name in named {
        assert!(phases.contains(&format!("building index: {name}")), "no {name} in {phases:?}");
    }
    assert!(totals >= 25_000, "{totals}");
    db.check("t_v");
}

#[test]
fn a_build_that_is_cancelled_ends_and_leaves_nothing() {
    let kit = kit_or_skip!();
    let mut db = Server::shared(kit).database("cancel_build");
    db.run("CREATE TABLE t (id bigint, v vector(128))");
    db.load("t", 0, Rows::new(128, 40, 5).take(20_000));
    for phase in ["sampling rows", "making lists", "encoding rows", "writing pages", "measuring recall"] {
        let builder = std::thread::spawn(|| {
            let build = "CREATE INDEX t_v ON t USING howdah (v)";
            Server::shared(kit).db("cancel_build").simple(build).map(drop)
        });
        let begun = Instant::now();
        let question = format!(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_progress_create_index WHERE phase LIKE '%{phase}'
             AND datname = current_database()"
        );
        while db.all(&question).is_empty() && !builder.is_finished() {
            assert!(begun.elapsed() < PATIENCE, "the build never comes to {phase}");
        }
        let asked = Instant::now();
        match builder.join().unwrap() {
            Err(error) => {
                assert_eq!(error.code().map(|code| code.code().to_owned()), Some("57014".into()), "{error}");
                println!("cancelled while {phase}: ended after {:?}", asked.elapsed());
            }
            // Some phases are over before anybody can ask.
            Ok(()) => db.run("DROP INDEX t_v"),
        }
        assert_eq!(db.one::<i64>("SELECT count(*) FROM pg_class WHERE relname = 't_v'"), 0);
    }
    db.run("CREATE INDEX t_v ON t USING howdah (v)");
    db.check("t_v");
}
