//! May this key do this, now?
//!
//! A verdict of the database is remembered for [`REMEMBERED`], right or wrong keys alike, so that neither a busy key nor
//! a flood of wrong ones reaches the database each time. Revoking through this process forgets at once; a key revoked
//! through another process stops working when the memory runs out. The lock is held for a look-up, never over a query.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use howdah_plan::problem::{Kind, Problem};
use uuid::Uuid;

use super::caller::Caller;
use super::key::Key;

/// How long a verdict is remembered.
pub const REMEMBERED: Duration = Duration::from_secs(2);
/// How long a good verdict serves those who only watch, while the database does not answer.
pub const LATELY: Duration = Duration::from_secs(600);
/// Most verdicts remembered at a time.
const MOST: usize = 10_000;

/// What the database said of a key.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// It is good, until then where it expires.
    Good(Caller, Option<jiff::Timestamp>),
    /// It is not, for this reason.
    Bad(Problem),
}

struct Memory {
    verdict: Verdict,
    since: Instant,
}

/// When the database was asked about a key, counted in how often verdicts had been forgotten by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asking(u64);

struct Limiter {
    per_second: u32,
    of_keys: Option<DefaultKeyedRateLimiter<Uuid>>,
}

impl Limiter {
    fn new(per_second: u32) -> Self {
        let of_keys = NonZeroU32::new(per_second).map(|most| RateLimiter::keyed(Quota::per_second(most)));
        Limiter { per_second, of_keys }
    }
}

/// Remembers verdicts and counts requests.
pub struct Gate {
    memory: Mutex<HashMap<[u8; 32], Memory>>,
    /// How often all verdicts were forgotten.
    forgotten: AtomicU64,
    limiter: RwLock<Limiter>,
    owner: Option<[u8; 32]>,
}

impl Gate {
    /// A gate that lets each key ask `per_second` times a second (0: without limit) and knows the instance's own token.
    pub fn new(per_second: u32, owner: Option<&Key>) -> Self {
        let limiter = RwLock::new(Limiter::new(per_second));
        Gate { memory: Mutex::default(), forgotten: AtomicU64::new(0), limiter, owner: owner.map(Key::hash) }
    }

    /// Lets each key ask so many times a second from now on (0: without limit).
    pub fn allow(&self, per_second: u32) {
        let mut limiter = self.limiter.write().unwrap_or_else(PoisonError::into_inner);
        if limiter.per_second != per_second {
            *limiter = Limiter::new(per_second);
        }
    }

    /// Whether the key is the token in the instance's directory.
    pub fn is_owner(&self, key: &Key) -> bool {
        self.owner.is_some_and(|owner| owner == key.hash())
    }

    /// The verdict on a key, if it was asked for lately and has not run out since.
    pub fn remembered(&self, key: &Key) -> Option<Verdict> {
        let memory = self.lock();
        let known = memory.get(&key.hash())?;
        if known.since.elapsed() > REMEMBERED {
            return None;
        }
        match &known.verdict {
            Verdict::Good(_, Some(end)) if *end <= jiff::Timestamp::now() => None,
            verdict => Some(verdict.clone()),
        }
    }

    /// Whose key it was when the database last said that it is good, lately, unless it has run out since. No leave to do
    /// anything: somebody may have revoked it.
    pub fn was_good(&self, key: &Key) -> Option<Caller> {
        let memory = self.lock();
        let known = memory.get(&key.hash()).filter(|known| known.since.elapsed() <= LATELY)?;
        match &known.verdict {
            Verdict::Good(caller, end) if end.is_none_or(|end| end > jiff::Timestamp::now()) => {
                Some(caller.clone())
            }
            _ => None,
        }
    }

    /// What to hand to [`Gate::remember`], taken before the database is asked.
    pub fn asking(&self) -> Asking {
        Asking(self.forgotten.load(Ordering::Acquire))
    }

