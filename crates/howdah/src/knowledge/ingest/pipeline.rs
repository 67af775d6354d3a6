//! The four stages, and the queues between them.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use howdah_plan::problem::{Kind, Problem};
use howdah_plan::search::direction::comparable;
use howdah_plan::spec::{Metric, Storage};
use tokio::sync::mpsc;
use tokio_postgres::Client;

use super::plan::{Change, Row};
use super::prune;
use super::request::IngestRequest;
use super::tally::Tally;
use super::writable::{Role, WritableTable};
use super::write::{self, Batch, Writer};
use crate::knowledge::chunk::{Cut, embedded_text, needs_characters};
use crate::knowledge::read::{BadRecord, Body, Document, Markup, Reader, Record, Refusal, Shape};
use crate::observe::progress::Event;
use howdah_embed::{Embedder, Purpose};
use howdah_postgres::Own;
use howdah_postgres::problem::from_pg;

/// Names remembered to find one that comes twice; beyond it the later of two documents of one name wins.
const NAMES: usize = 4 << 20;
/// Bytes of text in a batch where the embedder is the brake: a commit every few seconds.
const TEXT_BYTES: u64 = 64 << 10;
/// Bytes in a batch where it is not.
const READY_BYTES: u64 = 16 << 20;
/// The first batch has this part of the rows of others.
const FIRST_PART: usize = 8;

/// One ingest.
pub(super) struct Job {
    pub target: WritableTable,
    pub shape: Arc<Shape>,
    pub embedder: Option<Arc<Embedder>>,
    pub request: IngestRequest,
    pub tally: Arc<Tally>,
}

/// Documents read together.
#[derive(Default)]
struct Read {
    documents: Vec<Document>,
    /// Files with something bad in them.
    bad_files: Vec<String>,
    bytes: u64,
    /// Bytes of text that have to be embedded.
    text: u64,
    rows: usize,
}

/// Documents compared.
struct Planned {
    changes: Vec<Change>,
    tally: write::Tally,
}

type Queue<T> = mpsc::Sender<Result<T, Problem>>;
type Feed<T> = mpsc::Receiver<Result<T, Problem>>;

/// Runs all stages to the end of the inputs, the first trouble, or a stop.
pub(super) async fn run(job: Arc<Job>, reading: &Client, writing: Vec<Own>) -> Result<(), Problem> {
    let (read_queue, read_feed) = mpsc::channel(2);
    let (plan_queue, plan_feed) = mpsc::channel(2);
    let (write_queue, write_feed) = mpsc::channel(1);
    // A thread of its own, not one of the runtime's: it may wait for standard input for ever.
    let reader = Arc::clone(&job);
    std::thread::Builder::new()
        .name("howdah-read".into())
        .spawn(move || read(&reader, &read_queue))
        .map_err(|e| Problem::new(Kind::Machine, "cannot start a thread").detail(e.to_string()))?;
    let (_, (), written) = tokio::join!(
        plan(&job, reading, read_feed, plan_queue),
        fill(&job, plan_feed, write_queue),
        write(&job, writing, write_feed),
    );
    written
}

// --- reading

fn read(job: &Job, queue: &Queue<Read>) {
    let IngestRequest { inputs, format, limits, base, .. } = job.request.clone();
    let mut reader = Reader::new(inputs, format, limits, Arc::clone(&job.shape)).named_from(base);
    let mut batch = Read::default();
    // A short one first: the writer waits for it.
    let mut rows = job.request.batch_rows.div_ceil(FIRST_PART);
    while let Some(item) = reader.next() {
        if job.request.stop.is_cancelled() {
            return;
        }
        match item {
            Ok(document) => batch.add(document),
            Err(Refusal::Bad(bad)) if job.request.skip_bad => {
                if job.request.prune && batch.bad_files.last() != Some(&bad.file) {
                    batch.bad_files.push(bad.file.clone());
                }
                job.tally.bad(bad);
            }
            Err(refusal) => {
                let problem = match refusal {
                    Refusal::Bad(bad) => bad.problem(),
                    Refusal::Fatal(problem) => problem,
                };
                let _ = queue.blocking_send(Err(problem));
                return;
            }
        }
        job.tally.files(reader.files());
        // A queue that is closed has told its trouble further down.
        if batch.is_full(rows) {
            if queue.blocking_send(Ok(std::mem::take(&mut batch))).is_err() {
                return;
            }
            rows = job.request.batch_rows;
        }
    }
    job.tally.files(reader.files());
    let _ = queue.blocking_send(Ok(batch));
}

