//! Vectors of documents that are not complete yet.
//!
//! A document is written as a whole or not at all, so the vectors of a long one would be lost with the ingest that is
//! killed. They are kept in `howdah.embedded` meanwhile, by the hash of their row, which holds the model and the text: the
//! next ingest takes them from there and embeds the rest. An ingest that came to its end removes them.

use std::collections::HashMap;

use howdah_plan::problem::Problem;
use howdah_postgres::problem::from_pg;
use tokio_postgres::error::SqlState;

use super::connection::Connection;

/// Where the vectors of one collection are kept.
pub(super) struct Embedded {
    collection: String,
    any: bool,
}

impl Embedded {
    /// Looks whether there are some. None where Howdah's tables are older than this; then nothing is kept.
    pub async fn open(client: &Connection, collection: &str) -> Result<Option<Embedded>, Problem> {
        let sql = "SELECT FROM howdah.embedded WHERE collection = $1 LIMIT 1";
        let any = match client.query_opt(sql, &[&collection]).await {
            Ok(row) => row.is_some(),
            Err(error) => {
                return match error.code() {
                    Some(&SqlState::UNDEFINED_TABLE | &SqlState::INSUFFICIENT_PRIVILEGE) => Ok(None),
                    _ => Err(from_pg(&error, "look for vectors of an interrupted ingest")),
                };
            }
        };
        Ok(Some(Embedded { collection: collection.to_owned(), any }))
    }

    /// Whether an ingest of before left some.
    pub fn any(&self) -> bool {
        self.any
    }

    /// Those of these rows that are there.
    pub async fn recall(
        &self,
        client: &Connection,
        hashes: &[Vec<u8>],
    ) -> Result<HashMap<Vec<u8>, Vec<f32>>, Problem> {
        let sql =
            "SELECT row_hash, embedding FROM howdah.embedded WHERE collection = $1 AND row_hash = ANY ($2)";
        let rows = client
            .query(sql, &[&self.collection, &hashes])
            .await
            .map_err(|e| from_pg(&e, "read vectors of an interrupted ingest"))?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// Keeps vectors. What keeps it from that costs no more than embedding them again.
    pub async fn keep(&self, client: &Connection, rows: Vec<(Vec<u8>, Vec<f32>)>) {
        if let Err(problem) = self.write(client, &rows).await {
            tracing::warn!(
                detail = problem.detail,
                "vectors of an unfinished document are not kept: {problem}"
            );
        }
    }

    async fn write(&self, client: &Connection, rows: &[(Vec<u8>, Vec<f32>)]) -> Result<(), Problem> {
        // An array of arrays does not take vectors apart again, so there is a statement a row, all of them at once.
        let sql = "INSERT INTO howdah.embedded (collection, row_hash, embedding) VALUES ($1, $2, $3)
                   ON CONFLICT DO NOTHING";
        let sent = rows.iter().map(async |(hash, vector)| {
            client.execute(sql, &[&self.collection, hash, vector]).await.map(|_| ())
        });
        futures_util::future::try_join_all(sent)
            .await
            .map(|_| ())
            .map_err(|e| from_pg(&e, "keep vectors of an unfinished document"))
    }

    /// Everything is written that they belong to.
    pub async fn clear(&self, client: &Connection) {
        let sql = "DELETE FROM howdah.embedded WHERE collection = $1";
        if let Err(error) = client.execute(sql, &[&self.collection]).await {
            tracing::warn!(%error, "vectors of an interrupted ingest stay");
        }
    }
}
