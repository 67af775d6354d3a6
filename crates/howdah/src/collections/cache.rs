//! Values that are remembered for a few seconds.
//!
//! What is remembered of a server lives with the connections to it (`Pools::remembered`), so two servers never see each
//! other's.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most values remembered of one kind.
const MOST: usize = 1024;

/// Values by name, each with the time it was stored.
#[derive(Debug)]
pub struct Cache<T> {
    entries: Mutex<HashMap<String, (Instant, T)>>,
}

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Cache { entries: Mutex::default() }
    }
}

impl<T: Clone> Cache<T> {
    /// What is stored under this name, unless it is older than `fresh`.
    pub fn get(&self, name: &str, fresh: Duration) -> Option<T> {
        self.lock().get(name).filter(|(at, _)| at.elapsed() < fresh).map(|(_, value)| value.clone())
    }

    /// Stores a value. Where there are many, those older than `fresh` go, and all of them if that is not enough.
    pub fn put(&self, name: String, value: T, fresh: Duration) {
        let mut entries = self.lock();
        if entries.len() >= MOST {
            entries.retain(|_, (at, _)| at.elapsed() < fresh);
        }
        if entries.len() >= MOST {
            entries.clear();
        }
        entries.insert(name, (Instant::now(), value));
    }

    /// Forgets what is stored under this name.
    pub fn forget(&self, name: &str) {
        self.lock().remove(name);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Instant, T)>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
