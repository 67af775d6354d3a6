//! Rights in one database, on what is there and on what comes later.
//!
//! Rights that are missing are granted to every declared role. Rights that are too many are taken only from roles that
//! Howdah made: whoever gave them to another role may have had a reason, so there they are only noted. The roles that the
//! service works as get theirs by the same means; what those are is said in [`super::service`].

use std::collections::{BTreeMap, BTreeSet};

use super::inside::wanted_schemas;
use super::live::{Acl, Inside, Sequence};
use super::step::{Step, StepKind};
use super::wanted::qualified;
use super::work::Work;
use crate::internal_schema::{self, SCHEMA};
use crate::problem::{Kind, Problem};
use crate::spec::resolve::{nearest, quote_ident};

const ALL: [&str; 7] = ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"];

type Privileges = BTreeSet<String>;

/// A role and its rights in one database.
#[derive(Debug, Default)]
pub(super) struct Grantee {
    pub(super) role: String,
    /// By schema, all of which it may use.
    pub(super) rights: BTreeMap<String, Rights>,
    /// On the database itself beside connecting; not looked at where absent.
    pub(super) on_database: Option<Privileges>,
}

impl Grantee {
    /// Whether it has rights on a table by the table's name.
    fn names(&self, schema: &str, table: &str) -> bool {
        self.rights.get(schema).is_some_and(|rights| rights.some.contains_key(table))
    }
}

/// Rights of one role in one schema.
#[derive(Debug, Default)]
pub(super) struct Rights {
    /// On all tables, present and future.
    all: Privileges,
    /// On some tables, by name.
    some: BTreeMap<String, Privileges>,
}

impl Rights {
    /// Adds rights on one table.
    pub(super) fn add(&mut self, table: &str, privileges: &[&str]) {
        let privileges = privileges.iter().map(|privilege| (*privilege).to_owned());
        self.some.entry(table.to_owned()).or_default().extend(privileges);
    }

    fn on(&self, table: &str) -> Privileges {
        self.all.iter().chain(self.some.get(table).into_iter().flatten()).cloned().collect()
    }
}

/// Who writes into a table needs its sequences.
fn on_sequences(on_table: &Privileges) -> Privileges {
    let writes = on_table.contains("INSERT") || on_table.contains("UPDATE");
    if writes { ["SELECT", "USAGE"].map(str::to_owned).into() } else { Privileges::new() }
}

/// Rights of declared roles, and of those that the service works as.
pub(super) fn grants(work: &mut Work, database: &str, service: &[Grantee]) {
    // What this plan drops needs no rights any more.
    let mut inside = work.inside(database).cloned().unwrap_or_default();
    let dropped = |name: &String| work.dropped.contains(&(database.to_owned(), name.clone()));
    inside.tables.retain(|name, _| !dropped(name));
    inside.sequences.retain(|_, sequence| !sequence.table.as_ref().is_some_and(dropped));
    let others = work.tables_of_others(database);
    for grantee in declared(work, database) {
        // Tables of another deployment are its own matter, unless they are named here.
        let mut inside = inside.clone();
        let named = |name: &str| {
            let table = inside.tables.get(name);
            !others.contains(name) || table.is_some_and(|table| grantee.names(&table.schema, &table.name))
        };
        let (mut tables, mut sequences) = (inside.tables.clone(), inside.sequences.clone());
        tables.retain(|name, _| named(name));
        sequences.retain(|_, sequence| sequence.table.as_deref().is_none_or(named));
        (inside.tables, inside.sequences) = (tables, sequences);
        reconcile(work, database, &inside, &grantee);
    }
    // What a collection's table cannot serve with is neither granted nor taken away.
    let impossible = |name: &String| {
        let mut all = work.wanted.impossible.iter();
        all.any(|one| one.database == database && one.qualified() == *name)
    };
    inside.tables.retain(|name, _| !impossible(name));
    inside.sequences.retain(|_, sequence| !sequence.table.as_ref().is_some_and(impossible));
    // Only the service's roles have rights on Howdah's own tables.
    let internal = std::mem::take(&mut inside.internal);
    inside.schemas.extend(internal.schema.map(|schema| (SCHEMA.to_owned(), schema)));
    inside.tables.extend(internal.tables);
    for grantee in service {
        reconcile(work, database, &inside, grantee);
    }
}

