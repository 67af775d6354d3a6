//! `howdah apply`: from here, with the declaration as it is now; the running server reads it again afterwards.

use std::process::ExitCode;
use std::time::Instant;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::super::common::{Common, Format};
use super::super::endpoint::{self, Endpoint};
use super::super::print::{self, DIM, paint};
use super::super::refusal::Outcome;
use super::super::steps::Shown;
use super::presenter::{Asked, Presenter};
use crate::apply;
use crate::observe::progress::duration;
use crate::skills::plan::Apply;

/// `howdah apply`.
pub const APPLY: Presenter = Presenter {
    skill: "apply",
    instead: |asked| {
        Box::pin(
            async move { if asked.common.url.is_some() { Ok(None) } else { here(asked).await.map(Some) } },
        )
    },
    show: |_, outcome| {
        print::out(&print::pretty(outcome));
        Ok(())
    },
    ..Presenter::PLAIN
};

async fn here(asked: &Asked<'_>) -> Outcome {
    let common = asked.common;
    let how: Apply = endpoint::typed(asked.skill, asked.input)?;
    let (declaration, context) = Endpoint::own(common).await?;
    let shown = Shown::new(common.quiet);
    let begun = Instant::now();
    let outcome = context.apply(how, false, CancellationToken::new(), &apply::tell(&shown)).await?;
    endpoint::tell_to_reload(&declaration)?;
    match common.output {
        Format::Table | Format::Csv => print::out(&format!(
            "{} applied {}\n",
            count(outcome.done.len(), "step"),
            paint(&duration(begun.elapsed()), DIM)
        )),
        Format::Json | Format::Jsonl => print::out(&format!("{}\n", json!(outcome))),
    }
    remarks(common, outcome.left.blocked.len(), &outcome.restart);
    Ok(ExitCode::SUCCESS)
}

/// What is left to do.
fn remarks(common: &Common, blocked: usize, restart: &[String]) {
    if common.quiet {
        return;
    }
    if blocked > 0 {
        print::err(&format!(
            "{} would destroy data and wait for `howdah apply --allow-destroy`; see `howdah plan`\n",
            count(blocked, "step")
        ));
    }
    if !restart.is_empty() {
        print::err(&format!("a restart is needed for {}\n", restart.join(", ")));
    }
}

fn count(many: usize, what: &str) -> String {
    print::count(many as u64, what)
}
