//! One question: put it in a read-only transaction with a time limit, and hand its rows to the verdict.
//!
//! Everything goes over the simple protocol: no statement is prepared, so it works behind any pool, and the answer comes
//! as JSON, one object a row.

use std::collections::BTreeMap;

use howdah_plan::check::{self, Check, CheckFacts, Finding, Row, Scope};
use howdah_plan::platform::Platform;
use howdah_plan::problem::{Kind, Problem};
use howdah_plan::settings::LOAD_HOWDAH;
use howdah_plan::spec::resolve::quote_ident;
use tokio_postgres::SimpleQueryMessage;

use super::facts::Server;
use super::report::Options;
use howdah_postgres::{Own, Pools, Target, preflight, problem};

/// What came of a check.
pub(super) enum Answered {
    /// It found something.
    Found(Vec<Finding>),
    /// It found nothing.
    Nothing,
    /// It could not run, and why.
    NotRun(String),
}

/// A connection of the doctor's own.
pub(super) struct Inquiry {
    client: Own,
    timeout_ms: u64,
    samples: u32,
    /// What pgvector's library did when it was tried: an error in its own words.
    broken: Option<String>,
}

/// Columns of a vector type: one target each.
const COLUMN_TARGETS: &str = "SELECT format('%I.%I.%I', n.nspname, c.relname, a.attname) AS object, \
     format('%I.%I', n.nspname, c.relname) AS table, quote_ident(a.attname) AS column, t.typname AS type \
     FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p') AND NOT c.relispartition \
     JOIN pg_type t ON t.oid = a.atttypid AND t.typname IN ('vector', 'halfvec', 'sparsevec') \
     JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname NOT LIKE 'pg\\_%' \
     WHERE NOT a.attisdropped AND a.attnum > 0 ORDER BY 1";

/// Vector indexes: one target each. `operator` is the one that the index serves.
const INDEX_TARGETS: &str = "SELECT format('%I.%I', n.nspname, c.relname) AS object, \
     format('%I.%I', n.nspname, c.relname) AS index, format('%I.%I', n.nspname, t.relname) AS table, \
     pg_get_indexdef(i.indexrelid, 1, true) AS expression, coalesce(pg_get_expr(i.indpred, i.indrelid), 'true') AS filter, \
     am.amname AS method, (SELECT op.oprname FROM pg_amop ao JOIN pg_operator op ON op.oid = ao.amopopr WHERE ao.amopfamily = o.opcfamily \
     AND ao.amoppurpose = 'o' LIMIT 1) AS operator, greatest(t.reltuples, 0)::bigint AS rows, \
     quote_ident(current_database()) AS database_name FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
     JOIN pg_am am ON am.oid = c.relam AND am.amname IN ('hnsw', 'ivfflat', 'howdah') JOIN pg_class t ON t.oid = i.indrelid \
     JOIN pg_namespace n ON n.oid = t.relnamespace JOIN pg_opclass o ON o.oid = i.indclass[0] \
     WHERE i.indisvalid AND c.relkind = 'i' ORDER BY 1";

impl Inquiry {
    /// Opens one to `database`.
    pub(super) async fn open(pools: &Pools, database: &str, options: &Options) -> Result<Inquiry, Problem> {
        Ok(Inquiry {
            client: pools.own(database).await?,
            timeout_ms: options.timeout_seconds.clamp(1, 86_400) * 1_000,
            samples: options.recall_samples.clamp(1, 1_000),
            broken: None,
        })
    }

    /// Closes it.
    pub(super) fn finish(self) {
        self.client.finish();
    }

    /// On whose PostgreSQL we are.
    pub(super) async fn platform(&self, target: &Target) -> Result<Platform, Problem> {
        preflight::platform_of(&self.client, target).await
    }

    /// Makes the session ready: names are looked up where extensions live and nowhere else, the libraries of pgvector
    /// and Howdah are loaded so that their settings exist. Gives the extensions of the database.
    pub(super) async fn prepare(&mut self, server: &Server<'_>) -> Result<BTreeMap<String, String>, Problem> {
        self.samples = server.samples;
        let rows = self
            .rows(
                "SELECT e.extname AS name, e.extversion AS version, n.nspname AS schema FROM pg_extension e \
                 JOIN pg_namespace n ON n.oid = e.extnamespace",
                false,
            )
            .await?;
        let mut path = vec!["pg_catalog".to_owned()];
        let mut extensions = BTreeMap::new();
        for row in &rows {
            let schema = quote_ident(row.text("schema"));
            if matches!(row.text("name"), "vector" | "howdah" | "pg_stat_statements" | "amcheck")
                && !path.contains(&schema)
            {
                path.push(schema);
            }
            extensions.insert(row.text("name").to_owned(), row.text("version").to_owned());
        }
        let set = format!("SET search_path = {}", path.join(", "));
        self.client.batch_execute(&set).await.map_err(|e| problem::from_pg(&e, "set the search path"))?;
        if extensions.contains_key("vector") {
            self.broken = self.client.batch_execute("SELECT '[1]'::vector").await.err().map(|e| words(&e).1);
        }
        if extensions.contains_key("howdah") {
            // A check of its own says what is wrong where this fails.
            let _ = self.client.batch_execute(&format!("SELECT {LOAD_HOWDAH}")).await;
        }
        Ok(extensions)
    }

