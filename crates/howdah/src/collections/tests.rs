//! Collections on a real server.

use howdah_plan::problem::Kind;
use howdah_plan::spec::resolve::{Resolved, resolve};
use howdah_plan::spec::{Spec, read};
use serde_json::{Value, json};

use super::describe::State;
use super::{DeleteRequest, UpdateRequest, delete, describe, facts, get, list, update};
use howdah_postgres::testing::{TestDatabase, database};

const TABLES: &str = "
CREATE SCHEMA howdah;
CREATE TABLE howdah.collections (name text PRIMARY KEY, model text, dimensions integer NOT NULL,
  normalised boolean NOT NULL, created_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE howdah.sources (collection text NOT NULL, source text NOT NULL, content_hash bytea NOT NULL,
  chunks integer NOT NULL, ingested_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (collection, source));
INSERT INTO howdah.collections VALUES ('docs', 'some-model', 3, true);
INSERT INTO howdah.sources VALUES ('docs', 'a.md', '', 2), ('docs', 'b.md', '', 1), ('other', 'a.md', '', 1);
CREATE TABLE docs (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, source text NOT NULL, chunk integer NOT NULL,
  title text, content text NOT NULL, content_hash bytea NOT NULL DEFAULT '', metadata jsonb NOT NULL DEFAULT '{}',
  year integer, embedding vector(3), tsv tsvector,
  created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now());
INSERT INTO docs (source, chunk, content, metadata, year, embedding) VALUES
  ('a.md', 0, 'one', '{\"k\": 1}', 2020, '[1,0,0.5]'), ('a.md', 1, 'two', '{}', 2021, NULL), ('b.md', 0, 'three', '{}', 2022, '[0,0,1]');
CREATE INDEX docs_embedding_idx ON docs USING hnsw (embedding vector_cosine_ops) WITH (m = 8);
ANALYZE docs";

async fn corpus() -> (TestDatabase, Spec, Resolved) {
    let db = database().await;
    let text = format!(
        "name = \"test\"\n[databases.{}]\n[collections.docs]\ndimensions = 3\n[collections.docs.fields]\n\
         year = \"integer\"\n[collections.later]\ndimensions = 3\n",
        db.name
    );
    let spec = read::from_str(&text, "howdah.toml").unwrap_or_else(|problems| panic!("{problems:?}"));
    db.client().await.batch_execute(TABLES).await.unwrap();
    let resolved = resolve(&spec, "docs").unwrap();
    (db, spec, resolved)
}

#[tokio::test]
async fn a_collection_is_described_as_it_is() {
    let (db, spec, resolved) = corpus().await;
    let described = describe(&db.pools, &resolved, false).await.unwrap();
    assert_eq!((described.rows, described.rows_exact, described.null_embeddings), (3, true, 1));
    assert_eq!((described.dimensions, described.index.as_deref()), (Some(3), Some("docs_embedding_idx")));
    let index = described.indexes.iter().find(|index| index.name == "docs_embedding_idx").unwrap();
    assert_eq!(
        (index.method.as_str(), index.valid, index.options.as_slice()),
        ("hnsw", true, ["m=8".to_owned()].as_slice())
    );
    assert_eq!((described.model.as_deref(), described.documents), (Some("some-model"), Some(2)));
    assert!(described.last_ingest.is_some_and(|at| at.ends_with('Z')) && described.table_bytes > 0);
    let all = list(&db.pools, &spec).await.unwrap();
    let states: Vec<_> = all.iter().map(|one| (one.name.as_str(), one.state)).collect();
    assert_eq!(states, [("docs", State::Ready), ("later", State::Missing)]);
    db.client()
        .await
        .batch_execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'docs_embedding_idx'::regclass",
        )
        .await
        .unwrap();
    let invalid = describe(&db.pools, &resolved, true).await.unwrap();
    assert_eq!(
        (invalid.index, invalid.no_index.as_deref()),
        (None, Some("index `docs_embedding_idx` is not valid (yet)"))
    );
}

