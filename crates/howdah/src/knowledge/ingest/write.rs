//! Writing: whole documents, several in a transaction.
//!
//! The rows of `howdah.sources` go first: inserting a new one or updating one *from the hash it was seen with* locks the
//! document against everybody else who ingests it. Before them come documents that only change their name or origin. Then
//! the table's rows: deletions, moves, rows written over, rows that
//! are new (binary COPY, into the table itself or through a staging table of this session). A transaction that does not
//! commit leaves nothing.

use bytes::Bytes;
use howdah_plan::problem::{Kind, Problem};

use super::connection::Connection;
use super::encode::{self, Copy};
use super::older::Renames;
use super::plan::Change;
use super::writable::{Role, WritableTable};
use howdah_postgres::problem::from_pg;

/// A transaction to be, everything encoded.
pub(super) struct Batch {
    names: Names,
    new_sources: Vec<Bytes>,
    changed: Changed,
    deletes: Places,
    moves: Moves,
    updates: Vec<Bytes>,
    inserts: Vec<Bytes>,
    /// What it will have done.
    pub tally: Tally,
}

/// What a batch does.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tally {
    pub new: u64,
    pub changed: u64,
    pub unchanged: u64,
    pub renamed: u64,
    pub rows_written: u64,
    pub rows_unchanged: u64,
    pub rows_removed: u64,
    pub embedded: u64,
    pub bytes: u64,
}

/// What changes of documents whose text is as it was.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Documents that came from another file, or from none that was known: their names, and where they come from.
    pub sources: Vec<String>,
    pub origins: Vec<String>,
    /// Documents named by an older rule.
    pub renames: Renames,
}

impl Names {
    fn is_empty(&self) -> bool {
        self.sources.is_empty() && self.renames.is_empty()
    }
}

#[derive(Default)]
struct Changed {
    sources: Vec<String>,
    origins: Vec<String>,
    was: Vec<Vec<u8>>,
    hashes: Vec<Vec<u8>>,
    rows: Vec<i32>,
}

#[derive(Default)]
struct Places {
    sources: Vec<String>,
    chunks: Vec<i64>,
}

#[derive(Default)]
struct Moves {
    sources: Vec<String>,
    from: Vec<i64>,
    to: Vec<i64>,
}

impl Batch {
    /// Encodes changes. `tally` says what is known already: unchanged documents and their bytes, texts embedded.
    pub fn encode(target: &WritableTable, names: Names, changes: Vec<Change>, mut tally: Tally) -> Self {
        let (mut sources, mut updates, mut inserts) = (Copy::default(), Copy::default(), Copy::default());
        let (mut changed, mut deletes, mut moves) = (Changed::default(), Places::default(), Moves::default());
        for change in changes {
            let Change { source, hash, was, rows, .. } = &change;
            tally.bytes += change.bytes;
            match was {
                None => {
                    tally.new += 1;
                    encode::source(&mut sources, &target.collection, &change);
                }
                Some(was) => {
                    tally.changed += 1;
                    changed.sources.push(source.clone());
                    changed.origins.push(change.origin.as_deref().unwrap_or_default().to_owned());
                    changed.was.push(was.clone());
                    changed.hashes.push(hash.to_vec());
                    changed.rows.push(*rows);
                }
            }
            for chunk in &change.deletes {
                deletes.sources.push(source.clone());
                deletes.chunks.push(i64::from(*chunk));
            }
            for (from, to) in &change.moves {
                moves.sources.push(source.clone());
                moves.from.push(i64::from(*from));
                moves.to.push(i64::from(*to));
            }
            change.updates.iter().for_each(|row| encode::row(&mut updates, target, source, row));
            change.inserts.iter().for_each(|row| encode::row(&mut inserts, target, source, row));
            tally.rows_unchanged += change.unchanged;
        }
        tally.rows_removed += deletes.chunks.len() as u64;
        tally.rows_written += updates.rows() + inserts.rows() + moves.to.len() as u64;
        Batch {
            names,
            new_sources: sources.finish(),
            changed,
            deletes,
            moves,
            updates: updates.finish(),
            inserts: inserts.finish(),
            tally,
        }
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.new_sources.is_empty() && self.changed.sources.is_empty()
    }

    /// Documents that are removed because they are there under another name.
    pub fn duplicates(&self) -> &[String] {
        &self.names.renames.duplicates
    }
}

/// A connection that writes.
pub(super) struct Writer {
    client: Connection,
    target: WritableTable,
    /// Whether the session has its staging table.
    staged: bool,
    /// Whether a transaction waits for its commit.
    open: bool,
}

impl Writer {
    /// A writer on a connection.
    pub fn new(client: Connection, target: WritableTable) -> Self {
        Writer { client, target, staged: false, open: false }
    }

