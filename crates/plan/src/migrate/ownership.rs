//! Which of what Howdah made is this deployment's own?
//!
//! Several deployments may work in one database. Every record in `howdah.managed` names the one it belongs to, and a plan
//! changes and drops nothing of another. This module sorts the records before anything is compared:
//!
//! - What is this deployment's stays in [`Inside::memory`]; everything else goes to [`Inside::others`].
//! - What was made before deployments had an identity belongs to nobody. What is declared of it is claimed by a step of the
//!   plan; the rest is left alone until somebody takes it over.
//! - An extension or a schema may be used by several: each has a record of its own, and the last one drops it.
//! - A table that another deployment made cannot be declared here as well; it can be adopted, which changes nothing of it.
//!
//! A name is one deployment's in a database: two of the same name would share the roles that the service works as. Which one
//! this is has to be known before anything is planned, so such a conflict is the only thing in the plan.

use std::collections::{BTreeMap, BTreeSet};

use super::claims::{Claims, Ownership};
use super::live::{Deployment, Inside, Live, Memory};
use super::mark::whose;
use super::memory::{claim, forget, remember};
use super::options::Options;
use super::step::{Step, StepKind};
use super::wanted::{Impossible, Wanted, qualified};
use super::work::{Work, home};
use crate::problem::{Kind, Problem};
use crate::spec::Spec;
use crate::spec::resolve::quote_literal;

/// Sorts the records of every database. What cannot be declared here is taken out of `wanted`.
///
/// # Errors
/// `conflict` where it is not clear which deployment this is.
pub(super) fn sort(
    spec: &Spec,
    live: &mut Live,
    options: &Options,
    wanted: &mut Wanted,
) -> Result<Ownership, Vec<Problem>> {
    let problems: Vec<Problem> = live
        .databases
        .iter()
        .filter(|(name, _)| spec.databases.contains_key(*name))
        .flat_map(|(name, database)| unclear(spec, options, name, &database.inside))
        .collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut ownership = Ownership::new();
    for (name, database) in &mut live.databases {
        let rules = Rules::new(spec, options, wanted, name, &database.inside);
        let claims = rules.sort(&mut database.inside);
        ownership.insert(name.clone(), claims);
        if spec.databases.contains_key(name) {
            refuse(name, &database.inside, wanted);
        }
    }
    Ok(ownership)
}

/// Whether the identity fits what the database says of it.
fn unclear(spec: &Spec, options: &Options, database: &str, inside: &Inside) -> Option<Problem> {
    let id = &options.deployment;
    if id.is_empty() || options.take_over {
        return None;
    }
    let seen = |there: &Deployment| match there.place.as_str() {
        "" => format!("since {}", there.first_seen),
        place => format!("since {}, from {place}", there.first_seen),
    };
    if let Some(there) = inside.deployments.iter().find(|there| there.name == spec.name && there.id != *id) {
        return Some(
            Problem::new(
                Kind::Conflict,
                format!("database `{database}` knows a deployment `{}` with another identity", spec.name),
            )
            .detail(format!("there it is `{}`, {}; this declaration is `{id}`", there.id, seen(there)))
            .hint(format!(
                "If it is the same deployment, write `deployment = \"{}\"` below `name` in howdah.toml; if it is another \
                 one, give it another `name`. Where the old identity is out of use, `howdah apply --take-over` makes all that \
                 it owns this one's.",
                there.id
            )),
        );
    }
    let there = inside.deployments.iter().find(|there| there.id == *id && there.name != spec.name)?;
    Some(
        Problem::new(
            Kind::Conflict,
            format!("database `{database}` knows this deployment as `{}`, not `{}`", there.name, spec.name),
        )
        .detail(format!("`{id}`, {}", seen(there)))
        .hint(
            "If it was renamed, run `howdah apply --take-over`; if this declaration is a copy for another deployment, take \
             `deployment` out of it and remove `.howdah/deployment.toml` beside it.",
        ),
    )
}