impl Read {
    fn add(&mut self, document: Document) {
        self.bytes += document.bytes;
        match &document.body {
            Body::Rows(rows) => self.rows += rows.len(),
            Body::Record(record) if record.embedding.is_some() => self.rows += 1,
            Body::Record(_) | Body::Text { .. } => {
                self.rows += 1;
                self.text += document.bytes;
            }
        }
        self.documents.push(document);
    }

    fn is_full(&self, rows: usize) -> bool {
        self.text >= TEXT_BYTES || self.bytes >= READY_BYTES || self.rows >= rows
    }
}

// --- planning

async fn plan(job: &Arc<Job>, client: &Client, mut feed: Feed<Read>, queue: Queue<Planned>) {
    let mut names = Names::default();
    let prepared = if job.request.prune { prune::prepare(client).await } else { Ok(()) };
    if let Err(problem) = prepared {
        let _ = queue.send(Err(problem)).await;
        return;
    }
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
            Some(Ok(read)) => plan_batch(job, client, &mut names, read).await,
        };
        let failed = planned.is_err();
        if queue.send(planned).await.is_err() || failed {
            return;
        }
    }
}

async fn plan_batch(
    job: &Arc<Job>,
    client: &Client,
    names: &mut Names,
    read: Read,
) -> Result<Planned, Problem> {
    let mut tally = write::Tally { bytes: read.bytes, ..write::Tally::default() };
    let mut documents = names.once(job, read.documents, &mut tally)?;
    documents.iter_mut().for_each(cut_anew);
    let sources: Vec<String> = documents.iter().map(|document| document.source.clone()).collect();
    if job.request.prune {
        prune::note(client, &sources, false).await?;
        prune::note(client, &read.bad_files, true).await?;
    }
    let mut known = known(job, client, &sources).await?;
    let mut fresh = Vec::new();
    for document in documents {
        match known.remove(&document.source) {
            Some(hash) if hash == document.hash => tally.unchanged += 1,
            was => fresh.push((document, was)),
        }
    }
    if fresh.is_empty() {
        return Ok(Planned { changes: Vec::new(), tally });
    }
    let sources: Vec<String> = fresh.iter().map(|(document, _)| document.source.clone()).collect();
    let mut there = rows_there(job, client, &sources).await?;
    let job = Arc::clone(job);
    let work = move || {
        let change = |(document, was): (Document, Option<Vec<u8>>)| {
            let there = there.remove(&document.source).unwrap_or_default();
            let (source, hash) = (document.source.clone(), document.hash);
            let (file, line) = (document.file.clone(), document.line);
            Change { source, file, line, hash, was, ..Change::between(&there, rows(&job, document)) }
        };
        fresh.into_iter().map(change).collect()
    };
    let changes = blocking(work).await?;
    Ok(Planned { changes, tally })
}

