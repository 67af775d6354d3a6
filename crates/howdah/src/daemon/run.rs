//! The process that keeps an instance up.
//!
//! Order of a start: PostgreSQL, what is declared in it, REST, the declared documents, ready. Order of a stop: no new
//! requests, those under way finish, PostgreSQL. Whatever fails before it is ready ends it all, with PostgreSQL stopped.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use howdah_plan::problem::{Kind, Problem};
use howdah_plan::spec::Spec;
use howdah_plan::tune::{Machine, Tuned};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::declaration::Declaration;
use super::deployment;
use super::directory::{InstanceDirectory, ServerRecord, cannot};
use super::instance_lock::{self, Claim, Holder, InstanceLock, Use};
use super::notify;
use super::server::{self, Server};
use super::serving::{Serve, Serving};
use super::steps::ToFile;
use super::{converge, local};
use crate::access::gate::Gate;
use crate::jobs::Jobs;
use crate::observe::measure;
use crate::observe::progress::{Event, Progress, ToLog};
use crate::runtime::process::Identity;
use crate::runtime::{Context, Declared, Runtime, declared, service};
use crate::skills::SKILLS;
use howdah_postgres::instance::{self, Instance, Patience};
use howdah_postgres::{Home, Pools, machine};

/// Runs the instance until it is told to stop. One in the background tells its steps to the file `steps`, and leaves the
/// instance to another server that has it already.
///
/// # Errors
/// Why it could not start.
pub async fn run(declaration: Declaration, steps: Option<PathBuf>, serve: Serve) -> Result<(), Vec<Problem>> {
    measure::recorder();
    let home = local::home().map_err(one)?;
    let directory = InstanceDirectory::of(&declaration, &home.instances()).map_err(one)?;
    let to_file = steps.as_deref().map(ToFile::create).transpose().map_err(one)?;
    let mut signals = Signals::listen().map_err(one)?;
    let asked = tokio::select! {
        asked = ask_for_lock(&directory, steps.as_deref(), to_file.as_ref()) => asked,
        () = signals.stop() => return Ok(()),
    };
    let Some(_lock) = asked.map_err(one)? else { return Ok(()) };
    let report: Box<dyn Progress> = match to_file {
        Some(to_file) => {
            let path = directory.log_file();
            crate::observe::write_to(&path).map_err(|error| one(cannot("write", &path, &error)))?;
            Box::new(to_file)
        }
        None => Box::new(ToLog),
    };
    let daemon = Daemon { declaration, home, directory, report, serve };
    let ended = daemon.live(&mut signals).await;
    daemon.directory.clear_record();
    if let Err(problems) = &ended {
        daemon.report.tell(Event::Failed { problems: problems.clone() });
    }
    // Whoever asked for it knows; only the command that waits has to be told.
    if signals.obeyed { Ok(()) } else { ended }
}

/// The instance's lock; none where another server has it and whoever waits for the steps follows that one.
async fn ask_for_lock(
    directory: &InstanceDirectory,
    steps: Option<&Path>,
    to_file: Option<&ToFile>,
) -> Result<Option<InstanceLock>, Problem> {
    let report: &dyn Progress = to_file.map_or(&ToLog, |to_file| to_file);
    let waiting = |holder: &Holder| {
        let command = holder.command.as_deref().unwrap_or_default();
        let text = format!("waiting for `howdah {command}` (process {})", holder.process.pid);
        report.tell(Event::Note { text });
    };
    let claim = instance_lock::wait(directory, Use::Server(steps), waiting).await;
    if let (Ok(Claim::Taken(holder)), Some(to_file)) = (&claim, to_file)
        && holder.as_ref().is_none_or(|holder| !holder.is_command())
    {
        to_file.beaten_by(holder.clone());
        return Ok(None);
    }
    let lock = claim.and_then(|claim| claim.held(directory));
    if let Err(problem) = &lock {
        report.tell(Event::Failed { problems: vec![problem.clone()] });
    }
    lock.map(Some)
}

fn one(problem: Problem) -> Vec<Problem> {
    vec![problem]
}

struct Daemon {
    declaration: Declaration,
    home: Home,
    directory: InstanceDirectory,
    report: Box<dyn Progress>,
    serve: Serve,
}

