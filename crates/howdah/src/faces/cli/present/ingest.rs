//! `howdah ingest`: files are read and embedded here, with progress, and written straight to PostgreSQL.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::{Arg, ArgAction, value_parser};
use howdah_plan::problem::{DoNow, Kind, Problem};
use howdah_plan::removal::Limit;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::super::common::{Common, Format};
use super::super::endpoint::{self, Endpoint};
use super::super::print::{self, CYAN, GREEN, YELLOW, count, paint, thousands};
use super::super::refusal::Outcome;
use super::super::stop::INTERRUPTED;
use super::presenter::{Asked, Presenter, switch_in};
use crate::daemon::declaration::Declaration;
use crate::knowledge::ingest::{IngestReport, IngestRequest, Input, Selection};
use crate::knowledge::read;
use crate::observe::progress::{Event, Progress};
use crate::skills::ingest::Ingest;

const PATH: &str = "path";
const PRUNE: &str = "prune";
const MAX_REMOVED: &str = "max-removed";
const ALLOW_EMPTY: &str = "allow-empty";
const INCLUDE: &str = "include";
const EXCLUDE: &str = "exclude";
const DRY_RUN: &str = "dry-run";
const VERBOSE: &str = "verbose";
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
                .help("Remove documents that came from these files and directories and are gone from there"),
            Arg::new(MAX_REMOVED)
                .long(MAX_REMOVED)
                .value_name("LIMIT")
                .requires(PRUNE)
                .help("How many documents of a file or directory may be removed: `20%` or a number; as declared when absent"),
            Arg::new(ALLOW_EMPTY)
                .long(ALLOW_EMPTY)
                .action(ArgAction::SetTrue)
                .requires(PRUNE)
                .help("Remove all documents of a file or directory in which nothing is left"),
            patterns(INCLUDE, "Of directories read only files that match, as in `*.md` or `guides/**`"),
            patterns(EXCLUDE, "Of directories leave out files and directories that match"),
            Arg::new(DRY_RUN)
                .long(DRY_RUN)
                .action(ArgAction::SetTrue)
                .conflicts_with(DOCUMENTS)
                .help("Say what would be done, and embed and write nothing"),
            Arg::new(VERBOSE)
                .long(VERBOSE)
                .short('v')
                .action(ArgAction::SetTrue)
                .help("Name what is passed over and what is removed"),
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
        say(asked, &report);
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
    let selection = Selection::new(&all(asked, INCLUDE), &all(asked, EXCLUDE))?;
    let max_removed = asked.matches.get_one::<String>(MAX_REMOVED).map(|text| limit(text)).transpose()?;
    let change = |request: &mut IngestRequest| {
        request.format = format;
        request.encoding = encoding;
        request.selection = selection;
        request.skip_bad = skips_bad(asked);
        request.prune = switch_in(asked.matches, PRUNE);
        request.max_removed = max_removed.unwrap_or(request.max_removed);
        request.allow_empty = switch_in(asked.matches, ALLOW_EMPTY);
        request.dry_run = switch_in(asked.matches, DRY_RUN);
        request.stop = common.stop.token();
    };
    let _held = common.stop.hold();
    let shown: Arc<dyn Progress> = Arc::new(Shown::new(common.quiet));
    let report = context.ingest(&context.runtime.pools, collection(asked), change, inputs, shown).await?;
    say(asked, &report);
    if report.interrupted {
        print::err("stopped; what is written stays, the same command does the rest\n");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    let nothing = report.documents + report.bad + report.removed + report.kept == 0;
    if nothing && paths.iter().any(|path| path.is_dir()) {
        return Err(no_document(paths, &report).into());
    }
    Ok(ExitCode::from(exit(asked, &report)))
}

fn patterns(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name("GLOB")
        .action(ArgAction::Append)
        .conflicts_with(DOCUMENTS)
        .help(help)
}

fn all(asked: &Asked<'_>, name: &str) -> Vec<String> {
    asked.matches.get_many::<String>(name).into_iter().flatten().cloned().collect()
}

fn limit(text: &str) -> Result<Limit, Problem> {
    Limit::parse(text).ok_or_else(|| {
        Problem::new(Kind::Usage, format!("`--{MAX_REMOVED}` is neither a share nor a number: `{text}`"))
            .hint("Write a share as in `20%`, or a number of documents as in `50`.")
    })
}

fn skips_bad(asked: &Asked<'_>) -> bool {
    asked.input["skip_bad"] == true
}

