//! What PostgreSQL's other features do with the index: partitions, expressions, predicates, NULLs, dump, update.

use howdah_extension_stories::{Rows, Server, db_or_skip, kit_or_skip, literal};

#[test]
fn partitions_expressions_and_predicates_are_indexed() {
    let mut db = db_or_skip!("catalog_kinds");
    db.run(
        "CREATE TABLE p (id bigint, v vector(32)) PARTITION BY HASH (id);
         CREATE TABLE p0 PARTITION OF p FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE p1 PARTITION OF p FOR VALUES WITH (MODULUS 2, REMAINDER 1);
         CREATE INDEX p_v ON p USING howdah (v)",
    );
    db.load("p", 0, Rows::new(32, 20, 51).take(4000));
    for index in ["p0_v_idx", "p1_v_idx"] {
        db.check(index);
    }
    let queries: Vec<_> = Rows::new(32, 20, 51).skip(9000).take(20).collect();
    // A partition's scan gives ten rows with its own recall; both together are at least as good.
    db.by_index();
    let mut found = 0;
    for query in &queries {
        let q = literal(query);
        let ids: Vec<i64> = db.column(&format!("SELECT id FROM p ORDER BY v <-> '{q}' LIMIT 10"));
        db.run("SET enable_indexscan = off");
        let truth: Vec<i64> = db.column(&format!("SELECT id FROM p ORDER BY v <-> '{q}' LIMIT 10"));
        db.run("SET enable_indexscan = on");
        assert_eq!(ids.len(), 10);
        found += ids.iter().filter(|id| truth.contains(id)).count();
    }
    assert!(found >= 190, "{found} of 200");

    db.run(
        "CREATE TABLE e (id bigint, v vector(32));
         CREATE INDEX e_half ON e USING howdah ((v::halfvec(32)) halfvec_cosine_ops);
         CREATE INDEX e_part ON e USING howdah (v) WHERE id % 2 = 0;
         CREATE INDEX e_sub ON e USING howdah ((subvector(v, 1, 8)::vector(8)))",
    );
    db.load("e", 0, Rows::new(32, 20, 52).take(3000));
    db.each(&["DELETE FROM e WHERE id % 7 = 0", "VACUUM e"]);
    for index in ["e_half", "e_part", "e_sub"] {
        db.check(index);
    }
    let q = literal(&queries[0]);
    for (statement, index) in [
        (format!("SELECT id FROM e ORDER BY v::halfvec(32) <=> '{q}'::halfvec LIMIT 5"), "e_half"),
        (format!("SELECT id FROM e WHERE id % 2 = 0 ORDER BY v <-> '{q}' LIMIT 5"), "e_part"),
        (
            format!(
                "SELECT id FROM e ORDER BY subvector(v, 1, 8)::vector(8) <-> subvector('{q}'::vector, 1, 8) LIMIT 5"
            ),
            "e_sub",
        ),
    ] {
        let plan = db.plan(&statement);
        assert!(plan.0.contains(index), "{plan:?}");
        assert_eq!(db.all(&statement).len(), 5, "{statement}");
    }
    db.each(&["REINDEX INDEX CONCURRENTLY e_part", "REINDEX TABLE e"]);
    for index in ["e_half", "e_part", "e_sub"] {
        db.check(index);
    }
}

