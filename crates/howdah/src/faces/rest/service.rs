//! What does the REST face stand on?
//!
//! It knows a table of skills and a [`Host`]: who checks keys and says how things are. The product's host is
//! [`crate::skills::Context`]; the tests of this face bring one that needs no server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::openapi;
use crate::access::gate::{Gate, Verdict};
use crate::access::key::Key;
use crate::skills::Skill;

/// What the skills run on, as far as REST has to know.
pub trait Host: Send + Sync + 'static {
    /// Who remembers keys and counts requests.
    fn gate(&self) -> &Gate;
    /// Asks the database about a key.
    fn look_up(&self, key: Key) -> BoxFuture<'_, Verdict>;
    /// How things are, asked of the database now.
    fn health(&self) -> BoxFuture<'_, Health>;
    /// Brings gauges up to date before the metrics are read.
    fn gauge(&self);
    /// Names of the collections, for the OpenAPI document.
    fn collections(&self) -> Vec<String>;
}

/// How things are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// `healthy`, `starting` while `howdah up` is still loading, `unhealthy`.
    pub status: String,
    /// Always `postgresql`.
    pub database: String,
    /// Whether PostgreSQL answered just now.
    pub database_connected: bool,
    /// Whether the extension `vector` is there in the database of the collections.
    pub pgvector_enabled: bool,
    /// Version of `vector`.
    pub pgvector_version: Option<String>,
    /// Version of PostgreSQL.
    pub postgresql_version: Option<String>,
    /// Version of Howdah.
    pub version: String,
    /// Seconds since the server started.
    pub uptime_seconds: u64,
    /// Collections declared.
    pub collections: u32,
    /// What is wrong, where something is.
    pub problem: Option<String>,
}

/// Limits of one request.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest body, in bytes.
    pub body: u64,
    /// Longest time.
    pub timeout: Duration,
    /// Whether a key is needed.
    pub require_key: bool,
}

/// The REST face: a table of skills, a host, limits.
pub struct Service<C: 'static> {
    /// The skills served.
    pub skills: &'static [Skill<C>],
    /// Limits of one request.
    pub limits: Limits,
    context: RwLock<Arc<C>>,
    document: RwLock<Arc<str>>,
    ready: AtomicBool,
}

impl<C: Host> Service<C> {
    /// A face over `skills` that is not ready yet.
    pub fn new(skills: &'static [Skill<C>], context: Arc<C>, limits: Limits) -> Self {
        let document = openapi::text(skills, &context.collections(), limits.require_key).into();
        Service {
            skills,
            limits,
            context: RwLock::new(context),
            document: RwLock::new(document),
            ready: AtomicBool::new(false),
        }
    }

    /// What skills run on now.
    pub fn context(&self) -> Arc<C> {
        self.context.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces what skills run on: the declaration was read again. Requests under way keep what they have.
    pub fn replace(&self, context: Arc<C>) {
        let document: Arc<str> =
            openapi::text(self.skills, &context.collections(), self.limits.require_key).into();
        *self.document.write().unwrap_or_else(PoisonError::into_inner) = document;
        *self.context.write().unwrap_or_else(PoisonError::into_inner) = context;
    }

    /// The OpenAPI document.
    pub fn document(&self) -> Arc<str> {
        self.document.read().unwrap_or_else(PoisonError::into_inner).clone()
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
