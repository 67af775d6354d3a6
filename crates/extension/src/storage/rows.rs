//! The rows' own vectors, fetched from the table for the last comparison: [`VectorSource`] over the table access method.

use howdah_index::page::{Tid, VectorSource};
use pgrx::pg_sys;

use crate::storage::filter::Filter;
use crate::storage::pages::Misses;
use crate::types::{self, Element};

/// Fetches the indexed value of a row by its TID, under a snapshot. Opens what it needs at the first fetch: most inserts
/// need no row.
pub struct Rows {
    heap: pg_sys::Relation,
    index: pg_sys::Relation,
    /// Null until the first fetch where it is to be one that sees all that is not deleted.
    snapshot: pg_sys::Snapshot,
    element: Element,
    /// What rows have to pass besides.
    filter: Option<Filter>,
    context: pg_sys::MemoryContext,
    open: Option<Open>,
    missed: Misses,
    /// Whether the row that was not found last is dead to everybody.
    dead: bool,
}

/// What PostgreSQL wants for fetching.
#[derive(Clone, Copy)]
struct Open {
    fetch: *mut pg_sys::IndexFetchTableData,
    slot: *mut pg_sys::TupleTableSlot,
    /// Column of the vector; 0 for an expression, which `info` evaluates.
    column: i16,
    info: *mut pg_sys::IndexInfo,
    estate: *mut pg_sys::EState,
}

impl Rows {
    /// The rows of `heap` as `index` sees them, under `snapshot`.
    ///
    /// # Safety
    /// `heap` and `index` are open and `snapshot` is registered or active for as long as rows are fetched; the current
    /// memory context lives as long.
    pub unsafe fn under(
        heap: pg_sys::Relation,
        index: pg_sys::Relation,
        snapshot: pg_sys::Snapshot,
        element: Element,
    ) -> Self {
        // SAFETY: reads a plain global.
        let context = unsafe { pg_sys::CurrentMemoryContext };
        let missed = Misses::none_yet();
        Self { heap, index, snapshot, element, filter: None, context, open: None, missed, dead: false }
    }

    /// The same, of those that pass `filter`.
    #[must_use]
    pub fn filtered(mut self, filter: Option<Filter>) -> Self {
        self.filter = filter;
        self
    }

    /// The rows of `heap` that are not deleted, committed or not, as the index itself needs them. Not rows of any age: the
    /// TOASTed value of a row that is dead to everybody may have been removed already, since a table's TOAST table has its
    /// own vacuum.
    ///
    /// # Safety
    /// As [`Rows::under`], without the snapshot.
    pub unsafe fn undeleted(heap: pg_sys::Relation, index: pg_sys::Relation, element: Element) -> Self {
        // SAFETY: promised by the caller; `open` makes the snapshot.
        unsafe { Self::under(heap, index, std::ptr::null_mut(), element) }
    }

    fn open(&mut self) -> Open {
        if let Some(open) = self.open {
            return open;
        }
        // SAFETY: promised to the constructors; table AM callbacks run inside the guard that turns their errors into
        // unwinding, and all that is allocated lives in the context of the construction.
        let open = unsafe {
            let before = pg_sys::MemoryContextSwitchTo(self.context);
            if self.snapshot.is_null() {
                self.snapshot = dirty_snapshot();
            }
            let begin =
                (*(*self.heap).rd_tableam).index_fetch_begin.expect("every table access method fetches rows");
            let heap = self.heap;
            let fetch = begin_fetch(begin, heap);
            let column = (*(*self.index).rd_index).indkey.values.as_slice(1)[0];
            let (info, estate) = if column == 0 {
                (pg_sys::BuildIndexInfo(self.index), pg_sys::CreateExecutorState())
            } else {
                (std::ptr::null_mut(), std::ptr::null_mut())
            };
            let slot = pg_sys::table_slot_create(heap, std::ptr::null_mut());
            pg_sys::MemoryContextSwitchTo(before);
            Open { fetch, slot, column, info, estate }
        };
        self.open = Some(open);
        open
    }

    /// Gives back what was opened. Not called when a transaction ends by an error: PostgreSQL then gives back itself.
    pub fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        // SAFETY: all were made by `open` and are used nowhere else.
        unsafe {
            let end =
                (*(*self.heap).rd_tableam).index_fetch_end.expect("every table access method fetches rows");
            pg_sys::ffi::pg_guard_ffi_boundary(|| end(open.fetch));
            pg_sys::ExecDropSingleTupleTableSlot(open.slot);
            if !open.estate.is_null() {
                pg_sys::FreeExecutorState(open.estate);
            }
        }
    }
}

