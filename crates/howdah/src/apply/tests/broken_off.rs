//! Broken off anywhere, the next run goes on; two at once do not happen.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use howdah_plan::problem::Kind;

use super::{SHOP, Server, options, spec};
use crate::apply::build::lacks_shared_memory;
use crate::apply::lock::Lock;
use crate::apply::{ApplyEvent, Options, Outcome, Progress};
use howdah_postgres::instance::{Instance, Patience};
use howdah_postgres::testing::{self, SmallDisk};
use howdah_postgres::{Home, Pools, bundle};

#[tokio::test]
async fn killed_after_any_step_the_next_run_completes() {
    let server = Server::start();
    let shop = spec(SHOP);
    // Each run is stopped one step later than it began: every step is the last of some run.
    let steps = server.plan(&shop).await.steps.len();
    for _ in 0..steps {
        let stopped = Options { stop_after: Some(1), ..options() };
        match server.try_apply(&shop, &stopped).await {
            Ok(_) => break,
            Err(problem) => assert!(problem.message.contains("stopped before step"), "{problem:#?}"),
        }
    }
    let outcome = server.apply(&shop).await;
    assert!(outcome.done.len() <= 1, "{:?}", outcome.done);
    assert!(server.plan(&shop).await.is_empty());
}

const BIG: &str = r#"
name = "big"
[databases.big]
[collections.big]
dimensions = 64
[collections.big.index]
m = 32
ef_construction = 200
"#;

/// What gives the table rows and takes its vector index.
fn rows_without_index(rows: u32) -> String {
    format!(
        "DROP INDEX big_embedding_idx; SELECT setseed(0.5);
         INSERT INTO big (source, chunk, content, content_hash, embedding)
         SELECT 'a', i, 'text', '', array_agg(random() + i * 0) FROM generate_series(1, {rows}) AS i,
                generate_series(1, 64) GROUP BY i"
    )
}

/// A table with rows and without its vector index.
async fn without_index(server: &Server, rows: u32) {
    server.apply(&spec(BIG)).await;
    server.sql("big", &rows_without_index(rows)).await;
}

