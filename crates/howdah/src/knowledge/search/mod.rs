//! What is near to this question?
//!
//! [`run`] carries out one search: it reads the facts of the table (kept for a few seconds), lets
//! [`howdah_plan::search`] decide on the statement and on how the index is scanned, embeds the text where there is one,
//! and sends transaction, settings and statement in one go. Where the index came back short, the statement runs once more
//! without it, so that an answer is never silently short.

mod execute;
mod explain;
mod read;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use howdah_plan::problem::{Kind, Problem};
use howdah_plan::search::answer::ScanReport;
use howdah_plan::search::ask::{Ask, Near, check_vector};
use howdah_plan::search::param::with_literals;
use howdah_plan::search::request::Mode;
use howdah_plan::search::scan::{self, Decision, Facts, Found, Need, Path};
use howdah_plan::search::statement::{self, Statement};
pub use howdah_plan::search::{SearchAnswer, SearchRequest};
use howdah_plan::spec::resolve::Resolved;

use crate::collections::facts;
use crate::collections::kept::Kept;
use crate::embed::{Embedders, Purpose};
use crate::postgres::Pools;
use execute::Session;

/// Longest time for comparing every row after the index came back short, unless the request sets its own.
const EXACT_TIMEOUT: Duration = Duration::from_secs(20);

/// How long the estimate of a filter is kept.
const ESTIMATE_FRESH: Duration = Duration::from_secs(30);
static ESTIMATES: Kept<f64> = Kept::new();

/// Carries out one search.
///
/// # Errors
/// `usage` for a request that does not fit the collection; `not_found` when the table, or the row searched by, is not
/// there; `timeout` when the statement ran out of its time; whatever the embedder and PostgreSQL say otherwise.
pub async fn run(
    pools: &Pools,
    embedders: &Embedders,
    resolved: &Resolved,
    request: &SearchRequest,
) -> Result<SearchAnswer, Problem> {
    let begin = Instant::now();
    let facts = facts::of(pools, resolved).await?;
    let mut ask = Ask::check(request, resolved, &facts)?;
    let embed_ms = embed(embedders, resolved, &facts, &mut ask).await?;
    let search = Search { pools, resolved, facts: &facts, ask: &ask, request };
    let result = search.run().await;
    if result.as_ref().is_err_and(|problem| problem.kind == Kind::NotFound) {
        // The table may have changed since its facts were read.
        facts::forget(pools, resolved);
    }
    let mut answer = result?;
    answer.embed_ms = embed_ms;
    answer.took_ms = milliseconds(begin.elapsed());
    Ok(answer)
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// Turns the text into a vector, where one is needed.
async fn embed(
    embedders: &Embedders,
    resolved: &Resolved,
    facts: &Facts,
    ask: &mut Ask,
) -> Result<Option<f64>, Problem> {
    if !matches!(ask.near, Some(Near::Text)) {
        return Ok(None);
    }
    let begin = Instant::now();
    let Some(embedder) = embedders.of_collection(resolved)? else {
        return Err(Problem::new(Kind::Usage, format!("collection `{}` has no embedder", resolved.name))
            .hint("Give `vector` or `id`, or use `\"mode\": \"text\"`."));
    };
    let text = ask.text.clone().unwrap_or_default();
    let vector = embedder.embed(&[text], Purpose::Query).await?.into_iter().next().unwrap_or_default();
    check_vector(&vector, resolved, facts)?;
    ask.near = Some(Near::Vector(vector));
    Ok(Some(milliseconds(begin.elapsed())))
}

struct Search<'a> {
    pools: &'a Pools,
    resolved: &'a Resolved,
    facts: &'a Facts,
    ask: &'a Ask,
    request: &'a SearchRequest,
}

