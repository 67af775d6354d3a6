//! What does a face have to know of what skills run on?
//!
//! Who checks keys, and how things are. The product's host is [`super::Context`]; the tests of a face bring one that needs
//! no server.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use howdah_plan::problem::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::gate::{Gate, Verdict};
use crate::access::key::Key;
use crate::runtime::declared::Limits;
use crate::skills::contract::{Call, Reply, Skill};

/// What the skills run on, as far as faces have to know.
pub trait Host: Send + Sync + Sized + 'static {
    /// Runs a skill for a call: within its deadline, or as a job that may outlive it.
    fn ask(
        self: Arc<Self>,
        skill: &'static Skill<Self>,
        call: Call,
    ) -> BoxFuture<'static, Result<Reply, Problem>> {
        Box::pin(async move { call.deadline.within((skill.run)(self, call)).await.map(Reply::Ended) })
    }
    /// Who remembers keys and counts requests.
    fn gate(&self) -> &Gate;
    /// Limits of one request.
    fn limits(&self) -> Limits;
    /// Origins whose pages may ask from a browser.
    fn cors(&self) -> &[String] {
        &[]
    }
    /// Asks the database about a key.
    fn look_up(&self, key: Key) -> BoxFuture<'_, Verdict>;
    /// How things are, asked of the database now.
    fn health(&self) -> BoxFuture<'_, Health>;
    /// Brings gauges up to date before the metrics are read.
    fn gauge(&self);
    /// Where PostgreSQL is reached, as messages say it: not for everybody.
    fn place(&self) -> String;
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
