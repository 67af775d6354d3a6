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