/// A snapshot that sees what is not deleted, as `InitDirtySnapshot` makes it, in the current memory context.
fn dirty_snapshot() -> pg_sys::Snapshot {
    // SAFETY: zeroed is what this kind of snapshot is apart from its type.
    unsafe {
        let size = std::mem::size_of::<pg_sys::SnapshotData>();
        let snapshot = pg_sys::palloc0(size).cast::<pg_sys::SnapshotData>();
        (*snapshot).snapshot_type = pg_sys::SnapshotType::SNAPSHOT_DIRTY;
        snapshot
    }
}

type BeginFetch = unsafe extern "C-unwind" fn(pg_sys::Relation) -> *mut pg_sys::IndexFetchTableData;

/// # Safety
/// `heap` is open and `begin` is its table access method's.
unsafe fn begin_fetch(begin: BeginFetch, heap: pg_sys::Relation) -> *mut pg_sys::IndexFetchTableData {
    // SAFETY: promised by the caller.
    unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| begin(heap)) }
}

impl Open {
    /// The indexed value of the row in the slot; `None` for NULL.
    ///
    /// # Safety
    /// The slot holds a row.
    unsafe fn value(&self) -> Option<pg_sys::Datum> {
        // SAFETY: for a column the slot's attributes are deformed up to it; an expression is evaluated by PostgreSQL's own
        // FormIndexDatum in the per-tuple context, which is reset with each row.
        unsafe {
            if self.column > 0 {
                let at = self.column as usize - 1;
                if i32::from((*self.slot).tts_nvalid) < i32::from(self.column) {
                    pg_sys::slot_getsomeattrs_int(self.slot, i32::from(self.column));
                }
                return if *(*self.slot).tts_isnull.add(at) {
                    None
                } else {
                    Some(*(*self.slot).tts_values.add(at))
                };
            }
            let context = match (*self.estate).es_per_tuple_exprcontext {
                context if context.is_null() => pg_sys::MakePerTupleExprContext(self.estate),
                context => {
                    pg_sys::MemoryContextReset((*context).ecxt_per_tuple_memory);
                    context
                }
            };
            (*context).ecxt_scantuple = self.slot;
            let mut values = [pg_sys::Datum::from(0); pg_sys::INDEX_MAX_KEYS as usize];
            let mut nulls = [false; pg_sys::INDEX_MAX_KEYS as usize];
            pg_sys::FormIndexDatum(
                self.info,
                self.slot,
                self.estate,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
            if nulls[0] { None } else { Some(values[0]) }
        }
    }
}

impl VectorSource for Rows {
    fn prefetch(&mut self, tids: &[Tid]) {
        // As in `Pages::prefetch`.
        if !self.missed.any() {
            return;
        }
        // SAFETY: `heap` is open (promised to the constructors); only blocks that exist are asked for.
        unsafe {
            let end = pg_sys::RelationGetNumberOfBlocksInFork(self.heap, pg_sys::ForkNumber::MAIN_FORKNUM);
            for tid in tids.iter().filter(|tid| tid.block < end) {
                pg_sys::PrefetchBuffer(self.heap, pg_sys::ForkNumber::MAIN_FORKNUM, tid.block);
            }
        }
    }

    fn fetch(&mut self, tid: Tid, out: &mut Vec<f32>) -> bool {
        out.clear();
        // A page of the table may have to come from disk.
        pgrx::check_for_interrupts!();
        let open = self.open();
        let mut item = types::item_pointer(tid);
        // SAFETY: the table access method is asked as the executor's index scan does; `call_again` false starts a chain. The
        // datum is a value of the indexed type, which `element` was read from.
        unsafe {
            let mut call_again = false;
            let mut all_dead = false;
            let next =
                (*(*self.heap).rd_tableam).index_fetch_tuple.expect("every table access method fetches rows");
            let snapshot = self.snapshot;
            let (item, call_again, all_dead) = (&raw mut item, &raw mut call_again, &raw mut all_dead);
            let found = pg_sys::ffi::pg_guard_ffi_boundary(|| {
                next(open.fetch, item, snapshot, open.slot, call_again, all_dead)
            });
            self.dead = !found && *all_dead;
            if !found || self.filter.is_some_and(|filter| !filter.passes(open.slot)) {
                return false;
            }
            let Some(datum) = open.value() else { return false };
            types::read_vector(datum, self.element, out);
        }
        true
    }

    fn is_dead(&self) -> bool {
        self.dead
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.close();
        }
    }
}
