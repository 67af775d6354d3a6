//! What goes on when the request that asked for it is over?
//!
//! A skill that may outlive a request ([`Lasts`]) runs as a job: a row of `howdah.jobs`, and a task of the server that does
//! not end with the caller. The caller waits as long as his request may, and then goes away with the job's id; a second
//! request of the same meaning finds the first job instead of beginning again. Progress, result and problem are in the row,
//! the same over every face.
//!
//! A server that is told to stop gives its jobs back; one that is killed leaves rows whose process is gone, which the next
//! server takes over and begins again, [`ATTEMPTS`] times at the most. So what runs as a job must be safe to repeat.

pub mod store;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use howdah_plan::problem::{DoNow, Kind, Problem};
use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::store::{Begun, End, Job, New, Orphan, Progress, State, Store, Wish};
use crate::access::caller::Caller;
use crate::access::scope::Scope;
use crate::observe::progress::{self, Event};
use crate::runtime::Context;
use crate::runtime::process::Identity;
use crate::skills::{Call, Deadline, Lasts, Skill};
use howdah_postgres::Purpose;

/// How often a job says that it is alive.
const BEAT: Duration = Duration::from_secs(1);
/// How long a process must have written no heartbeat before a server elsewhere takes its jobs over.
const SILENT: Duration = Duration::from_secs(60);
/// How often a server looks for jobs that nobody runs.
const ROUND: Duration = Duration::from_secs(10);
/// Jobs that run at a time, besides those that run alone; the others wait in the table.
const AT_ONCE: usize = 4;
/// Jobs that may wait for one another.
const WAITING: usize = 256;
/// How long a job waits for its connections at the most.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often a job is begun at the most.
const ATTEMPTS: i32 = 3;
/// How long ended jobs are remembered, in days.
const REMEMBERED_DAYS: i32 = 30;
/// Time kept for the answer when a request waits for a job.
const MARGIN: Duration = Duration::from_millis(500);
/// Longest time given to jobs when the server stops.
const LAST_WORK: Duration = Duration::from_secs(10);

/// What came of asking for a job.
#[derive(Debug)]
pub enum Asked {
    /// It ended in time, and this is what the skill gave.
    Ended(Value),
    /// It goes on.
    UnderWay(Box<Job>),
}

/// The jobs that this process runs.
#[derive(Clone)]
pub struct Jobs {
    /// This process, as the table names it: machine, process id, when it started, and a part of its own.
    server: Arc<str>,
    running: Arc<Mutex<HashMap<Uuid, Ended>>>,
    /// Places for jobs that run beside others.
    places: Arc<Semaphore>,
    /// One at a time asks whether a skill that runs alone is under way, and puts it down.
    alone: Arc<tokio::sync::Mutex<()>>,
    /// One look for abandoned jobs at a time.
    looking: Arc<tokio::sync::Mutex<()>>,
    /// The server stops: what is running is given back.
    stopping: CancellationToken,
}

/// How a job of this process ended, once it has.
type Ended = watch::Receiver<Option<Result<Value, Problem>>>;

/// What a job tells of itself, until the next beat writes it down.
#[derive(Default)]
struct Told(Mutex<Progress>);

impl progress::Progress for Told {
    fn tell(&self, event: Event) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Begin { step } => *now = Progress { step, ..Progress::default() },
            Event::Advanced { done, total, unit, note } => {
                (now.done, now.total, now.unit) = (done, total, unit);
                if !note.is_empty() {
                    now.note = note;
                }
            }
            Event::Done { note, .. } | Event::Note { text: note } => now.note = note,
            Event::LeftOut { place, reason } => now.note = format!("left out {place}: {reason}"),
            Event::Ready { .. } | Event::Failed { .. } => {}
        }
    }
}

