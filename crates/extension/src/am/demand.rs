//! What will the executor ask of a scan: how many rows, and which of them will it drop?
//!
//! An access method is told neither the LIMIT above its scan nor the filter beside it. Both can be read from the running
//! plan: a hook notes which query is being executed, and a scan that begins looks itself up there. The first round of a
//! search is then neither too small, since every further one begins again, nor too large; and rows that the filter drops
//! are dropped where they are fetched for the last comparison, instead of being compared, put in order, returned, fetched
//! again and dropped then. The hook is set when the library is loaded, which is when a session first plans with one of its
//! indexes, so nothing has to be preloaded.

use std::cell::Cell;
use std::ffi::c_void;
use std::sync::OnceLock;

use howdah_index::options::SearchOptions;
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::compat::executor_run_hook;
use crate::storage::filter::Filter;

/// Rows a hint may ask for at most: the planner's guess of a filter may be far off.
const MOST: f64 = 4096.0;
/// Standard deviations by which more rows are wanted than the filter needs on average, so that one round is mostly enough; a
/// second costs half of the first.
const MARGIN: f64 = 0.5;

/// The hook that was there before.
static PREVIOUS: OnceLock<pg_sys::ExecutorRun_hook_type> = OnceLock::new();

thread_local! {
    static RUNNING: Cell<Running> = const { Cell::new(Running { query: std::ptr::null_mut(), rows: 0 }) };
}

/// A query being executed, and how many rows of it are asked for; 0 means all.
#[derive(Clone, Copy)]
struct Running {
    query: *mut pg_sys::QueryDesc,
    rows: u64,
}

/// Puts back what was running before, also when a query fails.
struct Before(Running);

impl Drop for Before {
    fn drop(&mut self) {
        RUNNING.set(self.0);
    }
}

/// Sets the hook. Called once, when the library is loaded.
pub fn register() {
    // SAFETY: a plain global of PostgreSQL, set in the only thread.
    unsafe {
        PREVIOUS.get_or_init(|| pg_sys::ExecutorRun_hook);
        pg_sys::ExecutorRun_hook = Some(executor_run);
    }
}

executor_run_hook!(executor_run calls run);

/// Executes `query` by `run`, which gets the hook that was there before.
fn run(query: *mut pg_sys::QueryDesc, rows: u64, run: impl FnOnce(pg_sys::ExecutorRun_hook_type)) {
    let _before = Before(RUNNING.replace(Running { query, rows }));
    run(PREVIOUS.get().copied().flatten());
}

/// What the plan says of a scan.
#[derive(Clone, Copy)]
pub struct Demand {
    /// Rows that are wanted of it, where that is known.
    limit: Option<f64>,
    /// Rows that the planner expects to pass its filter, of all that are there; none without a filter.
    passing: Option<f64>,
    /// The filter, where it may be asked more than once for a row.
    pub filter: Option<Filter>,
}

impl Demand {
    /// What is wanted of `scan`, which has begun. `None` where the plan does not say.
    ///
    /// # Safety
    /// `scan` is running.
    pub unsafe fn of(scan: pg_sys::IndexScanDesc) -> Option<Self> {
        let Running { query, rows } = RUNNING.get();
        if query.is_null() {
            return None;
        }
        let limit = (rows > 0).then_some(rows as f64);
        let mut visit = Visit { scan, above: std::ptr::null_mut(), limit, found: None };
        // SAFETY: the query is being executed, since `run` clears it when it ends; so its plan's state is whole.
        unsafe { look((*query).planstate, (&raw mut visit).cast()) };
        visit.found
    }

    /// Fits the first round of a search in an index with `there` rows.
    pub fn fit(&self, options: &mut SearchOptions, there: u64) {
        let Some(limit) = self.limit else { return };
        let one_in = self.passing.map_or(1.0, |passing| (there as f64 / passing.max(1.0)).max(1.0));
        let margin = if one_in > 1.0 { MARGIN * limit.sqrt() } else { 0.0 };
        let rows = ((limit + margin) * one_in).ceil().clamp(1.0, MOST) as u32;
        options.expected_rows = options.expected_rows.max(rows);
        if self.filter.is_some() {
            options.passing_rows = limit.min(MOST) as u32;
        }
    }
}

/// State of the search through a plan: what is looked for, and how many rows the nodes above let through.
struct Visit {
    scan: pg_sys::IndexScanDesc,
    /// The node whose children are being looked at; null at the top.
    above: *mut pg_sys::PlanState,
    limit: Option<f64>,
    found: Option<Demand>,
}

/// Looks for the scan in the plan at `node`. True when it was there.
///
/// # Safety
/// `node` is null or of a plan that is being executed; `context` is a [`Visit`].
#[pg_guard]
unsafe extern "C-unwind" fn look(node: *mut pg_sys::PlanState, context: *mut c_void) -> bool {
    // SAFETY: promised by the caller; a node's tag says what it is.
    unsafe {
        let visit = &mut *context.cast::<Visit>();
        if node.is_null() {
            return false;
        }
        let (parent, limit) = (visit.above, visit.limit);
        let above = if parent.is_null() || is_input(parent, node) { limit } else { None };
        visit.limit = match (*node).type_ {
            pg_sys::NodeTag::T_IndexScanState => {
                let scan = &*node.cast::<pg_sys::IndexScanState>();
                if scan.iss_ScanDesc == visit.scan {
                    let filtered = !(*node).qual.is_null();
                    let passing = filtered.then_some((*(*node).plan).plan_rows);
                    visit.found = Some(Demand { limit: above, passing, filter: Filter::of(node) });
                    return true;
                }
                None
            }
            pg_sys::NodeTag::T_LimitState => {
                let limit = &*node.cast::<pg_sys::LimitState>();
                let rows = (limit.offset.max(0) as f64) + limit.count as f64;
                (!limit.noCount && limit.count > 0).then_some(rows)
            }
            // As many rows go in as come out.
            pg_sys::NodeTag::T_ResultState
            | pg_sys::NodeTag::T_SubqueryScanState
            | pg_sys::NodeTag::T_LockRowsState
            | pg_sys::NodeTag::T_MergeAppendState
                if (*node).qual.is_null() =>
            {
                above
            }
            _ => None,
        };
        visit.above = node;
        let found = pg_sys::planstate_tree_walker(node, Some(look), context);
        (visit.above, visit.limit) = (parent, limit);
        found
    }
}

/// Whether the rows of `child` are what `parent` works on. The other nodes below it are subqueries, each read as far as an
/// expression wants.
///
/// # Safety
/// Both are of a plan that is being executed.
unsafe fn is_input(parent: *mut pg_sys::PlanState, child: *mut pg_sys::PlanState) -> bool {
    // SAFETY: promised by the caller; a node's tag says what it is.
    unsafe {
        match (*parent).type_ {
            pg_sys::NodeTag::T_SubqueryScanState => {
                (*parent.cast::<pg_sys::SubqueryScanState>()).subplan == child
            }
            pg_sys::NodeTag::T_MergeAppendState => {
                let merge = &*parent.cast::<pg_sys::MergeAppendState>();
                (0..merge.ms_nplans as usize).any(|n| *merge.mergeplans.add(n) == child)
            }
            _ => (*parent).lefttree == child,
        }
    }
}
