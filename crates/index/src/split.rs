//! Replacing a list: by two when it has become too long, by itself when it has many holes.
//!
//! New lists are written beside the old one, to blocks that nothing leads to. Then one change of at most four pages
//! (meta, directory, the old list's first block and, if there is no room, a second directory page) puts them in its
//! place and closes the old list; it is abandoned when the old list got a row meanwhile, or when a vacuum began or ended
//! a pass, which may have removed rows that had been read. The old blocks keep their content until no scan runs that may
//! have read a pointer to them. Whatever is interrupted leaves blocks without owner for vacuum.
//!
//! Rows that cannot be told apart cannot be split: a list whose halves would be very unequal waits until it is twice as
//! long. (Splitting on arrival follows SPFresh's LIRE, SOSP 2023; rows near the new border stay where they are, the
//! calibration accounts for them.)

use std::collections::BTreeMap;

use crate::build::split_at;
use crate::directory::Index;
use crate::format::directory::{self as pages, Entry, Front};
use crate::format::meta::{self, META, META_USED, Meta};
use crate::format::scan::{BlockMut, BlockView, Place, State};
use crate::format::{Fault, Layout, PageKind, Special, get_f32, refine};
use crate::kmeans::{self, Points};
use crate::page::{Block, NO_BLOCK, Outcome, PageMut, PageRead, PageStore, Target, Tid, VectorSource};
use crate::pool;
use crate::quantize::encode::{CodedCentroid, Encoder, RowCode, decode};
use crate::rng::Rng;
use crate::writer::Writer;

/// Rows that a split looks at to find its two centroids.
const SAMPLE: usize = 2048;
/// A half with less than this share of the rows is not worth a list.
const LEAST_SHARE: usize = 16;

/// A live row of a list: its TID, packed signs, refine record, and the factors of its signs.
struct Row {
    tid: Tid,
    signs: Vec<u8>,
    record: Vec<u8>,
    factors: [f32; 3],
}

/// A list as it is read for replacement.
struct Old {
    entry: Entry,
    front: Front,
    rows: Vec<Row>,
    /// Codes written in the first block.
    used: usize,
    /// [`Meta::passes`] before the rows were read.
    passes: u64,
}

fn read_list<S: PageStore>(index: &Index, store: &S, slot: usize) -> Result<Option<Old>, Fault> {
    let passes = Meta::read(store.read(META).body())?.passes;
    let Some((front, entry)) = index.current(store, slot) else { return Ok(None) };
    let mut old = Old { entry, front, rows: Vec::new(), used: 0, passes };
    let mut place = entry.head;
    let mut units = Vec::new();
    while place.is_some() {
        store.interrupts();
        if !store.has(place.page) {
            return Err(Fault::Damaged { page: place.page, what: "a list leads beyond the end" });
        }
        let guard = store.read(place.page);
        let block = BlockView::new(&index.layout, guard.body(), usize::from(place.index));
        if block.list() != entry.id || block.state() != State::Owned {
            return Ok(None);
        }
        if place == entry.head {
            old.used = block.used();
        }
        for lane in (0..block.used()).filter(|lane| block.live() >> lane & 1 == 1) {
            let mut signs = vec![0; index.layout.sign_bytes()];
            block.sign_code(lane, &mut signs);
            let scan = block.scan();
            let bf16 = crate::distance::scalar::bf16_at;
            let factors = [get_f32(scan.add, 4 * lane), bf16(scan.scale, lane), bf16(scan.error, lane)];
            old.rows.push(Row { tid: block.tid(lane), signs, record: Vec::new(), factors });
            units.push((block.unit(lane / index.layout.unit), lane % index.layout.unit));
        }
        place = block.next();
    }
    for (row, (unit, slot)) in old.rows.iter_mut().zip(units) {
        store.interrupts();
        if !store.has(unit.page) {
            return Err(Fault::Damaged { page: unit.page, what: "a block points to a unit beyond the end" });
        }
        let guard = store.read(unit.page);
        let at = index.layout.record_at(usize::from(unit.index), slot);
        row.record = guard.body()[at..at + index.layout.record_bytes].to_vec();
    }
    Ok(Some(old))
}

/// The row's vector in index space: from the table, or from its code when the table does not have it any more.
fn vector<V: VectorSource>(
    index: &Index,
    source: &mut V,
    row: &Row,
    centroid: &[f32],
    buffer: &mut Vec<f32>,
) -> Vec<f32> {
    if source.fetch(row.tid, buffer)
        && let Ok(Some(vector)) = index.space.row(buffer)
    {
        return vector;
    }
    let mut out = vec![0.0; index.layout.width];
    decode(index.meta.metric, &index.layout, &row.signs, &row.record, centroid, &mut out);
    out
}

