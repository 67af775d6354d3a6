//! What is wrong with this server, and what mends it?
//!
//! The table of checks is `howdah_plan::check`; this module asks its questions. It only reads: every question runs in a
//! read-only transaction with a time limit. Databases are asked in parallel, a few at a time. A check that cannot run is
//! in the report with the reason; none is left out silently.
//!
//! `facts` reads what the verdicts know besides their rows, `ask` puts one question, [`run`] puts all of them.

mod ask;
mod facts;
pub mod render;
pub mod report;

use std::collections::BTreeMap;

use futures_util::{StreamExt, future, stream};
use howdah_plan::check::{self, Check, Finding, Scope};
use howdah_plan::problem::{Kind, Problem};
use howdah_plan::spec::Spec;
use howdah_plan::spec::resolve::nearest;
use howdah_plan::tune::Machine;

pub use report::{Answer, NotRun, Options, Report, ServerFacts, Summary};

use ask::{Answered, Inquiry};
use facts::Server;
use howdah_postgres::Pools;

/// Databases asked at the same time.
const PARALLEL: usize = 4;

/// What one connection's questions gave.
#[derive(Default)]
struct Gathered {
    findings: Vec<Finding>,
    passed: Vec<Answer>,
    not_run: Vec<NotRun>,
}

/// Asks the server behind `pools` everything, and judges the answers.
///
/// `spec` is what is declared, where there is a declaration; `machine` the facts of this machine, when the server runs on
/// it. Checks that need what is not given are in the report as not run.
///
/// # Errors
/// `usage` when an option names no check; `not_found` when it names no database; what connecting gives when the server
/// itself cannot be reached. A database or a check that fails later is in the report, not an error.
pub async fn run(
    pools: &Pools,
    spec: Option<&Spec>,
    machine: Option<&Machine>,
    options: &Options,
) -> Result<Report, Problem> {
    let selected = select(&options.checks)?;
    let inquiry = Inquiry::open(pools, &pools.target().database, options).await?;
    let server = Server::read(&inquiry, &pools.target(), spec, machine, options).await?;
    let databases = choose(&server, &options.databases)?;

    let on_server = async { ask_all(inquiry, &server, None, of_scope(&selected, true)).await };
    // Futures first: a closure over borrowed names inside the stream keeps the whole from being `Send`.
    let mut asking = Vec::with_capacity(databases.len());
    for database in &databases {
        let (server, selected) = (&server, &selected);
        asking.push(async move {
            let checks = of_scope(selected, false);
            match Inquiry::open(pools, database, options).await {
                Ok(inquiry) => (database.clone(), ask_all(inquiry, server, Some(database), checks).await),
                Err(problem) => (database.clone(), unreachable(database, &checks, &problem)),
            }
        });
    }
    let on_databases = stream::iter(asking).buffered(PARALLEL).collect::<Vec<_>>();
    let (first, others) = future::join(on_server, on_databases).await;

    let mut all = first.0;
    let mut versions = BTreeMap::new();
    for (database, (gathered, pgvector)) in others {
        all.findings.extend(gathered.findings);
        all.passed.extend(gathered.passed);
        all.not_run.extend(gathered.not_run);
        versions.insert(database, pgvector);
    }
    let facts = ServerFacts {
        address: pools.target().place(),
        version: server.version.clone(),
        platform: Some(match spec {
            Some(spec) if spec.server.url.is_none() && machine.is_some() => "run by Howdah".to_owned(),
            _ => server.platform.id.name().to_owned(),
        }),
        replica: server.recovery,
        databases: versions,
    };
    Ok(Report::new(facts, all.findings, all.passed, all.not_run, options.strict))
}

/// The checks that `wanted` names, in the order of the table.
fn select(wanted: &[String]) -> Result<Vec<&'static Check>, Problem> {
    for name in wanted {
        if !check::all().any(|check| named(check, name)) {
            let problem = Problem::new(Kind::Usage, format!("there is no check `{name}`"));
            return Err(match nearest(name, check::all().map(|check| check.id)) {
                Some(near) => problem.hint(format!("Did you mean `{near}`?")),
                None => problem.hint("`docs/doctor.md` lists them; `pgv.` means all that begin so."),
            });
        }
    }
    let meant = |check: &&Check| wanted.is_empty() || wanted.iter().any(|name| named(check, name));
    Ok(check::all().filter(meant).collect())
}

fn named(check: &Check, name: &str) -> bool {
    check.id == name || (name.ends_with('.') && check.id.starts_with(name))
}

fn of_scope(selected: &[&'static Check], server: bool) -> Vec<&'static Check> {
    selected.iter().copied().filter(|check| (check.scope == Scope::Server) == server).collect()
}

/// The databases to look at: the named ones, or all.
fn choose(server: &Server<'_>, wanted: &[String]) -> Result<Vec<String>, Problem> {
    for name in wanted {
        if !server.databases.contains(name) {
            return Err(Problem::new(Kind::NotFound, format!("database `{name}` is not there"))
                .detail(format!("there are: {}", server.databases.join(", "))));
        }
    }
    let all = || server.databases.clone();
    Ok(if wanted.is_empty() { all() } else { wanted.to_vec() })
}

fn unreachable(database: &str, checks: &[&Check], problem: &Problem) -> (Gathered, Option<String>) {
    let not_run = checks
        .iter()
        .map(|check| NotRun {
            check: check.id.to_owned(),
            database: Some(database.to_owned()),
            reason: problem.message.clone(),
        })
        .collect();
    (Gathered { not_run, ..Gathered::default() }, None)
}

/// Puts the questions of `checks`, one after the other, and judges them. Also says which pgvector the database has.
async fn ask_all(
    mut inquiry: Inquiry,
    server: &Server<'_>,
    database: Option<&str>,
    checks: Vec<&'static Check>,
) -> (Gathered, Option<String>) {
    let mut gathered = Gathered::default();
    let extensions = match inquiry.prepare(server).await {
        Ok(extensions) => extensions,
        Err(problem) => return unreachable(database.unwrap_or("server"), &checks, &problem),
    };
    let facts = server.facts(database, &extensions);
    for check in checks {
        let database = database.map(str::to_owned);
        let outcome = match check::cannot(check, &facts) {
            Some(reason) => Answered::NotRun(reason),
            None => inquiry.ask(check, &facts).await,
        };
        let id = check.id.to_owned();
        match outcome {
            Answered::Found(findings) => gathered.findings.extend(findings),
            Answered::Nothing => gathered.passed.push(Answer { check: id, database }),
            Answered::NotRun(reason) => gathered.not_run.push(NotRun { check: id, database, reason }),
        }
    }
    inquiry.finish();
    let pgvector = extensions.get("vector").cloned();
    (gathered, pgvector)
}

#[cfg(test)]
mod tests;
