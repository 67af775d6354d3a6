//! One configuration of the gate: how far must a query read, and what does that cost?

use howdah_index::distance::{LANES, ScanBlock, ScanTerms, kernels, l2_squared, scalar};
use howdah_index::quantize::Query;

use super::data::{Data, median_cpu};
use super::lists::{BITS, Built, CODES_AT, Prepared, to_centroids};

const K: usize = 10;
/// Standard deviations by which a scanned, a refined code may be better than it looks.
const SCAN_SLACK: f32 = 1.9;
const REFINE_SLACK: f32 = 2.2;
/// What a page access and a fetched row cost inside a server, and the parts that do not depend on the lists read
/// (executor, preparing the query, looking at all centroids), in microseconds.
const PAGE: f64 = 0.25;
const FETCH: f64 = 0.7;
const FIXED: f64 = 45.0;
const CENTROID: f64 = 0.01;

#[derive(Default, Clone, Copy)]
pub struct Cost {
    pub lists: f64,
    pub codes: f64,
    pub refined: f64,
    pub exact: f64,
    pub recall: f64,
}

/// Lists of each query in order of distance, with the rank that holds each true neighbour.
struct Orders {
    lists: Vec<Vec<u32>>,
    distances: Vec<Vec<f32>>,
    /// Squared distance plus half the squared radius, by list.
    keys: Vec<Vec<f32>>,
    ranks: Vec<Vec<usize>>,
}

fn orders(data: &Data, prepared: &Prepared, built: &Built) -> Orders {
    let mut homes: Vec<Vec<u32>> = vec![Vec::new(); data.rows()];
    for (list, &(block, count)) in built.lists.iter().enumerate() {
        for &row in &built.rows[block * LANES..block * LANES + count] {
            homes[row as usize].push(list as u32);
        }
    }
    let mut out = Orders { lists: Vec::new(), distances: Vec::new(), keys: Vec::new(), ranks: Vec::new() };
    for (q, query) in prepared.queries.iter().enumerate() {
        let distances = to_centroids(built, query);
        let mut lists: Vec<u32> = (0..distances.len() as u32).collect();
        let keys: Vec<f32> = distances.iter().zip(&built.radius).map(|(d, r)| d + 0.5 * r * r).collect();
        lists.sort_by(|&a, &b| keys[a as usize].total_cmp(&keys[b as usize]));
        let mut rank = vec![0; lists.len()];
        lists.iter().enumerate().for_each(|(r, &l)| rank[l as usize] = r);
        let best =
            |row: u32| homes[row as usize].iter().map(|&l| rank[l as usize]).min().unwrap_or(usize::MAX);
        out.ranks.push(data.truth[q][..K].iter().map(|&row| best(row)).collect());
        out.lists.push(lists);
        out.keys.push(keys);
        out.distances.push(distances);
    }
    out
}

/// Stops of every query under "read the nearest m lists", smallest m for the recall wanted.
fn fixed(orders: &Orders, target: f64) -> Vec<usize> {
    let mut all: Vec<usize> = orders.ranks.iter().flatten().copied().collect();
    all.sort_unstable();
    let m = all[((all.len() as f64 * target).ceil() as usize - 1).min(all.len() - 1)] + 1;
    vec![m; orders.lists.len()]
}

/// Stops of every query under the score that searches use: read while the list's key is within a margin of the first
/// list's key and the k-th neighbour's distance, the margin shrinking with the logarithm of the rank. The margin is
/// found by bisection on the recall wanted.
fn adaptive(data: &Data, built: &Built, orders: &Orders, target: f64) -> Vec<usize> {
    let spread = built.radius.iter().map(|r| r * r).sum::<f32>() / built.radius.len() as f32;
    let stops = |margin: f32| -> Vec<usize> {
        (0..orders.lists.len())
            .map(|q| {
                let key = |rank: usize| orders.keys[q][orders.lists[q][rank] as usize];
                let from = 0.3 * data.near[q][K - 1] + 0.7 * key(0) + margin;
                let within = |rank: &usize| key(*rank) + 0.2 * spread * ((rank + 1) as f32).ln() <= from;
                (0..orders.lists[q].len()).take_while(within).count().max(1)
            })
            .collect()
    };
    let recall = |stops: &[usize]| {
        let hits: usize =
            (0..stops.len()).map(|q| orders.ranks[q].iter().filter(|&&r| r < stops[q]).count()).sum();
        hits as f64 / (stops.len() * K) as f64
    };
    let (mut low, mut high) = (0.0f32, 8.0f32);
    for _ in 0..30 {
        let middle = 0.5 * (low + high);
        if recall(&stops(middle)) < target { low = middle } else { high = middle }
    }
    stops(high)
}

