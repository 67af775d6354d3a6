//! `howdah adopt`.
//!
//! With an address it looks at that database itself, whether there is a declaration or not; without one it asks the skill,
//! which looks at the declared databases. `--write` puts the blocks behind what the declaration has, byte for byte as it is.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, ArgAction};
use howdah_plan::adoption::{Adoption, Wanted, propose};
use howdah_plan::problem::{Kind, Problem};
use howdah_plan::spec::read;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::common::{Common, Format};
use super::super::print::{self, GREEN, field, paint};
use super::super::refusal::Refusal;
use super::presenter::{Asked, Flag, Presenter, Whom};
use crate::collections::discover;
use crate::daemon::declaration::{Declaration, FILE};
use howdah_postgres::{Pools, Target, find};

const ADDRESS: &str = "address";
const WRITE: &str = "write";

const COLUMNS: &[(&str, &str)] = &[
    ("Collection", "collection"),
    ("Table", "table"),
    ("Kind", "kind"),
    ("Library", "library"),
    ("Dimensions", "dimensions"),
    ("Metric", "metric"),
    ("Rows", "rows"),
];

/// `howdah adopt`.
pub const ADOPT: Presenter = Presenter {
    skill: "adopt",
    flags: &[Flag { long: Some("table"), value: Some("TABLE"), ..Flag::of("tables") }],
    extra: || {
        vec![
            Arg::new(ADDRESS)
                .value_name("DATABASE_URL")
                .index(1)
                .help("The database to look into, as `postgres://user@host:port/database`; the declared one when absent"),
            Arg::new(WRITE)
                .long(WRITE)
                .action(ArgAction::SetTrue)
                .help("Add the blocks to the end of the declaration, which is written where there is none"),
        ]
    },
    instead: |asked| Box::pin(at_address(asked)),
    whom: Whom::Here,
    show: |asked, answer| {
        let adoption = Adoption::deserialize(answer).map_err(|error| {
            Problem::new(Kind::Internal, "the answer cannot be read").detail(error.to_string())
        })?;
        let declaration = match asked.has(WRITE) {
            true => Some(Declaration::find(asked.common.file.as_deref()).map_err(|mut all| all.remove(0))?),
            false => None,
        };
        finish(asked, &adoption, declaration.as_ref(), None)
    },
    ..Presenter::PLAIN
};

/// Looks at a database by its address. Nothing where the declaration's own is meant.
async fn at_address(asked: &Asked<'_>) -> Result<Option<ExitCode>, Refusal> {
    let common = asked.common;
    let given: Option<String> = asked.matches.try_get_one(ADDRESS).ok().flatten().cloned();
    let declaration = match declaration(common)? {
        Some(found) => Some(found),
        // It says how to come by one.
        None if given.is_none() && find::from_environment().is_none() => {
            Some(Declaration::find(common.file.as_deref())?)
        }
        None => None,
    };
    let Some(address) = given.or_else(|| find::from_environment().filter(|_| declaration.is_none())) else {
        return Ok(None);
    };
    if field(asked.input, "database").is_string() {
        return Err(Problem::new(Kind::Usage, "both an address and `--database` are given")
            .hint("The address names the database; leave `--database` out.")
            .into());
    }
    let target = Target::from_url(&address, None)?;
    let database = target.database.clone();
    let pools = Pools::new(target.clone(), 2);
    let relations = discover::relations(&pools, &database).await?;
    let tables: Vec<String> = Vec::deserialize(field(asked.input, "tables")).unwrap_or_default();
    let spec = declaration.as_ref().map(|found| &found.spec);
    let adoption = propose(&relations, &Wanted { spec, database: &database, tables: &tables });
    finish(asked, &adoption, declaration.as_ref(), Some(&target))?;
    Ok(Some(ExitCode::SUCCESS))
}

/// The declaration, where there is one.
fn declaration(common: &Common) -> Result<Option<Declaration>, Refusal> {
    let named = common.file.as_deref().is_some_and(|path| !path.exists());
    if named || (common.file.is_none() && !somewhere_above()) {
        return Ok(None);
    }
    Ok(Some(Declaration::find(common.file.as_deref())?))
}

fn somewhere_above() -> bool {
    std::env::current_dir().is_ok_and(|here| here.ancestors().any(|directory| directory.join(FILE).is_file()))
}

