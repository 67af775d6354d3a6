//! k-means on a sample, in two levels: √k groups first, then each group's share of centroids among its own points.
//!
//! Two levels cost √k instead of k comparisons a point and iteration. Lists that hold several times the mean are
//! possible, and legal.

use crate::distance::{dot, kernels, l2_squared};
use crate::rng::Rng;

/// Points in rotated space, row after row.
#[derive(Clone, Copy, Debug)]
pub struct Points<'a> {
    /// All values.
    pub values: &'a [f32],
    /// Values a point.
    pub width: usize,
}

impl<'a> Points<'a> {
    /// Number of points.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len() / self.width
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Point `i`.
    #[must_use]
    pub fn row(&self, i: usize) -> &'a [f32] {
        &self.values[i * self.width..(i + 1) * self.width]
    }
}

/// Half squared lengths of centroids: with them the nearest is the one of greatest ⟨x, c⟩ − |c|²/2.
#[must_use]
pub fn half_squares(centroids: Points<'_>) -> Vec<f32> {
    (0..centroids.len()).map(|i| 0.5 * dot(centroids.row(i), centroids.row(i))).collect()
}

/// The centroid nearest to `point` and its score ⟨x, c⟩ − |c|²/2. Centroid 0 when all scores are NaN.
#[must_use]
pub fn nearest(point: &[f32], centroids: Points<'_>, half_squares: &[f32]) -> (usize, f32) {
    let fast = kernels();
    let mut best = (0, f32::NEG_INFINITY);
    let mut consider = |i: usize, product: f32| {
        let score = product - half_squares[i];
        if score > best.1 {
            best = (i, score);
        }
    };
    let n = centroids.len();
    for i in (0..n / 4 * 4).step_by(4) {
        let four = [0, 1, 2, 3].map(|k| centroids.row(i + k));
        for (k, product) in (fast.dot4)(point, four).into_iter().enumerate() {
            consider(i + k, product);
        }
    }
    for i in n / 4 * 4..n {
        consider(i, (fast.dot)(point, centroids.row(i)));
    }
    best
}

/// Assigns each point listed in `members` to its nearest centroid, on up to `threads` threads.
fn assign(points: Points<'_>, members: &[u32], centroids: Points<'_>, threads: usize, out: &mut [u32]) {
    let squares = half_squares(centroids);
    let work = |members: &[u32], out: &mut [u32]| {
        for (slot, &i) in out.iter_mut().zip(members) {
            *slot = nearest(points.row(i as usize), centroids, &squares).0 as u32;
        }
    };
    let share = members.len().div_ceil(threads.max(1)).max(256);
    if share >= members.len() {
        return work(members, out);
    }
    std::thread::scope(|scope| {
        for (members, out) in members.chunks(share).zip(out.chunks_mut(share)) {
            scope.spawn(|| work(members, out));
        }
    });
}

/// Lloyd's algorithm: up to `k` centroids of the points listed in `members`. A centroid that loses all its points
/// takes a place beside the one that has most.
pub fn lloyd(
    points: Points<'_>,
    members: &[u32],
    k: usize,
    rounds: usize,
    threads: usize,
    rng: &mut Rng,
    pause: &dyn Fn(),
) -> (Vec<f32>, Vec<u32>) {
    let width = points.width;
    let k = k.clamp(1, members.len().max(1));
    let mut centroids = Vec::with_capacity(k * width);
    // Strides with a random start in each: distinct points, spread over the order of arrival.
    for j in 0..k {
        let (from, to) = (j * members.len() / k, (j + 1) * members.len() / k);
        let pick = members.get(from + rng.below(to - from));
        centroids.extend(pick.map_or(&vec![0.0; width][..], |&i| points.row(i as usize)));
    }
    let mut owner = vec![0u32; members.len()];
    for round in 0..=rounds {
        pause();
        assign(points, members, Points { values: &centroids, width }, threads, &mut owner);
        if round == rounds || k == 1 && round == 1 {
            break;
        }
        move_to_means(points, members, &owner, threads, &mut centroids);
    }
    (centroids, owner)
}

/// Sums of each centroid's points in dimensions `from..to`, one centroid after the other.
fn sums(points: Points<'_>, members: &[u32], owner: &[u32], k: usize, from: usize, to: usize) -> Vec<f32> {
    let mut sums = vec![0.0f32; k * (to - from)];
    for (&i, &o) in members.iter().zip(owner) {
        let sum = &mut sums[o as usize * (to - from)..(o as usize + 1) * (to - from)];
        for (s, v) in sum.iter_mut().zip(&points.row(i as usize)[from..to]) {
            *s += v;
        }
    }
    sums
}

