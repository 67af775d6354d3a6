//! Carries a plan out.

use std::collections::HashMap;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use howdah_plan::migrate::live::Live;
use howdah_plan::migrate::{self, Effect, PasswordFrom, Plan, Step, diff};
use howdah_plan::problem::{Kind, Problem};
use howdah_plan::service::{Purpose, role_name};
use howdah_plan::spec::Spec;
use howdah_plan::spec::resolve::quote_literal;
use rand::Rng;
use tokio_postgres::Client;

use super::lock::{Lock, application_name};
use super::{ApplyEvent, Options, Outcome, Progress, build, facts};
use howdah_postgres::problem::from_pg;
use howdah_postgres::{Own, Pools, preflight};

/// How often a plan is made anew. The first pass does it all unless somebody else changes things meanwhile.
const PASSES: usize = 3;

/// The extension that a platform may have to be asked for.
const PGVECTOR: &str = "vector";

/// Makes the server what `spec` declares.
///
/// Takes the lock, reads the facts, plans, carries the steps out and looks again until nothing is left to do.
///
/// # Errors
/// `conflict` when another run is under way; the first of [`Plan::problems`], after everything that does not depend on them
/// is done; what the server says to a step, with the step in the detail. Whatever was done stays done, and the next run goes
/// on from there.
pub async fn run(
    pools: &Pools,
    spec: &Spec,
    options: &Options,
    progress: Progress<'_>,
) -> Result<Outcome, Problem> {
    let lock = Lock::take(pools, &spec.name).await?;
    let mut runner = Runner {
        pools,
        spec,
        options,
        progress,
        lock,
        sessions: HashMap::new(),
        watcher: None,
        live: Live::default(),
        done: Vec::new(),
    };
    for pass in 0..PASSES {
        runner.live = facts::read(pools, spec).await?;
        let mut planning = options.plan.clone();
        // Passwords cannot be seen: to set them in every pass would never end.
        planning.set_passwords &= pass == 0;
        planning.set_service_passwords &= pass == 0;
        let plan = diff(spec, &runner.live, &planning);
        if plan.steps.is_empty() {
            return runner.ended(plan).await;
        }
        (progress)(ApplyEvent::Planned(plan.clone()));
        runner.carry_out(&plan).await?;
    }
    let live = facts::read(pools, spec).await?;
    let planning =
        migrate::Options { set_passwords: false, set_service_passwords: false, ..options.plan.clone() };
    let left = diff(spec, &live, &planning);
    if left.steps.is_empty() {
        return runner.ended(left).await;
    }
    let ids: Vec<&str> = left.steps.iter().map(|step| step.id.as_str()).collect();
    Err(Problem::new(Kind::Internal, "the server is not as declared after every step was carried out")
        .detail(format!("left after {PASSES} passes: {}", ids.join(", ")))
        .hint("Report it with the output of `howdah plan`."))
}

/// The first thing that could not be done, the others and what was done in its detail.
fn impossible(plan: &Plan, done: usize) -> Result<(), Problem> {
    let Some((first, more)) = plan.problems.split_first() else { return Ok(()) };
    let mut problem = first.clone();
    let mut details: Vec<String> = problem.detail.take().into_iter().collect();
    if !more.is_empty() {
        let more: Vec<String> = more.iter().map(|problem| problem.message.clone()).collect();
        details.push(format!("also: {}", more.join("; ")));
    }
    match done {
        0 => {}
        1 => details.push("what does not depend on it is done: 1 step".to_owned()),
        many => details.push(format!("what does not depend on it is done: {many} steps")),
    }
    problem.detail = (!details.is_empty()).then(|| details.join("; "));
    Err(problem)
}

struct Runner<'a> {
    pools: &'a Pools,
    spec: &'a Spec,
    options: &'a Options,
    progress: Progress<'a>,
    lock: Lock,
    /// The connection that steps run on, by its database.
    sessions: HashMap<String, Own>,
    /// Looks on while an index is built, from the same database: only there an access method's phases have names.
    watcher: Option<Own>,
    live: Live,
    done: Vec<String>,
}

