//! Stories of connections that are shared, on a real server.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use howdah_plan::budget::Budget;
use howdah_plan::problem::Kind;

use super::{Login, Pools, Purpose};
use crate::testing::{TestDatabase, database, empty_database};
use crate::{Secret, Target};

fn pools(database: &TestDatabase, max: usize) -> Pools {
    Pools::new(database.target.clone(), max)
}

/// Sessions of this database that run a statement with these words, seen from outside.
async fn running(database: &TestDatabase, words: &str) -> i64 {
    let sql = "SELECT count(*) FROM pg_stat_activity
               WHERE datname = $1 AND state = 'active' AND pid <> pg_backend_pid() AND query LIKE $2";
    let like = format!("%{words}%");
    database.client().await.query_one(sql, &[&database.name, &like]).await.unwrap().get(0)
}

async fn comes_true(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is().await {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what}: not within 10 s");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_call_that_is_dropped_ends_in_the_server_and_its_connection_is_not_used_again() {
    let database = empty_database().await;
    let pools = pools(&database, 1).purpose(Purpose::Read);
    let lease = pools.get(&database.name).await.unwrap();
    let cut =
        tokio::time::timeout(Duration::from_millis(200), lease.query("SELECT pg_sleep(60), 'dropped'", &[]));
    assert!(cut.await.is_err());
    drop(lease);
    // The only place is free when the statement has ended, and not before.
    let begun = Instant::now();
    let next = pools.get(&database.name).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(next.query_one("SELECT 1", &[]).await.unwrap().get::<_, i32>(0), 1);
    comes_true("the statement ends", async || running(&database, "'dropped'").await == 0).await;
}

#[tokio::test]
async fn a_connection_of_ones_own_that_is_dropped_ends_in_the_server_too() {
    let database = empty_database().await;
    let pools = pools(&database, 3);
    let own = pools.own(&database.name).await.unwrap();
    let cut =
        tokio::time::timeout(Duration::from_millis(200), own.batch_execute("SELECT pg_sleep(60), 'owned'"));
    assert!(cut.await.is_err());
    drop(own);
    comes_true("the statement ends", async || running(&database, "'owned'").await == 0).await;
}

#[tokio::test]
async fn what_a_killed_process_left_running_ends_by_itself() {
    let database = empty_database().await;
    let (target, name) = (database.target.clone(), database.name.clone());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let own = Pools::new(target, 1).own(&name).await.unwrap();
            let sleeping = own.batch_execute("SELECT pg_sleep(60), 'killed'");
            assert!(tokio::time::timeout(Duration::from_millis(200), sleeping).await.is_err());
            // Nothing is cancelled: the socket is closed with the runtime, as with a process that is killed.
            std::mem::forget(own);
        });
    })
    .join()
    .unwrap();
    assert_eq!(running(&database, "'killed'").await, 1);
    comes_true("the statement ends", async || running(&database, "'killed'").await == 0).await;
}

#[tokio::test]
async fn what_ended_comes_back_errors_included() {
    let database = empty_database().await;
    let pools = pools(&database, 1);
    let pid = async || -> i32 {
        let lease = pools.get(&database.name).await.unwrap();
        let _ = lease.batch_execute("SELECT 1/0").await;
        lease.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0)
    };
    assert_eq!(pid().await, pid().await);
    let mut lease = pools.get(&database.name).await.unwrap();
    let transaction = lease.transaction().await.unwrap();
    transaction.batch_execute("CREATE TABLE taken_back (n int)").await.unwrap();
    drop(transaction);
    drop(lease);
    let lease = pools.get(&database.name).await.unwrap();
    let row = lease.query_one("SELECT to_regclass('taken_back') IS NULL", &[]).await.unwrap();
    assert!(row.get::<_, bool>(0), "a transaction that is dropped is rolled back");
}

#[tokio::test]
async fn a_statement_takes_no_longer_than_the_limit() {
    let database = empty_database().await;
    let pools = pools(&database, 1);
    pools.limit_statements(Some(Duration::from_millis(100)));
    let lease = pools.get(&database.name).await.unwrap();
    let error = lease.batch_execute("SELECT pg_sleep(20)").await.unwrap_err();
    assert_eq!(error.code().map(|code| code.code()), Some("57014"));
    drop(lease);
    pools.limit_statements(None);
    let lease = pools.get(&database.name).await.unwrap();
    let row = lease.query_one("SHOW statement_timeout", &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), "0");
}

#[tokio::test]
async fn prepared_statements_are_bounded_here_and_in_the_server() {
    let database = empty_database().await;
    let pools = pools(&database, 1);
    let lease = pools.get(&database.name).await.unwrap();
    for number in 0..500 {
        let statement = lease.prepare_cached(&format!("SELECT {number}")).await.unwrap();
        lease.query(&statement, &[]).await.unwrap();
    }
    let row = lease.query_one("SELECT count(*) FROM pg_prepared_statements", &[]).await.unwrap();
    assert!(row.get::<_, i64>(0) <= 70, "{}", row.get::<_, i64>(0));
}