fn move_to_means(points: Points<'_>, members: &[u32], owner: &[u32], threads: usize, centroids: &mut [f32]) {
    let width = points.width;
    let k = centroids.len() / width;
    let mut counts = vec![0u32; k];
    owner.iter().for_each(|&o| counts[o as usize] += 1);
    // Threads share dimensions, not points: the order of additions, and with it the result, does not depend on them.
    let share = width.div_ceil(if members.len() < 1024 { 1 } else { threads.max(1) }).next_multiple_of(16);
    let ranges: Vec<(usize, usize)> =
        (0..width).step_by(share).map(|from| (from, (from + share).min(width))).collect();
    let parts: Vec<Vec<f32>> = std::thread::scope(|scope| {
        let (first, others) = ranges.split_first().unwrap_or((&(0, 0), &[]));
        let of = |(from, to)| sums(points, members, owner, k, from, to);
        let running: Vec<_> = others.iter().map(|range| scope.spawn(move || of(*range))).collect();
        let joined =
            running.into_iter().map(|one| one.join().unwrap_or_else(|e| std::panic::resume_unwind(e)));
        std::iter::once(of(*first)).chain(joined).collect()
    });
    let sum = |j: usize, t: usize| {
        let (part, (from, to)) = (&parts[t / share], ranges[t / share]);
        part[j * (to - from) + t - from]
    };
    let Some(largest) = (0..k).max_by_key(|&j| counts[j]) else { return };
    for j in 0..k {
        let (from, count, nudge) =
            if counts[j] > 0 { (j, counts[j], 0.0) } else { (largest, counts[largest], 1e-3) };
        let part = 1.0 / count.max(1) as f32;
        for t in 0..width {
            let sign = if (t + j) % 2 == 0 { 1.0 + nudge } else { 1.0 - nudge };
            centroids[j * width + t] = sum(from, t) * part * sign;
        }
    }
}

/// The points in an order in which each is followed by the nearest of the rest: lists that are read together come to
/// lie on the same pages.
fn chained(points: Points<'_>) -> Vec<f32> {
    let mut rest: Vec<usize> = (1..points.len()).collect();
    let (mut out, mut last) = (points.row(0).to_vec(), 0);
    while !rest.is_empty() {
        let gap = |i: usize| l2_squared(points.row(last), points.row(i));
        let nearest = (0..rest.len()).min_by(|&a, &b| gap(rest[a]).total_cmp(&gap(rest[b]))).unwrap_or(0);
        last = rest.swap_remove(nearest);
        out.extend_from_slice(points.row(last));
    }
    out
}

/// Trained centroids, neighbours in space mostly neighbours in order.
#[derive(Clone, Debug, Default)]
pub struct Centroids {
    /// All values.
    pub values: Vec<f32>,
    /// Where each group begins, and the number of centroids at the end.
    pub groups: Vec<usize>,
}

/// About `k` centroids for a sample of points.
#[must_use]
pub fn train(points: Points<'_>, k: usize, threads: usize, seed: u64, pause: &dyn Fn()) -> Centroids {
    const ROUNDS: usize = 6;
    let mut rng = Rng::new(seed);
    let all: Vec<u32> = (0..points.len() as u32).collect();
    let k = k.clamp(1, points.len().max(1));
    if k < 32 {
        let (values, _) = lloyd(points, &all, k, ROUNDS, threads, &mut rng, pause);
        return Centroids { values, groups: vec![0, k] };
    }
    let groups = (k as f64).sqrt().round() as usize;
    let (_, owner) = lloyd(points, &all, groups, ROUNDS, threads, &mut rng, pause);
    let mut members = vec![Vec::new(); groups];
    for (&i, &o) in all.iter().zip(&owner) {
        members[o as usize].push(i);
    }
    let mut out = Centroids { values: Vec::with_capacity(k * points.width), groups: vec![0] };
    let (mut seen, mut made) = (0usize, 0usize);
    for members in &members {
        seen += members.len();
        let share = (k * seen).div_ceil(points.len()).saturating_sub(made);
        if members.is_empty() || share == 0 {
            continue;
        }
        let (values, _) = lloyd(points, members, share, ROUNDS, threads, &mut rng, pause);
        made += values.len() / points.width;
        out.values.extend(chained(Points { values: &values, width: points.width }));
        out.groups.push(made);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blobs(n: usize, blobs: usize, width: usize) -> Vec<f32> {
        let mut rng = Rng::new(9);
        let centres: Vec<f32> = (0..blobs * width).map(|_| 10.0 * rng.normal()).collect();
        (0..n)
            .flat_map(|i| {
                let centre = centres[i % blobs * width..][..width].to_vec();
                let noise: Vec<f32> = (0..width).map(|_| rng.normal()).collect();
                centre.into_iter().zip(noise).map(|(c, e)| c + e)
            })
            .collect()
    }

    #[test]
    fn separated_blobs_are_found() {
        let values = blobs(400, 4, 32);
        let points = Points { values: &values, width: 32 };
        let found = train(points, 8, 2, 1, &|| ());
        let centroids = Points { values: &found.values, width: 32 };
        let squares = half_squares(centroids);
        for i in 0..points.len() {
            let (j, _) = nearest(points.row(i), centroids, &squares);
            assert!(crate::distance::l2_squared(points.row(i), centroids.row(j)) < 32.0 * 4.0);
        }
    }

    #[test]
    fn many_lists_come_out_in_groups() {
        let values = blobs(2000, 10, 32);
        let found = train(Points { values: &values, width: 32 }, 100, 1, 1, &|| ());
        let made = found.values.len() / 32;
        assert!((90..=100).contains(&made), "{made}");
        assert_eq!(found.groups.last(), Some(&made));
    }

    #[test]
    fn duplicates_and_tiny_samples_do_not_break() {
        let same = vec![1.0; 32 * 50];
        assert!(train(Points { values: &same, width: 32 }, 40, 2, 1, &|| ()).values.len() >= 32);
        let none = train(Points { values: &[], width: 32 }, 4, 1, 1, &|| ());
        assert_eq!(none.values, vec![0.0; 32]);
    }
}
