//! How the index lies on its pages. Version 1.
//!
//! | kind | what it holds |
//! |---|---|
//! | meta (page 0) | what the index is, head of the directory, free pages, calibration ([`meta`]) |
//! | origin | the vector that all others are taken relative to, one bf16 a dimension |
//! | directory | lists: centroid, first block, counts ([`directory`]) |
//! | scan | blocks of up to 32 sign codes with factors, TIDs and live bits ([`scan`]) |
//! | refine | units of the remaining bits of codes ([`refine`]) |
//! | free | nothing of use; stamped, chained from the meta page ([`crate::pool`]) |
//!
//! A list is a chain of blocks; any block of any scan page may be the next, so several short lists share a page. A
//! block points to the units that hold the low bits of its codes. All numbers are little-endian; all sizes follow from
//! dimensions and bits ([`Layout`]). What a page is stands in its special space ([`Special`]).

pub mod directory;
mod layout;
pub mod meta;
pub mod refine;
pub mod scan;

pub use layout::Layout;

use crate::page::{Block, PAGE_SPECIAL};

/// First bytes of the special space of every page of an index.
pub const MAGIC: u32 = 0x4857_4448;
/// Version of the formats in this module.
pub const VERSION: u8 = 1;
/// Version of the meta page, and so of the whole; see [`meta`].
pub const META_VERSION: u8 = 2;

/// What a page holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PageKind {
    /// Nothing of use. Also the kind of a page of zeroes.
    Free = 0,
    /// Page 0.
    Meta = 1,
    /// The origin.
    Origin = 2,
    /// Lists.
    Directory = 3,
    /// Sign codes.
    Scan = 4,
    /// Low bits.
    Refine = 5,
}

/// The special space: magic 4, version 1, kind 1, loose 1, reserved 1, stamp 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Special {
    /// What the page holds.
    pub kind: PageKind,
    /// When a free page left the index; 0 otherwise, and when it is given out again.
    pub stamp: u64,
    /// Whether a free page is known to be lost: given out, never written, and stamped by a vacuum that waits until whoever
    /// has it must have ended. All other free pages with a stamp are on the free list.
    pub loose: bool,
}

impl Special {
    /// The special space of a page in use.
    #[must_use]
    pub fn of(kind: PageKind) -> [u8; PAGE_SPECIAL] {
        Self { kind, stamp: 0, loose: false }.to_bytes()
    }

    /// The bytes of a special space.
    #[must_use]
    pub fn to_bytes(self) -> [u8; PAGE_SPECIAL] {
        let mut out = [0; PAGE_SPECIAL];
        out[..4].copy_from_slice(&MAGIC.to_le_bytes());
        out[4] = VERSION;
        out[5] = self.kind as u8;
        out[6] = u8::from(self.loose);
        out[8..].copy_from_slice(&self.stamp.to_le_bytes());
        out
    }

    /// Reads a special space.
    pub fn read(page: Block, bytes: &[u8; PAGE_SPECIAL]) -> Result<Self, Fault> {
        if bytes.iter().all(|b| *b == 0) {
            return Ok(Self { kind: PageKind::Free, stamp: 0, loose: false });
        }
        if get_u32(bytes, 0) != MAGIC {
            return Err(Fault::Damaged { page, what: "the page does not belong to an index of this kind" });
        }
        if bytes[4] != VERSION {
            return Err(Fault::Version { found: bytes[4] });
        }
        use PageKind::{Directory, Free, Meta, Origin, Refine, Scan};
        let kind = [Free, Meta, Origin, Directory, Scan, Refine].into_iter().find(|k| *k as u8 == bytes[5]);
        let kind = kind.ok_or(Fault::Damaged { page, what: "the page has an unknown kind" })?;
        Ok(Self { kind, stamp: get_u64(bytes, 8), loose: bytes[6] != 0 })
    }
}

/// Why an index cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The bytes are of a version that this build does not know.
    Version {
        /// The version found.
        found: u8,
    },
    /// A page is not what it should be.
    Damaged {
        /// The page.
        page: Block,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Lists were replaced under a scan time and again: only a standby sees that, since the primary does not wait for its scans.
    Replaced,
    /// A vector has another number of dimensions than the index.
    Dimensions {
        /// Dimensions of the index.
        expected: usize,
        /// Dimensions of the vector.
        found: usize,
    },
    /// A number of bits that no code has.
    Bits {
        /// Bits asked for.
        found: u32,
    },
    /// More dimensions than an index takes, or none.
    Width {
        /// Dimensions asked for.
        found: usize,
    },
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Version { found } => {
                write!(f, "index has format version {found}, this build reads up to {META_VERSION}")
            }
            Self::Damaged { page, what } => write!(f, "index is damaged at page {page}: {what}"),
            Self::Replaced => write!(f, "lists of the index were replaced while it was being scanned"),
            Self::Dimensions { expected, found } => write!(f, "expected {expected} dimensions, not {found}"),
            Self::Bits { found } => write!(f, "codes have 4 or 5 bits a dimension, not {found}"),
            Self::Width { found } => {
                write!(f, "an index takes 1 to {} dimensions, not {found}", crate::options::MAX_DIMENSIONS)
            }
        }
    }
}

impl std::error::Error for Fault {}

#[inline]
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

#[inline]
pub(crate) fn get_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

#[inline]
pub(crate) fn get_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

#[inline]
pub(crate) fn get_f32(bytes: &[u8], at: usize) -> f32 {
    f32::from_le_bytes(array(bytes, at))
}

#[inline]
pub(crate) fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}
