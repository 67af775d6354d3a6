//! Figures for people.

/// So many bytes.
pub(super) fn size(bytes: i64) -> String {
    crate::tune::size(u64::try_from(bytes).unwrap_or_default())
}
