//! Which jobs are there? Rows of `howdah.jobs`, in the database that keeps Howdah's own tables.
//!
//! Every change of state is one UPDATE that names the state it comes from, so of two servers that want the same job one gets
//! it.

use std::collections::BTreeMap;

use howdah_plan::problem::{Kind, Problem};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio_postgres::Row;
use uuid::Uuid;

use howdah_postgres::Pools;
use howdah_postgres::problem::from_pg;

/// A job as anybody may see it who may see it at all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    /// Its id.
    #[schemars(with = "String", extend("format" = "uuid"))]
    pub id: Uuid,
    /// The skill it runs.
    pub skill: String,
    /// How it is.
    pub state: State,
    /// Who asked for it: the id of a key, or `owner`.
    pub caller: String,
    /// How many times it was begun; more than once where a server ended meanwhile.
    pub attempt: i32,
    /// How far it is, or was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// What it gave, once it has succeeded: the output of the skill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Why it did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// When it was asked for.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub created_at: Timestamp,
    /// When it was begun, the last time.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub finished_at: Option<Timestamp>,
}

/// How a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It waits for a server that runs it.
    Queued,
    /// A server runs it.
    Running,
    /// It ended well.
    Succeeded,
    /// It ended badly, and `problem` says why.
    Failed,
    /// Somebody ended it.
    Cancelled,
}

impl State {
    /// Its name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::Running => "running",
            State::Succeeded => "succeeded",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
        }
    }

    /// Whether it stays so.
    pub const fn is_final(self) -> bool {
        matches!(self, State::Succeeded | State::Failed | State::Cancelled)
    }

    fn of(name: &str) -> Option<State> {
        [State::Queued, State::Running, State::Succeeded, State::Failed, State::Cancelled]
            .into_iter()
            .find(|state| state.name() == name)
    }
}

/// How far a job is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// What it does.
    #[serde(default)]
    pub step: String,
    /// Done so far in this step, in `unit`.
    #[serde(default)]
    pub done: u64,
    /// To do in this step; 0 where that is not known.
    #[serde(default)]
    pub total: u64,
    /// Of what: `bytes`, `steps`, `blocks`.
    #[serde(default)]
    pub unit: String,
    /// What else is known, as people read it.
    #[serde(default)]
    pub note: String,
}

/// A job to be.
#[derive(Debug, Clone)]
pub struct New<'a> {
    /// Its id.
    pub id: Uuid,
    /// The skill.
    pub skill: &'a str,
    /// Its input, kept until it has ended.
    pub input: &'a Value,
    /// What tells its input from another: [`hash`].
    pub hash: &'a [u8],
    /// Who asks.
    pub caller: &'a str,
    /// The key that was shown.
    pub key: Option<Uuid>,
    /// The caller's own name for the call.
    pub idempotency_key: Option<&'a str>,
    /// The process that will run it.
    pub server: &'a str,
}

/// A job that a server may have to take over.
#[derive(Debug)]
pub struct Orphan {
    /// Its id.
    pub id: Uuid,
    /// The skill.
    pub skill: String,
    /// Who asked.
    pub caller: String,
    /// The key that was shown.
    pub key: Option<Uuid>,
    /// The process that ran it, or was to.
    pub server: Option<String>,
    /// How many times it was begun.
    pub attempt: i32,
    /// Whether somebody wants it to end.
    pub cancel_requested: bool,
    /// Seconds since that process's last heartbeat.
    pub silent_for: f64,
}

/// How a job ended.
#[derive(Debug, Clone)]
pub struct End {
    /// Its last state.
    pub state: State,
    /// What the skill gave; of a job that was cancelled, what it gave so far.
    pub result: Option<Value>,
    /// Why it did not succeed.
    pub problem: Option<Problem>,
}

impl End {
    /// It did not succeed.
    pub fn badly(state: State, problem: Problem) -> Self {
        End { state, result: None, problem: Some(problem) }
    }
}

/// What the table says of a job that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Nothing new.
    GoOn,
    /// Somebody wants it to end.
    End,
    /// It is another server's by now.
    NotOurs,
}

/// What tells the input of a call from that of another, whatever the order of its fields.
pub fn hash(input: &Value) -> Vec<u8> {
    Sha256::digest(sorted(input).to_string()).to_vec()
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let ordered: BTreeMap<&String, Value> =
                fields.iter().map(|(name, value)| (name, sorted(value))).collect();
            ordered.into_iter().map(|(name, value)| (name.clone(), value)).collect()
        }
        Value::Array(all) => all.iter().map(sorted).collect(),
        plain => plain.clone(),
    }
}

