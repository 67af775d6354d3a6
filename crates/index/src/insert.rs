//! Inserting one row.
//!
//! Find the nearest list, put the code into the list's first block and its low bits into a unit: one change of two pages.
//! When the block is full a new one is put before it: one change of three. When the list has become too long, it is
//! split ([`crate::split`]). No other list is touched, except once in an index created empty, where the first row
//! becomes the origin.

use crate::calibrate;
use crate::directory::Index;
use crate::format::directory::{self as pages, Entry, Front};
use crate::format::meta::{self, META, META_USED, Meta};
use crate::format::scan::{BlockMut, BlockView, Place, State};
use crate::format::{Fault, PageKind, Special, refine};
use crate::options::Metric;
use crate::page::{NO_BLOCK, Outcome, PageRead, PageStore, Target, Tid, VectorSource};
use crate::pool;
use crate::quantize::encode::{Encoder, RowCode};
use crate::split;
use crate::writer::find_room;

/// Inserts row `tid` with this vector. Returns false when such a vector is not indexed (zero under cosine). `source` is
/// asked for the rows of a list that splits.
pub fn insert<S: PageStore, V: VectorSource>(
    index: &mut Index,
    store: &S,
    source: &mut V,
    tid: Tid,
    vector: &[f32],
) -> Result<bool, Fault> {
    index.refresh(store)?;
    let Some(mut rotated) = index.space.rotate(vector)? else { return Ok(false) };
    if index.meta.origin == NO_BLOCK {
        set_origin(index, store, &rotated)?;
    }
    index.space.centre(&mut rotated);
    let mut encoder = Encoder::new(index.layout, index.meta.metric);
    let mut code = Vec::with_capacity(RowCode::bytes(&index.layout));
    loop {
        store.interrupts();
        let Some(slot) = index.directory.nearest(&rotated) else {
            return Err(Fault::Damaged { page: index.meta.directory, what: "the index has no list" });
        };
        code.clear();
        encoder.encode(tid, &rotated, &index.directory.centroid(slot), &mut code);
        let layout = index.layout;
        let code = RowCode::new(&layout, &code);
        if append(index, store, slot, &code)? {
            if is_outlier(index, slot, code.square()) {
                widen(index, store, slot, code.square())?;
            }
            let long = index.directory.list(slot).is_some_and(|e| e.blocks >= e.split_at);
            if long && split::split(index, store, source, slot)? {
                recalibrate(index, store, source)?;
            }
            return Ok(true);
        }
        index.refresh(store)?;
    }
}

/// How many times the mean squared radius of its list a row's squared distance has to be to say something that the list must.
const OUTLIER: f32 = 16.0;

/// Whether a row is so long that it is among the best for half of all questions, which its list does not say.
fn is_outlier(index: &Index, slot: usize, square: f32) -> bool {
    index.meta.metric == Metric::InnerProduct
        && index.directory.list(slot).is_some_and(|e| square > OUTLIER * e.radius_squared.max(index.spread))
}

/// Lets the list of a row say how wide it is with it, without waiting for a vacuum.
fn widen<S: PageStore>(index: &mut Index, store: &S, slot: usize, square: f32) -> Result<(), Fault> {
    let layout = index.layout;
    let id = index.directory.list(slot).map(|e| e.id);
    let (directory, at) = index.directory.place(slot);
    store.change(&[Target::old(META), Target::old(directory)], |views| {
        let [meta_page, directory_page] = views else { return Outcome::Abandon(Ok(())) };
        let Some(entry) = pages::entry(&layout, directory_page.body, at).filter(|e| Some(e.id) == id) else {
            // Whoever replaced it has seen the row.
            return Outcome::Abandon(Ok(()));
        };
        let rows = f64::from(entry.rows.max(1));
        let sum = f64::from(entry.radius_squared) * rows + f64::from(square);
        let wider = Entry { radius_squared: (sum / (rows + 1.0)) as f32, ..entry };
        pages::put_entry(&layout, directory_page.body, at, &wider);
        meta::note_change(meta_page.body, directory)
            .map_or_else(|f| Outcome::Abandon(Err(f)), |()| Outcome::Commit(Ok(())))
    })?;
    index.refresh(store)
}

