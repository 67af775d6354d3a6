//! From pgvector's graph to Howdah's own index and back, on a table with rows.

use std::collections::BTreeSet;

use super::super::{ApplyEvent, Options};
use super::{Server, destroying, options, spec};

const METHOD: &str = "SELECT am.amname FROM pg_class c JOIN pg_am am ON am.oid = c.relam \
                      WHERE c.oid = 'public.notes_embedding_idx'::regclass";
const EXTENSION: &str = "SELECT count(*) FROM pg_extension WHERE extname = 'howdah'";

fn declared(index: &str) -> howdah_plan::spec::Spec {
    spec(&format!(
        "name = \"own\"\n[databases.shop]\n[collections.notes]\ndimensions = 64\nindex = {index}\n"
    ))
}

async fn fill(server: &Server, rows: u32) {
    let sql = format!(
        "INSERT INTO notes (source, chunk, content, content_hash, embedding) SELECT 's', n, 'row ' || n, '', \
         (SELECT array_agg(sin(n * d * 0.001) + random() * 0.1) FROM generate_series(1, 64) d)::real[]::vector \
         FROM generate_series(1, {rows}) n; ANALYZE notes"
    );
    server.sql("shop", &sql).await;
}

async fn nearest(server: &Server) -> String {
    let sql = "SELECT string_agg(chunk::text, ',' ORDER BY n) FROM (SELECT chunk, row_number() OVER () AS n FROM (SELECT chunk \
               FROM notes ORDER BY embedding <=> (SELECT embedding FROM notes WHERE chunk = 7) LIMIT 5) near) numbered";
    server.value("shop", sql).await
}

#[tokio::test]
async fn a_graph_gives_way_to_howdahs_own_index_without_a_gap_and_back() {
    let server = Server::start();
    if !server.cluster.has_extension() {
        return;
    }
    server.apply(&declared("\"hnsw\"")).await;
    fill(&server, 20_000).await;
    assert_eq!(
        (server.value("shop", METHOD).await, server.value("shop", EXTENSION).await),
        ("hnsw".into(), "0".into())
    );
    // `auto` does not throw away what took long to build; `howdah` does, when that is allowed.
    let kept = server.plan(&declared("\"auto\"")).await;
    assert!(kept.is_empty() && kept.to_string().contains("is there and serves"), "{kept}");
    let own = declared("\"howdah\"");
    let blocked = server.apply(&own).await;
    assert_eq!(blocked.left.blocked.len(), 2, "{}", blocked.left);
    assert_eq!(server.value("shop", METHOD).await, "hnsw");
    let events = server.told(&own, &destroying()).await;
    assert!(server.plan(&own).await.is_empty(), "{}", server.plan(&own).await);
    assert_eq!(server.value("shop", METHOD).await, "howdah");
    let steps: Vec<String> = events
        .iter()
        .filter_map(|event| match event {
            ApplyEvent::Step { step, .. } => Some(step.sql[0].clone()),
            _ => None,
        })
        .collect();
    assert!(steps[0].starts_with("CREATE INDEX CONCURRENTLY \"notes_embedding_idx_new\""), "{steps:?}");
    assert_eq!(steps[1], "DROP INDEX \"public\".\"notes_embedding_idx\"");
    assert!(nearest(&server).await.starts_with('7'));
    assert_eq!(
        server.value("shop", "SELECT count(*) FROM howdah_index_check('notes_embedding_idx')").await,
        "0"
    );
    // Now that it is there, `auto` is it.
    assert!(server.plan(&declared("\"auto\"")).await.is_empty());
    server.destroy(&declared("\"hnsw\"")).await;
    assert_eq!(
        (server.value("shop", METHOD).await, server.value("shop", EXTENSION).await),
        ("hnsw".into(), "0".into())
    );
    assert!(server.plan(&declared("\"hnsw\"")).await.is_empty());
}

#[tokio::test]
async fn the_build_of_howdahs_own_index_is_watched() {
    let server = Server::start();
    if !server.cluster.has_extension() {
        return;
    }
    let own = declared("{ kind = \"howdah\", bits = 5 }");
    server.apply(&declared("\"none\"")).await;
    fill(&server, 60_000).await;
    let events = server.told(&own, &options()).await;
    let seen: BTreeSet<(String, bool)> = events
        .into_iter()
        .filter_map(|event| match event {
            ApplyEvent::Building(building) => {
                Some((building.phase, building.total > 0 && building.done <= building.total))
            }
            _ => None,
        })
        .collect();
    // The extension names its phases and counts what they do.
    let named = |phase: &str| {
        ["sampling rows", "making lists", "encoding rows", "writing pages"]
            .iter()
            .any(|name| phase.ends_with(name))
    };
    assert!(
        seen.iter().any(|(phase, _)| named(phase)) && seen.iter().any(|(_, counted)| *counted),
        "{seen:?}"
    );
    assert!(
        server
            .value("shop", "SELECT reloptions FROM pg_class WHERE relname = 'notes_embedding_idx'")
            .await
            .contains("bits=5")
    );
    assert!(server.plan(&own).await.is_empty());
    assert!(!server.plan(&declared("\"howdah\"")).await.is_empty(), "4 bits are another index");
}

/// Stopped after any step, as if killed: the next run goes on and ends where it should.
#[tokio::test]
async fn a_change_of_index_that_is_broken_off_anywhere_is_ended_by_the_next_run() {
    let server = Server::start();
    if !server.cluster.has_extension() {
        return;
    }
    server.apply(&declared("\"hnsw\"")).await;
    fill(&server, 3_000).await;
    for (index, method) in [("\"howdah\"", "howdah"), ("\"hnsw\"", "hnsw")] {
        let declared = declared(index);
        let mut stops = 0;
        while server.try_apply(&declared, &Options { stop_after: Some(1), ..destroying() }).await.is_err() {
            stops += 1;
            assert!(stops < 10, "{}", server.plan(&declared).await);
        }
        assert!(stops > 0);
        assert_eq!(server.value("shop", METHOD).await, method);
        assert!(server.plan(&declared).await.is_empty());
    }
    assert_eq!(server.value("shop", EXTENSION).await, "0");
}
