//! Removing dead rows and putting the index in order.
//!
//! [`bulk_delete`] reads the scan pages once from the first to the last and clears the live bits of dead rows. A list
//! that is replaced meanwhile may carry a dead row past it: lists made since the pass began are read again, until there
//! are none. [`clean_up`] counts rows, gives back what has no owner, writes lists with many holes anew, splits those that
//! are too long, frees empty pages and measures the calibration curve when the index has changed by a fifth.

use std::collections::{HashMap, HashSet};

use crate::calibrate;
use crate::directory::Index;
use crate::format::directory::{self as pages, Front};
use crate::format::meta::META;
use crate::format::scan::{BlockMut, BlockView, Place, State};
use crate::format::{Fault, Layout, PageKind, Special, refine};
use crate::page::{Block, NO_BLOCK, Outcome, PageRead, PageStore, Target, Tid, VectorSource};
use crate::pool;
use crate::split;

/// Pages announced ahead of a pass.
const AHEAD: Block = 32;
/// A list is written anew when fewer than this share of its places are rows.
const LEAST_FILL: f64 = 0.6;

/// What a pass removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Rows removed.
    pub removed: u64,
    /// Rows that remain, those read twice counted twice.
    pub remaining: u64,
}

/// Removes the rows for which `dead` returns true.
pub fn bulk_delete<S: PageStore>(
    index: &mut Index,
    store: &S,
    mut dead: impl FnMut(Tid) -> bool,
) -> Result<Removed, Fault> {
    index.refresh(store)?;
    let mut seen = index.meta.next_list;
    let mut out = Removed::default();
    let mut page = 0;
    while page < store.pages() {
        if page % AHEAD == 0 {
            let ahead: Vec<Block> = (page..store.pages().min(page + AHEAD)).collect();
            store.prefetch(&ahead);
        }
        delete_on_page(&index.layout, store, page, None, &mut dead, &mut out)?;
        page += 1;
    }
    loop {
        index.refresh(store)?;
        let now = index.meta.next_list;
        let new: Vec<(u32, Place)> =
            index.directory.lists().filter(|(_, e)| e.id >= seen).map(|(_, e)| (e.id, e.head)).collect();
        if new.is_empty() {
            return Ok(out);
        }
        for (list, head) in new {
            let mut place = head;
            while place.is_some() && place.page < store.pages() {
                delete_on_page(
                    &index.layout,
                    store,
                    place.page,
                    Some((list, place.index)),
                    &mut dead,
                    &mut out,
                )?;
                let guard = store.read(place.page);
                let block = BlockView::new(&index.layout, guard.body(), usize::from(place.index));
                place = if block.list() == list { block.next() } else { Place::NONE };
            }
        }
        seen = now;
    }
}

fn delete_on_page<S: PageStore>(
    layout: &Layout,
    store: &S,
    page: Block,
    only: Option<(u32, u8)>,
    dead: &mut impl FnMut(Tid) -> bool,
    out: &mut Removed,
) -> Result<(), Fault> {
    store.interrupts();
    let mut gone: Vec<(usize, usize, Tid)> = Vec::new();
    {
        let guard = store.read(page);
        if Special::read(page, guard.special())?.kind != PageKind::Scan {
            return Ok(());
        }
        for index in 0..layout.blocks_a_page {
            let block = BlockView::new(layout, guard.body(), index);
            let owned = matches!(block.state(), State::Owned | State::Closed);
            if !owned || only.is_some_and(|(list, at)| list != block.list() || usize::from(at) != index) {
                continue;
            }
            for lane in (0..layout.capacity).filter(|lane| block.live() >> lane & 1 == 1) {
                let tid = block.tid(lane);
                if dead(tid) {
                    gone.push((index, lane, tid));
                } else {
                    out.remaining += u64::from(block.state() == State::Owned);
                }
            }
        }
    }
    out.removed += clear(layout, store, page, &gone);
    Ok(())
}

