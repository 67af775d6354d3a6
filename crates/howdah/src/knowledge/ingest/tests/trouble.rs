//! Servers killed, disks full, embedders that fail, ingests stopped and ingests side by side: never half a document.

use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use howdah_plan::problem::{DoNow, Kind, Problem};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::super::{IngestReport, IngestRequest, run};
use super::{World, embedder, own_schema, own_table};
use crate::observe::progress::{Event, Progress, Silent};
use howdah_postgres::testing::{Cluster, SmallDisk};
use howdah_postgres::{Pools, connect, testing};
use tokio_util::sync::CancellationToken;

/// Records of two sizes, with their vectors.
fn records(count: u32) -> String {
    (0..count).map(|i| format!("{}\n", json!({"id": i, "content": format!("text {i} {}", "word ".repeat(30)), "embedding": [1, i, 0, 1]}))).collect()
}

/// Every document is whole: as many rows as `howdah.sources` says, and no row without a document.
async fn assert_whole(client: &howdah_postgres::Lease) -> i64 {
    let halves = "SELECT count(*) FROM (SELECT source, count(*) AS rows FROM notes GROUP BY source) n
                  FULL JOIN howdah.sources s USING (source) WHERE n.rows IS DISTINCT FROM s.chunks";
    assert_eq!(client.query_one(halves, &[]).await.unwrap().get::<_, i64>(0), 0, "half a document");
    client.query_one("SELECT count(*) FROM howdah.sources", &[]).await.unwrap().get(0)
}

/// Does something when so many transactions are through.
struct After<F>(AtomicU64, u64, F);

impl<F: Fn() + Send + Sync> Progress for After<F> {
    fn tell(&self, event: Event) {
        if matches!(event, Event::Advanced { done: 1.., .. })
            && self.0.fetch_add(1, Ordering::SeqCst) + 1 == self.1
        {
            (self.2)();
        }
    }
}

async fn ingest(
    pools: &Pools,
    world: &World,
    path: &Path,
    progress: Arc<dyn Progress>,
    stop: CancellationToken,
) -> Result<IngestReport, Problem> {
    let mut request = IngestRequest::paths([path.display().to_string()], world.collection());
    (request.batch_rows, request.stop) = (200, stop);
    run(pools, None, &world.resolved, request, progress).await
}

#[tokio::test]
async fn a_stop_ends_after_the_transaction_and_the_same_command_does_the_rest() {
    let world = World::without_embedder("vector(4)").await;
    let path = world.file("r.jsonl", records(4000));
    let stop = CancellationToken::new();
    let asked = stop.clone();
    let progress = Arc::new(After(AtomicU64::new(0), 3, move || asked.cancel()));
    let report = ingest(world.pools(), &world, &path, progress, stop).await.unwrap();
    assert!(report.interrupted && report.notes[0].contains("the same command again"), "{report:?}");
    let client = world.database.client().await;
    let through = assert_whole(&client).await;
    assert!((600..4000).contains(&through), "{through}");
    let rest = world.ingest(&[&path]).await.unwrap();
    assert_eq!((rest.unchanged as i64, rest.new as i64), (through, 4000 - through));
    assert_eq!(assert_whole(&client).await, 4000);
}

#[tokio::test]
async fn a_server_killed_in_the_middle_keeps_whole_documents_and_the_rerun_completes() {
    let world = World::without_embedder("vector(4)").await;
    let path = world.file("r.jsonl", records(6000));
    // What is acknowledged has to be on disk when the server is killed.
    let cluster = Cluster::start(&["synchronous_commit=on"]);
    let client = Pools::new(cluster.target.clone(), 1).get("postgres").await.unwrap();
    client.batch_execute("CREATE EXTENSION vector").await.unwrap();
    own_schema(&client).await;
    client.batch_execute(&own_table("notes", &[], "vector(4)")).await.unwrap();
    let mut resolved = world.resolved.clone();
    resolved.database = "postgres".into();
    let pools = Pools::new(cluster.target.clone(), 4);
    let postmaster = Pid::from_raw(cluster.pid().unwrap());
    let progress = Arc::new(After(AtomicU64::new(0), 5, move || {
        // A moment later, so that it falls into a transaction.
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(3));
            kill(postmaster, Signal::SIGKILL).unwrap();
        });
    }));
    let mut request = IngestRequest::paths([path.display().to_string()], world.collection());
    request.batch_rows = 100;
    let outcome = run(&pools, None, &resolved, request.clone(), progress).await;
    // A backend outlives its postmaster until it notices, so the rest may even get through.
    if let Err(problem) = &outcome {
        assert!(matches!(problem.kind, Kind::Unreachable | Kind::Timeout), "{problem:?}");
        assert!(problem.detail.as_ref().unwrap().contains("are in the collection and stay"), "{problem:?}");
    }
    let _server = restart(&cluster).await;
    let pools = Pools::new(cluster.target.clone(), 4);
    let client = pools.get("postgres").await.unwrap();
    let through = assert_whole(&client).await;
    // Five batches were told of, the first of which is a short one.
    assert!(through >= 413, "{through}");
    let rest = run(&pools, None, &resolved, request, Arc::new(Silent)).await.unwrap();
    assert_eq!((rest.unchanged as i64, rest.new as i64), (through, 6000 - through));
    assert_eq!(assert_whole(&client).await, 6000);
}

