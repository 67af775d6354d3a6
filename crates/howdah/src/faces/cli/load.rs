//! `howdah ingest`: files are read and embedded here, with progress, and written straight to PostgreSQL.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use howdah_plan::problem::{Kind, Problem};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::args::{Common, Format, Ingest};
use super::print::{self, GREEN, YELLOW, count, paint, thousands};
use super::session::Session;
use super::{INTERRUPTED, Outcome};
use crate::knowledge::ingest::{IngestReport, Input};
use crate::knowledge::read;
use crate::observe::progress::{Event, Progress};
use crate::skills::ingest::Ingest as Asked;

/// How often a line of progress is written where there is no terminal.
const PACE: Duration = Duration::from_secs(5);

/// Takes files in.
pub async fn ingest(common: &Common, flags: &Ingest) -> Outcome {
    if common.url.is_some() {
        return remote(common, flags).await;
    }
    let (_, context) = Session::own(common).await?;
    let format = flags.format.as_deref().map(read::Format::parse).transpose()?;
    let inputs: Vec<Input> =
        flags.paths.iter().map(|path| Input::Path(path.to_string_lossy().into_owned())).collect();
    let stop = CancellationToken::new();
    on_interrupt(&stop)?;
    let shown: Arc<dyn Progress> = Arc::new(Shown::new(common.quiet));
    let change = |request: &mut crate::knowledge::ingest::Request| {
        request.format = format;
        request.skip_bad = flags.skip_bad;
        request.prune = flags.prune;
        request.stop = stop;
    };
    let report = context.ingest(&context.runtime.pools, &flags.collection, change, inputs, shown).await?;
    say(common, &report);
    if report.interrupted {
        print::err("stopped; what is written stays, the same command does the rest\n");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    Ok(ExitCode::SUCCESS)
}

/// Another server takes documents as JSON Lines over REST.
async fn remote(common: &Common, flags: &Ingest) -> Outcome {
    use std::io::Read;
    let session = Session::open(common).await?;
    let mut whole = IngestReport { collection: flags.collection.clone(), ..IngestReport::default() };
    for path in &flags.paths {
        let mut text = String::new();
        let shown = path.display();
        let read = if path.as_os_str() == "-" {
            std::io::stdin().read_to_string(&mut text)
        } else {
            std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text))
        };
        read.map_err(|error| {
            Problem::new(Kind::Usage, format!("cannot read `{shown}`")).detail(error.to_string())
        })?;
        let mut documents = Vec::new();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let document: serde_json::Value = serde_json::from_str(line).map_err(|error| {
                Problem::new(Kind::Usage, format!("bad record at `{shown}:{}`", number + 1))
                    .detail(error.to_string())
                    .hint(
                        "With `--url` documents go as JSON Lines: `{\"source\": …, \"content\": …}` a line.",
                    )
            })?;
            documents.push(document);
        }
        for part in documents.chunks(500) {
            let asked: Asked = serde_json::from_value(
                json!({"collection": flags.collection, "documents": part, "skip_bad": flags.skip_bad}),
            )
            .map_err(|error| {
                Problem::new(Kind::Usage, format!("a record of `{shown}` does not fit"))
                    .detail(error.to_string())
            })?;
            let answer = session.call("ingest", json!(asked)).await?;
            let report: IngestReport = serde_json::from_value(answer).unwrap_or_default();
            add(&mut whole, &report);
        }
    }
    if !common.quiet {
        for bad in &whole.bad_records {
            print::err(&format!("{} {}: {}\n", paint("bad record:", YELLOW), bad.place(), bad.reason));
        }
    }
    say(common, &whole);
    Ok(ExitCode::SUCCESS)
}

fn add(whole: &mut IngestReport, part: &IngestReport) {
    whole.documents += part.documents;
    whole.new += part.new;
    whole.changed += part.changed;
    whole.unchanged += part.unchanged;
    whole.rows_written += part.rows_written;
    whole.rows_removed += part.rows_removed;
    whole.embedded += part.embedded;
    whole.bad += part.bad;
    whole.bad_records.extend(part.bad_records.iter().cloned());
    whole.seconds += part.seconds;
}

fn say(common: &Common, report: &IngestReport) {
    match common.output {
        Format::Json | Format::Jsonl => print::out(&format!("{}\n", json!(report))),
        Format::Csv | Format::Table => print::out(&format!("{}\n", sentence(report))),
    }
    if common.quiet {
        return;
    }
    for note in &report.notes {
        print::err(&format!("note: {note}\n"));
    }
}

/// What came of it, in one line.
pub fn sentence(report: &IngestReport) -> String {
    let mut parts = vec![count(report.documents, "document")];
    for (many, what) in [
        (report.new, "new"),
        (report.changed, "changed"),
        (report.unchanged, "unchanged"),
        (report.removed, "removed"),
        (report.bad, "bad"),
    ] {
        if many > 0 {
            parts.push(format!("{} {what}", thousands(many)));
        }
    }
    parts.push(format!("{} written", count(report.rows_written, "row")));
    if report.rows_removed > 0 {
        parts.push(format!("{} removed", count(report.rows_removed, "row")));
    }
    let rate = if report.rows_written > 0 && report.seconds > 0.0 {
        format!(", {} a second", thousands((report.rows_written as f64 / report.seconds).round() as u64))
    } else {
        String::new()
    };
    format!("{} in {:.1} s{rate}", parts.join(", "), report.seconds)
}

/// Shows how far an ingest is: a bar on a terminal, a line every few seconds elsewhere.
struct Shown {
    quiet: bool,
    bar: Option<ProgressBar>,
    last: Mutex<Instant>,
}

impl Shown {
    fn new(quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new(0);
            let style = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {msg} eta {eta}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Shown { quiet, bar, last: Mutex::new(Instant::now()) }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None if !self.quiet => print::err(&format!("{text}\n")),
            None => {}
        }
    }

    fn advance(&self, done: u64, total: u64, unit: &str, so_far: String) {
        if let Some(bar) = &self.bar {
            if unit == "bytes" {
                bar.set_length(total);
                bar.set_position(done);
            }
            bar.set_message(so_far);
            return;
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if self.quiet || so_far.is_empty() || last.elapsed() < PACE {
            return;
        }
        *last = Instant::now();
        print::err(&format!("{so_far}\n"));
    }
}

impl Progress for Shown {
    fn tell(&self, event: Event) {
        match event {
            Event::Advanced { done, total, unit, note } => self.advance(done, total, &unit, note),
            Event::LeftOut { place, reason } => {
                self.line(&format!("{} {place}: {reason}", paint("bad record:", YELLOW)));
            }
            Event::Note { text } => self.line(&format!("{} {text}", paint("·", GREEN))),
            Event::Begin { .. } | Event::Done { .. } | Event::Ready { .. } | Event::Failed { .. } => {}
        }
    }
}

/// Asks the work to stop at the first Ctrl-C or SIGTERM; a second one ends the process at once, with the exit code of an
/// interrupt.
///
/// # Errors
/// `machine` when the signal cannot be listened to.
fn on_interrupt(stop: &CancellationToken) -> Result<(), Problem> {
    let on = |kind| {
        signal(kind).map_err(|e| Problem::new(Kind::Machine, "cannot listen to Ctrl-C").detail(e.to_string()))
    };
    let (mut interrupt, mut terminate) = (on(SignalKind::interrupt())?, on(SignalKind::terminate())?);
    let stop = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if stop.is_cancelled() {
                std::process::exit(i32::from(INTERRUPTED));
            }
            print::err("Ctrl-C again ends at once\n");
            stop.cancel();
        }
    });
    Ok(())
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
