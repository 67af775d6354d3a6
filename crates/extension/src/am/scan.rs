//! `SELECT … ORDER BY embedding <-> $1`: rows in order of distance for as long as the executor asks.
//!
//! Distances are compared exactly inside the scan and rows come in strict order, so the executor has nothing to recheck.
//! Rows that its filter would drop are mostly dropped here ([`super::demand`]).

use std::cell::Cell;

use howdah_index::options::SearchOptions;
use howdah_index::search::{Dead, Search, Work};
use howdah_index::vacuum::mark_dead;
use pgrx::memcxt::PgMemoryContexts;
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::demand::Demand;
use super::options::search_options;
use super::report::{self, raise};
use crate::compat;
use crate::storage::cache::with_index;
use crate::storage::pages::Pages;
use crate::storage::rows::Rows;
use crate::types::{self, Opclass};

/// What a scan keeps between calls; dropped with the memory context it began in, also when the query fails.
struct Scan {
    opclass: Opclass,
    /// Where the executor keeps what lives as long as the scan.
    context: pg_sys::MemoryContext,
    query: Vec<f32>,
    running: Option<Running>,
}

struct Running {
    search: Search,
    rows: Rows,
    dead: Vec<Dead>,
}

thread_local! {
    static DONE: Cell<Done> = Cell::default();
}

/// What the scans of a session have done.
#[derive(Clone, Copy, Default)]
pub struct Done {
    /// Scans that have ended.
    pub scans: u64,
    /// Their work.
    pub work: Work,
    /// Bytes of indexes that they read.
    pub bytes: u64,
}

/// What the scans of this session have done so far.
pub fn done() -> Done {
    DONE.get()
}

/// Dead rows that are marked together: marking a page costs a log record.
const DEAD_AT_A_TIME: usize = 512;

impl Drop for Scan {
    fn drop(&mut self) {
        // `amendscan` has closed the rows. When it was not called, the transaction failed, and PostgreSQL has given back
        // or will give back what they hold: nothing of it may be touched here.
        if let Some(running) = self.running.take() {
            std::mem::forget(running.rows);
        }
    }
}

/// Callback `ambeginscan`.
#[pg_guard]
pub unsafe extern "C-unwind" fn ambeginscan(
    index: pg_sys::Relation,
    keys: std::ffi::c_int,
    orderbys: std::ffi::c_int,
) -> pg_sys::IndexScanDesc {
    // SAFETY: PostgreSQL holds the index open; the scan's state is owned by the current context, which is the one the
    // executor keeps until the scan ends.
    unsafe {
        let scan = pg_sys::RelationGetIndexScan(index, keys, orderbys);
        let state = Scan {
            opclass: Opclass::of(index),
            context: pg_sys::CurrentMemoryContext,
            query: Vec::new(),
            running: None,
        };
        (*scan).opaque = PgMemoryContexts::CurrentMemoryContext.leak_and_drop_on_delete(state).cast();
        scan
    }
}

/// Callback `amrescan`: a new query vector.
#[pg_guard]
pub unsafe extern "C-unwind" fn amrescan(
    scan: pg_sys::IndexScanDesc,
    keys: pg_sys::ScanKey,
    key_count: std::ffi::c_int,
    orderbys: pg_sys::ScanKey,
    orderby_count: std::ffi::c_int,
) {
    // SAFETY: `scan` is one of `ambeginscan`; the arrays have room for the counts given there.
    unsafe {
        if !keys.is_null() && key_count > 0 {
            std::ptr::copy_nonoverlapping(keys, (*scan).keyData, key_count as usize);
        }
        if !orderbys.is_null() && orderby_count > 0 {
            std::ptr::copy_nonoverlapping(orderbys, (*scan).orderByData, orderby_count as usize);
        }
        let state = state(scan);
        end(scan, state);
        state.query.clear();
        if (*scan).numberOfOrderBys > 0 {
            let key = &*(*scan).orderByData;
            if key.sk_flags & pg_sys::SK_ISNULL as i32 == 0 {
                types::read_vector(key.sk_argument, state.opclass.element, &mut state.query);
            }
        }
    }
}

