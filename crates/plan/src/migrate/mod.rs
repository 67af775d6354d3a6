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
mod column;
mod grant;
mod index;
mod inside;
mod internal;
mod memory;
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

pub use live::Live;
pub use server::mark;
pub use step::{Effect, IndexBuild, Note, PasswordFrom, Plan, Step, StepKind};
pub use types::{normal_expression, normal_type};
pub use work::home;

use crate::problem::{Kind, Problem};
use crate::spec::Spec;
use crate::spec::resolve::{Resolved, resolve};
use crate::tune::Tuned;
use work::Work;

/// How to plan.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether destructive steps are allowed.
    pub allow_destroy: bool,
    /// Whether passwords of roles that exist are set again.
    pub set_passwords: bool,
    /// Whether the passwords of the roles that the service works as are set again.
    pub set_service_passwords: bool,
    /// Settings that tuning asks for ([`crate::tune::for_spec`]); those of `[settings]` win.
    pub tuned: Vec<Tuned>,
}

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

/// Quoted names of the tables that the declaration speaks of in one database, adopted ones included.
pub fn declared_tables(spec: &Spec, database: &str) -> Vec<String> {
    let wanted = wanted::wanted(spec);
    let own = wanted.tables.iter().filter(|table| table.database == database).map(|table| table.qualified());
    let adopted =
        wanted.adopted.iter().filter(|table| table.database == database).map(|table| table.qualified());
    own.chain(adopted).collect()
}

/// Memory for building an index, with the reason; `None` where what is set already will do.
///
/// An HNSW graph that does not fit is built on disk, several times slower. `rows` of `bytes_per_row` decide what is
/// needed, `current` is what is set, `allowed` the most that may be taken; all but `rows` in bytes.
pub fn build_memory(rows: u64, bytes_per_row: u64, current: u64, allowed: u64) -> Option<(u64, String)> {
    const MIB: u64 = 1 << 20;
    let needed = rows.saturating_mul(bytes_per_row);
    // A tenth more, for the estimate is one.
    let wanted = needed.saturating_add(needed / 10).div_ceil(MIB) * MIB;
    let given = wanted.min(allowed);
    if bytes_per_row == 0 || given <= current {
        return None;
    }
    let fits = if given < wanted { "not all of it fits, more is not allowed" } else { "it fits" };
    let reason = format!(
        "the graph of {rows} rows takes about {} MiB: {} MiB are set, {fits}",
        needed.div_ceil(MIB),
        given / MIB
    );
    Some((given, reason))
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
            indexes.extend(own_vector_index(work, collection, *live));
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
        adopt(work, adopted);
    }
    inside::extensions_gone(work, name);
    grant::grants(work, name);
    inside::schemas_gone(work, name);
    inside::strangers(work, name);
}

fn own_vector_index(
    work: &mut Work,
    collection: &str,
    live: Option<&live::Table>,
) -> Option<wanted::WantedIndex> {
    let resolved = resolve(work.spec, collection).ok()?;
    let facts = vector::Facts {
        extension: work.live.available.get(vector::EXTENSION),
        table: live,
        storage: resolved.storage,
        dimensions: resolved.dimensions,
    };
    vector_index(work, &resolved, &facts)
}

fn vector_index(work: &mut Work, resolved: &Resolved, facts: &vector::Facts) -> Option<wanted::WantedIndex> {
    match vector::choose(resolved, facts) {
        Ok(chosen) => {
            for note in chosen.notes {
                work.note(Some(&resolved.database), note);
            }
            chosen.index
        }
        Err(problem) => {
            work.problem(problem);
            None
        }
    }
}

/// Whether a collection in a database gets an index of the extension's access method.
fn wants_extension(work: &Work, database: &str) -> bool {
    let inside = work.inside(database);
    let extension = work.live.available.get(vector::EXTENSION);
    let chosen = |resolved: &Resolved, facts: vector::Facts| {
        vector::choose(resolved, &facts).is_ok_and(|chosen| chosen.needs_extension())
    };
    let own = work.wanted.tables.iter().filter(|table| table.database == database).any(|table| {
        let resolved = table.collection.as_deref().and_then(|name| resolve(work.spec, name).ok());
        resolved.is_some_and(|resolved| {
            let table = inside.and_then(|inside| inside.tables.get(&table.qualified()));
            let (storage, dimensions) = (resolved.storage, resolved.dimensions);
            chosen(&resolved, vector::Facts { extension, table, storage, dimensions })
        })
    });
    own || work.wanted.adopted.iter().filter(|adopted| adopted.database == database).any(|adopted| {
        adopt::check(adopted, inside).is_ok_and(|(table, (storage, dimensions))| {
            chosen(adopted, vector::Facts { extension, table: Some(table), storage, dimensions })
        })
    })
}

/// An adopted table: checked, never altered. Its vector index is made where no index there does the same.
fn adopt(work: &mut Work, adopted: &Resolved) {
    let inside = work.inside(&adopted.database);
    let (live, (storage, dimensions)) = match adopt::check(adopted, inside) {
        Ok(found) => found,
        Err(problem) => return work.problem(problem),
    };
    let extension = work.live.available.get(vector::EXTENSION);
    let index =
        vector_index(work, adopted, &vector::Facts { extension, table: Some(live), storage, dimensions });
    if let Some(index) = &index
        && live
            .indexes
            .iter()
            .any(|there| there.valid && there.name != index.name && index::fits(index, there))
        && !live.indexes.iter().any(|there| there.name == index.name)
    {
        return;
    }
    let taken = table::Taken::default();
    let on = index::On {
        database: &adopted.database,
        schema: &adopted.schema,
        name: &adopted.table,
        live: Some(live),
        inside,
        taken: &taken,
    };
    index::indexes(work, &on, index.as_slice());
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
