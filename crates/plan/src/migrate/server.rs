//! Roles and databases: what exists once for the whole server.

use std::collections::BTreeSet;

use super::live::Role as LiveRole;
use super::mark::{Mark, whose};
use super::step::{Effect, PASSWORD, PasswordFrom, Step, StepKind};
use super::work::Work;
use crate::problem::{Kind, Problem};
use crate::service::role_names;
use crate::spec::resolve::{quote_ident, quote_literal};
use crate::spec::{Database, Role};

pub(super) fn roles(work: &mut Work) {
    let spec = work.spec;
    for (name, role) in &spec.roles {
        match work.live.roles.get(name) {
            None => {
                let attributes = if role.login { "LOGIN" } else { "" };
                create_role(work, name, role, attributes, format!("role `{name}` is declared and not there"));
            }
            Some(live) => match work.owner_of_role(name) {
                Some(owner) => {
                    work.of_another(&format!("role `{name}`"), &owner, |work| {
                        attributes(work, name, role, live)
                    });
                }
                None => alter_role(work, name, role, live),
            },
        }
    }
    for (name, role) in &spec.roles {
        match work.owner_of_role(name) {
            Some(owner) => {
                work.of_another(&format!("role `{name}`"), &owner, |work| memberships(work, name, role));
            }
            None => memberships(work, name, role),
        }
    }
}

pub(super) fn create_role(work: &mut Work, name: &str, role: &Role, attributes: &str, reason: String) {
    let mut create = format!("CREATE ROLE {} {attributes}", quote_ident(name)).trim_end().to_owned();
    if let Some(limit) = role.connection_limit {
        create += &format!(" CONNECTION LIMIT {limit}");
    }
    let comment = work.mark(role.password_env.is_some());
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
            quote_literal(&work.mark(false))
        ));
    }
    step.password = Some(PasswordFrom { role: name.to_owned(), env: env.clone() });
    work.step(step);
}

/// Writes down on a role that it is this deployment's, where the mark is older than identities or another's.
pub(super) fn claim_role(work: &mut Work, name: &str, live: &LiveRole) {
    let Some(mark) = Mark::read(live.comment.as_deref()).filter(|mark| mark.deployment != work.who()) else {
        return;
    };
    if !work.made_role(name) {
        return;
    }
    let reason = format!("role `{name}` was made for {} and becomes this deployment's", mark.whose());
    let comment = quote_literal(&work.mark(mark.pending));
    work.step(
        Step::new(StepKind::Role, &format!("role:{name}:claim"), reason)
            .sql(format!("COMMENT ON ROLE {} IS {comment}", quote_ident(name))),
    );
}

/// The same of a database.
fn claim_database(work: &mut Work, name: &str) {
    let comment = work.live.databases.get(name).and_then(|live| live.comment.as_deref());
    let Some(mark) = Mark::read(comment).filter(|mark| mark.deployment != work.who()) else { return };
    if !work.made_database(name) {
        return;
    }
    let reason = format!("database `{name}` was made for {} and becomes this deployment's", mark.whose());
    let comment = quote_literal(&work.mark(false));
    work.step(
        Step::new(StepKind::Database, &format!("database:{name}:claim"), reason)
            .sql(format!("COMMENT ON DATABASE {} IS {comment}", quote_ident(name))),
    );
}

fn alter_role(work: &mut Work, name: &str, role: &Role, live: &LiveRole) {
    claim_role(work, name, live);
    attributes(work, name, role, live);
    if is_pending(live) && work.made_role(name) {
        if role.password_env.is_some() {
            password(work, name, role, &format!("role `{name}` has no password yet"), true);
        }
    } else if work.options.set_passwords {
        password(work, name, role, "asked for by `--set-passwords`", false);
    }
}

/// Whether a role was made and has no password yet.
pub(super) fn is_pending(live: &LiveRole) -> bool {
    Mark::read(live.comment.as_deref()).is_some_and(|mark| mark.pending)
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
        } else if work.owner_of_role(name).is_none() {
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
            Some(live) if work.owner_of_database(name).is_some() => {
                let owner = work.owner_of_database(name).unwrap_or_default();
                let differs = database.owner.as_ref().filter(|declared| **declared != live.owner);
                if let Some(declared) = differs {
                    work.problem(owned_database(name, &owner, &live.owner, declared));
                }
                false
            }
            Some(live) => {
                claim_database(work, name);
                database.owner.as_ref().is_some_and(|owner| *owner != live.owner)
            }
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

fn owned_database(name: &str, of: &str, live: &str, declared: &str) -> Problem {
    Problem::new(Kind::Conflict, format!("database `{name}` belongs to {of}, and is declared otherwise here"))
        .detail(format!("its owner is `{live}`, declared is `{declared}`"))
        .hint(
            "Take `owner` out here, or make the database this deployment's with `howdah apply --take-over`.",
        )
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
            .sql(format!("COMMENT ON DATABASE {} IS {}", quote_ident(name), quote_literal(&work.mark(false))))
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
            if let Some(other) = other_in(work, name) {
                work.note(
                    None,
                    format!(
                        "howdah made database `{name}`, it is no longer declared, and {other} works in it"
                    ),
                );
                continue;
            }
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
        if let Some(used) = used_elsewhere(work, name) {
            work.note(
                None,
                format!("howdah made role `{name}`, it is no longer declared, and it owns things or has rights {used}"),
            );
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

/// Another deployment that works in a database, for people.
fn other_in(work: &Work, database: &str) -> Option<String> {
    let other = work.inside(database)?.deployments.iter().find(|there| there.id != work.who())?;
    Some(whose(&other.name, &other.id))
}

/// Where a role that is no longer declared has something that no step of the plan ends.
fn used_elsewhere(work: &Work, role: &str) -> Option<String> {
    let table = work.live.databases.iter().find_map(|(database, live)| {
        let others = work.tables_of_others(database);
        let mut tables = live.inside.tables.iter().filter(|(name, _)| others.contains(name.as_str()));
        tables.find(|(_, table)| table.owner == role || table.acl.contains_key(role)).map(|(_, table)| table)
    });
    if let Some(table) = table {
        return Some(format!("on table `{}.{}` of another deployment", table.schema, table.name));
    }
    let goes = |database: &str| {
        let effect = Some(Effect::DropsDatabase(database.to_owned()));
        work.plan.steps.iter().chain(&work.plan.blocked).any(|step| step.effect == effect)
    };
    let stays = |database: &&String| {
        !work.spec.databases.contains_key(*database)
            && work.live.databases.contains_key(*database)
            && !goes(database)
    };
    let database = work.live.roles.get(role)?.databases.iter().find(stays)?;
    Some(format!("in database `{database}`, which is not declared"))
}
