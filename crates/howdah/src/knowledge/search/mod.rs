//! What is near to this question?
//!
//! [`run`] carries out one search: it reads the facts of the table (kept for a few seconds), lets
//! [`howdah_plan::search`] decide on the statement and on how the index is scanned, embeds the text where there is one,
//! and sends transaction, settings and statement in one go. Where the index came back short, the statement runs once more
//! without it, so that an answer is never silently short.

mod execute;
mod explain;
mod read;
mod snippet;
#[cfg(test)]
mod tests;
mod words;

use std::time::{Duration, Instant};

use futures_util::future::join;
use howdah_plan::problem::{Kind, Problem};
use howdah_plan::search::answer::{Hit, ScanReport};
use howdah_plan::search::ask::{Ask, Near, check_vector};
use howdah_plan::search::cursor::Cursor;
use howdah_plan::search::filter::types;
use howdah_plan::search::param::with_literals;
use howdah_plan::search::request::{Mode, Part, RowId, Words};
use howdah_plan::search::scan::{self, Decision, LegRows, Need, Path, TableFacts};
use howdah_plan::search::statement::{self, Statement};
use howdah_plan::search::words::{self as word_plan, Lexeme, WordPlan};
pub use howdah_plan::search::{SearchAnswer, SearchRequest};
use howdah_plan::spec::resolve::Resolved;

use crate::collections::cache::Cache;
use crate::collections::facts;
use crate::knowledge::remembered;
use execute::TimedLease;
use howdah_embed::{Embedders, Purpose};
use howdah_postgres::{Lease, Pools};

/// Longest time for comparing every row after the index came back short, unless the request sets its own.
const EXACT_TIMEOUT_MS: u32 = 20_000;

/// How long the estimate of a filter is kept.
const ESTIMATE_FRESH: Duration = Duration::from_secs(30);
/// The estimates that are remembered.
#[derive(Default)]
struct Estimates(Cache<f64>);

/// Time beyond a request's own in which its statement can still end by itself, so that what came before is not lost.
const GRACE: Duration = Duration::from_millis(250);

/// Carries out one search, within the request's own time where it sets one. A search that is dropped is cancelled in the
/// database.
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
    let Some(limit) = request.timeout_ms.map(|limit| Duration::from_millis(limit.into())) else {
        return search(pools, embedders, resolved, request).await;
    };
    let until = Instant::now() + limit + GRACE;
    let pools = pools.until(Some(pools.deadline().map_or(until, |deadline| deadline.min(until))));
    match tokio::time::timeout_at(until.into(), search(&pools, embedders, resolved, request)).await {
        Ok(ended) => ended,
        Err(_) => {
            Err(Problem::new(Kind::Timeout, format!("the search took longer than {} ms", limit.as_millis()))
                .hint("Raise `timeout_ms`, or see what holds the table in `pg_stat_activity`."))
        }
    }
}

async fn search(
    pools: &Pools,
    embedders: &Embedders,
    resolved: &Resolved,
    request: &SearchRequest,
) -> Result<SearchAnswer, Problem> {
    let begin = Instant::now();
    let facts = facts::of(pools, resolved).await?;
    let mut ask = Ask::check(request, resolved, &facts)?;
    let (embedded, known) =
        join(embed(pools, embedders, resolved, &facts, &ask), words::of(pools, resolved, &ask)).await;
    let (mut embed_ms, mut unknown) = (None, None);
    if let Some(embedded) = embedded? {
        ask.near = Some(Near::Vector(embedded.vector));
        (embed_ms, unknown) = (Some(embedded.ms), embedded.unknown);
    }
    let known = known?;
    let search = Search { pools, resolved, facts: &facts, ask: &ask, known: &known, request, begin };
    let result = search.run().await;
    if result.as_ref().is_err_and(|problem| problem.kind == Kind::NotFound) {
        // The table may have changed since its facts were read.
        facts::forget(pools, resolved);
    }
    let mut answer = result?;
    answer.embed_ms = embed_ms;
    answer.notes.extend(unknown.map(|script| {
        format!(
            "the model does not know the {script} script of the question: the vector says nothing of it; search by words, \
             or declare a multilingual model"
        )
    }));
    answer.took_ms = milliseconds(begin.elapsed());
    Ok(answer)
}

/// The words of a request as a search decides on them, for benches that run the same statement.
///
/// # Errors
/// Whatever keeps the database from answering.
pub async fn words_of(
    pools: &Pools,
    resolved: &Resolved,
    facts: &TableFacts,
    ask: &Ask,
) -> Result<WordPlan, Problem> {
    let known = words::of(pools, resolved, ask).await?;
    Ok(word_plan_of(ask, facts, &known, false))
}

