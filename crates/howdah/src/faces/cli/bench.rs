//! `howdah bench`.

use std::path::Path;
use std::process::ExitCode;

use howdah_plan::problem::Problem;
use howdah_plan::spec::resolve::resolve;
use serde::Serialize;
use serde_json::json;

use super::args::{BenchCommand, BenchIndex};
use super::common::{Common, Format};
use super::endpoint::{self, Endpoint};
use super::print::{self, thousands};
use super::refusal::Outcome;
use super::{chart, fields};
use crate::bench::index::{self, data::Source};
use crate::bench::{Dated, ingest, recall, search};
use crate::runtime::Context;
use howdah_postgres::Home;

/// Measures.
pub async fn run(common: &Common, command: &BenchCommand) -> Outcome {
    if let BenchCommand::Index(flags) = command {
        return compare_indexes(common, flags).await;
    }
    let (declaration, context) = Endpoint::own(common).await?;
    match command {
        BenchCommand::Index(flags) => compare_indexes(common, flags).await,
        BenchCommand::Ingest { collection, rounds, rows, dimensions, texts, report } => {
            let options = ingest::Options {
                rounds: (*rounds).max(1),
                rows: (*rows).max(1),
                dimensions: *dimensions,
                texts: *texts,
            };
            measure_ingest(common, &context, collection, &options, report.as_deref()).await
        }
        BenchCommand::Search { collection, rounds, per_round, limit, text, report } => {
            let server = endpoint::running(&declaration)?;
            let key = server.as_ref().and_then(|(place, _)| place.token());
            let options = search::Options {
                rounds: *rounds,
                per_round: *per_round,
                limit: *limit,
                text: text.clone(),
                url: server.map(|(_, running)| running.rest),
                key: common.key.clone().or_else(|| key.map(|key| key.reveal().to_owned())),
            };
            measure_search(common, &context, collection, &options, report.as_deref()).await
        }
        BenchCommand::Recall { collection, queries, limit, filter, ef_search } => {
            let filter = filter.as_deref().map(|text| fields::json("--filter", text)).transpose()?;
            let options = recall::Options {
                k: *limit,
                queries: *queries,
                vectors: None,
                filter,
                ef_search: *ef_search,
            };
            measure_recall(common, &context, collection, &options).await
        }
    }
}

/// Needs neither a declaration nor a running server.
async fn compare_indexes(common: &Common, flags: &BenchIndex) -> Outcome {
    let source = match flags.vectors.clone().zip(flags.queries.clone()) {
        Some((vectors, queries)) => Source::Files { vectors, queries, inserts: flags.inserts.clone() },
        None => Source::Generated { dimensions: flags.dimensions, queries: 300 },
    };
    let options = index::Options {
        source,
        sizes: flags.rows.clone(),
        recalls: flags.recall.clone(),
        only: flags.only.clone(),
        rounds: flags.rounds.max(1),
        major: flags.major,
    };
    let tell = |done: &str| {
        if !common.quiet {
            print::err(&format!("{done}\n"));
        }
    };
    let found = index::run(&Home::from_env()?, &options, &tell).await?;
    if let Some(directory) = &flags.report {
        for path in found.write(directory)? {
            tell(&format!("wrote {}", path.display()));
        }
    }
    print::out(&if common.output == Format::Table {
        Dated::now(&found).page()
    } else {
        format!("{}\n", json!(found))
    });
    Ok(ExitCode::SUCCESS)
}

async fn measure_search(
    common: &Common,
    context: &Context,
    collection: &str,
    options: &search::Options,
    path: Option<&Path>,
) -> Outcome {
    let resolved = resolve(context.spec(), collection)?;
    let rounds = options.rounds;
    let tell = |done: u32| tell(common, done, rounds, "rounds");
    let report =
        search::run(&context.runtime.pools, &context.declared.embedders, &resolved, options, tell).await?;
    keep(&report, path)?;
    if common.output != Format::Table {
        print::out(&format!("{}\n", json!(report)));
        return Ok(ExitCode::SUCCESS);
    }
    let times = |times: &search::Times| format!("p50 {:.3} ms, p95 {:.3} ms", times.p50_ms, times.p95_ms);
    let mut lines = vec![
        ("Rows".to_owned(), thousands(report.rows)),
        ("Access".to_owned(), report.access.clone()),
        ("Prepared SQL".to_owned(), times(&report.raw)),
        (
            "In process".to_owned(),
            format!("{}, {:.2} times the SQL", times(&report.in_process), report.in_process_ratio),
        ),
    ];
    if let (Some(rest), Some(ratio)) = (&report.rest, report.rest_ratio) {
        lines.push(("REST".to_owned(), format!("{}, {ratio:.2} times the SQL", times(rest))));
    }
    print::out(&chart::boxed(&format!("{collection}, {} searches a way", report.raw.count), &lines));
    Ok(ExitCode::SUCCESS)
}