/// What decides about the records of one database.
struct Rules<'a> {
    spec: &'a Spec,
    options: &'a Options,
    /// Quoted names of declared tables that are not adopted.
    tables: BTreeSet<String>,
    /// The same of adopted ones.
    adopted: BTreeSet<String>,
    /// Collections: name, and whether the table is adopted.
    collections: BTreeMap<String, bool>,
    schemas: BTreeSet<String>,
    extensions: BTreeSet<String>,
    settings: BTreeSet<String>,
    /// Ids of other deployments of the same name.
    namesakes: BTreeSet<String>,
}

impl<'a> Rules<'a> {
    fn new(spec: &'a Spec, options: &'a Options, wanted: &Wanted, database: &str, inside: &Inside) -> Self {
        let own: Vec<_> = wanted.tables.iter().filter(|table| table.database == database).collect();
        let adopted: Vec<_> = wanted.adopted.iter().filter(|table| table.database == database).collect();
        let declared = spec.databases.get(database);
        let mut schemas: BTreeSet<String> = own.iter().map(|table| table.schema.clone()).collect();
        schemas.extend(declared.iter().flat_map(|declared| declared.schemas.clone()));
        let collections: BTreeMap<String, bool> = own
            .iter()
            .filter_map(|table| Some((table.collection.clone()?, false)))
            .chain(adopted.iter().map(|table| (table.name.clone(), true)))
            .collect();
        let mut extensions: BTreeSet<String> =
            declared.iter().flat_map(|declared| declared.extensions.keys().cloned()).collect();
        if !collections.is_empty() {
            extensions.extend(["vector".to_owned(), super::vector::EXTENSION.to_owned()]);
        }
        let settings = (home(spec).as_deref() == Some(database)).then(|| {
            spec.settings
                .keys()
                .cloned()
                .chain(options.tuned.iter().map(|tuned| tuned.name.clone()))
                .collect()
        });
        let namesake = |there: &&Deployment| there.name == spec.name && there.id != options.deployment;
        Rules {
            spec,
            options,
            tables: own.iter().map(|table| table.qualified()).collect(),
            adopted: adopted.iter().map(|table| table.qualified()).collect(),
            collections,
            schemas,
            extensions,
            settings: settings.unwrap_or_default(),
            namesakes: inside.deployments.iter().filter(namesake).map(|there| there.id.clone()).collect(),
        }
    }

    fn sort(&self, inside: &mut Inside) -> Claims {
        let id = &self.options.deployment;
        let all = std::mem::take(&mut inside.memory);
        let mut claims = Claims::default();
        let head = |memory: &Memory| {
            let of = |head: &&Memory| {
                head.kind == "table"
                    && head.deployment == memory.deployment
                    && memory.name.starts_with(&format!("{}.", head.name))
            };
            matches!(memory.kind.as_str(), "column" | "default") && all.iter().any(|head| of(&head))
        };
        let (mut own, mut others) = (Vec::new(), Vec::new());
        for memory in &all {
            if memory.deployment == *id {
                own.push(memory.clone());
            } else if self.claims(memory, inside) {
                if !head(memory) {
                    claims.taken.push(memory.clone());
                }
                own.push(Memory { deployment: id.clone(), ..memory.clone() });
            } else {
                others.push(memory.clone());
            }
        }
        let has = |memories: &[Memory], kind: &str, name: &str| {
            memories.iter().any(|memory| memory.kind == kind && memory.name == name)
        };
        for (kind, names) in [("schema", &self.schemas), ("extension", &self.extensions)] {
            for name in names {
                if has(&others, kind, name) && !has(&own, kind, name) {
                    claims.used.push((kind, name.clone()));
                }
            }
        }
        if !id.is_empty() {
            for (name, adopted) in &self.collections {
                let taken = has(&others, "collection", name) || has(&own, "collection", name);
                if *adopted && !taken {
                    claims.used.push(("collection", name.clone()));
                }
            }
            let gone = |memory: &&Memory| {
                memory.kind == "collection" && !self.spec.collections.contains_key(&memory.name)
            };
            claims.stale = own.iter().filter(gone).cloned().collect();
        }
        for (kind, name) in &claims.used {
            own.push(Memory { kind: (*kind).into(), name: name.clone(), ..Memory::default() });
        }
        (inside.memory, inside.others) = (own, others);
        claims
    }

