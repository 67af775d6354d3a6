//! The index's pages in PostgreSQL's shared buffers: [`PageStore`] over the buffer manager and generic WAL.
//!
//! A page is read under a pin and a shared content lock, changed through `GenericXLog` only, so that crash recovery,
//! replicas and point-in-time recovery need no library of ours.
//!
//! When PostgreSQL raises an error, Rust unwinds first. Guards that are dropped while unwinding release nothing: the
//! abort of the transaction releases every buffer and lock, and a release of our own would count interrupts twice.

use std::cell::Cell;
use std::slice;

use howdah_index::page::{
    Block, MAX_PAGES_PER_CHANGE, Outcome, PAGE_BODY, PAGE_HEADER, PAGE_SIZE, PAGE_SPECIAL, PageMut, PageRead,
    PageStore, Target,
};
use pgrx::pg_sys;

const MAIN: pg_sys::ForkNumber::Type = pg_sys::ForkNumber::MAIN_FORKNUM;
/// PostgreSQL's `InvalidSubTransactionId`.
const NO_SUBTRANSACTION: pg_sys::SubTransactionId = 0;
const LOCK_SHARE: i32 = pg_sys::BUFFER_LOCK_SHARE as i32;
const LOCK_EXCLUSIVE: i32 = pg_sys::BUFFER_LOCK_EXCLUSIVE as i32;

/// The pages of one index relation, one fork of it.
pub struct Pages {
    relation: pg_sys::Relation,
    fork: pg_sys::ForkNumber::Type,
    /// Reads go through this ring, where one was given (vacuum); null otherwise.
    strategy: pg_sys::BufferAccessStrategy,
    /// While a build runs nothing is logged page by page: [`Pages::finish_build`] logs the whole fork.
    building: Cell<bool>,
    /// Number of pages when last asked: asking costs a system call.
    known: Cell<Block>,
    /// Whether anything had to be read from disk since the value was made.
    missed: Misses,
}

impl Pages {
    /// The pages of `relation`.
    ///
    /// # Safety
    /// `relation` is open and stays open for the life of the value.
    pub unsafe fn open(relation: pg_sys::Relation) -> Self {
        Self {
            relation,
            fork: MAIN,
            strategy: std::ptr::null_mut(),
            building: Cell::new(false),
            known: Cell::new(0),
            missed: Misses::none_yet(),
        }
    }

    /// The pages of `relation`, read through vacuum's buffer ring.
    ///
    /// # Safety
    /// As [`Pages::open`]; `strategy` is null or outlives the value.
    pub unsafe fn open_with(relation: pg_sys::Relation, strategy: pg_sys::BufferAccessStrategy) -> Self {
        Self {
            relation,
            fork: MAIN,
            strategy,
            building: Cell::new(false),
            known: Cell::new(0),
            missed: Misses::none_yet(),
        }
    }

    /// The pages of fork `fork` of `relation`, which is being built.
    ///
    /// # Safety
    /// As [`Pages::open`]; nobody else sees the fork yet.
    pub unsafe fn building(relation: pg_sys::Relation, fork: pg_sys::ForkNumber::Type) -> Self {
        Self {
            relation,
            fork,
            strategy: std::ptr::null_mut(),
            building: Cell::new(true),
            known: Cell::new(0),
            missed: Misses::none_yet(),
        }
    }

    /// Ends a build: logs every page of the fork.
    pub fn finish_build(&self) {
        self.building.set(false);
        // SAFETY: `relation` is open (contract of the constructors); the rd_rel pointer of an open relation is valid.
        unsafe {
            if self.fork == pg_sys::ForkNumber::INIT_FORKNUM || relation_needs_wal(self.relation) {
                pg_sys::log_newpage_range(self.relation, self.fork, 0, self.pages(), true);
            }
        }
    }

    fn pin(&self, block: Block) -> pg_sys::Buffer {
        // SAFETY: `relation` is open; a block out of range raises an error in PostgreSQL.
        unsafe {
            pg_sys::ReadBufferExtended(
                self.relation,
                self.fork,
                block,
                pg_sys::ReadBufferMode::RBM_NORMAL,
                self.strategy,
            )
        }
    }

