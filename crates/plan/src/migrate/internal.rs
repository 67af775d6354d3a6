//! Howdah's own tables in one database: which migrations have run, and which are missing.

use std::collections::BTreeSet;

use super::live::{AppliedMigration, InternalSchema};
use super::step::{Step, StepKind};
use super::work::Work;
use crate::internal_schema::{self, COUNT_KEY, Migration};
use crate::problem::{DoNow, Kind, Problem};
use crate::spec::resolve::quote_literal;

/// Brings Howdah's own tables to today's state: one step with every migration that is missing, in one transaction with
/// the record of it. Says whether that can be: without them nothing else in the database can be remembered.
pub(super) fn internal_schema(work: &mut Work, database: &str) -> bool {
    let there = work.inside(database).map(|inside| inside.internal.clone()).unwrap_or_default();
    let done = match done(&there) {
        Ok(done) => done,
        Err(problem) => {
            let detail = problem.detail.clone().map(|detail| format!("; {detail}")).unwrap_or_default();
            work.problem(problem.detail(format!("database `{database}`{detail}")));
            return false;
        }
    };
    let recorded = |migration: &Migration| there.migrations.iter().any(|one| same(one, migration));
    let unrecorded: Vec<&Migration> = internal_schema::all().filter(|one| !recorded(one)).collect();
    if unrecorded.is_empty() {
        return true;
    }
    let missing: Vec<&Migration> =
        unrecorded.iter().copied().filter(|one| !done.contains(&(one.domain, one.number))).collect();
    let reason = if done.is_empty() {
        "howdah keeps its own tables in the schema `howdah`".to_owned()
    } else if missing.is_empty() {
        "howdah records which changes of its own tables have run".to_owned()
    } else {
        let names: Vec<String> =
            missing.iter().map(|one| format!("{} {} ({})", one.domain, one.number, one.name)).collect();
        format!("howdah's own tables lack: {}", names.join(", "))
    };
    let id = format!("internal_schema:{database}");
    let step =
        missing.iter().fold(Step::new(StepKind::InternalSchema, &id, reason), |step, one| step.sql(one.sql));
    work.in_database(database, step.sql(record(&unrecorded)))
}

fn same(recorded: &AppliedMigration, migration: &Migration) -> bool {
    recorded.domain == migration.domain && recorded.number == migration.number
}

fn record(migrations: &[&Migration]) -> String {
    let row = |one: &&Migration| {
        format!(
            "({}, {}, {}, {})",
            quote_literal(one.domain),
            one.number,
            quote_literal(one.name),
            quote_literal(&one.checksum())
        )
    };
    let rows: Vec<String> = migrations.iter().map(row).collect();
    format!(
        "INSERT INTO howdah.migrations (domain, number, name, checksum) VALUES\n    {}",
        rows.join(",\n    ")
    )
}

/// Which migrations have run. Where none is recorded yet, the older count says it.
fn done(there: &InternalSchema) -> Result<BTreeSet<(&'static str, u32)>, Problem> {
    if there.migrations.is_empty() {
        let counted = internal_schema::counted(there.counted)
            .ok_or_else(|| newer(format!("`howdah.meta` says `{COUNT_KEY}` = {}", there.counted)))?;
        return Ok(counted.iter().copied().collect());
    }
    let mut done = BTreeSet::new();
    for recorded in &there.migrations {
        let Some(known) = internal_schema::find(&recorded.domain, recorded.number) else {
            let AppliedMigration { domain, number, name, .. } = recorded;
            return Err(newer(format!(
                "it records migration {domain} {number} (`{name}`), which this howdah does not have"
            )));
        };
        if recorded.checksum != known.checksum() {
            return Err(edited(recorded, known));
        }
        done.insert((known.domain, known.number));
    }
    Ok(done)
}

fn newer(detail: String) -> Problem {
    Problem::new(Kind::Conflict, "howdah's own tables were made by a newer howdah")
        .detail(detail)
        .hint("Run the newer howdah: an older one does not know what its tables mean. `howdah --version` says which this is.")
        .do_now(DoNow::FixMachine)
}

