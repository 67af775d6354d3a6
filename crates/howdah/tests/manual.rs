//! The manual is the first corpus: questions of people who keep embeddings in PostgreSQL find the page that answers them.

#![allow(clippy::unwrap_used, reason = "a test may stop on a surprise")]

use std::path::Path;
use std::sync::Arc;

use howdah::apply;
use howdah::embed::Embedders;
use howdah::knowledge::ingest::{self, Request, Silent};
use howdah::knowledge::search;
use howdah::postgres::Pools;
use howdah::postgres::testing::{self, Cluster};
use howdah_plan::preset;
use howdah_plan::search::SearchRequest;
use howdah_plan::spec::read;
use howdah_plan::spec::resolve::resolve;

/// Rows looked at for an answer.
const LOOKED_AT: u32 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn questions_find_the_page_that_answers_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let spec = read::from_str(&preset::render(preset::DEFAULT).unwrap(), preset::DECLARATION).unwrap();
    let cluster = Cluster::start(&[]);
    let pools = Pools::new(cluster.target.clone(), 4);
    apply::run(&pools, &spec, &apply::Options::default(), &|_| {}).await.unwrap();

    let embedders = Embedders::from_spec(&spec, &testing::home()).unwrap();
    let resolved = resolve(&spec, "manual").unwrap();
    let embedder = embedders.of_collection(&resolved).unwrap();
    let load = || Request::paths([root.join("docs").to_str().unwrap()], &spec.collections["manual"]);
    let report = ingest::run(&pools, embedder.clone(), &resolved, load(), Arc::new(Silent)).await.unwrap();
    assert!(report.rows_written > 300, "{report:?}");
    let again = ingest::run(&pools, embedder, &resolved, load(), Arc::new(Silent)).await.unwrap();
    assert!(again.wrote_nothing(), "{again:?}");

    let questions = std::fs::read_to_string(root.join("tests/manual/questions.tsv")).unwrap();
    let mut missed = Vec::new();
    let mut asked = 0;
    for (question, pages) in questions.lines().filter_map(|line| line.split_once('\t')) {
        let request = SearchRequest {
            collection: "manual".into(),
            text: Some(question.into()),
            limit: Some(LOOKED_AT),
            ..SearchRequest::default()
        };
        let answer = search::run(&pools, &embedders, &resolved, &request).await.unwrap();
        assert!(answer.complete, "{question}: {}", answer.complete_reason);
        let found: Vec<String> = answer
            .results
            .iter()
            .filter_map(|hit| hit.source.clone())
            .map(|source| source.rsplit_once("docs/").map_or(source.clone(), |(_, page)| page.to_owned()))
            .collect();
        asked += 1;
        if !found.iter().any(|page| pages.split(' ').any(|right| right == page)) {
            missed.push(format!("{question}: {found:?}"));
        }
    }
    eprintln!("{asked} questions, {} missed: {missed:#?}", missed.len());
    assert!(missed.len() * 20 <= asked, "more than one in twenty missed: {missed:#?}");
}
