//! The lists of an index, in memory: what each scan and insert looks at first.
//!
//! Read from the directory pages once and kept by the caller between scans; [`Index::refresh`] reads one page to see
//! whether anything changed and then only the pages that did. Takes `5 · dimensions / 8 + 90` bytes a list, and the centroids
//! once more while a search that began before a change goes on.

use std::sync::Arc;

use crate::distance::dot;
use crate::format::directory::{self as pages, Entry, Front};
use crate::format::meta::{self, META, Meta};
use crate::format::{Fault, Layout, PageKind, Special};
use crate::page::{Block, NO_BLOCK, PageRead, PageStore};
use crate::quantize::encode::CodedCentroid;
use crate::quantize::{Query, Small};
use crate::sketch::Sketch;
use crate::space::Space;

/// Values of all centroids from which on a sketch of them is looked at first: those of a quarter of a megabyte.
const LARGE: usize = 1 << 19;
/// Lists that look nearest among which the nearest is found.
const NEAR: usize = 32;
/// Times that pages which changed while they were read are read again before changes are kept out.
const ATTEMPTS: usize = 8;

/// All lists. Slot `n` is entry `n % entries_a_page` of directory page `n / entries_a_page` in order of reading.
#[derive(Clone, Debug)]
pub struct Directory {
    layout: Layout,
    pages: Vec<Block>,
    entries: Vec<Option<Entry>>,
    /// Packed levels of all slots; shared with searches in progress, as `filled`.
    centroids: Arc<Vec<u8>>,
    sketch: Sketch,
    /// The lists that have blocks, with their slots; shared with searches in progress.
    filled: Arc<Vec<(u32, Entry)>>,
}

/// How directory pages are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// Page after page, each under its own lock: changes may come in between.
    Loose,
    /// While the caller holds the meta page, which every change of the directory changes too.
    Held,
}

impl Directory {
    fn load<S: PageStore>(store: &S, layout: Layout, head: Block, how: Reading) -> Result<Self, Fault> {
        let mut directory = Self {
            layout,
            pages: Vec::new(),
            entries: Vec::new(),
            centroids: Arc::default(),
            sketch: Sketch::new(layout.width),
            filled: Arc::default(),
        };
        let mut next = head;
        while next != NO_BLOCK {
            if directory.pages.len() as Block > store.pages() {
                return Err(Fault::Damaged { page: next, what: "the chain of directory pages does not end" });
            }
            next = directory.load_page(store, next, how)?;
        }
        // Growing page by page leaves room for as much again.
        directory.pages.shrink_to_fit();
        directory.entries.shrink_to_fit();
        Arc::make_mut(&mut directory.centroids).shrink_to_fit();
        directory.sketch.shrink_to_fit();
        Ok(directory)
    }

    /// Reads one page in its old place or a new one; returns the page behind it.
    fn load_page<S: PageStore>(&mut self, store: &S, page: Block, how: Reading) -> Result<Block, Fault> {
        if how == Reading::Loose {
            store.interrupts();
        }
        if page >= store.pages() {
            return Err(Fault::Damaged { page, what: "a directory page lies beyond the end" });
        }
        let guard = store.read(page);
        if Special::read(page, guard.special())?.kind != PageKind::Directory {
            return Err(Fault::Damaged { page, what: "not a directory page" });
        }
        let (slots, bytes) = (self.layout.entries_a_page, self.layout.width / 2);
        let at = self.pages.iter().position(|p| *p == page).unwrap_or_else(|| {
            self.pages.push(page);
            self.entries.resize(self.pages.len() * slots, None);
            Arc::make_mut(&mut self.centroids).resize(self.pages.len() * slots * bytes, 0);
            self.sketch.resize(self.pages.len() * slots);
            self.pages.len() - 1
        });
        let centroids = Arc::make_mut(&mut self.centroids);
        for slot in 0..slots {
            let n = at * slots + slot;
            self.entries[n] = pages::entry(&self.layout, guard.body(), slot);
            let centroid = pages::centroid(&self.layout, guard.body(), slot);
            centroids[n * bytes..(n + 1) * bytes].copy_from_slice(centroid);
            if let Some(entry) = &self.entries[n] {
                self.sketch.set(n, centroid, entry.scale, entry.square);
            }
        }
        Ok(Front::read(guard.body()).next)
    }

    /// The lists that have blocks, with their slots, as they are now.
    #[must_use]
    pub fn filled(&self) -> Arc<Vec<(u32, Entry)>> {
        Arc::clone(&self.filled)
    }

    /// Lists with their slots.
    pub fn lists(&self) -> impl Iterator<Item = (usize, &Entry)> {
        self.entries.iter().enumerate().filter_map(|(n, e)| e.as_ref().map(|e| (n, e)))
    }

    /// The list in slot `n`.
    #[must_use]
    pub fn list(&self, n: usize) -> Option<&Entry> {
        self.entries.get(n)?.as_ref()
    }

    /// Directory page and entry of slot `n`.
    #[must_use]
    pub fn place(&self, n: usize) -> (Block, usize) {
        (self.pages[n / self.layout.entries_a_page], n % self.layout.entries_a_page)
    }

