//! Which command has a skill?
//!
//! Its words, meaning and examples from its row in the table, its arguments from the schema of its input ([`fields`]), and
//! what is shorter for people from its presenter. The same fields read the command line back into the skill's input.

use clap::builder::PossibleValue;
use clap::builder::PossibleValuesParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command};
use howdah_plan::problem::Problem;
use serde_json::{Map, Value};

use super::common::Common;
use super::fields::{self, Field, Kind, fields, short};
use super::present::{self, Flag, Presenter};
use crate::skills::{Example, Skill};

/// Adds the commands of skills.
pub fn add<C>(command: Command, skills: &'static [Skill<C>]) -> Command {
    let taken = taken();
    skills.iter().fold(command, |command, skill| {
        let words: Vec<&str> = skill.command.words.split(' ').collect();
        at(command, &words, |found| dress(found, skill, &taken))
    })
}

/// Changes the command at these words, which is made where it is not there.
fn at(command: Command, words: &[&'static str], change: impl FnOnce(Command) -> Command) -> Command {
    let Some((&first, rest)) = words.split_first() else { return change(command) };
    if command.find_subcommand(first).is_some() {
        return command.mut_subcommand(first, |found| at(found, rest, change));
    }
    let new = Command::new(first);
    let new = if rest.is_empty() { new } else { group(new, first) };
    command.subcommand(at(new, rest, change))
}

fn group(command: Command, word: &str) -> Command {
    let row = present::group(word);
    let alone = row.is_some_and(|row| row.default.is_some());
    let about = row.map_or_else(|| format!("Commands of `{word}`"), |row| row.about.to_owned());
    command.about(about).subcommand_required(!alone).arg_required_else_help(!alone)
}

/// Meaning, examples and arguments of a skill.
fn dress<C>(command: Command, skill: &Skill<C>, taken: &[String]) -> Command {
    let presenter = present::of(skill.name);
    let mut fields = fields(skill);
    let place = |field: &Field| skill.command.positional.iter().position(|name| *name == field.name);
    fields.sort_by_key(|field| place(field).unwrap_or(usize::MAX));
    let args = fields.iter().map(|field| arg(field, place(field).is_some(), presenter, taken));
    command
        .about(skill.summary.trim_end_matches('.'))
        .long_about(skill.description)
        .before_help(examples(skill.examples))
        // A word of its own, and the beginning of others.
        .subcommand_required(false)
        .arg_required_else_help(false)
        .args(args)
        .args((presenter.extra)())
}

fn arg(field: &Field, by_place: bool, presenter: &Presenter, taken: &[String]) -> Arg {
    let plain = Flag::of("");
    let flag = presenter.flag(&field.name).unwrap_or(&plain);
    let kind = &field.kind;
    let value_name = flag.value.map_or_else(|| kind.value_name(&field.name), str::to_owned);
    let several = matches!(kind, Kind::Several(_));
    let replaced = presenter.replaces.contains(&field.name.as_str());
    let mut arg = Arg::new(id(&field.name))
        .help(about(short(&field.about), field, by_place))
        .long_help(about(&field.about, field, by_place))
        .value_name(value_name)
        .allow_hyphen_values(kind.may_be_negative() && !by_place)
        .allow_negative_numbers(kind.may_be_negative() && by_place)
        .conflicts_with_all(flag.excludes.iter().map(|name| id(name)))
        // The only collection need not be named.
        .required(field.required && !replaced && (by_place || field.name != COLLECTION) && !is_switch(kind));
    arg = match kind {
        Kind::Switch { stands: false } => arg.action(ArgAction::SetTrue),
        Kind::Switch { stands: true } => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_parser(["true", "false"]),
        _ if several => arg.action(ArgAction::Append),
        _ => arg.action(ArgAction::Set),
    };
    match kind {
        Kind::Choice(words) => arg = arg.value_parser(possible(words)),
        Kind::Several(one) => {
            if let Kind::Choice(words) = one.as_ref() {
                arg = arg.value_parser(possible(words)).value_delimiter(',');
            }
        }
        _ => {}
    }
    if let Some(default) = &field.default
        && !field.required
    {
        arg = arg.default_value(default.clone());
    }
    if by_place {
        return if several { arg.num_args(if field.required { 1.. } else { 0.. }) } else { arg };
    }
    let own = kebab(&field.name);
    let free = if taken.contains(&own) { format!("input-{own}") } else { own };
    let arg = arg.short(flag.short.or((field.name == COLLECTION).then_some('c')));
    match flag.long {
        Some(long) => arg.long(long).alias(free),
        None => arg.long(free),
    }
}

/// What a field means, in one sentence or in all of them, and how it is given.
fn about(said: &str, field: &Field, by_place: bool) -> String {
    let how = match &field.kind {
        Kind::Several(one) if one.is_number() => "a list: `[0.1, 2]`",
        Kind::Several(one) if matches!(**one, Kind::Choice(_)) => "several with commas between them",
        Kind::Several(_) => "may be given several times",
        _ if field.name == COLLECTION && !by_place => "the only one when absent",
        _ => "",
    };
    let one = short(said).len() + 1 >= said.len();
    match (one, how) {
        (true, "") => short(said).to_owned(),
        (true, how) => format!("{}; {how}", short(said)),
        (false, "") => said.to_owned(),
        // The first sentence is told how; the others stand as they are.
        (false, how) => format!("{}; {how}{}", short(said), &said[short(said).len()..]),
    }
}

fn is_switch(kind: &Kind) -> bool {
    matches!(kind, Kind::Switch { .. })
}

fn possible(words: &[(String, Option<String>)]) -> PossibleValuesParser {
    PossibleValuesParser::new(words.iter().map(|(word, about)| {
        let value = PossibleValue::new(word.clone());
        match about {
            Some(about) => value.help(about.clone()),
            None => value,
        }
    }))
}

/// Flags that every command has.
fn taken() -> Vec<String> {
    let every = Common::augment_args(Command::new(""));
    let own = every.get_arguments().filter_map(|arg| arg.get_long().map(str::to_owned));
    own.chain(["help".to_owned(), "version".to_owned()]).collect()
}

/// How the argument of a field is called in clap. Arguments of presenters have no point in their names.
fn id(field: &str) -> String {
    format!("input.{field}")
}

fn kebab(name: &str) -> String {
    name.replace('_', "-")
}

fn examples(examples: &[Example]) -> String {
    if examples.is_empty() {
        return String::new();
    }
    let lines: String = examples.iter().map(|example| format!("  {}\n", example.command)).collect();
    format!("Examples:\n{lines}\n")
}

/// The skill that was asked for, and what was said to it.
pub fn chosen<'m, C>(
    skills: &'static [Skill<C>],
    matches: &'m ArgMatches,
) -> Option<(&'static Skill<C>, &'m ArgMatches)> {
    let (mut words, mut matches) = (Vec::new(), matches);
    while let Some((word, inner)) = matches.subcommand() {
        words.push(word.to_owned());
        matches = inner;
    }
    let named = |words: &str| skills.iter().find(|skill| skill.command.words == words);
    let said = words.join(" ");
    let skill = named(&said).or_else(|| {
        let default = present::group(&said)?.default?;
        named(&format!("{said} {default}"))
    })?;
    Some((skill, matches))
}

