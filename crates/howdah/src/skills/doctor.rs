//! What is wrong with the server, and what mends it?

use std::sync::Arc;

use howdah_plan::problem::Problem;

use super::context::Context;
use super::{Effect, Example, Route, Scope, Skill, schema_of, typed};
use crate::doctor::{self, Options, Report};

async fn look(context: Arc<Context>, options: Options) -> Result<Report, Problem> {
    doctor::run(&context.pools, Some(&context.spec), context.machine.as_ref(), &options).await
}

/// Looks at the server.
pub const DOCTOR: Skill<Context> = Skill {
    name: "doctor",
    summary: "Look whether the server is well.",
    description: "Asks PostgreSQL about versions with known faults, extensions, indexes, settings, rights and more. Every \
                  finding has its measured value, why it matters and what mends it. It only reads.",
    effect: Effect::Reads,
    scope: Scope::Admin,
    command: "doctor",
    route: Route { method: "POST", path: "/v1/doctor", success: 200 },
    input: schema_of::<Options>,
    output: schema_of::<Report>,
    examples: &[
        Example { title: "Everything", input: "{}", command: "howdah doctor" },
        Example {
            title: "Only what concerns pgvector; medium findings fail too",
            input: r#"{"checks": ["pgv."], "strict": true}"#,
            command: "howdah doctor --check pgv. --strict",
        },
    ],
    run: |context, input| Box::pin(typed(context, input, look)),
};
