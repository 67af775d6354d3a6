//! What can a person or an agent ask for?
//!
//! One table, [`SKILLS`]. The command line, REST and its OpenAPI document read it, as every later face will; none of them
//! knows a skill by name. A test walks the table and asks every face for every skill.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use howdah_plan::problem::{Kind, Problem};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub mod collections;
pub mod context;
pub mod doctor;
pub mod host;
pub mod ingest;
pub mod keys;
pub mod plan;
pub mod search;
pub mod status;

pub use context::Context;

/// All skills, in the order people meet them.
pub static SKILLS: &[Skill<Context>] = &[
    search::SEARCH,
    ingest::INGEST,
    collections::LIST,
    collections::DESCRIBE,
    collections::GET,
    collections::DELETE,
    plan::PLAN,
    plan::APPLY,
    doctor::DOCTOR,
    status::STATUS,
    keys::CREATE,
    keys::LIST,
    keys::REVOKE,
];

/// What a skill does to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Looks.
    Reads,
    /// Changes rows.
    Writes,
    /// Changes the server, its databases or who may use it.
    Operates,
}

/// What a key must allow for a skill to run. Each includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Search and look.
    Read,
    /// Ingest and delete rows.
    Write,
    /// Change the server and its keys.
    Admin,
}

impl Scope {
    /// Its name in JSON and in `howdah.api_keys`.
    pub const fn name(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Write => "write",
            Scope::Admin => "admin",
        }
    }
}

/// Where REST serves a skill. Path parameters and, for GET and DELETE, the query string become fields of the input;
/// otherwise the body is the input.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// `GET`, `POST`, `DELETE`.
    pub method: &'static str,
    /// Path with `{parameters}`.
    pub path: &'static str,
    /// Status of a success.
    pub success: u16,
}

/// One worked example.
#[derive(Debug, Clone, Copy)]
pub struct Example {
    /// What it shows.
    pub title: &'static str,
    /// The input, as JSON.
    pub input: &'static str,
    /// The same on the command line.
    pub command: &'static str,
}

/// The future of a running skill.
pub type Running = Pin<Box<dyn Future<Output = Result<Value, Problem>> + Send>>;

/// One operation.
pub struct Skill<C: 'static> {
    /// Name, `snake_case`; also the OpenAPI operation id.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// What it means, in sentences.
    pub description: &'static str,
    /// What it does to the world.
    pub effect: Effect,
    /// What a key must allow.
    pub scope: Scope,
    /// Its command, words separated by a space (`keys create`).
    pub command: &'static str,
    /// Where REST serves it.
    pub route: Route,
    /// Schema of the input.
    pub input: fn(&mut SchemaGenerator) -> Schema,
    /// Schema of the output.
    pub output: fn(&mut SchemaGenerator) -> Schema,
    /// Worked examples.
    pub examples: &'static [Example],
    /// Runs it.
    pub run: fn(Arc<C>, Value) -> Running,
}

/// The input of a skill that needs none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// Schema of a type, for the table.
pub fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// Runs `skill` on typed input: JSON in, JSON out, one sentence where the input does not fit.
///
/// # Errors
/// `usage` when the input does not fit; whatever `skill` says otherwise.
pub async fn typed<C, I, O, F>(
    context: Arc<C>,
    input: Value,
    skill: impl FnOnce(Arc<C>, I) -> F,
) -> Result<Value, Problem>
where
    I: DeserializeOwned,
    O: Serialize,
    F: Future<Output = Result<O, Problem>>,
{
    let input: I = serde_json::from_value(input)
        .map_err(|e| Problem::new(Kind::Usage, "the input does not fit").detail(e.to_string()))?;
    let output = skill(context, input).await?;
    serde_json::to_value(output).map_err(|e| {
        Problem::new(Kind::Internal, "the answer cannot be written as JSON").detail(e.to_string())
    })
}