#[test]
fn nulls_are_left_out_and_zero_vectors_are_treated_as_pgvector_treats_them() {
    let mut db = db_or_skip!("catalog_nulls");
    for (opclass, operator) in
        [("vector_l2_ops", "<->"), ("vector_ip_ops", "<#>"), ("vector_cosine_ops", "<=>")]
    {
        // Everything is in the one list of an ivfflat index: it leaves nothing out that pgvector indexes.
        for (method, with) in [("howdah", ""), ("ivfflat", "WITH (lists = 1)")] {
            db.run(&format!(
                "DROP TABLE IF EXISTS t; CREATE TABLE t (id bigint, v vector(3));
                 INSERT INTO t SELECT i, CASE i % 4 WHEN 0 THEN NULL WHEN 1 THEN '[0,0,0]' ELSE format('[%s,1,2]', i) END::vector
                   FROM generate_series(1, 40) i;
                 CREATE INDEX t_v ON t USING {method} (v {opclass}) {with};
                 INSERT INTO t SELECT i, CASE i % 4 WHEN 0 THEN NULL WHEN 1 THEN '[0,0,0]' ELSE format('[%s,1,2]', i) END::vector
                   FROM generate_series(41, 80) i;
                 UPDATE t SET v = NULL WHERE id = 2; UPDATE t SET v = '[1,1,1]' WHERE id = 4"
            ));
            db.by_index();
            let rows = |db: &mut howdah_extension_stories::Db, q: &str| {
                let mut ids: Vec<i64> = db.column(&format!("SELECT id FROM t ORDER BY v {operator} {q}"));
                ids.sort_unstable();
                ids
            };
            let here = rows(&mut db, "'[1,2,3]'");
            let zero = rows(&mut db, "'[0,0,0]'");
            let null = rows(&mut db, "(SELECT NULL::vector)");
            let expected = if opclass == "vector_cosine_ops" { 40 } else { 60 };
            assert_eq!(
                (here.len(), zero.len(), null.len()),
                (expected, expected, expected),
                "{method} {opclass}"
            );
            if method == "howdah" {
                db.check("t_v");
            }
        }
    }
}

#[test]
fn a_dump_is_restored_with_its_index() {
    let kit = kit_or_skip!();
    let server = Server::shared(kit);
    let mut db = server.database("dump_from");
    db.run("CREATE TABLE t (id bigint, v vector(32)); CREATE INDEX t_v ON t USING howdah (v vector_cosine_ops) WITH (bits = 5, lists = 9)");
    db.load("t", 0, Rows::new(32, 20, 53).take(2000));
    let file = kit.root.join("dump").display().to_string();
    server.client("pg_dump", "dump_from", &["-Fc", "-f", &file]);
    server.db("postgres").run("CREATE DATABASE dump_to");
    server.client("pg_restore", "dump_to", &["-j", "2", &file]);
    let mut to = server.db("dump_to");
    to.check("t_v");
    let definition = "SELECT pg_get_indexdef('t_v'::regclass)";
    assert_eq!(to.one::<String>(definition), db.one::<String>(definition));
    assert_eq!(to.one::<i32>("SELECT (howdah_index_info('t_v') ->> 'bits')::int"), 5);
    assert_eq!(to.one::<i64>("SELECT count(*) FROM t"), 2000);
}

#[test]
fn the_extension_is_updated_in_place() {
    let kit = kit_or_skip!();
    let mut db = Server::shared(kit).database("update");
    db.run("CREATE TABLE t (id bigint, v vector(32)); CREATE INDEX t_v ON t USING howdah (v)");
    db.load("t", 0, Rows::new(32, 20, 54).take(500));
    let version: String = db.one("SELECT extversion FROM pg_extension WHERE extname = 'howdah'");
    // What a later release puts beside the first script; the copy of the server is this run's own.
    let script = format!("extension/howdah--{version}--{version}.later.sql");
    let later = kit.programs.sharedir.join(script);
    std::fs::write(&later, "COMMENT ON ACCESS METHOD howdah IS 'updated';\n").unwrap();
    db.run(&format!("ALTER EXTENSION howdah UPDATE TO '{version}.later'"));
    std::fs::remove_file(&later).unwrap();
    assert_eq!(
        db.one::<String>("SELECT extversion FROM pg_extension WHERE extname = 'howdah'"),
        format!("{version}.later")
    );
    db.load("t", 500, Rows::new(32, 20, 54).skip(500).take(500));
    db.check("t_v");
    assert_eq!(db.refused("DROP EXTENSION howdah").0, "2BP01", "an index depends on it");
    db.run("DROP EXTENSION howdah CASCADE");
    assert_eq!(db.one::<i64>("SELECT count(*) FROM pg_class WHERE relname = 't_v'"), 0);
}
