//! Scanning: filters, orders, settings, the planner, cancel.

use std::time::{Duration, Instant};

use howdah_extension_stories::sql::assert_in_order;
use howdah_extension_stories::{Db, Rows, Server, db_or_skip, kit_or_skip, literal};

fn filled(db: &mut Db, rows: usize) {
    db.run("CREATE TABLE t (id bigint, v vector(32))");
    db.load("t", 0, Rows::new(32, 40, 21).take(rows));
    db.each(&["CREATE INDEX t_v ON t USING howdah (v vector_l2_ops)", "VACUUM ANALYZE t"]);
    db.by_index();
}

fn query(n: usize) -> String {
    literal(&Rows::new(32, 40, 21).nth(50_000 + n).unwrap())
}

#[test]
fn a_filter_that_lets_one_row_in_a_hundred_through_still_fills_its_limit() {
    let mut db = db_or_skip!("scan_filter");
    filled(&mut db, 20_000);
    for order in ["strict", "relaxed"] {
        db.run(&format!("SET howdah.ordering = {order}"));
        let mut hits = 0;
        for n in 0..20 {
            let ordered = format!("FROM t WHERE id % 100 = {n} ORDER BY v <-> '{q}' LIMIT 10", q = query(n));
            let found: Vec<i64> = db.column(&format!("SELECT id {ordered}"));
            assert_eq!(found.len(), 10, "{order}");
            db.run("SET enable_indexscan = off");
            let truth: Vec<i64> = db.column(&format!("SELECT id {ordered}"));
            db.run("SET enable_indexscan = on");
            hits += truth.iter().filter(|id| found.contains(id)).count();
        }
        println!("{order}: recall under a 1 % filter {:.3}", hits as f64 / 200.0);
        assert!(hits >= 190, "{order}: {hits} of 200");
    }
    db.check("t_v");
}

#[test]
fn a_scan_prepares_what_the_plan_will_ask_for() {
    let mut db = db_or_skip!("scan_demand");
    filled(&mut db, 20_000);
    db.run("SET plan_cache_mode = force_generic_plan");
    let ordered = format!("ORDER BY v <-> '{}'", query(8));
    // Rounds begin again, so buffers tell them: the setting that names the rows wanted makes one of them.
    for (name, statement, wanted) in [
        ("limit", format!("SELECT id FROM t {ordered} LIMIT 400"), 400),
        ("offset", format!("SELECT id FROM t {ordered} OFFSET 150 LIMIT 250"), 400),
        ("subquery", format!("SELECT n.id + 1 FROM (SELECT id FROM t {ordered} LIMIT 400) n"), 400),
        (
            "cte",
            format!("WITH n AS MATERIALIZED (SELECT id FROM t {ordered} LIMIT 400) SELECT count(*) FROM n"),
            400,
        ),
        ("filter", format!("SELECT id FROM t WHERE id % 50 = 7 {ordered} LIMIT 10"), 1500),
    ] {
        db.run("SET howdah.expected_rows = 10");
        let told = db.buffers(&statement);
        db.run(&format!("SET howdah.expected_rows = {wanted}"));
        let set = db.buffers(&statement);
        println!("{name}: {told} buffers, {set} with {wanted} rows expected");
        assert!(told <= set + set / 5, "{name}: {told} buffers, {set} with {wanted} rows expected");
    }
    // A plan that asks for everything says nothing.
    db.run("SET howdah.expected_rows = 10");
    let all =
        format!("SELECT id FROM (SELECT id, row_number() OVER ({ordered}) AS n FROM t) s WHERE n <= 400");
    let (limit, window) = (db.buffers(&format!("SELECT id FROM t {ordered} LIMIT 400")), db.buffers(&all));
    assert!(window > limit + limit / 2, "{window} buffers in rounds, {limit} in one");
    // A query inside a query: each scan finds itself in its own.
    db.run(
        "CREATE FUNCTION nearest(w vector) RETURNS bigint LANGUAGE plpgsql AS
         $$ BEGIN RETURN (SELECT id FROM t ORDER BY v <-> w LIMIT 1); END $$",
    );
    let found: i64 = db.one(&format!(
        "SELECT count(*) FROM (SELECT nearest(v) = id AS same FROM t {ordered} LIMIT 300) s WHERE same"
    ));
    assert!(found >= 295, "{found} of 300");
    // An error inside the inner one leaves nothing behind.
    db.refused(&format!("SELECT nearest('[1]'::vector) FROM t {ordered} LIMIT 5"));
    let rows: Vec<i64> = db.column(&format!("SELECT id FROM t {ordered} LIMIT 20"));
    assert_eq!(rows.len(), 20);
    db.check("t_v");
}

