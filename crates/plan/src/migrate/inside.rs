//! Extensions and schemas of one database, and tables that are no longer declared.

use std::collections::BTreeSet;

use super::collection::wants_extension;
use super::live::Inside;
use super::memory::{forget, forget_documents, remember};
use super::ownership::owner;
use super::possible::PGVECTOR;
use super::step::{Effect, Step, StepKind};
use super::vector::EXTENSION;
use super::wanted::{declared_tables, qualified};
use super::work::Work;
use crate::problem::{Kind, Problem};
use crate::spec::resolve::{nearest, quote_ident, quote_literal};
use crate::version::parse;

/// Why an extension is wanted.
enum Reason {
    /// The declaration names it, with this version.
    Declared(String),
    /// Something else that is declared needs it, as these words say.
    Implied(&'static str),
}

impl Reason {
    fn words(&self) -> &str {
        match self {
            Reason::Declared(_) => "declared",
            Reason::Implied(words) => words,
        }
    }
}

/// Extensions that the declaration asks for: the declared ones, `vector` where a collection needs it, and `howdah` where a
/// collection gets an index of its access method.
fn wanted_extensions(work: &Work, database: &str) -> Vec<(String, Reason)> {
    let declared = work.spec.databases.get(database).map(|declared| &declared.extensions);
    let mut all: Vec<(String, Reason)> = declared
        .into_iter()
        .flatten()
        .map(|(name, version)| (name.clone(), Reason::Declared(version.clone())))
        .collect();
    let mut implied = |name: &str, words: &'static str| {
        if !all.iter().any(|(known, _)| known == name) {
            all.push((name.to_owned(), Reason::Implied(words)));
        }
    };
    let here = |table: &&super::wanted::WantedTable| table.database == database && table.collection.is_some();
    let adopted = work.wanted.adopted.iter().any(|adopted| adopted.database == database);
    let impossible = |one: &super::wanted::Impossible| {
        one.database == database && (one.lacks_vector || one.collection.is_some())
    };
    if adopted
        || work.wanted.impossible.iter().any(impossible)
        || work.wanted.tables.iter().any(|table| here(&table))
    {
        implied("vector", "collections keep their embeddings in it");
    }
    if wants_extension(work, database) {
        implied(EXTENSION, "a collection is indexed by its access method");
    }
    if declared.is_some_and(|declared| declared.contains_key(EXTENSION)) {
        implied("vector", "extension `howdah` requires it");
    }
    // The access method needs the types.
    all.sort_by_key(|(name, _)| name == EXTENSION);
    all
}

/// Schemas that the wanted extensions of vectors are in, as far as that is known before they are created.
pub(super) fn extension_schemas(work: &Work, database: &str) -> BTreeSet<String> {
    let Some(inside) = work.inside(database) else { return BTreeSet::new() };
    let installed = wanted_extensions(work, database)
        .into_iter()
        .filter(|(name, _)| name == "vector" || name == EXTENSION)
        .filter_map(|(name, _)| inside.extensions.get(&name));
    installed.map(|one| one.schema.clone()).filter(|schema| inside.schemas.contains_key(schema)).collect()
}

