//! Databases, roles and what they may do.

use indexmap::IndexMap;

use super::mistakes::Mistakes;
use super::{names, server};
use crate::problem::{Kind, Problem};
use crate::spec::place::{item, join};
use crate::spec::resolve::{nearest, split_table};
use crate::spec::{Database, Grant, Role, Spec};

/// Rights on tables that can be declared.
const PRIVILEGES: [&str; 8] =
    ["select", "insert", "update", "delete", "truncate", "references", "trigger", "all"];

pub(super) fn check(spec: &Spec, mistakes: &mut Mistakes) {
    for (name, database) in &spec.databases {
        check_database(spec, name, database, mistakes);
    }
    for (name, role) in &spec.roles {
        check_role(spec, name, role, mistakes);
    }
    circles(&spec.roles, mistakes);
}

fn check_database(spec: &Spec, name: &str, database: &Database, mistakes: &mut Mistakes) {
    let key = join("databases", name);
    names::identifier(&key, "a database", name, mistakes);
    if matches!(name, "template0" | "template1") {
        mistakes.say(
            &key,
            format!("`{name}` is PostgreSQL's template of other databases"),
            "Choose another name for the database.",
        );
    }
    if let Some(owner) = &database.owner {
        role_exists(spec, &join(&key, "owner"), owner, mistakes);
    }
    for (extension, version) in &database.extensions {
        check_extension(&join(&join(&key, "extensions"), extension), extension, version, mistakes);
    }
    for (index, schema) in database.schemas.iter().enumerate() {
        let key = item(&join(&key, "schemas"), index);
        names::schema(&key, schema, mistakes);
        if database.schemas[..index].contains(schema) {
            mistakes.say(&key, format!("`{key}`: the schema `{schema}` is listed twice"), "Remove one.");
        }
    }
    server::settings(&join(&key, "settings"), &database.settings, mistakes);
}

fn check_extension(key: &str, name: &str, version: &str, mistakes: &mut Mistakes) {
    if name == "pgvector" {
        mistakes.say(
            key,
            "the extension of the project pgvector is called `vector`",
            "Did you mean `vector = \"*\"`?",
        );
    }
    names::identifier(key, "an extension", name, mistakes);
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if version != "*" && (version.is_empty() || !version.chars().all(fits)) {
        mistakes.say(
            key,
            format!("`{key}` is not a version: `{version}`"),
            "Write the exact version, for example `\"0.8.5\"`, or `\"*\"` for the newest one there.",
        );
    }
}

fn check_role(spec: &Spec, name: &str, role: &Role, mistakes: &mut Mistakes) {
    let key = join("roles", name);
    names::own_identifier(&key, "a role", name, mistakes);
    if matches!(name, "public" | "none" | "current_user" | "current_role" | "session_user" | "postgres") {
        mistakes.say(
            &key,
            format!("the role `{name}` belongs to PostgreSQL"),
            "Declare roles of your own; the administrator is not declared.",
        );
    }
    names::variable(&join(&key, "password_env"), role.password_env.as_deref(), mistakes);
    for (index, group) in role.member_of.iter().enumerate() {
        role_exists(spec, &item(&join(&key, "member_of"), index), group, mistakes);
    }
    for (index, grant) in role.grants.iter().enumerate() {
        check_grant(spec, &item(&join(&key, "grants"), index), grant, mistakes);
    }
    server::settings(&join(&key, "settings"), &role.settings, mistakes);
}

/// A role is declared, is PostgreSQL's own, or may be on a server that was there before us.
fn role_exists(spec: &Spec, key: &str, name: &str, mistakes: &mut Mistakes) {
    let theirs = name == "postgres" || (name.starts_with("pg_") && key.contains("member_of"));
    if spec.roles.contains_key(name) || theirs {
        return;
    }
    let near = nearest(name, spec.roles.keys().map(String::as_str)).is_some();
    if spec.server.url.is_none() || near {
        mistakes.undeclared(key, "the role", "roles", name, spec.roles.keys());
    }
}

/// Roles that are members of themselves, directly or through others.
fn circles(roles: &IndexMap<String, Role>, mistakes: &mut Mistakes) {
    for (name, role) in roles {
        let mut seen: Vec<&str> = Vec::new();
        let mut next: Vec<&str> = role.member_of.iter().map(String::as_str).collect();
        while let Some(group) = next.pop() {
            if group == name {
                let key = join(&join("roles", name), "member_of");
                mistakes.say(
                    &key,
                    format!("`{key}` makes the role a member of itself"),
                    "Break the circle: PostgreSQL refuses it.",
                );
                break;
            }
            if !seen.contains(&group) {
                seen.push(group);
                next.extend(roles.get(group).into_iter().flat_map(|r| &r.member_of).map(String::as_str));
            }
        }
    }
}