/// The documents of these names that are in, and their hashes.
async fn known(job: &Job, client: &Client, sources: &[String]) -> Result<HashMap<String, Vec<u8>>, Problem> {
    let sql = "SELECT source, content_hash FROM howdah.sources WHERE collection = $1 AND source = ANY($2)";
    let rows = client.query(sql, &[&job.target.collection, &sources]).await.map_err(|e| {
        from_pg(&e, &format!("look up the documents of collection `{}`", job.target.collection))
    })?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

type There = HashMap<String, Vec<(i32, Vec<u8>)>>;

/// The rows of these documents that are in: place and hash.
async fn rows_there(job: &Job, client: &Client, sources: &[String]) -> Result<There, Problem> {
    let target = &job.target;
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
    Ok(there)
}

/// Names that came already in this run.
#[derive(Default)]
struct Names {
    seen: HashMap<u64, u64>,
}

impl Names {
    /// The documents that come for the first time. One that comes again as it was is left out; another under the same name
    /// is a bad record, because the next run could not tell which of them is meant.
    fn once(
        &mut self,
        job: &Job,
        documents: Vec<Document>,
        tally: &mut write::Tally,
    ) -> Result<Vec<Document>, Problem> {
        let mut first = Vec::with_capacity(documents.len());
        for document in documents {
            let (name, content) = (short(&document.source), short(&document.hash));
            match self.seen.get(&name) {
                None => {
                    if self.seen.len() < NAMES {
                        self.seen.insert(name, content);
                    }
                    first.push(document);
                }
                Some(before) if *before == content => tally.unchanged += 1,
                Some(_) => {
                    let reason = format!(
                        "a second document named `{}`; give each an `id` of its own",
                        document.source
                    );
                    let bad = BadRecord::new(&document.file, document.line, reason);
                    if !job.request.skip_bad {
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

/// The rows of a document.
fn rows(job: &Job, document: Document) -> Vec<Row> {
    let context = job.target.row_context();
    let rows: Vec<(u32, Record)> = match document.body {
        Body::Rows(rows) => rows,
        Body::Record(record) if record.embedding.is_some() => vec![(0, *record)],
        Body::Record(record) => {
            let pieces = cut(job, |cut| cut.pieces(Markup::Plain, record.title.as_deref(), &record.content));
            let Record { metadata, fields, .. } = *record;
            let record = |(number, (title, content))| {
                let (metadata, fields) = (metadata.clone(), fields.clone());
                (number, Record { title, content, metadata, fields, embedding: None })
            };
            (0..).zip(pieces).map(record).collect()
        }
        Body::Text { markup, title, text } => {
            let pieces = cut(job, |cut| cut.pieces(markup, title.as_deref(), &text));
            let fields = vec![None; job.target.fields.len()];
            let record = |(number, (title, content))| {
                (
                    number,
                    Record { title, content, metadata: "{}".into(), fields: fields.clone(), embedding: None },
                )
            };
            (0..).zip(pieces).map(record).collect()
        }
    };
    rows.into_iter().map(|(number, record)| row(job, &context, number, record)).collect()
}

fn cut(
    job: &Job,
    pieces: impl FnOnce(&Cut<'_>) -> Vec<crate::knowledge::chunk::Piece>,
) -> Vec<(Option<String>, String)> {
    let count = |text: &str| match &job.embedder {
        Some(embedder) => embedder.count_tokens(text),
        None => howdah_embed::count_words(text),
    };
    let chunking = &job.request.chunking;
    let cut = Cut {
        max_tokens: chunking.max_tokens as usize,
        overlap: chunking.overlap as usize,
        reads: job.target.facts.as_ref().and_then(|facts| facts.max_tokens),
        max_characters: match &job.embedder {
            Some(embedder) => embedder.max_characters(chunking.max_tokens as usize),
            None => howdah_embed::default_characters(chunking.max_tokens as usize),
        },
        count: &count,
    };
    pieces(&cut).into_iter().map(|piece| (piece.title, piece.content)).collect()
}

fn row(job: &Job, context: &[u8; 32], number: u32, record: Record) -> Row {
    let Record { mut title, content, mut metadata, fields, embedding } = record;
    if !job.target.has(Role::Title)
        && let Some(title) = title.take()
    {
        metadata = with_title(metadata, title);
    }
    let hash = row_hash(context, title.as_deref(), &content, &metadata, &fields, embedding.as_deref());
    let chunk = i32::try_from(number).unwrap_or(i32::MAX);
    Row { chunk, title, content, hash, metadata, fields, embedding }
}

/// An adopted table has no column for the title; its metadata has room.
fn with_title(metadata: String, title: String) -> String {
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&metadata) {
        Ok(mut map) => {
            map.entry("title").or_insert(title.into());
            serde_json::Value::Object(map).to_string()
        }
        Err(_) => metadata,
    }
}

fn row_hash(
    context: &[u8; 32],
    title: Option<&str>,
    content: &str,
    metadata: &str,
    fields: &[Option<Vec<u8>>],
    embedding: Option<&[f32]>,
) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    let mut hasher = Sha256::new();
    hasher.update(context);
    let mut part = |bytes: Option<&[u8]>| {
        hasher.update(bytes.map_or(u64::MAX, |bytes| bytes.len() as u64).to_le_bytes());
        hasher.update(bytes.unwrap_or_default());
    };
    part(title.map(str::as_bytes));
    part(Some(content.as_bytes()));
    part(Some(metadata.as_bytes()));
    fields.iter().for_each(|field| part(field.as_deref()));
    if let Some(vector) = embedding {
        let mut bytes = vec![0; vector.len() * 4];
        bytes.chunks_exact_mut(4).zip(vector).for_each(|(there, x)| there.copy_from_slice(&x.to_le_bytes()));
        part(Some(&bytes));
    }
    hasher.finalize().into()
}

// --- embedding and encoding

async fn fill(job: &Arc<Job>, mut feed: Feed<Planned>, queue: Queue<Batch>) {
    while let Some(item) = feed.recv().await {
        let filled = match item {
            Err(problem) => Err(problem),
            Ok(planned) => tokio::select! {
                filled = fill_batch(job, planned) => filled,
                // What is half embedded is not written: the next run does it.
                () = job.request.stop.cancelled() => return,
                () = queue.closed() => return,
            },
        };
        let failed = filled.is_err();
        if queue.send(filled).await.is_err() || failed {
            return;
        }
    }
}

async fn fill_batch(job: &Arc<Job>, planned: Planned) -> Result<Batch, Problem> {
    let Planned { mut changes, mut tally } = planned;
    if let Some(embedder) = &job.embedder {
        tally.embedded = embed(job, embedder, &mut changes).await?;
    }
    if job.shape.metric == Metric::Cosine {
        let storage = if job.target.half { Storage::Halfvec } else { Storage::Vector };
        let vectors = changes.iter_mut().flat_map(Change::written).filter_map(|row| row.embedding.as_mut());
        vectors.for_each(|vector| comparable(vector, storage));
    }
    let job = Arc::clone(job);
    blocking(move || Batch::encode(&job.target, changes, tally)).await
}

/// Fills in the vectors. A document with a text that the embedder refuses is a bad record: it is left out as a whole.
async fn embed(job: &Job, embedder: &Embedder, changes: &mut Vec<Change>) -> Result<u64, Problem> {
    let mut refused: BTreeMap<usize, (i32, Problem)> = BTreeMap::new();
    let mut rows: Vec<(usize, &mut Row)> = changes
        .iter_mut()
        .enumerate()
        .flat_map(|(at, change)| change.written().map(move |row| (at, row)))
        .filter(|(_, row)| row.embedding.is_none())
        .collect();
    let mut embedded = rows.len() as u64;
    for part in rows.chunks_mut(embedder.preferred_batch()) {
        let texts: Vec<String> = part.iter().map(|(_, row)| text_of(row)).collect();
        let answers = embedder.embed_each(&texts, Purpose::Document).await?;
        texts
            .iter()
            .filter_map(|text| embedder.unknown_script(text))
            .for_each(|script| job.tally.unknown(script));
        for ((at, row), answer) in part.iter_mut().zip(answers) {
            let vector = match answer {
                Ok(vector) => vector,
                Err(problem) => {
                    refused.entry(*at).or_insert((row.chunk, problem));
                    embedded -= 1;
                    continue;
                }
            };
            job.shape.check_vector(&vector).map_err(|reason| {
                Problem::new(
                    Kind::Failed,
                    format!("model `{}` gave a vector that cannot be stored", embedder.model_id()),
                )
                .detail(format!("{reason}; text: {:.80}", row.content))
            })?;
            row.embedding = Some(vector);
        }
        if !refused.is_empty() && !job.request.skip_bad {
            break;
        }
    }
    for (at, (chunk, problem)) in refused.into_iter().rev() {
        let bad = refused_text(&changes.remove(at), chunk, problem);
        if !job.request.skip_bad {
            return Err(bad.problem());
        }
        job.tally.bad(bad);
    }
    Ok(embedded)
}

/// The embedder does not take a chunk of a document.
fn refused_text(change: &Change, chunk: i32, problem: Problem) -> BadRecord {
    let row = change.updates.iter().chain(&change.inserts).find(|row| row.chunk == chunk);
    let content = row.map_or("", |row| row.content.as_str());
    let detail = problem.detail.map(|detail| format!(" ({detail})")).unwrap_or_default();
    let reason = format!(
        "{}{detail}: chunk {} of `{}`, {} characters, which begins `{:.60}`",
        problem.message,
        chunk + 1,
        change.source,
        content.chars().count(),
        content.trim_start(),
    );
    BadRecord::new(&change.file, change.line, reason)
}

fn text_of(row: &Row) -> String {
    embedded_text(row.title.as_deref(), &row.content)
}

// --- writing

/// Two sessions take turns: while one waits for its transaction to reach the disk, the other writes the next batch, which is
/// committed only after that. Where the budget of connections has one only, it does both.
async fn write(job: &Job, clients: Vec<Own>, mut feed: Feed<Batch>) -> Result<(), Problem> {
    let mut writers = clients.into_iter().map(|client| Writer::new(client, job.target.clone()));
    let (Some(mut next), mut before) = (writers.next(), writers.next()) else {
        return Err(Problem::new(Kind::Internal, "there is no connection to write with"));
    };
    let mut pending: Option<write::Tally> = None;
    let mut remembered = job.target.remembered;
    loop {
        let commit = async {
            if let Some(before) = &mut before {
                before.commit().await?;
            }
            pending.iter().for_each(|tally| job.tally.done(tally));
            Ok(())
        };
        let write = async {
            let Some(batch) = feed.recv().await.transpose()? else { return Ok(None) };
            next.write(&batch, !remembered).await?;
            remembered |= !batch.is_empty();
            Ok(Some(batch.tally))
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

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|e| {
        Problem::new(Kind::Internal, "a stage of the ingest stopped unexpectedly").detail(e.to_string())
    })
}
