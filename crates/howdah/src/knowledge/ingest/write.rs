//! Writing: whole documents, several in a transaction.
//!
//! The rows of `howdah.sources` go first: inserting a new one or updating one *from the hash it was seen with* locks the
//! document against everybody else who ingests it. Then the table's rows: deletions, moves, rows written over, rows that
//! are new (binary COPY, into the table itself or through a staging table of this session). A transaction that does not
//! commit leaves nothing.
//!
//! What PostgreSQL refuses of a batch (a text over its full-text limit, a row too large, a value against a constraint) is
//! looked for by halves, so that one document is named and left out, and the others are written.

use std::ops::Range;

use bytes::Bytes;
use futures_util::{SinkExt, stream};
use howdah_plan::problem::{Kind, Problem};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::encode::{self, Copy};
use super::plan::Change;
use super::writable::{Role, WritableTable};
use crate::knowledge::read::BadRecord;
use howdah_postgres::Own;
use howdah_postgres::problem::from_pg;

/// A transaction to be, everything encoded.
pub(super) struct Batch {
    changes: Vec<Change>,
    /// What is done whether or not its documents can be written.
    base: Tally,
    encoded: Encoded,
    /// What it will have done.
    pub tally: Tally,
}

/// Changes, encoded.
struct Encoded {
    new_sources: Vec<Bytes>,
    changed: Changed,
    deletes: Places,
    moves: Moves,
    updates: Vec<Bytes>,
    inserts: Vec<Bytes>,
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
    /// Encodes changes. `base` says what is known already: unchanged documents, bytes, texts embedded.
    pub fn new(target: &WritableTable, changes: Vec<Change>, base: Tally) -> Self {
        let mut tally = base;
        let encoded = Encoded::new(target, &changes, &mut tally);
        Batch { changes, base, encoded, tally }
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

impl Encoded {
    fn new(target: &WritableTable, changes: &[Change], tally: &mut Tally) -> Self {
        let (mut sources, mut updates, mut inserts) = (Copy::default(), Copy::default(), Copy::default());
        let (mut changed, mut deletes, mut moves) = (Changed::default(), Places::default(), Moves::default());
        for change in changes {
            let Change { source, hash, was, rows, .. } = change;
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
        Encoded {
            new_sources: sources.finish(),
            changed,
            deletes,
            moves,
            updates: updates.finish(),
            inserts: inserts.finish(),
        }
    }
}

/// Why something was not written.
#[derive(Debug)]
pub(super) struct Refused {
    pub problem: Problem,
    /// Whether what was to be written is to blame, rather than the server or somebody else.
    pub of_data: bool,
    /// PostgreSQL's own words.
    words: String,
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Refused { words: problem.message.clone(), problem, of_data: false }
    }
}

/// Whether PostgreSQL refuses a value: classes `data exception`, `integrity constraint violation`, `program limit exceeded`,
/// and what a trigger raises.
fn of_data(code: &SqlState) -> bool {
    *code != SqlState::UNIQUE_VIOLATION
        && (["22", "23", "54"].iter().any(|class| code.code().starts_with(class))
            || *code == SqlState::RAISE_EXCEPTION)
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
    /// the batch is written then; where its data is to blame, [`Writer::write_apart`] writes the rest of it.
    pub async fn write(&mut self, batch: &Batch, first: bool) -> Result<(), Refused> {
        if batch.is_empty() {
            return Ok(());
        }
        if !batch.encoded.updates.is_empty() && !self.staged {
            self.stage().await?;
        }
        let doing = self.doing();
        self.client.batch_execute("BEGIN").await.map_err(|e| from_pg(&e, &doing))?;
        self.open = true;
        let work = Work { client: &self.client, target: &self.target, doing: &doing };
        if first {
            work.remember().await?;
        }
        work.write(&batch.encoded).await
    }

    /// Writes what can be written of a batch that was refused, in one transaction that is left open. `refuse` gets each
    /// document that PostgreSQL refuses, and says whether to go on.
    ///
    /// # Errors
    /// What `refuse` says; what PostgreSQL says otherwise.
    pub async fn write_apart(
        &mut self,
        batch: &Batch,
        first: bool,
        mut refuse: impl FnMut(BadRecord) -> Result<(), Problem>,
    ) -> Result<Tally, Problem> {
        let doing = self.doing();
        self.client.batch_execute("ROLLBACK; BEGIN").await.map_err(|e| from_pg(&e, &doing))?;
        let work = Work { client: &self.client, target: &self.target, doing: &doing };
        if first {
            work.remember().await.map_err(|refused| refused.problem)?;
        }
        let mut tally = batch.base;
        let mut parts = halves(0..batch.changes.len());
        while let Some(part) = parts.pop() {
            let changes = &batch.changes[part.clone()];
            let mut done = Tally::default();
            match work.attempt(&Encoded::new(&self.target, changes, &mut done)).await {
                Ok(()) => tally.add(&done),
                Err(refused) if refused.of_data => match changes {
                    [one] => refuse(one.origin.bad(refused.reason()))?,
                    _ => parts.extend(halves(part)),
                },
                Err(refused) => return Err(refused.problem),
            }
        }
        Ok(tally)
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

/// The halves of a range, the first one last; one element is its own half.
fn halves(range: Range<usize>) -> Vec<Range<usize>> {
    let middle = range.start + range.len() / 2;
    [middle..range.end, range.start..middle].into_iter().filter(|half| !half.is_empty()).collect()
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        // Field by field, so that a new one is not forgotten.
        let Tally { new, changed, unchanged, rows_written, rows_unchanged, rows_removed, embedded, bytes } =
            other;
        self.new += new;
        self.changed += changed;
        self.unchanged += unchanged;
        self.rows_written += rows_written;
        self.rows_unchanged += rows_unchanged;
        self.rows_removed += rows_removed;
        self.embedded += embedded;
        self.bytes += bytes;
    }
}

impl Refused {
    /// What is wrong with the one document that was refused.
    fn reason(&self) -> String {
        if self.words.contains("too long for tsvector") {
            return format!(
                "its text has too many different words to be searched ({}); split it",
                self.words
            );
        }
        format!("PostgreSQL refuses it: {}", self.words)
    }
}

struct Work<'a> {
    client: &'a Client,
    target: &'a WritableTable,
    doing: &'a str,
}

impl Work<'_> {
    fn fail(&self, error: &tokio_postgres::Error) -> Refused {
        let problem = from_pg(error, self.doing);
        let words = error.as_db_error().map_or_else(|| problem.message.clone(), |db| db.message().to_owned());
        match error.code() {
            Some(&SqlState::UNIQUE_VIOLATION) => {
                raced(&self.target.collection).detail(problem.detail.unwrap_or(problem.message)).into()
            }
            code => Refused { problem, of_data: code.is_some_and(of_data), words },
        }
    }

    /// Writes a part within a savepoint, which is undone where it is refused.
    async fn attempt(&self, part: &Encoded) -> Result<(), Refused> {
        self.batch("SAVEPOINT howdah_part").await?;
        let written = self.write(part).await;
        let end = match &written {
            Err(refused) if refused.of_data => "ROLLBACK TO SAVEPOINT howdah_part",
            Err(_) => return written,
            Ok(()) if part.updates.is_empty() => "RELEASE SAVEPOINT howdah_part",
            // The staging table is emptied at the end of the transaction only.
            Ok(()) => "RELEASE SAVEPOINT howdah_part; DELETE FROM howdah_staging",
        };
        self.batch(end).await?;
        written
    }

    async fn write(&self, part: &Encoded) -> Result<(), Refused> {
        self.sources(part).await?;
        self.delete(&part.deletes).await?;
        self.shift(&part.moves).await?;
        self.overwrite(&part.updates).await?;
        let into = format!("{} ({})", self.target.table, self.target.column_list());
        self.copy(&into, &part.inserts).await
    }

    async fn batch(&self, sql: &str) -> Result<(), Refused> {
        self.client.batch_execute(sql).await.map_err(|e| self.fail(&e))
    }

    async fn execute(
        &self,
        sql: &str,
        parameters: &[&(dyn postgres_types::ToSql + Sync)],
    ) -> Result<u64, Refused> {
        self.client.execute(sql, parameters).await.map_err(|e| self.fail(&e))
    }

    async fn remember(&self) -> Result<(), Refused> {
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

    async fn sources(&self, batch: &Encoded) -> Result<(), Refused> {
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
        if updated == sources.len() as u64 { Ok(()) } else { Err(raced(&self.target.collection).into()) }
    }

    async fn delete(&self, places: &Places) -> Result<(), Refused> {
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
    async fn shift(&self, moves: &Moves) -> Result<(), Refused> {
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

    async fn overwrite(&self, rows: &[Bytes]) -> Result<(), Refused> {
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

    async fn copy(&self, into: &str, messages: &[Bytes]) -> Result<(), Refused> {
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
