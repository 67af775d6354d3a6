//! What has to be written for a document?
//!
//! Pure: the rows that are there and the rows that should be go in, the least change that leads from one to the other
//! comes out. A chunk is known by its hash wherever it stands, so a paragraph added at the top of a file moves the others
//! and embeds only itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::knowledge::read::Origin;

/// SHA-256 of a chunk or a document.
pub(super) type Hash = [u8; 32];

/// A row to be.
#[derive(Debug, Clone, Default)]
pub(super) struct Row {
    /// Its place in the document.
    pub chunk: i32,
    pub title: Option<String>,
    pub content: String,
    pub hash: Hash,
    pub metadata: String,
    pub fields: Vec<Option<Vec<u8>>>,
    pub embedding: Option<Vec<f32>>,
}

/// The change of a document.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub source: String,
    /// The file it came from, as its name in `howdah.sources`; none for what came from no file.
    pub file: Option<Arc<str>>,
    /// Where it stands, for messages.
    pub place: Origin,
    /// Bytes read for it.
    pub bytes: u64,
    /// Hash of the document as it is now.
    pub hash: Hash,
    /// Hash it had; none when it was not there.
    pub was: Option<Vec<u8>>,
    /// Rows it has now.
    pub rows: i32,
    /// Places whose rows go.
    pub deletes: Vec<i32>,
    /// Rows that only change their place: from, to.
    pub moves: Vec<(i32, i32)>,
    /// Rows that are written over the row in the same place.
    pub updates: Vec<Row>,
    /// Rows that are new.
    pub inserts: Vec<Row>,
    /// Rows that stay.
    pub unchanged: u64,
}

impl Change {
    /// A row that is written anew, by its number among those.
    pub fn written_row(&mut self, number: usize) -> Option<&mut Row> {
        let updates = self.updates.len();
        match number.checked_sub(updates) {
            None => self.updates.get_mut(number),
            Some(insert) => self.inserts.get_mut(insert),
        }
    }

    /// Rows that are written anew, and have to be embedded for it.
    pub fn written(&mut self) -> impl Iterator<Item = &mut Row> {
        self.updates.iter_mut().chain(self.inserts.iter_mut())
    }

    /// The change from the rows `there` (place and hash) to `rows`.
    pub fn between(there: &[(i32, Vec<u8>)], rows: Vec<Row>) -> Change {
        let mut change = Change { rows: i32::try_from(rows.len()).unwrap_or(i32::MAX), ..Change::default() };
        let mut left: BTreeMap<i32, &[u8]> =
            there.iter().map(|(chunk, hash)| (*chunk, hash.as_slice())).collect();
        let mut wanted = Vec::new();
        for row in rows {
            if left.get(&row.chunk) == Some(&row.hash.as_slice()) {
                left.remove(&row.chunk);
                change.unchanged += 1;
            } else {
                wanted.push(row);
            }
        }
        let mut places: HashMap<&[u8], Vec<i32>> = HashMap::new();
        for (chunk, hash) in left.iter().rev() {
            places.entry(hash).or_default().push(*chunk);
        }
        let mut fresh = Vec::new();
        for row in wanted {
            match places.get_mut(row.hash.as_slice()).and_then(Vec::pop) {
                Some(from) => {
                    left.remove(&from);
                    change.moves.push((from, row.chunk));
                }
                None => fresh.push(row),
            }
        }
        for row in fresh {
            match left.remove(&row.chunk) {
                Some(_) => change.updates.push(row),
                None => change.inserts.push(row),
            }
        }
        change.deletes = left.into_keys().collect();
        change
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(hashes: &[u8]) -> Vec<Row> {
        (0..).zip(hashes).map(|(chunk, hash)| Row { chunk, hash: [*hash; 32], ..Row::default() }).collect()
    }

    fn there(hashes: &[u8]) -> Vec<(i32, Vec<u8>)> {
        (0..).zip(hashes).map(|(chunk, hash)| (chunk, vec![*hash; 32])).collect()
    }

    /// What the writer does, in its order.
    fn carried_out(there: &[(i32, Vec<u8>)], change: &Change) -> Option<BTreeMap<i32, u8>> {
        let mut table: BTreeMap<i32, u8> = there.iter().map(|(chunk, hash)| (*chunk, hash[0])).collect();
        for chunk in &change.deletes {
            table.remove(chunk)?;
        }
        let mut moving = Vec::new();
        for (from, to) in &change.moves {
            moving.push((*to, table.remove(from)?));
        }
        for (to, hash) in moving {
            if table.insert(to, hash).is_some() {
                return None;
            }
        }
        for row in &change.updates {
            table.insert(row.chunk, row.hash[0])?;
        }
        for row in &change.inserts {
            if table.insert(row.chunk, row.hash[0]).is_some() {
                return None;
            }
        }
        Some(table)
    }

    #[test]
    fn a_paragraph_at_the_top_embeds_only_itself() {
        let change = Change::between(&there(&[1, 2, 3]), rows(&[9, 1, 2, 3]));
        assert_eq!(change.moves, [(0, 1), (1, 2), (2, 3)]);
        assert_eq!((change.inserts.len(), change.updates.len(), change.deletes.len()), (1, 0, 0));
    }

    #[test]
    fn an_edited_paragraph_keeps_its_row_and_a_cut_one_goes() {
        let change = Change::between(&there(&[1, 2, 3]), rows(&[1, 9]));
        assert_eq!((change.updates.len(), change.unchanged, change.deletes), (1, 1, vec![2]));
    }

    proptest! {
        #[test]
        fn every_change_leads_there(before in prop::collection::vec(0u8..6, 0..12), after in prop::collection::vec(0u8..6, 0..12)) {
            let there = there(&before);
            let change = Change::between(&there, rows(&after));
            let table = carried_out(&there, &change).expect("no place is taken twice");
            prop_assert_eq!(table.into_values().collect::<Vec<_>>(), after.clone());
            let repeat = Change::between(&self::there(&after), rows(&after));
            prop_assert!(repeat.inserts.is_empty() && repeat.updates.is_empty() && repeat.moves.is_empty() && repeat.deletes.is_empty());
        }
    }
}
