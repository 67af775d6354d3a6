//! `howdah search-batch`: questions as JSON Lines on standard input, answers in their order.

use std::io::{IsTerminal, Read};

use howdah_plan::problem::{Kind, Problem};
use serde_json::Value;

use super::super::common::Format;
use super::super::print::{self, BOLD, DIM, cell, field, paint, paint_out};
use super::presenter::Presenter;
use super::search;

const SEARCHES: &str = "searches";

/// `howdah search-batch`.
pub const BATCH: Presenter = Presenter {
    skill: "search_batch",
    replaces: &[SEARCHES],
    input: |_, input| {
        if !input.contains_key(SEARCHES) {
            input.insert(SEARCHES.into(), read()?);
        }
        Ok(())
    },
    show: |asked, answer| {
        let answers = field(answer, "answers").as_array().map_or(&[][..], Vec::as_slice);
        let questions = field(asked.input, SEARCHES).as_array().map_or(&[][..], Vec::as_slice);
        match asked.common.output {
            Format::Table => {
                for (at, (question, one)) in questions.iter().zip(answers).enumerate() {
                    print::out(&shown(at, question, one));
                }
                if !asked.common.quiet {
                    let took = field(answer, "took_ms").as_f64().unwrap_or_default();
                    let all = print::count(answers.len() as u64, "question");
                    let failed = field(answer, "failed").as_u64().unwrap_or_default();
                    let failed =
                        if failed == 0 { String::new() } else { format!(" · {failed} without an answer") };
                    print::err(&format!("{}\n", paint(&format!("{all} · {took:.1} ms{failed}"), DIM)));
                }
            }
            Format::Csv => {
                let rows: Vec<Value> =
                    answers.iter().enumerate().flat_map(|(at, one)| rows(at, one)).collect();
                print::rows(Format::Csv, answer, &rows, COLUMNS);
            }
            format => print::rows(format, answer, answers, &[]),
        }
        Ok(())
    },
    exit: |_, answer| {
        let failed =
            field(answer, "answers").as_array().into_iter().flatten().find_map(|one| one.get("error"));
        let kind = failed.and_then(|error| serde_json::from_value::<Kind>(error["kind"].clone()).ok());
        kind.map_or(0, |kind| kind.row().exit)
    },
    ..Presenter::PLAIN
};

const COLUMNS: &[(&str, &str)] = &[
    ("Question", "question"),
    ("Rank", "rank"),
    ("Score", "score"),
    ("Id", "id"),
    ("Source", "source"),
    ("Title", "title"),
    ("Text", "content"),
];

/// The rows of one answer, each with the number of its question.
fn rows(at: usize, one: &Value) -> Vec<Value> {
    let hits = field(one, "answer.results").as_array().cloned().unwrap_or_default();
    hits.into_iter()
        .map(|mut hit| {
            hit["question"] = (at + 1).into();
            hit
        })
        .collect()
}

/// One question with its rows, or with why it has none.
fn shown(at: usize, question: &Value, one: &Value) -> String {
    let asked = ["text", "id"].into_iter().map(|name| field(question, name)).find(|value| !value.is_null());
    let asked = asked.map_or_else(|| "a vector".to_owned(), cell);
    let mut text = format!("{}\n", paint_out(&format!("{}. {asked}", at + 1), BOLD));
    if let Some(error) = one.get("error") {
        text.push_str(&format!("    error: {}\n\n", cell(field(error, "message"))));
        return text;
    }
    let answer = field(one, "answer");
    let hits = field(answer, "results").as_array().map_or(&[][..], Vec::as_slice);
    hits.iter().for_each(|hit| text.push_str(&search::one(hit)));
    text.push_str(&format!("    {}\n\n", paint_out(&search::footer(answer, hits.len()), DIM)));
    text
}

/// The searches on standard input, a JSON object a line.
fn read() -> Result<Value, Problem> {
    let hint = "Write a search a line, as in `{\"text\": \"how do backups work\", \"limit\": 3}`.";
    let mut stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Err(Problem::new(Kind::Usage, "there are no searches on standard input").hint(hint));
    }
    let mut text = String::new();
    stdin.read_to_string(&mut text).map_err(|error| {
        Problem::new(Kind::Usage, "standard input cannot be read").detail(error.to_string()).hint(hint)
    })?;
    lines(&text)
}

fn lines(text: &str) -> Result<Value, Problem> {
    let hint = "Write a search a line, as in `{\"text\": \"how do backups work\", \"limit\": 3}`.";
    let mut searches = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let one: Value = serde_json::from_str(line).map_err(|error| {
            Problem::new(Kind::Usage, format!("line {} of standard input is not JSON", number + 1))
                .detail(error.to_string())
                .hint(hint)
        })?;
        searches.push(one);
    }
    if searches.is_empty() {
        return Err(Problem::new(Kind::Usage, "there are no searches on standard input").hint(hint));
    }
    Ok(searches.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_is_a_search_and_a_bad_one_is_named() {
        let searches = lines("{\"text\": \"a\"}\n\n{\"vector\": [1]}\n").unwrap();
        assert_eq!(searches, json!([{"text": "a"}, {"vector": [1]}]));
        assert_eq!(
            lines("{\"text\": \"a\"}\n{text}\n").unwrap_err().message,
            "line 2 of standard input is not JSON"
        );
        assert_eq!(lines("\n").unwrap_err().message, "there are no searches on standard input");
    }
}