/// Measures the calibration curve again when the index has doubled or has a quarter more lists since: where rows lie in
/// tight groups, lists that held a group each split at about the same time, and the old curve stops too early by half.
/// With fewer queries in larger indexes, where each takes longer, so that it costs a row a few microseconds.
fn recalibrate<S: PageStore, V: VectorSource>(
    index: &mut Index,
    store: &S,
    source: &mut V,
) -> Result<(), Fault> {
    let rows = index.directory.rows();
    let more_lists = 4 * index.meta.lists >= 5 * index.meta.measured_lists.max(1);
    if rows < 2000 || rows < 2 * index.meta.measured_rows && !more_lists {
        return Ok(());
    }
    let samples = (20_000_000 / rows as usize).clamp(24, calibrate::SAMPLES / 2);
    calibrate::calibrate(index, store, source, samples)
}

/// Makes the first row the origin, unless another has been.
fn set_origin<S: PageStore>(index: &mut Index, store: &S, rotated: &[f32]) -> Result<(), Fault> {
    let mut space = (*index.space).clone();
    space.set_origin(rotated);
    let bytes = space.origin_bytes();
    let page = pool::take(store)?;
    let set = store.change(&[Target::old(META), Target::fresh(page)], |views| {
        let [meta_page, origin] = views else { return Outcome::Abandon(Ok(false)) };
        let mut meta = match Meta::read(meta_page.body) {
            Ok(meta) => meta,
            Err(fault) => return Outcome::Abandon(Err(fault)),
        };
        if meta.origin != NO_BLOCK {
            return Outcome::Abandon(Ok(false));
        }
        origin.body[..bytes.len()].copy_from_slice(&bytes);
        origin.used = bytes.len();
        *origin.special = Special::of(PageKind::Origin);
        meta.origin = page;
        let head = meta.directory;
        meta.changed(meta_page.body, head);
        meta.write(meta_page.body);
        meta_page.used = META_USED;
        Outcome::Commit(Ok(true))
    })?;
    if !set {
        pool::give(store, page)?;
    }
    index.refresh(store)
}

/// Adds a code to the list in slot `slot`. False when the list has been replaced.
fn append<S: PageStore>(
    index: &mut Index,
    store: &S,
    slot: usize,
    code: &RowCode<'_>,
) -> Result<bool, Fault> {
    let layout = index.layout;
    // The code is relative to the centroid of this list. Adding a block refreshes the directory, and by then the slot may
    // hold a list that replaced it.
    let list = index.directory.list(slot).map(|e| e.id);
    loop {
        store.interrupts();
        let Some((front, entry)) = index.current(store, slot).filter(|(_, e)| Some(e.id) == list) else {
            return Ok(false);
        };
        let lane = if entry.head.is_some() { open_lane(index, store, &entry)? } else { None };
        let Some((lane, known)) = lane else {
            add_block(index, store, slot, &front, &entry)?;
            continue;
        };
        let new_unit = lane % layout.unit == 0;
        let unit = if new_unit { open_unit(index, store, slot, &front)? } else { known };
        if unit.is_some() && write_code(index, store, &entry, lane, unit, new_unit, code) {
            return Ok(true);
        }
    }
}

/// The next lane of the list's first block and the unit of its code, if it has one; `None` when the block is full.
fn open_lane<S: PageStore>(index: &Index, store: &S, entry: &Entry) -> Result<Option<(usize, Place)>, Fault> {
    let page = entry.head.page;
    if !store.has(page) {
        return Err(Fault::Damaged { page, what: "a list leads beyond the end" });
    }
    let guard = store.read(page);
    let block = BlockView::new(&index.layout, guard.body(), usize::from(entry.head.index));
    let lane = block.used();
    Ok((lane < index.layout.capacity).then(|| (lane, block.unit(lane / index.layout.unit))))
}

