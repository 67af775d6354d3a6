//! Take documents into a collection.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use howdah_plan::problem::{DoNow, Kind, Problem};
use howdah_plan::search::request::RowId;
use howdah_plan::spec::resolve::resolve;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::{Call, Command, Effect, Example, Lasts, Route, Skill, fits, schema_of, typed};
use crate::access::scope::Scope;
use crate::knowledge::ingest::{self, IngestReport, IngestRequest, Input};
use crate::observe::measure;
use crate::observe::progress::Progress;
use crate::runtime::Context;
use howdah_postgres::{Pools, Purpose};

/// Most documents of one request.
const MOST: usize = 10_000;
/// How long an ingest goes on when the server was told to stop.
const LAST_WORK: Duration = Duration::from_secs(5);

/// Documents to take in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ingest {
    /// The collection.
    pub collection: String,
    /// The documents, 1 to 10000.
    #[schemars(length(min = 1, max = 10000), with = "Vec<Document>")]
    pub documents: Vec<Value>,
    /// Whether documents that cannot be taken in are counted, listed by their index and left out. Without it the first one
    /// ends the request.
    #[serde(default)]
    pub skip_bad: bool,
}

/// A document: the same record that a line of JSON Lines is. One with a name that is there already replaces it; an unchanged
/// one writes nothing. Keys that are not named here are the collection's declared fields, and else metadata.
#[derive(JsonSchema)]
#[allow(dead_code)] // It is read by `knowledge::read`; this says its shape to people and programs.
pub struct Document {
    /// What tells it from others: a path, an address. Without it and `id` its name is made of its content.
    #[schemars(length(max = 2000), regex(pattern = r"^[^\u0000]*$"))]
    source: Option<String>,
    /// Its own name, or its name within `source`.
    #[schemars(with = "Option<RowId>")]
    id: Option<RowId>,
    /// Its text. Long texts are cut into chunks.
    content: Option<String>,
    /// Its text, where there is no `content`.
    text: Option<String>,
    /// Its title.
    title: Option<String>,
    /// What is known besides; declared fields are looked for here too.
    metadata: Option<Map<String, Value>>,
    /// A ready-made vector, for collections whose callers embed themselves.
    #[schemars(length(min = 1, max = 16000))]
    embedding: Option<Vec<f32>>,
}

impl Context {
    /// Takes documents into a declared collection.
    ///
    /// # Errors
    /// `not_found` when it is not declared; what ingesting says.
    pub async fn ingest(
        &self,
        pools: &Pools,
        collection: &str,
        change: impl FnOnce(&mut IngestRequest),
        inputs: Vec<Input>,
        progress: Arc<dyn Progress>,
    ) -> Result<IngestReport, Problem> {
        let resolved = resolve(self.spec(), collection)?;
        let declared = self.spec().collections.get(collection).ok_or_else(|| {
            Problem::new(Kind::NotFound, format!("collection `{collection}` is not declared"))
        })?;
        let mut request = IngestRequest::new(inputs, declared);
        // Wherever this process works, and whoever calls: a file has one name.
        request.base = self.runtime.declaration.parent().map(Path::to_owned);
        change(&mut request);
        let pools = pools.purpose(Purpose::Write).account(&resolved.name);
        let embedder = self.declared.embedders.of_collection(&resolved)?;
        let report = ingest::run(&pools, embedder, &resolved, request, progress).await?;
        let count = |outcome: &'static str, many: u64| {
            metrics::counter!(measure::DOCUMENTS, "collection" => collection.to_owned(), "outcome" => outcome)
                .increment(many);
        };
        count("written", report.new + report.changed);
        count("unchanged", report.unchanged);
        Ok(report)
    }
}

async fn ingest(context: Arc<Context>, call: Call, input: Ingest) -> Result<IngestReport, Problem> {
    if input.documents.is_empty() || input.documents.len() > MOST {
        return Err(Problem::new(Kind::Usage, format!("`{}` documents are given", input.documents.len()))
            .detail(format!("1 to {MOST} are allowed"))
            .hint("Send them in several requests, or use `howdah ingest` for files."));
    }
    let many = input.documents.len();
    let inputs = vec![Input::Records("documents".into(), input.documents)];
    let skip_bad = input.skip_bad;
    let stop = call.cancel.child_token();
    let change = |request: &mut IngestRequest| {
        request.skip_bad = skip_bad;
        request.stop = stop.clone();
    };
    let pools = context.pools(&call, Purpose::Write);
    let work = context.ingest(&pools, &input.collection, change, inputs, call.progress);
    tokio::pin!(work);
    let report = tokio::select! {
        report = &mut work => report?,
        // What can end by itself until then does.
        () = last_moment(&context.runtime.ending) => {
            stop.cancel();
            work.await?
        }
    };
    if report.interrupted && context.runtime.ending.is_cancelled() {
        return Err(stopping(&report, many));
    }
    Ok(report)
}

/// Some time after the server was told to stop.
async fn last_moment(ending: &CancellationToken) {
    ending.cancelled().await;
    tokio::time::sleep(LAST_WORK).await;
}

/// What a caller hears whose documents are not all in when the server stops.
fn stopping(report: &IngestReport, many: usize) -> Problem {
    let kept = report.new + report.changed + report.unchanged;
    Problem::new(Kind::Unreachable, "the server stops before all documents were written")
        .detail(format!("{kept} of the {many} documents are in collection `{}` and stay", report.collection))
        .hint("Send the same request again when the server is there: what is in is left alone.")
        .do_now(DoNow::Retry)
}

/// Takes documents in.
pub const INGEST: Skill<Context> = Skill {
    name: "ingest",
    summary: "Ingest documents into a collection.",
    description: "Cuts documents into chunks, embeds them and writes them. A document that is there unchanged is left \
                  alone; a changed one has its chunks replaced. The command line takes files and directories: Markdown, \
                  text, HTML, JSON Lines, CSV, Parquet and .npy.",
    effect: Effect::Writes,
    lasts: Lasts::OnDemand,
    scope: Scope::Write,
    command: Command { words: "ingest", positional: &["collection"] },
    route: Route { method: "POST", path: "/v1/collections/{collection}/documents", success: 200 },
    input: schema_of::<Ingest>,
    output: schema_of::<IngestReport>,
    examples: &[
        Example {
            title: "One document",
            input: r#"{"collection": "manual", "documents": [{"source": "hello.md", "content": "Howdah says hello.",
                       "metadata": {"lang": "en"}}]}"#,
            command: "howdah ingest manual docs/ notes.jsonl",
        },
        Example {
            title: "What another program writes",
            input: r#"{"collection": "manual", "documents": [{"source": "a", "content": "One."},
                       {"source": "b", "content": "Two."}], "skip_bad": true}"#,
            command: "export-notes | howdah ingest manual - --skip-bad",
        },
    ],
    check: fits::<Ingest>,
    run: |context, call| Box::pin(typed(context, call, ingest)),
};
