//! The filter's grammar, its refusals, and that no value of a user ever stands in the SQL text.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{Expr, MAX_DEPTH, Scope, condition, matches, parse};
use crate::search::param::Params;
use crate::spec::Index;
use crate::spec::resolve::{Columns, Resolved};
use crate::spec::{Metric, Storage};

fn resolved() -> Resolved {
    let fields =
        [("year", "integer"), ("price", "numeric(10,2)"), ("seen", "timestamptz"), ("spot", "point")];
    Resolved {
        name: "docs".into(),
        database: "app".into(),
        schema: "public".into(),
        table: "docs".into(),
        adopted: false,
        columns: Columns::own(),
        embedder: None,
        dimensions: Some(3),
        metric: Metric::Cosine,
        storage: Storage::Vector,
        storage_reason: String::new(),
        language: "english".into(),
        text_index: false,
        fields: fields.map(|(name, kind)| (name.to_owned(), kind.to_owned())).into(),
        index: Index::default(),
    }
}

fn read(filter: &Value) -> Result<Expr, crate::problem::Problem> {
    parse(filter, &Scope::new(&resolved(), "bigint"))
}

fn sql(filter: &Value) -> (String, Params) {
    let mut params = Params::default();
    let text = condition(&read(filter).unwrap(), "t", &mut params);
    (text, params)
}

