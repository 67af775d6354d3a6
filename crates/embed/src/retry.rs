//! When is a request tried again, and after how long?
//!
//! Pure decisions: the status, the provider's `Retry-After` and the number of the attempt go in, a pause or the end comes
//! out. The pause doubles with every attempt and is drawn at random from its upper half, so that many clients that failed
//! together do not come back together.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

/// How often and how patiently.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Requests sent at the most, the first included.
    pub attempts: u32,
    /// Pause after the first failure.
    pub first_pause: Duration,
    /// Longest pause of our own choosing.
    pub longest_pause: Duration,
    /// Longest pause that a provider may ask for; a longer one is reported instead of waited for.
    pub longest_asked: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            attempts: 6,
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(20),
            longest_asked: Duration::from_secs(90),
        }
    }
}

/// What to do after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Wait so long, then again.
    After(Duration),
    /// No more attempts are left.
    GiveUp,
    /// The provider asks for a pause longer than we wait.
    AskedTooLong(Duration),
}

impl Policy {
    /// Decides after attempt number `attempt` (the first is 1). `random` is in [0, 1).
    pub fn next(&self, attempt: u32, asked: Option<Duration>, random: f64) -> Next {
        if attempt >= self.attempts {
            return Next::GiveUp;
        }
        if let Some(asked) = asked {
            return if asked > self.longest_asked { Next::AskedTooLong(asked) } else { Next::After(asked) };
        }
        let doubled = self.first_pause.saturating_mul(1 << (attempt - 1).min(16)).min(self.longest_pause);
        Next::After(doubled.mul_f64(0.5 + random / 2.0))
    }
}

/// Whether a status may go away by itself.
pub fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504 | 529)
}

/// Reads `Retry-After`: seconds (a fraction is allowed), or an HTTP date.
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        return (seconds.is_finite() && seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(1e9)));
    }
    let date = DateTimeParser::new().parse_timestamp(value).ok()?;
    Some(Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_with_jitter_up_to_the_longest() {
        let policy = Policy::default();
        assert_eq!(policy.next(1, None, 0.0), Next::After(Duration::from_millis(250)));
        assert_eq!(policy.next(3, None, 0.5), Next::After(Duration::from_millis(1500)));
        assert_eq!(policy.next(6, None, 0.5), Next::GiveUp);
        let patient = Policy { attempts: 99, ..policy };
        let Next::After(pause) = patient.next(40, None, 0.999) else { panic!("gave up") };
        assert!(pause <= policy.longest_pause && pause > policy.longest_pause / 2);
    }

    #[test]
    fn the_providers_own_pause_is_honoured_unless_it_is_too_long() {
        let policy = Policy::default();
        assert_eq!(policy.next(1, Some(Duration::from_secs(7)), 0.3), Next::After(Duration::from_secs(7)));
        let hour = Duration::from_secs(3600);
        assert_eq!(policy.next(1, Some(hour), 0.3), Next::AskedTooLong(hour));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        assert_eq!(retry_after("3", now), Some(Duration::from_secs(3)));
        assert_eq!(retry_after(" 0.5 ", now), Some(Duration::from_millis(500)));
        assert_eq!(retry_after("Fri, 20 Nov 2026 12:00:30 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Fri, 20 Nov 2026 11:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
        assert_eq!(retry_after("-1", now), None);
        assert_eq!(retry_after("NaN", now), None);
    }
}
