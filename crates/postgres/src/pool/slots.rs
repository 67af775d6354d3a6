//! Places in the budget: by purpose, and by account within it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use howdah_plan::budget::Budget;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::purpose::Purpose;

/// Places of the declared role, for changes of the server. A superuser has those that PostgreSQL reserves.
const OPERATE: u32 = 8;
/// Places that a look at the whole server takes: one for the server, one for its databases in turn.
const INSPECT: u32 = 2;
/// Most accounts whose places are remembered while nobody has one.
const ACCOUNTS: usize = 1024;

/// The budget, and who has how much of it.
pub(super) struct Slots {
    state: Mutex<State>,
}

struct State {
    parts: HashMap<Purpose, Part>,
}

struct Part {
    /// Places in all.
    most: u32,
    /// Most places of one account.
    each: u32,
    free: Arc<Semaphore>,
    accounts: HashMap<String, Arc<Semaphore>>,
}

/// Places taken. They are free again when this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    _account: Option<OwnedSemaphorePermit>,
    _part: OwnedSemaphorePermit,
}

impl Part {
    fn new(most: u32, each: u32) -> Self {
        let most = most.max(1);
        let each = each.clamp(1, most);
        Part { most, each, free: Arc::new(Semaphore::new(most as usize)), accounts: HashMap::new() }
    }

    fn account(&mut self, name: &str) -> Arc<Semaphore> {
        if self.accounts.len() >= ACCOUNTS {
            let each = self.each as usize;
            self.accounts.retain(|_, one| one.available_permits() < each || Arc::strong_count(one) > 1);
        }
        let each = self.each as usize;
        Arc::clone(self.accounts.entry(name.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(each))))
    }
}

impl Slots {
    /// `most` places for every purpose, all of which one account may have; for changes of the server never fewer than those
    /// take.
    pub fn even(most: u32) -> Self {
        let all = [
            Purpose::Read,
            Purpose::Write,
            Purpose::Control,
            Purpose::Probe,
            Purpose::Inspect,
            Purpose::Operate,
        ];
        let part = |purpose| match purpose {
            Purpose::Operate => Part::new(most.max(OPERATE), most.max(OPERATE)),
            Purpose::Probe => Part::new(1, 1),
            Purpose::Inspect => Part::new(most.max(INSPECT), most.max(INSPECT)),
            Purpose::Read | Purpose::Write | Purpose::Control => Part::new(most, most),
        };
        let parts = all.into_iter().map(|purpose| (purpose, part(purpose))).collect();
        Slots { state: Mutex::new(State { parts }) }
    }

    /// Divides the places anew. Those taken before count against the old division until they are free.
    pub fn divide(&self, budget: &Budget) {
        let wanted = [
            (Purpose::Read, budget.read, budget.read_each),
            (Purpose::Write, budget.write, budget.write_each),
            (Purpose::Control, budget.control, budget.control_each),
            (Purpose::Probe, budget.probe, budget.probe),
            (Purpose::Inspect, budget.inspect, budget.inspect),
            (Purpose::Operate, OPERATE, OPERATE),
        ];
        let mut state = self.lock();
        for (purpose, most, each) in wanted {
            let there = state.parts.get(&purpose).is_some_and(|part| (part.most, part.each) == (most, each));
            if !there {
                state.parts.insert(purpose, Part::new(most, each));
            }
        }
    }

    /// Waits for `count` places.
    pub async fn take(&self, purpose: Purpose, account: Option<&str>, count: u32) -> Slot {
        let (part, account) = {
            let mut state = self.lock();
            let part = state.parts.entry(purpose).or_insert_with(|| Part::new(1, 1));
            let account = account.map(|name| part.account(name));
            (Arc::clone(&part.free), account)
        };
        // The account first: who waits for his own collection holds nothing of the others'.
        let account = match account {
            Some(account) => Some(taken(account, count).await),
            None => None,
        };
        Slot { _account: account, _part: taken(part, count).await }
    }

    /// Most places that one piece of work can have at a time.
    pub fn most(&self, purpose: Purpose, account: bool) -> u32 {
        let state = self.lock();
        state.parts.get(&purpose).map_or(1, |part| if account { part.each } else { part.most })
    }

    /// Places taken, over all purposes.
    pub fn taken(&self) -> u32 {
        self.lock().parts.values().map(Part::taken).sum()
    }

    /// Places taken for a purpose.
    pub fn taken_by(&self, purpose: Purpose) -> u32 {
        self.lock().parts.get(&purpose).map_or(0, Part::taken)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    fn taken(&self) -> u32 {
        self.most.saturating_sub(u32::try_from(self.free.available_permits()).unwrap_or(u32::MAX))
    }
}

async fn taken(semaphore: Arc<Semaphore>, count: u32) -> OwnedSemaphorePermit {
    match semaphore.acquire_many_owned(count).await {
        Ok(permit) => permit,
        // No semaphore here is ever closed.
        Err(_) => std::future::pending().await,
    }
}
