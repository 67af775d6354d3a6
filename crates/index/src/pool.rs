//! Free pages: where new pages come from and where old ones go.
//!
//! Free pages form a chain from the meta page, the one that was freed first at its head. A page is taken only when its
//! stamp is past, that is, when no scan runs that may have read a pointer to it; when the first is not, the others are
//! not either, and the store adds one at the end. Every change of the chain changes the meta page. A free page with a
//! stamp is on the chain, unless it says that it is loose ([`Special`]): which pages are on the chain is known
//! without reading it, while others change it.

use crate::format::meta::{META, META_USED, Meta};
use crate::format::{Fault, PageKind, Special, get_u32, put};
use crate::page::{Block, NO_BLOCK, Outcome, PageMut, PageRead, PageStore, Target};

/// Bytes of the number of the next free page, at the start of the body.
const LINK: usize = 4;

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
        if meta.free == NO_BLOCK {
            meta.free_tail = NO_BLOCK;
        }
        meta.write(meta_page.body);
        put(page.body, 0, NO_BLOCK.to_le_bytes());
        *page.special = Special::of(PageKind::Free);
        Outcome::Commit(Ok(true))
    })?;
    Ok(if taken { free } else { store.extend() })
}

/// Puts a page that came from [`take`] and that nobody else knows back on the free list.
pub fn give<S: PageStore>(store: &S, page: Block) -> Result<(), Fault> {
    chain(store, Target::fresh(page), |view| {
        view.used = LINK;
        true
    })
    .map(drop)
}

/// Puts a page on the free list to which running scans may have pointers: what they read of it stays until it is taken.
/// Does nothing where `is_unused`, asked under the page's lock, says no. Returns whether it did.
///
/// The first four bytes of the body are written, which no scan reads of any page that lists lead to.
pub fn give_as_it_is<S: PageStore>(
    store: &S,
    page: Block,
    is_unused: impl Fn(&PageMut<'_>) -> bool,
) -> Result<bool, Fault> {
    chain(store, Target::old(page), |view| is_unused(view))
}

/// Chains a page behind the last, stamped now, where `may` says so.
fn chain<S: PageStore>(
    store: &S,
    target: Target,
    may: impl Fn(&mut PageMut<'_>) -> bool,
) -> Result<bool, Fault> {
    let page = target.block;
    loop {
        store.interrupts();
        let stamp = store.stamp();
        let tail = Meta::read(store.read(META).body())?.free_tail;
        if tail == page {
            return Ok(false);
        }
        let mut targets = vec![Target::old(META), target];
        targets.extend((tail != NO_BLOCK).then(|| Target::old(tail)));
        let chained = store.change(&targets, |views| {
            let [meta_page, given, last @ ..] = views else { return Outcome::Abandon(Ok(None)) };
            let mut meta = match Meta::read(meta_page.body) {
                Ok(meta) => meta,
                Err(fault) => return Outcome::Abandon(Err(fault)),
            };
            if meta.free_tail != tail {
                return Outcome::Abandon(Ok(None));
            }
            if !may(given) {
                return Outcome::Abandon(Ok(Some(false)));
            }
            // An older build put pages before the head and did not note the last.
            let unknown = tail == NO_BLOCK && meta.free != NO_BLOCK;
            let next = if unknown { meta.free } else { NO_BLOCK };
            put(given.body, 0, next.to_le_bytes());
            given.used = given.used.max(LINK);
            *given.special = Special { kind: PageKind::Free, stamp, loose: false }.to_bytes();
            match last.first_mut() {
                Some(last) => put(last.body, 0, page.to_le_bytes()),
                None => meta.free = page,
            }
            if !unknown {
                meta.free_tail = page;
            }
            meta.write(meta_page.body);
            meta_page.used = META_USED;
            Outcome::Commit(Ok(Some(true)))
        })?;
        if let Some(done) = chained {
            return Ok(done);
        }
    }
}

/// The pages on the free list, in an index that nobody writes.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::create_empty;
    use crate::memory::MemoryPages;
    use crate::options::{BuildOptions, Metric};

    fn given(pages: &MemoryPages, count: usize) -> Vec<Block> {
        let taken: Vec<Block> = (0..count).map(|_| take(pages).unwrap()).collect();
        taken.iter().for_each(|page| give(pages, *page).unwrap());
        taken
    }

    #[test]
    fn what_was_given_first_is_taken_first_and_only_when_it_is_past() {
        let pages = MemoryPages::new();
        create_empty(&pages, &BuildOptions::new(Metric::L2, 32), 1).unwrap();
        let old = given(&pages, 3);
        assert_eq!(list(&pages).unwrap(), old);
        assert!(!old.contains(&take(&pages).unwrap()));
        pages.end_scans();
        let young = given(&pages, 1)[0];
        assert_eq!(young, old[0], "the oldest is past and taken before a new page is made");
        assert_eq!((take(&pages).unwrap(), take(&pages).unwrap()), (old[1], old[2]));
        // Given back just now.
        assert_ne!(take(&pages).unwrap(), young);
        pages.end_scans();
        assert_eq!(take(&pages).unwrap(), young);
        assert_eq!(list(&pages).unwrap(), []);
        assert_eq!(given(&pages, 2), list(&pages).unwrap());
    }

    #[test]
    fn a_page_is_given_once_and_only_when_it_is_unused() {
        let pages = MemoryPages::new();
        create_empty(&pages, &BuildOptions::new(Metric::L2, 32), 1).unwrap();
        let page = take(&pages).unwrap();
        assert!(!give_as_it_is(&pages, page, |_| false).unwrap());
        assert!(give_as_it_is(&pages, page, |_| true).unwrap());
        assert!(!give_as_it_is(&pages, page, |_| true).unwrap());
        assert_eq!(list(&pages).unwrap(), [page]);
    }

    #[test]
    fn a_chain_without_a_tail_takes_pages_at_its_head() {
        let pages = MemoryPages::new();
        create_empty(&pages, &BuildOptions::new(Metric::L2, 32), 1).unwrap();
        let old = given(&pages, 2);
        pages.change(&[Target::old(META)], |views| {
            let meta = Meta { free_tail: NO_BLOCK, ..Meta::read(views[0].body).unwrap() };
            meta.write(views[0].body);
            Outcome::Commit(())
        });
        let more = given(&pages, 1);
        assert_eq!(list(&pages).unwrap(), [more[0], old[0], old[1]]);
        pages.end_scans();
        assert_eq!([0, 1, 2].map(|_| take(&pages).unwrap()), [more[0], old[0], old[1]]);
        assert_eq!(given(&pages, 2), list(&pages).unwrap());
    }
}