    /// Writes a batch in one transaction and leaves it open. `first` says that it is the collection's first: then what made
    /// its vectors is remembered with it.
    ///
    /// # Errors
    /// `conflict` when somebody else changed one of the documents meanwhile; what PostgreSQL says otherwise. Nothing of
    /// the batch is written then, and the session is of no more use.
    pub async fn write(&mut self, batch: &Batch, first: bool) -> Result<(), Problem> {
        if batch.is_empty() {
            return Ok(());
        }
        // A session that goes back gets its staging table within the transaction, and loses it with that.
        let lent = self.client.is_lent();
        if !batch.updates.is_empty() && !self.staged && !lent {
            self.stage("DELETE ROWS").await?;
            self.staged = true;
        }
        let doing = self.doing();
        self.client.begin().await.map_err(|e| from_pg(&e, &doing))?;
        self.open = true;
        if !batch.updates.is_empty() && lent {
            self.stage("DROP").await?;
        }
        let work = Work { client: &self.client, target: &self.target, doing: &doing };
        if first {
            work.remember().await?;
        }
        work.names(&batch.names).await?;
        work.sources(batch).await?;
        work.delete(&batch.deletes).await?;
        work.shift(&batch.moves).await?;
        work.overwrite(&batch.updates).await?;
        let into = format!("{} ({})", self.target.table, self.target.column_list());
        work.copy(&into, &batch.inserts).await
    }

    /// Commits what was written, if anything was.
    ///
    /// # Errors
    /// What PostgreSQL says.
    pub async fn commit(&mut self) -> Result<(), Problem> {
        if !std::mem::take(&mut self.open) {
            return Ok(());
        }
        self.client.commit().await.map_err(|e| from_pg(&e, &self.doing()))
    }

    /// Closes the connection; nothing is open on it.
    pub fn finish(self) {
        self.client.finish();
    }

    fn doing(&self) -> String {
        format!("write into collection `{}`", self.target.collection)
    }

    /// Makes the session's staging table.
    async fn stage(&mut self, on_commit: &str) -> Result<(), Problem> {
        let WritableTable { table, collection, .. } = &self.target;
        let columns = self.target.column_list();
        self.client
            .batch_execute(&format!(
                "CREATE TEMP TABLE howdah_staging ON COMMIT {on_commit} AS SELECT {columns} FROM {table} WITH NO DATA"
            ))
            .await
            .map_err(|e| from_pg(&e, &format!("make a staging table for collection `{collection}`")))
    }
}

struct Work<'a> {
    client: &'a Connection,
    target: &'a WritableTable,
    doing: &'a str,
}

