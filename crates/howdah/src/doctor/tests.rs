use super::*;
use crate::postgres::testing::Cluster;

#[tokio::test]
async fn every_question_runs_on_16_and_18() {
    for major in [16, 18] {
        let cluster = Cluster::start_major(major, &[]);
        let client = crate::postgres::connect::connect(&cluster.target).await.unwrap();
        client.batch_execute("CREATE EXTENSION vector; CREATE TABLE t (id bigint PRIMARY KEY, e vector(3)); INSERT INTO t SELECT g, ARRAY[g, 1, 2]::vector FROM generate_series(1, 200) g; CREATE INDEX ON t USING hnsw (e vector_l2_ops)").await.unwrap();
        let pools = Pools::new(cluster.target.clone(), 4);
        let machine = Machine::default();
        let spec: Spec = serde_json::from_str("{\"name\":\"x\"}").unwrap();
        let options = Options { recall: true, ..Options::default() };
        let report = run(&pools, Some(&spec), Some(&machine), &options).await.unwrap();
        println!("{}", render::text(&report, true));
    }
}
