//! How does a command end that cannot do what it was asked?

use std::process::ExitCode;

use howdah_plan::problem::Problem;
use serde_json::json;

use super::common::Format;
use super::print::{self, BOLD, CYAN, RED, paint};

/// What a command ends in.
pub type Outcome = Result<ExitCode, Refusal>;

/// Problems that end a command: one, or all the mistakes in a declaration.
#[derive(Debug)]
pub struct Refusal(pub Vec<Problem>);

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Refusal(vec![problem])
    }
}

impl From<Vec<Problem>> for Refusal {
    fn from(problems: Vec<Problem>) -> Self {
        Refusal(problems)
    }
}

impl Refusal {
    /// Exit code of the command.
    pub fn exit(&self) -> u8 {
        self.0.first().map_or(1, |problem| problem.kind.row().exit)
    }

    /// Says it on standard error: as JSON where JSON was asked for.
    pub fn say(&self, format: Format) {
        let text = match format {
            Format::Json | Format::Jsonl => {
                let mut value = json!({ "error": self.0.first() });
                if self.0.len() > 1 {
                    value["more"] = json!(self.0[1..]);
                }
                format!("{value}\n")
            }
            Format::Table | Format::Csv => self.0.iter().map(words).collect::<Vec<_>>().join("\n"),
        };
        print::err(&text);
    }
}

/// A problem as people read it.
fn words(problem: &Problem) -> String {
    let mut text = format!("{} {}\n", paint("error:", RED), problem.message);
    if let Some(detail) = &problem.detail {
        text.push_str(&format!("{} {}\n", paint("detail:", BOLD), detail.replace('\n', "\n  ")));
    }
    if let Some(hint) = &problem.hint {
        text.push_str(&format!("{} {}\n", paint("hint:", CYAN), hint.replace('\n', "\n  ")));
    }
    text
}