/// Clears the live bits of codes that still stand for these rows. Returns how many did.
fn clear<S: PageStore>(layout: &Layout, store: &S, page: Block, gone: &[(usize, usize, Tid)]) -> u64 {
    if gone.is_empty() {
        return 0;
    }
    store.change(&[Target::old(page)], |views| {
        let Some(view) = views.first_mut() else { return Outcome::Abandon(0) };
        if Special::read(page, view.special).map(|s| s.kind) != Ok(PageKind::Scan) {
            return Outcome::Abandon(0);
        }
        let mut cleared = 0;
        for (index, lane, tid) in gone {
            let mut block = BlockMut::new(layout, view.body, *index);
            if block.view().live() >> lane & 1 == 1 && block.view().tid(*lane) == *tid {
                block.keep(!(1 << lane));
                cleared += 1;
            }
        }
        if cleared > 0 { Outcome::Commit(cleared) } else { Outcome::Abandon(0) }
    })
}

/// Removes one row that a scan found to be dead to everybody, if it is still where the scan found it.
pub fn kill<S: PageStore>(index: &Index, store: &S, tid: Tid, place: Place, lane: u8) -> bool {
    clear(&index.layout, store, place.page, &[(usize::from(place.index), usize::from(lane), tid)]) == 1
}

/// What a clean-up found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cleaned {
    /// Rows.
    pub rows: u64,
    /// Lists written anew or removed because of holes.
    pub compacted: u32,
    /// Lists split.
    pub split: u32,
    /// Blocks and units without owner given back.
    pub reclaimed: u32,
    /// Pages put on the free list.
    pub freed: u32,
    /// Whether the calibration curve was measured.
    pub calibrated: bool,
}

/// What one pass over all pages sees.
#[derive(Default)]
struct Census {
    rows: HashMap<u32, u32>,
    /// Blocks of lists that are in no directory, long enough for whoever wrote them to have ended.
    orphans: Vec<(Place, u32)>,
    /// Units in use by page, and those that blocks point to.
    used: HashMap<Block, u64>,
    pointed: HashMap<Block, u64>,
    /// Pages without anything, and pages with room.
    empty: Vec<(Block, PageKind)>,
    scan_room: Vec<Block>,
    refine_room: Vec<Block>,
}

/// Puts the index in order. `source` is asked for rows of lists that split and for calibration.
pub fn clean_up<S: PageStore, V: VectorSource>(
    index: &mut Index,
    store: &S,
    source: &mut V,
) -> Result<Cleaned, Fault> {
    index.refresh(store)?;
    let mut out = Cleaned::default();
    let census = take_census(index, store)?;
    out.reclaimed = reclaim(index, store, &census);
    write_counts(index, store, &census)?;
    out.rows = census.rows.values().map(|n| u64::from(*n)).sum();
    tend_lists(index, store, source, &mut out)?;
    out.freed = free_pages(index, store, &census)?;
    note_room(index, store, &census);
    let measured = index.meta.measured_rows;
    if out.rows.abs_diff(measured) * 5 > measured.max(1) {
        calibrate::calibrate(index, store, source, calibrate::SAMPLES)?;
        out.calibrated = true;
    }
    Ok(out)
}

fn take_census<S: PageStore>(index: &Index, store: &S) -> Result<Census, Fault> {
    let known: HashSet<u32> = index.directory.lists().map(|(_, e)| e.id).collect();
    let on_list: HashSet<Block> = pool::list(store)?.into_iter().collect();
    let mut census = Census::default();
    for page in 1..store.pages() {
        store.interrupts();
        if page % AHEAD == 1 {
            let ahead: Vec<Block> = (page..store.pages().min(page + AHEAD)).collect();
            store.prefetch(&ahead);
        }
        let guard = store.read(page);
        let special = Special::read(page, guard.special())?;
        match special.kind {
            PageKind::Scan => census_scan(index, store, page, guard.body(), &known, &mut census),
            PageKind::Refine => census_refine(index, store, page, guard.body(), &mut census),
            PageKind::Free if !on_list.contains(&page) => {
                // Not chained: given out and never written. The stamp says whether that is long ago.
                census.empty.push((page, PageKind::Free));
            }
            _ => {}
        }
    }
    Ok(census)
}

