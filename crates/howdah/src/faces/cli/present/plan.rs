//! `howdah plan`.

use clap::{Arg, ArgAction};
use howdah_plan::migrate::Plan;
use howdah_plan::problem::Kind;
use serde::Deserialize;
use serde_json::Value;

use super::super::common::Format;
use super::super::print::{self, field};
use super::presenter::{Asked, Presenter, Whom};

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
                .help("Exit with 7 when declared and live differ"),
        ]
    },
    whom: Whom::Here,
    show: |asked, planned| {
        let steps = field(planned, "plan.steps").as_array().map_or(&[][..], Vec::as_slice);
        match asked.common.output {
            Format::Table => print::out(&print::cell(field(planned, "sql"))),
            format => print::rows(format, planned, steps, COLUMNS),
        }
        if fails(asked, planned) && !asked.common.quiet {
            print::err(&drift(planned));
        }
        Ok(())
    },
    exit: |asked, planned| if fails(asked, planned) { Kind::Degraded.row().exit } else { 0 },
    ..Presenter::PLAIN
};

fn fails(asked: &Asked, planned: &Value) -> bool {
    asked.has(CHECK) && field(planned, "empty") != true
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