#[test]
fn filters_become_conditions() {
    for (filter, expected) in [
        (json!({}), "TRUE"),
        (json!({"or": []}), "FALSE"),
        (json!({"year": 2020}), r#"t."year" = $1::bigint"#),
        (json!({"year": {"gte": 2019, "lt": 2024}}), r#"(t."year" >= $1::bigint AND t."year" < $2::bigint)"#),
        (json!({"price": {"in": [1.5, 2]}}), r#"t."price" = ANY ($1::text[]::numeric[])"#),
        (json!({"source": null}), r#"t."source" IS NULL"#),
        (
            json!({"not": {"year": 1, "source": "a"}}),
            r#"((t."year" = $1::bigint) IS NOT TRUE OR (t."source" = $2::text) IS NOT TRUE)"#,
        ),
        (json!({"not": {"not": {"year": 1}}}), r#"t."year" = $1::bigint"#),
        (json!({"seen": {"gt": "2026-01-01"}}), r#"t."seen" > $1::text::timestamptz"#),
        (json!({"metadata.a.b": "x"}), r#"t."metadata"::jsonb @> $1::text::jsonb"#),
        (
            json!({"metadata.a": {"gt": 1}}),
            r#"jsonb_path_exists(t."metadata"::jsonb, $1::text::jsonpath, $2::text::jsonb, true)"#,
        ),
    ] {
        assert_eq!(sql(&filter).0, expected, "{filter}");
    }
}

#[test]
fn a_filter_says_whether_it_tests_anything() {
    for (filter, constant, tests) in [
        (json!({}), Some(true), false),
        (json!({"and": []}), Some(true), false),
        (json!({"and": [{}, {"and": []}]}), Some(true), false),
        (json!({"or": [{}]}), Some(true), false),
        (json!({"or": [{"year": 1}, {}]}), Some(true), true),
        (json!({"or": [{"year": 1}, {"not": {"or": []}}]}), Some(true), true),
        (json!({"not": {"not": {}}}), Some(true), false),
        (json!({"not": {"or": []}}), Some(true), false),
        (json!({"not": {"and": [{"year": 1}, {"or": []}]}}), Some(true), true),
        (json!({"year": {"not_in": []}}), Some(true), true),
        (json!({"not": {"year": {"in": []}}}), Some(true), true),
        (json!({"or": []}), Some(false), false),
        (json!({"not": {}}), Some(false), false),
        (json!({"year": {"in": []}}), Some(false), true),
        (json!({"year": 1, "or": []}), Some(false), true),
        (json!({"year": 1}), None, true),
        (json!({"not": {"not": {"year": 1}}}), None, true),
        (json!({"and": [{}, {"year": 1}]}), None, true),
        (json!({"id": {"exists": true}}), None, true),
    ] {
        let expr = read(&filter).unwrap();
        assert_eq!((expr.constant(), expr.has_tests()), (constant, tests), "{filter}");
    }
}

#[test]
fn mistakes_are_told_with_what_would_have_been_right() {
    for (filter, message, hint) in [
        (json!({"yeer": 1}), "unknown filter key `yeer`", "Did you mean `year`?"),
        (
            json!({"lang": "en"}),
            "unknown filter key `lang`",
            "For a key of the metadata write `metadata.lang`.",
        ),
        (json!({"$and": []}), "unknown filter key `$and`", "Did you mean `and`?"),
        (json!({"year": {"$gte": 1}}), "unknown operator `$gte` under `year`", "Did you mean `gte`?"),
        (json!({"year": "abc"}), "`year` is `integer`, and `\"abc\"` is not", "It needs a whole number."),
        (
            json!({"year": 1.5}),
            "`year` is `integer`, and `1.5` is not",
            "It needs a whole number of 64 bits.",
        ),
        (json!({"year": [1, 2]}), "`year` cannot equal a list", "For one of several"),
        (json!({"spot": 1}), "`spot` cannot be filtered on", "Filter on a number"),
        (json!({"metadata.": 1}), "`metadata.` is not a path", "Write `metadata.a.b`"),
        (
            json!({"metadata.a": {"b": 1}}),
            "unknown operator `b` under `metadata.a`",
            "write `metadata.metadata.a.b`",
        ),
    ] {
        let problem = read(&filter).unwrap_err();
        assert_eq!(problem.message, message, "{filter}");
        if !filter.to_string().contains("metadata.a\"") {
            assert!(problem.hint.as_deref().unwrap_or_default().starts_with(hint), "{problem:?}");
        }
    }
    for bad in [
        json!([]),
        json!("x"),
        json!({"and": {}}),
        json!({"not": []}),
        json!({"year": {}}),
        json!({"year": {"in": 1}}),
        json!({"year": {"in": [null]}}),
        json!({"year": {"exists": 1}}),
        json!({"source": "a\u{0}b"}),
        json!({"metadata.a\u{0}": 1}),
        json!({"metadata.a": {"gt": true}}),
        json!({"year": {"contains": 1}}),
        json!({"metadata.\"a": 1}),
    ] {
        assert!(read(&bad).is_err(), "{bad}");
    }
}

#[test]
fn depth_and_length_have_limits() {
    let nest = |depth| (0..depth).fold(json!({"year": 1}), |inner, _| json!({"not": inner}));
    assert!(read(&nest(MAX_DEPTH - 1)).is_ok());
    assert!(read(&nest(MAX_DEPTH)).is_err());
    let many = |count: i64| json!({"or": (0..count).map(|n| json!({"year": n})).collect::<Vec<_>>()});
    assert!(read(&many(256)).is_ok());
    assert!(read(&many(257)).is_err());
    assert!(read(&json!({"year": {"in": vec![1; 10_001]}})).is_err());
}

#[test]
fn not_includes_what_is_missing() {
    let row = |value: Value| value.as_object().cloned().unwrap_or_default();
    let not = read(&json!({"not": {"metadata.owner": "ada"}})).unwrap();
    let ne = read(&json!({"metadata.owner": {"ne": "ada"}})).unwrap();
    for (metadata, expected) in [
        (json!({"owner": "ada"}), false),
        (json!({"owner": "bob"}), true),
        (json!({"owner": null}), true),
        (json!({}), true),
        (json!([1]), true),
    ] {
        let row: Map<String, Value> = row(json!({"metadata": metadata}));
        assert_eq!((matches(&not, &row), matches(&ne, &row)), (expected, expected), "{row:?}");
    }
}

/// A value that would be seen anywhere.
fn marked() -> impl Strategy<Value = String> {
    "[a-z'\"\\\\;$-]{0,6}".prop_map(|noise| format!("ZQX{noise}"))
}

proptest! {
    #[test]
    fn no_value_and_no_path_stands_in_the_text(value in marked(), other in marked(), number in 777_000i64..778_000) {
        let path = format!("metadata.\"{}\"", value.replace('"', ""));
        let filter = json!({
            "source": value, "year": number, "price": {"in": [number]},
            path: {"gt": other, "in": [other, number], "eq": value, "exists": true, "contains": other},
            "or": [{"not": {"source": {"in": [other]}}}, {"id": number}]
        });
        let (text, params) = sql(&filter);
        prop_assert!(!text.contains("ZQX") && !text.contains("777") && !text.contains('\\'), "{}", text);
        prop_assert!(params.0.len() >= 10);
        // Every placeholder is one of the bound values, and each is used once.
        for number in 1..=params.0.len() {
            prop_assert_eq!(text.matches(&format!("${number}::")).count(), 1);
        }
    }
}
