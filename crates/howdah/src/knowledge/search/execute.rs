//! Transaction, settings and statement in one go.
//!
//! Settings are `SET LOCAL` in the statement's own transaction, so nothing of them is left on the pooled connection.
//! tokio-postgres sends what is polled together without waiting in between, so this costs no round trip more than the
//! statement alone. All messages are on their way after the first poll: a search that is dropped half-way leaves the
//! connection clean. pgvector's settings can be set before its library is loaded in the session: PostgreSQL keeps them as
//! placeholders and hands them over when the statement loads it.

use futures_util::future::{OptionFuture, join, join4};
use howdah_plan::problem::Problem;
use howdah_plan::search::param::Param;
use howdah_plan::search::scan::Decision;
use howdah_plan::search::statement::Statement;
use serde_json::Value;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};

use howdah_postgres::problem::from_pg;
use howdah_postgres::{Lease, param};

/// A connection, and the time its statements may take.
pub(crate) struct TimedLease<'a> {
    client: &'a Lease,
    timeout_ms: Option<u32>,
}

impl<'a> TimedLease<'a> {
    pub(crate) fn new(client: &'a Lease, timeout_ms: Option<u32>) -> Self {
        TimedLease { client, timeout_ms }
    }

    /// Runs a statement under the decision's settings, and a check beside it.
    pub(crate) async fn run(
        &self,
        decision: &Decision,
        statement: &Statement,
        check: Option<&Statement>,
    ) -> Result<(Vec<Row>, Option<Vec<Row>>), Problem> {
        let checking = OptionFuture::from(check.map(|check| self.typed(&check.sql, &check.params)));
        let Some(begin) = self.begin(decision) else {
            let (rows, check) = join(self.rows(statement), checking).await;
            return Ok((rows.map_err(failed)?, check.transpose().map_err(failed)?));
        };
        if statement.common {
            // The first use on a connection; afterwards this answers at once.
            self.client.prepare_cached(&statement.sql).await.map_err(failed)?;
        }
        let (begun, rows, check, ended) = join4(
            self.client.batch_execute(&begin),
            self.rows(statement),
            checking,
            self.client.batch_execute("COMMIT"),
        )
        .await;
        begun.map_err(failed)?;
        let rows = rows.map_err(failed)?;
        let check = check.transpose().map_err(failed)?;
        ended.map_err(failed)?;
        Ok((rows, check))
    }

    /// What PostgreSQL does with a statement, by running it.
    pub(crate) async fn explain(&self, decision: &Decision, statement: &Statement) -> Result<Value, Problem> {
        let sql = format!("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {}", statement.sql);
        let begin = self.begin(decision).unwrap_or_else(|| "BEGIN".into());
        let (begun, rows, check, ended) = join4(
            self.client.batch_execute(&begin),
            self.typed(&sql, &statement.params),
            std::future::ready(()),
            self.client.batch_execute("COMMIT"),
        )
        .await;
        let () = check;
        begun.map_err(failed)?;
        let rows = rows.map_err(failed)?;
        ended.map_err(failed)?;
        first_json(&rows)
    }

    /// The planner's estimate of a statement's rows; the statement is an `EXPLAIN (FORMAT JSON)`.
    pub(crate) async fn estimate(&self, statement: &Statement) -> Result<f64, Problem> {
        let rows = self.typed(&statement.sql, &statement.params).await.map_err(failed)?;
        Ok(first_json(&rows)?.pointer("/0/Plan/Plan Rows").and_then(Value::as_f64).unwrap_or_default())
    }

    /// Counts by place and name: the answers of a statement that has these three columns.
    pub(crate) async fn counts(
        &self,
        statement: &Statement,
    ) -> Result<Vec<(usize, Option<String>, u64)>, Problem> {
        let rows = self.typed(&statement.sql, &statement.params).await.map_err(failed)?;
        let read = |row: &Row| {
            let (place, rows): (i32, i64) = (row.try_get(0)?, row.try_get(2)?);
            Ok((
                usize::try_from(place).unwrap_or_default(),
                row.try_get(1)?,
                u64::try_from(rows).unwrap_or_default(),
            ))
        };
        rows.iter().map(read).collect::<Result<_, Error>>().map_err(failed)
    }

    /// The first column of each row, a list of texts.
    pub(crate) async fn texts(&self, statement: &Statement) -> Result<Vec<Vec<String>>, Problem> {
        let rows = self.rows(statement).await.map_err(failed)?;
        rows.iter().map(|row| row.try_get(0).map_err(failed)).collect()
    }

    fn begin(&self, decision: &Decision) -> Option<String> {
        if decision.settings.is_empty() && self.timeout_ms.is_none() {
            return None;
        }
        let mut sql = String::from("BEGIN READ ONLY");
        if let Some(timeout) = self.timeout_ms {
            sql.push_str(&format!("; SET LOCAL statement_timeout = {timeout}"));
        }
        // Names and values are our own words and numbers.
        for (name, value) in &decision.settings {
            sql.push_str(&format!("; SET LOCAL {name} = {value}"));
        }
        Some(sql)
    }

    async fn rows(&self, statement: &Statement) -> Result<Vec<Row>, Error> {
        if !statement.common {
            return self.typed(&statement.sql, &statement.params).await;
        }
        let prepared = self.client.prepare_cached(&statement.sql).await?;
        let values: Vec<&(dyn ToSql + Sync)> = statement.params.iter().map(param::value).collect();
        self.client.query(&prepared, &values).await
    }

    /// Runs a statement that is not kept: parsed, planned and run in one round trip, its types given along.
    async fn typed(&self, sql: &str, params: &[Param]) -> Result<Vec<Row>, Error> {
        self.client.query_typed(sql, &param::typed(params)).await
    }
}

fn failed(error: Error) -> Problem {
    from_pg(&error, "search")
}

fn first_json(rows: &[Row]) -> Result<Value, Problem> {
    let Some(row) = rows.first() else { return Ok(Value::Null) };
    row.try_get(0).map_err(failed)
}
