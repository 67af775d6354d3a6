//! Searching by words: questions, phrases, languages, adopted tables.

use howdah_plan::spec::read;
use howdah_plan::spec::resolve::resolve;
use serde_json::{Value, json};

use super::corpus::{Corpus, Row, Shape, ids};
use crate::knowledge::search;
use howdah_embed::Embedders;

const MANUAL: [(&str, &str); 8] = [
    (
        "Filtered searches",
        "A filtered search may return too few rows when the index stops before enough rows passed the filter. Howdah goes on until the list is full.",
    ),
    (
        "Backups",
        "A backup is proven by restoring it. Write-ahead log archiving makes any point in time reachable.",
    ),
    (
        "Search",
        "Search a collection by text, by vector or by the id of a row. Searching returns rows with their scores.",
    ),
    (
        "Rows",
        "A table has rows and columns. Rows are stored in pages; a row that is too long moves out of line.",
    ),
    (
        "Roles",
        "A role may log in, own tables and be granted rights. My role, your role: rights are granted, not assumed.",
    ),
    ("Indexes", "An index on the embedding makes a search fast. It is built while rows are written."),
    (
        "Memory",
        "maintenance_work_mem decides whether the graph is built in memory. Too little makes the build slow.",
    ),
    ("Errors", "The error `could not extend file` means that the disk is full. Free space on the disk."),
];

async fn manual() -> Corpus {
    let corpus = Corpus::new(Shape::default()).await;
    let rows = MANUAL.map(|(title, content)| Row {
        source: "manual.md".into(),
        title: Some(title.into()),
        content: content.into(),
        embedding: Some(vec![1.0, 0.0, 0.0]),
        ..Row::default()
    });
    corpus.insert(&rows).await;
    corpus
}

async fn best(corpus: &Corpus, request: Value) -> Option<String> {
    corpus.search(request).await.results.first().and_then(|hit| hit.title.clone())
}

#[tokio::test]
async fn whole_questions_find_what_holds_most_of_their_words() {
    let corpus = manual().await;
    for (question, title) in [
        ("why do my filtered searches return too few rows", "Filtered searches"),
        ("how can I be sure that a backup works when I restore it", "Backups"),
        ("what do I do when the disk is full and I see could not extend file", "Errors"),
        ("how much memory does the build of the graph need", "Memory"),
        ("which rights should the role of my application be granted", "Roles"),
    ] {
        assert_eq!(best(&corpus, json!({"text": question})).await.as_deref(), Some(title), "{question}");
        let all = corpus.search(json!({"text": question, "words": "all"})).await;
        assert!(all.results.len() <= 1, "all words of a question are rarely in one text");
    }
}

#[tokio::test]
async fn web_words_know_phrases_alternatives_and_exclusion() {
    let corpus = manual().await;
    let web = |text: &str| json!({"text": text, "words": "web"});
    assert_eq!(best(&corpus, web("\"point in time\"")).await.as_deref(), Some("Backups"));
    assert_eq!(corpus.search(web("\"time point\"")).await.results.len(), 0);
    assert_eq!(ids(&corpus.search(web("backup or role")).await).len(), 2);
    let without = corpus.search(web("rows -search")).await;
    assert_eq!(without.results.first().and_then(|hit| hit.title.as_deref()), Some("Rows"));
    assert_eq!(without.results.len(), 1);
}

#[tokio::test]
async fn stop_words_alone_match_nothing_and_say_so() {
    let corpus = manual().await;
    let answer = corpus.search(json!({"text": "the of and"})).await;
    assert!(answer.results.is_empty() && answer.complete);
    let hybrid = corpus.search(json!({"text": "the of and", "vector": [1.0, 0.0, 0.0]})).await;
    assert_eq!(hybrid.results.len(), 8);
    assert!(hybrid.results[0].snippet.is_some());
}

