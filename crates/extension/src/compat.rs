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
