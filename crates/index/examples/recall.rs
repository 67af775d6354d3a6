//! Recall of kinds of data and kinds of questions, in memory: what the index promises against what it gives.
//!
//!   cargo run -p howdah-index --example recall -- [data[/Metric]…] [questions…] [grown]
#![allow(clippy::unwrap_used)] // A run that cannot go on ends.

use howdah_index::build::{Loader, Sampler, create_empty};
use howdah_index::calibrate::{SAMPLES, calibrate};
use howdah_index::directory::Index;
use howdah_index::exact::Exact;
use howdah_index::generate::TextLike;
use howdah_index::insert::insert;
use howdah_index::memory::{MemoryPages, MemoryVectors, tid_of_row};
use howdah_index::options::{BuildOptions, Metric, SearchOptions};
use howdah_index::rng::Rng;
use howdah_index::search::Search;

struct Data {
    name: String,
    metrics: Vec<Metric>,
    d: usize,
    values: Vec<f32>,
    /// Rows of the same kind that are not in the table.
    out: Vec<f32>,
}

fn normals(rng: &mut Rng, n: usize) -> Vec<f32> {
    (0..n).map(|_| rng.normal()).collect()
}

fn all() -> Vec<Metric> {
    vec![Metric::L2, Metric::Cosine, Metric::InnerProduct]
}

fn split(name: &str, metrics: Vec<Metric>, d: usize, mut values: Vec<f32>, out: usize) -> Data {
    let out = values.split_off(values.len() - out * d);
    Data { name: name.into(), metrics, d, values, out }
}

fn clusters(rng: &mut Rng, n: usize, d: usize, centres: usize, ratio: f32) -> Vec<f32> {
    let middle = normals(rng, centres * d);
    let mut out = Vec::with_capacity(n * d);
    for _ in 0..n {
        let at = rng.below(centres) * d;
        out.extend((0..d).map(|i| middle[at + i] + ratio * rng.normal()));
    }
    out
}

fn f16(bits: u16) -> f32 {
    let (sign, exponent, fraction) = (bits >> 15, (bits >> 10) & 31, bits & 1023);
    let value = match exponent {
        0 => f32::from(fraction) * 2f32.powi(-24),
        _ => (1.0 + f32::from(fraction) / 1024.0) * 2f32.powi(i32::from(exponent) - 15),
    };
    if sign == 1 { -value } else { value }
}

fn npy(path: &str) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    let at = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    bytes[at..].chunks_exact(2).map(|b| f16(u16::from_le_bytes([b[0], b[1]]))).collect()
}

