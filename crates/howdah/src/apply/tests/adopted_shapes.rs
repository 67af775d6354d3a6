//! Tables as other programs make them: adopted, applied until the plan is empty, searched, filtered.

use howdah_embed::Embedders;
use howdah_plan::migrate::Plan;
use howdah_plan::problem::{Kind, Problem};
use howdah_plan::search::{SearchAnswer, SearchRequest};
use howdah_plan::spec::Spec;
use howdah_plan::spec::resolve::{Resolved, resolve};
use serde_json::{Value, json};

use super::{Server, options, spec};
use crate::bench::recall;
use crate::collections::{DeleteRequest, delete, describe, facts, get};
use crate::knowledge;

/// A server with the database `app`, pgvector in it, and these tables.
async fn server(sql: &str) -> Server {
    let server = Server::start();
    server.sql("postgres", "CREATE DATABASE app").await;
    server.sql("app", &format!("CREATE EXTENSION vector; {sql}")).await;
    server
}

fn declared(collections: &str) -> Spec {
    spec(&format!("name = \"adopting\"\n[databases.app]\n{collections}"))
}

/// Applies, and the plan is empty afterwards.
async fn applied(server: &Server, spec: &Spec) -> Plan {
    server.apply(spec).await;
    let plan = server.plan(spec).await;
    assert!(plan.is_empty(), "{plan}");
    plan
}

async fn search(server: &Server, resolved: &Resolved, mut request: Value) -> Result<SearchAnswer, Problem> {
    request["collection"] = json!(resolved.name);
    let request: SearchRequest = serde_json::from_value(request).unwrap();
    facts::forget(&server.pools, resolved);
    knowledge::search::run(&server.pools, &Embedders::default(), resolved, &request).await
}

/// The contents found.
async fn found(server: &Server, resolved: &Resolved, request: Value) -> Vec<String> {
    let answer =
        search(server, resolved, request.clone()).await.unwrap_or_else(|p| panic!("{request}: {p:#?}"));
    assert!(answer.complete, "{}", answer.complete_reason);
    answer.results.into_iter().map(|hit| hit.content.unwrap_or_default()).collect()
}

fn notes(plan: &Plan) -> String {
    plan.notes.iter().map(|note| note.text.as_str()).collect::<Vec<_>>().join("\n")
}

const LANGCHAIN: &str = "CREATE TABLE lang (langchain_id uuid PRIMARY KEY, content text NOT NULL, embedding vector(3) NOT NULL, \
     langchain_metadata json); \
     INSERT INTO lang VALUES (gen_random_uuid(), 'cats', '[1,0,0]', '{\"kind\": \"pet\", \"age\": 3}'), \
     (gen_random_uuid(), 'wolves', '[0.9,0.1,0]', '{\"kind\": \"wild\"}'), (gen_random_uuid(), 'cars', '[0,0,1]', NULL)";

#[tokio::test]
async fn metadata_may_be_json() {
    let server = server(LANGCHAIN).await;
    let spec = declared(
        "[collections.lang]\n[collections.lang.adopt]\nid = \"langchain_id\"\ncontent = \"content\"\n\
         embedding = \"embedding\"\nmetadata = \"langchain_metadata\"\n",
    );
    applied(&server, &spec).await;
    let lang = resolve(&spec, "lang").unwrap();
    let near = |filter: Value| json!({"vector": [1, 0, 0], "filter": filter});
    assert_eq!(found(&server, &lang, near(json!({"metadata.kind": "wild"}))).await, ["wolves"]);
    assert_eq!(found(&server, &lang, near(json!({"metadata.age": {"gte": 2}}))).await, ["cats"]);
    assert_eq!(found(&server, &lang, near(json!({"metadata.kind": null}))).await, ["cars"]);
    let request =
        serde_json::from_value(json!({"collection": "lang", "filter": {"metadata.kind": "wild"}})).unwrap();
    assert_eq!(delete(&server.pools, &lang, &request).await.unwrap().rows, 1);
}