    /// The directory pages.
    #[must_use]
    pub fn pages(&self) -> &[Block] {
        &self.pages
    }

    /// Memory that the value takes beside itself. What searches that go on share with it counts as its own.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Block>() * self.pages.capacity()
            + size_of::<Option<Entry>>() * self.entries.capacity()
            + self.centroids.capacity()
            + self.sketch.bytes()
            + size_of::<(u32, Entry)>() * self.filled.capacity()
    }

    /// Rows, as far as the lists know.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.lists().map(|(_, e)| u64::from(e.rows)).sum()
    }

    fn packed(&self, n: usize) -> &[u8] {
        let bytes = self.layout.width / 2;
        &self.centroids[n * bytes..(n + 1) * bytes]
    }

    /// The centroid of slot `n` as pages keep it.
    #[must_use]
    pub fn packed_centroid(&self, n: usize) -> &[u8] {
        self.packed(n)
    }

    /// The centroid of slot `n`.
    #[must_use]
    pub fn centroid(&self, n: usize) -> Vec<f32> {
        let mut out = vec![0.0; self.layout.width];
        let scale = self.list(n).map_or(0.0, |e| e.scale);
        CodedCentroid::decode(self.packed(n), scale, &mut out);
        out
    }

    /// The packed levels of all slots, as they are now.
    #[must_use]
    pub fn packed_centroids(&self) -> Arc<Vec<u8>> {
        Arc::clone(&self.centroids)
    }

    /// Whether a first look at the lists saves time: with few of them, reading their centroids takes none worth saving.
    #[must_use]
    pub fn is_large(&self) -> bool {
        self.entries.len() * self.layout.width >= LARGE
    }

    /// Estimates of the products of a query with the centroids of all slots; of slots without a list any number.
    #[must_use]
    pub fn estimates(&self, query: &Query) -> Vec<f32> {
        self.sketch.products(query)
    }

    /// Products of a vector with the centroids of all slots; of slots without a list any number.
    #[must_use]
    pub fn products(&self, vector: &Small) -> Vec<f32> {
        let scale = |e: &Option<Entry>| e.as_ref().map_or(0.0, |e| e.scale);
        vector.products(&self.centroids).into_iter().zip(&self.entries).map(|(p, e)| scale(e) * p).collect()
    }

    /// The list whose centroid is nearest to a vector in index space: of many lists, the nearest of those that look nearest.
    #[must_use]
    pub fn nearest(&self, vector: &[f32]) -> Option<usize> {
        let by_gap = |a: &(f32, usize), b: &(f32, usize)| a.0.total_cmp(&b.0);
        let nearest = |products: &[f32]| -> Vec<(f32, usize)> {
            self.lists().map(|(n, e)| (e.square - 2.0 * products[n], n)).collect()
        };
        let small = Small::new(vector);
        if !self.is_large() {
            return nearest(&self.products(&small)).into_iter().min_by(by_gap).map(|(_, n)| n);
        }
        let mut looked = nearest(&self.estimates(&Query::new(vector.to_vec())));
        if looked.len() > NEAR {
            looked.select_nth_unstable_by(NEAR - 1, by_gap);
            looked.truncate(NEAR);
        }
        let gap = |(_, n): (f32, usize)| {
            let e = self.list(n)?;
            Some((e.square - 2.0 * e.scale * small.product(self.packed(n)), n))
        };
        looked.into_iter().filter_map(gap).min_by(by_gap).map(|(_, n)| n)
    }
}

/// An index, opened: what the meta page says, the way into index space, the lists.
#[derive(Clone, Debug)]
pub struct Index {
    /// What the meta page said when last looked at.
    pub meta: Meta,
    /// Sizes of everything.
    pub layout: Layout,
    /// The way into index space.
    pub space: Arc<Space>,
    /// The lists.
    pub directory: Directory,
    /// Mean squared radius of the lists, weighted by rows.
    pub spread: f32,
    /// Mean squared length of rows in index space, about.
    pub size: f32,
}

impl Index {
    /// Opens the index in `store`.
    pub fn open<S: PageStore>(store: &S) -> Result<Self, Fault> {
        if store.pages() == 0 {
            return Err(Fault::Damaged { page: META, what: "the index has no meta page" });
        }
        let meta = Meta::read(store.read(META).body())?;
        let layout = Layout::new(meta.dimensions, meta.bits)?;
        let mut space = Space::new(meta.metric, meta.dimensions, meta.seed);
        read_origin(store, &meta, &mut space)?;
        let directory = Directory::load(store, layout, meta.directory, Reading::Loose)?;
        let mut index = Self { meta, layout, space: Arc::new(space), directory, spread: 0.0, size: 0.0 };
        index.measure();
        index.refresh(store)?;
        Ok(index)
    }

