//! From what is declared to what is there: structure first, then documents.

use std::path::Path;
use std::sync::{Arc, Mutex};

use howdah_plan::problem::{Kind, Problem};
use howdah_plan::spec::EmbedderKind;
use tokio_util::sync::CancellationToken;

use super::declaration::Declaration;
use crate::apply;
use crate::knowledge::ingest::{BadRecord, IngestReport, IngestRequest, Input};
use crate::observe::progress::{Event, Progress, TimedStep};
use crate::runtime::Context;
use crate::skills::plan::Apply;
use howdah_embed::Purpose;

/// Applies the declaration, without what destroys.
///
/// # Errors
/// What applying says.
pub async fn structure(
    context: &Context,
    set_service_passwords: bool,
    report: &dyn Progress,
) -> Result<(), Problem> {
    let step = TimedStep::begin(report, "applying the declaration");
    let told = Mutex::new(0_usize);
    let progress = |event: apply::ApplyEvent| match event {
        apply::ApplyEvent::Step { number, of, .. } => {
            *told.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = number;
            step.advanced(number as u64, of as u64, "steps");
        }
        apply::ApplyEvent::Building(building) => step.advanced(building.done, building.total, building.unit),
        apply::ApplyEvent::Planned(_) | apply::ApplyEvent::Done { .. } | apply::ApplyEvent::Note(_) => {}
    };
    let outcome =
        context.apply(Apply::default(), set_service_passwords, CancellationToken::new(), &progress).await?;
    let mut note = match outcome.done.len() {
        0 => "databases, roles, tables and indexes are as declared".to_owned(),
        1 => "1 step applied".to_owned(),
        many => format!("{many} steps applied"),
    };
    if !outcome.left.blocked.is_empty() {
        let count = outcome.left.blocked.len();
        note.push_str(&format!("; {count} would destroy data and wait for `howdah apply --allow-destroy`"));
    }
    if !outcome.restart.is_empty() {
        note.push_str(&format!("; a restart is needed for {}", outcome.restart.join(", ")));
    }
    step.done(note);
    Ok(())
}

/// Loads the declared documents of every collection that has some. What has not changed costs a look at its hash. What
/// cannot be read is told and left out; how much that was is the answer.
///
/// # Errors
/// `failed` when something could not be read and nothing else was there; what ingesting says.
pub async fn documents(
    context: &Context,
    declaration: &Declaration,
    report: &dyn Progress,
) -> Result<u64, Problem> {
    let (mut loaded, mut left_out) = (0, Vec::new());
    let (mut more, mut held_back) = (0, 0);
    for (name, collection) in context.spec().collections.iter().filter(|(_, one)| !one.documents.is_empty()) {
        let step = TimedStep::begin(report, format!("loading the documents of `{name}`"));
        let done = load(context, declaration, name, &collection.documents, &step).await?;
        step.done(came_of(name, &done));
        for note in &done.notes {
            report.tell(Event::Note { text: note.clone() });
        }
        for kept in &done.kept_places {
            report.tell(Event::Note { text: format!("{}. {}", kept.reason, kept.hint) });
            held_back += 1;
        }
        for bad in &done.bad_records {
            report.tell(Event::LeftOut { place: bad.place(), reason: bad.reason.clone() });
        }
        for note in &done.notes {
            report.tell(Event::Note { text: note.clone() });
        }
        loaded += done.documents;
        more += done.bad - done.bad_records.len() as u64;
        left_out.extend(done.bad_records);
    }
    match left_out.first() {
        Some(first) if loaded == 0 && held_back == 0 => Err(Problem::new(
            Kind::Failed,
            format!("no declared document could be read, `{}` first: {}", first.place(), first.reason),
        )
        .hint("Correct the files, or `documents` in the declaration, and run `howdah up` again.")),
        _ => Ok(left_out.len() as u64 + more + held_back),
    }
}

