//! Search a collection.

use std::sync::Arc;
use std::time::Instant;

use futures_util::{StreamExt, stream};
use howdah_plan::problem::{Kind, Problem};
use howdah_plan::search::ask::Ask;
use howdah_plan::search::{SearchAnswer, SearchRequest};
use howdah_plan::spec::resolve::resolve;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Call, Command, Effect, Example, Lasts, Route, Skill, fits, schema_of, typed};
use crate::access::scope::Scope;
use crate::knowledge;
use crate::observe::measure;
use crate::runtime::Context;
use howdah_postgres::Purpose;

/// Most searches of one batch.
const MOST: usize = 100;
/// Searches of a batch at a time. The connections of one collection bound them too.
const AT_ONCE: usize = 4;

/// Several searches in one collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchRequest {
    /// Collection to search.
    pub collection: String,
    /// The searches, 1 to 100, each as it would be asked alone; their `collection` may be left out.
    #[schemars(length(min = 1, max = 100))]
    pub searches: Vec<SearchRequest>,
}

/// What became of several searches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BatchAnswer {
    /// In the order of the searches.
    pub answers: Vec<BatchItem>,
    /// How many have no answer.
    pub failed: u32,
    /// Time for all of them, in milliseconds.
    pub took_ms: f64,
}

/// What became of one of several searches: an answer, or why there is none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BatchItem {
    /// The answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<SearchAnswer>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Problem>,
}

async fn batch(context: Arc<Context>, call: Call, request: BatchRequest) -> Result<BatchAnswer, Problem> {
    let begun = Instant::now();
    let BatchRequest { collection, searches } = request;
    resolve(context.spec(), &collection)?;
    if !(1..=MOST).contains(&searches.len()) {
        return Err(Problem::new(Kind::Usage, format!("the batch has {} searches", searches.len()))
            .detail(format!("1 to {MOST} are allowed"))
            .hint("Ask in several batches."));
    }
    let mut asking = Vec::with_capacity(searches.len());
    for (at, mut search_request) in searches.into_iter().enumerate() {
        if !search_request.collection.is_empty() && search_request.collection != collection {
            let message = format!("search {} of the batch names another collection", at + 1);
            return Err(Problem::new(Kind::Usage, message)
                .detail(format!("`{}`, the batch is for `{collection}`", search_request.collection))
                .hint("Leave `collection` out of the searches, and send a batch for each collection."));
        }
        Ask::check_ranges(&search_request).map_err(|problem| Problem {
            message: format!("search {} of the batch: {}", at + 1, problem.message),
            ..problem
        })?;
        search_request.collection.clone_from(&collection);
        asking.push(search(Arc::clone(&context), call.clone(), search_request));
    }
    let ended: Vec<Result<SearchAnswer, Problem>> = stream::iter(asking).buffered(AT_ONCE).collect().await;
    let answers: Vec<BatchItem> = ended
        .into_iter()
        .map(|one| match one {
            Ok(answer) => BatchItem { answer: Some(answer), error: None },
            Err(problem) => BatchItem { answer: None, error: Some(problem) },
        })
        .collect();
    let failed = answers.iter().filter(|one| one.error.is_some()).count();
    let took_ms = (begun.elapsed().as_secs_f64() * 1e6).round() / 1e3;
    Ok(BatchAnswer { answers, failed: u32::try_from(failed).unwrap_or(u32::MAX), took_ms })
}

async fn search(context: Arc<Context>, call: Call, request: SearchRequest) -> Result<SearchAnswer, Problem> {
    let resolved = resolve(context.spec(), &request.collection)?;
    let pools = context.pools(&call, Purpose::Read).account(&resolved.name);
    let answer = knowledge::search::run(&pools, &context.declared.embedders, &resolved, &request).await?;
    let mode = serde_json::to_value(answer.mode).ok().and_then(|mode| mode.as_str().map(str::to_owned));
    let mode = mode.unwrap_or_default();
    let collection = answer.collection.clone();
    let complete = if answer.complete { "true" } else { "false" };
    metrics::counter!(measure::SEARCHES, "collection" => collection.clone(), "mode" => mode.clone(), "complete" => complete)
        .increment(1);
    metrics::histogram!(measure::SEARCH_SECONDS, "collection" => collection, "mode" => mode)
        .record(answer.took_ms / 1e3);
    if let Some(embed_ms) = answer.embed_ms {
        let embedder = resolved.embedder.unwrap_or_default();
        metrics::histogram!(measure::EMBED_SECONDS, "embedder" => embedder, "purpose" => "query")
            .record(embed_ms / 1e3);
    }
    Ok(answer)
}

/// Searches.
pub const SEARCH: Skill<Context> = Skill {
    name: "search",
    summary: "Search a collection.",
    description: "Searches a collection by text, by vector or by the id of a row: by meaning, by words, or both fused. \
                  Filters are bound as parameters. Every answer says whether it is complete, and if not, why.",
    effect: Effect::Reads,
    lasts: Lasts::Request,
    scope: Scope::Read,
    command: Command { words: "search", positional: &["text"] },
    route: Route { method: "POST", path: "/v1/collections/{collection}/search", success: 200 },
    input: schema_of::<SearchRequest>,
    output: schema_of::<SearchAnswer>,
    examples: &[
        Example {
            title: "A question",
            input: r#"{"collection": "manual", "text": "why do my filtered searches return too few rows"}"#,
            command: "howdah search \"why do my filtered searches return too few rows\"",
        },
        Example {
            title: "Three rows of one document, by meaning alone",
            input: r#"{"collection": "manual", "text": "backups", "mode": "vector", "limit": 3,
                       "filter": {"metadata.lang": {"in": ["en", "de"]}}}"#,
            command: "howdah search backups --mode vector --limit 3 --filter '{\"metadata.lang\": {\"in\": [\"en\", \"de\"]}}'",
        },
        Example {
            title: "What is like this row",
            input: r#"{"collection": "manual", "id": 7}"#,
            command: "howdah search --collection manual --like 7 --explain",
        },
    ],
    check: fits::<SearchRequest>,
    run: |context, call| Box::pin(typed(context, call, search)),
};

/// Searches several times.
pub const BATCH: Skill<Context> = Skill {
    name: "search_batch",
    summary: "Search a collection several times.",
    description: "Answers up to 100 searches of one collection in one request, in their order. One that cannot be answered \
                  says why in its place; the others are answered all the same. A value out of its range refuses the batch.",
    effect: Effect::Reads,
    lasts: Lasts::Request,
    scope: Scope::Read,
    command: Command { words: "search-batch", positional: &[] },
    route: Route { method: "POST", path: "/v1/collections/{collection}/search/batch", success: 200 },
    input: schema_of::<BatchRequest>,
    output: schema_of::<BatchAnswer>,
    examples: &[Example {
        title: "Two questions, a line of JSON each",
        input: r#"{"collection": "manual", "searches": [{"text": "backups"}, {"text": "roles", "limit": 3}]}"#,
        command: "printf '{\"text\": \"backups\"}\\n{\"text\": \"roles\", \"limit\": 3}\\n' | howdah search-batch --collection manual",
    }],
    check: fits::<BatchRequest>,
    run: |context, call| Box::pin(typed(context, call, batch)),
};
