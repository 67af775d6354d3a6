//! Which PostgreSQL does this declaration mean, and is it up?
//!
//! Either somebody else's, at a declared address, or Howdah's own, started here and supervised for as long as this process
//! lives.

use howdah_plan::problem::{Kind, Problem};
use howdah_plan::spec::Spec;
use howdah_plan::tune::{self, Tuned};

use super::declaration::Declaration;
use super::directory::InstanceDirectory;
use crate::observe::progress::{Progress, TimedStep};
use howdah_postgres::find::{self, FoundServer};
use howdah_postgres::instance::{Begun, Instance, Layout, RunningServer};
use howdah_postgres::{Home, Pools, Target, machine, preflight};

/// A server that answers.
pub enum Server {
    /// Somebody else's.
    There(Target),
    /// Howdah's own.
    Own(Box<Instance>, Box<RunningServer>),
}

impl Server {
    /// How to connect to it.
    pub fn target(&self) -> Target {
        match self {
            Server::There(target) => target.clone(),
            Server::Own(_, running) => running.target.clone(),
        }
    }

    /// Where Howdah's own lies.
    pub fn layout(&self) -> Option<&Layout> {
        match self {
            Server::There(_) => None,
            Server::Own(instance, _) => Some(&instance.layout),
        }
    }
}

/// A server that is known and need not run yet.
pub enum Prepared {
    /// Somebody else's, which answered.
    There(Target),
    /// Howdah's own.
    Own {
        /// The instance.
        instance: Box<Instance>,
        /// Whether its settings are others than those it had.
        changed: bool,
    },
}

/// Finds the server, makes and starts it where it is Howdah's own, and waits until it answers.
///
/// # Errors
/// What finding, initialising and starting say.
pub async fn reach(
    declaration: &Declaration,
    home: &Home,
    directory: &InstanceDirectory,
    report: &dyn Progress,
) -> Result<Server, Problem> {
    let prepared = prepare(declaration, home, directory, report).await?;
    // Nobody says so: it starts, or says why not.
    let never = std::future::pending();
    match prepared.start(report, never).await? {
        Some(server) => Ok(server),
        None => Err(Problem::new(Kind::Internal, "a start was broken off that nobody broke off")),
    }
}

/// Finds the server, and makes it where it is Howdah's own.
///
/// # Errors
/// What finding and initialising say.
pub async fn prepare(
    declaration: &Declaration,
    home: &Home,
    directory: &InstanceDirectory,
    report: &dyn Progress,
) -> Result<Prepared, Problem> {
    let server = &declaration.spec.server;
    let step = TimedStep::begin(report, "finding PostgreSQL");
    let layout = Layout::new(home, &directory.id, server);
    let found = find::locate(server, home, find::existing_major(&layout.data)).await?;
    let programs = match found.found {
        FoundServer::Remote { target, reason } => {
            let checked = preflight(&Pools::new(target.clone(), 1), &target.database).await?;
            let mut note = format!("PostgreSQL {} at {}; {reason}", checked.version, target.place());
            for more in &checked.notes {
                note.push_str("; ");
                note.push_str(more);
            }
            step.done(note);
            return Ok(Prepared::There(target));
        }
        FoundServer::Local(programs) => programs,
    };
    step.done(programs.reason.clone());

    let instance = Instance::new(home, &directory.id, &declaration.spec.server, programs)?;
    let step = TimedStep::begin(report, "preparing the data directory");
    let made = instance.init().await?;
    let settings = settings(&instance, &declaration.spec)?;
    let pairs = settings.iter().map(|one| (one.name.as_str(), one.value.as_str()));
    let changed = instance.configure(pairs)?;
    remember(directory, &settings)?;
    step.done(match (made, changed) {
        (true, _) => format!("made, with {} settings for this machine", settings.len()),
        (false, true) => "there, with changed settings".to_owned(),
        (false, false) => "there".to_owned(),
    });
    Ok(Prepared::Own { instance: Box::new(instance), changed })
}

impl Prepared {
    /// Starts it where it is Howdah's own, and waits until it answers. `told` breaks that off: then the server is stopped,
    /// and there is none.
    ///
    /// # Errors
    /// What starting says.
    pub async fn start(
        self,
        report: &dyn Progress,
        told: impl Future<Output = ()>,
    ) -> Result<Option<Server>, Problem> {
        let (instance, changed) = match self {
            Prepared::There(target) => return Ok(Some(Server::There(target))),
            Prepared::Own { instance, changed } => (instance, changed),
        };
        let step = TimedStep::begin(report, "starting PostgreSQL");
        let running = match instance.start_unless(told).await? {
            Begun::Ready(running) => running,
            Begun::BrokenOff(how) => {
                step.done(format!("broken off: PostgreSQL {}", how.words()));
                return Ok(None);
            }
        };
        if running.adopted && changed {
            running.reload()?;
        }
        let mut note = format!("PostgreSQL {} on port {}", instance.programs.version, running.target.port);
        for more in &running.notes {
            note.push_str("; ");
            note.push_str(more);
        }
        step.done(note);
        Ok(Some(Server::Own(instance, running)))
    }
}

fn settings(instance: &Instance, spec: &Spec) -> Result<Vec<Tuned>, Problem> {
    tune::for_spec(&machine::read(&instance.layout.data), instance.programs.major, spec)
}

/// The settings chosen at the last start, for plans made until the next: what is free on the disk changes by the hour, and
/// a plan must not.
fn remember(directory: &InstanceDirectory, settings: &[Tuned]) -> Result<(), Problem> {
    let wanted: Vec<&Tuned> = settings.iter().filter(|one| !one.declared).collect();
    directory.write("tuned.json", &serde_json::to_string_pretty(&wanted).unwrap_or_default())
}

/// The settings chosen at the last start of an instance that Howdah runs.
pub fn remembered(directory: &InstanceDirectory) -> Vec<Tuned> {
    let text = std::fs::read_to_string(directory.path.join("tuned.json")).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}
