//! Building an index from rows.
//!
//! In PostgreSQL's words: one pass over the table feeds a [`Sampler`]; [`Sampler::train`] makes lists of the sample; a
//! second pass, by any number of workers, encodes every row ([`RowEncoder`]) into a few hundred bytes that are sorted by
//! list (in memory or by the server's own sort); [`Loader`] takes them in that order and writes the pages. Memory is
//! the sample, the lists and the sort.
//!
//! An empty table gives an index with one empty list ([`create_empty`]); it becomes a good index by splitting.

use crate::directory::{FAR_LONGER, square, target_rows, widest_ordinary};
use crate::format::directory::{self as pages, Entry, Front};
use crate::format::meta::{META, META_USED, Meta};
use crate::format::scan::Place;
use crate::format::{Fault, Layout, PageKind, Special};
use crate::kmeans::{self, Points};
use crate::options::BuildOptions;
use crate::page::{NO_BLOCK, PAGE_BODY, PageStore, Tid};
use crate::quantize::Small;
use crate::quantize::encode::{CodedCentroid, Encoder, RowCode};
use crate::rng::Rng;
use crate::space::Space;
use crate::writer::Writer;

/// Sampled rows a list. With 50 the lists of text embeddings are no better, those of generated vectors read a tenth fewer
/// codes, and making them takes twice as long.
const SAMPLE_A_LIST: usize = 32;
/// Blocks a list may reach before its first split is tried, as a multiple of its target.
pub const SPLIT_FACTOR: u32 = 2;
/// Groups of lists compared closely when a row looks for its list in a build.
const GROUPS_TRIED: usize = 8;

/// Lists for a build of `rows` rows.
#[must_use]
pub fn lists_for(options: &BuildOptions, rows: u64) -> usize {
    let wanted =
        if options.lists > 0 { u64::from(options.lists) } else { rows / u64::from(target_rows(rows)) };
    wanted.clamp(1, rows.max(1)) as usize
}

/// Number of blocks at which a list is tried to be split.
#[must_use]
pub fn split_at(layout: &Layout, target: u32) -> u32 {
    (SPLIT_FACTOR * target).div_ceil(layout.capacity as u32) + 1
}

/// A uniform sample of a stream of vectors (Vitter's reservoir, 1985), rotated.
pub struct Sampler {
    options: BuildOptions,
    layout: Layout,
    space: Space,
    seed: u64,
    capacity: usize,
    values: Vec<f32>,
    seen: u64,
    rng: Rng,
}

impl Sampler {
    /// A sampler for about `rows` rows that keeps at most `memory` bytes. `seed` decides the rotation for the life of
    /// the index; any number will do.
    pub fn new(options: BuildOptions, rows: u64, memory: usize, seed: u64) -> Result<Self, Fault> {
        let layout = Layout::new(options.dimensions, options.bits)?;
        let space = Space::new(options.metric, options.dimensions, seed);
        let wanted = (SAMPLE_A_LIST * lists_for(&options, rows)).max(1000);
        let capacity = wanted.min(memory / (4 * layout.width)).max(256);
        Ok(Self {
            options,
            layout,
            space,
            seed,
            capacity,
            values: Vec::new(),
            seen: 0,
            rng: Rng::new(seed ^ 1),
        })
    }