fn data(wanted: &dyn Fn(&str) -> bool) -> Vec<Data> {
    let mut all_data = Vec::new();
    let n = 20_000;
    let mut add = |name: &str, make: &dyn Fn(&mut Rng) -> Data| {
        if wanted(name) {
            all_data.push(make(&mut Rng::new(7)));
        }
    };
    add("real", &|_| {
        let dir = std::env::var("HOWDAH_DATA").unwrap();
        let values = npy(&format!("{dir}/minilm384-base.f16.npy"));
        let out = npy(&format!("{dir}/minilm384-query.f16.npy"));
        Data {
            name: "real".into(),
            metrics: vec![Metric::Cosine],
            d: 384,
            values,
            out: out[..300 * 384].to_vec(),
        }
    });
    add("textlike", &|_| {
        split("textlike", vec![Metric::Cosine, Metric::L2], 384, TextLike::new(384, 3).take(n + 200), 200)
    });
    add("uniform64", &|rng| {
        let v = (0..(n + 200) * 64).map(|_| rng.unit() as f32).collect();
        split("uniform64", all(), 64, v, 200)
    });
    add("squared64", &|rng| {
        let v = (0..(n + 200) * 64).map(|_| (rng.unit() * rng.unit()) as f32).collect();
        split("squared64", vec![Metric::L2, Metric::InnerProduct], 64, v, 200)
    });
    add("normal128", &|rng| split("normal128", all(), 128, normals(rng, (n + 200) * 128), 200));
    for (name, ratio) in [("clusters3", 0.333), ("clusters10", 0.1)] {
        add(name, &|rng| split(name, all(), 128, clusters(rng, n + 200, 128, 100, ratio), 200));
    }
    for copies in [2usize, 10, 20] {
        let name = format!("copies{copies}");
        add(&name, &|rng| {
            let mut v = Vec::new();
            for _ in 0..n / copies {
                let row = normals(rng, 64);
                for _ in 0..copies {
                    v.extend(&row);
                }
            }
            let out = normals(rng, 200 * 64);
            Data { name: format!("copies{copies}"), metrics: all(), d: 64, values: v, out }
        });
    }
    add("nearcopies", &|rng| {
        let mut v = Vec::new();
        for _ in 0..n / 20 {
            let row = normals(rng, 64);
            for _ in 0..20 {
                v.extend(row.iter().map(|x| x + 1e-3 * rng.normal()));
            }
        }
        let out = normals(rng, 200 * 64);
        Data { name: "nearcopies".into(), metrics: all(), d: 64, values: v, out }
    });
    add("onefifth", &|rng| {
        let one = normals(rng, 64);
        let mut v = Vec::new();
        for i in 0..n {
            if i % 5 == 0 { v.extend(&one) } else { v.extend(normals(rng, 64)) }
        }
        let out = normals(rng, 200 * 64);
        Data { name: "onefifth".into(), metrics: all(), d: 64, values: v, out }
    });
    add("lognormal", &|rng| {
        let mut v = Vec::new();
        for _ in 0..n + 200 {
            let length = rng.normal().exp() / 8.0;
            v.extend(normals(rng, 64).iter().map(|x| x * length));
        }
        split("lognormal", all(), 64, v, 200)
    });
    for (name, size) in [("outliers3", 1e3f32), ("outliers18", 1e18), ("outliers38", 3e38)] {
        add(name, &|rng| {
            let mut v = normals(rng, (n + 200) * 32);
            for i in 0..20 {
                let row = &mut v[i * 997 * 32..][..32];
                let length: f32 = row.iter().map(|x| x * x).sum::<f32>().sqrt();
                row.iter_mut().for_each(|x| *x *= size / length);
            }
            split(name, all(), 32, v, 200)
        });
    }
    for d in [1usize, 2, 3, 4, 8] {
        let name = format!("normal{d}");
        add(&name, &|rng| split(&format!("normal{d}"), all(), d, normals(rng, (n + 200) * d), 200));
    }
    add("bimodal", &|rng| {
        let mut v = Vec::new();
        for i in 0..n + 200 {
            let wide = if i % 2 == 0 { 1.0 } else { 0.05 };
            v.extend((0..64).map(|_| wide * rng.normal()));
        }
        split("bimodal", all(), 64, v, 200)
    });
    add("curve", &|rng| {
        let freq = normals(rng, 16);
        let phase = normals(rng, 16);
        let mut v = Vec::new();
        for _ in 0..n + 200 {
            let t = 20.0 * rng.unit() as f32;
            v.extend((0..16).map(|i| (freq[i] * t + phase[i]).sin()));
        }
        split("curve", all(), 16, v, 200)
    });
    all_data
}