/// What asks this process to stop, or to read its declaration again.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// Whether a start was broken off because somebody asked for it.
    obeyed: bool,
}

impl Signals {
    fn listen() -> Result<Self, Problem> {
        let on = |kind| {
            signal(kind).map_err(|error| {
                Problem::new(Kind::Machine, "cannot listen for signals").detail(error.to_string())
            })
        };
        Ok(Signals {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            hangup: on(SignalKind::hangup())?,
            obeyed: false,
        })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        self.obeyed = true;
    }
}

/// PostgreSQL under supervision, where it is Howdah's own.
struct Supervised {
    stop: watch::Sender<bool>,
    events: mpsc::UnboundedReceiver<instance::ServerEvent>,
    task: JoinHandle<Result<instance::Stopped, Problem>>,
}

impl Supervised {
    fn start(instance: Instance, running: instance::RunningServer) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (tell, events) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            instance::supervise(&instance, running, stopped, tell, Patience::default()).await
        });
        Supervised { stop, events, task }
    }

    async fn end(self) {
        // The task ends by itself too; then nobody listens.
        let _ = self.stop.send(true);
        match self.task.await {
            Ok(Ok(how)) => tracing::info!(?how, "PostgreSQL stopped"),
            Ok(Err(problem)) => tracing::error!(detail = problem.detail, "{problem}"),
            Err(error) => tracing::error!(%error, "the supervisor broke off"),
        }
    }
}

impl Daemon {
    /// From nothing to stopped.
    async fn live(&self, signals: &mut Signals) -> Result<(), Vec<Problem>> {
        let prepared = tokio::select! {
            prepared = server::prepare(&self.declaration, &self.home, &self.directory, &*self.report) => prepared.map_err(one)?,
            () = signals.stop() => return Err(one(told_to_stop())),
        };
        let Some(reached) = prepared.start(&*self.report, signals.stop()).await.map_err(one)? else {
            return Err(one(told_to_stop()));
        };
        let target = reached.target();
        let shown = local::shown(&self.declaration.spec, reached.layout(), &target);
        let (tuned, machine) = match &reached {
            Server::There(_) => (Vec::new(), None),
            Server::Own(instance, _) => {
                (server::remembered(&self.directory), Some(machine::read(&instance.layout.data)))
            }
        };
        let mut supervised = match reached {
            Server::There(_) => None,
            Server::Own(instance, running) => Some(Supervised::start(*instance, *running)),
        };
        let pools = Pools::new(target, self.declaration.spec.api.max_pool as usize);
        let ended =
            self.serve_until_told(signals, &mut supervised, pools.clone(), (tuned, machine), shown).await;
        self.say_stopping();
        pools.close();
        if let Some(supervised) = supervised {
            supervised.end().await;
        }
        ended
    }

    async fn serve_until_told(
        &self,
        signals: &mut Signals,
        supervised: &mut Option<Supervised>,
        pools: Pools,
        own: (Vec<Tuned>, Option<Machine>),
        shown: String,
    ) -> Result<(), Vec<Problem>> {
        let listener = self.bind().await.map_err(one)?;
        let address = listener.local_addr().map_err(|error| {
            one(Problem::new(Kind::Machine, "the REST address is not known").detail(error.to_string()))
        })?;
        let token = self.directory.make_token().map_err(one)?;
        let gate = Gate::new(self.declaration.spec.api.requests_per_second, Some(&token));
        let rest = format!("http://{address}");
        let context = self.context(pools, gate, own, (rest.clone(), shown.clone())).map_err(one)?;

        let structure = |passwords| converge::structure(&context, passwords, &*self.report);
        let starting = service::ready(&context, structure);
        tokio::select! {
            done = starting => done.map_err(one)?,
            () = signals.stop() => return Err(one(told_to_stop())),
        }
        context.take_limits().await.map_err(one)?;
        let serving = (self.serve)(context.clone(), listener);
        let mut running = self.record(rest, shown).map_err(one)?;
        self.directory.write_record(&running).map_err(one)?;
        let loading = async {
            let left_out = converge::documents(&context, &self.declaration, &*self.report).await?;
            converge::models(&context, &*self.report).await;
            Ok(left_out)
        };
        let loaded = tokio::select! {
            done = loading => done,
            () = signals.stop() => Err(told_to_stop()),
        };
        let left_out = match loaded {
            Ok(left_out) => left_out,
            Err(problem) => {
                serving.stop().await;
                return Err(one(problem));
            }
        };
        (running.ready, running.left_out) = (true, left_out);
        self.directory.write_record(&running).map_err(one)?;
        serving.ready();
        self.report.tell(Event::Ready { left_out });
        notify::ready();
        let pings = tokio::spawn(notify::pings());
        let jobs = serving.context().runtime.jobs.clone();
        let watch = serving.watch();
        let looking = tokio::spawn(jobs.clone().look_after(SKILLS, watch));
        self.wait(signals, supervised, &*serving).await;
        serving.context().runtime.ending.cancel();
        context.runtime.pools.stop();
        serving.stop().await;
        jobs.stop().await;
        // It ends with the jobs.
        let _ = looking.await;
        pings.abort();
        Ok(())
    }

