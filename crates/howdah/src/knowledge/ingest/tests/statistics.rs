//! A load that changed much is followed by ANALYZE.

use super::World;
use super::formats::npy;

/// Rows that the planner expects.
async fn expected(world: &World, test: &str) -> f64 {
    let sql = format!("EXPLAIN (FORMAT json) SELECT id FROM notes WHERE {test}");
    let row = world.database.client().await.query_one(&sql, &[]).await.unwrap();
    let plan: serde_json::Value = row.get(0);
    plan[0]["Plan"]["Plan Rows"].as_f64().unwrap()
}

#[tokio::test]
async fn after_a_load_the_planner_knows_how_many_rows_there_are() {
    let world = World::new(&[("topic", "text")]).await;
    let vectors: Vec<[f32; 4]> = (0..30_000).map(|i| [1.0, i as f32, 0.0, 1.0]).collect();
    let path = world.file("v.npy", npy(&vectors));
    let line = |i| {
        let (topic, language) = (i % 1000, i % 100);
        format!("{{\"content\": \"text\", \"topic\": \"t{topic}\", \"language\": \"l{language}\"}}\n")
    };
    let lines: String = (0..30_000).map(line).collect();
    world.file("v.jsonl", lines);
    world.ingest(&[&path]).await.unwrap();
    for (test, rows) in
        [("true", 30_000.0), ("topic = 't7'", 30.0), ("metadata @> '{\"language\": \"l7\"}'", 300.0)]
    {
        let expected = expected(&world, test).await;
        assert!(
            (rows / 2.0..=rows * 2.0).contains(&expected),
            "{test}: {expected} rows expected, {rows} there"
        );
    }
}

#[tokio::test]
async fn a_few_rows_are_left_to_autovacuum() {
    let world = World::without_embedder("vector(4)").await;
    let path = world.file("v.npy", npy(&[[1.0; 4]; 20]));
    world.ingest(&[&path]).await.unwrap();
    assert_eq!(world.value("SELECT count(*) FROM pg_stats WHERE tablename = 'notes'").await, 0);
}
