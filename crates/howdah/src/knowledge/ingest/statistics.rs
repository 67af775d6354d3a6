//! Fresh statistics after a load that changed much.
//!
//! Until a table is analysed PostgreSQL guesses how many rows a filter leaves, and plans by the guess. Autovacuum gets to it
//! within minutes; a load is searched at once. ANALYZE wants the table's owner, and the role that fills collections is not:
//! so it runs in a function of Howdah's own, `howdah.analyze`, which does that much with the owner's rights for whoever may
//! insert.

use std::time::{Duration, Instant};

use howdah_plan::problem::{Kind, Problem};
use howdah_plan::spec::resolve::Resolved;
use howdah_postgres::Pools;
use howdah_postgres::problem::from_pg;

/// Changes that are few in a table that never was analysed, as autovacuum counts.
const FEW_AT_FIRST: f64 = 50.0;
/// Changes that are few in any table.
const FEW: f64 = 1_000.0;
/// Part of a table that is much.
const PART: f64 = 0.1;
/// How long a connection is waited for. Whoever has none leaves it to autovacuum.
const PATIENCE: Duration = Duration::from_secs(2);

/// Analyses the collection's table if `changed` rows are much of it, or if it never was analysed. What keeps it from that
/// is no error of the load: it is the sentence that comes back.
pub(super) async fn refresh(pools: &Pools, resolved: &Resolved, changed: u64) -> Option<String> {
    let doing = format!("refresh the statistics of collection `{}`", resolved.name);
    match is_due(pools, resolved, changed, &doing).await {
        Ok(false) => None,
        Ok(true) => match analyse(pools, resolved, &doing).await {
            Ok(said) => said,
            Err(problem) if problem.kind == Kind::Busy => None,
            Err(problem) => Some(unrefreshed(resolved, &problem.to_string())),
        },
        Err(problem) => Some(unrefreshed(resolved, &problem.to_string())),
    }
}

/// Whether so much changed. Everybody may ask that.
async fn is_due(pools: &Pools, resolved: &Resolved, changed: u64, doing: &str) -> Result<bool, Problem> {
    if changed == 0 {
        return Ok(false);
    }
    let sql = "SELECT greatest(c.reltuples, 0)::float8,
                      coalesce(s.last_analyze, s.last_autoanalyze) IS NULL,
                      coalesce(s.n_mod_since_analyze, 0)::float8
               FROM pg_class c LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid WHERE c.oid = to_regclass($1)";
    let client = pools.get(&resolved.database).await?;
    let row = client.query_opt(sql, &[&resolved.qualified()]).await.map_err(|e| from_pg(&e, doing))?;
    let Some(row) = row else { return Ok(false) };
    let (rows, never, counted): (f64, bool, f64) = (row.get(0), row.get(1), row.get(2));
    // PostgreSQL counts a moment later than it writes.
    let changed = counted.max(changed as f64);
    Ok(changed >= if never { FEW_AT_FIRST } else { FEW.max(rows * PART) })
}

async fn analyse(pools: &Pools, resolved: &Resolved, doing: &str) -> Result<Option<String>, Problem> {
    let soon = Instant::now() + PATIENCE;
    let until = pools.deadline().map_or(soon, |deadline| deadline.min(soon));
    let mut client = pools.until(Some(until)).get(&resolved.database).await?;
    let transaction = client.transaction().await.map_err(|e| from_pg(&e, doing))?;
    transaction
        .batch_execute("SET LOCAL statement_timeout = '2min'")
        .await
        .map_err(|e| from_pg(&e, doing))?;
    // Whoever analyses it already does it for both.
    let sql = "SELECT howdah.analyze(to_regclass($1))";
    let row = transaction.query_one(sql, &[&resolved.qualified()]).await.map_err(|e| from_pg(&e, doing))?;
    let analysed: Option<bool> = row.get(0);
    transaction.commit().await.map_err(|e| from_pg(&e, doing))?;
    Ok(match analysed {
        Some(false) => {
            Some(unrefreshed(resolved, "the role that applies the declaration does not own the table"))
        }
        _ => None,
    })
}

fn unrefreshed(resolved: &Resolved, why: &str) -> String {
    format!(
        "the planner's statistics are older than this load ({why}); its owner runs `ANALYZE {}`",
        resolved.qualified()
    )
}