#[test]
fn a_session_tells_what_its_scans_have_done() {
    let mut db = db_or_skip!("scan_work");
    filled(&mut db, 20_000);
    let work = |db: &mut Db, statement: &str, what: &str| -> i64 {
        let count = format!("SELECT (howdah_session_work() ->> '{what}')::bigint");
        let before: i64 = db.one(&count);
        db.run(statement);
        db.one::<i64>(&count) - before
    };
    let ordered = format!("ORDER BY v <-> '{}'", query(8));
    let ten = format!("SELECT id FROM t {ordered} LIMIT 10");
    assert_eq!(work(&mut db, &ten, "scans"), 1);
    assert_eq!(work(&mut db, &ten, "rounds"), 1);
    assert!(work(&mut db, &ten, "compared") >= 10);
    assert!(work(&mut db, &ten, "refined") >= work(&mut db, &ten, "compared"));
    let (blocks, bytes) = (work(&mut db, &ten, "blocks"), work(&mut db, &ten, "bytes"));
    let size: i64 = db.one("SELECT pg_relation_size('t_v')");
    assert!(blocks > 0 && bytes > 100 * blocks && bytes < size, "{blocks} blocks, {bytes} of {size} bytes");
    assert_eq!(work(&mut db, "SELECT count(*) FROM t", "scans"), 0);
    // A LIMIT says nothing of a subquery that an expression beside it reads to its end.
    let all = format!("SELECT ARRAY(SELECT id FROM t {ordered})");
    let (alone, limited) =
        (work(&mut db, &all, "rounds"), work(&mut db, &format!("{all} LIMIT 4000"), "rounds"));
    assert!(alone > 3, "{alone} rounds");
    assert_eq!(alone, limited);
}

#[test]
fn a_filter_is_asked_inside_the_scan_where_that_changes_nothing() {
    let mut db = db_or_skip!("scan_inside");
    filled(&mut db, 20_000);
    db.run(
        "ALTER TABLE t ADD COLUMN kind int, ADD COLUMN note text;
         UPDATE t SET kind = id % 100, note = CASE WHEN id % 3 = 0 THEN NULL ELSE 'n' || id % 7 END",
    );
    db.run("VACUUM ANALYZE t");
    let exact = |db: &mut Db, statement: &str| -> Vec<i64> {
        db.run("BEGIN; SET LOCAL enable_indexscan = off; SET LOCAL enable_sort = on; SET LOCAL enable_seqscan = on");
        let rows = db.column(statement);
        db.run("COMMIT");
        rows
    };
    db.run("SET howdah.target_recall = 0.99");
    let ordered = format!("ORDER BY v <-> '{}' LIMIT 10", query(4));
    // Every kind of condition: columns, NULL, parameters of the executor, system columns, a whole row, long values.
    for condition in [
        "kind = 7",
        "kind IN (3, 14, 15) AND note IS NOT NULL",
        "note = 'n3' OR kind < 2",
        "kind = (SELECT min(kind) + 5 FROM t)",
        "tableoid = 't'::regclass AND kind % 10 = 1",
        "t IS NOT NULL AND kind < 20",
        "upper(repeat(coalesce(note, 'x'), 40)) LIKE 'N4%'",
        "kind > 1000",
        "EXISTS (SELECT 1 FROM generate_series(1, 3) g WHERE g = t.kind)",
        "false",
    ] {
        let statement = format!("SELECT id FROM t WHERE {condition} {ordered}");
        let (found, truth) = (db.column::<i64>(&statement), exact(&mut db, &statement));
        let hits = truth.iter().filter(|id| found.contains(id)).count();
        assert!(
            found.len() == truth.len() && hits * 10 >= truth.len() * 8,
            "{condition}: {found:?}, {truth:?}"
        );
    }
    // EXPLAIN counts what was dropped, wherever that was.
    let lines: Vec<String> =
        db.column(&format!("EXPLAIN (ANALYZE) SELECT id FROM t WHERE kind = 7 {ordered}"));
    let removed = lines
        .iter()
        .find_map(|line| line.trim().strip_prefix("Rows Removed by Filter: ")?.parse::<u64>().ok());
    assert!(removed.is_some_and(|removed| removed > 300), "{lines:#?}");
    // What answers anew each time is asked once for each row that is returned.
    db.run("CREATE SEQUENCE asked");
    let rows: Vec<i64> = db.column(&format!("SELECT id FROM t WHERE nextval('asked') > 0 {ordered}"));
    let asked: i64 = db.one("SELECT last_value FROM asked");
    assert_eq!((rows.len(), asked), (10, 10));
    // An outer row's value, another with each rescan.
    let own: i64 = db.one(
        "SELECT count(*) FROM (SELECT * FROM t WHERE id < 40) a
         CROSS JOIN LATERAL (SELECT b.id FROM t b WHERE b.kind = a.kind ORDER BY b.v <-> a.v LIMIT 1) n WHERE n.id = a.id",
    );
    assert!(own >= 38, "{own} of 40 rows are the nearest of their kind to themselves");
    // A condition that fails ends the query, and the next one works.
    let (code, ..) = db.refused(&format!("SELECT id FROM t WHERE 1 / (kind - kind) = 1 {ordered}"));
    assert_eq!(code, "22012");
    assert_eq!(db.column::<i64>(&format!("SELECT id FROM t WHERE kind = 7 {ordered}")).len(), 10);
    // Rows that somebody may not see are not shown to their conditions either.
    db.run(
        "CREATE ROLE looker; GRANT SELECT ON t TO looker; ALTER TABLE t ENABLE ROW LEVEL SECURITY;
         CREATE POLICY few ON t TO looker USING (kind < 5); SET ROLE looker",
    );
    let seen: Vec<i64> = db.column(&format!("SELECT id % 100 FROM t WHERE 1 / (kind - 50) < 9 {ordered}"));
    assert!(seen.len() == 10 && seen.iter().all(|kind| *kind < 5), "{seen:?}");
    db.run("RESET ROLE; DROP OWNED BY looker; DROP ROLE looker");
    db.check("t_v");
}

