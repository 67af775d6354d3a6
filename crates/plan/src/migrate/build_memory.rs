//! How much memory does building an index need?

/// Memory for building an index, with the reason; `None` where what is set already will do.
///
/// An HNSW graph that does not fit is built on disk, several times slower. `rows` of `bytes_per_row` decide what is
/// needed, `current` is what is set, `allowed` the most that may be taken; all but `rows` in bytes.
pub fn build_memory(rows: u64, bytes_per_row: u64, current: u64, allowed: u64) -> Option<(u64, String)> {
    const MIB: u64 = 1 << 20;
    let needed = rows.saturating_mul(bytes_per_row);
    // A tenth more, for the estimate is one.
    let wanted = needed.saturating_add(needed / 10).div_ceil(MIB) * MIB;
    let given = wanted.min(allowed);
    if bytes_per_row == 0 || given <= current {
        return None;
    }
    let fits = if given < wanted { "not all of it fits, more is not allowed" } else { "it fits" };
    let reason = format!(
        "the graph of {rows} rows takes about {} MiB: {} MiB are set, {fits}",
        needed.div_ceil(MIB),
        given / MIB
    );
    Some((given, reason))
}
