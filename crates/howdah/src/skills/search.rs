//! Search a collection.

use std::sync::Arc;

use howdah_plan::problem::Problem;
use howdah_plan::search::{SearchAnswer, SearchRequest};
use howdah_plan::spec::resolve::resolve;

use super::{Call, Command, Effect, Example, Lasts, Route, Skill, fits, schema_of, typed};
use crate::access::scope::Scope;
use crate::knowledge;
use crate::observe::measure;
use crate::postgres::Purpose;
use crate::runtime::Context;

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