#[test]
fn relaxed_order_gives_every_row_once_and_strict_order_nearly_all() {
    let mut db = db_or_skip!("scan_drained");
    filled(&mut db, 12_000);
    db.run("DELETE FROM t WHERE id % 5 = 0");
    for vacuum in [false, true] {
        if vacuum {
            db.run("VACUUM t");
        }
        for memory in ["64kB", "4MB"] {
            db.run(&format!("SET work_mem = '{memory}'"));
            let ordered = format!("SELECT id, v <-> '{q}' FROM t ORDER BY v <-> '{q}'", q = query(1));
            db.run("SET howdah.ordering = strict");
            let strict = db.all(&ordered);
            assert_in_order(&strict);
            println!("strict, {memory}: {} of 9600 rows", strict.len());
            assert!(strict.len() >= 9400, "{}", strict.len());
            db.run("SET howdah.ordering = relaxed");
            let mut ids: Vec<i64> = db.column(&ordered);
            ids.sort_unstable();
            let truth: Vec<i64> = (0..12_000).filter(|id| id % 5 != 0).collect();
            assert!(ids == truth, "{memory}: {} rows", ids.len());
        }
    }
    db.check("t_v");
}

#[test]
fn no_setting_makes_a_query_fail() {
    let mut db = db_or_skip!("scan_settings");
    filled(&mut db, 3000);
    for recall in ["0.1", "0.9999"] {
        for probes in [0, 1, 262_144] {
            for expected in [1, 10_000] {
                for order in ["strict", "relaxed"] {
                    for memory in ["64kB", "1GB"] {
                        db.run(&format!(
                            "SET howdah.target_recall = {recall}; SET howdah.probes = {probes}; SET howdah.ordering = {order};
                             SET howdah.expected_rows = {expected}; SET work_mem = '{memory}'"
                        ));
                        for limit in [1, 700] {
                            let q = query(limit);
                            let rows = db.all(&format!(
                                "SELECT id, v <-> '{q}' FROM t ORDER BY v <-> '{q}' LIMIT {limit}"
                            ));
                            assert_eq!(rows.len(), limit, "{recall} {probes} {expected} {order} {memory}");
                            if order == "strict" {
                                assert_in_order(&rows);
                            }
                        }
                    }
                }
            }
        }
    }
    // Nor one that leaves the planner without a way it likes: such queries do not ask for an order.
    for without in ["seqscan", "seqscan = off; SET enable_bitmapscan", "seqscan = off; SET enable_indexscan"]
    {
        db.run(&format!("SET enable_{without} = off"));
        assert_eq!(db.one::<i64>("SELECT count(*) FROM t"), 3000);
        assert_eq!(db.one::<i64>("SELECT count(*) FROM t WHERE v IS NOT NULL AND id < 10"), 10);
        db.run("RESET ALL");
    }
    db.check("t_v");
}

