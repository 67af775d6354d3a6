//! How much does Howdah add to PostgreSQL's own time?
//!
//! The same questions go three ways: the prepared statement over a connection of its own, the search in this process, and
//! the REST call where an address is given. The ways take turns, and the turn to be first goes round, so that neither a
//! busy moment of the machine nor warm caches favour one of them. What is compared is the median.

use std::time::{Duration, Instant};

use howdah_plan::problem::{Kind, Problem};
use howdah_plan::search::SearchRequest;
use howdah_plan::search::ask::Ask;
use howdah_plan::search::scan::{self, Need};
use howdah_plan::search::statement;
use howdah_plan::spec::resolve::Resolved;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_postgres::types::ToSql;

use super::queries;
use crate::collections::facts;
use crate::knowledge;
use howdah_embed::Embedders;
use howdah_postgres::problem::from_pg;
use howdah_postgres::{Pools, param};

/// How to measure.
#[derive(Debug, Clone)]
pub struct Options {
    /// Rounds; each way is asked in each of them.
    pub rounds: u32,
    /// Questions of each way in a round.
    pub per_round: u32,
    /// Rows wanted of each question.
    pub limit: u32,
    /// Words to search for beside the vectors; then the search is hybrid.
    pub text: Option<String>,
    /// Address of a running Howdah, `http://127.0.0.1:7700`.
    pub url: Option<String>,
    /// Key for it.
    pub key: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Options { rounds: 20, per_round: 50, limit: 10, text: None, url: None, key: None }
    }
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Collection.
    pub collection: String,
    /// Rows in it, as the planner estimates them.
    pub rows: u64,
    /// How the vectors were searched.
    pub access: String,
    /// The prepared statement over a connection of its own, its settings set once.
    pub raw: Times,
    /// The search in this process.
    pub in_process: Times,
    /// The REST call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest: Option<Times>,
    /// Median in this process to raw median.
    pub in_process_ratio: f64,
    /// Median of REST to raw median.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest_ratio: Option<f64>,
}

/// Times of one way, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Times {
    /// Median.
    pub p50_ms: f64,
    /// Nineteen of twenty are faster.
    pub p95_ms: f64,
    /// Questions asked.
    pub count: u64,
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Times {
        times.sort_unstable();
        let at = |part: usize| {
            times.get(times.len() * part / 100).copied().unwrap_or_default().as_secs_f64() * 1e3
        };
        Times { p50_ms: at(50), p95_ms: at(95), count: times.len() as u64 }
    }
}

/// Measures. `progress` is called after each round with the rounds done.
///
/// # Errors
/// Whatever keeps one of the ways from answering.
pub async fn run(
    pools: &Pools,
    embedders: &Embedders,
    resolved: &Resolved,
    options: &Options,
    progress: impl Fn(u32),
) -> Result<Report, Problem> {
    let facts = facts::of(pools, resolved).await?;
    let samples = queries::sample(pools, resolved, options.per_round.max(1), 1).await?;
    let requests: Vec<SearchRequest> = samples
        .into_iter()
        .map(|sample| SearchRequest {
            collection: resolved.name.clone(),
            vector: Some(sample.vector),
            text: options.text.clone(),
            limit: Some(options.limit),
            ..SearchRequest::default()
        })
        .collect();
    let raw = Raw::new(pools, resolved, &facts, &requests).await?;
    let rest =
        options.url.as_deref().map(|url| Rest::new(url, options.key.as_deref(), resolved)).transpose()?;
    let (mut raw_times, mut own_times, mut rest_times) = (Vec::new(), Vec::new(), Vec::new());
    // The first round warms caches and prepares statements; it does not count.
    for round in 0..=options.rounds {
        let mut times = (Vec::new(), Vec::new(), Vec::new());
        for (at, request) in requests.iter().enumerate() {
            // Whoever asks first finds the rows cold: the turn to be first goes round, from question to question and from
            // round to round.
            for way in 0..3 {
                match (way + at + round as usize) % 3 {
                    0 => times.0.push(timed(raw.ask(at)).await?),
                    1 => {
                        let own = knowledge::search::run(pools, embedders, resolved, request);
                        times.1.push(timed(own).await?);
                    }
                    _ => {
                        if let Some(rest) = &rest {
                            times.2.push(timed(rest.ask(request)).await?);
                        }
                    }
                }
            }
        }
        if round > 0 {
            raw_times.extend(times.0);
            own_times.extend(times.1);
            rest_times.extend(times.2);
            progress(round);
        }
    }
    let (raw_times, own_times) = (Times::of(raw_times), Times::of(own_times));
    let rest_times = rest.map(|_| Times::of(rest_times));
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    // Counts and row estimates: never negative, far below 2^52.
    Ok(Report {
        collection: resolved.name.clone(),
        rows: facts.rows.round().max(0.0) as u64,
        access: raw.access.to_owned(),
        in_process_ratio: own_times.p50_ms / raw_times.p50_ms,
        rest_ratio: rest_times.map(|times| times.p50_ms / raw_times.p50_ms),
        raw: raw_times,
        in_process: own_times,
        rest: rest_times,
    })
}