fn check_grant(spec: &Spec, key: &str, grant: &Grant, mistakes: &mut Mistakes) {
    let Some(database) = spec.databases.get(&grant.database) else {
        let key = join(key, "database");
        return mistakes.undeclared(
            &key,
            "the database",
            "databases",
            &grant.database,
            spec.databases.keys(),
        );
    };
    let schema_key = join(key, "schema");
    if names::schema(&schema_key, &grant.schema, mistakes)
        && !schema_known(spec, &grant.database, database, &grant.schema)
    {
        let known = database.schemas.iter().map(String::as_str).chain(["public"]);
        let hint = match nearest(&grant.schema, known) {
            Some(near) => format!("Did you mean `{near}`?"),
            None => format!("Add it to `{}`.", join(&join("databases", &grant.database), "schemas")),
        };
        let message = format!("`{schema_key}` names the schema `{}`, which is not declared", grant.schema);
        mistakes.say(&schema_key, message, hint);
    }
    privileges(key, grant, mistakes);
    tables(spec, key, grant, mistakes);
}

/// Whether a schema is declared, or holds an adopted table.
fn schema_known(spec: &Spec, name: &str, database: &Database, schema: &str) -> bool {
    let holds = |collection: &crate::spec::Collection| {
        let here = collection.database.as_deref().or(spec.databases.keys().next().map(String::as_str));
        let table = collection.table.as_deref().map(split_table);
        collection.adopt.is_some() && here == Some(name) && table.is_some_and(|(s, _)| s == schema)
    };
    schema == "public"
        || database.schemas.iter().any(|declared| declared == schema)
        || spec.collections.values().any(holds)
}

fn privileges(key: &str, grant: &Grant, mistakes: &mut Mistakes) {
    let key = join(key, "privileges");
    for (index, privilege) in grant.privileges.iter().enumerate() {
        let key = item(&key, index);
        if !PRIVILEGES.contains(&privilege.as_str()) {
            let hint = match nearest(&privilege.to_lowercase(), PRIVILEGES) {
                Some(near) => format!("Did you mean `{near}`?"),
                None => format!("Choose from {}.", PRIVILEGES.join(", ")),
            };
            let problem =
                Problem::new(Kind::Usage, format!("`{key}` is not a right on tables: `{privilege}`"))
                    .detail(format!("known are {}", PRIVILEGES.join(", ")));
            mistakes.problem(&key, problem.hint(hint));
        } else if grant.privileges[..index].contains(privilege) {
            mistakes.say(&key, format!("`{key}`: `{privilege}` is listed twice"), "Remove one.");
        }
    }
    if grant.privileges.iter().any(|p| p == "all") && grant.privileges.len() > 1 {
        mistakes.say(
            &key,
            format!("`{key}` lists `all` beside others"),
            "`all` includes them: keep it alone.",
        );
    }
}

/// Tables of a grant may be made by others, so only a near miss is a mistake.
fn tables(spec: &Spec, key: &str, grant: &Grant, mistakes: &mut Mistakes) {
    let key = join(key, "tables");
    if grant.tables.as_ref().is_some_and(Vec::is_empty) {
        mistakes.say(
            &key,
            format!("`{key}` is empty"),
            "Leave it out for all tables of the schema, or name some.",
        );
    }
    let declared = declared_tables(spec, &grant.database, &grant.schema);
    for (index, table) in grant.tables.iter().flatten().enumerate() {
        let key = item(&key, index);
        names::identifier(&key, "a table", table, mistakes);
        if declared.contains(table) {
            continue;
        }
        if let Some((schema, table)) = table.split_once('.') {
            let hint = format!("Write `schema = \"{schema}\"` and `tables = [\"{table}\"]`.");
            mistakes.say(&key, format!("`{key}` names a schema"), hint);
        } else if let Some(near) = nearest(table, declared.iter().map(String::as_str)) {
            let message = format!("`{key}` names the table `{table}`, which is not declared");
            mistakes.say(&key, message, format!("Did you mean `{near}`?"));
        }
    }
}

fn declared_tables(spec: &Spec, database: &str, schema: &str) -> Vec<String> {
    let first = spec.databases.keys().next();
    let collections = spec.collections.iter().map(|(name, c)| (c.database.as_ref(), c.table.as_ref(), name));
    let tables = spec.tables.iter().map(|(name, t)| (t.database.as_ref(), t.table.as_ref(), name));
    collections
        .chain(tables)
        .filter(|(at, ..)| at.or(first).is_some_and(|at| at == database))
        .map(|(_, table, name)| split_table(table.unwrap_or(name)))
        .filter(|(at, _)| at == schema)
        .map(|(_, table)| table)
        .collect()
}
