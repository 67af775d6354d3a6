//! What the index says about itself: lists, sizes, fill, calibration.

use crate::directory::Index;
use crate::format::meta::Point;
use crate::format::{Fault, PageKind, Special};
use crate::options::Metric;
use crate::page::{PAGE_SIZE, PageRead, PageStore};

/// See the module's description.
#[derive(Clone, Debug, PartialEq)]
pub struct Info {
    /// Distance that the index orders by.
    pub metric: Metric,
    /// Dimensions of every vector.
    pub dimensions: usize,
    /// Bits a dimension.
    pub bits: u32,
    /// Lists.
    pub lists: u32,
    /// Rows, as the lists counted them last.
    pub rows: u64,
    /// Rows of the shortest, the median and the longest list.
    pub list_rows: [u32; 3],
    /// Share of places in blocks that rows have.
    pub fill: f64,
    /// Bytes of all pages.
    pub bytes: u64,
    /// Pages by kind: free, meta, origin, directory, scan, refine.
    pub pages: [u32; 6],
    /// Rows when the calibration was measured.
    pub measured_rows: u64,
    /// The calibration curve.
    pub curve: Vec<Point>,
}

/// Reads the special space of every page, and the directory.
pub fn info<S: PageStore>(index: &Index, store: &S) -> Result<Info, Fault> {
    let mut pages = [0; 6];
    for page in 0..store.pages() {
        store.interrupts();
        let kind: PageKind = Special::read(page, store.read(page).special())?.kind;
        pages[kind as usize] += 1;
    }
    let mut rows: Vec<u32> = index.directory.lists().map(|(_, e)| e.rows).collect();
    rows.sort_unstable();
    let places: u64 =
        index.directory.lists().map(|(_, e)| u64::from(e.blocks)).sum::<u64>() * index.layout.capacity as u64;
    let pick = |at: usize| rows.get(at).copied().unwrap_or(0);
    Ok(Info {
        metric: index.meta.metric,
        dimensions: index.meta.dimensions,
        bits: index.meta.bits,
        lists: rows.len() as u32,
        rows: index.directory.rows(),
        list_rows: [pick(0), pick(rows.len() / 2), pick(rows.len().saturating_sub(1))],
        fill: index.directory.rows() as f64 / places.max(1) as f64,
        bytes: u64::from(store.pages()) * PAGE_SIZE as u64,
        pages,
        measured_rows: index.meta.measured_rows,
        curve: index.meta.curve.clone(),
    })
}