impl Told {
    fn now(&self) -> Progress {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The process that the table names, if it is one of this machine.
fn process_here(named: &str) -> Option<Identity> {
    let mut parts = named.split(' ');
    let (host, pid, started) = (parts.next()?, parts.next()?, parts.next()?);
    (host == hostname()).then(|| Some(Identity { pid: pid.parse().ok()?, started: started.to_owned() }))?
}

fn hostname() -> String {
    nix::unistd::gethostname().map(|name| name.to_string_lossy().replace(' ', "_")).unwrap_or_default()
}

impl Default for Jobs {
    fn default() -> Self {
        let process = Identity::own().map_or_else(String::new, |one| format!("{} {}", one.pid, one.started));
        Jobs {
            server: format!("{} {process} {}", hostname(), Uuid::new_v4()).into(),
            running: Arc::default(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            alone: Arc::default(),
            looking: Arc::default(),
            stopping: CancellationToken::new(),
        }
    }
}

impl Jobs {
    /// Runs a skill as a job and waits for it as long as the call allows.
    ///
    /// # Errors
    /// `usage` when the input does not fit; `conflict` when the same skill is under way with another input and only one may
    /// be; what the skill says, when it ends in time.
    pub async fn ask(
        &self,
        context: &Arc<Context>,
        skill: &'static Skill<Context>,
        call: Call,
    ) -> Result<Asked, Problem> {
        (skill.check)(&call.input)?;
        if call.input.to_string().contains("\\u0000") {
            return Err(Problem::new(Kind::Usage, "the input holds a NUL character"));
        }
        if self.lock().len() >= WAITING {
            return Err(Problem::new(Kind::Busy, format!("`{WAITING}` jobs wait already"))
                .hint("Ask again when some of them are done; see `howdah jobs list`."));
        }
        let store = context.jobs_store(call.deadline)?;
        let hash = store::hash(&call.input);
        let alone = match skill.lasts {
            Lasts::JobAlone => Some(self.alone.lock().await),
            Lasts::Request | Lasts::OnDemand => None,
        };
        if alone.is_some()
            && let Some((there, same)) = store.under_way(skill.name, &hash).await?
        {
            if !same {
                return Err(already(skill.name, &there));
            }
            drop(alone);
            return self.wait(&store, there, &call).await;
        }
        let caller = call.caller.identity();
        let new = New {
            id: Uuid::now_v7(),
            skill: skill.name,
            input: &call.input,
            hash: &hash,
            caller: &caller,
            key: call.caller.key,
            idempotency_key: call.idempotency_key.as_deref(),
            server: &self.server,
        };
        // Known here before it is in the table: nobody who looks for abandoned jobs takes it for one.
        let tell = self.reserve(new.id);
        let created = store.create(&new).await;
        let job = match created {
            Ok((job, true)) => {
                self.begin(context.clone(), skill, job.id, call.caller.clone(), call.input.clone(), tell);
                job
            }
            not_new => {
                self.lock().remove(&new.id);
                not_new?.0
            }
        };
        drop(alone);
        self.wait(&store, job, &call).await
    }

    /// Notes a job as one of this process.
    fn reserve(&self, id: Uuid) -> watch::Sender<Option<Result<Value, Problem>>> {
        let (tell, ended) = watch::channel(None);
        self.lock().insert(id, ended);
        tell
    }

    /// Waits for a job as long as the call allows.
    async fn wait(&self, store: &Store, job: Job, call: &Call) -> Result<Asked, Problem> {
        if call.detached && !job.state.is_final() {
            return Ok(Asked::UnderWay(Box::new(job)));
        }
        let until = call.deadline.instant().map(|at| at.checked_sub(MARGIN).unwrap_or(at));
        let here = self.lock().get(&job.id).cloned();
        let ended = async {
            if let Some(mut here) = here
                && let Ok(ended) = here.wait_for(Option::is_some).await
            {
                return ended.clone().unwrap_or_else(|| Err(lost()));
            }
            // Another server's, or one of before.
            loop {
                match store.get(job.id).await {
                    Ok(Job { state: State::Succeeded, result, .. }) => return Ok(result.unwrap_or_default()),
                    Ok(Job { state, problem, .. }) if state.is_final() => {
                        return Err(problem.unwrap_or_else(lost));
                    }
                    Ok(_) => tokio::time::sleep(BEAT / 4).await,
                    Err(problem) => return Err(problem),
                }
            }
        };
        match until {
            None => ended.await.map(Asked::Ended),
            Some(until) => match tokio::time::timeout_at(until.into(), ended).await {
                Ok(ended) => ended.map(Asked::Ended),
                Err(_) => Ok(Asked::UnderWay(Box::new(job))),
            },
        }
    }

    fn begin(
        &self,
        context: Arc<Context>,
        skill: &'static Skill<Context>,
        id: Uuid,
        caller: Caller,
        input: Value,
        tell: watch::Sender<Option<Result<Value, Problem>>>,
    ) {
        let jobs = self.clone();
        tokio::spawn(async move {
            let outcome = jobs.run(&context, skill, id, caller, input).await;
            jobs.lock().remove(&id);
            tell.send_replace(Some(outcome));
        });
    }

    /// Runs a job to its end and writes down what came of it.
    async fn run(
        &self,
        context: &Arc<Context>,
        skill: &'static Skill<Context>,
        id: Uuid,
        caller: Caller,
        input: Value,
    ) -> Result<Value, Problem> {
        let _place = match skill.lasts {
            Lasts::JobAlone => None,
            Lasts::Request | Lasts::OnDemand => tokio::select! {
                place = Arc::clone(&self.places).acquire_owned() => place.ok(),
                () = self.stopping.cancelled() => return Err(given_back()),
            },
        };
        let store = context.jobs_store(Deadline::NEVER)?;
        match store.begin(id, &self.server).await? {
            Begun::Running => {}
            Begun::Cancelled => return Err(cancelled()),
            Begun::NotOurs => return Err(given_back()),
        }
        tracing::info!(job = %id, skill = skill.name, caller = caller.name, "a job begins");
        let told = Arc::new(Told::default());
        let cancel = CancellationToken::new();
        let call = Call {
            progress: Arc::clone(&told) as _,
            cancel: cancel.clone(),
            deadline: Deadline::after(LONGEST),
            ..Call::new(caller, input)
        };
        let mut work = tokio::spawn(context.run(skill, call));
        let ended = self.follow(&store, id, &told, &cancel, &mut work).await;
        let whole = |value: &Value| value["interrupted"] != true;
        let end = match ended {
            Followed::NotOurs => {
                tracing::warn!(job = %id, "a job is another server's by now, and ends here");
                return Err(given_back());
            }
            // What was done before the wish was heard is done.
            Followed::Ended(Ok(value), _) if whole(&value) => {
                End { state: State::Succeeded, result: Some(value), problem: None }
            }
            Followed::Ended(_, Why::ServerStops) => {
                tracing::info!(job = %id, "a job is given back: the server stops");
                store.give_back(id, &self.server).await?;
                return Err(given_back());
            }
            Followed::Ended(so_far, Why::Wanted) => {
                End { state: State::Cancelled, result: so_far.ok(), problem: Some(cancelled()) }
            }
            Followed::Ended(Ok(value), Why::Itself) => {
                End { state: State::Succeeded, result: Some(value), problem: None }
            }
            Followed::Ended(Err(problem), Why::Itself) => End::badly(State::Failed, problem),
        };
        self.write_end(&store, id, &end, &told.now()).await;
        match (end.problem, end.result) {
            (Some(problem), _) => Err(problem),
            (None, result) => Ok(result.unwrap_or_default()),
        }
    }

    /// Says once a second that a job is alive, and ends it when somebody wants that.
    async fn follow(
        &self,
        store: &Store,
        id: Uuid,
        told: &Told,
        cancel: &CancellationToken,
        work: &mut tokio::task::JoinHandle<Result<Value, Problem>>,
    ) -> Followed {
        let mut why = Why::Itself;
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // One and the same from the moment it is asked to end.
        let grace = grace(cancel.clone());
        tokio::pin!(grace);
        loop {
            tokio::select! {
                ended = &mut *work => {
                    return Followed::Ended(ended.unwrap_or_else(|error| Err(broken_off(&error))), why);
                }
                _ = beat.tick() => match store.beat(id, &self.server, &told.now()).await {
                    Ok(Wish::GoOn) => {}
                    Ok(Wish::End) if why == Why::Itself => {
                        why = Why::Wanted;
                        cancel.cancel();
                    }
                    Ok(Wish::End) => {}
                    Ok(Wish::NotOurs) => {
                        work.abort();
                        return Followed::NotOurs;
                    }
                    Err(problem) => tracing::warn!(job = %id, "how far a job is was not noted: {problem}"),
                },
                () = self.stopping.cancelled(), if why == Why::Itself => {
                    why = Why::ServerStops;
                    cancel.cancel();
                }
                () = &mut grace => {
                    work.abort();
                    return Followed::Ended(Err(cancelled()), why);
                }
            }
        }
    }

    /// Writes the end down, however long that takes: work that is done must not be done again.
    async fn write_end(&self, store: &Store, id: Uuid, end: &End, progress: &Progress) {
        loop {
            let Err(problem) = store.end(id, &self.server, end, progress).await else { break };
            tracing::warn!(job = %id, detail = problem.detail, "the end of a job was not written down: {problem}");
            if !matches!(problem.do_now, DoNow::Retry | DoNow::FixMachine) {
                let unwritable = Problem::new(Kind::Failed, "it ended, and what it gave cannot be kept")
                    .detail(problem.message);
                let badly = End::badly(State::Failed, unwritable);
                if let Err(problem) = store.end(id, &self.server, &badly, &Progress::default()).await {
                    tracing::error!(job = %id, "nor that it failed: {problem}");
                }
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(BEAT) => {}
                () = self.stopping.cancelled() => break,
            }
        }
        tracing::info!(job = %id, state = end.state.name(), "a job ended");
    }

    /// Goes on with jobs whose server is gone, in rounds, until the server stops. `context` gives what jobs run on now.
    pub async fn look_after(self, skills: &'static [Skill<Context>], context: impl Fn() -> Arc<Context>) {
        let mut rounds = tokio::time::interval(ROUND);
        loop {
            tokio::select! {
                _ = rounds.tick() => {}
                () = self.stopping.cancelled() => return,
            }
            if let Err(problem) = self.round(skills, &context()).await {
                tracing::warn!(detail = problem.detail, "jobs were not looked after: {problem}");
            }
        }
    }

    /// One look for jobs that nobody runs.
    ///
    /// # Errors
    /// What PostgreSQL says.
    pub async fn round(
        &self,
        skills: &'static [Skill<Context>],
        context: &Arc<Context>,
    ) -> Result<(), Problem> {
        let _alone = self.looking.lock().await;
        let store = context.jobs_store(Deadline::after(ROUND))?;
        for orphan in store.unfinished().await? {
            let abandoned = match orphan.server.as_deref() {
                None => true,
                Some(named) if *named == *self.server => !self.lock().contains_key(&orphan.id),
                Some(named) => {
                    let dead = process_here(named).is_some_and(|process| !process.is_alive());
                    dead || orphan.silent_for > SILENT.as_secs_f64()
                }
            };
            if abandoned && store.take_over(&orphan, &self.server).await? {
                self.go_on(skills, context, &store, orphan).await?;
            }
        }
        store.forget(REMEMBERED_DAYS).await?;
        Ok(())
    }

    async fn go_on(
        &self,
        skills: &'static [Skill<Context>],
        context: &Arc<Context>,
        store: &Store,
        orphan: Orphan,
    ) -> Result<(), Problem> {
        let Orphan { id, skill, caller, key, attempt, cancel_requested, .. } = orphan;
        let given_up = if cancel_requested {
            Some((State::Cancelled, cancelled()))
        } else if attempt >= ATTEMPTS {
            let problem =
                Problem::new(Kind::Failed, format!("the server ended {attempt} times while it ran"))
                    .hint("Look into the log for why, then ask again.")
                    .do_now(DoNow::FixMachine);
            Some((State::Failed, problem))
        } else {
            None
        };
        let skill = skills.iter().find(|one| one.name == skill && one.lasts != Lasts::Request);
        match (given_up, skill) {
            (Some((state, problem)), _) => {
                store.end(id, &self.server, &End::badly(state, problem), &Progress::default()).await?;
            }
            (None, None) => {
                let problem = Problem::new(Kind::Failed, "this howdah does not know the skill of the job");
                let end = End::badly(State::Failed, problem);
                store.end(id, &self.server, &end, &Progress::default()).await?;
            }
            (None, Some(skill)) => {
                tracing::info!(job = %id, attempt, "a job whose server is gone is begun again");
                let caller = Caller { key, name: caller, tenant: None, scope: skill.scope };
                let tell = self.reserve(id);
                let input = store.input(id).await?;
                self.begin(Arc::clone(context), skill, id, caller, input, tell);
            }
        }
        Ok(())
    }

    /// The server stops: gives back what is running.
    pub async fn stop(&self) {
        self.stopping.cancel();
        let begun = tokio::time::Instant::now();
        while !self.lock().is_empty() && begun.elapsed() < LAST_WORK {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Ended>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Context {
    /// The jobs of the deployment.
    ///
    /// # Errors
    /// `usage` when no database is declared.
    pub fn jobs_store(&self, deadline: Deadline) -> Result<Store, Problem> {
        let pools = self.runtime.pools.purpose(Purpose::Control).account("jobs").until(deadline.instant());
        let (database, deployment) = (self.declared.database()?.to_owned(), self.deployment().to_owned());
        Ok(Store { pools, database, deployment })
    }
}

/// Whether a caller may see a job: his own, or any with the scope `admin`.
pub fn may_see(caller: &Caller, job: &Job) -> bool {
    caller.scope >= Scope::Admin || caller.identity() == job.caller
}

/// Why a job ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// It is done.
    Itself,
    /// Somebody wants it to.
    Wanted,
    /// The server stops.
    ServerStops,
}

/// What came of following a job.
enum Followed {
    /// It ended, and whether it was asked to.
    Ended(Result<Value, Problem>, Why),
    /// Another server has it.
    NotOurs,
}

/// Some time after work was asked to end.
async fn grace(cancel: CancellationToken) {
    cancel.cancelled().await;
    tokio::time::sleep(LAST_WORK / 2).await;
}

fn already(skill: &str, there: &Job) -> Problem {
    Problem::new(Kind::Conflict, format!("`{skill}` is under way with another input"))
        .detail(format!("job {}, asked for by `{}`", there.id, there.caller))
        .hint(format!(
            "Wait for it: `howdah jobs show {}`; or end it: `howdah jobs cancel {}`.",
            there.id, there.id
        ))
}

fn cancelled() -> Problem {
    Problem::new(Kind::Failed, "the job was cancelled").do_now(DoNow::FixInput)
}

fn given_back() -> Problem {
    Problem::new(Kind::Unreachable, "the server stops; the job goes on when it is there again")
        .do_now(DoNow::Retry)
}

fn lost() -> Problem {
    Problem::new(Kind::Internal, "the job ended without saying how")
}

fn broken_off(error: &tokio::task::JoinError) -> Problem {
    if error.is_panic() {
        return Problem::new(Kind::Internal, "the job met a fault of howdah")
            .hint("Report it with the log of the server.");
    }
    cancelled()
}
