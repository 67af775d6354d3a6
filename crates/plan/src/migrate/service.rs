//! The roles that the service works as: made beside the declared ones, with exactly the rights that they need, and taken
//! away when they are switched off. They are Howdah's own, so whatever they have too much is revoked.

use std::collections::BTreeMap;

use super::grant::{Grantee, Rights};
use super::inside::extension_schemas;
use super::live::Role as LiveRole;
use super::server;
use super::step::{Step, StepKind};
use super::work::Work;
use crate::internal_schema::{self, SCHEMA};
use crate::problem::{Kind, Problem};
use crate::service::{self, Purpose};
use crate::spec::resolve::quote_ident;
use crate::spec::{Role, ServiceRoles};

/// What a created role says of itself: nothing but to log in.
const ATTRIBUTES: &str = "LOGIN NOCREATEDB NOCREATEROLE NOSUPERUSER NOREPLICATION NOBYPASSRLS";

/// Role of PostgreSQL's that the one for looking at the server belongs to: it sees every setting and statistic, and changes
/// none. Not `pg_read_all_data`, which reads the verifiers of passwords too.
const INSPECTS: &str = "pg_monitor";

/// Howdah's own tables that do not concern who looks at the server: the hashes of keys, and what callers gave to jobs.
const PRIVATE: [&str; 2] = ["api_keys", "jobs"];

/// What shows the lines of the configuration files; PostgreSQL keeps it to superusers until it is granted.
const FILES: [&str; 2] = [
    "GRANT EXECUTE ON FUNCTION pg_catalog.pg_show_all_file_settings(), pg_catalog.pg_hba_file_rules() TO ",
    "GRANT SELECT ON pg_catalog.pg_file_settings, pg_catalog.pg_hba_file_rules TO ",
];

/// What one of these roles may do with a table.
const READS: &[&str] = &["SELECT"];
const WRITES: &[&str] = &["SELECT", "INSERT", "UPDATE", "DELETE"];

/// Decides which of these roles there shall be; none where the service works as the declared connection, or where a name
/// is somebody else's.
pub(super) fn settle(work: &mut Work) {
    if !service::wanted(work.spec, work.live) {
        return;
    }
    let roles = service::role_names(work.spec);
    for (_, name) in &roles {
        let declared = work.spec.roles.contains_key(name);
        let foreign = work.live.roles.contains_key(name) && !work.made_role(name);
        if declared || foreign {
            let why = match work.owner_of_role(name) {
                _ if declared => "it is declared as well".to_owned(),
                Some(owner) => format!("it is there, made for {owner}"),
                None => "it is there, and howdah did not make it for this deployment".to_owned(),
            };
            work.problem(
                Problem::new(Kind::Conflict, format!("role `{name}` is one that the service works as, and {why}"))
                    .detail("`api.roles` is `auto` and the connection is a superuser's, so the service gets roles of its own")
                    .hint(
                        "Give that role another name, or the deployment, or let the service work as the declared connection: \
                         `[api] roles = \"off\"`. A deployment of the same name that is out of use is replaced by \
                         `howdah apply --take-over`.",
                    ),
            );
            return;
        }
    }
    work.service = roles.into();
}

/// The roles, their attributes and passwords.
pub(super) fn roles(work: &mut Work) {
    for (purpose, name) in work.service.clone() {
        let variable = purpose.password_variable().to_owned();
        let inspects = purpose == Purpose::Inspect;
        let member_of = if inspects { vec![INSPECTS.to_owned()] } else { Vec::new() };
        let role = Role { login: true, password_env: Some(variable), member_of, ..Role::default() };
        match work.live.roles.get(&name) {
            None => {
                let reason = format!("the service works as role `{name}` to {}", duty(purpose));
                let attributes = format!("{ATTRIBUTES} {}", if inspects { "INHERIT" } else { "NOINHERIT" });
                server::create_role(work, &name, &role, &attributes, reason);
            }
            Some(live) => alter(work, &name, &role, live, inspects),
        }
        server::memberships(work, &name, &role);
    }
}

fn duty(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Read => "read collections",
        Purpose::Write => "fill collections",
        Purpose::Control => "keep keys and jobs",
        Purpose::Inspect => "look at the server",
    }
}

fn alter(work: &mut Work, name: &str, role: &Role, live: &LiveRole, inherits: bool) {
    server::claim_role(work, name, live);
    server::attributes(work, name, role, live);
    let inherit = "INHERIT";
    let extra: Vec<&str> =
        live.attributes.iter().map(String::as_str).filter(|it| !(inherits && *it == inherit)).collect();
    if inherits && !live.attributes.contains(inherit) {
        let reason =
            format!("role `{name}` looks at the server by the rights of roles that it is a member of");
        let change = format!("ALTER ROLE {} {inherit}", quote_ident(name));
        work.step(Step::new(StepKind::Role, &format!("role:{name}:attributes:inherit"), reason).sql(change));
    }
    if !extra.is_empty() {
        let reason = format!("role `{name}` has {}, which it does not serve with", extra.join(", "));
        let change = format!("ALTER ROLE {} NO{}", quote_ident(name), extra.join(" NO"));
        work.step(Step::new(StepKind::Role, &format!("role:{name}:attributes:revoke"), reason).sql(change));
    }
    if server::is_pending(live) {
        server::password(work, name, role, &format!("role `{name}` has no password yet"), true);
    } else if work.options.set_service_passwords {
        server::password(work, name, role, &format!("the service logs in as `{name}` anew"), false);
    }
}

