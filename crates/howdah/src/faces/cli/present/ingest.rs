//! `howdah ingest`: files are read and embedded here, with progress, and written straight to PostgreSQL.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::{Arg, ArgAction, value_parser};
use howdah_plan::problem::{Kind, Problem};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::common::{Common, Format};
use super::super::endpoint::{self, Endpoint};
use super::super::print::{self, GREEN, YELLOW, count, paint, thousands};
use super::super::refusal::Outcome;
use super::super::stop::INTERRUPTED;
use super::presenter::{Asked, Presenter, switch_in};
use crate::knowledge::ingest::{IngestReport, IngestRequest, Input};
use crate::knowledge::read;
use crate::observe::progress::{Event, Progress};
use crate::skills::ingest::Ingest;

const PATH: &str = "path";
const PRUNE: &str = "prune";
const FORMAT: &str = "format";
const ENCODING: &str = "encoding";
/// The field that files stand for.
const DOCUMENTS: &str = "input.documents";
/// Most documents of one request to another server.
const PART: usize = 500;

/// How often a line of progress is written where there is no terminal.
const PACE: Duration = Duration::from_secs(5);

/// `howdah ingest`. Documents given as JSON go to the skill; files are read here.
pub const INGEST: Presenter = Presenter {
    skill: "ingest",
    replaces: &["documents"],
    extra: || {
        vec![
            Arg::new(PATH)
                .value_name("PATH")
                .value_parser(value_parser!(PathBuf))
                .action(ArgAction::Append)
                .num_args(1..)
                .required_unless_present(DOCUMENTS)
                .conflicts_with(DOCUMENTS)
                .help("Files and directories; `-` for standard input"),
            Arg::new(PRUNE)
                .long(PRUNE)
                .action(ArgAction::SetTrue)
                .conflicts_with(DOCUMENTS)
                .help("Remove documents of these directories that are gone from there"),
            Arg::new(FORMAT)
                .long(FORMAT)
                .value_name("FORMAT")
                .conflicts_with(DOCUMENTS)
                .help("Format of what is read: markdown, text, html, jsonl, csv, tsv, npy, parquet; told from the name when absent"),
            Arg::new(ENCODING)
                .long(ENCODING)
                .value_name("ENCODING")
                .conflicts_with(DOCUMENTS)
                .help("Encoding of texts without a byte order mark: latin1, windows-1251, shift_jis, …; UTF-8 when absent"),
        ]
    },
    instead: |asked| {
        Box::pin(async move {
            let paths: Vec<PathBuf> = asked.matches.get_many(PATH).into_iter().flatten().cloned().collect();
            match (paths.is_empty(), &asked.common.url) {
                (true, _) => Ok(None),
                (false, Some(_)) => remote(asked, &paths).await.map(Some),
                (false, None) => here(asked, &paths).await.map(Some),
            }
        })
    },
    show: |asked, answer| {
        let report = IngestReport::deserialize(answer).map_err(|error| {
            Problem::new(Kind::Internal, "the report cannot be read").detail(error.to_string())
        })?;
        bad_records(asked.common, &report);
        say(asked.common, &report);
        Ok(())
    },
    ..Presenter::PLAIN
};

/// Files are read and embedded here, with progress, and written straight to PostgreSQL.
async fn here(asked: &Asked<'_>, paths: &[PathBuf]) -> Outcome {
    let common = asked.common;
    let (_, context) = Endpoint::own(common).await?;
    let format = asked.matches.get_one::<String>(FORMAT).map(|name| read::Format::parse(name)).transpose()?;
    let encoding = asked.matches.get_one::<String>(ENCODING).map(|name| read::encoding(name)).transpose()?;
    let inputs = paths.iter().map(|path| Input::Path(path.to_string_lossy().into_owned())).collect();
    let change = |request: &mut IngestRequest| {
        request.format = format;
        request.encoding = encoding;
        request.skip_bad = asked.input["skip_bad"] == true;
        request.prune = switch_in(asked.matches, PRUNE);
        request.stop = common.stop.token();
    };
    let _held = common.stop.hold();
    let shown: Arc<dyn Progress> = Arc::new(Shown::new(common.quiet));
    let report = context.ingest(&context.runtime.pools, collection(asked), change, inputs, shown).await?;
    say(common, &report);
    if report.interrupted {
        print::err("stopped; what is written stays, the same command does the rest\n");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    Ok(ExitCode::SUCCESS)
}

fn collection<'a>(asked: &'a Asked<'_>) -> &'a str {
    asked.input["collection"].as_str().unwrap_or_default()
}

/// Another server takes documents as JSON Lines over REST.
async fn remote(asked: &Asked<'_>, paths: &[PathBuf]) -> Outcome {
    let endpoint = Endpoint::open(asked.common).await?;
    let mut whole = IngestReport { collection: collection(asked).to_owned(), ..IngestReport::default() };
    for path in paths {
        for part in documents(path)?.chunks(PART) {
            let mut input = asked.input.clone();
            input["documents"] = part.iter().map(|(_, document)| document.clone()).collect();
            let fits: Result<Ingest, _> = endpoint::typed(asked.skill, &input);
            let input = fits.map_err(|problem| Problem {
                message: format!("a record of `{}` does not fit", path.display()),
                ..problem
            })?;
            let answer = endpoint.call(asked.skill.name, json!(input)).await?;
            let mut report = IngestReport::deserialize(&answer).map_err(|error| {
                Problem::new(Kind::Internal, "the server answered something that is no report of an ingest")
                    .detail(error.to_string())
                    .hint("What it wrote stays; see whether both are of the same version with `howdah version`.")
            })?;
            // The server knows their places in the request; a person looks for them in the file.
            for bad in &mut report.bad_records {
                let line =
                    bad.index.and_then(|index| part.get(usize::try_from(index).ok()?)).map(|(line, _)| *line);
                if line.is_some() {
                    *bad = read::BadRecord::new(
                        &path.display().to_string(),
                        line,
                        std::mem::take(&mut bad.reason),
                    );
                }
            }
            whole.add(report);
        }
    }
    bad_records(asked.common, &whole);
    say(asked.common, &whole);
    Ok(ExitCode::SUCCESS)
}

/// The documents of a file of JSON Lines, each with its line.
fn documents(path: &Path) -> Result<Vec<(u64, Value)>, Problem> {
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
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            read::json::exact(line).map(|document| (number, document)).map_err(|reason| {
                Problem::new(Kind::Usage, format!("bad record at `{shown}:{number}`")).detail(reason).hint(
                    "With `--url` documents go as JSON Lines: `{\"source\": …, \"content\": …}` a line.",
                )
            })
        })
        .collect()
}

fn bad_records(common: &Common, report: &IngestReport) {
    if common.quiet {
        return;
    }
    for bad in &report.bad_records {
        print::err(&format!("{} {}: {}\n", paint("bad record:", YELLOW), bad.place(), bad.reason));
    }
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

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
