//! Removing documents that are gone from the files and folders that were read.
//!
//! The names that were read are kept in a temporary table of the session, so that a folder of any size fits. What was there
//! but could not be read, or was not to be read, counts as read with everything in it. Which of the rest may go is
//! `howdah_plan::removal`'s to say, for each place that was given and for each file of records that is still there.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use howdah_plan::problem::{Kind, Problem};
use howdah_plan::removal::{self, Verdict};

use super::connection::Connection;
use super::report::Kept;
use super::request::IngestRequest;
use super::tally::Tally;
use super::writable::{Role, WritableTable};
use crate::knowledge::read::{Document, Input};
use howdah_postgres::problem::from_pg;

/// Documents removed in one transaction.
const AT_ONCE: usize = 1_000;

/// What was met while reading.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Files that were opened.
    opened: Vec<Arc<str>>,
    /// Files and directories that were there and were not read.
    unread: Vec<Arc<str>>,
}

impl Seen {
    /// These files were opened.
    pub fn files(&mut self, opened: Vec<Arc<str>>) {
        self.opened.extend(opened);
    }

    /// This file or directory could not be read, or not all of it.
    pub fn unread(&mut self, place: Option<&Arc<str>>) {
        if let Some(place) = place.filter(|place| self.unread.last() != Some(*place)) {
            self.unread.push(Arc::clone(place));
        }
    }
}

/// A file or directory that was given, as documents are named: empty for the directory of the declaration.
#[derive(Debug, Clone)]
pub(super) struct Place {
    name: String,
    /// How it was given.
    given: String,
}

/// The files and directories that were given.
///
/// # Errors
/// `usage` when there are none.
pub(super) fn places(request: &IngestRequest) -> Result<Vec<Place>, Problem> {
    let mut naming = request.naming();
    let mut places = Vec::new();
    for input in &request.inputs {
        let Input::Path(given) = input else { continue };
        let path = Path::new(given);
        let name = match given.as_str() {
            "-" => continue,
            _ if path.is_dir() => naming.directory(path),
            _ => naming.typed(path),
        };
        places.extend(name.map(|name| Place { name, given: given.clone() }));
    }
    if places.is_empty() {
        return Err(Problem::new(Kind::Usage, "cannot tell which documents are gone")
            .detail("`--prune` removes documents that came from the given files and directories")
            .hint("Give the directory: `howdah ingest COLLECTION docs --prune`."));
    }
    Ok(places)
}

/// Makes the table of names.
pub(super) async fn prepare(client: &Connection) -> Result<(), Problem> {
    client
        .batch_execute(
            "CREATE TEMP TABLE howdah_seen (source text NOT NULL);
             CREATE TEMP TABLE howdah_opened (origin text NOT NULL);
             CREATE TEMP TABLE howdah_unread (place text NOT NULL)",
        )
        .await
        .map_err(|e| from_pg(&e, "make a table for the names that were read"))
}

/// Notes what was read.
pub(super) async fn note(
    client: &Connection,
    documents: &[(Document, Option<Arc<str>>)],
    seen: &Seen,
) -> Result<(), Problem> {
    let sources: Vec<&str> = documents.iter().map(|(document, _)| document.source.as_str()).collect();
    let names = |names: &[Arc<str>]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    let (opened, unread) = (names(&seen.opened), names(&seen.unread));
    let fail = |e: tokio_postgres::Error| from_pg(&e, "note the names that were read");
    client.execute("INSERT INTO howdah_seen SELECT unnest($1::text[])", &[&sources]).await.map_err(fail)?;
    if !opened.is_empty() {
        let sql = "INSERT INTO howdah_opened SELECT unnest($1::text[])";
        client.execute(sql, &[&opened]).await.map_err(fail)?;
    }
    if !unread.is_empty() {
        let sql = "INSERT INTO howdah_unread SELECT unnest($1::text[])";
        client.execute(sql, &[&unread]).await.map_err(fail)?;
    }
    Ok(())
}

