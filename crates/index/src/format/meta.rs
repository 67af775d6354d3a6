//! The meta page, page 0.
//!
//! Magic 4, version 1, metric 1, bits 1, spare 1, dimensions 4, origin page 4, directory head 4, free head 4, seed 8,
//! changes 8, next list 4, list count 4, passes 8, lists when the curve was
//! measured 4, free tail 4 (0 when it is not known), then from byte 64 the calibration: measured rows 8, scale f32,
//! count 4, points of 16 bytes; from byte 848 the calibration for remote questions: from which remoteness on f32, count 4,
//! scores f32 in the order of those points; from byte 1024 the ring of changed directory pages, 512 × 4.
//!
//! In version 1 scores were absolute distances and there was nothing for remote questions. Such an index stays one until
//! it is measured again.

use super::{Fault, MAGIC, META_VERSION, get_f32, get_u32, get_u64, put};
use crate::curve::{RANKS, RECALLS};
use crate::options::{MAX_DIMENSIONS, Metric};
use crate::page::{Block, NO_BLOCK};

/// Page number of the meta page.
pub const META: Block = 0;
/// Directory changes remembered.
pub const RING: u64 = 512;
const RING_AT: usize = 1024;
const CURVE_AT: usize = 64;
const POINTS_AT: usize = 80;
/// The version whose scores are absolute.
const ABSOLUTE: u8 = 1;
const REMOTE_AT: usize = 848;
const REMOTE_SCORES_AT: usize = 856;
/// Points of the calibration curve that fit.
pub const MAX_POINTS: usize = 48;
/// Scores for remote questions that fit: one for each rank and recall.
const MAX_REMOTE: usize = RANKS.len() * RECALLS.len();
/// Body bytes that the meta page uses.
pub const META_USED: usize = RING_AT + 4 * RING as usize;

/// A point of the calibration curve: to find this share of the `rank` nearest rows, read lists up to this score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Rows wanted.
    pub rank: u32,
    /// Share of them found.
    pub recall: f32,
    /// Greatest score read; see [`crate::calibrate`].
    pub score: f32,
    /// Share of all codes that this reads.
    pub share: f32,
}

/// The meta page.
#[derive(Clone, Debug, PartialEq)]
pub struct Meta {
    /// Distance that the index orders by.
    pub metric: Metric,
    /// Bits a dimension.
    pub bits: u32,
    /// Dimensions of every vector.
    pub dimensions: usize,
    /// Page of the origin; [`crate::page::NO_BLOCK`] until the first vector.
    pub origin: Block,
    /// First directory page.
    pub directory: Block,
    /// First free page.
    pub free: Block,
    /// Last free page; [`crate::page::NO_BLOCK`] when there is none, or when an older build chained them.
    pub free_tail: Block,
    /// Seed of the rotation.
    pub seed: u64,
    /// Directory changes so far.
    pub changes: u64,
    /// Number of the next list.
    pub next_list: u32,
    /// Number of lists.
    pub lists: u32,
    /// Counted up when a pass that removes rows begins and before it ends: who read a list at another count must not put
    /// what was read in its place, or removed rows would come back.
    pub passes: u64,
    /// Rows when the curve was measured.
    pub measured_rows: u64,
    /// Lists when the curve was measured; 0 in an index that did not note it.
    pub measured_lists: u32,
    /// The calibration curve, by rank, then recall.
    pub curve: Vec<Point>,
    /// Whether its scores are in units of each list's radius; in older indexes they are distances.
    pub relative: bool,
    /// The curve for questions that are further from the lists than rows are; without shares.
    pub remote: Vec<Point>,
    /// How far a question has to be for that ([`crate::search::probe::Probes::remoteness`]).
    pub remote_from: f32,
}

impl Meta {
    /// Reads the meta page.
    pub fn read(body: &[u8]) -> Result<Self, Fault> {
        let damaged = |what| Fault::Damaged { page: META, what };
        if get_u32(body, 0) != MAGIC {
            return Err(damaged("the meta page does not belong to an index of this kind"));
        }
        let relative = body[4] != ABSOLUTE;
        if relative && body[4] != META_VERSION {
            return Err(Fault::Version { found: body[4] });
        }
        let metric = Metric::from_code(body[5]).ok_or(damaged("unknown metric"))?;
        let bits = u32::from(body[6]);
        let dimensions = get_u32(body, 8) as usize;
        if !(4..=5).contains(&bits) || dimensions == 0 || dimensions > MAX_DIMENSIONS {
            return Err(damaged("impossible number of bits or dimensions"));
        }
        let count = (get_u32(body, CURVE_AT + 12) as usize).min(MAX_POINTS);
        let point = |i: usize| {
            let at = POINTS_AT + 16 * i;
            Point {
                rank: get_u32(body, at),
                recall: get_f32(body, at + 4),
                score: get_f32(body, at + 8),
                share: get_f32(body, at + 12),
            }
        };
        Ok(Self {
            metric,
            bits,
            dimensions,
            origin: get_u32(body, 12),
            directory: get_u32(body, 16),
            free: get_u32(body, 20),
            // Page 0 is this one.
            free_tail: Some(get_u32(body, 60)).filter(|tail| *tail != META).unwrap_or(NO_BLOCK),
            seed: get_u64(body, 24),
            changes: get_u64(body, 32),
            next_list: get_u32(body, 40),
            lists: get_u32(body, 44),
            passes: get_u64(body, 48),
            measured_lists: get_u32(body, 56),
            measured_rows: get_u64(body, CURVE_AT),
            curve: (0..count).map(point).collect(),
            relative,
            remote: if relative { remote(body) } else { Vec::new() },
            remote_from: get_f32(body, REMOTE_AT),
        })
    }

