//! Stories that need extensions the bundle does not have (pg_stat_statements, amcheck): told on the server that
//! `HOWDAH_TEST_CONTRIB_URL` names, which has to have them and pgvector, with pg_stat_statements preloaded.

use super::*;
use howdah_plan::check::Severity;
use howdah_postgres::Target;

/// A fresh database on that server, or nothing.
async fn database() -> Option<(Pools, String)> {
    let Ok(url) = std::env::var("HOWDAH_TEST_CONTRIB_URL") else {
        eprintln!("skipped: HOWDAH_TEST_CONTRIB_URL names no server with contrib");
        return None;
    };
    let target = Target::from_url(&url, None).expect("an address");
    let name = format!("contrib_{}", std::process::id());
    let pools = Pools::new(target.clone(), 2);
    execute(&pools, &format!("DROP DATABASE IF EXISTS {name};\nCREATE DATABASE {name}")).await;
    let pools = Pools::new(target.with_database(&name), 4);
    execute(
        &pools,
        "CREATE EXTENSION vector;\nCREATE TABLE t (id bigint PRIMARY KEY, kind int, e vector(64));\n\
         INSERT INTO t SELECT g, g % 500, (SELECT array_agg(sin(g * 7 + d * g)) FROM generate_series(1, 64) d)::vector \
         FROM generate_series(1, 4000) g;\nANALYZE t;\nCREATE INDEX ON t USING hnsw (e vector_cosine_ops)",
    )
    .await;
    Some((pools, name))
}

#[tokio::test]
async fn what_statements_tell_about_searches() {
    let Some((pools, name)) = database().await else { return };
    let look = Look { pools: &pools, database: name.clone(), spec: None, machine: None };
    look.one("wl.pgss").await;
    execute(&pools, "CREATE EXTENSION pg_stat_statements;\nSELECT pg_stat_statements_reset()").await;
    look.healthy("wl.pgss").await;

    let search = |operator: &str, filter: &str| {
        format!("SELECT id FROM t {filter} ORDER BY e {operator} (SELECT e FROM t WHERE id = 7) LIMIT 10")
    };
    for _ in 0..12 {
        execute(&pools, &search("<=>", "")).await;
    }
    look.healthy("pgv.index.opclass_vs_query").await;
    look.healthy("pgv.hnsw.filtered_no_iterative").await;
    look.healthy("wl.slow_vector").await;

    for _ in 0..12 {
        execute(&pools, &search("<->", "")).await;
        execute(
            &pools,
            &format!(
                "SET enable_seqscan = off;\nSET enable_bitmapscan = off;\n{}",
                search("<=>", "WHERE kind = 3")
            ),
        )
        .await;
    }
    let finding = look.one("pgv.index.opclass_vs_query").await;
    assert_eq!(finding.severity, Severity::Critical);
    assert!(finding.measured.ends_with("no index has `vector_l2_ops`"), "{}", finding.measured);
    let finding = look.one("pgv.hnsw.filtered_no_iterative").await;
    execute(&pools, &finding.fix.text).await;
    look.healthy("pgv.hnsw.filtered_no_iterative").await;

    for _ in 0..5 {
        execute(&pools, "SELECT a.id, pg_sleep(0.03) FROM t a, t b WHERE b.id < 5 AND a.id < 5 ORDER BY a.e <+> b.e LIMIT 5").await;
    }
    assert!(look.one("wl.slow_vector").await.measured.contains("ms on average over 5 calls"));

    execute(&pools, "CREATE EXTENSION amcheck").await;
    look.healthy("integrity.amcheck_btree").await;
    // The meaning of the order changes under the index, as a new C library would do it.
    execute(
        &pools,
        "CREATE FUNCTION compare(text, text) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT bttextcmp($1, $2)';\n\
         CREATE OPERATOR CLASS words FOR TYPE text USING btree AS OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, \
         OPERATOR 5 >, FUNCTION 1 compare(text, text);\n\
         CREATE TABLE names AS SELECT md5(g::text) AS name FROM generate_series(1, 500) g;\n\
         CREATE INDEX ON names (name words);\n\
         CREATE OR REPLACE FUNCTION compare(text, text) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT -bttextcmp($1, $2)'",
    )
    .await;
    let finding = look.one("integrity.amcheck_btree").await;
    assert!(finding.measured.contains("item order invariant violated"), "{}", finding.measured);

    drop(look);
    pools.close();
    execute(
        &Pools::new(pools.target().with_database("postgres"), 1),
        &format!("DROP DATABASE {name} WITH (FORCE)"),
    )
    .await;
}