/// The words that choose and rank. `all` lets every word choose.
fn word_plan_of(ask: &Ask, facts: &TableFacts, known: &words::Known, all: bool) -> WordPlan {
    if ask.words != Words::Any {
        let candidates = word_plan::every(&known.asked.words);
        return WordPlan { candidates, ..WordPlan::default() };
    }
    let lexemes: Vec<Lexeme> = known.asked.words.iter().chain(&known.asked.compounds).cloned().collect();
    let weighed = ask.after.as_ref().map_or(&[][..], |after| &after.weights);
    let wanted = word_plan::Wanted { rows: facts.rows, list: text_rows(ask), all, weighed };
    word_plan::plan(&lexemes, &known.frequencies, wanted)
}

/// Rows the text leg has to give.
fn text_rows(ask: &Ask) -> u32 {
    match ask.mode {
        Mode::Hybrid => ask.depth.text,
        Mode::Text | Mode::Vector => ask.limit + ask.offset,
    }
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// A question as a vector.
struct Embedded {
    vector: Vec<f32>,
    ms: f64,
    /// The script of the question, where the model does not know it.
    unknown: Option<&'static str>,
}

/// Turns the text into a vector, where one is needed.
async fn embed(
    pools: &Pools,
    embedders: &Embedders,
    resolved: &Resolved,
    facts: &TableFacts,
    ask: &Ask,
) -> Result<Option<Embedded>, Problem> {
    if !matches!(ask.near, Some(Near::Text)) {
        return Ok(None);
    }
    let begin = Instant::now();
    let Some(embedder) = embedders.of_collection(resolved)? else {
        return Err(Problem::new(Kind::Usage, format!("collection `{}` has no embedder", resolved.name))
            .hint("Give `vector` or `id`, or use `\"mode\": \"text\"`."));
    };
    remembered::check(pools, resolved, embedder.model_id()).await?;
    let text = ask.text.clone().unwrap_or_default();
    let texts = [text];
    let vector = embedder.embed(&texts, Purpose::Query).await?.into_iter().next().unwrap_or_default();
    let unknown = embedder.unknown_script(&texts[0]);
    let vector = check_vector(vector, resolved, facts)?;
    Ok(Some(Embedded { vector, ms: milliseconds(begin.elapsed()), unknown }))
}

struct Search<'a> {
    pools: &'a Pools,
    resolved: &'a Resolved,
    facts: &'a TableFacts,
    ask: &'a Ask,
    known: &'a words::Known,
    request: &'a SearchRequest,
    begin: Instant,
}

/// One way to run it.
struct Attempt {
    decision: Decision,
    words: WordPlan,
    statement: Statement,
    /// Whether the index came back short before.
    escalated: bool,
}

