//! One connection to the server of the bench, and what its backend costs.
//!
//! Costs are the processor time of the backend itself, which a busy machine disturbs far less than the clock. Linux says
//! it to the nanosecond in `/proc/<pid>/schedstat`; elsewhere, and for servers on other machines, there is only the clock.

use std::time::{Duration, Instant};

use howdah_plan::problem::Problem;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Statement};

use super::data::{Filter, Set};
use super::peers::{Peer, Sent};
use howdah_postgres::problem::from_pg;
use howdah_postgres::{Target, connect};

/// Schema that holds everything.
pub const SCHEMA: &str = "howdah_bench_index";

/// Workers that a build may ask for, said of each table: PostgreSQL reckons with the size of the table alone, and one whose
/// vectors are TOASTed looks small to it. `max_parallel_maintenance_workers` has the last word.
const PARALLEL_WORKERS: u32 = 8;

/// Time that something took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// By the clock.
    pub wall: Duration,
    /// Of the backend on a processor, where that can be known.
    pub cpu: Option<Duration>,
}

impl Cost {
    /// Microseconds of one of `count`: on a processor where that is known, by the clock otherwise.
    pub fn micros(self, count: usize) -> f64 {
        self.cpu.unwrap_or(self.wall).as_secs_f64() * 1e6 / count.max(1) as f64
    }

    /// Microseconds of one of `count` by the clock.
    pub fn wall_micros(self, count: usize) -> f64 {
        self.wall.as_secs_f64() * 1e6 / count.max(1) as f64
    }
}

/// A connection.
#[derive(Debug)]
pub struct Session {
    client: Client,
    pid: i32,
}

/// A question, prepared.
#[derive(Debug)]
pub struct Asking {
    statement: Statement,
    sent: Sent,
    filter: Filter,
}

impl Session {
    /// Connects; `search_path` is the bench's schema and pgvector's.
    ///
    /// # Errors
    /// Whatever keeps the server from answering.
    pub async fn open(target: &Target) -> Result<Session, Problem> {
        let client = connect::connect(target).await?;
        client
            .batch_execute(&format!(
                "SET search_path = {SCHEMA}, public; SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off;
                 SET enable_sort = off; SET synchronous_commit = off"
            ))
            .await
            .map_err(failed)?;
        let row = client.query_one("SELECT pg_backend_pid()", &[]).await.map_err(failed)?;
        Ok(Session { client, pid: row.get(0) })
    }

    /// Runs statements.
    ///
    /// # Errors
    /// What the server says.
    pub async fn run(&self, sql: &str) -> Result<(), Problem> {
        self.client.batch_execute(sql).await.map_err(failed)
    }

    /// Runs statements; what they cost.
    ///
    /// # Errors
    /// What the server says.
    pub async fn cost_of(&self, sql: &str) -> Result<Cost, Problem> {
        let begin = self.now();
        self.run(sql).await?;
        Ok(self.since(begin))
    }

    /// One number.
    ///
    /// # Errors
    /// What the server says.
    pub async fn number(&self, sql: &str) -> Result<i64, Problem> {
        Ok(self.client.query_one(sql, &[]).await.map_err(failed)?.get(0))
    }

    /// One text, if there is a row.
    ///
    /// # Errors
    /// What the server says.
    pub async fn text(&self, sql: &str) -> Result<Option<String>, Problem> {
        Ok(self.client.query_opt(sql, &[]).await.map_err(failed)?.map(|row| row.get(0)))
    }

    fn now(&self) -> (Instant, Option<u64>) {
        let text = std::fs::read_to_string(format!("/proc/{}/schedstat", self.pid)).ok();
        (Instant::now(), text.and_then(|text| text.split(' ').next()?.parse().ok()))
    }

    fn since(&self, begin: (Instant, Option<u64>)) -> Cost {
        let (now, cpu) = self.now();
        let cpu = begin.1.zip(cpu).map(|(before, after)| Duration::from_nanos(after.saturating_sub(before)));
        Cost { wall: now - begin.0, cpu }
    }

    /// Makes the table `table` and fills it with the rows of `set`.
    ///
    /// # Errors
    /// What the server says.
    pub async fn load(&self, table: &str, set: &Set) -> Result<(), Problem> {
        let d = set.dimensions;
        self.run(&format!(
            "DROP TABLE IF EXISTS {table};
             CREATE TABLE {table} (id bigint NOT NULL, tenth int NOT NULL, hundredth int NOT NULL, e vector({d}))
             WITH (parallel_workers = {PARALLEL_WORKERS})"
        ))
        .await?;
        let vector = self.vector_type("vector").await?;
        let sink = self.client.copy_in(&format!("COPY {table} FROM STDIN BINARY")).await.map_err(failed)?;
        let writer = BinaryCopyInWriter::new(sink, &[Type::INT8, Type::INT4, Type::INT4, vector]);
        let mut writer = std::pin::pin!(writer);
        for n in 0..set.len() {
            let vector = pgvector::Vector::from(set.row(n).to_vec());
            let (id, tenth, hundredth) = numbers(n);
            writer.as_mut().write(&[&id, &tenth, &hundredth, &vector]).await.map_err(failed)?;
        }
        writer.finish().await.map_err(failed)?;
        Ok(())
    }

