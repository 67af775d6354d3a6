//! Every implementation that runs here against the truth, on random and on hostile input.

use super::*;
use crate::rng::Rng;

const LENGTHS: &[usize] = &[2, 3, 7, 8, 16, 31, 32, 33, 64, 100, 384, 768, 1000, 1536, 4000];

/// Values that break careless loops.
const HOSTILE: &[f32] = &[0.0, -0.0, 1.0, 1e-40, -1e-45, 1e30, f32::MIN_POSITIVE, f32::INFINITY, f32::NAN];

fn others() -> Vec<&'static Kernels> {
    let all = available();
    if all.len() == 1 {
        println!("skipped: this processor runs only the scalar kernels");
    }
    all[1..].to_vec()
}

fn same(a: f32, b: f32, tolerance: f32) -> bool {
    (a.is_nan() && b.is_nan()) || a == b || (a - b).abs() <= tolerance
}

#[test]
fn products_and_distances_agree() {
    let mut rng = Rng::new(1);
    for fast in others() {
        for &n in LENGTHS {
            let rows: Vec<Vec<f32>> = (0..5).map(|_| (0..n).map(|_| rng.normal()).collect()).collect();
            let tolerance = 1e-5 * n as f32;
            let (a, b) = (&rows[0], &rows[1]);
            assert!(same((fast.dot)(a, b), scalar::dot(a, b), tolerance), "{} dot {n}", fast.name);
            assert!(
                same((fast.l2_squared)(a, b), scalar::l2_squared(a, b), tolerance),
                "{} l2 {n}",
                fast.name
            );
            let four = (fast.dot4)(a, [&rows[1], &rows[2], &rows[3], &rows[4]]);
            for (k, value) in four.iter().enumerate() {
                assert!(same(*value, scalar::dot(a, &rows[k + 1]), tolerance), "{} dot4 {n}", fast.name);
            }
        }
    }
}

#[test]
fn hostile_values_give_the_same_kind_of_answer() {
    for fast in others() {
        for &value in HOSTILE {
            for &n in LENGTHS {
                for at in [0, n / 2, n - 1] {
                    let mut a = vec![0.5; n];
                    let b = vec![0.25; n];
                    a[at] = value;
                    for (fast, slow) in [
                        ((fast.dot)(&a, &b), scalar::dot(&a, &b)),
                        ((fast.l2_squared)(&a, &b), scalar::l2_squared(&a, &b)),
                    ] {
                        let tolerance = 1e-5 * slow.abs().min(f32::MAX);
                        assert!(same(fast, slow, tolerance), "{value} at {at} of {n}: {fast} {slow}");
                    }
                }
            }
        }
    }
}

#[test]
fn hadamard_agrees() {
    let mut rng = Rng::new(2);
    for fast in others() {
        for n in [2, 4, 8, 16, 256, 2048] {
            let values: Vec<f32> = (0..n).map(|_| rng.normal()).collect();
            let (mut a, mut b) = (values.clone(), values);
            (fast.hadamard)(&mut a, 0.5);
            scalar::hadamard(&mut b, 0.5);
            assert!(a.iter().zip(&b).all(|(x, y)| same(*x, *y, 1e-3)), "{} {n}", fast.name);
        }
    }
}

fn bytes(rng: &mut Rng, n: usize, max: u8) -> Vec<u8> {
    (0..n).map(|_| rng.below(usize::from(max) + 1) as u8).collect()
}

#[test]
fn sums_agree_to_the_last_unit() {
    let mut rng = Rng::new(3);
    for fast in others() {
        for width in [32, 64, 96, 128, 384, 768, 1024, 1056, 1536, 4000] {
            let rows = width / 4;
            for full in [false, true] {
                let codes = if full { vec![255; rows * 16] } else { bytes(&mut rng, rows * 16, 255) };
                let coarse =
                    if full { vec![COARSE_MAX; rows * 16] } else { bytes(&mut rng, rows * 16, COARSE_MAX) };
                let fine = if full { vec![255; rows * 16] } else { bytes(&mut rng, rows * 16, 255) };
                let (mut a, mut b) = ([1; LANES], [2; LANES]);
                (fast.sums_coarse)(&codes, &coarse, &mut a);
                scalar::sums(&codes, &coarse, &mut b);
                assert_eq!(a, b, "{} coarse {width}", fast.name);
                (fast.sums_fine)(&codes, &fine, &mut a);
                scalar::sums(&codes, &fine, &mut b);
                assert_eq!(a, b, "{} fine {width}", fast.name);
            }
        }
    }
}

