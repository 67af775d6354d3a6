//! Data for benches: real embeddings read from `.npy` files, generated ones, ground truth, CPU time.
#![allow(dead_code)] // Each example uses a part of it.

use std::path::{Path, PathBuf};

use howdah_index::distance::{dot, l2_squared};

/// Vectors, queries, and the true nearest rows of each query in order.
pub struct Data {
    pub name: String,
    pub width: usize,
    pub base: Vec<f32>,
    pub queries: Vec<f32>,
    pub truth: Vec<Vec<u32>>,
    /// Distance of the k-th true neighbour is taken from here: squared Euclidean, sorted.
    pub near: Vec<Vec<f32>>,
}

impl Data {
    pub fn rows(&self) -> usize {
        self.base.len() / self.width
    }

    pub fn row(&self, i: usize) -> &[f32] {
        &self.base[i * self.width..(i + 1) * self.width]
    }

    pub fn query(&self, i: usize) -> &[f32] {
        &self.queries[i * self.width..(i + 1) * self.width]
    }

    pub fn query_count(&self) -> usize {
        self.queries.len() / self.width
    }

    /// Share of the first `k` rows of `found` that are as near as the k-th true neighbour, ties counted as hits.
    pub fn recall(&self, query: usize, found: &[u32], k: usize) -> f64 {
        let limit = self.near[query][k - 1] + 2e-6;
        let q = self.query(query);
        let hits = found.iter().take(k).filter(|&&i| l2_squared(q, self.row(i as usize)) <= limit).count();
        hits as f64 / k as f64
    }

    /// Local intrinsic dimension at the queries: maximum likelihood over 100 neighbours (Levina and Bickel 2004).
    pub fn intrinsic_dimension(&self) -> f64 {
        let one = |near: &Vec<f32>| {
            let d: Vec<f64> = near.iter().map(|d| f64::from(d.max(1e-12)).sqrt()).collect();
            let far = d[d.len() - 1];
            let sum: f64 = d[..d.len() - 1].iter().map(|x| (far / x).ln()).sum();
            (d.len() - 1) as f64 / sum
        };
        let mut all: Vec<f64> = self.near.iter().map(one).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    }

    /// The first `rows` rows with their own truth.
    pub fn head(&self, rows: usize) -> Self {
        let base = self.base[..rows.min(self.rows()) * self.width].to_vec();
        Self::with_truth(format!("{}-{rows}", self.name), self.width, base, self.queries.clone())
    }

    fn with_truth(name: String, width: usize, base: Vec<f32>, queries: Vec<f32>) -> Self {
        let (truth, near) = nearest_rows(width, &base, &queries, 100);
        Self { name, width, base, queries, truth, near }
    }
}

/// The `k` nearest rows of every query, by comparing with all.
fn nearest_rows(width: usize, base: &[f32], queries: &[f32], k: usize) -> (Vec<Vec<u32>>, Vec<Vec<f32>>) {
    let squares: Vec<f32> = base.chunks_exact(width).map(|r| dot(r, r)).collect();
    let answer = |q: &[f32]| {
        let mut all: Vec<(f32, u32)> = base
            .chunks_exact(width)
            .enumerate()
            .map(|(i, r)| (squares[i] - 2.0 * dot(q, r), i as u32))
            .collect();
        let k = k.min(all.len());
        all.select_nth_unstable_by(k - 1, |a, b| a.0.total_cmp(&b.0));
        all.truncate(k);
        let mut exact: Vec<(f32, u32)> =
            all.iter().map(|&(_, i)| (l2_squared(q, &base[i as usize * width..][..width]), i)).collect();
        exact.sort_by(|a, b| a.0.total_cmp(&b.0));
        (exact.iter().map(|e| e.1).collect(), exact.iter().map(|e| e.0).collect())
    };
    queries.chunks_exact(width).map(answer).unzip()
}

