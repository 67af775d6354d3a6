//! Writing: whole documents, several in a transaction.
//!
//! The rows of `howdah.sources` go first: inserting a new one or updating one *from the hash it was seen with* locks the
//! document against everybody else who ingests it. Before them come documents that only change their name or origin. Then
//! the table's rows: deletions, moves, rows written over, rows that are new (binary COPY, into the table itself or through a
//! staging table of this session). A transaction that does not commit leaves nothing.
//!
//! What PostgreSQL refuses of a batch (a text over its full-text limit, a row too large, a value against a constraint) is
//! looked for by halves, so that one document is named and left out, and the others are written.

use std::ops::Range;

use bytes::Bytes;
use howdah_plan::problem::{Kind, Problem};
use tokio_postgres::error::SqlState;

use super::connection::Connection;
use super::encode::{self, Copy};
use super::older::Renames;
use super::plan::Change;
use super::writable::{Role, WritableTable};
use crate::knowledge::read::BadRecord;
use howdah_postgres::problem::from_pg;

/// A transaction to be, everything encoded.
pub(super) struct Batch {
    names: Names,
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
    /// Encodes changes. `base` says what is known already: unchanged documents and their bytes, texts embedded.
    pub fn new(target: &WritableTable, names: Names, changes: Vec<Change>, base: Tally) -> Self {
        let mut tally = base;
        let encoded = Encoded::new(target, &changes, &mut tally);
        Batch { names, changes, base, encoded, tally }
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.changes.is_empty()
    }

    /// Documents that are removed because they are there under another name.
    pub fn duplicates(&self) -> &[String] {
        &self.names.renames.duplicates
    }
}

impl Encoded {
    fn new(target: &WritableTable, changes: &[Change], tally: &mut Tally) -> Self {
        let (mut sources, mut updates, mut inserts) = (Copy::default(), Copy::default(), Copy::default());
        let (mut changed, mut deletes, mut moves) = (Changed::default(), Places::default(), Moves::default());
        for change in changes {
            let Change { source, hash, was, rows, .. } = change;
            tally.bytes += change.bytes;
            match was {
                None => {
                    tally.new += 1;
                    encode::source(&mut sources, &target.collection, change);
                }
                Some(was) => {
                    tally.changed += 1;
                    changed.sources.push(source.clone());
                    changed.origins.push(change.file.as_deref().unwrap_or_default().to_owned());
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
    /// the batch is written then; where its data is to blame, [`Writer::write_apart`] writes the rest of it.
    pub async fn write(&mut self, batch: &Batch, first: bool) -> Result<(), Refused> {
        if batch.is_empty() {
            return Ok(());
        }
        // A session that goes back gets its staging table within the transaction, and loses it with that.
        if !batch.encoded.updates.is_empty() && !self.staged && !self.client.is_lent() {
            self.stage("DELETE ROWS").await?;
            self.staged = true;
        }
        let doing = self.doing();
        self.client.begin().await.map_err(|e| from_pg(&e, &doing))?;
        self.open = true;
        self.stage_within(batch).await?;
        let work = Work { client: &self.client, target: &self.target, doing: &doing };
        if first {
            work.remember().await?;
        }
        work.names(&batch.names).await?;
        work.write(&batch.encoded).await
    }

    /// Writes what can be written of a batch that was refused, in one transaction that is left open: its names, and the
    /// documents that PostgreSQL takes. `refuse` gets each one that it refuses, and says whether to go on.
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
        self.client.begin_again().await.map_err(|e| from_pg(&e, &doing))?;
        self.stage_within(batch).await?;
        let work = Work { client: &self.client, target: &self.target, doing: &doing };
        if first {
            work.remember().await.map_err(|refused| refused.problem)?;
        }
        work.names(&batch.names).await.map_err(|refused| refused.problem)?;
        let mut tally = batch.base;
        let mut parts = halves(0..batch.changes.len());
        while let Some(part) = parts.pop() {
            let changes = &batch.changes[part.clone()];
            let mut done = Tally::default();
            match work.attempt(&Encoded::new(&self.target, changes, &mut done)).await {
                Ok(()) => tally.add(&done),
                Err(refused) if refused.of_data => match changes {
                    [one] => {
                        tally.bytes += one.bytes;
                        refuse(one.place.bad(refused.reason()))?;
                    }
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
        self.client.commit().await.map_err(|e| from_pg(&e, &self.doing()))
    }

    /// Closes the connection; nothing is open on it.
    pub fn finish(self) {
        self.client.finish();
    }

    fn doing(&self) -> String {
        format!("write into collection `{}`", self.target.collection)
    }

    /// Makes the staging table that ends with the transaction, where the session is lent.
    async fn stage_within(&self, batch: &Batch) -> Result<(), Problem> {
        if batch.encoded.updates.is_empty() || !self.client.is_lent() {
            return Ok(());
        }
        self.stage("DROP").await
    }

    /// Makes the session's staging table.
    async fn stage(&self, on_commit: &str) -> Result<(), Problem> {
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

/// The halves of a range, the first one last; one element is its own half.
fn halves(range: Range<usize>) -> Vec<Range<usize>> {
    let middle = range.start + range.len() / 2;
    [middle..range.end, range.start..middle].into_iter().filter(|half| !half.is_empty()).collect()
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        // Field by field, so that a new one is not forgotten.
        let Tally {
            new,
            changed,
            unchanged,
            renamed,
            rows_written,
            rows_unchanged,
            rows_removed,
            embedded,
            bytes,
        } = other;
        self.new += new;
        self.changed += changed;
        self.unchanged += unchanged;
        self.renamed += renamed;
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
    client: &'a Connection,
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

    async fn names(&self, names: &Names) -> Result<(), Refused> {
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
            return Err(raced(&self.target.collection).into());
        }
        let sql = format!(
            "UPDATE {table} t SET {column} = n.new FROM unnest($1::text[], $2::text[]) AS n (old, new)
             WHERE t.{column} = n.old"
        );
        self.execute(&sql, &[&renames.old, &renames.new]).await.map(|_| ())
    }

    async fn sources(&self, part: &Encoded) -> Result<(), Refused> {
        self.copy("howdah.sources (collection, source, content_hash, chunks, origin)", &part.new_sources)
            .await?;
        let Changed { sources, origins, was, hashes, rows } = &part.changed;
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