    /// Until told to stop: notes what happens to PostgreSQL, reads the declaration again when asked.
    async fn wait(&self, signals: &mut Signals, supervised: &mut Option<Supervised>, serving: &dyn Serving) {
        loop {
            let event = async {
                match supervised {
                    Some(supervised) => supervised.events.recv().await,
                    None => None,
                }
            };
            tokio::select! {
                _ = signals.terminate.recv() => break,
                _ = signals.interrupt.recv() => break,
                _ = signals.hangup.recv() => {
                    notify::reloading();
                    tokio::select! {
                        () = self.reload(serving) => {}
                        _ = signals.terminate.recv() => break,
                        _ = signals.interrupt.recv() => break,
                    }
                    notify::ready();
                }
                Some(event) = event => self.note(event, serving),
                else => break,
            }
        }
        tracing::info!("stopping");
        self.say_stopping();
    }

    /// Says to all who look that this server takes nothing new.
    fn say_stopping(&self) {
        notify::stopping();
        if let Some(record) = self.directory.record().filter(|record| !record.stopping)
            && let Err(problem) = self.directory.write_record(&ServerRecord { stopping: true, ..record })
        {
            tracing::warn!(detail = problem.detail, "{problem}");
        }
    }

    fn note(&self, event: instance::ServerEvent, serving: &dyn Serving) {
        match event {
            instance::ServerEvent::Died { pause, .. } => {
                metrics::counter!(measure::POSTGRES_RESTARTS).increment(1);
                tracing::warn!(pause_ms = pause.as_millis(), "PostgreSQL is started again");
            }
            instance::ServerEvent::StartFailed { .. } => {}
            instance::ServerEvent::Up { port, .. } => {
                let pools = &serving.context().runtime.pools;
                let target = pools.target();
                if target.port != port {
                    pools.move_to(howdah_postgres::Target { port, ..target });
                }
            }
        }
    }

    /// Reads the declaration again: what can change while requests are answered changes now, the rest is named and waits for
    /// the next `howdah up`, which sees by the hash that is written down that this server is not current.
    async fn reload(&self, serving: &dyn Serving) {
        match self.read_again(serving).await {
            Ok(waiting) if waiting.is_empty() => tracing::info!("the declaration was read again"),
            Ok(waiting) => {
                let keys = waiting.join(", ");
                tracing::warn!(keys, "the declaration was read again; these keys wait for `howdah up`");
            }
            Err(problems) => {
                for problem in problems {
                    tracing::error!(detail = problem.detail, "the declaration was not read again: {problem}");
                }
            }
        }
    }

