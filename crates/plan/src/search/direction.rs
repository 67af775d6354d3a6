//! Which vectors can be compared under cosine?
//!
//! pgvector adds up squares in single precision: a vector of 1e-23 has length zero there, one of 2e19 has none that is
//! finite, and the distance to either says nothing. Cosine knows directions only, so such a vector is brought to length one
//! in double precision, in the same way before it is stored and before it is asked.

use crate::spec::Storage;

/// Lengths whose squares and products single precision holds with room to spare.
const SINGLE: std::ops::RangeInclusive<f64> = 1e-15..=1e15;
/// Lengths at which the numbers of a `halfvec` keep their precision and do not overflow.
const HALF: std::ops::RangeInclusive<f64> = 1e-2..=6e4;

/// Length of a vector, in double precision.
pub fn length(vector: &[f32]) -> f64 {
    vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt()
}

/// Brings a vector that could not be compared as it is to length one. One of length zero, or with a number that is not
/// finite, stays: it has no direction and is refused by those who check.
pub fn comparable(vector: &mut [f32], storage: Storage) {
    let length = length(vector);
    let safe = if storage == Storage::Halfvec { HALF } else { SINGLE };
    if length == 0.0 || !length.is_finite() || safe.contains(&length) {
        return;
    }
    #[allow(clippy::cast_possible_truncation)] // To single precision is what a vector is stored in.
    vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brought(vector: &[f32], storage: Storage) -> Vec<f32> {
        let mut vector = vector.to_vec();
        comparable(&mut vector, storage);
        vector
    }

    #[test]
    fn only_what_overflows_or_vanishes_is_changed() {
        for ordinary in [[1.0, 2.0, 3.0], [1e-9, 0.0, 1e-9], [0.0, 1e12, 1.0], [0.0; 3]] {
            assert_eq!(brought(&ordinary, Storage::Vector), ordinary);
        }
        assert_eq!(brought(&[2e19, 0.0, 0.0], Storage::Vector), [1.0, 0.0, 0.0]);
        for extreme in [f32::MAX, 3e38, 1e-23, 1e-45] {
            let vector = brought(&[extreme; 4], Storage::Vector);
            assert!(vector.iter().all(|x| (x - 0.5).abs() < 1e-6), "{extreme}: {vector:?}");
        }
        assert!((length(&brought(&[1e-4; 8], Storage::Halfvec)) - 1.0).abs() < 1e-6);
        assert_eq!(brought(&[0.5; 8], Storage::Halfvec), [0.5; 8]);
    }
}