fn edited(recorded: &AppliedMigration, known: &Migration) -> Problem {
    let Migration { domain, number, name, .. } = known;
    Problem::new(
        Kind::Conflict,
        format!("migration {domain} {number} (`{name}`) ran here with other statements"),
    )
    .detail(format!(
        "recorded is `{}` with checksum {}, this howdah has {}",
        recorded.name,
        recorded.checksum,
        known.checksum()
    ))
    .hint("Run the howdah that made these tables, or report it: a released migration never changes.")
    .do_now(DoNow::FixMachine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::tests::{fresh, plan, spec};
    use crate::migrate::{Live, Plan, live};

    /// A database whose own tables are in this state, and what is to be done there.
    fn planned(internal: InternalSchema) -> Plan {
        let mut live: Live = fresh();
        let inside = live::Inside { internal, ..live::Inside::default() };
        let database = live::Database { owner: "postgres".into(), inside, ..live::Database::default() };
        live.databases.insert("app".into(), database);
        plan(&spec("name = \"t\"\n[databases.app]\n"), &live)
    }

    fn all_recorded() -> Vec<AppliedMigration> {
        crate::migrate::tests::recorded()
    }

    #[test]
    fn a_database_of_the_older_count_runs_the_rest_and_records_all() {
        for count in 0..=8 {
            let plan = planned(InternalSchema { counted: count, ..InternalSchema::default() });
            let [step] = plan.steps.as_slice() else { panic!("{count}: {plan}") };
            let all: Vec<&Migration> = internal_schema::all().collect();
            let ran = internal_schema::counted(count).unwrap();
            let rest: Vec<&str> = all
                .iter()
                .filter(|one| !ran.contains(&(one.domain, one.number)))
                .map(|one| one.sql)
                .collect();
            assert!(step.transactional);
            assert_eq!(step.sql[..step.sql.len() - 1], rest, "{count}");
            let record = step.sql.last().unwrap();
            for one in &all {
                assert!(record.contains(&one.checksum()), "{count}: {} {}", one.domain, one.number);
            }
        }
    }

    #[test]
    fn exactly_what_a_domain_lacks_is_run() {
        let recorded =
            all_recorded().into_iter().filter(|one| one.domain != "jobs" && one.number != 2).collect();
        let plan = planned(InternalSchema { counted: 8, migrations: recorded, ..InternalSchema::default() });
        let [step] = plan.steps.as_slice() else { panic!("{plan}") };
        assert_eq!(step.sql.len(), 7, "{plan}");
        assert_eq!(
            step.reason,
            "howdah's own tables lack: core 2 (meta), keys 2 (keys_by), knowledge 2 (sources), jobs 1 (jobs), jobs 2 (input_hash), jobs 3 (jobs_by)"
        );
        assert!(
            planned(InternalSchema { migrations: all_recorded(), ..InternalSchema::default() }).is_empty()
        );
    }

    #[test]
    fn a_migration_that_ran_otherwise_is_a_conflict() {
        let mut recorded = all_recorded();
        recorded.iter_mut().find(|one| one.domain == "keys").unwrap().checksum = "00".into();
        let plan = planned(InternalSchema { migrations: recorded, ..InternalSchema::default() });
        assert!(plan.steps.is_empty(), "{plan}");
        assert_eq!(plan.problems[0].kind, Kind::Conflict);
        assert_eq!(plan.problems[0].message, "migration keys 1 (`api_keys`) ran here with other statements");
    }

    #[test]
    fn what_a_newer_howdah_made_is_left_alone() {
        let more = |domain: &str, number| AppliedMigration {
            domain: domain.into(),
            number,
            ..AppliedMigration::default()
        };
        for newer in [more("core", 1000), more("memory", 1)] {
            let migrations = all_recorded().into_iter().chain([newer]).collect();
            let plan = planned(InternalSchema { migrations, ..InternalSchema::default() });
            assert!(plan.steps.is_empty(), "{plan}");
            assert_eq!(plan.problems[0].message, "howdah's own tables were made by a newer howdah");
        }
        let counted = planned(InternalSchema { counted: 9, ..InternalSchema::default() });
        assert!(counted.steps.is_empty() && counted.problems[0].kind == Kind::Conflict, "{counted}");
    }
}