    /// Whether a record that is not this deployment's becomes so.
    fn claims(&self, memory: &Memory, inside: &Inside) -> bool {
        let Options { deployment, take_over, .. } = self.options;
        if deployment.is_empty() {
            return false;
        }
        if *take_over && (memory.deployment.is_empty() || self.namesakes.contains(&memory.deployment)) {
            return true;
        }
        let shared = matches!(memory.kind.as_str(), "schema" | "extension");
        self.declares(memory, inside) && (memory.deployment.is_empty() || (*take_over && !shared))
    }

    /// Whether the declaration speaks of what a record is about.
    fn declares(&self, memory: &Memory, inside: &Inside) -> bool {
        let name = &memory.name;
        match memory.kind.as_str() {
            "table" => self.tables.contains(name),
            "column" | "default" => self.tables.iter().any(|table| name.starts_with(&format!("{table}."))),
            "index" => inside.tables.iter().any(|(qualified_table, table)| {
                (self.tables.contains(qualified_table) || self.adopted.contains(qualified_table))
                    && table.indexes.iter().any(|index| qualified(&table.schema, &index.name) == *name)
            }),
            "schema" => self.schemas.contains(name),
            "extension" => self.extensions.contains(name),
            "setting" => self.settings.contains(name),
            "collection" => self.collections.contains_key(name),
            _ => false,
        }
    }
}

/// Whose a record is, for people.
pub(super) fn owner(inside: &Inside, memory: &Memory) -> String {
    match inside.deployments.iter().find(|there| there.id == memory.deployment) {
        Some(there) => whose(&there.name, &there.id),
        None if memory.deployment.is_empty() => "a deployment without an identity".to_owned(),
        None => format!("a deployment (`{}`)", memory.deployment),
    }
}

/// Takes what other deployments made out of what is wanted here.
fn refuse(database: &str, inside: &Inside, wanted: &mut Wanted) {
    let belongs = |memory: &&Memory| !memory.deployment.is_empty();
    let owned = |kind: &str, name: &str| inside.of_others(kind, name).filter(belongs);
    let part = |table: &str| {
        inside.others.iter().filter(belongs).find(|memory| {
            matches!(memory.kind.as_str(), "column" | "default")
                && memory.name.starts_with(&format!("{table}."))
        })
    };
    let keeps_documents = |collection: &str, table: &str| {
        let said = format!("collection {collection}");
        let of_table =
            |memory: &&Memory| memory.kind == "table" && memory.declared == said && memory.name != table;
        owned("collection", collection)
            .or_else(|| inside.others.iter().filter(belongs).find(|memory| of_table(memory)))
    };
    let mut problems = Vec::new();
    let mut impossible = Vec::new();
    wanted.tables.retain(|table| {
        if table.database != database {
            return true;
        }
        let name = table.qualified();
        let problem = match (owned("table", &name).or_else(|| part(&name)), &table.collection) {
            (Some(memory), _) => {
                Some(declared_twice(database, &table.schema, &table.name, &owner(inside, memory)))
            }
            (None, Some(collection)) => keeps_documents(collection, &name)
                .map(|memory| same_collection(database, collection, &owner(inside, memory))),
            (None, None) => None,
        };
        impossible.extend(problem.as_ref().map(|_| Impossible::table(table)));
        let possible = problem.is_none();
        problems.extend(problem);
        possible
    });
    wanted.adopted.retain(|adopted| {
        let memory = keeps_documents(&adopted.name, "").filter(|_| adopted.database == database);
        impossible.extend(memory.map(|_| Impossible::adopted(adopted)));
        problems
            .extend(memory.map(|memory| same_collection(database, &adopted.name, &owner(inside, memory))));
        memory.is_none()
    });
    wanted.problems.extend(problems);
    wanted.impossible.extend(impossible);
}

fn declared_twice(database: &str, schema: &str, name: &str, owner: &str) -> Problem {
    Problem::new(Kind::Conflict, format!("table `{schema}.{name}` belongs to {owner}"))
        .detail(format!("it is declared here too, in database `{database}`"))
        .hint(
            "Declare another table name; or adopt it as a collection, which changes nothing of it; or make it this \
             deployment's with `howdah apply --take-over`.",
        )
}