/// What came of beginning a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// It runs here now.
    Running,
    /// It was cancelled before.
    Cancelled,
    /// It is another server's by now.
    NotOurs,
}

const COLUMNS: &str =
    "id, skill, state, caller, attempt, progress, result, problem, created_at, started_at, finished_at";

/// The jobs of one deployment.
#[derive(Debug, Clone)]
pub struct Store {
    /// How to get there.
    pub pools: Pools,
    /// The database that keeps them.
    pub database: String,
    /// Whose they are: those of this deployment, and those that are older than identities.
    pub deployment: String,
}

impl Store {
    /// Puts a job down, or gives the one that the same caller put down before under the same idempotency key. Says whether it
    /// is new.
    ///
    /// # Errors
    /// `conflict` when the key was used for another input; what PostgreSQL says.
    pub async fn create(&self, new: &New<'_>) -> Result<(Job, bool), Problem> {
        let client = self.pools.get(&self.database).await?;
        let doing = "put a job down";
        let sql = format!(
            "INSERT INTO howdah.jobs (id, skill, input, input_hash, caller, key, idempotency_key, server, heartbeat_at,
                                      deployment)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now(), $9)
             ON CONFLICT (skill, caller, deployment, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
             RETURNING {COLUMNS}"
        );
        let New { id, skill, input, hash, caller, key, idempotency_key, server } = new;
        let made = client
            .query_opt(
                &sql,
                &[id, skill, input, hash, caller, key, idempotency_key, server, &self.deployment],
            )
            .await
            .map_err(|error| from_pg(&error, doing))?;
        if let Some(row) = made {
            return Ok((job(&row)?, true));
        }
        let sql = format!(
            "SELECT {COLUMNS}, input_hash = $4 AS same FROM howdah.jobs
             WHERE skill = $1 AND caller = $2 AND idempotency_key = $3 AND deployment = $5"
        );
        let row = client
            .query_one(&sql, &[skill, caller, idempotency_key, hash, &self.deployment])
            .await
            .map_err(|error| from_pg(&error, doing))?;
        if row.get::<_, Option<bool>>("same") != Some(true) {
            return Err(Problem::new(Kind::Conflict, "the idempotency key was used for another call")
                .detail(format!("job {}", row.get::<_, Uuid>("id")))
                .hint("Give each call a key of its own; the same key means the same call.")
                .do_now(howdah_plan::problem::DoNow::FixInput));
        }
        Ok((job(&row)?, false))
    }

    /// The job of a skill that is under way, if one is, and whether its input is this one.
    ///
    /// # Errors
    /// What PostgreSQL says.
    pub async fn under_way(&self, skill: &str, hash: &[u8]) -> Result<Option<(Job, bool)>, Problem> {
        let client = self.pools.get(&self.database).await?;
        let sql = format!(
            "SELECT {COLUMNS}, input_hash = $2 AS same FROM howdah.jobs
             WHERE skill = $1 AND state IN ('queued', 'running') AND deployment IN ('', $3) ORDER BY created_at LIMIT 1"
        );
        let row = client
            .query_opt(&sql, &[&skill, &hash, &self.deployment])
            .await
            .map_err(|error| from_pg(&error, "look for a job under way"))?;
        row.map(|row| Ok((job(&row)?, row.get::<_, Option<bool>>("same") == Some(true)))).transpose()
    }

    /// Begins a job that is queued for this process, or ends it where somebody has cancelled it meanwhile.
    ///
    /// # Errors
    /// What PostgreSQL says.
    pub async fn begin(&self, id: Uuid, server: &str) -> Result<Begun, Problem> {
        let client = self.pools.get(&self.database).await?;
        let sql = "UPDATE howdah.jobs SET attempt = attempt + 1, started_at = now(), heartbeat_at = now(),
                       state = CASE WHEN cancel_requested THEN 'cancelled' ELSE 'running' END,
                       finished_at = CASE WHEN cancel_requested THEN now() END
                   WHERE id = $1 AND state = 'queued' AND server = $2 RETURNING cancel_requested";
        let row =
            client.query_opt(sql, &[&id, &server]).await.map_err(|error| from_pg(&error, "begin a job"))?;
        Ok(match row.map(|row| row.get(0)) {
            Some(false) => Begun::Running,
            Some(true) => Begun::Cancelled,
            None => Begun::NotOurs,
        })
    }

    /// Says that a job is alive and how far it is.
    ///
    /// # Errors
    /// What PostgreSQL says.
    pub async fn beat(&self, id: Uuid, server: &str, progress: &Progress) -> Result<Wish, Problem> {
        let client = self.pools.get(&self.database).await?;
        let progress = serde_json::to_value(progress).unwrap_or_default();
        let sql = "UPDATE howdah.jobs SET heartbeat_at = now(), progress = $3
                   WHERE id = $1 AND server = $2 AND state = 'running' RETURNING cancel_requested";
        let row = client
            .query_opt(sql, &[&id, &server, &progress])
            .await
            .map_err(|error| from_pg(&error, "note how far a job is"))?;
        Ok(match row.map(|row| row.get(0)) {
            Some(false) => Wish::GoOn,
            Some(true) => Wish::End,
            None => Wish::NotOurs,
        })
    }

    /// Ends a job that this process runs. Its input is not kept longer. Says whether it was this process's to end.
    ///
    /// # Errors
    /// What PostgreSQL says.
    pub async fn end(&self, id: Uuid, server: &str, end: &End, progress: &Progress) -> Result<bool, Problem> {
        let problem = end.problem.as_ref().and_then(|problem| serde_json::to_value(problem).ok());
        let progress = serde_json::to_value(progress).unwrap_or_default();
        let sql = "UPDATE howdah.jobs SET state = $3, result = $4, problem = $5, progress = $6, finished_at = now(),
                       server = NULL, input = 'null'
                   WHERE id = $1 AND server = $2 AND state IN ('queued', 'running')";
        self.execute("end a job", sql, &[&id, &server, &end.state.name(), &end.result, &problem, &progress])
            .await
            .map(|rows| rows > 0)
    }

    /// The input of a job that has not ended.
    ///
    /// # Errors
    /// What PostgreSQL says.
    pub async fn input(&self, id: Uuid) -> Result<Value, Problem> {
        let client = self.pools.get(&self.database).await?;
        let sql = "SELECT input FROM howdah.jobs WHERE id = $1";
        let row = client
            .query_opt(sql, &[&id])
            .await
            .map_err(|error| from_pg(&error, "read the input of a job"))?;
        Ok(row.map(|row| row.get(0)).unwrap_or_default())
    }

    /// Gives a job back, for the next server to take. Being told to stop is no failed attempt.
    ///
    /// # Errors
    /// What PostgreSQL says.
    pub async fn give_back(&self, id: Uuid, server: &str) -> Result<(), Problem> {
        let sql = "UPDATE howdah.jobs SET state = 'queued', server = NULL, attempt = attempt - 1
                   WHERE id = $1 AND server = $2 AND state = 'running'";
        self.execute("give a job back", sql, &[&id, &server]).await.map(|_| ())
    }

    /// Jobs that are not at their end.
    ///
    /// # Errors
    /// What PostgreSQL says.
    pub async fn unfinished(&self) -> Result<Vec<Orphan>, Problem> {
        let client = self.pools.get(&self.database).await?;
        let sql = "SELECT id, skill, caller, key, server, attempt, cancel_requested,
                   extract(epoch FROM now() - coalesce(heartbeat_at, created_at))::float8
                   FROM howdah.jobs WHERE state IN ('queued', 'running') AND deployment IN ('', $1) ORDER BY created_at";
        let rows = client
            .query(sql, &[&self.deployment])
            .await
            .map_err(|error| from_pg(&error, "look for jobs to go on with"))?;
        Ok(rows
            .iter()
            .map(|row| Orphan {
                id: row.get(0),
                skill: row.get(1),
                caller: row.get(2),
                key: row.get(3),
                server: row.get(4),
                attempt: row.get(5),
                cancel_requested: row.get(6),
                silent_for: row.get(7),
            })
            .collect())
    }

    /// Takes a job over from the process that had it. One taker gets it.
    ///
    /// # Errors
    /// What PostgreSQL says.
    pub async fn take_over(&self, orphan: &Orphan, server: &str) -> Result<bool, Problem> {
        let sql = "UPDATE howdah.jobs SET state = 'queued', server = $3, heartbeat_at = now()
                   WHERE id = $1 AND state IN ('queued', 'running') AND server IS NOT DISTINCT FROM $2 AND attempt = $4";
        self.execute("take a job over", sql, &[&orphan.id, &orphan.server, &server, &orphan.attempt])
            .await
            .map(|rows| rows > 0)
    }

    /// Asks for the end of a job. Its state a moment later is in the answer.
    ///
    /// # Errors
    /// `not_found` when there is none.
    pub async fn cancel(&self, id: Uuid) -> Result<Job, Problem> {
        let sql =
            "UPDATE howdah.jobs SET cancel_requested = true WHERE id = $1 AND state IN ('queued', 'running')
             AND deployment IN ('', $2)";
        self.execute("cancel a job", sql, &[&id, &self.deployment]).await?;
        self.get(id).await
    }

    /// One job.
    ///
    /// # Errors
    /// `not_found` when there is none.
    pub async fn get(&self, id: Uuid) -> Result<Job, Problem> {
        let client = self.pools.get(&self.database).await?;
        let sql = format!("SELECT {COLUMNS} FROM howdah.jobs WHERE id = $1 AND deployment IN ('', $2)");
        let row = client
            .query_opt(&sql, &[&id, &self.deployment])
            .await
            .map_err(|error| from_pg(&error, "get a job"))?;
        row.as_ref().map(job).transpose()?.ok_or_else(|| no_such(id))
    }

    /// Jobs, the newest first: all, or those of one caller.
    ///
    /// # Errors
    /// What PostgreSQL says.
    pub async fn list(
        &self,
        caller: Option<&str>,
        state: Option<State>,
        limit: u32,
    ) -> Result<Vec<Job>, Problem> {
        let client = self.pools.get(&self.database).await?;
        let sql = format!(
            "SELECT {COLUMNS} FROM howdah.jobs WHERE ($1::text IS NULL OR caller = $1) AND ($2::text IS NULL OR state = $2)
             AND deployment IN ('', $4) ORDER BY created_at DESC, id LIMIT $3"
        );
        let state = state.map(State::name);
        let rows = client
            .query(&sql, &[&caller, &state, &i64::from(limit), &self.deployment])
            .await
            .map_err(|error| from_pg(&error, "list the jobs"))?;
        rows.iter().map(job).collect()
    }

    /// Forgets jobs that ended more than so many days ago.
    ///
    /// # Errors
    /// What PostgreSQL says.
    pub async fn forget(&self, days: i32) -> Result<u64, Problem> {
        let sql = "DELETE FROM howdah.jobs WHERE finished_at < now() - make_interval(days => $1)
                   AND deployment IN ('', $2)";
        self.execute("forget old jobs", sql, &[&days, &self.deployment]).await
    }

    async fn execute(
        &self,
        doing: &str,
        sql: &str,
        params: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    ) -> Result<u64, Problem> {
        let client = self.pools.get(&self.database).await?;
        client.execute(sql, params).await.map_err(|error| from_pg(&error, doing))
    }
}

