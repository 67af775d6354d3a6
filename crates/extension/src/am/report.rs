//! What a callback says to PostgreSQL: progress, and faults as errors with a code, the facts and what to do.

use howdah_index::format::Fault;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// The value, or the fault as PostgreSQL's error.
pub fn raise<T>(result: Result<T, Fault>) -> T {
    match result {
        Ok(value) => value,
        Err(fault) => raise_fault(&fault),
    }
}

fn raise_fault(fault: &Fault) -> ! {
    let (code, hint) = match fault {
        Fault::Version { .. } => (
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            "Update the extension, or rebuild the index with `REINDEX INDEX`.",
        ),
        Fault::Damaged { .. } => (
            PgSqlErrorCode::ERRCODE_INDEX_CORRUPTED,
            "Rebuild it with `REINDEX INDEX CONCURRENTLY`; `howdah_index_check` lists what is wrong.",
        ),
        Fault::Replaced => (
            PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE,
            "Run the query again, or run it on the primary.",
        ),
        Fault::Dimensions { .. } => {
            (PgSqlErrorCode::ERRCODE_DATA_EXCEPTION, "Compare vectors of the same number of dimensions.")
        }
        Fault::Bits { .. } => (
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            "Leave `bits` out of `WITH (…)`, or give a number that the message names.",
        ),
        Fault::Width { .. } => (
            PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            "Index the first dimensions with `subvector`, or store the rows without an index.",
        ),
    };
    error(code, &fault.to_string(), hint)
}

/// Raises an error with what to do.
pub fn error(code: PgSqlErrorCode, message: &str, hint: &str) -> ! {
    ErrorReport::new(code, message.to_owned(), "howdah").set_hint(hint).report(PgLogLevel::ERROR);
    unreachable!("an error report does not return")
}

/// Begins a phase of a build.
pub fn phase(phase: i64) {
    progress(pg_sys::PROGRESS_CREATEIDX_SUBPHASE, phase);
}

/// Rows that this phase has to do.
pub fn total(rows: u64) {
    progress(pg_sys::PROGRESS_CREATEIDX_TUPLES_TOTAL, rows as i64);
    progress(pg_sys::PROGRESS_CREATEIDX_TUPLES_DONE, 0);
}

/// Rows that this phase has done.
pub fn done(rows: u64) {
    progress(pg_sys::PROGRESS_CREATEIDX_TUPLES_DONE, rows as i64);
}

fn progress(parameter: u32, value: i64) {
    // SAFETY: writes the backend's own progress slot; the parameter is one of PostgreSQL's.
    unsafe { pg_sys::pgstat_progress_update_param(parameter as i32, value) }
}
