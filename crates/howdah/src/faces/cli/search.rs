//! `howdah search`.

use std::process::ExitCode;

use howdah_plan::problem::{Kind, Problem};
use serde_json::{Map, Value, json};

use super::Outcome;
use super::args::{Common, Format, Mode, Search};
use super::print::{self, BOLD, DIM, YELLOW, cell, field, paint, paint_out};
use super::session::{self, HttpCall, Session};
use crate::daemon::declaration::Declaration;

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

/// Searches and shows what came back.
pub async fn search(common: &Common, flags: &Search) -> Outcome {
    let input = input(common, flags).await?;
    if flags.curl {
        print::out(&curl(common, &input)?);
        return Ok(ExitCode::SUCCESS);
    }
    let session = Session::open(common).await?;
    let answer = session.call("search", input).await?;
    let hits = field(&answer, "results").as_array().cloned().unwrap_or_default();
    match common.output {
        Format::Table => show(common, &answer, &hits),
        format => print::rows(format, &answer, &hits, COLUMNS),
    }
    Ok(ExitCode::SUCCESS)
}

/// The flags as the skill's input.
async fn input(common: &Common, flags: &Search) -> Result<Value, super::print::Refusal> {
    let mut input = Map::new();
    input.insert("collection".into(), collection(common, flags).await?.into());
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            input.insert(name.into(), value);
        }
    };
    put("text", flags.text.clone().map(Value::from));
    put("vector", flags.vector.as_deref().map(|text| json_flag("--vector", text)).transpose()?);
    put("id", flags.like.as_deref().map(row_id));
    put("mode", flags.mode.map(|mode| mode_name(mode).into()));
    put("limit", flags.limit.map(Value::from));
    put("offset", flags.offset.map(Value::from));
    put("filter", filter(flags.filter.as_deref(), &flags.equals)?);
    put("max_distance", flags.max_distance.map(Value::from));
    put("min_similarity", flags.min_similarity.map(Value::from));
    put("ef_search", flags.ef_search.map(Value::from));
    put("exact", flags.exact.then(|| true.into()));
    put("explain", flags.explain.then(|| true.into()));
    put("sql", flags.sql.then(|| true.into()));
    Ok(Value::Object(input))
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Vector => "vector",
        Mode::Text => "text",
        Mode::Hybrid => "hybrid",
    }
}

/// The collection named, or the only one.
async fn collection(common: &Common, flags: &Search) -> Result<String, super::print::Refusal> {
    if let Some(named) = &flags.collection {
        return Ok(named.clone());
    }
    let names: Vec<String> = if common.url.is_some() {
        let listed = Session::open(common).await?.call("list_collections", json!({})).await?;
        let all = field(&listed, "collections").as_array().cloned().unwrap_or_default();
        all.iter().map(|one| cell(field(one, "name"))).collect()
    } else {
        Declaration::find(common.file.as_deref())?.spec.collections.keys().cloned().collect()
    };
    match names.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(Problem::new(Kind::NotFound, "no collection is declared")
            .hint("Add `[collections.NAME]` to howdah.toml and run `howdah up`.")
            .into()),
        several => Err(Problem::new(Kind::Usage, "there are several collections")
            .detail(format!("declared are: {}", several.join(", ")))
            .hint(format!("Name one: `--collection {}`.", several[0]))
            .into()),
    }
}

/// JSON given as a flag.
///
/// # Errors
/// `usage` when it is not JSON.
pub fn json_flag(flag: &str, text: &str) -> Result<Value, Problem> {
    serde_json::from_str(text).map_err(|error| {
        Problem::new(Kind::Usage, format!("`{flag}` is not JSON"))
            .detail(error.to_string())
            .hint("Put it in single quotes, with keys and text in double quotes: `'{\"year\": 2020}'`.")
    })
}

/// A row's id as JSON: a number where it is one.
pub fn row_id(text: &str) -> Value {
    text.parse::<i64>().map_or_else(|_| text.into(), Value::from)
}

/// `--filter` and every `--where`, all of which have to hold.
fn filter(filter: Option<&str>, equals: &[String]) -> Result<Option<Value>, Problem> {
    let mut all: Vec<Value> =
        filter.map(|text| json_flag("--filter", text)).transpose()?.into_iter().collect();
    for pair in equals {
        let (key, value) = pair.split_once('=').ok_or_else(|| {
            Problem::new(Kind::Usage, format!("`--where {pair}` has no `=`"))
                .hint("Write `--where key=value`; for anything else there is `--filter`.")
        })?;
        // What reads as a number or a truth is one; quotes make it text.
        let value = match serde_json::from_str(value) {
            Ok(scalar @ (Value::Number(_) | Value::Bool(_) | Value::String(_))) => scalar,
            _ => value.into(),
        };
        all.push(json!({ key: value }));
    }
    Ok(match all.len() {
        0 => None,
        1 => all.pop(),
        _ => Some(json!({ "and": all })),
    })
}

