//! Which opened indexes does a session keep, and how much memory do they take?
//!
//! An opened index is worth keeping: its lists are read once and afterwards only where they changed. But every connection
//! keeps its own, so what is kept has a bound in bytes, and the one not used for the longest goes first. The value used
//! last stays whatever its size: dropping it would read all its lists again for the next query, and a session cannot
//! search an index without holding its lists anyway.

use std::collections::HashMap;
use std::hash::Hash;

/// Values by key, up to a number of bytes.
#[derive(Debug)]
pub struct Kept<K, V> {
    bound: usize,
    values: HashMap<K, Entry<V>>,
    /// Sum of the sizes of all values.
    bytes: usize,
    /// Counted up with every value put in.
    now: u64,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    bytes: usize,
    used: u64,
}

impl<K: Copy + Eq + Hash, V> Kept<K, V> {
    /// Nothing yet; at most `bound` bytes of values beside the one used last.
    #[must_use]
    pub fn new(bound: usize) -> Self {
        Self { bound, values: HashMap::new(), bytes: 0, now: 0 }
    }

    /// Takes a value out, to be used and put back.
    pub fn take(&mut self, key: K) -> Option<V> {
        let entry = self.values.remove(&key)?;
        self.bytes -= entry.bytes;
        Some(entry.value)
    }

    /// Puts in a value that was just used and takes `bytes`. Others, those not used for the longest first, make room.
    pub fn put(&mut self, key: K, value: V, bytes: usize) {
        self.take(key);
        while self.bytes + bytes > self.bound {
            let oldest = self.values.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| *key);
            let Some(oldest) = oldest else { break };
            self.take(oldest);
        }
        self.now += 1;
        self.bytes += bytes;
        self.values.insert(key, Entry { value, bytes, used: self.now });
    }

    /// Bytes of all values kept.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there(kept: &Kept<u32, ()>) -> Vec<u32> {
        let mut keys: Vec<u32> = kept.values.keys().copied().collect();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn what_was_not_used_for_the_longest_makes_room() {
        let mut kept = Kept::new(100);
        for key in [1, 2, 3] {
            kept.put(key, (), 30);
        }
        assert_eq!(kept.take(1), Some(()));
        kept.put(1, (), 30);
        kept.put(4, (), 35);
        assert_eq!(there(&kept), [1, 3, 4]);
        assert_eq!(kept.bytes(), 95);
        kept.put(5, (), 90);
        assert_eq!((there(&kept), kept.bytes()), (vec![5], 90));
    }

    #[test]
    fn one_that_is_larger_than_the_bound_is_kept_alone() {
        let mut kept = Kept::new(100);
        kept.put(1, (), 40);
        kept.put(2, (), 1000);
        assert_eq!((there(&kept), kept.bytes()), (vec![2], 1000));
        kept.put(2, (), 1200);
        assert_eq!((there(&kept), kept.bytes()), (vec![2], 1200));
        kept.put(3, (), 10);
        assert_eq!((there(&kept), kept.bytes()), (vec![3], 10));
    }

    #[test]
    fn many_small_ones_are_kept_and_bounded() {
        let mut kept = Kept::new(1000);
        for key in 0..5000 {
            kept.put(key, (), 7);
            assert!(kept.bytes() <= 1000);
        }
        assert_eq!(there(&kept), (5000 - 142..5000).collect::<Vec<u32>>());
    }
}