impl Runner<'_> {
    /// What a run ends with that has nothing more to do.
    async fn ended(self, left: Plan) -> Result<Outcome, Problem> {
        if let Err(problem) = impossible(&left, self.done.len()) {
            return Err(match left.unavailable.iter().any(|name| name == PGVECTOR) {
                true => self.with_platform(problem, None).await,
                false => problem,
            });
        }
        Ok(Outcome { done: self.done, restart: left.restart.clone(), left, declaration: None })
    }

    async fn carry_out(&mut self, plan: &Plan) -> Result<(), Problem> {
        let verifiers = self.verifiers(plan)?;
        for (at, step) in plan.steps.iter().enumerate() {
            if self.options.cancel.is_cancelled() {
                return Err(Problem::new(Kind::Failed, format!("ended before step `{}`", step.id))
                    .hint("Run it again: it goes on from there."));
            }
            if self.options.stop_after.is_some_and(|most| self.done.len() >= most) {
                return Err(Problem::new(Kind::Failed, format!("stopped before step `{}`", step.id)));
            }
            (self.progress)(ApplyEvent::Step { number: at + 1, of: plan.steps.len(), step: step.clone() });
            let begin = Instant::now();
            self.step(step, &verifiers).await?;
            self.done.push(step.id.clone());
            (self.progress)(ApplyEvent::Done { id: step.id.clone(), took: begin.elapsed() });
        }
        Ok(())
    }

    /// SCRAM verifiers by variable. All are made before the first step: a missing variable stops nothing half-way. Only
    /// verifiers are sent, so that no password reaches the server's log.
    fn verifiers(&self, plan: &Plan) -> Result<HashMap<String, String>, Problem> {
        let mut verifiers = HashMap::new();
        let mut missing = Vec::new();
        for password in plan.steps.iter().filter_map(|step| step.password.as_ref()) {
            let own = self.options.environment.get(&password.env).map(|secret| secret.expose().to_owned());
            let clear = own.or_else(|| std::env::var(&password.env).ok()).filter(|clear| !clear.is_empty());
            // Nobody waits for the password of a role that the service works as: it sets its own when it starts.
            let clear = clear.or_else(|| self.serves(password).then(random_password));
            match clear {
                Some(clear) => {
                    let verifier = postgres_protocol::password::scram_sha_256(clear.as_bytes());
                    verifiers.insert(password.env.clone(), verifier);
                }
                None => missing.push(password),
            }
        }
        let Some(first) = missing.first() else { return Ok(verifiers) };
        let roles: Vec<String> = missing
            .iter()
            .map(|password| format!("`{}` for role `{}`", password.env, password.role))
            .collect();
        let exports: Vec<String> = missing.iter().map(|password| format!("{}=…", password.env)).collect();
        Err(Problem::new(Kind::Usage, format!("variable `{}` is not set", first.env))
            .detail(format!("passwords are missing: {}", roles.join(", ")))
            .hint(format!("Set them and run the command again: `export {}`.", exports.join(" "))))
    }

    /// Whether a password is one of a role that the service works as.
    fn serves(&self, password: &PasswordFrom) -> bool {
        Purpose::of_variable(&password.env)
            .is_some_and(|purpose| role_name(self.spec, purpose) == password.role)
    }

    async fn step(&mut self, step: &Step, verifiers: &HashMap<String, String>) -> Result<(), Problem> {
        let database = step.database.clone().unwrap_or_else(|| self.live.server.maintenance.clone());
        if let Some(Effect::DropsDatabase(name)) = &step.effect {
            self.sessions.remove(name);
            self.pools.forget(name);
        }
        let verifier = step.password.as_ref().and_then(|password| verifiers.get(&password.env));
        let statements = step.statements(verifier.map(String::as_str));
        let reloads = step.effect == Some(Effect::ReloadsConfiguration);
        self.session(&database).await?;
        self.watcher = match &step.build {
            Some(_) => self.pools.own(&database).await.ok(),
            None => None,
        };
        let Some(client) = self.sessions.get(&database) else {
            return Err(Problem::new(Kind::Internal, "a session is lost"));
        };
        let before = if reloads { load_time(client).await } else { None };
        if let Some(index) = &step.build {
            build::prepare(client, index, self.options, self.progress).await?;
        }
        let mut result = self.statements(client, step, &statements).await;
        if let Err((error, at)) = &result
            && (step.transactional || *at == 0)
            && build::lacks_shared_memory(error)
        {
            let retry = self.without_workers(client, step).await;
            retry.map_err(|e| from_pg(&e, "build an index without workers"))?;
            result = self.statements(client, step, &statements).await;
        }
        if let Err((error, statement)) = result {
            let redacted = step.sql.get(statement).cloned().unwrap_or_default();
            let problem = explained(&error, step, &redacted);
            self.sessions.remove(&database);
            let refused = problem.kind == Kind::Forbidden
                && step.effect == Some(Effect::CreatesExtension(PGVECTOR.to_owned()));
            return Err(match refused {
                true => self.with_platform(problem, step.database.as_deref()).await,
                false => problem,
            });
        }
        if step.build.is_some() {
            let _ = client.batch_execute("RESET maintenance_work_mem").await;
        }
        if reloads {
            wait_for_reload(client, before).await;
        }
        Ok(())
    }

    /// Where pgvector is missing or may not be created: the steps for the platform that the server is on.
    async fn with_platform(&self, problem: Problem, database: Option<&str>) -> Problem {
        let database = database.unwrap_or(&self.live.server.maintenance);
        match preflight::preflight(self.pools, database).await {
            Err(judged) if matches!(judged.kind, Kind::Machine | Kind::Forbidden) => judged,
            _ => problem,
        }
    }

    /// Makes sure that there is a session in a database.
    async fn session(&mut self, database: &str) -> Result<(), Problem> {
        if self.sessions.get(database).is_some_and(|client| !client.is_closed()) {
            return Ok(());
        }
        // Steps come database by database; the session of the one before has done its part.
        self.sessions.clear();
        let client = self.pools.own(database).await?;
        let mut schemas = vec!["public".to_owned()];
        if let Some(live) = self.live.databases.get(database) {
            for extension in live.inside.extensions.values() {
                if !schemas.contains(&extension.schema) && extension.schema != "pg_catalog" {
                    schemas.push(extension.schema.clone());
                }
            }
        }
        let name = quote_literal(&application_name(&self.spec.name));
        let settings = format!(
            "SET application_name = {name}; SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; \
             SET client_min_messages = warning; {}",
            build::search_path(&schemas)
        );
        client.batch_execute(&settings).await.map_err(|e| from_pg(&e, "prepare a session"))?;
        // So that a long statement ends soon after this program does. Not every system can.
        let _ = client.batch_execute("SET client_connection_check_interval = '2s'").await;
        self.sessions.insert(database.to_owned(), client);
        Ok(())
    }

    async fn statements(
        &self,
        client: &Client,
        step: &Step,
        statements: &[String],
    ) -> Result<(), (tokio_postgres::Error, usize)> {
        if step.transactional {
            self.in_transaction(client, step, statements).await
        } else {
            self.one_by_one(client, step, statements).await
        }
    }

    async fn in_transaction(
        &self,
        client: &Client,
        step: &Step,
        statements: &[String],
    ) -> Result<(), (tokio_postgres::Error, usize)> {
        let wait = self.options.lock_timeout.as_millis().clamp(1, i32::MAX as u128);
        let begin = format!("BEGIN; SET LOCAL lock_timeout = {wait}");
        client.batch_execute(&begin).await.map_err(|e| (e, 0))?;
        for (at, statement) in statements.iter().enumerate() {
            self.execute(client, step, at, statement).await.map_err(|e| (e, at))?;
        }
        client.batch_execute("COMMIT").await.map_err(|e| (e, statements.len()))
    }

    async fn one_by_one(
        &self,
        client: &Client,
        step: &Step,
        statements: &[String],
    ) -> Result<(), (tokio_postgres::Error, usize)> {
        // A concurrent build waits for others by itself; given up, it would leave an invalid index behind.
        client.batch_execute("SET lock_timeout = 0").await.map_err(|e| (e, 0))?;
        for (at, statement) in statements.iter().enumerate() {
            self.execute(client, step, at, statement).await.map_err(|e| (e, at))?;
        }
        Ok(())
    }

    /// Takes back what a step left whose parallel workers got no shared memory, and lets the session do without them.
    async fn without_workers(&self, client: &Client, step: &Step) -> Result<(), tokio_postgres::Error> {
        let what = step.build.as_ref().map_or(step.id.as_str(), |build| build.index.as_str());
        (self.progress)(ApplyEvent::Note(format!(
            "`{what}` is built without parallel workers: the server has too little shared memory for them"
        )));
        match &step.build {
            _ if step.transactional => client.batch_execute("ROLLBACK").await?,
            Some(index) => client.batch_execute(&build::drop_left(index)).await?,
            None => {}
        }
        client.batch_execute("SET max_parallel_maintenance_workers = 0").await
    }

    async fn execute(
        &self,
        client: &Client,
        step: &Step,
        at: usize,
        statement: &str,
    ) -> Result<(), tokio_postgres::Error> {
        match &step.build {
            Some(index) if at == index.statement => {
                let watcher = self.watcher.as_ref().unwrap_or(&self.lock.client);
                build::watched(client, watcher, index, statement, self.progress).await
            }
            _ => client.batch_execute(statement).await,
        }
    }
}

/// 256 random bits that nobody is told.
fn random_password() -> String {
    let mut bytes = [0_u8; 32];
    rand::rng().fill_bytes(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What the server says to a step.
fn explained(error: &tokio_postgres::Error, step: &Step, statement: &str) -> Problem {
    let mut problem = from_pg(error, &format!("carry out step `{}`", step.id));
    let detail = problem.detail.take().map(|detail| format!("{detail}; ")).unwrap_or_default();
    let statement = statement.split_whitespace().collect::<Vec<_>>().join(" ");
    problem.detail = Some(format!("{detail}statement: {statement}"));
    if problem.hint.is_none() {
        problem.hint = Some("What was done before stays done; `howdah apply` goes on from here.".into());
    }
    problem
}

/// When this session read the configuration last.
async fn load_time(client: &Client) -> Option<String> {
    client.query_one("SELECT pg_conf_load_time()::text", &[]).await.ok().map(|row| row.get(0))
}

/// The server reads its configuration a moment after it is told to.
async fn wait_for_reload(client: &Client, before: Option<String>) {
    for _ in 0..100 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        if load_time(client).await != before {
            break;
        }
    }
    // Other sessions are told at the same time, but one after the other.
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
}
