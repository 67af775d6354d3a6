//! What is a skill, and what does it get to know of a call?
//!
//! Faces read a [`Skill`] and bring a [`Call`]; nothing else passes between the two. The contract knows no skill, no face
//! and no database.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use howdah_plan::problem::{Kind, Problem};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
pub use tokio_util::sync::CancellationToken;

use crate::access::caller::Caller;
use crate::access::scope::Scope;
use crate::observe::progress::{Progress, Silent};

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

/// How long a skill may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lasts {
    /// It answers within a request, or is cancelled with it.
    Request,
    /// The same, unless the caller asks for a job.
    OnDemand,
    /// It outlives the request: it runs as a job, which goes on when the caller is gone, and one at a time. A server that was
    /// killed runs it again when it starts, so it must be safe to repeat.
    JobAlone,
}

/// Where REST serves a skill. Path parameters and, for GET and DELETE, the query string become fields of the input;
/// otherwise the body is the input.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// `GET`, `POST`, `PATCH`, `DELETE`.
    pub method: &'static str,
    /// Path with `{parameters}`.
    pub path: &'static str,
    /// Status of a success.
    pub success: u16,
}

/// Its command: words separated by a space (`keys create`), and the fields of the input that stand without a flag, in
/// order. All other fields are flags, named and typed as the input's schema has them.
#[derive(Debug, Clone, Copy)]
pub struct Command {
    /// The words.
    pub words: &'static str,
    /// Fields given by place.
    pub positional: &'static [&'static str],
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

/// When an answer is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(Option<(Instant, Duration)>);

impl Deadline {
    /// Never.
    pub const NEVER: Deadline = Deadline(None);

    /// After so long from now.
    pub fn after(time: Duration) -> Self {
        Deadline(Instant::now().checked_add(time).map(|at| (at, time)))
    }

    /// The moment, where there is one.
    pub fn instant(self) -> Option<Instant> {
        self.0.map(|(at, _)| at)
    }

    /// The earlier of two.
    #[must_use]
    pub fn or(self, time: Option<Duration>) -> Self {
        match (self.0, time.and_then(|time| Deadline::after(time).0)) {
            (Some(own), Some(other)) => Deadline(Some(if own.0 <= other.0 { own } else { other })),
            (own, other) => Deadline(own.or(other)),
        }
    }

    /// Works until then at the most. What is dropped at that moment is cancelled in the database.
    ///
    /// # Errors
    /// `timeout` when the time ran out; what the work says.
    pub async fn within<T>(self, work: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
        let Some((at, time)) = self.0 else { return work.await };
        match tokio::time::timeout_at(at.into(), work).await {
            Ok(ended) => ended,
            Err(_) => Err(Problem::new(
                Kind::Timeout,
                format!("the request took longer than {} s", time.as_secs_f64()),
            )
            .hint("Ask for less, or raise `timeout_seconds` under `[api]` in howdah.toml.")),
        }
    }
}

/// What came of asking for a skill.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// It ended, and this is its output.
    Ended(Value),
    /// It goes on as this job.
    UnderWay(Value),
}

/// One call of a skill: who asks, what for, and for how long.
#[derive(Clone)]
pub struct Call {
    /// Who asks.
    pub caller: Caller,
    /// What for, as JSON.
    pub input: Value,
    /// Who is told how far it is.
    pub progress: Arc<dyn Progress>,
    /// Tells that nobody waits any more: what changes nothing ends at once, what writes ends after the transaction that is
    /// running.
    pub cancel: CancellationToken,
    /// The caller's own name for this call. A second call of the same name by the same caller is the first one.
    pub idempotency_key: Option<String>,
    /// When an answer is of no more use.
    pub deadline: Deadline,
    /// Whether the caller goes away at once: what may run as a job then does.
    pub detached: bool,
}

impl Call {
    /// A call without a deadline that nobody watches.
    pub fn new(caller: Caller, input: Value) -> Self {
        Call {
            caller,
            input,
            progress: Arc::new(Silent),
            cancel: CancellationToken::new(),
            idempotency_key: None,
            deadline: Deadline::NEVER,
            detached: false,
        }
    }
}

