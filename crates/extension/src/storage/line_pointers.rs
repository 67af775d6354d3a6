//! What a row's line pointer says about an index entry: whether vacuum has left one that it should have removed.
//!
//! A line pointer that index entries lead to becomes free only when vacuum has removed them. An entry that leads to a free
//! one, or to a row that only a chain of updates may lead to, will stand for another row as soon as that line pointer is
//! given to one.

use howdah_index::page::Tid;
use pgrx::pg_sys;

/// PostgreSQL's `HEAP_TABLE_AM_OID`.
const HEAP: u32 = 2;
/// Bytes of a line pointer.
const LINE_POINTER: usize = 4;

/// The line pointers of a table of PostgreSQL's own kind.
pub struct LinePointers {
    heap: pg_sys::Relation,
    blocks: u32,
}

impl LinePointers {
    /// Those of `heap`; `None` for a table of another kind, whose TIDs mean something else.
    ///
    /// # Safety
    /// `heap` is open and stays open for the life of the value.
    pub unsafe fn of(heap: pg_sys::Relation) -> Option<Self> {
        // SAFETY: promised by the caller.
        unsafe {
            let blocks = pg_sys::RelationGetNumberOfBlocksInFork(heap, pg_sys::ForkNumber::MAIN_FORKNUM);
            ((*(*heap).rd_rel).relam.to_u32() == HEAP).then_some(Self { heap, blocks })
        }
    }

    /// Those of `tids`, which are in order, that no index entry may lead to, each with what is wrong with it.
    pub fn wrong(&self, tids: &[Tid]) -> Vec<(Tid, &'static str)> {
        let mut wrong = Vec::new();
        for on_page in tids.chunk_by(|a, b| a.block == b.block) {
            pgrx::check_for_interrupts!();
            let block = on_page[0].block;
            if block >= self.blocks {
                wrong.extend(on_page.iter().map(|tid| (*tid, "lies beyond the end of the table")));
                continue;
            }
            // SAFETY: the table is open and the block exists; the page is read under a pin and a shared lock.
            unsafe {
                let buffer = pg_sys::ReadBuffer(self.heap, block);
                pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
                let page = pg_sys::BufferGetPage(buffer);
                let fault = |tid: &Tid| line_pointer_fault(page, tid.offset).map(|fault| (*tid, fault));
                wrong.extend(on_page.iter().filter_map(fault));
                pg_sys::UnlockReleaseBuffer(buffer);
            }
        }
        wrong
    }
}

/// # Safety
/// `page` is a page of a heap, pinned and locked.
unsafe fn line_pointer_fault(page: pg_sys::Page, offset: u16) -> Option<&'static str> {
    // SAFETY: promised by the caller; the number is compared with the page's own count before the pointer is read, and a
    // normal line pointer leads to a tuple on the page.
    unsafe {
        let header = page.cast::<pg_sys::PageHeaderData>();
        let front = std::mem::offset_of!(pg_sys::PageHeaderData, pd_linp);
        let count = usize::from((*header).pd_lower).saturating_sub(front) / LINE_POINTER;
        let at = usize::from(offset);
        if at == 0 || at > count {
            return Some("has no line pointer");
        }
        let item = page.add(front + LINE_POINTER * (at - 1)).cast::<u32>().read();
        match item >> 15 & 3 {
            pg_sys::LP_UNUSED => Some("is free to be given to another row"),
            pg_sys::LP_NORMAL => {
                let tuple = page.add((item & 0x7fff) as usize).cast::<pg_sys::HeapTupleHeaderData>();
                let only = u32::from((*tuple).t_infomask2) & pg_sys::HEAP_ONLY_TUPLE != 0;
                only.then_some("is one that only a chain of updates may lead to")
            }
            _ => None,
        }
    }
}