/// Callback `amgettuple`.
#[pg_guard]
pub unsafe extern "C-unwind" fn amgettuple(
    scan: pg_sys::IndexScanDesc,
    _direction: pg_sys::ScanDirection::Type,
) -> bool {
    // SAFETY: `scan` is one of `ambeginscan` whose relations and snapshot PostgreSQL keeps until `amendscan`.
    unsafe {
        let index = (*scan).indexRelation;
        let pages = Pages::open(index);
        let state = state(scan);
        if state.running.is_none() {
            state.running = Some(begin(scan, state, &pages));
        }
        let Some(running) = &mut state.running else { return false };
        let hit = raise(running.search.next(&pages, &mut running.rows));
        running.dead.append(&mut running.search.take_dead());
        if running.dead.len() >= DEAD_AT_A_TIME {
            mark(scan, &pages, &mut running.dead);
        }
        let Some(hit) = hit else { return false };
        (*scan).xs_heaptid = types::item_pointer(hit.tid);
        (*scan).xs_recheck = false;
        (*scan).xs_recheckorderby = false;
        true
    }
}

/// Callback `amendscan`.
#[pg_guard]
pub unsafe extern "C-unwind" fn amendscan(scan: pg_sys::IndexScanDesc) {
    // SAFETY: `scan` is one of `ambeginscan`; its state is dropped with its memory context.
    unsafe { end(scan, state(scan)) }
}

/// Marks rows that the scan found dead to everybody, so that the next scan does not fetch them again: what btree and hash
/// do with `kill_prior_tuple`. The executor never sets that here, since rows are fetched inside the scan and a dead one is
/// not returned at all.
///
/// Not on a standby, whose pages are not its own and whose horizon is not the primary's: there scans ignore
/// marks as well (see [`begin`]), since a snapshot of the standby may still see a row that the primary has marked.
///
/// # Safety
/// `scan` is running on an open index whose pages are `pages`.
unsafe fn mark(scan: pg_sys::IndexScanDesc, pages: &Pages, dead: &mut Vec<Dead>) {
    let dead = std::mem::take(dead);
    // SAFETY: promised by the caller.
    unsafe {
        if dead.is_empty() || (*scan).xactStartedInRecovery {
            return;
        }
        raise(with_index((*scan).indexRelation, pages, |index| mark_dead(&index.layout, pages, &dead)));
    }
}

/// # Safety
/// As for [`amgettuple`].
unsafe fn begin(scan: pg_sys::IndexScanDesc, state: &Scan, pages: &Pages) -> Running {
    // SAFETY: promised by the caller.
    unsafe {
        let index = (*scan).indexRelation;
        if (*scan).numberOfOrderBys == 0 {
            report::error(
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                "an index of method `howdah` is scanned in order of distance only",
                "Add `ORDER BY column <-> vector`, with the operator of the index.",
            );
        }
        // Vacuum may reuse what a snapshot of another kind still sees.
        if !compat::is_mvcc((*scan).xs_snapshot) {
            report::error(
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                "non-MVCC snapshots are not supported with an index of method `howdah`",
                "Read the table without the index.",
            );
        }
        compat::count_scan(scan);
        let before = pg_sys::MemoryContextSwitchTo(state.context);
        let demand = Demand::of(scan);
        let filter = demand.and_then(|demand| demand.filter);
        let rows = Rows::under((*scan).heapRelation, index, (*scan).xs_snapshot, state.opclass.element)
            .filtered(filter);
        pg_sys::MemoryContextSwitchTo(before);
        let search = raise(with_index(index, pages, |opened| {
            // ORDER BY … <-> NULL: every row is as far as any other.
            let nowhere = vec![0.0; opened.meta.dimensions];
            let query = if state.query.is_empty() { &nowhere } else { &state.query };
            let see_marked = (*scan).xactStartedInRecovery || !(*scan).ignore_killed_tuples;
            let mut options = SearchOptions { see_marked, ..search_options() };
            if let Some(demand) = demand {
                demand.fit(&mut options, opened.directory.rows());
            }
            Search::new(opened, options, query)
        }));
        Running { search, rows, dead: Vec::new() }
    }
}

/// # Safety
/// `state` is that of `scan`, whose index is open.
unsafe fn end(scan: pg_sys::IndexScanDesc, state: &mut Scan) {
    if let Some(mut running) = state.running.take() {
        let mut done = DONE.get();
        done.scans += 1;
        done.work += running.search.work();
        done.bytes += running.search.bytes();
        DONE.set(done);
        running.rows.close();
        // SAFETY: promised by the caller.
        unsafe {
            let pages = Pages::open((*scan).indexRelation);
            mark(scan, &pages, &mut running.dead);
        }
    }
}

/// # Safety
/// `scan` is one of [`ambeginscan`] that has not ended, and no other reference to its state is alive.
unsafe fn state<'a>(scan: pg_sys::IndexScanDesc) -> &'a mut Scan {
    // SAFETY: promised by the caller.
    unsafe { &mut *(*scan).opaque.cast::<Scan>() }
}