/// Shows what was found, or writes it.
fn finish(
    asked: &Asked,
    adoption: &Adoption,
    declaration: Option<&Declaration>,
    target: Option<&Target>,
) -> Result<(), Problem> {
    if adoption.collections.is_empty() {
        return Err(nothing(adoption));
    }
    let fresh = target.filter(|_| declaration.is_none()).map(|target| begin(target, adoption));
    let text = fresh.as_ref().unwrap_or(&adoption.toml);
    let written = match asked.has(WRITE) {
        true => Some(write(asked.common, text, declaration)?),
        false => None,
    };
    match asked.common.output {
        Format::Table if written.is_none() => print::out(text),
        Format::Table => {}
        format => {
            let answer = json!(adoption);
            let rows: &[Value] = answer["collections"].as_array().map_or(&[], Vec::as_slice);
            print::rows(format, &answer, rows, COLUMNS);
        }
    }
    if !asked.common.quiet {
        remarks(adoption, written.as_deref());
    }
    Ok(())
}

fn remarks(adoption: &Adoption, written: Option<&Path>) {
    for skipped in &adoption.skipped {
        print::err(&format!("left out `{}`: {}\n", skipped.table, skipped.why));
    }
    let Some(path) = written else {
        return print::err("`--write` adds this to howdah.toml.\n");
    };
    print::err(&format!(
        "{} wrote {} to {}\n",
        paint("✓", GREEN),
        print::count(adoption.collections.len() as u64, "collection"),
        path.display()
    ));
    print::err(
        "Next: read the comments, name the `embedder` that made the vectors to search by text, then `howdah plan`.\n",
    );
}

fn nothing(adoption: &Adoption) -> Problem {
    let declared =
        !adoption.skipped.is_empty() && adoption.skipped.iter().all(|one| one.why.contains("has it already"));
    let kind = if declared { Kind::Conflict } else { Kind::NotFound };
    let problem =
        Problem::new(kind, format!("there is nothing to adopt in database `{}`", adoption.database));
    let left: Vec<String> =
        adoption.skipped.iter().map(|one| format!("`{}`: {}", one.table, one.why)).collect();
    if left.is_empty() {
        return problem
            .detail("no table or view with a column of type `vector` or `halfvec` that this role may read")
            .hint("Check the database's name and the role's rights: `GRANT USAGE ON SCHEMA …`, `GRANT SELECT ON …`.");
    }
    problem.detail(left.join("; "))
}

/// A whole declaration, where there is none yet.
fn begin(target: &Target, adoption: &Adoption) -> String {
    let url = Value::from(target.url());
    format!(
        "name = \"adopted\"\n\n# The password stays out of this file: set PGPASSWORD, or name a variable with `password_env`.\n\
         [server]\nurl = {url}\n\n{}",
        adoption.toml
    )
}

/// Adds text to the declaration's file, after it was read as it would then be.
fn write(common: &Common, text: &str, declaration: Option<&Declaration>) -> Result<PathBuf, Problem> {
    let path = declaration
        .map(|found| found.path.clone())
        .or_else(|| common.file.clone())
        .unwrap_or_else(|| PathBuf::from(FILE));
    let shown = path.display().to_string();
    let failed = |doing: &str, error: &std::io::Error| {
        Problem::new(Kind::Machine, format!("cannot {doing} `{shown}`")).detail(error.to_string())
    };
    let before = match declaration {
        Some(_) => std::fs::read_to_string(&path).map_err(|error| failed("read", &error))?,
        None => String::new(),
    };
    let gap = match before.as_str() {
        "" => "",
        text if text.ends_with('\n') => "\n",
        _ => "\n\n",
    };
    let after = format!("{before}{gap}{text}");
    if let Err(problems) = read::from_str(&after, &shown) {
        let first = problems.into_iter().next().map(|problem| problem.message).unwrap_or_default();
        return Err(Problem::new(Kind::Conflict, format!("the blocks do not fit into `{shown}`"))
            .detail(first)
            .hint("Run it without `--write` and put the blocks where they belong."));
    }
    let beside = path.with_extension("toml.new");
    std::fs::write(&beside, after).map_err(|error| failed("write", &error))?;
    if let Ok(kept) = std::fs::metadata(&path) {
        std::fs::set_permissions(&beside, kept.permissions()).map_err(|error| failed("write", &error))?;
    }
    std::fs::rename(&beside, &path).map_err(|error| failed("write", &error))?;
    Ok(path)
}