fn same_collection(database: &str, collection: &str, owner: &str) -> Problem {
    Problem::new(
        Kind::Conflict,
        format!("{owner} has a collection `{collection}` in database `{database}` too"),
    )
    .detail("what was ingested is kept there under the collection's name")
    .hint("Give the collection another name here; `table` may still name any table.")
}

/// The step that writes down which deployment this is, and what of the database is its own.
pub(super) fn own(work: &mut Work, database: &str) {
    let id = work.who();
    if id.is_empty() {
        return;
    }
    let deployments = work.inside(database).map(|inside| inside.deployments.clone()).unwrap_or_default();
    let name = &work.spec.name;
    let (mut sql, mut reasons) = (Vec::new(), Vec::new());
    match deployments.iter().find(|there| there.id == id) {
        Some(there) if there.name == *name => {}
        known => {
            sql.push(format!(
                "INSERT INTO howdah.deployments (id, name, place) VALUES ({}, {}, {})\n    \
                 ON CONFLICT (id) DO UPDATE SET name = excluded.name",
                quote_literal(id),
                quote_literal(name),
                quote_literal(&work.options.place)
            ));
            reasons.push(match known {
                Some(known) => format!("deployment `{}` is called `{name}` now", known.name),
                None => format!("deployment `{name}` has the identity {id}"),
            });
        }
    }
    let none = Claims::default();
    let claims = work.ownership.get(database).unwrap_or(&none);
    let count = claims.taken.len();
    sql.extend(claims.taken.iter().map(|memory| claim(id, memory)));
    for there in deployments.iter().filter(|there| there.name == *name && there.id != id) {
        for table in ["api_keys", "jobs"] {
            sql.push(format!(
                "UPDATE howdah.{table} SET deployment = {} WHERE deployment = {}",
                quote_literal(id),
                quote_literal(&there.id)
            ));
        }
        sql.push(format!("DELETE FROM howdah.deployments WHERE id = {}", quote_literal(&there.id)));
        reasons.push(format!("what the identity {} owned is taken over", there.id));
    }
    if count > 0 {
        let shown: Vec<String> =
            claims.taken.iter().take(5).map(|memory| format!("{} {}", memory.kind, memory.name)).collect();
        let more =
            if count > shown.len() { format!(" and {} more", count - shown.len()) } else { String::new() };
        reasons.push(format!("it owns what was made earlier: {}{more}", shown.join(", ")));
    }
    for (kind, name) in &claims.used {
        sql.push(remember(id, kind, name, ""));
        reasons.push(match *kind {
            "collection" => format!("it keeps collection `{name}`"),
            kind => format!("it uses {kind} `{name}` beside others"),
        });
    }
    for memory in &claims.stale {
        sql.push(forget(id, &memory.kind, &memory.name));
        reasons.push(format!("{} `{}` is no longer declared", memory.kind, memory.name));
    }
    if sql.is_empty() {
        return;
    }
    let mut step = Step::new(StepKind::InternalSchema, &format!("deployment:{database}"), reasons.join("; "));
    step.sql = sql;
    work.in_database(database, step);
}

/// What nobody owns and nobody declares: left alone, and said.
pub(super) fn unowned(work: &mut Work, database: &str) {
    let Some(inside) = work.inside(database).filter(|_| !work.who().is_empty()) else { return };
    let there = |memory: &Memory| match memory.kind.as_str() {
        "table" => inside.tables.contains_key(&memory.name),
        "schema" => inside.schemas.contains_key(&memory.name),
        "extension" => inside.extensions.contains_key(&memory.name),
        "setting" => true,
        _ => false,
    };
    let names: Vec<String> = inside
        .others
        .iter()
        .filter(|memory| memory.deployment.is_empty() && there(memory))
        .map(|memory| format!("{} {}", memory.kind, memory.name))
        .collect();
    if !names.is_empty() {
        work.note(
            Some(database),
            format!(
                "made by howdah before deployments had an identity, and not declared here: {}; left alone, \
                 `howdah apply --take-over` makes it this deployment's",
                names.join(", ")
            ),
        );
    }
}