/// Splits the list in slot `slot` if it is long enough. Returns whether it did.
pub fn split<S: PageStore, V: VectorSource>(
    index: &mut Index,
    store: &S,
    source: &mut V,
    slot: usize,
) -> Result<bool, Fault> {
    let Some(old) = read_list(index, store, slot)? else { return Ok(false) };
    if old.entry.blocks < old.entry.split_at {
        return Ok(false);
    }
    let centroid = index.directory.centroid(slot);
    let tids: Vec<Tid> = old.rows.iter().map(|r| r.tid).collect();
    source.prefetch(&tids);
    let mut buffer = Vec::new();
    let step = old.rows.len().div_ceil(SAMPLE).max(1);
    let mut sample = Vec::new();
    for row in old.rows.iter().step_by(step) {
        let vector = vector(index, source, row, &centroid, &mut buffer);
        if vector.iter().all(|v| v.abs() < 1e15) {
            sample.extend(vector);
        }
    }
    let points = Points { values: &sample, width: index.layout.width };
    let members: Vec<u32> = (0..points.len() as u32).collect();
    let mut rng = Rng::new(u64::from(old.entry.id));
    let (found, owner) = kmeans::lloyd(points, &members, 2, 8, 1, &mut rng, &|| store.interrupts());
    let second = owner.iter().filter(|o| **o == 1).count();
    if second.min(owner.len() - second) * LEAST_SHARE < owner.len().max(1) {
        put_off(index, store, slot, &old.entry)?;
        return Ok(false);
    }
    let coded: Vec<CodedCentroid> = found.chunks_exact(index.layout.width).map(CodedCentroid::new).collect();
    let halves = encode_halves(index, source, &old, &centroid, &coded, store)?;
    replace(index, store, slot, &old, &coded, &halves)
}

fn encode_halves<S: PageStore, V: VectorSource>(
    index: &Index,
    source: &mut V,
    old: &Old,
    centroid: &[f32],
    coded: &[CodedCentroid],
    store: &S,
) -> Result<Vec<Vec<u8>>, Fault> {
    let width = index.layout.width;
    let mut decoded = vec![0.0; 2 * width];
    for (c, out) in coded.iter().zip(decoded.chunks_exact_mut(width)) {
        CodedCentroid::decode(&c.packed, c.scale, out);
    }
    let points = Points { values: &decoded, width };
    let squares = kmeans::half_squares(points);
    let mut encoder = Encoder::new(index.layout, index.meta.metric);
    let mut halves = vec![Vec::new(), Vec::new()];
    let mut buffer = Vec::new();
    for row in &old.rows {
        store.interrupts();
        let vector = vector(index, source, row, centroid, &mut buffer);
        let (side, _) = kmeans::nearest(&vector, points, &squares);
        encoder.encode(row.tid, &vector, points.row(side), &mut halves[side]);
    }
    Ok(halves)
}

/// Says that the list is not to be split before it is twice as long.
fn put_off<S: PageStore>(index: &mut Index, store: &S, slot: usize, entry: &Entry) -> Result<(), Fault> {
    let (directory, at) = index.directory.place(slot);
    let layout = index.layout;
    store.change(&[Target::old(META), Target::old(directory)], |views| {
        let [meta_page, page] = views else { return Outcome::Abandon(Ok(())) };
        let Some(now) = pages::entry(&layout, page.body, at).filter(|now| now.id == entry.id) else {
            return Outcome::Abandon(Ok(()));
        };
        pages::put_entry(&layout, page.body, at, &Entry { split_at: now.blocks.saturating_mul(2), ..now });
        meta::note_change(meta_page.body, directory)
            .map_or_else(|f| Outcome::Abandon(Err(f)), |()| Outcome::Commit(Ok(())))
    })?;
    index.refresh(store)
}

/// Writes the list in slot `slot` anew, without its holes; removes it when it has no row and is not the only one.
/// Returns whether it did.
pub fn compact<S: PageStore>(index: &mut Index, store: &S, slot: usize) -> Result<bool, Fault> {
    let Some(old) = read_list(index, store, slot)? else { return Ok(false) };
    let centroid = CodedCentroid {
        packed: index.directory.packed_centroid(slot).to_vec(),
        scale: old.entry.scale,
        square: old.entry.square,
    };
    let mut codes = Vec::new();
    for row in &old.rows {
        codes.extend(row.tid.to_bytes());
        codes.extend([old.entry.radius_squared].iter().chain(&row.factors).flat_map(|v| v.to_le_bytes()));
        codes.extend_from_slice(&row.signs);
        codes.extend_from_slice(&row.record);
    }
    let only = index.directory.lists().count() == 1;
    if old.rows.is_empty() && !only {
        return replace(index, store, slot, &old, &[], &[]);
    }
    replace(index, store, slot, &old, &[centroid], &[codes])
}

