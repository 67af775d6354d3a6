//! `howdah search`.

use std::process::ExitCode;

use clap::{Arg, ArgAction};
use howdah_plan::problem::{Kind, Problem};
use serde_json::Value;

use super::super::common::{Common, Format};
use super::super::endpoint::{self, HttpCall};
use super::super::print::{self, BOLD, DIM, YELLOW, cell, field, paint, paint_out};
use super::super::refusal::Refusal;
use super::explain;
use super::filter;
use super::presenter::{Asked, Flag, Presenter};
use crate::daemon::declaration::Declaration;

const CURL: &str = "curl";

/// Characters of a text shown in a table.
const SHOWN: usize = 280;

const COLUMNS: &[(&str, &str)] = &[
    ("Rank", "rank"),
    ("Score", "score"),
    ("Similarity", "similarity"),
    ("Id", "id"),
    ("Source", "source"),
    ("Title", "title"),
    ("Text", "content"),
];

/// `howdah search`.
pub const SEARCH: Presenter = Presenter {
    skill: "search",
    flags: &[
        Flag {
            short: Some('n'),
            hint: Some("One to 10000 rows can be asked for; go on with the answer's `next` as `--cursor`."),
            ..Flag::of("limit")
        },
        Flag { long: Some("like"), excludes: &["text", "vector"], ..Flag::of("id") },
        Flag { value: Some("DISTANCE"), ..Flag::of("max_distance") },
        Flag { value: Some("SIMILARITY"), ..Flag::of("min_similarity") },
    ],
    extra: || {
        let mut all = filter::args();
        all.push(
            Arg::new(CURL)
                .long(CURL)
                .action(ArgAction::SetTrue)
                .help("Show the same as a call of curl, without running it"),
        );
        all
    },
    input: filter::merge,
    instead: |asked| {
        Box::pin(async move {
            if !asked.has(CURL) {
                return Ok(None);
            }
            print::out(&curl(asked)?);
            Ok(Some(ExitCode::SUCCESS))
        })
    },
    show: |asked, answer| {
        let hits = field(answer, "results").as_array().map_or(&[][..], Vec::as_slice);
        match asked.common.output {
            Format::Table => show(asked.common, answer, hits),
            format => print::rows(format, answer, hits, COLUMNS),
        }
        Ok(())
    },
    ..Presenter::PLAIN
};

/// The same call for a shell.
fn curl(asked: &Asked) -> Result<String, Refusal> {
    let common = asked.common;
    let base = match &common.url {
        Some(base) => base.trim_end_matches('/').to_owned(),
        None => {
            let declaration = Declaration::find(common.file.as_deref())?;
            endpoint::running(&declaration)?.map(|(_, running)| running.rest).ok_or_else(|| {
                Problem::new(Kind::Unreachable, "no server runs to call")
                    .hint("Start it with `howdah up`, or name one with `--url`.")
            })?
        }
    };
    let call = HttpCall::new(asked.skill, asked.input.clone());
    let body = call.body.unwrap_or_default().to_string().replace('\'', "'\\''");
    Ok(format!(
        "curl -sS -X {} '{base}{}' \\\n  -H \"Authorization: Bearer $HOWDAH_API_KEY\" \\\n  \
         -H 'Content-Type: application/json' \\\n  -d '{body}'\n",
        asked.skill.route.method, call.path
    ))
}

/// The rows, or with `--sql` the statement alone, so that it can be piped into psql. What explains either goes where the
/// other data does not.
fn show(common: &Common, answer: &Value, hits: &[Value]) {
    let explained = answer.get("explain").map(|explain| explained(answer, explain)).unwrap_or_default();
    if let Some(sql) = answer.get("sql").and_then(Value::as_str) {
        print::out(&format!("{sql}\n"));
        print::err(&explained);
    } else {
        let rows: String = hits.iter().map(one).collect();
        print::out(&format!("{rows}{explained}"));
    }
    if common.quiet {
        return;
    }
    print::err(&format!("{}\n", paint(&footer(answer, hits.len()), DIM)));
    for note in field(answer, "notes").as_array().into_iter().flatten() {
        print::err(&format!("{} {}\n", paint("note:", YELLOW), cell(note)));
    }
    if field(answer, "complete") == &Value::Bool(false) {
        let reason = cell(field(answer, "complete_reason"));
        print::err(&format!("{} incomplete: {reason}\n", paint("warning:", YELLOW)));
    }
}

