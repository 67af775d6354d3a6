//! What differs between declared and live, and make it so.

use std::path::Path;
use std::sync::Arc;

use howdah_plan::migrate::{self, Plan};
use howdah_plan::problem::Problem;
use howdah_plan::spec::{Spec, read};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{Call, Command, Effect, Example, Lasts, Route, Skill, fits, schema_of, typed};
use crate::access::scope::Scope;
use crate::apply::{self, Older, Outcome, Reload};
use crate::runtime::Context;
use howdah_postgres::{Purpose, bundle, extension};

/// How to apply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Apply {
    /// Whether steps that destroy data are carried out too.
    pub allow_destroy: bool,
    /// Whether passwords of roles that exist are set again.
    pub set_passwords: bool,
    /// Whether what is declared and belongs to another deployment, or was made before deployments had an identity, becomes
    /// this deployment's.
    pub take_over: bool,
}

/// How to plan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Plans {
    /// Whether what `apply` with `take_over` would take over is shown as taken over.
    pub take_over: bool,
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
            deployment: self.deployment().to_owned(),
            place: place(&self.runtime.declaration),
            take_over: apply.take_over,
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

/// Where a declaration stands, for people: the machine and the file.
fn place(declaration: &Path) -> String {
    let host = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned());
    format!("{}:{}", host.unwrap_or_default(), declaration.display())
}

async fn plan(context: Arc<Context>, call: Call, how: Plans) -> Result<Planned, Problem> {
    let planning = context.planning(Apply { take_over: how.take_over, ..Apply::default() });
    let plan = apply::plan(&context.pools(&call, Purpose::Inspect), context.spec(), &planning).await?;
    Ok(Planned { empty: plan.is_empty(), sql: plan.to_string(), plan })
}

async fn apply(context: Arc<Context>, call: Call, how: Apply) -> Result<Outcome, Problem> {
    let outcome = context.apply(how, false, call.cancel, &apply::tell(&*call.progress)).await?;
    Ok(Outcome { declaration: older(&context), ..outcome })
}

/// A server applies what it has read, whatever the file says by now: then it is said.
fn older(context: &Context) -> Option<Older> {
    let file = &context.runtime.declaration;
    context.runtime.rest.as_ref()?;
    let text = std::fs::read_to_string(file).ok()?;
    let shown = file.file_name().unwrap_or_default().to_string_lossy();
    let message = match read::from_str(&text, &shown) {
        Ok(spec) if spec == *context.spec() => return None,
        Ok(_) => format!("applied is `{shown}` as the server read it; the file has changed since"),
        Err(_) => {
            format!(
                "applied is `{shown}` as the server read it; the file has changed since, and has mistakes"
            )
        }
    };
    let hint =
        "Run `howdah apply` beside the file, or `howdah up`: both let the server read it again.".to_owned();
    Some(Older { message, hint, do_now: Reload::Reload })
}

/// The plan of an instance that was never made, from the declaration alone.
pub fn imagined(spec: &Spec, deployment: String, file: &Path, how: Plans) -> Planned {
    let options = migrate::Options {
        deployment,
        place: place(file),
        take_over: how.take_over,
        ..migrate::Options::default()
    };
    let mut plan = migrate::diff(
        spec,
        &migrate::imagined(spec, extension::is_embedded(bundle::DEFAULT_MAJOR)),
        &options,
    );
    let text = "planned from the declaration alone, for the server that `howdah up` is to make: there is none yet, so what \
                only a server says (its extensions, settings tuned to the machine) is left out";
    plan.notes.insert(0, migrate::Note { database: None, text: text.into() });
    Planned { empty: plan.is_empty(), sql: plan.to_string(), plan }
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
    input: schema_of::<Plans>,
    output: schema_of::<Planned>,
    examples: &[
        Example { title: "As SQL", input: "{}", command: "howdah plan" },
        Example { title: "For CI: exit with 7 on drift", input: "{}", command: "howdah plan --check" },
    ],
    check: fits::<Plans>,
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
