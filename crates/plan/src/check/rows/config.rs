//! Are the settings sound, and are they the declared ones?

use super::super::answer::{Found, Row};
use super::super::contract::{Area, Check, CheckFacts, Need, Severity};
use super::advised;
use super::figure::size;
use crate::settings::{self, Context};
use crate::tune;

const MEMORY: &str = "SELECT (SELECT setting::bigint * 8192 FROM pg_settings WHERE name = 'shared_buffers') AS buffers, \
     (SELECT setting::bigint * 1024 FROM pg_settings WHERE name = 'work_mem') AS work_mem, \
     (SELECT setting::bigint * 8192 FROM pg_settings WHERE name = 'effective_cache_size') AS cache, \
     (SELECT setting::bigint FROM pg_settings WHERE name = 'max_connections') AS connections";

pub static CHECKS: &[Check] = &[
    Check::new(
        "cfg.checksums",
        Area::Integrity,
        Severity::High,
        "pages carry no checksums",
        "Without them a page that the disk damaged is taken for true.",
        "SELECT current_setting('data_checksums') AS value",
    )
    .server()
    .each(|_, row| (row.text("value") == "off").then(|| Found::new("`data_checksums` is off")))
    .command("pg_checksums --enable -D <data directory>  # with the server stopped"),
    Check::new(
        "cfg.checksum_failures",
        Area::Integrity,
        Severity::Critical,
        "pages failed their checksum",
        "The disk or the memory gave back something else than was written. What was read is not known to be right.",
        "SELECT coalesce(quote_ident(datname), 'shared objects') AS object, checksum_failures AS failures, \
         checksum_last_failure::text AS last FROM pg_stat_database WHERE checksum_failures > 0",
    )
    .server()
    .each(|_, row| Some(Found::new(format!("{} failure(s), the last at {}", row.int("failures")?, row.text("last")))))
    .advice("Take a backup aside, restore the database from one that verifies, and replace the disk."),
    Check::new(
        "cfg.fsync",
        Area::Durability,
        Severity::Critical,
        "commits do not survive a crash",
        "With `fsync` or `full_page_writes` off a power cut destroys the cluster; with `synchronous_commit` off the last \
         commits before a crash are lost.",
        "SELECT name AS object, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', \
         'synchronous_commit') AND setting = 'off'",
    )
    .server()
    .each(|_, row| {
        let found = Found::new("it is off");
        Some(if row.text("object") == "synchronous_commit" { found.severity(Severity::High) } else { found })
    })
    .safe_fix("ALTER SYSTEM SET {object} = on;\nSELECT pg_reload_conf()"),
    Check::new(
        "cfg.pending_restart",
        Area::Drift,
        Severity::Medium,
        "a setting waits for a restart",
        "The file says one thing and the server does another until it is started again.",
        "SELECT name AS object, setting FROM pg_settings WHERE pending_restart",
    )
    .server()
    .each(|_, row| Some(Found::new(format!("still `{}`", row.text("setting")))))
    .advice("Restart the server when it suits (`howdah down` and `howdah up` for one that Howdah runs)."),
    Check::new(
        "cfg.file_errors",
        Area::Drift,
        Severity::High,
        "the configuration file has an error",
        "A reload ignores the file, and the next start fails.",
        "SELECT coalesce(name, '') AS name, coalesce(setting, '') AS setting, error, sourcefile AS file, \
         sourceline AS line FROM pg_file_settings WHERE error IS NOT NULL \
         AND error <> 'setting could not be applied'",
    )
    .server()
    .needs(&[Need::ConfigFiles])
    .each(|_, row| {
        let place = format!("{}:{}", row.text("file"), row.int("line").unwrap_or(0));
        Some(Found::new(format!("`{} = {}`: {}", row.text("name"), row.text("setting"), row.text("error"))).about(place))
    })
    .advice("Mend the line, then `SELECT pg_reload_conf()`."),
    Check::new(
        "cfg.drift",
        Area::Drift,
        Severity::Medium,
        "a setting is not the declared one",
        "Somebody changed it by hand, or the declaration has not been applied.",
        "SELECT name, setting, current_setting(name, true) AS shown, source, coalesce(sourcefile, '') AS file \
         FROM pg_settings",
    )
    .server()
    .needs(&[Need::Declaration])
    .all(drift)
    .advice("`howdah plan` shows the difference and `howdah apply` ends it; or declare what is there."),
    Check::new(
        "mem.work_mem_worst",
        Area::Capacity,
        Severity::High,
        "sessions may take more memory than there is",
        "Every connection may take `work_mem`, some queries several times. When they do, the kernel ends the server.",
        MEMORY,
    )
    .server()
    .needs(&[Need::Machine])
    .each(|facts, row| {
        let ram = advised::memory(facts)?;
        let (buffers, work, connections) = (row.int("buffers")?, row.int("work_mem")?, row.int("connections")?);
        let worst = work.saturating_mul(connections);
        if worst.saturating_add(buffers) <= ram {
            return None;
        }
        let found = Found::new(format!(
            "{connections} connections × {} + {} shared_buffers are more than {}",
            size(work),
            size(buffers),
            size(ram)
        ));
        let known = [
            ("max_connections", connections.to_string()),
            ("shared_buffers", format!("{}kB", buffers / 1024)),
        ];
        advised::size(facts, "work_mem", work, &known, found)
    })
    .safe_fix("ALTER SYSTEM SET work_mem = '{better}';\nSELECT pg_reload_conf()"),
    Check::new(
        "mem.shared_buffers",
        Area::Capacity,
        Severity::Medium,
        "shared_buffers do not fit the machine",
        "A quarter of the memory is right for most; far less keeps indexes out of memory, far more caches pages twice.",
        MEMORY,
    )
    .server()
    .needs(&[Need::Machine])
    .each(|facts, row| {
        let ram = advised::memory(facts)?;
        let buffers = row.int("buffers")?;
        let percent = 100.0 * buffers as f64 / ram as f64;
        if (10.0..=40.0).contains(&percent) {
            return None;
        }
        let found = Found::new(format!("{} is {percent:.0} % of {}", size(buffers), size(ram)));
        advised::size(facts, "shared_buffers", buffers, &[], found)
    })
    .sql_fix("ALTER SYSTEM SET shared_buffers = '{better}'; -- then restart"),
    Check::new(
        "mem.cache_size",
        Area::Capacity,
        Severity::Medium,
        "effective_cache_size is more than the machine has",
        "The planner then believes in a cache that is not there and prefers plans that read from disk at random.",
        MEMORY,
    )
    .server()
    .needs(&[Need::Machine])
    .each(|facts, row| {
        let ram = advised::memory(facts)?;
        let cache = row.int("cache")?;
        if cache <= ram {
            return None;
        }
        let found = Found::new(format!("{}, there are {}", size(cache), size(ram)));
        advised::size(facts, "effective_cache_size", cache, &[], found)
    })
    .safe_fix("ALTER SYSTEM SET effective_cache_size = '{better}';\nSELECT pg_reload_conf()"),
    Check::new(
        "io.random_page_cost",
        Area::Config,
        Severity::Info,
        "the planner thinks of a spinning disk",
        "At 4 the planner reads whole tables where an index on flash would be quicker.",
        "SELECT current_setting('random_page_cost')::float8 AS value",
    )
    .server()
    .each(|facts, row| {
        let better = advised::value(facts, "random_page_cost", &[])?;
        let value = row.float("value")?;
        (value >= 4.0 && better.parse::<f64>().ok()? < 4.0)
            .then(|| Found::new(format!("`random_page_cost` is {value}")).value("better", better))
    })
    .safe_fix("ALTER SYSTEM SET random_page_cost = {better};\nSELECT pg_reload_conf()"),
    Check::new(
        "cfg.jit",
        Area::Config,
        Severity::Info,
        "vector queries are compiled",
        "A vector index scan looks expensive to the planner; compiling it takes longer than running it.",
        "SELECT current_setting('jit') AS value, pg_jit_available() AS available",
    )
    .server()
    .each(|_, row| {
        (row.text("value") == "on" && row.is("available")).then(|| Found::new("`jit` is on and available"))
    })
    .safe_fix("ALTER SYSTEM SET jit = off;\nSELECT pg_reload_conf()"),
    Check::new(
        "timeout.guards",
        Area::Config,
        Severity::Info,
        "nothing ends a forgotten transaction",
        "A transaction that does nothing holds back vacuum, and dead rows fill the graphs of HNSW indexes.",
        "SELECT setting::bigint AS ms FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout'",
    )
    .server()
    .each(|facts, row| {
        let better = advised::value(facts, "idle_in_transaction_session_timeout", &[])?;
        (row.int("ms")? == 0)
            .then(|| Found::new("`idle_in_transaction_session_timeout` is 0").value("better", better))
    })
    .safe_fix("ALTER SYSTEM SET idle_in_transaction_session_timeout = '{better}';\nSELECT pg_reload_conf()"),
];

