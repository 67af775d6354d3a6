//! Which versions of PostgreSQL and pgvector are known to be old or dangerous?

/// A major version of PostgreSQL: its last day, and the newest minor this program knows of.
pub struct Major {
    /// The major.
    pub major: u32,
    /// Day of its last release, `YYYY-MM-DD`.
    pub last_day: &'static str,
    /// Newest minor known when this was written.
    pub newest_minor: u32,
}

/// The majors, oldest first.
pub const MAJORS: &[Major] = &[
    Major { major: 13, last_day: "2025-11-13", newest_minor: 23 },
    Major { major: 14, last_day: "2026-11-12", newest_minor: 23 },
    Major { major: 15, last_day: "2027-11-11", newest_minor: 18 },
    Major { major: 16, last_day: "2028-11-09", newest_minor: 14 },
    Major { major: 17, last_day: "2029-11-08", newest_minor: 10 },
    Major { major: 18, last_day: "2030-11-14", newest_minor: 4 },
];

/// A range of pgvector versions with a known fault.
pub struct Fault {
    /// Its name.
    pub name: &'static str,
    /// First version that has it.
    pub from: [u32; 3],
    /// First version that does not.
    pub fixed: [u32; 3],
    /// Whether only 32-bit servers have it.
    pub only_32_bit: bool,
    /// What it does.
    pub effect: &'static str,
}

/// Faults of pgvector that corrupt an index or hand the server over.
pub const PGVECTOR_FAULTS: &[Fault] = &[
    Fault {
        name: "CVE-2026-3172",
        from: [0, 6, 0],
        fixed: [0, 8, 2],
        only_32_bit: false,
        effect: "a parallel HNSW build writes beyond its buffer",
    },
    Fault {
        name: "HNSW vacuum corruption",
        from: [0, 5, 0],
        fixed: [0, 8, 4],
        only_32_bit: false,
        effect: "vacuum can leave an HNSW graph damaged or unrepaired",
    },
    Fault {
        name: "CVE-2026-18022",
        from: [0, 0, 0],
        fixed: [0, 8, 6],
        only_32_bit: true,
        effect: "an IVFFlat index on a 32-bit server writes out of bounds",
    },
];

/// Oldest pgvector without a fault on a 64-bit server.
pub const OLDEST_SOUND: [u32; 3] = [0, 8, 4];

/// `0.8.5` as numbers; what follows a third number is left out. None where there is no number.
pub fn parse(version: &str) -> Option<[u32; 3]> {
    let mut parts = version.trim().split('.').map(|part| {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().ok()
    });
    let first = parts.next()??;
    Some([first, parts.next().flatten().unwrap_or(0), parts.next().flatten().unwrap_or(0)])
}

/// The faults of one version.
pub fn faults(version: [u32; 3], bits: u32) -> impl Iterator<Item = &'static Fault> {
    PGVECTOR_FAULTS.iter().filter(move |fault| {
        version >= fault.from && version < fault.fixed && (!fault.only_32_bit || bits == 32)
    })
}
