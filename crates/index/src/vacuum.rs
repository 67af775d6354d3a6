//! Removing dead rows and putting the index in order.
//!
//! [`bulk_delete`] reads the scan pages once from the first to the last and clears the live bits of dead rows. A list
//! that is replaced meanwhile may have a dead row copied to a page that the pass has read already: lists made since the
//! pass began are read again, until there are none, and a writer that read a list before and has not yet replaced it sees
//! from [`Meta::passes`] that it must not. A dead row must not stay: its TID is given to another row, which the index would
//! then return in its place. [`clean_up`] counts rows, gives back what has no owner, writes lists with many holes anew,
//! splits those that are too long, frees empty pages and measures the calibration curve when the index has changed by a
//! fifth.

use std::collections::{HashMap, HashSet};

use crate::calibrate;
use crate::directory::Index;
use crate::format::directory::{self as pages, Front};
use crate::format::meta::{self, META, Meta};
use crate::format::scan::{BlockMut, BlockView, Place, State};
use crate::format::{Fault, Layout, PageKind, Special, refine};
use crate::page::{Block, NO_BLOCK, Outcome, PageMut, PageRead, PageStore, Target, Tid, VectorSource};
use crate::pool;
use crate::search::Dead;
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
    let mut seen = note_pass(store)?;
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
        // Lists that come from rows read before this can no longer be put in place, those of rows read after it have
        // numbers from `now` on: when there is no list to read again, none can be added by a writer that read one before.
        let now = note_pass(store)?;
        index.refresh(store)?;
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