impl Search<'_> {
    async fn run(&self) -> Result<SearchAnswer, Problem> {
        let client = self.pools.get(&self.resolved.database).await?;
        let session = Session::new(&client, self.request.timeout_ms);
        let mut decision = self.decide(&session).await?;
        let mut statement = statement::build(self.ask, self.resolved, self.facts, decision.path);
        let mut batch = self.read(&session, &decision, &statement).await?;
        let mut gave_up = None;
        let escalated = !self.whole(&batch, &decision);
        if escalated {
            let exact =
                Decision { path: Path::Exact, settings: Vec::new(), access: "exact", ..decision.clone() };
            let again = statement::build(self.ask, self.resolved, self.facts, Path::Exact);
            let limited =
                Session::new(&client, self.request.timeout_ms.or(Some(EXACT_TIMEOUT.as_millis() as u32)));
            match self.read(&limited, &exact, &again).await {
                Ok(all) => {
                    batch = all;
                    statement = again;
                    decision = Decision {
                        index: None,
                        reason: format!("{}; the index stopped short, so all were compared", decision.reason),
                        ..exact
                    };
                }
                Err(problem) if problem.kind == Kind::Timeout => gave_up = Some(problem.message),
                Err(problem) => return Err(problem),
            }
        }
        let legs = self.legs(&batch, &decision);
        let (complete, complete_reason) = scan::verdict(
            self.ask.limit,
            batch.hits.len(),
            &legs,
            self.ask.max_distance.is_some(),
            gave_up.as_deref(),
        );
        let vectors = self.ask.mode != Mode::Text;
        let mut answer = SearchAnswer {
            collection: self.resolved.name.clone(),
            mode: self.ask.mode,
            metric: vectors.then_some(self.resolved.metric),
            results: batch.hits,
            complete,
            complete_reason,
            took_ms: 0.0,
            embed_ms: None,
            index: decision.index.clone().filter(|_| vectors),
            scanned: None,
            scan: vectors.then(|| ScanReport {
                access: decision.access.to_owned(),
                reason: decision.reason.clone(),
                settings: decision.settings.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect(),
                escalated,
            }),
            explain: None,
            sql: self.request.sql.then(|| self.sql(&decision, &statement)),
        };
        if self.request.explain {
            let plan = session.explain(&decision, &statement).await?;
            let explain = explain::read(plan, self.ask, &self.resolved.table);
            answer.scanned = Some(explain.scanned);
            answer.explain = Some(explain);
        }
        Ok(answer)
    }

    async fn decide(&self, session: &Session<'_>) -> Result<Decision, Problem> {
        let Some(rows) = self.ask.vector_rows() else {
            return Ok(Decision {
                path: Path::Exact,
                index: None,
                access: "exact",
                settings: Vec::new(),
                reason: "words only".into(),
            });
        };
        // Only a choice between two ways needs to know how many rows pass.
        let undecided = self.facts.index.is_some() && !self.ask.exact && self.facts.rows > scan::ALWAYS_EXACT;
        let matching = match statement::matching(self.ask, self.resolved) {
            Some(estimate) if undecided => Some(self.estimate(session, &estimate).await?),
            Some(_) => Some(self.facts.rows),
            None => None,
        };
        let need = Need { rows, matching, ef_search: self.ask.ef_search, exact: self.ask.exact };
        Ok(scan::decide(self.facts, &need))
    }

    /// How many rows pass the filter, as the planner estimates it.
    async fn estimate(&self, session: &Session<'_>, estimate: &Statement) -> Result<f64, Problem> {
        let filter = self.request.filter.as_ref().map(ToString::to_string).unwrap_or_default();
        // A filter with thousands of values is not worth remembering.
        let name =
            (filter.len() <= 2000).then(|| format!("{}\0{filter}", facts::key(self.pools, self.resolved)));
        if let Some(rows) = name.as_ref().and_then(|name| ESTIMATES.get(name, ESTIMATE_FRESH)) {
            return Ok(rows);
        }
        let rows = session.estimate(estimate).await?;
        if let Some(name) = name {
            ESTIMATES.keep(name, rows, ESTIMATE_FRESH);
        }
        Ok(rows)
    }

    async fn read(
        &self,
        session: &Session<'_>,
        decision: &Decision,
        statement: &Statement,
    ) -> Result<read::Batch, Problem> {
        let check = match &self.ask.near {
            Some(Near::Row(id)) => Some((id, statement::row_check(id, self.resolved, self.facts))),
            _ => None,
        };
        let (rows, row) = session.run(decision, statement, check.as_ref().map(|(_, check)| check)).await?;
        if let Some((id, _)) = check {
            read::check_row(id, row, self.resolved)?;
        }
        read::batch(&rows, self.ask, self.resolved)
    }

    fn legs(&self, batch: &read::Batch, decision: &Decision) -> Vec<Found> {
        let vector = self.ask.vector_rows().map(|rows| Found {
            wanted: rows.into(),
            found: batch.vector_found,
            exact: decision.path == Path::Exact,
        });
        vector.into_iter().collect()
    }

    fn whole(&self, batch: &read::Batch, decision: &Decision) -> bool {
        self.legs(batch, decision).iter().all(|leg| leg.whole())
    }

    fn sql(&self, decision: &Decision, statement: &Statement) -> String {
        let text = with_literals(&statement.sql, &statement.params);
        if decision.settings.is_empty() {
            return format!("{text};");
        }
        let settings: String =
            decision.settings.iter().map(|(name, value)| format!("SET LOCAL {name} = {value};\n")).collect();
        format!("BEGIN;\n{settings}{text};\nCOMMIT;")
    }
}