/// What the older generation of LangChain makes: one table for all collections, the column without dimensions.
const LEGACY: &str = "CREATE TABLE legacy (id varchar PRIMARY KEY, collection_id uuid, embedding vector, document varchar, \
     cmetadata jsonb); \
     INSERT INTO legacy SELECT 'a' || i, '11111111-1111-1111-1111-111111111111', ARRAY[cos(i), sin(i), i * 0.0001], \
     'three ' || i, jsonb_build_object('even', i % 2 = 0) FROM generate_series(1, 3000) AS i; \
     INSERT INTO legacy SELECT 'b' || i, '22222222-2222-2222-2222-222222222222', ARRAY[cos(i), sin(i), 0, 1], \
     'four ' || i, '{}' FROM generate_series(1, 2500) AS i; ANALYZE legacy";

#[tokio::test]
async fn a_column_without_dimensions_is_indexed_by_its_cast_and_searched_by_it() {
    let server = server(LEGACY).await;
    let columns =
        "id = \"id\"\ncontent = \"document\"\nembedding = \"embedding\"\nmetadata = \"cmetadata\"\n";
    let spec = declared(&format!(
        "[collections.three]\ntable = \"legacy\"\ndimensions = 3\n[collections.three.adopt]\n{columns}\
         filter = {{ collection_id = \"11111111-1111-1111-1111-111111111111\" }}\n\
         [collections.four]\ntable = \"legacy\"\ndimensions = 4\n[collections.four.adopt]\n{columns}\
         filter = {{ collection_id = \"22222222-2222-2222-2222-222222222222\" }}\n"
    ));
    applied(&server, &spec).await;
    for (name, vector, rows) in [("three", json!([1, 0, 0]), 3000), ("four", json!([1, 0, 0, 1]), 2500)] {
        let resolved = resolve(&spec, name).unwrap();
        let request = json!({"vector": vector, "limit": 5, "explain": true, "ef_search": 40});
        let answer = search(&server, &resolved, request).await.unwrap();
        let index = format!("legacy_{name}_embedding_idx");
        assert_eq!(answer.index.as_ref(), Some(&index), "{:?}", answer.scan);
        let explain = answer.explain.unwrap();
        assert_eq!(explain.indexes, [index], "{}", explain.plan);
        assert!(answer.results.len() == 5 && answer.complete);
        assert!(answer.results.iter().all(|hit| hit.content.as_ref().unwrap().starts_with(name)));
        let exact =
            search(&server, &resolved, json!({"vector": vector, "limit": 5, "exact": true})).await.unwrap();
        assert_eq!(answer.results[0].distance, exact.results[0].distance);
        assert_eq!(describe(&server.pools, &resolved, true).await.unwrap().rows, rows);
        let hybrid = json!({"vector": vector, "text": name, "filter": {"id": {"exists": true}}, "limit": 4});
        assert!(found(&server, &resolved, hybrid).await.iter().all(|text| text.starts_with(name)));
        let near = json!({"id": answer.results[0].id, "limit": 3, "max_distance": 1.5});
        assert_eq!(found(&server, &resolved, near).await.len(), 3);
    }
    // Without a fixed filter the index is of all rows, which then have to have the same dimensions.
    server.sql("app", "DELETE FROM legacy WHERE id LIKE 'b%'").await;
    let all = declared(&format!("[collections.legacy]\n[collections.legacy.adopt]\n{columns}"));
    let plan = server.plan(&all).await;
    assert!(notes(&plan).contains("with `dimensions = …`"), "{}", notes(&plan));
    let all =
        declared(&format!("[collections.legacy]\ndimensions = 3\n[collections.legacy.adopt]\n{columns}"));
    server.destroy(&all).await;
    assert!(server.plan(&all).await.is_empty());
    let legacy = resolve(&all, "legacy").unwrap();
    let answer = search(&server, &legacy, json!({"vector": [1, 0, 0], "explain": true, "ef_search": 40}))
        .await
        .unwrap();
    assert_eq!(answer.explain.unwrap().indexes, ["legacy_embedding_idx"]);
}