    /// Remembers what the database said, unless everything was forgotten since it was asked: then the answer may be older
    /// than a revocation.
    pub fn remember(&self, asking: Asking, key: &Key, verdict: Verdict) {
        let mut memory = self.lock();
        if asking.0 != self.forgotten.load(Ordering::Acquire) {
            return;
        }
        if memory.len() >= MOST {
            memory.retain(|_, known| known.since.elapsed() <= REMEMBERED);
        }
        if memory.len() < MOST {
            memory.insert(key.hash(), Memory { verdict, since: Instant::now() });
        }
    }

    /// Forgets all verdicts: a key was revoked.
    pub fn forget(&self) {
        let mut memory = self.lock();
        self.forgotten.fetch_add(1, Ordering::AcqRel);
        memory.clear();
    }

    /// Counts a request of `caller`.
    ///
    /// # Errors
    /// The time to wait, when it asks too often.
    pub fn count(&self, caller: &Caller) -> Result<(), Duration> {
        let limiter = self.limiter.read().unwrap_or_else(PoisonError::into_inner);
        let (Some(limiter), Some(key)) = (&limiter.of_keys, caller.key) else { return Ok(()) };
        limiter.check_key(&key).map_err(|early| early.wait_time_from(DefaultClock::default().now()))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Memory>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer to a caller without a key.
pub fn no_key() -> Problem {
    Problem::new(Kind::Unauthenticated, "no key was given")
        .hint("Send `Authorization: Bearer hdk_…` or `X-Api-Key: hdk_…`; make a key with `howdah keys create NAME`.")
}

/// The answer to a caller with an unknown key: nothing that tells a near miss from a far one.
pub fn wrong_key() -> Problem {
    Problem::new(Kind::Unauthenticated, "the key is not known")
        .hint("Look at the keys with `howdah keys list`, or make one with `howdah keys create NAME`.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::scope::Scope;

    fn reader() -> Caller {
        Caller { key: Some(Uuid::from_u128(7)), name: "app".into(), tenant: None, scope: Scope::Read }
    }

    #[test]
    fn a_reader_may_not_write_and_hears_which_scope_it_lacks() {
        assert!(reader().may(Scope::Read).is_ok());
        let problem = reader().may(Scope::Write).unwrap_err();
        assert_eq!(
            (problem.kind, problem.message.as_str()),
            (Kind::Forbidden, "this key lacks the scope `write`")
        );
    }

    #[test]
    fn the_eleventh_request_of_ten_a_second_has_to_wait() {
        let gate = Gate::new(10, None);
        for _ in 0..10 {
            assert_eq!(gate.count(&reader()), Ok(()));
        }
        let wait = gate.count(&reader()).unwrap_err();
        assert!(wait <= Duration::from_millis(100), "{wait:?}");
        assert_eq!(gate.count(&Caller::owner()), Ok(()), "the owner is not limited");
    }

    #[test]
    fn a_verdict_is_forgotten_when_the_key_ends_or_somebody_revokes() {
        let (gate, key) = (Gate::new(0, None), Key::random());
        let past = jiff::Timestamp::from_second(1).unwrap();
        gate.remember(gate.asking(), &key, Verdict::Good(reader(), Some(past)));
        assert!(gate.remembered(&key).is_none() && gate.was_good(&key).is_none());
        gate.remember(gate.asking(), &key, Verdict::Good(reader(), None));
        assert!(gate.remembered(&key).is_some() && gate.was_good(&key).is_some());
        gate.forget();
        assert!(gate.remembered(&key).is_none() && gate.was_good(&key).is_none());
    }

    #[test]
    fn an_answer_from_before_a_revocation_is_not_remembered_after_it() {
        let (gate, key) = (Gate::new(0, None), Key::random());
        let asking = gate.asking();
        gate.forget();
        gate.remember(asking, &key, Verdict::Good(reader(), None));
        assert!(gate.remembered(&key).is_none());
        gate.remember(gate.asking(), &key, Verdict::Good(reader(), None));
        assert!(gate.remembered(&key).is_some());
    }

    #[test]
    fn only_the_instance_token_is_the_owner() {
        let token = Key::random();
        let gate = Gate::new(0, Some(&token));
        assert!(gate.is_owner(&token));
        assert!(!gate.is_owner(&Key::random()));
    }
}