    /// Writes everything but the ring.
    pub fn write(&self, body: &mut [u8]) {
        put(body, 0, MAGIC.to_le_bytes());
        let version = if self.relative { META_VERSION } else { ABSOLUTE };
        put(body, 4, [version, self.metric as u8, self.bits as u8, 0]);
        put(body, 8, (self.dimensions as u32).to_le_bytes());
        put(body, 12, self.origin.to_le_bytes());
        put(body, 16, self.directory.to_le_bytes());
        put(body, 20, self.free.to_le_bytes());
        put(body, 24, self.seed.to_le_bytes());
        put(body, 32, self.changes.to_le_bytes());
        put(body, 40, self.next_list.to_le_bytes());
        put(body, 44, self.lists.to_le_bytes());
        put(body, 48, self.passes.to_le_bytes());
        put(body, 56, self.measured_lists.to_le_bytes());
        let tail = if self.free_tail == NO_BLOCK { META } else { self.free_tail };
        put(body, 60, tail.to_le_bytes());
        put(body, CURVE_AT, self.measured_rows.to_le_bytes());
        put(body, CURVE_AT + 12, (self.curve.len().min(MAX_POINTS) as u32).to_le_bytes());
        for (i, point) in self.curve.iter().take(MAX_POINTS).enumerate() {
            let at = POINTS_AT + 16 * i;
            put(body, at, point.rank.to_le_bytes());
            put(body, at + 4, point.recall.to_le_bytes());
            put(body, at + 8, point.score.to_le_bytes());
            put(body, at + 12, point.share.to_le_bytes());
        }
        if self.relative {
            put(body, REMOTE_AT, self.remote_from.to_le_bytes());
            put(body, REMOTE_AT + 4, (self.remote.len() as u32).to_le_bytes());
            for (i, point) in self.remote.iter().enumerate().take(MAX_REMOTE) {
                put(body, REMOTE_SCORES_AT + 4 * i, point.score.to_le_bytes());
            }
        }
    }

    /// Counts a change of a directory page and remembers which.
    pub fn changed(&mut self, body: &mut [u8], page: Block) {
        put(body, RING_AT + 4 * (self.changes % RING) as usize, page.to_le_bytes());
        self.changes += 1;
    }
}

/// The curve for remote questions: every rank with every recall, or nothing.
fn remote(body: &[u8]) -> Vec<Point> {
    if get_u32(body, REMOTE_AT + 4) as usize != MAX_REMOTE {
        return Vec::new();
    }
    let points = RANKS.iter().flat_map(|rank| RECALLS.iter().map(move |recall| (*rank as u32, *recall)));
    let point = |(i, (rank, recall))| Point {
        rank,
        recall,
        score: get_f32(body, REMOTE_SCORES_AT + 4 * i),
        share: 0.0,
    };
    points.enumerate().map(point).collect()
}

/// Notes in the body of the meta page that a directory page changed.
pub fn note_change(body: &mut [u8], directory: Block) -> Result<(), Fault> {
    let mut meta = Meta::read(body)?;
    meta.changed(body, directory);
    meta.write(body);
    Ok(())
}

/// The directory pages that changed after change number `since`; `None` when that is too long ago.
#[must_use]
pub fn changed_since(body: &[u8], since: u64) -> Option<Vec<Block>> {
    let now = get_u64(body, 32);
    if since > now || now - since > RING {
        return None;
    }
    let mut pages: Vec<Block> =
        (since..now).map(|i| get_u32(body, RING_AT + 4 * (i % RING) as usize)).collect();
    pages.sort_unstable();
    pages.dedup();
    Some(pages)
}

/// The number of directory changes so far, without reading the rest.
#[must_use]
pub fn changes(body: &[u8]) -> u64 {
    get_u64(body, 32)
}