#[tokio::test]
async fn an_index_killed_while_it_is_built_is_repaired() {
    let server = Server::start();
    without_index(&server, 10_000).await;
    let pools = server.pools.clone();
    let building = std::sync::Arc::new(AtomicBool::new(false));
    let seen = building.clone();
    let run = tokio::spawn(async move {
        let tell = move |event| {
            if let ApplyEvent::Building(building) = &event
                && building.done > 0
            {
                seen.store(true, Ordering::Relaxed);
            }
        };
        crate::apply::run(&pools, &spec(BIG), &options(), &tell).await
    });
    while !building.load(Ordering::Relaxed) {
        assert!(!run.is_finished(), "the index is built before it could be killed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // What servers of tests commit is on disk a moment later; this has to be before the crash.
    server.sql("postgres", "CHECKPOINT").await;
    // A kill -9 of the process that builds: the server recovers from the crash, the index stays behind, invalid.
    let pid = server.value("postgres", "SELECT pid FROM pg_stat_progress_create_index LIMIT 1").await;
    let pid = nix::unistd::Pid::from_raw(pid.parse().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    let problem = run.await.unwrap().unwrap_err();
    assert_eq!(problem.kind, Kind::Unreachable, "{problem:#?}");
    let ready = || server.cluster.log().matches("database system is ready to accept connections").count() > 1;
    for _ in 0..600 {
        if ready() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(ready(), "{}", server.cluster.log());
    server.pools.close();
    let valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('big_embedding_idx')";
    assert_eq!(server.value("big", valid).await, "false");

    let server = Server { pools: Pools::new(server.cluster.target.clone(), 4), ..server };
    let plan = server.plan(&spec(BIG)).await;
    let ids: Vec<&str> = plan.steps.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(ids, ["index:big:public.big_embedding_idx:drop", "index:big:public.big_embedding_idx"]);
    let told = server.told(&spec(BIG), &Options { build_memory: Some(1 << 30), ..options() }).await;
    assert_eq!(server.value("big", valid).await, "true");
    assert!(server.plan(&spec(BIG)).await.is_empty());
    let progress: Vec<_> =
        told.iter().filter(|event| matches!(event, ApplyEvent::Building(b) if b.total > 0)).collect();
    assert!(!progress.is_empty(), "a bar needs totals: {told:?}");
}

async fn apply_big(pools: &Pools, tell: Progress<'_>) -> Outcome {
    let outcome = crate::apply::run(pools, &spec(BIG), &options(), tell).await;
    outcome.unwrap_or_else(|problem| panic!("{problem:#?}"))
}

#[tokio::test]
async fn where_workers_get_no_shared_memory_the_index_is_built_without_them() {
    let programs = bundle::programs(&testing::home(), testing::major()).unwrap();
    let home = Home::at(testing::directory());
    let instance = Instance::new(&home, "small", &Default::default(), programs).unwrap();
    instance.init().await.unwrap();
    // Shared memory in files of the data directory: as small as the disk below them, like a container's `/dev/shm`.
    let settings = [
        ("dynamic_shared_memory_type", "mmap"),
        ("min_parallel_table_scan_size", "0"),
        ("maintenance_work_mem", "256MB"),
    ];
    instance.configure(settings).unwrap();
    let Some(_small) = SmallDisk::over(&instance.layout.data.join("pg_dynshmem"), "16m") else { return };
    let running = instance.start().await.unwrap();
    let pools = Pools::new(running.target.clone(), 4);
    apply_big(&pools, &|_| {}).await;
    let client = pools.own("big").await.unwrap();
    client.batch_execute(&rows_without_index(3_000)).await.unwrap();
    let parallel = "CREATE INDEX parallel ON big USING hnsw (embedding vector_cosine_ops)";
    let error = client.batch_execute(parallel).await.expect_err("parallel workers find no room");
    assert!(lacks_shared_memory(&error), "{error:?}");

    let told = Mutex::new(Vec::new());
    let outcome = apply_big(&pools, &|event| told.lock().unwrap().push(event)).await;
    assert!(outcome.left.is_empty(), "{}", outcome.left);
    let told = told.into_inner().unwrap();
    let without = |event: &ApplyEvent| matches!(event, ApplyEvent::Note(note) if note.starts_with("`big_embedding_idx` is built without parallel workers"));
    assert!(told.iter().any(without), "{told:?}");
    let valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('big_embedding_idx')";
    assert!(client.query_one(valid, &[]).await.unwrap().get::<_, bool>(0));
    drop(client);
    running.stop(Patience::default()).await.unwrap();
}

#[tokio::test]
async fn a_killed_run_leaves_a_build_running_and_the_next_one_ends_it() {
    let server = Server::start();
    without_index(&server, 10_000).await;
    let pools = server.pools.clone();
    let run = tokio::spawn(async move { crate::apply::run(&pools, &spec(BIG), &options(), &|_| {}).await });
    for _ in 0..500 {
        if server.value("postgres", "SELECT count(*) FROM pg_stat_progress_create_index").await != "0" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    run.abort();
    let _ = run.await;
    for _ in 0..100 {
        let holds = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
        if server.value("postgres", holds).await == "0" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.apply(&spec(BIG)).await;
    assert!(server.plan(&spec(BIG)).await.is_empty());
    assert_eq!(server.value("big", "SELECT count(*) FROM pg_index WHERE NOT indisvalid").await, "0");
}

#[tokio::test]
async fn of_two_at_once_one_is_told_who_the_other_is() {
    let server = Server::start();
    let shop = spec(SHOP);
    // Who comes while another is nearly done waits that long.
    let (one, two) = {
        let options = options();
        tokio::join!(server.try_apply(&shop, &options), server.try_apply(&shop, &options))
    };
    for run in [one, two] {
        let refused = run.err().filter(|problem| problem.kind != Kind::Conflict);
        assert!(refused.is_none(), "{refused:#?}");
    }
    assert!(server.plan(&shop).await.is_empty());
    let first = Lock::take(&server.pools, "shop").await.unwrap();
    let problem = server.try_apply(&shop, &options()).await.unwrap_err();
    assert_eq!(problem.kind, Kind::Conflict, "{problem:#?}");
    assert_eq!(problem.kind.row().exit, 6);
    let detail = problem.detail.unwrap();
    assert!(
        detail.contains("role `postgres`, `howdah apply shop`") && detail.contains("since 20"),
        "{detail}"
    );
    drop(first);
    server.apply(&shop).await;
}

#[tokio::test]
async fn a_lock_that_somebody_holds_is_not_waited_for_forever() {
    let server = Server::start();
    let shop = spec(SHOP);
    server.apply(&shop).await;
    server.sql("shop", "ALTER TABLE notes ALTER COLUMN metadata DROP DEFAULT").await;
    let holder = server.pools.own("shop").await.unwrap();
    holder.batch_execute("BEGIN; LOCK TABLE notes IN SHARE MODE").await.unwrap();
    let hasty = Options { lock_timeout: Duration::from_millis(300), ..options() };
    let problem = server.try_apply(&shop, &hasty).await.unwrap_err();
    assert_eq!(problem.kind, Kind::Conflict, "{problem:#?}");
    assert!(problem.detail.unwrap().contains("SET DEFAULT"));
    holder.batch_execute("ROLLBACK").await.unwrap();
    server.apply(&shop).await;
    assert!(server.plan(&shop).await.is_empty());
}
