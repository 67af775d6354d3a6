//! The list of lists, read while others change it.
#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

mod support;

use std::cell::Cell;

use howdah_index::directory::Index;
use howdah_index::format::directory as pages;
use howdah_index::format::meta::{META, note_change};
use howdah_index::memory::{MemoryGuard, MemoryPages};
use howdah_index::options::{BuildOptions, Metric};
use howdah_index::page::{Block, Outcome, PAGE_SPECIAL, PageMut, PageRead, PageStore, Target};
use support::*;

/// Pages with a writer that changes the directory before every read, unless the reader holds the meta page, which the
/// change needs: then it waits until the guard is dropped.
struct Busy<'a> {
    inner: &'a MemoryPages,
    write: &'a dyn Fn(),
    held: Cell<bool>,
    /// Reads before which the writer had to wait.
    waits: Cell<u32>,
}

struct BusyGuard<'a> {
    inner: MemoryGuard<'a>,
    held: Option<&'a Cell<bool>>,
}

impl PageRead for BusyGuard<'_> {
    fn body(&self) -> &[u8] {
        self.inner.body()
    }

    fn special(&self) -> &[u8; PAGE_SPECIAL] {
        self.inner.special()
    }
}

impl Drop for BusyGuard<'_> {
    fn drop(&mut self) {
        if let Some(held) = self.held {
            held.set(false);
        }
    }
}

impl PageStore for Busy<'_> {
    type Guard<'a>
        = BusyGuard<'a>
    where
        Self: 'a;

    fn pages(&self) -> Block {
        self.inner.pages()
    }

    fn read(&self, block: Block) -> Self::Guard<'_> {
        if self.held.get() {
            self.waits.set(self.waits.get() + 1);
        } else {
            (self.write)();
        }
        let held = (block == META).then_some(&self.held);
        self.held.set(self.held.get() || held.is_some());
        BusyGuard { inner: self.inner.read(block), held }
    }

    fn prefetch(&self, blocks: &[Block]) {
        self.inner.prefetch(blocks);
    }

    fn change<R>(&self, targets: &[Target], write: impl FnOnce(&mut [PageMut<'_>]) -> Outcome<R>) -> R {
        self.inner.change(targets, write)
    }

    fn extend(&self) -> Block {
        self.inner.extend()
    }

    fn fill(&self, block: Block, body: &[u8], special: &[u8; PAGE_SPECIAL]) {
        self.inner.fill(block, body, special);
    }

    fn stamp(&self) -> u64 {
        self.inner.stamp()
    }

    fn is_past(&self, stamp: u64) -> bool {
        self.inner.is_past(stamp)
    }

    fn interrupts(&self) {
        assert!(!self.held.get(), "asked for interrupts with a page held");
    }
}

#[test]
fn a_directory_that_never_stops_changing_is_read_as_it_was_at_one_moment() {
    for lists in [30, 120] {
        let options = BuildOptions { lists, ..BuildOptions::new(Metric::L2, 512) };
        let inner = build(&Table::blobs(1500, 512, 40, 3), options);
        let known = Index::open(&inner).unwrap();
        let (first, last) = (known.directory.pages()[0], *known.directory.pages().last().unwrap());
        assert_ne!(first, last, "one directory page for {lists} lists");
        let total = known.directory.rows();
        // One change of both pages: a row less here, a row more there.
        let write = || {
            let targets = [Target::old(META), Target::old(first), Target::old(last)];
            inner.change(&targets, |views| {
                for (at, more) in [(1, false), (2, true)] {
                    let mut entry = pages::entry(&known.layout, views[at].body, 0).unwrap();
                    entry.rows = if more { entry.rows + 1 } else { entry.rows.wrapping_sub(1) };
                    pages::put_entry(&known.layout, views[at].body, 0, &entry);
                }
                note_change(views[0].body, first).unwrap();
                note_change(views[0].body, last).unwrap();
                Outcome::Commit(())
            });
        };
        let sum = |index: &Index| index.directory.lists().fold(0, |sum, (_, e)| e.rows.wrapping_add(sum));
        let busy = Busy { inner: &inner, write: &write, held: Cell::new(false), waits: Cell::new(0) };
        let mut index = Index::open(&busy).unwrap();
        assert_eq!(u64::from(sum(&index)), total, "{lists} lists, opened");
        for _ in 0..5 {
            let before = busy.waits.get();
            index.refresh(&busy).unwrap();
            assert_eq!(u64::from(sum(&index)), total, "{lists} lists, looked at again");
            assert!(busy.waits.get() > before, "the writer never had to wait");
            assert!(!busy.held.get(), "the meta page is still held");
        }
    }
}

#[test]
fn an_opened_index_says_what_memory_it_takes() {
    for (dimensions, lists) in [(64, 2000), (768, 400)] {
        let options = BuildOptions { lists, ..BuildOptions::new(Metric::Cosine, dimensions) };
        let pages = build(&Table::blobs(8000, dimensions, 60, 9), options);
        let index = Index::open(&pages).unwrap();
        let slots = index.directory.pages().len() * index.layout.entries_a_page;
        let least = slots * (5 * dimensions / 8 + 80);
        assert!((least..least * 6 / 5).contains(&index.bytes()), "{} bytes, {least} at least", index.bytes());
    }
}