impl Search<'_> {
    async fn run(&self) -> Result<SearchAnswer, Problem> {
        let client = self.pools.get(&self.resolved.database).await?;
        let lease = TimedLease::new(&client, self.left());
        let first = self.attempt(self.decide(&lease).await?, self.ask.after.is_some());
        let batch = self.read(&lease, &first).await?;
        let (attempt, mut batch, gave_up) = if self.legs(&batch, &first).iter().all(|leg| leg.whole()) {
            (first, batch, None)
        } else {
            self.again(&client, first, batch).await?
        };
        let (complete, complete_reason) = scan::verdict(
            self.ask.limit,
            batch.hits.len(),
            &self.legs(&batch, &attempt),
            self.ask.max_distance.is_some(),
            gave_up.as_deref(),
        );
        let legs = self.legs(&batch, &attempt);
        let paged = self.ask.after.is_some() && self.ask.mode == Mode::Hybrid && gave_up.is_none();
        let ended = if paged { scan::candidates_end(self.ask.limit, batch.hits.len(), &legs) } else { None };
        let (complete, complete_reason) = ended.unwrap_or((complete, complete_reason));
        self.show_snippets(&lease, &mut batch.hits).await?;
        let next = self.next(&batch, &attempt);
        let incomparable = batch.incomparable;
        let mut answer = self.answer(&attempt, batch);
        answer.next = next;
        answer.complete = complete;
        answer.complete_reason = match &self.facts.row_security {
            Some(role) => {
                format!("{complete_reason}, of those that row-level security shows to role `{role}`")
            }
            None => complete_reason,
        };
        if incomparable > 0 {
            answer.complete_reason.push_str(&format!(
                "; {incomparable} rows are left out, whose vectors are zero or too large for single precision"
            ));
        }
        if answer.results.len() < self.ask.limit as usize {
            answer.notes = self.types(&lease).await?;
        }
        if self.request.explain {
            let plan = lease.explain(&attempt.decision, &attempt.statement).await?;
            let explain = explain::read(plan, self.ask, &self.resolved.table);
            answer.scanned = Some(explain.scanned);
            if explain.text_node.as_deref() == Some("Seq Scan") && self.resolved.adopted {
                answer.notes.push(format!(
                    "the words were looked for in every row: no index serves the text of `{}`; set `text_index = true` below \
                     `[collections.{}.adopt]` and run `howdah apply`",
                    self.resolved.table, self.resolved.name
                ));
            }
            answer.explain = Some(explain);
        }
        Ok(answer)
    }

    /// Milliseconds left of the request's own time.
    fn left(&self) -> Option<u32> {
        let used = u32::try_from(self.begin.elapsed().as_millis()).unwrap_or(u32::MAX);
        self.request.timeout_ms.map(|limit| limit.saturating_sub(used).max(1))
    }

    /// A leg came back short: once more, with every row compared and every word choosing, whichever it was. Where that
    /// takes too long, what there is and the reason.
    async fn again(
        &self,
        client: &Lease,
        first: Attempt,
        batch: read::Batch,
    ) -> Result<(Attempt, read::Batch, Option<String>), Problem> {
        let vectors = self.vector_leg(&batch, &first).is_some_and(|leg| !leg.whole());
        let words = first.words.pruned && self.text_leg(&batch, &first).is_some_and(|leg| !leg.whole());
        let decision = if vectors {
            let reason = format!("{}; the index stopped short, so all were compared", first.decision.reason);
            Decision { path: Path::Exact, index: None, access: "exact", settings: Vec::new(), reason }
        } else {
            first.decision.clone()
        };
        let mut second = self.attempt(decision, words);
        second.escalated = vectors;
        let limited = TimedLease::new(client, Some(self.left().unwrap_or(EXACT_TIMEOUT_MS)));
        match self.read(&limited, &second).await {
            Ok(all) => Ok((second, all, None)),
            Err(problem) if problem.kind == Kind::Timeout => Ok((first, batch, Some(problem.message))),
            Err(problem) => Err(problem),
        }
    }

    fn attempt(&self, decision: Decision, all_words: bool) -> Attempt {
        let words = word_plan_of(self.ask, self.facts, self.known, all_words);
        let statement = statement::build(self.ask, self.resolved, self.facts, decision.path, &words);
        Attempt { decision, words, statement, escalated: false }
    }

    fn answer(&self, attempt: &Attempt, batch: read::Batch) -> SearchAnswer {
        let Attempt { decision, statement, escalated, .. } = attempt;
        let vectors = self.ask.mode != Mode::Text;
        SearchAnswer {
            collection: self.resolved.name.clone(),
            mode: self.ask.mode,
            metric: vectors.then_some(self.resolved.metric),
            results: batch.hits,
            next: None,
            complete: false,
            complete_reason: String::new(),
            notes: Vec::new(),
            took_ms: 0.0,
            embed_ms: None,
            index: decision.index.clone().filter(|_| vectors),
            scanned: None,
            scan: vectors.then(|| ScanReport {
                access: decision.access.to_owned(),
                reason: decision.reason.clone(),
                settings: decision.settings.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect(),
                escalated: *escalated,
            }),
            explain: None,
            sql: self.request.sql.then(|| self.sql(decision, statement)),
        }
    }

    /// Makes the snippets out of the contents, and takes contents away that were read for nothing else.
    async fn show_snippets(&self, lease: &TimedLease<'_>, hits: &mut [Hit]) -> Result<(), Problem> {
        let wants = |part: Part| self.ask.select.contains(&part);
        if self.ask.mode != Mode::Vector && wants(Part::Snippet) {
            let words = snippet::words(hits.iter().filter_map(|hit| hit.content.as_deref()));
            let statement = statement::lexemes_of_words(words.clone(), self.resolved);
            let lexemes = if words.is_empty() { Vec::new() } else { lease.texts(&statement).await? };
            let asked: Vec<Lexeme> =
                self.known.asked.words.iter().chain(&self.known.asked.compounds).cloned().collect();
            let marker = snippet::Marker::new(&asked, words.into_iter().zip(lexemes).collect());
            for hit in hits.iter_mut() {
                let Some(content) = &hit.content else { continue };
                let snippet = marker.snippet(content);
                (hit.snippet, hit.marks) = (Some(snippet.text), snippet.marks);
            }
        }
        if !wants(Part::Content) {
            hits.iter_mut().for_each(|hit| hit.content = None);
        }
        Ok(())
    }

    /// Where the page after this one begins; none behind a page that is not full.
    fn next(&self, batch: &read::Batch, attempt: &Attempt) -> Option<String> {
        // A hybrid list with an offset is one of more candidates than its pages would have.
        let other = self.ask.mode == Mode::Hybrid && self.ask.offset > 0;
        if other || batch.hits.len() < self.ask.limit as usize {
            return None;
        }
        let id = match &batch.hits.last()?.id {
            serde_json::Value::Number(number) => RowId::Integer(number.as_i64()?),
            serde_json::Value::String(text) => RowId::Text(text.clone()),
            _ => return None,
        };
        let rows = u32::try_from(batch.hits.len()).unwrap_or(u32::MAX);
        let WordPlan { places, weights, .. } = &attempt.words;
        let cursor = Cursor {
            seen: self.ask.before().saturating_add(rows),
            key: batch.last_key?,
            id,
            weights: places.iter().copied().zip(weights.iter().copied()).collect(),
        };
        Some(cursor.encode(self.request))
    }

    async fn decide(&self, lease: &TimedLease<'_>) -> Result<Decision, Problem> {
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
        let matching = match statement::matching(self.ask, self.resolved, self.facts) {
            Some(estimate) if undecided => Some(self.estimate(lease, &estimate).await?),
            Some(_) => Some(self.facts.rows),
            None => None,
        };
        // One more than wanted: whether the next row is as near as the last.
        let rows = rows.saturating_add(1);
        let need = Need { rows, matching, ef_search: self.ask.ef_search, exact: self.ask.exact };
        Ok(scan::decide(self.facts, &need))
    }

    /// Where the filter compares metadata with a type that the rows do not have.
    async fn types(&self, lease: &TimedLease<'_>) -> Result<Vec<String>, Problem> {
        let compared = self.ask.filter.as_ref().map(types::compared).unwrap_or_default();
        let Some(sample) = types::sample(&compared, self.resolved) else { return Ok(Vec::new()) };
        let found = lease.counts(&sample).await?;
        Ok(types::notes(&compared, &found))
    }

    /// How many rows pass the filter, as the planner estimates it.
    async fn estimate(&self, lease: &TimedLease<'_>, estimate: &Statement) -> Result<f64, Problem> {
        let filter = self.request.filter.as_ref().map(ToString::to_string).unwrap_or_default();
        // A filter with thousands of values is not worth remembering.
        let name = (filter.len() <= 2000).then(|| format!("{}\0{filter}", facts::key(self.resolved)));
        let estimates = self.pools.remembered::<Estimates>();
        if let Some(rows) = name.as_ref().and_then(|name| estimates.0.get(name, ESTIMATE_FRESH)) {
            return Ok(rows);
        }
        let rows = lease.estimate(estimate).await?;
        if let Some(name) = name {
            estimates.0.put(name, rows, ESTIMATE_FRESH);
        }
        Ok(rows)
    }

    async fn read(&self, lease: &TimedLease<'_>, attempt: &Attempt) -> Result<read::Batch, Problem> {
        let check = match &self.ask.near {
            Some(Near::Row(id)) => Some((id, statement::row_check(id, self.resolved, self.facts))),
            _ => None,
        };
        let check_statement = check.as_ref().map(|(_, check)| check);
        let (rows, row) = lease.run(&attempt.decision, &attempt.statement, check_statement).await?;
        if let Some((id, _)) = check {
            read::check_row(id, row, self.resolved)?;
        }
        read::batch(&rows, self.ask, self.resolved)
    }

    fn vector_leg(&self, batch: &read::Batch, attempt: &Attempt) -> Option<LegRows> {
        let exact = attempt.decision.path == Path::Exact;
        self.ask.vector_rows().map(|rows| {
            // With more equally near rows than the index was asked for, their ids do not order the list.
            let tied = batch.fetched >= u64::from(rows) + u64::from(statement::MOST_TIES);
            let found = if tied { 0 } else { batch.vector_found };
            let paged = self.ask.mode == Mode::Vector && self.ask.after.is_some();
            let wanted = if paged { self.ask.limit } else { rows };
            LegRows { wanted: wanted.into(), found, exact }
        })
    }

    fn text_leg(&self, batch: &read::Batch, attempt: &Attempt) -> Option<LegRows> {
        (self.ask.mode != Mode::Vector).then(|| LegRows {
            wanted: text_rows(self.ask).into(),
            found: batch.text_found,
            exact: !attempt.words.pruned,
        })
    }

    fn legs(&self, batch: &read::Batch, attempt: &Attempt) -> Vec<LegRows> {
        self.vector_leg(batch, attempt).into_iter().chain(self.text_leg(batch, attempt)).collect()
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