pub(super) fn extensions(work: &mut Work, database: &str) {
    let wanted = wanted_extensions(work, database);
    for (name, reason) in &wanted {
        let installed = work.inside(database).and_then(|inside| inside.extensions.get(name)).cloned();
        let Some(available) = work.live.available.get(name).cloned() else {
            if installed.is_none() {
                not_available(work, database, name);
            }
            continue;
        };
        let target = match reason {
            Reason::Declared(version) if version != "*" => Some(version.clone()),
            Reason::Declared(_) => Some(available.default_version.clone()),
            // Howdah's own goes with its files, never back with those of an older binary; a foreign one stays as it is.
            Reason::Implied(_) => {
                let there = installed.as_ref().map(|installed| parse(&installed.version));
                let newer = there.is_some_and(|there| there < parse(&available.default_version));
                let ours = name == EXTENSION && made(work, database, name);
                (ours && newer).then(|| available.default_version.clone())
            }
        };
        if let Some(target) = target.as_ref().filter(|target| !available.versions.contains(*target)) {
            let versions: Vec<&str> = available.versions.iter().map(String::as_str).collect();
            work.problem(
                Problem::new(
                    Kind::Machine,
                    format!("extension `{name}` has no version `{target}` on this server"),
                )
                .detail(format!("database `{database}`; available: {}", versions.join(", ")))
                .hint(format!("Declare one of these, or `{name} = \"*\"`.")),
            );
            continue;
        }
        match (installed, target) {
            (None, _) => {
                let mut create = format!("CREATE EXTENSION IF NOT EXISTS {}", quote_ident(name));
                if let Reason::Declared(version) = reason
                    && version != "*"
                {
                    create += &format!(" VERSION {}", quote_literal(version));
                }
                work.in_database(
                    database,
                    Step::new(
                        StepKind::Extension,
                        &format!("extension:{database}:{name}"),
                        format!("extension `{name}` is not installed: {}", reason.words()),
                    )
                    .sql(create)
                    .sql(remember(work.who(), "extension", name, ""))
                    .effect(Effect::CreatesExtension(name.clone())),
                );
            }
            (Some(installed), Some(target)) if installed.version != target => {
                work.in_database(
                    database,
                    Step::new(
                        StepKind::Extension,
                        &format!("extension:{database}:{name}:update"),
                        match reason {
                            Reason::Declared(_) => {
                                format!(
                                    "extension `{name}` is at {}, declared is {target}",
                                    installed.version
                                )
                            }
                            Reason::Implied(_) => {
                                format!(
                                    "extension `{name}` is at {}, its files are {target}",
                                    installed.version
                                )
                            }
                        },
                    )
                    .sql(format!(
                        "ALTER EXTENSION {} UPDATE TO {}",
                        quote_ident(name),
                        quote_literal(&target)
                    )),
                );
            }
            _ => {}
        }
    }
}

/// Whether Howdah installed an extension.
fn made(work: &Work, database: &str, name: &str) -> bool {
    work.inside(database).is_some_and(|inside| inside.remembers("extension", name).is_some())
}

fn not_available(work: &mut Work, database: &str, name: &str) {
    let mut problem =
        Problem::new(Kind::Machine, format!("extension `{name}` is not available on this server"))
            .detail(format!("database `{database}` needs it, and pg_available_extensions does not list it"));
    problem = match nearest(name, work.live.available.keys().map(String::as_str)) {
        Some(near) => problem.hint(format!("Did you mean `{near}`?")),
        None if name == "vector" => {
            problem.hint("Install pgvector on the server; `howdah doctor` says how on this platform.")
        }
        None => problem.hint("Install its package on the server, or take it out of the declaration."),
    };
    work.plan.unavailable.push(name.to_owned());
    work.problem(problem);
}

/// Extensions that Howdah installed and that are no longer declared. After indexes and tables, which may need them.
pub(super) fn extensions_gone(work: &mut Work, database: &str) {
    let Some(inside) = work.inside(database) else { return };
    let wanted: BTreeSet<String> =
        wanted_extensions(work, database).into_iter().map(|(name, _)| name).collect();
    for name in inside.extensions.keys().filter(|name| !wanted.contains(*name)) {
        if !made(work, database, name) {
            continue;
        }
        if let Some(other) = other_user(inside, "extension", name) {
            let step = leave(work, database, "extension", name, &other);
            work.in_database(database, step);
            continue;
        }
        if name == PGVECTOR
            && let Some(table) = vector_column(work, database)
        {
            work.note(
                Some(database),
                format!(
                    "howdah installed extension `{name}`, it is no longer declared, and {table} needs it"
                ),
            );
            continue;
        }
        if let Some(index) = foreign_index(work, database).filter(|_| name == EXTENSION) {
            work.note(
                Some(database),
                format!("howdah installed extension `{name}`, no collection needs it, and `{index}` of others does"),
            );
            continue;
        }
        work.in_database(
            database,
            Step::new(
                StepKind::Extension,
                &format!("extension:{database}:{name}:drop"),
                format!("howdah installed extension `{name}`, and it is no longer declared"),
            )
            .sql(format!("DROP EXTENSION {}", quote_ident(name)))
            .sql(forget(work.who(), "extension", name))
            .destructive(true),
        );
    }
}