#[test]
fn scans_agree_and_never_keep_a_nan() {
    let mut rng = Rng::new(4);
    for fast in others() {
        for round in 0..50 {
            let rows = [8, 24, 96, 384][round % 4];
            let codes = bytes(&mut rng, rows * 16, 255);
            let table = bytes(&mut rng, rows * 16, COARSE_MAX);
            let mut factor = |lane: usize| {
                if round % 5 == 0 {
                    HOSTILE[(lane + round) % HOSTILE.len()]
                } else {
                    rng.normal().abs() + 0.01
                }
            };
            let add: Vec<u8> = (0..LANES).flat_map(|l| factor(l).to_le_bytes()).collect();
            let scale: Vec<u8> = (0..LANES).flat_map(|l| to_bf16(-factor(l)).to_le_bytes()).collect();
            let error: Vec<u8> = (0..LANES).flat_map(|l| to_bf16(factor(l)).to_le_bytes()).collect();
            let block = ScanBlock { codes: &codes, add: &add, scale: &scale, error: &error };
            let terms = ScanTerms { base: 1.0, step: 0.001, shift: -0.5, slack: 0.1, threshold: 1.0 };
            let (mut a, mut b) = ([1; LANES], [2; LANES]);
            let mask = (fast.scan)(&block, &table, &terms, &mut a);
            let truth = (scalar::KERNELS.scan)(&block, &table, &terms, &mut b);
            assert_eq!(a, b, "{}", fast.name);
            for (lane, total) in b.into_iter().enumerate() {
                let estimate = scalar::estimate(&block, &terms, lane, total);
                let tolerance = 1e-5 * (1.0 + estimate.abs().min(1e30));
                let bound = estimate - scalar::bf16_at(&error, lane) * terms.slack;
                assert!(!(bound.is_nan() && mask >> lane & 1 == 1), "kept a NaN");
                if (bound - terms.threshold).abs() > 2.0 * tolerance {
                    assert_eq!(mask >> lane & 1, truth >> lane & 1, "{} lane {lane}", fast.name);
                }
            }
        }
    }
}

#[test]
fn nibble_products_agree_to_the_last_unit() {
    let mut rng = Rng::new(5);
    for fast in others() {
        for n in [16, 32, 48, 192, 384, 2000] {
            let codes = bytes(&mut rng, n, 255);
            let low: Vec<i8> = bytes(&mut rng, n, 254).iter().map(|b| (i16::from(*b) - 127) as i8).collect();
            let high: Vec<i8> = bytes(&mut rng, n, 254).iter().map(|b| (i16::from(*b) - 127) as i8).collect();
            assert_eq!(
                (fast.dot_nibbles)(&codes, &low, &high),
                (scalar::KERNELS.dot_nibbles)(&codes, &low, &high)
            );
            let (several, mut each) = ([codes.as_slice(), &codes, &vec![255; n]].concat(), [0; 3]);
            (fast.dot_nibbles_each)(&several, &low, &high, &mut each);
            let alone = several.chunks(n).map(|codes| (fast.dot_nibbles)(codes, &low, &high));
            assert!(alone.eq(each), "{} {n}", fast.name);
            let full = (vec![255u8; n], vec![-127i8; n]);
            let slow = (scalar::KERNELS.dot_nibbles)(&full.0, &full.1, &full.1);
            assert_eq!((fast.dot_nibbles)(&full.0, &full.1, &full.1), slow);
        }
    }
}

#[test]
fn triple_products_agree_to_the_last_unit() {
    let mut rng = Rng::new(6);
    for fast in others() {
        for chunks in [1, 2, 3, 6, 32] {
            let codes = bytes(&mut rng, 48 * chunks, 255);
            let query: Vec<i8> =
                bytes(&mut rng, 128 * chunks, 254).iter().map(|b| (i16::from(*b) - 127) as i8).collect();
            assert_eq!((fast.dot_triples)(&codes, &query), (scalar::KERNELS.dot_triples)(&codes, &query));
            let (codes, query) = (vec![255u8; 48 * chunks], vec![-127i8; 128 * chunks]);
            assert_eq!((fast.dot_triples)(&codes, &query), 128 * chunks as i32 * 7 * -127);
        }
    }
}

#[test]
fn bf16_rounds_and_never_becomes_infinite() {
    for value in [0.0, 1.0, -1.0, 1.005, 3.3e38, -3.4e38, 1e-40, f32::MAX] {
        let back = from_bf16(to_bf16(value));
        assert!(back.is_finite() && (back - value).abs() <= value.abs() / 128.0 + 1e-38, "{value} {back}");
    }
    assert!(from_bf16(to_bf16(f32::NAN)).is_nan());
    assert_eq!(from_bf16(to_bf16(f32::INFINITY)), f32::INFINITY);
}