fn questions(data: &Data, class: &str, count: usize, rng: &mut Rng) -> Vec<Vec<f32>> {
    let d = data.d;
    let rows = data.values.len() / d;
    let row = |i: usize| data.values[i * d..(i + 1) * d].to_vec();
    let out = |i: usize| data.out[(i % (data.out.len() / d)) * d..][..d].to_vec();
    // Of middling length: outliers say nothing.
    let mut lengths: Vec<f32> =
        (0..200).map(|i| row(i * (rows / 200)).iter().map(|x| x * x).sum::<f32>().sqrt()).collect();
    lengths.sort_by(f32::total_cmp);
    let typical = lengths[100];
    let times = |v: Vec<f32>, f: f32| -> Vec<f32> { v.into_iter().map(|x| x * f).collect() };
    (0..count)
        .map(|i| match class {
            "rows" => row(rng.below(rows)),
            "out" => out(i),
            "x0.1" => times(out(i), 0.1),
            "x3" => times(out(i), 3.0),
            "x10" => times(out(i), 10.0),
            "midpoints" => {
                let (a, b) = (row(rng.below(rows)), row(rng.below(rows)));
                a.iter().zip(&b).map(|(a, b)| 0.5 * (a + b)).collect()
            }
            "noisy" => {
                let a = row(rng.below(rows));
                let s = typical / (d as f32).sqrt();
                a.iter().map(|a| a + s * rng.normal()).collect()
            }
            "gauss" => {
                let g = normals(rng, d);
                let l = g.iter().map(|x| x * x).sum::<f32>().sqrt();
                times(g, typical / l)
            }
            "negated" => times(row(rng.below(rows)), -1.0),
            _ => unreachable!(),
        })
        .collect()
}

fn build(data: &Data, options: BuildOptions) -> MemoryPages {
    let d = data.d;
    let rows = (data.values.len() / d) as u64;
    let mut sampler = Sampler::new(options, rows, 256 << 20, 5).unwrap();
    for row in data.values.chunks_exact(d) {
        sampler.push(row).unwrap();
    }
    let trained = sampler.train(rows, 1, &|| ());
    let mut encoder = trained.encoder();
    let mut codes = Vec::new();
    for (i, row) in data.values.chunks_exact(d).enumerate() {
        let mut code = Vec::new();
        if let Some(list) = encoder.encode(tid_of_row(i), row, &mut code).unwrap() {
            codes.push((list, code));
        }
    }
    codes.sort_by_key(|c| c.0);
    let pages = MemoryPages::new();
    let mut loader = Loader::new(&pages, &trained);
    for (list, code) in &codes {
        loader.push(*list, code).unwrap();
    }
    loader.finish().unwrap();
    pages
}

fn grow(data: &Data, options: BuildOptions) -> MemoryPages {
    let pages = MemoryPages::new();
    create_empty(&pages, &options, 5).unwrap();
    let mut index = Index::open(&pages).unwrap();
    let mut source = MemoryVectors { values: &data.values, dimensions: data.d };
    for (i, row) in data.values.chunks_exact(data.d).enumerate() {
        insert(&mut index, &pages, &mut source, tid_of_row(i), row).unwrap();
        if i % 10 == 0 {
            pages.end_scans();
        }
    }
    pages
}

const TARGETS: [f64; 4] = [0.9, 0.95, 0.97, 0.99];
/// The target whose first rows and work are shown.
const SHOWN: f64 = 0.97;
const QUESTIONS: [&str; 9] = ["rows", "out", "midpoints", "noisy", "gauss", "negated", "x0.1", "x3", "x10"];

/// What the command line asks for: data (`name` or `name/Metric`), kinds of questions, `grown`.
struct Asked {
    words: Vec<String>,
}

impl Asked {
    fn has(&self, word: &str) -> bool {
        self.words.iter().any(|w| w == word)
    }

    fn data(&self) -> Vec<&String> {
        self.words.iter().filter(|w| !QUESTIONS.contains(&w.as_str()) && *w != "grown").collect()
    }

    /// Everything but the real set, which takes `HOWDAH_DATA`, where nothing is named.
    fn wants(&self, name: &str, metric: Option<Metric>) -> bool {
        let named = self.data();
        named.is_empty() && name != "real"
            || named.iter().any(|word| {
                let mut parts = word.split('/');
                let same = parts.next() == Some(name);
                same && parts.next().is_none_or(|m| metric.is_none_or(|metric| format!("{metric:?}") == m))
            })
    }

    fn questions(&self) -> Vec<&'static str> {
        let named: Vec<&str> = QUESTIONS.into_iter().filter(|kind| self.has(kind)).collect();
        if named.is_empty() { QUESTIONS.to_vec() } else { named }
    }
}