#[tokio::test]
async fn a_row_is_got_by_its_id() {
    let (db, _spec, resolved) = corpus().await;
    let ask = |id: Value| {
        serde_json::from_value(json!({"collection": "docs", "id": id, "embedding": true})).unwrap()
    };
    for id in [json!(1), json!("1")] {
        let row = get(&db.pools, &resolved, &ask(id)).await.unwrap();
        assert_eq!((row.content.as_deref(), row.fields["year"].clone()), (Some("one"), json!(2020)));
        assert_eq!((row.embedding, row.metadata), (Some(vec![1.0, 0.0, 0.5]), Some(json!({"k": 1}))));
        assert!(row.created_at.is_some_and(|at| at.ends_with('Z')));
    }
    let bare = get(&db.pools, &resolved, &ask(json!(2))).await.unwrap();
    assert!(!bare.has_embedding && bare.embedding.is_none());
    assert_eq!(get(&db.pools, &resolved, &ask(json!(77))).await.unwrap_err().kind, Kind::NotFound);
    assert_eq!(get(&db.pools, &resolved, &ask(json!("x'; --"))).await.unwrap_err().kind, Kind::Usage);
}

#[tokio::test]
async fn what_is_deleted_can_be_ingested_again() {
    let (db, _spec, resolved) = corpus().await;
    let run = async |request: Value| {
        let request: DeleteRequest = serde_json::from_value(request).unwrap();
        delete(&db.pools, &resolved, &request).await
    };
    for bad in
        [json!({}), json!({"ids": [1], "source": "a.md"}), json!({"filter": {}}), json!({"ids": ["x"]})]
    {
        assert_eq!(run(bad.clone()).await.unwrap_err().kind, Kind::Usage, "{bad}");
    }
    let counted = run(json!({"filter": {"year": {"gte": 2021}}, "dry_run": true})).await.unwrap();
    assert_eq!((counted.rows, counted.documents, counted.dry_run), (2, 2, true));
    let gone = run(json!({"ids": [1, "99"]})).await.unwrap();
    assert_eq!((gone.rows, gone.documents), (1, 1));
    let left = remembered(&db).await;
    assert_eq!(left, ["docs/b.md", "other/a.md"], "a.md is no longer whole, so it is forgotten");
    assert_eq!(run(json!({"source": "b.md"})).await.unwrap().rows, 1);
    assert_eq!(remembered(&db).await, ["other/a.md"]);
    assert_eq!(run(json!({"filter": {"id": {"exists": true}}})).await.unwrap().rows, 1);
    facts::forget(&db.pools, &resolved);
}

/// Filters that hold for every row, whatever is in it, and those that test nothing.
#[tokio::test]
async fn a_filter_that_tests_nothing_deletes_nothing() {
    let (db, _spec, resolved) = corpus().await;
    let nothing = json!({"not": {}});
    for filter in [
        json!({}),
        json!({"and": []}),
        json!({"or": [{}]}),
        json!({"or": []}),
        json!({"not": {"not": {}}}),
        json!({"not": {"or": []}}),
        json!({"and": [{"or": [{"and": []}]}, {"not": nothing}]}),
        json!({"or": [{"year": 2020}, {}]}),
        json!({"year": {"not_in": []}}),
        json!({"not": {"id": {"in": []}}}),
    ] {
        for dry_run in [true, false] {
            let request = DeleteRequest { filter: Some(filter.clone()), dry_run, ..DeleteRequest::default() };
            match delete(&db.pools, &resolved, &request).await {
                Err(problem) => {
                    assert_eq!(problem.kind, Kind::Usage, "{filter}");
                    assert!(problem.hint.unwrap().contains("\"exists\": true"), "{filter}");
                }
                Ok(deleted) => panic!("{filter}: {deleted:?}"),
            }
        }
    }
    let request = DeleteRequest { filter: Some(json!({"id": {"in": []}})), ..DeleteRequest::default() };
    assert_eq!(delete(&db.pools, &resolved, &request).await.unwrap().rows, 0);
    let left = db.client().await.query_one("SELECT count(*) FROM docs", &[]).await.unwrap();
    assert_eq!(left.get::<_, i64>(0), 3);
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let (db, _spec, resolved) = corpus().await;
    for dry_run in [true, false] {
        for request in
            [json!({"source": "nope", "dry_run": dry_run}), json!({"ids": [77, 78], "dry_run": dry_run})]
        {
            let request: DeleteRequest = serde_json::from_value(request).unwrap();
            let problem = delete(&db.pools, &resolved, &request).await.unwrap_err();
            assert_eq!(problem.kind, Kind::NotFound, "{problem:?}");
        }
    }
    // A document without rows is still remembered; forgetting it is something done.
    db.client().await.batch_execute("DELETE FROM docs WHERE source = 'b.md'").await.unwrap();
    let request = DeleteRequest { source: Some("b.md".into()), ..DeleteRequest::default() };
    assert_eq!(delete(&db.pools, &resolved, &request).await.unwrap().rows, 0);
    assert_eq!(delete(&db.pools, &resolved, &request).await.unwrap_err().kind, Kind::NotFound);
}