fn write_code<S: PageStore>(
    index: &Index,
    store: &S,
    entry: &Entry,
    lane: usize,
    unit: Place,
    new_unit: bool,
    code: &RowCode<'_>,
) -> bool {
    let (layout, stamp) = (&index.layout, store.stamp());
    store.change(&[Target::old(entry.head.page), Target::old(unit.page)], |views| {
        let [scan_page, refine_page] = views else { return Outcome::Abandon(false) };
        let mut block = BlockMut::new(layout, scan_page.body, usize::from(entry.head.index));
        let (view, u) = (block.view(), usize::from(unit.index));
        if view.list() != entry.id || view.state() != State::Owned || view.used() != lane {
            return Outcome::Abandon(false);
        }
        let kind = Special::read(unit.page, refine_page.special).map(|s| s.kind);
        let taken = refine::in_use(refine_page.body) >> u & 1 == 1;
        if kind != Ok(PageKind::Refine)
            || taken == new_unit
            || (!new_unit && view.unit(lane / layout.unit) != unit)
        {
            return Outcome::Abandon(false);
        }
        block.push(code.signs(), &code.factors(), code.tid());
        if new_unit {
            block.set_unit(lane / layout.unit, unit);
            refine::take(refine_page.body, u, stamp);
        }
        refine::put_record(layout, refine_page.body, u, lane % layout.unit, code.record());
        Outcome::Commit(true)
    })
}

/// A free unit for a list of this directory page; none when the page changed meanwhile.
fn open_unit<S: PageStore>(index: &Index, store: &S, slot: usize, front: &Front) -> Result<Place, Fault> {
    if let Some(unit) = find_room(store, &index.layout, front, PageKind::Refine)? {
        return Ok(unit);
    }
    let fresh = pool::take(store)?;
    let (directory, used) = (index.directory.place(slot).0, index.layout.refine_used());
    let done = store.change(&[Target::old(directory), Target::fresh(fresh)], |views| {
        let [directory_page, refine_page] = views else { return Outcome::Abandon(false) };
        let mut now = Front::read(directory_page.body);
        if now.open_refine != front.open_refine {
            return Outcome::Abandon(false);
        }
        now.open_refine = fresh;
        now.write(directory_page.body);
        refine_page.used = used;
        *refine_page.special = Special::of(PageKind::Refine);
        Outcome::Commit(true)
    });
    if !done {
        pool::give(store, fresh)?;
    }
    Ok(if done { Place { page: fresh, index: 0 } } else { Place::NONE })
}

/// Puts an empty block before the list's first.
fn add_block<S: PageStore>(
    index: &mut Index,
    store: &S,
    slot: usize,
    front: &Front,
    entry: &Entry,
) -> Result<(), Fault> {
    let layout = index.layout;
    let found = find_room(store, &layout, front, PageKind::Scan)?;
    let place = match found {
        Some(place) => place,
        None => Place { page: pool::take(store)?, index: 0 },
    };
    let (directory, at) = index.directory.place(slot);
    let stamp = store.stamp();
    let scan = if found.is_some() { Target::old(place.page) } else { Target::fresh(place.page) };
    let done = store.change(&[Target::old(META), Target::old(directory), scan], |views| {
        let [meta_page, directory_page, scan_page] = views else { return Outcome::Abandon(Ok(false)) };
        if pages::entry(&layout, directory_page.body, at) != Some(*entry) {
            return Outcome::Abandon(Ok(false));
        }
        if found.is_none() {
            scan_page.used = layout.scan_used();
            *scan_page.special = Special::of(PageKind::Scan);
        }
        let kind = Special::read(place.page, scan_page.special).map(|s| s.kind);
        let mut block = BlockMut::new(&layout, scan_page.body, usize::from(place.index));
        if kind != Ok(PageKind::Scan) || !block.view().is_free(|s| store.is_past(s)) {
            return Outcome::Abandon(Ok(false));
        }
        block.open(entry.id, entry.head, stamp);
        let longer = Entry {
            head: place,
            blocks: entry.blocks + 1,
            rows: entry.rows + layout.capacity as u32,
            ..*entry
        };
        pages::put_entry(&layout, directory_page.body, at, &longer);
        let mut now = Front::read(directory_page.body);
        now.open_scan = place.page;
        now.write(directory_page.body);
        meta::note_change(meta_page.body, directory)
            .map_or_else(|f| Outcome::Abandon(Err(f)), |()| Outcome::Commit(Ok(true)))
    })?;
    if !done && found.is_none() {
        pool::give(store, place.page)?;
    }
    index.refresh(store)
}