impl Work<'_> {
    fn fail(&self, error: &tokio_postgres::Error) -> Problem {
        let problem = from_pg(error, self.doing);
        match error.code() {
            Some(&tokio_postgres::error::SqlState::UNIQUE_VIOLATION) => {
                raced(&self.target.collection).detail(problem.detail.unwrap_or(problem.message))
            }
            _ => problem,
        }
    }

    async fn execute(
        &self,
        sql: &str,
        parameters: &[&(dyn postgres_types::ToSql + Sync)],
    ) -> Result<u64, Problem> {
        self.client.execute(sql, parameters).await.map_err(|e| self.fail(&e))
    }

    async fn remember(&self) -> Result<(), Problem> {
        let WritableTable { collection, facts, dimensions, .. } = self.target;
        let model = facts.as_ref().map(|facts| facts.model.as_str());
        let unit = facts.as_ref().is_some_and(|facts| facts.normalised);
        let dimensions = i32::try_from(*dimensions).unwrap_or(i32::MAX);
        self.execute(
            "INSERT INTO howdah.collections (name, model, dimensions, normalised) VALUES ($1, $2, $3, $4)
             ON CONFLICT (name) DO UPDATE SET model = excluded.model, normalised = excluded.normalised
             WHERE collections.model IS NULL AND excluded.model IS NOT NULL",
            &[collection, &model, &dimensions, &unit],
        )
        .await
        .map(|_| ())
    }

    async fn names(&self, names: &Names) -> Result<(), Problem> {
        if !names.sources.is_empty() {
            self.execute(
                "UPDATE howdah.sources s SET origin = n.origin FROM unnest($2::text[], $3::text[]) AS n (source, origin)
                 WHERE s.collection = $1 AND s.source = n.source",
                &[&self.target.collection, &names.sources, &names.origins],
            )
            .await?;
        }
        let renames = &names.renames;
        let (table, column) = (&self.target.table, self.target.column(Role::Source));
        if !renames.duplicates.is_empty() {
            let parameters: &[&(dyn postgres_types::ToSql + Sync)] = &[&renames.duplicates];
            self.execute(
                "DELETE FROM howdah.sources WHERE collection = $1 AND source = ANY ($2)",
                &[&self.target.collection, &renames.duplicates],
            )
            .await?;
            self.execute(&format!("DELETE FROM {table} WHERE {column} = ANY ($1)"), parameters).await?;
        }
        if renames.old.is_empty() {
            return Ok(());
        }
        let renamed = self
            .execute(
                "UPDATE howdah.sources s SET source = n.new, origin = n.origin
                 FROM unnest($2::text[], $3::text[], $4::text[]) AS n (old, new, origin)
                 WHERE s.collection = $1 AND s.source = n.old",
                &[&self.target.collection, &renames.old, &renames.new, &renames.origins],
            )
            .await?;
        if renamed != renames.old.len() as u64 {
            return Err(raced(&self.target.collection));
        }
        let sql = format!(
            "UPDATE {table} t SET {column} = n.new FROM unnest($1::text[], $2::text[]) AS n (old, new)
             WHERE t.{column} = n.old"
        );
        self.execute(&sql, &[&renames.old, &renames.new]).await.map(|_| ())
    }

    async fn sources(&self, batch: &Batch) -> Result<(), Problem> {
        self.copy("howdah.sources (collection, source, content_hash, chunks, origin)", &batch.new_sources)
            .await?;
        let Changed { sources, origins, was, hashes, rows } = &batch.changed;
        if sources.is_empty() {
            return Ok(());
        }
        let updated = self
            .execute(
                "UPDATE howdah.sources s
                 SET content_hash = n.hash, chunks = n.rows, origin = n.origin, ingested_at = now()
                 FROM unnest($2::text[], $3::bytea[], $4::bytea[], $5::integer[], $6::text[])
                      AS n (source, was, hash, rows, origin)
                 WHERE s.collection = $1 AND s.source = n.source AND s.content_hash = n.was",
                &[&self.target.collection, sources, was, hashes, rows, origins],
            )
            .await?;
        if updated == sources.len() as u64 { Ok(()) } else { Err(raced(&self.target.collection)) }
    }

    async fn delete(&self, places: &Places) -> Result<(), Problem> {
        if places.sources.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "DELETE FROM {} t USING unnest($1::text[], $2::bigint[]) AS d (source, chunk)
             WHERE t.{} = d.source AND t.{} = d.chunk",
            self.target.table,
            self.target.column(Role::Source),
            self.target.column(Role::Chunk)
        );
        self.execute(&sql, &[&places.sources, &places.chunks]).await.map(|_| ())
    }

    /// Moves rows by way of places below zero, where no row is: an UPDATE checks uniqueness row by row.
    async fn shift(&self, moves: &Moves) -> Result<(), Problem> {
        if moves.sources.is_empty() {
            return Ok(());
        }
        let (source, chunk) = (self.target.column(Role::Source), self.target.column(Role::Chunk));
        let noted = if self.target.updated_at { ", updated_at = now()" } else { "" };
        let away = format!(
            "UPDATE {} t SET {chunk} = -1 - t.{chunk} FROM unnest($1::text[], $2::bigint[]) AS m (source, place)
             WHERE t.{source} = m.source AND t.{chunk} = m.place",
            self.target.table
        );
        self.execute(&away, &[&moves.sources, &moves.from]).await?;
        let back = format!(
            "UPDATE {} t SET {chunk} = m.there{noted}
             FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS m (source, place, there)
             WHERE t.{source} = m.source AND t.{chunk} = -1 - m.place",
            self.target.table
        );
        self.execute(&back, &[&moves.sources, &moves.from, &moves.to]).await.map(|_| ())
    }

    async fn overwrite(&self, rows: &[Bytes]) -> Result<(), Problem> {
        if rows.is_empty() {
            return Ok(());
        }
        self.copy(&format!("howdah_staging ({})", self.target.column_list()), rows).await?;
        let (source, chunk) = (self.target.column(Role::Source), self.target.column(Role::Chunk));
        let mut sets: Vec<String> = self
            .target
            .columns
            .iter()
            .filter(|column| !matches!(column.role, Role::Source | Role::Chunk))
            .map(|column| howdah_plan::spec::resolve::quote_ident(&column.name))
            .map(|name| format!("{name} = n.{name}"))
            .collect();
        if self.target.updated_at {
            sets.push("updated_at = now()".to_owned());
        }
        let sql = format!(
            "UPDATE {} t SET {} FROM howdah_staging n WHERE t.{source} = n.{source} AND t.{chunk} = n.{chunk}",
            self.target.table,
            sets.join(", ")
        );
        self.execute(&sql, &[]).await.map(|_| ())
    }

    async fn copy(&self, into: &str, messages: &[Bytes]) -> Result<(), Problem> {
        if messages.is_empty() {
            return Ok(());
        }
        let sql = format!("COPY {into} FROM STDIN (FORMAT binary)");
        self.client.copy_in(&sql, messages).await.map(|_| ()).map_err(|e| self.fail(&e))
    }
}

fn raced(collection: &str) -> Problem {
    Problem::new(
        Kind::Conflict,
        format!("somebody else writes the same documents into collection `{collection}`"),
    )
    .hint("Run the command again when the other ingest is done: it then writes only what is missing.")
}
