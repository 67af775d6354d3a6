//! The filter of a running scan, asked where rows are fetched.

use pgrx::pg_sys;

/// The filter of a scan, as the executor will ask it of each row that the scan returns.
#[derive(Clone, Copy)]
pub struct Filter {
    node: *mut pg_sys::PlanState,
}

impl Filter {
    /// That of `node`. `None` where there is none, or where asking twice is not the same as asking once.
    ///
    /// # Safety
    /// `node` is of a plan that is being executed.
    pub unsafe fn of(node: *mut pg_sys::PlanState) -> Option<Self> {
        // SAFETY: promised by the caller; a node's plan is whole.
        unsafe {
            let clauses: *mut pg_sys::Node = (*(*node).plan).qual.cast();
            let usable = !(*node).qual.is_null()
                && !pg_sys::contain_volatile_functions(clauses)
                && !pg_sys::contain_subplans(clauses);
            usable.then_some(Self { node })
        }
    }

    /// Whether the row in `slot` passes. One that does not is counted, as the executor would have.
    ///
    /// # Safety
    /// The scan of the filter is running, and `slot` holds a row of its table, in a slot as the table makes them.
    pub unsafe fn passes(self, slot: *mut pg_sys::TupleTableSlot) -> bool {
        // SAFETY: promised by the caller. The expression is evaluated as `ExecQual` does, in the memory that the executor
        // clears before each row it asks for; nothing of the row before lives there any more.
        unsafe {
            let context = (*self.node).ps_ExprContext;
            let qual = (*self.node).qual;
            let before = (*context).ecxt_scantuple;
            (*context).ecxt_scantuple = slot;
            let memory = pg_sys::MemoryContextSwitchTo((*context).ecxt_per_tuple_memory);
            let evaluate = (*qual).evalfunc.expect("an expression that is being executed has been prepared");
            let mut null = false;
            let answer = pg_sys::ffi::pg_guard_ffi_boundary(|| evaluate(qual, context, &raw mut null));
            pg_sys::MemoryContextSwitchTo(memory);
            pg_sys::MemoryContextReset((*context).ecxt_per_tuple_memory);
            (*context).ecxt_scantuple = before;
            // A list of conditions is never NULL: one that is NULL is false.
            let passes = answer.value() != 0;
            if !passes && !(*self.node).instrument.is_null() {
                (*(*self.node).instrument).nfiltered1 += 1.0;
            }
            passes
        }
    }
}
