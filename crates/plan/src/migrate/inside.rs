//! Howdah's own tables, extensions and schemas of one database.

use std::collections::BTreeSet;

use super::live::Inside;
use super::step::{Step, StepKind};
use super::wanted::qualified;
use super::work::Work;
use crate::own;
use crate::problem::{Kind, Problem};
use crate::spec::resolve::{nearest, quote_ident, quote_literal};

/// A statement that makes Howdah remember what it made.
pub(super) fn remember(kind: &str, name: &str, declared: &str) -> String {
    let mut arguments = vec![quote_literal(kind), quote_literal(name)];
    if !declared.is_empty() {
        arguments.push(quote_literal(declared));
    }
    format!("SELECT howdah.remember({})", arguments.join(", "))
}

/// The opposite of [`remember`].
pub(super) fn forget(kind: &str, name: &str) -> String {
    format!("SELECT howdah.forget({}, {})", quote_literal(kind), quote_literal(name))
}

pub(super) fn own_schema(work: &mut Work, database: &str) {
    let done = work.inside(database).map_or(0, |inside| inside.own_steps);
    if done >= own::STEPS.len() {
        return;
    }
    let reason = match done {
        0 => "howdah keeps its own tables in the schema `howdah`".to_owned(),
        done => format!("howdah's own tables are at step {done} of {}", own::STEPS.len()),
    };
    let mut step = Step::new(StepKind::OwnSchema, &format!("own:{database}"), reason);
    for statement in &own::STEPS[done..] {
        step = step.sql(*statement);
    }
    work.in_database(
        database,
        step.sql(format!(
            "INSERT INTO howdah.meta (key, value) VALUES ({}, '{}') \
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            quote_literal(own::STEPS_KEY),
            own::STEPS.len()
        )),
    );
}

/// Extensions that the declaration asks for: the declared ones, and `vector` where a collection needs it.
fn wanted_extensions(work: &Work, database: &str) -> Vec<(String, Option<String>, String)> {
    let mut all: Vec<(String, Option<String>, String)> = Vec::new();
    if let Some(declared) = work.spec.databases.get(database) {
        for (name, version) in &declared.extensions {
            all.push((name.clone(), Some(version.clone()), "declared".into()));
        }
    }
    let mut implied = |name: &str, reason: &str| {
        if !all.iter().any(|(known, ..)| known == name) {
            all.push((name.to_owned(), None, reason.to_owned()));
        }
    };
    let here = |table: &&super::wanted::WantedTable| table.database == database && table.collection.is_some();
    let adopted = work.wanted.adopted.iter().any(|adopted| adopted.database == database);
    if adopted || work.wanted.tables.iter().any(|table| here(&table)) {
        implied("vector", "collections keep their embeddings in it");
        if work.live.available.contains_key("howdah") {
            implied("howdah", "collections are indexed by it where it is at hand");
        }
    }
    all
}

pub(super) fn extensions(work: &mut Work, database: &str) {
    let wanted = wanted_extensions(work, database);
    for (name, version, reason) in &wanted {
        let installed = work.inside(database).and_then(|inside| inside.extensions.get(name)).cloned();
        let Some(available) = work.live.available.get(name).cloned() else {
            if installed.is_none() {
                not_available(work, database, name);
            }
            continue;
        };
        let target = match version.as_deref() {
            Some("*") => Some(available.default_version.clone()),
            other => other.map(str::to_owned),
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
                if let Some(version) = version.as_deref().filter(|version| *version != "*") {
                    create += &format!(" VERSION {}", quote_literal(version));
                }
                work.in_database(
                    database,
                    Step::new(
                        StepKind::Extension,
                        &format!("extension:{database}:{name}"),
                        format!("extension `{name}` is not installed: {reason}"),
                    )
                    .sql(create)
                    .sql(remember("extension", name, "")),
                );
            }
            (Some(installed), Some(target)) if installed.version != target => {
                work.in_database(
                    database,
                    Step::new(
                        StepKind::Extension,
                        &format!("extension:{database}:{name}:update"),
                        format!("extension `{name}` is at {}, declared is {target}", installed.version),
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
    extensions_gone(work, database, &wanted.into_iter().map(|(name, ..)| name).collect());
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
    work.problem(problem);
}

fn extensions_gone(work: &mut Work, database: &str, wanted: &BTreeSet<String>) {
    let Some(inside) = work.inside(database) else { return };
    for name in inside.extensions.keys().filter(|name| !wanted.contains(*name)) {
        if inside.remembers("extension", name).is_none() {
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
            .sql(forget("extension", name))
            .destructive(true),
        );
    }
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
            .sql(remember("schema", &name, "")),
        );
    }
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
        if work.wanted.tables.iter().any(declared) || work.wanted.adopted.iter().any(adopted) {
            continue;
        }
        let name = format!("{}.{}", table.schema, table.name);
        let mut step = Step::new(
            StepKind::Table,
            &format!("table:{database}:{name}:drop"),
            format!("howdah made table `{name}`, and it is no longer declared"),
        )
        .sql(format!("DROP TABLE {qualified}"))
        .sql(forget("table", qualified))
        .destructive(true);
        if let Some(collection) = memory.declared.strip_prefix("collection ") {
            step = super::table::forget_documents(step, collection);
        }
        if work.in_database(database, step) {
            work.dropped.insert((database.to_owned(), qualified.clone()));
        }
    }
}

/// Tables of others in a database that Howdah made: worth knowing, left alone.
pub(super) fn strangers(work: &mut Work, database: &str) {
    let Some(inside) = work.inside(database).filter(|_| work.made_database(database)) else { return };
    let declared = crate::migrate::declared_tables(work.spec, database);
    let names: Vec<String> = inside
        .tables
        .iter()
        .filter(|(name, _)| !declared.contains(name) && inside.remembers("table", name).is_none())
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
    let wanted = wanted_schemas(work, database);
    for (name, schema) in inside.schemas.iter().filter(|(name, _)| !wanted.contains(*name)) {
        if inside.remembers("schema", name).is_none() {
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
            .sql(forget("schema", name))
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
