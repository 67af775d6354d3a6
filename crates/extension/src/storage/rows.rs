//! The rows' own vectors, fetched from the table for the last comparison: [`VectorSource`] over the table access method.

use std::mem::MaybeUninit;

use howdah_index::page::{Tid, VectorSource};
use pgrx::pg_sys;

use crate::types::{self, Element};

/// Fetches the indexed value of a row by its TID, under a snapshot.
pub struct Rows {
    heap: pg_sys::Relation,
    snapshot: pg_sys::Snapshot,
    fetch: *mut pg_sys::IndexFetchTableData,
    slot: *mut pg_sys::TupleTableSlot,
    element: Element,
    /// Column of the vector; 0 for an expression, which `info` evaluates.
    column: i16,
    info: *mut pg_sys::IndexInfo,
    estate: *mut pg_sys::EState,
}

impl Rows {
    /// The rows of `heap` as `index` sees them.
    ///
    /// # Safety
    /// `heap` and `index` are open and `snapshot` is registered or active for the life of the value; the current memory
    /// context lives at least as long.
    pub unsafe fn open(
        heap: pg_sys::Relation,
        index: pg_sys::Relation,
        snapshot: pg_sys::Snapshot,
        element: Element,
    ) -> Self {
        // SAFETY: promised by the caller; table AM callbacks run inside the guard that turns their errors into unwinding.
        unsafe {
            let begin = (*(*heap).rd_tableam).index_fetch_begin.expect("every table access method fetches rows");
            let fetch = pg_sys::ffi::pg_guard_ffi_boundary(|| begin(heap));
            let column = (*(*index).rd_index).indkey.values.as_slice(1)[0];
            let (info, estate) = if column == 0 {
                (pg_sys::BuildIndexInfo(index), pg_sys::CreateExecutorState())
            } else {
                (std::ptr::null_mut(), std::ptr::null_mut())
            };
            let slot = pg_sys::table_slot_create(heap, std::ptr::null_mut());
            Self { heap, snapshot, fetch, slot, element, column, info, estate }
        }
    }

    /// The indexed value of the row in the slot; `None` for NULL.
    fn value(&mut self) -> Option<pg_sys::Datum> {
        // SAFETY: the slot holds a row; for a column its attributes are deformed up to it, for an expression PostgreSQL's
        // own FormIndexDatum evaluates it in the per-tuple context, which is reset with each row.
        unsafe {
            if self.column > 0 {
                let at = self.column as usize - 1;
                if i32::from((*self.slot).tts_nvalid) < i32::from(self.column) {
                    pg_sys::slot_getsomeattrs_int(self.slot, i32::from(self.column));
                }
                return if *(*self.slot).tts_isnull.add(at) { None } else { Some(*(*self.slot).tts_values.add(at)) };
            }
            let context = match (*self.estate).es_per_tuple_exprcontext {
                context if context.is_null() => pg_sys::MakePerTupleExprContext(self.estate),
                context => {
                    pg_sys::MemoryContextReset((*context).ecxt_per_tuple_memory);
                    context
                }
            };
            (*context).ecxt_scantuple = self.slot;
            let mut values = [MaybeUninit::<pg_sys::Datum>::zeroed().assume_init(); pg_sys::INDEX_MAX_KEYS as usize];
            let mut nulls = [false; pg_sys::INDEX_MAX_KEYS as usize];
            pg_sys::FormIndexDatum(self.info, self.slot, self.estate, values.as_mut_ptr(), nulls.as_mut_ptr());
            if nulls[0] { None } else { Some(values[0]) }
        }
    }
}

impl VectorSource for Rows {
    fn prefetch(&mut self, tids: &[Tid]) {
        for tid in tids {
            // SAFETY: `heap` is open; a block that has been truncated away is skipped by the buffer manager's check.
            unsafe {
                if tid.block < pg_sys::RelationGetNumberOfBlocksInFork(self.heap, pg_sys::ForkNumber::MAIN_FORKNUM) {
                    pg_sys::PrefetchBuffer(self.heap, pg_sys::ForkNumber::MAIN_FORKNUM, tid.block);
                }
            }
        }
    }

    fn fetch(&mut self, tid: Tid, out: &mut Vec<f32>) -> bool {
        out.clear();
        let mut item = types::item_pointer(tid);
        // SAFETY: the table access method is asked as the executor's index scan does; `call_again` false starts a chain.
        let found = unsafe {
            let mut call_again = false;
            let mut all_dead = false;
            let next = (*(*self.heap).rd_tableam).index_fetch_tuple.expect("every table access method fetches rows");
            let (fetch, snapshot, slot) = (self.fetch, self.snapshot, self.slot);
            let (item, call_again, all_dead) = (&raw mut item, &raw mut call_again, &raw mut all_dead);
            pg_sys::ffi::pg_guard_ffi_boundary(|| next(fetch, item, snapshot, slot, call_again, all_dead))
        };
        if !found {
            return false;
        }
        let Some(datum) = self.value() else { return false };
        // SAFETY: the datum is a value of the indexed column's type, which `element` was read from.
        unsafe { types::read_vector(datum, self.element, out) };
        true
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // SAFETY: all were made by `open` and are used nowhere else.
        unsafe {
            let end = (*(*self.heap).rd_tableam).index_fetch_end.expect("every table access method fetches rows");
            let fetch = self.fetch;
            pg_sys::ffi::pg_guard_ffi_boundary(|| end(fetch));
            pg_sys::ExecDropSingleTupleTableSlot(self.slot);
            if !self.estate.is_null() {
                pg_sys::FreeExecutorState(self.estate);
            }
        }
    }
}
