//! One configuration of the gate: how far must a query read, and what does that cost?

use howdah_index::distance::{LANES, ScanBlock, ScanTerms, dot, kernels, l2_squared};
use howdah_index::quantize::Query;

use super::data::{Data, median_cpu};
use super::lists::{BITS, Built, CODES_AT, Prepared, to_centroids};

const K: usize = 10;
/// Standard deviations by which a scanned, a refined code may be better than it looks.
const SCAN_SLACK: [f32; 3] = [1.3, 1.7, 2.2];
const REFINE_SLACK: f32 = 2.0;

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
    ranks: Vec<Vec<usize>>,
}

fn orders(data: &Data, prepared: &Prepared, built: &Built) -> Orders {
    let mut homes: Vec<Vec<u32>> = vec![Vec::new(); data.rows()];
    for (list, &(block, count)) in built.lists.iter().enumerate() {
        for &row in &built.rows[block * LANES..block * LANES + count] {
            homes[row as usize].push(list as u32);
        }
    }
    let mut out = Orders { lists: Vec::new(), distances: Vec::new(), ranks: Vec::new() };
    for (q, query) in prepared.queries.iter().enumerate() {
        let distances = to_centroids(built, query);
        let mut lists: Vec<u32> = (0..distances.len() as u32).collect();
        lists.sort_by(|&a, &b| distances[a as usize].total_cmp(&distances[b as usize]));
        let mut rank = vec![0; lists.len()];
        lists.iter().enumerate().for_each(|(r, &l)| rank[l as usize] = r);
        let best =
            |row: u32| homes[row as usize].iter().map(|&l| rank[l as usize]).min().unwrap_or(usize::MAX);
        out.ranks.push(data.truth[q][..K].iter().map(|&row| best(row)).collect());
        out.lists.push(lists);
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

/// Stops under "read while the centroid is within a margin of what the k-th neighbour's distance suggests": the margin
/// is a share of (distance to the k-th neighbour), found by bisection on the recall wanted.
fn adaptive(data: &Data, orders: &Orders, target: f64) -> Vec<usize> {
    let stops = |margin: f32| -> Vec<usize> {
        (0..orders.lists.len())
            .map(|q| {
                let d = &orders.distances[q];
                let first = d[orders.lists[q][0] as usize];
                let limit = first + margin * data.near[q][K - 1].sqrt();
                orders.lists[q].iter().take_while(|&&l| d[l as usize] <= limit).count().max(1)
            })
            .collect()
    };
    let recall = |stops: &[usize]| {
        let hits: usize =
            (0..stops.len()).map(|q| orders.ranks[q].iter().filter(|&&r| r < stops[q]).count()).sum();
        hits as f64 / (stops.len() * K) as f64
    };
    let (mut low, mut high) = (0.0f32, 4.0f32);
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
    slack: f32,
) -> (Cost, Vec<u32>) {
    let mut cost = Cost { lists: stop as f64, ..Cost::default() };
    let mut best: Vec<f32> = Vec::new();
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
                slack: slack * base.sqrt(),
                threshold,
            };
            let mut estimates = [0.0; LANES];
            let live = if count - block * LANES >= LANES { u32::MAX } else { (1 << (count % LANES)) - 1 };
            let mut mask = (kernels().scan)(&view, &query.coarse, &terms, &mut estimates) & live;
            if mask == 0 {
                continue;
            }
            let (mut coarse, mut fine) = ([0; LANES], [0; LANES]);
            (kernels().sums_coarse)(view.codes, &query.coarse, &mut coarse);
            (kernels().sums_fine)(view.codes, &query.fine, &mut fine);
            while mask != 0 {
                let lane = mask.trailing_zeros() as usize;
                mask &= mask - 1;
                let error = howdah_index::distance::scalar::bf16_at(view.error, lane);
                pending.push(Pending {
                    estimate: estimates[lane],
                    lower: estimates[lane] - error * terms.slack,
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
            let upper = estimate + error;
            let at = best.partition_point(|&x| x <= upper);
            best.insert(at, upper);
            best.truncate(K);
            if best.len() == K {
                threshold = best[K - 1];
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

fn all(
    data: &Data,
    built: &Built,
    queries: &[Query],
    orders: &Orders,
    stops: &[usize],
    b: usize,
    slack: f32,
) -> Cost {
    let mut sum = Cost::default();
    for (q, query) in queries.iter().enumerate() {
        let (cost, found) = search(data, built, q, query, orders, stops[q], b, slack);
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
        for (q, query) in queries.iter().enumerate().take(200) {
            for &list in &orders.lists[q][..stops[q]] {
                let (first, count) = built.lists[list as usize];
                let base = orders.distances[q][list as usize];
                let terms = ScanTerms {
                    base,
                    step: query.step(),
                    shift: query.shift(),
                    slack: 1.7 * base.sqrt(),
                    threshold: data.near[q][K - 1],
                };
                let mut estimates = [0.0; LANES];
                for block in first..first + count.div_ceil(LANES) {
                    kept += (kernels().scan)(&block_at(built, block), &query.coarse, &terms, &mut estimates)
                        .count_ones();
                }
                codes += count;
            }
        }
        std::hint::black_box(kept);
    });
    ns / codes as f64
}

pub fn report(data: &Data, prepared: &Prepared, built: &Built, name: &str, spill: f64) {
    let queries: Vec<Query> = prepared.queries.iter().map(|q| Query::new(q.clone())).collect();
    let orders = orders(data, prepared, built);
    let n = data.rows() as f64;
    for target in [0.95, 0.99] {
        let (fix, adapt) = (fixed(&orders, target), adaptive(data, &orders, target));
        let ns = kernel_ns(data, built, &queries, &orders, &adapt);
        println!(
            "{name} ({} lists) spill {spill} recall {target}: lists fixed {} codes {:.0} ({:.1} %) | adaptive lists {:.0} codes {:.0} ({:.1} %) | {ns:.2} ns/code",
            built.lists.len(),
            fix[0],
            codes_read(built, &orders, &fix),
            100.0 * codes_read(built, &orders, &fix) / n,
            adapt.iter().sum::<usize>() as f64 / adapt.len() as f64,
            codes_read(built, &orders, &adapt),
            100.0 * codes_read(built, &orders, &adapt) / n,
        );
        for (b, bits) in BITS.into_iter().enumerate() {
            for slack in SCAN_SLACK {
                if b > 1 && slack != SCAN_SLACK[1] {
                    continue;
                }
                let cost = all(data, built, &queries, &orders, &adapt, b, slack);
                println!(
                    "    B {bits} slack {slack}: refined {:.0} exact {:.1} recall {:.4}",
                    cost.refined, cost.exact, cost.recall
                );
            }
        }
    }
    let _ = dot(&[], &[]);
}

pub fn explore(data: &Data, prepared: &Prepared, built: &Built) {
    let orders = orders(data, prepared, built);
    let home: Vec<u32> = {
        let mut h = vec![0; data.rows()];
        for (list, &(block, count)) in built.lists.iter().enumerate() {
            for &row in &built.rows[block * LANES..block * LANES + count] {
                h[row as usize] = list as u32;
            }
        }
        h
    };
    let nl = built.lists.len();
    let rules: Vec<(&str, Box<dyn Fn(f32, f32, f32, f32) -> f32>)> = vec![
        ("fixed", Box::new(|d2, _, _, _| d2)),
        ("d/rho", Box::new(|d2, _, p2, _| (d2 / p2).sqrt())),
        ("d-rho", Box::new(|d2, _, p2, _| d2.sqrt() - p2.sqrt())),
        ("d2-rho2", Box::new(|d2, _, p2, _| d2 - p2)),
        ("d2-.5rho2", Box::new(|d2, _, p2, _| d2 - 0.5 * p2)),
        ("d2-.5rho2-.3r2", Box::new(|d2, r2, p2, _| d2 - 0.5 * p2 - 0.3 * r2)),
        ("d2-r2", Box::new(|d2, r2, _, _| d2 - r2)),
        ("d2-r2-rho2", Box::new(|d2, r2, p2, _| d2 - r2 - p2)),
        ("d2+r2-rho2", Box::new(|d2, r2, p2, _| d2 + r2 - p2)),
        ("(d2+r2-rho2)/dr", Box::new(|d2, r2, p2, _| (d2 + r2 - p2) / (d2 * r2).sqrt())),
        ("(d2+rho2-r2)/drho", Box::new(|d2, r2, p2, _| (d2 + p2 - r2) / (d2 * p2).sqrt())),
        ("(d2-r2)/drho", Box::new(|d2, r2, p2, _| (d2 - r2) / (d2 * p2).sqrt())),
        ("(d2-.5r2)/drho", Box::new(|d2, r2, p2, _| (d2 - 0.5 * r2) / (d2 * p2).sqrt())),
        ("(d2+.5p2-.5r2)/drho", Box::new(|d2, r2, p2, _| (d2 + 0.5 * p2 - 0.5 * r2) / (d2 * p2).sqrt())),
        ("bisector", Box::new(|d2, _, p2, d0| (d2 - d0) / p2.sqrt())),
        ("bisector r", Box::new(|d2, r2, p2, d0| (d2 - d0 - 0.3 * r2) / p2.sqrt())),
    ];
    let r2: Vec<f32> = built.radius.iter().map(|r| r * r).collect();
    for (name, rule) in &rules {
        let mut pairs: Vec<(f32, bool, u32, u32)> = Vec::new(); // score, neighbour, codes
        for q in 0..orders.lists.len() {
            let p2 = data.near[q][K - 1];
            let d0 = orders.distances[q][orders.lists[q][0] as usize];
            let mut scores: Vec<(f32, u32)> = (0..nl as u32)
                .map(|l| (rule(orders.distances[q][l as usize], r2[l as usize], p2, d0), l))
                .collect();
            if *name == "fixed" {
                scores.sort_by(|a, b| a.0.total_cmp(&b.0));
                for (i, s) in scores.iter_mut().enumerate() {
                    s.0 = i as f32;
                }
            }
            let mut hits = vec![0u32; nl];
            for &t in &data.truth[q][..K] {
                hits[home[t as usize] as usize] += 1;
            }
            for (s, l) in scores {
                pairs.push((s, false, hits[l as usize], built.lists[l as usize].1 as u32));
            }
        }
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let total: u32 = pairs.iter().map(|p| p.2).sum();
        let (mut hit, mut codes) = (0u32, 0u64);
        let mut targets = vec![0.9, 0.95, 0.97, 0.99, 0.995];
        let mut line = format!("{name:>24}:");
        for p in &pairs {
            hit += p.2;
            codes += p.3 as u64;
            while !targets.is_empty() && hit as f64 >= targets[0] * total as f64 {
                line += &format!(
                    "  {}: {:.0} codes (s {:.3})",
                    targets.remove(0),
                    codes as f64 / orders.lists.len() as f64,
                    p.0
                );
            }
        }
        println!("{line}");
    }
}

pub fn fit(data: &Data, prepared: &Prepared, built: &Built) {
    let orders = orders(data, prepared, built);
    let mut home = vec![0u32; data.rows()];
    for (list, &(block, count)) in built.lists.iter().enumerate() {
        for &row in &built.rows[block * LANES..block * LANES + count] {
            home[row as usize] = list as u32;
        }
    }
    let nl = built.lists.len();
    let nq = orders.lists.len();
    let r2: Vec<f32> = built.radius.iter().map(|r| r * r).collect();
    let rbar: f32 = r2.iter().sum::<f32>() / nl as f32;
    // w: weight of R2, a (rho2), c (rbar ln rank)
    let eval = |w: &[f32; 3], odd: usize, k: usize| -> [f64; 3] {
        let mut pairs: Vec<(f32, u32, u32)> = Vec::new();
        for q in (odd..nq).step_by(2) {
            let p2 = data.near[q][k - 1];
            let mut hits = vec![0u32; nl];
            for &t in &data.truth[q][..k] {
                hits[home[t as usize] as usize] += 1;
            }
            let mut keys: Vec<(f32, usize)> =
                (0..nl).map(|l| (orders.distances[q][l] + w[0] * r2[l], l)).collect();
            keys.sort_by(|a, b| a.0.total_cmp(&b.0));
            let k0 = keys[0].0;
            for (rank, &(key, l)) in keys.iter().enumerate() {
                let s = key - w[1] * p2 - (1.0 - w[1]) * k0 + w[2] * rbar * ((rank + 1) as f32).ln();
                pairs.push((s, hits[l], built.lists[l].1 as u32));
            }
        }
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let total: u32 = pairs.iter().map(|p| p.1).sum();
        let (mut hit, mut codes) = (0, 0u64);
        let mut out = [0.0; 3];
        for p in &pairs {
            hit += p.1;
            codes += p.2 as u64;
            for (t, o) in [0.95, 0.97, 0.99].iter().zip(&mut out) {
                if hit as f64 >= t * total as f64 && *o == 0.0 {
                    *o = (codes as f64 / (nq / 2) as f64).round();
                }
            }
        }
        out
    };
    println!("rbar2 {rbar}");
    let mut all = Vec::new();
    for w0 in [0.0f32, 0.5, 0.8, 1.0, 1.2] {
        for a in [0.0f32, 0.3, 0.4, 0.5, 0.6, 0.8] {
            for c in [0.0f32, 0.05, 0.1, 0.2, 0.3] {
                let w = [w0, a, c];
                let (x, y) = (eval(&w, 0, 10), eval(&w, 1, 10));
                all.push((3.0 * (x[0] + y[0]) + 2.0 * (x[1] + y[1]) + x[2] + y[2], w, x, y));
            }
        }
    }
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    for x in &all[..6] {
        println!("  {:?} {:.0} {:?} {:?}", x.1, x.0, x.2, x.3);
    }
    for w in [[0.0, 0.0, 100.0], [1.0, 0.0, 100.0], [1.0, 0.5, 0.1], [1.0, 0.5, 0.2], [0.8, 0.5, 0.1]] {
        println!("  {:?} {:?} {:?}  k=100 {:?}", w, eval(&w, 0, 10), eval(&w, 1, 10), eval(&w, 0, 100));
    }
}
