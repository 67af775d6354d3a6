//! pgvector's types, read as they lie in memory: `vector` and `halfvec`.
//!
//! Both are a varlena of a 16-bit number of dimensions, 16 unused bits, and the elements (float32 or float16), as
//! pgvector's documentation of its binary format and its headers have it. An operator class says through its support
//! function which type and which metric it is.

use howdah_index::options::Metric;
use howdah_index::page::Tid;
use pgrx::pg_sys;

/// What the indexed type stores for each dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// `vector`: float32.
    Single,
    /// `halfvec`: float16.
    Half,
}

/// What an operator class is: the answer of its support function 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opclass {
    /// How distance is measured.
    pub metric: Metric,
    /// What is stored.
    pub element: Element,
}

impl Opclass {
    /// As a number: metric in the low byte, element in the next.
    pub const fn code(self) -> i32 {
        self.metric as i32 | (self.element as i32) << 8
    }

    /// Reads what [`Opclass::code`] wrote.
    pub fn from_code(code: i32) -> Option<Self> {
        let metric = Metric::from_code((code & 0xff) as u8)?;
        let element = match code >> 8 {
            0 => Element::Single,
            1 => Element::Half,
            _ => return None,
        };
        Some(Self { metric, element })
    }

    /// The operator class of an index.
    ///
    /// # Safety
    /// `index` is an open index of this access method.
    pub unsafe fn of(index: pg_sys::Relation) -> Self {
        // SAFETY: promised by the caller; support function 1 takes one ignored argument and returns int4.
        let code = unsafe {
            let function = pg_sys::index_getprocinfo(index, 1, 1);
            pg_sys::FunctionCall1Coll(function, pg_sys::InvalidOid, pg_sys::Datum::from(0)).value() as i32
        };
        Self::from_code(code)
            .unwrap_or_else(|| pgrx::error!("operator class of the index has the unknown code {code}"))
    }
}

/// Bytes before the elements: varlena header, dimensions, unused.
const HEADER: usize = 8;

/// Appends the elements of a vector value to `out`, float16 widened.
///
/// # Safety
/// `datum` is a non-null value of the type that `element` names.
pub unsafe fn read_vector(datum: pg_sys::Datum, element: Element, out: &mut Vec<f32>) {
    // SAFETY: promised by the caller. A detoasted value starts with a 4-byte varlena header and is aligned to 4 bytes;
    // the number of dimensions says how many elements follow.
    unsafe {
        let original = datum.cast_mut_ptr::<pg_sys::varlena>();
        let value = pg_sys::pg_detoast_datum(original);
        let bytes = value.cast::<u8>();
        let dimensions = usize::from(bytes.add(4).cast::<u16>().read_unaligned());
        let elements = bytes.add(HEADER);
        match element {
            Element::Single => {
                out.extend(std::slice::from_raw_parts(elements.cast::<f32>(), dimensions));
            }
            Element::Half => {
                let halves = std::slice::from_raw_parts(elements.cast::<u16>(), dimensions);
                out.extend(halves.iter().map(|bits| half::f16::from_bits(*bits).to_f32()));
            }
        }
        if value != original {
            pg_sys::pfree(value.cast());
        }
    }
}

/// A TID as PostgreSQL has it.
pub fn item_pointer(tid: Tid) -> pg_sys::ItemPointerData {
    pg_sys::ItemPointerData {
        ip_blkid: pg_sys::BlockIdData { bi_hi: (tid.block >> 16) as u16, bi_lo: (tid.block & 0xffff) as u16 },
        ip_posid: tid.offset,
    }
}

/// A TID as the index has it.
pub fn tid(item: pg_sys::ItemPointerData) -> Tid {
    Tid {
        block: u32::from(item.ip_blkid.bi_hi) << 16 | u32::from(item.ip_blkid.bi_lo),
        offset: item.ip_posid,
    }
}
