//! Stories of pages that are not what was written, and of indexes larger than memory.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use super::*;
use howdah_plan::check::Severity;

const ROWS: &str = "CREATE EXTENSION vector;\nCREATE TABLE t (id bigint PRIMARY KEY, e vector(128));\n\
     INSERT INTO t SELECT g, (SELECT array_agg(sin(g * 7 + d * g)) FROM generate_series(1, 128) d)::vector \
     FROM generate_series(1, 3000) g;\nANALYZE t;\nCREATE INDEX graph ON t USING hnsw (e vector_l2_ops);\n\
     CREATE TABLE other AS SELECT g, repeat('x', 500) AS filler FROM generate_series(1, 5000) g;\nCHECKPOINT";

/// Overwrites the pages of a relation's file from the second on, behind the server's back, and pushes them out of its
/// memory.
async fn overwrite(cluster: &Cluster, pools: &Pools, relation: &str, with: u8) {
    let client = connect::connect(&pools.target()).await.expect("a connection");
    let path: String = client
        .query_one("SELECT pg_relation_filepath($1::text::regclass)", &[&relation])
        .await
        .expect("a path")
        .get(0);
    let file = OpenOptions::new().write(true).open(cluster.dir.join("data").join(path)).expect("the file");
    let pages = file.metadata().expect("its size").len() / 8192;
    assert!(pages > 4, "{pages}");
    for page in 1..pages {
        file.write_all_at(&[with; 8192], page * 8192).expect("a write");
    }
    for _ in 0..3 {
        client.batch_execute("SELECT count(*) FROM other WHERE filler LIKE '%y'").await.expect("a scan");
    }
}

#[tokio::test]
async fn a_destroyed_index_that_checksums_call_sound() {
    let (cluster, pools) = cluster(&["shared_buffers=1MB", "autovacuum=off"]);
    execute(&pools, ROWS).await;
    let look = Look::server(&pools);
    look.healthy("pgv.index.answers").await;

    let finding = look.one("pgv.index.size_vs_buffers").await;
    assert!(finding.measured.ends_with("`shared_buffers` is 1 MB"), "{}", finding.measured);

    overwrite(&cluster, &pools, "graph", 0).await;
    let finding = look.one("pgv.index.answers").await;
    assert_eq!((finding.severity, finding.object.as_deref()), (Severity::Critical, Some("public.graph")));
    look.healthy("cfg.checksum_failures").await;
    execute(&pools, &finding.fix.text).await;
    look.healthy("pgv.index.answers").await;
}

#[tokio::test]
async fn a_page_that_the_disk_changed() {
    let (cluster, pools) = cluster(&["shared_buffers=1MB", "autovacuum=off"]);
    execute(&pools, ROWS).await;
    let look = Look::server(&pools);
    look.healthy("cfg.checksum_failures").await;
    overwrite(&cluster, &pools, "t", 0x5a).await;
    let client = connect::connect(&pools.target()).await.expect("a connection");
    client.batch_execute("SELECT count(id) FROM t WHERE e IS NOT NULL").await.expect_err("must fail");
    drop(client);
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    let finding = look.one("cfg.checksum_failures").await;
    assert_eq!((finding.severity, finding.object.as_deref()), (Severity::Critical, Some("postgres")));
}

#[tokio::test]
async fn an_index_that_is_always_read_from_outside() {
    let (_cluster, pools) = cluster(&["shared_buffers=1MB", "autovacuum=off"]);
    execute(&pools, ROWS).await;
    let look = Look::server(&pools);
    look.healthy("pgv.index.cached_pct").await;
    execute(
        &pools,
        "SET enable_seqscan = off;\nSET hnsw.ef_search = 400;\nDO $$ BEGIN FOR i IN 1..120 LOOP \
         PERFORM id FROM t ORDER BY e <-> (SELECT e FROM t WHERE id = i) LIMIT 10; END LOOP; END $$;\n\
         SELECT pg_stat_force_next_flush()",
    )
    .await;
    let finding = look.one("pgv.index.cached_pct").await;
    assert!(finding.measured.contains("page reads were in memory"), "{}", finding.measured);
}