    /// Rows that the sample holds at most: a caller that can choose rows itself needs no more than these.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether the sample holds as many rows as it can.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.values.len() >= self.capacity * self.layout.width
    }

    /// Shows the sampler a row's vector.
    pub fn push(&mut self, vector: &[f32]) -> Result<(), Fault> {
        self.seen += 1;
        let width = self.layout.width;
        let slot = if self.values.len() < self.capacity * width {
            self.values.len() / width
        } else {
            self.rng.below(self.seen as usize)
        };
        if slot >= self.capacity {
            return Ok(());
        }
        let Some(rotated) = self.space.rotate(vector)? else { return Ok(()) };
        if slot * width == self.values.len() {
            self.values.extend_from_slice(&rotated);
        } else {
            self.values[slot * width..(slot + 1) * width].copy_from_slice(&rotated);
        }
        Ok(())
    }

    /// Makes lists for `rows` rows of the sample, on up to `threads` threads. `pause` is called between rounds and may
    /// unwind. A sample without rows gives one list.
    #[must_use]
    pub fn train(mut self, rows: u64, threads: usize, pause: &dyn Fn()) -> Trained {
        let width = self.layout.width;
        // What is far longer than the others does not move the origin.
        let most = widest_ordinary(self.values.chunks_exact(width).map(square), FAR_LONGER);
        let ordinary = |row: &&[f32]| square(row) <= most;
        let count = self.values.chunks_exact(width).filter(ordinary).count().max(1) as f64;
        let mut mean = vec![0.0f64; width];
        for row in self.values.chunks_exact(width).filter(ordinary) {
            for (m, v) in mean.iter_mut().zip(row) {
                *m += f64::from(*v) / count;
            }
        }
        let mean: Vec<f32> = mean.into_iter().map(|m| m as f32).collect();
        self.space.set_origin(&mean);
        for row in self.values.chunks_exact_mut(width) {
            self.space.centre(row);
        }
        // One row too large to reckon with makes the centroid of its list infinite.
        self.values = self
            .values
            .chunks_exact(width)
            .filter(|r| r.iter().all(|v| v.abs() < 1e15))
            .flatten()
            .copied()
            .collect();
        let points = Points { values: &self.values, width };
        let found = kmeans::train(points, lists_for(&self.options, rows), threads, self.seed, pause);
        let coded = found.values.chunks_exact(width).map(CodedCentroid::new).collect();
        Trained::assemble(self.options, self.layout, self.space, self.seed, coded, found.groups, rows)
    }
}

/// What every worker of a build needs to know.
#[derive(Clone, Debug)]
pub struct Trained {
    options: BuildOptions,
    layout: Layout,
    space: Space,
    seed: u64,
    coded: Vec<CodedCentroid>,
    groups: Vec<usize>,
    rows: u64,
    /// The levels of all centroids, one after the other.
    packed: Vec<u8>,
    /// Decoded centroids and the means of their groups.
    centroids: Vec<f32>,
    means: Vec<f32>,
    half_squares: Vec<f32>,
}

impl Trained {
    fn assemble(
        options: BuildOptions,
        layout: Layout,
        space: Space,
        seed: u64,
        coded: Vec<CodedCentroid>,
        groups: Vec<usize>,
        rows: u64,
    ) -> Self {
        let width = layout.width;
        let mut centroids = vec![0.0; coded.len() * width];
        for (c, out) in coded.iter().zip(centroids.chunks_exact_mut(width)) {
            CodedCentroid::decode(&c.packed, c.scale, out);
        }
        let mut means = Vec::new();
        for pair in groups.windows(2) {
            let members = &centroids[pair[0] * width..pair[1] * width];
            let mut mean = vec![0.0; width];
            for row in members.chunks_exact(width) {
                mean.iter_mut().zip(row).for_each(|(m, v)| *m += v / (pair[1] - pair[0]) as f32);
            }
            means.extend(mean);
        }
        let half_squares = kmeans::half_squares(Points { values: &means, width });
        let packed = coded.iter().flat_map(|c| c.packed.iter().copied()).collect();
        Self { options, layout, space, seed, coded, groups, rows, packed, centroids, means, half_squares }
    }

    /// Number of lists.
    #[must_use]
    pub fn lists(&self) -> usize {
        self.coded.len()
    }

