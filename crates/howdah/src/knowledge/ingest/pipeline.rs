//! The four stages, and the queues between them.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use howdah_plan::problem::{Kind, Problem};
use tokio::sync::mpsc;

use super::connection::Connection;
use super::fill::{fill, fill_batch};
use super::gather::{Read, STACK, read};
use super::job::{Feed, Job, Planned, Queue, Taken, blocking};
use super::older::{Older, Renames};
use super::plan::Change;
use super::prune;
use super::request::SMALL;
use super::rows::rows;
use super::writable::Role;
use super::write::{self, Batch, Names, Writer};
use crate::knowledge::chunk::needs_characters;
use crate::knowledge::read::{BadRecord, Body, Document, Input};
use crate::observe::progress::Event;
use howdah_postgres::problem::from_pg;

/// Names remembered to find one that comes twice; beyond it the later of two documents of one name wins.
const NAMES: usize = 4 << 20;

/// Runs all stages to the end of the inputs, the first trouble, or a stop.
pub(super) async fn run(
    job: Arc<Job>,
    reading: &Connection,
    writing: Vec<Connection>,
) -> Result<(), Problem> {
    let (read_queue, read_feed) = mpsc::channel(2);
    let (plan_queue, plan_feed) = mpsc::channel(2);
    let (write_queue, write_feed) = mpsc::channel(1);
    // A thread of its own, not one of the runtime's: it may wait for standard input for ever.
    let reader = Arc::clone(&job);
    std::thread::Builder::new()
        .name("howdah-read".into())
        .stack_size(STACK)
        .spawn(move || read(&reader, &read_queue))
        .map_err(|e| Problem::new(Kind::Machine, "cannot start a thread").detail(e.to_string()))?;
    let (_, (), written) = tokio::join!(
        plan(&job, reading, read_feed, plan_queue),
        fill(&job, reading, plan_feed, write_queue),
        write(&job, writing, write_feed),
    );
    written
}

/// Runs the stages one after the other, on one connection: for documents that are few and in memory.
pub(super) async fn run_small(job: Arc<Job>, connection: Connection) -> Result<(), Problem> {
    let (read_queue, mut feed) = mpsc::channel(SMALL + 1);
    let reader = Arc::clone(&job);
    blocking(move || read(&reader, &read_queue)).await?;
    let mut names = SeenNames::default();
    let mut planned = VecDeque::new();
    while let Some(read) = feed.recv().await {
        planned.push_back(plan_batch(&job, &connection, &mut names, None, read?).await?);
    }
    let mut writer = Writer::new(connection, job.target.clone());
    let mut remembered = job.target.remembered;
    while let Some(next) = planned.pop_front() {
        let (queue, mut filled) = mpsc::channel(1);
        let filling = async {
            fill_batch(&job, None, next, &queue).await;
            drop(queue);
        };
        let writing = async {
            while let Some(batch) = filled.recv().await {
                let mut batch = batch?;
                write_one(&job, &mut writer, &mut batch, &mut remembered).await?;
                writer.commit().await?;
                told(&job, &batch);
            }
            Ok(())
        };
        let ((), written): ((), Result<(), Problem>) = tokio::join!(filling, writing);
        written?;
        if job.request.stop.is_cancelled() {
            break;
        }
    }
    writer.finish();
    Ok(())
}

// --- planning

async fn plan(job: &Arc<Job>, client: &Connection, mut feed: Feed<Read>, queue: Queue<Planned>) {
    let mut names = SeenNames::default();
    let prepared = prepare(job, client).await;
    let older = match prepared {
        Ok(older) => older,
        Err(problem) => {
            let _ = queue.send(Err(problem)).await;
            return;
        }
    };
    loop {
        let item = tokio::select! {
            item = feed.recv() => item,
            () = job.request.stop.cancelled() => {
                job.tally.tell(Event::Note { text: "stopping after what is being written".into() });
                None
            }
            // A later stage has ended in trouble, and tells it.
            () = queue.closed() => None,
        };
        let planned = match item {
            None => return,
            Some(Err(problem)) => Err(problem),
            Some(Ok(read)) => plan_batch(job, client, &mut names, older.as_ref(), read).await,
        };
        let failed = planned.is_err();
        if queue.send(planned).await.is_err() || failed {
            return;
        }
    }
}

