//! How is a skill asked by a command?
//!
//! The words become its input, whoever is meant is asked, the answer is shown. What a skill wants otherwise is in its
//! presenter.

use std::process::ExitCode;

use clap::ArgMatches;
use howdah_plan::problem::{Kind, Problem};
use serde_json::{Value, json};

use super::common::Common;
use super::endpoint::Endpoint;
use super::present::{self, Asked, Whom};
use super::print::{cell, field};
use super::refusal::{Outcome, Refusal};
use super::words::{self, COLLECTION};
use crate::daemon::declaration::Declaration;
use crate::runtime::Context;
use crate::skills::Skill;

/// Asks.
pub async fn ask(common: &Common, skill: &'static Skill<Context>, matches: &ArgMatches) -> Outcome {
    let presenter = present::of(skill.name);
    let mut input = words::input(skill, matches)?;
    if !input.contains_key(COLLECTION) && words::is_of_a_collection(skill) {
        input.insert(COLLECTION.into(), only_collection(common).await?.into());
    }
    let input = Value::Object(input);
    let asked = Asked { common, skill, matches, input: &input };
    if let Some(code) = (presenter.instead)(&asked).await? {
        return Ok(code);
    }
    (skill.check)(&input)
        .map_err(|problem| problem.hint(format!("See `howdah {} --help`.", skill.command.words)))?;
    let endpoint = match presenter.whom {
        Whom::Server => Endpoint::open(common).await?,
        Whom::Running => Endpoint::there(common).await?,
        Whom::Here => Endpoint::here(common).await?,
    };
    let answer = endpoint.call(skill.name, input.clone()).await?;
    (presenter.show)(&asked, &answer)?;
    Ok(ExitCode::from((presenter.exit)(&asked, &answer)))
}

/// The collection that is meant where none is named.
async fn only_collection(common: &Common) -> Result<String, Refusal> {
    let names: Vec<String> = if common.url.is_some() {
        let listed = Endpoint::open(common).await?.call("list_collections", json!({})).await?;
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