/// Puts lists with these row codes in the place of the list in slot `slot`.
fn replace<S: PageStore>(
    index: &mut Index,
    store: &S,
    slot: usize,
    old: &Old,
    coded: &[CodedCentroid],
    codes: &[Vec<u8>],
) -> Result<bool, Fault> {
    let layout = index.layout;
    let first_id = reserve_lists(store, coded.len() as u32)?;
    let mut writer = Writer::online(store, layout, old.front);
    let mut entries = Vec::new();
    let split_at = split_at(&layout, index.target_rows());
    for (i, (centroid, codes)) in coded.iter().zip(codes).enumerate() {
        writer.begin(first_id + i as u32);
        for code in codes.chunks_exact(RowCode::bytes(&layout)) {
            writer.push(&RowCode::new(&layout, code))?;
        }
        let entry = writer.end(index.meta.metric, centroid, split_at);
        entries.push(Entry { split_at: split_at.max(entry.blocks + entry.blocks / 2), ..entry });
    }
    let Some(front) = writer.finish() else { return Ok(false) };
    let second = if entries.len() == 2 { Some(free_place(index, store, slot)?) } else { None };
    let old_pages = chain_pages(store, &layout, old.entry.head, old.entry.id)?;
    let swapped = swap(index, store, slot, old, &entries, coded, second, front, &old_pages)?;
    index.refresh(store)?;
    if swapped {
        retire(store, &layout, old.entry.id, &old_pages)?;
    } else {
        for entry in &entries {
            let written = chain_pages(store, &layout, entry.head, entry.id)?;
            retire(store, &layout, entry.id, &written)?;
        }
    }
    Ok(swapped)
}

fn reserve_lists<S: PageStore>(store: &S, count: u32) -> Result<u32, Fault> {
    store.change(&[Target::old(META)], |views| {
        let Some(page) = views.first_mut() else { return Outcome::Abandon(Ok(0)) };
        let mut meta = match Meta::read(page.body) {
            Ok(meta) => meta,
            Err(fault) => return Outcome::Abandon(Err(fault)),
        };
        let first = meta.next_list;
        meta.next_list += count;
        meta.write(page.body);
        Outcome::Commit(Ok(first))
    })
}

/// Where a second entry may go: in the same directory page, in another, or in a new one.
fn free_place<S: PageStore>(index: &Index, store: &S, slot: usize) -> Result<(Block, usize), Fault> {
    let own = index.directory.place(slot).0;
    for page in [own].into_iter().chain(index.directory.pages().iter().rev().copied()) {
        if let Some(at) = pages::free_slot(&index.layout, store.read(page).body()) {
            return Ok((page, at));
        }
    }
    let page = pool::take(store)?;
    let used = index.layout.directory_used();
    store.change(&[Target::old(META), Target::fresh(page)], |views| {
        let [meta_page, fresh] = views else { return Outcome::Abandon(Ok(())) };
        let mut meta = match Meta::read(meta_page.body) {
            Ok(meta) => meta,
            Err(fault) => return Outcome::Abandon(Err(fault)),
        };
        Front::new(meta.directory).write(fresh.body);
        fresh.used = used;
        *fresh.special = Special::of(PageKind::Directory);
        meta.directory = page;
        meta.changed(meta_page.body, page);
        meta.write(meta_page.body);
        meta_page.used = META_USED;
        Outcome::Commit(Ok(()))
    })?;
    Ok((page, 0))
}

/// Blocks and units of an old list, by page.
#[derive(Default)]
struct OldPages {
    scan: BTreeMap<Block, Vec<u8>>,
    refine: BTreeMap<Block, u64>,
}

fn chain_pages<S: PageStore>(store: &S, layout: &Layout, head: Place, list: u32) -> Result<OldPages, Fault> {
    let mut out = OldPages::default();
    let mut place = head;
    while place.is_some() && store.has(place.page) {
        store.interrupts();
        let guard = store.read(place.page);
        let block = BlockView::new(layout, guard.body(), usize::from(place.index));
        if block.list() != list {
            break;
        }
        out.scan.entry(place.page).or_default().push(place.index);
        for n in 0..layout.units_a_block {
            let unit = block.unit(n);
            if unit.page != NO_BLOCK {
                *out.refine.entry(unit.page).or_default() |= 1 << unit.index;
            }
        }
        place = block.next();
    }
    Ok(out)
}

