//! What can be said of a skill that its row in the table does not say?
//!
//! Shorter words for its flags, flags that are no field of its input, how its answer is shown to people, and which exit
//! code an answer has. All of it may be left out: [`Presenter::PLAIN`] serves every skill.

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;

use clap::{Arg, ArgMatches};
use howdah_plan::problem::Problem;
use serde_json::{Map, Value};

use super::super::common::Common;
use super::super::refusal::Refusal;
use super::plain;
use crate::runtime::Context;
use crate::skills::Skill;

/// A command that was given.
pub struct Asked<'a> {
    /// What every command understands.
    pub common: &'a Common,
    /// The skill.
    pub skill: &'static Skill<Context>,
    /// Flags that are no field of the input.
    pub matches: &'a ArgMatches,
    /// The input.
    pub input: &'a Value,
}

impl Asked<'_> {
    /// Whether a switch is there.
    pub fn has(&self, switch: &str) -> bool {
        switch_in(self.matches, switch)
    }
}

/// Whether a switch is there.
pub fn switch_in(matches: &ArgMatches, switch: &str) -> bool {
    matches.try_get_one::<bool>(switch).ok().flatten().copied().unwrap_or_default()
}

/// How a field is said, where the name that its schema gives is not short enough. That name goes on to work.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// The field.
    pub field: &'static str,
    /// The flag, without `--`.
    pub long: Option<&'static str>,
    /// A letter.
    pub short: Option<char>,
    /// What stands for the value in the help.
    pub value: Option<&'static str>,
    /// Fields that cannot be given beside it.
    pub excludes: &'static [&'static str],
    /// What to do when the value is larger than its range allows.
    pub hint: Option<&'static str>,
}

impl Flag {
    /// As the schema has it.
    pub const fn of(field: &'static str) -> Flag {
        Flag { field, long: None, short: None, value: None, excludes: &[], hint: None }
    }
}

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    /// The server of the declaration; this process where none runs, with PostgreSQL started for it.
    Server,
    /// The same, of what runs already.
    Running,
    /// This process: with the declaration as it is now, not as the running server read it.
    Here,
}

/// Something done in a way of its own; nothing where the skill is asked after all.
pub type Instead<'a> = Pin<Box<dyn Future<Output = Result<Option<ExitCode>, Refusal>> + 'a>>;

/// One row.
pub struct Presenter {
    /// Name of the skill.
    pub skill: &'static str,
    /// Fields that are said in another way.
    pub flags: &'static [Flag],
    /// Required fields that something else stands for.
    pub replaces: &'static [&'static str],
    /// Arguments that are no field of the input.
    pub extra: fn() -> Vec<Arg>,
    /// What they change in the input.
    pub input: fn(&ArgMatches, &mut Map<String, Value>) -> Result<(), Problem>,
    /// What is done instead of asking the skill.
    pub instead: for<'a> fn(&'a Asked<'a>) -> Instead<'a>,
    /// Who is asked.
    pub whom: Whom,
    /// Shows an answer.
    pub show: fn(&Asked, &Value) -> Result<(), Problem>,
    /// Exit code of an answer.
    pub exit: fn(&Asked, &Value) -> u8,
}

impl Presenter {
    /// For every skill that has no row.
    pub const PLAIN: Presenter = Presenter {
        skill: "",
        flags: &[],
        replaces: &[],
        extra: Vec::new,
        input: |_, _| Ok(()),
        instead: |_| Box::pin(async { Ok(None) }),
        whom: Whom::Server,
        show: |asked, answer| {
            plain::show(asked.common.output, answer);
            Ok(())
        },
        exit: |_, _| 0,
    };

    /// How a field is said.
    pub fn flag(&self, field: &str) -> Option<&'static Flag> {
        self.flags.iter().find(|flag| flag.field == field)
    }
}
