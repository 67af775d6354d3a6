//! What to ask a collection when nobody says: rows of its own, chosen evenly and the same every time.

use howdah_plan::problem::{Kind, Problem};
use howdah_plan::search::request::RowId;
use howdah_plan::spec::resolve::{Resolved, quote_ident};
use serde_json::Value;

use howdah_postgres::Pools;
use howdah_postgres::problem::from_pg;

/// A row to ask with.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its id.
    pub id: RowId,
    /// Its embedding.
    pub vector: Vec<f32>,
}

/// Draws `count` rows that have an embedding. The same `seed` over the same rows draws the same ones.
///
/// # Errors
/// `failed` when there is none; whatever keeps the database from answering.
pub async fn sample(
    pools: &Pools,
    resolved: &Resolved,
    count: u32,
    seed: u32,
) -> Result<Vec<Sample>, Problem> {
    let id = quote_ident(&resolved.columns.id);
    let embedding = quote_ident(&resolved.columns.embedding);
    let sql = format!(
        "SELECT to_jsonb(t.{id}), t.{embedding}::text FROM {} AS t WHERE t.{embedding} IS NOT NULL
         ORDER BY md5($1::text || t.{id}::text) LIMIT {count}",
        resolved.rows()
    );
    let client = pools.get(&resolved.database).await?;
    let rows =
        client.query(&sql, &[&seed.to_string()]).await.map_err(|e| from_pg(&e, "sample a collection"))?;
    let samples: Vec<Sample> = rows
        .iter()
        .filter_map(|row| {
            let id = match row.get::<_, Value>(0) {
                Value::Number(number) => RowId::Integer(number.as_i64()?),
                other => RowId::Text(other.as_str()?.to_owned()),
            };
            let vector: Vec<f32> = serde_json::from_str(row.get(1)).ok()?;
            // A zero vector cannot be asked with under cosine.
            vector.iter().any(|value| *value != 0.0).then_some(Sample { id, vector })
        })
        .collect();
    if samples.is_empty() {
        return Err(Problem::new(Kind::Failed, format!("collection `{}` has no embeddings", resolved.name))
            .hint(format!("Ingest something first: `howdah ingest {} PATH`.", resolved.name)));
    }
    Ok(samples)
}