fn divided(pools: &Pools) {
    let budget = Budget {
        read: 4,
        write: 3,
        control: 1,
        control_each: 1,
        probe: 1,
        inspect: 1,
        read_each: 2,
        write_each: 2,
        reason: String::new(),
    };
    pools.divide(&budget);
}

#[tokio::test]
async fn one_account_never_has_all_places_and_who_waits_in_vain_hears_that_all_are_busy() {
    let database = empty_database().await;
    let pools = pools(&database, 8);
    divided(&pools);
    let reading = pools.purpose(Purpose::Read);
    let locked = reading.account("locked");
    let _held = [locked.get(&database.name).await.unwrap(), locked.get(&database.name).await.unwrap()];
    let soon = Some(Instant::now() + Duration::from_millis(100));
    let problem = locked.until(soon).get(&database.name).await.unwrap_err();
    assert_eq!((problem.kind, problem.kind.row().http), (Kind::Busy, 503));
    assert_eq!(problem.message, "all connections of collection `locked` to PostgreSQL are busy");
    let other = reading.account("other").until(soon.map(|at| at + Duration::from_secs(5)));
    other.get(&database.name).await.unwrap();
    pools.purpose(Purpose::Control).get(&database.name).await.unwrap();
}

#[tokio::test]
async fn who_waits_for_a_connection_while_the_program_stops_hears_that_and_not_that_all_are_busy() {
    let database = empty_database().await;
    let pools = pools(&database, 8);
    divided(&pools);
    let locked = pools.purpose(Purpose::Read).account("locked");
    let mut held = vec![locked.get(&database.name).await.unwrap(), locked.get(&database.name).await.unwrap()];
    let begun = Instant::now();
    let waits = locked.until(Some(begun + Duration::from_secs(60)));
    let name = database.name.clone();
    let waiting = tokio::spawn(async move { waits.get(&name).await.map(drop) });
    tokio::time::sleep(Duration::from_millis(100)).await;
    pools.stop();
    let problem = waiting.await.unwrap().unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!((problem.kind, problem.message.as_str()), (Kind::Busy, "this server of howdah is stopping"));
    let soon = Some(Instant::now() + Duration::from_millis(100));
    let problem = locked.until(soon).get(&database.name).await.unwrap_err();
    assert_eq!(problem.message, "this server of howdah is stopping");
    // Whoever gets one in time is served.
    held.pop();
    locked.until(soon.map(|at| at + Duration::from_secs(5))).get(&database.name).await.unwrap();
}

#[tokio::test]
async fn two_who_need_several_never_wait_for_each_other_and_idle_ones_make_room() {
    let (first, second) = (empty_database().await, empty_database().await);
    let pools = pools(&first, 8);
    divided(&pools);
    let writing = pools.purpose(Purpose::Write);
    let ingest = async |database: &str| {
        for _ in 0..5 {
            let all = writing.own_several(database, 3).await.unwrap();
            assert_eq!(all.len(), 3);
            all.into_iter().for_each(super::Own::finish);
        }
    };
    let all = futures_util::future::join3(ingest(&first.name), ingest(&second.name), ingest(&first.name));
    tokio::time::timeout(Duration::from_secs(30), all).await.unwrap();
    let reading = pools.purpose(Purpose::Read);
    for name in [&first.name, &second.name] {
        let held = futures_util::future::try_join_all((0..4).map(|_| reading.get(name))).await.unwrap();
        drop(held);
    }
    let (open, idle) = pools.usage();
    assert!(open <= 4 && open == idle, "{open} open, {idle} idle: the budget is for all databases together");
}

#[tokio::test]
async fn a_purpose_works_as_its_role_and_the_declared_role_is_not_kept() {
    let database = database().await;
    let role = format!("{}_reader", database.name);
    let client = database.client().await;
    client.batch_execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 'seen'")).await.unwrap();
    let pools = pools(&database, 4);
    let login = Login { user: role.clone(), password: Secret::new("seen".to_owned()) };
    pools.log_in_as(HashMap::from([(Purpose::Read, login)]));
    let lease = pools.purpose(Purpose::Read).get(&database.name).await.unwrap();
    let row =
        lease.query_one("SELECT session_user::text, current_setting('application_name')", &[]).await.unwrap();
    assert_eq!((row.get::<_, String>(0), row.get::<_, String>(1)), (role.clone(), "howdah read".to_owned()));
    drop(pools.get(&database.name).await.unwrap());
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND usename = 'postgres' AND pid <> pg_backend_pid()";
    comes_true("the superuser's connection is closed", async || {
        client.query_one(sql, &[&database.name]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
    drop(lease);
    pools.close();
    drop_role(&database.target, &role).await;
}

async fn drop_role(target: &Target, role: &str) {
    let client = crate::connect::connect(target).await.unwrap();
    client.batch_execute(&format!("DROP ROLE {role}")).await.unwrap();
}
