//! Who gets a connection, as which role, and until when?
//!
//! [`Pools`] is a handle on the connections to one server: cheap to clone, made for a purpose ([`Purpose`]), an account (the
//! collection that the work is for) and a deadline. All handles share one budget over all databases: a purpose has a part of
//! it, and an account at most a part of that, so that one locked table never takes the connections of another, nor loading
//! those of searching. Who finds the part taken waits until the deadline and is then refused with kind `busy`.
//!
//! [`Pools::get`] lends a connection ([`Lease`]) that comes back to be used again, with a statement timeout in force.
//! [`Pools::own`] gives one for long work that leaves traces in its session ([`Own`]); it is closed afterwards. Either way a
//! value that is dropped while a statement runs cancels the statement and closes the connection, and its place in the budget
//! is free only when that is done.

mod lease;
mod own;
mod purpose;
mod slots;

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use howdah_plan::budget::{Budget, Server};
use howdah_plan::problem::{Kind, Problem};
use tokio::sync::watch;

pub use lease::{Lease, Transaction};
pub use own::Own;
pub use purpose::Purpose;

use super::problem::from_pg;
use super::{Secret, Target, connect};
use lease::Session;
use slots::{Slot, Slots};

/// Longest wait for a connection where the work has no deadline.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a request may still wait for a connection when the program stops.
const LAST_WAIT: Duration = Duration::from_secs(3);
/// Longest time of a statement on keys, jobs and probes, in milliseconds.
const CONTROL_LIMIT: u32 = 3_000;
/// How long a connection that nobody uses is kept.
const IDLE: Duration = Duration::from_secs(300);

/// As whom the service works.
#[derive(Debug, Clone)]
pub struct Login {
    /// Role.
    pub user: String,
    /// Its password.
    pub password: Secret,
}

/// Connections to one server, for one kind of work. Cheap to clone; all clones share the connections.
#[derive(Clone)]
pub struct Pools {
    inner: Arc<Inner>,
    purpose: Purpose,
    account: Option<Arc<str>>,
    deadline: Option<Instant>,
}

struct Inner {
    target: RwLock<Target>,
    logins: RwLock<HashMap<Purpose, Login>>,
    slots: Slots,
    /// Longest time of one statement, in milliseconds; 0 for none.
    statement_timeout: RwLock<u32>,
    /// How often server or roles changed.
    generation: AtomicU64,
    idle: Mutex<HashMap<Key, Vec<Idle>>>,
    /// Whether the program stops: who waits for a place is told so.
    stopping: watch::Sender<bool>,
    /// What others remember of this server, by type.
    remembered: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
}

/// What tells connections that can stand for each other from others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    purpose: Purpose,
    database: String,
    /// Counts changes of server and roles: a connection of before is not used again.
    generation: u64,
}

struct Idle {
    session: Session,
    since: Instant,
}

impl std::fmt::Debug for Pools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pools")
            .field("target", &self.target())
            .field("purpose", &self.purpose)
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

impl Pools {
    /// Pools to `target` of at most `max` connections for each purpose. Nothing is connected yet. The handle is for
    /// [`Purpose::Operate`].
    pub fn new(target: Target, max: usize) -> Pools {
        let inner = Inner {
            target: RwLock::new(target),
            logins: RwLock::default(),
            slots: Slots::even(u32::try_from(max).unwrap_or(u32::MAX)),
            statement_timeout: RwLock::new(0),
            generation: AtomicU64::new(0),
            idle: Mutex::default(),
            stopping: watch::Sender::new(false),
            remembered: Mutex::default(),
        };
        Pools { inner: Arc::new(inner), purpose: Purpose::Operate, account: None, deadline: None }
    }

    /// The same connections, for another purpose.
    #[must_use]
    pub fn purpose(&self, purpose: Purpose) -> Pools {
        Pools { purpose, ..self.clone() }
    }

    /// The same connections, for work of `account`.
    #[must_use]
    pub fn account(&self, account: &str) -> Pools {
        Pools { account: Some(account.into()), ..self.clone() }
    }

    /// The same connections, for work whose answer is of no use after `deadline`.
    #[must_use]
    pub fn until(&self, deadline: Option<Instant>) -> Pools {
        Pools { deadline, ..self.clone() }
    }

    /// When the work of this handle is of no more use.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// What this handle is for.
    pub fn for_what(&self) -> Purpose {
        self.purpose
    }