/// What is declared of each role.
fn declared(work: &mut Work, database: &str) -> Vec<Grantee> {
    let mut all = Vec::new();
    for (role, declared) in &work.spec.roles {
        let mut grantee = Grantee { role: role.clone(), ..Grantee::default() };
        for grant in declared.grants.iter().filter(|grant| grant.database == database) {
            let privileges = match privileges(role, &grant.privileges) {
                Ok(privileges) => privileges,
                Err(problem) => {
                    work.plan.problems.push(problem);
                    continue;
                }
            };
            let rights = grantee.rights.entry(grant.schema.clone()).or_default();
            match &grant.tables {
                None => rights.all.extend(privileges),
                Some(tables) => {
                    for table in tables {
                        let name = table.strip_prefix(&format!("{}.", grant.schema)).unwrap_or(table);
                        rights.some.entry(name.to_owned()).or_default().extend(privileges.iter().cloned());
                    }
                }
            }
        }
        all.push(grantee);
    }
    all
}

/// Sees to it that a role has its rights, and no more.
fn reconcile(work: &mut Work, database: &str, inside: &Inside, grantee: &Grantee) {
    let Grantee { role, rights, on_database: more } = grantee;
    connect(work, database, role, !rights.is_empty());
    if let Some(more) = more {
        on_database(work, database, role, more);
    }
    for (schema, rights) in rights {
        usage(work, database, inside, role, schema);
        tables(work, database, inside, role, schema, rights);
        sequences(work, database, inside, role, schema, rights);
        defaults(work, database, inside, role, schema, rights);
    }
    surplus(work, database, inside, role, rights);
}

fn privileges(role: &str, declared: &[String]) -> Result<Privileges, Problem> {
    let mut all = Privileges::new();
    for privilege in declared {
        let upper = privilege.to_uppercase();
        if upper == "ALL" {
            all.extend(ALL.map(str::to_owned));
        } else if ALL.contains(&upper.as_str()) {
            all.insert(upper);
        } else {
            let problem =
                Problem::new(Kind::Usage, format!("role `{role}`: `{privilege}` is no right on tables"))
                    .detail(format!("rights on tables: {}, all", ALL.join(", ").to_lowercase()));
            let known = ALL.map(str::to_lowercase);
            return Err(match nearest(&privilege.to_lowercase(), known.iter().map(String::as_str)) {
                Some(near) => problem.hint(format!("Did you mean `{near}`?")),
                None => problem,
            });
        }
    }
    Ok(all)
}

fn list(privileges: &Privileges) -> String {
    privileges.iter().cloned().collect::<Vec<_>>().join(", ")
}

/// What a role has by name, or with everybody.
fn has(acl: &Acl, role: &str, privilege: &str) -> bool {
    [role, ""].iter().any(|grantee| acl.get(*grantee).is_some_and(|have| have.contains(privilege)))
}

fn step(database: &str, role: &str, kind: StepKind, what: &str, reason: String) -> Step {
    let name = if kind == StepKind::DefaultPrivileges { "default" } else { "grant" };
    Step::new(kind, &format!("{name}:{database}:{role}:{what}"), reason)
}

fn connect(work: &mut Work, database: &str, role: &str, wanted: bool) {
    let Some(live) = work.live.databases.get(database) else { return };
    let (owner, acl) = (work.owner(database), live.acl.clone());
    let (name, grantee) = (quote_ident(database), quote_ident(role));
    let alone = acl.get(role).is_some_and(|have| have.contains("CONNECT"));
    if wanted && !has(&acl, role, "CONNECT") && owner != role {
        let reason = format!("role `{role}` has rights in database `{database}` and may not connect to it");
        work.in_database(
            database,
            step(database, role, StepKind::Grant, "connect", reason)
                .sql(format!("GRANT CONNECT ON DATABASE {name} TO {grantee}")),
        );
    } else if !wanted
        && alone
        && !others_work_in(work, database)
        && owner != role
        && live.owner != role
        && work.made_role(role)
    {
        let reason = format!("role `{role}` has no declared rights in database `{database}`");
        work.in_database(
            database,
            step(database, role, StepKind::Grant, "connect:revoke", reason)
                .sql(format!("REVOKE CONNECT ON DATABASE {name} FROM {grantee}")),
        );
    }
}

