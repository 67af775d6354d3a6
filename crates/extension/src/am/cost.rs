//! What a scan costs, in the planner's units.
//!
//! `howdah_index::cost` says how many pages, codes and rows a scan looks at; here they get the prices of the tablespace.
//! The first row costs a whole round, every further row its share of reading everything: a planner that knows the LIMIT
//! and the filter then compares rightly with a btree and a sort.

use howdah_index::cost::{Estimate, Facts, estimate};
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::options::search_options;
use super::report::raise;
use crate::compat;
use crate::storage::cache::with_index;
use crate::storage::pages::Pages;

/// Codes compared for the price of one operator: the kernel compares 32 at a time.
const CODES_AN_OPERATOR: f64 = 30.0;

/// Callback `amcostestimate`.
#[pg_guard]
#[allow(clippy::too_many_arguments)] // PostgreSQL's callback.
pub unsafe extern "C-unwind" fn amcostestimate(
    _root: *mut pg_sys::PlannerInfo,
    path: *mut pg_sys::IndexPath,
    _loops: f64,
    startup: *mut pg_sys::Cost,
    total: *mut pg_sys::Cost,
    selectivity: *mut pg_sys::Selectivity,
    correlation: *mut f64,
    pages_out: *mut f64,
) {
    // SAFETY: PostgreSQL passes a path over an index of this method and places for the answers; the planner holds a lock
    // on the index, so that it can be opened without another.
    unsafe {
        *correlation = 0.0;
        if (*path).indexorderbys.is_null() {
            // Never for anything but an ordered scan.
            compat::never_take(path);
            (*startup, *total) = (f64::INFINITY, f64::INFINITY);
            (*selectivity, *pages_out) = (0.0, 0.0);
            return;
        }
        let info = (*path).indexinfo;
        let relation = pg_sys::index_open((*info).indexoid, pg_sys::NoLock as pg_sys::LOCKMODE);
        let pages = Pages::open(relation);
        let rows = (*info).tuples.max(1.0);
        let options = search_options();
        let (first, all) = raise(with_index(relation, &pages, |index| {
            let facts = Facts {
                layout: &index.layout,
                rows,
                lists: f64::from(index.meta.lists.max(1)),
                curve: &index.meta.curve,
            };
            let wanted = f64::from(options.expected_rows).min(rows);
            Ok((estimate(&facts, &options, wanted, 1.0), estimate(&facts, &options, rows, 1.0)))
        }));
        pg_sys::index_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        let prices = Prices::of((*info).reltablespace);
        *startup = prices.of_estimate(&first);
        *total = prices.of_estimate(&all).max(*startup) + rows * pg_sys::cpu_index_tuple_cost;
        *selectivity = 1.0;
        *pages_out = all.scan_pages + all.refine_pages;
    }
}

/// The planner's prices.
struct Prices {
    random_page: f64,
    sequential_page: f64,
    operator: f64,
}

impl Prices {
    /// # Safety
    /// Called by the planner.
    unsafe fn of(tablespace: pg_sys::Oid) -> Self {
        let (mut random_page, mut sequential_page) = (0.0, 0.0);
        // SAFETY: fills both numbers; the operator's price is a plain global.
        unsafe {
            pg_sys::get_tablespace_page_costs(tablespace, &raw mut random_page, &raw mut sequential_page);
            Self { random_page, sequential_page, operator: pg_sys::cpu_operator_cost }
        }
    }

    /// The lists of a scan lie anywhere, but the pages of a list follow each other and are known before they are read.
    fn of_estimate(&self, estimate: &Estimate) -> f64 {
        estimate.scan_pages * self.sequential_page
            + (estimate.refine_pages + estimate.fetched) * self.random_page
            + (estimate.codes / CODES_AN_OPERATOR + estimate.fetched) * self.operator
    }
}
