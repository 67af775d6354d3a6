//! What differs between PostgreSQL's majors, once.

use pgrx::pg_sys;

/// Whether a snapshot is one that sees the same rows for as long as it lives (`IsMVCCSnapshot`).
///
/// # Safety
/// `snapshot` is valid.
pub unsafe fn is_mvcc(snapshot: pg_sys::Snapshot) -> bool {
    use pg_sys::SnapshotType::{SNAPSHOT_HISTORIC_MVCC, SNAPSHOT_MVCC};
    // SAFETY: promised by the caller.
    matches!(unsafe { (*snapshot).snapshot_type }, SNAPSHOT_MVCC | SNAPSHOT_HISTORIC_MVCC)
}

/// Defines the hook `$name` of `ExecutorRun`. It calls `$run` with the query, the rows asked for (0 means all) and what
/// executes the query: by the hook given to it or, without one, by PostgreSQL.
macro_rules! executor_run_hook {
    ($name:ident calls $run:path) => {
        #[cfg(feature = "pg18")]
        #[pgrx::pg_guard]
        unsafe extern "C-unwind" fn $name(
            query: *mut pg_sys::QueryDesc,
            direction: pg_sys::ScanDirection::Type,
            rows: u64,
        ) {
            // SAFETY: everything is passed on as it came; what raises errors runs inside the guard that turns them into
            // unwinding.
            $run(query, rows, |before: pg_sys::ExecutorRun_hook_type| unsafe {
                match before {
                    Some(before) => pg_sys::ffi::pg_guard_ffi_boundary(|| before(query, direction, rows)),
                    None => pg_sys::standard_ExecutorRun(query, direction, rows),
                }
            });
        }

        #[cfg(not(feature = "pg18"))]
        #[pgrx::pg_guard]
        unsafe extern "C-unwind" fn $name(
            query: *mut pg_sys::QueryDesc,
            direction: pg_sys::ScanDirection::Type,
            rows: u64,
            once: bool,
        ) {
            // SAFETY: as for the other majors.
            $run(query, rows, |before: pg_sys::ExecutorRun_hook_type| unsafe {
                match before {
                    Some(before) => {
                        pg_sys::ffi::pg_guard_ffi_boundary(|| before(query, direction, rows, once))
                    }
                    None => pg_sys::standard_ExecutorRun(query, direction, rows, once),
                }
            });
        }
    };
}
pub(crate) use executor_run_hook;

/// Makes a path worse than any that a setting has disabled: from 18 on that counts before all costs.
///
/// # Safety
/// `path` is being costed.
pub unsafe fn never_take(path: *mut pg_sys::IndexPath) {
    #[cfg(feature = "pg18")]
    // SAFETY: promised by the caller.
    unsafe {
        (*path).path.disabled_nodes = 2;
    }
    #[cfg(not(feature = "pg18"))]
    let _ = path;
}

/// Counts an index scan for `pg_stat_user_indexes` (`pgstat_count_index_scan`), and for EXPLAIN from 18 on.
///
/// # Safety
/// `scan` is running.
pub unsafe fn count_scan(scan: pg_sys::IndexScanDesc) {
    // SAFETY: an open relation has statistics or knows whether it wants them; the macros of PostgreSQL do the same.
    unsafe {
        let relation = (*scan).indexRelation;
        if (*relation).pgstat_info.is_null() && (*relation).pgstat_enabled {
            pg_sys::pgstat_assoc_relation(relation);
        }
        if !(*relation).pgstat_info.is_null() {
            #[cfg(feature = "pg15")]
            {
                (*(*relation).pgstat_info).t_counts.t_numscans += 1;
            }
            #[cfg(not(feature = "pg15"))]
            {
                (*(*relation).pgstat_info).counts.numscans += 1;
            }
        }
        #[cfg(feature = "pg18")]
        if !(*scan).instrument.is_null() {
            (*(*scan).instrument).nsearches += 1;
        }
    }
}

/// The table of an index that is being vacuumed: PostgreSQL 15 does not say which it is.
pub struct VacuumedTable {
    relation: pg_sys::Relation,
    opened: bool,
}

impl VacuumedTable {
    /// # Safety
    /// `info` is that of a running vacuum.
    pub unsafe fn of(info: *mut pg_sys::IndexVacuumInfo) -> Self {
        // SAFETY: promised by the caller; the lock that vacuum holds on the table is enough to open it again.
        unsafe {
            #[cfg(feature = "pg15")]
            {
                let table = pg_sys::IndexGetRelation((*(*info).index).rd_id, false);
                let relation = pg_sys::table_open(table, pg_sys::NoLock as pg_sys::LOCKMODE);
                Self { relation, opened: true }
            }
            #[cfg(not(feature = "pg15"))]
            {
                Self { relation: (*info).heaprel, opened: false }
            }
        }
    }

    /// The table.
    pub fn relation(&self) -> pg_sys::Relation {
        self.relation
    }

    /// Closes what was opened.
    pub fn close(self) {
        if self.opened {
            // SAFETY: opened by `of`.
            unsafe { pg_sys::table_close(self.relation, pg_sys::NoLock as pg_sys::LOCKMODE) }
        }
    }
}