    /// Sizes of everything.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// All of this in bytes, for workers in other processes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let o = &self.options;
        let head = [o.metric as u64, o.dimensions as u64, u64::from(o.bits), u64::from(o.lists)];
        let sizes = [self.seed, self.rows, self.coded.len() as u64, self.groups.len() as u64];
        out.extend(head.into_iter().chain(sizes).flat_map(u64::to_le_bytes));
        out.extend(self.groups.iter().flat_map(|g| (*g as u64).to_le_bytes()));
        out.extend(self.space.origin_bytes());
        for c in &self.coded {
            out.extend(c.scale.to_le_bytes().into_iter().chain(c.square.to_le_bytes()));
            out.extend_from_slice(&c.packed);
        }
        out
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; `None` when it is something else.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let number = |i: usize| Some(u64::from_le_bytes(bytes.get(8 * i..8 * i + 8)?.try_into().ok()?));
        let mut options =
            BuildOptions::new(crate::options::Metric::from_code(number(0)? as u8)?, number(1)? as usize);
        options.bits = number(2)? as u32;
        options.lists = number(3)? as u32;
        let (seed, rows, lists, marks) = (number(4)?, number(5)?, number(6)? as usize, number(7)? as usize);
        let groups = (0..marks).map(|i| number(8 + i).map(|g| g as usize)).collect::<Option<Vec<_>>>()?;
        let layout = Layout::new(options.dimensions, options.bits).ok()?;
        let mut space = Space::new(options.metric, options.dimensions, seed);
        let origin = 8 * (8 + marks);
        space.set_origin_bytes(bytes.get(origin..origin + 2 * layout.width)?);
        let rest = bytes.get(origin + 2 * layout.width..)?;
        let size = 8 + layout.width / 2;
        let coded: Vec<CodedCentroid> = rest
            .chunks_exact(size)
            .take(lists)
            .map(|b| CodedCentroid {
                scale: crate::format::get_f32(b, 0),
                square: crate::format::get_f32(b, 4),
                packed: b[8..].to_vec(),
            })
            .collect();
        (coded.len() == lists).then(|| Self::assemble(options, layout, space, seed, coded, groups, rows))
    }

    /// An encoder for one worker.
    #[must_use]
    pub fn encoder(&self) -> RowEncoder<'_> {
        let encoder = Encoder::new(self.layout, self.options.metric);
        RowEncoder { trained: self, encoder, products: Vec::new() }
    }

    fn list_of(&self, vector: &[f32], scores: &mut Vec<(f32, usize)>) -> usize {
        let width = self.layout.width;
        let means = Points { values: &self.means, width };
        scores.clear();
        if means.len() > 1 {
            let score = |g: usize| crate::distance::dot(vector, means.row(g)) - self.half_squares[g];
            scores.extend((0..means.len()).map(|g| (score(g), g)));
        } else {
            scores.push((0.0, 0));
        }
        if scores.len() > GROUPS_TRIED {
            scores.select_nth_unstable_by(GROUPS_TRIED - 1, |a, b| b.0.total_cmp(&a.0));
            scores.truncate(GROUPS_TRIED);
        }
        let small = Small::new(vector);
        let mut best = (f32::INFINITY, 0);
        for &(_, group) in scores.iter() {
            let (from, to) = (self.groups[group], self.groups[group + 1]);
            let products = small.products(&self.packed[from * width / 2..to * width / 2]);
            for (list, product) in (from..to).zip(products) {
                let c = &self.coded[list];
                let gap = c.square - 2.0 * c.scale * product;
                if gap < best.0 {
                    best = (gap, list);
                }
            }
        }
        best.1
    }
}

/// Encodes rows for a build.
pub struct RowEncoder<'a> {
    trained: &'a Trained,
    encoder: Encoder,
    products: Vec<(f32, usize)>,
}

impl RowEncoder<'_> {
    /// Appends the row code of a row to `out` and returns its list; `None`, with `out` as it was, when such a vector is
    /// not indexed.
    pub fn encode(&mut self, tid: Tid, vector: &[f32], out: &mut Vec<u8>) -> Result<Option<u32>, Fault> {
        let Some(row) = self.trained.space.row(vector)? else { return Ok(None) };
        let list = self.trained.list_of(&row, &mut self.products);
        let width = self.trained.layout.width;
        let centroid = &self.trained.centroids[list * width..(list + 1) * width];
        self.encoder.encode(tid, &row, centroid, out);
        Ok(Some(list as u32))
    }

    /// Bytes of a row code.
    #[must_use]
    pub fn code_bytes(&self) -> usize {
        RowCode::bytes(&self.trained.layout)
    }
}

/// Writes the pages of an index from row codes in order of their lists.
pub struct Loader<'a, S: PageStore> {
    store: &'a S,
    trained: &'a Trained,
    writer: Writer<'a, S>,
    list: Option<u32>,
    entries: Vec<(Entry, usize)>,
    rows: u64,
}

impl<'a, S: PageStore> Loader<'a, S> {
    /// Begins an index in a store without pages.
    pub fn new(store: &'a S, trained: &'a Trained) -> Self {
        let meta = store.extend();
        debug_assert_eq!(meta, META, "the first page of an index is its meta page");
        let writer = Writer::new(store, trained.layout);
        Self { store, trained, writer, list: None, entries: Vec::new(), rows: 0 }
    }

