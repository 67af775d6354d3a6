//! Roles and databases: what exists once for the whole server.

use std::collections::BTreeSet;

use super::live::Role as LiveRole;
use super::step::{Effect, PASSWORD, PasswordFrom, Step, StepKind};
use super::work::{Work, mark};
use crate::service::role_names;
use crate::spec::resolve::{quote_ident, quote_literal};
use crate::spec::{Database, Role};

/// Comment of a role that was made but has no password yet.
fn pending(name: &str) -> String {
    format!("{}, password pending", mark(name))
}

pub(super) fn roles(work: &mut Work) {
    let spec = work.spec;
    for (name, role) in &spec.roles {
        match work.live.roles.get(name) {
            None => {
                let attributes = if role.login { "LOGIN" } else { "" };
                create_role(work, name, role, attributes, format!("role `{name}` is declared and not there"));
            }
            Some(live) => alter_role(work, name, role, live),
        }
    }
    for (name, role) in &spec.roles {
        memberships(work, name, role);
    }
}

pub(super) fn create_role(work: &mut Work, name: &str, role: &Role, attributes: &str, reason: String) {
    let mut create = format!("CREATE ROLE {} {attributes}", quote_ident(name)).trim_end().to_owned();
    if let Some(limit) = role.connection_limit {
        create += &format!(" CONNECTION LIMIT {limit}");
    }
    let comment = if role.password_env.is_some() { pending(&work.spec.name) } else { mark(&work.spec.name) };
    work.step(Step::new(StepKind::Role, &format!("role:{name}"), reason).sql(create).sql(format!(
        "COMMENT ON ROLE {} IS {}",
        quote_ident(name),
        quote_literal(&comment)
    )));
    password(work, name, role, &format!("role `{name}` is new"), true);
}

pub(super) fn password(work: &mut Work, name: &str, role: &Role, reason: &str, ours: bool) {
    let Some(env) = &role.password_env else { return };
    let mut step = Step::new(
        StepKind::Role,
        &format!("role:{name}:password"),
        format!("{reason}: its password comes from ${env}, as a SCRAM-SHA-256 verifier"),
    )
    .sql(format!("ALTER ROLE {} PASSWORD {PASSWORD}", quote_ident(name)));
    if ours {
        step = step.sql(format!(
            "COMMENT ON ROLE {} IS {}",
            quote_ident(name),
            quote_literal(&mark(&work.spec.name))
        ));
    }
    step.password = Some(PasswordFrom { role: name.to_owned(), env: env.clone() });
    work.step(step);
}

fn alter_role(work: &mut Work, name: &str, role: &Role, live: &LiveRole) {
    attributes(work, name, role, live);
    if is_pending(work, live) {
        if role.password_env.is_some() {
            password(work, name, role, &format!("role `{name}` has no password yet"), true);
        }
    } else if work.options.set_passwords {
        password(work, name, role, "asked for by `--set-passwords`", false);
    }
}

/// Whether a role was made and has no password yet.
pub(super) fn is_pending(work: &Work, live: &LiveRole) -> bool {
    live.comment.as_deref() == Some(&pending(&work.spec.name))
}

/// Whether and how often it may log in.
pub(super) fn attributes(work: &mut Work, name: &str, role: &Role, live: &LiveRole) {
    let mut changes = Vec::new();
    let mut reasons = Vec::new();
    if role.login != live.login {
        changes.push(if role.login { "LOGIN".to_owned() } else { "NOLOGIN".to_owned() });
        reasons.push(format!("may{} log in", if role.login { "" } else { " not" }));
    }
    // Of a role that was there before Howdah, an undeclared limit stays.
    let limit = role.connection_limit.or(work.made_role(name).then_some(-1));
    if let Some(limit) = limit.filter(|limit| *limit != live.connection_limit) {
        changes.push(format!("CONNECTION LIMIT {limit}"));
        reasons.push(format!("is limited to {limit} connections, not {}", live.connection_limit));
    }
    if !changes.is_empty() {
        work.step(
            Step::new(
                StepKind::Role,
                &format!("role:{name}:attributes"),
                format!("role `{name}` {}", reasons.join(" and ")),
            )
            .sql(format!("ALTER ROLE {} {}", quote_ident(name), changes.join(" "))),
        );
    }
}

pub(super) fn memberships(work: &mut Work, name: &str, role: &Role) {
    let declared: BTreeSet<&str> = role.member_of.iter().map(String::as_str).collect();
    let live: BTreeSet<&str> = work
        .live
        .roles
        .get(name)
        .map(|live| live.member_of.iter().map(String::as_str).collect())
        .unwrap_or_default();
    for parent in declared.difference(&live) {
        work.step(
            Step::new(
                StepKind::Role,
                &format!("role:{name}:member:{parent}"),
                format!("role `{name}` is declared a member of `{parent}`"),
            )
            .sql(format!("GRANT {} TO {}", quote_ident(parent), quote_ident(name))),
        );
    }
    for parent in live.difference(&declared) {
        if work.made_role(name) {
            work.step(
                Step::new(
                    StepKind::Role,
                    &format!("role:{name}:member:{parent}"),
                    format!("role `{name}` is a member of `{parent}`, which is not declared"),
                )
                .sql(format!("REVOKE {} FROM {}", quote_ident(parent), quote_ident(name))),
            );
        } else {
            work.note(None, format!("role `{name}` is a member of `{parent}`, which is not declared"));
        }
    }
}

