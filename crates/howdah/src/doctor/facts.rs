//! What verdicts know besides their rows: which server this is, and as whom it is asked.

use std::collections::BTreeMap;

use howdah_plan::check::CheckFacts;
use howdah_plan::platform::Platform;
use howdah_plan::problem::{Kind, Problem};
use howdah_plan::spec::Spec;
use howdah_plan::tune::Machine;

use super::ask::Inquiry;
use super::report::Options;
use howdah_postgres::Target;

/// The server, read once.
pub(super) struct Server<'a> {
    /// `server_version_num`.
    pub version_num: u32,
    /// Version as the server says it.
    pub version: String,
    /// Today on the server, `YYYY-MM-DD`.
    pub today: String,
    /// Whether we are superuser.
    pub superuser: bool,
    /// Whether we are a member of `pg_monitor`.
    pub monitor: bool,
    /// Whether we see the lines of its configuration files.
    pub config_files: bool,
    /// Whether it is a replica.
    pub recovery: bool,
    /// Whether it is reached over loopback or a socket.
    pub local: bool,
    /// On whose PostgreSQL we are.
    pub platform: Platform,
    /// Databases that we may connect to.
    pub databases: Vec<String>,
    spec: Option<&'a Spec>,
    machine: Option<&'a Machine>,
    requested: bool,
    pub samples: u32,
}

const QUESTION: &str = "SELECT current_setting('server_version_num')::int AS version_num, \
     current_setting('server_version') AS version, to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS today, \
     (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser, \
     pg_has_role(current_user, 'pg_monitor', 'MEMBER') AS monitor, pg_is_in_recovery() AS recovery, \
     has_function_privilege('pg_catalog.pg_show_all_file_settings()', 'EXECUTE') \
     AND has_function_privilege('pg_catalog.pg_hba_file_rules()', 'EXECUTE') AS config_files, \
     (SELECT json_agg(datname ORDER BY datname) FROM pg_database WHERE datallowconn AND NOT datistemplate \
     AND has_database_privilege(oid, 'CONNECT')) AS databases";

impl<'a> Server<'a> {
    /// Reads the facts over `inquiry`.
    pub(super) async fn read(
        inquiry: &Inquiry,
        target: &Target,
        spec: Option<&'a Spec>,
        machine: Option<&'a Machine>,
        options: &Options,
    ) -> Result<Server<'a>, Problem> {
        let rows = inquiry.rows(QUESTION, false).await?;
        let row = rows
            .first()
            .ok_or_else(|| Problem::new(Kind::Internal, "the server says nothing about itself"))?;
        let platform = inquiry.platform(target).await?;
        Ok(Server {
            version_num: row.int("version_num").and_then(|number| u32::try_from(number).ok()).unwrap_or(0),
            version: row.text("version").to_owned(),
            today: row.text("today").to_owned(),
            superuser: row.is("superuser"),
            monitor: row.is("monitor"),
            config_files: row.is("config_files"),
            recovery: row.is("recovery"),
            local: target.is_local(),
            platform,
            databases: row.list("databases").into_iter().map(str::to_owned).collect(),
            spec,
            machine: machine.filter(|_| target.is_local()),
            requested: options.recall,
            samples: options.recall_samples.clamp(1, 1_000),
        })
    }

    /// The facts for one database, or for the whole server.
    pub(super) fn facts<'b>(
        &'b self,
        database: Option<&'b str>,
        extensions: &'b BTreeMap<String, String>,
    ) -> CheckFacts<'b> {
        CheckFacts {
            version_num: self.version_num,
            today: &self.today,
            database,
            extensions,
            superuser: self.superuser,
            monitor: self.monitor,
            config_files: self.config_files,
            recovery: self.recovery,
            local: self.local,
            platform: &self.platform,
            machine: self.machine,
            spec: self.spec,
            requested: self.requested,
        }
    }
}