#[tokio::test]
async fn a_vector_too_wide_for_an_index_is_compared_as_halfvec_where_that_is_declared() {
    let server = server(
        "CREATE TABLE wide (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, content text, embedding vector(2500)); \
         INSERT INTO wide (content, embedding) SELECT 'row ' || i, (SELECT array_agg(sin(i * j)) FROM generate_series(1, 2500) AS j) \
         FROM generate_series(1, 20) AS i",
    )
    .await;
    let spec = declared(
        "[collections.wide]\nstorage = \"halfvec\"\n[collections.wide.adopt]\nid = \"id\"\ncontent = \"content\"\n\
         embedding = \"embedding\"\n",
    );
    applied(&server, &spec).await;
    let wide = resolve(&spec, "wide").unwrap();
    let described = describe(&server.pools, &wide, true).await.unwrap();
    assert_eq!(described.index.as_deref(), Some("wide_embedding_idx"), "{:?}", described.no_index);
    assert_eq!(found(&server, &wide, json!({"id": 7, "limit": 3})).await.len(), 3);
}

const SHARED: &str = "CREATE SCHEMA sales; CREATE TABLE sales.\"docs.v2\" (id bigint PRIMARY KEY, tenant int NOT NULL, \
     lang varchar(8), body text, embedding halfvec(3)); \
     INSERT INTO sales.\"docs.v2\" SELECT i, i % 2, CASE i % 3 WHEN 0 THEN 'en' ELSE 'de' END, 'row ' || i, \
     ARRAY[1, i * 0.01, 0] FROM generate_series(1, 60) AS i";

fn tenant(filter: &str) -> Spec {
    declared(&format!(
        "[collections.docs]\ntable = 'sales.\"docs.v2\"'\n[collections.docs.adopt]\nid = \"id\"\ncontent = \"body\"\n\
         embedding = \"embedding\"\nfilter = {filter}\n[collections.docs.fields]\ntenant = \"integer\"\nlang = \"varchar(8)\"\n"
    ))
}

#[tokio::test]
async fn a_fixed_filter_holds_whatever_a_request_asks() {
    let server = server(SHARED).await;
    let spec = tenant("{ tenant = 1, lang = [\"en\", \"fr\"] }");
    applied(&server, &spec).await;
    let docs = resolve(&spec, "docs").unwrap();
    let mine: Vec<String> =
        (1..=60).filter(|i| i % 2 == 1 && i % 3 == 0).map(|i| format!("row {i}")).collect();
    let theirs = [
        "{}",
        "{\"tenant\": 0}",
        "{\"or\": [{\"tenant\": 0}, {\"tenant\": 1}]}",
        "{\"not\": {\"tenant\": 1}}",
    ];
    for (filter, rows) in theirs.iter().zip([10, 0, 10, 0]) {
        let filter: Value = serde_json::from_str(filter).unwrap();
        for request in [
            json!({"vector": [1, 0, 0], "limit": 100}),
            json!({"text": "row", "mode": "text", "limit": 100}),
            json!({"vector": [1, 0, 0], "text": "row", "limit": 100, "max_distance": 2}),
        ] {
            let mut request = request;
            request["filter"] = filter.clone();
            let found = found(&server, &docs, request.clone()).await;
            assert_eq!(found.len(), rows, "{request}");
            assert!(found.iter().all(|row| mine.contains(row)), "{request}: {found:?}");
        }
    }
    assert_eq!(describe(&server.pools, &docs, true).await.unwrap().rows, 10);
    let ask = |id: i64| serde_json::from_value(json!({"collection": "docs", "id": id})).unwrap();
    assert_eq!(get(&server.pools, &docs, &ask(3)).await.unwrap().content.as_deref(), Some("row 3"));
    assert_eq!(get(&server.pools, &docs, &ask(4)).await.unwrap_err().kind, Kind::NotFound);
    let near = search(&server, &docs, json!({"id": 4})).await.unwrap_err();
    assert_eq!(near.kind, Kind::NotFound, "{near:#?}");
    let report =
        recall::run(&server.pools, &Embedders::default(), &docs, &recall::Options::default(), |_| {})
            .await
            .unwrap();
    assert_eq!((report.queries, report.recall), (10, 1.0));
    let run = async |request: Value| {
        let request: DeleteRequest = serde_json::from_value(request).unwrap();
        delete(&server.pools, &docs, &request).await.unwrap().rows
    };
    assert_eq!(run(json!({"ids": [3, 4, 5]})).await, 1);
    assert_eq!(run(json!({"filter": {"tenant": 0}})).await, 0);
    assert_eq!(run(json!({"filter": {"or": [{"id": {"exists": true}}]}, "dry_run": true})).await, 9);
    assert_eq!(run(json!({"filter": {"id": {"exists": true}}})).await, 9);
    assert_eq!(server.value("app", "SELECT count(*) FROM sales.\"docs.v2\"").await, "50");
}

