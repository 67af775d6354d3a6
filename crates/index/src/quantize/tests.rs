//! Do estimates hold what the paper promises?

use super::encode::{CodedCentroid, Encoder, RowCode, decode};
use super::*;
use crate::distance::{LANES, kernels, l2_squared};
use crate::format::Layout;
use crate::page::Tid;
use crate::rng::Rng;

fn normal(rng: &mut Rng, n: usize, scale: f32) -> Vec<f32> {
    (0..n).map(|_| scale * rng.normal()).collect()
}

fn exact(metric: Metric, a: &[f32], b: &[f32]) -> f32 {
    if metric == Metric::InnerProduct { -dot(a, b) } else { l2_squared(a, b) }
}

/// Estimates of (sign bits only, all bits) for one vector, by the tables and small integers that searches use.
fn estimates(metric: Metric, layout: &Layout, code: &[u8], centroid: &[f32], query: &Query) -> (f32, f32) {
    let code = RowCode::new(layout, code);
    let mut rows = vec![0u8; layout.width * 4];
    for (j, pair) in code.signs().iter().enumerate() {
        rows[32 * j] = pair & 15;
        rows[32 * j + 16] = pair >> 4;
    }
    let (mut coarse, mut fine) = ([0; LANES], [0; LANES]);
    (kernels().sums_coarse)(&rows, &query.coarse, &mut coarse);
    (kernels().sums_fine)(&rows, &query.fine, &mut fine);
    let base = exact(metric, &query.rotated, centroid);
    let factors = code.factors();
    let first = base + factors.add + factors.scale * (query.step() * coarse[0] as f32 + query.shift());
    let packed = layout.record_bytes - 8;
    let product = query.product(layout.bits, query.sign_sum(coarse[0], fine[0]), &code.record()[..packed]);
    let at = |i| crate::format::get_f32(code.record(), i);
    (first, base + at(packed) + at(packed + 4) * product)
}

#[test]
fn estimates_are_unbiased_and_within_their_bound() {
    let rounds = if cfg!(miri) { 3 } else { 400 };
    for metric in [Metric::L2, Metric::InnerProduct] {
        for (width, bits, share) in [(64, 5, 0.12), (384, 5, 0.1), (96, 4, 0.2), (384, 4, 0.19)] {
            let layout = Layout::new(width, bits).unwrap();
            let mut rng = Rng::new(width as u64);
            let (mut beyond, mut sum, mut squares) = (0, 0.0, 0.0);
            for _ in 0..rounds {
                let centroid = normal(&mut rng, width, 1.0);
                let vector: Vec<f32> = centroid.iter().map(|c| c + 0.8 * rng.normal()).collect();
                let query: Vec<f32> = centroid.iter().map(|c| c + rng.normal()).collect();
                let mut code = Vec::new();
                Encoder::new(layout, metric).encode(Tid::default(), &vector, &centroid, &mut code);
                assert_eq!(code.len(), RowCode::bytes(&layout));
                let truth = exact(metric, &vector, &query);
                let distance = l2_squared(&query, &centroid).sqrt();
                let (first, second) = estimates(metric, &layout, &code, &centroid, &Query::new(query));
                let sigma = RowCode::new(&layout, &code).factors().error * distance;
                beyond += usize::from((first - truth).abs() > 2.5 * sigma);
                sum += f64::from((first - truth) / sigma);
                squares += f64::from((second - truth) / sigma).powi(2);
            }
            if !cfg!(miri) {
                assert!(beyond * 40 < rounds, "{metric:?} {width}: {beyond} of {rounds} beyond 2.5 sigma");
                assert!(
                    (sum / rounds as f64).abs() < 0.25,
                    "{metric:?} {width}: bias {}",
                    sum / rounds as f64
                );
                let ratio = (squares / rounds as f64).sqrt();
                assert!(ratio < share, "{metric:?} {width}: {bits} bits err by {ratio} of one bit's error");
            }
        }
    }
}

#[test]
fn decoding_gives_the_vector_back_within_the_bound() {
    for (bits, most) in [(4, 0.016), (5, 0.004)] {
        let layout = Layout::new(384, bits).unwrap();
        let mut rng = Rng::new(5);
        let centroid = normal(&mut rng, 384, 1.0);
        let vector = normal(&mut rng, 384, 1.0);
        let mut code = Vec::new();
        Encoder::new(layout, Metric::L2).encode(Tid { block: 7, offset: 3 }, &vector, &centroid, &mut code);
        let row = RowCode::new(&layout, &code);
        assert_eq!(row.tid(), Tid { block: 7, offset: 3 });
        let mut back = vec![0.0; 384];
        decode(Metric::L2, &layout, row.signs(), row.record(), &centroid, &mut back);
        let error = l2_squared(&vector, &back) / row.square();
        assert!(error < most, "{error}");
    }
}

#[test]
fn a_vector_on_its_centroid_costs_nothing_and_hostile_ones_always_stay() {
    let layout = Layout::new(32, 5).unwrap();
    let mut encoder = Encoder::new(layout, Metric::L2);
    let mut code = Vec::new();
    encoder.encode(Tid::default(), &[0.5; 32], &[0.5; 32], &mut code);
    assert_eq!(RowCode::new(&layout, &code).factors(), Factors::default());
    for hostile in [1e30, f32::MAX, f32::INFINITY, f32::NAN] {
        code.clear();
        encoder.encode(Tid::default(), &[hostile; 32], &[0.5; 32], &mut code);
        assert_eq!(RowCode::new(&layout, &code).factors().add, f32::NEG_INFINITY, "{hostile}");
    }
    for tiny in [1e-30, 1e-42] {
        code.clear();
        encoder.encode(Tid::default(), &[tiny; 32], &[0.0; 32], &mut code);
        assert!(RowCode::new(&layout, &code).factors().add.is_finite(), "{tiny}");
    }
}

#[test]
fn coded_centroids_stay_near() {
    let mut rng = Rng::new(6);
    let centroid = normal(&mut rng, 384, 0.04);
    let coded = CodedCentroid::new(&centroid);
    let mut back = vec![0.0; 384];
    CodedCentroid::decode(&coded.packed, coded.scale, &mut back);
    assert!(l2_squared(&centroid, &back) < 0.02 * dot(&centroid, &centroid));
    assert!((dot(&back, &back) - coded.square).abs() < 1e-4);
    let query = Query::new(normal(&mut rng, 384, 1.0));
    let product = coded.scale * query.small.product(&coded.packed);
    assert!((product - dot(&query.rotated, &back)).abs() < 0.02);
    assert_eq!(CodedCentroid::new(&[0.0; 32]).scale, 0.0);
}