/// The future of a running skill.
pub type SkillFuture = Pin<Box<dyn Future<Output = Result<Value, Problem>> + Send>>;

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
    /// How long it may take.
    pub lasts: Lasts,
    /// What a key must allow.
    pub scope: Scope,
    /// Its command.
    pub command: Command,
    /// Where REST serves it.
    pub route: Route,
    /// Schema of the input.
    pub input: fn(&mut SchemaGenerator) -> Schema,
    /// Schema of the output.
    pub output: fn(&mut SchemaGenerator) -> Schema,
    /// Worked examples.
    pub examples: &'static [Example],
    /// Whether JSON fits the input's type, and if not, why not.
    pub check: fn(&Value) -> Result<(), Problem>,
    /// Runs it.
    pub run: fn(Arc<C>, Call) -> SkillFuture,
}

/// The input of a skill that needs none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// Schema of a type, for the table.
pub fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// Whether JSON fits a type, for the table.
///
/// # Errors
/// `usage`, with what does not fit.
pub fn fits<T: DeserializeOwned>(input: &Value) -> Result<(), Problem> {
    serde_path_to_error::deserialize::<_, T>(input).map(|_| ()).map_err(|error| unfit(&error))
}

/// What does not fit: the field, what is wanted there, and what stands there.
fn unfit(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let text = error.inner().to_string();
    let place = error.path().to_string();
    let place = if place == "." { "the input".to_owned() } else { format!("`{place}`") };
    let detail = match text.split_once(", expected ") {
        Some((found, wanted)) if found.starts_with("invalid ") => {
            let found = found.split_once(": ").map_or(found, |(_, found)| found);
            format!("{place} is to be {}, not {found}", wanted_words(wanted))
        }
        _ if text.starts_with("data did not match any variant of untagged enum RowId") => {
            format!("{place} is to be a whole number or text")
        }
        _ if place == "the input" => text,
        _ => format!("{place}: {text}"),
    };
    Problem::new(Kind::Usage, "the input does not fit").detail(detail)
}

/// A type of Rust in the words of JSON.
fn wanted_words(wanted: &str) -> &str {
    match wanted {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, zero or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a sequence" => "a list",
        "a string" | "a borrowed string" => "text",
        "a boolean" => "true or false",
        wanted if wanted == "a map" || wanted.starts_with("struct ") => "an object",
        wanted => wanted,
    }
}

/// Runs `skill` on typed input: JSON in, JSON out, one sentence where the input does not fit.
///
/// # Errors
/// `usage` when the input does not fit; whatever `skill` says otherwise.
pub async fn typed<C, I, O, F>(
    context: Arc<C>,
    mut call: Call,
    skill: impl FnOnce(Arc<C>, Call, I) -> F,
) -> Result<Value, Problem>
where
    I: DeserializeOwned,
    O: Serialize,
    F: Future<Output = Result<O, Problem>>,
{
    let input: I = serde_path_to_error::deserialize(call.input.take()).map_err(|error| unfit(&error))?;
    let output = skill(context, call, input).await?;
    serde_json::to_value(output).map_err(|error| {
        Problem::new(Kind::Internal, "the answer cannot be written as JSON").detail(error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use howdah_plan::search::SearchRequest;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_does_not_fit_is_named_with_what_is_wanted() {
        for (input, expected) in [
            (json!({"limit": "1"}), "`limit` is to be a whole number, zero or more, not string \"1\""),
            (json!({"limit": -1}), "`limit` is to be a whole number, zero or more, not integer `-1`"),
            (json!({"text": 5}), "`text` is to be text, not integer `5`"),
            (json!({"vector": "x"}), "`vector` is to be a list, not string \"x\""),
            (json!({"vector": [1, "x"]}), "`vector[1]` is to be a number, not string \"x\""),
            (json!({"weights": {"text": []}}), "`weights.text` is to be a number, not sequence"),
            (json!({"exact": 1}), "`exact` is to be true or false, not integer `1`"),
            (json!({"id": [1]}), "`id` is to be a whole number or text"),
            (json!({"mode": "best"}), "`mode`: unknown variant `best`"),
            (json!({"limti": 1}), "unknown field `limti`"),
            (json!(5), "the input is to be an object, not integer `5`"),
        ] {
            let problem = fits::<SearchRequest>(&input).unwrap_err();
            let detail = problem.detail.unwrap();
            assert!(detail.contains(expected), "{input}: {detail}");
        }
    }
}
