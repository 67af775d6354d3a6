//! Removing documents that are gone from the directories that were read.
//!
//! The names that were read are kept in a temporary table of the session, so that a directory of any size fits. A file that
//! was there but bad counts as read, with everything in it.

use howdah_plan::problem::{Kind, Problem};
use tokio_postgres::Client;

use super::request::IngestRequest;
use super::tally::Tally;
use super::writable::{Role, WritableTable};
use crate::knowledge::read::{Input, source_name};
use howdah_postgres::problem::from_pg;

/// Documents removed in one transaction.
const AT_ONCE: usize = 1_000;

/// How the names of documents of the given directories begin.
///
/// # Errors
/// `usage` when none is given, or the working directory, whose documents' names begin with nothing.
pub(super) fn prefixes(request: &IngestRequest) -> Result<Vec<String>, Problem> {
    let mut prefixes = Vec::new();
    for input in &request.inputs {
        let Input::Path(path) = input else { continue };
        let path = std::path::Path::new(path);
        if path.is_dir() {
            prefixes.push(source_name(path, request.base.as_deref()).unwrap_or_default());
        }
    }
    if prefixes.is_empty() || prefixes.iter().any(String::is_empty) {
        return Err(Problem::new(Kind::Usage, "cannot tell which documents are gone")
            .detail("`--prune` removes documents whose name begins with the path of a given directory")
            .hint("Give a directory by its name, from the directory above it: `howdah ingest COLLECTION docs --prune`."));
    }
    Ok(prefixes.into_iter().map(|prefix| format!("{}/", prefix.trim_end_matches('/'))).collect())
}

/// Makes the table of names.
pub(super) async fn prepare(client: &Client) -> Result<(), Problem> {
    client
        .batch_execute("CREATE TEMP TABLE howdah_seen (source text NOT NULL, whole_file boolean NOT NULL)")
        .await
        .map_err(|e| from_pg(&e, "make a table for the names that were read"))
}

/// Notes names that were read.
pub(super) async fn note(client: &Client, sources: &[String], whole_file: bool) -> Result<(), Problem> {
    client
        .execute(
            "INSERT INTO howdah_seen SELECT s, $2 FROM unnest($1::text[]) AS s",
            &[&sources, &whole_file],
        )
        .await
        .map(|_| ())
        .map_err(|e| from_pg(&e, "note the names that were read"))
}

/// Removes what begins with a prefix and was not read.
pub(super) async fn run(
    client: &mut Client,
    target: &WritableTable,
    prefixes: &[String],
    tally: &Tally,
) -> Result<(), Problem> {
    let doing = format!("remove documents from collection `{}`", target.collection);
    let fail = |e: tokio_postgres::Error| from_pg(&e, &doing);
    let gone: Vec<String> = client
        .query(
            "SELECT s.source FROM howdah.sources s
             WHERE s.collection = $1 AND EXISTS (SELECT FROM unnest($2::text[]) p WHERE starts_with(s.source, p))
               AND NOT EXISTS (SELECT FROM howdah_seen n WHERE n.source = s.source)
               AND NOT EXISTS (SELECT FROM howdah_seen n WHERE n.whole_file
                               AND (n.source = s.source OR starts_with(s.source, n.source || '#')))
             ORDER BY s.source",
            &[&target.collection, &prefixes],
        )
        .await
        .map_err(fail)?
        .iter()
        .map(|row| row.get(0))
        .collect();
    let delete = format!("DELETE FROM {} WHERE {} = ANY($1)", target.table, target.column(Role::Source));
    for part in gone.chunks(AT_ONCE) {
        let transaction = client.transaction().await.map_err(fail)?;
        transaction
            .execute(
                "DELETE FROM howdah.sources WHERE collection = $1 AND source = ANY($2)",
                &[&target.collection, &part],
            )
            .await
            .map_err(fail)?;
        let rows = transaction.execute(&delete, &[&part]).await.map_err(fail)?;
        transaction.commit().await.map_err(fail)?;
        tally.removed(part.len() as u64, rows);
    }
    Ok(())
}
