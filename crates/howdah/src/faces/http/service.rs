//! What do the mounts share?
//!
//! A table of skills and a [`Host`]: who checks keys and says how things are. The host is replaced whole when the declaration
//! is read again; what a request does with it, its limits above all, it asks of the one it began with.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::runtime::host::Host;
use crate::skills::Skill;

/// A table of skills, what they run on, and whether requests are welcome.
pub struct Service<C: 'static> {
    /// The skills served.
    pub skills: &'static [Skill<C>],
    context: RwLock<Arc<C>>,
    ready: AtomicBool,
}

impl<C: Host> Service<C> {
    /// A service over `skills` that is not ready yet.
    pub fn new(skills: &'static [Skill<C>], context: Arc<C>) -> Self {
        Service { skills, context: RwLock::new(context), ready: AtomicBool::new(false) }
    }

    /// What skills run on now.
    pub fn context(&self) -> Arc<C> {
        self.context.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces what skills run on: the declaration was read again. Requests under way keep what they have.
    pub fn replace(&self, context: Arc<C>) {
        *self.context.write().unwrap_or_else(PoisonError::into_inner) = context;
    }

    /// Whether `/readyz` says yes.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Says whether requests are welcome.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }
}