/// Makes what the planner keeps in its session.
async fn prepare(job: &Job, client: &Connection) -> Result<Option<Older>, Problem> {
    if job.request.prune {
        prune::prepare(client).await?;
    }
    if !job.request.inputs.iter().any(|input| matches!(input, Input::Path(_))) {
        return Ok(None);
    }
    Older::find(client, &job.target.collection, job.request.base.as_deref()).await
}

async fn plan_batch(
    job: &Arc<Job>,
    client: &Connection,
    names: &mut SeenNames,
    older: Option<&Older>,
    read: Read,
) -> Result<Planned, Problem> {
    let mut tally = write::Tally::default();
    let documents = names.once(job, read.documents, &mut tally)?;
    if job.request.prune {
        prune::note(client, &documents, &read.seen).await?;
    }
    let sources: Vec<&str> = documents.iter().map(|(document, _)| document.source.as_str()).collect();
    let mut known = known(job, client, &sources).await?;
    let mut written = Names::default();
    if let Some(older) = older {
        written.renames = older.renames(client, &documents, &mut known, &job.tally).await?;
        tally.renamed = written.renames.old.len() as u64;
    }
    let mut fresh = Vec::new();
    for (mut document, origin) in documents {
        cut_anew(&mut document);
        match known.remove(&document.source) {
            Some((hash, from)) if hash == document.hash => {
                tally.unchanged += 1;
                tally.bytes += document.bytes;
                let origin = origin.as_deref().unwrap_or_default();
                if from.as_deref() != Some(origin) {
                    written.origins.push(origin.to_owned());
                    written.sources.push(document.source);
                }
            }
            None if document.is_empty() => {}
            was => fresh.push((document, origin, was.map(|(hash, _)| hash))),
        }
    }
    if fresh.is_empty() {
        return Ok(Planned { names: written, changes: Vec::new(), tally });
    }
    let sources: Vec<&str> = fresh.iter().map(|(document, ..)| document.source.as_str()).collect();
    let mut there = rows_there(job, client, &sources, &written).await?;
    let job = Arc::clone(job);
    let work = move || {
        let change = |(document, file, was): (Document, Option<Arc<str>>, Option<Vec<u8>>)| {
            let there = there.remove(&document.source).unwrap_or_default();
            let (source, place) = (document.source.clone(), document.origin());
            let (hash, bytes) = (document.hash, document.bytes);
            Change { source, file, place, bytes, hash, was, ..Change::between(&there, rows(&job, document)) }
        };
        fresh.into_iter().map(change).collect()
    };
    let changes = blocking(work).await?;
    Ok(Planned { names: written, changes, tally })
}

type Known = HashMap<String, (Vec<u8>, Option<String>)>;

/// The documents of these names that are in: their hashes, and the files they came from.
async fn known(job: &Job, client: &Connection, sources: &[&str]) -> Result<Known, Problem> {
    let sql =
        "SELECT source, content_hash, origin FROM howdah.sources WHERE collection = $1 AND source = ANY($2)";
    let rows = client.query(sql, &[&job.target.collection, &sources]).await.map_err(|e| {
        from_pg(&e, &format!("look up the documents of collection `{}`", job.target.collection))
    })?;
    Ok(rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect())
}

type There = HashMap<String, Vec<(i32, Vec<u8>)>>;

/// The rows of these documents that are in: place and hash. Those that get their names by this batch have older ones still.
async fn rows_there(
    job: &Job,
    client: &Connection,
    sources: &[&str],
    written: &Names,
) -> Result<There, Problem> {
    let target = &job.target;
    let Renames { old, new, .. } = &written.renames;
    let sources: Vec<&str> = sources.iter().copied().chain(old.iter().map(String::as_str)).collect();
    let sql = format!(
        "SELECT {source}::text, {chunk}::integer, coalesce({hash}, '') FROM {table} WHERE {source} = ANY($1)",
        source = target.column(Role::Source),
        chunk = target.column(Role::Chunk),
        hash = target.column(Role::Hash),
        table = target.table,
    );
    let rows = client
        .query(&sql, &[&sources])
        .await
        .map_err(|e| from_pg(&e, &format!("look up the rows of collection `{}`", target.collection)))?;
    let mut there = There::new();
    for row in rows {
        there.entry(row.get(0)).or_default().push((row.get(1), row.get(2)));
    }
    let moved: Vec<_> =
        old.iter().zip(new).filter_map(|(old, new)| Some((new.clone(), there.remove(old)?))).collect();
    there.extend(moved);
    Ok(there)
}

