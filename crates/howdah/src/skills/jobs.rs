//! Look at jobs, and end them.

use std::sync::Arc;

use howdah_plan::problem::{Kind, Problem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Call, Command, Effect, Example, Lasts, Route, Skill, fits, schema_of, typed};
use crate::access::scope::Scope;
use crate::jobs;
use crate::jobs::store::{Job, State, no_such};
use crate::runtime::Context;

/// Jobs to list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListJobs {
    /// Only those in this state.
    #[serde(default)]
    pub state: Option<State>,
    /// How many at the most.
    #[serde(default = "fifty")]
    #[schemars(range(min = 1, max = 1000))]
    pub limit: u32,
}

fn fifty() -> u32 {
    50
}

/// The jobs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobList {
    /// Newest first.
    pub jobs: Vec<Job>,
}

/// A job that is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OneJob {
    /// Its id.
    #[schemars(with = "String", extend("format" = "uuid"))]
    pub id: Uuid,
}

async fn list(context: Arc<Context>, call: Call, input: ListJobs) -> Result<JobList, Problem> {
    if !(1..=1000).contains(&input.limit) {
        return Err(
            Problem::new(Kind::Usage, format!("`limit` is {}", input.limit)).detail("1 to 1000 are allowed")
        );
    }
    let own = call.caller.identity();
    let caller = (call.caller.scope < Scope::Admin).then_some(own.as_str());
    let jobs = context.jobs_store(call.deadline)?.list(caller, input.state, input.limit).await?;
    Ok(JobList { jobs })
}

async fn show(context: Arc<Context>, call: Call, input: OneJob) -> Result<Job, Problem> {
    let job = context.jobs_store(call.deadline)?.get(input.id).await?;
    if jobs::may_see(&call.caller, &job) { Ok(job) } else { Err(no_such(input.id)) }
}

async fn cancel(context: Arc<Context>, call: Call, input: OneJob) -> Result<Job, Problem> {
    let store = context.jobs_store(call.deadline)?;
    let job = store.get(input.id).await?;
    if !jobs::may_see(&call.caller, &job) {
        return Err(no_such(input.id));
    }
    store.cancel(input.id).await
}

/// Lists jobs.
pub const LIST: Skill<Context> = Skill {
    name: "list_jobs",
    summary: "List jobs.",
    description: "Lists the jobs of the deployment, newest first: work that outlives the request that asked for it. A key \
                  sees its own, one with the scope `admin` all.",
    effect: Effect::Reads,
    lasts: Lasts::Request,
    scope: Scope::Read,
    command: Command { words: "jobs list", positional: &[] },
    route: Route { method: "GET", path: "/v1/jobs", success: 200 },
    input: schema_of::<ListJobs>,
    output: schema_of::<JobList>,
    examples: &[Example {
        title: "What is running",
        input: r#"{"state": "running"}"#,
        command: "howdah jobs list --state running",
    }],
    check: fits::<ListJobs>,
    run: |context, call| Box::pin(typed(context, call, list)),
};

/// Shows a job.
pub const SHOW: Skill<Context> = Skill {
    name: "get_job",
    summary: "Show a job.",
    description: "Shows one job: its state, how far it is, and once it has ended its result or why it failed.",
    effect: Effect::Reads,
    lasts: Lasts::Request,
    scope: Scope::Read,
    command: Command { words: "jobs show", positional: &["id"] },
    route: Route { method: "GET", path: "/v1/jobs/{id}", success: 200 },
    input: schema_of::<OneJob>,
    output: schema_of::<Job>,
    examples: &[Example {
        title: "One",
        input: r#"{"id": "0197b3c5-6f0e-7d2a-9a51-3a3f1a2b4c5d"}"#,
        command: "howdah jobs show 0197b3c5-6f0e-7d2a-9a51-3a3f1a2b4c5d",
    }],
    check: fits::<OneJob>,
    run: |context, call| Box::pin(typed(context, call, show)),
};

/// Ends a job.
pub const CANCEL: Skill<Context> = Skill {
    name: "cancel_job",
    summary: "Cancel a job.",
    description: "Asks a job to end. It ends within seconds, after the transaction that is running; what is done stays. A \
                  job that has ended stays as it is.",
    effect: Effect::Writes,
    lasts: Lasts::Request,
    scope: Scope::Write,
    command: Command { words: "jobs cancel", positional: &["id"] },
    route: Route { method: "POST", path: "/v1/jobs/{id}/cancel", success: 200 },
    input: schema_of::<OneJob>,
    output: schema_of::<Job>,
    examples: &[Example {
        title: "One",
        input: r#"{"id": "0197b3c5-6f0e-7d2a-9a51-3a3f1a2b4c5d"}"#,
        command: "howdah jobs cancel 0197b3c5-6f0e-7d2a-9a51-3a3f1a2b4c5d",
    }],
    check: fits::<OneJob>,
    run: |context, call| Box::pin(typed(context, call, cancel)),
};