/// The answer to a caller who asks for a job that is not there, or not his.
pub fn no_such(id: Uuid) -> Problem {
    Problem::new(Kind::NotFound, format!("there is no job `{id}`"))
        .hint("Look at the ids with `howdah jobs list`.")
}

fn job(row: &Row) -> Result<Job, Problem> {
    let broken = |error: tokio_postgres::Error| from_pg(&error, "read a job");
    let state: String = row.try_get("state").map_err(broken)?;
    let object = |name: &str| row.try_get::<_, Option<Value>>(name).map_err(broken);
    Ok(Job {
        id: row.try_get("id").map_err(broken)?,
        skill: row.try_get("skill").map_err(broken)?,
        state: State::of(&state).ok_or_else(|| {
            Problem::new(Kind::Internal, format!("a job is in the unknown state `{state}`"))
        })?,
        caller: row.try_get("caller").map_err(broken)?,
        attempt: row.try_get("attempt").map_err(broken)?,
        progress: object("progress")?.and_then(|value| serde_json::from_value(value).ok()),
        result: object("result")?,
        problem: object("problem")?.and_then(|value| serde_json::from_value(value).ok()),
        created_at: row.try_get("created_at").map_err(broken)?,
        started_at: row.try_get("started_at").map_err(broken)?,
        finished_at: row.try_get("finished_at").map_err(broken)?,
    })
}
