//! Which steps lead from the server as it is to the server as declared?
//!
//! [`diff`] compares the declaration with [`Live`] facts and returns a [`Plan`]. Three rules hold everywhere:
//!
//! - Only what is declared, or what Howdah made before, is touched. The rest is reported where it matters. Howdah knows
//!   what it made inside a database from `howdah.managed`, and a role or database of its making by its comment.
//! - What loses data, or what took long to build, is a destructive step: blocked unless allowed.
//! - Steps converge: carried out, or broken off anywhere and planned again, they end in an empty plan. An expression is
//!   compared with what the server made of the same words before (see [`live::Memory`]), not by understanding SQL.
//!
//! Rights are granted to every declared role, and taken only from roles that Howdah made.
//!
//! Passwords cannot be compared, for the server does not show them: one is set when its role is created, and again when
//! [`Options::set_passwords`] asks for it.
//!
//! Beside the declared roles there are those that the service works as (`service`), which are Howdah's own altogether.

mod adopt;
mod build_memory;
mod claims;
mod collection;
mod column;
mod fill;
mod grant;
mod imagined;
mod index;
mod inside;
mod internal;
mod mark;
mod memory;
mod options;
mod ownership;
mod possible;
mod rename;
mod server;
mod service;
mod setting;
mod step;
mod table;
mod types;
mod vector;
mod wanted;
mod work;

pub mod live;
#[cfg(test)]
mod ownership_tests;
#[cfg(test)]
mod possible_tests;
#[cfg(test)]
mod rename_tests;
#[cfg(test)]
mod service_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vector_tests;

pub use adopt::fits;
pub use build_memory::build_memory;
pub use imagined::imagined;
pub use live::Live;
pub use mark::{is_mark, mark};
pub use options::Options;
pub use step::{Effect, IndexBuild, Note, PasswordFrom, Plan, Step, StepKind};
pub use types::{cast_of, normal_expression, normal_type, same_condition};
pub use wanted::declared_tables;
pub use work::home;

use crate::problem::{DoNow, Kind, Problem};
use crate::spec::Spec;
use work::Work;

/// The steps from `live` to `spec`, in order: roles, databases, what is in each database, settings, and at the end the
/// databases and roles that are no longer declared.
///
/// What cannot be done is named in [`Plan::problems`], and the steps are those that do not follow from it. With a problem,
/// nothing is destroyed: what looks superfluous may only be what cannot be said here.
pub fn diff(spec: &Spec, live: &Live, options: &Options) -> Plan {
    let mut plan = compare(spec, live, options);
    if options.allow_destroy && !plan.problems.is_empty() {
        plan = compare(spec, live, &Options { allow_destroy: false, ..options.clone() });
    }
    // Nothing that a plan finds heals by itself.
    for problem in plan.problems.iter_mut().filter(|problem| problem.do_now == DoNow::Retry) {
        problem.do_now = DoNow::FixInput;
    }
    plan
}

fn compare(spec: &Spec, live: &Live, options: &Options) -> Plan {
    let mut wanted = wanted::wanted(spec);
    let mut live = live.clone();
    possible::sort(spec, &live, &mut wanted);
    let ownership = match ownership::sort(spec, &mut live, options, &mut wanted) {
        Ok(ownership) => ownership,
        Err(problems) => return Plan { problems, ..Plan::default() },
    };
    let problems = std::mem::take(&mut wanted.problems);
    let plan = Plan { problems, ..Plan::default() };
    let renames = rename::sort(spec, &options.deployment, &mut live, &wanted);
    let (service, dropped) = Default::default();
    let (wanted, live, ownership, renames) = (&wanted, &live, &ownership, &renames);
    let mut work = Work { spec, live, options, wanted, ownership, renames, plan, service, dropped };
    service::settle(&mut work);
    server::roles(&mut work);
    service::roles(&mut work);
    server::databases(&mut work);
    for name in spec.databases.keys() {
        database(&mut work, name);
    }
    elsewhere(&mut work);
    setting::scoped(&mut work);
    setting::server(&mut work);
    server::gone(&mut work);
    service::gone(&mut work);
    work.plan
}

/// What is in one database.
fn database(work: &mut Work, name: &str) {
    if !internal::internal_schema(work, name) {
        return;
    }
    ownership::own(work, name);
    inside::extensions(work, name);
    inside::tables_gone(work, name);
    inside::schemas(work, name);
    rename::renames(work, name);
    let inside = work.inside(name);
    let wanted = work.wanted;
    let mut all_taken = Vec::new();
    for table in wanted.tables.iter().filter(|table| table.database == name) {
        let live = inside.and_then(|inside| inside.tables.get(&table.qualified()));
        let taken = match (live, inside) {
            (Some(live), Some(inside)) => table::alter(work, table, live, inside),
            _ => {
                table::create(work, table);
                table::Taken::default()
            }
        };
        all_taken.push((table, live, taken));
    }
    for (table, live, taken) in &all_taken {
        let mut indexes = table.indexes.clone();
        if let Some(collection) = &table.collection {
            indexes.extend(collection::own_vector_index(work, collection, *live));
        }
        indexes.retain(|index| taken.has(&index.columns));
        let on = index::On {
            who: work.who(),
            database: name,
            schema: &table.schema,
            name: &table.name,
            live: *live,
            inside,
            taken,
        };
        index::indexes(work, &on, &indexes);
    }
    let here: Vec<_> = wanted.adopted.iter().filter(|adopted| adopted.database == name).collect();
    for (at, first) in here.iter().enumerate() {
        // Collections that share a table are looked at together: each has its own index of it.
        let same = |other: &&crate::spec::resolve::Resolved| other.qualified() == first.qualified();
        if !here[..at].iter().any(same) {
            let sharing: Vec<_> = here.iter().copied().filter(same).collect();
            collection::adopt(work, &sharing);
        }
    }
    inside::extensions_gone(work, name);
    let service = service::grantees(work, name);
    grant::grants(work, name, &service);
    service::files(work, name);
    inside::schemas_gone(work, name);
    inside::strangers(work, name);
    ownership::unowned(work, name);
    rename::hint(work, name);
}

/// Tables and rights in databases that are not declared.
fn elsewhere(work: &mut Work) {
    let spec = work.spec;
    let undeclared = |database: &str| !spec.databases.contains_key(database);
    let tables = work.wanted.tables.iter().map(|table| (format!("table `{}`", table.name), &table.database));
    let adopted =
        work.wanted.adopted.iter().map(|table| (format!("collection `{}`", table.name), &table.database));
    let grants = spec.roles.iter().flat_map(|(role, declared)| {
        declared.grants.iter().map(move |grant| (format!("a grant to role `{role}`"), &grant.database))
    });
    let problems: Vec<Problem> = tables
        .chain(adopted)
        .chain(grants)
        .filter(|(_, database)| undeclared(database))
        .map(|(what, database)| {
            Problem::new(Kind::Usage, format!("{what} is in database `{database}`, which is not declared"))
                .hint(format!("Declare it: `[databases.{database}]`."))
        })
        .collect();
    work.plan.problems.extend(problems);
}
