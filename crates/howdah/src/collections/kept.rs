//! Things kept for a few seconds.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Most entries kept of one kind.
const MOST: usize = 1024;

/// Values by name, each with the time it was kept.
pub struct Kept<T: 'static> {
    entries: LazyLock<Mutex<HashMap<String, (Instant, T)>>>,
}

impl<T: Clone> Kept<T> {
    /// Nothing yet.
    pub const fn new() -> Self {
        Kept { entries: LazyLock::new(Mutex::default) }
    }

    /// What is kept under this name, unless it is older than `fresh`.
    pub fn get(&self, name: &str, fresh: Duration) -> Option<T> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(name).filter(|(at, _)| at.elapsed() < fresh).map(|(_, value)| value.clone())
    }

    /// Keeps a value; those older than `fresh` go when there are many.
    pub fn keep(&self, name: String, value: T, fresh: Duration) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MOST {
            entries.retain(|_, (at, _)| at.elapsed() < fresh);
        }
        if entries.len() >= MOST {
            entries.clear();
        }
        entries.insert(name, (Instant::now(), value));
    }

    /// Forgets what is kept under this name.
    pub fn forget(&self, name: &str) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

impl<T: Clone> Default for Kept<T> {
    fn default() -> Self {
        Self::new()
    }
}
