//! Dead rows: vacuum, marks, and what is left where a row's value is gone before the row.

use howdah_extension_stories::{Db, Rows, Server, db_or_skip, literal};

/// Pages of table `t` that running a query touched.
fn fetched(db: &mut Db, query: &str) -> i64 {
    let touched = "SELECT heap_blks_hit + heap_blks_read FROM pg_statio_user_tables WHERE relname = 't'";
    let flush = "SELECT pg_stat_force_next_flush()";
    db.each(&[flush, "SELECT 1"]);
    let before: i64 = db.one(touched);
    db.each(&[flush, query, flush, "SELECT 1"]);
    db.one::<i64>(touched) - before
}

#[test]
fn a_dead_row_is_fetched_once_and_not_again() {
    // On a server of its own: a transaction anywhere on it may keep dead rows alive.
    let kit = howdah_extension_stories::kit_or_skip!();
    let server = Server::start(kit, "dead_rows", &[("fsync", "off")]);
    let mut db = server.database("d");
    // Rows so wide that each has a page of the table to itself: a fetch is a page.
    db.run("CREATE TABLE t (id bigint, v vector(32), filler text)");
    db.run("ALTER TABLE t ALTER filler SET STORAGE plain");
    db.load("t", 0, Rows::new(32, 1, 31).take(2000));
    db.each(&["UPDATE t SET filler = repeat('x', 7000)", "VACUUM FULL t"]);
    db.run("CREATE INDEX t_v ON t USING howdah (v); ANALYZE t");
    db.by_index();
    let q = literal(&Rows::new(32, 1, 31).next().unwrap());
    let nearest = format!("SELECT id FROM t ORDER BY v <-> '{q}' LIMIT 5");
    let before = fetched(&mut db, &nearest);
    let gone = format!("DELETE FROM t WHERE id IN (SELECT id FROM t ORDER BY v <-> '{q}' LIMIT 200)");
    db.run(&gone);
    let first = fetched(&mut db, &nearest);
    // The first may have enough before it has seen all that is dead.
    let again: Vec<i64> = (0..5).map(|_| fetched(&mut db, &nearest)).collect();
    db.run("VACUUM t");
    let clean = fetched(&mut db, &nearest);
    println!(
        "pages of the table touched: {before} before, {first} with 200 dead rows in the way, {again:?} when asked again, {clean} after vacuum"
    );
    assert!(first >= clean + 100, "{first} {clean}");
    assert!(again[4] <= clean + 5, "{again:?} {clean}");
    db.check("t_v");
    let left: i64 = db.one("SELECT (howdah_index_info('t_v') ->> 'rows')::bigint");
    assert_eq!(left, 1800);
}

#[test]
fn a_row_that_a_snapshot_still_sees_is_not_taken_for_dead() {
    let kit = howdah_extension_stories::kit_or_skip!();
    let server = Server::shared(kit);
    let mut db = server.database("dead_or_not");
    db.run("CREATE TABLE t (id bigint, v vector(32))");
    db.load("t", 0, Rows::new(32, 5, 32).take(2000));
    db.run("CREATE INDEX t_v ON t USING howdah (v)");
    let mut old = server.db("dead_or_not");
    old.by_index();
    old.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SET howdah.ordering = relaxed");
    let all = "SELECT count(*) FROM (SELECT id FROM t ORDER BY v <-> (SELECT v FROM t LIMIT 1)) s";
    assert_eq!(old.one::<i64>(all), 2000);
    db.by_index();
    db.run("SET howdah.ordering = relaxed; DELETE FROM t WHERE id < 1000");
    for _ in 0..2 {
        assert_eq!(db.one::<i64>(all), 1000);
    }
    db.run("VACUUM t");
    assert_eq!(old.one::<i64>(all), 2000, "the old snapshot lost rows");
    old.run("COMMIT");
    assert_eq!(old.one::<i64>(all), 1000);
    for _ in 0..2 {
        assert_eq!(db.one::<i64>(all), 1000);
    }
    db.run("VACUUM t");
    db.check("t_v");
}

#[test]
fn a_value_that_is_gone_before_its_row_stops_no_insert() {
    let mut db = db_or_skip!("dead_toast");
    // 700 dimensions are TOASTed. The TOAST table has a vacuum of its own, so values of dead rows may go first.
    db.run("CREATE TABLE t (id bigint, v vector(700)); CREATE INDEX t_v ON t USING howdah (v)");
    let mut rows = Rows::new(700, 2, 33);
    db.load("t", 0, rows.by_ref().take(240));
    db.run("DELETE FROM t WHERE id % 3 > 0");
    let toast: String =
        db.one("SELECT reltoastrelid::regclass::text FROM pg_class WHERE oid = 't'::regclass");
    db.run(&format!("VACUUM {toast}"));
    assert_eq!(db.one::<i64>(&format!("SELECT count(DISTINCT chunk_id) FROM {toast}")), 80);
    // Enough rows that the list of the dead ones splits.
    db.load("t", 1000, rows.by_ref().take(400));
    let lists: i32 = db.one("SELECT (howdah_index_info('t_v') ->> 'lists')::int");
    assert!(lists > 1, "nothing was split");
    db.check("t_v");
    db.run("REINDEX INDEX t_v");
    db.check("t_v");
    db.run("VACUUM t");
    db.check("t_v");
}

#[test]
fn vacuum_in_every_form_leaves_a_sound_index() {
    let mut db = db_or_skip!("vacuum_forms");
    db.run("CREATE TABLE t (id bigint, v vector(32)); CREATE INDEX t_v ON t USING howdah (v); CREATE INDEX t_w ON t USING howdah (v vector_cosine_ops)");
    let forms = [
        "VACUUM t",
        "VACUUM (PARALLEL 2) t",
        "VACUUM (INDEX_CLEANUP off) t",
        "VACUUM (INDEX_CLEANUP on) t",
        "VACUUM (FREEZE, ANALYZE) t",
        "VACUUM FULL t",
        "ANALYZE t",
    ];
    db.run("SET min_parallel_index_scan_size = 0");
    for (n, form) in forms.iter().enumerate() {
        db.load("t", 10_000 * n, Rows::new(32, 10, 34).skip(2000 * n).take(1500));
        db.each(&[&format!("DELETE FROM t WHERE id % 4 = {}", n % 4), form]);
        for index in ["t_v", "t_w"] {
            db.check(index);
        }
    }
    db.each(&["DELETE FROM t", "VACUUM t", "VACUUM t"]);
    db.check("t_v");
    db.load("t", 0, Rows::new(32, 10, 34).take(1000));
    db.check("t_v");
}