/// A text that was cut by its spaces alone, and has to be cut by its characters, counts as changed once.
fn cut_anew(document: &mut Document) {
    use sha2::{Digest, Sha256};
    let text = match &document.body {
        Body::Text { text, .. } => text,
        Body::Record(record) if record.embedding.is_none() => &record.content,
        Body::Record(_) | Body::Rows(_) => return,
    };
    if needs_characters(text) {
        document.hash =
            Sha256::new().chain_update(document.hash).chain_update(b"by characters").finalize().into();
    }
}

/// Names that came already in this run.
#[derive(Default)]
struct SeenNames {
    seen: HashMap<u64, u64>,
}

impl SeenNames {
    /// The documents that come for the first time. One that comes again as it was is left out; another under the same name
    /// is a bad record, because the next run could not tell which of them is meant.
    fn once(
        &mut self,
        job: &Job,
        documents: Vec<Taken>,
        tally: &mut write::Tally,
    ) -> Result<Vec<Taken>, Problem> {
        let mut first = Vec::with_capacity(documents.len());
        for (document, origin) in documents {
            let (name, content) = (short(&document.source), short(&document.hash));
            match self.seen.get(&name) {
                None => {
                    if self.seen.len() < NAMES {
                        self.seen.insert(name, content);
                    }
                    first.push((document, origin));
                }
                Some(before) if *before == content => {
                    tally.unchanged += 1;
                    tally.bytes += document.bytes;
                }
                Some(_) => {
                    let reason = format!(
                        "a second document named `{}`; give each an `id` of its own",
                        document.source
                    );
                    let bad = document.origin().bad(reason);
                    if !job.request.goes_on() {
                        return Err(bad.problem());
                    }
                    job.tally.bad(bad);
                }
            }
        }
        Ok(first)
    }
}

fn short(value: &impl std::hash::Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

// --- writing

/// Two sessions take turns: while one waits for its transaction to reach the disk, the other writes the next batch, which is
/// committed only after that. Where the budget of connections has one only, it does both.
async fn write(job: &Job, clients: Vec<Connection>, mut feed: Feed<Batch>) -> Result<(), Problem> {
    let mut writers = clients.into_iter().map(|client| Writer::new(client, job.target.clone()));
    let (Some(mut next), mut before) = (writers.next(), writers.next()) else {
        return Err(Problem::new(Kind::Internal, "there is no connection to write with"));
    };
    let mut pending: Option<Batch> = None;
    let mut remembered = job.target.remembered;
    loop {
        let commit = async {
            if let Some(before) = &mut before {
                before.commit().await?;
            }
            pending.iter().for_each(|batch| told(job, batch));
            Ok(())
        };
        let write = async {
            let Some(mut batch) = feed.recv().await.transpose()? else { return Ok(None) };
            write_one(job, &mut next, &mut batch, &mut remembered).await?;
            Ok(Some(batch))
        };
        let (committed, written): (Result<(), Problem>, _) = tokio::join!(commit, write);
        committed?;
        pending = written?;
        if pending.is_none() {
            next.finish();
            before.into_iter().for_each(Writer::finish);
            return Ok(());
        }
        match &mut before {
            Some(before) => std::mem::swap(&mut next, before),
            None => next.commit().await?,
        }
    }
}

/// Writes a batch, unless it is only to be counted. What PostgreSQL refuses of it is a bad record, and counted as such.
async fn write_one(
    job: &Job,
    writer: &mut Writer,
    batch: &mut Batch,
    remembered: &mut bool,
) -> Result<(), Problem> {
    if job.request.dry_run {
        return Ok(());
    }
    match writer.write(batch, !*remembered).await {
        Ok(()) => {}
        Err(refused) if refused.of_data => {
            let refuse = |bad: BadRecord| {
                if !job.request.goes_on() {
                    return Err(bad.problem());
                }
                job.tally.bad(bad);
                Ok(())
            };
            batch.tally = writer.write_apart(batch, !*remembered, refuse).await?;
        }
        Err(refused) => return Err(refused.problem),
    }
    *remembered |= !batch.is_empty();
    Ok(())
}

/// A batch is in.
fn told(job: &Job, batch: &Batch) {
    if !batch.duplicates().is_empty() {
        job.tally.removed(batch.duplicates(), 0);
    }
    job.tally.done(&batch.tally);
}
