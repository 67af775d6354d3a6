//! Every parameter of the index, once: name, range, default, meaning.
//!
//! Reloptions and GUCs of the extension, declared collections, the documentation and [`BuildOptions`] /
//! [`SearchOptions`] below all read [`OPTIONS`]. A value outside its range never makes a query fail: the readers clamp
//! with [`OptionSpec::clamp`].

/// Where an option is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// With the index: `CREATE INDEX … WITH (name = value)`. Fixed for the life of the index.
    Index,
    /// With the session or a single query: `SET howdah.name = value`.
    Session,
}

/// Type, range and default of an option. Bounds are inclusive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A whole number.
    Integer {
        /// Least value.
        min: i32,
        /// Greatest value.
        max: i32,
        /// Value when not set.
        default: i32,
    },
    /// A real number.
    Real {
        /// Least value.
        min: f64,
        /// Greatest value.
        max: f64,
        /// Value when not set.
        default: f64,
    },
    /// One of some words; as a number, its place among them.
    Choice {
        /// The words.
        words: &'static [&'static str],
        /// Place of the word when not set.
        default: usize,
    },
}

/// One option.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OptionSpec {
    /// Name as it is written after `WITH (` or after `howdah.`.
    pub name: &'static str,
    /// Where it is set.
    pub scope: Scope,
    /// Type, range, default.
    pub kind: Kind,
    /// What it does, in one sentence without a final stop.
    pub short: &'static str,
    /// When to change it and what it costs.
    pub long: &'static str,
}

impl OptionSpec {
    /// The value nearest to `value` that is in range; the default for a NaN.
    #[must_use]
    pub fn clamp(&self, value: f64) -> f64 {
        let (min, max, default) = match self.kind {
            Kind::Integer { min, max, default } => (f64::from(min), f64::from(max), f64::from(default)),
            Kind::Real { min, max, default } => (min, max, default),
            Kind::Choice { words, default } => (0.0, (words.len() - 1) as f64, default as f64),
        };
        if value.is_nan() { default } else { value.clamp(min, max) }
    }

    /// The default as a number.
    #[must_use]
    pub fn default_value(&self) -> f64 {
        match self.kind {
            Kind::Integer { default, .. } => f64::from(default),
            Kind::Real { default, .. } => default,
            Kind::Choice { default, .. } => default as f64,
        }
    }
}

/// Bits a dimension of the stored code, the sign bit included.
pub const BITS: OptionSpec = OptionSpec {
    name: "bits",
    scope: Scope::Index,
    kind: Kind::Integer { min: 4, max: 5, default: 4 },
    short: "bits kept of each dimension of a vector",
    long: "One bit is scanned for every candidate, the others refine the few hundred that remain; the last few dozen \
           are compared with the row itself, so this does not limit recall. With 5 bits the index is a fifth larger and \
           a search for ten rows fetches 11 rows from the table instead of 12, which matters only where each costs \
           much, as TOASTed vectors on a slow disk do.",
};

/// Number of lists made by a build.
pub const LISTS: OptionSpec = OptionSpec {
    name: "lists",
    scope: Scope::Index,
    kind: Kind::Integer { min: 0, max: 262_144, default: 0 },
    short: "number of inverted lists at build; 0 chooses by the number of rows",
    long: "Lists split as rows arrive, so the number is only a start. There is rarely a reason to set it.",
};

/// Recall asked for.
pub const TARGET_RECALL: OptionSpec = OptionSpec {
    name: "target_recall",
    scope: Scope::Session,
    kind: Kind::Real { min: 0.1, max: 0.9999, default: 0.97 },
    short: "share of the true nearest rows a search should return",
    long: "The index knows from its own sampled queries how many lists that takes and decides for each query anew when \
           it has read enough. Higher is slower. A sequential scan is the only way to be certain.",
};

/// Lists read, as an override of the recall asked for.
pub const PROBES: OptionSpec = OptionSpec {
    name: "probes",
    scope: Scope::Session,
    kind: Kind::Integer { min: 0, max: 262_144, default: 0 },
    short: "lists read before the first row is returned; 0 lets target_recall decide",
    long: "For experiments and for comparisons with other indexes. A value beyond the number of lists reads them all. \
           A scan still goes on with further lists when more rows are wanted than were found.",
};

/// Rows a scan prepares at first.
pub const EXPECTED_ROWS: OptionSpec = OptionSpec {
    name: "expected_rows",
    scope: Scope::Session,
    kind: Kind::Integer { min: 1, max: 10_000, default: 10 },
    short: "rows a scan prepares before it returns the first",
    long: "A scan reads the LIMIT above it and the planner's guess of the filter beside it from the running plan and \
           prepares that many; this is the least. When more rows are wanted, the scan goes on in rounds that grow \
           fourfold. Set it where the plan does not tell: for a cursor that is read to an unknown place, or where the \
           planner takes a filter for less selective than it is.",
};