/// The input that was said. A collection that was left out is not in it.
///
/// # Errors
/// `usage` when a value does not fit its field.
pub fn input<C>(skill: &Skill<C>, matches: &ArgMatches) -> Result<Map<String, Value>, Problem> {
    let presenter = present::of(skill.name);
    let mut input = Map::new();
    for field in fields(skill) {
        if let Some(value) = value(&field, presenter, matches)? {
            input.insert(field.name, value);
        }
    }
    (presenter.input)(matches, &mut input)?;
    Ok(input)
}

fn value(field: &Field, presenter: &Presenter, matches: &ArgMatches) -> Result<Option<Value>, Problem> {
    let id = id(&field.name);
    if let Kind::Switch { stands: false } = field.kind {
        let on = present::switch_in(matches, &id);
        return Ok((on || field.required).then(|| on.into()));
    }
    // A default is the skill's to set; a group that stands for its first command has no arguments.
    let said = matches.try_contains_id(&id).unwrap_or_default()
        && matches.value_source(&id) == Some(ValueSource::CommandLine);
    if !said {
        return Ok(None);
    }
    let words: Vec<String> = matches.get_many(&id).into_iter().flatten().cloned().collect();
    let flag = presenter.flag(&field.name);
    let long = flag.and_then(|flag| flag.long).map_or_else(|| kebab(&field.name), str::to_owned);
    let read = field.kind.read(&field.name, &format!("--{long}"), &words);
    read.map(Some).map_err(|problem| match flag.and_then(|flag| flag.hint) {
        // Said better than the range alone can say it.
        Some(hint) if problem.hint.is_some() && field.kind.is_beyond(&words) => problem.hint(hint),
        _ => problem,
    })
}

/// The field that says which collection is meant.
pub const COLLECTION: &str = "collection";

/// Whether a skill is asked of a collection.
pub fn is_of_a_collection<C>(skill: &Skill<C>) -> bool {
    fields::fields(skill).iter().any(|field| field.name == COLLECTION)
}
