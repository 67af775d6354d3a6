//! The vector index of a collection: which options belong to which access method, and what each can index.

use howdah_index::options::MAX_DIMENSIONS;

use super::collections::Rules;
use super::mistakes::Mistakes;
use crate::problem::{Kind, Problem};
use crate::spec::resolve::{MAX_INDEXED_HALFVEC, MAX_INDEXED_VECTOR};
use crate::spec::{IndexKind, Metric, Storage};

/// pgvector's own defaults.
const DEFAULT_M: u32 = 16;
const DEFAULT_EF_CONSTRUCTION: u32 = 64;
/// Most lists of pgvector's IVFFlat.
const MAX_IVFFLAT_LISTS: u32 = 32_768;

pub(super) fn check(rules: &Rules<'_>, mistakes: &mut Mistakes) {
    limit(rules, mistakes);
    metric(rules, mistakes);
    foreign_options(rules, mistakes);
    graph(rules, mistakes);
    lists(rules, mistakes);
}

/// A metric that the access method has no operator class for.
fn metric(rules: &Rules<'_>, mistakes: &mut Mistakes) {
    let kind = match rules.collection.index.kind {
        IndexKind::Ivfflat => "ivfflat",
        IndexKind::Howdah => "howdah",
        _ => return,
    };
    if rules.collection.metric == Metric::L1 {
        let key = rules.at("index.kind");
        let message = format!("`{key}`: {kind} cannot index the metric `l1`");
        mistakes.say(&key, message, "Write `kind = \"hnsw\"`, or choose another metric.");
    }
}

/// Options of another access method than the declared one.
fn foreign_options(rules: &Rules<'_>, mistakes: &mut Mistakes) {
    let index = &rules.collection.index;
    let graph = matches!(index.kind, IndexKind::Hnsw | IndexKind::Auto);
    let own = matches!(index.kind, IndexKind::Howdah | IndexKind::Auto);
    let lists = matches!(index.kind, IndexKind::Ivfflat | IndexKind::Howdah);
    let options = [
        ("index.m", index.m.is_some() && !graph, "hnsw"),
        ("index.ef_construction", index.ef_construction.is_some() && !graph, "hnsw"),
        ("index.lists", index.lists.is_some() && !lists, "ivfflat"),
        ("index.bits", index.bits.is_some() && !own, "howdah"),
    ];
    for (key, _, kind) in options.into_iter().filter(|(_, wrong, _)| *wrong) {
        let key = rules.at(key);
        let message = format!("`{key}` is an option of {kind}");
        mistakes.say(&key, message, format!("Remove it, or write `kind = \"{kind}\"`."));
    }
}

fn graph(rules: &Rules<'_>, mistakes: &mut Mistakes) {
    let index = &rules.collection.index;
    let (m, ef) = (index.m.unwrap_or(DEFAULT_M), index.ef_construction.unwrap_or(DEFAULT_EF_CONSTRUCTION));
    if !matches!(index.kind, IndexKind::Hnsw | IndexKind::Auto) || ef >= 2 * m {
        return;
    }
    let key = rules.at(if index.ef_construction.is_some() { "index.ef_construction" } else { "index.m" });
    let problem = Problem::new(Kind::Usage, format!("`ef_construction` {ef} is less than twice `m` {m}"))
        .detail(format!("unsaid, `m` is {DEFAULT_M} and `ef_construction` {DEFAULT_EF_CONSTRUCTION}"));
    mistakes.problem(&key, problem.hint(format!("Write `ef_construction = {}` or more.", 2 * m)));
}

fn lists(rules: &Rules<'_>, mistakes: &mut Mistakes) {
    let index = &rules.collection.index;
    if let Some(lists) = index.lists.filter(|lists| *lists > MAX_IVFFLAT_LISTS)
        && index.kind == IndexKind::Ivfflat
    {
        let key = rules.at("index.lists");
        let message = format!("`{key}` is more than pgvector's ivfflat has: {lists}");
        mistakes.say(&key, message, format!("Write {MAX_IVFFLAT_LISTS} or less."));
    }
}

/// More dimensions than the access method indexes. `auto` has to do on a server without the extension as well.
fn limit(rules: &Rules<'_>, mistakes: &mut Mistakes) {
    let Some(dimensions) = rules.collection.dimensions.or_else(|| rules.known_dimensions()) else { return };
    let kind = rules.collection.index.kind;
    let own = u32::try_from(MAX_DIMENSIONS).unwrap_or(u32::MAX);
    let (key, most, who, hint) = match (kind, rules.collection.storage) {
        (IndexKind::None, _) => return,
        (IndexKind::Howdah, _) => (
            "dimensions",
            own,
            "howdah",
            "Write `index.kind = \"none\"` for exact search, or take a model with fewer dimensions.",
        ),
        (_, Some(Storage::Vector)) => (
            "storage",
            MAX_INDEXED_VECTOR,
            "pgvector",
            "Write `storage = \"halfvec\"` (up to 4,000 dimensions), or `index.kind = \"none\"`.",
        ),
        _ => (
            "dimensions",
            MAX_INDEXED_HALFVEC,
            "pgvector",
            "Write `index.kind = \"none\"` for exact search, or take a model with fewer dimensions.",
        ),
    };
    if dimensions <= most {
        return;
    }
    let key = rules.at(key);
    let limits = match kind {
        IndexKind::Howdah => format!("the limit is {own}"),
        _ => {
            format!("the limit is {MAX_INDEXED_VECTOR} for `vector` and {MAX_INDEXED_HALFVEC} for `halfvec`")
        }
    };
    let problem =
        Problem::new(Kind::Usage, format!("`{key}`: {dimensions} dimensions are more than {who} indexes"));
    mistakes.problem(&key, problem.detail(limits).hint(hint));
}

#[cfg(test)]
mod tests {
    use howdah_index::options::{BITS, Kind, LISTS};

    /// What one key alone can get wrong, the schema says: here, that it says what the access method does.
    #[test]
    fn the_ranges_of_the_declaration_are_those_of_the_access_method() {
        let keys = &crate::spec::schema::schema()["$defs"]["Index"]["properties"];
        for option in [BITS, LISTS] {
            let Kind::Integer { min, max, .. } = option.kind else {
                panic!("{} is a whole number", option.name)
            };
            let key = &keys[option.name];
            // 0 lists, the default, is said by leaving the key out.
            assert_eq!(key["minimum"].as_i64(), Some(i64::from(min.max(1))), "{key}");
            assert_eq!(key["maximum"].as_i64(), Some(i64::from(max)), "{key}");
        }
    }
}
