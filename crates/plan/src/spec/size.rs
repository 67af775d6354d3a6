//! Sizes as people write them: `2GiB`, `512MB`, `64kB`.

/// Bytes of a size. Units are powers of 1024, as PostgreSQL has them, so `GB` and `GiB` are the same.
///
/// None when it is not a whole number with one of the units B, kB, MB, GB, TB, KiB, MiB, GiB, TiB, or does not fit.
pub fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim_start() {
        "B" => 0,
        "kB" | "KB" | "KiB" => 10,
        "MB" | "MiB" => 20,
        "GB" | "GiB" => 30,
        "TB" | "TiB" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// A size for people, as PostgreSQL would show it.
pub fn shown(bytes: u64) -> String {
    let mut size = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if size < 10_240.0 {
            return format!("{size:.0} {unit}");
        }
        size /= 1024.0;
    }
    format!("{size:.0} TB")
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_are_read_as_postgresql_reads_them() {
        assert_eq!(bytes("2GiB"), Some(2 << 30));
        assert_eq!(bytes("2 GB"), Some(2 << 30));
        assert_eq!(bytes("64kB"), Some(64 << 10));
        for wrong in ["", "GB", "2", "2 gigs", "-1GB", "1.5GB", "99999999999TB"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }
}