fn codes_read(built: &Built, orders: &Orders, stops: &[usize]) -> f64 {
    let one =
        |q: usize| -> usize { orders.lists[q][..stops[q]].iter().map(|&l| built.lists[l as usize].1).sum() };
    (0..stops.len()).map(one).sum::<usize>() as f64 / stops.len() as f64
}

fn block_at(built: &Built, block: usize) -> ScanBlock<'_> {
    let codes = built.width / 8 * LANES;
    let (page, place) = (block / built.blocks_a_page, block % built.blocks_a_page);
    let bytes = &built.pages[page].0[CODES_AT..];
    let at = built.blocks_a_page * codes + place * 8 * LANES;
    ScanBlock {
        codes: &bytes[place * codes..(place + 1) * codes],
        add: &bytes[at..at + 128],
        scale: &bytes[at + 128..at + 192],
        error: &bytes[at + 192..at + 256],
    }
}

struct Pending {
    estimate: f32,
    lower: f32,
    place: usize,
    list: usize,
    sign_sum: f32,
}

/// One query with a running threshold; counts what it did.
fn search(
    data: &Data,
    built: &Built,
    q: usize,
    query: &Query,
    orders: &Orders,
    stop: usize,
    b: usize,
) -> (Cost, Vec<u32>) {
    let mut cost = Cost { lists: stop as f64, ..Cost::default() };
    let mut best: Vec<(f32, u32)> = Vec::new();
    let mut kept: Vec<(f32, f32, u32)> = Vec::new();
    let mut pending: Vec<Pending> = Vec::new();
    let mut threshold = f32::INFINITY;
    for &list in &orders.lists[q][..stop] {
        let list = list as usize;
        let base = orders.distances[q][list];
        let (first, count) = built.lists[list];
        cost.codes += count as f64;
        for block in 0..count.div_ceil(LANES) {
            let view = block_at(built, first + block);
            let terms = ScanTerms {
                base,
                step: query.step(),
                shift: query.shift(),
                slack: SCAN_SLACK * base.sqrt(),
                threshold,
            };
            let mut coarse = [0; LANES];
            let live = if count - block * LANES >= LANES { u32::MAX } else { (1 << (count % LANES)) - 1 };
            let mut mask = (kernels().scan)(&view, &query.coarse, &terms, &mut coarse) & live;
            if mask == 0 {
                continue;
            }
            let mut fine = [0; LANES];
            (kernels().sums_fine)(view.codes, &query.fine, &mut fine);
            while mask != 0 {
                let lane = mask.trailing_zeros() as usize;
                mask &= mask - 1;
                let error = scalar::bf16_at(view.error, lane);
                let estimate = scalar::estimate(&view, &terms, lane, coarse[lane]);
                pending.push(Pending {
                    estimate,
                    lower: estimate - error * terms.slack,
                    place: (first + block) * LANES + lane,
                    list,
                    sign_sum: query.sign_sum(coarse[lane], fine[lane]),
                });
            }
        }
        pending.sort_by(|a, b| a.estimate.total_cmp(&b.estimate));
        for p in pending.drain(..) {
            if p.lower >= threshold {
                continue;
            }
            cost.refined += 1.0;
            let factors = &built.factors[b][p.place];
            let levels = &built.levels[b][p.place * built.width..(p.place + 1) * built.width];
            let half = (1u32 << (BITS[b] - 1)) as u8;
            let low: f32 =
                levels.iter().zip(&query.rotated).map(|(u, x)| f32::from(u & (half - 1)) * x).sum();
            let total: f32 = query.rotated.iter().sum();
            let product = f32::from(half) * p.sign_sum + low - (f32::from(half) - 0.5) * total;
            let estimate = orders.distances[q][p.list] + factors.add + factors.scale * product;
            let error = REFINE_SLACK * factors.error * orders.distances[q][p.list].sqrt();
            if estimate - error >= threshold {
                continue;
            }
            kept.push((estimate - error, estimate, built.rows[p.place]));
            let (upper, row) = (estimate + error, built.rows[p.place]);
            if let Some(same) = best.iter().position(|b| b.1 == row) {
                // A row kept twice counts once.
                if best[same].0 <= upper {
                    continue;
                }
                best.remove(same);
            }
            let at = best.partition_point(|b| b.0 <= upper);
            best.insert(at, (upper, row));
            best.truncate(K);
            if best.len() == K {
                threshold = best[K - 1].0;
            }
        }
    }
    kept.retain(|c| c.0 < threshold);
    kept.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut exact: Vec<(f32, u32)> = Vec::new();
    for &(lower, _, row) in &kept {
        if exact.len() >= K && lower > exact[K - 1].0 {
            continue;
        }
        if exact.iter().any(|e| e.1 == row) {
            continue;
        }
        cost.exact += 1.0;
        let d = l2_squared(data.query(q), data.row(row as usize));
        let at = exact.partition_point(|e| e.0 <= d);
        exact.insert(at, (d, row));
    }
    (cost, exact.iter().map(|e| e.1).collect())
}

