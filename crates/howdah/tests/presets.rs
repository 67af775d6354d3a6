//! The presets on a real server: applied they are true, applied again they change nothing, and each role can do what it
//! is for and nothing else.

#![allow(clippy::unwrap_used, reason = "a test may stop on a surprise")]

use howdah::apply::{self, Options};
use howdah::knowledge::search;
use howdah_embed::Embedders;
use howdah_plan::preset;
use howdah_plan::search::SearchRequest;
use howdah_plan::spec::resolve::resolve;
use howdah_plan::spec::{Spec, read};
use howdah_postgres::testing::{self, Cluster};
use howdah_postgres::{Pools, Secret, Target, connect};

/// A preset, applied to a server of its own.
struct Story {
    spec: Spec,
    pools: Pools,
    cluster: Cluster,
}

impl Story {
    async fn of(name: &str) -> Story {
        let spec = read::from_str(&preset::render(name).unwrap(), preset::DECLARATION).unwrap();
        let cluster = Cluster::start(&[]);
        let pools = Pools::new(cluster.target.clone(), 4);
        let options = Options { environment: passwords(&spec), ..Options::default() };
        let outcome = apply::run(&pools, &spec, &options, &|_| {}).await.unwrap();
        assert!(!outcome.done.is_empty());
        assert!(outcome.left.is_empty(), "{}", outcome.left);
        let again = apply::run(&pools, &spec, &options, &|_| {}).await.unwrap();
        assert_eq!(again.done, Vec::<String>::new(), "a second apply changes nothing");
        Story { spec, pools, cluster }
    }

    /// The administrator, in a database.
    async fn admin(&self, database: &str, sql: &str) {
        self.pools.get(database).await.unwrap().batch_execute(sql).await.unwrap();
    }

    /// What a role is told when it tries: nothing, or the server's message.
    async fn attempt(&self, role: &str, database: &str, sql: &str) -> Option<String> {
        let target: Target = self.cluster.target.with_database(database).as_role(role, Some(password(role)));
        let client = connect::connect(&target).await.unwrap();
        let failed = client.batch_execute(sql).await.err()?;
        Some(failed.as_db_error().map_or_else(|| failed.to_string(), |error| error.message().to_owned()))
    }

    async fn may(&self, role: &str, database: &str, sql: &str) {
        assert_eq!(self.attempt(role, database, sql).await, None, "{role} may: {sql}");
    }

    async fn may_not(&self, role: &str, database: &str, sql: &str) {
        let said = self.attempt(role, database, sql).await.unwrap_or_default();
        assert!(said.contains("permission denied"), "{role} may not: {sql}, but the server says `{said}`");
    }

    async fn nearest(&self, collection: &str, request: SearchRequest) -> Vec<String> {
        let embedders = Embedders::from_spec(&self.spec, &testing::home()).unwrap();
        let resolved = resolve(&self.spec, collection).unwrap();
        let request = SearchRequest { collection: collection.to_owned(), ..request };
        let answer = search::run(&self.pools, &embedders, &resolved, &request).await.unwrap();
        assert!(answer.complete, "{}", answer.complete_reason);
        answer.results.into_iter().filter_map(|hit| hit.content).collect()
    }
}

fn password(role: &str) -> Secret {
    Secret::new(format!("the password of {role}"))
}

fn passwords(spec: &Spec) -> std::collections::BTreeMap<String, Secret> {
    let variables = spec.roles.iter().filter_map(|(role, r)| Some((r.password_env.clone()?, password(role))));
    variables.collect()
}

/// `[1,0,0,…]` turned by `part` towards the second axis.
fn vector(dimensions: usize, part: f32) -> Vec<f32> {
    let mut vector = vec![0.0; dimensions];
    (vector[0], vector[1]) = (1.0 - part, part);
    vector
}

fn literal(vector: &[f32]) -> String {
    format!("'[{}]'", vector.iter().map(f32::to_string).collect::<Vec<_>>().join(","))
}