fn half_to_f32(bits: u16) -> f32 {
    let (sign, exponent, fraction) =
        (u32::from(bits >> 15) << 31, u32::from(bits >> 10 & 31), u32::from(bits & 1023));
    match exponent {
        0 => {
            f32::from_bits(sign | 0x3F80_0000).copysign(f32::from_bits(sign)) * fraction as f32 / 16_777_216.0
        }
        31 => f32::from_bits(sign | 0x7F80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

/// Reads a two-dimensional little-endian float16 array.
pub fn read_f16(path: &Path) -> std::io::Result<(usize, Vec<f32>)> {
    let bytes = std::fs::read(path)?;
    let bad =
        || std::io::Error::other(format!("{}: not a two-dimensional float16 .npy file", path.display()));
    let header_length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = String::from_utf8_lossy(&bytes[10..10 + header_length]).to_string();
    if !header.contains("'<f2'") {
        return Err(bad());
    }
    let shape = header.split("'shape': (").nth(1).and_then(|s| s.split(')').next()).ok_or_else(bad)?;
    let sizes: Vec<usize> = shape.split(',').filter_map(|s| s.trim().parse().ok()).collect();
    let [_, width] = sizes[..] else { return Err(bad()) };
    let values =
        bytes[10 + header_length..].chunks_exact(2).map(|b| half_to_f32(u16::from_le_bytes([b[0], b[1]])));
    Ok((width, values.collect()))
}

/// Where the real embeddings lie: the first argument that is a folder, or `HOWDAH_DATA`.
pub fn folder() -> Option<PathBuf> {
    let argument = std::env::args().skip(1).map(PathBuf::from).find(|p| p.is_dir());
    argument.or_else(|| std::env::var_os("HOWDAH_DATA").map(PathBuf::from))
}

/// The real embeddings (`minilm384-*.f16.npy`): the first `rows` of them, with truth for `queries` queries.
pub fn real(folder: &Path, rows: usize, queries: usize) -> std::io::Result<Data> {
    let (width, mut base) = read_f16(&folder.join("minilm384-base.f16.npy"))?;
    let (_, mut asked) = read_f16(&folder.join("minilm384-query.f16.npy"))?;
    base.truncate(rows * width);
    asked.truncate(queries * width);
    Ok(Data::with_truth("minilm384".into(), width, base, asked))
}

/// Generated vectors ([`howdah_index::generate`]): `rows` of `width` dimensions, made of `seed` alone.
pub fn generated(rows: usize, queries: usize, width: usize, seed: u64) -> Data {
    let mut texts = howdah_index::generate::TextLike::new(width, seed);
    let (base, asked) = (texts.take(rows), texts.take(queries));
    Data::with_truth(format!("generated{width}"), width, base, asked)
}

/// Nanoseconds this thread has spent on a processor (Linux; elsewhere wall time).
pub fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or_else(|| {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        START.get_or_init(std::time::Instant::now).elapsed().as_nanos() as u64
    })
}

/// Runs `work` three times and returns the median of its CPU nanoseconds.
pub fn median_cpu(mut work: impl FnMut()) -> f64 {
    let mut all: Vec<u64> = (0..3)
        .map(|_| {
            let start = cpu_ns();
            work();
            cpu_ns() - start
        })
        .collect();
    all.sort_unstable();
    all[1] as f64
}

/// Processor model, cores and the instruction sets that matter here.
pub fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find(|l| l.starts_with(name)).unwrap_or_default();
        line.split(':').nth(1).unwrap_or_default().trim().to_string()
    };
    let flags = field("flags");
    let wanted = ["avx2", "fma", "avx512f", "avx512bw", "avx512_vbmi", "avx512_vnni"];
    let have: Vec<&str> = wanted.into_iter().filter(|f| flags.split(' ').any(|g| g == *f)).collect();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "{}, family {}, model {}, {cores} cores, {}",
        field("model name"),
        field("cpu family"),
        field("model\t"),
        have.join(" ")
    )
}