/// Another deployment that uses an extension or a schema too, for people.
fn other_user(inside: &Inside, kind: &str, name: &str) -> Option<String> {
    let memory = inside.of_others(kind, name).filter(|memory| !memory.deployment.is_empty())?;
    Some(owner(inside, memory))
}

/// What others go on using is only forgotten here.
fn leave(work: &Work, database: &str, kind: &str, name: &str, other: &str) -> Step {
    let kind_of_step = if kind == "schema" { StepKind::Schema } else { StepKind::Extension };
    let reason = format!("{kind} `{name}` is no longer declared here; it stays for {other}");
    Step::new(kind_of_step, &format!("{kind}:{database}:{name}:leave"), reason).sql(forget(
        work.who(),
        kind,
        name,
    ))
}

/// A table that stays and keeps vectors.
fn vector_column(work: &Work, database: &str) -> Option<String> {
    let keeps = |table: &super::live::Table| {
        table.columns.iter().any(|column| super::types::vector(&column.sql_type).is_some())
    };
    let stays = |name: &String| !work.dropped.contains(&(database.to_owned(), name.clone()));
    let inside = work.inside(database)?;
    let table = inside
        .tables
        .iter()
        .find(|(name, table)| stays(name) && keeps(table) && inside.remembers("table", name).is_none());
    table.map(|(_, table)| format!("`{}.{}`", table.schema, table.name))
}

/// An index of Howdah's access method that others made.
fn foreign_index(work: &Work, database: &str) -> Option<String> {
    let inside = work.inside(database)?;
    let foreign = |(qualified_table, table): (&String, &super::live::Table)| {
        let gone = work.dropped.contains(&(database.to_owned(), qualified_table.clone()));
        let mut indexes = table.indexes.iter().filter(|index| index.method == EXTENSION && !gone);
        indexes
            .find(|index| inside.remembers("index", &qualified(&table.schema, &index.name)).is_none())
            .map(|index| index.name.clone())
    };
    inside.tables.iter().find_map(foreign)
}

/// Schemas that the declaration asks for: the declared ones, and those of its tables.
pub(super) fn wanted_schemas(work: &Work, database: &str) -> BTreeSet<String> {
    let declared =
        work.spec.databases.get(database).map(|declared| declared.schemas.clone()).unwrap_or_default();
    let of_tables = work.wanted.tables.iter().filter(|table| table.database == database);
    declared.into_iter().chain(of_tables.map(|table| table.schema.clone())).collect()
}

pub(super) fn schemas(work: &mut Work, database: &str) {
    for name in wanted_schemas(work, database) {
        let there =
            work.inside(database).map_or(name == "public", |inside| inside.schemas.contains_key(&name));
        if there {
            schema_owner(work, database, &name);
            continue;
        }
        let mut create = format!("CREATE SCHEMA {}", quote_ident(&name));
        if work.spec.databases.get(database).is_some_and(|declared| declared.owner.is_some()) {
            create += &format!(" AUTHORIZATION {}", quote_ident(&work.owner(database)));
        }
        work.in_database(
            database,
            Step::new(
                StepKind::Schema,
                &format!("schema:{database}:{name}"),
                format!("schema `{name}` is declared and not there"),
            )
            .sql(create)
            .sql(remember(work.who(), "schema", &name, "")),
        );
    }
}

/// A schema that Howdah made belongs to whom its database does.
fn schema_owner(work: &mut Work, database: &str, name: &str) {
    let declared = work.spec.databases.get(database).and_then(|declared| declared.owner.clone());
    let made = |inside: &&Inside| inside.remembers("schema", name).is_some();
    let alone = |inside: &&Inside| other_user(inside, "schema", name).is_none();
    let live = work.inside(database).filter(made).filter(alone).and_then(|inside| inside.schemas.get(name));
    let Some((owner, live)) = declared.zip(live).filter(|(owner, live)| *owner != live.owner) else { return };
    let reason = format!(
        "schema `{name}` belongs to `{}`, the database is declared to belong to `{owner}`",
        live.owner
    );
    let id = format!("schema:{database}:{name}:owner");
    let change = format!("ALTER SCHEMA {} OWNER TO {}", quote_ident(name), quote_ident(&owner));
    work.in_database(database, Step::new(StepKind::Schema, &id, reason).sql(change));
}