fn all(data: &Data, built: &Built, queries: &[Query], orders: &Orders, stops: &[usize], b: usize) -> Cost {
    let mut sum = Cost::default();
    for (q, query) in queries.iter().enumerate() {
        let (cost, found) = search(data, built, q, query, orders, stops[q], b);
        sum.lists += cost.lists;
        sum.codes += cost.codes;
        sum.refined += cost.refined;
        sum.exact += cost.exact;
        sum.recall += data.recall(q, &found, K);
    }
    let n = queries.len() as f64;
    Cost {
        lists: sum.lists / n,
        codes: sum.codes / n,
        refined: sum.refined / n,
        exact: sum.exact / n,
        recall: sum.recall / n,
    }
}

/// Nanoseconds a code of the bare scan with a fixed threshold, over the pages that queries read.
fn kernel_ns(data: &Data, built: &Built, queries: &[Query], orders: &Orders, stops: &[usize]) -> f64 {
    let mut codes = 0;
    let ns = median_cpu(|| {
        codes = 0;
        let mut kept = 0u32;
        let often = (0..1 + 2_000_000
            / (1 + codes_read(built, orders, stops) as usize * queries.len().min(200)))
            .flat_map(|_| queries.iter().enumerate().take(200));
        for (q, query) in often {
            for &list in &orders.lists[q][..stops[q]] {
                let (first, count) = built.lists[list as usize];
                let base = orders.distances[q][list as usize];
                let terms = ScanTerms {
                    base,
                    step: query.step(),
                    shift: query.shift(),
                    slack: SCAN_SLACK * base.sqrt(),
                    threshold: data.near[q][K - 1],
                };
                let mut sums = [0; LANES];
                for block in first..first + count.div_ceil(LANES) {
                    kept += (kernels().scan)(&block_at(built, block), &query.coarse, &terms, &mut sums)
                        .count_ones();
                }
                codes += count;
            }
        }
        std::hint::black_box(kept);
    });
    ns / codes as f64
}

pub fn print_head() {
    println!(
        "| lists | spill | recall | fixed: lists, codes | adaptive: lists, codes | ns a code | B: refined, exact, recall | B a vector (B 5) | us inside a server |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
}

pub fn report(data: &Data, prepared: &Prepared, built: &Built, name: &str, spill: f64) {
    let queries: Vec<Query> = prepared.queries.iter().map(|q| Query::new(q.clone())).collect();
    let orders = orders(data, prepared, built);
    let n = data.rows() as f64;
    let pages = built.pages.len() as f64 * 8192.0 / n;
    let layout = howdah_index::format::Layout::new(data.width, 5).expect("a width that fits");
    let bytes = pages + 8192.0 / (layout.units_a_page * layout.unit) as f64 * spill;
    for target in [0.95, 0.99] {
        let (fix, adapt) = (fixed(&orders, target), adaptive(data, built, &orders, target));
        let (fixed_codes, codes) = (codes_read(built, &orders, &fix), codes_read(built, &orders, &adapt));
        let ns = kernel_ns(data, built, &queries, &orders, &adapt);
        let lists = adapt.iter().sum::<usize>() as f64 / adapt.len() as f64;
        let costs: Vec<Cost> =
            (0..BITS.len()).map(|b| all(data, built, &queries, &orders, &adapt, b)).collect();
        let five = costs[1];
        let a_page = (built.blocks_a_page * LANES) as f64;
        let server = FIXED
            + CENTROID * built.lists.len() as f64
            + PAGE * (codes / a_page + lists + five.refined)
            + codes * ns / 1e3
            + FETCH * five.exact;
        let each: Vec<String> = BITS
            .iter()
            .zip(&costs)
            .map(|(bits, c)| format!("{bits}: {:.0}, {:.1}, {:.4}", c.refined, c.exact, c.recall))
            .collect();
        println!(
            "| {name} = {} | {spill} | {target} | {}, {fixed_codes:.0} ({:.1} %) | {lists:.0}, {codes:.0} ({:.1} %) | {ns:.2} | {} | {bytes:.0} | {server:.0} |",
            built.lists.len(),
            fix[0],
            100.0 * fixed_codes / n,
            100.0 * codes / n,
            each.join("; "),
        );
    }
}