#[tokio::test]
async fn a_column_of_the_fixed_filter_has_to_be_there() {
    let server = server(SHARED).await;
    let problem = server.try_apply(&tenant("{ owner = 1 }"), &options()).await.unwrap_err();
    assert!(problem.detail.clone().unwrap().contains("`owner` is not there"), "{problem:#?}");
}

const PARTITIONED: &str = "CREATE TABLE parts (id bigint GENERATED BY DEFAULT AS IDENTITY, kind text NOT NULL, body text, \
     embedding vector(3), words tsvector GENERATED ALWAYS AS (to_tsvector('english', body)) STORED, \
     PRIMARY KEY (id, kind)) PARTITION BY LIST (kind); \
     CREATE TABLE parts_a PARTITION OF parts FOR VALUES IN ('a'); CREATE TABLE parts_b PARTITION OF parts FOR VALUES IN ('b'); \
     INSERT INTO parts (kind, body, embedding) SELECT CASE i % 2 WHEN 0 THEN 'a' ELSE 'b' END, 'row ' || i, \
     ARRAY[cos(i), sin(i), 0] FROM generate_series(1, 5000) AS i; ANALYZE parts";

#[tokio::test]
async fn a_partitioned_table_has_a_key_of_several_columns_and_its_index_is_used() {
    let server = server(PARTITIONED).await;
    let with = |id: &str| {
        declared(&format!(
            "[collections.parts]\n[collections.parts.adopt]\nid = {id}\ncontent = \"body\"\nembedding = \"embedding\"\n\
             [collections.parts.fields]\nkind = \"text\"\n"
        ))
    };
    let problem = server.try_apply(&with("\"id\""), &options()).await.unwrap_err();
    assert!(problem.detail.clone().unwrap().contains("its key is `id = [\"id\", \"kind\"]`"), "{problem:#?}");
    let spec = with("[\"id\", \"kind\"]");
    applied(&server, &spec).await;
    let parts = resolve(&spec, "parts").unwrap();
    let answer =
        search(&server, &parts, json!({"vector": [1, 0, 0], "limit": 5, "ef_search": 40})).await.unwrap();
    assert_eq!((answer.results.len(), answer.complete), (5, true));
    assert_eq!(answer.index.as_deref(), Some("parts_embedding_idx"), "{:?}", answer.scan);
    let id = answer.results[0].id.as_str().unwrap().to_owned();
    assert!(id.starts_with('[') && id.ends_with("\"]"), "{id}");
    let row = get(
        &server.pools,
        &parts,
        &serde_json::from_value(json!({"collection": "parts", "id": id})).unwrap(),
    )
    .await
    .unwrap();
    assert_eq!(row.content, answer.results[0].content);
    let hybrid = json!({"vector": [1, 0, 0], "text": "row", "filter": {"kind": "b"}, "limit": 10});
    assert_eq!(found(&server, &parts, hybrid).await.len(), 10);
    let request = serde_json::from_value(json!({"collection": "parts", "ids": [id]})).unwrap();
    assert_eq!(delete(&server.pools, &parts, &request).await.unwrap().rows, 1);
    assert_eq!(describe(&server.pools, &parts, true).await.unwrap().rows, 4999);
}

