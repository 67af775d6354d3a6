//! What differs between declared and live, and make it so.

use std::sync::Arc;

use howdah_plan::migrate::{self, Plan};
use howdah_plan::problem::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{Call, Command, Effect, Example, Lasts, Nothing, Route, Skill, fits, schema_of, typed};
use crate::access::scope::Scope;
use crate::apply::{self, Outcome};
use crate::runtime::Context;
use howdah_postgres::Purpose;

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
            tuned: self.runtime.tuned.clone(),
        }
    }

    /// Makes the server what is declared, and tells `progress`. The passwords of the service's own roles are set where a role
    /// is made, and again when that is asked for.
    ///
    /// # Errors
    /// As [`apply::run`].
    pub async fn apply(
        &self,
        how: Apply,
        set_service_passwords: bool,
        cancel: CancellationToken,
        progress: apply::Progress<'_>,
    ) -> Result<Outcome, Problem> {
        let plan = migrate::Options { set_service_passwords, ..self.planning(how) };
        let environment = self.service_passwords();
        let options = apply::Options { plan, environment, cancel, ..apply::Options::default() };
        let pools = self.runtime.pools.purpose(Purpose::Operate);
        apply::run(&pools, self.spec(), &options, progress).await
    }
}

async fn plan(context: Arc<Context>, call: Call, _: Nothing) -> Result<Planned, Problem> {
    let plan = apply::plan(
        &context.pools(&call, Purpose::Inspect),
        context.spec(),
        &context.planning(Apply::default()),
    )
    .await?;
    Ok(Planned { empty: plan.is_empty(), sql: plan.to_string(), plan })
}

async fn apply(context: Arc<Context>, call: Call, how: Apply) -> Result<Outcome, Problem> {
    context.apply(how, false, call.cancel, &apply::tell(&*call.progress)).await
}

/// Shows what differs.
pub const PLAN: Skill<Context> = Skill {
    name: "plan",
    summary: "Show what differs between declared and live.",
    description: "Compares the declaration with the live server: databases, extensions, roles, rights, tables, indexes, \
                  settings. Gives the ordered steps that lead from live to declared as SQL, each with its reason, and \
                  carries out none.",
    effect: Effect::Reads,
    lasts: Lasts::Request,
    scope: Scope::Admin,
    command: Command { words: "plan", positional: &[] },
    route: Route { method: "GET", path: "/v1/plan", success: 200 },
    input: schema_of::<Nothing>,
    output: schema_of::<Planned>,
    examples: &[
        Example { title: "As SQL", input: "{}", command: "howdah plan" },
        Example { title: "For CI: exit with 7 on drift", input: "{}", command: "howdah plan --check" },
    ],
    check: fits::<Nothing>,
    run: |context, call| Box::pin(typed(context, call, plan)),
};

/// Makes it so.
pub const APPLY: Skill<Context> = Skill {
    name: "apply",
    summary: "Apply the declaration to the server.",
    description: "Carries out the steps that `plan` shows, under a lock, indexes without blocking writers. A run may end \
                  anywhere; the next one goes on from there. Steps that destroy data are left out unless allowed.",
    effect: Effect::Operates,
    lasts: Lasts::JobAlone,
    scope: Scope::Admin,
    command: Command { words: "apply", positional: &[] },
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
    check: fits::<Apply>,
    run: |context, call| Box::pin(typed(context, call, apply)),
};
