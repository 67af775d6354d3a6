//! One pass over the table of an index: every row's TID and vector, as `CREATE INDEX` has to see them.

use howdah_index::page::Tid;
use pgrx::pg_sys;

use crate::types::{self, Element};

/// The table and the index that is being built on it.
#[derive(Clone, Copy)]
pub struct Source {
    /// The table.
    pub heap: pg_sys::Relation,
    /// The index.
    pub index: pg_sys::Relation,
    /// How the index's value is formed.
    pub info: *mut pg_sys::IndexInfo,
    /// What the index's value stores.
    pub element: Element,
}

struct Visitor<'a> {
    element: Element,
    vector: Vec<f32>,
    visit: &'a mut dyn FnMut(Tid, &[f32]),
}

impl Source {
    /// Blocks of the table.
    pub fn blocks(&self) -> u32 {
        // SAFETY: the table is open.
        unsafe { pg_sys::RelationGetNumberOfBlocksInFork(self.heap, pg_sys::ForkNumber::MAIN_FORKNUM) }
    }

    /// Rows of the table, as the planner would guess.
    pub fn estimated_rows(&self) -> u64 {
        let (mut pages, mut rows, mut visible) = (0, 0.0, 0.0);
        // SAFETY: the table is open; a null width array is allowed for tables (`estimate_rel_size`).
        unsafe {
            pg_sys::estimate_rel_size(
                self.heap,
                std::ptr::null_mut(),
                &raw mut pages,
                &raw mut rows,
                &raw mut visible,
            );
        }
        if rows.is_finite() && rows > 0.0 { rows as u64 } else { 0 }
    }

    /// Visits every row with a vector, in the order of the table. Returns how many rows the table has.
    pub fn visit(&self, visit: &mut dyn FnMut(Tid, &[f32])) -> f64 {
        // The whole table may join another scan that is under way.
        self.range(true, true, 0, u32::MAX, std::ptr::null_mut(), visit)
    }

    /// Visits every row with a vector that a snapshot taken now sees: a row that nobody sees any more is not shown, and
    /// its TOASTed value, which may be gone, is not read.
    pub fn visit_visible(&self, visit: &mut dyn FnMut(Tid, &[f32])) -> f64 {
        const FLAGS: u32 = pg_sys::ScanOptions::SO_TYPE_SEQSCAN
            | pg_sys::ScanOptions::SO_ALLOW_STRAT
            | pg_sys::ScanOptions::SO_ALLOW_PAGEMODE;
        // SAFETY: the table is open; the snapshot is registered until the scan, which ends itself, has ended.
        unsafe {
            let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetTransactionSnapshot());
            let begin = (*(*self.heap).rd_tableam).scan_begin.expect("every table can be scanned");
            let (heap, null) = (self.heap, std::ptr::null_mut());
            let scan = pg_sys::ffi::pg_guard_ffi_boundary(|| {
                begin(heap, snapshot, 0, null, std::ptr::null_mut(), FLAGS)
            });
            let rows = self.range(true, false, 0, u32::MAX, scan, visit);
            pg_sys::UnregisterSnapshot(snapshot);
            rows
        }
    }

    /// Visits the rows of `count` blocks from `first`. For samples: rows that a transaction still under way deletes or
    /// adds may be among them.
    pub fn visit_blocks(&self, first: u32, count: u32, visit: &mut dyn FnMut(Tid, &[f32])) -> f64 {
        self.range(false, false, first, count, std::ptr::null_mut(), visit)
    }

    fn range(
        &self,
        whole: bool,
        progress: bool,
        first: u32,
        count: u32,
        begun: pg_sys::TableScanDesc,
        visit: &mut dyn FnMut(Tid, &[f32]),
    ) -> f64 {
        let mut visitor = Visitor { element: self.element, vector: Vec::new(), visit };
        let state = (&raw mut visitor).cast::<std::ffi::c_void>();
        // SAFETY: the relations are open and `begun` is null or a scan of this table; `state` lives until the call returns and only `row` looks at it. The guard
        // turns an error of PostgreSQL into unwinding before it reaches a frame of ours.
        unsafe {
            let scan = (*(*self.heap).rd_tableam).index_build_range_scan.expect("every table can be indexed");
            let Source { heap, index, info, .. } = *self;
            pg_sys::ffi::pg_guard_ffi_boundary(|| {
                scan(heap, index, info, whole, false, progress, first, count, Some(row), state, begun)
            })
        }
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn row(
    _index: pg_sys::Relation,
    item: pg_sys::ItemPointer,
    values: *mut pg_sys::Datum,
    isnull: *mut bool,
    _alive: bool,
    state: *mut std::ffi::c_void,
) {
    // SAFETY: PostgreSQL calls with one value of the index's only column and with the state given to the scan.
    unsafe {
        if *isnull {
            return;
        }
        let visitor = &mut *state.cast::<Visitor<'_>>();
        visitor.vector.clear();
        types::read_vector(*values, visitor.element, &mut visitor.vector);
        (visitor.visit)(types::tid(*item), &visitor.vector);
    }
}