async fn timed<T>(asking: impl Future<Output = Result<T, Problem>>) -> Result<Duration, Problem> {
    let begin = Instant::now();
    asking.await?;
    Ok(begin.elapsed())
}

/// The prepared statement over a connection of its own.
struct Raw {
    client: howdah_postgres::Own,
    prepared: tokio_postgres::Statement,
    params: Vec<Vec<howdah_plan::search::param::Param>>,
    access: &'static str,
}

impl Raw {
    async fn new(
        pools: &Pools,
        resolved: &Resolved,
        facts: &scan::TableFacts,
        requests: &[SearchRequest],
    ) -> Result<Raw, Problem> {
        let client = pools.own(&resolved.database).await?;
        let failed = |e: tokio_postgres::Error| from_pg(&e, "prepare the statement");
        let mut built = Vec::with_capacity(requests.len());
        let mut access = "exact";
        for request in requests {
            let ask = Ask::check(request, resolved, facts)?;
            let need =
                Need { rows: ask.vector_rows().unwrap_or(1), matching: None, ef_search: None, exact: false };
            let decision = scan::decide(facts, &need);
            if built.is_empty() {
                for (name, value) in &decision.settings {
                    client.batch_execute(&format!("SET {name} = {value}")).await.map_err(failed)?;
                }
                access = decision.access;
            }
            let words = knowledge::search::words_of(pools, resolved, facts, &ask).await?;
            built.push(statement::build(&ask, resolved, facts, decision.path, &words));
        }
        let text = built.first().map(|first| first.sql.clone()).unwrap_or_default();
        let prepared = client.prepare(&text).await.map_err(failed)?;
        Ok(Raw { client, prepared, params: built.into_iter().map(|one| one.params).collect(), access })
    }

    async fn ask(&self, at: usize) -> Result<usize, Problem> {
        let values: Vec<&(dyn ToSql + Sync)> = self.params[at].iter().map(param::value).collect();
        let rows = self.client.query(&self.prepared, &values).await.map_err(|e| from_pg(&e, "search"))?;
        Ok(rows.len())
    }
}

/// The REST call.
struct Rest {
    client: reqwest::Client,
    address: String,
    key: Option<String>,
}

impl Rest {
    fn new(url: &str, key: Option<&str>, resolved: &Resolved) -> Result<Rest, Problem> {
        // Only the first one counts, and any will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client =
            reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().map_err(|e| {
                Problem::new(Kind::Internal, "cannot make an HTTP client").detail(e.to_string())
            })?;
        let address = format!("{}/v1/collections/{}/search", url.trim_end_matches('/'), resolved.name);
        Ok(Rest { client, address, key: key.map(str::to_owned) })
    }

    async fn ask(&self, request: &SearchRequest) -> Result<usize, Problem> {
        let unreachable = |e: reqwest::Error| {
            Problem::new(Kind::Unreachable, format!("`{}` does not answer", self.address))
                .detail(e.to_string())
        };
        // The collection stands in the path.
        let mut body = serde_json::to_value(request).unwrap_or_default();
        body.as_object_mut().map(|object| object.remove("collection"));
        let mut call = self.client.post(&self.address).json(&body);
        if let Some(key) = &self.key {
            call = call.bearer_auth(key);
        }
        let response = call.send().await.map_err(unreachable)?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(unreachable)?;
        if status.is_success() {
            return Ok(bytes.len());
        }
        Err(Problem::new(Kind::Failed, format!("`{}` answered {status}", self.address))
            .detail(String::from_utf8_lossy(&bytes).chars().take(500).collect::<String>()))
    }
}
