//! Inverted lists in memory, as far as the gate needs them: sign codes in blocks on pages, levels for several B beside.

use howdah_index::distance::{LANES, dot, kernels, to_bf16};
use howdah_index::kmeans::{self, Centroids, Points};
use howdah_index::options::Metric;
use howdah_index::quantize::{self, Factors};
use howdah_index::rotate::Rotation;

use super::data::{Data, cpu_ns};

pub const BITS: [u32; 4] = [4, 5, 6, 8];

/// Everything in rotated space.
pub struct Prepared {
    pub width: usize,
    pub base: Vec<f32>,
    pub queries: Vec<Vec<f32>>,
}

impl Prepared {
    pub fn new(data: &Data) -> Self {
        let rotation = Rotation::new(data.width, 7);
        let width = rotation.width();
        let mut base = vec![0.0; data.rows() * width];
        let start = cpu_ns();
        for (i, out) in base.chunks_exact_mut(width).enumerate() {
            rotation.apply(data.row(i), out);
        }
        eprintln!("rotation: {:.2} us a vector", (cpu_ns() - start) as f64 / 1e3 / data.rows() as f64);
        let turn = |i| {
            let mut out = vec![0.0; width];
            rotation.apply(data.query(i), &mut out);
            out
        };
        Self { width, base, queries: (0..data.query_count()).map(turn).collect() }
    }

    pub fn row(&self, i: usize) -> &[f32] {
        &self.base[i * self.width..(i + 1) * self.width]
    }

    pub fn rows(&self) -> usize {
        self.base.len() / self.width
    }
}

/// Centroids and, for each row, its list and the second list SOAR would give it, with the ratio of losses.
pub struct Trained {
    pub centroids: Centroids,
    pub first: Vec<u32>,
    pub second: Vec<(u32, f32)>,
}

pub fn train(data: &Prepared, count: usize) -> Trained {
    let sample = (64 * count).clamp(20_000, 60_000).min(data.rows());
    let stride = data.rows() as f64 / sample as f64;
    let values: Vec<f32> =
        (0..sample).flat_map(|i| data.row((i as f64 * stride) as usize).to_vec()).collect();
    let start = cpu_ns();
    let centroids = kmeans::train(Points { values: &values, width: data.width }, count, 1, 1, &|| ());
    let trained = cpu_ns();
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let points = Points { values: &centroids.values, width: data.width };
    let squares = kmeans::half_squares(points);
    let k = points.len();
    let gram: Vec<f32> =
        (0..k).flat_map(|i| (0..k).map(move |j| dot(points.row(i), points.row(j)))).collect();
    let mut products = vec![0.0; k];
    for i in 0..data.rows() {
        let x = data.row(i);
        for (j, product) in products.iter_mut().enumerate() {
            *product = dot(x, points.row(j));
        }
        let score = |j: usize| products[j] - squares[j];
        let own = (0..k).max_by(|&a, &b| score(a).total_cmp(&score(b))).unwrap_or(0);
        let xx = dot(x, x);
        let loss = xx - 2.0 * score(own);
        // SOAR: the second residual should be short and, above all, not parallel to the first.
        let soar = |j: usize| {
            let parallel = (xx - products[own]) - (products[j] - gram[own * k + j]);
            xx - 2.0 * score(j) + parallel * parallel / loss.max(1e-9)
        };
        let other = (0..k).filter(|&j| j != own).min_by(|&a, &b| soar(a).total_cmp(&soar(b))).unwrap_or(own);
        first.push(own as u32);
        second.push((other as u32, soar(other) / loss.max(1e-9)));
    }
    eprintln!(
        "{k} lists: k-means on {sample} rows {:.2} s CPU, exact assignment {:.2} s CPU",
        (trained - start) as f64 / 1e9,
        (cpu_ns() - trained) as f64 / 1e9
    );
    Trained { centroids, first, second }
}

/// 8 KiB, as in shared buffers.
#[repr(C, align(64))]
#[derive(Clone)]
pub struct Page(pub [u8; 8192]);

/// Where the first block's codes begin on a page.
pub const CODES_AT: usize = 64;

pub struct Built {
    pub width: usize,
    pub centroids: Vec<f32>,
    pub radius: Vec<f32>,
    pub pages: Vec<Page>,
    pub blocks_a_page: usize,
    /// First block and number of codes.
    pub lists: Vec<(usize, usize)>,
    /// Row of each place.
    pub rows: Vec<u32>,
    /// For each B: levels of each place, factors of each place.
    pub levels: Vec<Vec<u8>>,
    pub factors: Vec<Vec<Factors>>,
}