fn census_scan<S: PageStore>(
    index: &Index,
    store: &S,
    page: Block,
    body: &[u8],
    known: &HashSet<u32>,
    census: &mut Census,
) {
    let layout = &index.layout;
    let (mut taken, mut room) = (false, false);
    for n in 0..layout.blocks_a_page {
        let block = BlockView::new(layout, body, n);
        match block.state() {
            State::Owned if known.contains(&block.list()) => {
                *census.rows.entry(block.list()).or_default() += block.live().count_ones();
            }
            State::Owned | State::Closed if store.is_past(block.stamp()) => {
                census.orphans.push((Place { page, index: n as u8 }, block.list()));
            }
            State::Owned | State::Closed => {}
            State::Empty | State::Freed => {
                room = true;
                continue;
            }
        }
        taken = true;
        for unit in (0..layout.units_a_block).map(|u| block.unit(u)).filter(|u| u.page != NO_BLOCK) {
            *census.pointed.entry(unit.page).or_default() |= 1 << unit.index;
        }
    }
    if !taken {
        census.empty.push((page, PageKind::Scan));
    } else if room {
        census.scan_room.push(page);
    }
}

fn census_refine<S: PageStore>(index: &Index, store: &S, page: Block, body: &[u8], census: &mut Census) {
    census.used.insert(page, refine::in_use(body));
    if refine::in_use(body) == 0 {
        census.empty.push((page, PageKind::Refine));
    } else if !refine::free_units(&index.layout, body, |s| store.is_past(s)).is_empty() {
        census.refine_room.push(page);
    }
}

/// Gives back blocks and units that no list leads to, once whoever took them must have ended.
fn reclaim<S: PageStore>(index: &Index, store: &S, census: &Census) -> u32 {
    let layout = &index.layout;
    let mut count = 0;
    for (place, list) in &census.orphans {
        store.interrupts();
        let stamp = store.stamp();
        count += store.change(&[Target::old(place.page)], |views| {
            let Some(view) = views.first_mut() else { return Outcome::Abandon(0) };
            if Special::read(place.page, view.special).map(|s| s.kind) != Ok(PageKind::Scan) {
                return Outcome::Abandon(0);
            }
            let mut block = BlockMut::new(layout, view.body, usize::from(place.index));
            let same = block.view().list() == *list;
            if !same || !matches!(block.view().state(), State::Owned | State::Closed) {
                return Outcome::Abandon(0);
            }
            block.free(stamp);
            Outcome::Commit(1)
        });
    }
    for (page, used) in &census.used {
        let lost = used & !census.pointed.get(page).copied().unwrap_or(0);
        if lost == 0 {
            continue;
        }
        store.interrupts();
        let stamp = store.stamp();
        count += store.change(&[Target::old(*page)], |views| {
            let Some(view) = views.first_mut() else { return Outcome::Abandon(0) };
            let kind = Special::read(*page, view.special).map(|s| s.kind);
            // A unit taken since the census would have renewed the stamp.
            if kind != Ok(PageKind::Refine) || !store.is_past(refine::taken_at(view.body)) {
                return Outcome::Abandon(0);
            }
            refine::give_up(view.body, lost, stamp);
            Outcome::Commit(lost.count_ones())
        });
    }
    count
}