/// Whether rows that are found late are returned. (`order` would have to be quoted: it is a word of SQL.)
pub const ORDERING: OptionSpec = OptionSpec {
    name: "ordering",
    scope: Scope::Session,
    kind: Kind::Choice { words: &["strict", "relaxed"], default: 0 },
    short: "strict returns rows in order of distance; relaxed also returns those that are found too late for it",
    long: "A scan that goes on finds a few rows nearer than some it has returned, since it did not read everything before \
           the first. Strict order leaves them out, so a scan that is read to its end may miss a few in a thousand, and a \
           LIMIT that only just has enough rows behind its filter may come back short. Relaxed order returns each of \
           them once, late; sort the result where the order matters. It remembers what it returned in work_mem, about \
           60 bytes for 32 rows, and goes on strictly when that is full.",
};

/// All options, in the order in which they are documented.
pub const OPTIONS: &[OptionSpec] = &[BITS, LISTS, TARGET_RECALL, PROBES, EXPECTED_ROWS, ORDERING];

/// The option called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static OptionSpec> {
    OPTIONS.iter().find(|o| o.name == name)
}

/// Most dimensions an index takes. Columns may have up to 16,000 (pgvector's limit), but not be indexed.
pub const MAX_DIMENSIONS: usize = 4000;

/// How the distance between two vectors is measured; the number is what pages keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Metric {
    /// Euclidean distance, pgvector's `<->`.
    L2 = 1,
    /// Negative inner product, pgvector's `<#>`.
    InnerProduct = 2,
    /// Cosine distance, pgvector's `<=>`. Vectors of zero length have none and are not indexed.
    Cosine = 3,
}

impl Metric {
    /// The metric kept as `code`.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::L2, Self::InnerProduct, Self::Cosine].into_iter().find(|m| *m as u8 == code)
    }
}

/// What a build is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BuildOptions {
    /// Distance that searches will order by.
    pub metric: Metric,
    /// Dimensions of every vector, 1 to [`MAX_DIMENSIONS`].
    pub dimensions: usize,
    /// See [`BITS`].
    pub bits: u32,
    /// See [`LISTS`].
    pub lists: u32,
}

impl BuildOptions {
    /// The defaults for vectors of `dimensions` compared by `metric`.
    #[must_use]
    pub fn new(metric: Metric, dimensions: usize) -> Self {
        Self { metric, dimensions, bits: BITS.default_value() as u32, lists: LISTS.default_value() as u32 }
    }
}

/// The order in which a search returns rows: see [`ORDERING`]. The numbers are the places of the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Order {
    /// In order of distance; rows found too late are left out.
    #[default]
    Strict = 0,
    /// Nearly in order of distance, every row once.
    Relaxed = 1,
}

/// What a search is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SearchOptions {
    /// See [`TARGET_RECALL`].
    pub target_recall: f64,
    /// See [`PROBES`].
    pub probes: u32,
    /// See [`EXPECTED_ROWS`].
    pub expected_rows: u32,
    /// Where the source of rows has a filter: how many that pass it the first round returns of those it prepares. 0: all.
    pub passing_rows: u32,
    /// See [`ORDERING`].
    pub order: Order,
    /// Whether rows marked as dead ([`crate::vacuum::mark_dead`]) are looked at all the same, as a standby has to.
    pub see_marked: bool,
    /// Bytes a scan may hold for candidates (`work_mem`).
    pub memory: usize,
}

impl Default for SearchOptions {
    fn default() -> Self {
        Self {
            target_recall: TARGET_RECALL.default_value(),
            probes: PROBES.default_value() as u32,
            expected_rows: EXPECTED_ROWS.default_value() as u32,
            passing_rows: 0,
            order: Order::Strict,
            see_marked: false,
            memory: 4 << 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_defaults_in_range() {
        for (i, option) in OPTIONS.iter().enumerate() {
            assert!(OPTIONS[..i].iter().all(|o| o.name != option.name), "{} twice", option.name);
            let default = option.default_value();
            assert_eq!(option.clamp(default), default, "{}", option.name);
            assert_eq!(option.clamp(f64::NAN), default, "{}", option.name);
            assert!(!option.short.ends_with('.'), "{}", option.name);
        }
    }

    #[test]
    fn values_out_of_range_are_brought_back() {
        assert_eq!(BITS.clamp(100.0), 5.0);
        assert_eq!(TARGET_RECALL.clamp(-1.0), 0.1);
        assert_eq!(find("probes"), Some(&PROBES));
        assert_eq!(find("nothing"), None);
    }

    #[test]
    fn metrics_are_found_by_their_code() {
        for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
            assert_eq!(Metric::from_code(metric as u8), Some(metric));
        }
        assert_eq!(Metric::from_code(0), None);
    }
}