/// Tables that Howdah made and that are no longer declared. Before new ones are made, for their indexes' names.
pub(super) fn tables_gone(work: &mut Work, database: &str) {
    let Some(inside) = work.inside(database) else { return };
    for (qualified, table) in &inside.tables {
        let Some(memory) = inside.remembers("table", qualified) else { continue };
        let declared = |wanted: &super::wanted::WantedTable| {
            wanted.database == database && wanted.qualified() == *qualified
        };
        let adopted = |adopted: &crate::spec::resolve::Resolved| {
            adopted.database == database && adopted.qualified() == *qualified
        };
        let impossible =
            |one: &super::wanted::Impossible| one.database == database && one.qualified() == *qualified;
        if work.wanted.tables.iter().any(declared)
            || work.wanted.adopted.iter().any(adopted)
            || work.wanted.impossible.iter().any(impossible)
        {
            continue;
        }
        let name = format!("{}.{}", table.schema, table.name);
        let mut step = Step::new(
            StepKind::Table,
            &format!("table:{database}:{name}:drop"),
            format!("howdah made table `{name}`, and it is no longer declared"),
        )
        .sql(format!("DROP TABLE {qualified}"))
        .sql(forget(work.who(), "table", qualified))
        .destructive(true);
        if let Some(collection) = memory.declared.strip_prefix("collection ") {
            step = forget_documents(step, collection);
        }
        if work.in_database(database, step) {
            work.dropped.insert((database.to_owned(), qualified.clone()));
        }
    }
}

/// Tables of others in a database that Howdah made: worth knowing, left alone.
pub(super) fn strangers(work: &mut Work, database: &str) {
    let Some(inside) = work.inside(database).filter(|_| work.made_database(database)) else { return };
    let declared = declared_tables(work.spec, database);
    let names: Vec<String> = inside
        .tables
        .iter()
        .filter(|(name, _)| {
            !declared.contains(name)
                && inside.remembers("table", name).is_none()
                && inside.of_others("table", name).is_none()
        })
        .map(|(_, table)| format!("`{}.{}`", table.schema, table.name))
        .collect();
    if let Some(shown) = names.get(..names.len().min(5)).filter(|shown| !shown.is_empty()) {
        let more = names.len() - shown.len();
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        work.note(Some(database), format!("not declared, left alone: {}{rest}", shown.join(", ")));
    }
}

/// Schemas that Howdah made, that are no longer declared, and that are empty by then.
pub(super) fn schemas_gone(work: &mut Work, database: &str) {
    let Some(inside) = work.inside(database) else { return };
    let mut wanted = wanted_schemas(work, database);
    let impossible = work.wanted.impossible.iter().filter(|one| one.database == database);
    wanted.extend(impossible.map(|one| one.schema.clone()));
    for (name, schema) in inside.schemas.iter().filter(|(name, _)| !wanted.contains(*name)) {
        if inside.remembers("schema", name).is_none() {
            continue;
        }
        if let Some(other) = other_user(inside, "schema", name) {
            let step = leave(work, database, "schema", name, &other);
            work.in_database(database, step);
            continue;
        }
        let stays = |table: &super::live::Table| {
            table.schema == *name
                && inside.remembers("table", &qualified(&table.schema, &table.name)).is_none()
        };
        let kept = used(inside, name, stays) || schema.others > 0;
        if kept {
            work.note(
                Some(database),
                format!(
                    "howdah made schema `{name}`, it is no longer declared, and others have put things in it"
                ),
            );
            continue;
        }
        work.in_database(
            database,
            Step::new(
                StepKind::Schema,
                &format!("schema:{database}:{name}:drop"),
                format!("howdah made schema `{name}`, and it is no longer declared"),
            )
            .sql(format!("DROP SCHEMA {}", quote_ident(name)))
            .sql(forget(work.who(), "schema", name))
            .destructive(true),
        );
    }
}

fn used(inside: &Inside, schema: &str, stays: impl Fn(&super::live::Table) -> bool) -> bool {
    let table_stays = |name: &String| inside.tables.get(name).is_none_or(&stays);
    inside.tables.values().any(&stays)
        || inside
            .sequences
            .values()
            .any(|sequence| sequence.schema == schema && sequence.table.as_ref().is_none_or(table_stays))
        || inside.extensions.values().any(|extension| extension.schema == schema)
}
