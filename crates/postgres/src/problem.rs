//! What does PostgreSQL's bad news mean?
//!
//! One table, [`STATES`], from SQLSTATE to the kind of problem, who has to move, and what to do where the server does
//! not say it. The server's own message, detail and hint are always kept.

use std::error::Error as _;
use std::io;

use howdah_plan::problem::{DoNow, Kind, Problem};
use tokio_postgres::Error;
use tokio_postgres::error::DbError;

use super::{SslMode, Target};

/// A row: SQLSTATE (or its class, two characters), kind, who has to move where that differs from the kind's own, hint.
type State = (&'static str, Kind, Option<DoNow>, Option<&'static str>);

/// SQLSTATE to kind. A whole code wins over its class.
pub const STATES: &[State] = &[
    ("08", Kind::Unreachable, Some(DoNow::Retry), None),
    ("0A000", Kind::Failed, None, None),
    ("22", Kind::Usage, None, None),
    ("23505", Kind::Conflict, Some(DoNow::FixInput), None),
    ("23", Kind::Failed, None, None),
    (
        "25006",
        Kind::Failed,
        Some(DoNow::FixMachine),
        Some("This server takes no writes (a replica, or read-only). Point `server.url` at the primary."),
    ),
    ("25P02", Kind::Internal, None, None),
    ("25P03", Kind::Timeout, None, None),
    ("25P04", Kind::Timeout, None, None),
    (
        "28P01",
        Kind::Unauthenticated,
        None,
        Some("Check the user and the password (`server.password_env`, PGPASSWORD or the password file)."),
    ),
    (
        "28",
        Kind::Unauthenticated,
        None,
        Some(
            "The server's pg_hba.conf decides who may connect from where, and whether encrypted (`sslmode=require`).",
        ),
    ),
    ("3D000", Kind::NotFound, None, Some("Declare it under `[databases]` and run `howdah apply`.")),
    ("3F000", Kind::NotFound, None, None),
    ("40", Kind::Conflict, None, Some("Another transaction was in the way. Try again.")),
    (
        "42501",
        Kind::Forbidden,
        None,
        Some("Connect as a role that has the right, or let its owner grant it."),
    ),
    ("42P01", Kind::NotFound, None, Some("Run `howdah plan` to see what is declared and not there.")),
    ("42704", Kind::NotFound, None, None),
    ("42883", Kind::NotFound, None, None),
    ("42P04", Kind::Conflict, Some(DoNow::FixInput), None),
    ("42P06", Kind::Conflict, Some(DoNow::FixInput), None),
    ("42P07", Kind::Conflict, Some(DoNow::FixInput), None),
    ("42710", Kind::Conflict, Some(DoNow::FixInput), None),
    ("42701", Kind::Conflict, Some(DoNow::FixInput), None),
    ("42", Kind::Failed, None, None),
    ("53100", Kind::Machine, None, Some("The server's disk is full. Free space there, then try again.")),
    (
        "53200",
        Kind::Machine,
        None,
        Some("The server ran out of memory. Lower `maintenance_work_mem`, `work_mem` or `shared_buffers`."),
    ),
    (
        "53300",
        Kind::Machine,
        Some(DoNow::Retry),
        Some(
            "All connections of the server are taken. Raise `server.max_connections` or lower `api.max_pool`.",
        ),
    ),
    ("53", Kind::Machine, None, None),
    ("54", Kind::TooLarge, None, None),
    (
        "55006",
        Kind::Conflict,
        None,
        Some("Somebody is using it. Try again, or see who in `pg_stat_activity`."),
    ),
    (
        "55P03",
        Kind::Conflict,
        None,
        Some("Somebody else holds the lock. Try again, or see who in `pg_locks`."),
    ),
    ("57014", Kind::Timeout, None, Some("The statement was cancelled or ran out of its time.")),
    (
        "57P03",
        Kind::Unreachable,
        Some(DoNow::Retry),
        Some("The server is starting up, shutting down or recovering. Try again in a moment."),
    ),
    ("57P05", Kind::Timeout, None, None),
    ("57P", Kind::Unreachable, Some(DoNow::Retry), Some("The server is going down. Try again in a moment.")),
    ("58P01", Kind::Machine, None, Some("A file of the server is missing, such as an extension's library.")),
    (
        "58",
        Kind::Machine,
        None,
        Some("The server cannot reach its files. Look into its log and the machine's."),
    ),
    (
        "XX001",
        Kind::Failed,
        Some(DoNow::Restore),
        Some("Data is damaged. Stop writing, keep a copy of the data directory, and restore from a backup."),
    ),
    (
        "XX002",
        Kind::Failed,
        Some(DoNow::FixMachine),
        Some("An index is damaged. Run `REINDEX INDEX CONCURRENTLY` on it."),
    ),
    ("XX", Kind::Failed, Some(DoNow::Report), None),
];

fn state(code: &str) -> Option<&'static State> {
    STATES.iter().filter(|(prefix, ..)| code.starts_with(prefix)).max_by_key(|(prefix, ..)| prefix.len())
}

/// The kind for an SQLSTATE; `failed` for one that the table does not know.
pub fn kind_of(code: &str) -> Kind {
    state(code).map_or(Kind::Failed, |(_, kind, ..)| *kind)
}

