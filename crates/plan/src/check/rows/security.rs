//! Who may get in, and as whom?

use super::super::answer::{Found, Row};
use super::super::contract::{Area, Check, CheckFacts, Need, Severity};

const HBA: &str = "SELECT line_number AS line, type, array_to_string(database, ',') AS databases, \
                   array_to_string(user_name, ',') AS users, coalesce(address, '') AS address, auth_method AS method, \
                   error FROM pg_hba_file_rules";

pub static CHECKS: &[Check] = &[
    Check::new(
        "cfg.hba_errors",
        Area::Security,
        Severity::High,
        "pg_hba.conf has a line the server cannot read",
        "The rules that count are those of the last good reading; at the next start the server does not come up.",
        HBA,
    )
    .server()
    .needs(&[Need::ConfigFiles])
    .each(|_, row| {
        let error = row.text("error");
        (!error.is_empty()).then(|| Found::new(error).about(format!("line {}", row.int("line").unwrap_or(0))))
    })
    .advice("Mend the line in `SHOW hba_file`, then `SELECT pg_reload_conf()`."),
    Check::new(
        "cfg.hba_trust",
        Area::Security,
        Severity::Critical,
        "pg_hba.conf lets clients in without a sound password",
        "`trust` lets in whoever reaches the port, as whom they like; `password` sends it readable; `md5` is deprecated \
         and its hashes are as good as the password.",
        HBA,
    )
    .server()
    .needs(&[Need::ConfigFiles])
    .each(trust)
    .advice("Write `scram-sha-256` in its place (`hostssl` for other machines), then `SELECT pg_reload_conf()`."),
    Check::new(
        "sec.ssl_on",
        Area::Security,
        Severity::High,
        "connections are not encrypted",
        "Without TLS passwords' proofs, texts and vectors pass the network readable.",
        "SELECT current_setting('ssl') AS ssl, current_setting('ssl_min_protocol_version') AS least, \
         current_setting('listen_addresses') AS addresses",
    )
    .server()
    .each(|facts, row| {
        let addresses = row.text("addresses");
        if row.text("ssl") == "off" {
            let loopback = addresses.split(',').all(|it| matches!(it.trim(), "localhost" | "127.0.0.1" | "::1" | ""));
            let found = Found::new(format!("`ssl` is off, the server listens on `{addresses}`"));
            // A server that nobody else reaches needs none; it is still said.
            return Some(if loopback && facts.local { found.severity(Severity::Info) } else { found });
        }
        let old = matches!(row.text("least"), "TLSv1" | "TLSv1.1");
        old.then(|| Found::new(format!("`ssl_min_protocol_version` is `{}`", row.text("least"))))
    })
    .sql_fix(
        "ALTER SYSTEM SET ssl = on; -- with server.crt and server.key in the data directory\nALTER SYSTEM SET \
         ssl_min_protocol_version = 'TLSv1.2';\nSELECT pg_reload_conf()",
    ),
    Check::new(
        "sec.ssl_clients",
        Area::Security,
        Severity::Medium,
        "clients on other machines connect without TLS",
        "A client without `sslmode=verify-full` may talk to anybody; these talk readably.",
        "SELECT coalesce(a.usename, '?') AS object, count(*) AS sessions FROM pg_stat_ssl s \
         JOIN pg_stat_activity a USING (pid) WHERE NOT s.ssl AND a.client_addr IS NOT NULL \
         AND NOT a.client_addr <<= '127.0.0.0/8' AND a.client_addr <> '::1' GROUP BY 1",
    )
    .server()
    .needs(&[Need::Monitor])
    .each(|_, row| Some(Found::new(format!("{} session(s)", row.int("sessions")?))))
    .advice("Give the client `sslmode=verify-full`, and `hostssl` to its line in pg_hba.conf."),
    Check::new(
        "sec.password_enc",
        Area::Security,
        Severity::High,
        "new passwords are kept as md5",
        "An md5 hash is enough to log in with; a SCRAM verifier is not.",
        "SELECT current_setting('password_encryption') AS kind",
    )
    .server()
    .each(|_, row| {
        let kind = row.text("kind");
        (kind != "scram-sha-256").then(|| Found::new(format!("`password_encryption` is `{kind}`")))
    })
    .safe_fix("ALTER SYSTEM SET password_encryption = 'scram-sha-256';\nSELECT pg_reload_conf()"),
    Check::new(
        "sec.md5_roles",
        Area::Security,
        Severity::High,
        "a role's password is kept as md5",
        "Whoever reads the hash (a dump of the roles, a backup) can log in with it.",
        "SELECT quote_ident(rolname) AS object FROM pg_authid WHERE rolpassword LIKE 'md5%'",
    )
    .server()
    .needs(&[Need::Superuser])
    .each(|_, _| Some(Found::new("the hash begins with `md5`")))
    .command("psql -c '\\password {object}'"),
    Check::new(
        "sec.superuser_apps",
        Area::Security,
        Severity::Critical,
        "an application is connected as superuser",
        "One injected statement reads every database, runs programs as the server's user and changes any role. Nothing an \
         application does needs it; the extension is created once, by an administrator.",
        "SELECT quote_ident(a.usename) AS object, a.application_name AS application, count(*) AS sessions \
         FROM pg_stat_activity a JOIN pg_roles r ON r.rolname = a.usename WHERE r.rolsuper \
         AND a.backend_type = 'client backend' AND a.pid <> pg_backend_pid() \
         AND a.application_name !~* '^(howdah|psql|pg_|pgadmin|dbeaver|datagrip|patroni|cnpg|barman|pgbackrest|vacuumdb)' \
         GROUP BY 1, 2",
    )
    .server()
    .needs(&[Need::Monitor])
    .each(|_, row| {
        let name = row.text("application");
        Some(Found::new(format!("{} session(s) of `{name}`", row.int("sessions")?)))
    })
    .sql_fix(
        "CREATE ROLE app LOGIN; -- with the rights on its own tables only, then let the application use it instead of \
         {object}",
    ),
    Check::new(
        "sec.superusers",
        Area::Security,
        Severity::Medium,
        "more superusers than one needs",
        "Each is a password that opens everything.",
        "SELECT json_agg(rolname ORDER BY rolname) AS roles, count(*) AS n FROM pg_roles WHERE rolsuper AND rolcanlogin",
    )
    .server()
    .each(|_, row| {
        let roles = row.list("roles");
        (row.int("n")? > 2).then(|| Found::new(roles.join(", ")))
    })
    .sql_fix("ALTER ROLE <role> NOSUPERUSER"),
    Check::new(
        "sec.public_create",
        Area::Security,
        Severity::Medium,
        "everybody may create objects in `public`",
        "Whoever logs in can put a function or an operator in front of yours. It was the default before 15 and stays after \
         an upgrade.",
        "SELECT nspname AS object FROM pg_namespace WHERE nspname = 'public' AND \
         has_schema_privilege('public', oid, 'CREATE')",
    )
    .each(|_, _| Some(Found::new("`PUBLIC` has CREATE on schema `public`")))
    .sql_fix("REVOKE CREATE ON SCHEMA public FROM PUBLIC"),
    Check::new(
        "sec.default_privs",
        Area::Permissions,
        Severity::Medium,
        "a declared role cannot read a table it is meant to",
        "`GRANT … ON ALL TABLES` covers the tables that are there. A table made later is invisible to the application \
         unless default privileges say otherwise.",
        "SELECT format('%I.%I', n.nspname, c.relname) AS object, n.nspname AS schema_name, c.relname AS table_name, \
         (SELECT json_agg(r.rolname) FROM pg_roles r WHERE has_table_privilege(r.oid, c.oid, 'SELECT') AND NOT r.rolsuper) \
         AS readers, pg_get_userbyid(c.relowner) AS owner FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'p') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'",
    )
    .needs(&[Need::Declaration])
    .each(unreadable)
    .sql_fix(
        "GRANT SELECT ON {object} TO {role};\nALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema_name} GRANT \
         SELECT ON TABLES TO {role}",
    ),
    Check::new(
        "sec.log_statement_all",
        Area::Security,
        Severity::Medium,
        "every statement is logged",
        "The log then holds passwords, texts and whole vectors, and grows as fast as the data. It is no audit either: \
         whoever is superuser turns it off.",
        "SELECT current_setting('log_statement') AS value",
    )
    .server()
    .each(|_, row| (row.text("value") == "all").then(|| Found::new("`log_statement` is `all`")))
    .safe_fix("ALTER SYSTEM SET log_statement = 'none';\nSELECT pg_reload_conf()"),
];

