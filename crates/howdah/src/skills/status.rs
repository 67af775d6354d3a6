//! What runs here, and how is it?

use std::sync::Arc;

use howdah_plan::problem::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::context::Context;
use super::host::{Health, Host};
use super::{Effect, Example, Nothing, Route, Scope, Skill, schema_of, typed};

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

async fn status(context: Arc<Context>, _: Nothing) -> Result<Status, Problem> {
    let (open, idle) = context.pools.usage();
    let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Ok(Status {
        name: context.spec.name.clone(),
        health: context.health().await,
        database_url: context.address.clone(),
        rest: context.rest.clone(),
        databases: context.spec.databases.keys().cloned().collect(),
        collections: context.spec.collections.keys().cloned().collect(),
        connections_open: narrow(open),
        connections_idle: narrow(idle),
    })
}

/// Says how things are.
pub const STATUS: Skill<Context> = Skill {
    name: "status",
    summary: "Say what runs and how it is.",
    description: "Says which PostgreSQL and pgvector run, where they listen, what is declared, and whether it all answers.",
    effect: Effect::Reads,
    scope: Scope::Read,
    command: "status",
    route: Route { method: "GET", path: "/v1/status", success: 200 },
    input: schema_of::<Nothing>,
    output: schema_of::<Status>,
    examples: &[Example { title: "How it is", input: "{}", command: "howdah status" }],
    run: |context, input| Box::pin(typed(context, input, status)),
};