    /// Puts the question of `check`, for each of its targets.
    pub(super) async fn ask(&mut self, check: &'static Check, facts: &CheckFacts<'_>) -> Answered {
        if let Some(error) = self.broken.as_ref().filter(|_| check.id == "pgv.so_loads") {
            return Answered::Found(vec![check::error_finding(check, facts, &Row::default(), error)]);
        }
        let sql = check.sql_for(facts.major());
        let targets = match check.scope {
            Scope::Server | Scope::Database => return self.ask_one(check, facts, sql, &Row::default()).await,
            Scope::VectorColumn => self.rows(COLUMN_TARGETS, false).await,
            Scope::VectorIndex => self.rows(INDEX_TARGETS, false).await,
        };
        let targets = match targets {
            Ok(targets) => targets,
            Err(problem) => return Answered::NotRun(problem.message),
        };
        let mut found = Vec::new();
        let mut missed = None;
        for target in &targets {
            let sql = check::template(sql, |name| self.value(target, name));
            match self.ask_one(check, facts, &sql, target).await {
                Answered::Found(findings) => found.extend(findings),
                Answered::Nothing => {}
                Answered::NotRun(reason) => missed = Some(format!("{}: {reason}", target.text("object"))),
            }
        }
        match missed {
            // What was found counts more than what could not be looked at.
            Some(reason) if found.is_empty() => Answered::NotRun(reason),
            _ if found.is_empty() => Answered::Nothing,
            _ => Answered::Found(found),
        }
    }

    fn value(&self, target: &Row, name: &str) -> Option<String> {
        match name {
            "samples" => Some(self.samples.to_string()),
            // Rows are drawn one by one, half as many again as are wanted; the exact searches read them all anyway.
            "percent" => {
                let rows = target.int("rows")?.max(1) as f64;
                Some((150.0 * f64::from(self.samples) / rows).clamp(0.001, 100.0).to_string())
            }
            _ => Some(target.text(name).to_owned()).filter(|value| !value.is_empty()),
        }
    }

    async fn ask_one(
        &self,
        check: &'static Check,
        facts: &CheckFacts<'_>,
        sql: &str,
        target: &Row,
    ) -> Answered {
        let through_index = check.scope == Scope::VectorIndex;
        match self.question(sql, through_index).await {
            Ok(mut rows) => {
                for row in &mut rows {
                    for (name, value) in &target.0 {
                        row.0.entry(name.clone()).or_insert_with(|| value.clone());
                    }
                }
                let findings = check::findings(check, facts, &rows);
                if findings.is_empty() { Answered::Nothing } else { Answered::Found(findings) }
            }
            Err(error) => {
                let (kind, message) = words(&error);
                if check.error_counts && !matches!(kind, Kind::Forbidden | Kind::Timeout | Kind::Unreachable)
                {
                    return Answered::Found(vec![check::error_finding(check, facts, target, &message)]);
                }
                Answered::NotRun(match kind {
                    Kind::Timeout => format!("took longer than {} s", self.timeout_ms / 1_000),
                    Kind::Forbidden => format!("missing right: {message}"),
                    _ => message,
                })
            }
        }
    }

    /// The rows of a question, as JSON.
    pub(super) async fn rows(&self, sql: &str, through_index: bool) -> Result<Vec<Row>, Problem> {
        self.question(sql, through_index).await.map_err(|e| problem::from_pg(&e, "ask the server"))
    }

    async fn question(&self, sql: &str, through_index: bool) -> Result<Vec<Row>, tokio_postgres::Error> {
        let seqscan = if through_index { "SET LOCAL enable_seqscan = off; " } else { "" };
        let text = format!(
            "BEGIN TRANSACTION READ ONLY; SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = 2000; {seqscan}\
             SELECT row_to_json(q)::text FROM ({sql}) AS q; COMMIT",
            self.timeout_ms
        );
        match self.client.simple_query(&text).await {
            Ok(messages) => Ok(messages.iter().filter_map(row).collect()),
            Err(error) => {
                // The transaction is over either way; a closed connection says so at the next question.
                let _ = self.client.batch_execute("ROLLBACK").await;
                Err(error)
            }
        }
    }
}

fn row(message: &SimpleQueryMessage) -> Option<Row> {
    let SimpleQueryMessage::Row(row) = message else { return None };
    serde_json::from_str(row.get(0)?).ok()
}

/// What kind of error it is, and the server's own words.
fn words(error: &tokio_postgres::Error) -> (Kind, String) {
    match error.as_db_error() {
        Some(db) => (problem::kind_of(db.code().code()), db.message().to_owned()),
        None => (Kind::Unreachable, format!("the connection ended: {error}")),
    }
}