    /// Adds a row. Lists must not fall from one call to the next.
    pub fn push(&mut self, list: u32, code: &[u8]) -> Result<(), Fault> {
        if self.list != Some(list) {
            self.end_list();
            self.list = Some(list);
            self.writer.begin(self.entries.len() as u32 + 1);
        }
        self.rows += 1;
        self.writer.push(&RowCode::new(&self.trained.layout, code))
    }

    fn end_list(&mut self) {
        if let Some(list) = self.list {
            let split = split_at(&self.trained.layout, target_rows(self.trained.rows));
            let entry =
                self.writer.end(self.trained.options.metric, &self.trained.coded[list as usize], split);
            let split = split.max(entry.blocks + entry.blocks / 2);
            self.entries.push((Entry { split_at: split, ..entry }, list as usize));
        }
    }

    /// Writes everything else. Returns the number of rows.
    pub fn finish(mut self) -> Result<u64, Fault> {
        self.end_list();
        let front = self.writer.finish().unwrap_or(Front::new(NO_BLOCK));
        if self.entries.is_empty() {
            let split_at = split_at(&self.trained.layout, target_rows(0));
            self.entries.push((Entry { split_at, ..empty_list(1) }, 0));
        }
        let coded: Vec<(Entry, &CodedCentroid)> =
            self.entries.iter().map(|(e, list)| (*e, &self.trained.coded[*list])).collect();
        let origin = (self.rows > 0).then_some(&self.trained.space);
        write_index(
            self.store,
            &self.trained.options,
            &self.trained.layout,
            self.trained.seed,
            &coded,
            front,
            origin,
        );
        Ok(self.rows)
    }
}

fn empty_list(id: u32) -> Entry {
    Entry {
        id,
        head: Place::NONE,
        blocks: 0,
        rows: 0,
        radius_squared: 0.0,
        scale: 0.0,
        square: 0.0,
        split_at: 0,
    }
}

/// Makes an index without rows in a store without pages. `seed` as in [`Sampler::new`].
pub fn create_empty<S: PageStore>(store: &S, options: &BuildOptions, seed: u64) -> Result<(), Fault> {
    let layout = Layout::new(options.dimensions, options.bits)?;
    store.extend();
    let centroid = CodedCentroid::new(&vec![0.0; layout.width]);
    let split_at = split_at(&layout, target_rows(0));
    let entry = Entry { split_at, ..empty_list(1) };
    write_index(store, options, &layout, seed, &[(entry, &centroid)], Front::new(NO_BLOCK), None);
    Ok(())
}

/// Writes directory, origin and, last, the meta page.
fn write_index<S: PageStore>(
    store: &S,
    options: &BuildOptions,
    layout: &Layout,
    seed: u64,
    lists: &[(Entry, &CodedCentroid)],
    front: Front,
    space: Option<&Space>,
) {
    let mut next = NO_BLOCK;
    for chunk in lists.chunks(layout.entries_a_page).rev() {
        store.interrupts();
        let mut body = vec![0; PAGE_BODY];
        Front { next, ..front }.write(&mut body);
        for (slot, (entry, centroid)) in chunk.iter().enumerate() {
            pages::put_entry(layout, &mut body, slot, entry);
            pages::put_centroid(layout, &mut body, slot, &centroid.packed);
        }
        next = store.extend();
        store.fill(next, &body[..layout.directory_used()], &Special::of(PageKind::Directory));
    }
    let origin = space.map_or(NO_BLOCK, |space| {
        let page = store.extend();
        store.fill(page, &space.origin_bytes(), &Special::of(PageKind::Origin));
        page
    });
    let meta = Meta {
        metric: options.metric,
        bits: options.bits,
        dimensions: options.dimensions,
        origin,
        directory: next,
        free: NO_BLOCK,
        free_tail: NO_BLOCK,
        seed,
        changes: 1,
        next_list: lists.iter().map(|(e, _)| e.id).max().unwrap_or(0) + 1,
        lists: lists.len() as u32,
        passes: 0,
        measured_rows: 0,
        measured_lists: 0,
        curve: Vec::new(),
        relative: true,
        remote: Vec::new(),
        remote_from: 0.0,
    };
    let mut body = vec![0; META_USED];
    meta.write(&mut body);
    store.fill(META, &body, &Special::of(PageKind::Meta));
}
