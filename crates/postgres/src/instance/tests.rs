//! Stories of what breaks, on real servers.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use howdah_plan::problem::{DoNow, Kind, Problem};
use howdah_plan::spec::Server;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::{mpsc, watch};

use super::*;
use crate::testing::SmallDisk;
use crate::{bundle, connect, testing};

/// An instance in a directory of its own that ends with the test, whatever happens.
struct Scene {
    home: Home,
    server: Server,
    instance: Instance,
    dir: PathBuf,
}

impl Scene {
    fn new() -> Scene {
        Scene::with(Server::default())
    }

    fn with(server: Server) -> Scene {
        Scene::at(testing::directory(), server)
    }

    fn at(dir: PathBuf, server: Server) -> Scene {
        let home = Home::at(dir.join("home"));
        let instance = Instance::new(&home, "story", &server, programs()).unwrap();
        Scene { home, server, instance, dir }
    }

    async fn made() -> Scene {
        let scene = Scene::new();
        assert!(scene.instance.init().await.unwrap());
        // Stories about crashes are about processes, not about disks.
        scene.instance.configure([("fsync", "off")]).unwrap();
        scene
    }

    fn again(&self, server: Server) -> Result<Instance, Problem> {
        Instance::new(&self.home, "story", &server, programs())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.instance.layout.data.join(name)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let State::Running { pid, .. } = self.instance.layout.state() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGCONT);
            let _ = kill(Pid::from_raw(pid), Signal::SIGQUIT);
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn programs() -> Programs {
    bundle::programs(&testing::home(), testing::major()).unwrap()
}

async fn query(target: &Target, sql: &str) -> String {
    let client = connect::connect(target).await.unwrap();
    client.query_one(sql, &[]).await.unwrap().get(0)
}

async fn execute(target: &Target, sql: &str) {
    connect::connect(target).await.unwrap().batch_execute(sql).await.unwrap();
}

const QUICK: Patience = Patience {
    smart: Duration::from_millis(200),
    fast: Duration::from_secs(20),
    immediate: Duration::from_secs(5),
};

/// A process of the server's user that has nothing to do with PostgreSQL.
struct Stranger(Child);

impl Stranger {
    fn new() -> Stranger {
        let mut command = testing::user().command(Path::new("/bin/sleep"));
        Stranger(command.arg("600").spawn().unwrap())
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until processes that are to end have ended.
async fn gone(ended: impl Fn() -> bool) {
    let begin = std::time::Instant::now();
    while !ended() {
        assert!(begin.elapsed() < Duration::from_secs(30), "still there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_new_instance_has_checksums_scram_and_private_files() {
    let scene = Scene::new();
    assert_eq!(scene.instance.layout.state(), State::Absent);
    assert_eq!(scene.instance.target().unwrap_err().kind, Kind::NotFound);
    assert!(scene.instance.init().await.unwrap());
    assert!(!scene.instance.init().await.unwrap(), "a second time changes nothing");
    assert_eq!(mode(&scene.instance.layout.data), 0o700);
    assert_eq!(mode(&scene.instance.layout.password_file()), 0o600);
    let running = scene.instance.start().await.unwrap();
    assert_eq!(running.notes, Vec::<String>::new());
    assert_eq!(query(&running.target, "SHOW data_checksums").await, "on");
    assert_eq!(query(&running.target, "SHOW server_encoding").await, "UTF8");
    assert_eq!(query(&running.target, "SHOW listen_addresses").await, "127.0.0.1");
    assert_eq!(query(&running.target, "SELECT lower('ÄÖ')").await, "äö");
    let methods = "SELECT string_agg(DISTINCT auth_method, ',') FROM pg_hba_file_rules";
    assert_eq!(query(&running.target, methods).await, "scram-sha-256");
    let tcp = scene.instance.layout.tcp_target().unwrap();
    assert_eq!(query(&tcp, "SHOW application_name").await, "howdah");
    let without = Target { password: None, ..tcp };
    assert_eq!(connect::connect(&without).await.err().unwrap().kind, Kind::Unauthenticated);
    assert_ne!(running.stop(QUICK).await.unwrap(), Stopped::WasNotRunning);
    assert_eq!(scene.instance.layout.state(), State::Stopped);
    let problem = connect::connect(&scene.instance.target().unwrap()).await.err().unwrap();
    assert_eq!(problem.kind, Kind::Unreachable);
    assert!(problem.message.starts_with("nothing listens at `"), "{problem}");
}

#[tokio::test]
async fn a_server_whose_supervisor_was_killed_is_taken_over() {
    let scene = Scene::made().await;
    let running = scene.instance.start().await.unwrap();
    let pid = running.pid;
    let second = scene.instance.start().await.expect_err("one supervisor at a time");
    assert_eq!(second.kind, Kind::Conflict);
    // What a SIGKILL of the supervisor leaves: the server runs, nobody holds the lock.
    drop(running);
    let mut adopted = scene.instance.start().await.unwrap();
    assert!(adopted.adopted && adopted.pid == pid && adopted.is_alive());
    assert_eq!(adopted.notes.len(), 1, "{:?}", adopted.notes);
    assert_ne!(adopted.stop(QUICK).await.unwrap(), Stopped::WasNotRunning);
    assert_eq!(scene.instance.layout.state(), State::Stopped);
}

#[tokio::test]
async fn a_killed_postmaster_is_noticed_and_nothing_committed_is_lost() {
    let scene = Scene::made().await;
    let mut running = scene.instance.start().await.unwrap();
    execute(&running.target, "CREATE TABLE kept (n int); INSERT INTO kept SELECT generate_series(1, 1000)")
        .await;
    kill(Pid::from_raw(running.pid), Signal::SIGKILL).unwrap();
    let problem = running.died().await;
    assert!(problem.detail.as_deref().unwrap_or_default().contains("signal: 9"), "{problem:?}");
    drop(running);
    let running = scene.instance.start().await.unwrap();
    assert!(running.notes[0].contains("it recovered in"), "{:?}", running.notes);
    assert_eq!(query(&running.target, "SELECT count(*)::text FROM kept").await, "1000");
    running.stop(QUICK).await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_killed_with_all_its_processes_leaves_none_and_starts_again() {
    let scene = Scene::made().await;
    let mut running = scene.instance.start().await.unwrap();
    let all = running.processes();
    if cfg!(target_os = "linux") {
        assert!(all.len() > 1, "a checkpointer, at least: {all:?}");
    }
    assert_eq!(all[0], running.pid);
    for pid in &all {
        kill(Pid::from_raw(*pid), Signal::SIGKILL).unwrap();
    }
    running.died().await;
    drop(running);
    gone(|| !all.iter().any(|pid| is_alive(*pid))).await;
    scene.instance.start().await.unwrap().stop(QUICK).await.unwrap();
}

#[tokio::test]
async fn a_supervised_server_that_is_killed_comes_back_and_stops_when_asked() {
    let scene = Scene::made().await;
    let running = scene.instance.start().await.unwrap();
    let (first, target) = (running.pid, running.target.clone());
    let (ask, asked) = watch::channel(false);
    let (tell, mut told) = mpsc::unbounded_channel();
    let instance = scene.instance.clone();
    let supervisor = tokio::spawn(async move { supervise(&instance, running, asked, tell, QUICK).await });
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    assert!(matches!(told.recv().await, Some(ServerEvent::Died { .. })));
    let Some(ServerEvent::Up { pid, port, .. }) = told.recv().await else { panic!("not up again") };
    assert!(pid != first && port == target.port);
    assert_eq!(query(&target, "SELECT 'here'").await, "here");
    ask.send(true).unwrap();
    assert_ne!(supervisor.await.unwrap().unwrap(), Stopped::WasNotRunning);
    assert_eq!(scene.instance.layout.state(), State::Stopped);
}

#[tokio::test]
async fn a_pid_file_whose_number_is_somebody_elses_now_does_not_stop_a_start() {
    let scene = Scene::made().await;
    let running = scene.instance.start().await.unwrap();
    let port = running.target.port;
    let pid_file = fs::read_to_string(scene.path("postmaster.pid")).unwrap();
    let mut running = running;
    kill(Pid::from_raw(running.pid), Signal::SIGKILL).unwrap();
    running.died().await;
    drop(running);
    let stranger = Stranger::new();
    let rest = pid_file.split_once('\n').unwrap().1;
    fs::write(scene.path("postmaster.pid"), format!("{}\n{rest}", stranger.0.id())).unwrap();
    let lock = scene.instance.layout.sockets().join(format!(".s.PGSQL.{port}.lock"));
    fs::write(&lock, format!("{}\n{rest}", stranger.0.id())).unwrap();
    assert_eq!(scene.instance.layout.state(), State::Stopped);
    let running = scene.instance.start().await.unwrap();
    assert_eq!(running.target.port, port);
    running.stop(QUICK).await.unwrap();
}

#[tokio::test]
async fn a_declared_port_that_is_taken_names_who_has_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let scene = Scene::with(Server { port: Some(port), ..Server::default() });
    scene.instance.init().await.unwrap();
    let problem = scene.instance.start().await.err().unwrap();
    assert_eq!((problem.kind, problem.do_now), (Kind::Conflict, DoNow::FixInput));
    assert_eq!(problem.message, format!("port `{port}` is taken"));
    if cfg!(target_os = "linux") {
        assert!(problem.detail.unwrap().contains(&format!("process {}", std::process::id())));
    }
    drop(listener);
    let running = scene.instance.start().await.unwrap();
    assert_eq!(running.target.port, port);
    running.stop(QUICK).await.unwrap();
}

#[tokio::test]
async fn a_free_port_is_kept_and_another_is_taken_when_it_is_not_free_any_more() {
    let scene = Scene::made().await;
    let running = scene.instance.start().await.unwrap();
    let port = running.target.port;
    running.stop(QUICK).await.unwrap();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let running = scene.instance.start().await.unwrap();
    assert_ne!(running.target.port, port);
    assert!(running.notes[0].contains(&format!("port {port} is taken by")), "{:?}", running.notes);
    drop(listener);
    running.stop(QUICK).await.unwrap();
}

#[tokio::test]
async fn a_disk_too_small_for_a_new_instance_is_told_and_nothing_is_left() {
    let Some(disk) = SmallDisk::new("8m") else { return };
    let scene = Scene::at(disk.path.clone(), Server::default());
    let problem = scene.instance.init().await.err().unwrap();
    assert_eq!(problem.kind, Kind::Machine);
    assert!(problem.message.contains("disk is full"), "{problem:?}");
    assert_eq!(scene.instance.layout.state(), State::Absent);
    assert!(!scene.instance.layout.data.exists());
}

#[tokio::test]
async fn a_full_disk_stops_a_start_and_freeing_it_heals() {
    let Some(disk) = SmallDisk::new("90m") else { return };
    let scene = Scene::at(disk.path.clone(), Server::default());
    scene.instance.init().await.unwrap();
    disk.fill();
    let problem = scene.instance.start().await.err().unwrap();
    assert_eq!(problem.kind, Kind::Machine);
    assert!(problem.message.contains("disk is full"), "{problem:?}");
    fs::remove_file(disk.path.join("filler")).unwrap();
    let running = scene.instance.start().await.unwrap();
    running.stop(QUICK).await.unwrap();
}

#[tokio::test]
async fn a_disk_that_fills_up_while_working_keeps_what_was_committed() {
    let Some(disk) = SmallDisk::new("110m") else { return };
    let scene = Scene::at(disk.path.clone(), Server::default());
    scene.instance.init().await.unwrap();
    let running = scene.instance.start().await.unwrap();
    execute(&running.target, "CREATE TABLE kept AS SELECT 1 AS n").await;
    let client = connect::connect(&running.target).await.unwrap();
    let error = client
        .batch_execute("CREATE TABLE big AS SELECT repeat('x', 500) AS x, generate_series(1, 1000000) AS n")
        .await
        .unwrap_err();
    let problem = crate::problem::from_pg(&error, "fill the disk");
    assert!(matches!(problem.kind, Kind::Machine | Kind::Unreachable), "{problem:?}");
    drop(client);
    drop(running);
    disk.enlarge("300m");
    // The server may still be going down, or coming up by itself.
    let begin = std::time::Instant::now();
    let kept = loop {
        match kept_row(&scene.instance).await {
            Err(problem) if begin.elapsed() < Duration::from_secs(30) => {
                eprintln!("not yet: {problem:?}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            answer => break answer.unwrap(),
        }
    };
    assert_eq!(kept, "1");
    scene.instance.layout.stop(QUICK).await.unwrap();
}

async fn kept_row(instance: &Instance) -> Result<String, Problem> {
    let running = instance.start().await?;
    let client = connect::connect(&running.target).await?;
    let row = client.query_one("SELECT n::text FROM kept", &[]).await;
    row.map(|row| row.get(0)).map_err(|e| crate::problem::from_pg(&e, "read the row"))
}

#[tokio::test]
async fn data_of_another_major_is_refused_with_the_version_to_declare() {
    let scene = Scene::made().await;
    fs::write(scene.path("PG_VERSION"), "15\n").unwrap();
    let problem = scene.instance.start().await.err().unwrap();
    assert!(problem.message.ends_with("was made by PostgreSQL `15`"), "{problem}");
    assert!(problem.hint.unwrap().starts_with("Set `server.version = 15`"));
}

#[tokio::test]
async fn data_of_another_user_is_refused_with_its_name() {
    if !is_root() {
        return;
    }
    let scene = Scene::made().await;
    let user = testing::user().name;
    let declared = Server { user: Some(user.clone()), ..scene.server.clone() };
    std::os::unix::fs::chown(&scene.instance.layout.data, Some(65534), None).unwrap();
    let problem = scene.again(declared).unwrap().start().await.err().unwrap();
    assert!(problem.message.contains("belongs to `nobody`"), "{problem}");
    assert!(problem.hint.unwrap().contains(&format!("chown -R {user} ")));
}

#[test]
fn a_home_that_the_server_cannot_reach_is_refused_at_once() {
    if !is_root() {
        return;
    }
    let dir = testing::directory();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::chown(&dir, Some(0), Some(0)).unwrap();
    let home = Home::at(dir.join("home"));
    let problem = Instance::new(&home, "story", &Server::default(), programs()).err().unwrap();
    assert_eq!(problem.kind, Kind::Machine);
    assert!(problem.message.contains("cannot enter `"), "{problem}");
    assert!(problem.hint.unwrap().contains("HOWDAH_HOME"));
}

#[tokio::test]
async fn a_mistyped_setting_is_named_and_correcting_it_heals() {
    let scene = Scene::made().await;
    scene.instance.configure([("shared_bufers", "1GB")]).unwrap();
    let problem = scene.instance.start().await.err().unwrap();
    assert_eq!(problem.kind, Kind::Usage);
    assert!(problem.detail.as_deref().unwrap().contains("shared_bufers"), "{problem:?}");
    assert!(scene.instance.configure([("shared_buffers", "16MB")]).unwrap());
    assert!(!scene.instance.configure([("shared_buffers", "16MB")]).unwrap());
    let running = scene.instance.start().await.unwrap();
    assert_eq!(query(&running.target, "SHOW shared_buffers").await, "16MB");
    scene.instance.configure([("shared_buffers", "16MB"), ("work_mem", "7MB")]).unwrap();
    running.reload().unwrap();
    for _ in 0..100 {
        if query(&running.target, "SHOW work_mem").await == "7MB" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(query(&running.target, "SHOW work_mem").await, "7MB");
    running.stop(QUICK).await.unwrap();
}

#[tokio::test]
async fn a_long_path_with_spaces_and_commas_works() {
    let dir = testing::directory()
        .join("a clone, with spaces and a name that is far too long for a unix socket's path");
    fs::create_dir(&dir).unwrap();
    testing::user().own(&dir).unwrap();
    let scene = Scene::at(dir, Server::default());
    scene.instance.init().await.unwrap();
    let running = scene.instance.start().await.unwrap();
    assert!(scene.instance.layout.sockets().starts_with("/tmp"));
    assert_eq!(query(&running.target, "SELECT 'here'").await, "here");
    running.stop(QUICK).await.unwrap();
    let _ = fs::remove_dir_all(scene.instance.layout.sockets());
}

#[tokio::test]
async fn a_client_that_stays_is_cut_off() {
    let scene = Scene::made().await;
    let running = scene.instance.start().await.unwrap();
    let client = connect::connect(&running.target).await.unwrap();
    assert_eq!(running.stop(QUICK).await.unwrap(), Stopped::Fast);
    let error = client.batch_execute("SELECT 1").await.unwrap_err();
    let problem = crate::problem::from_pg(&error, "ask");
    assert_eq!((problem.kind, problem.do_now), (Kind::Unreachable, DoNow::Retry), "{problem:?}");
}

#[tokio::test]
async fn a_frozen_server_is_reported_instead_of_waited_for() {
    let scene = Scene::made().await;
    let running = scene.instance.start().await.unwrap();
    let pid = running.pid;
    kill(Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
    let short = Duration::from_millis(100);
    let problem = running.stop(Patience { smart: short, fast: short, immediate: short }).await.unwrap_err();
    assert_eq!(problem.kind, Kind::Timeout);
    kill(Pid::from_raw(pid), Signal::SIGCONT).unwrap();
}

#[tokio::test]
async fn a_start_that_is_given_up_leaves_no_server_behind() {
    let scene = Scene::made().await;
    let given_up = tokio::time::timeout(Duration::from_millis(1), scene.instance.start()).await;
    assert!(given_up.is_err());
    let layout = &scene.instance.layout;
    gone(|| layout.state() == State::Stopped && process::servers_of(&layout.data).is_empty()).await;
    scene.instance.start().await.unwrap().stop(QUICK).await.unwrap();
}

#[tokio::test]
async fn a_half_made_data_directory_is_made_anew_and_a_foreign_one_is_left_alone() {
    let scene = Scene::new();
    let partial = scene.instance.layout.data.with_extension("partial");
    fs::create_dir_all(&partial).unwrap();
    fs::write(partial.join("half"), "x").unwrap();
    assert!(scene.instance.init().await.unwrap());
    assert!(!partial.exists() && !scene.path("half").exists());

    let foreign = scene.dir.join("photos");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("cat.jpg"), "x").unwrap();
    let declared = Server { data_directory: Some(foreign.display().to_string()), ..Server::default() };
    let problem = scene.again(declared).unwrap().init().await.err().unwrap();
    assert!(problem.message.contains("is not empty and holds no PostgreSQL data"), "{problem}");
    assert!(foreign.join("cat.jpg").exists());
}