/// What came of loading a collection's documents, in one line.
fn came_of(name: &str, done: &IngestReport) -> String {
    let mut note = if !done.wrote_nothing() {
        let loaded = done.new + done.changed;
        format!(
            "`{name}`: {loaded} of {} documents loaded, {} rows written",
            done.documents, done.rows_written
        )
    } else if done.kept > 0 {
        format!("`{name}`: {} documents read, none of them changed", done.documents)
    } else {
        format!("`{name}` holds {} documents, none of them changed", done.documents)
    };
    let counts = [
        (done.renamed, "renamed"),
        (done.removed, "removed"),
        (done.kept, "kept although they are gone"),
        (done.bad, "left out"),
    ];
    for (many, what) in counts {
        if many > 0 {
            note.push_str(&format!(", {many} {what}"));
        }
    }
    note
}

/// A declared path that cannot be looked into.
fn unreadable(base: &Path, path: &str) -> Option<BadRecord> {
    let there = base.join(path);
    let looked = std::fs::metadata(&there)
        .and_then(|facts| if facts.is_dir() { std::fs::read_dir(&there).map(|_| ()) } else { Ok(()) });
    looked.err().map(|error| BadRecord::new(path, None, format!("cannot be read: {error}")))
}

/// A declared path, from wherever this process works.
fn absolute(base: &Path, path: &str) -> String {
    base.join(path).to_string_lossy().into_owned()
}

async fn load(
    context: &Context,
    declaration: &Declaration,
    name: &str,
    documents: &[String],
    step: &TimedStep<'_>,
) -> Result<IngestReport, Problem> {
    // Paths are read from where the declaration stands, and documents are named from there.
    let base = declaration.directory();
    let unreadable: Vec<BadRecord> = documents.iter().filter_map(|path| unreadable(base, path)).collect();
    let readable: Vec<&String> =
        documents.iter().filter(|path| unreadable.iter().all(|bad| bad.file != **path)).collect();
    let inputs = readable.iter().map(|path| Input::Path(absolute(base, path))).collect();
    let prune = !readable.is_empty();
    let change = |request: &mut IngestRequest| {
        (request.prune, request.skip_bad) = (prune, true);
    };
    let mut report = ingest(context, name, change, inputs, step).await?;
    report.bad += unreadable.len() as u64;
    report.bad_records.extend(unreadable);
    Ok(report)
}

async fn ingest(
    context: &Context,
    name: &str,
    change: impl FnOnce(&mut IngestRequest),
    inputs: Vec<Input>,
    step: &TimedStep<'_>,
) -> Result<IngestReport, Problem> {
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let progress = Arc::new(move |event| {
        // Whoever listened has given up; the ingest ends by itself.
        let _ = told.send(event);
    });
    let ingesting = context.ingest(&context.runtime.pools, name, change, inputs, progress);
    tokio::pin!(ingesting);
    loop {
        tokio::select! {
            report = &mut ingesting => return report,
            Some(event) = heard.recv() => {
                if let Event::Advanced { done, total, unit, .. } = event {
                    step.advanced(done, total, &unit);
                }
            }
        }
    }
}

/// Loads the models that run in this process, so that the first search does not wait for it. One that cannot be loaded is
/// told and left: searches by word do not need it.
pub async fn models(context: &Context, report: &dyn Progress) {
    for (name, embedder) in context.declared.embedders.iter() {
        let declared = context.spec().embedders.get(name);
        let used = context.spec().collections.values().any(|one| one.embedder.as_deref() == Some(name));
        if !used || declared.is_none_or(|one| one.kind != EmbedderKind::Local) {
            continue;
        }
        let step = TimedStep::begin(report, format!("loading the model of `{name}`"));
        match embedder.embed(&["howdah".to_owned()], Purpose::Query).await {
            Ok(_) => step.done(format!("{} is loaded", embedder.model_id())),
            Err(problem) => {
                tracing::warn!(detail = problem.detail, "{problem}");
                step.done(format!("{} is not loaded: {problem}", embedder.model_id()));
            }
        }
    }
}
