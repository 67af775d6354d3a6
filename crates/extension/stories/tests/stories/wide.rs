//! Many dimensions: TOASTed vectors, halfvec, one code a page.

use howdah_extension_stories::{Rows, db_or_skip};

#[test]
fn vectors_too_wide_for_a_page_are_built_inserted_and_found() {
    let mut db = db_or_skip!("wide");
    for (kind, dimensions, operator, opclass) in [
        ("vector", 2000, "<->", "vector_l2_ops"),
        ("vector", 4000, "<=>", "vector_cosine_ops"),
        ("halfvec", 4000, "<#>", "halfvec_ip_ops"),
        ("halfvec", 3072, "<->", "halfvec_l2_ops"),
    ] {
        db.run(&format!("DROP TABLE IF EXISTS t; CREATE TABLE t (id bigint, v {kind}({dimensions}))"));
        let mut rows = Rows::new(dimensions, 4, 41);
        db.load("t", 0, rows.by_ref().take(250));
        db.run(&format!(
            "SET maintenance_work_mem = '1MB'; CREATE INDEX t_v ON t USING howdah (v {opclass})"
        ));
        db.check("t_v");
        db.load("t", 250, rows.by_ref().take(250));
        db.each(&["DELETE FROM t WHERE id % 5 = 0", "VACUUM t"]);
        db.check("t_v");
        let queries: Vec<_> = rows.take(5).collect();
        let recall = db.recall("t", operator, &queries, 10);
        assert!(recall >= 0.97, "{kind}({dimensions}): {recall}");
    }
}

#[test]
fn few_dimensions_work_as_well() {
    let mut db = db_or_skip!("narrow");
    // With one dimension a code says next to nothing; a btree serves such a column.
    for (dimensions, least) in [(1, 0.8), (2, 0.9), (3, 0.95)] {
        db.run(&format!(
            "DROP TABLE IF EXISTS t; CREATE TABLE t (id bigint, v vector({dimensions}));
             CREATE INDEX t_v ON t USING howdah (v)"
        ));
        db.load("t", 0, Rows::new(dimensions, 10, 42).take(3000));
        db.check("t_v");
        let queries: Vec<_> = Rows::new(dimensions, 10, 42).skip(9000).take(50).collect();
        let recall = db.recall("t", "<->", &queries, 10);
        db.run("SET howdah.probes = 262144");
        let all = db.recall("t", "<->", &queries, 10);
        db.run("RESET howdah.probes");
        println!("{dimensions} dimensions: recall {recall:.3}, reading all lists {all:.3}");
        assert!(recall.min(all) >= least, "{dimensions}: {recall} {all}");
    }
}
