//! What the index costs with its pages in memory: build, size, queries at a recall, inserts, and how each grows.
//!
//! `cargo run --release -p howdah-index --example inmem -- <folder of the real embeddings> [rows …]`; without a folder
//! (or with `generated` as an argument) on generated 768-d data. All times are CPU time of one thread unless said
//! otherwise.

#[path = "../support/data.rs"]
mod data;

use data::{Data, cpu_ns};
use howdah_index::build::{Loader, Sampler, create_empty};
use howdah_index::calibrate;
use howdah_index::directory::Index;
use howdah_index::insert::insert;
use howdah_index::memory::{MemoryPages, MemoryVectors, row_of_tid, tid_of_row};
use howdah_index::options::{BuildOptions, Metric, SearchOptions};
use howdah_index::page::{PAGE_SIZE, PageStore};
use howdah_index::search::{Search, Work};
use howdah_index::vacuum;

const K: usize = 10;

fn main() -> std::io::Result<()> {
    println!("machine: {}", data::machine());
    let generated = std::env::args().any(|a| a == "generated");
    let sizes: Vec<usize> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let all = match data::folder() {
        Some(folder) if !generated => data::real(&folder, 119_982, 1000)?,
        _ => data::generated(sizes.iter().copied().max().unwrap_or(100_000), 300, 768, 1),
    };
    println!("intrinsic dimension {:.1}", all.intrinsic_dimension());
    let sizes = if sizes.is_empty() { vec![30_000, 100_000, all.rows()] } else { sizes };
    for rows in sizes {
        if rows == all.rows() { measure(&all) } else { measure(&all.head(rows)) }
    }
    Ok(())
}

/// What one thread encoded: lists with the places of their codes, the codes, the time it took.
type Encoded = (Vec<(u32, u32)>, Vec<u8>, u64);

/// Builds with two threads; returns the pages.
fn build(data: &Data, metric: Metric) -> MemoryPages {
    let options = BuildOptions::new(metric, data.width);
    let rows = data.rows();
    let (cpu, wall) = (cpu_ns(), std::time::Instant::now());
    let mut sampler = Sampler::new(options, rows as u64, 256 << 20, 42).expect("options are valid");
    let step = (rows / sampler.capacity()).max(1);
    for i in (0..rows).step_by(step) {
        sampler.push(data.row(i)).expect("rows have the right width");
    }
    let sampled = wall.elapsed();
    let trained = sampler.train(rows as u64, 2, &|| ());
    let taught = wall.elapsed();
    let half = rows.div_ceil(2);
    let parts: Vec<Encoded> = std::thread::scope(|scope| {
        let work = |from: usize, to: usize| {
            let start = cpu_ns();
            let mut encoder = trained.encoder();
            let (mut order, mut codes) = (Vec::new(), Vec::new());
            for i in from..to {
                if let Some(list) = encoder.encode(tid_of_row(i), data.row(i), &mut codes).expect("width") {
                    order.push((list, order.len() as u32));
                }
            }
            order.sort_unstable();
            (order, codes, cpu_ns() - start)
        };
        let other = scope.spawn(move || work(half, rows));
        let first = work(0, half);
        vec![first, other.join().expect("the worker does not panic")]
    });
    let encoded = wall.elapsed();
    let size = trained.encoder().code_bytes();
    let pages = MemoryPages::new();
    let mut loader = Loader::new(&pages, &trained);
    let (mut a, mut b) = (parts[0].0.iter().peekable(), parts[1].0.iter().peekable());
    loop {
        let first = match (a.peek(), b.peek()) {
            (None, None) => break,
            (Some(x), Some(y)) => x.0 <= y.0,
            (x, _) => x.is_some(),
        };
        let (part, next) = if first { (&parts[0], a.next()) } else { (&parts[1], b.next()) };
        if let Some(&(list, at)) = next {
            loader.push(list, &part.1[at as usize * size..][..size]).expect("pages in memory");
        }
    }
    loader.finish().expect("pages in memory");
    println!(
        "build: {:.2} s wall on 2 threads (sample {:.2}, train {:.2}, encode {:.2}, write {:.2}); encode {:.1} us a row; main thread {:.2} s CPU",
        wall.elapsed().as_secs_f64(),
        sampled.as_secs_f64(),
        (taught - sampled).as_secs_f64(),
        (encoded - taught).as_secs_f64(),
        (wall.elapsed() - encoded).as_secs_f64(),
        (parts[0].2 + parts[1].2) as f64 / 1e3 / rows as f64,
        (cpu_ns() - cpu) as f64 / 1e9,
    );
    pages
}

struct Answer {
    recall: f64,
    micros: f64,
    work: Work,
}

fn ask(data: &Data, index: &Index, pages: &MemoryPages, options: SearchOptions) -> Answer {
    let mut source = MemoryVectors { values: &data.base, dimensions: data.width };
    let (mut recall, mut work) = (0.0, Work::default());
    let mut times = Vec::new();
    for round in 0..3 {
        let start = cpu_ns();
        for q in 0..data.query_count() {
            let mut search = Search::new(index, options, data.query(q)).expect("width");
            let mut found = Vec::with_capacity(K);
            while found.len() < K {
                match search.next(pages, &mut source).expect("pages in memory") {
                    Some(hit) => found.push(row_of_tid(hit.tid) as u32),
                    None => break,
                }
            }
            if round == 0 {
                recall += data.recall(q, &found, K);
                let w = search.work();
                work.lists += w.lists;
                work.blocks += w.blocks;
                work.refined += w.refined;
                work.exact += w.exact;
            }
        }
        times.push((cpu_ns() - start) as f64 / 1e3 / data.query_count() as f64);
    }
    times.sort_by(f64::total_cmp);
    Answer { recall: recall / data.query_count() as f64, micros: times[1], work }
}