/// Whether other deployments work in a database, and may have given roles rights there.
fn others_work_in(work: &Work, database: &str) -> bool {
    let others = work.inside(database).map(|inside| &inside.deployments);
    others.is_some_and(|others| others.iter().any(|there| there.id != work.who()))
}

/// Rights on the database beside connecting.
fn on_database(work: &mut Work, database: &str, role: &str, needs: &Privileges) {
    let Some(live) = work.live.databases.get(database) else { return };
    let (name, grantee) = (quote_ident(database), quote_ident(role));
    let lacks: Privileges = needs.iter().filter(|right| !has(&live.acl, role, right)).cloned().collect();
    let extra: Privileges = live
        .acl
        .get(role)
        .map(|have| {
            have.iter().filter(|right| *right != "CONNECT" && !needs.contains(*right)).cloned().collect()
        })
        .unwrap_or_default();
    if !lacks.is_empty() {
        let reason = format!("role `{role}` serves with {} on the database", list(&lacks));
        let sql = format!("GRANT {} ON DATABASE {name} TO {grantee}", list(&lacks));
        work.in_database(database, step(database, role, StepKind::Grant, "database", reason).sql(sql));
    }
    if !extra.is_empty() && work.made_role(role) {
        let reason =
            format!("role `{role}` has {} on the database, which it does not serve with", list(&extra));
        let sql = format!("REVOKE {} ON DATABASE {name} FROM {grantee}", list(&extra));
        work.in_database(database, step(database, role, StepKind::Grant, "database:revoke", reason).sql(sql));
    }
}

fn usage(work: &mut Work, database: &str, inside: &Inside, role: &str, schema: &str) {
    let planned = is_planned(work, database, schema);
    let there = match inside.schemas.get(schema) {
        Some(live) => live.owner == role || has(&live.acl, role, "USAGE"),
        // The schema `public` of a new database is everybody's to use.
        None if schema == "public" => true,
        None if planned => work.owner(database) == role,
        None => {
            work.note(
                Some(database),
                format!("role `{role}` has rights in schema `{schema}`, which is neither there nor declared"),
            );
            true
        }
    };
    if !there {
        let reason = format!("role `{role}` has rights in schema `{schema}` and may not use it");
        work.in_database(
            database,
            step(database, role, StepKind::Grant, &format!("{schema}:usage"), reason).sql(format!(
                "GRANT USAGE ON SCHEMA {} TO {}",
                quote_ident(schema),
                quote_ident(role)
            )),
        );
    }
}

/// Whether the plan makes a schema, or makes sure that it is there.
fn is_planned(work: &Work, database: &str, schema: &str) -> bool {
    schema == SCHEMA || wanted_schemas(work, database).contains(schema)
}

/// Names of the tables in a schema that the plan makes.
fn planned_tables(work: &Work, database: &str, inside: &Inside, schema: &str) -> Vec<String> {
    let wanted =
        work.wanted.tables.iter().filter(|table| table.database == database && table.schema == schema);
    let internal = internal_schema::tables().filter(|_| schema == SCHEMA);
    wanted
        .map(|table| table.name.clone())
        .chain(internal.map(str::to_owned))
        .filter(|name| !inside.tables.contains_key(&qualified(schema, name)))
        .collect()
}