/// Distances of the ten nearest rows.
fn truth(data: &Data, metric: Metric, question: &[f32]) -> Vec<f64> {
    let mut exact = Exact::new(metric, question, 10);
    for (i, row) in data.values.chunks_exact(data.d).enumerate() {
        exact.push(tid_of_row(i), row);
    }
    exact.nearest().iter().map(|n| n.0).collect()
}

/// What searches at one target found and did, summed.
#[derive(Default)]
struct Sum {
    hits: usize,
    first: usize,
    short: usize,
    codes: f64,
    refined: f64,
    exact: f64,
}

/// Asks every question. Rows as near as the tenth count, whichever they are.
fn search_all(
    index: &Index,
    pages: &MemoryPages,
    source: &mut MemoryVectors<'_>,
    asked: SearchOptions,
    questions: &[(Vec<f32>, Vec<f64>)],
) -> Sum {
    let mut sum = Sum::default();
    for (question, truth) in questions {
        let mut search = Search::new(index, asked, question).unwrap();
        let next = || search.next(pages, source).unwrap().map(|hit| hit.distance);
        let found: Vec<f64> = std::iter::from_fn(next).take(10).collect();
        let rounding = if index.meta.metric == Metric::Cosine { 2e-7 } else { 0.0 };
        let as_near = |distance: f64, other: f64| distance <= other + 1e-6 * other.abs() + rounding;
        sum.hits += found.iter().filter(|distance| as_near(**distance, truth[9])).count();
        sum.first += usize::from(found.first().is_some_and(|distance| as_near(*distance, truth[0])));
        sum.short += usize::from(found.len() < 10);
        let work = search.work();
        sum.codes += work.blocks as f64 * 32.0;
        sum.refined += work.refined as f64;
        sum.exact += work.exact as f64;
    }
    sum
}

fn starred(value: f64, least: f64) -> String {
    format!("{value:.3}{}", if value < least { '*' } else { ' ' })
}

fn report(data: &Data, metric: Metric, asked: &Asked, count: usize) {
    let options = BuildOptions::new(metric, data.d);
    let pages = if asked.has("grown") { grow(data, options) } else { build(data, options) };
    let mut source = MemoryVectors { values: &data.values, dimensions: data.d };
    let mut index = Index::open(&pages).unwrap();
    calibrate(&mut index, &pages, &mut source, SAMPLES).unwrap();
    let rows = index.directory.rows() as f64;
    for kind in asked.questions() {
        let made = questions(data, kind, count, &mut Rng::new(99));
        let made: Vec<_> = made.into_iter().map(|q| (q.clone(), truth(data, metric, &q))).collect();
        let n = made.len() as f64;
        print!("{:<12} {:<12} {kind:<10} |", data.name, format!("{metric:?}"));
        let mut shown = String::new();
        for target in TARGETS {
            let options = SearchOptions { target_recall: target, ..SearchOptions::default() };
            let sum = search_all(&index, &pages, &mut source, options, &made);
            print!(" {}", starred(sum.hits as f64 / (10.0 * n), target - 0.01));
            if sum.short > 0 {
                print!("({} short)", sum.short);
            }
            if target == SHOWN {
                let work = [sum.codes / n / rows, sum.refined / n, sum.exact / n];
                let first = starred(sum.first as f64 / n, target - 0.01);
                shown = format!("| {first} | {:.3} {:.0} {:.1}", work[0], work[1], work[2]);
            }
        }
        println!(" {shown}");
    }
}

fn main() {
    let asked = Asked { words: std::env::args().skip(1).collect() };
    let count = std::env::var("QUESTIONS").ok().and_then(|count| count.parse().ok()).unwrap_or(100);
    println!(
        "recall@10 at {TARGETS:?}, then @1 and the share of codes read, codes refined, rows compared at {SHOWN};"
    );
    println!("* is more than 0.01 below what was asked for");
    for data in data(&|name| asked.wants(name, None)) {
        for metric in data.metrics.clone() {
            if asked.wants(&data.name, Some(metric)) {
                report(&data, metric, &asked, count);
            }
        }
    }
}
