//! The model against vectors that an independent implementation made, and its speed.

use std::path::PathBuf;
use std::time::Instant;

use serde::Deserialize;

use super::local::Model;

#[derive(Deserialize)]
struct Golden {
    text: String,
    n_tokens: usize,
    embedding: Vec<f32>,
}

/// The directory with third-party data beside the project; none when it is not there.
fn data() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    std::env::var_os("HOWDAH_DATA").map(PathBuf::from).or(Some(beside)).filter(|path| path.is_dir())
}

async fn model() -> Model {
    let home = howdah_postgres::testing::home();
    Model::load(&super::fetch::default_model(&home).await.unwrap()).unwrap()
}

/// The data abbreviates its long text as `pgvector pgvector pg...x600 words`.
fn written_out(text: &str) -> String {
    if text.ends_with("...x600 words") { vec!["pgvector"; 600].join(" ") } else { text.to_owned() }
}

#[tokio::test]
async fn golden_vectors_come_out() {
    let Some(path) = data().map(|data| data.join("golden-minilm.json")).filter(|path| path.exists()) else {
        eprintln!("skipped: no golden-minilm.json; set HOWDAH_DATA to its directory");
        return;
    };
    let model = model().await;
    let golden: Vec<Golden> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let texts: Vec<String> = golden.iter().map(|g| written_out(&g.text)).collect();
    let together = model.embed(&texts).unwrap();
    for ((golden, text), vector) in golden.iter().zip(&texts).zip(&together) {
        let tokens = (model.count_tokens(text) + 2).min(model.max_tokens);
        assert_eq!(tokens, golden.n_tokens, "{:?}", golden.text);
        let alone = model.embed(std::slice::from_ref(text)).unwrap().remove(0);
        for vector in [vector, &alone] {
            let worst = vector.iter().zip(&golden.embedding).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
            assert!(worst < 1e-5, "{:?}: off by {worst}", golden.text);
        }
    }
}

#[tokio::test]
async fn a_script_that_the_model_does_not_know_is_named_and_still_counted() {
    let home = howdah_postgres::testing::home();
    let declared = howdah_plan::spec::Embedder {
        kind: howdah_plan::spec::EmbedderKind::Local,
        model: super::DEFAULT_MODEL.into(),
        path: None,
        url: None,
        api_key_env: None,
        dimensions: None,
        batch: None,
        timeout_seconds: None,
        max_characters: None,
    };
    let embedder = super::Embedder::new("local", &declared, &home).unwrap();
    embedder.facts().await.unwrap();
    for (text, script) in [
        ("ฐานข้อมูลสำรองทุกคืนและทดสอบการกู้คืนเดือนละครั้ง", Some("Thai")),
        ("ថ្ងៃនេះអាកាសធាតុល្អណាស់", Some("Khmer")),
        ("The database is backed up every night, naïve café.", None),
        ("Die Datenbank wird jede Nacht gesichert, und geprüft.", None),
    ] {
        assert_eq!(embedder.unknown_script(text), script, "{text}");
    }
    // Unknown tokens: two texts that have nothing to do with each other are the same to the model.
    let thai = ["ฐานข้อมูลสำรองทุกคืน", "อากาศวันนี้ดีมาก"].map(str::to_owned);
    let vectors = embedder.embed(&thai, super::Purpose::Document).await.unwrap();
    let near: f32 = vectors[0].iter().zip(&vectors[1]).map(|(a, b)| a * b).sum();
    assert!(near > 0.999, "{near}");
    assert!(embedder.count_tokens(&thai[0].repeat(100)) > 500);
}

#[tokio::test]
#[ignore = "measures, does not judge"]
async fn speed() {
    let model = model().await;
    let texts: Vec<String> = (0..128)
        .map(|i| {
            let words = 20 + (i * 37) % 150;
            (0..words)
                .map(|w| ["server", "vector", "the", "elephant", "of", "database"][(w * i + w) % 6])
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    let tokens: usize = texts.iter().map(|t| model.count_tokens(t) + 2).sum();
    for _ in 0..1 {
        let start = Instant::now();
        model.embed(&texts).unwrap();
        let took = start.elapsed().as_secs_f64();
        eprintln!("{tokens} tokens in {took:.2} s: {:.0} tokens/s", tokens as f64 / took);
    }
}