/// What PostgreSQL or the connection to it said while `doing` (a verb and its object: "create the table `x`").
pub fn from_pg(error: &Error, doing: &str) -> Problem {
    if let Some(db) = error.as_db_error() {
        return from_db(db, doing);
    }
    let facts = chain(error);
    if let Some(io) = io_cause(error) {
        let kind = if io.kind() == io::ErrorKind::TimedOut { Kind::Timeout } else { Kind::Unreachable };
        return lost(kind, doing, facts);
    }
    if error.is_closed() || facts.contains("connection closed") {
        return lost(Kind::Unreachable, doing, facts);
    }
    Problem::new(Kind::Internal, format!("cannot {doing}")).detail(facts)
}

fn lost(kind: Kind, doing: &str, facts: String) -> Problem {
    Problem::new(kind, format!("cannot {doing}: the connection to PostgreSQL is lost"))
        .detail(facts)
        .hint("Try again; if it stays so, run `howdah status` and look into the server's log.")
        .do_now(DoNow::Retry)
}

fn from_db(db: &DbError, doing: &str) -> Problem {
    let code = db.code().code();
    let row = state(code);
    let mut problem = Problem::new(kind_of(code), format!("cannot {doing}: {}", db.message()));
    let detail = match db.detail() {
        Some(detail) => format!("{detail} (SQLSTATE {code})"),
        None => format!("SQLSTATE {code}"),
    };
    problem = problem.detail(match db.where_() {
        Some(context) => format!("{detail}; {}", context.lines().next().unwrap_or_default()),
        None => detail,
    });
    if let Some(hint) = db.hint().or_else(|| row.and_then(|(.., hint)| *hint)) {
        problem = problem.hint(hint);
    }
    if let Some(do_now) = row.and_then(|(_, _, do_now, _)| *do_now) {
        problem = problem.do_now(do_now);
    }
    problem
}

/// Why no connection to `target` could be made.
pub fn from_connect(error: &Error, target: &Target) -> Problem {
    let place = target.place();
    let doing = format!("connect to database `{}` at `{place}` as `{}`", target.database, target.user);
    if error.as_db_error().is_some() {
        return from_pg(error, &doing);
    }
    let facts = chain(error);
    if let Some(io) =
        io_cause(error).filter(|io| io.get_ref().is_none_or(|inner| !inner.is::<rustls::Error>()))
    {
        return from_io(io, target, facts);
    }
    if facts.contains("server does not support TLS") {
        return Problem::new(Kind::Unauthenticated, format!("PostgreSQL at `{place}` does not encrypt"))
            .detail(format!("sslmode={} was asked for", target.sslmode.name()))
            .hint("Turn `ssl` on in the server, or, on a network that you trust, set `sslmode=disable` in `server.url`.");
    }
    if facts.contains("password missing") {
        return Problem::new(
            Kind::Unauthenticated,
            format!("PostgreSQL at `{place}` asks for the password of `{}`", target.user),
        )
        .detail("none was given")
        .hint("Name the variable that holds it in `server.password_env`, or set PGPASSWORD.");
    }
    if target.sslmode >= SslMode::Require && facts.contains("TLS") || facts.contains("certificate") {
        return Problem::new(
            Kind::Unauthenticated,
            format!("the certificate of PostgreSQL at `{place}` is not trusted"),
        )
        .detail(facts)
        .hint("Name the authority's certificate with `sslrootcert=/path/to/ca.pem` in `server.url`, and connect by the host name in the certificate.");
    }
    Problem::new(Kind::Unreachable, format!("cannot {doing}")).detail(facts)
}

fn from_io(io: &io::Error, target: &Target, facts: String) -> Problem {
    let place = target.place();
    let (what, hint) = match io.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => (
            format!("nothing listens at `{place}`"),
            "Start the server (`howdah up`, or its own service), or correct `server.url`.",
        ),
        io::ErrorKind::TimedOut => return connect_timeout(target),
        io::ErrorKind::PermissionDenied => (
            format!("`{place}` may not be opened"),
            "Connect as a user that may, or over TCP with `server.url`.",
        ),
        _ if facts.contains("lookup") => {
            (format!("the host of `{place}` is not known"), "Check the host name in `server.url`.")
        }
        _ => (
            format!("PostgreSQL at `{place}` does not answer"),
            "Check that it runs and that the network lets you through.",
        ),
    };
    Problem::new(Kind::Unreachable, what).detail(facts).hint(hint)
}

/// No answer within the target's `connect_timeout`.
pub fn connect_timeout(target: &Target) -> Problem {
    Problem::new(Kind::Unreachable, format!("PostgreSQL at `{}` does not answer", target.place()))
        .detail(format!("waited {} s", target.connect_timeout.as_secs_f32()))
        .hint("Check the host and the port, and that a firewall or security group lets this machine through.")
}

fn io_cause(error: &Error) -> Option<&io::Error> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io);
        }
        cause = error.source();
    }
    None
}

/// The error and its causes in one line.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_code_wins_over_its_class() {
        for (code, kind) in [
            ("28P01", Kind::Unauthenticated),
            ("28000", Kind::Unauthenticated),
            ("53100", Kind::Machine),
            ("57014", Kind::Timeout),
            ("57P01", Kind::Unreachable),
            ("57P03", Kind::Unreachable),
            ("55P03", Kind::Conflict),
            ("40P01", Kind::Conflict),
            ("40001", Kind::Conflict),
            ("42501", Kind::Forbidden),
            ("42P01", Kind::NotFound),
            ("42601", Kind::Failed),
            ("0A000", Kind::Failed),
            ("22P02", Kind::Usage),
            ("23505", Kind::Conflict),
            ("23502", Kind::Failed),
            ("3D000", Kind::NotFound),
            ("ZZ999", Kind::Failed),
        ] {
            assert_eq!(kind_of(code), kind, "{code}");
        }
        assert_eq!(kind_of("28P01").row().exit, 4);
    }
}