fn write_counts<S: PageStore>(index: &mut Index, store: &S, census: &Census) -> Result<(), Fault> {
    let layout = index.layout;
    for page in index.directory.pages().to_vec() {
        store.interrupts();
        store.change(&[Target::old(META), Target::old(page)], |views| {
            let [meta_page, directory_page] = views else { return Outcome::Abandon(Ok(())) };
            let mut changed = false;
            for slot in 0..layout.entries_a_page {
                let Some(entry) = pages::entry(&layout, directory_page.body, slot) else { continue };
                let rows = census.rows.get(&entry.id).copied().unwrap_or(0);
                if rows != entry.rows {
                    pages::put_entry(&layout, directory_page.body, slot, &pages::Entry { rows, ..entry });
                    changed = true;
                }
            }
            if !changed {
                return Outcome::Abandon(Ok(()));
            }
            let noted = crate::insert::note_change(meta_page.body, page);
            noted.map_or_else(|f| Outcome::Abandon(Err(f)), |()| Outcome::Commit(Ok(())))
        })?;
    }
    index.refresh(store)
}

fn tend_lists<S: PageStore, V: VectorSource>(
    index: &mut Index,
    store: &S,
    source: &mut V,
    out: &mut Cleaned,
) -> Result<(), Fault> {
    let ids: Vec<u32> = index.directory.lists().map(|(_, e)| e.id).collect();
    for id in ids {
        store.interrupts();
        let Some((slot, entry)) = index.directory.lists().find(|(_, e)| e.id == id).map(|(n, e)| (n, *e))
        else {
            continue;
        };
        let capacity = index.layout.capacity as u32;
        let needed = entry.rows.div_ceil(capacity);
        let sparse = f64::from(entry.rows) < LEAST_FILL * f64::from(entry.blocks * capacity);
        if entry.blocks > needed && sparse {
            out.compacted += u32::from(split::compact(index, store, slot)?);
        } else if entry.blocks >= entry.split_at {
            out.split += u32::from(split::split(index, store, source, slot)?);
        }
    }
    Ok(())
}

/// Puts pages without anything on the free list.
fn free_pages<S: PageStore>(index: &Index, store: &S, census: &Census) -> Result<u32, Fault> {
    let layout = &index.layout;
    let mut freed = 0;
    for (page, kind) in &census.empty {
        store.interrupts();
        let stamp = store.stamp();
        // First take the page out of use under its own lock, so that nobody takes room on it any more.
        let taken = store.change(&[Target::old(*page)], |views| {
            let Some(view) = views.first_mut() else { return Outcome::Abandon(false) };
            let Ok(special) = Special::read(*page, view.special) else { return Outcome::Abandon(false) };
            if special.kind != *kind {
                return Outcome::Abandon(false);
            }
            let past = |s: u64| store.is_past(s);
            let free = match kind {
                PageKind::Scan => {
                    (0..layout.blocks_a_page).all(|n| BlockView::new(layout, view.body, n).is_free(past))
                }
                PageKind::Refine => refine::in_use(view.body) == 0 && past(refine::stamp(view.body)),
                _ => special.stamp != 0 && past(special.stamp),
            };
            if free || (*kind == PageKind::Free && special.stamp == 0) {
                *view.special = Special { kind: PageKind::Free, stamp }.to_bytes();
                return Outcome::Commit(free);
            }
            Outcome::Abandon(false)
        });
        if taken {
            pool::give(store, &[*page])?;
            freed += 1;
        }
    }
    Ok(freed)
}

/// Tells the directory pages where there is room, so that new blocks and units go there.
fn note_room<S: PageStore>(index: &Index, store: &S, census: &Census) {
    let (mut scan, mut refine) = (census.scan_room.iter(), census.refine_room.iter());
    for page in index.directory.pages() {
        let some_scan: Vec<Block> = scan.by_ref().take(2).copied().collect();
        let some_refine: Vec<Block> = refine.by_ref().take(2).copied().collect();
        if some_scan.is_empty() && some_refine.is_empty() {
            return;
        }
        store.change(&[Target::old(*page)], |views| {
            let Some(view) = views.first_mut() else { return Outcome::Abandon(()) };
            let mut front = Front::read(view.body);
            front.spare(&some_scan, &some_refine);
            front.write(view.body);
            Outcome::Commit(())
        });
    }
}