impl Built {
    pub fn centroid(&self, i: usize) -> &[f32] {
        &self.centroids[i * self.width..(i + 1) * self.width]
    }
}

pub fn build(data: &Prepared, trained: &Trained, spill: f64) -> Built {
    let width = data.width;
    let k = trained.centroids.values.len() / width;
    let mut members: Vec<Vec<u32>> = vec![Vec::new(); k];
    for (i, &list) in trained.first.iter().enumerate() {
        members[list as usize].push(i as u32);
    }
    let mut order: Vec<usize> = (0..data.rows()).collect();
    order.sort_by(|&a, &b| trained.second[a].1.total_cmp(&trained.second[b].1));
    for &i in &order[..((spill - 1.0) * data.rows() as f64) as usize] {
        members[trained.second[i].0 as usize].push(i as u32);
    }
    let block = width / 8 * LANES + 8 * LANES;
    let mut built = Built {
        width,
        centroids: trained.centroids.values.clone(),
        radius: Vec::new(),
        pages: Vec::new(),
        blocks_a_page: (8192 - CODES_AT) / block,
        lists: Vec::new(),
        rows: Vec::new(),
        levels: vec![Vec::new(); BITS.len()],
        factors: vec![Vec::new(); BITS.len()],
    };
    for (list, rows) in members.iter().enumerate() {
        append(&mut built, data, list, rows);
    }
    built
}

fn append(built: &mut Built, data: &Prepared, list: usize, rows: &[u32]) {
    let width = built.width;
    let centroid = built.centroid(list).to_vec();
    let first_block = built.rows.len() / LANES;
    let (mut residual, mut levels, mut values) = (vec![0.0; width], vec![0; width], vec![0.0; width]);
    let mut radius = 0.0;
    for (place, &row) in rows.iter().enumerate() {
        for ((r, x), c) in residual.iter_mut().zip(data.row(row as usize)).zip(&centroid) {
            *r = x - c;
        }
        radius += dot(&residual, &residual);
        for (b, bits) in BITS.into_iter().enumerate() {
            quantize::levels(&residual, bits, &mut levels);
            quantize::values_of(&levels, bits, &mut values);
            built.factors[b].push(quantize::factors(Metric::L2, &residual, &centroid, &values, |s| s));
            built.levels[b].extend_from_slice(&levels);
        }
        quantize::levels(&residual, 1, &mut levels);
        quantize::values_of(&levels, 1, &mut values);
        let factors = quantize::factors(Metric::L2, &residual, &centroid, &values, quantize::keep_bf16);
        put(built, first_block + place / LANES, place % LANES, &levels, &factors);
        built.rows.push(row);
    }
    built.radius.push((radius / rows.len().max(1) as f32).sqrt());
    built.lists.push((first_block, rows.len()));
    let missing = built.rows.len().next_multiple_of(LANES) - built.rows.len();
    built.rows.extend(std::iter::repeat_n(u32::MAX, missing));
    for b in 0..BITS.len() {
        built.levels[b].extend(std::iter::repeat_n(0, missing * width));
        built.factors[b].extend(std::iter::repeat_n(Factors::default(), missing));
    }
}

fn put(built: &mut Built, block: usize, lane: usize, signs: &[u8], factors: &Factors) {
    let codes = built.width / 8 * LANES;
    let (page, place) = (block / built.blocks_a_page, block % built.blocks_a_page);
    if page == built.pages.len() {
        built.pages.push(Page([0; 8192]));
    }
    let all = built.blocks_a_page * codes;
    let bytes = &mut built.pages[page].0[CODES_AT..];
    for (row, four) in signs.chunks_exact(4).enumerate() {
        let nibble = four.iter().enumerate().fold(0, |n, (i, bit)| n | bit << i);
        bytes[place * codes + 16 * row + lane % 16] |= if lane < 16 { nibble } else { nibble << 4 };
    }
    let at = all + place * 8 * LANES;
    bytes[at + 4 * lane..][..4].copy_from_slice(&factors.add.to_le_bytes());
    bytes[at + 128 + 2 * lane..][..2].copy_from_slice(&to_bf16(factors.scale).to_le_bytes());
    bytes[at + 192 + 2 * lane..][..2].copy_from_slice(&to_bf16(factors.error).to_le_bytes());
}

/// Squared distances of a query to all centroids.
pub fn to_centroids(built: &Built, query: &[f32]) -> Vec<f32> {
    built.centroids.chunks_exact(built.width).map(|c| (kernels().l2_squared)(query, c)).collect()
}