/// Exit code of an ingest that came to its end.
fn exit(asked: &Asked<'_>, report: &IngestReport) -> u8 {
    let complete = report.kept == 0 && (report.bad == 0 || skips_bad(asked));
    if complete { 0 } else { Kind::Degraded.row().exit }
}

/// Directories in which there is nothing to read.
fn no_document(paths: &[PathBuf], report: &IngestReport) -> Problem {
    let given: Vec<String> = paths.iter().map(|path| format!("`{}`", path.display())).collect();
    let detail = match report.ignored_files {
        0 => "it is empty".to_owned(),
        _ => report
            .notes
            .first()
            .cloned()
            .unwrap_or_else(|| format!("{} passed over", count(report.ignored_files, "file"))),
    };
    let hint = if report.ignored_files > 0 {
        "See what was passed over with `--verbose`; `--format` reads files of any suffix."
    } else {
        "Check the path, and that what should be there is mounted."
    };
    Problem::new(Kind::Degraded, format!("there is no document in {}", given.join(", ")))
        .detail(detail)
        .hint(hint)
        .do_now(DoNow::FixInput)
}

fn collection<'a>(asked: &'a Asked<'_>) -> &'a str {
    asked.input["collection"].as_str().unwrap_or_default()
}

/// Another server takes documents as JSON Lines over REST.
async fn remote(asked: &Asked<'_>, paths: &[PathBuf]) -> Outcome {
    let endpoint = Endpoint::open(asked.common).await?;
    let mut whole = IngestReport { collection: collection(asked).to_owned(), ..IngestReport::default() };
    for path in paths {
        let mut records = documents(path)?;
        let file = file_name(asked.common, path);
        records.iter_mut().for_each(|(_, record)| named(record, &file));
        for part in records.chunks(PART) {
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
    say(asked, &whole);
    Ok(ExitCode::from(exit(asked, &whole)))
}

/// Gives records their names, as an ingest of the same file here would: by their `source` and `id`, else by the file's path
/// from the declaration's directory and a hash.
fn named(record: &mut Value, file: &str) {
    let Some(fields) = record.as_object_mut() else { return };
    let text = |value: Option<&Value>| match value {
        Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let name = match (text(fields.get("source")), text(fields.get("id"))) {
        (Some(source), Some(id)) => format!("{source}#{id}"),
        (Some(name), None) | (None, Some(name)) => name,
        (None, None) => {
            let hash = Sha256::digest(Value::Object(fields.clone()).to_string());
            format!("{file}#{}", howdah_plan::hex::encode(&hash[..8]))
        }
    };
    fields.shift_remove("id");
    fields.insert("source".into(), name.into());
}

/// What a file is called, from the declaration's directory where there is one.
fn file_name(common: &Common, path: &Path) -> String {
    if path.as_os_str() == "-" {
        return "stdin".into();
    }
    let declaration = Declaration::find(common.file.as_deref()).ok();
    let base = declaration.as_ref().map_or(Path::new("."), Declaration::directory);
    read::Naming::new(base, &[]).typed(path).unwrap_or_else(|| path.to_string_lossy().into_owned())
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

fn say(asked: &Asked<'_>, report: &IngestReport) {
    let common = asked.common;
    match common.output {
        Format::Json | Format::Jsonl => print::out(&format!("{}\n", json!(report))),
        Format::Csv | Format::Table => print::out(&format!("{}\n", sentence(report))),
    }
    if common.quiet {
        return;
    }
    if switch_in(asked.matches, VERBOSE) {
        for ignored in &report.ignored {
            print::err(&format!("passed over {}: {}\n", ignored.path, ignored.reason));
        }
        for document in &report.removed_documents {
            print::err(&format!("removed {document}\n"));
        }
    }
    for note in &report.notes {
        print::err(&format!("note: {note}\n"));
    }
    for kept in &report.kept_places {
        print::err(&format!(
            "{} {}\n{} {}\n",
            paint("kept:", YELLOW),
            kept.reason,
            paint("hint:", CYAN),
            kept.hint
        ));
    }
}

/// What came of it, in one line.
pub fn sentence(report: &IngestReport) -> String {
    let mut parts = vec![count(report.documents, "document")];
    for (many, what) in [
        (report.new, "new"),
        (report.changed, "changed"),
        (report.unchanged, "unchanged"),
        (report.renamed, "renamed"),
        (report.removed, "removed"),
        (report.kept, "kept although they are gone"),
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
    let dry = if report.dry_run { "nothing is written; it would be: " } else { "" };
    format!("{dry}{} in {:.1} s{rate}", parts.join(", "), report.seconds)
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