fn measure(data: &Data) {
    println!("\n## {} {} rows x {}", data.name, data.rows(), data.width);
    let pages = build(data, Metric::Cosine);
    let mut index = Index::open(&pages).expect("a fresh index opens");
    let bytes = f64::from(pages.pages()) * PAGE_SIZE as f64;
    println!(
        "size: {:.1} MB, {:.1} bytes a vector, {} lists",
        bytes / 1e6,
        bytes / data.rows() as f64,
        index.meta.lists
    );
    let mut source = MemoryVectors { values: &data.base, dimensions: data.width };
    let start = cpu_ns();
    calibrate::calibrate(&mut index, &pages, &mut source, calibrate::SAMPLES).expect("pages in memory");
    println!("calibrate: {:.2} s CPU", (cpu_ns() - start) as f64 / 1e9);
    for p in index.meta.curve.iter().filter(|p| p.rank == 10) {
        println!(
            "   rank {} recall {} score {:.3} ({:.3} of spread) share {:.3}",
            p.rank,
            p.recall,
            p.score,
            p.score / index.spread,
            p.share
        );
    }
    for target_recall in [0.9, 0.95, 0.97, 0.98, 0.99, 0.995] {
        let answer = ask(data, &index, &pages, SearchOptions { target_recall, ..SearchOptions::default() });
        let n = data.query_count() as f64;
        println!(
            "target {target_recall}: recall@10 {:.4}, {:.1} us a query, {:.0} QPS; lists {:.0} codes {:.0} refined {:.0} exact {:.1}",
            answer.recall,
            answer.micros,
            1e6 / answer.micros,
            answer.work.lists as f64 / n,
            answer.work.blocks as f64 * 32.0 / n,
            answer.work.refined as f64 / n,
            answer.work.exact as f64 / n,
        );
    }
    // What a round costs that has many rows ready, as a filter wants them.
    for expected_rows in [130, 1400] {
        let options = SearchOptions { target_recall: 0.95, expected_rows, ..SearchOptions::default() };
        let Answer { micros, work, .. } = ask(data, &index, &pages, options);
        let n = data.query_count() as u64;
        println!(
            "{expected_rows} rows ready: {micros:.0} us; codes {}, refined {}, exact {}",
            work.blocks * 32 / n,
            work.refined / n,
            work.exact / n
        );
    }
    grow(data, &pages, index);
}

/// Inserts rows again under new TIDs, removes one in ten, and grows an index from nothing.
fn grow(data: &Data, pages: &MemoryPages, mut index: Index) {
    let rows = data.rows();
    let mut twice = data.base.clone();
    twice.extend_from_slice(&data.base[..rows.min(5000) * data.width]);
    let mut source = MemoryVectors { values: &twice, dimensions: data.width };
    let added = rows.min(5000);
    let (changes, start) = (pages.changes(), cpu_ns());
    for i in rows..rows + added {
        let row = &twice[i * data.width..(i + 1) * data.width];
        insert(&mut index, pages, &mut source, tid_of_row(i), row).expect("pages in memory");
        pages.end_scans();
    }
    println!(
        "insert into the built index: {:.1} us a row, {:.2} changes a row, {} lists",
        (cpu_ns() - start) as f64 / 1e3 / added as f64,
        (pages.changes() - changes) as f64 / added as f64,
        index.meta.lists
    );
    let start = cpu_ns();
    let removed =
        vacuum::bulk_delete(&mut index, pages, |tid| row_of_tid(tid).is_multiple_of(10)).expect("pages");
    println!("bulk delete of {}: {:.1} ms CPU", removed.removed, (cpu_ns() - start) as f64 / 1e6);
    let start = cpu_ns();
    let cleaned = vacuum::clean_up(&mut index, pages, &mut source).expect("pages");
    println!("clean up: {:.1} ms CPU, {cleaned:?}", (cpu_ns() - start) as f64 / 1e6);
    let empty = MemoryPages::new();
    create_empty(&empty, &BuildOptions::new(Metric::Cosine, data.width), 42).expect("options are valid");
    let mut index = Index::open(&empty).expect("a fresh index opens");
    let start = cpu_ns();
    for i in 0..rows {
        insert(&mut index, &empty, &mut source, tid_of_row(i), data.row(i)).expect("pages in memory");
        empty.end_scans();
    }
    println!("grown from nothing: {:.1} us a row", (cpu_ns() - start) as f64 / 1e3 / rows as f64);
    vacuum::clean_up(&mut index, &empty, &mut source).expect("pages");
    let bytes = f64::from(empty.pages()) * PAGE_SIZE as f64;
    println!("   {} lists, {:.1} bytes a vector", index.meta.lists, bytes / rows as f64);
    for target_recall in [0.95, 0.99] {
        let answer = ask(data, &index, &empty, SearchOptions { target_recall, ..SearchOptions::default() });
        let codes = answer.work.blocks as f64 * 32.0 / data.query_count() as f64;
        println!(
            "   target {target_recall}: recall@10 {:.4}, {:.1} us a query, codes {codes:.0}",
            answer.recall, answer.micros
        );
    }
}