async fn measure_ingest(
    common: &Common,
    context: &Context,
    collection: &str,
    options: &ingest::Options,
    path: Option<&Path>,
) -> Outcome {
    let resolved = resolve(context.spec(), collection)?;
    let embedder =
        if options.texts == 0 { None } else { context.declared.embedders.of_collection(&resolved)? };
    let tell = |done: &str| {
        if !common.quiet {
            print::err(&format!("{done}\n"));
        }
    };
    let report = ingest::run(&context.runtime.pools, &resolved.database, embedder, options, &tell).await?;
    keep(&report, path)?;
    if common.output != Format::Table {
        print::out(&format!("{}\n", json!(report)));
        return Ok(ExitCode::SUCCESS);
    }
    let rates = |of: &ingest::Comparison, other: &str| {
        format!(
            "{:.0} rows/s, {other} {:.0} rows/s: {:.2} of it",
            of.ingest_rows_per_second, of.other_rows_per_second, of.ratio
        )
    };
    let mut lines = vec![("Ready-made vectors".to_owned(), rates(&report.ready, "raw COPY"))];
    if let (Some(embedded), Some(tokens)) = (&report.embedded, report.tokens_per_second) {
        lines.push(("Texts".to_owned(), rates(embedded, "the embedder alone")));
        lines.push(("Embedder".to_owned(), format!("{tokens:.0} tokens/s")));
    }
    print::out(&chart::boxed(&format!("ingest, {} rounds", options.rounds), &lines));
    Ok(ExitCode::SUCCESS)
}

async fn measure_recall(
    common: &Common,
    context: &Context,
    collection: &str,
    options: &recall::Options,
) -> Outcome {
    let resolved = resolve(context.spec(), collection)?;
    let queries = options.queries;
    let tell = |done: u32| {
        if done.is_multiple_of(100) {
            tell(common, done, queries, "searches");
        }
    };
    let report =
        recall::run(&context.runtime.pools, &context.declared.embedders, &resolved, options, tell).await?;
    if common.output != Format::Table {
        print::out(&format!("{}\n", json!(report)));
        return Ok(ExitCode::SUCCESS);
    }
    let access: Vec<String> = report.access.iter().map(|(name, many)| format!("{name} {many}")).collect();
    let lines = [
        ("Recall by id".to_owned(), format!("{:.4}", report.recall)),
        (
            "Recall, ties counted".to_owned(),
            format!("{:.4}, worst {:.4}", report.recall_tie_aware, report.worst),
        ),
        ("Complete".to_owned(), format!("{} of {}", report.complete, report.queries)),
        ("Short".to_owned(), report.short.to_string()),
        ("Escalated to exact".to_owned(), report.escalated.to_string()),
        ("Access".to_owned(), access.join(", ")),
        ("Time".to_owned(), format!("p50 {:.2} ms, exact {:.2} ms", report.p50_ms, report.exact_p50_ms)),
    ];
    print::out(&chart::boxed(&format!("{collection}, k = {}", report.k), &lines));
    Ok(ExitCode::SUCCESS)
}

/// Writes a report to `path`, where one is wanted.
fn keep(report: &impl Serialize, path: Option<&Path>) -> Result<(), Problem> {
    path.map_or(Ok(()), |path| Dated::now(report).write(path))
}

fn tell(common: &Common, done: u32, of: u32, what: &str) {
    if !common.quiet {
        print::err(&format!("{done} of {of} {what}\n"));
    }
}