/// Whether a document came from a place `p`, by its file where that is known, else by its name.
const FROM_PLACE: &str = "CASE
    WHEN s.origin IS NULL THEN p <> '' AND (s.source = p OR starts_with(s.source, p || '/') OR starts_with(s.source, p || '#'))
    WHEN p = '' THEN s.origin <> '' AND NOT starts_with(s.origin, '/')
    ELSE s.origin = p OR starts_with(s.origin, p || '/') END";

/// A document that is gone.
struct Gone {
    source: String,
    /// The file of records it came from, where that is still there.
    file: Option<String>,
    /// The places it came from, by number.
    places: Vec<i32>,
}

/// Removes what came from the places and was not read, as far as that may be.
pub(super) async fn run(
    client: &Connection,
    target: &WritableTable,
    places: &[Place],
    request: &IngestRequest,
    tally: &Tally,
) -> Result<(), Problem> {
    let pruning = Pruning { client, target, places, request };
    let gone = pruning.gone().await?;
    if gone.is_empty() {
        return Ok(());
    }
    let removable = pruning.decide(gone, tally).await?;
    if request.dry_run {
        tally.removed(&removable, 0);
        return Ok(());
    }
    pruning.remove(&removable, tally).await
}

struct Pruning<'a> {
    client: &'a Connection,
    target: &'a WritableTable,
    places: &'a [Place],
    request: &'a IngestRequest,
}