fn tables(work: &mut Work, database: &str, inside: &Inside, role: &str, schema: &str, rights: &Rights) {
    let schema_there = inside.schemas.contains_key(schema) || is_planned(work, database, schema);
    let planned = planned_tables(work, database, inside, schema);
    let new_owner = work.owner(database);
    let mut missing: BTreeMap<Privileges, Vec<String>> = BTreeMap::new();
    for table in inside.tables.values().filter(|table| table.schema == schema && table.owner != role) {
        let lacks: Privileges =
            rights.on(&table.name).into_iter().filter(|right| !has(&table.acl, role, right)).collect();
        if !lacks.is_empty() {
            missing.entry(lacks).or_default().push(qualified(schema, &table.name));
        }
    }
    // Tables that this plan makes are covered one by one, so that the statement can stand before or after them alike.
    for table in planned.iter().filter(|_| new_owner != *role) {
        let needs = rights.on(table);
        if !needs.is_empty() {
            missing.entry(needs).or_default().push(qualified(schema, table));
        }
    }
    for name in rights.some.keys() {
        let impossible = |one: &super::wanted::Impossible| {
            one.database == database && one.schema == schema && one.name == *name
        };
        let there = inside.tables.contains_key(&qualified(schema, name))
            || planned.contains(name)
            || work.wanted.impossible.iter().any(impossible);
        if !there && schema_there {
            work.note(
                Some(database),
                format!(
                    "role `{role}` has rights on table `{schema}.{name}`, which is neither there nor declared"
                ),
            );
        }
    }
    let serves = work.service.iter().any(|(_, name)| name == role);
    let needs = if serves { "serves with" } else { "is declared to have" };
    for (privileges, names) in missing {
        let reason = match names.len() {
            1 => format!("role `{role}` {needs} {} on {}", list(&privileges), names[0]),
            n => format!("role `{role}` {needs} {} on {n} tables of `{schema}`", list(&privileges)),
        };
        let what = format!("{schema}:tables:{}", list(&privileges));
        work.in_database(
            database,
            step(database, role, StepKind::Grant, &what, reason).sql(format!(
                "GRANT {} ON TABLE {} TO {}",
                list(&privileges),
                names.join(", "),
                quote_ident(role)
            )),
        );
    }
}

fn sequences(work: &mut Work, database: &str, inside: &Inside, role: &str, schema: &str, rights: &Rights) {
    let needs = |table: Option<&String>| -> Privileges {
        let name = table.and_then(|table| inside.tables.get(table)).map_or("", |table| table.name.as_str());
        on_sequences(&rights.on(name))
    };
    let mut names = Vec::new();
    let mut lacks = Privileges::new();
    let needed = |sequence: &&Sequence| {
        sequence.schema == schema && sequence.owner != role && sequence.identity.is_none()
    };
    for sequence in inside.sequences.values().filter(needed) {
        let missing: Privileges = needs(sequence.table.as_ref())
            .into_iter()
            .filter(|right| !has(&sequence.acl, role, right))
            .collect();
        if !missing.is_empty() {
            names.push(qualified(schema, &sequence.name));
            lacks.extend(missing);
        }
    }
    if names.is_empty() {
        return;
    }
    let reason = format!("role `{role}` writes into tables of `{schema}` whose numbers come from sequences");
    work.in_database(
        database,
        step(database, role, StepKind::Grant, &format!("{schema}:sequences"), reason).sql(format!(
            "GRANT {} ON SEQUENCE {} TO {}",
            list(&lacks),
            names.join(", "),
            quote_ident(role)
        )),
    );
}

fn object(code: &str) -> &'static str {
    if code == "S" { "SEQUENCES" } else { "TABLES" }
}

fn defaults(work: &mut Work, database: &str, inside: &Inside, role: &str, schema: &str, rights: &Rights) {
    let owner = work.owner(database);
    let known = inside.schemas.contains_key(schema)
        || schema == "public"
        || wanted_schemas(work, database).contains(schema);
    if owner == role || !known {
        return;
    }
    for (code, needs) in [("r", rights.all.clone()), ("S", on_sequences(&rights.all))] {
        let lacks: Privileges = needs
            .into_iter()
            .filter(|right| {
                !inside.default_acl.iter().any(|acl| {
                    acl.maker == owner
                        && acl.schema == schema
                        && acl.object == code
                        && has(&acl.acl, role, right)
                })
            })
            .collect();
        if lacks.is_empty() {
            continue;
        }
        let what = object(code);
        let reason = format!(
            "role `{role}` is to have {} on {} that `{owner}` makes later in `{schema}`",
            list(&lacks),
            what.to_lowercase()
        );
        let id = format!("{schema}:{}", what.to_lowercase());
        work.in_database(
            database,
            step(database, role, StepKind::DefaultPrivileges, &id, reason).sql(format!(
                "ALTER DEFAULT PRIVILEGES FOR ROLE {} IN SCHEMA {} GRANT {} ON {what} TO {}",
                quote_ident(&owner),
                quote_ident(schema),
                list(&lacks),
                quote_ident(role)
            )),
        );
    }
}

