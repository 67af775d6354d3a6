//! Words as people write and look for them: compounds, normal forms, scripts without spaces, beginnings.

use serde_json::json;

use super::corpus::{Corpus, Row, Shape};

/// Texts, each with a name.
const TEXTS: [(&str, &str); 13] = [
    ("decomposed", "Die Stadt Mu\u{308}nchen liegt an der Isar."),
    ("zero-width", "A zero\u{200b}width space hides in it."),
    ("soft-hyphen", "The soft\u{ad}hyphen is not seen."),
    ("client-server", "It is built as client/server, not as peers."),
    ("tcp", "Connections go over TCP/IP or a socket."),
    ("path", "Edit /etc/postgresql/main.conf as root."),
    ("code", "It returns a Vec<String> or none; see node.js and covid-19."),
    ("ligature", "The con\u{fb01}guration file came out of a PDF."),
    ("chinese", "资料库每天晚上备份一次，并且每个月测试一次还原。"),
    ("japanese", "データベースは毎晩バックアップされます。"),
    ("korean", "데이터베이스를 매일 백업합니다."),
    ("thai", "ฐานข้อมูลสำรองทุกคืน"),
    ("backup", "Backups are proven by restoring them."),
];

async fn texts() -> Corpus {
    let corpus = Corpus::new(Shape::default()).await;
    let rows =
        TEXTS.map(|(name, content)| Row { source: name.into(), content: content.into(), ..Row::default() });
    corpus.insert(&rows).await;
    corpus
}

async fn found(corpus: &Corpus, text: &str, words: &str) -> Vec<String> {
    let answer = corpus.search(json!({"text": text, "mode": "text", "words": words})).await;
    answer.results.iter().map(|hit| hit.source.clone().unwrap()).collect()
}

#[tokio::test]
async fn words_are_found_however_they_are_written() {
    let corpus = texts().await;
    for (question, name) in [
        ("München", "decomposed"),
        ("Mu\u{308}nchen", "decomposed"),
        ("zerowidth", "zero-width"),
        ("zero\u{200b}width", "zero-width"),
        ("softhyphen", "soft-hyphen"),
        ("server", "client-server"),
        ("client/server", "client-server"),
        ("TCP", "tcp"),
        ("tcp/ip", "tcp"),
        ("main.conf", "path"),
        ("/etc/postgresql/main.conf", "path"),
        ("postgresql", "path"),
        ("String", "code"),
        ("covid", "code"),
        ("node", "code"),
        ("configuration", "ligature"),
        ("备份", "chinese"),
        ("资料库", "chinese"),
        ("每个月测试", "chinese"),
        ("原", "chinese"),
        ("バックアップ", "japanese"),
        ("毎晩", "japanese"),
        ("데이터베이스", "korean"),
        ("백업", "korean"),
        ("ฐานข้อมูล", "thai"),
        ("สำรอง", "thai"),
        ("back:*", "backup"),
        ("restor:* zzz:*", "backup"),
    ] {
        let any = found(&corpus, question, "any").await;
        assert_eq!(any.first().map(String::as_str), Some(name), "any: {question}: {any:?}");
        if !question.contains("zzz") {
            assert_eq!(found(&corpus, question, "all").await, [name], "all: {question}");
        }
        if !question.contains(":*") && question != "原" {
            assert_eq!(found(&corpus, question, "web").await, [name], "web: {question}");
        }
    }
    for (question, words) in
        [("restor:* zzz:*", "all"), ("库资", "any"), ("-备份 资料库", "web"), ("-2019", "web")]
    {
        let found = found(&corpus, question, words).await;
        assert!(!found.contains(&"chinese".to_owned()) || question == "-2019", "{question}: {found:?}");
    }
    assert_eq!(found(&corpus, "\"built as client/server\"", "web").await, ["client-server"]);
    assert_eq!(found(&corpus, "server -client/server", "web").await, [""; 0]);
}

#[tokio::test]
async fn a_whole_compound_is_better_than_its_parts() {
    let corpus = texts().await;
    let rows = [
        ("apart", "The main thing is its conf, and more of the main and of the conf."),
        ("whole", "Edit main.conf as root."),
    ]
    .map(|(name, content)| Row { source: name.into(), content: content.into(), ..Row::default() });
    corpus.insert(&rows).await;
    assert_eq!(found(&corpus, "main.conf", "any").await, ["whole", "apart", "path"]);
}

#[tokio::test]
async fn snippets_are_plain_text_with_the_places_of_the_words() {
    let corpus = texts().await;
    let text = "<b>wombat</b> <img src=x onerror=alert(1)> if a < b and c > d then";
    corpus.insert(&[Row { source: "markup".into(), content: text.into(), ..Row::default() }]).await;
    for (question, words, marked) in [
        ("wombat", "any", vec!["wombat"]),
        ("wombats and d", "all", vec!["wombat", "d"]),
        ("wombat -zebra", "web", vec!["wombat"]),
    ] {
        let answer = corpus.search(json!({"text": question, "mode": "text", "words": words})).await;
        let hit = answer.results.iter().find(|hit| hit.source.as_deref() == Some("markup")).expect(question);
        assert_eq!(hit.snippet.as_deref(), Some(text));
        let characters: Vec<char> = text.chars().collect();
        let marks: Vec<String> = hit
            .marks
            .iter()
            .map(|[begin, end]| characters[*begin as usize..*end as usize].iter().collect())
            .collect();
        assert_eq!(marks, marked, "{question}");
    }
    let answer = corpus.search(json!({"text": "资料库", "mode": "text", "select": ["snippet"]})).await;
    let hit = &answer.results[0];
    assert_eq!((hit.content.clone(), hit.marks.clone()), (None, vec![[0, 3]]));
}

#[tokio::test]
async fn what_overflows_or_vanishes_in_single_precision_is_compared_by_its_direction() {
    let corpus = Corpus::new(Shape::default()).await;
    let row = |name: &str, embedding: [f32; 3]| Row {
        source: name.into(),
        content: name.into(),
        embedding: Some(embedding.to_vec()),
        ..Row::default()
    };
    corpus.insert(&[row("x", [1.0, 0.0, 0.0]), row("y", [0.0, 2.0, 0.0]), row("xyz", [1.0, 1.0, 1.0])]).await;
    for vector in [[2e19, 0.0, 0.0], [3e38, 0.0, 0.0], [1e-23, 0.0, 0.0], [1e-40, 0.0, 0.0]] {
        let answer = corpus.search(json!({"vector": vector})).await;
        let near: Vec<_> =
            answer.results.iter().map(|hit| (hit.source.clone().unwrap(), hit.similarity.unwrap())).collect();
        assert_eq!(near.len(), 3, "{vector:?}");
        assert!(near[0].0 == "x" && (near[0].1 - 1.0).abs() < 1e-6, "{vector:?}: {near:?}");
        assert!(near[1].0 == "xyz" && (near[1].1 - 0.577_35).abs() < 1e-4, "{near:?}");
    }
    // A row that somebody else stored so, asked by its id.
    corpus.insert(&[row("huge", [2e19, 0.0, 0.0])]).await;
    let id =
        corpus.db.client().await.query_one("SELECT id FROM docs WHERE source = 'huge'", &[]).await.unwrap();
    let answer = corpus.search(json!({"id": id.get::<_, i64>(0), "limit": 2})).await;
    assert_eq!(answer.results[0].source.as_deref(), Some("x"), "{answer:?}");
}