#[tokio::test]
async fn views_are_searched_and_never_written() {
    let server = server(&format!(
        "{LANGCHAIN}; CREATE VIEW pets AS SELECT * FROM lang WHERE langchain_metadata->>'kind' = 'pet'; \
         CREATE MATERIALIZED VIEW copy AS SELECT * FROM lang; CREATE UNIQUE INDEX ON copy (langchain_id); \
         CREATE MATERIALIZED VIEW empty AS SELECT * FROM lang WITH NO DATA; CREATE UNIQUE INDEX ON empty (langchain_id)"
    ))
    .await;
    let adopt = |name: &str| {
        format!(
            "[collections.{name}]\n[collections.{name}.adopt]\nid = \"langchain_id\"\ncontent = \"content\"\n\
             embedding = \"embedding\"\nmetadata = \"langchain_metadata\"\n"
        )
    };
    let spec = declared(&[adopt("pets"), adopt("copy"), adopt("empty")].concat());
    let plan = applied(&server, &spec).await;
    assert!(
        notes(&plan).contains("collection `pets` is a view: it is searched, and not written into"),
        "{}",
        notes(&plan)
    );
    let (pets, copy) = (resolve(&spec, "pets").unwrap(), resolve(&spec, "copy").unwrap());
    assert_eq!(found(&server, &pets, json!({"vector": [1, 0, 0]})).await, ["cats"]);
    assert_eq!(found(&server, &copy, json!({"vector": [1, 0, 0]})).await, ["cats", "wolves", "cars"]);
    assert_eq!(
        describe(&server.pools, &copy, true).await.unwrap().index.as_deref(),
        Some("copy_embedding_idx")
    );
    let request =
        serde_json::from_value(json!({"collection": "pets", "filter": {"metadata.kind": "pet"}})).unwrap();
    let refused = delete(&server.pools, &pets, &request).await.unwrap_err();
    assert_eq!(
        (refused.kind, refused.message.as_str()),
        (Kind::Usage, "collection `pets` is a view, and is only read")
    );
    // The service's roles may read a view and no more.
    let acl = "SELECT string_agg(privilege_type, ',') FROM pg_class, aclexplode(relacl) \
               WHERE relname = 'pets' AND grantee = 'howdah_adopting_write'::regrole";
    assert_eq!(server.value("app", acl).await, "SELECT");
}

#[tokio::test]
async fn a_table_without_a_key_is_searched_and_its_rows_have_no_ids() {
    let server = server(&LANGCHAIN.replace(" PRIMARY KEY", "")).await;
    let keyed =
        "[collections.lang]\n[collections.lang.adopt]\nid = \"langchain_id\"\nembedding = \"embedding\"\n";
    let problem = server.try_apply(&declared(keyed), &options()).await.unwrap_err();
    assert!(problem.detail.clone().unwrap().contains("leave `id` out"), "{problem:#?}");
    let spec = declared(
        "[collections.lang]\n[collections.lang.adopt]\ncontent = \"content\"\nembedding = \"embedding\"\n\
         metadata = \"langchain_metadata\"\n",
    );
    let plan = applied(&server, &spec).await;
    assert!(notes(&plan).contains("the table has no key"), "{}", notes(&plan));
    let lang = resolve(&spec, "lang").unwrap();
    let hybrid = json!({"vector": [1, 0, 0], "text": "cars", "filter": {"metadata.kind": {"exists": false}}});
    assert_eq!(found(&server, &lang, hybrid).await, ["cars"]);
    assert_eq!(
        found(&server, &lang, json!({"vector": [1, 0, 0], "limit": 1, "offset": 1})).await,
        ["wolves"]
    );
    let refused = search(&server, &lang, json!({"id": "x"})).await.unwrap_err();
    assert_eq!(refused.message, "the rows of collection `lang` have no ids");
    let request =
        serde_json::from_value(json!({"collection": "lang", "filter": {"metadata.kind": "wild"}})).unwrap();
    assert_eq!(delete(&server.pools, &lang, &request).await.unwrap().rows, 1);
}