impl Pruning<'_> {
    fn fail(&self, error: &tokio_postgres::Error) -> Problem {
        from_pg(error, &format!("remove documents from collection `{}`", self.target.collection))
    }

    fn names(&self) -> Vec<&str> {
        self.places.iter().map(|place| place.name.as_str()).collect()
    }

    async fn gone(&self) -> Result<Vec<Gone>, Problem> {
        self.client
            .batch_execute("ANALYZE howdah_seen; ANALYZE howdah_unread; ANALYZE howdah_opened")
            .await
            .map_err(|e| self.fail(&e))?;
        let sql = format!(
            "SELECT s.source, (SELECT o.origin FROM howdah_opened o WHERE o.origin = s.origin LIMIT 1), f.places
             FROM howdah.sources s
             CROSS JOIN LATERAL (SELECT array_agg(n::integer) AS places
                                 FROM unnest($2::text[]) WITH ORDINALITY AS g (p, n) WHERE {FROM_PLACE}) f
             WHERE s.collection = $1 AND f.places IS NOT NULL
               AND NOT EXISTS (SELECT FROM howdah_seen n WHERE n.source = s.source)
               AND NOT EXISTS (SELECT FROM howdah_unread u
                               WHERE coalesce(s.origin, s.source) = u.place
                                  OR starts_with(coalesce(s.origin, s.source), u.place || '/')
                                  OR (s.origin IS NULL AND starts_with(s.source, u.place || '#')))
             ORDER BY s.source"
        );
        let rows = self
            .client
            .query(&sql, &[&self.target.collection, &self.names()])
            .await
            .map_err(|e| self.fail(&e))?;
        Ok(rows.iter().map(|row| Gone { source: row.get(0), file: row.get(1), places: row.get(2) }).collect())
    }

    /// Names of those that may be removed; the others are said.
    async fn decide(&self, gone: Vec<Gone>, tally: &Tally) -> Result<Vec<String>, Problem> {
        let mut kept: HashSet<String> = HashSet::new();
        let mut in_files: HashMap<String, Vec<&str>> = HashMap::new();
        for one in &gone {
            if let Some(file) = &one.file {
                in_files.entry(file.clone()).or_default().push(&one.source);
            }
        }
        let held = self.held_by_file(in_files.keys()).await?;
        let mut files: Vec<_> = in_files.into_iter().collect();
        files.sort();
        for (file, sources) in files {
            let held = held.get(&file).copied().unwrap_or_default();
            if self.keeps(&file, &file, held, sources.len() as u64, tally) {
                kept.extend(sources.into_iter().map(str::to_owned));
            }
        }
        for (place, number) in self.places.iter().zip(1i32..) {
            let here: Vec<&str> = gone
                .iter()
                .filter(|one| one.places.contains(&number) && !kept.contains(&one.source))
                .map(|one| one.source.as_str())
                .collect();
            if here.is_empty() {
                continue;
            }
            let held = self.held_by_place(&place.name).await?;
            let name = if place.name.is_empty() { place.given.as_str() } else { &place.name };
            if self.keeps(name, &place.given, held, here.len() as u64, tally) {
                kept.extend(here.into_iter().map(str::to_owned).collect::<Vec<_>>());
            }
        }
        Ok(gone.into_iter().map(|one| one.source).filter(|source| !kept.contains(source)).collect())
    }

    /// Whether a place keeps its documents; then that is said.
    fn keeps(&self, place: &str, given: &str, held: u64, gone: u64, tally: &Tally) -> bool {
        let IngestRequest { max_removed, allow_empty, .. } = self.request;
        let collection = &self.target.collection;
        let remove = |flag: &str| format!("howdah ingest {collection} {} --prune {flag}", shell_word(given));
        let (reason, hint) = match removal::decide(*max_removed, held, gone, *allow_empty) {
            Verdict::Remove => return false,
            Verdict::Emptied => (
                format!(
                    "none of the {held} documents of collection `{collection}` that came from `{place}` is \
                     there any more; all of them were kept"
                ),
                remove("--allow-empty"),
            ),
            Verdict::TooMany => (
                format!(
                    "{gone} of the {held} documents of collection `{collection}` that came from `{place}` are \
                     gone, more than {max_removed}; all of them were kept"
                ),
                remove("--max-removed 100%"),
            ),
        };
        let hint = format!("See that `{place}` is mounted and complete. To remove them: `{hint}`.");
        tally.kept(Kept { place: place.to_owned(), documents: held, gone, reason, hint });
        true
    }

    async fn held_by_file(
        &self,
        files: impl Iterator<Item = &String>,
    ) -> Result<HashMap<String, u64>, Problem> {
        let files: Vec<&String> = files.collect();
        let sql = "SELECT origin, count(*) FROM howdah.sources WHERE collection = $1 AND origin = ANY ($2) GROUP BY 1";
        let rows =
            self.client.query(sql, &[&self.target.collection, &files]).await.map_err(|e| self.fail(&e))?;
        Ok(rows.iter().map(|row| (row.get(0), row.get::<_, i64>(1) as u64)).collect())
    }

    async fn held_by_place(&self, place: &str) -> Result<u64, Problem> {
        let sql = format!(
            "SELECT count(*) FROM howdah.sources s, (SELECT $2::text AS p) g WHERE s.collection = $1 AND {FROM_PLACE}"
        );
        let rows =
            self.client.query(&sql, &[&self.target.collection, &place]).await.map_err(|e| self.fail(&e))?;
        Ok(rows.first().map_or(0, |row| row.get::<_, i64>(0) as u64))
    }

    async fn remove(&self, sources: &[String], tally: &Tally) -> Result<(), Problem> {
        let delete =
            format!("DELETE FROM {} WHERE {} = ANY($1)", self.target.table, self.target.column(Role::Source));
        for part in sources.chunks(AT_ONCE) {
            self.client.begin().await.map_err(|e| self.fail(&e))?;
            self.client
                .execute(
                    "DELETE FROM howdah.sources WHERE collection = $1 AND source = ANY($2)",
                    &[&self.target.collection, &part],
                )
                .await
                .map_err(|e| self.fail(&e))?;
            let rows = self.client.execute(&delete, &[&part]).await.map_err(|e| self.fail(&e))?;
            self.client.commit().await.map_err(|e| self.fail(&e))?;
            tally.removed(part, rows);
        }
        Ok(())
    }
}

/// A path as a shell reads it.
fn shell_word(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%".contains(c);
    if !path.is_empty() && path.chars().all(plain) {
        path.to_owned()
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    }
}