    /// Looks whether the directory has changed and reads what has. Cheap when nothing did.
    ///
    /// What is kept afterwards is the directory as it was at one moment of the call. A split that puts its second list on
    /// another page changes both at once, but they are read one after the other; with only one of them read anew, the
    /// second list would be in neither, searches would not find its rows and a vacuum would not remove its dead ones. So
    /// what changed while it was read is read again, and when changes do not cease, once more while the meta page is held:
    /// every change of the directory changes that page too, and waits.
    pub fn refresh<S: PageStore>(&mut self, store: &S) -> Result<(), Fault> {
        for _ in 0..ATTEMPTS {
            if !self.refresh_once(store, Reading::Loose)? {
                return Ok(());
            }
        }
        self.refresh_once(store, Reading::Held)?;
        Ok(())
    }

    /// Returns whether anything had changed.
    fn refresh_once<S: PageStore>(&mut self, store: &S, how: Reading) -> Result<bool, Fault> {
        let guard = store.read(META);
        if meta::changes(guard.body()) == self.meta.changes {
            return Ok(false);
        }
        let meta = Meta::read(guard.body())?;
        let changed = meta::changed_since(guard.body(), self.meta.changes);
        // Held until the pages have been read, or given back before.
        let _held = (how == Reading::Held).then_some(guard);
        if meta.origin != self.meta.origin {
            read_origin(store, &meta, Arc::make_mut(&mut self.space))?;
        }
        match changed {
            Some(pages) if pages.len() * 2 < self.directory.pages.len().max(4) => {
                for page in pages {
                    self.directory.load_page(store, page, how)?;
                }
            }
            _ => self.directory = Directory::load(store, self.layout, meta.directory, how)?,
        }
        self.meta = meta;
        self.measure();
        Ok(true)
    }

    /// The list in slot `slot` as its page has it now, with the front of that page; `None` when it is another list.
    pub(crate) fn current<S: PageStore>(&self, store: &S, slot: usize) -> Option<(Front, Entry)> {
        let (page, at) = self.directory.place(slot);
        let guard = store.read(page);
        let entry = pages::entry(&self.layout, guard.body(), at)?;
        (Some(entry.id) == self.directory.list(slot).map(|e| e.id))
            .then(|| (Front::read(guard.body()), entry))
    }

    fn measure(&mut self) {
        let filled = self.directory.lists().filter(|(_, e)| e.head.is_some()).map(|(n, e)| (n as u32, *e));
        self.directory.filled = Arc::new(filled.collect());
        let (mut radius, mut square, mut rows) = (0.0f64, 0.0f64, 0.0f64);
        let sizes = self.directory.lists().map(|(_, e)| e.radius_squared + e.square);
        let most = widest_ordinary(sizes, FAR_LONGER);
        for (_, e) in self.directory.lists() {
            let n = if e.radius_squared + e.square <= most { f64::from(e.rows) } else { continue };
            radius += f64::from(e.radius_squared) * n;
            square += f64::from(e.square) * n;
            rows += n;
        }
        let rows = rows.max(1.0);
        self.spread = (radius / rows) as f32;
        self.size = ((radius + square) / rows) as f32;
    }

    /// Memory that an opened index takes, all told.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let curve = size_of::<meta::Point>() * self.meta.curve.capacity();
        size_of::<Self>() + curve + size_of::<Space>() + self.space.bytes() + self.directory.bytes()
    }

    /// Rows a list should have; one of twice as many splits.
    #[must_use]
    pub fn target_rows(&self) -> u32 {
        target_rows(self.directory.rows())
    }
}

/// What is longer than this many times the median, squared, says nothing of the others.
pub(crate) const FAR_LONGER: f32 = 64.0;

/// The greatest of squared sizes that are not over `factor` times the median.
pub(crate) fn widest_ordinary(sizes: impl Iterator<Item = f32>, factor: f32) -> f32 {
    let mut sizes: Vec<f32> = sizes.filter(|size| size.is_finite()).collect();
    if sizes.is_empty() {
        return f32::MAX;
    }
    let middle = sizes.len() / 2;
    let (_, median, _) = sizes.select_nth_unstable_by(middle, f32::total_cmp);
    if *median > 0.0 { factor * *median } else { f32::MAX }
}

/// Rows a list should have in an index of `rows` rows: 100, and √rows / 4 from 160,000 rows on, which balances the
/// lists that a scan looks at against the codes that it reads.
#[must_use]
pub fn target_rows(rows: u64) -> u32 {
    ((rows as f64).sqrt() / 4.0).max(100.0) as u32
}

fn read_origin<S: PageStore>(store: &S, meta: &Meta, space: &mut Space) -> Result<(), Fault> {
    if meta.origin == NO_BLOCK {
        return Ok(());
    }
    if meta.origin >= store.pages() {
        return Err(Fault::Damaged { page: meta.origin, what: "the origin page lies beyond the end" });
    }
    let guard = store.read(meta.origin);
    if Special::read(meta.origin, guard.special())?.kind != PageKind::Origin {
        return Err(Fault::Damaged { page: meta.origin, what: "not an origin page" });
    }
    space.set_origin_bytes(guard.body());
    Ok(())
}

/// Squared length of a vector in index space.
#[must_use]
pub fn square(vector: &[f32]) -> f32 {
    dot(vector, vector)
}