    /// A new zeroed page at the end, pinned and exclusively locked.
    fn new_buffer(&self) -> pg_sys::Buffer {
        const P_NEW: Block = Block::MAX;
        // SAFETY: the extension lock is held while the relation grows, as ReadBufferExtended asks for P_NEW.
        unsafe {
            let exclusive = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;
            pg_sys::LockRelationForExtension(self.relation, exclusive);
            let buffer = pg_sys::ReadBufferExtended(
                self.relation,
                self.fork,
                P_NEW,
                pg_sys::ReadBufferMode::RBM_ZERO_AND_LOCK,
                self.strategy,
            );
            pg_sys::UnlockRelationForExtension(self.relation, exclusive);
            buffer
        }
    }

    /// Changes pages without a log record of their own: only while building.
    fn change_unlogged<R>(
        &self,
        buffers: &[pg_sys::Buffer],
        targets: &[Target],
        write: impl FnOnce(&mut [PageMut<'_>]) -> Outcome<R>,
    ) -> R {
        // The contract promises that an abandoned change leaves the pages alone, so it is written to copies first.
        let mut copies: Vec<Box<[u64; PAGE_SIZE / 8]>> = Vec::with_capacity(buffers.len());
        for (buffer, target) in buffers.iter().zip(targets) {
            let mut copy = Box::new([0u64; PAGE_SIZE / 8]);
            // SAFETY: the buffer is pinned and exclusively locked; both places are PAGE_SIZE bytes.
            unsafe {
                let page = pg_sys::BufferGetPage(*buffer);
                std::ptr::copy_nonoverlapping(page.cast::<u8>(), copy.as_mut_ptr().cast::<u8>(), PAGE_SIZE);
                prepare(copy.as_mut_ptr().cast(), target.fresh);
            }
            copies.push(copy);
        }
        let pages: Vec<pg_sys::Page> = copies.iter_mut().map(|copy| copy.as_mut_ptr().cast()).collect();
        let (result, commit) = write_pages(&pages, write);
        if commit {
            for (buffer, copy) in buffers.iter().zip(&copies) {
                // SAFETY: as above; MarkBufferDirty wants exactly this pin and lock.
                unsafe {
                    let page = pg_sys::BufferGetPage(*buffer);
                    std::ptr::copy_nonoverlapping(copy.as_ptr().cast::<u8>(), page.cast::<u8>(), PAGE_SIZE);
                    pg_sys::MarkBufferDirty(*buffer);
                }
            }
        }
        result
    }

    fn change_logged<R>(
        &self,
        buffers: &[pg_sys::Buffer],
        targets: &[Target],
        write: impl FnOnce(&mut [PageMut<'_>]) -> Outcome<R>,
    ) -> R {
        let mut pages: Vec<pg_sys::Page> = Vec::with_capacity(buffers.len());
        // SAFETY: every buffer is pinned and exclusively locked until the record is finished or aborted; when `write`
        // unwinds, the state is memory of the current context and goes with the transaction.
        unsafe {
            let state = pg_sys::GenericXLogStart(self.relation);
            for (buffer, target) in buffers.iter().zip(targets) {
                let blank = page_is_new(pg_sys::BufferGetPage(*buffer));
                let flags = if target.fresh || blank { pg_sys::GENERIC_XLOG_FULL_IMAGE as i32 } else { 0 };
                let page = pg_sys::GenericXLogRegisterBuffer(state, *buffer, flags);
                prepare(page, target.fresh);
                pages.push(page);
            }
            let (result, commit) = write_pages(&pages, write);
            if commit {
                pg_sys::GenericXLogFinish(state);
            } else {
                pg_sys::GenericXLogAbort(state);
            }
            result
        }
    }
}

/// A page under a pin and a shared lock.
pub struct Guard {
    buffer: pg_sys::Buffer,
    page: *const u8,
}

impl PageRead for Guard {
    fn body(&self) -> &[u8] {
        // SAFETY: the pin keeps the page in place and the shared lock keeps writers out until the guard is dropped.
        unsafe { slice::from_raw_parts(self.page.add(PAGE_HEADER), PAGE_BODY) }
    }

    fn special(&self) -> &[u8; PAGE_SPECIAL] {
        // SAFETY: as `body`; the special space is the last PAGE_SPECIAL bytes of the page.
        unsafe { &*self.page.add(PAGE_SIZE - PAGE_SPECIAL).cast::<[u8; PAGE_SPECIAL]>() }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // SAFETY: the guard owns one pin and one lock on the buffer.
        unsafe { pg_sys::UnlockReleaseBuffer(self.buffer) }
    }
}

impl PageStore for Pages {
    type Guard<'a> = Guard;

    fn pages(&self) -> Block {
        // SAFETY: `relation` is open.
        let pages = unsafe { pg_sys::RelationGetNumberOfBlocksInFork(self.relation, self.fork) };
        self.known.set(pages);
        pages
    }

    fn has(&self, block: Block) -> bool {
        block < self.known.get() || block < self.pages()
    }

    fn read(&self, block: Block) -> Guard {
        let buffer = self.pin(block);
        // SAFETY: the buffer was pinned a line above.
        unsafe {
            pg_sys::LockBuffer(buffer, LOCK_SHARE);
            Guard { buffer, page: pg_sys::BufferGetPage(buffer).cast() }
        }
    }

    fn prefetch(&self, blocks: &[Block]) {
        // Looking for a page that is in memory already costs as much as reading it: as long as nothing had to be read
        // from disk, nothing is asked for ahead.
        if !self.missed.any() {
            return;
        }
        for &block in blocks.iter().filter(|block| self.has(**block)) {
            // SAFETY: `relation` is open and the block exists.
            unsafe { pg_sys::PrefetchBuffer(self.relation, self.fork, block) };
        }
    }

    fn change<R>(&self, targets: &[Target], write: impl FnOnce(&mut [PageMut<'_>]) -> Outcome<R>) -> R {
        assert!(targets.len() <= MAX_PAGES_PER_CHANGE, "a change of {} pages", targets.len());
        let mut order: Vec<usize> = (0..targets.len()).collect();
        order.sort_by_key(|&i| targets[i].block);
        // A lock taken twice would never be granted, nor could the wait be cancelled.
        assert!(
            order.windows(2).all(|w| targets[w[0]].block != targets[w[1]].block),
            "a page twice in a change"
        );
        let mut buffers = vec![0; targets.len()];
        for i in order {
            buffers[i] = self.pin(targets[i].block);
            // SAFETY: pinned a line above; ascending order keeps two changes from waiting for each other.
            unsafe { pg_sys::LockBuffer(buffers[i], LOCK_EXCLUSIVE) };
        }
        let result = if self.building.get() {
            self.change_unlogged(&buffers, targets, write)
        } else {
            self.change_logged(&buffers, targets, write)
        };
        for buffer in buffers {
            // SAFETY: one pin and one lock were taken on it above.
            unsafe { pg_sys::UnlockReleaseBuffer(buffer) };
        }
        result
    }

    fn extend(&self) -> Block {
        let buffer = self.new_buffer();
        // SAFETY: the buffer is pinned and locked by `new_buffer`.
        unsafe {
            let block = pg_sys::BufferGetBlockNumber(buffer);
            pg_sys::UnlockReleaseBuffer(buffer);
            block
        }
    }

    fn fill(&self, block: Block, body: &[u8], special: &[u8; PAGE_SPECIAL]) {
        assert!(body.len() <= PAGE_BODY, "a page body of {} bytes", body.len());
        self.change(&[Target::fresh(block)], |pages| {
            pages[0].body[..body.len()].copy_from_slice(body);
            *pages[0].special = *special;
            pages[0].used = body.len();
            Outcome::Commit(())
        });
    }

    fn stamp(&self) -> u64 {
        // SAFETY: reads shared memory under PostgreSQL's own lock.
        unsafe { pg_sys::ReadNextFullTransactionId().value }
    }

    fn is_past(&self, stamp: u64) -> bool {
        // SAFETY: a null relation asks for the most careful horizon.
        unsafe {
            pg_sys::GlobalVisCheckRemovableFullXid(
                std::ptr::null_mut(),
                pg_sys::FullTransactionId { value: stamp },
            )
        }
    }

    fn interrupts(&self) {
        pgrx::check_for_interrupts!();
    }
}

/// Whether this backend had to read blocks from disk since some moment.
#[derive(Clone, Copy)]
pub struct Misses(i64);

impl Misses {
    /// Counts from now on.
    pub fn none_yet() -> Self {
        Self(Self::so_far())
    }

    /// Whether there was one.
    pub fn any(self) -> bool {
        Self::so_far() != self.0
    }

    fn so_far() -> i64 {
        // SAFETY: PostgreSQL's own counter, of this process alone.
        unsafe { pg_sys::pgBufferUsage.shared_blks_read }
    }
}

/// Runs `write` on the pages and sets how much of each is used. Returns its answer and whether to keep the change.
fn write_pages<R>(pages: &[pg_sys::Page], write: impl FnOnce(&mut [PageMut<'_>]) -> Outcome<R>) -> (R, bool) {
    let mut views: Vec<PageMut<'_>> = pages
        .iter()
        .map(|&page| {
            let bytes = page.cast::<u8>();
            // SAFETY: each page is a private copy of PAGE_SIZE bytes; body and special do not overlap.
            unsafe {
                PageMut {
                    body: slice::from_raw_parts_mut(bytes.add(PAGE_HEADER), PAGE_BODY),
                    special: &mut *bytes.add(PAGE_SIZE - PAGE_SPECIAL).cast::<[u8; PAGE_SPECIAL]>(),
                    used: used(page),
                }
            }
        })
        .collect();
    match write(&mut views) {
        Outcome::Commit(result) => {
            let used: Vec<usize> = views.iter().map(|view| view.used).collect();
            drop(views);
            for (&page, used) in pages.iter().zip(used) {
                // SAFETY: the page was initialised by `prepare`.
                unsafe { set_used(page, used) };
            }
            (result, true)
        }
        Outcome::Abandon(result) => (result, false),
    }
}

/// Initialises a page that is blank or whose content does not matter.
///
/// # Safety
/// `page` points to PAGE_SIZE writable bytes.
unsafe fn prepare(page: pg_sys::Page, fresh: bool) {
    // SAFETY: promised by the caller.
    unsafe {
        if fresh || page_is_new(page) {
            pg_sys::PageInit(page, PAGE_SIZE, PAGE_SPECIAL);
        }
    }
}

/// Whether a page was never initialised.
///
/// # Safety
/// `page` points to a page.
unsafe fn page_is_new(page: pg_sys::Page) -> bool {
    // SAFETY: promised by the caller.
    unsafe { (*page.cast::<pg_sys::PageHeaderData>()).pd_upper == 0 }
}

/// Bytes of the body in use.
///
/// # Safety
/// `page` points to a page.
unsafe fn used(page: pg_sys::Page) -> usize {
    // SAFETY: promised by the caller.
    unsafe { usize::from((*page.cast::<pg_sys::PageHeaderData>()).pd_lower).saturating_sub(PAGE_HEADER) }
}

/// Says how many bytes of the body are in use: generic WAL neither logs nor keeps what lies behind.
///
/// # Safety
/// `page` points to an initialised page.
unsafe fn set_used(page: pg_sys::Page, used: usize) {
    assert!(used <= PAGE_BODY, "{used} bytes used of a page body of {PAGE_BODY}");
    // SAFETY: promised by the caller; the sum is at most PAGE_SIZE and fits 16 bits.
    unsafe {
        let header = page.cast::<pg_sys::PageHeaderData>();
        (*header).pd_lower = (PAGE_HEADER + used) as u16;
        (*header).pd_upper = (PAGE_SIZE - PAGE_SPECIAL) as u16;
    }
}

/// PostgreSQL's macro `RelationNeedsWAL`.
///
/// # Safety
/// `relation` is open.
unsafe fn relation_needs_wal(relation: pg_sys::Relation) -> bool {
    // SAFETY: rd_rel of an open relation is valid; wal_level is a plain global.
    unsafe {
        let permanent =
            (*(*relation).rd_rel).relpersistence == pg_sys::RELPERSISTENCE_PERMANENT as std::ffi::c_char;
        let minimal_skip = pg_sys::wal_level < pg_sys::WalLevel::WAL_LEVEL_REPLICA as i32
            && ((*relation).rd_createSubid != NO_SUBTRANSACTION
                || first_number_subid(relation) != NO_SUBTRANSACTION);
        permanent && !minimal_skip
    }
}

/// The subtransaction that gave the relation its present file.
///
/// # Safety
/// `relation` is open.
unsafe fn first_number_subid(relation: pg_sys::Relation) -> pg_sys::SubTransactionId {
    // SAFETY: promised by the caller.
    unsafe {
        #[cfg(feature = "pg15")]
        return (*relation).rd_firstRelfilenodeSubid;
        #[cfg(not(feature = "pg15"))]
        return (*relation).rd_firstRelfilelocatorSubid;
    }
}