/// Rights of these roles in one database.
pub(super) fn grantees(work: &Work, database: &str) -> Vec<Grantee> {
    let grantee = |(purpose, role): &(Purpose, String)| {
        let mut rights: BTreeMap<String, Rights> = BTreeMap::new();
        let mut on_database = Vec::new();
        let mut may = |schema: &str, table: &str, privileges: &[&str]| {
            rights.entry(schema.to_owned()).or_default().add(table, privileges);
        };
        match purpose {
            Purpose::Read | Purpose::Write => {
                let privileges = if *purpose == Purpose::Read { READS } else { WRITES };
                for (schema, table, read_only) in collection_tables(work, database) {
                    may(&schema, &table, if read_only { READS } else { privileges });
                }
                may(SCHEMA, "collections", privileges);
                may(SCHEMA, "sources", privileges);
                if *purpose == Purpose::Write {
                    may(SCHEMA, "embedded", WRITES);
                }
                for schema in extension_schemas(work, database) {
                    rights.entry(schema).or_default();
                }
                if *purpose == Purpose::Write {
                    on_database.push("TEMPORARY");
                }
            }
            Purpose::Control if work.home().as_deref() == Some(database) => {
                may(SCHEMA, "api_keys", WRITES);
                may(SCHEMA, "jobs", WRITES);
            }
            Purpose::Control => {}
            Purpose::Inspect => {
                let declared = work.wanted.tables.iter().filter(|table| table.database == database);
                for table in declared {
                    may(&table.schema, &table.name, READS);
                }
                for (schema, table, _) in collection_tables(work, database) {
                    may(&schema, &table, READS);
                }
                for table in internal_schema::tables().filter(|name| !PRIVATE.contains(name)) {
                    may(SCHEMA, table, READS);
                }
                for schema in extension_schemas(work, database) {
                    rights.entry(schema).or_default();
                }
            }
        }
        let on_database = on_database.into_iter().map(str::to_owned).collect();
        Grantee { role: role.clone(), rights, on_database: Some(on_database) }
    };
    work.service.iter().map(grantee).collect()
}

/// Lets the role that looks at the server see the lines of its configuration files.
pub(super) fn files(work: &mut Work, database: &str) {
    let inspects = work.service.iter().find(|(purpose, _)| *purpose == Purpose::Inspect);
    let Some((_, name)) = inspects.cloned() else { return };
    if work.inside(database).is_some_and(|inside| inside.sees_files.contains(&name)) {
        return;
    }
    let reason = format!("role `{name}` looks at the server, its configuration files too");
    let step = Step::new(StepKind::Grant, &format!("role:{name}:files:{database}"), reason);
    let role = quote_ident(&name);
    let step = FILES.iter().fold(step, |step, grant| step.sql(format!("{grant}{role}")));
    work.in_database(database, step);
}

/// Schema and name of the tables that declared collections have in a database, and whether they are only read. An adopted one
/// that is not there is a problem of its own.
fn collection_tables(work: &Work, database: &str) -> Vec<(String, String, bool)> {
    let inside = work.inside(database);
    let own =
        work.wanted.tables.iter().filter(|table| table.database == database && table.collection.is_some());
    let adopted =
        work.wanted.adopted.iter().filter(|adopted| adopted.database == database).filter_map(|adopted| {
            let live = inside?.tables.get(&adopted.qualified())?;
            Some((adopted.schema.clone(), adopted.table.clone(), live.relation.read_only().is_some()))
        });
    own.map(|table| (table.schema.clone(), table.name.clone(), false)).chain(adopted).collect()
}

/// What these roles have where it is no longer wanted: in databases that are no longer declared, and everywhere when they
/// are switched off. Nothing of anybody's is lost by it.
pub(super) fn gone(work: &mut Work) {
    let off = work.spec.api.roles == ServiceRoles::Off;
    for (_, name) in service::role_names(work.spec) {
        let Some(live) = work.live.roles.get(&name).filter(|_| work.made_role(&name)) else { continue };
        if off && !work.live.server.superuser {
            work.note(
                None,
                format!("role `{name}` is one that the service no longer works as; a superuser can drop it"),
            );
            continue;
        }
        if !off && work.service.is_empty() {
            continue;
        }
        let role = quote_ident(&name);
        let reason = match off {
            true => format!("`api.roles` is `off`: the service no longer works as role `{name}`"),
            false => format!("role `{name}` serves declared databases only"),
        };
        let disown = [format!("REASSIGN OWNED BY {role} TO CURRENT_USER"), format!("DROP OWNED BY {role}")];
        for database in &live.databases {
            let declared = work.spec.databases.contains_key(database);
            let there = work.live.databases.contains_key(database) && !server::is_dropped(work, database);
            if !there || (declared && !off) {
                continue;
            }
            let id = format!("role:{name}:disown:{database}");
            let step = Step::new(StepKind::Role, &id, format!("{reason}: its rights in `{database}` end"));
            let [reassign, drop] = &disown;
            work.in_database(database, step.sql(reassign).sql(drop));
        }
        if off {
            let step = Step::new(StepKind::Role, &format!("role:{name}:drop"), reason);
            let [reassign, drop] = &disown;
            work.step(step.sql(reassign).sql(drop).sql(format!("DROP ROLE {role}")));
        }
    }
}
