//! The inner loops: distances between vectors, sums over blocks of codes.
//!
//! `contract` says what an implementation has to do. [`scalar`] is the truth and runs everywhere. Beside it stands one file
//! per instruction set, chosen once per process by what the processor says it can do; nothing forces an instruction set on
//! the whole binary. Tests compare every available set with the truth.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod bf16;
mod contract;
#[cfg(target_arch = "aarch64")]
mod neon;
pub mod scalar;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;

pub use bf16::{from_bf16, to_bf16};
pub use contract::{COARSE_MAX, Kernels, LANES, ScanBlock, ScanTerms};

/// The best implementation that this processor runs.
pub fn kernels() -> &'static Kernels {
    static BEST: OnceLock<&'static Kernels> = OnceLock::new();
    BEST.get_or_init(|| *available().last().unwrap_or(&&scalar::KERNELS))
}

/// Every implementation that this processor runs, slowest first. The first is the truth.
#[must_use]
pub fn available() -> Vec<&'static Kernels> {
    #[allow(unused_mut)]
    let mut all = vec![&scalar::KERNELS];
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        if avx2::detected() {
            all.push(&avx2::KERNELS);
        }
        if avx2::detected() && avx512::detected() {
            all.push(&avx512::KERNELS);
        }
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    all.push(&neon::KERNELS);
    all
}

/// Inner product by the best implementation.
#[must_use]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    (kernels().dot)(a, b)
}

/// Squared Euclidean distance by the best implementation.
#[must_use]
pub fn l2_squared(a: &[f32], b: &[f32]) -> f32 {
    (kernels().l2_squared)(a, b)
}
