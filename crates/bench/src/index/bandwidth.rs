//! How fast can one core read memory?

use std::hint::black_box;
use std::time::Instant;

use howdah_index::distance::dot;

/// Numbers read: 512 MiB, far more than caches hold.
const NUMBERS: usize = 128 << 20;
/// Numbers at a time.
const PART: usize = 4096;
/// Passes, of which the fastest counts.
const PASSES: usize = 3;

/// Bytes a second that one thread reads from front to back.
pub fn measure() -> f64 {
    read(NUMBERS)
}

fn read(numbers: usize) -> f64 {
    // Ones, not zeros: pages never written to may all be the same page.
    let numbers = vec![1.0f32; numbers];
    let pass = || {
        let begin = Instant::now();
        black_box(numbers.chunks(PART).map(|part| dot(part, part)).sum::<f32>());
        begin.elapsed().as_secs_f64()
    };
    let fastest = (0..PASSES).map(|_| pass()).fold(f64::INFINITY, f64::min);
    (numbers.len() * size_of::<f32>()) as f64 / fastest.max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    #[test]
    fn reading_takes_time() {
        let speed = super::read(1 << 16);
        assert!(speed.is_finite() && speed > 0.0);
    }
}
