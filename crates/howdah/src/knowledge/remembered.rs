//! Which model filled a collection?
//!
//! Vectors of different models cannot be compared, and nothing fails when somebody does: the answers are nonsense. So the
//! first ingest notes the model in `howdah.collections`, and whoever embeds for a collection asks here first.

use std::time::Duration;

use howdah_plan::problem::{DoNow, Kind, Problem};
use howdah_plan::spec::resolve::Resolved;
use tokio_postgres::error::SqlState;

use crate::collections::cache::Cache;
use crate::collections::facts;
use howdah_postgres::Pools;
use howdah_postgres::problem::from_pg;

/// How long the answer is kept.
const FRESH: Duration = Duration::from_secs(10);
/// The models that are remembered.
#[derive(Default)]
struct Models(Cache<Option<String>>);

/// Refuses a query embedded by another model than the collection's rows.
///
/// # Errors
/// `conflict`, with both models and what to do; whatever keeps the database from answering.
pub async fn check(pools: &Pools, resolved: &Resolved, model: &str) -> Result<(), Problem> {
    let key = format!("{}\0{}", facts::key(resolved), resolved.name);
    let models = pools.remembered::<Models>();
    let known = match models.0.get(&key, FRESH) {
        Some(known) => known,
        None => {
            let known = read(pools, resolved).await?;
            models.0.put(key, known.clone(), FRESH);
            known
        }
    };
    match known {
        Some(was) if was != model => {
            Err(differs(resolved, "model", &was, model)
                .detail("vectors of different models cannot be compared"))
        }
        _ => Ok(()),
    }
}

/// What is noted; nothing where Howdah's own tables are missing or out of reach, as with an adopted table.
async fn read(pools: &Pools, resolved: &Resolved) -> Result<Option<String>, Problem> {
    let client = pools.get(&resolved.database).await?;
    let sql = "SELECT model FROM howdah.collections WHERE name = $1";
    match client.query_opt(sql, &[&resolved.name]).await {
        Ok(row) => Ok(row.and_then(|row| row.get(0))),
        Err(error) => match error.code() {
            Some(
                &SqlState::UNDEFINED_TABLE
                | &SqlState::INVALID_SCHEMA_NAME
                | &SqlState::INSUFFICIENT_PRIVILEGE,
            ) => Ok(None),
            _ => Err(from_pg(&error, &format!("read which model filled collection `{}`", resolved.name))),
        },
    }
}

/// The refusal: what filled the collection, and what it is to be used with.
pub(in crate::knowledge) fn differs(resolved: &Resolved, what: &str, was: &str, is: &str) -> Problem {
    Problem::new(
        Kind::Conflict,
        format!("collection `{}` was filled with {what} `{was}`, not `{is}`", resolved.name),
    )
    .hint(format!(
        "Go back to {what} `{was}` in howdah.toml, or declare a new collection and ingest into that one."
    ))
    .do_now(DoNow::FixInput)
}

#[cfg(test)]
mod tests {
    use howdah_plan::spec::Spec;
    use howdah_plan::spec::resolve::resolve;
    use serde_json::json;

    use super::*;
    use howdah_postgres::testing;

    #[tokio::test]
    async fn another_model_is_refused_and_nothing_noted_is_fine() {
        let database = testing::database().await;
        let spec: Spec = serde_json::from_value(json!({
            "name": "test", "databases": {&database.name: {}}, "collections": {"a": {}, "b": {}},
        }))
        .unwrap();
        let (a, b) = (resolve(&spec, "a").unwrap(), resolve(&spec, "b").unwrap());
        check(&database.pools, &a, "any").await.unwrap();
        let client = database.client().await;
        for migration in howdah_plan::internal_schema::all() {
            client.batch_execute(migration.sql).await.unwrap();
        }
        client.batch_execute("INSERT INTO howdah.collections VALUES ('b', 'old', 3, true)").await.unwrap();
        check(&database.pools, &b, "old").await.unwrap();
        let problem = check(&database.pools, &b, "new").await.unwrap_err();
        assert_eq!(problem.kind, Kind::Conflict);
        assert!(problem.message.contains("`old`, not `new`"), "{problem}");
    }
}