#[allow(clippy::too_many_arguments)] // The one change that everything else prepares.
fn swap<S: PageStore>(
    index: &Index,
    store: &S,
    slot: usize,
    old: &Old,
    entries: &[Entry],
    coded: &[CodedCentroid],
    second: Option<(Block, usize)>,
    front: Front,
    old_pages: &OldPages,
) -> Result<bool, Fault> {
    let layout = &index.layout;
    let (directory, at) = index.directory.place(slot);
    let mut targets = vec![Target::old(META), Target::old(directory)];
    let head = old.entry.head.is_some().then(|| {
        targets.push(Target::old(old.entry.head.page));
        targets.len() - 1
    });
    let other = second.filter(|(page, _)| *page != directory).map(|(page, _)| {
        targets.push(Target::old(page));
        targets.len() - 1
    });
    store.change(&targets, |views| {
        let mut meta = match Meta::read(views[0].body) {
            Ok(meta) => meta,
            Err(fault) => return Outcome::Abandon(Err(fault)),
        };
        if meta.passes != old.passes || pages::entry(layout, views[1].body, at) != Some(old.entry) {
            return Outcome::Abandon(Ok(false));
        }
        if let Some(head) = head {
            let mut block = BlockMut::new(layout, views[head].body, usize::from(old.entry.head.index));
            let view = block.view();
            if view.list() != old.entry.id || view.state() != State::Owned || view.used() != old.used {
                return Outcome::Abandon(Ok(false));
            }
            block.close();
        }
        let mut changed = vec![directory];
        if let Some((page, slot)) = second {
            let body = &mut views[other.unwrap_or(1)].body;
            if pages::entry(layout, body, slot).is_some() {
                return Outcome::Abandon(Ok(false));
            }
            pages::put_entry(layout, body, slot, &entries[1]);
            pages::put_centroid(layout, body, slot, &coded[1].packed);
            changed.push(page);
        }
        match entries.first() {
            Some(entry) => {
                pages::put_entry(layout, views[1].body, at, entry);
                pages::put_centroid(layout, views[1].body, at, &coded[0].packed);
            }
            None => pages::clear_entry(layout, views[1].body, at),
        }
        let mut now = Front { next: Front::read(views[1].body).next, ..front };
        let scan: Vec<Block> = old_pages.scan.keys().copied().collect();
        let refine: Vec<Block> = old_pages.refine.keys().copied().collect();
        now.spare(&scan, &refine);
        now.write(views[1].body);
        meta.lists = (meta.lists + entries.len() as u32).saturating_sub(1);
        for page in changed {
            meta.changed(views[0].body, page);
        }
        meta.write(views[0].body);
        Outcome::Commit(Ok(true))
    })
}

/// Gives up the blocks and units of a list that has been replaced, and the pages that have nothing else.
fn retire<S: PageStore>(store: &S, layout: &Layout, list: u32, old: &OldPages) -> Result<(), Fault> {
    for (page, blocks) in &old.scan {
        store.interrupts();
        let stamp = store.stamp();
        let empty = store.change(&[Target::old(*page)], |views| {
            let Some(view) = views.first_mut() else { return Outcome::Abandon(false) };
            if Special::read(*page, view.special).map(|s| s.kind) != Ok(PageKind::Scan) {
                return Outcome::Abandon(false);
            }
            for index in blocks {
                let mut block = BlockMut::new(layout, view.body, usize::from(*index));
                if block.view().list() == list {
                    block.free(stamp);
                }
            }
            Outcome::Commit(is_unused(layout, *page, PageKind::Scan, view, |_| true))
        });
        if empty {
            pool::give_as_it_is(store, *page, |view| {
                is_unused(layout, *page, PageKind::Scan, view, |_| true)
            })?;
        }
    }
    for (page, mask) in &old.refine {
        store.interrupts();
        let stamp = store.stamp();
        let empty = store.change(&[Target::old(*page)], |views| {
            let Some(view) = views.first_mut() else { return Outcome::Abandon(false) };
            if Special::read(*page, view.special).map(|s| s.kind) != Ok(PageKind::Refine) {
                return Outcome::Abandon(false);
            }
            refine::give_up(view.body, *mask, stamp);
            Outcome::Commit(is_unused(layout, *page, PageKind::Refine, view, |_| true))
        });
        if empty {
            pool::give_as_it_is(store, *page, |view| {
                is_unused(layout, *page, PageKind::Refine, view, |_| true)
            })?;
        }
    }
    Ok(())
}

/// Whether the page is of this kind and nothing on it is in use or was given up at a stamp that is not `past`.
pub(crate) fn is_unused(
    layout: &Layout,
    page: Block,
    kind: PageKind,
    view: &PageMut<'_>,
    past: impl Fn(u64) -> bool,
) -> bool {
    let Ok(special) = Special::read(page, view.special) else { return false };
    special.kind == kind
        && match kind {
            PageKind::Scan => {
                (0..layout.blocks_a_page).all(|n| BlockView::new(layout, view.body, n).is_free(&past))
            }
            PageKind::Refine => refine::in_use(view.body) == 0 && past(refine::stamp(view.body)),
            PageKind::Free => special.loose && past(special.stamp),
            PageKind::Meta | PageKind::Origin | PageKind::Directory => false,
        }
}