/// What is declared in `[settings]`, and for a server that Howdah runs also what it was tuned to.
fn drift(facts: &CheckFacts<'_>, rows: &[Row]) -> Vec<Found> {
    let Some(spec) = facts.spec else { return vec![] };
    let wanted: Vec<(String, String)> = match facts.machine {
        Some(machine) if spec.server.url.is_none() => tune::for_spec(machine, facts.major(), spec)
            .map(|tuned| tuned.into_iter().map(|row| (row.name, row.value)).collect())
            .unwrap_or_default(),
        _ => spec.settings.iter().map(|(name, value)| (name.clone(), settings::text(value))).collect(),
    };
    let differs = |(name, value): &(String, String)| {
        let live = rows.iter().find(|row| row.text("name").eq_ignore_ascii_case(name))?;
        let setting = live.text("setting");
        if settings::same(name, value, setting) {
            return None;
        }
        let cost = settings::find(name).map_or(Context::Session, |known| known.context_in(facts.major()));
        let cost = if cost == Context::Restart { ", a restart away" } else { "" };
        let origin = match live.text("file") {
            "" => live.text("source").to_owned(),
            file => format!("{} ({file})", live.text("source")),
        };
        Some(
            Found::new(format!("`{}` from {origin}, declared `{value}`{cost}", live.text("shown")))
                .about(name.clone()),
        )
    };
    wanted.iter().filter_map(differs).collect()
}