/// A server that ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.0.id() as i32), Signal::SIGINT);
        let _ = self.0.wait();
    }
}

/// Starts a killed cluster's server again.
async fn restart(cluster: &Cluster) -> Server {
    // Its backends go within moments of the postmaster. The postmaster itself stays as a zombie of the shell that keeps the
    // cluster, and a new one would take its process number in the lock files for a running server.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let socket_lock = format!(".s.PGSQL.{}.lock", cluster.target.port);
    for lock in [cluster.dir.join("data/postmaster.pid"), cluster.dir.join(socket_lock)] {
        std::fs::remove_file(lock).unwrap();
    }
    let mut command = testing::user().command(&cluster.programs.program("postgres"));
    command.arg("-D").arg(cluster.dir.join("data")).args(["-c", "listen_addresses=127.0.0.1", "-c"]);
    command.arg(format!("unix_socket_directories={}", cluster.dir.display()));
    command.args(["-c", &format!("port={}", cluster.target.port)]);
    let log = std::fs::File::create(cluster.dir.join("log-again")).unwrap();
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
    let server = Server(child);
    for _ in 0..600 {
        if connect::connect(&cluster.target).await.is_ok() {
            return server;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!(
        "the server does not come back: {}",
        std::fs::read_to_string(cluster.dir.join("log-again")).unwrap()
    );
}

#[tokio::test]
async fn a_full_disk_is_said_and_leaves_whole_documents() {
    let Some(disk) = SmallDisk::new("3m") else { return };
    let place = disk.path.join("space");
    std::fs::create_dir(&place).unwrap();
    testing::user().own(&place).unwrap();
    let world = World::without_embedder("vector(4)").await;
    let path = world.file("r.jsonl", records(8000));
    let client = world.database.client().await;
    let space = format!("{}_space", world.database.name);
    client.batch_execute(&format!("CREATE TABLESPACE {space} LOCATION '{}'", place.display())).await.unwrap();
    client.batch_execute(&format!("ALTER TABLE notes SET TABLESPACE {space}")).await.unwrap();
    let silent: Arc<dyn Progress> = Arc::new(Silent);
    let problem = ingest(world.pools(), &world, &path, Arc::clone(&silent), CancellationToken::new())
        .await
        .unwrap_err();
    assert_eq!((problem.kind, problem.do_now), (Kind::Machine, DoNow::FixMachine), "{problem:?}");
    let through = assert_whole(&client).await;
    assert!((1..8000).contains(&through), "{through}");
    disk.enlarge("256m");
    ingest(world.pools(), &world, &path, silent, CancellationToken::new()).await.unwrap();
    assert_eq!(assert_whole(&client).await, 8000);
    client.batch_execute("DROP TABLE notes").await.unwrap();
    client.batch_execute(&format!("DROP TABLESPACE {space}")).await.unwrap();
}

#[tokio::test]
async fn an_embedder_that_fails_halfway_leaves_what_is_done() {
    let mut world = World::new(&[]).await;
    let lines: String = (0..1500)
        .map(|i| format!("{}\n", json!({"id": i, "content": format!("{i} {}", "x ".repeat(35))})))
        .collect();
    let path = world.file("r.jsonl", lines);
    let server = MockServer::start().await;
    Mock::given(wiremock::matchers::path("/embed"))
        .respond_with(|request: &wiremock::Request| {
            let body: serde_json::Value = request.body_json().unwrap();
            let count = body["inputs"].as_array().unwrap().len();
            ResponseTemplate::new(200).set_body_json(vec![[1.0, 0.0, 0.0, 0.0]; count])
        })
        .up_to_n_times(30)
        .mount(&server)
        .await;
    Mock::given(wiremock::matchers::any()).respond_with(ResponseTemplate::new(401)).mount(&server).await;
    let good = world.embedder.replace(Arc::new(embedder(&server, "test-model")));
    let problem = world.ingest(&[&path]).await.unwrap_err();
    assert_eq!(problem.kind, Kind::Unauthenticated);
    let client = world.database.client().await;
    let through = assert_whole(&client).await;
    assert!((1..1500).contains(&through), "{through}");
    world.embedder = good;
    assert_eq!(world.ingest(&[&path]).await.unwrap().unchanged as i64, through);
    assert_eq!(assert_whole(&client).await, 1500);
}

#[tokio::test]
async fn two_ingests_of_the_same_documents_do_not_mix() {
    let world = World::without_embedder("vector(4)").await;
    let path = world.file("r.jsonl", records(2000));
    let silent = || Arc::new(Silent) as Arc<dyn Progress>;
    let one = ingest(world.pools(), &world, &path, silent(), CancellationToken::new());
    let two = ingest(world.pools(), &world, &path, silent(), CancellationToken::new());
    let (one, two) = tokio::join!(one, two);
    for outcome in [&one, &two] {
        if let Err(problem) = outcome {
            assert_eq!(problem.kind, Kind::Conflict, "{problem:?}");
        }
    }
    let client = world.database.client().await;
    assert_whole(&client).await;
    world.ingest(&[&path]).await.unwrap();
    assert_eq!(assert_whole(&client).await, 2000);
}
