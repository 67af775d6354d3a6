//! May documents that are gone from their folder be removed from the collection?
//!
//! A folder from which all or many files are gone is more often one that is not mounted, not synchronised or half written
//! than one that somebody cleared. So documents go by themselves only as long as they are a part of what was there: at
//! most a declared share, and never all. Up to [`FEW`] may always go, or nobody could delete one file of three.

use std::fmt;

/// Documents that a limit in percent does not keep.
pub const FEW: u64 = 5;

/// How much of a folder, or of a file of records, may be removed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Percent of the documents that came from there.
    Percent(u64),
    /// So many documents.
    Documents(u64),
}

impl Default for Limit {
    fn default() -> Self {
        Limit::Percent(20)
    }
}

impl Limit {
    /// A limit as it is declared: `20%`, or a number of documents. None for anything else.
    pub fn parse(text: &str) -> Option<Limit> {
        match text.trim().strip_suffix('%') {
            Some(percent) => {
                let percent = percent.trim_end().parse().ok().filter(|percent| *percent <= 100)?;
                Some(if percent == 0 { Limit::Documents(0) } else { Limit::Percent(percent) })
            }
            None => text.trim().parse().ok().map(Limit::Documents),
        }
    }

    /// Documents of `held` that may go.
    fn allows(self, held: u64) -> u64 {
        match self {
            Limit::Percent(percent) => (held.saturating_mul(percent) / 100).max(FEW),
            Limit::Documents(documents) => documents,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Percent(percent) => write!(f, "{percent} %"),
            Limit::Documents(documents) => write!(f, "{documents}"),
        }
    }
}

/// What is to be done with documents that are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// They are removed.
    Remove,
    /// They are kept: nothing is left of what was there.
    Emptied,
    /// They are kept: they are more than the limit allows.
    TooMany,
}

/// Whether `gone` of the `held` documents of one place may be removed. `allow_empty` is said by somebody who knows that
/// nothing is left there, and that it is to be so.
pub fn decide(limit: Limit, held: u64, gone: u64, allow_empty: bool) -> Verdict {
    match gone {
        0 => Verdict::Remove,
        _ if gone >= held && allow_empty => Verdict::Remove,
        _ if gone >= held => Verdict::Emptied,
        _ if gone <= limit.allows(held) => Verdict::Remove,
        _ => Verdict::TooMany,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_goes_and_all_stays() {
        let decide = |held, gone| decide(Limit::default(), held, gone, false);
        assert_eq!(decide(3, 1), Verdict::Remove);
        assert_eq!(
            (decide(3, 3), decide(1, 1), decide(1000, 1000)),
            (Verdict::Emptied, Verdict::Emptied, Verdict::Emptied)
        );
        assert_eq!((decide(1000, 200), decide(1000, 201)), (Verdict::Remove, Verdict::TooMany));
        assert_eq!((decide(10, 5), decide(10, 6)), (Verdict::Remove, Verdict::TooMany));
        assert_eq!((decide(0, 0), decide(9, 0)), (Verdict::Remove, Verdict::Remove));
    }

    #[test]
    fn a_declared_limit_is_a_limit() {
        assert_eq!(decide(Limit::Documents(0), 100, 1, false), Verdict::TooMany);
        assert_eq!(decide(Limit::Documents(2), 100, 2, false), Verdict::Remove);
        assert_eq!(decide(Limit::Percent(100), 100, 99, false), Verdict::Remove);
        assert_eq!(decide(Limit::Percent(100), 100, 100, false), Verdict::Emptied);
        assert_eq!(decide(Limit::Documents(0), 100, 100, true), Verdict::Remove);
        assert_eq!(
            decide(Limit::Documents(0), 100, 99, true),
            Verdict::TooMany,
            "it was not said that many may go"
        );
    }

    #[test]
    fn limits_are_read_as_they_are_written() {
        for (text, limit) in [
            ("20%", Some(Limit::Percent(20))),
            (" 5 % ", Some(Limit::Percent(5))),
            ("0%", Some(Limit::Documents(0))),
            ("100%", Some(Limit::Percent(100))),
            ("50", Some(Limit::Documents(50))),
            ("101%", None),
            ("-1", None),
            ("many", None),
            ("", None),
            ("1.5%", None),
        ] {
            assert_eq!(Limit::parse(text), limit, "{text}");
        }
    }
}
