//! Writing: whole documents, several in a transaction.
//!
//! The rows of `howdah.sources` go first: inserting a new one or updating one *from the hash it was seen with* locks the
//! document against everybody else who ingests it. Then the table's rows: deletions, moves, rows written over, rows that
//! are new (binary COPY, into the table itself or through a staging table of this session). A transaction that does not
//! commit leaves nothing.

use bytes::Bytes;
use futures_util::{SinkExt, stream};
use howdah_plan::problem::{Kind, Problem};
use tokio_postgres::Client;

use super::encode::{self, Copy};
use super::plan::Change;
use super::writable::{Role, WritableTable};
use howdah_postgres::Own;
use howdah_postgres::problem::from_pg;

/// A transaction to be, everything encoded.
pub(super) struct Batch {
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
    pub rows_written: u64,
    pub rows_unchanged: u64,
    pub rows_removed: u64,
    pub embedded: u64,
    pub bytes: u64,
}

#[derive(Default)]
struct Changed {
    sources: Vec<String>,
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
    /// Encodes changes. `tally` says what is known already: unchanged documents, bytes, texts embedded.
    pub fn encode(target: &WritableTable, changes: Vec<Change>, mut tally: Tally) -> Self {
        let (mut sources, mut updates, mut inserts) = (Copy::default(), Copy::default(), Copy::default());
        let (mut changed, mut deletes, mut moves) = (Changed::default(), Places::default(), Moves::default());
        for change in changes {
            let Change { source, hash, was, rows, .. } = &change;
            match was {
                None => {
                    tally.new += 1;
                    encode::source(&mut sources, &target.collection, source, hash, *rows);
                }
                Some(was) => {
                    tally.changed += 1;
                    changed.sources.push(source.clone());
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
        self.new_sources.is_empty() && self.changed.sources.is_empty()
    }
}

/// A connection that writes.
pub(super) struct Writer {
    client: Own,
    target: WritableTable,
    /// Whether the session has its staging table.
    staged: bool,
    /// Whether a transaction waits for its commit.
    open: bool,
}

impl Writer {
    /// A writer on a connection of its own.
    pub fn new(client: Own, target: WritableTable) -> Self {
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
        if !batch.updates.is_empty() && !self.staged {
            self.stage().await?;
        }
        let doing = self.doing();
        self.client.batch_execute("BEGIN").await.map_err(|e| from_pg(&e, &doing))?;
        self.open = true;
        let work = Work { client: &self.client, target: &self.target, doing: &doing };
        if first {
            work.remember().await?;
        }
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
        self.client.batch_execute("COMMIT").await.map_err(|e| from_pg(&e, &self.doing()))
    }

    /// Closes the connection; nothing is open on it.
    pub fn finish(self) {
        self.client.finish();
    }

    fn doing(&self) -> String {
        format!("write into collection `{}`", self.target.collection)
    }

    /// Makes the session's staging table, outside the transaction, so that it stays.
    async fn stage(&mut self) -> Result<(), Problem> {
        let WritableTable { table, collection, .. } = &self.target;
        let columns = self.target.column_list();
        self.client
            .batch_execute(&format!(
                "CREATE TEMP TABLE howdah_staging ON COMMIT DELETE ROWS AS SELECT {columns} FROM {table} WITH NO DATA"
            ))
            .await
            .map_err(|e| from_pg(&e, &format!("make a staging table for collection `{collection}`")))?;
        self.staged = true;
        Ok(())
    }
}

struct Work<'a> {
    client: &'a Client,
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

    async fn sources(&self, batch: &Batch) -> Result<(), Problem> {
        self.copy("howdah.sources (collection, source, content_hash, chunks)", &batch.new_sources).await?;
        let Changed { sources, was, hashes, rows } = &batch.changed;
        if sources.is_empty() {
            return Ok(());
        }
        let updated = self
            .execute(
                "UPDATE howdah.sources s SET content_hash = n.hash, chunks = n.rows, ingested_at = now()
                 FROM unnest($2::text[], $3::bytea[], $4::bytea[], $5::integer[]) AS n (source, was, hash, rows)
                 WHERE s.collection = $1 AND s.source = n.source AND s.content_hash = n.was",
                &[&self.target.collection, sources, was, hashes, rows],
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
        let sink = self.client.copy_in::<_, Bytes>(&sql).await.map_err(|e| self.fail(&e))?;
        let mut sink = Box::pin(sink);
        let mut messages = stream::iter(messages.iter().cloned().map(Ok));
        sink.send_all(&mut messages).await.map_err(|e| self.fail(&e))?;
        sink.as_mut().finish().await.map(|_| ()).map_err(|e| self.fail(&e))
    }
}

fn raced(collection: &str) -> Problem {
    Problem::new(
        Kind::Conflict,
        format!("somebody else writes the same documents into collection `{collection}`"),
    )
    .hint("Run the command again when the other ingest is done: it then writes only what is missing.")
}
