//! Row codes sorted by their lists: the server's own sort, which keeps to `maintenance_work_mem` and goes to disk beyond.
//!
//! Rows of a list are sorted by TID, so that an index does not depend on which worker was faster.

use howdah_index::page::Tid;
use pgrx::pg_sys;

/// Row codes that are being sorted by their lists.
pub struct Sort {
    state: *mut pg_sys::Tuplesortstate,
    slot_in: *mut pg_sys::TupleTableSlot,
    slot_out: *mut pg_sys::TupleTableSlot,
    /// A varlena that is filled anew for every row.
    value: Vec<u8>,
}

const VARLENA_HEADER: usize = 4;
/// Bits of a TID in a key: block 32, offset 11 (a page of a table has at most 2,048 line pointers). The list has the rest,
/// 20, and is below 2^18 (`lists` in `howdah_index::options`).
const OFFSET_BITS: u32 = 11;
const TID_BITS: u32 = 32 + OFFSET_BITS;

fn key(list: u32, tid: Tid) -> i64 {
    i64::from(list) << TID_BITS | i64::from(tid.block) << OFFSET_BITS | i64::from(tid.offset)
}

impl Sort {
    /// A sort that holds at most `kilobytes` in memory.
    pub fn new(kilobytes: i32) -> Self {
        // SAFETY: plain construction of a two-column tuple sort; everything is freed with the memory context at the
        // latest.
        unsafe {
            let descriptor = pg_sys::CreateTemplateTupleDesc(2);
            pg_sys::TupleDescInitEntry(descriptor, 1, c"key".as_ptr(), pg_sys::INT8OID, -1, 0);
            pg_sys::TupleDescInitEntry(descriptor, 2, c"code".as_ptr(), pg_sys::BYTEAOID, -1, 0);
            let mut column: pg_sys::AttrNumber = 1;
            let mut operator = pg_sys::Oid::from(pg_sys::Int8LessOperator);
            let mut collation = pg_sys::InvalidOid;
            let mut nulls_first = false;
            let state = pg_sys::tuplesort_begin_heap(
                descriptor,
                1,
                &raw mut column,
                &raw mut operator,
                &raw mut collation,
                &raw mut nulls_first,
                kilobytes,
                std::ptr::null_mut(),
                pg_sys::TUPLESORT_NONE as i32,
            );
            let slot_in = pg_sys::MakeSingleTupleTableSlot(descriptor, &raw const pg_sys::TTSOpsVirtual);
            let slot_out =
                pg_sys::MakeSingleTupleTableSlot(descriptor, &raw const pg_sys::TTSOpsMinimalTuple);
            Self { state, slot_in, slot_out, value: Vec::new() }
        }
    }

    /// Adds the code of row `tid`, of list `list`.
    pub fn push(&mut self, list: u32, tid: Tid, code: &[u8]) {
        self.value.clear();
        self.value.extend_from_slice(&[0; VARLENA_HEADER]);
        self.value.extend_from_slice(code);
        // SAFETY: the value is a varlena of the length it says; the sort copies it before it returns.
        unsafe {
            pgrx::set_varsize_4b(self.value.as_mut_ptr().cast(), self.value.len() as i32);
            let slot = self.slot_in;
            let clear = (*(*slot).tts_ops).clear.expect("every kind of slot can be cleared");
            pg_sys::ffi::pg_guard_ffi_boundary(|| clear(slot));
            *(*self.slot_in).tts_values = pg_sys::Datum::from(key(list, tid));
            *(*self.slot_in).tts_values.add(1) = pg_sys::Datum::from(self.value.as_ptr());
            *(*self.slot_in).tts_isnull = false;
            *(*self.slot_in).tts_isnull.add(1) = false;
            pg_sys::ExecStoreVirtualTuple(self.slot_in);
            pg_sys::tuplesort_puttupleslot(self.state, self.slot_in);
        }
    }

    /// Sorts, then hands every row code to `take` in order of the lists.
    pub fn finish(self, mut take: impl FnMut(u32, &[u8])) {
        // SAFETY: the slot holds a two-column row after each true answer; a bytea built by `push` is never compressed or
        // stored out of line, but may have got a short header.
        unsafe {
            pg_sys::tuplesort_performsort(self.state);
            while pg_sys::tuplesort_gettupleslot(self.state, true, false, self.slot_out, std::ptr::null_mut())
            {
                pg_sys::slot_getsomeattrs_int(self.slot_out, 2);
                let list = ((*(*self.slot_out).tts_values).value() as i64 >> TID_BITS) as u32;
                let value = (*(*self.slot_out).tts_values.add(1)).cast_mut_ptr::<pg_sys::varlena>();
                take(list, pgrx::varlena_to_byte_slice(value));
            }
            pg_sys::ExecDropSingleTupleTableSlot(self.slot_in);
            pg_sys::ExecDropSingleTupleTableSlot(self.slot_out);
            pg_sys::tuplesort_end(self.state);
        }
    }
}