/// Counts a pass. Returns the number that the next list will have.
fn note_pass<S: PageStore>(store: &S) -> Result<u32, Fault> {
    store.change(&[Target::old(META)], |views| {
        let Some(page) = views.first_mut() else { return Outcome::Abandon(Ok(0)) };
        let mut meta = match Meta::read(page.body) {
            Ok(meta) => meta,
            Err(fault) => return Outcome::Abandon(Err(fault)),
        };
        meta.passes += 1;
        meta.write(page.body);
        Outcome::Commit(Ok(meta.next_list))
    })
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

/// Marks rows that scans found to be dead to everybody, where they still are where the scan found them. Returns how many
/// it marked.
///
/// The mark is for searches of a primary; the row is still vacuum's to remove, and on a standby, whose snapshots may be
/// older than any here, searches do not look at it ([`crate::options::SearchOptions::see_marked`]). The mark is logged,
/// one record a page: an unlogged hint would leave pages that differ from the record's next image.
pub fn mark_dead<S: PageStore>(layout: &Layout, store: &S, dead: &[Dead]) -> Result<u32, Fault> {
    let mut dead = dead.to_vec();
    dead.sort_unstable_by_key(|d| (d.place, d.lane));
    let mut marked = 0;
    for on_page in dead.chunk_by(|a, b| a.place.page == b.place.page) {
        store.interrupts();
        let page = on_page[0].place.page;
        if page >= store.pages() {
            return Err(Fault::Damaged { page, what: "a list leads beyond the end" });
        }
        marked += store.change(&[Target::old(page)], |views| {
            let Some(view) = views.first_mut() else { return Outcome::Abandon(0) };
            if Special::read(page, view.special).map(|s| s.kind) != Ok(PageKind::Scan) {
                return Outcome::Abandon(0);
            }
            let mut marked = 0;
            for row in on_page {
                let mut block = BlockMut::new(layout, view.body, usize::from(row.place.index));
                let (view, lane) = (block.view(), usize::from(row.lane));
                let owned = matches!(view.state(), State::Owned | State::Closed);
                if owned && view.live() >> lane & 1 == 1 && !view.is_marked(lane) && view.tid(lane) == row.tid
                {
                    block.mark(lane);
                    marked += 1;
                }
            }
            if marked > 0 { Outcome::Commit(marked) } else { Outcome::Abandon(0) }
        });
    }
    Ok(marked)
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
    /// Lists that the directory had before the pass.
    known: HashSet<u32>,
    rows: HashMap<u32, u32>,
    /// Blocks of lists that are in no directory, long enough for whoever wrote them to have ended.
    orphans: Vec<(Place, u32)>,
    /// Units in use by page, with the stamp of the last one taken, where whoever took it has ended; and those that blocks
    /// point to.
    used: HashMap<Block, (u64, u64)>,
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
    let mut out = Cleaned::default();
    let mut census = take_census(index, store)?;
    // Lists that were put in place while the pass ran have owners after all.
    index.refresh(store)?;
    let now: HashSet<u32> = index.directory.lists().map(|(_, e)| e.id).collect();
    census.orphans.retain(|(_, list)| !now.contains(list));
    let lost = lost_units(index, store, &census)?;
    out.reclaimed = reclaim(index, store, &census, &lost);
    write_counts(index, store, &census)?;
    out.rows = census.rows.values().map(|n| u64::from(*n)).sum();
    tend_lists(index, store, source, &mut out)?;
    out.freed = free_pages(index, store, &census)?;
    note_room(index, store, &census);
    let measured = index.meta.measured_rows;
    let lists = u64::from(index.meta.lists).abs_diff(u64::from(index.meta.measured_lists));
    if out.rows.abs_diff(measured) * 5 > measured.max(1) || lists * 5 > u64::from(index.meta.lists) {
        calibrate::calibrate(index, store, source, calibrate::SAMPLES)?;
        out.calibrated = true;
    }
    Ok(out)
}

fn take_census<S: PageStore>(index: &mut Index, store: &S) -> Result<Census, Fault> {
    let mut census = Census::default();
    index.refresh(store)?;
    census.known = index.directory.lists().map(|(_, e)| e.id).collect();
    for page in 1..store.pages() {
        store.interrupts();
        if page % AHEAD == 1 {
            let ahead: Vec<Block> = (page..store.pages().min(page + AHEAD)).collect();
            store.prefetch(&ahead);
        }
        let guard = store.read(page);
        let special = Special::read(page, guard.special())?;
        match special.kind {
            PageKind::Scan => census_scan(index, store, page, guard.body(), &mut census),
            PageKind::Refine => census_refine(index, store, page, guard.body(), &mut census),
            PageKind::Free if special.stamp == 0 || special.loose => {
                // Given out and never written.
                census.empty.push((page, PageKind::Free));
            }
            _ => {}
        }
    }
    Ok(census)
}

fn census_scan<S: PageStore>(index: &Index, store: &S, page: Block, body: &[u8], census: &mut Census) {
    let layout = &index.layout;
    let (mut taken, mut room) = (false, false);
    for n in 0..layout.blocks_a_page {
        let block = BlockView::new(layout, body, n);
        match block.state() {
            State::Owned if census.known.contains(&block.list()) => {
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
    let taken = refine::taken_at(body);
    if store.is_past(taken) {
        census.used.insert(page, (refine::in_use(body), taken));
    }
    if refine::in_use(body) == 0 {
        census.empty.push((page, PageKind::Refine));
    } else if !refine::free_units(&index.layout, body, |s| store.is_past(s)).is_empty() {
        census.refine_room.push(page);
    }
}

/// Units that no block points to: page, units, stamp of the last one taken on that page.
///
/// A block may have got its pointer after the census had passed its page and before it came to the unit's: whoever wrote
/// it had ended by then, so a second look at the scan pages, where there is anything to look for, sees every pointer.
fn lost_units<S: PageStore>(
    index: &Index,
    store: &S,
    census: &Census,
) -> Result<Vec<(Block, u64, u64)>, Fault> {
    let pointed = |page: &Block| census.pointed.get(page).copied().unwrap_or(0);
    let mut lost: HashMap<Block, (u64, u64)> = census
        .used
        .iter()
        .map(|(page, (used, taken))| (*page, (used & !pointed(page), *taken)))
        .filter(|(_, (units, _))| *units != 0)
        .collect();
    let layout = &index.layout;
    let pages = if lost.is_empty() { 0 } else { store.pages() };
    for page in 1..pages {
        store.interrupts();
        let guard = store.read(page);
        if Special::read(page, guard.special())?.kind != PageKind::Scan {
            continue;
        }
        for n in 0..layout.blocks_a_page {
            let block = BlockView::new(layout, guard.body(), n);
            if matches!(block.state(), State::Empty | State::Freed) {
                continue;
            }
            for unit in (0..layout.units_a_block).map(|u| block.unit(u)) {
                if let Some((units, _)) = lost.get_mut(&unit.page) {
                    *units &= !(1 << unit.index);
                }
            }
        }
    }
    let found = lost.into_iter().filter(|(_, (units, _))| *units != 0);
    Ok(found.map(|(page, (units, taken))| (page, units, taken)).collect())
}

/// Gives back blocks and units that no list leads to, once whoever took them must have ended.
fn reclaim<S: PageStore>(index: &Index, store: &S, census: &Census, lost: &[(Block, u64, u64)]) -> u32 {
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
    for (page, units, taken) in lost {
        store.interrupts();
        let stamp = store.stamp();
        count += store.change(&[Target::old(*page)], |views| {
            let Some(view) = views.first_mut() else { return Outcome::Abandon(0) };
            let kind = Special::read(*page, view.special).map(|s| s.kind);
            // A unit taken meanwhile has renewed the stamp.
            if kind != Ok(PageKind::Refine) || refine::taken_at(view.body) != *taken {
                return Outcome::Abandon(0);
            }
            refine::give_up(view.body, *units, stamp);
            Outcome::Commit(units.count_ones())
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
                // Lists made since the census began know their rows better.
                if !census.known.contains(&entry.id) {
                    continue;
                }
                let rows = census.rows.get(&entry.id).copied().unwrap_or(0);
                if rows != entry.rows {
                    pages::put_entry(&layout, directory_page.body, slot, &pages::Entry { rows, ..entry });
                    changed = true;
                }
            }
            if !changed {
                return Outcome::Abandon(Ok(()));
            }
            let noted = meta::note_change(meta_page.body, page);
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
    let past = |stamp: u64| store.is_past(stamp);
    let mut freed = 0;
    for &(page, kind) in &census.empty {
        store.interrupts();
        if kind == PageKind::Free {
            mark_loose(store, page);
        }
        let unused = |view: &PageMut<'_>| split::is_unused(layout, page, kind, view, past);
        freed += u32::from(pool::give_as_it_is(store, page, unused)?);
    }
    Ok(freed)
}

/// Stamps a page that was given out and is not yet written, or never will be.
fn mark_loose<S: PageStore>(store: &S, page: Block) {
    let stamp = store.stamp();
    store.change(&[Target::old(page)], |views| {
        let Some(view) = views.first_mut() else { return Outcome::Abandon(()) };
        if Special::read(page, view.special) != Ok(Special { kind: PageKind::Free, stamp: 0, loose: false }) {
            return Outcome::Abandon(());
        }
        *view.special = Special { kind: PageKind::Free, stamp, loose: true }.to_bytes();
        Outcome::Commit(())
    });
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
