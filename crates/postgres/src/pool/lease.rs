//! A connection that is lent and comes back.
//!
//! Every call counts itself while it runs. A call that is dropped half-way stays counted, and then the connection is in the
//! midst of something: it is not given back but cancelled and closed.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use howdah_plan::problem::Problem;
use lru::LruCache;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row, Statement, ToStatement};

use super::slots::Slot;
use super::{Inner, Key};
use crate::{Target, connect};

/// Statements that a connection keeps prepared. A further one takes the place of the one that was not used for longest, here
/// and in the server.
const PREPARED: NonZeroUsize = NonZeroUsize::new(64).expect("64 is not zero");

/// A connection with what is known of its session.
pub(super) struct Session {
    client: Client,
    target: Target,
    prepared: Mutex<LruCache<String, Statement>>,
    /// `statement_timeout` in force, in milliseconds; unknown where the role has one of its own.
    limit: Option<u32>,
}

impl Session {
    pub async fn open(target: Target) -> Result<Session, Problem> {
        let client = connect::connect(&target).await?;
        Ok(Session { client, target, prepared: Mutex::new(LruCache::new(PREPARED)), limit: None })
    }

    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }
}

/// A connection that is lent. It comes back when this is dropped, unless a call was left half-way: then it is cancelled and
/// closed.
pub struct Lease {
    session: Option<Session>,
    slot: Option<Slot>,
    pools: Arc<Inner>,
    key: Key,
    /// Calls that have begun and not ended.
    running: AtomicUsize,
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Counts a call as running until it has ended, whatever it ends in. A call that is dropped stays counted.
async fn counted<T>(running: &AtomicUsize, call: impl Future<Output = T>) -> T {
    running.fetch_add(1, Ordering::AcqRel);
    let ended = call.await;
    running.fetch_sub(1, Ordering::AcqRel);
    ended
}

impl Lease {
    pub(super) fn new(session: Session, slot: Slot, pools: Arc<Inner>, key: Key) -> Self {
        Lease { session: Some(session), slot: Some(slot), pools, key, running: AtomicUsize::new(0) }
    }

    fn session(&self) -> &Session {
        self.session.as_ref().expect("a lease has its connection until it is dropped")
    }

    fn client(&self) -> &Client {
        &self.session().client
    }

    /// Sees to it that no statement takes longer than so many milliseconds; 0 for none.
    pub(super) async fn limit(&mut self, milliseconds: u32) -> Result<(), Error> {
        if self.session().limit == Some(milliseconds) || (milliseconds == 0 && self.session().limit.is_none())
        {
            return Ok(());
        }
        self.batch_execute(&format!("SET statement_timeout = {milliseconds}")).await?;
        if let Some(session) = &mut self.session {
            session.limit = Some(milliseconds);
        }
        Ok(())
    }

    /// As [`Client::query`].
    ///
    /// # Errors
    /// What the server says.
    pub async fn query<T: ?Sized + ToStatement>(
        &self,
        statement: &T,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        counted(&self.running, self.client().query(statement, params)).await
    }

