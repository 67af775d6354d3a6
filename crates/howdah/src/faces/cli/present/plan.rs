//! `howdah plan`.

use std::process::ExitCode;

use clap::{Arg, ArgAction};
use howdah_plan::migrate::Plan;
use howdah_plan::problem::{Kind, Problem};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::common::Format;
use super::super::endpoint;
use super::super::print::{self, field};
use super::super::refusal::Refusal;
use super::presenter::{Asked, Presenter, Whom};
use crate::daemon::declaration::Declaration;
use crate::daemon::{deployment, local};
use crate::skills::plan::{self, Plans};

const CHECK: &str = "check";

const COLUMNS: &[(&str, &str)] =
    &[("Id", "id"), ("Database", "database"), ("Reason", "reason"), ("SQL", "sql")];

/// `howdah plan`.
pub const PLAN: Presenter = Presenter {
    skill: "plan",
    extra: || {
        vec![
            Arg::new(CHECK)
                .long(CHECK)
                .action(ArgAction::SetTrue)
                .help("Exit with 7 when declared and live differ; what is impossible has its own code, with and without"),
        ]
    },
    whom: Whom::Here,
    instead: |asked| Box::pin(async move { without_server(asked) }),
    show,
    exit,
    ..Presenter::PLAIN
};

fn show(asked: &Asked, planned: &Value) -> Result<(), Problem> {
    let steps = field(planned, "plan.steps").as_array().map_or(&[][..], Vec::as_slice);
    match asked.common.output {
        Format::Table => print::out(&print::cell(field(planned, "sql"))),
        format => print::rows(format, planned, steps, COLUMNS),
    }
    if exit(asked, planned) != 0 && !asked.common.quiet {
        print::err(&drift(planned));
    }
    Ok(())
}

/// Before the first `howdah up` there is no server to ask: the declaration alone says what is to be made.
fn without_server(asked: &Asked) -> Result<Option<ExitCode>, Refusal> {
    if asked.common.url.is_some() {
        return Ok(None);
    }
    let declaration = Declaration::find(asked.common.file.as_deref())?;
    if !local::never_made(&declaration)? {
        return Ok(None);
    }
    let how: Plans = endpoint::typed(asked.skill, asked.input)?;
    let identity = deployment::identity(&declaration);
    let planned = json!(plan::imagined(&declaration.spec, identity, &declaration.path, how));
    show(asked, &planned)?;
    Ok(Some(ExitCode::from(exit(asked, &planned))))
}

/// What cannot be done decides, as it does for `howdah apply`; with `--check`, what is to be done counts too.
fn exit(asked: &Asked, planned: &Value) -> u8 {
    let plan = Plan::deserialize(field(planned, "plan")).unwrap_or_default();
    match plan.problems.first() {
        Some(problem) => problem.kind.row().exit,
        None if asked.has(CHECK) && !plan.is_empty() => Kind::Degraded.row().exit,
        None => 0,
    }
}

fn drift(planned: &Value) -> String {
    let plan = Plan::deserialize(field(planned, "plan")).unwrap_or_default();
    format!(
        "the server is not as declared: {} to do, {} blocked, {} impossible\n",
        plan.steps.len(),
        plan.blocked.len(),
        plan.problems.len()
    )
}
