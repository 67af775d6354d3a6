//! Free pages: where new pages come from and where old ones go.
//!
//! Free pages form a chain from the meta page, the last freed first. A page is taken only when its stamp is past, that
//! is, when no scan that could still be on its way to it runs; when the first is not, the store adds one at the end.

use crate::format::meta::{META, META_USED, Meta};
use crate::format::{Fault, PageKind, Special, get_u32, put};
use crate::page::{Block, NO_BLOCK, Outcome, PageMut, PageRead, PageStore, Target};

/// A page that nobody else knows. It belongs to the caller, who writes it in a change with [`Target::fresh`]; a crash
/// before that leaves it without owner, and vacuum finds it.
pub fn take<S: PageStore>(store: &S) -> Result<Block, Fault> {
    let free = Meta::read(store.read(META).body())?.free;
    if free == NO_BLOCK {
        return Ok(store.extend());
    }
    let special = Special::read(free, store.read(free).special())?;
    if special.kind != PageKind::Free || !store.is_past(special.stamp) {
        return Ok(store.extend());
    }
    let taken = store.change(&[Target::old(META), Target::old(free)], |pages| {
        let [meta_page, page] = pages else { return Outcome::Abandon(Ok(false)) };
        let read = Meta::read(meta_page.body);
        let Ok(mut meta) = read else { return Outcome::Abandon(read.map(|_| false)) };
        // The stamp as well: the page may have been taken, used and given back since.
        if meta.free != free || Special::read(free, page.special) != Ok(special) {
            return Outcome::Abandon(Ok(false));
        }
        meta.free = get_u32(page.body, 0);
        meta.write(meta_page.body);
        put(page.body, 0, NO_BLOCK.to_le_bytes());
        *page.special = Special { kind: PageKind::Free, stamp: 0 }.to_bytes();
        Outcome::Commit(Ok(true))
    })?;
    Ok(if taken { free } else { store.extend() })
}

/// Puts pages on the free list, stamped now. Nothing in the index may lead to them any more.
pub fn give<S: PageStore>(store: &S, pages: &[Block]) -> Result<(), Fault> {
    for &page in pages {
        store.interrupts();
        let stamp = store.stamp();
        store.change(&[Target::old(META), Target::fresh(page)], |views| {
            let [meta_page, freed] = views else { return Outcome::Abandon(Ok(())) };
            let mut meta = match Meta::read(meta_page.body) {
                Ok(meta) => meta,
                Err(fault) => return Outcome::Abandon(Err(fault)),
            };
            put(freed.body, 0, meta.free.to_le_bytes());
            freed.used = 4;
            *freed.special = Special { kind: PageKind::Free, stamp }.to_bytes();
            meta.free = page;
            meta.write(meta_page.body);
            meta_page.used = META_USED;
            Outcome::Commit(Ok(()))
        })?;
    }
    Ok(())
}

/// Puts a page that scans may still be on their way to on the free list, stamped now: what it holds stays until it is
/// taken. Does nothing where `is_empty` does not hold, asked under the page's lock.
pub fn give_as_it_is<S: PageStore>(
    store: &S,
    page: Block,
    is_empty: impl FnOnce(&PageMut<'_>) -> bool,
) -> Result<(), Fault> {
    let stamp = store.stamp();
    store.change(&[Target::old(META), Target::old(page)], |views| {
        let [meta_page, freed] = views else { return Outcome::Abandon(Ok(())) };
        let mut meta = match Meta::read(meta_page.body) {
            Ok(meta) => meta,
            Err(fault) => return Outcome::Abandon(Err(fault)),
        };
        if !is_empty(freed) {
            return Outcome::Abandon(Ok(()));
        }
        // Neither kind of page has anything there that a scan reads.
        put(freed.body, 0, meta.free.to_le_bytes());
        *freed.special = Special { kind: PageKind::Free, stamp }.to_bytes();
        meta.free = page;
        meta.write(meta_page.body);
        meta_page.used = META_USED;
        Outcome::Commit(Ok(()))
    })
}

/// The pages on the free list.
pub fn list<S: PageStore>(store: &S) -> Result<Vec<Block>, Fault> {
    let mut pages = Vec::new();
    let mut next = Meta::read(store.read(META).body())?.free;
    while next != NO_BLOCK {
        store.interrupts();
        if next >= store.pages() || pages.len() as Block > store.pages() {
            return Err(Fault::Damaged { page: next, what: "the chain of free pages does not end" });
        }
        let guard = store.read(next);
        if Special::read(next, guard.special())?.kind != PageKind::Free {
            return Err(Fault::Damaged { page: next, what: "a page in use is on the free list" });
        }
        pages.push(next);
        next = get_u32(guard.body(), 0);
    }
    Ok(pages)
}