pub(super) fn databases(work: &mut Work) {
    let spec = work.spec;
    for (name, database) in &spec.databases {
        let owner_differs = match work.live.databases.get(name) {
            None => {
                if let Some(owner) = &database.owner {
                    reach(work, owner);
                }
                create_database(work, name, database);
                false
            }
            Some(live) => database.owner.as_ref().is_some_and(|owner| *owner != live.owner),
        };
        if let Some(owner) = database.owner.as_ref().filter(|_| owner_differs) {
            reach(work, owner);
            work.step(
                Step::new(
                    StepKind::Database,
                    &format!("database:{name}:owner"),
                    format!("database `{name}` is declared to belong to `{owner}`"),
                )
                .sql(format!(
                    "ALTER DATABASE {} OWNER TO {}",
                    quote_ident(name),
                    quote_ident(owner)
                )),
            );
        }
    }
}

/// Who is no superuser gives things only to roles that they may become.
fn reach(work: &mut Work, role: &str) {
    let server = &work.live.server;
    let settable = work.live.roles.get(role).is_some_and(|live| live.settable);
    let id = format!("role:{role}:reach");
    if server.superuser || settable || server.user == role || work.plan.steps.iter().any(|step| step.id == id)
    {
        return;
    }
    let user = quote_ident(&server.user);
    work.step(
        Step::new(
            StepKind::Role,
            &id,
            format!("{user} is no superuser and gives things to `{role}` only as a member of it"),
        )
        .sql(format!("GRANT {} TO {user}", quote_ident(role))),
    );
}

fn create_database(work: &mut Work, name: &str, database: &Database) {
    let mut create = format!("CREATE DATABASE {}", quote_ident(name));
    if let Some(owner) = &database.owner {
        create += &format!(" OWNER {}", quote_ident(owner));
    }
    let mut reason = format!("database `{name}` is declared and not there");
    if !work.live.server.template_encoding.is_empty() && work.live.server.template_encoding != "UTF8" {
        create += " TEMPLATE template0 ENCODING 'UTF8'";
        reason += &format!(
            "; UTF8 is said because the server's template is {}, which cannot hold every text",
            work.live.server.template_encoding
        );
    }
    work.step(
        Step::new(StepKind::Database, &format!("database:{name}"), reason)
            .sql(create)
            .sql(format!(
                "COMMENT ON DATABASE {} IS {}",
                quote_ident(name),
                quote_literal(&mark(&work.spec.name))
            ))
            .outside_transaction(),
    );
}

/// Whether the plan drops a database.
pub(super) fn is_dropped(work: &Work, database: &str) -> bool {
    let effect = Some(Effect::DropsDatabase(database.to_owned()));
    work.plan.steps.iter().any(|step| step.effect == effect)
}

/// Databases and roles that Howdah made and that are no longer declared.
pub(super) fn gone(work: &mut Work) {
    let live = work.live;
    let spec = work.spec;
    for name in live.databases.keys() {
        if work.made_database(name) && !spec.databases.contains_key(name) {
            work.step(
                Step::new(
                    StepKind::Database,
                    &format!("database:{name}:drop"),
                    format!("howdah made database `{name}`, and it is no longer declared"),
                )
                .sql(format!("DROP DATABASE {}", quote_ident(name)))
                .outside_transaction()
                .effect(Effect::DropsDatabase(name.clone()))
                .destructive(true),
            );
        }
    }
    let of_the_service = role_names(spec).map(|(_, name)| name);
    for name in live.roles.keys().filter(|name| !of_the_service.contains(name)) {
        if !work.made_role(name) || spec.roles.contains_key(name) {
            continue;
        }
        let role = quote_ident(name);
        let reason = format!("howdah made role `{name}`, and it is no longer declared");
        let kept = |name: &String| spec.databases.contains_key(name) && live.databases.contains_key(name);
        // In every database, not only where the facts know of something: a role also owns what Howdah does not read.
        for database in live.databases.keys().filter(|name| kept(name)) {
            let mut step = Step::new(
                StepKind::Role,
                &format!("role:{name}:disown:{database}"),
                format!("{reason}: what it owns goes to the role that applies, its rights end"),
            )
            .sql(format!("REASSIGN OWNED BY {role} TO CURRENT_USER"))
            .sql(format!("DROP OWNED BY {role}"))
            .destructive(true);
            step.database = Some(database.clone());
            work.step(step);
        }
        work.step(
            Step::new(StepKind::Role, &format!("role:{name}:drop"), reason)
                .sql(format!("REASSIGN OWNED BY {role} TO CURRENT_USER"))
                .sql(format!("DROP OWNED BY {role}"))
                .sql(format!("DROP ROLE {role}"))
                .destructive(true),
        );
    }
}
