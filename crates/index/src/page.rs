//! All that an algorithm of this crate may know of storage.
//!
//! The index lives on fixed pages of 8 KiB. PostgreSQL keeps them in shared buffers, tests keep them in a vector of
//! boxes ([`crate::memory`]); build, insert, search, vacuum and split are written once, over [`PageStore`].
//!
//! The contract follows what PostgreSQL's generic WAL can promise and nothing more:
//!
//! * a page is read under a shared lock and only for as long as its guard lives;
//! * up to [`MAX_PAGES_PER_CHANGE`] pages change together or not at all, before and after a crash;
//! * nothing spans two changes: an algorithm that needs two leaves a state between them that every reader, every
//!   writer and a restart understand, at worst a page that nobody owns (vacuum finds it);
//! * what scans read of a page that left the index may be written again only when no scan runs that may have read a pointer
//!   to it: it carries a stamp ([`PageStore::stamp`]) and waits until [`PageStore::is_past`].
//!
//! Failures of the storage itself (an I/O error, a cancelled query) leave by unwinding, as PostgreSQL's own errors do.
//! No algorithm here has to undo anything when that happens.
//!
//! # Who locks what
//!
//! [`PageStore::change`] locks its pages in ascending block order whatever the order of its arguments, and no algorithm
//! holds a read guard while it calls `change`, `fill` or `extend`: so there is no order to get wrong. A reader holds
//! one guard at a time, except that [`crate::directory::Index::refresh`] may hold the meta page while it reads others: it
//! is page 0, the first that any change locks. Between a read and the change that follows from it the page may belong to
//! something else: a change looks again at what it finds and may [`Outcome::Abandon`].

/// Bytes of a page, header and special space included.
pub const PAGE_SIZE: usize = 8192;
/// Bytes at the start of a page that belong to PostgreSQL (`PageHeaderData`).
pub const PAGE_HEADER: usize = 24;
/// Bytes at the end of a page that say what the page is ([`crate::format::Special`]).
pub const PAGE_SPECIAL: usize = 16;
/// Bytes between header and special space: the body, which is all an algorithm lays out.
pub const PAGE_BODY: usize = PAGE_SIZE - PAGE_HEADER - PAGE_SPECIAL;
/// Pages that one atomic change may touch (PostgreSQL's `MAX_GENERIC_XLOG_PAGES`).
pub const MAX_PAGES_PER_CHANGE: usize = 4;

/// Number of a page in its index, from 0.
pub type Block = u32;
/// No page.
pub const NO_BLOCK: Block = u32::MAX;

/// Where a row lies in its table: PostgreSQL's `ItemPointerData`, 48 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tid {
    /// Page of the table.
    pub block: u32,
    /// Line pointer on that page, from 1.
    pub offset: u16,
}

impl Tid {
    /// Bytes of a TID on a page.
    pub const BYTES: usize = 6;

    /// The six bytes kept on pages: block, then offset, little-endian.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 6] {
        let b = self.block.to_le_bytes();
        let o = self.offset.to_le_bytes();
        [b[0], b[1], b[2], b[3], o[0], o[1]]
    }

    /// Reads what [`Tid::to_bytes`] wrote.
    #[must_use]
    pub fn from_bytes(b: [u8; 6]) -> Self {
        Self { block: u32::from_le_bytes([b[0], b[1], b[2], b[3]]), offset: u16::from_le_bytes([b[4], b[5]]) }
    }
}

/// A page held for reading: shared lock and pin, both released on drop.
pub trait PageRead {
    /// The [`PAGE_BODY`] bytes of the body. The body starts [`PAGE_HEADER`] bytes into a page, and a page starts at a
    /// multiple of 64 in memory: body offset 40 is the first that shares a cache line with nothing before it.
    fn body(&self) -> &[u8];
    /// The special space.
    fn special(&self) -> &[u8; PAGE_SPECIAL];
}

/// A page inside a change: exclusively locked, written to a copy that becomes the page when the change commits.
#[derive(Debug)]
pub struct PageMut<'a> {
    /// The [`PAGE_BODY`] bytes of the body.
    pub body: &'a mut [u8],
    /// The special space.
    pub special: &'a mut [u8; PAGE_SPECIAL],
    /// Bytes of the body in use: everything behind is neither logged nor kept, and reads as zero after a crash. The
    /// store turns it into `pd_lower`. On entry the page's present value.
    pub used: usize,
}

