//! `VACUUM`: dead rows out in one pass over the pages, then the index put in order.

use howdah_index::page::PageStore;
use howdah_index::vacuum::{bulk_delete, clean_up};
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::report::raise;
use crate::compat;
use crate::storage::cache::with_index;
use crate::storage::pages::Pages;
use crate::storage::rows::Rows;
use crate::types::{self, Opclass};

/// Callback `ambulkdelete`.
#[pg_guard]
pub unsafe extern "C-unwind" fn ambulkdelete(
    info: *mut pg_sys::IndexVacuumInfo,
    stats: *mut pg_sys::IndexBulkDeleteResult,
    callback: pg_sys::IndexBulkDeleteCallback,
    callback_state: *mut std::ffi::c_void,
) -> *mut pg_sys::IndexBulkDeleteResult {
    // SAFETY: PostgreSQL holds the index open; its callback only looks the TID up.
    unsafe {
        let stats = or_zeroed(stats);
        let Some(callback) = callback else { return stats };
        let index = (*info).index;
        let pages = Pages::open_with(index, (*info).strategy);
        let dead = |tid| {
            let mut item = types::item_pointer(tid);
            let item = &raw mut item;
            pg_sys::ffi::pg_guard_ffi_boundary(|| callback(item, callback_state))
        };
        let removed = raise(with_index(index, &pages, |opened| bulk_delete(opened, &pages, dead)));
        (*stats).tuples_removed += removed.removed as f64;
        (*stats).num_index_tuples = removed.remaining as f64;
        (*stats).num_pages = pages.pages();
        stats
    }
}

/// Callback `amvacuumcleanup`.
#[pg_guard]
pub unsafe extern "C-unwind" fn amvacuumcleanup(
    info: *mut pg_sys::IndexVacuumInfo,
    stats: *mut pg_sys::IndexBulkDeleteResult,
) -> *mut pg_sys::IndexBulkDeleteResult {
    // SAFETY: PostgreSQL holds the index, and the table it belongs to, open and locked.
    unsafe {
        if (*info).analyze_only {
            return stats;
        }
        let stats = or_zeroed(stats);
        let index = (*info).index;
        let pages = Pages::open_with(index, (*info).strategy);
        let element = Opclass::of(index).element;
        let heap = compat::VacuumedTable::of(info);
        let mut rows = Rows::undeleted(heap.relation(), index, element);
        let cleaned = raise(with_index(index, &pages, |opened| clean_up(opened, &pages, &mut rows)));
        rows.close();
        heap.close();
        (*stats).num_index_tuples = cleaned.rows as f64;
        (*stats).num_pages = pages.pages();
        (*stats).pages_newly_deleted += cleaned.freed;
        (*stats).estimated_count = false;
        stats
    }
}

/// # Safety
/// `stats` is null or PostgreSQL's.
unsafe fn or_zeroed(stats: *mut pg_sys::IndexBulkDeleteResult) -> *mut pg_sys::IndexBulkDeleteResult {
    if !stats.is_null() {
        return stats;
    }
    // SAFETY: palloc0 gives a zeroed struct, which is how these counts begin.
    unsafe { pg_sys::palloc0(std::mem::size_of::<pg_sys::IndexBulkDeleteResult>()).cast() }
}
