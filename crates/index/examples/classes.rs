//! Recall of kinds of data and kinds of questions, in memory: what the index promises against what it gives.
//!
//!   cargo run -p howdah-index --example classes -- [words that names have to contain]
#![allow(clippy::unwrap_used)]

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
        Data { name: "real".into(), metrics: vec![Metric::Cosine], d: 384, values, out: out[..300 * 384].to_vec() }
    });
    add("textlike", &|_| split("textlike", vec![Metric::Cosine, Metric::L2], 384, TextLike::new(384, 3).take(n + 200), 200));
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

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let grown = words.iter().any(|w| w == "grown");
    let classes: Vec<&str> =
        ["rows", "out", "midpoints", "noisy", "gauss", "negated", "x0.1", "x3", "x10"].into_iter().collect();
    let asked: Vec<&str> = words.iter().map(String::as_str).filter(|w| classes.contains(w)).collect();
    let names: Vec<String> =
        words.iter().filter(|w| !classes.contains(&w.as_str()) && *w != "grown").cloned().collect();
    let wanted = |name: &str| names.is_empty() && name != "real" || names.iter().any(|w| name == w.split('/').next().unwrap());
    let metric_wanted = |name: &str, metric: Metric| {
        names.is_empty()
            || names.iter().any(|w| {
                let mut parts = w.split('/');
                parts.next() == Some(name) && parts.next().is_none_or(|m| format!("{metric:?}") == m)
            })
    };
    let count: usize = std::env::var("QUESTIONS").ok().and_then(|q| q.parse().ok()).unwrap_or(100);
    println!("{:<12} {:<12} {:<10} | recall@10 at .9 .95 .97 .99 | @1 at .97 | codes read, refined, exact at .97", "data", "metric", "class");
    for data in data(&wanted) {
        for &metric in &data.metrics {
            if !metric_wanted(&data.name, metric) {
                continue;
            }
            let options = BuildOptions::new(metric, data.d);
            let pages = if grown { grow(&data, options) } else { build(&data, options) };
            let mut source = MemoryVectors { values: &data.values, dimensions: data.d };
            let mut index = Index::open(&pages).unwrap();
            calibrate(&mut index, &pages, &mut source, SAMPLES).unwrap();
            let rows = index.directory.rows() as f64;
            if std::env::var_os("CURVE").is_some() {
                let of = |c: &[howdah_index::format::meta::Point]| c.iter().filter(|p| p.rank == 10).map(|p| format!("{}:{:.2}", p.recall, p.score)).collect::<Vec<_>>().join(" ");
                println!("near {} | remote from {:.2} {}", of(&index.meta.curve), index.meta.remote_from, of(&index.meta.remote));
            }
            for class in &classes {
                if !asked.is_empty() && !asked.contains(class) {
                    continue;
                }
                let qs = questions(&data, class, count, &mut Rng::new(99));
                let truths: Vec<Vec<f64>> = qs
                    .iter()
                    .map(|q| {
                        let mut exact = Exact::new(metric, q, 10);
                        for (i, row) in data.values.chunks_exact(data.d).enumerate() {
                            exact.push(tid_of_row(i), row);
                        }
                        exact.nearest().iter().map(|n| n.0).collect()
                    })
                    .collect();
                if std::env::var_os("CURVE").is_some() {
                    let mut r: Vec<f32> = qs.iter().map(|q| Search::new(&index, SearchOptions::default(), q).unwrap().remoteness()).collect();
                    r.sort_by(f32::total_cmp);
                    let at = |p: usize| r[(r.len() - 1) * p / 100];
                    print!("[{:.2} {:.2} {:.2} {:.2} {:.2}] ", at(5), at(50), at(90), at(95), at(99));
                }
                let mut line = format!("{:<12} {:<12} {:<10} |", data.name, format!("{metric:?}"), class);
                let mut tail = String::new();
                for target in [0.9, 0.95, 0.97, 0.99] {
                    let (mut hits, mut first, mut work, mut short) = (0, 0, [0f64; 3], 0);
                    for (q, truth) in qs.iter().zip(&truths) {
                        let asked = SearchOptions { target_recall: target, ..SearchOptions::default() };
                        let mut search = Search::new(&index, asked, q).unwrap();
                        let mut found = Vec::new();
                        while found.len() < 10 {
                            match search.next(&pages, &mut source).unwrap() {
                                Some(hit) => found.push(hit.distance),
                                None => break,
                            }
                        }
                        short += usize::from(found.len() < 10);
                        let slack = 1e-6 * truth[9].abs().max(1e-12) + if metric == Metric::Cosine { 2e-7 } else { 0.0 };
                        hits += found.iter().filter(|f| !(**f > truth[9] + slack)).count();
                        first += usize::from(found.first().is_some_and(|f| !(*f > truth[0] + slack + 1e-6 * truth[0].abs())));
                        let w = search.work();
                        work[0] += w.blocks as f64 * 32.0;
                        work[1] += w.refined as f64;
                        work[2] += w.exact as f64;
                    }
                    let n = qs.len() as f64;
                    let r = hits as f64 / (10.0 * n);
                    let bad = if r < target - 0.01 { "*" } else { " " };
                    line += &format!(" {r:.3}{bad}");
                    if short > 0 {
                        line += &format!("({short} short)");
                    }
                    if target == 0.97 {
                        let f = first as f64 / n;
                        tail = format!(
                            "| {f:.3}{} | {:.3} {:.0} {:.1}",
                            if f < 0.96 { "*" } else { " " },
                            work[0] / n / rows,
                            work[1] / n,
                            work[2] / n
                        );
                    }
                }
                println!("{line} {tail}");
            }
        }
    }
}
