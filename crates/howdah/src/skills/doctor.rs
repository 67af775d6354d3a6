//! What is wrong with the server, and what mends it?

use std::sync::Arc;

use howdah_plan::problem::Problem;

use super::{Call, Command, Effect, Example, Lasts, Route, Skill, fits, schema_of, typed};
use crate::access::scope::Scope;
use crate::doctor::{self, Options, Report};
use crate::runtime::Context;
use howdah_postgres::Purpose;

async fn look(context: Arc<Context>, call: Call, options: Options) -> Result<Report, Problem> {
    let pools = context.pools(&call, Purpose::Inspect);
    doctor::run(&pools, Some(context.spec()), context.runtime.machine.as_ref(), &options).await
}

/// Looks at the server.
pub const DOCTOR: Skill<Context> = Skill {
    name: "doctor",
    summary: "Check server health.",
    description: "Asks PostgreSQL about versions with known faults, extensions, indexes, settings, rights and more. Every \
                  finding has its measured value, why it matters and what mends it. It only reads.",
    effect: Effect::Reads,
    lasts: Lasts::OnDemand,
    scope: Scope::Admin,
    command: Command { words: "doctor", positional: &[] },
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
    check: fits::<Options>,
    run: |context, call| Box::pin(typed(context, call, look)),
};
