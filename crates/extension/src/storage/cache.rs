//! Opened indexes of this backend: the lists' centroids are read once, and again only where they changed.

use std::cell::RefCell;

use howdah_index::directory::Index;
use howdah_index::format::Fault;
use howdah_index::kept::Kept;
use pgrx::pg_sys;

use super::pages::Pages;

/// Bytes of opened indexes that a session keeps beside the one used last. A million rows of 768 dimensions take 2.3 MB, so
/// the indexes that one application asks in turn fit, and a hundred connections hold 1.6 GB at the most. Not a share of
/// `work_mem`: that is for one operation and often raised for a single query, while this outlives queries.
const KEPT: usize = 16 << 20;

thread_local! {
    /// By the index's OID, with the number of the file it was read from: a rebuilt index has a new file.
    static OPENED: RefCell<Kept<u32, (u32, Index)>> = RefCell::new(Kept::new(KEPT));
}

/// Runs `work` on the index as it is now. While it runs the index belongs to it: an error drops what was read.
///
/// # Safety
/// `relation` is open, and `pages` are its pages.
pub unsafe fn with_index<R>(
    relation: pg_sys::Relation,
    pages: &Pages,
    work: impl FnOnce(&mut Index) -> Result<R, Fault>,
) -> Result<R, Fault> {
    // SAFETY: promised by the caller.
    let (oid, file) = unsafe { ((*relation).rd_id.to_u32(), file_number(relation)) };
    let known = OPENED.with_borrow_mut(|opened| opened.take(oid)).filter(|(of, _)| *of == file);
    let mut index = match known {
        Some((_, mut index)) => {
            index.refresh(pages)?;
            index
        }
        None => Index::open(pages)?,
    };
    let result = work(&mut index)?;
    let bytes = index.bytes();
    OPENED.with_borrow_mut(|opened| opened.put(oid, (file, index), bytes));
    Ok(result)
}

/// Number of the file that holds the relation.
///
/// # Safety
/// `relation` is open.
unsafe fn file_number(relation: pg_sys::Relation) -> u32 {
    // SAFETY: promised by the caller.
    unsafe {
        #[cfg(feature = "pg15")]
        return (*relation).rd_node.relNode.to_u32();
        #[cfg(not(feature = "pg15"))]
        return (*relation).rd_locator.relNumber.to_u32();
    }
}