/// Whether a sequence is there after the plan: one of an identity goes when the column is declared without.
fn identity_stays(work: &Work, database: &str, sequence: &Sequence) -> bool {
    let (Some(table), Some(name)) = (&sequence.table, &sequence.identity) else { return true };
    let wanted = work.wanted.tables.iter().find(|one| one.database == database && one.qualified() == *table);
    wanted.is_none_or(|one| one.columns.iter().any(|column| column.name == *name && column.identity))
}

/// What a role has by name beyond its declared rights.
fn surplus(work: &mut Work, database: &str, inside: &Inside, role: &str, rights: &BTreeMap<String, Rights>) {
    let rights_in = |schema: &str| rights.get(schema);
    let too_many = |acl: &Acl, needs: &Privileges| -> Privileges {
        acl.get(role).map(|have| have.difference(needs).cloned().collect()).unwrap_or_default()
    };
    let mut found: Vec<(String, String, StepKind)> = Vec::new();
    for table in inside.tables.values().filter(|table| table.owner != role) {
        let needs = rights_in(&table.schema).map(|rights| rights.on(&table.name)).unwrap_or_default();
        let extra = too_many(&table.acl, &needs);
        if !extra.is_empty() {
            let what = format!("{} ON TABLE {}", list(&extra), qualified(&table.schema, &table.name));
            found.push((what, String::new(), StepKind::Grant));
        }
    }
    let stays = |sequence: &&Sequence| sequence.owner != role && identity_stays(work, database, sequence);
    for sequence in inside.sequences.values().filter(stays) {
        let table = sequence.table.as_ref().and_then(|table| inside.tables.get(table));
        let name = table.map_or("", |table| table.name.as_str());
        let needs =
            rights_in(&sequence.schema).map(|rights| on_sequences(&rights.on(name))).unwrap_or_default();
        let extra = too_many(&sequence.acl, &needs);
        if !extra.is_empty() {
            let what =
                format!("{} ON SEQUENCE {}", list(&extra), qualified(&sequence.schema, &sequence.name));
            found.push((what, String::new(), StepKind::Grant));
        }
    }
    let of_others = |schema: &str| {
        let memory = inside.of_others("schema", schema);
        memory.is_some_and(|memory| !memory.deployment.is_empty())
    };
    let own = |name: &str, schema: &super::live::Schema| schema.owner != role && !of_others(name);
    for (name, schema) in inside.schemas.iter().filter(|(name, schema)| own(name, schema)) {
        let needs: Privileges =
            if rights_in(name).is_some() { ["USAGE".to_owned()].into() } else { Privileges::new() };
        let extra = too_many(&schema.acl, &needs);
        if !extra.is_empty() {
            found.push((
                format!("{} ON SCHEMA {}", list(&extra), quote_ident(name)),
                String::new(),
                StepKind::Grant,
            ));
        }
    }
    let owner = work.owner(database);
    for acl in inside.default_acl.iter().filter(|acl| acl.maker != role && !of_others(&acl.schema)) {
        let rights = rights_in(&acl.schema).filter(|_| acl.maker == owner);
        let needs = match (rights, acl.object.as_str()) {
            (Some(rights), "r") => rights.all.clone(),
            (Some(rights), "S") => on_sequences(&rights.all),
            _ => Privileges::new(),
        };
        let extra = too_many(&acl.acl, &needs);
        if !extra.is_empty() {
            let scope =
                format!("FOR ROLE {} IN SCHEMA {} ", quote_ident(&acl.maker), quote_ident(&acl.schema));
            found.push((
                format!("{} ON {}", list(&extra), object(&acl.object)),
                scope,
                StepKind::DefaultPrivileges,
            ));
        }
    }
    let grantee = quote_ident(role);
    for (what, scope, kind) in found {
        let reason = format!("role `{role}` has {what}, which is not declared");
        if !work.made_role(role) {
            if work.owner_of_role(role).is_none() {
                work.note(Some(database), reason);
            }
            continue;
        }
        let sql = match kind {
            StepKind::DefaultPrivileges => {
                format!("ALTER DEFAULT PRIVILEGES {scope}REVOKE {what} FROM {grantee}")
            }
            _ => format!("REVOKE {what} FROM {grantee}"),
        };
        work.in_database(
            database,
            step(database, role, kind, &format!("revoke:{scope}{what}"), reason).sql(sql),
        );
    }
}