/// The same call for a shell.
fn curl(common: &Common, input: &Value) -> Result<String, super::print::Refusal> {
    let base = match &common.url {
        Some(base) => base.trim_end_matches('/').to_owned(),
        None => {
            let declaration = Declaration::find(common.file.as_deref())?;
            session::running(&declaration)?.map(|(_, running)| running.rest).ok_or_else(|| {
                Problem::new(Kind::Unreachable, "no server runs to call")
                    .hint("Start it with `howdah up`, or name one with `--url`.")
            })?
        }
    };
    let call = HttpCall::new(session::skill("search")?, input.clone());
    let body = call.body.unwrap_or_default().to_string().replace('\'', "'\\''");
    Ok(format!(
        "curl -sS -X POST '{base}{}' \\\n  -H \"Authorization: Bearer $HOWDAH_API_KEY\" \\\n  \
         -H 'Content-Type: application/json' \\\n  -d '{body}'\n",
        call.path
    ))
}

fn show(common: &Common, answer: &Value, hits: &[Value]) {
    let mut text = String::new();
    for hit in hits {
        text.push_str(&one(hit));
    }
    if let Some(explain) = answer.get("explain") {
        text.push_str(&explained(answer, explain));
    }
    if let Some(sql) = answer.get("sql").and_then(Value::as_str) {
        text.push_str(&format!("{}\n{sql}\n", paint_out("SQL", BOLD)));
    }
    print::out(&text);
    if common.quiet {
        return;
    }
    print::err(&format!("{}\n", paint(&footer(answer, hits.len()), DIM)));
    if field(answer, "complete") == &Value::Bool(false) {
        let reason = cell(field(answer, "complete_reason"));
        print::err(&format!("{} incomplete: {reason}\n", paint("warning:", YELLOW)));
    }
}

/// One row: where it is from, why it is here, what it says.
fn one(hit: &Value) -> String {
    let mut head = format!("{:>2}  ", cell(field(hit, "rank")));
    let title = [field(hit, "source"), field(hit, "title")]
        .into_iter()
        .filter(|value| !value.is_null())
        .map(cell)
        .collect::<Vec<_>>()
        .join(" › ");
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
    let body = [field(hit, "snippet"), field(hit, "content")].into_iter().find(|value| value.is_string());
    let body = body.map(|value| shortened(&cell(value))).unwrap_or_default();
    format!("{head}\n    {}\n{}\n", paint_out(&facts.join(" · "), DIM), indented(&body))
}

fn shortened(text: &str) -> String {
    let plain = text.replace("<b>", "").replace("</b>", "");
    let flat = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    if flat.chars().count() <= SHOWN {
        return flat;
    }
    let cut: String = flat.chars().take(SHOWN).collect();
    let end = cut.rfind(' ').unwrap_or(cut.len());
    format!("{} …", &cut[..end])
}

/// Wraps at 100 columns, four from the left.
fn indented(text: &str) -> String {
    let mut lines = String::new();
    let mut line = String::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if !line.is_empty() && line.chars().count() + word.chars().count() >= 96 {
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

fn footer(answer: &Value, count: usize) -> String {
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
    let plan = print::pretty(field(explain, "plan"));
    format!("{}\n{}\n{}\n{plan}", paint_out("Explain", BOLD), lines.join("\n"), paint_out("Plan", BOLD))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_become_one_filter_and_values_keep_their_type() {
        let both = filter(
            Some(r#"{"year":{"gte":2019}}"#),
            &["lang=en".into(), "pages=3".into(), "tag=\"3\"".into()],
        );
        assert_eq!(
            both.unwrap(),
            Some(json!({"and": [{"year": {"gte": 2019}}, {"lang": "en"}, {"pages": 3}, {"tag": "3"}]}))
        );
        assert_eq!(filter(None, &["a=x=y".into()]).unwrap(), Some(json!({"a": "x=y"})));
        assert_eq!(filter(None, &["nothing".into()]).unwrap_err().kind, Kind::Usage);
        assert_eq!(filter(Some("{year}"), &[]).unwrap_err().message, "`--filter` is not JSON");
    }
}
