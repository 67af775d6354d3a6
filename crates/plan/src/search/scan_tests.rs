//! Which way a search goes.

use super::*;

fn facts(rows: f64) -> TableFacts {
    TableFacts {
        server_version: 180_004,
        pgvector: (0, 8, 5),
        vector_schema: None,
        id_type: "bigint".into(),
        storage: Storage::Vector,
        dimensions: Some(384),
        cast: None,
        read_only: None,
        row_security: None,
        partial: false,
        rows,
        dead: 0.0,
        work_mem: 4 << 20,
        index: Some(IndexFacts {
            name: "i".into(),
            access: Access::Hnsw,
            lists: None,
            metric: Metric::Cosine,
        }),
        no_index: None,
    }
}

fn need(rows: u32, matching: Option<f64>) -> Need {
    Need { rows, matching, ef_search: None, exact: false }
}

fn setting(decision: &Decision, name: &str) -> Option<f64> {
    decision.settings.iter().find(|(known, _)| *known == name).and_then(|(_, value)| value.parse().ok())
}

#[test]
fn the_index_is_told_to_keep_enough_candidates() {
    let plain = decide(&facts(60_000.0), &need(10, None));
    assert_eq!((plain.path, setting(&plain, "hnsw.ef_search")), (Path::Index, Some(200.0)));
    let large = decide(&facts(1_000_000.0), &need(10, None));
    assert!(setting(&large, "hnsw.ef_search") > Some(600.0), "{large:?}");
    let many = decide(&facts(1_000_000.0), &need(500, None));
    assert_eq!(setting(&many, "hnsw.ef_search"), Some(1000.0));
    assert!(many.settings.contains(&("hnsw.max_scan_tuples", i32::MAX.to_string())));
    let filtered = decide(&facts(1_000_000.0), &need(10, Some(300_000.0)));
    assert_eq!(filtered.path, Path::Index, "{filtered:?}");
}

#[test]
fn what_is_cheaper_without_the_index_goes_without_it() {
    for (rows, need, word) in [
        (60_000.0, need(10, Some(600.0)), "pass the filter"),
        (1_500.0, need(10, None), "takes a moment"),
        (60_000.0, need(40_000, None), "are wanted"),
        (60_000.0, Need { exact: true, ..need(10, None) }, "asked for"),
    ] {
        let decision = decide(&facts(rows), &need);
        assert_eq!((decision.path, decision.access), (Path::Exact, "exact"), "{decision:?}");
        assert!(decision.reason.contains(word) && decision.settings.is_empty(), "{decision:?}");
    }
    let asked = decide(&facts(60_000.0), &Need { ef_search: Some(50), ..need(10, Some(600.0)) });
    assert_eq!((asked.path, setting(&asked, "hnsw.ef_search")), (Path::Index, Some(50.0)));
}

#[test]
fn dead_rows_cost_candidates_like_a_filter() {
    let mut dead = facts(1_000_000.0);
    dead.dead = 0.5;
    let decision = decide(&dead, &need(10, None));
    assert!(decision.reason.contains("50 % of the index leads to dead rows"), "{decision:?}");
}

#[test]
fn an_old_pgvector_is_not_told_what_it_does_not_know() {
    let mut old = facts(60_000.0);
    old.pgvector = (0, 7, 4);
    let names: Vec<&str> = decide(&old, &need(10, None)).settings.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["hnsw.ef_search", "enable_sort"]);
}

#[test]
fn lists_are_read_by_their_share() {
    let mut lists = facts(60_000.0);
    lists.index =
        Some(IndexFacts { name: "i".into(), access: Access::Ivfflat, lists: Some(100), metric: Metric::L2 });
    let decision = decide(&lists, &need(10, None));
    assert_eq!(setting(&decision, "ivfflat.probes"), Some(30.0), "{decision:?}");
}

#[test]
fn howdahs_own_index_is_asked_for_recall_and_told_what_to_expect() {
    let own = |rows: f64| {
        let mut own = facts(rows);
        own.index = Some(IndexFacts {
            name: "i".into(),
            access: Access::Howdah,
            lists: None,
            metric: Metric::Cosine,
        });
        own
    };
    let plain = decide(&own(60_000.0), &need(10, None));
    let names: Vec<&str> = plain.settings.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["howdah.target_recall", "howdah.expected_rows", "howdah.ordering", "enable_sort"]);
    assert_eq!((plain.path, plain.access), (Path::Index, "howdah"));
    assert_eq!(setting(&plain, "howdah.target_recall"), Some(0.99));
    assert_eq!(setting(&plain, "howdah.expected_rows"), Some(10.0));
    // One of ten rows passes: the scan has to pass on ten times as many.
    let filtered = decide(&own(1_000_000.0), &need(10, Some(100_000.0)));
    assert_eq!((filtered.path, setting(&filtered, "howdah.expected_rows")), (Path::Index, Some(100.0)));
    let large = decide(&own(1_000_000.0), &need(20_000, None));
    assert_eq!(setting(&large, "howdah.expected_rows"), Some(10_000.0), "what the setting takes");
    assert_eq!(setting(&large, "howdah.target_recall"), Some(0.998), "beyond what the index has measured");
    // It goes on more cheaply than a graph, but not through everything.
    assert_eq!(decide(&own(60_000.0), &need(10, Some(600.0))).path, Path::Index);
    assert_eq!(decide(&own(60_000.0), &need(10, Some(20.0))).path, Path::Exact);
    let asked = Need { ef_search: Some(400), ..need(10, None) };
    assert_eq!(setting(&decide(&own(60_000.0), &asked), "howdah.expected_rows"), Some(400.0));
}

#[test]
fn a_verdict_says_why() {
    let leg = |wanted, found, exact| LegRows { wanted, found, exact };
    let say = |returned, legs: &[LegRows], threshold| verdict(10, returned, legs, threshold, None);
    assert!(say(10, &[leg(10, 10, false)], false).0);
    assert!(say(3, &[leg(10, 3, true)], false).0);
    assert!(say(3, &[leg(10, 10, false)], true).1.contains("within the threshold"));
    assert!(!say(3, &[leg(10, 3, false)], false).0);
    let (complete, why) = verdict(10, 3, &[leg(10, 3, false)], false, Some("out of time"));
    assert!(!complete && why.contains("out of time"), "{why}");
}
