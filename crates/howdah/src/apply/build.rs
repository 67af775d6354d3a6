//! Building an index: with memory enough, watched, and once more without parallel workers where the machine gives them
//! no shared memory.

use std::time::Duration;

use howdah_plan::migrate::{IndexBuild, build_memory};
use howdah_plan::problem::Problem;
use howdah_plan::spec::resolve::quote_literal;
use tokio_postgres::Client;

use super::{ApplyEvent, Building, Options, Progress};
use howdah_postgres::problem::from_pg;

/// How often the build is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Gives the session the memory that the build needs.
pub(super) async fn prepare(
    client: &Client,
    build: &IndexBuild,
    options: &Options,
    progress: Progress<'_>,
) -> Result<(), Problem> {
    if build.bytes_per_row == 0 {
        return Ok(());
    }
    let doing = format!("prepare building index `{}`", build.index);
    let row = client
        .query_one(
            "SELECT pg_size_bytes(current_setting('maintenance_work_mem')),
                    pg_size_bytes(current_setting('shared_buffers')),
                    (SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = $1::text::regclass)",
            &[&build.table],
        )
        .await
        .map_err(|e| from_pg(&e, &doing))?;
    let number = |at: usize| u64::try_from(row.get::<_, i64>(at)).unwrap_or_default();
    let mut rows = number(2);
    if rows == 0 {
        let count = format!("SELECT count(*) FROM {}", build.table);
        let row = client.query_one(&count, &[]).await.map_err(|e| from_pg(&e, &doing))?;
        rows = u64::try_from(row.get::<_, i64>(0)).unwrap_or_default();
    }
    let allowed = options.build_memory.unwrap_or_else(|| number(1));
    if let Some((bytes, reason)) = build_memory(rows, build.bytes_per_row, number(0), allowed) {
        // Setting it is given in kB, of which an integer holds at most 2 TiB.
        let kilobytes = (bytes >> 10).min(i32::MAX as u64);
        client
            .batch_execute(&format!("SET maintenance_work_mem = '{kilobytes}kB'"))
            .await
            .map_err(|e| from_pg(&e, &doing))?;
        progress(ApplyEvent::Note(format!("maintenance_work_mem for index `{}`: {reason}", build.index)));
    }
    Ok(())
}

/// Runs the statement that builds, and tells how far it is.
pub(super) async fn watched(
    client: &Client,
    watcher: &Client,
    build: &IndexBuild,
    statement: &str,
    progress: Progress<'_>,
) -> Result<(), tokio_postgres::Error> {
    let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
    let running = client.batch_execute(statement);
    tokio::pin!(running);
    let mut last = None;
    loop {
        tokio::select! {
            result = &mut running => return result,
            () = tokio::time::sleep(LOOK) => {
                let now = look(watcher, pid, build).await;
                if now.is_some() && now != last {
                    if let Some(building) = now.clone() {
                        progress(ApplyEvent::Building(building));
                    }
                    last = now;
                }
            }
        }
    }
}

/// How far the build of a server process is; `None` when it cannot be seen.
async fn look(watcher: &Client, pid: i32, build: &IndexBuild) -> Option<Building> {
    let row = watcher
        .query_opt(
            "SELECT phase, lockers_done, lockers_total, blocks_done, blocks_total, tuples_done, tuples_total
             FROM pg_stat_progress_create_index WHERE pid = $1",
            &[&pid],
        )
        .await
        .ok()??;
    let number =
        |at: usize| u64::try_from(row.get::<_, Option<i64>>(at).unwrap_or_default()).unwrap_or_default();
    let waits = number(2) > 0 && number(1) < number(2);
    // Blocks stay as they were when the phases after reading the table count rows.
    let (done, total, unit) = match () {
        () if waits => (number(1), number(2), "sessions"),
        () if number(6) > 0 => (number(5), number(6), "tuples"),
        () if number(4) > 0 => (number(3), number(4), "blocks"),
        () => (number(5), 0, "tuples"),
    };
    let phase = row.get::<_, Option<String>>(0).unwrap_or_default();
    Some(Building { index: build.index.clone(), phase, done, total, unit })
}

/// Whether parallel workers got no shared memory, as in a container with a small `/dev/shm`. The message is in the server's
/// language and the code is that of a full disk; the place in the server's source says it.
pub(super) fn lacks_shared_memory(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().and_then(|error| error.file()).is_some_and(|file| file.ends_with("dsm_impl.c"))
}

/// The statement that drops what a failed concurrent build left.
pub(super) fn drop_left(build: &IndexBuild) -> String {
    let schema = build.table.split_once("\".\"").map_or("\"public", |(schema, _)| schema);
    format!("DROP INDEX IF EXISTS {schema}\".{}", howdah_plan::spec::resolve::quote_ident(&build.index))
}

/// The `search_path` of a session that carries out steps.
pub(super) fn search_path(schemas: &[String]) -> String {
    let path: Vec<String> = schemas.iter().map(|schema| quote_literal(schema)).collect();
    format!("SET search_path = {}", path.join(", "))
}