#[tokio::test]
async fn knowledge_agent_remembers_with_least_privilege() {
    let story = Story::of("knowledge-agent").await;
    let database = "knowledge_agent";
    let insert = |content: &str, part: f32| {
        format!(
            "INSERT INTO memory_entries (source, chunk, content, content_hash, embedding)
             VALUES ('talk', {}, '{content}', '\\x00', {})",
            (part * 10.0) as i32,
            literal(&vector(768, part))
        )
    };
    story.may("knowledge_agent", database, &insert("prefers mail", 0.0)).await;
    story.may("knowledge_agent", database, &insert("lives in Kiel", 0.5)).await;
    story.may("knowledge_agent", database, "UPDATE memory_entries SET title = 'Ada' WHERE chunk = 0").await;
    for forbidden in [
        "CREATE TABLE mine (a int)",
        "CREATE SCHEMA mine",
        "TRUNCATE memory_entries",
        "CREATE EXTENSION IF NOT EXISTS hstore",
    ] {
        let said = story.attempt("knowledge_agent", database, forbidden).await;
        assert!(said.is_some(), "knowledge_agent could: {forbidden}");
    }
    // A table that a later migration makes is not forgotten.
    story.may("knowledge_owner", database, "CREATE TABLE later (a int)").await;
    story.may("knowledge_agent", database, "INSERT INTO later VALUES (1)").await;

    let request =
        SearchRequest { vector: Some(vector(768, 0.1)), limit: Some(2), ..SearchRequest::default() };
    assert_eq!(story.nearest("memory_entries", request).await, ["prefers mail", "lives in Kiel"]);
    let request = SearchRequest { text: Some("where does she live".into()), ..SearchRequest::default() };
    assert_eq!(story.nearest("memory_entries", request).await, ["lives in Kiel"]);
}

#[tokio::test]
async fn edge_ai_gives_each_service_its_own_part() {
    let story = Story::of("edge-ai").await;
    let database = "ai_platform_db";
    let insert = format!(
        "INSERT INTO vectors (source, chunk, content, content_hash, embedding)
         VALUES ('sensor-7', 0, 'bearing runs hot', '\\x00', {})",
        literal(&vector(384, 0.2))
    );
    story.may("embeddings_service", database, &insert).await;
    story.may("embeddings_service", database, "SELECT content FROM vectors").await;
    story.may_not("embeddings_service", database, "SELECT * FROM claude_events").await;
    story.may_not("embeddings_service", database, "DELETE FROM vectors").await;

    story
        .may(
            "ai_platform_user",
            database,
            "INSERT INTO claude_events (event_type, payload) VALUES ('a', '{}')",
        )
        .await;
    story
        .may("ai_platform_user", database, "INSERT INTO aggregated_logs (message_pattern) VALUES ('x')")
        .await;
    story.may("analytics_reader", database, "SELECT * FROM claude_events, aggregated_logs, vectors").await;
    story
        .may_not(
            "analytics_reader",
            database,
            "INSERT INTO claude_events (event_type, payload) VALUES ('a', '{}')",
        )
        .await;

    story.admin(database, "DO $$ BEGIN ASSERT (SELECT status FROM claude_events) = 'pending'; END $$").await;
    let request = SearchRequest { vector: Some(vector(384, 0.0)), ..SearchRequest::default() };
    assert_eq!(story.nearest("vectors", request).await, ["bearing runs hot"]);
}

#[tokio::test]
async fn starter_keeps_its_program_to_rows() {
    let story = Story::of("starter").await;
    story.admin("howdah", "ALTER ROLE howdah_app PASSWORD 'the password of howdah_app'").await;
    story.may("howdah_app", "howdah", "SELECT * FROM manual").await;
    story.may_not("howdah_app", "howdah", "CREATE TABLE mine (a int)").await;
}