    /// As [`Client::query_one`].
    ///
    /// # Errors
    /// What the server says, and that the rows are not one.
    pub async fn query_one<T: ?Sized + ToStatement>(
        &self,
        statement: &T,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, Error> {
        counted(&self.running, self.client().query_one(statement, params)).await
    }

    /// As [`Client::query_opt`].
    ///
    /// # Errors
    /// What the server says, and that the rows are several.
    pub async fn query_opt<T: ?Sized + ToStatement>(
        &self,
        statement: &T,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, Error> {
        counted(&self.running, self.client().query_opt(statement, params)).await
    }

    /// As [`Client::query_typed`]: one round trip, nothing is kept prepared.
    ///
    /// # Errors
    /// What the server says.
    pub async fn query_typed(
        &self,
        sql: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, Error> {
        counted(&self.running, self.client().query_typed(sql, params)).await
    }

    /// As [`Client::execute`].
    ///
    /// # Errors
    /// What the server says.
    pub async fn execute<T: ?Sized + ToStatement>(
        &self,
        statement: &T,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Error> {
        counted(&self.running, self.client().execute(statement, params)).await
    }

    /// As [`Client::batch_execute`].
    ///
    /// # Errors
    /// What the server says.
    pub async fn batch_execute(&self, sql: &str) -> Result<(), Error> {
        counted(&self.running, self.client().batch_execute(sql)).await
    }

    /// As [`Client::copy_in`], with everything that is to be sent.
    ///
    /// # Errors
    /// What the server says.
    pub async fn copy_in(&self, sql: &str, messages: &[Bytes]) -> Result<u64, Error> {
        counted(&self.running, super::own::copy_in(self.client(), sql, messages)).await
    }

    /// From here on the session holds something that the next user must not find, an open transaction above all: dropped
    /// before [`Lease::let_go`], the connection is not given back.
    pub fn hold(&self) {
        self.running.fetch_add(1, Ordering::AcqRel);
    }

    /// The session is again as any other.
    pub fn let_go(&self) {
        self.running.fetch_sub(1, Ordering::AcqRel);
    }

    /// A prepared statement, kept for the next use on this connection. The least used goes when there are many.
    ///
    /// # Errors
    /// What the server says.
    pub async fn prepare_cached(&self, sql: &str) -> Result<Statement, Error> {
        if let Some(known) = self.lock().get(sql) {
            return Ok(known.clone());
        }
        let statement = counted(&self.running, self.client().prepare(sql)).await?;
        self.lock().put(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// Begins a transaction. One that is not committed is rolled back when it is dropped.
    ///
    /// # Errors
    /// What the server says.
    pub async fn transaction(&mut self) -> Result<Transaction<'_>, Error> {
        let Lease { session, running, .. } = self;
        let session = session.as_mut().expect("a lease has its connection until it is dropped");
        let inner = counted(running, session.client.transaction()).await?;
        Ok(Transaction { inner, running })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LruCache<String, Statement>> {
        self.session().prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let (Some(session), slot) = (self.session.take(), self.slot.take()) else { return };
        if session.is_closed() {
            return;
        }
        if self.running.load(Ordering::Acquire) == 0 {
            self.pools.give_back(self.key.clone(), session);
            return;
        }
        let Session { client, target, .. } = session;
        break_off(client, target, slot);
    }
}

/// Cancels what a connection runs and closes it. `held` is let go of when that is done.
pub(super) fn break_off<T: Send + 'static>(client: Client, target: Target, held: T) {
    // Without a runtime the program is at its end, and so are its connections.
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    runtime.spawn(async move {
        if let Err(problem) = connect::cancel(&target, client.cancel_token()).await {
            tracing::debug!(%problem, "a statement that nobody waits for was not cancelled");
        }
        drop(client);
        drop(held);
    });
}

/// A transaction on a [`Lease`].
pub struct Transaction<'a> {
    inner: tokio_postgres::Transaction<'a>,
    running: &'a AtomicUsize,
}

impl Transaction<'_> {
    /// As [`Client::query`].
    ///
    /// # Errors
    /// What the server says.
    pub async fn query<T: ?Sized + ToStatement>(
        &self,
        statement: &T,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        counted(self.running, self.inner.query(statement, params)).await
    }

    /// As [`Client::query_one`].
    ///
    /// # Errors
    /// What the server says, and that the rows are not one.
    pub async fn query_one<T: ?Sized + ToStatement>(
        &self,
        statement: &T,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, Error> {
        counted(self.running, self.inner.query_one(statement, params)).await
    }

    /// As [`Client::query_opt`].
    ///
    /// # Errors
    /// What the server says, and that the rows are several.
    pub async fn query_opt<T: ?Sized + ToStatement>(
        &self,
        statement: &T,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, Error> {
        counted(self.running, self.inner.query_opt(statement, params)).await
    }

    /// As [`Client::query_typed`].
    ///
    /// # Errors
    /// What the server says.
    pub async fn query_typed(
        &self,
        sql: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, Error> {
        counted(self.running, self.inner.query_typed(sql, params)).await
    }

    /// As [`Client::execute`].
    ///
    /// # Errors
    /// What the server says.
    pub async fn execute<T: ?Sized + ToStatement>(
        &self,
        statement: &T,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Error> {
        counted(self.running, self.inner.execute(statement, params)).await
    }

    /// As [`Client::batch_execute`].
    ///
    /// # Errors
    /// What the server says.
    pub async fn batch_execute(&self, sql: &str) -> Result<(), Error> {
        counted(self.running, self.inner.batch_execute(sql)).await
    }

    /// Commits.
    ///
    /// # Errors
    /// What the server says.
    pub async fn commit(self) -> Result<(), Error> {
        counted(self.running, self.inner.commit()).await
    }

    /// Takes everything back.
    ///
    /// # Errors
    /// What the server says.
    pub async fn rollback(self) -> Result<(), Error> {
        counted(self.running, self.inner.rollback()).await
    }
}
