//! How much of the truth does a search return?
//!
//! Each question is asked twice: as a search would, and with every row compared. Two shares are told. By id: rows of the
//! exact answer that were returned. Tie-aware: returned rows that are at least as near as the last of the exact answer;
//! where many rows are equally near, only this one is fair.

use howdah_plan::problem::Problem;
use howdah_plan::search::{SearchAnswer, SearchRequest};
use howdah_plan::spec::resolve::Resolved;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::queries;
use crate::knowledge;
use howdah_embed::Embedders;
use howdah_postgres::Pools;

/// Distances that differ by less are equal.
const TIE: f64 = 1e-6;

/// What to ask.
#[derive(Debug, Clone)]
pub struct Options {
    /// Rows wanted of each question.
    pub k: u32,
    /// Questions, where the collection's own rows ask.
    pub queries: u32,
    /// Query vectors; the collection's own rows, each leaving itself out, when absent.
    pub vectors: Option<Vec<Vec<f32>>>,
    /// Filter on every question.
    pub filter: Option<Value>,
    /// Candidates of the graph, where not left to Howdah.
    pub ef_search: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Options { k: 10, queries: 1000, vectors: None, filter: None, ef_search: None }
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Collection.
    pub collection: String,
    /// Rows wanted of each question.
    pub k: u32,
    /// Questions asked.
    pub queries: u32,
    /// Mean share of the exact answer's rows that were returned.
    pub recall: f64,
    /// The same, a row as near as the last of them counting.
    pub recall_tie_aware: f64,
    /// Worst tie-aware share of one question.
    pub worst: f64,
    /// Answers that said they were complete.
    pub complete: u32,
    /// Answers with fewer rows than the exact one.
    pub short: u32,
    /// Answers for which the index came back short and all rows were compared.
    pub escalated: u32,
    /// How the vectors were searched, with the number of answers each.
    pub access: Vec<(String, u32)>,
    /// Median time of a search, in milliseconds.
    pub p50_ms: f64,
    /// Median time of the exact search, in milliseconds.
    pub exact_p50_ms: f64,
}

/// Measures recall at `k`. `progress` is called after each question.
///
/// # Errors
/// Whatever keeps the searches from being answered.
pub async fn run(
    pools: &Pools,
    embedders: &Embedders,
    resolved: &Resolved,
    options: &Options,
    progress: impl Fn(u32),
) -> Result<Report, Problem> {
    let requests = requests(pools, resolved, options).await?;
    let mut tally = Tally::default();
    for (request, at) in requests.iter().zip(1..) {
        let answer = knowledge::search::run(pools, embedders, resolved, request).await?;
        let all = SearchRequest { exact: true, ef_search: None, ..request.clone() };
        let exact = knowledge::search::run(pools, embedders, resolved, &all).await?;
        tally.add(&answer, &exact);
        progress(at);
    }
    Ok(tally.report(resolved, options))
}

async fn requests(
    pools: &Pools,
    resolved: &Resolved,
    options: &Options,
) -> Result<Vec<SearchRequest>, Problem> {
    let base = SearchRequest {
        collection: resolved.name.clone(),
        limit: Some(options.k),
        filter: options.filter.clone(),
        ef_search: options.ef_search,
        select: Some(Vec::new()),
        ..SearchRequest::default()
    };
    if let Some(vectors) = &options.vectors {
        let ask = |vector: &Vec<f32>| SearchRequest { vector: Some(vector.clone()), ..base.clone() };
        return Ok(vectors.iter().map(ask).collect());
    }
    let samples = queries::sample(pools, resolved, options.queries, 2).await?;
    Ok(samples.into_iter().map(|sample| SearchRequest { id: Some(sample.id), ..base.clone() }).collect())
}

#[derive(Default)]
struct Tally {
    by_id: Vec<f64>,
    tied: Vec<f64>,
    complete: u32,
    short: u32,
    escalated: u32,
    access: Vec<(String, u32)>,
    times: Vec<f64>,
    exact_times: Vec<f64>,
}

impl Tally {
    fn add(&mut self, answer: &SearchAnswer, exact: &SearchAnswer) {
        let wanted = exact.results.len();
        let farthest = exact.results.last().and_then(|hit| hit.distance).unwrap_or(f64::INFINITY);
        let held = |id: &Value| exact.results.iter().any(|hit| hit.id == *id);
        let near = |distance: Option<f64>| distance.is_some_and(|distance| distance <= farthest + TIE);
        let share = |count: usize| if wanted == 0 { 1.0 } else { count as f64 / wanted as f64 };
        self.by_id.push(share(answer.results.iter().filter(|hit| held(&hit.id)).count()));
        self.tied.push(share(answer.results.iter().filter(|hit| near(hit.distance)).count().min(wanted)));
        self.complete += u32::from(answer.complete);
        self.short += u32::from(answer.results.len() < wanted);
        self.times.push(answer.took_ms);
        self.exact_times.push(exact.took_ms);
        if let Some(scan) = &answer.scan {
            self.escalated += u32::from(scan.escalated);
            match self.access.iter_mut().find(|(name, _)| *name == scan.access) {
                Some((_, count)) => *count += 1,
                None => self.access.push((scan.access.clone(), 1)),
            }
        }
    }

    fn report(mut self, resolved: &Resolved, options: &Options) -> Report {
        let mean = |shares: &[f64]| shares.iter().sum::<f64>() / shares.len().max(1) as f64;
        let median = |times: &mut Vec<f64>| {
            times.sort_unstable_by(f64::total_cmp);
            times.get(times.len() / 2).copied().unwrap_or_default()
        };
        Report {
            collection: resolved.name.clone(),
            k: options.k,
            queries: u32::try_from(self.by_id.len()).unwrap_or(u32::MAX),
            recall: mean(&self.by_id),
            recall_tie_aware: mean(&self.tied),
            worst: self.tied.iter().copied().fold(1.0, f64::min),
            complete: self.complete,
            short: self.short,
            escalated: self.escalated,
            access: self.access,
            p50_ms: median(&mut self.times),
            exact_p50_ms: median(&mut self.exact_times),
        }
    }
}
