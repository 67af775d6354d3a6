//! Bad news in one shape.
//!
//! Every error that leaves Howdah, over whichever face, is a [`Problem`]: a message, the facts behind it, what to do,
//! and who has to move. It is PostgreSQL's own shape (message, detail, hint) with one field more. The table
//! [`Kind::row`] maps each kind of problem to the exit code of the command line and the status of the REST face, once.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who has to move for the problem to go away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DoNow {
    /// The request, the file or the declaration has to change.
    FixInput,
    /// The machine, the server or its configuration has to change.
    FixMachine,
    /// Nothing is wrong that time does not heal: the same call again.
    Retry,
    /// Data is damaged or gone: restore from a backup.
    Restore,
    /// A fault of Howdah itself: report it.
    Report,
}

/// What kind of problem it is; one row of the table each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The command line, the declaration or a request is wrong.
    Usage,
    /// What was asked for does not exist.
    NotFound,
    /// PostgreSQL, the embedder or the Howdah server does not answer.
    Unreachable,
    /// Wrong or missing password, key or certificate.
    Unauthenticated,
    /// Known, but not allowed.
    Forbidden,
    /// The time allowed ran out.
    Timeout,
    /// Somebody else holds the lock, or the thing is there already.
    Conflict,
    /// The request is larger than the limit allows.
    TooLarge,
    /// Too many requests in a short time.
    RateLimited,
    /// Everything that could do it is taken, and stayed so for as long as it could be waited for.
    Busy,
    /// It works, but not as promised (a gate for CI).
    Degraded,
    /// The machine lacks something: disk, memory, a program, an extension.
    Machine,
    /// It was tried and failed.
    Failed,
    /// A fault of Howdah.
    Internal,
}

/// One row of the table: how each face says a kind of problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Exit code of the command line.
    pub exit: u8,
    /// Status of the REST face.
    pub http: u16,
    /// Who has to move, unless the problem says otherwise.
    pub do_now: DoNow,
    /// The kind's name in JSON (`error.kind`).
    pub name: &'static str,
}

impl Kind {
    /// All kinds, in the order of the table.
    pub const ALL: [Kind; 14] = [
        Kind::Usage,
        Kind::NotFound,
        Kind::Unreachable,
        Kind::Unauthenticated,
        Kind::Forbidden,
        Kind::Timeout,
        Kind::Conflict,
        Kind::TooLarge,
        Kind::RateLimited,
        Kind::Busy,
        Kind::Degraded,
        Kind::Machine,
        Kind::Failed,
        Kind::Internal,
    ];

    /// The table: kind to exit code, HTTP status and who has to move.
    ///
    /// Exit codes: 0 ok, 1 failed, 2 usage, 3 unreachable, 4 authentication, 5 timeout, 6 conflict or locked,
    /// 7 degraded.
    pub const fn row(self) -> Row {
        use DoNow::{FixInput, FixMachine, Report, Retry};
        let (exit, http, do_now, name) = match self {
            Kind::Usage => (2, 400, FixInput, "usage"),
            Kind::NotFound => (1, 404, FixInput, "not_found"),
            Kind::Unreachable => (3, 503, FixMachine, "unreachable"),
            Kind::Unauthenticated => (4, 401, FixInput, "unauthenticated"),
            Kind::Forbidden => (4, 403, FixInput, "forbidden"),
            Kind::Timeout => (5, 504, Retry, "timeout"),
            Kind::Conflict => (6, 409, Retry, "conflict"),
            Kind::TooLarge => (2, 413, FixInput, "too_large"),
            Kind::RateLimited => (1, 429, Retry, "rate_limited"),
            Kind::Busy => (3, 503, Retry, "busy"),
            Kind::Degraded => (7, 503, FixMachine, "degraded"),
            Kind::Machine => (1, 503, FixMachine, "machine"),
            Kind::Failed => (1, 422, FixInput, "failed"),
            Kind::Internal => (1, 500, Report, "internal"),
        };
        Row { exit, http, do_now, name }
    }
}

/// Bad news: what, why, what next.
///
/// `message` is short, lower case, without a final stop, with the value in it in backticks. `detail` holds the facts.
/// `hint` is a full sentence with the command to run. None of the three ever holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// What kind it is.
    pub kind: Kind,
    /// What happened.
    pub message: String,
    /// The facts behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What to do, with the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Who has to move.
    pub do_now: DoNow,
}

impl Problem {
    /// A problem of `kind` that says `message`.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Problem { kind, message: message.into(), detail: None, hint: None, do_now: kind.row().do_now }
    }

    /// Adds the facts.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says who has to move, where that differs from the kind's row.
    #[must_use]
    pub fn do_now(mut self, do_now: DoNow) -> Self {
        self.do_now = do_now;
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_row_and_its_name_is_the_one_in_json() {
        for kind in Kind::ALL {
            let row = kind.row();
            assert!(row.exit > 0 && row.http >= 400, "{kind:?}");
            assert_eq!(serde_json::to_value(kind).unwrap(), row.name);
        }
    }
}
