//! Where does the next page begin?
//!
//! A cursor names the last row of a page by what the list is sorted by: its distance or score, bit for bit, and its id. The
//! next page holds the rows behind it in that order, so that no row comes twice, however the index found it. It also says
//! how many rows came before, and what each word of the question weighed: the list must not be sorted by other weights
//! halfway because ANALYZE ran. It is bound to its search; only `select` and the time may differ.

use sha2::{Digest, Sha256};

use super::request::{RowId, SearchRequest};
use crate::hex;
use crate::problem::{Kind, Problem};

/// Version of the bytes.
const VERSION: u8 = 1;
/// Bytes of the search's fingerprint.
const FINGERPRINT: usize = 8;

/// The place behind which a page begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Cursor {
    /// Rows before it.
    pub seen: u32,
    /// Distance (vector) or score (text, hybrid) of the last row.
    pub key: f64,
    /// Its id.
    pub id: RowId,
    /// What each word weighs: its place among the question's words in the order of their letters, its weight.
    pub weights: Vec<(u16, f64)>,
}

/// What the pages of one search have in common.
fn fingerprint(request: &SearchRequest) -> [u8; FINGERPRINT] {
    let same = SearchRequest {
        offset: None,
        cursor: None,
        select: None,
        timeout_ms: None,
        explain: false,
        sql: false,
        ..request.clone()
    };
    let json = serde_json::to_vec(&same).unwrap_or_default();
    let hash = Sha256::digest(&json);
    std::array::from_fn(|at| hash[at])
}

impl Cursor {
    /// As text, for the pages of `request`.
    pub fn encode(&self, request: &SearchRequest) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend(fingerprint(request));
        bytes.extend(self.seen.to_be_bytes());
        bytes.extend(self.key.to_bits().to_be_bytes());
        bytes.extend(u16::try_from(self.weights.len()).unwrap_or(u16::MAX).to_be_bytes());
        for (place, weight) in self.weights.iter().take(usize::from(u16::MAX)) {
            bytes.extend(place.to_be_bytes());
            bytes.extend(weight.to_bits().to_be_bytes());
        }
        match &self.id {
            RowId::Integer(number) => {
                bytes.push(0);
                bytes.extend(number.to_be_bytes());
            }
            RowId::Text(text) => {
                bytes.push(1);
                bytes.extend(text.as_bytes());
            }
        }
        hex::encode(&bytes)
    }

    /// The cursor of `text`, which must be one of `request`'s.
    ///
    /// # Errors
    /// `usage`, when it is none, or belongs to another search.
    pub fn decode(text: &str, request: &SearchRequest) -> Result<Cursor, Problem> {
        let broken = || {
            Problem::new(Kind::Usage, "the cursor is not one that a search gave")
                .hint("Pass the `next` of the page before, unchanged.")
        };
        let bytes = unhex(text).ok_or_else(broken)?;
        let mut rest = Rest(&bytes);
        if rest.take::<1>() != Some([VERSION]) {
            return Err(broken());
        }
        let print: [u8; FINGERPRINT] = rest.take().ok_or_else(broken)?;
        let cursor = rest.cursor().ok_or_else(broken)?;
        if print != fingerprint(request) {
            return Err(Problem::new(Kind::Usage, "the cursor belongs to another search").hint(
                "Pass it with the same collection, question, mode, filter, limit and options as the page it came with; \
                 `select` may differ.",
            ));
        }
        Ok(cursor)
    }
}

struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    fn cursor(&mut self) -> Option<Cursor> {
        let seen = u32::from_be_bytes(self.take()?);
        let key = f64::from_bits(u64::from_be_bytes(self.take()?));
        let count = u16::from_be_bytes(self.take()?);
        let mut weights = Vec::new();
        for _ in 0..count {
            let place = u16::from_be_bytes(self.take()?);
            weights.push((place, f64::from_bits(u64::from_be_bytes(self.take()?))));
        }
        let id = match self.take()? {
            [0] => RowId::Integer(i64::from_be_bytes(self.0.try_into().ok()?)),
            [1] => RowId::Text(String::from_utf8(self.0.to_vec()).ok().filter(|id| !id.contains('\0'))?),
            _ => return None,
        };
        (!key.is_nan() && weights.iter().all(|(_, weight)| weight.is_finite())).then_some(Cursor {
            seen,
            key,
            id,
            weights,
        })
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_was_and_fits_its_own_search_only() {
        let request = SearchRequest { collection: "c".into(), text: Some("q".into()), ..Default::default() };
        for id in [RowId::Integer(-7), RowId::Text("ü'\\".into()), RowId::Text(String::new())] {
            let weights = vec![(3, 0.1 + 0.2), (0, 7.5)];
            let cursor = Cursor { seen: 30, key: 0.1 + 0.7, id, weights };
            let text = cursor.encode(&request);
            assert_eq!(Cursor::decode(&text, &request).unwrap(), cursor);
            let wider = SearchRequest { explain: true, cursor: Some(text.clone()), ..request.clone() };
            assert_eq!(Cursor::decode(&text, &wider).unwrap(), cursor);
            let other = SearchRequest { text: Some("p".into()), ..request.clone() };
            assert!(Cursor::decode(&text, &other).unwrap_err().message.contains("another search"));
            for broken in [&text[2..], &text[..20], "zz", "", "01é"] {
                assert!(Cursor::decode(broken, &request).is_err(), "{broken}");
            }
        }
    }
}