#[tokio::test]
async fn row_level_security_is_told_where_it_hides_rows() {
    let server = server(&format!("{LANGCHAIN}; ALTER TABLE lang ENABLE ROW LEVEL SECURITY")).await;
    let spec = declared(
        "[collections.lang]\n[collections.lang.adopt]\nid = \"langchain_id\"\ncontent = \"content\"\nembedding = \"embedding\"\n",
    );
    let plan = applied(&server, &spec).await;
    assert!(notes(&plan).contains("CREATE POLICY howdah ON \"public\".\"lang\""), "{}", notes(&plan));
    server.sql("app", "GRANT SELECT ON lang TO howdah_adopting_read").await;
    server.sql("app", "ALTER ROLE howdah_adopting_read PASSWORD 'seen'").await;
    let mut target = server.cluster.target.with_database("app");
    target.user = "howdah_adopting_read".into();
    target.password = Some(howdah_postgres::Secret::new("seen"));
    let pools = howdah_postgres::Pools::new(target, 2);
    let lang = resolve(&spec, "lang").unwrap();
    let request: SearchRequest =
        serde_json::from_value(json!({"collection": "lang", "vector": [1, 0, 0]})).unwrap();
    let answer = knowledge::search::run(&pools, &Embedders::default(), &lang, &request).await.unwrap();
    assert!(answer.results.is_empty());
    assert!(
        answer.complete_reason.contains("row-level security shows to role `howdah_adopting_read`"),
        "{}",
        answer.complete_reason
    );
}

#[tokio::test]
async fn the_grants_that_a_refusal_names_are_enough() {
    let server = server(LANGCHAIN).await;
    let spec = declared(
        "[collections.lang]\n[collections.lang.adopt]\nid = \"langchain_id\"\ncontent = \"content\"\nembedding = \"embedding\"\n",
    );
    applied(&server, &spec).await;
    server.sql("app", "CREATE ROLE little LOGIN PASSWORD 'seen'; GRANT SELECT ON lang TO little").await;
    let mut target = server.cluster.target.with_database("app");
    target.user = "little".into();
    target.password = Some(howdah_postgres::Secret::new("seen"));
    let pools = howdah_postgres::Pools::new(target, 2);
    let lang = resolve(&spec, "lang").unwrap();
    let hint = |problem: Problem| {
        assert_eq!(problem.kind, Kind::Forbidden, "{problem:#?}");
        howdah_plan::rights::explain(problem, &spec, Some("lang"), Some("little")).hint.unwrap()
    };
    // What stands in backticks is what is run.
    let part = |hint: &str, which: usize| hint.split('`').skip(3).step_by(2).nth(which).unwrap().to_owned();
    let refused = hint(describe(&pools, &lang, true).await.unwrap_err());
    server.sql("app", &part(&refused, 0)).await;
    assert_eq!(describe(&pools, &lang, true).await.unwrap().rows, 3);
    let all: DeleteRequest =
        serde_json::from_value(json!({"collection": "lang", "filter": {"id": {"exists": true}}})).unwrap();
    let refused = hint(delete(&pools, &lang, &all).await.unwrap_err());
    server.sql("app", &part(&refused, 1)).await;
    assert_eq!(delete(&pools, &lang, &all).await.unwrap().rows, 3);
}
