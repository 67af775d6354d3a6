//! Another name in the declaration keeps the rows, where the declaration says so.

use super::{Server, destroying, options, spec};
use crate::apply::Options;

const BEFORE: &str = r#"
name = "shop"
[databases.shop]
extensions = { vector = "*" }
schemas = ["archive"]

[collections.notes]
dimensions = 3
fields = { year = "int" }

[tables.orders]
primary_key = ["id"]
columns = [
  { name = "id", type = "bigint", identity = true },
  { name = "kind", type = "text", default = "'new'" },
  { name = "at", type = "timestamptz" },
]
indexes = [{ columns = ["kind"] }, { columns = ["at"], where = "kind <> 'old'" }]
"#;

/// Every declared name is another one.
fn after() -> String {
    BEFORE
        .replace("[collections.notes]", "[collections.remarks]\nrenamed_from = \"notes\"")
        .replace(
            "[tables.orders]",
            "[tables.purchases]\ntable = \"archive.purchases\"\nrenamed_from = \"orders\"",
        )
        .replace("name = \"kind\"", "name = \"sort\", renamed_from = \"kind\"")
        .replace("[\"kind\"]", "[\"sort\"]")
        .replace("where = \"kind", "where = \"sort")
}

const ROWS: &str = "INSERT INTO orders (kind) VALUES ('a'), ('b');
    INSERT INTO notes (source, chunk, content, content_hash, embedding) VALUES ('a.md', 0, 'text', '\\x01', '[1,2,3]');
    INSERT INTO howdah.sources VALUES ('notes', 'a.md', '\\x01', 1);
    INSERT INTO howdah.collections VALUES ('notes', 'model', 3, true)";

#[tokio::test]
async fn what_has_another_name_keeps_its_rows() {
    let server = Server::start();
    server.apply(&spec(BEFORE)).await;
    server.sql("shop", ROWS).await;
    let file = "SELECT string_agg(c.relname || ' ' || pg_relation_filenode(c.oid), ', ' ORDER BY pg_relation_filenode(c.oid))
                FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE c.relkind = 'i' AND n.nspname IN ('public', 'archive') AND c.relname !~ '(_key|_pkey)$'";
    let files = |text: &str| -> Vec<String> {
        text.split(", ").filter_map(|one| one.split(' ').nth(1)).map(str::to_owned).collect()
    };
    let before = files(&server.value("shop", file).await);

    let renamed = spec(&after());
    // Broken off after any step, the next run goes on.
    for _ in 0..server.plan(&renamed).await.steps.len() {
        let stopped = Options { stop_after: Some(1), ..options() };
        if let Err(problem) = server.try_apply(&renamed, &stopped).await {
            assert!(problem.message.contains("stopped before step"), "{problem:#?}");
        }
    }
    let outcome = server.try_apply(&renamed, &destroying()).await.unwrap();
    assert!(outcome.left.is_empty(), "{}", outcome.left);
    let plan = server.plan(&renamed).await;
    assert!(plan.is_empty(), "{plan}");
    assert_eq!(
        server.value("shop", "SELECT string_agg(sort, ' ' ORDER BY id) FROM archive.purchases").await,
        "a b"
    );
    assert_eq!(server.value("shop", "SELECT count(embedding) FROM remarks").await, "1");
    let known = "SELECT (SELECT string_agg(collection, ' ') FROM howdah.sources) || ' ' || \
                 (SELECT string_agg(name, ' ') FROM howdah.collections)";
    assert_eq!(server.value("shop", known).await, "remarks remarks");
    let indexes = server.value("shop", file).await;
    assert_eq!(files(&indexes), before, "no index was built again: {indexes}");
    for name in ["purchases_sort_idx", "purchases_at_idx", "remarks_embedding_idx"] {
        assert!(indexes.contains(name), "{indexes}");
    }
    // What was remembered went along: the next name works too, and what is taken out is still Howdah's to drop.
    let gone = spec("name = \"shop\"\n[databases.shop]\nextensions = { vector = \"*\" }\n");
    let outcome = server.try_apply(&gone, &destroying()).await.unwrap();
    assert!(outcome.left.is_empty(), "{}", outcome.left);
    assert_eq!(server.value("shop", "SELECT to_regclass('archive.purchases')").await, "");
    assert_eq!(
        server
            .value("shop", "SELECT count(*) FROM howdah.managed WHERE kind IN ('table', 'column', 'default')")
            .await,
        "0"
    );
}

#[tokio::test]
async fn a_change_of_type_says_what_it_locks() {
    let server = Server::start();
    server
        .apply(&spec(
            &BEFORE
                .replace("\"kind\", type = \"text\", default = \"'new'\"", "\"kind\", type = \"int\"")
                .replace(", where = \"kind <> 'old'\"", ""),
        ))
        .await;
    server
        .sql("shop", "INSERT INTO orders (kind) SELECT i FROM generate_series(1, 5000) AS i; ANALYZE orders")
        .await;
    let wider = spec(
        &BEFORE
            .replace("\"kind\", type = \"text\", default = \"'new'\"", "\"kind\", type = \"bigint\"")
            .replace(", where = \"kind <> 'old'\"", ""),
    );
    let text = server.plan(&wider).await.to_string();
    assert!(
        text.contains("ACCESS EXCLUSIVE): about 5000 rows, ") && text.contains("kB with indexes"),
        "{text}"
    );
}