/// One page of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The page.
    pub block: Block,
    /// True when the page's old content does not matter (a page just added, or taken from the free list): the store
    /// hands it over zeroed with `used` 0 and logs a full image.
    pub fresh: bool,
}

impl Target {
    /// A page whose content is to be changed.
    #[must_use]
    pub fn old(block: Block) -> Self {
        Self { block, fresh: false }
    }

    /// A page whose content is to be written anew.
    #[must_use]
    pub fn fresh(block: Block) -> Self {
        Self { block, fresh: true }
    }
}

/// What a change decided when it saw the pages under lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<R> {
    /// The pages become what was written.
    Commit(R),
    /// The pages stay as they were; nothing is logged.
    Abandon(R),
}

/// The pages of one index.
///
/// Methods take `&self`: other processes change the same pages, so `&mut` would promise more than there is.
pub trait PageStore {
    /// A page held for reading.
    type Guard<'a>: PageRead
    where
        Self: 'a;

    /// Number of pages, free ones included. Other writers may add some at any time.
    fn pages(&self) -> Block;

    /// Whether there is a page `block`. Asked before every read of a scan, so a store for which [`pages`](Self::pages)
    /// costs a system call remembers its answer: pages never go away while an index is open.
    fn has(&self, block: Block) -> bool {
        block < self.pages()
    }

    /// Reads page `block`, which must be less than [`pages`](Self::pages). Blocks while a writer holds it.
    fn read(&self, block: Block) -> Self::Guard<'_>;

    /// Says that these pages will be read soon, in this order. A hint: it may do nothing and must not fail.
    fn prefetch(&self, blocks: &[Block]);

    /// Changes up to [`MAX_PAGES_PER_CHANGE`] different pages together.
    ///
    /// Before: the caller holds no guard. The store locks the pages exclusively in ascending block order and hands
    /// them to `write` in the order of `targets`. After [`Outcome::Commit`] all of them are changed and logged in one
    /// record, in memory at once and after a crash as soon as the record is flushed; after [`Outcome::Abandon`] or
    /// when `write` unwinds, none is. `write` may ask [`is_past`](Self::is_past) and must not call the store otherwise.
    fn change<R>(&self, targets: &[Target], write: impl FnOnce(&mut [PageMut<'_>]) -> Outcome<R>) -> R;

    /// Adds one page at the end and returns its number. The page reads as zeroes (kind free, never stamped) until a
    /// change writes it; a crash before that leaves a page nobody owns, which vacuum puts on the free list. The store
    /// may extend by more pages than one and keep the rest for the next calls.
    fn extend(&self) -> Block;

    /// Writes all of a page that [`extend`](Self::extend) returned and that nobody else knows yet: the way of a build.
    /// `body` has at most [`PAGE_BODY`] bytes; the rest reads as zero. The store may put off logging until the build
    /// ends, but then logs the whole index.
    fn fill(&self, block: Block, body: &[u8], special: &[u8; PAGE_SPECIAL]);

    /// A stamp for pages that leave the index now: PostgreSQL's next full transaction id. Never 0, never falls.
    fn stamp(&self) -> u64;

    /// Whether no scan that was running when `stamp` was taken is still running. May say no for longer than needed.
    fn is_past(&self, stamp: u64) -> bool;

    /// Called at least once a page read or written and once a few hundred microseconds of computing. Leaves by
    /// unwinding when the work should stop. Called without guards and outside changes.
    fn interrupts(&self);
}

/// The rows' own vectors, for the last comparison. Apart from [`PageStore`] because they lie in the table, not in the
/// index.
pub trait VectorSource {
    /// Says that these rows will be fetched soon, in this order. A hint.
    fn prefetch(&mut self, tids: &[Tid]);

    /// Puts the vector of row `tid` into `out` (cleared first, one `f32` a dimension as stored, not normalised) and
    /// returns true; returns false when the row is gone, its vector is NULL or a filter of the source's own does not pass
    /// it, and then the row is no result. A row the caller's snapshot does not see may be reported either way.
    fn fetch(&mut self, tid: Tid, out: &mut Vec<f32>) -> bool;

    /// Whether the row that the last [`fetch`](Self::fetch) did not find is dead to everybody, now and later, so that
    /// searches need not look for it again. A source that cannot know says no.
    fn is_dead(&self) -> bool {
        false
    }
}
