//! What differs between declared and live, and make it so.

use std::sync::Arc;

use howdah_plan::migrate::{self, Plan};
use howdah_plan::problem::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::context::Context;
use super::{Effect, Example, Nothing, Route, Scope, Skill, schema_of, typed};
use crate::apply::{self, Outcome};

/// How to apply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Apply {
    /// Whether steps that destroy data are carried out too.
    pub allow_destroy: bool,
    /// Whether passwords of roles that exist are set again.
    pub set_passwords: bool,
}

/// What differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Planned {
    /// Whether the server is as declared.
    pub empty: bool,
    /// The steps.
    pub plan: Plan,
    /// The same as a script for `psql`.
    pub sql: String,
}

impl Context {
    /// How plans are made here.
    pub fn planning(&self, apply: Apply) -> migrate::Options {
        migrate::Options {
            allow_destroy: apply.allow_destroy,
            set_passwords: apply.set_passwords,
            set_service_passwords: false,
            tuned: self.tuned.clone(),
        }
    }

    /// Makes the server what is declared, and tells `progress`.
    ///
    /// # Errors
    /// As [`apply::run`].
    pub async fn apply(&self, how: Apply, progress: apply::Progress<'_>) -> Result<Outcome, Problem> {
        let options = apply::Options { plan: self.planning(how), ..apply::Options::default() };
        apply::run(&self.pools, &self.spec, &options, progress).await
    }
}

async fn plan(context: Arc<Context>, _: Nothing) -> Result<Planned, Problem> {
    let plan = apply::plan(&context.pools, &context.spec, &context.planning(Apply::default())).await?;
    Ok(Planned { empty: plan.is_empty(), sql: plan.to_string(), plan })
}

async fn apply(context: Arc<Context>, how: Apply) -> Result<Outcome, Problem> {
    context.apply(how, &|event| tracing::info!(?event, "apply")).await
}

/// Shows what differs.
pub const PLAN: Skill<Context> = Skill {
    name: "plan",
    summary: "Show what differs between declared and live.",
    description: "Compares the declaration with the live server: databases, extensions, roles, rights, tables, indexes, \
                  settings. Gives the ordered steps that lead from live to declared as SQL, each with its reason, and \
                  carries out none.",
    effect: Effect::Reads,
    scope: Scope::Admin,
    command: "plan",
    route: Route { method: "GET", path: "/v1/plan", success: 200 },
    input: schema_of::<Nothing>,
    output: schema_of::<Planned>,
    examples: &[
        Example { title: "As SQL", input: "{}", command: "howdah plan" },
        Example { title: "For CI: exit with 7 on drift", input: "{}", command: "howdah plan --check" },
    ],
    run: |context, input| Box::pin(typed(context, input, plan)),
};

/// Makes it so.
pub const APPLY: Skill<Context> = Skill {
    name: "apply",
    summary: "Make the server what is declared.",
    description: "Carries out the steps that `plan` shows, under a lock, indexes without blocking writers. A run may end \
                  anywhere; the next one goes on from there. Steps that destroy data are left out unless allowed.",
    effect: Effect::Operates,
    scope: Scope::Admin,
    command: "apply",
    route: Route { method: "POST", path: "/v1/apply", success: 200 },
    input: schema_of::<Apply>,
    output: schema_of::<Outcome>,
    examples: &[
        Example { title: "What destroys nothing", input: "{}", command: "howdah apply" },
        Example {
            title: "Everything",
            input: r#"{"allow_destroy": true}"#,
            command: "howdah apply --allow-destroy",
        },
    ],
    run: |context, input| Box::pin(typed(context, input, apply)),
};
