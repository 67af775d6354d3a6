//! Documents that were named by an older rule, and what they are called now.
//!
//! Before a file was named from the declaration's directory it was named from the working directory, so the same file may be
//! in the collection as `a.txt`, `docs/a.txt` and `../docs/a.txt`. Documents of that time have no origin in
//! `howdah.sources`. Where one of them has a name that the file may have had, and exactly the file's content, it *is* that
//! document: it gets its name of today, and a second one is removed. One with other content may be another file's; it is
//! left alone and said.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use howdah_plan::problem::Problem;

use super::connection::Connection;
use super::tally::Tally;
use crate::knowledge::read::{Document, older_names};
use howdah_postgres::problem::from_pg;

/// Documents that get another name, and those that go because their document has it already.
#[derive(Debug, Default)]
pub(super) struct Renames {
    pub old: Vec<String>,
    pub new: Vec<String>,
    pub origins: Vec<String>,
    pub duplicates: Vec<String>,
}

impl Renames {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.old.is_empty() && self.duplicates.is_empty()
    }
}

/// Finds documents that were named by an older rule.
pub(super) struct Older {
    collection: String,
    base: PathBuf,
}

/// A document of the batch that may have older names.
struct Wanted {
    /// Its place in the batch.
    at: usize,
    /// Whether it is in under its name of today.
    there: bool,
}

impl Older {
    /// Puts the documents without an origin into a table of the session; none where all have one.
    pub async fn find(
        client: &Connection,
        collection: &str,
        base: Option<&Path>,
    ) -> Result<Option<Older>, Problem> {
        let doing = format!("look for older names in collection `{collection}`");
        let fail = |e: tokio_postgres::Error| from_pg(&e, &doing);
        let any = "SELECT FROM howdah.sources WHERE collection = $1 AND origin IS NULL LIMIT 1";
        if client.query_opt(any, &[&collection]).await.map_err(fail)?.is_none() {
            return Ok(None);
        }
        client
            .batch_execute("CREATE TEMP TABLE howdah_older (stripped text, source text, content_hash bytea)")
            .await
            .map_err(fail)?;
        client
            .execute(
                r"INSERT INTO howdah_older
                  SELECT regexp_replace(source, '^(\.\./)+', ''), source, content_hash
                  FROM howdah.sources WHERE collection = $1 AND origin IS NULL",
                &[&collection],
            )
            .await
            .map_err(fail)?;
        client.batch_execute("CREATE INDEX ON howdah_older (stripped)").await.map_err(fail)?;
        let base = base.unwrap_or(Path::new("."));
        let base = base.canonicalize().unwrap_or_else(|_| base.to_owned());
        Ok(Some(Older { collection: collection.to_owned(), base }))
    }

    /// What the documents of a batch were called before. `known` are those that are in under their names; a document that
    /// gets its name by this is in too from then on, as it was, and joins them.
    pub async fn renames(
        &self,
        client: &Connection,
        batch: &[(Document, Option<Arc<str>>)],
        known: &mut HashMap<String, (Vec<u8>, Option<String>)>,
        tally: &Tally,
    ) -> Result<Renames, Problem> {
        let mut wanted: HashMap<String, Vec<Wanted>> = HashMap::new();
        for (at, (document, origin)) in batch.iter().enumerate() {
            // A record with a name of its own has never had another.
            let Some(rest) = origin.as_deref().and_then(|origin| document.source.strip_prefix(origin)) else {
                continue;
            };
            let origin = origin.as_deref().unwrap_or_default();
            for name in older_names(&self.base.join(origin)) {
                let there = known.contains_key(&document.source);
                wanted.entry(format!("{name}{rest}")).or_default().push(Wanted { at, there });
            }
        }
        let names: Vec<&String> = wanted.keys().collect();
        let sql = "SELECT stripped, source, content_hash FROM howdah_older WHERE stripped = ANY ($1) ORDER BY source";
        let fail = |e: tokio_postgres::Error| {
            from_pg(&e, &format!("look for older names in collection `{}`", self.collection))
        };
        let rows = client.query(sql, &[&names]).await.map_err(fail)?;
        let mut renames = Renames::default();
        for row in rows {
            let (stripped, old, hash): (String, String, Vec<u8>) = (row.get(0), row.get(1), row.get(2));
            let candidates = wanted.get(&stripped).map(Vec::as_slice).unwrap_or_default();
            self.rename(batch, candidates, (&old, &hash), known, &mut renames, tally);
        }
        let done: Vec<&String> = renames.old.iter().chain(&renames.duplicates).collect();
        if !done.is_empty() {
            client
                .execute("DELETE FROM howdah_older WHERE source = ANY ($1)", &[&done])
                .await
                .map_err(fail)?;
        }
        Ok(renames)
    }

    /// Decides about one document of an older name.
    fn rename(
        &self,
        batch: &[(Document, Option<Arc<str>>)],
        candidates: &[Wanted],
        (old, hash): (&str, &[u8]),
        known: &mut HashMap<String, (Vec<u8>, Option<String>)>,
        renames: &mut Renames,
        tally: &Tally,
    ) {
        let others = || candidates.iter().filter(|one| batch[one.at].0.source != old);
        let own = candidates.iter().any(|one| batch[one.at].0.source == old);
        // The name is right for another file, which is there.
        let file = old.split('#').next().unwrap_or(old);
        if own || (!Path::new(file).is_absolute() && self.base.join(file).is_file()) {
            return;
        }
        let Some(same) = others().find(|one| batch[one.at].0.hash == hash) else {
            if let Some(alike) = others().next() {
                let document = &batch[alike.at].0;
                tally.note(format!(
                    "`{old}` may be an older name of `{}`, but its text is another, so it stays; \
                     `howdah delete {} --source '{old}'` removes it",
                    document.source, self.collection
                ));
            }
            return;
        };
        let (document, origin) = &batch[same.at];
        if same.there || renames.new.contains(&document.source) {
            renames.duplicates.push(old.to_owned());
            return;
        }
        let origin = origin.as_deref().unwrap_or_default().to_owned();
        known.insert(document.source.clone(), (hash.to_vec(), Some(origin.clone())));
        renames.old.push(old.to_owned());
        renames.new.push(document.source.clone());
        renames.origins.push(origin);
    }
}