    /// The server, as the role of the declared address.
    pub fn target(&self) -> Target {
        self.inner.target.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The server is somewhere else from now on. Connections that are idle are closed.
    pub fn move_to(&self, target: Target) {
        *self.inner.target.write().unwrap_or_else(PoisonError::into_inner) = target;
        self.inner.generation.fetch_add(1, Ordering::AcqRel);
        self.inner.remembered.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.close();
    }

    /// Works as these roles from now on; purposes without one work as the role of the declared address.
    pub fn log_in_as(&self, logins: HashMap<Purpose, Login>) {
        *self.inner.logins.write().unwrap_or_else(PoisonError::into_inner) = logins;
        self.inner.generation.fetch_add(1, Ordering::AcqRel);
        self.close();
    }

    /// Logs in once, beside the connections that are shared, and leaves again.
    ///
    /// # Errors
    /// What connecting says.
    pub async fn try_login(&self, login: &Login, database: &str) -> Result<(), Problem> {
        let target = self.target().with_database(database);
        connect::connect(&target.as_role(&login.user, Some(login.password.clone()))).await.map(drop)
    }

    /// Whether the service has roles of its own.
    pub fn has_roles(&self) -> bool {
        !self.inner.logins.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Divides the connections anew.
    pub fn divide(&self, budget: &Budget) {
        self.inner.slots.divide(budget);
    }

    /// Longest time of one statement on connections that are lent, none for `None`.
    pub fn limit_statements(&self, limit: Option<Duration>) {
        let limit = limit.map_or(0, |limit| u32::try_from(limit.as_millis()).unwrap_or(u32::MAX).max(1));
        *self.inner.statement_timeout.write().unwrap_or_else(PoisonError::into_inner) = limit;
    }

    /// What the server allows, for [`howdah_plan::budget::divide`].
    ///
    /// # Errors
    /// As [`Pools::get`].
    pub async fn allowed(&self, database: &str) -> Result<Server, Problem> {
        let sql = "SELECT current_setting('max_connections')::int8, current_setting('superuser_reserved_connections')::int8
                   + coalesce(current_setting('reserved_connections', true)::int8, 0)";
        let client = self.get(database).await?;
        let row = client
            .query_one(sql, &[])
            .await
            .map_err(|e| from_pg(&e, "ask how many connections there may be"))?;
        let number = |at: usize| u32::try_from(row.get::<_, i64>(at)).unwrap_or(u32::MAX);
        Ok(Server { max_connections: number(0), reserved: number(1) })
    }

    /// A connection to `database`, lent.
    ///
    /// # Errors
    /// `unreachable`, `unauthenticated`, `not_found` (no such database) and the like when no connection can be made; `busy`
    /// when all are taken until the deadline.
    pub async fn get(&self, database: &str) -> Result<Lease, Problem> {
        let slot = self.slot(1).await?;
        let generation = self.inner.generation.load(Ordering::Acquire);
        let key = Key { purpose: self.purpose, database: database.to_owned(), generation };
        let session = match self.idle(&key) {
            Some(session) => session,
            None => Session::open(self.target_of(database)).await?,
        };
        let mut lease = Lease::new(session, slot, Arc::clone(&self.inner), key);
        let limit = self.statement_limit();
        lease.limit(limit).await.map_err(|e| from_pg(&e, "set a time limit"))?;
        Ok(lease)
    }

    /// A connection to the target's own database.
    ///
    /// # Errors
    /// As [`Pools::get`].
    pub async fn get_default(&self) -> Result<Lease, Problem> {
        let database = self.target().database;
        self.get(&database).await
    }

    /// A connection of one's own to `database`, without a time limit, closed when it is dropped.
    ///
    /// # Errors
    /// As [`Pools::get`].
    pub async fn own(&self, database: &str) -> Result<Own, Problem> {
        let slot = self.slot(1).await?;
        Own::open(self.target_of(database), Arc::new(slot)).await
    }

    /// Several connections of one's own, all or none, so that two who need several never wait for each other. Fewer, but one
    /// at least, where the budget is smaller than that.
    ///
    /// # Errors
    /// As [`Pools::get`].
    pub async fn own_several(&self, database: &str, count: u32) -> Result<Vec<Own>, Problem> {
        let count = count.min(self.inner.slots.most(self.purpose, self.account.is_some())).max(1);
        let slot = Arc::new(self.slot(count).await?);
        let target = self.target_of(database);
        let mut all = Vec::with_capacity(count as usize);
        for _ in 0..count {
            all.push(Own::open(target.clone(), Arc::clone(&slot)).await?);
        }
        Ok(all)
    }

    /// Closes the idle connections to `database`, so that it can be dropped or renamed.
    pub fn forget(&self, database: &str) {
        self.inner.lock().retain(|key, _| key.database != database);
    }

    /// What is remembered of this server, one value of each type, made when first asked for. It lives as long as the
    /// connections do, and is forgotten when the server moves.
    pub fn remembered<T: Any + Send + Sync + Default>(&self) -> Arc<T> {
        let mut all = self.inner.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let one = Arc::clone(all.entry(TypeId::of::<T>()).or_insert_with(|| Arc::new(T::default())));
        drop(all);
        one.downcast().unwrap_or_default()
    }

    /// The program stops: whoever has a deadline and still waits for a place in a moment is told so, instead of waiting on.
    pub fn stop(&self) {
        self.inner.stopping.send_replace(true);
    }

    /// Closes every connection that is idle.
    pub fn close(&self) {
        self.inner.lock().clear();
    }

    /// Connections that are open, and how many of them wait for work, over all purposes and databases.
    pub fn usage(&self) -> (usize, usize) {
        let idle = self.inner.lock().values().map(Vec::len).sum();
        (self.inner.slots.taken() as usize + idle, idle)
    }

    /// Where connections to `database` go, as the role of the purpose.
    fn target_of(&self, database: &str) -> Target {
        let mut target = self.target().with_database(database);
        let role = if self.purpose == Purpose::Probe { Purpose::Control } else { self.purpose };
        if let Some(login) = self.inner.logins.read().unwrap_or_else(PoisonError::into_inner).get(&role) {
            target = target.as_role(&login.user, Some(login.password.clone()));
        }
        if self.purpose != Purpose::Operate {
            target.application_name = format!("{} {}", target.application_name, self.purpose.name());
        }
        target
    }

    /// Longest time of one statement, in milliseconds; 0 for none. What keys and probes wait for must not be slow.
    fn statement_limit(&self) -> u32 {
        let limit = *self.inner.statement_timeout.read().unwrap_or_else(PoisonError::into_inner);
        match self.purpose {
            Purpose::Control | Purpose::Probe if limit > 0 => limit.min(CONTROL_LIMIT),
            _ => limit,
        }
    }

    async fn slot(&self, count: u32) -> Result<Slot, Problem> {
        let until = self.deadline.unwrap_or_else(|| Instant::now() + PATIENCE);
        let account = self.account.as_deref();
        let taking = self.inner.slots.take(self.purpose, account, count);
        let mut told = self.inner.stopping.subscribe();
        let stopped = async {
            // The sender lives as long as the pools do. What has no deadline is no request: it ends in its own way.
            if self.deadline.is_none() || told.wait_for(|stopping| *stopping).await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(LAST_WAIT).await;
        };
        tokio::select! {
            biased;
            slot = taking => Ok(slot),
            () = stopped => Err(stopping()),
            () = tokio::time::sleep_until(until.into()) => {
                let ends = self.deadline.is_some() && *self.inner.stopping.borrow();
                Err(if ends { stopping() } else { busy(self.purpose, account) })
            }
        }
    }

    /// An idle connection that can be used. Where there is none, one that others left idle is closed if the budget has no
    /// room for one more.
    fn idle(&self, key: &Key) -> Option<Session> {
        let mut idle = self.inner.lock();
        for all in idle.values_mut() {
            all.retain(|one| one.since.elapsed() < IDLE && !one.session.is_closed());
        }
        if let Some(found) = idle.get_mut(key).and_then(Vec::pop) {
            return Some(found.session);
        }
        let same = |other: &Key| other.purpose == key.purpose;
        let open: usize = idle.iter().filter(|(other, _)| same(other)).map(|(_, all)| all.len()).sum();
        let taken = self.inner.slots.taken_by(key.purpose) as usize;
        if open + taken > self.inner.slots.most(key.purpose, false) as usize {
            let oldest = idle.iter_mut().filter(|(other, all)| same(other) && !all.is_empty());
            if let Some((_, all)) = oldest.min_by_key(|(_, all)| all[0].since) {
                all.remove(0);
            }
        }
        None
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Vec<Idle>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection back. What the declared role was needed for is over: while there are roles, it is not kept.
    fn give_back(&self, key: Key, session: Session) {
        let roles = !self.logins.read().unwrap_or_else(PoisonError::into_inner).is_empty();
        let old = key.generation != self.generation.load(Ordering::Acquire);
        if old || key.purpose == Purpose::Operate && roles {
            return;
        }
        self.lock().entry(key).or_default().push(Idle { session, since: Instant::now() });
    }
}

fn stopping() -> Problem {
    Problem::new(Kind::Busy, "this server of howdah is stopping")
        .detail("the request waited for a connection to PostgreSQL and did not get one any more")
        .hint("Send it again: to another server, or to this one once it runs again (`howdah status`).")
}

fn busy(purpose: Purpose, account: Option<&str>) -> Problem {
    let whose = account.map_or_else(String::new, |account| format!(" of collection `{account}`"));
    Problem::new(Kind::Busy, format!("all connections{whose} to PostgreSQL are busy"))
        .detail(format!("none of those to {} came free in time", purpose.name()))
        .hint("Try again; if it stays so, raise `api.max_pool` and `server.max_connections`.")
}

#[cfg(test)]
mod tests;
