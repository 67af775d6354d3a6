//! `INSERT`: one row into its nearest list.

use howdah_index::insert::insert;
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::report::raise;
use crate::storage::cache::with_index;
use crate::storage::pages::Pages;
use crate::storage::rows::Rows;
use crate::types::{self, Opclass};

/// Callback `aminsert`. Rows without a vector, and zero vectors under cosine, are not indexed.
#[pg_guard]
#[allow(clippy::too_many_arguments)] // PostgreSQL's callback.
pub unsafe extern "C-unwind" fn aminsert(
    index: pg_sys::Relation,
    values: *mut pg_sys::Datum,
    isnull: *mut bool,
    item: pg_sys::ItemPointer,
    heap: pg_sys::Relation,
    _unique: pg_sys::IndexUniqueCheck::Type,
    _unchanged: bool,
    _info: *mut pg_sys::IndexInfo,
) -> bool {
    // SAFETY: PostgreSQL passes one value for the index's only column and holds both relations open.
    unsafe {
        if *isnull {
            return false;
        }
        let element = Opclass::of(index).element;
        let mut vector = Vec::new();
        types::read_vector(*values, element, &mut vector);
        let pages = Pages::open(index);
        let mut rows = Rows::undeleted(heap, index, element);
        raise(with_index(index, &pages, |opened| {
            insert(opened, &pages, &mut rows, types::tid(*item), &vector)
        }));
    }
    // The answer is for unique indexes.
    false
}