/// One row: where it is from, why it is here, what it says.
pub fn one(hit: &Value) -> String {
    let mut head = format!("{:>2}  ", cell(field(hit, "rank")));
    let title = [field(hit, "source"), field(hit, "title")]
        .into_iter()
        .filter(|value| !value.is_null())
        .map(cell)
        .collect::<Vec<_>>()
        .join(" › ");
    // A row that came without a source has its id for a name.
    let title = if title.is_empty() { format!("id {}", cell(field(hit, "id"))) } else { title };
    head.push_str(&paint_out(&title, BOLD));
    let legs: Vec<String> = [("vector", "legs.vector.rank"), ("text", "legs.text.rank")]
        .into_iter()
        .filter_map(|(name, path)| Some(format!("{name} #{}", field(hit, path).as_u64()?)))
        .collect();
    let mut facts = vec![format!("score {}", cell(field(hit, "score")))];
    if let Some(similarity) = field(hit, "similarity").as_f64() {
        facts.push(format!("similarity {similarity:.3}"));
    }
    facts.extend(legs);
    facts.push(format!("id {}", cell(field(hit, "id"))));
    let body = match field(hit, "snippet").as_str() {
        Some(snippet) => marked(snippet, field(hit, "marks")),
        None => field(hit, "content")
            .as_str()
            .map(|_| shortened(&cell(field(hit, "content"))))
            .unwrap_or_default(),
    };
    format!("{head}\n    {}\n{}\n", paint_out(&facts.join(" · "), DIM), indented(&body))
}

/// A snippet without what a terminal would obey, its words bold where colours are wanted. Marks count characters.
fn marked(snippet: &str, marks: &Value) -> String {
    let place = |mark: &Value, at: usize| mark[at].as_u64().and_then(|place| usize::try_from(place).ok());
    let marks: Vec<(usize, usize)> = marks
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|mark| Some((place(mark, 0)?, place(mark, 1)?)))
        .collect();
    let mut out = String::new();
    let mut word = String::new();
    for (at, character) in snippet.chars().enumerate() {
        let character = if character.is_control() { ' ' } else { character };
        if !marks.iter().any(|(begin, end)| (*begin..*end).contains(&at)) {
            out.push(character);
            continue;
        }
        word.push(character);
        // A word at a time, so that a line can be wrapped between two of them.
        if character == ' ' || marks.iter().any(|(_, end)| *end == at + 1) {
            out.push_str(&paint_out(&std::mem::take(&mut word), BOLD));
        }
    }
    out
}

fn shortened(text: &str) -> String {
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if flat.chars().count() <= SHOWN {
        return flat;
    }
    let cut: String = flat.chars().take(SHOWN).collect();
    let end = cut.rfind(' ').unwrap_or(cut.len());
    format!("{} …", &cut[..end])
}

/// Characters of a text that are seen: colours take no place.
fn seen(text: &str) -> usize {
    let mut coloured = false;
    let counts = |character: char| {
        let begins = character == '\u{1b}';
        let inside = coloured || begins;
        coloured = begins || (coloured && character != 'm');
        !inside
    };
    text.chars().map(counts).filter(|counts| *counts).count()
}

/// Wraps at 100 columns, four from the left.
fn indented(text: &str) -> String {
    let mut lines = String::new();
    let mut line = String::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if !line.is_empty() && seen(&line) + seen(word) >= 96 {
            lines.push_str(&format!("    {line}\n"));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() {
        lines.push_str(&format!("    {line}\n"));
    }
    lines
}

/// What there is to say of an answer as a whole.
pub fn footer(answer: &Value, count: usize) -> String {
    let rows = if count == 1 { "1 row".to_owned() } else { format!("{count} rows") };
    let mut parts = vec![
        rows,
        format!("{:.1} ms", field(answer, "took_ms").as_f64().unwrap_or_default()),
        cell(field(answer, "mode")),
    ];
    if let Some(embed) = field(answer, "embed_ms").as_f64() {
        parts.push(format!("embedding {embed:.1} ms"));
    }
    if let Some(access) = field(answer, "scan.access").as_str() {
        parts.push(access.to_owned());
    }
    if let Some(index) = field(answer, "index").as_str() {
        parts.push(format!("index {index}"));
    }
    if field(answer, "complete") == &Value::Bool(true) {
        parts.push("complete".to_owned());
    }
    parts.join(" · ")
}

fn explained(answer: &Value, explain: &Value) -> String {
    let mut lines = Vec::new();
    let mut say = |name: &str, value: &Value| {
        if !value.is_null() {
            lines.push(format!("  {name:<10} {}", cell(value)));
        }
    };
    say("access", field(answer, "scan.access"));
    say("why", field(answer, "scan.reason"));
    say("complete", field(answer, "complete_reason"));
    say("node", field(explain, "node"));
    say("text node", field(explain, "text_node"));
    say("indexes", field(explain, "indexes"));
    say("scanned", field(explain, "scanned"));
    say("filtered", field(explain, "filtered"));
    say("buffers", field(explain, "buffers"));
    say("planning", &format!("{:.2} ms", field(explain, "planning_ms").as_f64().unwrap_or_default()).into());
    say(
        "execution",
        &format!("{:.2} ms", field(explain, "execution_ms").as_f64().unwrap_or_default()).into(),
    );
    say("fusion", field(explain, "fusion"));
    if let Some(settings) = field(answer, "scan.settings").as_object() {
        for (name, value) in settings {
            lines.push(format!("  {name} = {}", cell(value)));
        }
    }
    let plan = explain::plan(field(explain, "plan"));
    format!("{}\n{}\n{}\n{plan}", paint_out("Explain", BOLD), lines.join("\n"), paint_out("Plan", BOLD))
}
