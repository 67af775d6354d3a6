//! What does a command use that does the work itself?
//!
//! A context without a REST face: connections to the declared address, or to the instance that runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use howdah_plan::problem::{Kind, Problem};
use howdah_plan::spec::Spec;

use super::background;
use super::declaration::Declaration;
use super::deployment;
use super::directory::InstanceDirectory;
use super::instance_lock::{self, Claim, Holder, Use};
use super::server;
use crate::access::gate::Gate;
use crate::jobs::Jobs;
use crate::runtime::service::Seed;
use crate::runtime::{Context, Declared, Runtime};
use howdah_postgres::find;
use howdah_postgres::instance::{Layout, Patience, State, Stopped};
use howdah_postgres::{Home, Pools, Target, machine};

/// Connections a command keeps at the most.
const CONNECTIONS: usize = 4;

/// Howdah's directory.
///
/// # Errors
/// `usage` when the environment names none.
pub fn home() -> Result<Home, Problem> {
    Home::from_env()
}

/// A context for a command.
///
/// # Errors
/// `unreachable` when the instance's server does not run; mistakes in the declared address.
pub async fn context(declaration: &Declaration) -> Result<Arc<Context>, Problem> {
    let home = home()?;
    let target = target(declaration, &home)?;
    let directory = InstanceDirectory::existing(declaration, &home.instances());
    let declared = Declared::new(declaration.spec.clone(), &home)?;
    let spec = Arc::clone(&declared.spec);
    let own = find::declared(&spec.server)?.is_none();
    let layout =
        directory.as_ref().filter(|_| own).map(|directory| Layout::new(&home, &directory.id, &spec.server));
    let instance = match &directory {
        Some(directory) => directory.clone(),
        None => InstanceDirectory::of(declaration, &home.instances())?,
    };
    let runtime = Runtime {
        seed: seed(&instance, &target)?,
        declaration: declaration.path.clone(),
        deployment: deployment::identity(declaration),
        home,
        address: shown(&spec, layout.as_ref(), &target),
        pools: Pools::new(target, CONNECTIONS),
        gate: Gate::new(0, None),
        jobs: Jobs::default(),
        ending: tokio_util::sync::CancellationToken::new(),
        started: Instant::now(),
        rest: None,
        tuned: directory.as_ref().filter(|_| own).map(server::remembered).unwrap_or_default(),
        machine: layout.map(|layout| machine::read(&layout.data)),
    };
    Ok(Arc::new(Context { runtime: Arc::new(runtime), declared: Arc::new(declared) }))
}

/// What the passwords of the service's roles follow from: the password of the declared role, else a secret beside the
/// instance's data.
///
/// # Errors
/// `machine` when the secret cannot be kept.
pub fn seed(directory: &InstanceDirectory, target: &Target) -> Result<Seed, Problem> {
    match &target.password {
        Some(password) => Ok(Seed::new(password.clone())),
        None => directory.service_secret().map(Seed::new),
    }
}

/// The address to show: over TCP, without the password.
pub fn shown(spec: &Spec, layout: Option<&Layout>, target: &Target) -> String {
    let over_tcp = layout.and_then(|layout| layout.tcp_target().ok());
    over_tcp.as_ref().unwrap_or(target).with_database(database(spec)).url()
}

/// The database to show where none is named: the one that keeps Howdah's own tables, else the server's.
pub fn database(spec: &Spec) -> &str {
    spec.home_database().unwrap_or("postgres")
}

/// Whether Howdah is to run the server itself, and has not made it yet.
///
/// # Errors
/// Mistakes in the declared address; `usage` when there is no place for Howdah's data.
pub fn never_made(declaration: &Declaration) -> Result<bool, Problem> {
    if find::declared(&declaration.spec.server)?.is_some() {
        return Ok(false);
    }
    let home = home()?;
    let directory = InstanceDirectory::existing(declaration, &home.instances());
    let absent = |directory: InstanceDirectory| {
        let layout = Layout::new(&home, &directory.id, &declaration.spec.server);
        directory.record().is_none() && layout.state() == State::Absent
    };
    Ok(directory.is_none_or(absent))
}

/// Where PostgreSQL is for this declaration now.
///
/// # Errors
/// `unreachable` when the instance's server does not run; mistakes in the declared address.
pub fn target(declaration: &Declaration, home: &Home) -> Result<Target, Problem> {
    if let Some(target) = find::declared(&declaration.spec.server)? {
        return Ok(target);
    }
    let not_running = || {
        Problem::new(Kind::Unreachable, format!("`{}` does not run", declaration.spec.name))
            .hint("Start it with `howdah up`.")
    };
    let directory = InstanceDirectory::existing(declaration, &home.instances()).ok_or_else(not_running)?;
    let layout = Layout::new(home, &directory.id, &declaration.spec.server);
    match layout.state() {
        State::Running { .. } => layout.target(),
        State::Absent | State::Stopped => Err(not_running()),
    }
}

/// Stops what is left of an instance whose server is not there (any more, or yet). Says whether there was something. `tell`
/// is called with what is waited for.
///
/// # Errors
/// `conflict` when a command works with it for long; what stopping says.
pub async fn stop_rest(
    directory: &InstanceDirectory,
    layout: &Layout,
    mut tell: impl FnMut(String),
) -> Result<bool, Problem> {
    let waiting = |holder: &Holder| {
        let command = holder.command.as_deref().unwrap_or_default();
        tell(format!("waiting for `howdah {command}` (process {})", holder.process.pid));
    };
    let _lock = match instance_lock::wait(directory, Use::Command("down"), waiting).await? {
        Claim::Ours(lock) => lock,
        // A server that is starting: it takes PostgreSQL with it.
        Claim::Taken(Some(holder)) if !holder.is_command() => {
            return background::stop(layout, &holder.process, tell).await.map(|()| true);
        }
        Claim::Taken(holder) => return Err(instance_lock::taken(directory, holder.as_ref())),
    };
    let State::Running { pid, .. } = layout.state() else { return Ok(false) };
    let say = |waited: Duration| {
        tell(format!(
            "waiting for {} (process {pid}): {} s",
            background::under_way(layout),
            waited.as_secs()
        ));
    };
    let stopped = background::saying(layout.stop(Patience::default()), say).await?;
    Ok(stopped != Stopped::WasNotRunning)
}

/// Environment variable by which `howdah env` says that `HOWDAH_URL` names the server of the declaration itself: a command
/// in the same shell finds that one by its declaration, with the owner's token, also after it has moved to another port.
pub const OWN_REST_VARIABLE: &str = "HOWDAH_OWN_URL";