async fn remembered(db: &TestDatabase) -> Vec<String> {
    let sql = "SELECT collection || '/' || source FROM howdah.sources ORDER BY 1";
    db.client().await.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn metadata_is_changed_by_a_merge_patch_and_nothing_else_is() {
    let (db, _, resolved) = corpus().await;
    let request = |id: i64, metadata: Value| UpdateRequest {
        collection: "docs".into(),
        id: serde_json::from_value(json!(id)).unwrap(),
        metadata: metadata.as_object().cloned().unwrap(),
    };
    let before =
        get(&db.pools, &resolved, &serde_json::from_value(json!({"collection": "docs", "id": 1})).unwrap())
            .await
            .unwrap();
    let patch = json!({"k": null, "lang": "it's", "deep": {"a": {"b": 1}, "c": null}});
    let row = update(&db.pools, &resolved, &request(1, patch)).await.unwrap();
    assert_eq!(row.metadata, Some(json!({"lang": "it's", "deep": {"a": {"b": 1}}})));
    let row = update(&db.pools, &resolved, &request(1, json!({"deep": {"a": {"d": [2]}}}))).await.unwrap();
    assert_eq!(row.metadata, Some(json!({"lang": "it's", "deep": {"a": {"b": 1, "d": [2]}}})));
    assert_eq!((&row.content, &row.fields, row.has_embedding), (&before.content, &before.fields, true));
    assert!(row.updated_at > before.updated_at);
    assert_eq!(remembered(&db).await, ["docs/a.md", "docs/b.md", "other/a.md"], "documents stay known");
    let problem = update(&db.pools, &resolved, &request(99, json!({"a": 1}))).await.unwrap_err();
    assert_eq!(problem.kind, Kind::NotFound);
    let problem = update(&db.pools, &resolved, &request(1, json!({"a": "\0"}))).await.unwrap_err();
    assert_eq!(problem.kind, Kind::Usage);
    let without = Resolved {
        columns: {
            let mut columns = resolved.columns.clone();
            columns.metadata = None;
            columns
        },
        ..resolved
    };
    let problem = update(&db.pools, &without, &request(1, json!({"a": 1}))).await.unwrap_err();
    assert_eq!(problem.message, "collection `docs` has no metadata");
}

/// A fixed filter holds because rows are read through it. What writes into the table itself carries the condition.
#[test]
fn no_statement_reads_the_rows_of_a_collection_past_its_fixed_filter() {
    // Ingest refuses collections that have one; a deletion and a change name the table and add the condition.
    let may = [
        ("knowledge/ingest/writable.rs", usize::MAX),
        ("knowledge/ingest/statistics.rs", usize::MAX),
        ("collections/rows.rs", 2),
    ];
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut left = vec![root.clone()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
            if path.is_dir() {
                left.push(path);
            } else if name.ends_with(".rs") && !name.contains("tests") {
                let found = std::fs::read_to_string(&path).unwrap().matches(".qualified()").count();
                let allowed = may.iter().find(|(file, _)| *file == name).map_or(0, |(_, most)| *most);
                assert!(found <= allowed, "src/{name} reads a collection's table: use `Resolved::rows`");
            }
        }
    }
}
