//! On which connections does an ingest work?
//!
//! A long one has three of its own: one reads while two write in turn. A small one (a few documents of a request) has one
//! that is lent and given back, so that many small ones do not take the server's connections from each other. Either way
//! every statement has a deadline.

use bytes::Bytes;
use howdah_plan::problem::Problem;
use howdah_postgres::problem::from_pg;
use howdah_postgres::{Lease, Own, Pools};
use postgres_types::ToSql;
use tokio_postgres::{Error, Row};

/// Longest time of one statement on a connection of one's own: a batch whose rows go into a large index is slow, but not so
/// slow. A lock is waited for no longer than a minute, and a transaction left open by a process that hangs ends.
const SETTINGS: &str = "SET statement_timeout = '15min'; SET lock_timeout = '60s';
    SET idle_in_transaction_session_timeout = '5min'; SET application_name = 'howdah ingest'";

/// A connection of an ingest.
pub(super) enum Connection {
    /// Its own.
    Own(Own),
    /// One that goes back.
    Lent(Lease),
}

/// Those of a long ingest: one to read with and two to write with, one where the budget has no more.
pub(super) async fn several(pools: &Pools, database: &str) -> Result<(Connection, Vec<Connection>), Problem> {
    let mut all = pools.own_several(database, 3).await?;
    let reading = match all.len() {
        0 | 1 => pools.own(database).await?,
        _ => all.remove(0),
    };
    for client in all.iter().chain([&reading]) {
        client.batch_execute(SETTINGS).await.map_err(|e| from_pg(&e, "set up a connection"))?;
    }
    Ok((Connection::Own(reading), all.into_iter().map(Connection::Own).collect()))
}

impl Connection {
    pub async fn query(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        match self {
            Connection::Own(own) => own.query(sql, parameters).await,
            Connection::Lent(lease) => lease.query(sql, parameters).await,
        }
    }

    pub async fn query_opt(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, Error> {
        match self {
            Connection::Own(own) => own.query_opt(sql, parameters).await,
            Connection::Lent(lease) => lease.query_opt(sql, parameters).await,
        }
    }

    pub async fn execute(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<u64, Error> {
        match self {
            Connection::Own(own) => own.execute(sql, parameters).await,
            Connection::Lent(lease) => lease.execute(sql, parameters).await,
        }
    }

    pub async fn batch_execute(&self, sql: &str) -> Result<(), Error> {
        match self {
            Connection::Own(own) => own.batch_execute(sql).await,
            Connection::Lent(lease) => lease.batch_execute(sql).await,
        }
    }

    pub async fn copy_in(&self, sql: &str, messages: &[Bytes]) -> Result<u64, Error> {
        match self {
            Connection::Own(own) => own.send(sql, messages).await,
            Connection::Lent(lease) => lease.copy_in(sql, messages).await,
        }
    }

    /// Begins a transaction. A connection that is dropped before [`Connection::commit`] is closed, and the transaction
    /// taken back with it.
    pub async fn begin(&self) -> Result<(), Error> {
        match self {
            Connection::Own(own) => own.batch_execute("BEGIN").await,
            Connection::Lent(lease) => {
                lease.hold();
                lease.batch_execute("BEGIN; SET LOCAL lock_timeout = '60s'").await
            }
        }
    }

    /// Takes back what was begun, and begins anew.
    pub async fn begin_again(&self) -> Result<(), Error> {
        match self {
            Connection::Own(own) => own.batch_execute("ROLLBACK; BEGIN").await,
            // It is held already.
            Connection::Lent(lease) => {
                lease.batch_execute("ROLLBACK; BEGIN; SET LOCAL lock_timeout = '60s'").await
            }
        }
    }

    /// Commits what was begun.
    pub async fn commit(&self) -> Result<(), Error> {
        match self {
            Connection::Own(own) => own.batch_execute("COMMIT").await,
            Connection::Lent(lease) => {
                lease.batch_execute("COMMIT").await?;
                lease.let_go();
                Ok(())
            }
        }
    }

    /// Whether the next user of the session must find it as it was.
    pub fn is_lent(&self) -> bool {
        matches!(self, Connection::Lent(_))
    }

    /// It is done with.
    pub fn finish(self) {
        match self {
            Connection::Own(own) => own.finish(),
            Connection::Lent(lease) => drop(lease),
        }
    }
}
