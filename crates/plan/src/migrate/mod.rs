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
mod collection;
mod column;
mod fill;
mod grant;
mod index;
mod inside;
mod internal;
mod memory;
mod options;
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
mod service_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vector_tests;

pub use build_memory::build_memory;
pub use live::Live;
pub use options::Options;
pub use step::{Effect, IndexBuild, Note, PasswordFrom, Plan, Step, StepKind};
pub use types::{normal_expression, normal_type};
pub use wanted::declared_tables;
pub use work::{home, mark};

use crate::problem::{Kind, Problem};
use crate::spec::Spec;
use work::Work;

/// The steps from `live` to `spec`, in order: roles, databases, what is in each database, settings, and at the end the
/// databases and roles that are no longer declared.
pub fn diff(spec: &Spec, live: &Live, options: &Options) -> Plan {
    let mut wanted = wanted::wanted(spec);
    let problems = std::mem::take(&mut wanted.problems);
    let plan = Plan { problems, ..Plan::default() };
    let (service, dropped) = Default::default();
    let mut work = Work { spec, live, options, wanted: &wanted, plan, service, dropped };
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
    internal::internal_schema(work, name);
    inside::extensions(work, name);
    inside::tables_gone(work, name);
    inside::schemas(work, name);
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
        let on = index::On {
            database: name,
            schema: &table.schema,
            name: &table.name,
            live: *live,
            inside,
            taken,
        };
        index::indexes(work, &on, &indexes);
    }
    for adopted in wanted.adopted.iter().filter(|adopted| adopted.database == name) {
        collection::adopt(work, adopted);
    }
    inside::extensions_gone(work, name);
    let service = service::grantees(work, name);
    grant::grants(work, name, &service);
    service::files(work, name);
    inside::schemas_gone(work, name);
    inside::strangers(work, name);
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