    async fn vector_type(&self, name: &str) -> Result<Type, Problem> {
        let statement = self.client.prepare(&format!("SELECT NULL::{name}")).await.map_err(failed)?;
        Ok(statement.columns()[0].type_().clone())
    }

    /// Inserts the further rows of `set` from `from` on, `count` of them, in transactions of `batch` rows.
    ///
    /// # Errors
    /// What the server says.
    pub async fn insert(
        &self,
        table: &str,
        set: &Set,
        from: usize,
        count: usize,
        batch: usize,
    ) -> Result<Cost, Problem> {
        let sql = format!("INSERT INTO {table} VALUES ($1, $2, $3, $4)");
        let statement = self.client.prepare(&sql).await.map_err(failed)?;
        let begin = self.now();
        for n in from..from + count {
            if batch > 1 && (n - from).is_multiple_of(batch) {
                self.run("BEGIN").await?;
            }
            let row = &set.more[n * set.dimensions..(n + 1) * set.dimensions];
            let (id, tenth, hundredth) = numbers(set.len() + n);
            let vector = pgvector::Vector::from(row.to_vec());
            self.client.execute(&statement, &[&id, &tenth, &hundredth, &vector]).await.map_err(failed)?;
            if batch > 1 && ((n + 1 - from).is_multiple_of(batch) || n + 1 == from + count) {
                self.run("COMMIT").await?;
            }
        }
        Ok(self.since(begin))
    }

    /// Prepares the question of a peer, its session set up.
    ///
    /// # Errors
    /// What the server says.
    pub async fn prepare(
        &self,
        peer: &Peer,
        set: &Set,
        filter: Filter,
        value: u32,
    ) -> Result<Asking, Problem> {
        // Settings of an extension exist once its library is loaded.
        self.run("SELECT '[1]'::vector <=> '[1]'").await?;
        if peer.extension == "howdah" {
            self.run("LOAD '$libdir/howdah'").await?;
        }
        self.run(peer.session).await?;
        self.run(&peer.effort.set(value)).await?;
        let vector = self.vector_type(if peer.sent == Sent::Half { "halfvec" } else { "vector" }).await?;
        let types = [vector, Type::INT4];
        let types = if filter == Filter::All { &types[..1] } else { &types };
        let sql = peer.ask(set.dimensions, filter, value);
        let statement = self.client.prepare_typed(&sql, types).await.map_err(failed)?;
        Ok(Asking { statement, sent: peer.sent, filter })
    }

    /// Asks every question once that `set` has for the filter. Returns the answers.
    ///
    /// # Errors
    /// What the server says.
    pub async fn answers(&self, asking: &Asking, set: &Set) -> Result<Vec<Vec<i64>>, Problem> {
        let mut all = Vec::with_capacity(set.questions_under(asking.filter));
        for n in 0..set.questions_under(asking.filter) {
            let rows = self.ask(asking, set, n).await?;
            all.push(rows.iter().map(|row| row.get(0)).collect());
        }
        Ok(all)
    }

    /// Asks every question once that `set` has for the filter; what it cost.
    ///
    /// # Errors
    /// What the server says.
    pub async fn cost_of_asking(&self, asking: &Asking, set: &Set) -> Result<Cost, Problem> {
        // PostgreSQL plans the first executions of a statement; they do not count.
        for n in 0..set.questions().min(10) {
            self.ask(asking, set, n).await?;
        }
        let begin = self.now();
        for n in 0..set.questions_under(asking.filter) {
            self.ask(asking, set, n).await?;
        }
        Ok(self.since(begin))
    }

    async fn ask(&self, asking: &Asking, set: &Set, n: usize) -> Result<Vec<tokio_postgres::Row>, Problem> {
        let remainder = i32::try_from(n % asking.filter.one_in()).unwrap_or_default();
        let (whole, half);
        let vector: &(dyn ToSql + Sync) = match asking.sent {
            Sent::Vector => {
                whole = pgvector::Vector::from(set.question(n).to_vec());
                &whole
            }
            Sent::Half => {
                half = pgvector::HalfVector::from_f32_slice(set.question(n));
                &half
            }
        };
        let values: [&(dyn ToSql + Sync); 2] = [vector, &remainder];
        let values = if asking.filter == Filter::All { &values[..1] } else { &values };
        self.client.query(&asking.statement, values).await.map_err(failed)
    }
}

/// Id, and what the filters look at, of row `n`.
fn numbers(n: usize) -> (i64, i32, i32) {
    let small = |of: usize| i32::try_from(n % of).unwrap_or_default();
    (i64::try_from(n).unwrap_or(i64::MAX), small(10), small(100))
}

fn failed(e: tokio_postgres::Error) -> Problem {
    from_pg(&e, "measure an index")
}
