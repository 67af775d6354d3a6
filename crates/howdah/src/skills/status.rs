//! What runs here, and how is it?

use std::sync::Arc;

use howdah_plan::problem::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Call, Command, Effect, Example, Lasts, Nothing, Route, Skill, fits, schema_of, typed};
use crate::access::scope::Scope;
use crate::runtime::{Context, Health, Host};

/// What runs here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Name of the deployment.
    pub name: String,
    /// How things are.
    pub health: Health,
    /// Address of the database, without its password.
    pub database_url: String,
    /// Address of the REST face.
    pub rest: Option<String>,
    /// Databases declared.
    pub databases: Vec<String>,
    /// Collections declared.
    pub collections: Vec<String>,
    /// Connections to PostgreSQL that are open.
    pub connections_open: u32,
    /// Those of them that wait for work.
    pub connections_idle: u32,
}

async fn status(context: Arc<Context>, _: Call, _: Nothing) -> Result<Status, Problem> {
    let (open, idle) = context.runtime.pools.usage();
    let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Ok(Status {
        name: context.spec().name.clone(),
        health: context.health().await,
        database_url: context.runtime.address.clone(),
        rest: context.runtime.rest.clone(),
        databases: context.spec().databases.keys().cloned().collect(),
        collections: context.spec().collections.keys().cloned().collect(),
        connections_open: narrow(open),
        connections_idle: narrow(idle),
    })
}

/// Says how things are.
pub const STATUS: Skill<Context> = Skill {
    name: "status",
    summary: "Show what runs and whether it is healthy.",
    description: "Says which PostgreSQL and pgvector run, where they listen, what is declared, and whether it all answers.",
    effect: Effect::Reads,
    lasts: Lasts::Request,
    scope: Scope::Read,
    command: Command { words: "status", positional: &[] },
    route: Route { method: "GET", path: "/v1/status", success: 200 },
    input: schema_of::<Nothing>,
    output: schema_of::<Status>,
    examples: &[Example { title: "How it is", input: "{}", command: "howdah status" }],
    check: fits::<Nothing>,
    run: |context, call| Box::pin(typed(context, call, status)),
};