fn trust(_: &CheckFacts<'_>, row: &Row) -> Option<Found> {
    let (method, kind, address) = (row.text("method"), row.text("type"), row.text("address"));
    if !row.text("error").is_empty() || kind == "local" {
        return None;
    }
    let severity = match method {
        "trust" if matches!(address, "127.0.0.1" | "::1" | "localhost") => Severity::High,
        "trust" | "password" => Severity::Critical,
        "md5" => Severity::Medium,
        _ => return None,
    };
    let rule = format!("`{kind} {} {} {address} {method}`", row.text("databases"), row.text("users"));
    Some(Found::new(rule).severity(severity).about(format!("line {}", row.int("line").unwrap_or(0))))
}

fn unreadable(facts: &CheckFacts<'_>, row: &Row) -> Option<Found> {
    let spec = facts.spec?;
    let readers = row.list("readers");
    spec.roles.iter().find_map(|(role, declared)| {
        let meant = declared.grants.iter().any(|grant| {
            facts.database == Some(grant.database.as_str())
                && grant.schema == row.text("schema_name")
                && grant.privileges.iter().any(|right| matches!(right.as_str(), "select" | "all"))
                && grant
                    .tables
                    .as_ref()
                    .is_none_or(|tables| tables.iter().any(|it| it == row.text("table_name")))
        });
        (meant && !readers.contains(&role.as_str())).then(|| {
            Found::new(format!("role `{role}` may not SELECT"))
                .value("role", crate::spec::resolve::quote_ident(role))
        })
    })
}