#[test]
fn a_settings_word_that_does_not_exist_is_refused_with_the_words_that_do() {
    let mut db = db_or_skip!("scan_words");
    filled(&mut db, 10);
    db.all("SELECT id FROM t ORDER BY v <-> (SELECT v FROM t LIMIT 1) LIMIT 1");
    let (code, _, hint) = db.refused("SET howdah.ordering = loose");
    assert_eq!((code.as_str(), hint.as_str()), ("22023", "Available values: strict, relaxed."));
}

#[test]
fn the_planner_takes_btree_and_sort_where_that_is_cheaper() {
    let mut db = db_or_skip!("scan_planner");
    db.run("CREATE TABLE t (id bigint, v vector(32), kind int GENERATED ALWAYS AS (id % 4000) STORED)");
    db.load("t", 0, Rows::new(32, 40, 22).take(20_000));
    db.each(&[
        "CREATE INDEX t_v ON t USING howdah (v)",
        "CREATE INDEX t_kind ON t (kind)",
        "VACUUM ANALYZE t",
    ]);
    let nearest = format!("ORDER BY v <-> '{}' LIMIT 10", query(0));
    let plain = db.plan(&format!("SELECT id FROM t {nearest}"));
    assert!(plain.0.contains("using t_v"), "{plain:?}");
    let narrow = db.plan(&format!("SELECT id FROM t WHERE kind = 7 {nearest}"));
    assert!(narrow.0.contains("t_kind") && narrow.0.contains("Sort"), "{narrow:?}");
    let wide = db.plan(&format!("SELECT id FROM t WHERE kind > 2000 {nearest}"));
    assert!(wide.0.contains("using t_v"), "{wide:?}");
    let everything = db.plan(&format!("SELECT id FROM t ORDER BY v <-> '{}'", query(0)));
    assert!(everything.0.contains("Sort"), "{everything:?}");
    // Without an order the index is of no use.
    let unordered = db.plan("SELECT count(*) FROM t WHERE v IS NOT NULL");
    assert!(!unordered.0.contains("t_v"), "{unordered:?}");
    db.check("t_v");
}

#[test]
fn a_scan_that_is_cancelled_ends() {
    let kit = kit_or_skip!();
    let mut db = Server::shared(kit).database("cancel_scan");
    filled(&mut db, 30_000);
    let scanner = std::thread::spawn(move || {
        let mut db = Server::shared(kit).db("cancel_scan");
        db.by_index();
        let q = query(3);
        // Little memory makes many rounds; the scan is far from its end when it is cancelled.
        let drain = format!(
            "SET work_mem = '64kB'; SELECT count(*) FROM generate_series(1, 1000) g,
             LATERAL (SELECT id, g FROM t ORDER BY v <-> '{q}' OFFSET g) s"
        );
        db.simple(&drain).map(drop)
    });
    std::thread::sleep(Duration::from_millis(1500));
    let asked = Instant::now();
    let cancelled: i64 =
        db.one("SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE query LIKE '%generate_series(1, 1000)%' AND pid <> pg_backend_pid()");
    assert_eq!(cancelled, 1);
    let error = scanner.join().unwrap().unwrap_err();
    println!("cancelled in a drained scan: ended after {:?}", asked.elapsed());
    assert_eq!(error.code().map(|code| code.code().to_owned()), Some("57014".into()), "{error}");
    db.check("t_v");
}

#[test]
fn cursors_rescans_and_joins_see_each_row_once() {
    let mut db = db_or_skip!("scan_cursor");
    filled(&mut db, 3000);
    db.run("SET howdah.ordering = relaxed");
    db.run(&format!("BEGIN; DECLARE c CURSOR FOR SELECT id FROM t ORDER BY v <-> '{}'", query(5)));
    let mut ids: Vec<i64> = Vec::new();
    loop {
        let some: Vec<i64> = db.column("FETCH 77 FROM c");
        if some.is_empty() {
            break;
        }
        ids.extend(some);
        // Rows inserted while the cursor is open are not returned by it.
        if ids.len().is_multiple_of(770) {
            let from = 10_000 + ids.len();
            db.load("t", from, Rows::new(32, 40, 21).skip(from).take(300));
        }
    }
    db.run("COMMIT");
    ids.sort_unstable();
    assert!(ids == (0..3000).collect::<Vec<i64>>(), "{} rows", ids.len());
    let nearest: i64 = db.one(
        "SELECT count(*) FROM (SELECT * FROM t WHERE id < 200) a
         CROSS JOIN LATERAL (SELECT b.id FROM t b ORDER BY b.v <-> a.v LIMIT 1) n WHERE n.id = a.id",
    );
    assert!(nearest >= 195, "{nearest} of 200 rows are their own nearest");
    db.check("t_v");
}