#[tokio::test]
async fn pages_of_words_follow_each_other_and_filters_hold() {
    let corpus = manual().await;
    let all = ids(&corpus.search(json!({"text": "rows search role", "limit": 100})).await);
    let mut paged = Vec::new();
    for offset in 0..all.len() {
        paged.extend(ids(&corpus
            .search(json!({"text": "rows search role", "limit": 1, "offset": offset}))
            .await));
    }
    assert_eq!(paged, all);
    let none = corpus.search(json!({"text": "rows", "filter": {"source": "other.md"}})).await;
    assert!(none.results.is_empty() && none.complete);
}

#[tokio::test]
async fn an_adopted_table_is_searched_as_it_is() {
    let corpus = Corpus::new(Shape::default()).await;
    corpus
        .sql(
            "CREATE TABLE \"Odd Table\" (\"Key\" text PRIMARY KEY, \"Body\" text, \"Vec\" vector(2), \"Sprache\" text);
             INSERT INTO \"Odd Table\" VALUES
               ('k1', 'Die Elefanten essen Gras', '[1,0]', 'de'), ('k2', 'Mäuse essen Käse', '[0,1]', 'de'),
               ('k3', NULL, NULL, NULL)",
        )
        .await;
    let name = &corpus.db.name;
    let text = format!(
        "name = \"test\"\n[databases.{name}]\n[collections.odd]\ntable = \"Odd Table\"\ndimensions = 2\n\
         language = \"german\"\nadopt = {{ id = \"Key\", content = \"Body\", embedding = \"Vec\" }}\n\
         [collections.odd.fields]\nSprache = \"text\"\n"
    );
    let spec = read::from_str(&text, "howdah.toml").unwrap_or_else(|problems| panic!("{problems:?}"));
    let resolved = resolve(&spec, "odd").unwrap();
    for (request, expected) in [
        (json!({"text": "elefant", "filter": {"Sprache": "de"}}), json!(["k1"])),
        (json!({"vector": [0.0, 1.0]}), json!(["k2", "k1"])),
        (json!({"vector": [0.0, 1.0], "text": "Elefanten", "limit": 1, "offset": 1}), json!(["k2"])),
        (json!({"id": "k1"}), json!(["k2"])),
        (json!({"vector": [0.0, 1.0], "filter": {"id": {"in": ["k1", "k3"]}}}), json!(["k1"])),
    ] {
        let request = serde_json::from_value(request).unwrap();
        let answer = search::run(&corpus.db.pools, &Embedders::default(), &resolved, &request).await.unwrap();
        let found: Vec<Value> = answer.results.iter().map(|hit| hit.id.clone()).collect();
        assert_eq!(json!(found), expected, "{request:?}");
        assert!(answer.complete);
    }
}

#[tokio::test]
async fn rare_words_outweigh_common_ones_and_the_list_is_still_filled() {
    let corpus = Corpus::new(Shape::default()).await;
    corpus
        .sql(
            "INSERT INTO docs (source, chunk, content, embedding)
             SELECT 's', n, 'the package manages files and more files of kind ' || n % 7
                    || CASE n WHEN 4711 THEN ' with zeppelins' ELSE '' END, '[1,0,0]'
             FROM generate_series(1, 6000) n; ANALYZE docs",
        )
        .await;
    let request = json!({"text": "which package manages files and zeppelins", "limit": 100, "explain": true});
    let answer = corpus.search(request).await;
    assert_eq!(ids(&answer)[0], 4711);
    // One row holds the rare word; the other 99 come from asking again with the common ones.
    assert_eq!((answer.results.len(), answer.complete), (100, true));
    let hybrid = json!({"text": "zeppelins manage files", "vector": [0.0, 1.0, 0.0], "limit": 5,
                        "weights": {"text": 100.0}});
    let answer = corpus.search(hybrid).await;
    assert_eq!((ids(&answer)[0], answer.results.len(), answer.complete), (4711, 5, true));
    let limited = corpus.search(json!({"text": "zeppelins", "limit": 5})).await;
    assert_eq!((limited.results.len(), limited.complete), (1, true));
}