    async fn read_again(&self, serving: &dyn Serving) -> Result<Vec<&'static str>, Vec<Problem>> {
        let fresh = Declaration::read(&self.declaration.path)?;
        refuse_open_address(&fresh.spec, serving.context().runtime.rest.as_deref()).map_err(one)?;
        let waiting = declared::needs_restart(&self.declaration.spec, &fresh.spec);
        let declared = Declared::new(fresh.spec, &self.home).map_err(one)?;
        let context =
            Context { runtime: Arc::clone(&serving.context().runtime), declared: Arc::new(declared) };
        context.take_limits().await.map_err(one)?;
        // `howdah apply` may have made or dropped them before it told this server.
        if context.take_roles().await.map_err(one)? == service::Taken::OtherPasswords {
            return Err(one(service::other_passwords()));
        }
        serving.replace(Arc::new(context));
        if waiting.is_empty()
            && let Some(running) = self.directory.record()
        {
            self.directory.write_record(&ServerRecord { declaration: fresh.hash, ..running }).map_err(one)?;
        }
        Ok(waiting)
    }

    fn context(
        &self,
        pools: Pools,
        gate: Gate,
        (tuned, machine): (Vec<Tuned>, Option<Machine>),
        (rest, address): (String, String),
    ) -> Result<Arc<Context>, Problem> {
        let declared = Declared::new(self.declaration.spec.clone(), &self.home)?;
        let seed = local::seed(&self.directory, &pools.target())?;
        let runtime = Runtime {
            declaration: self.declaration.path.clone(),
            deployment: deployment::identity(&self.declaration),
            home: self.home.clone(),
            pools,
            address,
            seed,
            gate,
            jobs: Jobs::default(),
            ending: tokio_util::sync::CancellationToken::new(),
            started: Instant::now(),
            rest: Some(rest),
            tuned,
            machine,
        };
        Ok(Arc::new(Context { runtime: Arc::new(runtime), declared: Arc::new(declared) }))
    }

    fn record(&self, rest: String, database: String) -> Result<ServerRecord, Problem> {
        let process =
            Identity::own().ok_or_else(|| Problem::new(Kind::Machine, "this process cannot see itself"))?;
        Ok(ServerRecord {
            process,
            version: env!("CARGO_PKG_VERSION").into(),
            program: super::program(),
            declaration: self.declaration.hash.clone(),
            rest,
            database,
            ready: false,
            left_out: 0,
            stopping: false,
        })
    }

    /// Listens where the declaration says; on a free port, on the one it had last where that is still free.
    async fn bind(&self) -> Result<TcpListener, Problem> {
        let api = &self.declaration.spec.api;
        let address: SocketAddr = api.listen.parse().map_err(|_| {
            Problem::new(Kind::Usage, format!("`api.listen` is not an address: `{}`", api.listen))
                .hint("Write an IP address and a port, as in `127.0.0.1:8080`.")
        })?;
        refuse_open_address(&self.declaration.spec, Some(&format!("http://{address}")))?;
        let remembered = self.directory.path.join("rest.port");
        if address.port() == 0
            && let Some(port) =
                std::fs::read_to_string(&remembered).ok().and_then(|text| text.trim().parse().ok())
            && let Ok(listener) = TcpListener::bind(SocketAddr::new(address.ip(), port)).await
        {
            return Ok(listener);
        }
        let listener = TcpListener::bind(address).await.map_err(|error| {
            Problem::new(Kind::Conflict, format!("cannot listen on `{address}`"))
                .detail(error.to_string())
                .hint("Stop what listens there, or declare another `listen` under `[api]` (`127.0.0.1:0` takes a free port).")
                .do_now(howdah_plan::problem::DoNow::FixInput)
        })?;
        if let Ok(bound) = listener.local_addr() {
            // Only a convenience: the address is in daemon.json too.
            let _ = std::fs::write(&remembered, bound.port().to_string());
        }
        Ok(listener)
    }
}

/// An address that others can reach wants a key.
fn refuse_open_address(spec: &Spec, rest: Option<&str>) -> Result<(), Problem> {
    let address = rest.and_then(|rest| rest.strip_prefix("http://")?.parse::<SocketAddr>().ok());
    match address {
        Some(address) if !spec.api.require_key && !address.ip().is_loopback() => {
            let message = format!("`api.require_key` is off and `{address}` is not loopback");
            Err(Problem::new(Kind::Usage, message)
                .hint("Turn `api.require_key` on, or listen on `127.0.0.1`."))
        }
        _ => Ok(()),
    }
}

fn told_to_stop() -> Problem {
    Problem::new(Kind::Failed, "told to stop while starting").hint("`howdah up` starts it again.")
}

/// Longest time `howdah down` waits: requests under way, then PostgreSQL's own checkpoint.
pub const STOPPING: Duration = Duration::from_secs(120);
